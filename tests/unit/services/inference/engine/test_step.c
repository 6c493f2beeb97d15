/* What a step brings: choices, echo, log-probabilities, guesses, deadlines, logits that are not
 * numbers. */
#include "libs/base/clock.h"
#include "services/inference/engine/engine.h"
#include "tests/unit/services/inference/engine_world.h"

#include <math.h>

static const tg_str text = {"one two three one two three one two", 35};

static bool same_bytes(const tg_buf *a, const tg_buf *b)
{
    return tg_str_eq(tg_buf_str(a), tg_buf_str(b));
}

static tg_gen_request probing(uint32_t max_tokens, uint64_t seed)
{
    tg_gen_request r = text_request(&text, max_tokens, seed);
    r.logprobs = true;
    r.top_logprobs = 3;
    return r;
}

/* Whether one thread or company, choices or not, guesses or not: the same tokens and the same
 * log-probabilities, bit for bit. */
static void test_choices(void)
{
    world one, many;
    tg_engine_status status;
    world_make(&one, 1, 64, 512);
    world_make(&many, 8, 64, 4096);
    /* prompts within a block, and past one and two */
    for (uint32_t length = 1; length <= 35; length += 17) {
        const tg_str prompt = {text.data, length};
        tg_gen_request r = probing(40, 5);
        r.text = &prompt;
        r.n = 6;
        CU_ASSERT_EQUAL(submit(&many, 0, r, NULL), 0);
        drain_all(&many);
        for (uint32_t i = 0; i < 6; i++) {
            r.n = 0;
            r.sampling.choice = i; /* alone, by its number: its result is the i-th as well */
            CU_ASSERT_EQUAL(submit(&one, 0, r, NULL), 0);
            one.results[i].id = one.results[0].id;
            drain_all(&one);
            const result *a = &one.results[i], *b = &many.results[i];
            CU_ASSERT(b->ends == 1 && b->finish == TG_FINISH_LENGTH && b->tokens.len == 40);
            CU_ASSERT(same_tokens(&a->tokens, &b->tokens));
            CU_ASSERT(same_bytes(&a->text, &b->text));
            CU_ASSERT(a->logprobs.len == 40 * 4 * sizeof(tg_logprob) &&
                      same_bytes(&a->logprobs, &b->logprobs));
            CU_ASSERT_EQUAL(b->usage.prompt_tokens, length);
            if (i > 0) /* all of the prompt but its last token is shared */
                CU_ASSERT_EQUAL(b->usage.cached_tokens, length - 1);
            result_clear(&one.results[i]);
        }
        CU_ASSERT(!same_tokens(&many.results[0].tokens, &many.results[1].tokens));
    }
    tg_engine_get_status(many.engine, &status);
    CU_ASSERT_EQUAL(status.kv_blocks_used, 0);
    world_free(&one);
    world_free(&many);
}

/* A leader that leaves before its prompt is computed takes nobody with it. */
static void test_choices_outlive_the_first(void)
{
    char prompt[400];
    memset(prompt, 'q', sizeof(prompt));
    const tg_str long_text = {prompt, sizeof(prompt)};
    world w;
    uint32_t cancelled = 0;
    world_make(&w, 4, 64, 4096);
    for (uint32_t round = 0; round < 20; round++) {
        tg_gen_request r = text_request(&long_text, 3, round);
        r.n = 4;
        CU_ASSERT_EQUAL(submit(&w, 0, r, NULL), 0);
        const int rc = tg_engine_cancel(w.engine, w.results[0].id);
        CU_ASSERT(rc == 0 || rc == -ENOENT); /* it may be over where this thread had to wait */
        cancelled += rc == 0;
        drain_all(&w);
        for (uint32_t i = 0; i < 4; i++)
            CU_ASSERT(w.results[i].ends == 1 &&
                      (i == 0 || w.results[i].finish == TG_FINISH_LENGTH));
    }
    CU_ASSERT(cancelled > 0);
    tg_gen_request r = text_request(&text, 3, 0);
    r.n = TG_ENGINE_CHOICES_MAX + 1;
    CU_ASSERT_EQUAL(submit(&w, 0, r, NULL), -EINVAL);
    world_free(&w);
}

