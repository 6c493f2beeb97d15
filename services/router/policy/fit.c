#include "services/router/policy/decide_inside.h"

#include "libs/base/id.h"

#include <string.h>

enum { BYTES_PER_TOKEN = 4, HALF_OPEN_RETRY_MS = 1000 };
enum { ENDPOINTS_MAX = sizeof(((tg_fit *)NULL)->endpoints) / sizeof(int) };

static const tg_target *target_at(const tg_decision *d, int index)
{
    return tg_targets_at(d->snapshot->targets, (size_t)index);
}

static const tg_price *price_of(const tg_decision *d, int target)
{
    return d->snapshot->prices ? tg_price_book_find(d->snapshot->prices, target_at(d, target)->id,
                                                    d->now.wall_unix_ns)
                               : NULL;
}

static tg_picousd saturate(__int128 sum) { return sum > INT64_MAX ? INT64_MAX : (tg_picousd)sum; }

static const tg_prompt_count *asked(const tg_decision *d, int target)
{
    for (size_t i = 0; i < d->facts->count_len; i++)
        if (d->facts->counts[i].target == target)
            return &d->facts->counts[i];
    return NULL;
}

uint64_t tg_fit_count(const tg_decision *d, int target)
{
    const tg_prompt_count *count = asked(d, target);
    return count ? count->tokens : 0;
}

uint64_t tg_fit_input(const tg_decision *d, int target)
{
    const uint64_t count = tg_fit_count(d, target);
    return count > 0 ? count : d->facts->input_tokens;
}

static tg_picousd bound(const tg_price *price, uint64_t input_tokens, uint64_t output_tokens)
{
    return saturate((__int128)price->per_request + (__int128)price->input * input_tokens +
                    (__int128)price->output * output_tokens);
}

bool tg_fit_bound(const tg_decision *d, int target, uint64_t output_tokens, tg_picousd *ret)
{
    const tg_price *price = price_of(d, target);
    if (!price)
        return false;
    *ret = bound(price, tg_fit_input(d, target), output_tokens);
    return true;
}

/* ---- data class, context ---- */

static bool may_carry(const tg_target *target, tg_str data_class)
{
    if (data_class.len == 0 || target->data_class_count == 0)
        return true;
    for (size_t i = 0; i < target->data_class_count; i++)
        if (tg_str_is(data_class, target->data_classes[i]))
            return true;
    return false;
}

/* Anthropic and Bedrock take schemas, and have no mode for just any object; expressions and choices
 * only the private tier has. */
static const char *lacks_form(const tg_target *target, const tg_facts *facts)
{
    if (facts->text_form && target->provider != TG_PROVIDER_PRIVATE)
        return "has no mode for regular expressions and choices";
    if (facts->json_object &&
        (target->provider == TG_PROVIDER_ANTHROPIC || target->provider == TG_PROVIDER_BEDROCK))
        return "has no mode for JSON objects without a schema";
    return NULL;
}

/* An upper bound made of bytes would turn away most of what fits, so the context is held against a
 * guess; what is too long after all is the upstream's to say. */
static uint64_t guess(const tg_decision *d, int target)
{
    const tg_facts *facts = d->facts;
    const uint64_t count = tg_fit_count(d, target);
    if (count > 0 || facts->input_tokens_exact)
        return count > 0 ? count : facts->input_tokens;
    if (facts->input_units == 0)
        return facts->input_tokens / BYTES_PER_TOKEN;
    return tg_token_estimate(
        d->state ? tg_estimates_of(d->state->estimates, target_at(d, target)->id) : NULL,
        facts->input_units);
}

static uint64_t with_output(const tg_decision *d, uint64_t input)
{
    const uint64_t output = d->facts->max_tokens > 0 ? d->facts->max_tokens : 1;
    uint64_t sum;
    return __builtin_add_overflow(input, output, &sum) ? UINT64_MAX : sum;
}

static bool fits_context(const tg_decision *d, int target, uint64_t input)
{
    const uint64_t context = target_at(d, target)->context_tokens;
    return context == 0 || with_output(d, input) <= context;
}

/* ---- cost cap ---- */

/* Output tokens that the cap pays for beside the input; 0: not even one. */
static uint64_t affordable(const tg_decision *d, int target, tg_picousd cap)
{
    const tg_price *price = price_of(d, target);
    tg_picousd input;
    if (!price || !tg_fit_bound(d, target, 0, &input) || input > cap)
        return 0;
    return price->output > 0 ? (uint64_t)((cap - input) / price->output) : UINT64_MAX;
}

