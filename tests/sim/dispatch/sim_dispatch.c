/* Dispatch in a simulated world: seeded providers, clients, disk and clock, thousands of requests
 * at a time.
 *
 *     sim-dispatch [--requests N] [--seed S]
 *
 * Each request is sent by a client that may read slowly or leave, to a plan of one to four steps at
 * providers that answer, refuse, stall, break off, or talk nonsense (upstream.h). What must hold,
 * whatever happens:
 *
 *   - an attempt is opened before it is sent and closed exactly once; attempts are numbered from 1,
 *     one at a time, at the plan's steps in order;
 *   - a client that stays is answered exactly once, and within the sum of its attempts' timeouts;
 *     one that left hears nothing more;
 *   - what the client has seen is the beginning of what one provider said, and all of it when the
 *     answer is OK; once a streaming client has seen text no other provider is asked;
 *   - a whole answer that is in time is an OK, with the tokens that were reported and their price,
 *     to the picodollar;
 *   - an attempt without an accepted answer costs nothing; one that gave text costs something;
 *   - nothing is left when all is over: no exchange, no dispatch, no open record.
 *
 * Exit status 0, or 1 after a line that says what failed, in which request, and the seed to see it
 * again.
 */
#include "libs/base/clock.h"
#include "services/router/dispatch/dispatch.h"
#include "tests/sim/dispatch/upstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 64, TARGETS = 4, STEPS_MAX = 4, CREDENTIALS = 2, MS = 1000000 };
enum { FIRST_TOKEN_MS = 1000, IDLE_MS = 500, TOTAL_MS = 3000 };
enum { INPUT_PRICE = 10, OUTPUT_PRICE = 20 }; /* picodollars a token, times target index + 1 */

static uint64_t seed, random_state, now_ns = 1000000000, request_count;
static sim_net net;

typedef struct client {
    bool busy, leaves, paused, seen_text, done;
    /* turn: when it pauses or reads on */
    uint64_t began_ns, leave_ns, turn_ns, paused_ns, paused_since_ns;
    tg_dispatch *dispatch;
    tg_chat_request chat;
    tg_step steps[STEPS_MAX];
    tg_plan plan;
    char text[1024];
    unsigned attempts, opened, closed;
    sim_script script; /* of the attempt under way; status 0 and not whole when it was never sent */
    tg_usage_event last;
    tg_dispatch_result result;
} client;

static client clients[CLIENTS], *starting;
static int (*start_of_net)(tg_transport *, const tg_upstream_request *, tg_upstream_on_event *,
                           void *, tg_upstream **);
static uint64_t open_records, tally_ok, tally_failed, tally_broken, tally_left, tally_attempts;

#define MUST(condition, c, ...) ((condition) ? (void)0 : fail(c, #condition, __VA_ARGS__))

__attribute__((format(printf, 3, 4))) static void fail(const client *c, const char *condition,
                                                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("sim-dispatch: ");
    vprintf(format, args);
    va_end(args);
    printf("\n  must hold: %s\n", condition);
    if (c)
        printf("  attempt %u of %zu, %s, status %u, text '%s' of '%s'\n", c->attempts,
               c->plan.step_count, c->chat.stream ? "stream" : "plain", c->script.status, c->text,
               c->script.text);
    printf("  again: sim-dispatch --requests %llu --seed %llu\n", (unsigned long long)request_count,
           (unsigned long long)seed);
    exit(1);
}

static uint64_t below(uint64_t limit) { return sim_below(&random_state, limit); }
static bool chance(unsigned percent) { return sim_chance(&random_state, percent); }
static uint64_t clock_ns(void) { return now_ns; }

/* ---- the world around dispatch ---- */

static client *client_of(const char *request_id)
{
    client *c = &clients[strtoul(request_id + 24, NULL, 16) % CLIENTS];
    MUST(c->busy, c, "an event of a request that is over");
    return c;
}

static int opened(void *user, const tg_usage_event *event, uint64_t *ret_slot)
{
    (void)user;
    client *c = client_of(event->request_id);
    MUST(c->opened == c->closed, c, "a second attempt was opened before the first was closed");
    MUST(event->attempt == c->opened + 1, c, "attempt %u was opened after %u", event->attempt,
         c->opened);
    MUST(event->attempt <= c->plan.step_count, c, "more attempts than the plan has steps");
    if (chance(1))
        return -ENOSPC;
    if (chance(1)) {
        *ret_slot = TG_NO_SLOT; /* on_spool_full: allow */
        c->opened++;
        c->closed++; /* nobody will close it */
        return 0;
    }
    c->opened++;
    open_records++;
    *ret_slot = (uint64_t)(c - clients) << 32 | event->attempt;
    return 0;
}

