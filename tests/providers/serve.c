#include "tests/providers/serve.h"
#include "tests/providers/limits.h"
#include "tests/providers/log.h"
#include "tests/providers/models.h"
#include "tests/providers/told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum operation { CHAT, COUNT_TOKENS, MODELS, UNKNOWN };

struct exchange {
    struct conn *conn;
    enum dialect dialect;
    struct told *told;
    struct fault fault;
    struct chat chat;
    struct record record;
    struct buf head; /* sent with the first event */
    size_t cursor;   /* the next event */
    bool waited;     /* the cursor's delay is over */
    bool stalled, admitted, ended;
    uint64_t started_ns;
    uint32_t generated;
};

static struct {
    uint64_t served, failed, aborted, input_tokens, output_tokens;
    int64_t in_flight;
} tally[DIALECTS];

static uint64_t sequence, id_state, draw_state;

void serve_init(uint64_t seed)
{
    id_state = uv_hrtime() ^ ((uint64_t)getpid() << 40) ^ (uint64_t)time(NULL);
    draw_state = seed;
}

void serve_stats(struct buf *out)
{
    for (int d = 0; d < DIALECTS; d++)
        buf_printf(out,
                   "%s\"%s\":{\"served\":%llu,\"failed\":%llu,\"aborted\":%llu,\"in_flight\":%lld,"
                   "\"input_tokens\":%llu,\"output_tokens\":%llu}",
                   d ? "," : "", dialect_faces[d]->name, (unsigned long long)tally[d].served,
                   (unsigned long long)tally[d].failed, (unsigned long long)tally[d].aborted,
                   (long long)tally[d].in_flight, (unsigned long long)tally[d].input_tokens,
                   (unsigned long long)tally[d].output_tokens);
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {413, "Payload Too Large"},
                   {429, "Too Many Requests"},
                   {500, "Internal Server Error"},
                   {503, "Service Unavailable"},
                   {529, "Site is overloaded"}};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

const char *http_date(void)
{
    static char date[40];
    static time_t of;
    time_t now = time(NULL);
    if (now != of) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        of = now;
    }
    return date;
}

/* ---- the end of an exchange ---- */

static void end(struct exchange *x, const char *how)
{
    struct record *r = &x->record;
    if (x->ended)
        return;
    x->ended = true;
    r->end = how;
    r->duration_us = (uv_hrtime() - x->started_ns) / 1000;
    if (r->status == 200 && x->told) {
        r->truth = x->told->truth;
        if (x->generated < x->told->tokens) { /* what was not generated costs nothing */
            r->truth.output = x->generated;
            r->truth.reasoning = 0;
        }
        r->told = x->told->reported;
        r->told_usage = x->told->reports && strcmp(how, "finished") == 0;
    }
    if (x->admitted)
        limits_settle(x->dialect, r->key, r->model, x->chat.max_tokens < 0 ? 0 : x->chat.max_tokens,
                      r->truth.output, uv_now(x->conn->net->loop));
    tally[x->dialect].in_flight--;
    if (r->status != 200)
        tally[x->dialect].failed++;
    else if (strcmp(how, "finished") == 0)
        tally[x->dialect].served++;
    else
        tally[x->dialect].aborted++;
    tally[x->dialect].input_tokens += (uint64_t)r->truth.input;
    tally[x->dialect].output_tokens += (uint64_t)r->truth.output;
    log_write(r);
}

/* ---- playing an answer out ---- */

/* Where the next write ends. A plain answer that stalls sends nothing at all. */
static size_t batch_end(const struct exchange *x)
{
    const struct reply *r = &x->told->reply;
    size_t most = x->told->fault.write_all ? r->count : x->cursor + 1;
    size_t at = x->cursor;
    int64_t stall = x->told->fault.stall_after;
    while (at < most && (stall < 0 || r->events[at].tokens <= stall))
        at++;
    return at;
}

static uint64_t delay_before(const struct exchange *x, size_t batch)
{
    const struct reply *r = &x->told->reply;
    const struct fault *fault = &x->fault;
    uint64_t delay = x->cursor == 0 ? (uint64_t)fault->slow_headers_ms : 0;
    uint32_t before = x->cursor ? r->events[x->cursor - 1].tokens : 0;
    uint32_t after = batch > x->cursor ? r->events[batch - 1].tokens : before;
    if (before == 0 && (after > 0 || r->count == 1)) {
        delay += (uint64_t)fault->slow_first_ms;
        before = after ? 1 : 0;
    }
    delay += (uint64_t)(after - before) * (uint64_t)fault->slow_token_ms;
    return delay > FAULT_DELAY_MS_MAX ? FAULT_DELAY_MS_MAX : delay;
}