static bool clamps(const tg_rule *rule, const tg_facts *facts)
{
    return rule->on_cap == TG_ON_CAP_CLAMP ||
           (rule->on_cap == TG_ON_CAP_DEFAULT && facts->max_tokens == 0);
}

/* Fills max_tokens, clamped and cost_bound. False when the cap forbids the target. */
static bool fit_cap(tg_decision *d, const tg_rule *rule, tg_fit *fit)
{
    const tg_facts *facts = d->facts;
    uint64_t output = facts->max_tokens;
    if (output == 0)
        output = target_at(d, fit->target)->max_output_tokens;
    fit->max_tokens = facts->max_tokens;
    fit->priced = tg_fit_bound(d, fit->target, output, &fit->cost_bound);
    if (rule->cost_cap == 0)
        return true;
    fit->max_tokens =
        output; /* under a cap nothing is left to the upstream, or the bound would be none */
    if (!fit->priced)
        return false;
    if (fit->cost_bound <= rule->cost_cap)
        return true;
    if (!clamps(rule, facts))
        return false;
    uint64_t afford = affordable(d, fit->target, rule->cost_cap);
    fit->max_tokens = afford < output ? afford : output;
    fit->clamped = true;
    tg_fit_bound(d, fit->target, fit->max_tokens > 0 ? fit->max_tokens : 1, &fit->cost_bound);
    return fit->max_tokens > 0;
}

/* ---- health ---- */

static tg_endpoint_status status_of(const tg_decision *d, int target, size_t endpoint)
{
    const tg_fleet *fleet = d->state ? d->state->fleet : NULL;
    if (!fleet || (size_t)target >= fleet->row_count || !fleet->rows[target])
        return (tg_endpoint_status){.health = TG_ENDPOINT_UP};
    return fleet->rows[target][endpoint];
}

/* May a request go there, and would it be the probe? Otherwise *ret_wait_ms says for how long not.
 */
static bool usable(const tg_endpoint_status *status, uint64_t mono_ms, bool *ret_probe,
                   uint64_t *ret_wait_ms)
{
    *ret_probe = status->health != TG_ENDPOINT_UP;
    if (!*ret_probe)
        return true;
    if (status->health == TG_ENDPOINT_DOWN && mono_ms < status->retry_at_mono_ms) {
        *ret_wait_ms = status->retry_at_mono_ms - mono_ms;
        return false;
    }
    *ret_wait_ms = HALF_OPEN_RETRY_MS;
    return !status->probing;
}

/* ---- latency ---- */

static uint32_t tighter(uint32_t a, uint32_t b) { return a == 0 || (b > 0 && b < a) ? b : a; }

/* What was observed lately is over a budget: the percentile in *ret_ms, and what it is of. NULL: it
 * fits, or too little is known. */
static const char *too_slow(const tg_decision *d, const tg_rule *rule,
                            const tg_endpoint_status *status, uint64_t *ret_ms,
                            uint32_t *ret_budget_ms)
{
    const uint32_t total_ms = tighter(rule->latency_budget_ms, d->facts->latency_budget_ms);
    const struct {
        const char *what;
        uint64_t p95_us;
        uint32_t budget_ms;
    } limits[] = {{"first tokens", status->first_token_p95_us, rule->ttft_budget_ms},
                  {"answers", status->total_p95_us, total_ms}};
    if (status->requests < TG_DECIDE_REQUESTS_MIN || d->state->fleet->stale)
        return NULL;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (limits[i].budget_ms > 0 && limits[i].p95_us > (uint64_t)limits[i].budget_ms * 1000) {
            *ret_ms = (limits[i].p95_us + 999) / 1000;
            *ret_budget_ms = limits[i].budget_ms;
            return limits[i].what;
        }
    }
    return NULL;
}

/* False when the endpoint is up and too slow, which is then traced. A probe is not asked: it finds
 * out. */
