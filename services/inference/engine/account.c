#include "services/inference/engine/account.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

tg_work tg_work_of(const tg_model_shape *s)
{
    const uint64_t width = s->width, attention = (uint64_t)s->heads * s->head_dim,
                   kv = (uint64_t)s->kv_heads * s->head_dim;
    return (tg_work){.token = s->layers *
                              (2 * width * attention + 2 * width * kv + 3 * width * s->ffn_width),
                     .row = width * s->vocab,
                     .key = 2 * s->layers * attention};
}

uint64_t tg_account_pairs(uint64_t before, uint64_t tokens, uint64_t window)
{
    const uint64_t growing = window == 0 || before + tokens <= window ? tokens
                             : before >= window                       ? 0
                                                                      : window - before;
    return growing * before + growing * (growing + 1) / 2 + (tokens - growing) * window;
}

int tg_account_init(tg_account *a, const tg_model_shape *shape, uint64_t now_ns)
{
    *a = (tg_account){
        .work = tg_work_of(shape), .window = shape->window, .born_ns = now_ns, .mark_ns = now_ns};
    a->others.time = (tg_tenant_time){.tenant = a->others.name, .others = true};
    a->tenants = tg_map_new();
    a->taken = calloc(TG_ACCOUNT_TENANTS_MAX + 1, sizeof(*a->taken));
    a->taken_times = calloc(TG_ACCOUNT_TENANTS_MAX + 1, sizeof(*a->taken_times));
    return a->tenants && a->taken && a->taken_times ? 0 : -ENOMEM;
}

void tg_account_free(tg_account *a)
{
    tg_str name;
    void *tenant;
    for (size_t at = 0; a->tenants && tg_map_next(a->tenants, &at, &name, &tenant);)
        free(tenant);
    a->tenants = tg_map_free(a->tenants);
    free(a->taken);
    free(a->taken_times);
}

/* ---- tenants ---- */

static tg_tenant_account *tenant_new(tg_account *a, tg_str name)
{
    tg_tenant_account *tenant = calloc(1, sizeof(*tenant));
    if (!tenant)
        return NULL;
    tg_str_copy(tenant->name, sizeof(tenant->name), name);
    tenant->time.tenant = tenant->name;
    if (tg_map_put(a->tenants, name, tenant, NULL) == 0)
        return tenant;
    free(tenant);
    return NULL;
}

static bool is_told(tg_str name)
{
    return name.len <= TG_ACCOUNT_NAME_MAX && !memchr(name.data ? name.data : "", '\0', name.len);
}

tg_tenant_account *tg_account_join(tg_account *a, tg_str name)
{
    tg_tenant_account *tenant = tg_map_get(a->tenants, name);
    if (!tenant && is_told(name) && tg_map_count(a->tenants) < TG_ACCOUNT_TENANTS_MAX)
        tenant = tenant_new(a, name);
    if (!tenant)
        tenant = &a->others;
    tenant->seqs++;
    return tenant;
}

static bool has_sums(const tg_tenant_time *t)
{
    return t->engine_ns > 0 || t->prompt_tokens > 0 || t->cached_tokens > 0 || t->output_tokens > 0;
}

static void forget(tg_account *a, tg_tenant_account *tenant)
{
    tg_map_remove(a->tenants, tg_str_of(tenant->name));
    free(tenant);
}

void tg_account_leave(tg_account *a, tg_tenant_account *tenant)
{
    tenant->seqs--;
    if (tenant != &a->others && tenant->seqs == 0 && !has_sums(&tenant->time))
        forget(a, tenant);
}

/* ---- time ---- */

static void share_step(tg_account *a, uint64_t spent)
{
    tg_share(spent, a->weights, a->parts_len + 1, a->shares);
    for (uint32_t i = 0; i < a->parts_len; i++) {
        *a->parts[i].engine_ns += a->shares[i];
        a->parts[i].tenant->time.engine_ns += a->shares[i];
    }
    a->overhead_ns += a->shares[a->parts_len];
    a->shared_ns += spent - a->shares[a->parts_len];
}

