/* Requests to the private tier: a conversation as tollgate.v1 messages. */
#include "services/router/dialect/upstream.h"
#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <string.h>

/* protobuf-c strings end at NUL, so a NUL inside a prompt becomes U+FFFD instead of cutting it
 * short. */
static char *proto_text(tg_arena *arena, tg_str text)
{
    size_t nuls = 0;
    if (text.len == 0)
        return tg_arena_strdup(arena, TG_STR(""));
    for (const char *p = text.data, *end = p + text.len;;) {
        p = memchr(p, '\0', (size_t)(end - p));
        if (!p)
            break;
        nuls++;
        p++;
    }
    if (nuls == 0)
        return tg_arena_strdup(arena, text);
    char *copy = tg_arena_alloc(arena, text.len + 2 * nuls + 1), *to = copy;
    for (size_t i = 0; copy && i < text.len; i++) {
        if (text.data[i]) {
            *to++ = text.data[i];
        } else {
            memcpy(to, "\xEF\xBF\xBD", 3);
            to += 3;
        }
    }
    if (copy)
        *to = '\0';
    return copy;
}

/* What `write` makes of `of`, as text; empty for nothing. */
static char *json_of(tg_arena *arena, void (*write)(tg_json_out *, const void *), const void *of)
{
    tg_buf buf;
    tg_buf_init(&buf, TG_CODEC_BODY_MAX);
    tg_json_out out = tg_json_out_to(&buf);
    write(&out, of);
    char *text = out.status < 0 ? NULL : tg_arena_strdup(arena, tg_buf_str(&buf));
    tg_buf_free(&buf);
    return text;
}

static void write_calls(tg_json_out *out, const void *message)
{
    tg_upstream_calls_openai(out, message);
}
static void write_tools(tg_json_out *out, const void *request)
{
    tg_upstream_tool_list_openai(out, request);
}

static int fill_message(const tg_chat_message *from, tg_arena *arena, Tollgate__V1__ChatMessage *to)
{
    tollgate__v1__chat_message__init(to);
    to->role = tg_arena_strdup(arena, tg_str_of(tg_upstream_role(from->role)));
    to->content = proto_text(arena, from->text);
    to->tool_call_id = proto_text(arena, from->call_id);
    to->reasoning = proto_text(arena, from->reasoning);
    if (from->call_count > 0)
        to->tool_calls_json = json_of(arena, write_calls, from);
    return to->role && to->content && to->tool_call_id && to->reasoning && to->tool_calls_json
               ? 0
               : -ENOMEM;
}

static int fill_tools(const tg_chat_request *request, tg_arena *arena,
                      Tollgate__V1__GenerateRequest *to)
{
    static const char *const words[] = {"auto", "none", "required"};
    if (request->tool_count == 0)
        return 0;
    to->one_tool_call = request->one_call;
    to->tools_json = json_of(arena, write_tools, request);
    to->tool_choice = request->tool_use == TG_TOOL_USE_NAMED
                          ? proto_text(arena, request->tool_named)
                          : tg_arena_strdup(arena, tg_str_of(words[request->tool_use]));
    return to->tools_json && to->tool_choice ? 0 : -ENOMEM;
}

static int fill_messages(const tg_chat_request *request, tg_arena *arena,
                         Tollgate__V1__ChatMessages *to)
{
    Tollgate__V1__ChatMessage *list = tg_arena_zalloc(arena, request->message_count, sizeof *list);
    to->messages = tg_arena_zalloc(arena, request->message_count, sizeof *to->messages);
    if (!list || !to->messages)
        return -ENOMEM;
    for (size_t i = 0; i < request->message_count; i++) {
        if (fill_message(&request->messages[i], arena, &list[i]) < 0)
            return -ENOMEM;
        to->messages[i] = &list[i];
    }
    to->n_messages = request->message_count;
    return 0;
}

static int fill_stops(const tg_chat_request *request, tg_arena *arena,
                      Tollgate__V1__GenerateRequest *to)
{
    if (request->stop_count == 0)
        return 0;
    to->stop = tg_arena_zalloc(arena, request->stop_count, sizeof *to->stop);
    if (!to->stop)
        return -ENOMEM;
    for (size_t i = 0; i < request->stop_count; i++)
        if (!(to->stop[i] = proto_text(arena, request->stops[i])))
            return -ENOMEM;
    to->n_stop = request->stop_count;
    return 0;
}

