/* Asking for a count, against a scripted transport. */
#include "services/router/dispatch/count.h"
#include "tests/unit/harness.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdio.h>

struct tg_upstream {
    tg_upstream_on_event *on_event;
    void *user;
    bool live;
};

static struct tg_upstream upstream;
static int start_fails;
static uint32_t patience_ms;
static char method[64], asked[64];
static unsigned done;
static uint64_t told;
static tg_count *count;

static int fake_start(tg_transport *self, const tg_upstream_request *request,
                      tg_upstream_on_event *on_event, void *user, tg_upstream **ret)
{
    (void)self;
    if (start_fails)
        return start_fails;
    upstream = (struct tg_upstream){on_event, user, true};
    patience_ms = request->total_timeout_ms;
    snprintf(method, sizeof method, "%s", request->method);
    Tollgate__V1__CountTokensRequest *in = tollgate__v1__count_tokens_request__unpack(
        NULL, request->body.len, (const uint8_t *)request->body.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(in);
    CU_ASSERT_EQUAL_FATAL(in->messages->n_messages, 1);
    snprintf(asked, sizeof asked, "%s: %s%s", in->messages->messages[0]->role,
             in->messages->messages[0]->content, in->tools_json);
    tollgate__v1__count_tokens_request__free_unpacked(in, NULL);
    *ret = &upstream;
    return 0;
}

static void fake_pause(tg_upstream *u, bool paused) { (void)u, (void)paused; }
static void fake_cancel(tg_upstream *u) { u->live = false; }
static tg_transport transport = {fake_start, fake_pause, fake_cancel};

static void on_done(void *user, uint64_t tokens)
{
    (void)user;
    done++;
    told = tokens;
    count = tg_count_free(count);
}

static int begin(tg_tool_use tool_use)
{
    static const tg_chat_message message = {.role = TG_ROLE_USER, .text = {"how long?", 9}};
    static const tg_chat_tool tool = {.name = {"f", 1}};
    const tg_chat_request chat = {.messages = &message,
                                  .message_count = 1,
                                  .tools = &tool,
                                  .tool_count = 1,
                                  .tool_use = tool_use};
    const tg_target target = {.id = "t", .connect_timeout_ms = 1000};
    const tg_endpoint endpoint = {.id = "e", .url = "h:1"};
    done = 0;
    told = 99;
    return tg_count_start(&transport, &target, &endpoint, &chat, "", on_done, NULL, &count);
}

static void answer(const char *bytes, size_t len, tg_upstream_failure failure)
{
    if (bytes)
        upstream.on_event(upstream.user,
                          &(tg_upstream_event){.type = TG_UPSTREAM_DATA, .data = {bytes, len}});
    upstream.on_event(upstream.user,
                      &(tg_upstream_event){.type = TG_UPSTREAM_END, .failure = failure});
}

static void test_answers(void)
{
    CU_ASSERT_EQUAL_FATAL(begin(TG_TOOL_USE_NONE), 0);
    CU_ASSERT_STRING_EQUAL(method, "/tollgate.v1.Inference/CountTokens");
    CU_ASSERT_STRING_EQUAL(asked, "user: how long?");
    CU_ASSERT_EQUAL(patience_ms, TG_COUNT_PATIENCE_MS);
    answer("\x08\x96\x01", 3, TG_UPSTREAM_OK);
    CU_ASSERT_TRUE(done == 1 && told == 150 && upstream.live);
    CU_ASSERT_EQUAL_FATAL(begin(TG_TOOL_USE_AUTO), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(asked, "\"name\":\"f\"")); /* what the template is told counts */
    answer(NULL, 0, TG_UPSTREAM_TIMEOUT);
    CU_ASSERT_TRUE(done == 1 && told == 0);
    begin(TG_TOOL_USE_AUTO);
    answer("\x08\x96\x01", 3, TG_UPSTREAM_RESET);
    CU_ASSERT_TRUE(done == 1 && told == 0);
    begin(TG_TOOL_USE_AUTO);
    answer("\x08", 1, TG_UPSTREAM_OK); /* no message */
    CU_ASSERT_TRUE(done == 1 && told == 0);
}

static void test_cancelled_and_refused(void)
{
    CU_ASSERT_EQUAL_FATAL(begin(TG_TOOL_USE_AUTO), 0);
    count = tg_count_free(count);
    CU_ASSERT_TRUE(done == 0 && !upstream.live);
    start_fails = -EAGAIN;
    CU_ASSERT_EQUAL(begin(TG_TOOL_USE_AUTO), -EAGAIN);
    CU_ASSERT_EQUAL(done, 0);
    start_fails = 0;
    CU_ASSERT_PTR_NULL(tg_count_free(NULL));
}

static const tg_test tests[] = {{"answers", test_answers},
                                {"cancelled_and_refused", test_cancelled_and_refused}};
TG_TEST_MAIN("services_router_dispatch_count", tests)
