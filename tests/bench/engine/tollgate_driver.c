/* bench_engine MODEL [THREADS [SEQS [CONTEXT]]]: our engine, through its public face, behind the
 * commands of driver.h, and two more:
 *
 *     shared CACHE SEQS REQUESTS   nanoseconds, and those to each request's first token, of prompts
 *                                  that share 60% of their 640 tokens; CACHE 0: each is another
 *                                  tenant's
 *     answer TOKENS LEN ID... [LEN ID...]...
 *                                  greedy answers of so many tokens to these prompts, all at once:
 *                                  nanoseconds, those of processor time, tokens guessed, those of
 *                                  them that were right, and a hash of all answers
 *
 * With FIRST=N in the environment it loads, prefills N tokens, takes one more, says so and ends.
 * With GUESS=0 it never guesses tokens. */
#include "libs/base/clock.h"
#include "services/inference/backend/backend.h"
#include "services/inference/engine/engine.h"
#include "tests/bench/engine/driver.h"

#include <errno.h>
#include <semaphore.h>

enum {
    SHARED_PROMPT = 640,
    SHARED_PREFIX = 384,
    SHARED_OUTPUT = 32,
    SHARED_REQUESTS_MAX = 4096,
    STEP_TOKENS = 512, /* llama.cpp's micro-batch */
};

typedef struct ours {
    tg_engine *engine;
    sem_t ready;
    uint32_t vocab, threads, seqs;
    uint64_t random;
    tg_backend *backend; /* for nll alone, opened when asked for */

    /* of the generations under way */
    uint32_t open, first_pending, count;
    driver_time all_began; /* when the last of them had its first token */
    uint64_t tokens_since; /* after that moment */
    bool print_tokens;
    uint32_t seen[DRIVER_SEQS_MAX];
    uint32_t guessed, right;
    uint64_t hash[DRIVER_SEQS_MAX]; /* of each sequence's tokens */

    uint64_t *first_token_ns; /* of `shared`, by request */
    uint64_t submitted_ns[SHARED_REQUESTS_MAX];
} ours;

static void on_ready(void *user) { sem_post(&((ours *)user)->ready); }

static void drain(ours *o, tg_engine_event_fn fn)
{
    while (sem_wait(&o->ready) < 0 && errno == EINTR)
        ;
    tg_engine_drain(o->engine, fn, o);
}

static void must_submit(ours *o, const tg_gen_request *request)
{
    tg_error err = {""};
    tg_gen_ticket ticket;
    if (tg_engine_submit(o->engine, request, &err, &ticket) < 0)
        driver_fail(err.text);
    o->open++;
}

static void must_be_whole(const tg_engine_event *event)
{
    if (event->finish != TG_FINISH_NONE && event->finish != TG_FINISH_LENGTH)
        driver_fail("a generation ended early");
}

/* ---- rates ---- */

static void on_rate_event(void *user, const tg_engine_event *event)
{
    ours *o = user;
    must_be_whole(event);
    if (event->token != TG_TOKEN_NONE) {
        if (o->print_tokens)
            printf("%u ", event->token);
        if (o->first_pending == 0)
            o->tokens_since++;
        else if (o->seen[(uintptr_t)event->user]++ == 0 && --o->first_pending == 0)
            o->all_began = driver_now();
        uint64_t *hash = &o->hash[(uintptr_t)event->user];
        *hash = (*hash ^ event->token) * 0x100000001b3u; /* FNV-1a, of tokens */
    }
    if (event->finish != TG_FINISH_NONE) {
        o->guessed += event->usage.guessed_tokens;
        o->right += event->usage.right_tokens;
        o->open--;
    }
}

static void begin(ours *o, uint32_t count)
{
    o->first_pending = o->count = count;
    o->tokens_since = 0;
    o->guessed = o->right = 0;
    memset(o->seen, 0, sizeof(o->seen));
    memset(o->hash, 0, sizeof(o->hash));
}

static void drain_all(ours *o)
{
    while (o->open > 0)
        drain(o, on_rate_event);
}

/* Since all of them had begun, as if just `tokens` had come from then on. */
static driver_time time_of(const ours *o, uint64_t tokens)
{
    const driver_time t = driver_since(o->all_began);
    const double part = (double)tokens / (double)o->tokens_since;
    return (driver_time){(uint64_t)((double)t.wall_ns * part), (uint64_t)((double)t.cpu_ns * part)};
}

static driver_time prefill(void *self, uint32_t tokens)
{
    ours *o = self;
    static uint32_t prompt[DRIVER_TOKENS_MAX];
    for (uint32_t i = 0; i < tokens; i++)
        prompt[i] = driver_random(&o->random, o->vocab);
    begin(o, 1);
    const driver_time started = driver_now();
    must_submit(o, &(tg_gen_request){.tokens = prompt, .tokens_len = tokens, .max_tokens = 1,
                                     .ignore_end = true});
    drain_all(o);
    return driver_since(started);
}