/* The script of the attempt that was closed: of the exchange it started, if any. */
static void check_closed(const client *c, const tg_usage_event *e)
{
    const uint64_t times = (uint64_t)c->plan.steps[e->attempt - 1].target + 1;
    const tg_picousd price = (tg_picousd)(e->tokens.input * INPUT_PRICE * times +
                                          e->tokens.output * OUTPUT_PRICE * times);
    MUST(e->cost_picousd == price, c, "cost %lld is not the price of %llu + %llu tokens",
         (long long)e->cost_picousd, (unsigned long long)e->tokens.input,
         (unsigned long long)e->tokens.output);
    MUST(e->closed_unix_ns == now_ns && e->total_ns == now_ns - e->opened_unix_ns, c,
         "times are wrong");
    MUST(e->first_token_ns <= e->total_ns, c, "the first token came after the end");
    if (e->outcome == TG_OUTCOME_OK) {
        MUST(e->upstream_status == 200, c, "OK with status %u", e->upstream_status);
        MUST(!c->script.has_usage ||
                 (e->input_source == TG_COUNT_REPORTED && e->output_source == TG_COUNT_REPORTED &&
                  e->tokens.input == c->script.input && e->tokens.output == c->script.output),
             c, "%llu + %llu tokens, reported were %llu + %llu",
             (unsigned long long)e->tokens.input, (unsigned long long)e->tokens.output,
             (unsigned long long)c->script.input, (unsigned long long)c->script.output);
        MUST(c->script.has_usage ||
                 (e->input_source == TG_COUNT_ESTIMATED && e->output_source == TG_COUNT_ESTIMATED),
             c, "tokens nobody reported are called reported");
    } else if (e->upstream_status != 200) {
        MUST(e->cost_picousd == 0, c, "an attempt of status %u costs something",
             e->upstream_status);
    } else if (c->text[0]) {
        MUST(e->cost_picousd > 0, c, "text for nothing");
    }
    MUST(e->outcome != TG_OUTCOME_CLIENT_GONE || c->leaves, c, "the client is said to have left");
}

static int closed(void *user, uint64_t slot, const tg_usage_event *event)
{
    (void)user;
    client *c = client_of(event->request_id);
    MUST(slot == ((uint64_t)(c - clients) << 32 | event->attempt), c,
         "closed under another's slot");
    MUST(c->opened == c->closed + 1, c, "closed without having been opened");
    MUST(!c->done, c, "closed after the client was answered");
    c->closed++;
    open_records--;
    tally_attempts++;
    c->last = *event;
    check_closed(c, event);
    return 0;
}

static void observe(void *user, const tg_observation *o)
{
    (void)user;
    MUST(o->target[0] && o->endpoint[0] && o->at_unix_ns == now_ns, NULL,
         "an observation of nothing");
}

static void probe(void *user, const char *target, const char *endpoint, bool begun)
{
    (void)user, (void)target, (void)endpoint, (void)begun;
}

/* ---- clients ---- */

static void on_attempt(void *user, const tg_usage_event *event)
{
    client *c = user;
    char target[8];
    snprintf(target, sizeof target, "t%d", c->steps[event->attempt - 1].target);
    MUST(!(c->chat.stream && c->seen_text), c,
         "another provider is asked after the client has seen text");
    MUST(strcmp(event->target, target) == 0, c, "attempt %u goes to %s, the plan says %s",
         event->attempt, event->target, target);
    c->attempts = event->attempt;
    c->text[0] = '\0';
    c->script = (sim_script){0};
    starting = c;
}

static void on_event(void *user, const tg_chat_event *event)
{
    client *c = user;
    MUST(!c->done, c, "an event after the end");
    if (event->type != TG_CHAT_TEXT)
        return;
    const size_t have = strlen(c->text);
    MUST(have + event->text.len < sizeof c->text, c, "more text than was ever said");
    memcpy(c->text + have, event->text.data, event->text.len);
    c->text[have + event->text.len] = '\0';
    c->seen_text |= event->text.len > 0;
    MUST(strncmp(c->text, c->script.text, strlen(c->text)) == 0, c, "not what the provider said");
}

