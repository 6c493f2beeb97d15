#include "libs/http/client_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- curl runs ---- */

static void finish_close(tg_http_client *client);

/* Gives the END of an exchange that curl is done with, or that it never took. */
static void end_exchange(tg_upstream *u, tg_upstream_failure failure, const char *reason)
{
    tg_http_client *client = u->client;
    tg_upstream_event event = {.type = TG_UPSTREAM_END, .failure = failure, .reason = reason};
    if (!u->cancelled) {
        u->cancelled = true; /* a cancel from inside the callback finds nothing left to do */
        client->depth++;     /* and a close waits */
        u->on_event(u->user, &event);
        client->depth--;
    }
    tg_http_upstream_recycle(client, u);
}

static tg_upstream_failure failure_of(const tg_upstream *u, CURLcode result)
{
    switch (result) {
    case CURLE_OK:
        return u->head_done ? TG_UPSTREAM_OK : TG_UPSTREAM_RESET;
    case CURLE_OPERATION_TIMEDOUT:
        return TG_UPSTREAM_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_URL_MALFORMAT:
        return TG_UPSTREAM_CONNECT;
    default:
        return TG_UPSTREAM_RESET;
    }
}

static void collect(tg_http_client *client)
{
    int left = 0;
    CURLMsg *message;
    while (!client->closed && (message = curl_multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        tg_upstream *u = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&u);
        curl_multi_remove_handle(client->multi, u->easy);
        u->added = false;
        const char *reason = u->head_too_large ? "the head of the answer is too large"
                             : u->resent       ? "the connection was closed before it answered"
                             : u->error[0]     ? u->error
                                               : curl_easy_strerror(result);
        tg_upstream_failure failure = failure_of(u, result);
        end_exchange(u, failure, failure == TG_UPSTREAM_OK ? NULL : reason);
    }
}

/* A close that was asked for while curl was on the stack. */
static void settle(tg_http_client *client)
{
    if (client->closed && client->depth == 0)
        finish_close(client);
}

static void run_curl(tg_http_client *client, curl_socket_t fd, int flags)
{
    int running = 0;
    client->depth++;
    curl_multi_socket_action(client->multi, fd, flags, &running);
    client->depth--;
    collect(client);
    settle(client);
}

/* ---- the end of the turn ---- */

static void on_pending(uv_idle_t *handle) { (void)handle; }

static void wake(tg_http_client *client) { uv_idle_start(&client->pending, on_pending); }

static void put_off(tg_upstream *u)
{
    if (tg_list_empty(&u->todo))
        tg_list_add_tail(&u->client->todo, &u->todo);
    wake(u->client);
}

static void do_put_off(tg_http_client *client, tg_upstream *u)
{
    if (u->cancelled) {
        if (u->added)
            curl_multi_remove_handle(client->multi, u->easy);
        tg_http_upstream_recycle(client, u);
    } else if (!u->added) {
        CURLMcode rc = curl_multi_add_handle(client->multi, u->easy);
        u->added = rc == CURLM_OK;
        if (!u->added)
            end_exchange(u, TG_UPSTREAM_CONNECT, curl_multi_strerror(rc));
    } else if (u->stalled && !u->paused) {
        u->stalled = false;
        client->depth++;
        curl_easy_pause(u->easy, CURLPAUSE_CONT); /* hands over what it held back */
        client->depth--;
        collect(client);
    }
}

/* Work put off out of start, pause and cancel, and what curl wants to do at once. Rounds are
 * bounded so that curl cannot keep the loop from its other work; the idle handle brings us back. */
