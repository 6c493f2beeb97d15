/* bench_serve ours|llama HOST:PORT COUNT SEED open PER_SECOND | closed AT_ONCE: load for an
 * inference server.
 *
 * COUNT requests from SEED: prompts of random tokens, 32 to 1,024 of them (uniform in the
 * logarithm), and outputs of 16 to 128 tokens, decided beforehand. `open`: a Poisson process
 * decides when each comes, whatever the server does. `closed`: as many are under way as given. The
 * same SEED gives both servers the same work at the same moments. Ours is asked over gRPC,
 * llama.cpp's over HTTP with server-sent events, by one thread that does nothing between.
 *
 * One line per request: when it was sent, when its first and last tokens came, all in microseconds
 * since the start, tokens asked for and tokens received. */
#include "libs/base/clock.h"
#include "libs/http/client.h"
#include "libs/http/sse.h"
#include "libs/rpc/rpc.h"

#include "tollgate/v1/inference.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT_MIN = 32,
    PROMPT_MAX = 1024,
    OUTPUT_MIN = 16,
    OUTPUT_MAX = 128,
    TOKEN_FIRST = 1000, /* ids below it may be control tokens */
    TOKEN_COUNT = 40000,
    REQUESTS_MAX = 100000,
    DEADLINE_MS = 600000,
    BODY_MAX = PROMPT_MAX * 8 + 512,
    EVENT_MAX = 1 << 20, /* bytes */
};

typedef struct bench bench;

typedef struct request {
    bench *bench;
    uint32_t prompt_len, output_len, received;
    uint64_t seed, gap_us; /* since the request before it */
    uint64_t sent_us, first_us, last_us;
    tg_sse_parser sse;
    tg_upstream *upstream;
} request;

struct bench {
    tg_rpc_loop *loop;
    tg_rpc_channel *channel; /* ours */
    tg_http_client *http;    /* llama.cpp's */
    char url[256];
    uv_timer_t timer;
    request *requests;
    uint32_t count, next, under_way;
    uint32_t at_once; /* 0: open */
    uint64_t started_ns;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_serve: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now_us(const bench *b) { return (tg_clock_mono_ns() - b->started_ns) / 1000; }

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 32;
}

static double draw_unit(uint64_t *state) { return ((double)draw(state) + 0.5) / 4294967296.0; }

static void plan(bench *b, uint64_t seed, double per_s)
{
    for (uint32_t i = 0; i < b->count; i++) {
        request *r = &b->requests[i];
        *r = (request){.bench = b};
        r->prompt_len =
            (uint32_t)(PROMPT_MIN * pow((double)PROMPT_MAX / PROMPT_MIN, draw_unit(&seed)));
        r->output_len = OUTPUT_MIN + (uint32_t)(draw(&seed) % (OUTPUT_MAX - OUTPUT_MIN + 1));
        r->gap_us = per_s > 0 ? (uint64_t)(-log(draw_unit(&seed)) / per_s * 1e6) : 0;
        r->seed = draw(&seed);
    }
}

static uint32_t prompt_token(uint64_t *state)
{
    return TOKEN_FIRST + (uint32_t)(draw(state) % TOKEN_COUNT);
}

static void send_next(bench *b);

static void on_token(request *r)
{
    r->last_us = now_us(r->bench);
    if (r->received++ == 0)
        r->first_us = r->last_us;
}

static void on_end(request *r)
{
    bench *b = r->bench;
    b->under_way--;
    if (b->at_once)
        send_next(b);
    if (b->under_way == 0 && b->next == b->count)
        tg_rpc_loop_stop(b->loop);
}

/* ---- ours ---- */

static void on_message(void *user, const ProtobufCMessage *message)
{
    const Tollgate__V1__GenerateEvent *event = (const Tollgate__V1__GenerateEvent *)message;
    if (event->event_case == TOLLGATE__V1__GENERATE_EVENT__EVENT_DELTA)
        for (size_t i = 0; i < event->delta->n_token_ids; i++)
            on_token(user);
}

static void on_done(void *user, tg_rpc_code code, const char *message,
                    const tg_rpc_metadata *trailing, size_t count)
{
    (void)trailing, (void)count;
    if (code != TG_RPC_OK)
        fail(tg_rpc_code_name(code), message);
    on_end(user);
}

static void send_ours(request *r)
{
    Tollgate__V1__GenerateRequest message = TOLLGATE__V1__GENERATE_REQUEST__INIT;
    Tollgate__V1__TokenIds tokens = TOLLGATE__V1__TOKEN_IDS__INIT;
    Tollgate__V1__Sampling sampling = TOLLGATE__V1__SAMPLING__INIT;
    uint32_t ids[PROMPT_MAX];
    uint64_t state = r->seed;
    tg_rpc_client *client;
    for (uint32_t i = 0; i < r->prompt_len; i++)
        ids[i] = prompt_token(&state);
    tokens.ids = ids;
    tokens.n_ids = r->prompt_len;
    message.tokens = &tokens;
    message.sampling = &sampling; /* greedy */
    message.max_tokens = r->output_len;
    const tg_rpc_start start = {.method = "/tollgate.v1.Inference/Generate",
                                .request = &message.base,
                                .response = &tollgate__v1__generate_event__descriptor,
                                .deadline_ms = DEADLINE_MS,
                                .on_message = on_message,
                                .on_done = on_done,
                                .user = r};
    if (tg_rpc_client_start(r->bench->channel, &start, &client) < 0)
        fail("a call", "cannot be started");
}

/* ---- llama.cpp's ---- */