static void test_echo(void)
{
    world w;
    world_make(&w, 2, 8, 1024);
    tg_gen_request plain = probing(20, 9), r = plain;
    CU_ASSERT_EQUAL(submit(&w, 0, plain, NULL), 0);
    drain_all(&w);
    r.logprobs = false;
    r.top_logprobs = 0;
    r.echo = true;
    CU_ASSERT_EQUAL(submit(&w, 1, r, NULL), 0);
    r = plain;
    r.echo = true;
    CU_ASSERT_EQUAL(submit(&w, 2, r, NULL), 0);
    drain_all(&w);
    const result *whole = &w.results[2];
    for (uint32_t i = 1; i <= 2; i++) {
        CU_ASSERT(tg_str_eq(tg_buf_str(&w.results[i].prompt), text));
        CU_ASSERT(same_tokens(&w.results[0].tokens, &w.results[i].tokens));
        CU_ASSERT(same_bytes(&w.results[0].text, &w.results[i].text));
    }
    CU_ASSERT_EQUAL(w.results[1].logprobs.len, 0);
    CU_ASSERT_EQUAL(whole->usage.cached_tokens, 0); /* what is scored is computed */
    CU_ASSERT_EQUAL_FATAL(whole->prompt_tokens.len, 35);
    /* The first token has none; each other one, and each of the output, has its own and three
     * more. */
    CU_ASSERT_EQUAL_FATAL(whole->logprobs.len, (34 + 20) * 4 * sizeof(tg_logprob));
    CU_ASSERT_EQUAL(memcmp(whole->logprobs.data + 34 * 4 * sizeof(tg_logprob),
                           w.results[0].logprobs.data, w.results[0].logprobs.len),
                    0);
    /* The prompt's are what a shorter prompt's next token would have. */
    for (uint32_t len = 1; len < 35; len += 11) {
        const tg_str shorter = {text.data, len};
        r = probing(1, 0);
        r.text = &shorter;
        CU_ASSERT_EQUAL(submit(&w, 3, r, NULL), 0);
        drain_all(&w);
        const tg_logprob *want = (const tg_logprob *)(const void *)w.results[3].logprobs.data;
        const tg_logprob *have =
            (const tg_logprob *)(const void *)whole->logprobs.data + (len - 1) * 4;
        CU_ASSERT_EQUAL(have[0].id, whole->prompt_tokens.ids[len]);
        CU_ASSERT_EQUAL(memcmp(have + 1, want + 1, 3 * sizeof(*want)), 0);
    }
    r = probing(20, 9);
    r.echo = true;
    r.generated = w.results[0].tokens.ids;
    r.generated_len = 2;
    CU_ASSERT_EQUAL(submit(&w, 4, r, NULL), -EINVAL);
    r = plain;
    r.top_logprobs = TG_LOGPROBS_TOP_MAX + 1;
    CU_ASSERT_EQUAL(submit(&w, 4, r, NULL), -EINVAL);
    r.top_logprobs = 1;
    r.logprobs = false;
    CU_ASSERT_EQUAL(submit(&w, 4, r, NULL), -EINVAL);
    world_free(&w);
}

/* Where few tokens are left to choose from, or the likeliest is taken, the text repeats itself and
 * guesses come true; at a high temperature they do not. */
static void test_guesses_change_nothing(void)
{
    static const tg_logit_bias few[] = {{65, 90}, {66, 90}, {67, 88}};
    world with, without;
    uint64_t right = 0, guessed = 0;
    world_make_as(&with, false, 4, 64, 4096);
    world_make_as(&without, true, 4, 64, 4096);
    for (uint32_t i = 0; i < 24; i++) {
        tg_gen_request r = probing(100 + i, i);
        r.sampling.temperature = i % 3 == 0 ? 0 : i % 3 == 1 ? 0.3f : 1.5f;
        r.adjustments.frequency_penalty = i % 4 == 1 ? 0.5f : 0;
        r.adjustments.min_tokens = i % 5 == 0 ? 50 : 0;
        r.adjustments.bias = few;
        r.adjustments.bias_len = i % 2 ? 3 : 0;
        CU_ASSERT_EQUAL(submit(&with, i, r, NULL), 0);
        CU_ASSERT_EQUAL(submit(&without, i, r, NULL), 0);
    }
    drain_all(&with);
    drain_all(&without);
    for (uint32_t i = 0; i < 24; i++) {
        const result *a = &with.results[i], *b = &without.results[i];
        CU_ASSERT(a->ends == 1 && a->tokens.len == 100 + i && a->usage.output_tokens == 100 + i);
        CU_ASSERT(same_tokens(&a->tokens, &b->tokens));
        CU_ASSERT(same_bytes(&a->text, &b->text) && same_bytes(&a->logprobs, &b->logprobs));
        CU_ASSERT(a->usage.right_tokens <= a->usage.guessed_tokens && b->usage.guessed_tokens == 0);
        right += a->usage.right_tokens;
        guessed += a->usage.guessed_tokens;
    }
    tg_engine_status status;
    tg_engine_get_status(with.engine, &status);
    if (right <= 100 || guessed <= right)
        printf("# %llu of %llu guesses were right\n", (unsigned long long)right,
               (unsigned long long)guessed);
    CU_ASSERT(right > 100 && guessed > right);
    CU_ASSERT(status.right_tokens_total == right && status.guessed_tokens_total == guessed);
    world_free(&with);
    world_free(&without);
}

