#include "services/inference/engine/engine.h"
#include "tests/unit/services/inference/engine_world.h"

static void check_alone_and_in_company(world as)
{
    static const tg_str texts[4] = {
        {"hello", 5},
        {"the quick brown fox jumps over it all", 37},
        {"x", 1},
        {"a longer prompt that takes several steps to be read in, since the "
         "budget of tokens a step is small",
         98}};
    world alone, crowd;
    world_make_like(&alone, as, 1, 64, 512);
    world_make_like(&crowd, as, 8, 64, 4096);
    for (uint32_t i = 0; i < 32; i++) {
        CU_ASSERT_EQUAL(submit(&crowd, i, text_request(&texts[i % 4], 20 + i, i / 4), NULL), 0);
        CU_ASSERT_EQUAL(submit(&alone, i, text_request(&texts[i % 4], 20 + i, i / 4), NULL), 0);
    }
    drain_all(&crowd);
    drain_all(&alone);
    for (uint32_t i = 0; i < 32; i++) {
        const result *a = &alone.results[i], *c = &crowd.results[i];
        CU_ASSERT(a->ends == 1 && c->ends == 1);
        CU_ASSERT(a->finish == TG_FINISH_LENGTH && a->tokens.len == 20 + i);
        CU_ASSERT(same_tokens(&a->tokens, &c->tokens));
        CU_ASSERT(tg_str_eq(tg_buf_str(&a->text), tg_buf_str(&c->text)));
        CU_ASSERT(c->usage.output_tokens == 20 + i && c->usage.engine_ns > 0);
    }
    world_free(&alone);
    world_free(&crowd);
}

static void test_same_alone_and_in_company(void)
{
    check_alone_and_in_company((world){.kv_type = TG_KV_F16});
    check_alone_and_in_company((world){.kv_type = TG_KV_Q8});
}

/* One tenant fills the engine, others come in between: what gives way and is computed anew gives
 * the same tokens. */
static void check_giving_way(world as)
{
    static const tg_str texts[2] = {
        {"a prompt of some length, so that there is something to compute anew", 67}, {"short", 5}};
    static const tg_str tenants[] = {{"flood", 5}, {"acme", 4}, {"globex", 6}};
    world alone, crowd;
    tg_engine_status status = {0};
    world_make_like(&alone, as, 1, 64, 512);
    world_make_like(&crowd, as, 3, 64, 2048);
    for (uint32_t i = 0; i < 24; i++) {
        tg_gen_request request = text_request(&texts[i % 2], 60 + i, i);
        if (as.calls)
            request = holding_calls(request);
        CU_ASSERT_EQUAL(submit(&alone, i, request, NULL), 0);
        request.tenant = tenants[i < 12 ? 0 : 1 + i % 2];
        if (i == 12) /* the flood runs by now */
            while (crowd.results[0].tokens.len + crowd.results[1].tokens.len +
                       crowd.results[2].tokens.len <
                   9) {
                while (sem_wait(&crowd.ready) < 0 && errno == EINTR)
                    ;
                tg_engine_drain(crowd.engine, on_event, &crowd);
            }
        CU_ASSERT_EQUAL(submit(&crowd, i, request, NULL), 0);
    }
    drain_all(&crowd);
    drain_all(&alone);
    tg_engine_get_status(crowd.engine, &status);
    CU_ASSERT(status.preempted_total > 0);
    for (uint32_t i = 0; i < 24; i++) {
        const result *a = &alone.results[i], *c = &crowd.results[i];
        CU_ASSERT(a->ends == 1 && c->ends == 1 && c->tokens.len == 60 + i);
        CU_ASSERT(same_tokens(&a->tokens, &c->tokens));
        CU_ASSERT(tg_str_eq(tg_buf_str(&a->text), tg_buf_str(&c->text)));
    }
    CU_ASSERT_EQUAL(status.kv_blocks_used, 0);
    world_free(&alone);
    world_free(&crowd);
}

