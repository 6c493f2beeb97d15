#include "services/router/dialect/answer.h"

#include <errno.h>
#include <stdlib.h>

tg_answer_decoder *tg_answer_decoder_new(tg_provider provider, bool stream, tg_json_doc *doc)
{
    tg_answer_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return NULL;
    decoder->provider = provider;
    decoder->stream = stream || provider == TG_PROVIDER_PRIVATE;
    decoder->doc = doc;
    tg_buf_init(&decoder->body, TG_CODEC_BODY_MAX);
    tg_sse_parser_init(&decoder->sse, TG_CODEC_EVENT_MAX);
    tg_eventstream_init(&decoder->eventstream, TG_CODEC_EVENT_MAX);
    return decoder;
}

tg_answer_decoder *tg_answer_decoder_free(tg_answer_decoder *decoder)
{
    if (decoder) {
        tg_buf_free(&decoder->body);
        tg_sse_parser_free(&decoder->sse);
        tg_eventstream_free(&decoder->eventstream);
        free(decoder);
    }
    return NULL;
}

bool tg_answer_decoder_complete(const tg_answer_decoder *decoder) { return decoder->complete; }

/* ---- events out ---- */

void tg_answer_emit(tg_answer_decoder *decoder, tg_chat_event *event)
{
    event->raw = decoder->raw;
    event->raw_name = decoder->raw_name;
    event->raw_usage_only = decoder->raw_usage_only;
    event->raw_shared = decoder->raw_given;
    decoder->raw_given = true;
    decoder->on_event(decoder->user, event);
}

void tg_answer_emit_start(tg_answer_decoder *decoder, tg_str model, tg_str id)
{
    if (decoder->started)
        return;
    decoder->started = true;
    tg_chat_event event = {.type = TG_CHAT_START, .model = model, .upstream_id = id};
    tg_answer_emit(decoder, &event);
}

static void emit_text(tg_answer_decoder *decoder, tg_chat_event_type type, tg_str text)
{
    tg_chat_event event = {
        .type = type, .text = text, .call = decoder->calls > 0 ? decoder->calls - 1 : 0};
    if (text.len > 0)
        tg_answer_emit(decoder, &event);
}

void tg_answer_emit_text(tg_answer_decoder *decoder, tg_json text)
{
    tg_str value = {"", 0};
    tg_json_str(text, &value);
    emit_text(decoder, TG_CHAT_TEXT, value);
}

void tg_answer_emit_reasoning(tg_answer_decoder *decoder, tg_json text)
{
    tg_str value = {"", 0};
    tg_json_str(text, &value);
    emit_text(decoder, TG_CHAT_REASONING, value);
}

void tg_answer_emit_call(tg_answer_decoder *decoder, tg_str id, tg_str name)
{
    tg_chat_event event = {
        .type = TG_CHAT_CALL, .call = decoder->calls++, .call_id = id, .call_name = name};
    decoder->call_empty = true;
    tg_answer_emit(decoder, &event);
}

void tg_answer_emit_arguments(tg_answer_decoder *decoder, tg_str piece)
{
    if (decoder->calls == 0)
        return; /* of no call */
    decoder->call_empty &= piece.len == 0;
    emit_text(decoder, TG_CHAT_ARGUMENTS, piece);
}

void tg_answer_emit_object(tg_answer_decoder *decoder, tg_json arguments)
{
    tg_buf buf;
    tg_buf_init(&buf, TG_CODEC_BODY_MAX);
    tg_json_out out = tg_json_out_to(&buf);
    if (tg_json_type_of(arguments) == TG_JSON_OBJECT)
        tg_json_out_value(&out, arguments);
    tg_answer_emit_arguments(decoder, tg_buf_str(&buf));
    tg_buf_free(&buf);
}

void tg_answer_emit_call_end(tg_answer_decoder *decoder)
{
    if (decoder->call_empty)
        tg_answer_emit_arguments(decoder, TG_STR("{}"));
}