/* Sends events [cursor, batch). True if the connection was cut in them. */
static bool send_batch(struct exchange *x, size_t batch)
{
    const struct reply *r = &x->told->reply;
    size_t from = x->cursor ? r->events[x->cursor - 1].framed_end : 0;
    size_t to = from;
    uint64_t cut = (uint64_t)x->fault.cut_at_byte; /* -1, none, is more than any size */
    bool cut_here = false;
    for (; x->cursor < batch && !cut_here; x->cursor++) {
        const struct event *event = &r->events[x->cursor];
        uint64_t room = cut - x->record.bytes_sent;
        cut_here = cut < r->payload_bytes && event->payload_len >= room;
        x->generated = event->tokens;
        to = cut_here ? event->payload_start + (size_t)room : event->framed_end;
        x->record.bytes_sent += cut_here ? room : event->payload_len;
        if (!cut_here || event->payload_len == room)
            x->record.tokens_sent = event->tokens;
    }
    if (cut_here)
        end(x, "cut");
    else if (x->cursor == r->count)
        end(x, r->broken ? "error" : "finished");
    conn_send(x->conn, x->head.data, x->head.len, r->framed.data + from, to - from);
    buf_clear(&x->head);
    return cut_here;
}

static void step(struct exchange *x)
{
    struct conn *conn = x->conn;
    while (!conn->closing) {
        size_t batch = batch_end(x);
        if (!x->waited) {
            uint64_t delay = delay_before(x, batch);
            x->waited = true;
            if (delay > 0) {
                conn_wait(conn, delay);
                return;
            }
        }
        if (batch == x->cursor) {
            x->stalled = true;
            conn_wait(conn, FAULT_DELAY_MS_MAX);
            return;
        }
        if (conn_congested(conn))
            return;
        bool cut = send_batch(x, batch);
        x->waited = false;
        if (x->ended && !conn->closing) {
            x->told = told_free(x->told);
            if (cut)
                conn_drop(conn);
            else
                conn_done(conn);
            return;
        }
    }
}

static void on_tick(struct conn *conn)
{
    struct exchange *x = conn->user;
    if (!x->stalled) {
        step(x);
        return;
    }
    end(x, "stalled");
    conn_drop(conn);
}

static void on_drained(struct conn *conn)
{
    struct exchange *x = conn->user;
    if (!x->stalled && !uv_is_active((uv_handle_t *)&conn->timer))
        step(x);
}

static void on_gone(struct conn *conn)
{
    struct exchange *x = conn->user;
    end(x, conn->net->stopping ? "shutdown" : x->stalled ? "stalled" : "client_gone");
}

static void on_free(void *user)
{
    struct exchange *x = user;
    if (!x)
        return;
    told_free(x->told);
    buf_free(&x->head);
    free(x);
}

/* ---- taking a request ---- */

static enum operation route(const struct request *request, enum dialect *ret)
{
    const char *url = request_url(request);
    size_t len = strcspn(url, "?");
    bool post = strcmp(request->method, "POST") == 0;
    *ret = OPENAI;
    if (strncmp(url, "/model/", 7) == 0) {
        *ret = BEDROCK;
        return post ? CHAT : UNKNOWN;
    }
    if (strncmp(url, "/v1/messages", 12) == 0) {
        *ret = ANTHROPIC;
        if (post && len == 12)
            return CHAT;
        return post && len == 25 && strncmp(url + 12, "/count_tokens", 13) == 0 ? COUNT_TOKENS
                                                                                : UNKNOWN;
    }
    if (post && len == 20 && strncmp(url, "/v1/chat/completions", len) == 0)
        return CHAT;
    if (len == 10 && strncmp(url, "/v1/models", len) == 0 && strcmp(request->method, "GET") == 0) {
        if (request_header(request, "anthropic-version"))
            *ret = ANTHROPIC;
        return MODELS;
    }
    return UNKNOWN;
}