static void test_deadlines(void)
{
    world w;
    tg_error err = {""};
    tg_engine_status status;
    world_make(&w, 1, 16, 4096);
    tg_gen_request r = text_request(&text, 0, 1);
    r.deadline_ns = tg_clock_mono_ns() - 5000000u;
    CU_ASSERT_EQUAL(submit(&w, 0, r, &err), -ETIME);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "deadline"));
    r.deadline_ns = tg_clock_mono_ns() + 20000000u;
    for (uint32_t i = 0; i < 4; i++) /* the first runs, the others wait */
        CU_ASSERT_EQUAL(submit(&w, i, r, NULL), 0);
    r = text_request(&text, 5, 1);
    r.deadline_ns = tg_clock_mono_ns() + 600000000000u;
    CU_ASSERT_EQUAL(submit(&w, 4, r, NULL), 0);
    drain_all(&w);
    /* the context's end may come before the deadline on a fast machine */
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT(w.results[i].ends == 1 && (w.results[i].finish == TG_FINISH_DEADLINE ||
                                             w.results[i].finish == TG_FINISH_LENGTH));
    CU_ASSERT_EQUAL(w.results[3].finish, TG_FINISH_DEADLINE);
    CU_ASSERT_EQUAL(w.results[4].finish, TG_FINISH_LENGTH);
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(status.running == 0 && status.queue_depth == 0 && status.kv_blocks_used == 0);
    world_free(&w);
}

/* The embedding of one token is not a number: who has it in the prompt ends with an error, the
 * others go on. */
static void test_not_numbers(void)
{
    tg_buf file;
    tg_gguf *gguf = NULL;
    char path[] = "/tmp/tollgate-test-XXXXXX";
    tiny_model((tiny_conf){.seed = 3, .bpe = true}, &file);
    CU_ASSERT_EQUAL_FATAL(tg_gguf_parse((const uint8_t *)file.data, file.len, NULL, &gguf), 0);
    const tg_gguf_tensor *embd = tg_gguf_tensor_find(gguf, "token_embd.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(embd);
    const float broken = NAN;
    memcpy((uint8_t *)(uintptr_t)embd->data + 77 * embd->dims[0] * sizeof(float), &broken,
           sizeof(broken));
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0 && write(fd, file.data, file.len) == (ssize_t)file.len);
    close(fd);
    world w = {.path = ""};
    world_make_file(&w, path, 4, 16, 1024);
    for (uint32_t i = 0; i < 6; i++) {
        const uint32_t tokens[] = {5, i % 2 ? 77 : 78, 6};
        tg_gen_request r = {.tokens = tokens,
                            .tokens_len = 3,
                            .max_tokens = 20,
                            .ignore_end = true,
                            .logprobs = true,
                            .echo = i == 3,
                            .adjustments = {.bias = &(tg_logit_bias){77, -100}, .bias_len = 1}};
        CU_ASSERT_EQUAL(submit(&w, i, r, NULL), 0);
    }
    drain_all(&w);
    for (uint32_t i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(w.results[i].finish, i % 2 ? TG_FINISH_ERROR : TG_FINISH_LENGTH);
    world_free(&w);
    unlink(path);
    tg_gguf_free(gguf);
    tg_buf_free(&file);
}

/* Answers are what was asked for, alone and in company, with and without guesses; and end by
 * themselves. */
static void test_constraints(void)
{
    const tg_str texts[] = {TG_STR("left"), TG_STR("right"), TG_STR("straight on")},
                 regex = TG_STR("[0-9]{3}-(ab){2,4}c");
    world with, without;
    world_make_as(&with, false, 4, 64, 4096);
    world_make_as(&without, true, 1, 64, 4096);
    for (uint32_t i = 0; i < 30; i++) {
        tg_gen_request r = text_request(&text, 60, i);
        r.constraint = i % 3 == 0 ? (tg_constraint_spec){TG_CONSTRAINT_CHOICE, texts, 3}
                       : i % 3 == 1 ? (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1}
                                    : (tg_constraint_spec){TG_CONSTRAINT_JSON_OBJECT, NULL, 0};
        CU_ASSERT_EQUAL(submit(&with, i, r, NULL), 0);
        CU_ASSERT_EQUAL(submit(&without, i, r, NULL), 0);
    }
    drain_all(&with);
    drain_all(&without);
    for (uint32_t i = 0; i < 30; i++) {
        const result *a = &with.results[i], *b = &without.results[i];
        const tg_str got = tg_buf_str(&a->text);
        CU_ASSERT(same_tokens(&a->tokens, &b->tokens) && same_bytes(&a->text, &b->text));
        CU_ASSERT_FATAL(got.len > 0);
        if (i % 3 == 0)
            CU_ASSERT(
                a->finish == TG_FINISH_STOP &&
                (tg_str_eq(got, texts[0]) || tg_str_eq(got, texts[1]) || tg_str_eq(got, texts[2])));
        if (i % 3 == 1)
            CU_ASSERT(a->finish == TG_FINISH_STOP && got.len >= 9 && got.data[3] == '-' &&
                      got.data[got.len - 1] == 'c');
        if (i % 3 == 2)
            CU_ASSERT(got.data[0] == '{' &&
                      (a->finish == TG_FINISH_LENGTH || got.data[got.len - 1] == '}'));
    }
    tg_error err = {""};
    tg_gen_request r = text_request(&text, 60, 1);
    const tg_str bad = TG_STR("(a");
    r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &bad, 1};
    CU_ASSERT_EQUAL(submit(&with, 0, r, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "regular expression"));
    err.text[0] = '\0';
    r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1};
    r.generated = with.results[2].tokens.ids; /* a JSON object's beginning */
    r.generated_len = 1;
    CU_ASSERT_EQUAL(submit(&with, 0, r, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "generated token 0"));
    world_free(&with);
    world_free(&without);
}