static void on_done(void *user, const tg_dispatch_result *result)
{
    client *c = user;
    MUST(!c->done, c, "answered twice");
    c->done = true;
    c->result = *result;
    MUST(c->opened == c->closed, c, "answered before the attempt was closed");
    if (result->end == TG_DISPATCH_OK) {
        MUST(strcmp(c->text, c->script.text) == 0, c, "an OK that lacks text");
        MUST(c->script.status == 200, c, "an OK of status %u", c->script.status);
    } else {
        MUST(!c->script.whole || c->last.attempt != c->attempts ||
                 c->last.outcome == TG_OUTCOME_TIMEOUT,
             c, "a whole answer was not taken");
        MUST(result->end != TG_DISPATCH_BROKEN || c->chat.stream, c,
             "broken off without having begun");
        MUST(result->end != TG_DISPATCH_FAILED || (result->status >= 400 && result->message[0]), c,
             "failed with status %u", result->status);
        MUST((result->end == TG_DISPATCH_BROKEN) == (c->chat.stream && c->text[0]), c,
             "the client has seen text, or not");
    }
}

static const char *const bodies[] = {
    "{\"model\":\"auto\",\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":"
    "\"hello there\"}],\"stream\":true}",
    "{\"model\":\"auto\",\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":"
    "\"hello there\"}]}"};
static const tg_chat_message message = {.role = TG_ROLE_USER, .text = {"hello there", 11}};
static const tg_credential credentials_of_one[CREDENTIALS] = {{"sk-test", "", "", ""},
                                                              {"sk-test", "", "", ""}};
static const tg_credential *credentials[TARGETS];
static tg_snapshot snapshot;
static tg_dispatch_env env;

static void begin(client *c)
{
    *c = (client){.busy = true, .began_ns = now_ns};
    const bool stream = chance(50);
    c->chat = (tg_chat_request){.dialect = chance(50) ? TG_DIALECT_OPENAI : TG_DIALECT_ANTHROPIC,
                                .body = tg_str_of(bodies[stream ? 0 : 1]),
                                .model = TG_STR("auto"),
                                .messages = &message,
                                .message_count = 1,
                                .max_tokens = 100,
                                .stream = stream,
                                .text_bytes = 11};
    c->plan = (tg_plan){
        .rule = "r", .task_type = "chat", .steps = c->steps, .step_count = below(STEPS_MAX) + 1};
    for (size_t i = 0; i < c->plan.step_count; i++)
        c->steps[i] = (tg_step){.target = (int)below(TARGETS),
                                .endpoint = (int)below(CREDENTIALS),
                                .probe = chance(10),
                                .max_tokens = 100};
    c->leaves = chance(15);
    c->leave_ns = now_ns + below(2000ull * MS);
    c->turn_ns = chance(20) ? now_ns + below(500ull * MS) : UINT64_MAX;
    tg_dispatch_request request = {.chat = &c->chat,
                                   .plan = &c->plan,
                                   .snapshot = &snapshot,
                                   .credentials = credentials,
                                   .tenant = "acme",
                                   .key_id = "k",
                                   .client_request_id = "",
                                   .policy_version = "p",
                                   .traceparent = "",
                                   .on_attempt = on_attempt,
                                   .on_event = on_event,
                                   .on_done = on_done,
                                   .user = c};
    snprintf(request.request_id, sizeof request.request_id, "01234567-89ab-7def-8123-%012lx",
             (unsigned long)(c - clients));
    MUST(tg_dispatch_new(&env, &request, &c->dispatch) == 0, c, "no memory");
    tg_dispatch_run(c->dispatch);
}

/* on_attempt comes right before the attempt's own start. */
static int start_noting(tg_transport *self, const tg_upstream_request *request,
                        tg_upstream_on_event *event, void *user, tg_upstream **ret)
{
    const int rc = start_of_net(self, request, event, user, ret);
    if (rc == 0)
        starting->script = (*ret)->script;
    return rc;
}

static void end(client *c, bool left)
{
    c->leaves |= left;
    c->dispatch = tg_dispatch_free(c->dispatch);
    MUST(c->opened == c->closed, c, "a request is over and its attempt open");
    if (!c->done) {
        tally_left++;
    } else {
        switch (c->result.end) {
        case TG_DISPATCH_OK: tally_ok++; break;
        case TG_DISPATCH_FAILED: tally_failed++; break;
        case TG_DISPATCH_BROKEN: tally_broken++; break;
        }
    }
    c->busy = false;
}

/* What a client does by itself, when its time has come. */
static void act(client *c)
{
    if (c->done) {
        end(c, false);
        return;
    }
    if (c->leaves && now_ns >= c->leave_ns) {
        end(c, true);
        return;
    }
    if (now_ns >= c->turn_ns) {
        c->paused = !c->paused;
        if (!c->paused)
            c->paused_ns += now_ns - c->paused_since_ns;
        c->paused_since_ns = now_ns;
        tg_dispatch_pause(c->dispatch, c->paused);
        c->turn_ns = c->paused || chance(50) ? now_ns + below(800ull * MS) : UINT64_MAX;
    }
    const uint64_t patience =
        c->plan.step_count * (TOTAL_MS + 2 * TG_DISPATCH_TICK_MS) * (uint64_t)MS;
    MUST(c->paused || now_ns - c->began_ns - c->paused_ns <= patience, c, "no end after %llu ms",
         (unsigned long long)((now_ns - c->began_ns) / MS));
}