static void test_same_after_giving_way(void)
{
    check_giving_way((world){.kv_type = TG_KV_F16});
    check_giving_way((world){.kv_type = TG_KV_Q8});
    check_giving_way((world){.calls = true});
}

static void check_continues_elsewhere(world as)
{
    static const tg_str text = {"hello hello", 11};
    world first, second;
    world_make_like(&first, as, 2, 8, 1024);
    world_make_like(&second, as, 2, 8, 1024);
    CU_ASSERT_EQUAL(submit(&first, 0, text_request(&text, 60, 7), NULL), 0);
    drain_all(&first);
    for (uint32_t done = 1; done < 60; done += 13) { /* the client got `done` tokens, then moved */
        tg_gen_request request = text_request(&text, 60, 7);
        request.generated = first.results[0].tokens.ids;
        request.generated_len = done;
        CU_ASSERT_EQUAL(submit(&second, 0, request, NULL), 0);
        drain_all(&second);
        const result *r = &second.results[0];
        CU_ASSERT_EQUAL_FATAL(r->tokens.len, 60 - done);
        CU_ASSERT_EQUAL(memcmp(r->tokens.ids, first.results[0].tokens.ids + done,
                               r->tokens.len * sizeof(*r->tokens.ids)), 0);
        /* Its text is the end of the whole text. */
        const tg_buf *whole = &first.results[0].text;
        CU_ASSERT_FATAL(r->text.len <= whole->len);
        CU_ASSERT_EQUAL(memcmp(whole->data + whole->len - r->text.len, r->text.data, r->text.len),
                        0);
    }
    world_free(&first);
    world_free(&second);
}

static void test_continues_elsewhere(void)
{
    check_continues_elsewhere((world){.kv_type = TG_KV_F16});
    check_continues_elsewhere((world){.kv_type = TG_KV_Q8});
}

static void check_prefix_cache(world as)
{
    char prompt[200];
    memset(prompt, 'p', sizeof(prompt));
    const tg_str text = {prompt, sizeof(prompt)};
    world w;
    world_make_like(&w, as, 2, 8, 2048);
    tg_gen_request request = text_request(&text, 10, 3);
    request.tenant = TG_STR("acme");
    submit(&w, 0, request, NULL);
    drain_all(&w);
    submit(&w, 1, request, NULL);
    drain_all(&w);
    request.tenant = TG_STR("bell");
    submit(&w, 2, request, NULL);
    drain_all(&w);
    CU_ASSERT_EQUAL(w.results[0].usage.cached_tokens, 0);
    CU_ASSERT_EQUAL(w.results[1].usage.cached_tokens, 192);
    CU_ASSERT_EQUAL(w.results[2].usage.cached_tokens, 0);
    CU_ASSERT(same_tokens(&w.results[0].tokens, &w.results[1].tokens));
    CU_ASSERT(same_tokens(&w.results[0].tokens, &w.results[2].tokens));
    world_free(&w);
}

static void test_prefix_cache(void)
{
    check_prefix_cache((world){.kv_type = TG_KV_F16});
    check_prefix_cache((world){.kv_type = TG_KV_Q8});
}

/* A declared system prompt is computed once for all tenants; what comes after it, and any other
 * prompt, for each. */
