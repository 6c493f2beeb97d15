/* Any bytes as an answer, in a format that the first byte chooses: the same pieces whatever the
 * cuts, no mark leaked into text, and where nothing is looked for the bytes themselves. */
#include "libs/base/buf.h"
#include "services/inference/answer/answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct seen {
    tg_buf kinds[4]; /* all pieces of a kind, one behind the other */
    uint32_t calls;
} seen;

static void on_piece(void *user, const tg_answer_piece *piece)
{
    seen *s = user;
    if (piece->kind == TG_ANSWER_CALL && piece->call != s->calls++)
        abort();
    if (piece->kind == TG_ANSWER_ARGUMENTS && piece->call + 1 != s->calls)
        abort();
    tg_buf_add_str(&s->kinds[piece->kind], piece->text);
}

static void parse(const tg_answer_conf *conf, tg_str text, size_t step, seen *s)
{
    tg_answer *a = NULL;
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < 4; i++)
        tg_buf_init(&s->kinds[i], 0);
    if (tg_answer_new(conf, &a) < 0)
        return;
    for (size_t at = 0; at < text.len; at += step)
        tg_answer_push(a, (tg_str){text.data + at, step < text.len - at ? step : text.len - at},
                       on_piece, s);
    tg_answer_end(a, on_piece, s);
    if (tg_answer_calls(a) != s->calls)
        abort();
    tg_answer_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tg_str names[] = {TG_STR("f"), TG_STR("clock")};
    seen whole, bytes;
    if (size == 0)
        return 0;
    const tg_answer_conf conf = {.tools = (tg_tool_format)(data[0] & 3),
                                 .reasoning = (tg_reasoning_format)((data[0] >> 2 & 3) % 3),
                                 .thinking = data[0] & 16,
                                 .calling = data[0] & 32,
                                 .one_call = data[0] & 64,
                                 .names = names,
                                 .names_len = 2};
    const tg_str text = {(const char *)data + 1, size - 1};
    parse(&conf, text, text.len + 1, &whole);
    parse(&conf, text, 1, &bytes);
    size_t told = 0;
    for (size_t i = 0; i < 4; i++) {
        if (!tg_str_eq(tg_buf_str(&whole.kinds[i]), tg_buf_str(&bytes.kinds[i])))
            abort();
        /* those may be "{}" of our own */
        told += i != TG_ANSWER_ARGUMENTS ? whole.kinds[i].len : 0;
    }
    if (told > text.len || (conf.one_call && whole.calls > 1 && conf.tools != TG_TOOLS_NONE))
        abort();
    if (conf.tools == TG_TOOLS_NONE && conf.reasoning == TG_REASONING_NONE &&
        !tg_str_eq(tg_buf_str(&whole.kinds[TG_ANSWER_TEXT]), text))
        abort();
    for (size_t i = 0; i < 4; i++) {
        tg_buf_free(&whole.kinds[i]);
        tg_buf_free(&bytes.kinds[i]);
    }
    return 0;
}
