#include "services/router/live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_BYTES_MAX = 1 << 20, SECRET_BYTES_MAX = 4096 };

static int read_file(const char *path, size_t max, tg_buf *out, tg_error *err)
{
    FILE *file = fopen(path, "re");
    int rc = 0;
    if (!file)
        return tg_error_set(err, -errno, "%s: %s", path, strerror(errno));
    tg_buf_init(out, max);
    while (rc == 0) {
        char chunk[4096];
        size_t got = fread(chunk, 1, sizeof chunk, file);
        if (got == 0)
            break;
        rc = tg_buf_add(out, chunk, got);
    }
    if (rc == 0 && ferror(file))
        rc = -EIO;
    fclose(file);
    if (rc < 0) {
        tg_buf_free(out);
        tg_error_set(err, rc, "%s: %s (at most %zu bytes)", path, strerror(-rc), max);
    }
    return rc;
}

/* A secret from an environment variable or a file; "" when neither is named or set: a target
 * without its secret fails when used, with a message, and does not keep the others from
 * starting. */
static const char *secret(tg_arena *arena, const char *env, const char *path)
{
    const char *value = env ? getenv(env) : NULL;
    char *copy = NULL;
    if (value) {
        copy = tg_arena_strdup(arena, tg_str_trim(tg_str_of(value)));
    } else if (path) {
        tg_buf text;
        if (read_file(path, SECRET_BYTES_MAX, &text, NULL) == 0) {
            copy = tg_arena_strdup(arena, tg_str_trim(tg_buf_str(&text)));
            tg_buf_free(&text);
        }
    }
    return copy ? copy : "";
}

static int load_credentials(tg_live *live)
{
    size_t count = tg_targets_count(live->targets);
    live->credentials = tg_arena_zalloc(&live->arena, count, sizeof *live->credentials);
    for (size_t i = 0; live->credentials && i < count; i++) {
        const tg_target *target = tg_targets_at(live->targets, i);
        tg_credential *row = tg_arena_zalloc(&live->arena, target->endpoint_count, sizeof *row);
        if (!row)
            return -ENOMEM;
        for (size_t j = 0; j < target->endpoint_count; j++) {
            const tg_endpoint *e = &target->endpoints[j];
            row[j] = (tg_credential){
                .api_key = secret(&live->arena, e->credential_env, e->credential_file),
                .access_key = secret(&live->arena, e->access_key_env, NULL),
                .secret_key = secret(&live->arena, e->secret_key_env, NULL),
                .session_token = secret(&live->arena, e->session_token_env, NULL),
            };
        }
        live->credentials[i] = row;
    }
    return live->credentials ? 0 : -ENOMEM;
}

int tg_live_load(const tg_router_settings *settings, tg_error *err, tg_live **ret)
{
    tg_buf policy = {0};
    tg_live *live = calloc(1, sizeof *live);
    if (!live)
        return -ENOMEM;
    live->references = 1;
    tg_arena_init(&live->arena, 0);
    int rc = tg_targets_load(settings->targets_file, err, &live->targets);
    if (rc == 0)
        rc = tg_prices_load(settings->prices_file, err, &live->prices);
    if (rc == 0)
        rc = tg_tenants_load(settings->tenants_file, err, &live->tenants);
    if (rc == 0)
        rc = tg_keys_load(settings->keys_file, live->tenants, err, &live->keys);
    if (rc == 0)
        rc = read_file(settings->policy_file, POLICY_BYTES_MAX, &policy, err);
    if (rc == 0)
        rc = tg_policy_parse(settings->policy_file, tg_buf_str(&policy), live->targets, err,
                             &live->policy);
    if (rc == 0)
        rc = load_credentials(live);
    tg_buf_free(&policy);
    if (rc < 0) {
        tg_live_unref(live);
        return rc;
    }
    live->snapshot = (tg_snapshot){
        .policy = live->policy,
        .targets = live->targets,
        .prices = live->prices,
        .aliases = settings->model_aliases,
        .alias_count = settings->model_alias_count,
        .attempts_max = settings->attempts_max,
    };
    *ret = live;
    return 0;
}

tg_live *tg_live_ref(tg_live *live)
{
    live->references++;
    return live;
}

tg_live *tg_live_unref(tg_live *live)
{
    if (live && --live->references == 0) {
        tg_policy_free(live->policy);
        tg_keys_free(live->keys);
        tg_tenants_free(live->tenants);
        tg_price_book_free(live->prices);
        tg_targets_free(live->targets);
        tg_arena_free(&live->arena);
        free(live);
    }
    return NULL;
}
