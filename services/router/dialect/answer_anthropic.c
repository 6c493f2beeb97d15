/* Anthropic's message objects and stream events, as published in its API reference.
 * Cache reads and writes come on top of input_tokens; message_delta's usage is cumulative, and
 * repeats only some of what message_start said. */
#include "services/router/dialect/answer.h"

#include <errno.h>

static void read_cache_writes(tg_tokens *tokens, tg_json usage)
{
    uint64_t total, five = 0, hour = 0;
    bool split = tg_answer_count(usage, "cache_creation.ephemeral_5m_input_tokens", &five);
    split = tg_answer_count(usage, "cache_creation.ephemeral_1h_input_tokens", &hour) || split;
    bool whole = tg_answer_count(usage, "cache_creation_input_tokens", &total);
    if (!split && !whole)
        return;
    /* What the split does not name was written for five minutes, the default. */
    if (whole && total > five && total - five > hour)
        five = total - hour;
    tokens->cache_write_5m = five;
    tokens->cache_write_1h = hour;
}

static void read_usage(tg_answer_decoder *decoder, tg_json usage)
{
    if (tg_json_type_of(usage) != TG_JSON_OBJECT)
        return;
    if (tg_answer_count(usage, "input_tokens", &decoder->tokens.input))
        decoder->has_input = true;
    if (tg_answer_count(usage, "output_tokens", &decoder->tokens.output))
        decoder->has_output = true;
    tg_answer_count(usage, "cache_read_input_tokens", &decoder->tokens.cache_read);
    read_cache_writes(&decoder->tokens, usage);
    if (decoder->has_input || decoder->has_output)
        tg_answer_emit_usage(decoder);
}

/* `object` is a plain message or message_delta's delta. */
static void read_stop(tg_answer_decoder *decoder, tg_json object)
{
    tg_str reason = tg_answer_text(object, "stop_reason");
    if (reason.len > 0)
        tg_answer_emit_stop(decoder, tg_answer_stop_reason(reason),
                            tg_answer_text(object, "stop_sequence"));
}

static void read_error(tg_answer_decoder *decoder, tg_json root)
{
    tg_json error = tg_json_get(root, "error");
    tg_answer_emit_error(decoder, tg_answer_text(error, "type"), tg_answer_text(error, "message"));
}

/* A block that is whole (`begun` false) or only begun, in a stream. */
static void read_block(tg_answer_decoder *decoder, tg_json block, bool begun)
{
    decoder->call_empty = false;
    tg_answer_emit_reasoning(decoder, tg_json_get(block, "thinking"));
    tg_answer_emit_text(decoder, tg_json_get(block, "text"));
    if (!tg_str_is(tg_answer_text(block, "type"), "tool_use"))
        return;
    tg_answer_emit_call(decoder, tg_answer_text(block, "id"), tg_answer_text(block, "name"));
    if (!begun)
        tg_answer_emit_object(decoder, tg_json_get(block, "input"));
}

int tg_answer_anthropic_event(tg_answer_decoder *decoder, tg_str data)
{
    tg_json root;
    int rc = tg_answer_parse(decoder, data, &root);
    if (rc < 0)
        return rc;
    tg_str type = tg_answer_text(root, "type");
    if (tg_str_is(type, "content_block_delta")) {
        tg_answer_emit_reasoning(decoder, tg_json_path(root, "delta.thinking"));
        tg_answer_emit_text(decoder, tg_json_path(root, "delta.text"));
        tg_answer_emit_arguments(decoder,
                                 tg_answer_text(tg_json_get(root, "delta"), "partial_json"));
    } else if (tg_str_is(type, "content_block_start")) {
        read_block(decoder, tg_json_get(root, "content_block"), true);
    } else if (tg_str_is(type, "content_block_stop")) {
        tg_answer_emit_call_end(decoder);
        decoder->call_empty = false;
    } else if (tg_str_is(type, "message_start")) {
        tg_json message = tg_json_get(root, "message");
        tg_answer_emit_start(decoder, tg_answer_text(message, "model"),
                             tg_answer_text(message, "id"));
        read_usage(decoder, tg_json_get(message, "usage"));
    } else if (tg_str_is(type, "message_delta")) {
        read_stop(decoder, tg_json_get(root, "delta"));
        read_usage(decoder, tg_json_get(root, "usage"));
    } else if (tg_str_is(type, "message_stop")) {
        decoder->complete = true;
    } else if (tg_str_is(type, "error")) {
        read_error(decoder, root);
    } else if (type.len == 0) {
        return tg_error_set(decoder->err, -EBADMSG, "a stream event has no `type`");
    }
    return 0;
}

int tg_answer_anthropic_body(tg_answer_decoder *decoder, tg_str body)
{
    tg_json root;
    int rc = tg_answer_parse(decoder, body, &root);
    if (rc < 0)
        return rc;
    decoder->complete = true;
    if (tg_str_is(tg_answer_text(root, "type"), "error")) {
        read_error(decoder, root);
        return 0;
    }
    tg_json content = tg_json_get(root, "content");
    if (tg_json_type_of(content) != TG_JSON_ARRAY)
        return tg_error_set(decoder->err, -EBADMSG, "the answer has no `content`");
    tg_answer_emit_start(decoder, tg_answer_text(root, "model"), tg_answer_text(root, "id"));
    for (tg_json_iter it = tg_json_iterate(content); tg_json_next(&it);)
        read_block(decoder, it.value, false);
    read_stop(decoder, root);
    read_usage(decoder, tg_json_get(root, "usage"));
    return 0;
}
