#include "services/inference/engine/account.h"
#include "tests/unit/harness.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <stdio.h>

static const tg_model_shape shape = {.layers = 30,
                                     .width = 576,
                                     .heads = 9,
                                     .kv_heads = 3,
                                     .head_dim = 64,
                                     .ffn_width = 1536,
                                     .vocab = 49152};

static void test_shares_sum_exactly(void)
{
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(100000); round++) {
        uint64_t weights[9], shares[9], sum = 0;
        const uint32_t len = 1 + (uint32_t)(tiny_random(&random) % 9);
        const uint64_t total = tiny_random(&random) >> (tiny_random(&random) % 60);
        for (uint32_t i = 0; i < len; i++)
            weights[i] = tiny_random(&random) >> (24 + tiny_random(&random) % 40);
        tg_share(total, weights, len, shares);
        for (uint32_t i = 0; i < len; i++)
            sum += shares[i];
        CU_ASSERT_EQUAL(sum, total);
    }
}

/* By hand for SmolLM2-135M, and pairs as a sum over tokens. */
static void test_work(void)
{
    const tg_work work = tg_work_of(&shape);
    CU_ASSERT_EQUAL(work.token, 30u * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536));
    CU_ASSERT_EQUAL(work.row, 576u * 49152u);
    CU_ASSERT_EQUAL(work.key, 30u * 2 * 576);
    uint64_t random = tg_test_seed();
    for (size_t round = 0; round < tg_test_rounds(2000); round++) {
        const uint64_t before = tiny_random(&random) % 300, tokens = tiny_random(&random) % 100,
                       window = tiny_random(&random) % 200;
        uint64_t pairs = 0;
        for (uint64_t i = before + 1; i <= before + tokens; i++)
            pairs += window > 0 && i > window ? window : i;
        CU_ASSERT_EQUAL(tg_account_pairs(before, tokens, window), pairs);
    }
}

enum { SEQS = 12, NAMES = 5 };
static const char *const names[NAMES] = {"acme", "globex", "initech", "", "umbrella"};

typedef struct one { /* a sequence, without an engine around it */
    tg_tenant_account *tenant;
    size_t name;
    uint64_t engine_ns;
} one;

typedef struct books { /* what the test has seen */
    uint64_t shared, overhead, idle, end; /* as the intervals told */
    /* told of each tenant; and of its sequences that are over */
    uint64_t by_name[NAMES], ended[NAMES];
} books;

static void check_interval(tg_account *a, uint64_t now, books *b)
{
    tg_engine_interval interval;
    uint64_t shares = 0;
    tg_account_take(a, now, &interval);
    CU_ASSERT_EQUAL(interval.begin_ns, b->end);
    for (size_t i = 0; i < interval.tenants_len; i++) {
        size_t name = 0;
        while (name < NAMES && strcmp(names[name], interval.tenants[i].tenant) != 0)
            name++;
        CU_ASSERT_FATAL(name < NAMES && !interval.tenants[i].others);
        b->by_name[name] += interval.tenants[i].engine_ns;
        shares += interval.tenants[i].engine_ns;
    }
    CU_ASSERT_EQUAL_FATAL(shares + interval.overhead_ns + interval.idle_ns,
                          interval.end_ns - interval.begin_ns);
    b->end = interval.end_ns;
    b->shared += shares;
    b->overhead += interval.overhead_ns;
    b->idle += interval.idle_ns;
    CU_ASSERT_FATAL(a->shared_ns == b->shared && a->overhead_ns == b->overhead &&
                    a->idle_ns == b->idle);
}

static void begin_step(tg_account *a, one *seqs, uint64_t now, uint64_t *random)
{
    tg_account_part parts[SEQS];
    uint32_t len = 0;
    for (uint32_t i = 0; i < SEQS; i++) {
        const uint32_t tokens =
            1 + (uint32_t)(tiny_random(random) % 3 == 0 ? tiny_random(random) % 256 : 0);
        if (seqs[i].tenant && tiny_random(random) % 4 > 0)
            parts[len++] = (tg_account_part){
                seqs[i].tenant,
                &seqs[i].engine_ns,
                (uint32_t)(tiny_random(random) % 8192),
                tokens,
                (uint32_t)(tiny_random(random) % (tokens + 1)),
                tiny_random(random) % 8 ? 0 : (uint32_t)(tiny_random(random) % (tokens + 1))};
    }
    tg_account_begin_step(a, parts, len, now);
}

static void go(tg_account *a, one *seq, books *b)
{
    b->ended[seq->name] += seq->engine_ns;
    tg_account_leave(a, seq->tenant);
    *seq = (one){0};
}

static void come_or_go(tg_account *a, one *seq, books *b, uint64_t *random)
{
    if (seq->tenant) {
        go(a, seq, b);
    } else {
        seq->name = tiny_random(random) % NAMES;
        seq->tenant = tg_account_join(a, tg_str_of(names[seq->name]));
    }
}

/* A million steps with random mixes, and intervals that end anywhere, also in the middle of a step:
 * every one adds up, and all of them are what the sequences were told. */
