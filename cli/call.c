#include "cli/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct call {
    tg_rpc_loop *loop;
    tg_rpc_client *client;
    bool (*use)(void *user, const ProtobufCMessage *reply);
    void *user;
    const char *program, *address;
    bool stopped;
    int status;
} call;

static void on_message(void *user, const ProtobufCMessage *message)
{
    call *c = user;
    if (!c->stopped && !c->use(c->user, message)) {
        c->stopped = true;
        tg_rpc_client_cancel(c->client);
    }
}

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
{
    call *c = user;
    (void)trailing, (void)count;
    if (code != TG_RPC_OK && !c->stopped) {
        fprintf(stderr, "tollgate %s: %s: %s (%s)\n", c->program, c->address, message,
                tg_rpc_code_name(code));
        c->status = 1;
    }
    tg_rpc_loop_stop(c->loop);
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

int tg_cli_timeout(const char *program, const char *seconds, uint32_t *ret_ms)
{
    uint64_t value;
    if (tg_str_u64(tg_str_of(seconds), &value) < 0 || value < 1 || value > TG_CLI_TIMEOUT_S_MAX) {
        fprintf(stderr, "tollgate %s: --timeout is '%s'; whole seconds from 1 to %d are allowed\n",
                program, seconds, TG_CLI_TIMEOUT_S_MAX);
        return -EINVAL;
    }
    *ret_ms = (uint32_t)value * 1000;
    return 0;
}

int tg_cli_call(const char *program, const char *address, const char *method,
                const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                uint32_t timeout_ms, bool (*use)(void *user, const ProtobufCMessage *reply),
                void *user)
{
    call c = {.use = use, .user = user, .program = program, .address = address};
    tg_rpc_channel *channel = NULL;
    tg_error err = {""};
    tg_rpc_tls tls = {.ca_file = setting("TOLLGATE_TLS_CA"),
                      .cert_file = setting("TOLLGATE_TLS_CERT"),
                      .key_file = setting("TOLLGATE_TLS_KEY")};
    tg_rpc_init();
    int rc = tg_rpc_loop_new(TG_RPC_LOOP_DEFAULT, &err, &c.loop);
    if (rc == 0)
        rc = tg_rpc_channel_new(c.loop, address, &tls, 0, &err, &channel);
    if (rc == 0) {
        tg_rpc_start start = {
            .method = method,
            .request = request,
            .response = response,
            .deadline_ms = timeout_ms,
            .on_message = on_message,
            .on_done = on_done,
            .user = &c,
        };
        rc = tg_rpc_client_start(channel, &start, &c.client);
    }
    if (rc == 0) {
        tg_rpc_loop_run(c.loop);
    } else {
        fprintf(stderr, "tollgate %s: %s: %s\n", program, address, err.text);
        c.status = 1;
    }
    tg_rpc_channel_free(channel);
    if (c.loop)
        tg_rpc_loop_free(c.loop);
    tg_rpc_shutdown();
    return c.status;
}