static void run_pending(tg_http_client *client)
{
    for (int round = 0; round < TG_HTTP_CLIENT_ROUNDS; round++) {
        while (!client->closed && !tg_list_empty(&client->todo)) {
            tg_upstream *u = TG_CONTAINER_OF(client->todo.next, tg_upstream, todo);
            tg_list_remove(&u->todo);
            do_put_off(client, u);
        }
        if (client->closed) {
            settle(client);
            return;
        }
        if (!client->kick) {
            uv_idle_stop(&client->pending);
            return;
        }
        client->kick = false;
        run_curl(client, CURL_SOCKET_TIMEOUT, 0);
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    tg_http_client *client = handle->data;
    if (client->kick || !tg_list_empty(&client->todo))
        run_pending(client);
}

static void on_check(uv_check_t *handle)
{
    tg_http_client *client = handle->data;
    if (client->kick || !tg_list_empty(&client->todo))
        run_pending(client);
}

/* ---- curl's timer ---- */

static void on_timer(uv_timer_t *timer)
{
    tg_http_client *client = timer->data;
    uint64_t now_ms = uv_now(client->loop);
    client->timer_due_ms = UINT64_MAX;
    if (client->wanted_ms > now_ms) {
        if (client->wanted_ms != UINT64_MAX) {
            client->timer_due_ms = client->wanted_ms;
            uv_timer_start(timer, on_timer, client->wanted_ms - now_ms, 0);
        }
        return;
    }
    client->wanted_ms = UINT64_MAX;
    run_curl(client, CURL_SOCKET_TIMEOUT, 0);
}

/* Curl moves its timer several times a request, mostly further away. Only a nearer one restarts
 * libuv's; one that fires early finds `wanted_ms` still to come. */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *user)
{
    tg_http_client *client = user;
    (void)multi;
    client->wanted_ms = UINT64_MAX;
    client->kick = timeout_ms == 0;
    if (timeout_ms == 0 && !client->closed)
        wake(client);
    if (timeout_ms <= 0 || client->closed)
        return 0;
    client->wanted_ms = uv_now(client->loop) + (uint64_t)timeout_ms;
    if (client->wanted_ms < client->timer_due_ms) {
        client->timer_due_ms = client->wanted_ms;
        uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

/* ---- sockets ---- */

static void on_watch_closed(uv_handle_t *handle)
{
    tg_http_watch *watch = handle->data;
    tg_http_client *client = watch->client;
    free(watch);
    tg_http_client_drop_handle(client);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    tg_http_watch *watch = poll->data;
    if (watch->idle) {
        /* A kept connection that becomes readable was closed by the peer: curl finds out when it
         * wants to use it. */
        uv_poll_stop(poll);
        watch->events = 0;
        return;
    }
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    run_curl(watch->client, watch->fd, flags);
}

static tg_http_watch *watch_of(tg_http_client *client, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < client->watch_cap ? client->watches[fd] : NULL;
}

static tg_http_watch *watch_new(tg_http_client *client, curl_socket_t fd)
{
    if ((size_t)fd >= client->watch_cap) {
        size_t cap = ((size_t)fd + 64) & ~(size_t)63;
        tg_http_watch **more = realloc(client->watches, cap * sizeof(tg_http_watch *));
        if (!more)
            return NULL;
        memset(more + client->watch_cap, 0, (cap - client->watch_cap) * sizeof(tg_http_watch *));
        client->watches = more;
        client->watch_cap = cap;
    }
    tg_http_watch *watch = calloc(1, sizeof(*watch));
    if (!watch || uv_poll_init(client->loop, &watch->poll, fd) < 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->client = client;
    watch->fd = fd;
    client->watches[fd] = watch;
    client->handles++;
    return watch;
}

/* Between two requests on a kept connection curl says REMOVE and then IN again. The watch stays as
 * it is, which spares the kernel both calls. An idle connection does not keep the loop alive. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *assigned)
{
    tg_http_client *client = user;
    tg_http_watch *watch = watch_of(client, fd);
    (void)easy;
    (void)assigned;
    if (what == CURL_POLL_REMOVE) {
        if (watch && !watch->idle) {
            watch->idle = true;
            uv_unref((uv_handle_t *)&watch->poll);
        }
        return 0;
    }
    if (!watch)
        watch = watch_new(client, fd);
    if (!watch)
        return -1;
    if (watch->idle) {
        watch->idle = false;
        uv_ref((uv_handle_t *)&watch->poll);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    if (events == watch->events)
        return 0;
    watch->events = events;
    return uv_poll_start(&watch->poll, events, on_poll) < 0 ? -1 : 0;
}

int tg_http_client_close_socket(void *user, curl_socket_t fd)
{
    tg_http_client *client = user;
    tg_http_watch *watch = watch_of(client, fd);
    if (watch) {
        client->watches[fd] = NULL;
        uv_poll_stop(&watch->poll);
        uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
    }
    return close(fd);
}

/* ---- the transport ---- */

static int start(tg_transport *self, const tg_upstream_request *request,
                 tg_upstream_on_event *on_event, void *user, tg_upstream **ret)
{
    tg_http_client *client = TG_CONTAINER_OF(self, tg_http_client, transport);
    tg_upstream *u = NULL;
    if (client->closed || client->in_flight >= client->conf.in_flight_max)
        return -EAGAIN;
    int rc = tg_http_upstream_take(client, &u);
    if (rc < 0)
        return rc;
    rc = tg_http_upstream_prepare(u, request);
    if (rc < 0) {
        tg_http_upstream_recycle(client, u);
        return rc;
    }
    u->on_event = on_event;
    u->user = user;
    put_off(u);
    *ret = u;
    return 0;
}

static void pause_upstream(tg_upstream *u, bool paused)
{
    u->paused = paused;
    if (!paused && u->stalled && !u->cancelled)
        put_off(u);
}

static void cancel(tg_upstream *u)
{
    tg_http_client *client = u->client;
    if (u->cancelled)
        return;
    u->cancelled = true;
    if (client->depth > 0) {
        put_off(u);
        return;
    }
    tg_list_remove(&u->todo);
    do_put_off(client, u);
}

/* ---- the client ---- */

int tg_http_client_new(uv_loop_t *loop, const tg_http_client_conf *conf, tg_error *err,
                       tg_http_client **ret)
{
    tg_http_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->transport = (tg_transport){.start = start, .pause = pause_upstream, .cancel = cancel};
    client->loop = loop;
    client->conf = *conf;
    if (client->conf.in_flight_max == 0)
        client->conf.in_flight_max = 4096;
    if (client->conf.connections_per_host == 0)
        client->conf.connections_per_host = 256;
    if (client->conf.pool_max == 0)
        client->conf.pool_max = 256;
    client->wanted_ms = client->timer_due_ms = UINT64_MAX;
    tg_list_init(&client->all);
    tg_list_init(&client->todo);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(client->multi = curl_multi_init())) {
        free(client);
        return tg_error_set(err, -ENOMEM, "the HTTP client cannot be set up");
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)client->conf.pool_max);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                      (long)client->conf.connections_per_host);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    uv_timer_init(loop, &client->timer);
    uv_prepare_init(loop, &client->prepare);
    uv_check_init(loop, &client->check);
    uv_idle_init(loop, &client->pending);
    client->handles = 4;
    uv_prepare_start(&client->prepare, on_prepare);
    uv_check_start(&client->check, on_check);
    client->timer.data = client->prepare.data = client->check.data = client->pending.data = client;
    uv_unref((uv_handle_t *)&client->prepare);
    uv_unref((uv_handle_t *)&client->check);
    uv_unref((uv_handle_t *)&client->timer);
    *ret = client;
    return 0;
}

tg_transport *tg_http_client_transport(tg_http_client *client) { return &client->transport; }

void tg_http_client_drop_handle(tg_http_client *client)
{
    if (--client->handles == 0) {
        free(client->watches);
        free(client);
    }
}

static void on_handle_closed(uv_handle_t *handle) { tg_http_client_drop_handle(handle->data); }

static void finish_close(tg_http_client *client)
{
    if (!client->multi)
        return; /* done */
    while (!tg_list_empty(&client->all))
        tg_http_upstream_free(TG_CONTAINER_OF(client->all.next, tg_upstream, all));
    while (client->spare_count > 0)
        tg_http_upstream_free(client->spare[--client->spare_count]);
    curl_multi_cleanup(client->multi);
    client->multi = NULL;
    uv_close((uv_handle_t *)&client->timer, on_handle_closed);
    uv_close((uv_handle_t *)&client->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&client->check, on_handle_closed);
    uv_close((uv_handle_t *)&client->pending, on_handle_closed);
    curl_global_cleanup();
}

void tg_http_client_close(tg_http_client *client)
{
    if (!client || client->closed)
        return;
    client->closed = true;
    if (client->depth == 0)
        finish_close(client); /* else as soon as curl is off the stack */
}