void tg_answer_emit_stop(tg_answer_decoder *decoder, tg_stop_reason stop, tg_str sequence)
{
    tg_chat_event event = {.type = TG_CHAT_STOP, .stop = stop, .stop_sequence = sequence};
    tg_answer_emit(decoder, &event);
}

void tg_answer_emit_usage(tg_answer_decoder *decoder)
{
    tg_chat_event event = {.type = TG_CHAT_USAGE,
                           .tokens = decoder->tokens,
                           .has_input = decoder->has_input,
                           .has_output = decoder->has_output};
    tg_answer_emit(decoder, &event);
}

void tg_answer_emit_error(tg_answer_decoder *decoder, tg_str type, tg_str message)
{
    tg_chat_event event = {.type = TG_CHAT_ERROR,
                           .error_type = type.len > 0 ? type : TG_STR("api_error"),
                           .error_message = message};
    tg_answer_emit(decoder, &event);
}

/* ---- reading ---- */

int tg_answer_parse(tg_answer_decoder *decoder, tg_str payload, tg_json *ret_root)
{
    tg_json root;
    int rc = tg_json_parse(decoder->doc, payload, TG_CODEC_BODY_MAX, decoder->err, &root);
    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        tg_error_prefix(decoder->err, "the answer cannot be read");
        return -EBADMSG;
    }
    if (tg_json_type_of(root) != TG_JSON_OBJECT)
        return tg_error_set(decoder->err, -EBADMSG, "the answer is no JSON object");
    *ret_root = root;
    return 0;
}

tg_str tg_answer_text(tg_json object, const char *key)
{
    tg_str text = {"", 0};
    tg_json_str(tg_json_get(object, key), &text);
    return text;
}

bool tg_answer_count(tg_json object, const char *dotted, uint64_t *ret)
{
    return tg_json_u64(tg_json_path(object, dotted), ret) == 0;
}

