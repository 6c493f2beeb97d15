#include "services/inference/answer/answer.h"

#include "services/inference/answer/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_ENDS = 2, MARKS = 2 }; /* line ends that belong to a mark; marks a state looks for */
enum { PLENTY_BYTES = 512 };       /* of a call before its arguments; what has more grows */

typedef enum state {
    START,    /* white space so far, in `raw` */
    TEXT,
    THINKING,
    HEAD,     /* mistral: behind [TOOL_CALLS] */
    NAME,     /* mistral: a tool's name, before [ARGS] */
    CALL_ID,  /* mistral: behind [CALL_ID] */
    CALL,     /* an object */
    BETWEEN,  /* behind a call */
    BROKEN,   /* hermes: no call after all: text up to the closing mark */
    OVER,     /* behind the only call */
} state;

struct tg_answer {
    tg_answer_conf conf;
    state state;
    bool may_think;
    bool marked; /* the call stands behind a mark */
    bool list;   /* mistral: in the array */
    bool told;   /* of this call, the name */
    uint32_t calls;
    int eat; /* line ends behind a mark */
    char held[LINE_ENDS + TG_ANSWER_MARK_MAX];
    size_t held_len;
    tg_buf raw; /* bytes that are text if no call comes of them */
    tg_call_reader call;
    tg_buf out; /* to be told: of kind out_kind */
    tg_answer_kind out_kind;
    int rc;
    tg_answer_fn fn;
    void *user;
};

static void feed(tg_answer *a, char c);

/* ---- out ---- */

static void flush(tg_answer *a)
{
    const tg_answer_piece piece = {
        a->out_kind, a->out_kind == TG_ANSWER_ARGUMENTS ? a->calls - 1 : 0, tg_buf_str(&a->out)};
    if (a->out.len > 0 && a->fn)
        a->fn(a->user, &piece);
    tg_buf_clear(&a->out);
}

static void tell(tg_answer *a, tg_answer_kind kind, const char *bytes, size_t len)
{
    if (kind != a->out_kind)
        flush(a);
    a->out_kind = kind;
    if (a->rc == 0)
        a->rc = tg_buf_add(&a->out, bytes, len);
}

static void tell_raw(tg_answer *a)
{
    tell(a, TG_ANSWER_TEXT, a->raw.data ? a->raw.data : "", a->raw.len);
    tg_buf_clear(&a->raw);
}

/* ---- calls ---- */

static void begin_call(tg_answer *a, bool marked)
{
    tg_call_begin(&a->call, !marked);
    a->state = CALL;
    a->marked = marked;
    a->told = false;
}

/* Among the tools offered; names_len: it is none of them. */
static size_t place_of(const tg_answer *a, tg_str name)
{
    size_t i = 0;
    while (i < a->conf.names_len && !tg_str_eq(a->conf.names[i], name))
        i++;
    return i;
}

static void tell_call(tg_answer *a)
{
    if (!a->told) {
        const tg_answer_piece piece = {TG_ANSWER_CALL, a->calls, tg_buf_str(&a->call.name)};
        flush(a);
        if (a->fn)
            a->fn(a->user, &piece);
        a->calls++;
        a->told = true;
        tg_buf_clear(&a->raw);
    }
    if (a->call.arguments.len > 0)
        tell(a, TG_ANSWER_ARGUMENTS, a->call.arguments.data, a->call.arguments.len);
    tg_buf_clear(&a->call.arguments);
}

/* It is no call, or not one any more: what has not been told is text. */
static void give_up(tg_answer *a)
{
    if (!a->told)
        tell_raw(a);
    if (a->conf.one_call && a->calls > 0) /* it has been told */
        a->state = OVER;
    else
        a->state = a->conf.tools == TG_TOOLS_HERMES ? BROKEN : TEXT;
}

