/* Dispatch against a scripted transport and a clock that only the test moves: no network, no
 * disk. */
#include "services/router/dispatch/dispatch.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a world ---- */

enum { EVENTS_MAX = 8, STARTS_MAX = 8 };

struct tg_upstream {
    tg_upstream_on_event *on_event;
    void *user;
    bool live, paused;
    char url[256], body[2048];
};

static uint64_t now_ns;
static struct tg_upstream upstreams[STARTS_MAX];
static unsigned started, opened, closed, observed;
static int start_fails, open_fails;
static tg_usage_event opened_events[EVENTS_MAX], closed_events[EVENTS_MAX];
static tg_observation observations[EVENTS_MAX];
static char order[64]; /* o: opened, s: started, c: closed, d: done */

static void mark(char c)
{
    size_t n = strlen(order);
    if (n + 1 < sizeof order)
        order[n] = c;
}

static uint64_t clock_ns(void) { return now_ns; }

static int fake_start(tg_transport *self, const tg_upstream_request *request,
                      tg_upstream_on_event *on_event, void *user, tg_upstream **ret)
{
    (void)self;
    mark('s');
    if (start_fails)
        return start_fails;
    struct tg_upstream *u = &upstreams[started++];
    *u = (struct tg_upstream){.on_event = on_event, .user = user, .live = true};
    snprintf(u->url, sizeof u->url, "%s", request->url);
    snprintf(u->body, sizeof u->body, "%.*s", (int)request->body.len, request->body.data);
    *ret = u;
    return 0;
}

static void fake_pause(tg_upstream *u, bool paused) { u->paused = paused; }
static void fake_cancel(tg_upstream *u) { u->live = false; }
static tg_transport transport = {fake_start, fake_pause, fake_cancel};

static int fake_opened(void *user, const tg_usage_event *event, uint64_t *ret_slot)
{
    (void)user;
    mark('o');
    CU_ASSERT_EQUAL(event->attempt, opened + 1);
    if (open_fails)
        return open_fails;
    opened_events[opened % EVENTS_MAX] = *event;
    *ret_slot = opened++;
    return 0;
}

static int fake_closed(void *user, uint64_t slot, const tg_usage_event *event)
{
    (void)user;
    mark('c');
    CU_ASSERT_EQUAL(slot, closed);
    closed_events[closed++] = *event;
    return 0;
}

static void fake_observe(void *user, const tg_observation *o)
{
    (void)user;
    observations[observed++] = *o;
}

static void fake_probe(void *user, const char *target, const char *endpoint, bool begun)
{
    (void)user, (void)target, (void)endpoint, (void)begun;
}

/* ---- a client ---- */

static char text[4096];
static unsigned attempts, done;
static tg_dispatch_result result;

static void on_attempt(void *user, const tg_usage_event *event)
{
    (void)user, (void)event;
    attempts++;
    text[0] = '\0';
}

static void on_event(void *user, const tg_chat_event *event)
{
    (void)user;
    if (event->type == TG_CHAT_TEXT)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s", (int)event->text.len,
                 event->text.data);
}

static void on_done(void *user, const tg_dispatch_result *r)
{
    (void)user;
    mark('d');
    done++;
    result = *r;
}

/* ---- fixtures ---- */

static const char targets_yaml[] =
    "version: 1\n"
    "targets:\n"
    "  - id: one\n    provider: openai\n    model: model-one\n    first_token_timeout_ms: 1000\n"
    "    idle_timeout_ms: 500\n    total_timeout_ms: 5000\n"
    "    endpoints: [{id: a, url: 'http://one', credential_env: TG_TEST_KEY}]\n"
    "  - id: two\n    provider: openai\n    model: model-two\n"
    "    endpoints: [{id: b, url: 'http://two', credential_env: TG_TEST_KEY}]\n";

