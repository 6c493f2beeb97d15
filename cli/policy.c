/* tollgate policy check FILE | explain: what a policy says, without sending anything.
 *
 * `explain` calls the very function that live routing calls, so what it prints is what happens. */
#include "cli/commands.h"
#include "cli/read_file.h"

#include "libs/base/buf.h"
#include "libs/base/clock.h"
#include "services/router/policy/decide.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOWN_MAX = 32, DOWN_FOR_MS = 30000, POLICY_BYTES_MAX = 4 << 20, ATTEMPTS_MAX = 4 };

typedef struct options {
    const char *policy, *targets, *prices, *tenants;
    const char *task_type, *model, *tenant, *data_class;
    const char *down[DOWN_MAX];
    const char *p95[DOWN_MAX];
    size_t down_count, p95_count;
    uint64_t max_tokens, input_tokens, latency_budget_ms;
} options;

/* What was loaded. */
typedef struct mesh {
    tg_targets *targets;
    tg_price_book *prices;
    tg_tenants *tenants;
    tg_policy *policy;
} mesh;

static int usage(void)
{
    fputs("usage: tollgate policy check FILE --targets FILE [--prices FILE]\n"
          "       tollgate policy explain --policy FILE --targets FILE [--prices FILE] "
          "[--task-type T]\n"
          "                 [--model M] [--input-tokens N] [--max-tokens N] [--data-class C]\n"
          "                 [--tenant T --tenants FILE] [--latency-budget-ms N]\n"
          "                 [--down TARGET[/ENDPOINT]]... [--p95 "
          "TARGET[/ENDPOINT]=FIRST_TOKEN_MS[,ANSWER_MS]]...\n",
          stderr);
    return 2;
}

