#include "services/inference/serve/compile.h"

#include <errno.h>

static void next(tg_compiler *compiler);

void tg_compiler_init(tg_compiler *compiler, uv_loop_t *loop, tg_engine *engine)
{
    *compiler = (tg_compiler){.loop = loop, .engine = engine};
    tg_list_init(&compiler->waiting);
}

static void run(uv_work_t *work) /* a thread of the pool */
{
    tg_compiler *compiler = work->data;
    tg_compile *c = compiler->running;
    c->rc = tg_engine_compile(compiler->engine, c->spec, &c->err, &c->constraint);
}

/* Everybody who wanted it is told, last `c`, which has the list. */
static void finish(tg_compile *c)
{
    while (!tg_list_empty(&c->same)) {
        tg_compile *other = TG_CONTAINER_OF(c->same.next, tg_compile, node);
        tg_list_remove(&other->node);
        other->rc = c->rc;
        other->err = c->err;
        other->constraint = c->constraint ? tg_constraint_retain(c->constraint) : NULL;
        other->done(other);
    }
    c->done(c);
}

static bool is_wanted(const tg_compile *c)
{
    bool wanted = c->wanted(c);
    TG_LIST_EACH(node, &c->same)
    wanted |=
        TG_CONTAINER_OF(node, tg_compile, node)->wanted(TG_CONTAINER_OF(node, tg_compile, node));
    return wanted;
}

static void on_compiled(uv_work_t *work, int status)
{
    tg_compiler *compiler = work->data;
    tg_compile *c = compiler->running;
    (void)status; /* never cancelled */
    compiler->running = NULL;
    finish(c);
    next(compiler);
}

/* The first of another tenant than the last, if there is one. */
static tg_compile *choose(const tg_compiler *compiler)
{
    const tg_str last = tg_str_of(compiler->last_tenant);
    for (tg_list *node = compiler->waiting.next; node != &compiler->waiting; node = node->next) {
        tg_compile *c = TG_CONTAINER_OF(node, tg_compile, node);
        if (!tg_str_eq(c->tenant, last))
            return c;
    }
    return TG_CONTAINER_OF(compiler->waiting.next, tg_compile, node);
}

static void next(tg_compiler *compiler)
{
    while (!compiler->running && !tg_list_empty(&compiler->waiting)) {
        tg_compile *c = choose(compiler);
        tg_list_remove(&c->node);
        compiler->waiting_len--;
        if (!is_wanted(c)) {
            c->rc = -ECANCELED;
            finish(c);
            continue;
        }
        tg_str_copy(compiler->last_tenant, sizeof compiler->last_tenant, c->tenant);
        compiler->running = c;
        compiler->work.data = compiler;
        int rc = uv_queue_work(compiler->loop, &compiler->work, run, on_compiled);
        if (rc < 0) { /* it was not taken */
            compiler->running = NULL;
            c->rc = rc;
            finish(c);
        }
    }
}

static size_t waiting_of(const tg_compiler *compiler, tg_str tenant)
{
    size_t count = 0;
    for (tg_list *node = compiler->waiting.next; node != &compiler->waiting; node = node->next)
        count += tg_str_eq(TG_CONTAINER_OF(node, tg_compile, node)->tenant, tenant);
    return count;
}

static bool is_same(const tg_compile *a, const tg_compile *b)
{
    return tg_str_eq(a->tenant, b->tenant) && tg_constraint_spec_eq(a->spec, b->spec);
}

/* Who waits, or is under way, for the same. */
static tg_compile *find(const tg_compiler *compiler, const tg_compile *compile)
{
    if (compiler->running && is_same(compiler->running, compile))
        return compiler->running;
    TG_LIST_EACH(node, &compiler->waiting)
        if (is_same(TG_CONTAINER_OF(node, tg_compile, node), compile))
            return TG_CONTAINER_OF(node, tg_compile, node);
    return NULL;
}

int tg_compiler_add(tg_compiler *compiler, tg_compile *compile, tg_error *err)
{
    tg_compile *same = find(compiler, compile);
    tg_list_init(&compile->same);
    if (same && same->same_len >= TG_INFERENCE_COMPILE_SHARERS_MAX)
        return tg_error_set(err, -EAGAIN, "%d requests of this tenant wait for the same constraint",
                            TG_INFERENCE_COMPILE_SHARERS_MAX);
    if (same) {
        tg_list_add_tail(&same->same, &compile->node);
        same->same_len++;
        return 0;
    }
    if (compiler->waiting_len >= TG_INFERENCE_COMPILES_MAX)
        return tg_error_set(err, -EAGAIN, "%d constraints wait to be compiled",
                            TG_INFERENCE_COMPILES_MAX);
    if (waiting_of(compiler, compile->tenant) >= TG_INFERENCE_TENANT_COMPILES_MAX)
        return tg_error_set(err, -EAGAIN, "%d constraints of this tenant wait to be compiled",
                            TG_INFERENCE_TENANT_COMPILES_MAX);
    tg_list_add_tail(&compiler->waiting, &compile->node);
    compiler->waiting_len++;
    next(compiler);
    return 0;
}