static void call_byte(tg_answer *a, char c)
{
    if (!a->told && (a->raw.len >= TG_CALL_HELD_MAX || (a->rc = tg_buf_add_char(&a->raw, c)) < 0)) {
        give_up(a);
        feed(a, c);
        return;
    }
    const bool told = a->told;
    const tg_call_step step = tg_call_push(&a->call, c);
    const bool ready = tg_call_ready(&a->call);
    const bool unknown =
        ready && !told && !a->marked && place_of(a, tg_buf_str(&a->call.name)) == a->conf.names_len;
    if (step == TG_CALL_BROKEN || unknown) {
        if (!told)
            a->raw.len--;
        else
            tell_call(a);
        give_up(a);
        feed(a, c); /* it may begin a mark */
        return;
    }
    if (ready)
        tell_call(a);
    if (step == TG_CALL_DONE)
        a->state = a->conf.one_call ? OVER : BETWEEN;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static void between(tg_answer *a, char c)
{
    if (is_space(c))
        return;
    if (a->conf.tools == TG_TOOLS_LLAMA3 && c == ';') {
        begin_call(a, a->marked);
    } else if (a->list && c == ',') {
        begin_call(a, true);
    } else if (a->list && c == ']') {
        a->list = false;
        a->state = TEXT;
        a->eat = LINE_ENDS;
    } else {
        a->list = false;
        give_up(a);
        feed(a, c);
    }
}

static void head(tg_answer *a, char c)
{
    if (is_space(c))
        return;
    tg_buf_clear(&a->raw);
    if (c == '[') {
        a->list = true;
        begin_call(a, true);
    } else {
        a->state = NAME;
        feed(a, c);
    }
}

static bool is_name(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '.';
}

static void begin_arguments(tg_answer *a)
{
    begin_call(a, true);
    const int rc = tg_call_begin_arguments(&a->call, tg_buf_str(&a->raw));
    a->rc = a->rc < 0 ? a->rc : rc;
}

static void name_byte(tg_answer *a, char c)
{
    if (is_name(c) && a->raw.len < TG_CALL_NAME_MAX) {
        a->rc = tg_buf_add_char(&a->raw, c);
    } else if (c == '{' && a->raw.len > 0) {
        begin_arguments(a);
        feed(a, c);
    } else {
        a->told = false;
        give_up(a);
        feed(a, c);
    }
}

/* ---- bytes that are of no mark ---- */

static void start_byte(tg_answer *a, char c)
{
    if (a->conf.tools == TG_TOOLS_LLAMA3 && c == '{') {
        begin_call(a, false);
        feed(a, c);
    } else if (is_space(c) && a->raw.len < TG_ANSWER_SPACE_MAX) {
        a->rc = tg_buf_add_char(&a->raw, c);
    } else {
        a->state = TEXT;
        tell_raw(a);
        tell(a, TG_ANSWER_TEXT, &c, 1);
    }
}

static void plain(tg_answer *a, char c)
{
    switch (a->state) {
    case START: start_byte(a, c); break;
    case TEXT:
    case BROKEN: tell(a, TG_ANSWER_TEXT, &c, 1); break;
    case THINKING: tell(a, TG_ANSWER_REASONING, &c, 1); break;
    case HEAD: head(a, c); break;
    case NAME: name_byte(a, c); break;
    case CALL_ID:
    case OVER: break;
    case CALL: call_byte(a, c); break;
    case BETWEEN: between(a, c); break;
    }
}

/* ---- marks ---- */

static size_t marks_of(const tg_answer *a, tg_str *marks)
{
    const tg_answer_conf *conf = &a->conf;
    size_t len = 0;
    switch (a->state) {
    case START:
        if (a->may_think)
            marks[len++] = tg_reasoning_open(conf->reasoning);
        marks[len++] = tg_tools_open(conf->tools);
        break;
    case TEXT: marks[len++] = tg_tools_open(conf->tools); break;
    case THINKING: marks[len++] = tg_reasoning_close(conf->reasoning); break;
    case BROKEN: marks[len++] = tg_tools_close(conf->tools); break;
    case BETWEEN:
        marks[len++] = conf->tools == TG_TOOLS_HERMES ? tg_tools_close(conf->tools)
                                                      : tg_tools_open(conf->tools);
        break;
    case NAME: marks[len++] = TG_STR("[CALL_ID]"); /* fall through */
    case CALL_ID: marks[len++] = TG_STR("[ARGS]"); break;
    case HEAD:
    case CALL:
    case OVER: break;
    }
    return len > 0 && marks[len - 1].len == 0 ? len - 1 : len;
}

static void on_mark(tg_answer *a, tg_str mark)
{
    const bool thought = a->state == THINKING;
    if (a->state == START)
        tg_buf_clear(&a->raw);
    if (a->state == NAME || a->state == CALL_ID) {
        if (tg_str_is(mark, "[ARGS]"))
            begin_arguments(a);
        else
            a->state = CALL_ID;
    } else if (thought) {
        a->may_think = false;
        a->state = START;
        a->eat = LINE_ENDS;
    } else if (tg_str_eq(mark, tg_reasoning_open(a->conf.reasoning))) {
        a->state = THINKING;
        a->eat = LINE_ENDS;
    } else if (tg_str_eq(mark, tg_tools_close(a->conf.tools))) {
        a->state = TEXT;
        a->eat = LINE_ENDS;
    } else if (a->conf.tools == TG_TOOLS_MISTRAL) {
        a->state = HEAD;
        a->list = false;
    } else {
        begin_call(a, true);
    }
}

/* Whether what is held, but for line ends before, is a mark (1), may become one (0), or neither
 * (−1). */
static int compare(const tg_answer *a, const tg_str *marks, size_t len, tg_str *ret)
{
    size_t ends = 0;
    while (ends < a->held_len && a->held[ends] == '\n')
        ends++;
    if (ends > LINE_ENDS)
        return -1;
    const size_t n = a->held_len - ends;
    for (size_t i = 0; i < len; i++) {
        if (n > marks[i].len || memcmp(a->held + ends, marks[i].data, n) != 0)
            continue;
        *ret = marks[i];
        return n == marks[i].len;
    }
    return -1;
}

static void feed(tg_answer *a, char c)
{
    tg_str marks[MARKS], mark = {"", 0};
    char rest[sizeof a->held];
    if (a->eat > 0 && c == '\n') {
        a->eat--;
        return;
    }
    a->eat = 0;
    const size_t len = marks_of(a, marks);
    if (len == 0) {
        plain(a, c);
        return;
    }
    a->held[a->held_len++] = c;
    const int is = compare(a, marks, len, &mark);
    if (is > 0) {
        a->held_len = 0;
        on_mark(a, mark);
    } else if (is < 0) { /* the first byte is of no mark; the others may be */
        const size_t n = a->held_len;
        memcpy(rest, a->held, n);
        a->held_len = 0;
        plain(a, rest[0]);
        for (size_t i = 1; i < n; i++)
            feed(a, rest[i]);
    }
}

/* ---- the face ---- */

/* The names, and behind the list their bytes. */
static int copy_names(tg_answer_conf *conf)
{
    size_t bytes = 0;
    for (size_t i = 0; i < conf->names_len; i++)
        bytes += conf->names[i].len;
    tg_str *names = malloc(conf->names_len * sizeof *names + bytes + 1);
    if (!names) {
        conf->names = NULL;
        return -ENOMEM;
    }
    char *to = (char *)(names + conf->names_len);
    for (size_t i = 0; i < conf->names_len; to += names[i++].len) {
        names[i] = (tg_str){to, conf->names[i].len};
        memcpy(to, conf->names[i].data, conf->names[i].len);
    }
    conf->names = names;
    return 0;
}

/* So that reading allocates nothing, but for what is long. */
static int make_room(tg_answer *a)
{
    int rc = tg_buf_reserve(&a->raw, PLENTY_BYTES);
    if (rc == 0)
        rc = tg_buf_reserve(&a->out, PLENTY_BYTES);
    return rc < 0 ? rc : tg_call_make_room(&a->call);
}

int tg_answer_new(const tg_answer_conf *conf, tg_answer **ret)
{
    tg_answer *a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    a->conf = *conf;
    tg_buf_init(&a->raw, TG_CALL_HELD_MAX + TG_ANSWER_SPACE_MAX);
    tg_buf_init(&a->out, 0);
    tg_call_init(&a->call);
    if (copy_names(&a->conf) < 0 || make_room(a) < 0) {
        tg_answer_free(a);
        return -ENOMEM;
    }
    a->may_think = conf->reasoning != TG_REASONING_NONE;
    a->state = a->may_think || conf->tools != TG_TOOLS_NONE ? START : TEXT;
    if (conf->thinking && a->may_think) {
        a->state = THINKING;
        a->eat = LINE_ENDS;
    } else if (conf->calling && conf->tools != TG_TOOLS_NONE) {
        a->state = TEXT;
        on_mark(a, tg_tools_open(conf->tools));
    }
    *ret = a;
    return 0;
}

tg_answer *tg_answer_free(tg_answer *a)
{
    if (!a)
        return NULL;
    tg_buf_free(&a->raw);
    tg_buf_free(&a->out);
    tg_call_free(&a->call);
    free((void *)(uintptr_t)a->conf.names);
    free(a);
    return NULL;
}

int tg_answer_push(tg_answer *a, tg_str text, tg_answer_fn fn, void *user)
{
    a->fn = fn;
    a->user = user;
    for (size_t i = 0; i < text.len && a->rc == 0; i++)
        feed(a, text.data[i]);
    flush(a);
    return a->rc;
}

int tg_answer_end(tg_answer *a, tg_answer_fn fn, void *user)
{
    const size_t held = a->held_len;
    const bool closing = a->state == BETWEEN; /* the call is whole, its closing mark begun */
    a->fn = fn;
    a->user = user;
    a->held_len = 0;
    for (size_t i = 0; i < held && !closing; i++)
        plain(a, a->held[i]);
    tell_raw(a);
    flush(a);
    return a->rc;
}

uint32_t tg_answer_calls(const tg_answer *a) { return a->calls; }

bool tg_answer_thinks(const tg_answer *a) { return a->state == THINKING; }

bool tg_answer_awaits_call(const tg_answer *a, size_t *ret_tool)
{
    *ret_tool = SIZE_MAX;
    if (a->state != CALL || !a->marked || a->raw.len > a->call.name.len || a->call.begun)
        return false;
    return !a->call.named ||
           (*ret_tool = place_of(a, tg_buf_str(&a->call.name))) < a->conf.names_len;
}

bool tg_answer_over(const tg_answer *a) { return a->state == OVER; }
