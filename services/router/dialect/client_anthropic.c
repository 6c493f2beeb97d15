/* Anthropic's message object and stream events, as its SDKs expect them. */
#include "services/router/dialect/client.h"
#include "services/router/dialect/request.h"

#include <errno.h>

static const char *stop_reason(tg_stop_reason stop)
{
    switch (stop) {
    case TG_STOP_LENGTH:
        return "max_tokens";
    case TG_STOP_SEQUENCE:
        return "stop_sequence";
    case TG_STOP_FILTER:
        return "refusal";
    case TG_STOP_TOOLS:
        return "tool_use";
    case TG_STOP_NONE:
    case TG_STOP_END:
    case TG_STOP_OTHER:
        break;
    }
    return "end_turn";
}

static void write_count(tg_json_out *out, const char *key, uint64_t value)
{
    tg_json_out_key(out, key);
    tg_json_out_u64(out, value);
}

static void write_usage(tg_json_out *out, const tg_tokens *tokens)
{
    tg_json_out_key(out, "usage");
    tg_json_out_begin_object(out);
    write_count(out, "input_tokens", tokens->input);
    write_count(out, "cache_creation_input_tokens",
                tokens->cache_write_5m + tokens->cache_write_1h);
    write_count(out, "cache_read_input_tokens", tokens->cache_read);
    if (tokens->cache_write_5m + tokens->cache_write_1h > 0) {
        tg_json_out_key(out, "cache_creation");
        tg_json_out_begin_object(out);
        write_count(out, "ephemeral_5m_input_tokens", tokens->cache_write_5m);
        write_count(out, "ephemeral_1h_input_tokens", tokens->cache_write_1h);
        tg_json_out_end_object(out);
    }
    write_count(out, "output_tokens", tokens->output);
    tg_json_out_end_object(out);
}

static void write_stop(tg_json_out *out, const tg_client_encoder *encoder)
{
    tg_json_out_key(out, "stop_reason");
    tg_json_out_text(out, stop_reason(encoder->stop));
    tg_json_out_key(out, "stop_sequence");
    if (encoder->stop == TG_STOP_SEQUENCE && encoder->stop_sequence[0])
        tg_json_out_text(out, encoder->stop_sequence);
    else
        tg_json_out_null(out);
}

static void write_head(tg_json_out *out, const tg_client_encoder *encoder)
{
    tg_json_out_key(out, "id");
    tg_json_out_text(out, encoder->id);
    tg_json_out_key(out, "type");
    tg_json_out_text(out, "message");
    tg_json_out_key(out, "role");
    tg_json_out_text(out, "assistant");
    tg_json_out_key(out, "model");
    tg_json_out_text(out, encoder->model);
    tg_json_out_key(out, "content");
}

/* ---- streamed ---- */

/* "event: NAME", then the data line is the writer's until end_event. */
static int begin_event(const char *name, tg_buf *to)
{
    return tg_buf_printf(to, "event: %s\ndata: ", name);
}

static int end_event(const tg_json_out *out)
{
    return out->status < 0 ? out->status : tg_buf_add(out->buf, "\n\n", 2);
}

int tg_client_anthropic_begin(tg_client_encoder *encoder, tg_buf *to)
{
    int rc = begin_event("message_start", to);
    if (rc < 0)
        return rc;
    tg_json_out out = tg_json_out_to(to);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "type");
    tg_json_out_text(&out, "message_start");
    tg_json_out_key(&out, "message");
    tg_json_out_begin_object(&out);
    write_head(&out, encoder);
    tg_json_out_begin_array(&out);
    tg_json_out_end_array(&out);
    tg_json_out_key(&out, "stop_reason");
    tg_json_out_null(&out);
    tg_json_out_key(&out, "stop_sequence");
    tg_json_out_null(&out);
    write_usage(&out,
                &encoder->tokens); /* as far as the upstream has said; message_delta has it all */
    tg_json_out_end_object(&out);
    tg_json_out_end_object(&out);
    return end_event(&out);
}

/* Ends the block that is open, if one is. */
static int close_block(tg_client_encoder *encoder, tg_buf *out)
{
    if (encoder->open == TG_BLOCK_NONE)
        return 0;
    encoder->open = TG_BLOCK_NONE;
    return tg_buf_printf(
        out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":%u}\n\n",
        encoder->blocks - 1);
}

