#include "libs/http/server_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* ---- pools ---- */

tg_http_input *tg_http_input_take(tg_http_server *server)
{
    tg_http_input *input = server->inputs;
    if (input) {
        server->inputs = input->next;
        server->input_count--;
        return input;
    }
    input = malloc(sizeof(*input));
    char *data = input ? malloc(TG_HTTP_INPUT_BYTES) : NULL;
    if (!data) {
        free(input);
        return NULL;
    }
    input->data = data;
    input->start = input->len = 0;
    input->cap = TG_HTTP_INPUT_BYTES;
    return input;
}

void tg_http_input_give(tg_http_server *server, tg_http_input *input)
{
    if (!input)
        return;
    if (!server || server->input_count == TG_HTTP_POOL_MAX || input->cap > TG_HTTP_INPUT_BYTES) {
        free(input->data);
        free(input);
        return;
    }
    input->start = input->len = 0;
    input->next = server->inputs;
    server->inputs = input;
    server->input_count++;
}

void tg_http_output_take(tg_http_server *server, tg_buf *buf)
{
    if (buf->data)
        return;
    if (server->output_count > 0)
        *buf = server->outputs[--server->output_count];
    buf->limit = SIZE_MAX / 2; /* write_buffer_max is checked where it applies */
}

void tg_http_output_give(tg_http_server *server, tg_buf *buf)
{
    if (buf->data && server && server->output_count < TG_HTTP_POOL_MAX &&
        buf->cap <= TG_HTTP_OUTPUT_KEEP_BYTES) {
        tg_buf_clear(buf);
        server->outputs[server->output_count++] = *buf;
        *buf = (tg_buf){0};
    }
    tg_buf_free(buf);
}

tg_str tg_http_server_date(tg_http_server *server)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if ((uint64_t)now.tv_sec != server->date_s) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        snprintf(server->date, sizeof(server->date), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                 days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
                 tm.tm_min, tm.tm_sec);
        server->date_s = (uint64_t)now.tv_sec;
    }
    return tg_str_of(server->date);
}

/* ---- the end of things ---- */

static void free_server(tg_http_server *server)
{
    while (server->inputs) {
        tg_http_input *input = server->inputs;
        server->inputs = input->next;
        free(input->data);
        free(input);
    }
    while (server->output_count > 0)
        tg_buf_free(&server->outputs[--server->output_count]);
    while (server->spare_count > 0)
        free(server->spare[--server->spare_count]);
    tg_tls_context_free(server->tls);
    free(server->scratch);
    free(server);
}

static void drop_handle(tg_http_server *server)
{
    if (--server->handles == 0)
        free_server(server);
}

static void tell_drained(tg_http_server *server)
{
    if (!server->draining || server->listening || server->conn_count > 0 || !server->on_drained)
        return;
    void (*done)(void *) = server->on_drained;
    server->on_drained = NULL;
    done(server->drained_user);
}

static void on_handle_closed(uv_handle_t *handle)
{
    tg_http_server *server = handle->data;
    if (handle == (uv_handle_t *)&server->listener) {
        server->listening = false;
        if (!server->closed)
            tell_drained(server);
    }
    drop_handle(server);
}

void tg_http_server_forget(tg_http_server *server)
{
    server->conn_count--;
    if (server->conn_count == 0 && !server->closed) {
        uv_timer_stop(&server->sweep);
        tell_drained(server);
    }
    drop_handle(server);
}

/* ---- deadlines ---- */

static void on_sweep(uv_timer_t *timer)
{
    tg_http_server *server = timer->data;
    uint64_t now_ms = uv_now(server->loop);
    for (tg_list *node = server->conns.next, *next; node != &server->conns; node = next) {
        next = node->next; /* closing one removes it only from a later callback */
        tg_http_conn_deadline(TG_CONTAINER_OF(node, tg_http_conn, all), now_ms);
    }
}

static uint64_t sweep_interval(const tg_http_server_conf *conf)
{
    uint64_t ms = TG_HTTP_SWEEP_MS_MAX;
    const uint32_t timeouts[] = {conf->header_timeout_ms, conf->body_timeout_ms,
                                 conf->idle_timeout_ms, conf->write_timeout_ms};
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++)
        if (timeouts[i] / 4 < ms)
            ms = timeouts[i] / 4;
    return ms < 10 ? 10 : ms;
}

/* ---- listening ---- */

static void on_connection(uv_stream_t *listener, int status)
{
    tg_http_server *server = listener->data;
    if (status < 0 || server->closed || server->draining)
        return;
    if (server->conn_count == 0)
        uv_timer_start(&server->sweep, on_sweep, server->sweep_ms, server->sweep_ms);
    tg_http_conn_accept(server);
}

static void on_prepare(uv_prepare_t *handle) { tg_http_server_flush(handle->data); }
static void on_check(uv_check_t *handle) { tg_http_server_flush(handle->data); }

static void fill_defaults(tg_http_server_conf *conf)
{
    struct {
        uint32_t *field, value;
    } defaults[] = {
        {&conf->connections_max, 4096},       {&conf->header_bytes_max, 32 << 10},
        {&conf->body_bytes_max, 8 << 20},     {&conf->header_timeout_ms, 10000},
        {&conf->body_timeout_ms, 60000},      {&conf->idle_timeout_ms, 75000},
        {&conf->write_timeout_ms, 60000},     {&conf->write_buffer_max, 4 << 20},
        {&conf->write_high_water, 256 << 10},
    };
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
        if (*defaults[i].field == 0)
            *defaults[i].field = defaults[i].value;
}