static bool fit_latency(tg_decision *d, const tg_rule *rule, tg_fit *fit, size_t endpoint,
                        const tg_endpoint_status *status)
{
    const tg_target *target = target_at(d, fit->target);
    uint64_t p95_ms;
    uint32_t budget_ms;
    const char *what = too_slow(d, rule, status, &p95_ms, &budget_ms);
    if (!what)
        return true;
    if (fit->least_over_ms == 0 || p95_ms < fit->least_over_ms)
        fit->least_over_ms = p95_ms;
    const char *why = tg_arena_printf(
        d->arena, "too slow: of late 95%% of its %s came within %llu ms, the budget is %u ms", what,
        (unsigned long long)p95_ms, budget_ms);
    tg_decision_trace(d, rule->name, target->id, target->endpoints[endpoint].id, false, why, 0);
    return false;
}

static void trace_endpoint(tg_decision *d, const tg_rule *rule, int target, size_t endpoint,
                           const tg_endpoint_status *status, uint64_t wait_ms)
{
    const tg_target *t = target_at(d, target);
    const char *why = status->reason && *status->reason ? status->reason : "no reason given";
    const char *text = status->probing ? tg_arena_printf(d->arena, "a probe is in flight (%s)", why)
                                       : tg_arena_printf(d->arena, "down for another %llu ms (%s)",
                                                         (unsigned long long)wait_ms, why);
    tg_decision_trace(d, rule->name, t->id, t->endpoints[endpoint].id, false, text, 0);
}

/* Draws without putting back, each endpoint with a chance proportional to its weight. */
static void shuffle(tg_fit *fit, const tg_target *target, uint64_t draw)
{
    uint64_t state = draw ^ ((uint64_t)fit->target * UINT64_C(0x9E3779B97F4A7C15)), total = 0;
    if (fit->endpoint_count < 2)
        return;
    for (size_t i = 0; i < fit->endpoint_count; i++)
        total += target->endpoints[fit->endpoints[i]].weight;
    for (size_t i = 0; i + 1 < fit->endpoint_count && total > 0; i++) {
        uint64_t left = tg_random_next(&state) % total;
        size_t pick = i;
        while (left >= target->endpoints[fit->endpoints[pick]].weight)
            left -= target->endpoints[fit->endpoints[pick++]].weight;
        int endpoint = fit->endpoints[pick];
        bool probe = fit->probes[pick];
        fit->endpoints[pick] = fit->endpoints[i];
        fit->probes[pick] = fit->probes[i];
        fit->endpoints[i] = endpoint;
        fit->probes[i] = probe;
        total -= target->endpoints[endpoint].weight;
    }
}

static bool fit_health(tg_decision *d, const tg_rule *rule, tg_fit *fit)
{
    const tg_target *target = target_at(d, fit->target);
    fit->retry_after_ms = UINT64_MAX;
    for (size_t i = 0; i < target->endpoint_count && i < ENDPOINTS_MAX; i++) {
        tg_endpoint_status status = status_of(d, fit->target, i);
        uint64_t wait_ms = 0;
        bool probe;
        if (usable(&status, d->now.mono_ms, &probe, &wait_ms)) {
            if (!probe && !fit_latency(d, rule, fit, i, &status))
                continue;
            fit->endpoints[fit->endpoint_count] = (int)i;
            fit->probes[fit->endpoint_count++] = probe;
        } else {
            trace_endpoint(d, rule, fit->target, i, &status, wait_ms);
            if (wait_ms < fit->retry_after_ms)
                fit->retry_after_ms = wait_ms;
        }
    }
    shuffle(fit, target, d->facts->draw);
    return fit->endpoint_count > 0;
}

/* ---- the target's own count ---- */

/* Might what is not known of the prompt's tokens decide here? */
static bool count_decides(const tg_decision *d, const tg_rule *rule, int index)
{
    const tg_target *target = target_at(d, index);
    if (target->provider != TG_PROVIDER_PRIVATE || target->count_tokens == TG_COUNT_NEVER ||
        d->facts->input_tokens_exact || asked(d, index))
        return false;
    const uint64_t input = guess(d, index), least = input / TG_DECIDE_COUNT_DOUBT;
    const uint64_t most =
        input <= UINT64_MAX / TG_DECIDE_COUNT_DOUBT ? input * TG_DECIDE_COUNT_DOUBT : UINT64_MAX;
    if (target->count_tokens == TG_COUNT_ALWAYS ||
        fits_context(d, index, least) != fits_context(d, index, most))
        return true;
    const tg_price *price = rule->cost_cap > 0 ? price_of(d, index) : NULL;
    const uint64_t output =
        d->facts->max_tokens > 0 ? d->facts->max_tokens : target->max_output_tokens;
    return price && bound(price, least, output) <= rule->cost_cap &&
           bound(price, d->facts->input_tokens, output) > rule->cost_cap;
}

