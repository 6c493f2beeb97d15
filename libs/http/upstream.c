#include "libs/http/client_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what curl hands over ---- */

static void add_header(tg_upstream *u, tg_str line)
{
    const char *colon = memchr(line.data, ':', line.len);
    if (!colon || u->header_count == TG_HTTP_CLIENT_HEADERS_MAX)
        return;
    size_t len = (size_t)(colon - line.data);
    u->headers[u->header_count++] = (tg_upstream_header){
        {line.data, len}, tg_str_trim((tg_str){colon + 1, line.len - len - 1})};
}

static void deliver_head(tg_upstream *u)
{
    tg_str rest = tg_buf_str(&u->head);
    u->header_count = 0;
    for (const char *lf; (lf = memchr(rest.data, '\n', rest.len));) {
        size_t len = (size_t)(lf - rest.data);
        add_header(u, (tg_str){rest.data, len});
        rest = (tg_str){lf + 1, rest.len - len - 1};
    }
    u->head_done = true;
    tg_upstream_event event = {.type = TG_UPSTREAM_HEAD,
                               .status = u->status,
                               .headers = u->headers,
                               .header_count = u->header_count};
    u->on_event(u->user, &event);
}

/* One line of a head: interim answers (1xx) are passed over, trailers dropped. */
static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    tg_upstream *u = user;
    tg_str line = {data, size * count};
    if (u->cancelled)
        return 0;
    if (u->head_done)
        return line.len;
    if (tg_str_starts(line, "HTTP/")) {
        const char *space = memchr(line.data, ' ', line.len);
        u->status = space ? (unsigned)strtoul(space + 1, NULL, 10) : 0;
        tg_buf_clear(&u->head);
        return line.len;
    }
    if (tg_str_trim(line).len == 0) {
        if (u->status >= 200)
            deliver_head(u);
        return u->cancelled ? 0 : line.len;
    }
    if (tg_buf_add_str(&u->head, line) < 0) {
        u->head_too_large = true;
        return 0;
    }
    return line.len;
}

static size_t on_data(char *data, size_t size, size_t count, void *user)
{
    tg_upstream *u = user;
    if (u->cancelled)
        return CURL_WRITEFUNC_ERROR;
    if (u->paused) {
        u->stalled = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    tg_upstream_event event = {.type = TG_UPSTREAM_DATA, .data = {data, size * count}};
    u->on_event(u->user, &event);
    return u->cancelled ? CURL_WRITEFUNC_ERROR : size * count;
}

/* Before each sending. Curl sends again by itself when a kept connection breaks before it answered,
 * but the peer may have served the request by then: an attempt is sent once, and whether there is
 * another is for the caller to decide. */
static int on_send(void *user, char *ip, char *local_ip, int port, int local_port)
{
    tg_upstream *u = user;
    (void)ip;
    (void)local_ip;
    (void)port;
    (void)local_port;
    u->resent = u->sent;
    u->sent = true;
    return u->resent ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* ---- making and reusing ---- */

static CURL *new_easy(tg_upstream *u)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, u);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* the environment does not redirect traffic */
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, u);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, u);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, u);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, u->error);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, tg_http_client_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, u->client);
    if (u->client->conf.insecure_no_verify) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return easy;
}

int tg_http_upstream_take(tg_http_client *client, tg_upstream **ret)
{
    tg_upstream *u =
        client->spare_count > 0 ? client->spare[--client->spare_count] : calloc(1, sizeof(*u));
    if (u && !u->client) {
        u->client = client;
        tg_buf_init(&u->head, TG_HTTP_CLIENT_HEAD_BYTES_MAX);
        tg_list_init(&u->all);
        tg_list_init(&u->todo);
    }
    if (u && !u->easy)
        u->easy = new_easy(u);
    if (!u || !u->easy) {
        if (u)
            tg_http_upstream_free(u);
        return -ENOMEM;
    }
    u->added = u->cancelled = u->paused = u->stalled = u->sent = u->resent = false;
    u->head_done = u->head_too_large = false;
    u->status = 0;
    u->error[0] = '\0';
    tg_list_add_tail(&client->all, &u->all);
    if (client->in_flight++ == 0)
        uv_ref((uv_handle_t *)&client->timer); /* a name being resolved has no socket to wait on */
    *ret = u;
    return 0;
}

void tg_http_upstream_free(tg_upstream *u)
{
    if (u->added)
        curl_multi_remove_handle(u->client->multi, u->easy);
    tg_list_remove(&u->all);
    curl_easy_cleanup(u->easy);
    curl_url_cleanup(u->parts);
    free(u->url);
    tg_buf_free(&u->text);
    tg_buf_free(&u->head);
    free(u->ca_file);
    free(u);
}

void tg_http_upstream_recycle(tg_http_client *client, tg_upstream *u)
{
    tg_list_remove(&u->all);
    tg_list_remove(&u->todo);
    u->added = false;
    if (--client->in_flight == 0)
        uv_unref((uv_handle_t *)&client->timer);
    if (client->spare_count == TG_HTTP_CLIENT_SPARE_MAX) {
        tg_http_upstream_free(u);
        return;
    }
    if (u->text.cap > TG_HTTP_CLIENT_HEAD_BYTES_MAX)
        tg_buf_free(&u->text);
    client->spare[client->spare_count++] = u;
}