tg_stop_reason tg_answer_stop_reason(tg_str name)
{
    static const struct {
        const char *name;
        tg_stop_reason stop;
    } reasons[] = {
        {"stop", TG_STOP_END}, /* OpenAI */
        {"length", TG_STOP_LENGTH},
        {"content_filter", TG_STOP_FILTER},
        {"tool_calls", TG_STOP_TOOLS},
        {"end_turn", TG_STOP_END}, /* Anthropic and Bedrock */
        {"tool_use", TG_STOP_TOOLS},
        {"max_tokens", TG_STOP_LENGTH},
        {"stop_sequence", TG_STOP_SEQUENCE},
        {"model_context_window_exceeded", TG_STOP_LENGTH},
        {"refusal", TG_STOP_FILTER},
        {"guardrail_intervened", TG_STOP_FILTER}, /* Bedrock */
        {"content_filtered", TG_STOP_FILTER},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (tg_str_is(name, reasons[i].name))
            return reasons[i].stop;
    return TG_STOP_OTHER;
}

/* ---- bytes in ---- */

static void begin_payload(tg_answer_decoder *decoder, tg_str name, tg_str data)
{
    decoder->raw = data;
    decoder->raw_name = name;
    decoder->raw_given = decoder->raw_usage_only = false;
}

static int on_sse_event(void *user, tg_str name, tg_str data)
{
    tg_answer_decoder *decoder = user;
    if (decoder->complete)
        return 0; /* nothing after the end mark means anything */
    begin_payload(decoder, name, data);
    int rc = decoder->provider == TG_PROVIDER_OPENAI ? tg_answer_openai_event(decoder, data)
                                                     : tg_answer_anthropic_event(decoder, data);
    /* OpenAI's end mark is written anew by the client's encoder. */
    bool done = decoder->complete && decoder->provider == TG_PROVIDER_OPENAI;
    if (rc == 0 && !decoder->raw_given && !done) {
        tg_chat_event event = {.type = TG_CHAT_OTHER};
        tg_answer_emit(decoder, &event);
    }
    return rc;
}

static int on_eventstream_message(void *user, const tg_eventstream_message *message)
{
    tg_answer_decoder *decoder = user;
    if (decoder->complete)
        return 0;
    begin_payload(decoder, message->event_type, message->payload);
    return tg_answer_bedrock_message(decoder, message);
}

static int feed_stream(tg_answer_decoder *decoder, tg_str bytes)
{
    int rc;
    switch (decoder->provider) {
    case TG_PROVIDER_OPENAI:
    case TG_PROVIDER_ANTHROPIC:
        rc = tg_sse_parser_feed(&decoder->sse, bytes, on_sse_event, decoder);
        if (rc == -ENOSPC)
            rc = tg_error_set(decoder->err, -EBADMSG, "a stream event exceeds %zu bytes",
                              TG_CODEC_EVENT_MAX);
        return rc;
    case TG_PROVIDER_BEDROCK:
        return tg_eventstream_feed(&decoder->eventstream, bytes, on_eventstream_message, decoder,
                                   decoder->err);
    case TG_PROVIDER_PRIVATE:
        begin_payload(decoder, (tg_str){"", 0}, (tg_str){"", 0});
        return tg_answer_private_event(decoder, bytes);
    }
    return -EINVAL;
}

static void begin_call(tg_answer_decoder *decoder, tg_on_chat_event *on_event, void *user,
                       tg_error *err)
{
    decoder->on_event = on_event;
    decoder->user = user;
    decoder->err = err;
}

int tg_answer_decoder_feed(tg_answer_decoder *decoder, tg_str bytes, tg_on_chat_event *on_event,
                           void *user, tg_error *err)
{
    int rc;
    if (decoder->failed)
        return tg_error_set(err, -EBADMSG, "the answer was broken before");
    begin_call(decoder, on_event, user, err);
    if (decoder->stream) {
        rc = feed_stream(decoder, bytes);
    } else {
        rc = tg_buf_add_str(&decoder->body, bytes);
        if (rc == -ENOSPC)
            rc = tg_error_set(err, -EBADMSG, "the answer exceeds %zu bytes", TG_CODEC_BODY_MAX);
    }
    decoder->failed = rc < 0;
    return rc;
}

static int end_plain(tg_answer_decoder *decoder)
{
    tg_str body = tg_buf_str(&decoder->body);
    begin_payload(decoder, (tg_str){"", 0}, body);
    switch (decoder->provider) {
    case TG_PROVIDER_OPENAI:
        return tg_answer_openai_body(decoder, body);
    case TG_PROVIDER_ANTHROPIC:
        return tg_answer_anthropic_body(decoder, body);
    case TG_PROVIDER_BEDROCK:
        return tg_answer_bedrock_body(decoder, body);
    case TG_PROVIDER_PRIVATE:
        break;
    }
    return -EINVAL;
}

static const char *end_mark(tg_provider provider)
{
    switch (provider) {
    case TG_PROVIDER_OPENAI:
        return "[DONE]";
    case TG_PROVIDER_ANTHROPIC:
        return "message_stop";
    case TG_PROVIDER_BEDROCK:
        return "metadata";
    case TG_PROVIDER_PRIVATE:
        return "GenerateEnd";
    }
    return "its end mark";
}

int tg_answer_decoder_end(tg_answer_decoder *decoder, tg_on_chat_event *on_event, void *user,
                          tg_error *err)
{
    int rc = 0;
    if (decoder->failed)
        return tg_error_set(err, -EBADMSG, "the answer was broken before");
    begin_call(decoder, on_event, user, err);
    if (!decoder->stream && !decoder->complete)
        rc = end_plain(decoder);
    else if (!decoder->complete)
        rc =
            tg_error_set(err, -EBADMSG, "the stream ended without %s", end_mark(decoder->provider));
    decoder->failed = rc < 0;
    return rc;
}
