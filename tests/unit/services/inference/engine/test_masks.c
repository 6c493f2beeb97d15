/* A tenant whose constraints' masks are dear, next to one whose stream is not to wait for them. */
#include "tests/unit/services/inference/engine_world.h"

enum {
    HOSTILE = 7,
    ALTERNATIVES = 20,
    LETTERS = 45,
    GOOD_TOKENS = 60,
    GOOD_PROMPT = 600,
    WITNESS_TOKENS = 400
};

/* ---- the backend, looked at: in which passes the good tenant's sequence is ---- */

static const tg_backend_ops *inner;
static tg_backend_ops looked_at;
/* the good one's: all and only those behind GOOD_PROMPT tokens */
static uint32_t passes, good_first, good_last, good_passes;

static int run_looked_at(tg_backend *backend, const tg_forward_step *step, const float **ret_logits)
{
    passes++;
    for (uint32_t i = 0; i < step->seqs_len; i++) {
        if (step->seqs[i].first_position + step->seqs[i].tokens_len < GOOD_PROMPT)
            continue;
        good_first = good_passes == 0 ? passes : good_first;
        good_last = passes;
        good_passes++;
    }
    return inner->run(backend, step, ret_logits);
}

static int open_looked_at(const tg_model *model, const tg_backend_conf *conf, tg_error *err,
                          tg_backend **ret)
{
    int rc = tg_backend_open_cpu(model, conf, err, ret);
    if (rc == 0) {
        inner = (*ret)->ops;
        looked_at = *inner;
        looked_at.run = run_looked_at;
        (*ret)->ops = &looked_at;
    }
    return rc;
}

/* ---- the requests ---- */

/* Strings of capitals and a digit, of so many lengths. Another sequence's are others, so that it
 * finds none of its walks made; and each position is a state of its own, behind which all tokens of
 * capitals are to be looked at, for each alternative: one letter is not allowed, so that no
 * subtree of capitals can be taken at once. */
static void write_schema(uint32_t i, tg_buf *ret)
{
    tg_buf_init(ret, 0);
    tg_buf_add_text(ret, "{\"anyOf\":[");
    for (uint32_t k = 0; k < ALTERNATIVES; k++)
        tg_buf_printf(ret, "%s{\"type\":\"string\",\"pattern\":\"^[A-PR-Z]{%u}%u[0-9]$\"}",
                      k ? "," : "", LETTERS + k, i);
    tg_buf_add_text(ret, "]}");
}

static void submit_hostile(world *w, uint32_t i)
{
    static const tg_str text = {"hello", 5};
    tg_gen_request r = text_request(&text, 60, i);
    tg_buf schema;
    write_schema(i, &schema);
    const tg_str texts[] = {tg_buf_str(&schema)};
    r.constraint = (tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, texts, 1};
    r.tenant = TG_STR("mallory");
    CU_ASSERT_EQUAL_FATAL(submit(w, i, r, NULL), 0);
    tg_buf_free(&schema);
}

/* It has a constraint itself, whose masks cost little, though each is another one. */
static void submit_good(world *w)
{
    static char letters[GOOD_PROMPT];
    memset(letters, 'q', sizeof(letters));
    const tg_str text = {letters, sizeof(letters)}, regex = TG_STR("[0-9]{100}");
    tg_gen_request r = text_request(&text, GOOD_TOKENS, 1);
    r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1};
    r.tenant = TG_STR("acme");
    CU_ASSERT_EQUAL_FATAL(submit(w, HOSTILE, r, NULL), 0);
}

/* It has no mask, so there is a pass in each step. */
static void submit_witness(world *w)
{
    static const tg_str text = {"hello", 5};
    tg_gen_request r = text_request(&text, WITNESS_TOKENS, 1);
    r.tenant = TG_STR("witness");
    CU_ASSERT_EQUAL_FATAL(submit(w, HOSTILE + 1, r, NULL), 0);
}

static void test_dear_masks_hold_up_nobody_else(void)
{
    world w = {.path = ""};
    tg_engine_status status;
    CU_ASSERT_EQUAL_FATAL(
        tiny_model_file((tiny_conf){.seed = 21, .bpe = true, .more = 17576}, w.path), 0);
    sem_init(&w.ready, 0, 0);
    for (size_t i = 0; i < SEQS; i++)
        result_init(&w.results[i]);
    const tg_engine_conf conf = {.model_path = w.path,
                                 .threads = 2,
                                 .max_seqs = HOSTILE + 2,
                                 .kv_tokens = 8192,
                                 .no_speculation = true,
                                 .open_backend = open_looked_at,
                                 .notify = on_ready,
                                 .notify_user = &w};
    CU_ASSERT_EQUAL_FATAL(tg_engine_new(&conf, NULL, &w.engine), 0);
    submit_witness(&w);
    for (uint32_t i = 0; i < HOSTILE; i++)
        submit_hostile(&w, i);
    do
        tg_engine_get_status(w.engine, &status);
    /* they are at it */
    while (status.masks_put_off_total < HOSTILE && status.running + status.queue_depth > 0);
    submit_good(&w);
    drain_all(&w);
    tg_engine_get_status(w.engine, &status);
    printf("# passes %u to %u of %u were the good one's; hostile ones sat out %llu times\n",
           good_first, good_last, passes, (unsigned long long)status.masks_put_off_total);
    /* A token in each step from its first to its last, while the others were at it. */
    CU_ASSERT_EQUAL(w.results[HOSTILE].tokens.len, GOOD_TOKENS);
    CU_ASSERT_EQUAL(good_passes, GOOD_TOKENS);
    CU_ASSERT_EQUAL(good_last - good_first + 1, GOOD_TOKENS);
    CU_ASSERT(good_last < passes && status.masks_put_off_total > HOSTILE * LETTERS / 2);
    for (uint32_t i = 0; i < HOSTILE; i++) { /* and they have what they asked for */
        const tg_str got = tg_buf_str(&w.results[i].text);
        CU_ASSERT(w.results[i].ends == 1 && w.results[i].finish == TG_FINISH_STOP);
        CU_ASSERT_FATAL(got.len >= LETTERS + 4);
        CU_ASSERT(got.data[got.len - 3] == (char)('0' + i));
    }
    world_free(&w);
}

static const tg_test tests[] = {
    {"dear_masks_hold_up_nobody_else", test_dear_masks_hold_up_nobody_else}};
TG_TEST_MAIN("services_inference_engine_masks", tests)