static int parse(int argc, char **argv, options *ret)
{
    static const struct option longs[] = {
        {"policy", required_argument, NULL, 'p'},
        {"targets", required_argument, NULL, 't'},
        {"prices", required_argument, NULL, 'r'},
        {"tenants", required_argument, NULL, 'n'},
        {"task-type", required_argument, NULL, 'y'},
        {"model", required_argument, NULL, 'm'},
        {"tenant", required_argument, NULL, 'T'},
        {"data-class", required_argument, NULL, 'c'},
        {"max-tokens", required_argument, NULL, 'x'},
        {"input-tokens", required_argument, NULL, 'i'},
        {"down", required_argument, NULL, 'd'},
        {"p95", required_argument, NULL, '9'},
        {"latency-budget-ms", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    options o = {
        .task_type = "", .model = "", .tenant = "", .data_class = "", .input_tokens = 1000};
    int rc = 0;
    for (int c; rc == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'p':
            o.policy = optarg;
            break;
        case 't':
            o.targets = optarg;
            break;
        case 'r':
            o.prices = optarg;
            break;
        case 'n':
            o.tenants = optarg;
            break;
        case 'y':
            o.task_type = optarg;
            break;
        case 'm':
            o.model = optarg;
            break;
        case 'T':
            o.tenant = optarg;
            break;
        case 'c':
            o.data_class = optarg;
            break;
        case 'x':
            rc = tg_str_u64(tg_str_of(optarg), &o.max_tokens);
            break;
        case 'i':
            rc = tg_str_u64(tg_str_of(optarg), &o.input_tokens);
            break;
        case 'd':
            rc = o.down_count < DOWN_MAX ? 0 : -E2BIG;
            if (rc == 0)
                o.down[o.down_count++] = optarg;
            break;
        case '9':
            rc = o.p95_count < DOWN_MAX ? 0 : -E2BIG;
            if (rc == 0)
                o.p95[o.p95_count++] = optarg;
            break;
        case 'l':
            rc = tg_str_u64(tg_str_of(optarg), &o.latency_budget_ms);
            if (rc == 0 && o.latency_budget_ms > TG_POLICY_BUDGET_MS_MAX)
                rc = -ERANGE;
            break;
        default:
            rc = -EINVAL;
            break;
        }
    }
    *ret = o;
    return rc;
}

/* ---- loading ---- */

static void unload(mesh *m)
{
    tg_policy_free(m->policy);
    tg_tenants_free(m->tenants);
    tg_price_book_free(m->prices);
    tg_targets_free(m->targets);
}

static int load(const options *o, mesh *m)
{
    tg_error err = {""};
    tg_buf text;
    tg_buf_init(&text, POLICY_BYTES_MAX);
    *m = (mesh){NULL, NULL, NULL, NULL};
    int rc = tg_targets_load(o->targets, &err, &m->targets);
    if (rc == 0 && o->prices)
        rc = tg_prices_load(o->prices, &err, &m->prices);
    if (rc == 0 && o->tenants)
        rc = tg_tenants_load(o->tenants, &err, &m->tenants);
    if (rc == 0)
        rc = tg_cli_read_file(o->policy, &text, &err);
    if (rc == 0)
        rc = tg_policy_parse(o->policy, tg_buf_str(&text), m->targets, &err, &m->policy);
    if (rc < 0)
        fprintf(stderr, "error: %s\n", err.text[0] ? err.text : strerror(-rc));
    tg_buf_free(&text);
    return rc;
}

/* ---- check ---- */

static void print_warning(void *user, const char *text)
{
    size_t *count = user;
    ++*count;
    printf("warning: %s\n", text);
}

static int check(const options *o)
{
    mesh m;
    size_t warnings = 0;
    int rc = load(o, &m);
    if (rc == 0) {
        tg_policy_warnings(m.policy, m.targets, m.prices, tg_clock_wall_ns(), print_warning,
                           &warnings);
        printf("%s: policy %s (%s) is valid: %zu rules, %zu task types, %zu warnings\n", o->policy,
               tg_policy_name(m.policy), tg_policy_version(m.policy),
               tg_policy_rule_count(m.policy), tg_policy_task_type_count(m.policy), warnings);
    }
    unload(&m);
    return rc < 0;
}

/* ---- explain ---- */

/* Gives a status to what an option names: all endpoints of a target, or one. */
static int mark(const char *option, tg_str name, const tg_endpoint_status *status,
                const tg_targets *targets, tg_endpoint_status **rows)
{
    const char *slash = memchr(name.data, '/', name.len);
    tg_str id = {name.data, slash ? (size_t)(slash - name.data) : name.len};
    int index = tg_targets_find(targets, id);
    size_t marked = 0;
    if (index >= 0) {
        const tg_target *target = tg_targets_at(targets, (size_t)index);
        for (size_t i = 0; i < target->endpoint_count; i++) {
            if (slash &&
                !tg_str_is((tg_str){slash + 1, name.len - id.len - 1}, target->endpoints[i].id))
                continue;
            rows[index][i] = *status;
            marked++;
        }
    }
    if (marked == 0)
        fprintf(stderr, "error: %s %.*s: there is no such target or endpoint\n", option,
                (int)name.len, name.data);
    return marked > 0 ? 0 : -EINVAL;
}

static int mark_down(const char *name, const tg_targets *targets, tg_endpoint_status **rows)
{
    const tg_endpoint_status down = {
        .health = TG_ENDPOINT_DOWN, .retry_at_mono_ms = DOWN_FOR_MS, .reason = "--down"};
    return mark("--down", tg_str_of(name), &down, targets, rows);
}

/* "TARGET[/ENDPOINT]=FIRST_TOKEN_MS[,ANSWER_MS]": as if so much had been observed. */
static int mark_p95(const char *text, const tg_targets *targets, tg_endpoint_status **rows)
{
    const char *equals = strchr(text, '='), *comma = equals ? strchr(equals, ',') : NULL;
    const char *end = text + strlen(text);
    tg_endpoint_status seen = {.requests = TG_DECIDE_REQUESTS_MIN};
    uint64_t first_ms = 0, total_ms = 0;
    int rc = -EINVAL;
    if (equals)
        rc = tg_str_u64((tg_str){equals + 1, (size_t)((comma ? comma : end) - equals - 1)},
                        &first_ms);
    if (rc == 0 && comma)
        rc = tg_str_u64((tg_str){comma + 1, (size_t)(end - comma - 1)}, &total_ms);
    if (rc < 0 || first_ms > TG_POLICY_BUDGET_MS_MAX || total_ms > TG_POLICY_BUDGET_MS_MAX) {
        fprintf(
            stderr,
            "error: --p95 %s: allowed: TARGET[/ENDPOINT]=FIRST_TOKEN_MS[,ANSWER_MS], up to %d ms\n",
            text, TG_POLICY_BUDGET_MS_MAX);
        return -EINVAL;
    }
    seen.first_token_p95_us = first_ms * 1000;
    seen.total_p95_us = total_ms * 1000;
    return mark("--p95", (tg_str){text, (size_t)(equals - text)}, &seen, targets, rows);
}

static int make_fleet(const options *o, const tg_targets *targets, tg_arena *arena, tg_fleet *ret)
{
    size_t count = tg_targets_count(targets);
    tg_endpoint_status **rows = tg_arena_zalloc(arena, count, sizeof *rows);
    for (size_t i = 0; rows && i < count; i++) {
        rows[i] = tg_arena_zalloc(arena, tg_targets_at(targets, i)->endpoint_count, sizeof **rows);
        if (!rows[i])
            return -ENOMEM;
    }
    if (!rows)
        return -ENOMEM;
    for (size_t i = 0; i < o->p95_count; i++)
        if (mark_p95(o->p95[i], targets, rows) < 0)
            return -EINVAL;
    for (size_t i = 0; i < o->down_count; i++)
        if (mark_down(o->down[i], targets, rows) < 0)
            return -EINVAL;
    *ret = (tg_fleet){.rows = (const tg_endpoint_status *const *)rows, .row_count = count};
    return 0;
}

static int width(int least, const char *text)
{
    int len = (int)strlen(text);
    return len > least ? len : least;
}

static void print_trace(const tg_plan *plan)
{
    int rule = 4, target = 6, endpoint = 8;
    for (size_t i = 0; i < plan->trace_count; i++) {
        rule = width(rule, plan->trace[i].rule);
        target = width(target, plan->trace[i].target);
        endpoint = width(endpoint, plan->trace[i].endpoint);
    }
    if (plan->trace_count > 0)
        printf("\n     %-*s  %-*s  %-*s  %-14s  %s\n", rule, "RULE", target, "TARGET", endpoint,
               "ENDPOINT", "COSTS AT MOST", "WHY");
    for (size_t i = 0; i < plan->trace_count; i++) {
        const tg_candidate *line = &plan->trace[i];
        char cost[TG_MONEY_TEXT] = "-";
        if (line->cost_bound > 0)
            tg_money_format_usd(line->cost_bound, cost);
        printf("%-4s %-*s  %-*s  %-*s  %-14s  %s\n", line->kept ? "keep" : "drop", rule,
               line->rule[0] ? line->rule : "-", target, line->target[0] ? line->target : "-",
               endpoint, line->endpoint[0] ? line->endpoint : "-", cost, line->reason);
    }
}

static void print_steps(const tg_plan *plan, const tg_targets *targets)
{
    if (plan->refusal != TG_REFUSAL_NONE) {
        printf("\nrefused, HTTP %u: %s\n", plan->refusal_status, plan->refusal_text);
        return;
    }
    printf("\nwould be tried, in this order:\n");
    for (size_t i = 0; i < plan->step_count; i++) {
        const tg_step *step = &plan->steps[i];
        const tg_target *target = tg_targets_at(targets, (size_t)step->target);
        printf("  %zu. %s/%s%s", i + 1, target->id, target->endpoints[step->endpoint].id,
               step->probe ? ", as a probe" : "");
        if (step->max_tokens > 0)
            printf(", max_tokens %llu%s", (unsigned long long)step->max_tokens,
                   step->clamped ? " (clamped)" : "");
        printf("\n");
    }
}

static void print_request(const options *o, const mesh *m)
{
    printf("policy   %s (%s)\n", tg_policy_name(m->policy), tg_policy_version(m->policy));
    printf("request  task type %s, model %s, %llu input tokens, max_tokens %s",
           o->task_type[0] ? o->task_type : "-", o->model[0] ? o->model : "auto",
           (unsigned long long)o->input_tokens, o->max_tokens ? "" : "not stated");
    if (o->max_tokens)
        printf("%llu", (unsigned long long)o->max_tokens);
    printf("%s%s\n", o->data_class[0] ? ", data class " : "", o->data_class);
}

static int explain_with(const options *o, const mesh *m, tg_arena *arena)
{
    tg_fleet fleet;
    tg_snapshot snapshot = {.policy = m->policy,
                            .targets = m->targets,
                            .prices = m->prices,
                            .attempts_max = ATTEMPTS_MAX};
    tg_facts facts = {.tenant = o->tenant,
                      .key_id = "",
                      .may_pin = true,
                      .model = tg_str_of(o->model),
                      .task_type = tg_str_of(o->task_type),
                      .data_class = tg_str_of(o->data_class),
                      .input_tokens = o->input_tokens,
                      .input_tokens_exact = true,
                      .max_tokens = o->max_tokens,
                      .latency_budget_ms = (uint32_t)o->latency_budget_ms};
    const tg_tenant *tenant = m->tenants ? tg_tenants_find(m->tenants, tg_str_of(o->tenant)) : NULL;
    if (m->tenants && !tenant) {
        fprintf(stderr, "error: --tenant '%s' is not in %s\n", o->tenant, o->tenants);
        return -EINVAL;
    }
    if (tenant) {
        facts.pin_allowlist = tenant->model_allowlist;
        facts.pin_allowlist_count = tenant->model_allowlist_count;
    }
    int rc = make_fleet(o, m->targets, arena, &fleet);
    if (rc < 0)
        return rc;
    tg_state state = {.fleet = &fleet};
    const tg_plan *plan =
        tg_decide(&snapshot, &facts, &state, (tg_now){.wall_unix_ns = tg_clock_wall_ns()}, arena);
    if (!plan)
        return -ENOMEM;
    print_request(o, m);
    print_trace(plan);
    print_steps(plan, m->targets);
    return 0;
}

static int explain(const options *o)
{
    mesh m;
    tg_arena arena;
    tg_arena_init(&arena, 0);
    int rc = load(o, &m);
    if (rc == 0)
        rc = explain_with(o, &m, &arena);
    tg_arena_free(&arena);
    unload(&m);
    return rc < 0;
}

int tg_cli_policy(int argc, char **argv)
{
    options o;
    if (parse(argc, argv, &o) < 0 || optind >= argc || !o.targets)
        return usage();
    const char *verb = argv[optind];
    if (strcmp(verb, "check") == 0 && optind + 2 == argc) {
        o.policy = argv[optind + 1];
        return check(&o);
    }
    if (strcmp(verb, "explain") == 0 && optind + 1 == argc && o.policy)
        return explain(&o);
    return usage();
}