static void test_a_million_steps(void)
{
    uint64_t random = tg_test_seed(), now = tiny_random(&random) >> 8;
    one seqs[SEQS] = {{0}};
    books b = {0};
    tg_account a;
    CU_ASSERT_EQUAL_FATAL(tg_account_init(&a, &shape, now), 0);
    const uint64_t born = now;
    for (uint32_t i = 0; i < 1000000; i++) {
        if (tiny_random(&random) % 8 == 0)
            come_or_go(&a, &seqs[tiny_random(&random) % SEQS], &b, &random);
        if (tiny_random(&random) % 16 == 0) {
            tg_account_enter(&a, TG_ACCOUNT_IDLE, now);
            now += tiny_random(&random) % 1000000;
            tg_account_enter(&a, TG_ACCOUNT_OVERHEAD, now);
        }
        now += tiny_random(&random) % 10000;
        begin_step(&a, seqs, now, &random);
        for (uint64_t cuts = tiny_random(&random) % 16 == 0 ? tiny_random(&random) % 3 : 0;
             cuts > 0; cuts--) {
            now += tiny_random(&random) % 1000000;
            check_interval(&a, now, &b);
        }
        now += tiny_random(&random) >> (34 + tiny_random(&random) % 30);
        tg_account_enter(&a, TG_ACCOUNT_OVERHEAD, now);
        CU_ASSERT_EQUAL_FATAL(a.shared_ns + a.overhead_ns + a.idle_ns, now - born);
    }
    check_interval(&a, now, &b);
    CU_ASSERT_EQUAL(b.end, now - born);
    CU_ASSERT(b.shared > 0 && b.overhead > 0 && b.idle > 0);
    for (uint32_t i = 0; i < SEQS; i++)
        if (seqs[i].tenant)
            go(&a, &seqs[i], &b);
    for (uint32_t i = 0; i < NAMES; i++)
        CU_ASSERT_EQUAL(b.by_name[i], b.ended[i]);
    tg_account_free(&a);
}

/* Two that compute the same pay the same to the nanosecond's rest; a longer one pays more; what is
 * done again is nobody's. */
static void test_who_pays(void)
{
    uint64_t ns[4] = {0};
    tg_account a;
    tg_engine_interval interval;
    CU_ASSERT_EQUAL_FATAL(tg_account_init(&a, &shape, 0), 0);
    tg_tenant_account *acme = tg_account_join(&a, TG_STR("acme")),
                      *globex = tg_account_join(&a, TG_STR("globex"));
    const tg_account_part parts[] = {{acme, &ns[0], 500, 1, 1, 0},
                                     {globex, &ns[1], 500, 1, 1, 0},
                                     {globex, &ns[2], 4000, 1, 1, 0},
                                     {acme, &ns[3], 100, 50, 0, 50}};
    tg_account_begin_step(&a, parts, 4, 0);
    tg_account_take(&a, 10000001, &interval);
    CU_ASSERT(ns[0] > 0 && (ns[0] == ns[1] || ns[0] + 1 == ns[1] || ns[0] == ns[1] + 1));
    CU_ASSERT(ns[2] > ns[1]);
    CU_ASSERT_EQUAL(ns[3], 0);
    CU_ASSERT(interval.overhead_ns > ns[0]);
    CU_ASSERT_EQUAL(ns[0] + ns[1] + ns[2] + interval.overhead_ns, 10000001);
    CU_ASSERT_EQUAL(interval.tenants_len, 2);
    tg_account_take(&a, 10000001, &interval); /* of no length */
    CU_ASSERT(interval.begin_ns == interval.end_ns && interval.tenants_len == 0);
    tg_account_free(&a);
}

/* Past the bound, and where a name cannot be told, tenants are told as one; nothing of theirs is
 * lost. */
static void test_many_tenants(void)
{
    enum { MANY = TG_ACCOUNT_TENANTS_MAX + 50 };
    static tg_tenant_account *joined[MANY];
    char name[TG_ACCOUNT_NAME_MAX + 8];
    tg_engine_interval interval;
    tg_account a;
    uint64_t tokens = 0, others = 0;
    CU_ASSERT_EQUAL_FATAL(tg_account_init(&a, &shape, 0), 0);
    /* names are forgotten once they are told, and others come */
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            snprintf(name, sizeof(name), "tenant %u of %u", i, round);
            joined[i] = tg_account_join(&a, tg_str_of(name));
            joined[i]->time.output_tokens += i;
            tg_account_leave(&a, joined[i]);
        }
        tg_account_take(&a, round, &interval);
        /* the first had nothing and is forgotten at once */
        CU_ASSERT_EQUAL(interval.tenants_len, TG_ACCOUNT_TENANTS_MAX + 1);
        for (size_t i = 0; i < interval.tenants_len; i++) {
            tokens += interval.tenants[i].output_tokens;
            others += interval.tenants[i].others;
        }
        CU_ASSERT_EQUAL(tg_map_count(a.tenants), 0);
    }
    CU_ASSERT_EQUAL(tokens, 3u * MANY * (MANY - 1) / 2);
    CU_ASSERT_EQUAL(others, 3);
    memset(name, 'x', sizeof(name));
    CU_ASSERT_PTR_EQUAL(tg_account_join(&a, (tg_str){name, TG_ACCOUNT_NAME_MAX + 1}), &a.others);
    CU_ASSERT_PTR_EQUAL(tg_account_join(&a, (tg_str){"a\0b", 3}), &a.others);
    CU_ASSERT_PTR_NOT_EQUAL(tg_account_join(&a, (tg_str){name, TG_ACCOUNT_NAME_MAX}), &a.others);
    tg_account_free(&a);
}

static const tg_test tests[] = {{"shares_sum_exactly", test_shares_sum_exactly},
                                {"work", test_work},
                                {"a_million_steps", test_a_million_steps},
                                {"who_pays", test_who_pays},
                                {"many_tenants", test_many_tenants}};
TG_TEST_MAIN("services_inference_engine_account", tests)