static void copy_header(const struct request *request, const char *name, char *ret)
{
    const char *value = request_header(request, name);
    snprintf(ret, LOG_HEADER_BYTES_MAX, "%s", value ? value : "");
}

static struct exchange *exchange_begin(struct conn *conn)
{
    struct exchange *x = conn->user;
    if (!x) {
        x = calloc(1, sizeof *x);
        if (!x)
            abort();
        conn->user = x;
    }
    struct buf head = x->head;
    buf_clear(&head);
    told_free(x->told);
    *x = (struct exchange){.conn = conn, .head = head, .started_ns = uv_hrtime()};
    fault_none(&x->fault);
    return x;
}

static void record_begin(struct exchange *x, const unsigned char sha[32])
{
    const struct request *request = &x->conn->request;
    struct record *r = &x->record;
    char hex[65];
    uint64_t a = mix64(&id_state), b = mix64(&id_state);
    hex_encode(sha, 8, r->hash);
    snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
    if (x->dialect == BEDROCK)
        snprintf(r->request_id, sizeof r->request_id, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
                 hex + 12, hex + 16, hex + 20);
    else
        snprintf(r->request_id, sizeof r->request_id, "req_%s", hex);
    r->seq = ++sequence;
    r->dialect = dialect_faces[x->dialect]->name;
    r->path = request_url(request);
    r->model = x->chat.model;
    r->error = "";
    dialect_faces[x->dialect]->key(request, r->key, sizeof r->key);
    copy_header(request, "x-tollgate-attempt", r->attempt);
    copy_header(request, "x-tollgate-request", r->request);
    copy_header(request, "traceparent", r->traceparent);
    copy_header(request, "x-client-request-id", r->client_request_id);
    if (!r->client_request_id[0])
        copy_header(request, "x-request-id", r->client_request_id);
    tally[x->dialect].in_flight++;
}

static void write_head(struct exchange *x, const struct buf *headers)
{
    const struct reply *reply = &x->told->reply;
    const struct request *request = &x->conn->request;
    buf_printf(&x->head, "HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: %s\r\n%s: %s\r\n",
               x->record.status, http_reason(x->record.status), http_date(), reply->content_type,
               dialect_faces[x->dialect]->id_header, x->record.request_id);
    buf_add(&x->head, headers->data, headers->len);
    bool length_known = !reply->chunked && !(x->chat.stream && x->record.status == 200);
    if (reply->chunked)
        buf_text(&x->head, "transfer-encoding: chunked\r\n");
    else if (length_known)
        buf_printf(&x->head, "content-length: %zu\r\n", reply->payload_bytes);
    if (!request->keep_alive)
        buf_text(&x->head, "connection: close\r\n");
    else if (request->http10)
        buf_text(&x->head, "connection: keep-alive\r\n");
    buf_text(&x->head, "\r\n");
}

static void start(struct exchange *x, const struct buf *headers)
{
    x->record.fault = x->fault.rule != 0;
    x->record.stream = x->chat.stream;
    if (x->conn->request.http10 && x->chat.stream) /* the end of the body is the connection's end */
        x->conn->request.keep_alive = false;
    write_head(x, headers);
    step(x);
}

static void fail(struct exchange *x, const struct problem *why, struct buf *headers)
{
    x->record.status = why->status;
    x->record.error = x->fault.code;
    x->told = told_problem(dialect_faces[x->dialect], why, x->record.request_id, headers);
    start(x, headers);
}

/* 429s tell when to come again, in the headers that this dialect has for it. */
static void refuse_by_limit(struct exchange *x, const struct problem *why,
                            const struct limits_view *view, struct buf *headers)
{
    dialect_faces[x->dialect]->limits(view, headers);
    if (!x->fault.no_retry_after && x->dialect != BEDROCK) {
        buf_printf(headers, "retry-after: %lld\r\n", (long long)(view->wait_s + 0.999));
        if (x->dialect == OPENAI)
            buf_printf(headers, "retry-after-ms: %lld\r\n", (long long)(view->wait_s * 1000 + 0.5));
    }
    fail(x, why, headers);
}