static tg_targets *targets;
static tg_price_book *prices;
static tg_snapshot snapshot;
static tg_dispatch_env env;
static tg_dispatch *dispatch;
static const tg_credential credential = {"sk-test", "", "", ""};
static const tg_credential *credentials[] = {&credential, &credential};
static const tg_chat_message message = {.role = TG_ROLE_USER, .text = {"hello there", 11}};
static tg_chat_request chat;
static const tg_step steps[] = {{.target = 0}, {.target = 1}};
static const int alternatives[] = {0, 1};
static tg_plan plan;

static void load_targets(void)
{
    char path[] = "/tmp/tg-dispatch-XXXXXX";
    tg_error err = {""};
    int fd = mkstemp(path);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, targets_yaml, sizeof targets_yaml - 1),
                    (ssize_t)sizeof targets_yaml - 1);
    close(fd);
    int rc = tg_targets_load(path, &err, &targets);
    unlink(path);
    if (rc < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void begin(bool stream)
{
    static const char body[] =
        "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"hello there\"}]}";
    tg_price price = {.input = 10, .output = 20};
    memset(order, 0, sizeof order);
    now_ns = 1000000000;
    started = opened = closed = observed = attempts = done = 0;
    start_fails = open_fails = 0;
    text[0] = '\0';
    load_targets();
    prices = tg_price_book_new("test");
    tg_price_book_add(prices, "one", &price);
    price.output = 40;
    tg_price_book_add(prices, "two", &price);
    snapshot = (tg_snapshot){.targets = targets, .prices = prices};
    chat = (tg_chat_request){.dialect = TG_DIALECT_OPENAI,
                             .body = {body, sizeof body - 1},
                             .model = TG_STR("auto"),
                             .messages = &message,
                             .message_count = 1,
                             .stream = stream,
                             .text_bytes = 11};
    plan = (tg_plan){.rule = "r",
                     .task_type = "chat",
                     .steps = steps,
                     .step_count = 2,
                     .alternatives = alternatives,
                     .alternative_count = 2};
    env = (tg_dispatch_env){.http = &transport,
                            .rpc = &transport,
                            .mono_ns = clock_ns,
                            .wall_ns = clock_ns,
                            .opened = fake_opened,
                            .closed = fake_closed,
                            .observe = fake_observe,
                            .probe = fake_probe,
                            .instance_id = "test",
                            .doc = tg_json_doc_new()};
    tg_dispatch_env_init(&env);
    tg_dispatch_request request = {.chat = &chat,
                                   .plan = &plan,
                                   .snapshot = &snapshot,
                                   .credentials = credentials,
                                   .tenant = "acme",
                                   .key_id = "k",
                                   .client_request_id = "",
                                   .policy_version = "p",
                                   .traceparent = "",
                                   .on_attempt = on_attempt,
                                   .on_event = on_event,
                                   .on_done = on_done};
    strcpy(request.request_id, "01234567-89ab-7def-8123-456789abcdef");
    CU_ASSERT_EQUAL_FATAL(tg_dispatch_new(&env, &request, &dispatch), 0);
}

static void end(void)
{
    dispatch = tg_dispatch_free(dispatch);
    env.doc = tg_json_doc_free(env.doc);
    prices = tg_price_book_free(prices);
    targets = tg_targets_free(targets);
    CU_ASSERT_EQUAL(opened, closed); /* every opened attempt is closed, whatever happened */
    CU_ASSERT_EQUAL(env.active_count, 0);
}

static void head(unsigned i, unsigned status)
{
    tg_upstream_event e = {.type = TG_UPSTREAM_HEAD, .status = status};
    upstreams[i].on_event(upstreams[i].user, &e);
}

static void data(unsigned i, const char *bytes)
{
    tg_upstream_event e = {.type = TG_UPSTREAM_DATA, .data = tg_str_of(bytes)};
    if (upstreams[i].live)
        upstreams[i].on_event(upstreams[i].user, &e);
}

static void finish(unsigned i, tg_upstream_failure failure)
{
    tg_upstream_event e = {.type = TG_UPSTREAM_END, .failure = failure, .reason = "scripted"};
    if (upstreams[i].live)
        upstreams[i].on_event(upstreams[i].user, &e);
}

#define CHUNK(content)                                                                             \
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\","    \
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" content                                  \
    "\"},\"finish_reason\":null}]}\n\n"
#define FINAL                                                                                      \
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\","    \
    "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE                                                                                      \
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\","    \
    "\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}"  \
    "\n\n"
#define DONE "data: [DONE]\n\n"

static void test_streams_and_bills_what_was_reported(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    CU_ASSERT_STRING_EQUAL(upstreams[0].url, "http://one/v1/chat/completions");
    CU_ASSERT_PTR_NOT_NULL(strstr(upstreams[0].body, "model-one"));
    head(0, 200);
    now_ns += 5000;
    data(0, CHUNK("hel"));
    data(0, CHUNK("lo") FINAL USAGE DONE);
    finish(0, TG_UPSTREAM_OK);
    CU_ASSERT_STRING_EQUAL(text, "hello");
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_OK);
    CU_ASSERT_STRING_EQUAL(order, "oscd"); /* closed before the client is told */
    const tg_usage_event *e = &closed_events[0];
    CU_ASSERT_EQUAL(e->outcome, TG_OUTCOME_OK);
    CU_ASSERT_EQUAL(e->tokens.input, 7);
    CU_ASSERT_EQUAL(e->tokens.output, 3);
    CU_ASSERT_EQUAL(e->output_source, TG_COUNT_REPORTED);
    CU_ASSERT_EQUAL(e->cost_picousd, 7 * 10 + 3 * 20);
    CU_ASSERT_EQUAL(e->first_token_ns, 5000);
    CU_ASSERT_STRING_EQUAL(e->model_answered, "m-1");
    CU_ASSERT_EQUAL(e->counterfactual_count, 1);
    CU_ASSERT_EQUAL(e->counterfactuals[0].cost_picousd, 7 * 10 + 3 * 40);
    CU_ASSERT_TRUE(observations[0].success);
    end();
}

