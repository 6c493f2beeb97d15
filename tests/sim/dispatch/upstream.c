#include "tests/sim/dispatch/upstream.h"

#include "libs/base/id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 40, MS = 1000000 };

uint64_t sim_below(uint64_t *random, uint64_t limit) { return tg_random_next(random) % limit; }

/* Mostly a few milliseconds, now and then longer than any timeout. */
static uint64_t draw_delay_ns(uint64_t *random)
{
    const uint64_t kind = sim_below(random, 100);
    return kind < 80   ? sim_below(random, 5 * MS)
           : kind < 95 ? sim_below(random, 300 * MS)
                       : sim_below(random, 6000ull * MS);
}

/* ---- answers ---- */

static const char *const words[] = {"toll", " gate", " road", " \\u00e9t\\u00e9", " \\ud83d\\ude99",
                                    " bar", "\\n",   " a"};
static const char *const shown[] = {
    "toll", " gate", " road", " \xc3\xa9t\xc3\xa9", " \xf0\x9f\x9a\x99", " bar", "\n", " a"};
enum { WORDS = sizeof words / sizeof *words };

static void openai_stream(tg_upstream *u, const unsigned *said, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tg_buf_printf(
            &u->bytes,
            "data: "
            "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","
            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}"
            "\n\n",
            words[said[i]]);
    tg_buf_add_text(
        &u->bytes,
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    if (u->script.has_usage)
        tg_buf_printf(
            &u->bytes,
            "data: "
            "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","
            "\"choices\":[],\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_"
            "tokens\":%u}}\n\n",
            (unsigned)u->script.input, (unsigned)u->script.output,
            (unsigned)(u->script.input + u->script.output));
    tg_buf_add_text(&u->bytes, "data: [DONE]\n\n");
}

static void anthropic_stream(tg_upstream *u, const unsigned *said, size_t count)
{
    tg_buf_printf(&u->bytes,
                  "event: message_start\ndata: "
                  "{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":"
                  "\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_"
                  "reason\":null,\"usage\":"
                  "{\"input_tokens\":%u,\"output_tokens\":1}}}\n\nevent: "
                  "content_block_start\ndata: {\"type\":"
                  "\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\","
                  "\"text\":\"\"}}\n\n",
                  (unsigned)u->script.input);
    for (size_t i = 0; i < count; i++)
        tg_buf_printf(
            &u->bytes,
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
            "\"delta\":{\"type\":\"text_delta\",\"text\":\"%s\"}}\n\n",
            words[said[i]]);
    tg_buf_printf(
        &u->bytes,
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
        "event: message_delta\ndata: "
        "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},"
        "\"usage\":{\"output_tokens\":%u}}\n\nevent: message_stop\ndata: "
        "{\"type\":\"message_stop\"}\n\n",
        (unsigned)u->script.output);
}