static void test_public_prompt(void)
{
    const tg_str declared = TG_STR(
        "You answer as the house does: briefly, and with the number of the rule that you follow.");
    const tg_str another = TG_STR(
        "You answer as the guest does: briefly, and with the number of the rule that you follow.");
    const tg_prompt_message messages[] = {
        {.role = TG_STR("system"), .content = declared},
        {.role = TG_STR("user"),
         .content = TG_STR("a question that two tenants ask in the same words")}};
    const tg_prompt_message others[] = {{.role = TG_STR("system"), .content = another},
                                        messages[1]};
    static const tg_str tenants[] = {{"acme", 4}, {"bell", 4}, {"core", 4}};
    tg_gen_request request = {
        .messages = messages, .messages_len = 2, .max_tokens = 10, .ignore_end = true};
    world w, plain;
    tg_error err = {""};
    w = (world){.public_prompt = &declared};
    CU_ASSERT_EQUAL_FATAL(
        tiny_model_file((tiny_conf){.seed = 21, .type = TG_DTYPE_Q8_0, .bpe = true}, w.path), 0);
    world_make_file(&w, w.path, 2, 8, 2048);
    world_make(&plain, 2, 8, 2048);
    for (uint32_t i = 0; i < 3; i++) {
        request.tenant = tenants[i];
        CU_ASSERT_EQUAL(submit(&w, i, request, NULL), 0);
        drain_all(&w);
        CU_ASSERT_EQUAL(submit(&plain, i, request, NULL), 0);
        drain_all(&plain);
        /* the same, shared or not */
        CU_ASSERT(same_tokens(&w.results[i].tokens, &plain.results[0].tokens));
        CU_ASSERT_EQUAL(plain.results[i].usage.cached_tokens, 0);
    }
    const uint32_t shared = w.results[1].usage.cached_tokens,
                   prompt = w.results[0].usage.prompt_tokens;
    CU_ASSERT_EQUAL(w.results[0].usage.cached_tokens, 0);
    /* nearly every byte is a token here */
    CU_ASSERT(shared >= 64 && shared < declared.len + 32 && shared % 16 == 0);
    CU_ASSERT_EQUAL(w.results[2].usage.cached_tokens, shared);
    CU_ASSERT(w.results[1].usage.prompt_block != 0 &&
              w.results[1].usage.prompt_block != w.results[2].usage.prompt_block);
    CU_ASSERT_EQUAL(submit(&w, 3, request, NULL), 0); /* its own tenant's goes further */
    drain_all(&w);
    CU_ASSERT_EQUAL(w.results[3].usage.cached_tokens, (prompt - 1) / 16 * 16);
    CU_ASSERT_EQUAL(w.results[3].usage.prompt_block, w.results[2].usage.prompt_block);
    request.messages = others; /* nobody declared it */
    for (uint32_t i = 0; i < 2; i++) {
        request.tenant = tenants[i];
        CU_ASSERT_EQUAL(submit(&w, 4 + i, request, NULL), 0);
        drain_all(&w);
        CU_ASSERT(w.results[4 + i].usage.cached_tokens < 48); /* what both texts begin with */
    }
    world_free(&w);
    world_free(&plain);
    const tg_str empty = {"", 0};
    const tg_engine_conf conf = {.model_path = "../shared/models/stories260K-f32.gguf",
                                 .public_prompts = &empty,
                                 .public_prompts_len = 1};
    if (access(conf.model_path, R_OK) == 0) {
        CU_ASSERT_EQUAL(tg_engine_new(&conf, &err, &w.engine), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "public prompt 1"));
    }
}

static void test_cancel(void)
{
    static const tg_str text = {"hello", 5};
    world w;
    tg_engine_status status;
    world_make(&w, 2, 64, 4096);
    for (uint32_t i = 0; i < 40; i++)
        CU_ASSERT_EQUAL(submit(&w, i, text_request(&text, 900, i), NULL), 0);
    for (uint32_t i = 0; i < 40; i++)
        CU_ASSERT_EQUAL(tg_engine_cancel(w.engine, w.results[i].id), 0);
    drain_all(&w);
    for (uint32_t i = 0; i < 40; i++)
        CU_ASSERT(w.results[i].finish == TG_FINISH_CANCELLED && w.results[i].ends == 1);
    CU_ASSERT_EQUAL(tg_engine_cancel(w.engine, w.results[0].id), -ENOENT);
    tg_engine_get_status(w.engine, &status);
    CU_ASSERT(status.running == 0 && status.queue_depth == 0 && status.kv_blocks_used == 0);
    CU_ASSERT_EQUAL(status.kv_blocks_free + status.kv_blocks_cached, status.kv_blocks_total);
    world_free(&w);
}

