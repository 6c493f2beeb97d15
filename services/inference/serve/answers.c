#include "services/inference/serve/answers.h"

#include "services/inference/answer/offer.h"
#include "services/inference/engine/stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { CALL_ID_LEN = 9 }; /* what Mistral's templates insist on */

struct tg_answers {
    uint32_t len;
    uint64_t seed;
    uint32_t prompt_tokens;
    tg_answer *list[TG_ENGINE_CHOICES_MAX];
    uint32_t reasoning_tokens[TG_ENGINE_CHOICES_MAX];
};

/* ---- in ---- */

static bool is_set(const char *text) { return text && *text; }

int tg_answers_decode(tg_rpc_call *call, const Tollgate__V1__GenerateRequest *in,
                      const tg_model *model, tg_gen_request *out, tg_answer_conf *ret,
                      tg_error *err)
{
    tg_tools tools;
    const char *alone = is_set(in->tools_json)           ? "tools_json"
                        : is_set(in->tool_choice)        ? "tool_choice"
                        : is_set(in->template_args_json) ? "template_args_json"
                        : in->one_tool_call              ? "one_tool_call"
                                                         : NULL;
    *ret = (tg_answer_conf){0};
    if (!in->messages)
        return alone ? tg_error_set(err, -EINVAL, "%s goes with messages only", alone) : 0;
    ret->reasoning = model->answer.reasoning;
    ret->one_call = in->one_tool_call;
    out->template_args = tg_str_of(in->template_args_json);
    int rc = tg_tools_read(tg_str_of(in->tools_json), tg_str_of(in->tool_choice),
                           tg_rpc_call_arena(call), err, &tools);
    if (rc == 0)
        rc = tg_tools_offer(model, &tools, tg_str_of(in->tools_json), tg_rpc_call_arena(call), out,
                            ret, err);
    out->marks = ret->tools != TG_TOOLS_NONE || ret->reasoning != TG_REASONING_NONE;
    return rc;
}

/* ---- out ---- */

/* Brings the parsers to where they were elsewhere. */
static int replay(tg_answers *a, const tg_gen_request *request, const tg_model *model)
{
    tg_detokenizer detokenizer = {0};
    tg_stop stop;
    tg_buf piece, text;
    bool hit = false;
    tg_buf_init(&piece, 0);
    tg_buf_init(&text, 0);
    int rc = tg_stop_init(&stop, request->stop, request->stop_len, NULL);
    for (size_t i = 0; i < request->generated_len && rc == 0; i++) {
        tg_buf_clear(&piece);
        rc = tg_model_show(model, &detokenizer, request->generated[i], true, &piece);
        if (rc == 0)
            rc = tg_stop_push(&stop, tg_buf_str(&piece), &text, &hit);
    }
    for (uint32_t i = 0; i < a->len && rc == 0; i++)
        rc = tg_answer_push(a->list[i], tg_buf_str(&text), NULL, NULL);
    tg_stop_free(&stop);
    tg_buf_free(&piece);
    tg_buf_free(&text);
    return rc;
}