/* ---- the run ---- */

static void load(void)
{
    char path[] = "/tmp/tg-sim-XXXXXX";
    tg_error err = {""};
    static tg_targets *targets;
    const int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    tg_price_book *prices = tg_price_book_new("sim");
    if (!file || !prices)
        fail(NULL, "a place to write", "%s", path);
    fprintf(file, "version: 1\ntargets:\n");
    for (int i = 0; i < TARGETS; i++) {
        char id[8];
        snprintf(id, sizeof id, "t%d", i);
        fprintf(file,
                "  - id: %s\n    provider: %s\n    model: m\n    first_token_timeout_ms: %d\n    "
                "idle_timeout_ms: %d\n"
                "    total_timeout_ms: %d\n    endpoints:\n      - {id: a, url: 'http://x', "
                "credential_env: K}\n"
                "      - {id: b, url: 'http://y', credential_env: K}\n",
                id, i % 2 ? "anthropic" : "openai", FIRST_TOKEN_MS, IDLE_MS, TOTAL_MS);
        const tg_price price = {.input = INPUT_PRICE * (i + 1), .output = OUTPUT_PRICE * (i + 1)};
        tg_price_book_add(prices, id, &price);
        credentials[i] = credentials_of_one;
    }
    fclose(file);
    const int rc = tg_targets_load(path, &err, &targets);
    unlink(path);
    if (rc < 0)
        fail(NULL, "targets", "%s", err.text);
    snapshot = (tg_snapshot){.targets = targets, .prices = prices};
}

static void run(uint64_t requests)
{
    uint64_t begun = 0, tick_ns = now_ns;
    for (;;) {
        size_t busy = 0;
        for (size_t i = 0; i < CLIENTS; i++) {
            client *c = &clients[i];
            if (c->busy)
                act(c);
            if (!c->busy && begun < requests && chance(20)) {
                begin(c);
                begun++;
            }
            busy += c->busy;
        }
        if (busy == 0 && begun == requests)
            return;
        if (now_ns >= tick_ns) {
            tg_dispatch_tick(&env);
            tick_ns = now_ns + TG_DISPATCH_TICK_MS * (uint64_t)MS;
        }
        const uint64_t next = sim_net_next(&net), soon = now_ns + 1 * MS;
        now_ns = next > tick_ns ? tick_ns : next > now_ns ? next : now_ns;
        now_ns = now_ns > soon ? soon : now_ns; /* clients act by the millisecond */
        sim_net_step(&net);
    }
}

int main(int argc, char **argv)
{
    request_count = 20000;
    seed = tg_clock_wall_ns() / 1000;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value;
        const bool is_seed = strcmp(argv[i], "--seed") == 0;
        if ((!is_seed && strcmp(argv[i], "--requests") != 0) ||
            tg_str_u64(tg_str_of(argv[i + 1]), &value) < 0) {
            fprintf(stderr, "usage: sim-dispatch [--requests N] [--seed S]\n");
            return 2;
        }
        *(is_seed ? &seed : &request_count) = value;
    }
    random_state = seed;
    load();
    sim_net_init(&net, &random_state, &now_ns);
    start_of_net = net.transport.start;
    net.transport.start = start_noting;
    env = (tg_dispatch_env){.http = &net.transport,
                            .rpc = &net.transport,
                            .mono_ns = clock_ns,
                            .wall_ns = clock_ns,
                            .opened = opened,
                            .closed = closed,
                            .observe = observe,
                            .probe = probe,
                            .instance_id = "sim",
                            .doc = tg_json_doc_new()};
    tg_dispatch_env_init(&env);
    run(request_count);
    MUST(net.live_count == 0, NULL, "%zu exchanges are left", net.live_count);
    MUST(env.active_count == 0 && open_records == 0, NULL, "%zu dispatches are left",
         env.active_count);
    MUST(tally_ok + tally_failed + tally_broken + tally_left == request_count, NULL,
         "requests were lost");
    printf("sim-dispatch: %llu requests, %llu attempts: %llu ok, %llu failed, %llu broken off, "
           "%llu clients left; seed %llu\n",
           (unsigned long long)request_count, (unsigned long long)tally_attempts,
           (unsigned long long)tally_ok, (unsigned long long)tally_failed,
           (unsigned long long)tally_broken, (unsigned long long)tally_left,
           (unsigned long long)seed);
    tg_json_doc_free(env.doc);
    return 0;
}