static void test_limits(void)
{
    static const tg_str text = {"hello", 5}, empty = {"", 0};
    char long_prompt[600];
    memset(long_prompt, 'x', sizeof(long_prompt));
    const tg_str too_long = {long_prompt, sizeof(long_prompt)};
    const uint32_t odd[] = {1, 999999};
    world w;
    tg_error err = {""};
    int rc = 0, accepted = 0;
    world_make(&w, 1, 3, 512);
    CU_ASSERT_EQUAL(submit(&w, 0, text_request(&too_long, 5, 0), &err), -EMSGSIZE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "600 tokens"));
    char *longer = malloc(4 << 20);
    memset(longer, 'x', 4 << 20);
    const tg_prompt_message user = {.role = TG_STR("user"), .content = {longer, 4 << 20}};
    /* not worth to be encoded: only that it is too long is told */
    for (uint32_t i = 0; i < 4; i++) {
        const tg_str far_too_long = {longer, i % 2 ? 4 << 20 : 2100};
        const tg_gen_request r = i < 2 ? text_request(&far_too_long, 5, 0)
                                       : (tg_gen_request){.messages = &user, .messages_len = 1};
        err.text[0] = '\0';
        CU_ASSERT_EQUAL(submit(&w, 0, r, &err), -EMSGSIZE);
        CU_ASSERT_PTR_NOT_NULL(
            strstr(err.text, "or 2048 tokens; with room for an answer at most 511 tokens fit"));
    }
    uint32_t many = 0;
    CU_ASSERT_EQUAL(tg_engine_count_tokens(w.engine, NULL, &too_long, NULL, &many), 0);
    CU_ASSERT_EQUAL(many, 600);
    CU_ASSERT_EQUAL(tg_engine_count_tokens(w.engine,
                                           &(tg_prompt){.messages = &user, .messages_len = 1}, NULL,
                                           NULL, &many),
                    -EMSGSIZE);
    free(longer);
    CU_ASSERT_EQUAL(submit(&w, 0, text_request(&empty, 5, 0), NULL), -EINVAL);
    CU_ASSERT_EQUAL(submit(&w, 0, (tg_gen_request){.max_tokens = 1}, NULL), -EINVAL);
    CU_ASSERT_EQUAL(submit(&w, 0, (tg_gen_request){.tokens = odd, .tokens_len = 2}, NULL), -EINVAL);
    tg_gen_request hot = text_request(&text, 5, 0);
    hot.sampling.temperature = -1;
    CU_ASSERT_EQUAL(submit(&w, 0, hot, NULL), -EINVAL);
    hot = text_request(&text, 5, 0);
    hot.stop_len = 1000000;
    CU_ASSERT_EQUAL(submit(&w, 0, hot, NULL), -EINVAL);
    for (uint32_t i = 0; i < 30 && rc == 0; i++) {
        err.text[0] = '\0';
        rc = submit(&w, i, text_request(&text, 400, i), &err);
        accepted += rc == 0;
    }
    CU_ASSERT_EQUAL(rc, -EAGAIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "queue is full"));
    CU_ASSERT(accepted >= 3 && accepted <= 6);
    drain_all(&w);
    /* Without max_tokens: until the context is full. */
    CU_ASSERT_EQUAL(submit(&w, 0, text_request(&text, 0, 1), NULL), 0);
    drain_all(&w);
    CU_ASSERT_EQUAL(w.results[0].finish, TG_FINISH_LENGTH);
    CU_ASSERT_EQUAL(w.results[0].usage.prompt_tokens + w.results[0].usage.output_tokens, 512);
    world_free(&w);
}

