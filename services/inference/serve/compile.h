/* Compiles the constraints of requests away from the loop's thread, where half a second would hold
 * up every stream.
 *
 * One at a time; tenants take turns, so that one's expensive schemas delay another's by one of them
 * at most. What a tenant wants several times is compiled once, and waits as one: a fleet that
 * starts with the same tools is not turned away. Threads: the loop's; compiling itself runs on
 * one of libuv's pool. */
#ifndef TG_INFERENCE_COMPILE_H
#define TG_INFERENCE_COMPILE_H

#include "libs/base/list.h"
#include "services/inference/engine/engine.h"

#include <uv.h>

/* different constraints that wait to be compiled; others are told to come back */
#define TG_INFERENCE_COMPILES_MAX 64
#define TG_INFERENCE_TENANT_COMPILES_MAX 8 /* of one tenant; likewise */
/* requests of one tenant that wait for the same one; likewise */
#define TG_INFERENCE_COMPILE_SHARERS_MAX 1024

typedef struct tg_compile { /* one request's; the caller's, untouched by it until `done` */
    tg_list node; /* of those that wait, or of another's `same` */
    tg_list same; /* the tenant's others that want the same */
    size_t same_len;
    tg_str tenant;
    const tg_constraint_spec *spec; /* lives until `done` */
    /* when its turn comes: somebody still waits for it */
    bool (*wanted)(const struct tg_compile *compile);
    void (*done)(struct tg_compile *compile);         /* both on the loop */
    int rc; /* then: as tg_engine_compile, or -ECANCELED if it was not wanted any more, */
    tg_error err;              /* its message, */
    tg_constraint *constraint; /* or what it compiled, the caller's to release */
} tg_compile;

typedef struct tg_compiler {
    uv_loop_t *loop;
    tg_engine *engine;
    tg_list waiting;
    size_t waiting_len;
    tg_compile *running; /* NULL: none */
    char last_tenant[256]; /* whose turn it was */
    uv_work_t work;
} tg_compiler;

void tg_compiler_init(tg_compiler *compiler, uv_loop_t *loop, tg_engine *engine);

/* 0, and `done` will be called later; -EAGAIN, with a message, where too many wait. */
int tg_compiler_add(tg_compiler *compiler, tg_compile *compile, tg_error *err);

#endif