static int parse_address(const char *host, uint16_t port, struct sockaddr_storage *ret,
                         tg_error *err)
{
    if (host && uv_ip4_addr(host, port, (struct sockaddr_in *)ret) == 0)
        return 0;
    if (host && uv_ip6_addr(host, port, (struct sockaddr_in6 *)ret) == 0)
        return 0;
    return tg_error_set(err, -EINVAL, "'%s' is not a numeric address", host ? host : "");
}

static int listen_on(tg_http_server *server, const struct sockaddr_storage *address)
{
    int on = 1;
    int fd = -1;
    int rc = uv_fileno((uv_handle_t *)&server->listener, &fd);
    if (rc == 0 && server->conf.reuseport &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        rc = -errno;
    if (rc == 0)
        rc = uv_tcp_bind(&server->listener, (const struct sockaddr *)address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&server->listener, 1024, on_connection);
    if (rc < 0)
        return rc;
    struct sockaddr_storage bound = {0};
    int len = sizeof(bound);
    rc = uv_tcp_getsockname(&server->listener, (struct sockaddr *)&bound, &len);
    if (rc == 0) /* both families keep the port in the same place */
        server->port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
    return rc;
}

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_handle_closed);
}

/* Puts the server's own handles on the loop; they keep no loop alive, but the listener does. */
static int open_handles(tg_http_server *server, unsigned family)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&server->listener, (uv_handle_t *)&server->sweep,
                              (uv_handle_t *)&server->prepare, (uv_handle_t *)&server->check,
                              (uv_handle_t *)&server->pending};
    int rc = uv_tcp_init_ex(server->loop, &server->listener, family);
    if (rc < 0)
        return rc;
    uv_timer_init(server->loop, &server->sweep);
    uv_prepare_init(server->loop, &server->prepare);
    uv_check_init(server->loop, &server->check);
    uv_idle_init(server->loop, &server->pending);
    server->handles = sizeof(handles) / sizeof(handles[0]);
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++) {
        handles[i]->data = server;
        if (i > 0)
            uv_unref(handles[i]);
    }
    server->listening = true;
    uv_prepare_start(&server->prepare, on_prepare);
    uv_check_start(&server->check, on_check);
    return 0;
}

int tg_http_server_new(uv_loop_t *loop, const tg_http_server_conf *conf, tg_error *err,
                       tg_http_server **ret)
{
    struct sockaddr_storage address = {0};
    int rc = parse_address(conf->host, conf->port, &address, err);
    if (rc < 0)
        return rc;
    tg_http_server *server = calloc(1, sizeof(*server));
    if (!server || !(server->scratch = malloc(TG_HTTP_SCRATCH_BYTES))) {
        free(server);
        return -ENOMEM;
    }
    server->loop = loop;
    server->conf = *conf;
    fill_defaults(&server->conf);
    server->sweep_ms = sweep_interval(&server->conf);
    tg_list_init(&server->conns);
    tg_list_init(&server->dirty);
    if (conf->cert_file || conf->key_file || conf->client_ca_file)
        rc = tg_tls_context_new(conf->cert_file, conf->key_file, conf->client_ca_file, err,
                                &server->tls);
    if (rc == 0)
        rc = open_handles(server, address.ss_family);
    if (rc < 0) {
        free_server(server);
        return rc;
    }
    rc = listen_on(server, &address);
    if (rc < 0) {
        tg_error_set(err, rc, "cannot listen on %s:%u: %s", conf->host, conf->port,
                     uv_strerror(rc));
        tg_http_server_close(server);
        return rc;
    }
    *ret = server;
    return 0;
}

uint16_t tg_http_server_port(const tg_http_server *server) { return server->port; }

uint32_t tg_http_server_connections(const tg_http_server *server) { return server->conn_count; }

void tg_http_server_drain(tg_http_server *server, void (*done)(void *user), void *user)
{
    server->draining = true;
    server->on_drained = done;
    server->drained_user = user;
    TG_LIST_EACH(node, &server->conns)
    {
        tg_http_conn *conn = TG_CONTAINER_OF(node, tg_http_conn, all);
        if (conn->phase != TG_HTTP_IDLE || tg_http_conn_has_more(conn))
            continue;
        if (!conn->writing && conn->out.len == 0)
            tg_http_conn_close(conn);
        else
            conn->ending = true;
    }
    close_handle(&server->listener);
}

void tg_http_server_close(tg_http_server *server)
{
    if (!server || server->closed)
        return;
    server->closed = true;
    server->on_drained = NULL;
    for (tg_list *node = server->conns.next, *next; node != &server->conns; node = next) {
        next = node->next;
        tg_http_conn_fail(TG_CONTAINER_OF(node, tg_http_conn, all));
    }
    close_handle(&server->listener);
    close_handle(&server->sweep);
    close_handle(&server->prepare);
    close_handle(&server->check);
    close_handle(&server->pending);
}