static int open_text(tg_client_encoder *encoder, tg_buf *out)
{
    int rc = close_block(encoder, out);
    encoder->open = TG_BLOCK_TEXT;
    return rc < 0 ? rc
                  : tg_buf_printf(out,
                                  "event: content_block_start\ndata: "
                                  "{\"type\":\"content_block_start\",\"index\":%u,"
                                  "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
                                  encoder->blocks++);
}

/* The signature proves to Anthropic that the thinking is its own; this one is not, and its
 * signature stays empty. */
static int open_thinking(tg_client_encoder *encoder, tg_buf *out)
{
    int rc = close_block(encoder, out);
    encoder->open = TG_BLOCK_THINKING;
    return rc < 0 ? rc
                  : tg_buf_printf(out,
                                  "event: content_block_start\ndata: "
                                  "{\"type\":\"content_block_start\",\"index\":%u,"
                                  "\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\","
                                  "\"signature\":\"\"}}\n\n",
                                  encoder->blocks++);
}

/* A delta of the open block, up to the text that is quoted in it. */
static int write_delta(const tg_client_encoder *encoder, const char *type, const char *key,
                       tg_str text, tg_buf *out)
{
    int rc = tg_buf_printf(
        out,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":%u,"
        "\"delta\":{\"type\":\"%s\",\"%s\":",
        encoder->blocks - 1, type, key);
    if (rc == 0)
        rc = tg_json_quote(out, text);
    return rc < 0 ? rc : tg_buf_add_text(out, "}}\n\n");
}

int tg_client_anthropic_text(tg_client_encoder *encoder, tg_str text, tg_buf *out)
{
    int rc = encoder->open == TG_BLOCK_TEXT ? 0 : open_text(encoder, out);
    return rc < 0 ? rc : write_delta(encoder, "text_delta", "text", text, out);
}

int tg_client_anthropic_thought(tg_client_encoder *encoder, tg_str text, tg_buf *out)
{
    int rc = encoder->open == TG_BLOCK_THINKING ? 0 : open_thinking(encoder, out);
    return rc < 0 ? rc : write_delta(encoder, "thinking_delta", "thinking", text, out);
}

int tg_client_anthropic_call(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *to)
{
    if (event->type == TG_CHAT_ARGUMENTS)
        return encoder->open == TG_BLOCK_CALL
                   ? write_delta(encoder, "input_json_delta", "partial_json", event->text, to)
                   : 0;
    int rc = close_block(encoder, to);
    if (rc == 0)
        rc = tg_buf_printf(
            to,
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":%u,"
            "\"content_block\":{\"type\":\"tool_use\",\"id\":",
            encoder->blocks++);
    encoder->open = TG_BLOCK_CALL;
    if (rc == 0)
        rc = tg_json_quote(to, event->call_id);
    if (rc == 0)
        rc = tg_buf_add_text(to, ",\"name\":");
    if (rc == 0)
        rc = tg_json_quote(to, event->call_name);
    return rc < 0 ? rc : tg_buf_add_text(to, ",\"input\":{}}}\n\n");
}

static int write_message_delta(const tg_client_encoder *encoder, tg_buf *to)
{
    int rc = begin_event("message_delta", to);
    if (rc < 0)
        return rc;
    tg_json_out out = tg_json_out_to(to);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "type");
    tg_json_out_text(&out, "message_delta");
    tg_json_out_key(&out, "delta");
    tg_json_out_begin_object(&out);
    write_stop(&out, encoder);
    tg_json_out_end_object(&out);
    write_usage(&out, &encoder->tokens);
    tg_json_out_end_object(&out);
    return end_event(&out);
}

static int write_message_stop(tg_str data, const char *comment, tg_buf *out)
{
    int rc = tg_client_comment(comment, out);
    return rc < 0 ? rc : tg_client_sse(TG_STR("message_stop"), data, out);
}

