/* llama_driver MODEL [THREADS [SEQS [CONTEXT]]]: llama.cpp behind the commands of driver.h.
 *
 * Its own defaults wherever a user would keep them: mmap, repacked weights, flash attention as it
 * sees fit, an F16 cache split among the sequences, micro-batches of 512. Rates leave sampling out,
 * which ours includes.
 * With FIRST=N in the environment it loads, prefills N tokens, takes one more, says so and ends. */
#include "tests/bench/engine/driver.h"

#include <llama.h>

typedef struct peer {
    struct llama_model *model;
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    struct llama_batch batch;
    uint32_t vocab_len, seqs;
    uint32_t prompted; /* sequences whose prompt for decode is in the cache */
    uint64_t random;
} peer;

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static void add(peer *p, uint32_t token, uint32_t position, uint32_t seq, bool logits)
{
    const int i = p->batch.n_tokens++;
    p->batch.token[i] = (llama_token)token;
    p->batch.pos[i] = (llama_pos)position;
    p->batch.n_seq_id[i] = 1;
    p->batch.seq_id[i][0] = (llama_seq_id)seq;
    p->batch.logits[i] = logits;
}

static void run(peer *p)
{
    if (llama_decode(p->ctx, p->batch) != 0)
        driver_fail("llama_decode failed");
    llama_synchronize(p->ctx);
    p->batch.n_tokens = 0;
}

static void forget_all(peer *p)
{
    llama_memory_clear(llama_get_memory(p->ctx), false);
    p->prompted = 0;
}

static driver_time prefill(void *self, uint32_t tokens)
{
    peer *p = self;
    forget_all(p);
    const driver_time started = driver_now();
    for (uint32_t i = 0; i < tokens; i++)
        add(p, driver_random(&p->random, p->vocab_len), i, 0, i + 1 == tokens);
    run(p);
    return driver_since(started);
}

/* Every sequence at the end of its prompt, as at the end of a prefill. */
static void begin(peer *p, uint32_t seqs)
{
    if (p->prompted == seqs) {
        for (uint32_t s = 0; s < seqs; s++)
            llama_memory_seq_rm(llama_get_memory(p->ctx), (llama_seq_id)s, DRIVER_PROMPT, -1);
        return;
    }
    forget_all(p);
    for (uint32_t s = 0; s < seqs; s++)
        for (uint32_t i = 0; i < DRIVER_PROMPT; i++)
            add(p, driver_prompt_token(s, i, p->vocab_len), i, s, i + 1 == DRIVER_PROMPT);
    run(p);
    p->prompted = seqs;
}

static driver_time decode(void *self, uint32_t seqs, uint32_t steps)
{
    peer *p = self;
    if (seqs > p->seqs)
        driver_fail("more sequences than it was started for");
    begin(p, seqs);
    const driver_time started = driver_now();
    for (uint32_t k = 0; k < steps; k++) {
        for (uint32_t s = 0; s < seqs; s++)
            add(p, driver_random(&p->random, p->vocab_len), DRIVER_PROMPT + k, s, true);
        run(p);
    }
    return driver_since(started);
}

/* The best token and how far the next is behind. */
static uint32_t best(const float *logits, uint32_t count, float *ret_gap)
{
    uint32_t first = 0;
    float second = -INFINITY;
    for (uint32_t i = 1; i < count; i++) {
        if (logits[i] > logits[first]) {
            second = logits[first];
            first = i;
        } else if (logits[i] > second) {
            second = logits[i];
        }
    }
    *ret_gap = logits[first] - second;
    return first;
}

static void greedy(void *self, const uint32_t *prompt, size_t prompt_len, uint32_t tokens)
{
    peer *p = self;
    forget_all(p);
    for (size_t i = 0; i < prompt_len; i++)
        add(p, prompt[i], (uint32_t)i, 0, i + 1 == prompt_len);
    for (uint32_t k = 0; k < tokens; k++) {
        float gap;
        run(p);
        uint32_t token = best(llama_get_logits_ith(p->ctx, -1), p->vocab_len, &gap);
        printf("%u:%.4f ", token, (double)gap);
        add(p, token, (uint32_t)prompt_len + k, 0, true);
    }
    p->batch.n_tokens = 0;
}

static size_t tokenize(void *self, const char *text, size_t text_len, uint32_t *out, size_t most)
{
    peer *p = self;
    int n = llama_tokenize(p->vocab, text, (int32_t)text_len, (llama_token *)out, (int32_t)most,
                           true, false);
    if (n < 0)
        driver_fail("the text is too long");
    return (size_t)n;
}

static void nll(void *self, const uint32_t *ids, size_t len)
{
    peer *p = self;
    forget_all(p);
    for (size_t i = 0; i + 1 < len; i++) {
        add(p, ids[i], (uint32_t)i, 0, true);
        run(p);
        printf("%.6f ", driver_nll(llama_get_logits_ith(p->ctx, -1), p->vocab_len, ids[i + 1]));
    }
}

static uint32_t number(int argc, char **argv, int index, uint32_t otherwise)
{
    return argc > index ? (uint32_t)strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static peer p = {.random = 1};
    uint64_t started_ns = driver_now_ns();
    const char *first = getenv("FIRST");
    const uint32_t threads = number(argc, argv, 2, 2), seqs = number(argc, argv, 3, 32);
    const uint32_t context = number(argc, argv, 4, 8192);
    if (argc < 2)
        driver_fail("usage: llama_driver MODEL [THREADS [SEQS [CONTEXT]]]");
    llama_log_set(quiet, NULL);
    llama_backend_init();
    p.model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!p.model)
        driver_fail("the model cannot be loaded");
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = context;
    params.n_seq_max = p.seqs = seqs;
    params.n_threads = params.n_threads_batch = (int32_t)threads;
    p.ctx = llama_init_from_model(p.model, params);
    if (!p.ctx)
        driver_fail("the context cannot be made");
    p.vocab = llama_model_get_vocab(p.model);
    p.vocab_len = (uint32_t)llama_vocab_n_tokens(p.vocab);
    p.batch = llama_batch_init(DRIVER_TOKENS_MAX, 0, 1);
    if (first) {
        prefill(&p, (uint32_t)strtoul(first, NULL, 10));
        printf("first\n");
        return 0;
    }
    printf("load_ms=%.0f info=%s\n", (double)(driver_now_ns() - started_ns) / 1e6,
           llama_print_system_info());
    fflush(stdout);
    const driver_ops ops = {prefill, decode, greedy, tokenize, nll, &p};
    driver_serve(&ops);
    llama_batch_free(p.batch);
    llama_free(p.ctx);
    llama_model_free(p.model);
    return 0;
}
