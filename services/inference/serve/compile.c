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

static void on_compiled(uv_work_t *work, int status)
{
    tg_compiler *compiler = work->data;
    tg_compile *c = compiler->running;
    (void)status; /* never cancelled */
    compiler->running = NULL;
    c->done(c);
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
        if (!c->wanted(c)) {
            c->rc = -ECANCELED;
            c->done(c);
            continue;
        }
        tg_str_copy(compiler->last_tenant, sizeof compiler->last_tenant, c->tenant);
        compiler->running = c;
        compiler->work.data = compiler;
        int rc = uv_queue_work(compiler->loop, &compiler->work, run, on_compiled);
        if (rc < 0) { /* it was not taken */
            compiler->running = NULL;
            c->rc = rc;
            c->done(c);
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

int tg_compiler_add(tg_compiler *compiler, tg_compile *compile, tg_error *err)
{
    if (compiler->waiting_len >= TG_INFERENCE_COMPILES_MAX)
        return tg_error_set(err, -EAGAIN, "%d constraints wait to be compiled", TG_INFERENCE_COMPILES_MAX);
    if (waiting_of(compiler, compile->tenant) >= TG_INFERENCE_TENANT_COMPILES_MAX)
        return tg_error_set(err, -EAGAIN, "%d constraints of this tenant wait to be compiled", TG_INFERENCE_TENANT_COMPILES_MAX);
    tg_list_add_tail(&compiler->waiting, &compile->node);
    compiler->waiting_len++;
    next(compiler);
    return 0;
}
