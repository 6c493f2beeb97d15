/* Answers of the four providers as they come over the wire, and a printer of the events they
 * become. */
#ifndef TG_TESTS_DIALECT_ANSWERS_H
#define TG_TESTS_DIALECT_ANSWERS_H

#include "services/router/dialect/codec.h"
#include "tollgate/v1/inference.pb-c.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- events as text: "start(gpt-4o,chatcmpl-1) text(Hi) stop(1) usage(3/0/0/0/2/0) " ---- */

static inline void print_event(void *user, const tg_chat_event *e)
{
    tg_buf *out = user;
    const tg_tokens *t = &e->tokens;
    switch (e->type) {
    case TG_CHAT_START:
        tg_buf_printf(out, "start(%.*s,%.*s)", TG_STR_ARG(e->model), TG_STR_ARG(e->upstream_id));
        break;
    case TG_CHAT_TEXT:
        tg_buf_printf(out, "text(%.*s)", TG_STR_ARG(e->text));
        break;
    case TG_CHAT_REASONING:
        tg_buf_printf(out, "reasoning(%.*s)", TG_STR_ARG(e->text));
        break;
    case TG_CHAT_CALL:
        tg_buf_printf(out, "call%u(%.*s,%.*s)", e->call, TG_STR_ARG(e->call_id),
                      TG_STR_ARG(e->call_name));
        break;
    case TG_CHAT_ARGUMENTS:
        tg_buf_printf(out, "arguments%u(%.*s)", e->call, TG_STR_ARG(e->text));
        break;
    case TG_CHAT_STOP:
        tg_buf_printf(out, "stop(%d%s%.*s)", (int)e->stop, e->stop_sequence.len ? "," : "",
                      TG_STR_ARG(e->stop_sequence));
        break;
    case TG_CHAT_USAGE:
        tg_buf_printf(out, "usage(%s%llu/%llu/%llu/%llu,%s%llu/%llu)", e->has_input ? "" : "?",
                      (unsigned long long)t->input, (unsigned long long)t->cache_read,
                      (unsigned long long)t->cache_write_5m, (unsigned long long)t->cache_write_1h,
                      e->has_output ? "" : "?", (unsigned long long)t->output,
                      (unsigned long long)t->reasoning);
        if (e->queue_ns || e->gpu_ns)
            tg_buf_printf(out, "+%llu+%llu+%.*s", (unsigned long long)e->queue_ns,
                          (unsigned long long)e->gpu_ns, TG_STR_ARG(e->numerics));
        break;
    case TG_CHAT_ERROR:
        tg_buf_printf(out, "error(%.*s,%.*s)", TG_STR_ARG(e->error_type),
                      TG_STR_ARG(e->error_message));
        break;
    case TG_CHAT_OTHER:
        tg_buf_printf(out, "other");
        break;
    }
    tg_buf_printf(out, "%s%s ", e->raw_shared ? "'" : "",
                  e->raw_usage_only && !e->raw_shared ? "!" : "");
}

/* The same with the raw payloads, to compare two ways of cutting one stream byte for byte. */
static inline void print_event_raw(void *user, const tg_chat_event *e)
{
    tg_buf *out = user;
    print_event(user, e);
    if (!e->raw_shared)
        tg_buf_printf(out, "<%.*s:%.*s>", TG_STR_ARG(e->raw_name), TG_STR_ARG(e->raw));
}

/* ---- event stream frames ---- */

