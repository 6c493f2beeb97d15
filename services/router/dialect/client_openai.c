/* OpenAI's chat.completion and chat.completion.chunk objects, as its SDKs expect them. */
#include "services/router/dialect/client.h"

#include <string.h>

static const char *finish_reason(tg_stop_reason stop)
{
    switch (stop) {
    case TG_STOP_LENGTH:
        return "length";
    case TG_STOP_FILTER:
        return "content_filter";
    case TG_STOP_TOOLS:
        return "tool_calls";
    case TG_STOP_NONE:
    case TG_STOP_END:
    case TG_STOP_SEQUENCE:
    case TG_STOP_OTHER:
        break;
    }
    return "stop";
}

static void write_head(tg_json_out *out, const tg_client_encoder *encoder, const char *object)
{
    tg_json_out_key(out, "id");
    tg_json_out_text(out, encoder->id);
    tg_json_out_key(out, "object");
    tg_json_out_text(out, object);
    tg_json_out_key(out, "created");
    tg_json_out_u64(out, encoder->created_unix_s);
    tg_json_out_key(out, "model");
    tg_json_out_text(out, encoder->model);
}

static void write_count(tg_json_out *out, const char *key, uint64_t value)
{
    tg_json_out_key(out, key);
    tg_json_out_u64(out, value);
}

static void write_usage(tg_json_out *out, const tg_tokens *tokens)
{
    uint64_t prompt =
        tokens->input + tokens->cache_read + tokens->cache_write_5m + tokens->cache_write_1h;
    tg_json_out_key(out, "usage");
    tg_json_out_begin_object(out);
    write_count(out, "prompt_tokens", prompt);
    write_count(out, "completion_tokens", tokens->output);
    write_count(out, "total_tokens", prompt + tokens->output);
    tg_json_out_key(out, "prompt_tokens_details");
    tg_json_out_begin_object(out);
    write_count(out, "cached_tokens", tokens->cache_read);
    tg_json_out_end_object(out);
    tg_json_out_key(out, "completion_tokens_details");
    tg_json_out_begin_object(out);
    write_count(out, "reasoning_tokens", tokens->reasoning);
    tg_json_out_end_object(out);
    tg_json_out_end_object(out);
}

/* ---- streamed ---- */

/* Every chunk starts with the same bytes; they are written once, into encoder->text. */
static int write_prefix(tg_client_encoder *encoder)
{
    tg_buf *prefix = &encoder->text;
    tg_json_out out = tg_json_out_to(prefix);
    tg_buf_clear(prefix);
    int rc = tg_buf_add_text(prefix, "data: ");
    if (rc < 0)
        return rc;
    tg_json_out_begin_object(&out);
    write_head(&out, encoder, "chat.completion.chunk");
    return out.status;
}

/* {prefix},"choices":[{"index":0,"delta":{DELTA_KEY "DELTA"
 * DELTA_END},"logprobs":null,"finish_reason":FINISH}]} */
static int write_chunk(tg_client_encoder *encoder, const char *delta_key, tg_str delta,
                       const char *delta_end, const char *finish, tg_buf *to)
{
    int rc = tg_buf_reserve(to, encoder->text.len + delta.len + 128);
    if (rc == 0)
        rc = tg_buf_add_str(to, tg_buf_str(&encoder->text));
    if (rc == 0)
        rc = tg_buf_add_text(to, ",\"choices\":[{\"index\":0,\"delta\":{");
    if (rc == 0)
        rc = tg_buf_add_text(to, delta_key);
    if (rc == 0 && *delta_key)
        rc = tg_json_quote(to, delta);
    if (rc == 0)
        rc = tg_buf_add_text(to, delta_end);
    if (rc == 0)
        rc = tg_buf_printf(to, "},\"logprobs\":null,\"finish_reason\":%s}]%s}\n\n", finish,
                           encoder->include_usage ? ",\"usage\":null" : "");
    return rc;
}

int tg_client_openai_begin(tg_client_encoder *encoder, tg_buf *out)
{
    int rc = write_prefix(encoder);
    return rc < 0 ? rc
                  : write_chunk(encoder, "\"role\":\"assistant\",\"content\":", (tg_str){"", 0}, "",
                                "null", out);
}

int tg_client_openai_text(tg_client_encoder *encoder, tg_str text, tg_buf *out)
{
    return write_chunk(encoder, "\"content\":", text, "", "null", out);
}

int tg_client_openai_reasoning(tg_client_encoder *encoder, tg_str text, tg_buf *out)
{
    return write_chunk(encoder, "\"reasoning_content\":", text, "", "null", out);
}

/* {"id":…,"type":"function","function":{"name":…,"arguments": — then the arguments and two
 * brackets. */
static int write_call_head(const tg_chat_event *event, tg_buf *to)
{
    int rc = tg_buf_add_text(to, "\"id\":");
    if (rc == 0)
        rc = tg_json_quote(to, event->call_id);
    if (rc == 0)
        rc = tg_buf_add_text(to, ",\"type\":\"function\",\"function\":{\"name\":");
    if (rc == 0)
        rc = tg_json_quote(to, event->call_name);
    return rc < 0 ? rc : tg_buf_add_text(to, ",\"arguments\":");
}

