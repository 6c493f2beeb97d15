#include "services/router/dispatch/ask.h"

#include "libs/http/sigv4.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TEXTS_MAX = 4096 };

void tg_ask_init(tg_ask *ask)
{
    memset(ask, 0, sizeof *ask);
    tg_buf_init(&ask->url, 2048);
    tg_buf_init(&ask->body, 0);
    tg_buf_init(&ask->texts, TEXTS_MAX);
}

void tg_ask_free(tg_ask *ask)
{
    tg_buf_free(&ask->url);
    tg_buf_free(&ask->body);
    tg_buf_free(&ask->texts);
}

/* Header values live in one buffer reserved up front, so that pointers into it stay valid. */
static int add_header(tg_ask *ask, const char *name, const char *prefix, const char *value)
{
    size_t at = ask->texts.len;
    if (ask->request.header_count == TG_ASK_HEADERS_MAX)
        return -E2BIG;
    int rc = tg_buf_printf(&ask->texts, "%s%s", prefix, value);
    if (rc < 0)
        return rc;
    ask->headers[ask->request.header_count++] = (tg_upstream_header){
        tg_str_of(name), {ask->texts.data + at, ask->texts.len - at}};
    return 0;
}

static int need(const char *secret, const char *what, const tg_target *target, tg_error *err)
{
    if (secret && *secret)
        return 0;
    return tg_error_set(err, -EINVAL, "target %s has no %s: set it in its endpoint's credential",
                        target->id, what);
}

static tg_str host_of(const char *url)
{
    const char *start = strstr(url, "://");
    start = start ? start + 3 : url;
    return (tg_str){start, strcspn(start, "/")};
}

static int sign(tg_ask *ask, const tg_target *target, const tg_endpoint *endpoint,
                const tg_credential *credential, uint64_t unix_s, tg_error *err)
{
    int rc = need(credential->access_key, "AWS access key", target, err);
    if (rc == 0)
        rc = need(credential->secret_key, "AWS secret key", target, err);
    if (rc < 0)
        return rc;
    tg_str host = host_of(ask->url.data);
    const char *path = host.data + host.len;
    tg_sigv4_request request = {
        .method = "POST",
        .host = host,
        .path = tg_str_of(path),
        .content_type = TG_STR("application/json"),
        .body = tg_buf_str(&ask->body),
        .service = "bedrock",
        .region = endpoint->region ? endpoint->region : "us-east-1",
        .access_key = credential->access_key,
        .secret_key = credential->secret_key,
        .session_token = credential->session_token && *credential->session_token
                             ? credential->session_token
                             : NULL,
        .unix_s = unix_s,
    };
    tg_sigv4_headers headers;
    rc = tg_sigv4_sign(&request, &headers);
    if (rc == 0)
        rc = add_header(ask, "x-amz-date", "", headers.date);
    if (rc == 0 && request.session_token)
        rc = add_header(ask, "x-amz-security-token", "", request.session_token);
    if (rc == 0)
        rc = add_header(ask, "authorization", "", headers.authorization);
    return rc;
}

static int authorize(tg_ask *ask, const tg_target *target, const tg_endpoint *endpoint,
                     const tg_credential *credential, uint64_t unix_s, tg_error *err)
{
    int rc;
    switch (target->provider) {
    case TG_PROVIDER_OPENAI:
        rc = need(credential->api_key, "API key", target, err);
        return rc < 0 ? rc : add_header(ask, "authorization", "Bearer ", credential->api_key);
    case TG_PROVIDER_ANTHROPIC:
        rc = need(credential->api_key, "API key", target, err);
        if (rc == 0)
            rc = add_header(ask, "x-api-key", "", credential->api_key);
        return rc < 0 ? rc : add_header(ask, "anthropic-version", "", "2023-06-01");
    case TG_PROVIDER_BEDROCK:
        return sign(ask, target, endpoint, credential, unix_s, err);
    case TG_PROVIDER_PRIVATE:
        return 0; /* the channel's certificate is the credential; the tenant is in the message */
    }
    return -EINVAL;
}

int tg_ask_build(tg_ask *ask, const tg_target *target, const tg_endpoint *endpoint,
                 const tg_credential *credential, const tg_chat_request *chat, uint64_t max_tokens,
                 const tg_usage_event *event, uint64_t unix_s, tg_error *err)
{
    bool private = target->provider == TG_PROVIDER_PRIVATE;
    tg_upstream_ask params = {
        .model = target->model,
        .max_tokens = max_tokens,
        .max_tokens_default = target->max_output_tokens,
        .stream = chat->stream || private,
        .tenant = event->tenant,
        .request_id = event->request_id,
        .attempt = event->attempt,
    };
    char attempt[TG_UUID_TEXT + 12];
    tg_buf_clear(&ask->url);
    tg_buf_clear(&ask->body);
    tg_buf_clear(&ask->texts);
    ask->request = (tg_upstream_request){.headers = ask->headers, .method = "POST"};

    int rc = tg_buf_reserve(&ask->texts, TEXTS_MAX - 1);
    if (rc == 0)
        rc = tg_buf_add_text(&ask->url, endpoint->url);
    if (rc == 0 && !private)
        rc = tg_dialect_upstream_path(target->provider, &params, &ask->url);
    if (rc == 0)
        rc = tg_dialect_encode_upstream(target->provider, chat, &params, &ask->body);
    if (rc == 0 && !private)
        rc = add_header(ask, "content-type", "", "application/json");
    if (rc == 0)
        rc = authorize(ask, target, endpoint, credential, unix_s, err);
    snprintf(attempt, sizeof attempt, "%s/%u", event->request_id, event->attempt);
    if (rc == 0)
        rc = add_header(ask, "x-tollgate-attempt", "", attempt);
    if (rc == 0 && event->traceparent[0])
        rc = add_header(ask, "traceparent", "", event->traceparent);
    if (rc < 0)
        return tg_error_set(err, rc, "the request for target %s could not be built: %s", target->id,
                            strerror(-rc));
    ask->request.url = ask->url.data;
    if (private)
        ask->request.method = "/tollgate.v1.Inference/Generate";
    ask->request.body = tg_buf_str(&ask->body);
    ask->request.ca_file = endpoint->ca_file;
    ask->request.connect_timeout_ms = target->connect_timeout_ms;
    ask->request.total_timeout_ms = target->total_timeout_ms;
    return 0;
}