/* Counted from the moment at which the last sequence has begun: before it, the batch is not
 * whole. */
static driver_time decode(void *self, uint32_t seqs, uint32_t steps)
{
    ours *o = self;
    uint32_t prompt[DRIVER_PROMPT];
    if (seqs > o->seqs)
        driver_fail("more sequences than it was started for");
    begin(o, seqs);
    for (uint32_t s = 0; s < seqs; s++) {
        for (uint32_t i = 0; i < DRIVER_PROMPT; i++)
            prompt[i] = driver_prompt_token(s, i, o->vocab);
        must_submit(o, &(tg_gen_request){.tokens = prompt, .tokens_len = DRIVER_PROMPT,
                                         .max_tokens = steps + 1, .ignore_end = true,
                                         .user = (void *)(uintptr_t)s});
    }
    drain_all(o);
    return time_of(o, (uint64_t)seqs * steps);
}

static void answer(ours *o, const uint32_t *numbers, size_t len)
{
    uint32_t seqs = 0;
    uint64_t hash = 0;
    for (size_t at = 1; at < len; at += 1 + numbers[at])
        seqs++;
    if (seqs == 0 || seqs > o->seqs || seqs > DRIVER_SEQS_MAX)
        driver_fail("answer: a count and at least one prompt");
    begin(o, seqs);
    seqs = 0;
    for (size_t at = 1; at < len; at += 1 + numbers[at]) {
        if (numbers[at] >= len - at)
            driver_fail("answer: a prompt is cut off");
        must_submit(o, &(tg_gen_request){.tokens = numbers + at + 1, .tokens_len = numbers[at],
                                         .max_tokens = numbers[0] + 1, .ignore_end = true,
                                         .user = (void *)(uintptr_t)seqs++});
    }
    drain_all(o);
    driver_print_time(time_of(o, (uint64_t)seqs * numbers[0]));
    for (uint32_t s = 0; s < seqs; s++)
        hash = (hash ^ o->hash[s]) * 0x100000001b3u;
    printf(" %u %u %016llx\n", o->guessed, o->right, (unsigned long long)hash);
    fflush(stdout);
}

/* ---- agreement ---- */

static void greedy(void *self, const uint32_t *prompt, size_t prompt_len, uint32_t tokens)
{
    ours *o = self;
    begin(o, 1);
    o->print_tokens = true;
    must_submit(o, &(tg_gen_request){.tokens = prompt,
                                     .tokens_len = prompt_len,
                                     .max_tokens = tokens,
                                     .ignore_end = true});
    drain_all(o);
    o->print_tokens = false;
}

static size_t tokenize(void *self, const char *text, size_t text_len, uint32_t *out, size_t most)
{
    ours *o = self;
    const tg_token_span span = {.text = {text, text_len}};
    tg_token_list list = {0};
    if (tg_tokenizer_encode(tg_engine_model(o->engine)->tokenizer, &span, 1, true, &list) < 0 ||
        list.len > most)
        driver_fail("the text cannot be encoded");
    memcpy(out, list.ids, list.len * sizeof(*out));
    size_t len = list.len;
    tg_token_list_free(&list);
    return len;
}

static void nll(void *self, const uint32_t *ids, size_t len)
{
    ours *o = self;
    static uint32_t blocks[DRIVER_TOKENS_MAX / TG_KV_BLOCK_TOKENS + 1];
    const tg_backend_conf conf = {.threads = o->threads, .step_tokens_max = 1, .step_logits_max = 1,
                                  .kv_blocks = DRIVER_TOKENS_MAX / TG_KV_BLOCK_TOKENS + 1};
    tg_error err = {""};
    if (!o->backend &&
        tg_backend_open_cpu(tg_engine_model(o->engine), &conf, &err, &o->backend) < 0)
        driver_fail(err.text);
    for (uint32_t i = 0; i < sizeof(blocks) / sizeof(*blocks); i++)
        blocks[i] = i;
    for (size_t i = 0; i + 1 < len; i++) {
        const float *logits = NULL;
        const tg_step_seq seq = {ids + i, 1, (uint32_t)i, blocks, 1};
        if (o->backend->ops->run(o->backend, &(tg_forward_step){.seqs = &seq, .seqs_len = 1},
                                 &logits) < 0)
            driver_fail("a step failed");
        printf("%.6f ", driver_nll(logits, o->vocab, ids[i + 1]));
    }
}

/* ---- the prefix cache ---- */

static void submit_shared(ours *o, uint32_t index, bool cache)
{
    uint32_t prompt[SHARED_PROMPT];
    char tenant[32];
    for (uint32_t i = 0; i < SHARED_PROMPT; i++)
        prompt[i] = i < SHARED_PREFIX ? driver_prompt_token(1000, i, o->vocab)
                                      : driver_random(&o->random, o->vocab);
    snprintf(tenant, sizeof(tenant), cache ? "one" : "tenant-%llu", (unsigned long long)o->random);
    o->submitted_ns[index] = driver_now_ns();
    must_submit(o, &(tg_gen_request){.tokens = prompt,
                                     .tokens_len = SHARED_PROMPT,
                                     .max_tokens = SHARED_OUTPUT,
                                     .ignore_end = true,
                                     .tenant = tg_str_of(tenant),
                                     .user = (void *)(uintptr_t)index});
}

