/* Any bytes as a policy. One that loads is warned about and decides for every task type it names.
 */
#include "services/router/policy/decide.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tg_targets *targets;
static tg_price_book *prices;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void load(void)
{
    static const char text[] =
        "version: 1\n"
        "targets:\n"
        "  - {id: a, provider: private, model: m, endpoints: [{url: \"h:1\"}]}\n"
        "  - {id: b, provider: private, model: n, endpoints: [{url: \"h:2\"}]}\n";
    char path[] = "/tmp/tg-fuzz-targets-XXXXXX";
    tg_error err = {""};
    int fd = mkstemp(path);
    require(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    require(tg_targets_load(path, &err, &targets) == 0);
    unlink(path);
    prices = tg_price_book_new("fuzz");
    tg_price price = {.effective_unix_ns = 1, .input = 1000, .output = 5000};
    require(tg_price_book_add(prices, "a", &price) == 0);
}

static void on_warning(void *user, const char *text)
{
    (void)user;
    require(text[0] != '\0');
}

static void decide(const tg_policy *policy, const char *task_type)
{
    tg_arena arena;
    tg_snapshot snapshot = {policy, targets, prices, NULL, 0, 4};
    tg_facts facts = {.task_type = tg_str_of(task_type), .input_tokens = 100, .max_tokens = 50};
    tg_arena_init(&arena, 0);
    const tg_plan *plan = tg_decide(&snapshot, &facts, NULL, (tg_now){2, 1}, &arena);
    require(plan && (plan->step_count > 0) == (plan->refusal == TG_REFUSAL_NONE));
    tg_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_policy *policy = NULL;
    tg_error err = {""};
    if (!targets)
        load();
    if (tg_policy_parse("f", (tg_str){(const char *)data, size}, targets, &err, &policy) < 0) {
        require(err.text[0] != '\0');
        return 0;
    }
    tg_policy_warnings(policy, targets, prices, 2, on_warning, NULL);
    decide(policy, "");
    for (size_t i = 0; i < tg_policy_task_type_count(policy); i++)
        decide(policy, tg_policy_task_type(policy, i));
    tg_policy_free(policy);
    return 0;
}