int tg_answers_new(const tg_answer_conf *conf, const tg_gen_request *request,
                   const tg_gen_ticket *ticket, const tg_model *model, tg_answers **ret)
{
    tg_answers *a = calloc(1, sizeof *a);
    tg_answer_conf own = *conf;
    if (!a)
        return -ENOMEM;
    a->seed = request->sampling.seed;
    a->prompt_tokens = ticket->prompt_tokens;
    own.thinking = ticket->thinking;
    int rc = 0;
    for (uint32_t n = request->n ? request->n : 1; a->len < n && rc == 0; a->len++)
        rc = tg_answer_new(&own, &a->list[a->len]);
    if (rc == 0 && request->generated_len > 0)
        rc = replay(a, request, model);
    if (rc < 0) {
        tg_answers_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

tg_answers *tg_answers_free(tg_answers *a)
{
    if (!a)
        return NULL;
    for (uint32_t i = 0; i < a->len; i++)
        tg_answer_free(a->list[i]);
    free(a);
    return NULL;
}

bool tg_answers_called(const tg_answers *a, uint32_t choice)
{
    return tg_answer_calls(a->list[choice]) > 0;
}

uint32_t tg_answers_reasoning_tokens(const tg_answers *a, uint32_t choice)
{
    return a->reasoning_tokens[choice];
}

char *tg_answers_text(tg_rpc_call *call, tg_str text, char *room, size_t size)
{
    size_t nuls = 0;
    for (size_t i = 0; i < text.len; i++)
        nuls += text.data[i] == '\0';
    const size_t need = text.len + 2 * nuls + 1;
    char *out = need <= size ? room : tg_arena_alloc(tg_rpc_call_arena(call), need), *to = out;
    for (size_t i = 0; out && i < text.len; i++)
        to = stpcpy(to, text.data[i] ? (const char[]){text.data[i], '\0'} : "\xEF\xBF\xBD");
    if (out)
        *to = '\0';
    return out;
}

/* The same for the same request, whichever replica answers, and another one in the next turn, whose
 * prompt is longer. */
static void write_call_id(const tg_answers *a, uint32_t choice, uint32_t call, char *ret)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t z = a->seed ^ (uint64_t)a->prompt_tokens << 40 ^ (uint64_t)choice << 24 ^ call;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u; /* SplitMix64's finish */
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    for (size_t i = 0; i < CALL_ID_LEN; i++, z /= 62)
        ret[i] = digits[z % 62];
    ret[CALL_ID_LEN] = '\0';
}

typedef struct sending {
    const tg_answers *answers;
    tg_rpc_call *call;
    Tollgate__V1__GenerateDelta *delta;
    bool sent;
    int rc;
} sending;

static void send_delta(sending *s)
{
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_DELTA;
    event.delta = s->delta;
    if (s->rc == 0)
        s->rc = tg_rpc_send(s->call, &event.base);
    s->sent = true;
    s->delta->n_token_ids = s->delta->n_logprobs = 0;
}

static void on_piece(void *user, const tg_answer_piece *piece)
{
    sending *s = user;
    static char empty[] = "";
    char id[CALL_ID_LEN + 1];
    char room[512], *text = tg_answers_text(s->call, piece->text, room, sizeof room);
    Tollgate__V1__ToolCallDelta tool = TOLLGATE__V1__TOOL_CALL_DELTA__INIT, *tools = &tool;
    if (!text) {
        s->rc = -ENOMEM;
        return;
    }
    s->delta->text = piece->kind == TG_ANSWER_TEXT ? text : empty;
    s->delta->reasoning = piece->kind == TG_ANSWER_REASONING ? text : empty;
    s->delta->n_tool_calls = piece->kind >= TG_ANSWER_CALL;
    s->delta->tool_calls = &tools;
    tool.index = piece->call;
    if (piece->kind == TG_ANSWER_CALL) {
        write_call_id(s->answers, s->delta->choice, piece->call, id);
        tool.id = id;
        tool.name = text;
    } else if (piece->kind == TG_ANSWER_ARGUMENTS) {
        tool.arguments = text;
    }
    send_delta(s);
    s->delta->text = s->delta->reasoning = empty;
    s->delta->n_tool_calls = 0;
    s->delta->tool_calls = NULL;
}

int tg_answers_send(tg_answers *a, tg_rpc_call *call, const tg_engine_event *event,
                    Tollgate__V1__GenerateDelta *delta)
{
    static char empty[] = "";
    sending s = {a, call, delta, false, 0};
    tg_answer *answer = a->list[event->choice];
    const bool thought = tg_answer_thinks(answer);
    delta->text = empty;
    int rc = tg_answer_push(answer, event->text, on_piece, &s);
    a->reasoning_tokens[event->choice] +=
        event->token != TG_TOKEN_NONE && (thought || tg_answer_thinks(answer));
    if (rc == 0 && event->finish != TG_FINISH_NONE)
        rc = tg_answer_end(answer, on_piece, &s);
    if (!s.sent && delta->n_token_ids > 0)
        send_delta(&s);
    return rc < 0 ? rc : s.rc;
}