typedef struct constraint_message {
    Tollgate__V1__Constraint base;
    Tollgate__V1__StringList choice;
} constraint_message;

static int fill_constraint(const tg_chat_request *request, tg_arena *arena, constraint_message *to)
{
    tollgate__v1__constraint__init(&to->base);
    tollgate__v1__string_list__init(&to->choice);
    to->base.json_object = request->form == TG_FORM_JSON_OBJECT;
    if (request->form == TG_FORM_JSON_SCHEMA)
        to->base.json_schema = tg_arena_strdup(arena, request->schema);
    if (request->form == TG_FORM_REGEX)
        to->base.regex = proto_text(arena, request->form_texts[0]);
    if (!to->base.json_schema || !to->base.regex)
        return -ENOMEM;
    if (request->form != TG_FORM_CHOICE)
        return 0;
    to->base.choice = &to->choice;
    to->choice.values = tg_arena_zalloc(arena, request->form_text_count, sizeof *to->choice.values);
    if (!to->choice.values)
        return -ENOMEM;
    for (; to->choice.n_values < request->form_text_count; to->choice.n_values++)
        if (!(to->choice.values[to->choice.n_values] =
                  proto_text(arena, request->form_texts[to->choice.n_values])))
            return -ENOMEM;
    return 0;
}

static int pack(const ProtobufCMessage *message, tg_buf *body)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    int rc = tg_buf_reserve(body, len);
    if (rc < 0)
        return rc;
    protobuf_c_message_pack(message, (uint8_t *)body->data + body->len);
    body->len += len;
    body->data[body->len] = '\0';
    return 0;
}

static int pack_private(const tg_chat_request *request, const tg_upstream_ask *ask, tg_arena *arena,
                        tg_buf *body)
{
    Tollgate__V1__GenerateRequest message = TOLLGATE__V1__GENERATE_REQUEST__INIT;
    Tollgate__V1__ChatMessages messages = TOLLGATE__V1__CHAT_MESSAGES__INIT;
    Tollgate__V1__Sampling sampling = TOLLGATE__V1__SAMPLING__INIT;
    constraint_message constraint;
    int rc = fill_messages(request, arena, &messages);
    if (rc == 0)
        rc = fill_stops(request, arena, &message);
    if (rc == 0)
        rc = fill_tools(request, arena, &message);
    if (rc == 0)
        rc = fill_constraint(request, arena, &constraint);
    message.tenant = tg_arena_strdup(arena, tg_str_of(ask->tenant));
    message.request_id = tg_arena_strdup(arena, tg_str_of(ask->request_id));
    if (rc < 0 || !message.tenant || !message.request_id)
        return -ENOMEM;
    if (request->form != TG_FORM_TEXT)
        message.constraint = &constraint.base;
    sampling.temperature = request->has_temperature ? (float)request->temperature : 1.0f;
    sampling.top_p = request->has_top_p ? (float)request->top_p : 0.0f;
    sampling.top_k = (uint32_t)(request->top_k < UINT32_MAX ? request->top_k : UINT32_MAX);
    sampling.has_seed = request->has_seed;
    sampling.seed = request->seed;
    message.messages = &messages;
    message.sampling = &sampling;
    message.max_tokens = (uint32_t)(ask->max_tokens < UINT32_MAX ? ask->max_tokens : UINT32_MAX);
    message.attempt = ask->attempt;
    return pack(&message.base, body);
}

int tg_upstream_private(const tg_chat_request *request, const tg_upstream_ask *ask, tg_buf *body)
{
    tg_arena arena;
    tg_arena_init(&arena, 0);
    int rc = pack_private(request, ask, &arena, body);
    tg_arena_free(&arena);
    return rc;
}

int tg_dialect_encode_count(const tg_chat_request *request, tg_buf *body)
{
    Tollgate__V1__CountTokensRequest message = TOLLGATE__V1__COUNT_TOKENS_REQUEST__INIT;
    Tollgate__V1__ChatMessages messages = TOLLGATE__V1__CHAT_MESSAGES__INIT;
    tg_arena arena;
    tg_arena_init(&arena, 0);
    int rc = fill_messages(request, &arena, &messages);
    message.messages = &messages;
    if (rc == 0 && request->tool_count > 0 && request->tool_use != TG_TOOL_USE_NONE)
        rc = (message.tools_json = json_of(&arena, write_tools, request)) ? 0 : -ENOMEM;
    if (rc == 0)
        rc = pack(&message.base, body);
    tg_arena_free(&arena);
    return rc;
}