static void answer_chat(struct exchange *x, const unsigned char sha[32], struct buf *headers)
{
    struct problem why = {0};
    struct limits_view view;
    uint64_t now_ms = uv_now(x->conn->net->loop);
    int err = told_get(x->dialect, &x->conn->request, sha, mix64(&draw_state), &x->told, &x->fault,
                       &x->chat, &why);
    if (err < 0 && !x->fault.status) {
        fail(x, &why, headers);
        return;
    }
    bool admitted =
        limits_admit(x->dialect, x->record.key, x->chat.model, chat_input_tokens(&x->chat),
                     x->chat.max_tokens < 0 ? 0 : x->chat.max_tokens, now_ms, &view);
    if (x->fault.status == 429)
        limits_exhaust(&view, x->fault.reset_s);
    if (!admitted && err == 0) {
        x->told = told_free(x->told);
        err = refuse(&why, 429, NULL, "Rate limit reached for %.100s. Please try again in %.3fs.",
                     x->chat.model, view.wait_s);
    }
    if (err < 0 && why.status == 429) {
        refuse_by_limit(x, &why, &view, headers);
        return;
    }
    dialect_faces[x->dialect]->limits(&view, headers);
    if (err < 0) {
        fail(x, &why, headers);
        return;
    }
    x->admitted = true;
    x->record.status = 200;
    start(x, headers);
}

static void answer_count(struct exchange *x, struct buf *headers)
{
    struct problem why = {0};
    const struct request *request = &x->conn->request;
    struct chat chat = {.max_tokens = -1};
    json_t *body = json_loadb(request->body.data ? request->body.data : "", request->body.len,
                              JSON_REJECT_DUPLICATES, NULL);
    int err = json_is_object(body) ? dialect_faces[x->dialect]->parse(request, body, &chat, &why)
                                   : refuse(&why, 400, NULL, "the body is not a JSON object");
    json_decref(body);
    if (err < 0) {
        fail(x, &why, headers);
        return;
    }
    x->record.status = 200;
    x->told = told_new();
    x->told->reply.content_type = "application/json";
    buf_printf(&x->told->reply.event, "{\"input_tokens\":%lld}",
               (long long)chat_input_tokens(&chat));
    reply_event(&x->told->reply, 0);
    reply_end(&x->told->reply);
    start(x, headers);
}

static void answer_models(struct exchange *x, struct buf *headers)
{
    x->record.status = 200;
    x->told = told_new();
    (x->dialect == ANTHROPIC ? models_anthropic : models_openai)(&x->told->reply);
    reply_end(&x->told->reply);
    start(x, headers);
}

static void on_request(struct conn *conn)
{
    static struct buf headers; /* between the status line and the length; its memory is kept */
    struct exchange *x = exchange_begin(conn);
    const struct request *request = &conn->request;
    struct problem why = {0};
    unsigned char sha[32];
    enum operation operation = route(request, &x->dialect);
    sha256(request->body.data ? request->body.data : "", request->body.len, sha);
    record_begin(x, sha);
    buf_clear(&headers);
    buf_text(&headers, "");
    if (operation == UNKNOWN) {
        refuse(&why, 404, "", "Unknown request URL: %s %.160s", request->method,
               request_url(request));
        if (x->dialect != OPENAI)
            why.code = NULL;
        fail(x, &why, &headers);
    } else if (dialect_faces[x->dialect]->admit(request, &why) < 0) {
        fail(x, &why, &headers);
    } else if (operation == MODELS) {
        answer_models(x, &headers);
    } else if (operation == COUNT_TOKENS) {
        answer_count(x, &headers);
    } else {
        answer_chat(x, sha, &headers);
    }
}

static void on_refuse(struct conn *conn, enum parse_result result)
{
    struct exchange *x = exchange_begin(conn);
    struct problem why = {0};
    struct buf headers = {0};
    unsigned char sha[32] = {0};
    conn->request.method = "";
    conn->request.keep_alive = false;
    route(&conn->request, &x->dialect);
    record_begin(x, sha);
    buf_text(&headers, "");
    if (result == PARSE_TOO_LARGE)
        refuse(&why, 413, NULL, "The request is larger than this stand-in takes.");
    else
        refuse(&why, 400, NULL, "This is not an HTTP request.");
    fail(x, &why, &headers);
    buf_free(&headers);
}

const struct conn_handler serve_handler = {on_request, on_refuse, on_tick,
                                           on_drained, on_gone,   on_free};