/* Only of who would be the first of the plan, and is up: for a fallback the guess will do. */
static void note_count(const tg_decision *d, const tg_rule *rule, int target)
{
    if (d->fitting > 0 || d->plan->wants_count || !count_decides(d, rule, target))
        return;
    for (size_t i = 0; i < target_at(d, target)->endpoint_count && !d->plan->wants_count; i++) {
        d->plan->wants_count = status_of(d, target, i).health == TG_ENDPOINT_UP;
        d->plan->count_target = target;
        d->plan->count_endpoint = (int)i;
    }
}

/* ---- all of it ---- */

static void drop(tg_decision *d, const tg_rule *rule, tg_fit *fit, tg_obstacle obstacle,
                 const char *reason)
{
    fit->obstacle = obstacle;
    tg_decision_trace(d, rule->name, target_at(d, fit->target)->id, "", false, reason,
                      fit->cost_bound);
}

static const char *kept_reason(tg_decision *d, const tg_rule *rule, const tg_fit *fit, size_t index)
{
    const char *as = index > 0 ? "fallback" : rule->name[0] ? "route_to" : "asked for by name";
    const char *probe = fit->probes[0] ? ", as a probe" : "";
    if (fit->clamped)
        return tg_arena_printf(d->arena, "%s%s, max_tokens clamped to %llu by the cap", as, probe,
                               (unsigned long long)fit->max_tokens);
    if (!fit->probes[0] && fit->priced)
        return as;
    return tg_arena_printf(d->arena, "%s%s%s", as, probe, fit->priced ? "" : ", no price known");
}

static const char *cap_reason(tg_decision *d, const tg_rule *rule, const tg_fit *fit)
{
    char cap[TG_MONEY_TEXT], bound[TG_MONEY_TEXT];
    if (!fit->priced)
        return "no price, so the cap cannot be kept";
    tg_money_format_usd(rule->cost_cap, cap);
    tg_money_format_usd(fit->cost_bound, bound);
    return tg_arena_printf(d->arena, "may cost %s, over the cap of %s", bound, cap);
}

void tg_fit_judge(tg_decision *d, const tg_rule *rule, size_t index, tg_fit *ret)
{
    const tg_target *target = target_at(d, rule->targets[index]);
    ret->target = rule->targets[index];
    ret->obstacle = TG_OBSTACLE_NONE;
    ret->clamped = ret->priced = false;
    ret->cost_bound = 0;
    ret->endpoint_count = 0;
    ret->least_over_ms = 0;
    if (may_carry(target, d->facts->data_class) && !lacks_form(target, d->facts))
        note_count(d, rule, ret->target);
    if (!may_carry(target, d->facts->data_class)) {
        drop(d, rule, ret, TG_OBSTACLE_DATA_CLASS, "may not carry this data class");
    } else if (lacks_form(target, d->facts)) {
        drop(d, rule, ret, TG_OBSTACLE_FORM, lacks_form(target, d->facts));
    } else if (!fits_context(d, ret->target, guess(d, ret->target))) {
        drop(d, rule, ret, TG_OBSTACLE_CONTEXT,
             tg_arena_printf(d->arena, "needs %s%llu tokens, its context has %llu",
                             tg_fit_count(d, ret->target) > 0 ? "" : "about ",
                             (unsigned long long)with_output(d, guess(d, ret->target)),
                             (unsigned long long)target->context_tokens));
    } else if (!fit_cap(d, rule, ret)) {
        drop(d, rule, ret, TG_OBSTACLE_CAP, cap_reason(d, rule, ret));
    } else if (!fit_health(d, rule, ret)) {
        if (ret->least_over_ms > 0)
            drop(d, rule, ret, TG_OBSTACLE_LATENCY, "no endpoint that is up is fast enough");
        else
            drop(d, rule, ret, TG_OBSTACLE_HEALTH, "no endpoint is up");
    } else {
        tg_decision_trace(d, rule->name, target->id, target->endpoints[ret->endpoints[0]].id, true,
                          kept_reason(d, rule, ret, index), ret->cost_bound);
    }
}