/* What repeats itself in few ways is guessed, and wrongly as often: that leaves no trace in the
 * constraint's state. */
static void test_wrong_guesses_under_a_constraint(void)
{
    const tg_str regex = TG_STR("(0|1a|1bc){40}d");
    uint64_t guessed = 0, right = 0;
    world with, without;
    world_make_as(&with, false, 1, 8, 1024);
    world_make_as(&without, true, 1, 8, 1024);
    for (uint32_t i = 0; i < 12; i++) {
        tg_gen_request r = text_request(&text, 150, i);
        r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1};
        CU_ASSERT_EQUAL(submit(&with, i, r, NULL), 0);
        CU_ASSERT_EQUAL(submit(&without, i, r, NULL), 0);
        drain_all(&with);
        drain_all(&without);
        const result *a = &with.results[i], *b = &without.results[i];
        CU_ASSERT(same_tokens(&a->tokens, &b->tokens) && same_bytes(&a->text, &b->text));
        CU_ASSERT(a->finish == TG_FINISH_STOP && a->text.len > 40 &&
                  a->text.data[a->text.len - 1] == 'd');
        guessed += a->usage.guessed_tokens;
        right += a->usage.right_tokens;
    }
    if (right == 0 || guessed < right + 50)
        printf("# %llu of %llu guesses were right\n", (unsigned long long)right,
               (unsigned long long)guessed);
    CU_ASSERT(right > 0 && guessed >= right + 50);
    world_free(&with);
    world_free(&without);
}

/* The answer, which would go on, ends with the token that ends its first call, and costs no
 * more. */
