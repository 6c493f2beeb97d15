/* bench_constrain MODEL: what structured output costs, at the model's own vocabulary and at one of
 * 128,256 tokens that is made of it.
 *
 * For each constraint a text of its form is written, token by token, the longest token that is
 * allowed and fits each time, as a model that knows the text would. Timed is what the engine does
 * for a sequence and step: the mask, and taking the token in. `first` is the first time a
 * constraint is used, when nothing is kept; `again` another sequence of the same constraint. The
 * share is of the time that a step of the engine takes with this model, all its sequences
 * constrained. */
#include "libs/base/arena.h"
#include "libs/base/buf.h"
#include "libs/base/clock.h"
#include "services/inference/constrain/constraint.h"
#include "services/inference/engine/engine.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    VOCAB_LARGE = 128256,
    STEPS_MAX = 8192,
    DECODE_TOKENS = 64,
    BATCH = 8,
    FIELDS = 60,
    PAIR_BYTES = 16
};

static void fail(const char *why)
{
    fprintf(stderr, "bench_constrain: %s\n", why);
    exit(1);
}

static uint64_t draw(uint64_t *state) /* SplitMix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- a large vocabulary ---- */

/* The model's tokens, all numbers of three digits, and pairs of tokens of 16 bytes at most. Its ids
 * are its own. */
static tg_tokenizer *large_vocabulary(const tg_tokenizer *from)
{
    const uint32_t have = (uint32_t)tg_tokenizer_vocab_len(from);
    tg_str *texts = calloc(VOCAB_LARGE, sizeof(*texts));
    int32_t *types = calloc(VOCAB_LARGE, sizeof(*types));
    float *scores = calloc(VOCAB_LARGE, sizeof(*scores));
    uint64_t random = 1;
    tg_error err = {""};
    tg_tokenizer *made = NULL;
    tg_arena arena;
    tg_arena_init(&arena, 0);
    for (uint32_t i = 0; i < VOCAB_LARGE; i++) {
        tg_str a = tg_tokenizer_piece(from, i < have ? i : (uint32_t)(draw(&random) % have)),
               b = tg_tokenizer_piece(from, (uint32_t)(draw(&random) % have));
        while (i >= have && a.len + b.len > PAIR_BYTES) {
            a = tg_tokenizer_piece(from, (uint32_t)(draw(&random) % have));
            b = tg_tokenizer_piece(from, (uint32_t)(draw(&random) % have));
        }
        types[i] = TG_TOKEN_NORMAL;
        if (i < 256) {
            texts[i] = tg_str_of(tg_arena_printf(&arena, "<0x%02X>", i));
            types[i] = TG_TOKEN_BYTE;
        } else if (i < have) {
            texts[i] = (tg_str){tg_arena_strdup(&arena, a), a.len};
        } else if (i < have + 1110) {
            const uint32_t n = i - have;
            texts[i] = tg_str_of(n < 10    ? tg_arena_printf(&arena, "%u", n)
                                 : n < 110 ? tg_arena_printf(&arena, "%02u", n - 10)
                                           : tg_arena_printf(&arena, "%03u", n - 110));
        } else {
            char pair[PAIR_BYTES];
            memcpy(pair, a.data, a.len);
            memcpy(pair + a.len, b.data, b.len);
            texts[i] =
                (tg_str){tg_arena_strdup(&arena, (tg_str){pair, a.len + b.len}), a.len + b.len};
        }
    }
    const tg_tokenizer_conf conf = {.kind = TG_TOKENIZER_SENTENCEPIECE,
                                    .tokens = texts,
                                    .tokens_len = VOCAB_LARGE,
                                    .types = types,
                                    .scores = scores,
                                    .bos = TG_TOKEN_NONE,
                                    .eos = TG_TOKEN_NONE,
                                    .unk = TG_TOKEN_NONE};
    if (tg_tokenizer_new(&conf, &err, &made) < 0)
        fail(err.text);
    free(texts);
    free(types);
    free(scores);
    tg_arena_free(&arena);
    return made;
}