static void test_stops(void)
{
    static const tg_str text = {"hello", 5};
    world w;
    world_make(&w, 2, 8, 1024);
    submit(&w, 0, text_request(&text, 200, 5), NULL);
    drain_all(&w);
    const result *whole = &w.results[0];
    tg_gen_request request = text_request(&text, 200, 5);
    request.stop_ids = &whole->tokens.ids[50];
    request.stop_ids_len = 1;
    submit(&w, 1, request, NULL);
    drain_all(&w);
    CU_ASSERT_EQUAL(w.results[1].finish, TG_FINISH_STOP);
    /* that token included, and its text not */
    const uint32_t stopped = (uint32_t)w.results[1].tokens.len;
    CU_ASSERT_FATAL(stopped > 1 && stopped <= 51 &&
                    w.results[1].tokens.ids[stopped - 1] == whole->tokens.ids[50]);
    submit(&w, 2, text_request(&text, stopped - 1, 5), NULL);
    drain_all(&w);
    CU_ASSERT(tg_str_eq(tg_buf_str(&w.results[1].text), tg_buf_str(&w.results[2].text)));
    /* A stop string taken from the middle of the text, at a character. */
    size_t at = whole->text.len / 2;
    while ((whole->text.data[at] & 0xc0) == 0x80)
        at++;
    size_t len = 7;
    while ((whole->text.data[at + len] & 0xc0) == 0x80)
        len++;
    const tg_str stop = {whole->text.data + at, len};
    request = text_request(&text, 200, 5);
    request.stop = &stop;
    request.stop_len = 1;
    submit(&w, 2, request, NULL);
    drain_all(&w);
    const tg_buf *shown = &w.results[2].text;
    CU_ASSERT_EQUAL(w.results[2].finish, TG_FINISH_STOP);
    CU_ASSERT_PTR_NULL(memmem(shown->data, shown->len, stop.data, stop.len));
    CU_ASSERT_EQUAL(memcmp(shown->data, whole->text.data, shown->len), 0);
    world_free(&w);
}

/* Intervals and statuses are taken while the engine works, wherever it is: each adds up by itself,
 * and so do all of them. */
static void test_time_adds_up(void)
{
    static const tg_str text = {"hello there", 11}, tenants[] = {{"acme", 4}, {"globex", 6}};
    world w;
    tg_engine_status status;
    tg_engine_interval interval;
    uint64_t shares[2] = {0}, told[2] = {0}, prompts = 0, outputs = 0, overhead = 0, idle = 0,
             end = 0;
    bool done = false;
    world_make(&w, 4, 64, 4096);
    for (uint32_t i = 0; i < 20; i++) {
        tg_gen_request request = text_request(&text, 1 + i, i);
        request.tenant = tenants[i % 2];
        submit(&w, i, request, NULL);
    }
    while (!done) {
        done = w.open == 0; /* and once more */
        tg_engine_drain(w.engine, on_event, &w);
        tg_engine_take_interval(w.engine, &interval);
        uint64_t sum = interval.overhead_ns + interval.idle_ns;
        for (size_t i = 0; i < interval.tenants_len; i++) {
            told[tg_str_eq(tg_str_of(interval.tenants[i].tenant), tenants[1])] +=
                interval.tenants[i].engine_ns;
            sum += interval.tenants[i].engine_ns;
            prompts += interval.tenants[i].prompt_tokens;
            outputs += interval.tenants[i].output_tokens;
        }
        CU_ASSERT_EQUAL(interval.begin_ns, end);
        CU_ASSERT_EQUAL(sum, interval.end_ns - interval.begin_ns);
        end = interval.end_ns;
        overhead += interval.overhead_ns;
        idle += interval.idle_ns;
        tg_engine_get_status(w.engine, &status);
        CU_ASSERT_EQUAL(status.shared_ns + status.overhead_ns + status.idle_ns, status.age_ns);
    }
    for (uint32_t i = 0; i < 20; i++)
        shares[i % 2] += w.results[i].usage.engine_ns;
    CU_ASSERT_EQUAL(shares[0], told[0]);
    CU_ASSERT_EQUAL(shares[1], told[1]);
    CU_ASSERT_EQUAL(shares[0] + shares[1], status.shared_ns);
    CU_ASSERT(overhead > 0 && overhead <= status.overhead_ns && idle <= status.idle_ns);
    CU_ASSERT(status.steps_total > 0 && status.output_tokens_total == 20 * 21 / 2);
    CU_ASSERT_EQUAL(status.prompt_tokens_total, 20 * (uint64_t)w.results[0].usage.prompt_tokens);
    CU_ASSERT(prompts == status.prompt_tokens_total && outputs == status.output_tokens_total);
    world_free(&w);
}