static void plain(tg_upstream *u, const unsigned *said, size_t count)
{
    tg_buf_add_text(
        &u->bytes,
        u->anthropic
            ? "{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","
              "\"content\":[{\"type\":\"text\",\"text\":\""
            : "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
              "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (size_t i = 0; i < count; i++)
        tg_buf_add_text(&u->bytes, words[said[i]]);
    if (u->anthropic)
        tg_buf_printf(&u->bytes,
                      "\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":%u,\"output_"
                      "tokens\":%u}}",
                      (unsigned)u->script.input, (unsigned)u->script.output);
    else if (u->script.has_usage)
        tg_buf_printf(&u->bytes,
                      "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%u,"
                      "\"completion_tokens\":%u,\"total_tokens\":%u}}",
                      (unsigned)u->script.input, (unsigned)u->script.output,
                      (unsigned)(u->script.input + u->script.output));
    else
        tg_buf_add_text(&u->bytes, "\"},\"finish_reason\":\"stop\"}]}");
}

static void write_answer(sim_net *net, tg_upstream *u)
{
    unsigned said[WORDS_MAX];
    const size_t count = sim_below(net->random, WORDS_MAX) + 1;
    for (size_t i = 0; i < count; i++) {
        said[i] = (unsigned)sim_below(net->random, WORDS);
        strcat(u->script.text, shown[said[i]]);
    }
    u->script.input = sim_below(net->random, 5000) + 1;
    u->script.output = sim_below(net->random, 500) + 1;
    u->script.has_usage = u->anthropic || sim_chance(net->random, 90);
    u->script.whole = true;
    if (!u->stream)
        plain(u, said, count);
    else if (u->anthropic)
        anthropic_stream(u, said, count);
    else
        openai_stream(u, said, count);
}

static void write_error(sim_net *net, tg_upstream *u)
{
    static const unsigned statuses[] = {400, 401, 404, 429, 500, 503, 529};
    u->script.status = statuses[sim_below(net->random, sizeof statuses / sizeof *statuses)];
    u->retry_after_s = sim_chance(net->random, 50) ? sim_below(net->random, 60) : 0;
    if (sim_chance(net->random, 80))
        tg_buf_printf(
            &u->bytes,
            "{\"type\":\"error\",\"error\":{\"type\":\"some_error\",\"message\":\"status %u\"}}",
            u->script.status);
    else
        tg_buf_add_text(&u->bytes, "<html>not what was promised</html>");
}

/* What goes wrong with an answer that began well. */
static void spoil(sim_net *net, tg_upstream *u)
{
    static const char garbage[] = "data: {\"choices\": [[[\n\n";
    static const char error[] =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
        "\"message\":\"Overloaded\"}}\n\n";
    u->script.whole = false;
    u->cut = sim_below(net->random, u->bytes.len); /* at least one byte is missing */
    switch (sim_below(net->random, 5)) {
    case 0: u->failure = TG_UPSTREAM_RESET; break;
    case 1: u->failure = TG_UPSTREAM_TIMEOUT; break;
    case 2: break; /* the connection ends politely, the answer does not */
    case 3: u->stalls = true; break;
    default: /* the cut, and then bytes that are no answer */
        u->bytes.len = u->cut;
        tg_buf_add_text(&u->bytes, "\n\n");
        tg_buf_add_text(&u->bytes, u->anthropic && u->stream ? error : garbage);
        u->cut = u->bytes.len;
    }
}

/* ---- the transport ---- */

static int start(tg_transport *self, const tg_upstream_request *request,
                 tg_upstream_on_event *on_event, void *user, tg_upstream **ret)
{
    sim_net *net = (sim_net *)self;
    char body[4096];
    if (sim_chance(net->random, 3))
        return -EAGAIN;
    tg_upstream *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    u->on_event = on_event;
    u->user = user;
    tg_str_copy(body, sizeof body, request->body);
    u->anthropic = strstr(request->url, "/v1/messages") != NULL;
    u->stream = strstr(body, "\"stream\":true") != NULL || strstr(body, "\"stream\": true") != NULL;
    tg_buf_init(&u->bytes, 0);
    u->next_ns = *net->now_ns + draw_delay_ns(net->random);
    if (sim_chance(net->random, 5)) {
        u->failure = TG_UPSTREAM_CONNECT;
    } else if (sim_chance(net->random, 20)) {
        write_error(net, u);
        u->cut = u->bytes.len;
    } else {
        u->script.status = 200;
        write_answer(net, u);
        u->cut = u->bytes.len;
        if (sim_chance(net->random, 30))
            spoil(net, u);
    }
    tg_list_add_tail(&net->live, &u->node);
    net->live_count++;
    *ret = u;
    return 0;
}

static void drop(tg_upstream *u)
{
    tg_list_remove(&u->node);
    tg_buf_free(&u->bytes);
    free(u);
}

static sim_net *the_net; /* cancel and pause are not told which */

static void pause_upstream(tg_upstream *u, bool paused)
{
    u->paused = paused;
    if (!paused && u->next_ns < *the_net->now_ns)
        u->next_ns = *the_net->now_ns;
}

static void cancel(tg_upstream *u)
{
    the_net->live_count--;
    drop(u);
}

void sim_net_init(sim_net *net, uint64_t *random, uint64_t *now_ns)
{
    *net =
        (sim_net){.transport = {start, pause_upstream, cancel}, .random = random, .now_ns = now_ns};
    tg_list_init(&net->live);
    the_net = net;
}

static bool waits(const tg_upstream *u)
{
    return u->paused || (u->stalls && u->head_sent && u->sent == u->cut);
}

uint64_t sim_net_next(const sim_net *net)
{
    uint64_t next = UINT64_MAX;
    for (const tg_list *node = net->live.next; node != &net->live; node = node->next) {
        const tg_upstream *u = TG_CONTAINER_OF(node, tg_upstream, node);
        if (!waits(u) && u->next_ns < next)
            next = u->next_ns;
    }
    return next;
}

static void say_head(tg_upstream *u)
{
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%u", (unsigned)u->retry_after_s);
    const tg_upstream_header header = {TG_STR("retry-after"), tg_str_of(seconds)};
    u->head_sent = true;
    u->on_event(u->user, &(tg_upstream_event){.type = TG_UPSTREAM_HEAD,
                                              .status = u->script.status,
                                              .headers = &header,
                                              .header_count = u->retry_after_s > 0});
}

static void say_data(sim_net *net, tg_upstream *u)
{
    const size_t left = u->cut - u->sent;
    const size_t piece =
        sim_chance(net->random, 30) ? left : sim_below(net->random, left < 200 ? left : 200) + 1;
    const tg_str data = {u->bytes.data + u->sent, piece};
    u->sent += piece;
    u->on_event(u->user, &(tg_upstream_event){.type = TG_UPSTREAM_DATA, .data = data});
}

static void say_end(sim_net *net, tg_upstream *u)
{
    tg_list_remove(&u->node);
    tg_list_init(&u->node);
    net->live_count--;
    u->on_event(u->user, &(tg_upstream_event){.type = TG_UPSTREAM_END,
                                              .failure = u->failure,
                                              .reason = "simulated"});
    drop(u); /* it was out of the list: nobody can have cancelled it */
}

void sim_net_step(sim_net *net)
{
    for (tg_list *node = net->live.next; node != &net->live; node = node->next) {
        tg_upstream *u = TG_CONTAINER_OF(node, tg_upstream, node);
        if (waits(u) || u->next_ns > *net->now_ns)
            continue;
        u->next_ns = *net->now_ns + draw_delay_ns(net->random);
        if (!u->head_sent && u->script.status != 0)
            say_head(u);
        else if (u->sent < u->cut)
            say_data(net, u);
        else
            say_end(net, u);
        return; /* what it said may have ended others: look again from the start */
    }
}
