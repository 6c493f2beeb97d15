/* OpenAI's chat.completion and chat.completion.chunk objects, as published in its API reference.
 * cached_tokens are a part of prompt_tokens, reasoning_tokens a part of completion_tokens. */
#include "services/router/dialect/answer.h"

#include <errno.h>

static void read_usage(tg_answer_decoder *decoder, tg_json usage)
{
    uint64_t prompt, completion, cached = 0, reasoning = 0;
    tg_answer_count(usage, "prompt_tokens_details.cached_tokens", &cached);
    tg_answer_count(usage, "completion_tokens_details.reasoning_tokens", &reasoning);
    if (tg_answer_count(usage, "prompt_tokens", &prompt)) {
        cached = cached < prompt ? cached : prompt;
        decoder->tokens.input = prompt - cached;
        decoder->tokens.cache_read = cached;
        decoder->has_input = true;
    }
    if (tg_answer_count(usage, "completion_tokens", &completion)) {
        decoder->tokens.output = completion;
        decoder->tokens.reasoning = reasoning < completion ? reasoning : completion;
        decoder->has_output = true;
    }
    if (decoder->has_input || decoder->has_output)
        tg_answer_emit_usage(decoder);
}

static void read_error(tg_answer_decoder *decoder, tg_json error)
{
    tg_str type = tg_answer_text(error, "code");
    tg_answer_emit_error(decoder, type.len > 0 ? type : tg_answer_text(error, "type"),
                         tg_answer_text(error, "message"));
}

/* In a chunk a call's first piece has its id and name; pieces of calls come in the calls' order. */
static void read_calls(tg_answer_decoder *decoder, tg_json calls)
{
    for (tg_json_iter it = tg_json_iterate(calls); tg_json_next(&it);) {
        tg_str id = tg_answer_text(it.value, "id"), name = {"", 0}, arguments = {"", 0};
        tg_json_str(tg_json_path(it.value, "function.name"), &name);
        tg_json_str(tg_json_path(it.value, "function.arguments"), &arguments);
        if (name.len > 0)
            tg_answer_emit_call(decoder, id, name);
        tg_answer_emit_arguments(decoder, arguments);
    }
}

/* `message` is a chunk's delta or a plain answer's message. */
static void read_choice(tg_answer_decoder *decoder, tg_json choice, const char *message)
{
    tg_json part = tg_json_get(choice, message);
    tg_str finish = tg_answer_text(choice, "finish_reason");
    tg_answer_emit_reasoning(decoder, tg_json_get(part, "reasoning_content"));
    tg_answer_emit_text(decoder, tg_json_get(part, "content"));
    tg_answer_emit_text(decoder, tg_json_get(part, "refusal"));
    read_calls(decoder, tg_json_get(part, "tool_calls"));
    if (finish.len > 0)
        tg_answer_emit_stop(decoder, tg_answer_stop_reason(finish), (tg_str){"", 0});
}

int tg_answer_openai_event(tg_answer_decoder *decoder, tg_str data)
{
    tg_json root;
    if (tg_str_is(data, "[DONE]")) {
        decoder->complete = true;
        return 0;
    }
    int rc = tg_answer_parse(decoder, data, &root);
    if (rc < 0)
        return rc;
    tg_json error = tg_json_get(root, "error"), usage = tg_json_get(root, "usage");
    tg_json choices = tg_json_get(root, "choices");
    if (tg_json_type_of(error) == TG_JSON_OBJECT) {
        read_error(decoder, error);
        return 0;
    }
    bool has_usage = tg_json_type_of(usage) == TG_JSON_OBJECT;
    decoder->raw_usage_only = has_usage && tg_json_count(choices) == 0;
    tg_answer_emit_start(decoder, tg_answer_text(root, "model"), tg_answer_text(root, "id"));
    if (tg_json_count(choices) > 0)
        read_choice(decoder, tg_json_at(choices, 0), "delta");
    if (has_usage)
        read_usage(decoder, usage);
    return 0;
}

int tg_answer_openai_body(tg_answer_decoder *decoder, tg_str body)
{
    tg_json root;
    int rc = tg_answer_parse(decoder, body, &root);
    if (rc < 0)
        return rc;
    tg_json error = tg_json_get(root, "error"), choices = tg_json_get(root, "choices");
    decoder->complete = true;
    if (tg_json_type_of(error) == TG_JSON_OBJECT) {
        read_error(decoder, error);
        return 0;
    }
    if (tg_json_count(choices) == 0)
        return tg_error_set(decoder->err, -EBADMSG, "the answer has no `choices`");
    tg_answer_emit_start(decoder, tg_answer_text(root, "model"), tg_answer_text(root, "id"));
    read_choice(decoder, tg_json_at(choices, 0), "message");
    read_usage(decoder, tg_json_get(root, "usage"));
    return 0;
}