static void on_shared_event(void *user, const tg_engine_event *event)
{
    ours *o = user;
    const uintptr_t index = (uintptr_t)event->user;
    must_be_whole(event);
    if (event->token != TG_TOKEN_NONE && o->first_token_ns[index] == 0)
        o->first_token_ns[index] = driver_now_ns() - o->submitted_ns[index];
    o->open -= event->finish != TG_FINISH_NONE;
}

static void shared(ours *o, bool cache, uint32_t seqs, uint32_t requests)
{
    uint64_t first_token_ns[SHARED_REQUESTS_MAX] = {0};
    if (requests > SHARED_REQUESTS_MAX)
        driver_fail("too many requests");
    o->first_token_ns = first_token_ns;
    uint64_t started_ns = driver_now_ns();
    for (uint32_t i = 0; i < requests || o->open > 0;) {
        while (i < requests && o->open < seqs)
            submit_shared(o, i++, cache);
        drain(o, on_shared_event);
    }
    printf("%llu", (unsigned long long)(driver_now_ns() - started_ns));
    for (uint32_t i = 0; i < requests; i++)
        printf(" %llu", (unsigned long long)first_token_ns[i]);
    printf("\n");
    fflush(stdout);
}

/* ---- start ---- */

/* Weights that every token is multiplied with: the layers' matrices. */
static uint64_t layer_weights(const tg_gguf *gguf)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < tg_gguf_tensor_count(gguf); i++) {
        const tg_gguf_tensor *t = tg_gguf_tensor_at(gguf, i);
        if (t->dims_len == 2 && t->name.len > 4 && memcmp(t->name.data, "blk.", 4) == 0)
            sum += t->dims[0] * t->dims[1];
    }
    return sum;
}

static void serve(ours *o)
{
    static char line[DRIVER_LINE_MAX];
    static uint32_t numbers[DRIVER_TOKENS_MAX];
    const driver_ops ops = {prefill, decode, greedy, tokenize, nll, o};
    while (fgets(line, sizeof(line), stdin)) {
        uint32_t n[3];
        if (strncmp(line, "shared ", 7) == 0 && driver_numbers(line + 7, n, 3) == 3)
            shared(o, n[0], n[1], n[2]);
        else if (strncmp(line, "answer ", 7) == 0)
            answer(o, numbers, driver_numbers(line + 7, numbers, DRIVER_TOKENS_MAX));
        else
            driver_answer(&ops, line);
    }
}

static uint32_t number(int argc, char **argv, int index, uint32_t otherwise)
{
    return argc > index ? (uint32_t)strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static ours o = {.random = 1};
    tg_error err = {""};
    tg_engine_status s;
    const uint64_t started_ns = driver_now_ns();
    const char *first = getenv("FIRST"), *guess = getenv("GUESS");
    if (argc < 2)
        driver_fail("usage: bench_engine MODEL [THREADS [SEQS [CONTEXT]]]");
    sem_init(&o.ready, 0, 0);
    o.threads = number(argc, argv, 2, 2);
    o.seqs = number(argc, argv, 3, 32);
    const tg_engine_conf conf = {.model_path = argv[1],
                                 .threads = o.threads,
                                 .max_seqs = o.seqs,
                                 .kv_tokens = number(argc, argv, 4, 8192),
                                 .step_token_budget = STEP_TOKENS,
                                 .notify = on_ready,
                                 .no_speculation = guess && strcmp(guess, "0") == 0,
                                 .notify_user = &o};
    if (tg_engine_new(&conf, &err, &o.engine) < 0)
        driver_fail(err.text);
    const tg_model *model = tg_engine_model(o.engine);
    o.vocab = model->shape.vocab;
    tg_engine_get_status(o.engine, &s);
    if (first) {
        prefill(&o, (uint32_t)strtoul(first, NULL, 10));
        printf("first\n");
        return 0;
    }
    printf("load_ms=%.0f path=%s numerics=%s weights=%llu kv=%llu layer_weights=%llu\n",
           (double)(driver_now_ns() - started_ns) / 1e6, s.path, s.numerics,
           (unsigned long long)model->weight_bytes,
           (unsigned long long)(s.kv_blocks_total * tg_backend_kv_block_bytes(model, conf.kv_type)),
           (unsigned long long)layer_weights(model->gguf));
    fflush(stdout);
    serve(&o);
    tg_backend_close(o.backend);
    tg_engine_free(o.engine);
    sem_destroy(&o.ready);
    return 0;
}