static inline void put_be32(tg_buf *out, uint32_t value)
{
    char bytes[4] = {(char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value};
    tg_buf_add(out, bytes, 4);
}

static inline void put_header(tg_buf *out, const char *name, const char *value)
{
    size_t len = strlen(value);
    char size[2] = {(char)(len >> 8), (char)len};
    tg_buf_add_char(out, (char)strlen(name));
    tg_buf_add_text(out, name);
    tg_buf_add_char(out, 7);
    tg_buf_add(out, size, 2);
    tg_buf_add_text(out, value);
}

/* `kind` is :event-type or :exception-type. */
static inline void put_frame(tg_buf *out, const char *kind, const char *name, const char *payload)
{
    tg_buf headers, frame;
    tg_buf_init(&headers, 0);
    tg_buf_init(&frame, 0);
    put_header(&headers, kind, name);
    tg_buf_add(&headers,
               "\x04"
               "ints\x04\x00\x00\x00\x2a",
               10); /* a header of another type */
    put_header(&headers, ":content-type", "application/json");
    put_header(&headers, ":message-type", strcmp(kind, ":event-type") == 0 ? "event" : "exception");
    put_be32(&frame, (uint32_t)(16 + headers.len + strlen(payload)));
    put_be32(&frame, (uint32_t)headers.len);
    put_be32(&frame, (uint32_t)crc32(0, (const unsigned char *)frame.data, 8));
    tg_buf_add(&frame, headers.data, headers.len);
    tg_buf_add_text(&frame, payload);
    put_be32(&frame, (uint32_t)crc32(0, (const unsigned char *)frame.data, (unsigned)frame.len));
    tg_buf_add(out, frame.data, frame.len);
    tg_buf_free(&headers);
    tg_buf_free(&frame);
}

/* ---- the answers ---- */

#define OPENAI_CHUNK(delta, finish)                                                                \
    "data: {\"id\":\"chatcmpl-AqZ1\",\"object\":\"chat.completion.chunk\",\"created\":1732500000," \
    "\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\","                           \
    "\"system_fingerprint\":\"fp_0705bf87c0\",\"choices\":[{\"index\":0,\"delta\":" delta          \
    ",\"logprobs\":null,\"finish_reason\":" finish "}],\"usage\":null}\n\n"

static const char openai_stream[] = OPENAI_CHUNK(
    "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null")
    OPENAI_CHUNK("{\"content\":\"Gr\\u00fc\\u00dfe \"}", "null") ": keep-alive\n\n" OPENAI_CHUNK(
        "{\"content\":\"aus Z\xC3\xBCrich \xF0\x9F\x8F\x94\"}", "null")
        OPENAI_CHUNK("{}", "\"stop\"") "data: "
                                       "{\"id\":\"chatcmpl-AqZ1\",\"object\":\"chat.completion."
                                       "chunk\",\"created\":1732500000,"
                                       "\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[],"
                                       "\"usage\":{\"prompt_tokens\":1320,"
                                       "\"completion_tokens\":9,\"total_tokens\":1329,\"prompt_"
                                       "tokens_details\":{\"cached_tokens\":1024,"
                                       "\"audio_tokens\":0},\"completion_tokens_details\":{"
                                       "\"reasoning_tokens\":4,\"audio_tokens\":0}}}\n\n"
                                       "data: [DONE]\n\n";
static const char openai_stream_events[] =
    "start(gpt-4o-mini-2024-07-18,chatcmpl-AqZ1) text(Gr\xC3\xBC\xC3\x9F"
    "e ) text(aus Z\xC3\xBCrich \xF0\x9F\x8F\x94) stop(1) usage(296/1024/0/0,9/4)! ";

static const char openai_plain[] =
    "{\n  \"id\": \"chatcmpl-B1\",\n  \"object\": \"chat.completion\",\n  \"created\": "
    "1732500000,\n"
    "  \"model\": \"gpt-4o-2024-11-20\",\n  \"choices\": [\n    {\n      \"index\": 0,\n"
    "      \"message\": {\n        \"role\": \"assistant\",\n        \"content\": \"Forty-two.\",\n"
    "        \"refusal\": null\n      },\n      \"logprobs\": null,\n"
    "      \"finish_reason\": \"length\"\n    }\n  ],\n  \"usage\": {\n    \"prompt_tokens\": 12,\n"
    "    \"completion_tokens\": 0,\n    \"total_tokens\": 12\n  },\n"
    "  \"system_fingerprint\": \"fp_1\"\n}\n";
static const char openai_plain_events[] =
    "start(gpt-4o-2024-11-20,chatcmpl-B1) text(Forty-two.)' stop(2)' usage(12/0/0/0,0/0)' ";

static const char anthropic_stream[] =
    "event: message_start\r\n"
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01X\",\"type\":\"message\","
    "\"role\":\"assistant\",\"model\":\"claude-3-haiku-20240307\",\"content\":[],\"stop_reason\":"
    "null,"
    "\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":300,"
    "\"cache_read_input_tokens\":2048,\"cache_creation\":{\"ephemeral_5m_input_tokens\":100,"
    "\"ephemeral_1h_input_tokens\":200},\"output_tokens\":1}}}\r\n\r\n"
    "event: content_block_start\r\n"
    "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\","
    "\"text\":\"\"}}\r\n\r\n"
    "event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n"
    "event: content_block_delta\r\n"
    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\","
    "\"text\":\"Hel\"}}\r\n\r\n"
    "event: content_block_delta\r\n"
    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\","
    "\"text\":\"l\xC3\xB6!\"}}\r\n\r\n"
    "event: content_block_stop\r\ndata: {\"type\":\"content_block_stop\",\"index\":0}\r\n\r\n"
    "event: message_delta\r\n"
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"stop_sequence\","
    "\"stop_sequence\":\"END\"},\"usage\":{\"output_tokens\":15}}\r\n\r\n"
    "event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n";
static const char anthropic_stream_events[] =
    "start(claude-3-haiku-20240307,msg_01X) usage(25/2048/100/200,1/0)' other other text(Hel) "
    "text(l\xC3\xB6!) other stop(3,END) usage(25/2048/100/200,15/0)' other ";

static const char anthropic_plain[] =
    "{\"id\":\"msg_02\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-3-5-sonnet-"
    "20241022\","
    "\"content\":[{\"type\":\"text\",\"text\":\"One. \"},{\"type\":\"text\",\"text\":\"Two.\"}],"
    "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,"
    "\"cache_creation_input_tokens\":7,\"cache_read_input_tokens\":0,\"output_tokens\":6}}";
static const char anthropic_plain_events[] = "start(claude-3-5-sonnet-20241022,msg_02) text(One. "
                                             ")' text(Two.)' stop(1)' usage(0/0/7/0,6/0)' ";

static inline void bedrock_stream(tg_buf *out)
{
    put_frame(out, ":event-type", "messageStart", "{\"p\":\"abcdef\",\"role\":\"assistant\"}");
    put_frame(out, ":event-type", "contentBlockDelta",
              "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"Bon\"},\"p\":\"abcdefghijklmnop\"}");
    put_frame(out, ":event-type", "contentBlockDelta",
              "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"jour \xE2\x82\xAC\"},\"p\":\"abc\"}");
    put_frame(out, ":event-type", "contentBlockStop", "{\"contentBlockIndex\":0,\"p\":\"ab\"}");
    put_frame(out, ":event-type", "messageStop", "{\"p\":\"abcd\",\"stopReason\":\"max_tokens\"}");
    put_frame(
        out, ":event-type", "metadata",
        "{\"metrics\":{\"latencyMs\":411},\"p\":\"abc\",\"usage\":{\"inputTokens\":31,"
        "\"outputTokens\":8,\"totalTokens\":139,\"cacheReadInputTokens\":40,"
        "\"cacheWriteInputTokens\":60,\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":20}]}}");
}
static const char bedrock_stream_events[] =
    "start(,) text(Bon) text(jour \xE2\x82\xAC) stop(2) usage(31/40/40/20,8/0) ";