/* ---- a request ---- */

static bool breaks_line(tg_str text)
{
    return memchr(text.data ? text.data : "", '\r', text.len) ||
           memchr(text.data ? text.data : "", '\n', text.len) ||
           memchr(text.data ? text.data : "", '\0', text.len);
}

/* "Name: value\0" for each header, in u->text. Curl's own defaults for a body are turned off. */
static int write_headers(tg_upstream *u, const tg_upstream_request *request, size_t *ret_count)
{
    bool has_type = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < request->header_count; i++) {
        tg_str name = request->headers[i].name, value = request->headers[i].value;
        if (name.len == 0 || breaks_line(name) || breaks_line(value))
            return -EINVAL;
        has_type |= tg_str_is_nocase(name, "content-type");
        rc = tg_buf_add_str(&u->text, name);
        if (rc == 0)
            rc = tg_buf_add_text(&u->text, value.len > 0 ? ": " : ";");
        if (rc == 0)
            rc = tg_buf_add_str(&u->text, value);
        if (rc == 0)
            rc = tg_buf_add_char(&u->text, '\0');
    }
    *ret_count = request->header_count;
    if (rc == 0 && (request->body.len > 0 || strcmp(request->method, "POST") == 0)) {
        rc = has_type ? tg_buf_add(&u->text, "Expect:", 8)
                      : tg_buf_add(&u->text, "Expect:\0Content-Type:", 22);
        *ret_count += has_type ? 1 : 2;
    }
    return rc;
}

static struct curl_slist *link_headers(tg_upstream *u, size_t count)
{
    char *at = u->text.data;
    for (size_t i = 0; i < count; i++) {
        u->nodes[i] = (struct curl_slist){at, i + 1 < count ? &u->nodes[i + 1] : NULL};
        at += strlen(at) + 1;
    }
    return count > 0 ? &u->nodes[0] : NULL;
}

static void set_method(tg_upstream *u, const char *method, tg_str body)
{
    bool post = strcmp(method, "POST") == 0;
    bool plain = post || strcmp(method, "GET") == 0;
    curl_easy_setopt(u->easy, CURLOPT_CUSTOMREQUEST, plain ? NULL : method);
    if (post || body.len > 0) {
        curl_easy_setopt(u->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(u->easy, CURLOPT_POSTFIELDS, body.len > 0 ? body.data : "");
        curl_easy_setopt(u->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    } else {
        curl_easy_setopt(u->easy, CURLOPT_HTTPGET, 1L);
    }
}

static int set_ca(tg_upstream *u, const char *ca_file)
{
    if (u->ca_file ? ca_file && strcmp(u->ca_file, ca_file) == 0 : !ca_file)
        return 0;
    char *copy = ca_file ? strdup(ca_file) : NULL;
    if (ca_file && !copy)
        return -ENOMEM;
    free(u->ca_file);
    u->ca_file = copy;
    if (!ca_file) { /* back to the default: only a new handle knows it */
        curl_easy_cleanup(u->easy);
        u->easy = new_easy(u);
        free(u->url);
        u->url = NULL;
        return u->easy ? 0 : -ENOMEM;
    }
    return curl_easy_setopt(u->easy, CURLOPT_CAINFO, ca_file) == CURLE_OK ? 0 : -EINVAL;
}

/* Kept in parts: a handle mostly calls where it called before, and parsing is a sixth of curl's
 * work. */
static int set_url(tg_upstream *u, const char *url)
{
    if (u->url && strcmp(u->url, url) == 0)
        return 0;
    if (!u->parts && !(u->parts = curl_url()))
        return -ENOMEM;
    free(u->url);
    u->url = strdup(url);
    CURLUcode rc = curl_url_set(u->parts, CURLUPART_URL, url, 0);
    if (!u->url || rc != CURLUE_OK) {
        free(u->url); /* the parts may be half of this URL and half of the one before */
        u->url = NULL;
        return rc == CURLUE_OK || rc == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
    }
    return curl_easy_setopt(u->easy, CURLOPT_CURLU, u->parts) == CURLE_OK ? 0 : -ENOMEM;
}

int tg_http_upstream_prepare(tg_upstream *u, const tg_upstream_request *request)
{
    size_t count = 0;
    if (!request->url || !request->method || request->header_count > TG_HTTP_CLIENT_HEADERS_MAX)
        return -EINVAL;
    if (strncmp(request->url, "http://", 7) != 0 && strncmp(request->url, "https://", 8) != 0)
        return -EINVAL;
    if (strcmp(request->method, "HEAD") == 0) /* its answers have lengths without bodies */
        return -EINVAL;
    tg_buf_clear(&u->text);
    tg_buf_clear(&u->head);
    int rc = set_ca(u, request->ca_file);
    if (rc == 0)
        rc = write_headers(u, request, &count);
    size_t body_at = u->text.len;
    if (rc == 0)
        rc = tg_buf_add_str(&u->text, request->body);
    if (rc < 0)
        return rc;
    set_method(u, request->method, (tg_str){u->text.data + body_at, request->body.len});
    curl_easy_setopt(u->easy, CURLOPT_HTTPHEADER, link_headers(u, count));
    curl_easy_setopt(u->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    curl_easy_setopt(u->easy, CURLOPT_TIMEOUT_MS, (long)request->total_timeout_ms);
    return set_url(u, request->url);
}
