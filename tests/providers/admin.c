#include "tests/providers/admin.h"
#include "tests/providers/fault.h"
#include "tests/providers/limits.h"
#include "tests/providers/log.h"
#include "tests/providers/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(struct conn *conn, int status, const char *type, const struct buf *body)
{
    struct buf head = {0};
    buf_printf(&head,
               "HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n%s\r\n",
               status, http_reason(status), http_date(), type, body->len,
               conn->request.keep_alive ? "" : "connection: close\r\n");
    conn_send(conn, head.data, head.len, body->data, body->len);
    buf_free(&head);
    conn_done(conn);
}

static void complain(struct conn *conn, int status, const char *why)
{
    struct buf body = {0};
    buf_text(&body, "{\"error\":");
    buf_json_text(&body, why);
    buf_text(&body, "}\n");
    answer(conn, status, "application/json", &body);
    buf_free(&body);
}

static void post(struct conn *conn, bool limits)
{
    char why[200] = "the body is not valid JSON";
    struct buf body = {0};
    uint64_t id = 0;
    int err = -1;
    json_t *object = json_loadb(conn->request.body.data ? conn->request.body.data : "",
                                conn->request.body.len, JSON_REJECT_DUPLICATES, NULL);
    if (object)
        err =
            limits ? limits_set(object, why, sizeof why) : fault_add(object, &id, why, sizeof why);
    json_decref(object);
    if (err < 0) {
        complain(conn, 400, why);
        return;
    }
    if (limits)
        buf_text(&body, "{\"ok\":true}\n");
    else
        buf_printf(&body, "{\"id\":%llu}\n", (unsigned long long)id);
    answer(conn, 200, "application/json", &body);
    buf_free(&body);
}

static void get_log(struct conn *conn, const char *query)
{
    struct buf body = {0};
    uint64_t from = strncmp(query, "?from=", 6) == 0 ? strtoull(query + 6, NULL, 10) : 0;
    buf_text(&body, "");
    if (log_read(from, &body) < 0)
        complain(conn, 404, "there is no log");
    else
        answer(conn, 200, "application/x-ndjson", &body);
    buf_free(&body);
}

static void get(struct conn *conn, const char *path, size_t len)
{
    const struct net *net = conn->net;
    struct buf body = {0};
    if (len == 4 && strncmp(path, "/log", len) == 0) {
        get_log(conn, path + len);
        return;
    }
    if (len == 8 && strncmp(path, "/healthz", len) == 0) {
        buf_text(&body, "{\"ok\":true}");
    } else if (len == 7 && strncmp(path, "/faults", len) == 0) {
        fault_list(&body);
    } else if (len == 6 && strncmp(path, "/stats", len) == 0) {
        buf_printf(&body,
                   "{\"ok\":true,\"connections\":%u,\"connections_most\":%u,"
                   "\"connections_refused\":%llu,",
                   net->conn_count, net->conn_most, (unsigned long long)net->conn_refused);
        serve_stats(&body);
        buf_text(&body, "}");
    } else {
        complain(conn, 404, "GET /faults, /stats, /log or /healthz");
        return;
    }
    buf_text(&body, "\n");
    answer(conn, 200, "application/json", &body);
    buf_free(&body);
}

static void on_request(struct conn *conn)
{
    const char *path = request_url(&conn->request), *method = conn->request.method;
    size_t len = strcspn(path, "?");
    bool faults = len == 7 && strncmp(path, "/faults", len) == 0;
    bool limits = len == 7 && strncmp(path, "/limits", len) == 0;
    if (strcmp(method, "GET") == 0) {
        get(conn, path, len);
    } else if (strcmp(method, "POST") == 0 && (faults || limits)) {
        post(conn, limits);
    } else if (strcmp(method, "DELETE") == 0 && faults) {
        struct buf body = {0};
        buf_printf(&body, "{\"removed\":%u}\n", fault_clear());
        answer(conn, 200, "application/json", &body);
        buf_free(&body);
    } else {
        complain(conn, 404, "POST /faults or /limits, DELETE /faults, GET");
    }
}

static void on_refuse(struct conn *conn, enum parse_result why)
{
    conn->request.keep_alive = false;
    complain(conn, why == PARSE_TOO_LARGE ? 413 : 400, "not an HTTP request, or too large");
}

static void on_tick(struct conn *conn) { (void)conn; }

const struct conn_handler admin_handler = {on_request, on_refuse, on_tick, NULL, NULL, NULL};