int tg_client_openai_call(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out)
{
    tg_buf key;
    tg_buf_init(&key, TG_CODEC_EVENT_MAX);
    int rc = tg_buf_printf(&key, "\"tool_calls\":[{\"index\":%u,", event->call);
    if (rc == 0 && event->type == TG_CHAT_CALL)
        rc = write_call_head(event, &key);
    else if (rc == 0)
        rc = tg_buf_add_text(&key, "\"function\":{\"arguments\":");
    if (rc == 0)
        rc = write_chunk(encoder, key.data,
                         event->type == TG_CHAT_CALL ? (tg_str){"", 0} : event->text, "}}]", "null",
                         out);
    tg_buf_free(&key);
    return rc;
}

static int write_done(const char *comment, tg_buf *out)
{
    int rc = tg_client_comment(comment, out);
    return rc < 0 ? rc : tg_buf_add_text(out, "data: [DONE]\n\n");
}

/* The extra chunk a client gets that asked for include_usage. */
static int write_usage_chunk(tg_client_encoder *encoder, tg_buf *to)
{
    int rc = tg_buf_add_str(to, tg_buf_str(&encoder->text));
    if (rc == 0)
        rc = tg_buf_add_text(to, ",\"choices\":[]");
    if (rc < 0)
        return rc;
    tg_json_out out = tg_json_out_to(to);
    out.comma = true;
    write_usage(&out, &encoder->tokens);
    tg_json_out_end_object(&out);
    return out.status < 0 ? out.status : tg_buf_add_text(to, "\n\n");
}

int tg_client_openai_finish(tg_client_encoder *encoder, const char *comment, tg_buf *out)
{
    char finish[32] = "\"";
    strcat(strcat(finish, finish_reason(encoder->stop)), "\"");
    int rc = write_chunk(encoder, "", (tg_str){"", 0}, "", finish, out);
    if (rc == 0 && encoder->include_usage)
        rc = write_usage_chunk(encoder, out);
    return rc < 0 ? rc : write_done(comment, out);
}

int tg_client_openai_raw_end(tg_client_encoder *encoder, const char *comment, tg_buf *out)
{
    (void)encoder; /* everything but [DONE] went through */
    return write_done(comment, out);
}

int tg_client_openai_broken(const char *message, tg_buf *out)
{
    int rc = tg_buf_add_text(out, "data: {\"error\":{\"message\":");
    if (rc == 0)
        rc = tg_json_quote(out, tg_str_of(message));
    if (rc == 0)
        rc = tg_buf_add_text(out, ",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n");
    return rc;
}

/* ---- plain ---- */

/* A JSON string without its quotes. */
static int add_inside(tg_buf *to, tg_str text)
{
    const size_t at = to->len;
    int rc = tg_json_quote(to, text);
    if (rc < 0)
        return rc;
    memmove(to->data + at, to->data + at + 1, to->len - at - 2);
    to->len -= 2;
    to->data[to->len] = '\0';
    return 0;
}

int tg_client_collect(tg_client_encoder *encoder, const tg_chat_event *event)
{
    tg_buf *to = &encoder->calls;
    if (event->type == TG_CHAT_ARGUMENTS)
        return add_inside(to, event->text);
    int rc = tg_buf_add_text(to, to->len > 0 ? "\"}},{" : "{");
    if (rc == 0)
        rc = write_call_head(event, to);
    return rc < 0 ? rc : tg_buf_add_text(to, "\"");
}

static void write_message(tg_json_out *out, const tg_client_encoder *encoder)
{
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "role");
    tg_json_out_text(out, "assistant");
    tg_json_out_key(out, "content");
    if (encoder->text.len > 0 || encoder->calls.len == 0)
        tg_json_out_str(out, tg_buf_str(&encoder->text));
    else
        tg_json_out_null(out);
    tg_json_out_key(out, "refusal");
    tg_json_out_null(out);
    if (encoder->reasoning.len > 0) {
        tg_json_out_key(out, "reasoning_content");
        tg_json_out_str(out, tg_buf_str(&encoder->reasoning));
    }
    if (encoder->calls.len > 0) {
        tg_json_out_key(out, "tool_calls");
        tg_json_out_begin_array(out);
        tg_json_out_raw(out, tg_buf_str(&encoder->calls));
        tg_json_out_end_array(out);
    }
    tg_json_out_end_object(out);
}

int tg_client_openai_body(tg_client_encoder *encoder, tg_buf *to)
{
    int rc = encoder->calls.len > 0 ? tg_buf_add_text(&encoder->calls, "\"}}") : 0;
    if (rc < 0)
        return rc;
    tg_json_out out = tg_json_out_to(to);
    tg_json_out_begin_object(&out);
    write_head(&out, encoder, "chat.completion");
    tg_json_out_key(&out, "choices");
    tg_json_out_begin_array(&out);
    tg_json_out_begin_object(&out);
    write_count(&out, "index", 0);
    tg_json_out_key(&out, "message");
    write_message(&out, encoder);
    tg_json_out_key(&out, "logprobs");
    tg_json_out_null(&out);
    tg_json_out_key(&out, "finish_reason");
    tg_json_out_text(&out, finish_reason(encoder->stop));
    tg_json_out_end_object(&out);
    tg_json_out_end_array(&out);
    write_usage(&out, &encoder->tokens);
    tg_json_out_end_object(&out);
    return out.status;
}
