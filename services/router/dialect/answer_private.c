/* The private tier's answer: each feed is one whole serialised tollgate.v1.GenerateEvent. */
#include "libs/rpc/wire.h"
#include "services/router/dialect/answer.h"
#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>

static void read_start(tg_answer_decoder *decoder, const Tollgate__V1__GenerateStart *start)
{
    tg_answer_emit_start(decoder, tg_str_of(start->model), (tg_str){"", 0});
    decoder->tokens.input = start->prompt_tokens;
    decoder->has_input = true;
    tg_answer_emit_usage(decoder);
}

static void read_delta(tg_answer_decoder *decoder, const Tollgate__V1__GenerateDelta *delta)
{
    tg_chat_event thought = {.type = TG_CHAT_REASONING, .text = tg_str_of(delta->reasoning)};
    tg_chat_event event = {.type = TG_CHAT_TEXT, .text = tg_str_of(delta->text)};
    if (thought.text.len > 0)
        tg_answer_emit(decoder, &thought);
    if (event.text.len > 0)
        tg_answer_emit(decoder, &event);
    for (size_t i = 0; i < delta->n_tool_calls; i++) {
        const Tollgate__V1__ToolCallDelta *call = delta->tool_calls[i];
        if (*call->name)
            tg_answer_emit_call(decoder, tg_str_of(call->id), tg_str_of(call->name));
        tg_answer_emit_arguments(decoder, tg_str_of(call->arguments));
    }
}

static tg_stop_reason stop_of(Tollgate__V1__FinishReason finish)
{
    switch (finish) {
    case TOLLGATE__V1__FINISH_REASON__FINISH_REASON_STOP:
        return TG_STOP_END;
    case TOLLGATE__V1__FINISH_REASON__FINISH_REASON_LENGTH:
        return TG_STOP_LENGTH;
    case TOLLGATE__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS:
        return TG_STOP_TOOLS;
    default:
        return TG_STOP_OTHER;
    }
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void read_end(tg_answer_decoder *decoder, const Tollgate__V1__GenerateEnd *end)
{
    uint64_t cached = least(end->cached_tokens, end->prompt_tokens);
    decoder->complete = true;
    if (end->finish != TOLLGATE__V1__FINISH_REASON__FINISH_REASON_ERROR)
        tg_answer_emit_stop(decoder, stop_of(end->finish), (tg_str){"", 0});
    tg_chat_event event = {
        .type = TG_CHAT_USAGE,
        .tokens = {.input = end->prompt_tokens - cached,
                   .cache_read = cached,
                   .output = end->output_tokens,
                   .reasoning = least(end->reasoning_tokens, end->output_tokens)},
        .has_input = true,
        .has_output = true,
        .queue_ns = end->queue_ns,
        .gpu_ns = end->engine_ns,
        .numerics = tg_str_of(end->numerics)};
    tg_answer_emit(decoder, &event);
    if (end->finish == TOLLGATE__V1__FINISH_REASON__FINISH_REASON_ERROR)
        tg_answer_emit_error(decoder, TG_STR("api_error"),
                             TG_STR("the engine gave up on this request"));
}

int tg_answer_private_event(tg_answer_decoder *decoder, tg_str message)
{
    Tollgate__V1__GenerateEvent *event = (Tollgate__V1__GenerateEvent *)tg_rpc_wire_unpack(
        &tollgate__v1__generate_event__descriptor, NULL, message, decoder->err);
    int rc = 0;
    if (!event)
        return -EBADMSG;
    switch (event->event_case) {
    case TOLLGATE__V1__GENERATE_EVENT__EVENT_START:
        read_start(decoder, event->start);
        break;
    case TOLLGATE__V1__GENERATE_EVENT__EVENT_DELTA:
        read_delta(decoder, event->delta);
        break;
    case TOLLGATE__V1__GENERATE_EVENT__EVENT_END:
        read_end(decoder, event->end);
        break;
    default:
        rc = tg_error_set(decoder->err, -EBADMSG, "a GenerateEvent is empty");
        break;
    }
    tollgate__v1__generate_event__free_unpacked(event, NULL);
    return rc;
}