static const char bedrock_plain[] = "{\"metrics\":{\"latencyMs\":551},\"output\":{\"message\":{"
                                    "\"content\":[{\"text\":\"Bonjour.\"}],"
                                    "\"role\":\"assistant\"}},\"stopReason\":\"guardrail_"
                                    "intervened\",\"usage\":{\"inputTokens\":14,"
                                    "\"outputTokens\":3,\"totalTokens\":17}}";
static const char bedrock_plain_events[] =
    "start(,) text(Bonjour.)' stop(4)' usage(14/0/0/0,3/0)' ";

/* The n-th message of a private answer; false past the last. */
static inline bool private_message(size_t n, tg_buf *out)
{
    Tollgate__V1__GenerateStart start = TOLLGATE__V1__GENERATE_START__INIT;
    Tollgate__V1__GenerateDelta delta = TOLLGATE__V1__GENERATE_DELTA__INIT;
    Tollgate__V1__GenerateEnd end = TOLLGATE__V1__GENERATE_END__INIT;
    Tollgate__V1__GenerateEvent event = TOLLGATE__V1__GENERATE_EVENT__INIT;
    char model[] = "smollm2-135m-instruct", one[] = "Kalt", two[] = " \xE2\x9D\x84",
         numerics[] = "7";
    if (n == 0) {
        start.model = model;
        start.prompt_tokens = 50;
        event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_START;
        event.start = &start;
    } else if (n < 3) {
        delta.text = n == 1 ? one : two;
        event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_DELTA;
        event.delta = &delta;
    } else if (n == 3) {
        end.finish = TOLLGATE__V1__FINISH_REASON__FINISH_REASON_STOP;
        end.prompt_tokens = 50;
        end.cached_tokens = 32;
        end.output_tokens = 2;
        end.reasoning_tokens = 1;
        end.queue_ns = 1000;
        end.engine_ns = 77000;
        end.numerics = numerics;
        event.event_case = TOLLGATE__V1__GENERATE_EVENT__EVENT_END;
        event.end = &end;
    } else {
        return false;
    }
    size_t len = tollgate__v1__generate_event__get_packed_size(&event);
    tg_buf_clear(out);
    tg_buf_reserve(out, len);
    tollgate__v1__generate_event__pack(&event, (uint8_t *)out->data);
    out->len = len;
    return true;
}
static const char private_events[] =
    "start(smollm2-135m-instruct,) usage(50/0/0/0,?0/0)' text(Kalt) text( \xE2\x9D\x84) stop(1) "
    "usage(18/32/0/0,2/1)+1000+77000+7' ";

#endif