/* What was reported for complete answers is what is guessed where nothing was reported. */
static void test_learns_the_tokenizer(void)
{
    uint64_t guess = 0;
    tg_estimates *estimates = tg_estimates_new();
    for (int i = 0; i < TG_ESTIMATE_REPORTS_MIN + 1; i++) {
        begin(true);
        env.estimates = estimates;
        chat.text_units = 11 * 22;
        tg_dispatch_run(dispatch);
        head(0, 200);
        if (i < TG_ESTIMATE_REPORTS_MIN) {
            guess = opened_events[0].tokens.input; /* before the report */
            data(0, CHUNK("hello") FINAL USAGE DONE);
            finish(0, TG_UPSTREAM_OK);
            CU_ASSERT_EQUAL(closed_events[0].tokens.input, 7);
        } else {
            CU_ASSERT_EQUAL(opened_events[0].tokens.input, 7);
            CU_ASSERT_EQUAL(opened_events[0].input_source, TG_COUNT_ESTIMATED);
            data(0, CHUNK("hello") FINAL DONE);
            finish(0, TG_UPSTREAM_OK);
            CU_ASSERT_EQUAL(closed_events[0].tokens.input, 7);
            CU_ASSERT_EQUAL(closed_events[0].input_source, TG_COUNT_ESTIMATED);
            CU_ASSERT_EQUAL(closed_events[0].output_source, TG_COUNT_ESTIMATED);
        }
        end();
    }
    CU_ASSERT_EQUAL(guess, (11 * 22 + 2 * 400 + 99) / 100);
    const tg_token_scale *scale = tg_estimates_of(estimates, "one");
    CU_ASSERT_PTR_NOT_NULL_FATAL(scale);
    CU_ASSERT_EQUAL(scale->reports, TG_ESTIMATE_REPORTS_MIN);
    CU_ASSERT_PTR_NULL(tg_estimates_of(estimates, "two"));
    tg_estimates_free(estimates);
}

