/* Requests to the upstreams: kept verbatim where client and target share a dialect, else written
 * anew from the canonical conversation. What a provider has no word for (a seed for Anthropic,
 * top_k for OpenAI) is left out. */
#include "libs/http/sigv4.h"
#include "services/router/dialect/upstream.h"

#include <errno.h>
#include <string.h>

/* ---- the client's own body with a few members changed ---- */

typedef struct splice {
    const tg_upstream_ask *ask;
    bool openai, stated; /* stated: the client gave a maximum */
    tg_json_out out;
    const char *from; /* what precedes it has been written */
    bool model, max_tokens, stream, stream_options;
} splice;

/* stream_options with include_usage on and the client's other members kept. */
static void write_stream_options(tg_json_out *out, tg_str old)
{
    tg_json_member member;
    tg_json_out_begin_object(out);
    for (size_t at = 0; tg_json_raw_next(old, &at, &member);) {
        if (tg_json_raw_key_is(member.key_raw, "include_usage"))
            continue;
        tg_json_out_raw(out, member.key_raw);
        out->comma = false;
        tg_json_out_raw(out, (tg_str){":", 1});
        out->comma = false;
        tg_json_out_raw(out, member.value_raw);
    }
    tg_json_out_key(out, "include_usage");
    tg_json_out_bool(out, true);
    tg_json_out_end_object(out);
}

/* Copies up to the value and leaves the writer where it goes. */
static tg_json_out *replace(splice *s, tg_str value)
{
    s->out.comma = false;
    tg_json_out_raw(&s->out, (tg_str){s->from, (size_t)(value.data - s->from)});
    s->out.comma = false;
    s->from = value.data + value.len;
    return &s->out;
}

/* OpenAI has two names for it, of which a client states one at most; null states nothing. */
static bool carries_max_tokens(const splice *s, const tg_json_member *member)
{
    bool null = tg_str_is(member->value_raw, "null");
    if (s->openai && tg_json_raw_key_is(member->key_raw, "max_completion_tokens"))
        return !null || !s->stated;
    return tg_json_raw_key_is(member->key_raw, "max_tokens") && !null;
}

static void splice_member(splice *s, const tg_json_member *member)
{
    tg_str key = member->key_raw;
    if (tg_json_raw_key_is(key, "model")) {
        s->model = true;
        tg_json_out_text(replace(s, member->value_raw), s->ask->model);
    } else if (s->ask->max_tokens > 0 && carries_max_tokens(s, member)) {
        s->max_tokens = true;
        tg_json_out_u64(replace(s, member->value_raw), s->ask->max_tokens);
    } else if (tg_json_raw_key_is(key, "stream")) {
        s->stream = true;
        tg_json_out_bool(replace(s, member->value_raw), s->ask->stream);
    } else if (s->openai && s->ask->stream && tg_json_raw_key_is(key, "stream_options")) {
        s->stream_options = true;
        write_stream_options(replace(s, member->value_raw), member->value_raw);
    }
}

static void add_missing(splice *s)
{
    tg_json_out *out = &s->out;
    out->comma = true; /* `messages` is there */
    if (!s->model) {
        tg_json_out_key(out, "model");
        tg_json_out_text(out, s->ask->model);
    }
    if (!s->max_tokens && s->ask->max_tokens > 0) {
        tg_json_out_key(out, s->openai ? "max_completion_tokens" : "max_tokens");
        tg_json_out_u64(out, s->ask->max_tokens);
    }
    if (!s->stream && s->ask->stream) {
        tg_json_out_key(out, "stream");
        tg_json_out_bool(out, true);
    }
    if (s->openai && s->ask->stream && !s->stream_options) {
        tg_json_out_key(out, "stream_options");
        write_stream_options(out, (tg_str){"", 0});
    }
}