/* ---- constraints, and texts of their forms ---- */

typedef struct task {
    const char *name;
    tg_constraint_kind kind;
    tg_buf form, text;
} task;

static const char order_schema[] =
    "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\",\"format\":\"uuid\"},"
    "\"customer\":{\"type\":\"string\"},\"paid\":"
    "{\"type\":\"boolean\"},\"items\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
    "item\"}},\"note\":{\"type\":[\"string\",\"null\"],"
    "\"maxLength\":200}},\"required\":[\"id\",\"customer\",\"paid\",\"items\",\"note\"],"
    "\"additionalProperties\":false,\"$defs\":{\"item\":"
    "{\"type\":\"object\",\"properties\":{\"sku\":{\"type\":\"string\",\"pattern\":\"^[A-Z]{3}-[0-"
    "9]{4}$\"},\"count\":{\"type\":\"integer\","
    "\"minimum\":1,\"maximum\":99},\"price\":{\"type\":\"number\",\"minimum\":0},\"size\":{"
    "\"enum\":[\"small\",\"medium\",\"large\"]}},"
    "\"required\":[\"sku\",\"count\",\"price\",\"size\"],\"additionalProperties\":false}}}";
static const char order_text[] =
    "{\"id\": \"3f2a9c1e-77b0-4d7a-9a51-0c2f6e8d4b11\", \"customer\": \"Ada Lovelace, 12 St "
    "James's Square, London\", \"paid\": true, "
    "\"items\": [{\"sku\": \"ABC-1234\", \"count\": 12, \"price\": 19.99, \"size\": \"medium\"}, "
    "{\"sku\": \"XYZ-0001\", \"count\": 1, "
    "\"price\": 1250, \"size\": \"large\"}], \"note\": \"Please deliver in the morning; the bell "
    "does not work, so knock. If nobody is at home, "
    "leave the parcel with the neighbour.\"}";