void tg_account_upto(tg_account *a, uint64_t now_ns)
{
    const uint64_t spent = now_ns - a->mark_ns;
    a->mark_ns = now_ns;
    if (a->state == TG_ACCOUNT_STEP)
        share_step(a, spent);
    else
        *(a->state == TG_ACCOUNT_IDLE ? &a->idle_ns : &a->overhead_ns) += spent;
}

void tg_account_enter(tg_account *a, tg_account_state state, uint64_t now_ns)
{
    tg_account_upto(a, now_ns);
    a->state = state;
}

static uint64_t weight_of(const tg_account *a, uint32_t before, uint32_t tokens, uint32_t rows)
{
    /* keys within sight of any of them */
    const uint64_t all = (uint64_t)before + tokens, most = (uint64_t)a->window + tokens;
    const uint64_t keys = tokens == 0 ? 0 : a->window == 0 || all < most ? all : most;
    return tokens * TG_COST_TOKEN * a->work.token + rows * TG_COST_ROW * a->work.row +
           keys * TG_COST_KEY * a->work.key +
           tg_account_pairs(before, tokens, a->window) * TG_COST_PAIR * a->work.key;
}

void tg_account_begin_step(tg_account *a, const tg_account_part *parts, uint32_t parts_len,
                           uint64_t now_ns)
{
    const uint64_t step =
        parts_len ? TG_COST_STEP_TOKENS * TG_COST_TOKEN * a->work.token / parts_len : 0;
    uint64_t nobodys = 0;
    tg_account_enter(a, TG_ACCOUNT_STEP, now_ns);
    a->parts_len = parts_len;
    for (uint32_t i = 0; i < parts_len; i++) {
        const tg_account_part *p = &parts[i];
        const uint32_t anew = p->tokens - p->again, rows = p->rows < anew ? p->rows : anew;
        const uint64_t again =
            weight_of(a, p->before, p->again, p->rows - rows) + (anew == 0 ? step : 0);
        a->parts[i].tenant = p->tenant;
        a->parts[i].engine_ns = p->engine_ns;
        a->weights[i] = weight_of(a, p->before + p->again, anew, rows) + (anew > 0 ? step : 0);
        nobodys += again;
    }
    a->weights[parts_len] = nobodys;
}

/* ---- intervals ---- */

static void take_tenant(tg_account *a, tg_tenant_account *tenant, tg_engine_interval *ret)
{
    tg_tenant_account *to = &a->taken[ret->tenants_len];
    if (!has_sums(&tenant->time))
        return;
    *to = *tenant;
    to->time.tenant = to->name;
    a->taken_times[ret->tenants_len++] = to->time;
    tenant->time = (tg_tenant_time){.tenant = tenant->name, .others = tenant->time.others};
}

void tg_account_take(tg_account *a, uint64_t now_ns, tg_engine_interval *ret)
{
    tg_str name;
    void *tenant;
    tg_account_upto(a, now_ns);
    *ret = (tg_engine_interval){.begin_ns = a->taken_ns,
                                .end_ns = a->mark_ns - a->born_ns,
                                .overhead_ns = a->overhead_ns - a->taken_overhead_ns,
                                .idle_ns = a->idle_ns - a->taken_idle_ns,
                                .tenants = a->taken_times};
    for (size_t at = 0; tg_map_next(a->tenants, &at, &name, &tenant);)
        take_tenant(a, tenant, ret);
    for (size_t i = 0; i < ret->tenants_len; i++)
        if (a->taken[i].seqs == 0)
            forget(a, tg_map_get(a->tenants, tg_str_of(a->taken[i].name)));
    take_tenant(a, &a->others, ret);
    a->taken_ns = ret->end_ns;
    a->taken_overhead_ns = a->overhead_ns;
    a->taken_idle_ns = a->idle_ns;
}

void tg_share(uint64_t total, const uint64_t *weights, uint32_t len, uint64_t *ret_shares)
{
    __extension__ typedef unsigned __int128 wide;
    wide sum = 0, upto = 0;
    uint64_t given = 0;
    for (uint32_t i = 0; i < len; i++)
        sum += weights[i];
    for (uint32_t i = 0; i < len; i++) {
        upto += weights[i];
        uint64_t edge = sum ? (uint64_t)(upto * total / sum) : total;
        ret_shares[i] = edge - given;
        given = edge;
    }
}