static int write_spliced(bool openai, const tg_chat_request *request, const tg_upstream_ask *ask,
                         tg_buf *to)
{
    tg_str body = request->body;
    splice s = {.ask = ask,
                .openai = openai,
                .stated = request->max_tokens > 0,
                .out = tg_json_out_to(to),
                .from = body.data};
    size_t end = body.len;
    tg_json_member member;
    int rc = tg_buf_reserve(to, body.len + 256);
    if (rc < 0)
        return rc;
    while (end > 0 && body.data[end - 1] != '}')
        end--;
    if (end == 0)
        return -EINVAL;
    for (size_t at = 0; tg_json_raw_next(body, &at, &member);)
        splice_member(&s, &member);
    replace(&s, (tg_str){body.data + end - 1, 1});
    add_missing(&s);
    tg_json_out_end_object(&s.out);
    return s.out.status;
}

/* ---- written anew ---- */

static void write_pair_text(tg_json_out *out, const char *key, const char *value)
{
    tg_json_out_key(out, key);
    tg_json_out_text(out, value);
}

const char *tg_upstream_role(tg_role role)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return names[role];
}

static void write_number(tg_json_out *out, const char *key, double value, double most)
{
    tg_json_out_key(out, key);
    tg_json_out_f64(out, value < most ? value : most);
}

static void write_stops(tg_json_out *out, const char *key, const tg_chat_request *request)
{
    if (request->stop_count == 0)
        return;
    tg_json_out_key(out, key);
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < request->stop_count; i++)
        tg_json_out_str(out, request->stops[i]);
    tg_json_out_end_array(out);
}

/* OpenAI's response_format. Its rules for strict schemas are not everyone's, so only who wrote for
 * it is held to them. */