/* About 10 KB of schema: sixty members of eight kinds, described. */
static void make_wide(task *t)
{
    tg_buf_add_text(&t->form,
                    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    tg_buf_add_text(&t->text, "{");
    for (int i = 0; i < FIELDS; i++) {
        static const char *const schemas[] = {
            "\"type\":\"string\",\"maxLength\":80",
            "\"type\":\"integer\",\"minimum\":0,\"maximum\":10000",
            "\"type\":\"boolean\"",
            "\"type\":\"string\",\"format\":\"date\"",
            "\"enum\":[\"open\",\"closed\",\"pending\",\"unknown\"]",
            "\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z]{2,12}$\"},"
            "\"maxItems\":8",
            "\"type\":\"number\",\"minimum\":-90,\"maximum\":90",
            "\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"of\":"
            "{\"type\":\"integer\"}},\"required\":[\"name\"],\"additionalProperties\":false"};
        static const char *const values[] = {"\"The quick brown fox jumps over the lazy dog\"",
                                             "4711",
                                             "false",
                                             "\"2026-02-28\"",
                                             "\"pending\"",
                                             "[\"red\", \"green\", \"blue\"]",
                                             "-12.75",
                                             "{\"name\": \"part of it\", \"of\": 7}"};
        tg_buf_printf(&t->form,
                      "%s\"member_%d\":{%s,\"description\":\"What member %d of the record says, as "
                      "the source document has it, "
                      "without any unit\"}",
                      i ? "," : "", i, schemas[i % 8], i);
        tg_buf_printf(&t->text, "%s\"member_%d\": %s", i ? ", " : "", i, values[i % 8]);
    }
    tg_buf_add_text(&t->form, "},\"required\":[\"member_0\",\"member_59\"]}");
    tg_buf_add_text(&t->text, "}");
}

static void make_tasks(task tasks[5])
{
    static const task kinds[] = {{.name = "json_object", .kind = TG_CONSTRAINT_JSON_OBJECT},
                                 {.name = "schema, an order", .kind = TG_CONSTRAINT_JSON_SCHEMA},
                                 {.name = "schema of 10 KB", .kind = TG_CONSTRAINT_JSON_SCHEMA},
                                 {.name = "text of at most 500", .kind = TG_CONSTRAINT_JSON_SCHEMA},
                                 {.name = "regex, a date", .kind = TG_CONSTRAINT_REGEX}};
    for (int i = 0; i < 5; i++) {
        tasks[i] = kinds[i];
        tg_buf_init(&tasks[i].form, 0);
        tg_buf_init(&tasks[i].text, 0);
    }
    tg_buf_add_text(&tasks[0].text, order_text);
    tg_buf_add_text(&tasks[1].form, order_schema);
    tg_buf_add_text(&tasks[1].text, order_text);
    make_wide(&tasks[2]);
    tg_buf_add_text(&tasks[3].form, "{\"type\":\"string\",\"maxLength\":500}");
    tg_buf_add_char(&tasks[3].text, '"');
    for (int i = 0; i < 9; i++)
        tg_buf_add_text(&tasks[3].text, "It was a bright cold day, and all clocks struck. ");
    tg_buf_add_char(&tasks[3].text, '"');
    tg_buf_add_text(&tasks[4].form, "On [0-9]{4}-[01][0-9]-[0-3][0-9] at [0-2][0-9]:[0-5][0-9] "
                                    "(in|near) [A-Z][a-z]+(, [A-Z][a-z]+)*\\.");
    tg_buf_add_text(&tasks[4].text, "On 2026-11-25 at 23:59 near Lyon, Geneva, Turin.");
}

/* ---- writing ---- */

/* The longest allowed token with which the rest begins. */
static uint32_t longest(const tg_vocab_trie *trie, const uint64_t *allowed, tg_str rest)
{
    uint32_t best = TG_TOKEN_NONE, node = 0;
    for (size_t i = 0; i < rest.len; i++) {
        uint32_t child = node + 1;
        while (child < trie->nodes[node].skip && trie->nodes[child].byte != (uint8_t)rest.data[i])
            child = trie->nodes[child].skip;
        if (child >= trie->nodes[node].skip)
            break;
        node = child;
        const uint32_t first = trie->nodes[node].first, token = trie->order[first];
        if (trie->nodes[node + 1].first > first && (allowed[token / 64] >> (token % 64) & 1))
            best = token;
    }
    return best;
}

typedef struct figures {
    double mean_us, p99_us, most_us;
    size_t steps;
} figures;

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Of this thread: whatever else the machine does does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static figures write_text(const tg_vocab_trie *trie, tg_constraint *c, tg_str text)
{
    static uint64_t took[STEPS_MAX];
    const uint64_t *allowed = NULL;
    uint64_t sum = 0;
    tg_constraint_state *s = NULL;
    size_t steps = 0;
    if (tg_constraint_start(c, &s) < 0)
        fail("out of memory");
    for (size_t at = 0; at < text.len && steps < STEPS_MAX; steps++) {
        const uint64_t began = cpu_ns();
        tg_constraint_mask(s, NULL, &allowed);
        const uint64_t masked = cpu_ns();
        const uint32_t token = longest(trie, allowed, (tg_str){text.data + at, text.len - at});
        if (token == TG_TOKEN_NONE)
            fail("the text is not of the form");
        const uint64_t chosen = cpu_ns();
        tg_constraint_advance(s, token);
        took[steps] = masked - began + cpu_ns() - chosen;
        sum += took[steps];
        at += tg_tokenizer_piece(trie->tokenizer, token).len;
    }
    if (!tg_constraint_may_end(s))
        fail("the text is not whole");
    tg_constraint_state_free(s);
    qsort(took, steps, sizeof(*took), compare);
    return (figures){(double)sum / 1e3 / (double)steps, (double)took[steps * 99 / 100] / 1e3,
                     (double)took[steps - 1] / 1e3, steps};
}

static double measure(const tg_vocab_trie *trie, const task *t)
{
    const tg_str form = tg_buf_str(&t->form);
    const tg_constraint_spec spec = {t->kind, &form, t->form.len > 0};
    tg_constraint *c = NULL;
    tg_error err = {""};
    const uint64_t began = cpu_ns();
    if (tg_constraint_compile(&spec, trie, &err, &c) < 0)
        fail(err.text);
    const double compile_ms = (double)(cpu_ns() - began) / 1e6;
    const figures first = write_text(trie, c, tg_buf_str(&t->text)),
                  again = write_text(trie, c, tg_buf_str(&t->text));
    printf("%8u  %-20s %7zu %10.1f %9zu %9.1f %9.1f %9.1f %9.1f\n", trie->vocab, t->name,
           t->form.len, compile_ms, first.steps, first.mean_us, first.most_us, again.mean_us,
           again.p99_us);
    tg_constraint_release(c);
    return first.mean_us;
}

/* ---- the engine's step ---- */

static void on_ready(void *user) { sem_post(user); }

static void on_event(void *user, const tg_engine_event *e)
{
    *(uint32_t *)user -= e->finish != TG_FINISH_NONE;
}

/* Microseconds of a step of so many sequences, about. */
static double step_us(tg_engine *engine, sem_t *ready, uint32_t seqs, uint32_t tokens)
{
    const tg_str text = TG_STR("Once upon a time");
    uint32_t open = seqs;
    const uint64_t began = tg_clock_mono_ns();
    for (uint32_t i = 0; i < seqs; i++) {
        const tg_gen_request request = {
            .text = &text, .max_tokens = tokens, .adjustments = {.min_tokens = tokens}};
        tg_gen_ticket ticket;
        tg_error err = {""};
        if (tg_engine_submit(engine, &request, &err, &ticket) < 0)
            fail(err.text);
    }
    while (open > 0) {
        while (sem_wait(ready) < 0 && errno == EINTR)
            ;
        tg_engine_drain(engine, on_event, &open);
    }
    return (double)(tg_clock_mono_ns() - began) / 1e3 / tokens;
}

int main(int argc, char **argv)
{
    tg_engine *engine = NULL;
    sem_t ready;
    task tasks[5];
    tg_error err = {""};
    double worst = 0;
    sem_init(&ready, 0, 0);
    const tg_engine_conf conf = {.model_path = argc > 1 ? argv[1] : "",
                                 .max_seqs = BATCH,
                                 .max_queue = BATCH,
                                 .no_speculation = true,
                                 .notify = on_ready,
                                 .notify_user = &ready};
    if (tg_engine_new(&conf, &err, &engine) < 0)
        fail(err.text);
    make_tasks(tasks);
    tg_tokenizer *large = large_vocabulary(tg_engine_model(engine)->tokenizer);
    printf("microseconds of processor time for a mask and taking the token in, for a sequence and "
           "step\n");
    printf("%8s  %-20s %7s %10s %9s %9s %9s %9s %9s\n", "tokens", "constraint", "bytes",
           "compile ms", "steps", "first", "most", "again", "p99");
    for (int v = 0; v < 2; v++) {
        tg_vocab_trie *trie = NULL;
        if (tg_vocab_trie_new(v ? large : tg_engine_model(engine)->tokenizer, &trie) < 0)
            fail("out of memory");
        for (int i = 0; i < 5; i++) {
            const double us = measure(trie, &tasks[i]);
            worst = v == 0 && us > worst ? us : worst;
        }
        tg_vocab_trie_free(trie);
    }
    for (uint32_t seqs = 1; seqs <= BATCH; seqs *= BATCH) {
        step_us(engine, &ready, seqs, 8);
        const double us = step_us(engine, &ready, seqs, DECODE_TOKENS);
        printf("a step of %u takes %.0f us; its masks, at the dearest mean above for this "
               "vocabulary, %.2f%% of it\n",
               seqs, us, 100 * worst * seqs / us);
    }
    for (int i = 0; i < 5; i++) {
        tg_buf_free(&tasks[i].form);
        tg_buf_free(&tasks[i].text);
    }
    tg_engine_free(engine);
    tg_tokenizer_free(large);
    sem_destroy(&ready);
    return 0;
}