static void test_messages_and_counts(void)
{
    const tg_prompt_message user = {.role = TG_STR("user"), .content = TG_STR("hello")};
    static const tg_str text = {"hello", 5};
    world w;
    uint32_t count = 0;
    world_make(&w, 1, 4, 512);
    CU_ASSERT_EQUAL(submit(&w, 0, (tg_gen_request){.messages = &user, .messages_len = 1,
                                                   .max_tokens = 3, .ignore_end = true}, NULL), 0);
    drain_all(&w);
    CU_ASSERT_EQUAL(tg_engine_count_tokens(w.engine,
                                           &(tg_prompt){.messages = &user, .messages_len = 1}, NULL,
                                           NULL, &count),
                    0);
    CU_ASSERT_EQUAL(count, w.results[0].usage.prompt_tokens);
    CU_ASSERT_EQUAL(tg_engine_count_tokens(w.engine, NULL, &text, NULL, &count), 0);
    CU_ASSERT_EQUAL(count, 1);
    CU_ASSERT_EQUAL(tg_engine_count_tokens(w.engine, NULL, NULL, NULL, &count), -EINVAL);
    world_free(&w);
}

static void test_freed_while_running(void)
{
    static const tg_str text = {"hello", 5};
    world w;
    world_make(&w, 2, 16, 4096);
    for (uint32_t i = 0; i < 10; i++)
        submit(&w, i, text_request(&text, 900, i), NULL);
    world_free(&w);
}

/* A real model's greedy continuation of the empty prompt, byte for byte. */
static void test_golden_text(void)
{
    static const char model[] = "../shared/models/stories260K-f32.gguf";
    static const char golden[] = "../shared/models/stories260K_greedy_n200.txt";
    char want[1024];
    static const tg_str empty = {"", 0};
    FILE *file = fopen(golden, "rb");
    if (!file || access(model, R_OK) != 0) {
        if (file)
            fclose(file);
        tg_test_skip("no model data: ../shared/models is not there");
        return;
    }
    size_t len = fread(want, 1, sizeof(want), file);
    fclose(file);
    world w = {.path = ""};
    world_make_file(&w, model, 1, 4, 512);
    CU_ASSERT_EQUAL(submit(&w, 0, (tg_gen_request){.text = &empty, .max_tokens = 200}, NULL), 0);
    drain_all(&w);
    CU_ASSERT_EQUAL(w.results[0].text.len + 1, len); /* the file ends with a line end */
    CU_ASSERT_EQUAL(memcmp(w.results[0].text.data, want, w.results[0].text.len), 0);
    world_free(&w);
}

static const tg_test tests[] = {{"same_alone_and_in_company", test_same_alone_and_in_company},
                                {"same_after_giving_way", test_same_after_giving_way},
                                {"continues_elsewhere", test_continues_elsewhere},
                                {"prefix_cache", test_prefix_cache},
                                {"public_prompt", test_public_prompt},
                                {"cancel", test_cancel},
                                {"limits", test_limits},
                                {"stops", test_stops},
                                {"time_adds_up", test_time_adds_up},
                                {"messages_and_counts", test_messages_and_counts},
                                {"freed_while_running", test_freed_while_running},
                                {"golden_text", test_golden_text}};
TG_TEST_MAIN("services_inference_engine_engine", tests)