static void test_falls_back_on_529_before_the_first_token(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 529);
    data(0, "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}");
    finish(0, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL_FATAL(started, 2);
    CU_ASSERT_STRING_EQUAL(order, "oscos");
    head(1, 200);
    data(1, CHUNK("fine") FINAL USAGE DONE);
    finish(1, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_OK);
    CU_ASSERT_STRING_EQUAL(text, "fine");
    CU_ASSERT_EQUAL(closed_events[0].outcome, TG_OUTCOME_FAILED);
    CU_ASSERT_EQUAL(closed_events[0].cost_picousd, 0);
    CU_ASSERT_EQUAL(closed_events[0].upstream_status, 529);
    CU_ASSERT_EQUAL(closed_events[1].attempt, 2);
    CU_ASSERT_STRING_EQUAL(closed_events[1].target, "two");
    CU_ASSERT_FALSE(observations[0].success);
    CU_ASSERT_TRUE(observations[0].capacity);
    end();
}

/* Where nothing is reported a target's own count of the prompt says what was asked of it, and of it
 * alone. */
static void test_counted_prompts(void)
{
    static const tg_step counted[] = {{.target = 0, .counted_tokens = 321}, {.target = 1}};
    begin(true);
    plan.steps = counted;
    chat.text_units = 11 * 22;
    tg_dispatch_run(dispatch);
    head(0, 529);
    finish(0, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL(opened_events[0].tokens.input, 321);
    CU_ASSERT_EQUAL(closed_events[0].tokens.input, 0); /* it did not take the request */
    CU_ASSERT_EQUAL(opened_events[1].tokens.input, (11 * 22 + 2 * 400 + 99) / 100);
    end();
    begin(true);
    plan.steps = counted;
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("hello") FINAL DONE);
    finish(0, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL(closed_events[0].tokens.input, 321);
    CU_ASSERT_EQUAL(closed_events[0].input_source, TG_COUNT_ESTIMATED);
    end();
    begin(true);
    plan.steps = counted;
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("hello") FINAL USAGE DONE);
    finish(0, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL(closed_events[0].tokens.input, 7); /* what is reported goes before */
    CU_ASSERT_EQUAL(closed_events[0].input_source, TG_COUNT_REPORTED);
    end();
}

static void test_no_fallback_after_the_first_token(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("some words "));
    finish(0, TG_UPSTREAM_RESET);
    CU_ASSERT_EQUAL(started, 1);
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_BROKEN);
    CU_ASSERT_EQUAL(closed_events[0].outcome, TG_OUTCOME_INTERRUPTED);
    CU_ASSERT_EQUAL(closed_events[0].output_source, TG_COUNT_ESTIMATED);
    CU_ASSERT_TRUE(closed_events[0].tokens.output > 0);
    end();
}

static void test_cut_without_end_mark_is_not_a_clean_end(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("half"));
    finish(0, TG_UPSTREAM_OK); /* the connection ended politely, the answer did not */
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_BROKEN);
    end();
}

static void test_plain_client_falls_back_even_late(void)
{
    begin(false);
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, "{\"id\":\"x\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assis");
    finish(0, TG_UPSTREAM_RESET);
    CU_ASSERT_EQUAL_FATAL(started, 2);
    head(1, 200);
    data(1, "{\"id\":\"x\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
            "\"choices\":[{\"index\":0,"
            "\"message\":{\"role\":\"assistant\",\"content\":\"ok\"},\"finish_reason\":\"stop\"}],"
            "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}");
    finish(1, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_OK);
    CU_ASSERT_STRING_EQUAL(text, "ok");
    end();
}

static void test_bad_request_is_not_retried(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 400);
    data(
        0,
        "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"temperature is too high\"}}");
    finish(0, TG_UPSTREAM_OK);
    CU_ASSERT_EQUAL(started, 1);
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_FAILED);
    CU_ASSERT_EQUAL(result.status, 400);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.message, "temperature is too high"));
    CU_ASSERT_TRUE(observations[0].success); /* it answered: the endpoint works */
    end();
}