static void test_one_call(void)
{
    const tg_str regex = TG_STR("[ab]{3,30}(<tool_call>\\{\"name\":\"f\",\"arguments\":\\{\"a\":(0|"
                                "1a|1bc){20}\\}\\}</tool_call>\n){3}");
    const tg_answer_conf one = {.tools = TG_TOOLS_HERMES, .one_call = true},
                         more = {.tools = TG_TOOLS_HERMES};
    tg_error err = {""};
    world with, without;
    world_make_as(&with, false, 4, 64, 4096);
    world_make_as(&without, true, 1, 64, 4096);
    for (uint32_t i = 0; i < 12; i++) {
        tg_gen_request r = text_request(&text, 900, i);
        r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1};
        r.answer = i % 2 ? &one : NULL;
        CU_ASSERT_EQUAL(submit(&with, i, r, NULL), 0);
        r.answer = i % 2 ? &one : &more;
        CU_ASSERT_EQUAL(submit(&without, i, r, NULL), 0);
    }
    drain_all(&with);
    drain_all(&without);
    for (uint32_t i = 0; i < 12; i++) {
        const result *a = &with.results[i], *b = &without.results[i];
        const char *first = strstr(a->text.data, "}}");
        CU_ASSERT(same_tokens(&a->tokens, &b->tokens) && same_bytes(&a->text, &b->text));
        CU_ASSERT_PTR_NOT_NULL_FATAL(first);
        CU_ASSERT(a->finish == TG_FINISH_STOP && (strlen(first) == 2) == i % 2 &&
                  a->usage.output_tokens == a->tokens.len);
    }
    tg_gen_request r = text_request(&text, 900, 1);
    r.constraint = (tg_constraint_spec){TG_CONSTRAINT_REGEX, &regex, 1};
    r.answer = &one;
    r.generated = with.results[1].tokens.ids;
    r.generated_len = with.results[1].tokens.len - 1;
    CU_ASSERT_EQUAL(submit(&with, 2, r, NULL), 0);
    drain_all(&with);
    CU_ASSERT(with.results[2].tokens.len == 1 && with.results[2].finish == TG_FINISH_STOP);
    r.generated_len++;
    CU_ASSERT_EQUAL(submit(&with, 2, r, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "a whole answer already"));
    world_free(&with);
    world_free(&without);
}

typedef struct call_count {
    uint32_t calls, text; /* whole ones; bytes outside */
    bool right;           /* each is as the schema has it */
} call_count;

/* What stands between two marks; white space between what it is made of is left out. */
static bool is_call(const char *from, const char *to)
{
    char plain[160] = "";
    int n = 0, read = 0;
    for (size_t len = 0; from < to && len < sizeof(plain) - 1; from++)
        if (!strchr(" \n", *from) || strstr(plain, "\"s\":\""))
            plain[len++] = *from;
    return sscanf(plain, "{\"name\":\"f\",\"arguments\":{\"n\":%d,\"s\":\"%n", &n, &read) == 1 &&
           read > 0 && n >= 10 && n <= 99;
}

static call_count count_calls(const result *r)
{
    call_count c = {.right = true};
    const char *at = r->text.data;
    for (const char *open; at && (open = strstr(at, "<tool_call>")); c.calls++) {
        const char *close = strstr(open, "</tool_call>");
        c.text += (uint32_t)(open - at);
        at = close ? close + 12 : NULL;
        if (!close)
            break;
        if (!is_call(open + 11, close) && c.right)
            printf("# no call: %.*s\n", (int)(close - open), open);
        c.right &= is_call(open + 11, close);
    }
    return c;
}

/* Each call is of the form asked for and the text between is free; alone or in company, with
 * guesses or without, from any token on. */
static void test_calls_are_held(void)
{
    world with, without;
    call_count sum = {0};
    world_make_like(&with, (world){.calls = true}, 4, 64, 4096);
    world_make_like(&without, (world){.calls = true, .no_speculation = true}, 1, 64, 4096);
    for (uint32_t i = 0; i < 24; i++) {
        tg_gen_request r = holding_calls(text_request(&text, 300, i));
        r.sampling.temperature = i % 3 == 0 ? 0 : 1;
        CU_ASSERT_EQUAL(submit(&with, i, r, NULL), 0);
        CU_ASSERT_EQUAL(submit(&without, i, r, NULL), 0);
    }
    drain_all(&with);
    drain_all(&without);
    for (uint32_t i = 0; i < 24; i++) {
        const result *a = &with.results[i];
        const call_count c = count_calls(a);
        CU_ASSERT(same_tokens(&a->tokens, &without.results[i].tokens) &&
                  same_bytes(&a->text, &without.results[i].text));
        CU_ASSERT(c.right && a->finish == TG_FINISH_LENGTH && a->tokens.len == 300);
        sum.calls += c.calls;
        sum.text += c.text;
    }
    if (sum.calls < 50 || sum.text < 50)
        printf("# %u calls, and %u bytes of text between\n", sum.calls, sum.text);
    CU_ASSERT(sum.calls >= 50 && sum.text >= 50);
    for (uint32_t at = 7; at < 300; at += 19) {
        const result *a = &with.results[1];
        tg_gen_request r = holding_calls(text_request(&text, 300, 1));
        r.generated = a->tokens.ids;
        r.generated_len = at;
        CU_ASSERT_EQUAL(submit(&with, 30, r, NULL), 0);
        drain_all(&with);
        CU_ASSERT(with.results[30].tokens.len == 300 - at &&
                  memcmp(with.results[30].tokens.ids, a->tokens.ids + at,
                         (300 - at) * sizeof(uint32_t)) == 0);
    }
    world_free(&with);
    world_free(&without);
}

