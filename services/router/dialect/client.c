#include "services/router/dialect/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void tg_client_encoder_init(tg_client_encoder *encoder, const tg_chat_request *request,
                            bool same_dialect, const char *request_id, uint64_t created_unix_s)
{
    memset(encoder, 0, sizeof *encoder);
    encoder->dialect = request->dialect;
    encoder->stream = request->stream;
    encoder->include_usage = request->include_usage;
    encoder->thoughts = request->wants_thoughts;
    encoder->same_dialect = same_dialect;
    encoder->created_unix_s = created_unix_s;
    snprintf(encoder->id, sizeof encoder->id, "%s%s",
             request->dialect == TG_DIALECT_ANTHROPIC ? "msg_" : "chatcmpl-", request_id);
    tg_buf_init(&encoder->text, TG_CODEC_BODY_MAX);
    tg_buf_init(&encoder->reasoning, TG_CODEC_BODY_MAX);
    tg_buf_init(&encoder->calls, TG_CODEC_BODY_MAX);
    tg_buf_init(&encoder->raw_body, TG_CODEC_BODY_MAX);
}

void tg_client_encoder_free(tg_client_encoder *encoder)
{
    tg_buf_free(&encoder->text);
    tg_buf_free(&encoder->reasoning);
    tg_buf_free(&encoder->calls);
    tg_buf_free(&encoder->raw_body);
}

int tg_client_comment(const char *comment, tg_buf *out)
{
    if (!comment || !*comment)
        return 0;
    size_t start = out->len;
    int rc = tg_buf_printf(out, ": %s", comment);
    for (size_t i = start; rc == 0 && i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
    return rc < 0 ? rc : tg_buf_add(out, "\n\n", 2);
}

int tg_client_sse(tg_str name, tg_str data, tg_buf *out)
{
    int rc = tg_buf_reserve(out, name.len + data.len + 32);
    if (rc == 0 && name.len > 0)
        rc = tg_buf_printf(out, "event: %.*s\n", TG_STR_ARG(name));
    while (rc == 0) {
        const char *end = data.len > 0 ? memchr(data.data, '\n', data.len) : NULL;
        size_t len = end ? (size_t)(end - data.data) : data.len;
        rc = tg_buf_add(out, "data: ", 6);
        if (rc == 0)
            rc = tg_buf_add(out, data.data, len);
        if (rc == 0)
            rc = tg_buf_add_char(out, '\n');
        if (!end)
            break;
        data = (tg_str){end + 1, data.len - len - 1};
    }
    return rc < 0 ? rc : tg_buf_add_char(out, '\n');
}

/* ---- the dialect's own functions ---- */

static int begin(tg_client_encoder *encoder, tg_buf *out)
{
    if (encoder->started)
        return 0;
    encoder->started = true;
    return encoder->dialect == TG_DIALECT_ANTHROPIC ? tg_client_anthropic_begin(encoder, out)
                                                    : tg_client_openai_begin(encoder, out);
}

static int write_text(tg_client_encoder *encoder, tg_str text, tg_buf *out)
{
    int rc = begin(encoder, out);
    if (rc < 0)
        return rc;
    return encoder->dialect == TG_DIALECT_ANTHROPIC ? tg_client_anthropic_text(encoder, text, out)
                                                    : tg_client_openai_text(encoder, text, out);
}

/* Thoughts and calls. Anthropic's clients are told of thinking where they asked for it. */
static int write_more(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out)
{
    const bool thought = event->type == TG_CHAT_REASONING,
               anthropic = encoder->dialect == TG_DIALECT_ANTHROPIC;
    if (thought && anthropic && !encoder->thoughts)
        return 0;
    if (!encoder->stream)
        return thought ? tg_buf_add_str(&encoder->reasoning, event->text)
                       : tg_client_collect(encoder, event);
    int rc = begin(encoder, out);
    if (rc < 0)
        return rc;
    if (anthropic)
        return thought ? tg_client_anthropic_thought(encoder, event->text, out)
                       : tg_client_anthropic_call(encoder, event, out);
    return thought ? tg_client_openai_reasoning(encoder, event->text, out)
                   : tg_client_openai_call(encoder, event, out);
}

/* ---- events ---- */

static void note(tg_client_encoder *encoder, const tg_chat_event *event)
{
    switch (event->type) {
    case TG_CHAT_START:
        if (event->model.len > 0)
            tg_str_copy(encoder->model, sizeof encoder->model, event->model);
        break;
    case TG_CHAT_STOP:
        encoder->stop = event->stop;
        tg_str_copy(encoder->stop_sequence, sizeof encoder->stop_sequence, event->stop_sequence);
        break;
    case TG_CHAT_USAGE:
        encoder->tokens = event->tokens;
        break;
    case TG_CHAT_TEXT:
    case TG_CHAT_REASONING:
    case TG_CHAT_CALL:
    case TG_CHAT_ARGUMENTS:
    case TG_CHAT_ERROR:
    case TG_CHAT_OTHER:
        break;
    }
}

/* Same dialect: the upstream's own payload goes through, but for what must wait for the end. */
static int raw_event(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out)
{
    if (event->raw_shared || event->raw.len == 0)
        return 0;
    if (!encoder->stream || tg_str_is(event->raw_name, "message_stop")) {
        encoder->raw_body_set = true;
        tg_buf_clear(&encoder->raw_body);
        return tg_buf_add_str(&encoder->raw_body, event->raw);
    }
    if (event->raw_usage_only && !encoder->include_usage)
        return 0;
    encoder->started = true;
    return tg_client_sse(event->raw_name, event->raw, out);
}

int tg_client_encoder_event(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out)
{
    note(encoder, event);
    if (encoder->same_dialect)
        return raw_event(encoder, event, out);
    if (event->type == TG_CHAT_TEXT)
        return encoder->stream ? write_text(encoder, event->text, out)
                               : tg_buf_add_str(&encoder->text, event->text);
    return tg_chat_is_output(event) ? write_more(encoder, event, out) : 0;
}

static int end_plain(tg_client_encoder *encoder, tg_buf *out)
{
    if (encoder->same_dialect && encoder->raw_body_set)
        return tg_buf_add_str(out, tg_buf_str(&encoder->raw_body));
    return encoder->dialect == TG_DIALECT_ANTHROPIC ? tg_client_anthropic_body(encoder, out)
                                                    : tg_client_openai_body(encoder, out);
}

int tg_client_encoder_end(tg_client_encoder *encoder, const tg_tokens *tokens, const char *comment,
                          tg_buf *out)
{
    bool anthropic = encoder->dialect == TG_DIALECT_ANTHROPIC;
    if (encoder->stopped)
        return -EALREADY;
    encoder->stopped = true;
    encoder->tokens = *tokens;
    if (!encoder->stream)
        return end_plain(encoder, out);
    if (encoder->same_dialect)
        return anthropic ? tg_client_anthropic_raw_end(encoder, comment, out)
                         : tg_client_openai_raw_end(encoder, comment, out);
    int rc = begin(encoder, out);
    if (rc < 0)
        return rc;
    return anthropic ? tg_client_anthropic_finish(encoder, comment, out)
                     : tg_client_openai_finish(encoder, comment, out);
}

int tg_client_encoder_broken(tg_client_encoder *encoder, const char *message, tg_buf *out)
{
    encoder->stopped = true;
    return encoder->dialect == TG_DIALECT_ANTHROPIC ? tg_client_anthropic_broken(message, out)
                                                    : tg_client_openai_broken(message, out);
}