static void test_timeouts(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    now_ns += 1100ull * 1000000; /* first_token_timeout_ms is 1000 */
    tg_dispatch_tick(&env);
    CU_ASSERT_FALSE(upstreams[0].live);
    CU_ASSERT_EQUAL_FATAL(started, 2);
    CU_ASSERT_EQUAL(closed_events[0].outcome, TG_OUTCOME_TIMEOUT);
    CU_ASSERT_TRUE(observations[0].timeout);
    end();

    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("x"));
    now_ns += 400ull * 1000000;
    tg_dispatch_tick(&env);
    CU_ASSERT_TRUE(upstreams[0].live);
    now_ns += 200ull * 1000000; /* idle_timeout_ms is 500 */
    tg_dispatch_tick(&env);
    CU_ASSERT_FALSE(upstreams[0].live);
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_BROKEN);
    end();
}

static void test_client_leaves(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("several words of text"));
    dispatch = tg_dispatch_free(dispatch);
    CU_ASSERT_FALSE(upstreams[0].live);
    CU_ASSERT_EQUAL(done, 0);
    CU_ASSERT_EQUAL(closed_events[0].outcome, TG_OUTCOME_CLIENT_GONE);
    CU_ASSERT_EQUAL(closed_events[0].output_source, TG_COUNT_ESTIMATED);
    CU_ASSERT_TRUE(closed_events[0].cost_picousd > 0);
    end();
}

static void test_all_attempts_fail(void)
{
    begin(true);
    start_fails = -EAGAIN;
    tg_dispatch_run(dispatch);
    CU_ASSERT_EQUAL(done, 1);
    CU_ASSERT_EQUAL(result.end, TG_DISPATCH_FAILED);
    CU_ASSERT_EQUAL(attempts, 2);
    CU_ASSERT_STRING_EQUAL(order, "oscoscd");
    end();
}

static void test_full_spool_refuses_before_sending(void)
{
    begin(true);
    open_fails = -ENOSPC;
    tg_dispatch_run(dispatch);
    CU_ASSERT_EQUAL(started, 0);
    CU_ASSERT_EQUAL(result.status, 503);
    CU_ASSERT_STRING_EQUAL(order, "od");
    end();
}

static void test_pause_holds_the_upstream_and_its_timeout(void)
{
    begin(true);
    tg_dispatch_run(dispatch);
    head(0, 200);
    data(0, CHUNK("x"));
    tg_dispatch_pause(dispatch, true);
    CU_ASSERT_TRUE(upstreams[0].paused);
    now_ns += 900ull * 1000000;
    tg_dispatch_tick(&env);
    CU_ASSERT_TRUE(upstreams[0].live);
    tg_dispatch_pause(dispatch, false);
    tg_dispatch_tick(&env);
    CU_ASSERT_TRUE(upstreams[0].live);
    end();
}

static const tg_test tests[] = {
    {"streams_and_bills_what_was_reported", test_streams_and_bills_what_was_reported},
    {"learns_the_tokenizer", test_learns_the_tokenizer},
    {"counted_prompts", test_counted_prompts},
    {"falls_back_on_529_before_the_first_token", test_falls_back_on_529_before_the_first_token},
    {"no_fallback_after_the_first_token", test_no_fallback_after_the_first_token},
    {"cut_without_end_mark_is_not_a_clean_end", test_cut_without_end_mark_is_not_a_clean_end},
    {"plain_client_falls_back_even_late", test_plain_client_falls_back_even_late},
    {"bad_request_is_not_retried", test_bad_request_is_not_retried},
    {"timeouts", test_timeouts},
    {"client_leaves", test_client_leaves},
    {"all_attempts_fail", test_all_attempts_fail},
    {"full_spool_refuses_before_sending", test_full_spool_refuses_before_sending},
    {"pause_holds_the_upstream_and_its_timeout", test_pause_holds_the_upstream_and_its_timeout},
};
TG_TEST_MAIN("services_router_dispatch", tests)