int tg_client_anthropic_finish(tg_client_encoder *encoder, const char *comment, tg_buf *out)
{
    int rc = close_block(encoder, out);
    if (rc == 0)
        rc = write_message_delta(encoder, out);
    return rc < 0 ? rc : write_message_stop(TG_STR("{\"type\":\"message_stop\"}"), comment, out);
}

int tg_client_anthropic_raw_end(tg_client_encoder *encoder, const char *comment, tg_buf *out)
{
    tg_str own = TG_STR("{\"type\":\"message_stop\"}");
    return write_message_stop(encoder->raw_body_set ? tg_buf_str(&encoder->raw_body) : own, comment,
                              out);
}

int tg_client_anthropic_broken(const char *message, tg_buf *out)
{
    int rc = tg_buf_add_text(
        out, "event: error\n"
             "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":");
    if (rc == 0)
        rc = tg_json_quote(out, tg_str_of(message));
    return rc < 0 ? rc : tg_buf_add_text(out, "}}\n\n");
}

/* ---- plain ---- */

/* One call: {"id":…,"function":{"name":…,"arguments":"JSON, if the model wrote JSON"}} as a
 * block. */
static void write_call(tg_json_out *out, tg_json call)
{
    tg_str text = {"", 0};
    bool object = false;
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "type");
    tg_json_out_text(out, "tool_use");
    tg_json_out_key(out, "id");
    tg_json_out_value(out, tg_json_get(call, "id"));
    tg_json_out_key(out, "name");
    tg_json_out_value(out, tg_json_path(call, "function.name"));
    tg_json_str(tg_json_path(call, "function.arguments"), &text);
    tg_json_out_key(out, "input");
    if (tg_request_is_object(text, &object) < 0)
        out->status = -ENOMEM;
    if (object) {
        tg_json_out_raw(out, text);
    } else {
        tg_json_out_begin_object(out);
        if (text.len > 0) {
            tg_json_out_key(out, "arguments");
            tg_json_out_str(out, text);
        }
        tg_json_out_end_object(out);
    }
    tg_json_out_end_object(out);
}

static int write_calls(tg_client_encoder *encoder, tg_json_out *out)
{
    tg_buf list;
    tg_json root;
    tg_json_doc *doc = tg_json_doc_new();
    tg_buf_init(&list, TG_CODEC_BODY_MAX);
    int rc = doc ? tg_buf_add_char(&list, '[') : -ENOMEM;
    if (rc == 0)
        rc = tg_buf_add_str(&list, tg_buf_str(&encoder->calls));
    if (rc == 0)
        rc = tg_buf_add_text(&list, "\"}}]");
    if (rc == 0)
        rc = tg_json_parse(doc, tg_buf_str(&list), TG_CODEC_BODY_MAX, NULL, &root);
    if (rc == 0)
        for (tg_json_iter it = tg_json_iterate(root); tg_json_next(&it);)
            write_call(out, it.value);
    tg_buf_free(&list);
    tg_json_doc_free(doc);
    return rc;
}

/* A block whose text has the same name as its type. */
static void begin_block(tg_json_out *out, const char *type, const tg_buf *text)
{
    tg_json_out_begin_object(out);
    tg_json_out_key(out, "type");
    tg_json_out_text(out, type);
    tg_json_out_key(out, type);
    tg_json_out_str(out, tg_buf_str(text));
}

int tg_client_anthropic_body(tg_client_encoder *encoder, tg_buf *to)
{
    tg_json_out out = tg_json_out_to(to);
    tg_json_out_begin_object(&out);
    write_head(&out, encoder);
    tg_json_out_begin_array(&out);
    if (encoder->reasoning.len > 0) {
        begin_block(&out, "thinking", &encoder->reasoning);
        tg_json_out_key(&out, "signature");
        tg_json_out_text(&out, "");
        tg_json_out_end_object(&out);
    }
    if (encoder->text.len > 0) {
        begin_block(&out, "text", &encoder->text);
        tg_json_out_end_object(&out);
    }
    int rc = encoder->calls.len > 0 ? write_calls(encoder, &out) : 0;
    if (rc < 0)
        return rc;
    tg_json_out_end_array(&out);
    write_stop(&out, encoder);
    write_usage(&out, &encoder->tokens);
    tg_json_out_end_object(&out);
    return out.status;
}