static void write_response_format(tg_json_out *out, const tg_chat_request *request)
{
    if (request->form != TG_FORM_JSON_OBJECT && request->form != TG_FORM_JSON_SCHEMA)
        return;
    tg_json_out_key(out, "response_format");
    tg_json_out_begin_object(out);
    write_pair_text(out, "type",
                    request->form == TG_FORM_JSON_OBJECT ? "json_object" : "json_schema");
    if (request->form == TG_FORM_JSON_SCHEMA) {
        tg_json_out_key(out, "json_schema");
        tg_json_out_begin_object(out);
        tg_json_out_key(out, "name"); /* required there */
        tg_json_out_str(out, request->form_name.len > 0 ? request->form_name : TG_STR("answer"));
        tg_json_out_key(out, "schema");
        tg_json_out_raw(out, request->schema);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_object(out);
}

static int write_openai(const tg_chat_request *request, const tg_upstream_ask *ask, tg_buf *body)
{
    tg_json_out out = tg_json_out_to(body);
    tg_json_out_begin_object(&out);
    write_pair_text(&out, "model", ask->model);
    tg_json_out_key(&out, "messages");
    tg_json_out_begin_array(&out);
    for (size_t i = 0; i < request->message_count; i++) {
        tg_json_out_begin_object(&out);
        write_pair_text(&out, "role", tg_upstream_role(request->messages[i].role));
        tg_json_out_key(&out, "content");
        if (request->messages[i].text.len > 0 || request->messages[i].call_count == 0)
            tg_json_out_str(&out, request->messages[i].text);
        else
            tg_json_out_null(&out);
        tg_upstream_message_openai(&out, &request->messages[i]);
        tg_json_out_end_object(&out);
    }
    tg_json_out_end_array(&out);
    tg_upstream_tools_openai(&out, request);
    if (ask->max_tokens > 0) {
        tg_json_out_key(&out, "max_completion_tokens");
        tg_json_out_u64(&out, ask->max_tokens);
    }
    if (request->has_temperature)
        write_number(&out, "temperature", request->temperature, 2);
    if (request->has_top_p)
        write_number(&out, "top_p", request->top_p, 1);
    if (request->has_seed) {
        tg_json_out_key(&out, "seed");
        tg_json_out_i64(&out, (int64_t)request->seed);
    }
    write_stops(&out, "stop", request);
    write_response_format(&out, request);
    if (ask->stream) {
        tg_json_out_key(&out, "stream");
        tg_json_out_bool(&out, true);
        tg_json_out_key(&out, "stream_options");
        write_stream_options(&out, (tg_str){"", 0});
    }
    tg_json_out_end_object(&out);
    return out.status;
}

static bool is_turn(const tg_chat_message *message)
{
    return message->role == TG_ROLE_TOOL ||
           (message->role != TG_ROLE_SYSTEM && (message->text.len > 0 || message->call_count > 0));
}

/* Both want turns to alternate and blocks not to be empty, so neighbours of one role become the
 * blocks of one turn: no text is altered. A conversation of instructions alone is sent as the
 * user's turn. */
static void write_turns(tg_json_out *out, bool bedrock, const tg_chat_request *request,
                        bool only_system)
{
    int role = -1;
    tg_json_out_key(out, "messages");
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < request->message_count; i++) {
        const tg_chat_message *message = &request->messages[i];
        if (only_system ? message->text.len == 0 : !is_turn(message))
            continue;
        int next = message->role == TG_ROLE_ASSISTANT ? TG_ROLE_ASSISTANT : TG_ROLE_USER;
        if (next != role) {
            if (role >= 0) {
                tg_json_out_end_array(out);
                tg_json_out_end_object(out);
            }
            tg_json_out_begin_object(out);
            write_pair_text(out, "role", tg_upstream_role((tg_role)next));
            tg_json_out_key(out, "content");
            tg_json_out_begin_array(out);
            role = next;
        }
        tg_upstream_blocks(out, bedrock, message);
    }
    if (role >= 0) {
        tg_json_out_end_array(out);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
}

static void write_system_and_turns(tg_json_out *out, bool bedrock, const tg_chat_request *request)
{
    size_t turns = 0, systems = 0;
    for (size_t i = 0; i < request->message_count; i++) {
        turns += is_turn(&request->messages[i]);
        systems += request->messages[i].role == TG_ROLE_SYSTEM && request->messages[i].text.len > 0;
    }
    if (turns > 0 && systems > 0) {
        tg_json_out_key(out, "system");
        tg_json_out_begin_array(out);
        for (size_t i = 0; i < request->message_count; i++)
            if (request->messages[i].role == TG_ROLE_SYSTEM && request->messages[i].text.len > 0)
                tg_upstream_blocks(out, bedrock, &request->messages[i]);
        tg_json_out_end_array(out);
    }
    write_turns(out, bedrock, request, turns == 0);
}

static int write_anthropic(const tg_chat_request *request, const tg_upstream_ask *ask, tg_buf *body)
{
    tg_json_out out = tg_json_out_to(body);
    tg_json_out_begin_object(&out);
    write_pair_text(&out, "model", ask->model);
    tg_json_out_key(&out, "max_tokens"); /* required there */
    tg_json_out_u64(&out, ask->max_tokens > 0 ? ask->max_tokens : ask->max_tokens_default);
    write_system_and_turns(&out, false, request);
    tg_upstream_tools_anthropic(&out, request);
    if (request->has_temperature) /* OpenAI's goes to 2 */
        write_number(&out, "temperature", request->temperature, 1);
    if (request->has_top_p)
        write_number(&out, "top_p", request->top_p, 1);
    if (request->top_k > 0) {
        tg_json_out_key(&out, "top_k");
        tg_json_out_u64(&out, request->top_k);
    }
    write_stops(&out, "stop_sequences", request);
    if (request->form == TG_FORM_JSON_SCHEMA) {
        tg_json_out_key(&out, "output_config");
        tg_json_out_begin_object(&out);
        tg_json_out_key(&out, "format");
        tg_json_out_begin_object(&out);
        write_pair_text(&out, "type", "json_schema");
        tg_json_out_key(&out, "schema");
        tg_json_out_raw(&out, request->schema);
        tg_json_out_end_object(&out);
        tg_json_out_end_object(&out);
    }
    if (ask->stream) {
        tg_json_out_key(&out, "stream");
        tg_json_out_bool(&out, true);
    }
    tg_json_out_end_object(&out);
    return out.status;
}

/* Bedrock takes the schema as a string. */
static void write_output_config(tg_json_out *out, const tg_chat_request *request)
{
    if (request->form != TG_FORM_JSON_SCHEMA)
        return;
    tg_json_out_key(out, "outputConfig");
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "textFormat");
    tg_json_out_begin_object(out);
    write_pair_text(out, "type", "json_schema");
    tg_json_out_key(out, "structure");
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "jsonSchema");
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "schema");
    tg_json_out_str(out, request->schema);
    if (request->form_name.len > 0) {
        tg_json_out_key(out, "name");
        tg_json_out_str(out, request->form_name);
    }
    for (int i = 0; i < 4; i++)
        tg_json_out_end_object(out);
}