static int on_sse(void *user, tg_str name, tg_str data)
{
    (void)name;
    /* Its last event, which carries the counts, holds no token. */
    if (!memmem(data.data, data.len, "\"stop\":true", 11))
        on_token(user);
    return 0;
}

static void on_upstream(void *user, const tg_upstream_event *event)
{
    request *r = user;
    if (event->type == TG_UPSTREAM_HEAD && event->status != 200)
        fail("llama-server", "it refuses the request");
    if (event->type == TG_UPSTREAM_DATA && tg_sse_parser_feed(&r->sse, event->data, on_sse, r) < 0)
        fail("llama-server", "its events cannot be read");
    if (event->type != TG_UPSTREAM_END)
        return;
    if (event->failure != TG_UPSTREAM_OK)
        fail("llama-server", event->reason);
    tg_sse_parser_free(&r->sse);
    on_end(r);
}

static void send_llama(request *r)
{
    /* It closes connections it said to keep, so each request has its own. */
    static const tg_upstream_header headers[] = {
        {TG_STR("Content-Type"), TG_STR("application/json")},
        {TG_STR("Connection"), TG_STR("close")}};
    char body[BODY_MAX];
    uint64_t state = r->seed;
    size_t len = (size_t)snprintf(body, sizeof(body), "{\"prompt\":[");
    for (uint32_t i = 0; i < r->prompt_len; i++)
        len += (size_t)snprintf(body + len, sizeof(body) - len, "%s%u", i ? "," : "",
                                prompt_token(&state));
    len += (size_t)snprintf(body + len, sizeof(body) - len,
                            "],\"n_predict\":%u,\"ignore_eos\":true,\"temperature\":0,"
                            "\"samplers\":[\"top_k\"],\"top_k\":1,\"stream\":true}",
                            r->output_len);
    const tg_upstream_request start = {.url = r->bench->url,
                                       .method = "POST",
                                       .headers = headers,
                                       .header_count = 2,
                                       .body = {body, len},
                                       .connect_timeout_ms = 10000,
                                       .total_timeout_ms = DEADLINE_MS};
    tg_transport *transport = tg_http_client_transport(r->bench->http);
    tg_sse_parser_init(&r->sse, EVENT_MAX);
    if (transport->start(transport, &start, on_upstream, r, &r->upstream) < 0)
        fail("a request", "cannot be started");
}

/* ---- when ---- */

static void on_timer(uv_timer_t *timer) { send_next(timer->data); }

/* Open: sends what is due and sets the timer for the next. Closed: fills up. */
static void send_next(bench *b)
{
    static uint64_t due_us;
    while (b->next < b->count) {
        request *r = &b->requests[b->next];
        if (b->at_once ? b->under_way >= b->at_once : now_us(b) < due_us + r->gap_us)
            break;
        due_us += r->gap_us;
        b->next++;
        b->under_way++;
        r->sent_us = b->at_once ? now_us(b) : due_us; /* a late generator would only flatter */
        if (b->channel)
            send_ours(r);
        else
            send_llama(r);
    }
    if (!b->at_once && b->next < b->count) {
        uint64_t at_us = due_us + b->requests[b->next].gap_us, at = now_us(b);
        uv_timer_start(&b->timer, on_timer, at_us > at ? (at_us - at + 999) / 1000 : 0, 0);
    }
}

static void connect_to(bench *b, const char *which, const char *address)
{
    tg_error err = {""};
    int rc = tg_rpc_loop_new(TG_RPC_LOOP_DEFAULT, &err, &b->loop);
    if (rc == 0 && strcmp(which, "ours") == 0)
        rc = tg_rpc_channel_new(b->loop, address, NULL, 0, &err, &b->channel);
    else if (rc == 0 && strcmp(which, "llama") == 0)
        rc = tg_http_client_new(tg_rpc_loop_uv(b->loop), &(tg_http_client_conf){0}, &err, &b->http);
    else
        fail(which, "ours or llama");
    if (rc < 0)
        fail("starting", err.text);
    snprintf(b->url, sizeof(b->url), "http://%s/completion", address);
}

int main(int argc, char **argv)
{
    static bench b;
    if (argc != 7)
        fail("usage",
             "bench_serve ours|llama HOST:PORT COUNT SEED open PER_SECOND | closed AT_ONCE");
    tg_rpc_init();
    connect_to(&b, argv[1], argv[2]);
    b.count = (uint32_t)strtoul(argv[3], NULL, 10);
    if (b.count < 1 || b.count > REQUESTS_MAX ||
        !(b.requests = calloc(b.count, sizeof(*b.requests))))
        fail("COUNT", argv[3]);
    const bool open = strcmp(argv[5], "open") == 0;
    plan(&b, strtoull(argv[4], NULL, 10), open ? strtod(argv[6], NULL) : 0);
    b.at_once = open ? 0 : (uint32_t)strtoul(argv[6], NULL, 10);
    uv_timer_init(tg_rpc_loop_uv(b.loop), &b.timer);
    b.timer.data = &b;
    b.started_ns = tg_clock_mono_ns();
    send_next(&b);
    tg_rpc_loop_run(b.loop);
    for (uint32_t i = 0; i < b.count; i++) {
        const request *r = &b.requests[i];
        printf("%llu %llu %llu %u %u %u\n", (unsigned long long)r->sent_us,
               (unsigned long long)r->first_us, (unsigned long long)r->last_us, r->prompt_len,
               r->output_len, r->received);
    }
    return 0; /* the process's end closes what is open */
}