/* A token can end the mark and begin what is no call: text is free behind it. What the form of a
 * call does not allow is refused. */
static void test_tokens_across_a_mark(void)
{
    static const char open[] = "<tool_call";
    uint32_t tokens[sizeof(open) + 1];
    world w;
    tg_error err = {""};
    world_make_like(&w, (world){.calls = true}, 4, 64, 4096);
    for (uint32_t i = 0; i < sizeof(open) - 1; i++)
        tokens[i] = 3 + (uint8_t)open[i];
    tokens[sizeof(open) - 1] = TINY_BPE_TOKENS - 1;
    tg_gen_request r = holding_calls(text_request(&text, 80, 5));
    r.generated = tokens;
    r.generated_len = sizeof(open);
    CU_ASSERT_EQUAL(submit(&w, 0, r, NULL), 0);
    r.constraint.kind = TG_CONSTRAINT_NONE;
    CU_ASSERT_EQUAL(submit(&w, 1, r, NULL), 0);
    drain_all(&w);
    const char *next = strstr(w.results[0].text.data, "<tool_call>"); /* held again */
    const size_t free_len = next ? (size_t)(next - w.results[0].text.data) : w.results[0].text.len;
    CU_ASSERT(free_len > 3 && w.results[1].text.len >= free_len &&
              memcmp(w.results[0].text.data, w.results[1].text.data, free_len) == 0);
    tokens[sizeof(open) - 1] = 3 + '>';
    tokens[sizeof(open)] = 3 + '<';
    r = holding_calls(text_request(&text, 80, 5));
    r.generated = tokens;
    r.generated_len = sizeof(open) + 1;
    CU_ASSERT_EQUAL(submit(&w, 0, r, &err), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "generated token 11 does not"));
    world_free(&w);
}

/* Arguments that cannot be held to their schema are some object's where a call is the model's own
 * choice; a required one is refused. */
static void test_calls_of_any_arguments(void)
{
    const tg_str odd[] = {TG_STR(""), TG_STR("</tool_call>"), TG_STR("arguments"), TG_STR("odd"),
                          TG_STR("{\"properties\":{\"x\":{\"not\":{}}}}")};
    world w;
    tg_error err = {""};
    world_make_like(&w, (world){.calls = true}, 4, 64, 4096);
    tg_gen_request r = holding_calls(text_request(&text, 300, 3));
    r.constraint.texts = odd;
    CU_ASSERT_EQUAL(submit(&w, 0, r, &err), 0);
    CU_ASSERT_STRING_EQUAL(err.text, "");
    drain_all(&w);
    /* NUL may stand before it */
    const char *open = memmem(w.results[0].text.data, w.results[0].text.len, "<tool_call>", 11);
    const char *at = open ? open + 11 : "", *rest = "{\"name\":\"odd\",\"arguments\":{";
    for (; *at && *rest; at++) {
        CU_ASSERT(*at == *rest || strchr(" \n", *at));
        rest += *at == *rest;
    }
    CU_ASSERT_STRING_EQUAL(rest, "");
    r.constrains_calls = false;
    r.calls = true;
    CU_ASSERT_EQUAL(submit(&w, 1, r, &err), -ENOTSUP);
    CU_ASSERT(strstr(err.text, "'odd'") && strstr(err.text, "/properties/x/not"));
    world_free(&w);
}

static const tg_test tests[] = {
    {"choices", test_choices},
    {"choices_outlive_the_first", test_choices_outlive_the_first},
    {"echo", test_echo},
    {"guesses_change_nothing", test_guesses_change_nothing},
    {"constraints", test_constraints},
    {"wrong_guesses_under_a_constraint", test_wrong_guesses_under_a_constraint},
    {"one_call", test_one_call},
    {"calls_are_held", test_calls_are_held},
    {"tokens_across_a_mark", test_tokens_across_a_mark},
    {"calls_of_any_arguments", test_calls_of_any_arguments},
    {"deadlines", test_deadlines},
    {"not_numbers", test_not_numbers}};
TG_TEST_MAIN("services_inference_engine_step", tests)