static int write_bedrock(const tg_chat_request *request, const tg_upstream_ask *ask, tg_buf *body)
{
    tg_json_out out = tg_json_out_to(body);
    tg_json_out_begin_object(&out);
    write_system_and_turns(&out, true, request);
    tg_upstream_tools_bedrock(&out, request);
    tg_json_out_key(&out, "inferenceConfig");
    tg_json_out_begin_object(&out);
    if (ask->max_tokens > 0) {
        tg_json_out_key(&out, "maxTokens");
        tg_json_out_u64(&out, ask->max_tokens);
    }
    if (request->has_temperature)
        write_number(&out, "temperature", request->temperature, 1);
    if (request->has_top_p)
        write_number(&out, "topP", request->top_p, 1);
    write_stops(&out, "stopSequences", request);
    tg_json_out_end_object(&out);
    write_output_config(&out, request);
    tg_json_out_end_object(&out);
    return out.status;
}

/* ---- the face ---- */

int tg_dialect_encode_upstream(tg_provider provider, const tg_chat_request *request,
                               const tg_upstream_ask *ask, tg_buf *body)
{
    switch (provider) {
    case TG_PROVIDER_OPENAI:
        if (request->dialect == TG_DIALECT_OPENAI && request->body.len > 0)
            return write_spliced(true, request, ask, body);
        return write_openai(request, ask, body);
    case TG_PROVIDER_ANTHROPIC:
        if (request->dialect == TG_DIALECT_ANTHROPIC && request->body.len > 0 &&
            !request->unsigned_thoughts)
            return write_spliced(false, request, ask, body);
        return write_anthropic(request, ask, body);
    case TG_PROVIDER_BEDROCK:
        return write_bedrock(request, ask, body);
    case TG_PROVIDER_PRIVATE:
        return tg_upstream_private(request, ask, body);
    }
    return -EINVAL;
}

int tg_dialect_upstream_path(tg_provider provider, const tg_upstream_ask *ask, tg_buf *path)
{
    int rc;
    switch (provider) {
    case TG_PROVIDER_OPENAI:
        return tg_buf_add_text(path, "/v1/chat/completions");
    case TG_PROVIDER_ANTHROPIC:
        return tg_buf_add_text(path, "/v1/messages");
    case TG_PROVIDER_BEDROCK:
        rc = tg_buf_add_text(path, "/model/");
        if (rc == 0)
            rc = tg_sigv4_encode_segment(path, tg_str_of(ask->model));
        if (rc == 0)
            rc = tg_buf_add_text(path, ask->stream ? "/converse-stream" : "/converse");
        return rc;
    case TG_PROVIDER_PRIVATE:
        return tg_buf_add_text(path, "/tollgate.v1.Inference/Generate");
    }
    return -EINVAL;
}
