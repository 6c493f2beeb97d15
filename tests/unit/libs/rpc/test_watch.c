/* Watchers: a bound on their number, and their ends. */
#include "tests/unit/libs/rpc/world.h"

static bool nobody_watches(const world *w) { return w->watchers->len == 0; }

static void watchers(world *w)
{
    tg_watchers all;
    tg_watchers_init(&all, 1);
    w->watchers = &all;
    tg_rpc_client *first = watch(w, 0);
    run_until(w, got_one);
    CU_ASSERT_EQUAL(all.len, 1);

    watch(w, 0); /* one too many */
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_RESOURCE_EXHAUSTED);
    CU_ASSERT_STRING_EQUAL(w->message, "at most 1 watchers");
    CU_ASSERT_EQUAL(all.len, 1);

    w->done = 0;
    tg_rpc_client_cancel(first); /* who leaves makes room */
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_CANCELLED);
    run_until(w, nobody_watches);

    w->done = w->got = 0;
    watch(w, 0);
    run_until(w, got_one);
    tg_watchers_end(&all, "going away");
    CU_ASSERT_EQUAL(all.len, 0);
    run_until(w, is_done);
    CU_ASSERT_EQUAL(w->code, TG_RPC_UNAVAILABLE);
    CU_ASSERT_STRING_EQUAL(w->message, "going away");
    tg_watchers_end(&all, "again");
}

FOR_BOTH(watchers)

static const tg_test tests[] = {{"watchers", test_watchers}};
TG_TEST_MAIN("libs_rpc_watch", tests)
