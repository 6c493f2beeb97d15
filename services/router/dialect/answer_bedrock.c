/* Bedrock's Converse and ConverseStream answers, as published in the Bedrock Runtime API reference.
 * cacheReadInputTokens and cacheWriteInputTokens come on top of inputTokens. The answer names no
 * model. */
#include "services/router/dialect/answer.h"

#include <errno.h>

static void read_cache_writes(tg_tokens *tokens, tg_json usage)
{
    uint64_t total = 0, hour = 0, count;
    tg_answer_count(usage, "cacheWriteInputTokens", &total);
    for (tg_json_iter it = tg_json_iterate(tg_json_get(usage, "cacheDetails")); tg_json_next(&it);)
        if (tg_str_is(tg_answer_text(it.value, "ttl"), "1h") &&
            tg_answer_count(it.value, "inputTokens", &count))
            hour += count;
    tokens->cache_write_1h = hour < total ? hour : total;
    tokens->cache_write_5m = total - tokens->cache_write_1h;
}

static void read_usage(tg_answer_decoder *decoder, tg_json usage)
{
    if (tg_json_type_of(usage) != TG_JSON_OBJECT)
        return;
    if (tg_answer_count(usage, "inputTokens", &decoder->tokens.input)) {
        decoder->has_input = true;
        tg_answer_count(usage, "cacheReadInputTokens", &decoder->tokens.cache_read);
        read_cache_writes(&decoder->tokens, usage);
    }
    if (tg_answer_count(usage, "outputTokens", &decoder->tokens.output))
        decoder->has_output = true;
    if (decoder->has_input || decoder->has_output)
        tg_answer_emit_usage(decoder);
}

static void read_stop(tg_answer_decoder *decoder, tg_json object)
{
    tg_str reason = tg_answer_text(object, "stopReason");
    if (reason.len > 0)
        tg_answer_emit_stop(decoder, tg_answer_stop_reason(reason), (tg_str){"", 0});
}

/* A block that is whole, in a plain answer. */
static void read_block(tg_answer_decoder *decoder, tg_json block)
{
    tg_json call = tg_json_get(block, "toolUse");
    tg_answer_emit_reasoning(decoder, tg_json_path(block, "reasoningContent.reasoningText.text"));
    tg_answer_emit_text(decoder, tg_json_get(block, "text"));
    if (tg_json_type_of(call) != TG_JSON_OBJECT)
        return;
    tg_answer_emit_call(decoder, tg_answer_text(call, "toolUseId"), tg_answer_text(call, "name"));
    tg_answer_emit_object(decoder, tg_json_get(call, "input"));
}

static void read_block_start(tg_answer_decoder *decoder, tg_json call)
{
    decoder->call_empty = false;
    if (tg_json_type_of(call) == TG_JSON_OBJECT)
        tg_answer_emit_call(decoder, tg_answer_text(call, "toolUseId"),
                            tg_answer_text(call, "name"));
}

static int read_event(tg_answer_decoder *decoder, tg_str type, tg_json root)
{
    if (tg_str_is(type, "contentBlockDelta")) {
        tg_answer_emit_reasoning(decoder, tg_json_path(root, "delta.reasoningContent.text"));
        tg_answer_emit_text(decoder, tg_json_path(root, "delta.text"));
        tg_answer_emit_arguments(decoder,
                                 tg_answer_text(tg_json_path(root, "delta.toolUse"), "input"));
    } else if (tg_str_is(type, "contentBlockStart")) {
        read_block_start(decoder, tg_json_path(root, "start.toolUse"));
    } else if (tg_str_is(type, "contentBlockStop")) {
        tg_answer_emit_call_end(decoder);
        decoder->call_empty = false;
    } else if (tg_str_is(type, "messageStart")) {
        tg_answer_emit_start(decoder, (tg_str){"", 0}, (tg_str){"", 0});
    } else if (tg_str_is(type, "messageStop")) {
        read_stop(decoder, root);
    } else if (tg_str_is(type, "metadata")) {
        read_usage(decoder, tg_json_get(root, "usage"));
        decoder->complete = true;
    }
    return 0;
}

int tg_answer_bedrock_message(tg_answer_decoder *decoder, const tg_eventstream_message *message)
{
    tg_json root;
    if (tg_str_is(message->message_type, "error")) {
        tg_answer_emit_error(decoder, message->error_code, message->error_message);
        return 0;
    }
    int rc = tg_answer_parse(decoder, message->payload, &root);
    if (rc < 0)
        return rc;
    if (tg_str_is(message->message_type, "exception")) {
        tg_answer_emit_error(decoder, message->exception_type, tg_answer_text(root, "message"));
        return 0;
    }
    return read_event(decoder, message->event_type, root);
}

int tg_answer_bedrock_body(tg_answer_decoder *decoder, tg_str body)
{
    tg_json root;
    int rc = tg_answer_parse(decoder, body, &root);
    if (rc < 0)
        return rc;
    tg_json content = tg_json_path(root, "output.message.content");
    if (tg_json_type_of(content) != TG_JSON_ARRAY)
        return tg_error_set(decoder->err, -EBADMSG, "the answer has no `output.message.content`");
    decoder->complete = true;
    tg_answer_emit_start(decoder, (tg_str){"", 0}, (tg_str){"", 0});
    for (tg_json_iter it = tg_json_iterate(content); tg_json_next(&it);)
        read_block(decoder, it.value);
    read_stop(decoder, root);
    read_usage(decoder, tg_json_get(root, "usage"));
    return 0;
}
