/* Dialects: pure codecs between wire bytes and the canonical conversation.
 *
 * Four of them: client requests in (OpenAI, Anthropic), upstream requests out (OpenAI, Anthropic,
 * Bedrock Converse, tollgate.v1.Inference), upstream answers in (the same four, plain and streamed,
 * resumable at any byte boundary), client answers out (OpenAI, Anthropic, plain and streamed).
 *
 * Bounds: TG_CODEC_EVENT_MAX bytes a stream event, TG_CODEC_BODY_MAX a plain answer.
 * Threads: one codec belongs to one request. No I/O, no clock: times and ids are given.
 */
#ifndef TG_ROUTER_CODEC_H
#define TG_ROUTER_CODEC_H

#include "libs/base/arena.h"
#include "libs/base/buf.h"
#include "libs/base/error.h"
#include "libs/config/mesh.h"
#include "libs/json/json.h"
#include "services/router/dialect/chat.h"

/* one event of an upstream's stream; a larger one fails the attempt */
#define TG_CODEC_EVENT_MAX ((size_t)1 << 20)
/* one request, or one whole answer; a larger answer fails the attempt */
#define TG_CODEC_BODY_MAX ((size_t)32 << 20)

/* ---- client requests ---- */

/* 0, or -EINVAL with a sentence fit for the client (names the field and what is allowed; images
 * are refused by name). Strings are copied into the arena; `body` must outlive the request. */
int tg_dialect_decode_request(tg_dialect dialect, tg_json_doc *doc, tg_str body, tg_arena *arena,
                              tg_error *err, tg_chat_request *ret);

/* Tools and calls as JSON texts of OpenAI's form, for requests that are no JSON themselves. Errors
 * as above. */
int tg_dialect_decode_tools(tg_json_doc *doc, tg_str tools, tg_str choice, tg_arena *arena,
                            tg_error *err, tg_chat_request *request);
int tg_dialect_decode_calls(tg_json_doc *doc, tg_str calls, tg_arena *arena, tg_error *err,
                            tg_chat_request *request, tg_chat_message *message);

/* ---- upstream requests ---- */

typedef struct tg_upstream_ask {
    const char *model;   /* as the target names it */
    uint64_t max_tokens; /* 0: not stated (Anthropic then gets `max_tokens_default`) */
    uint64_t max_tokens_default;
    bool stream;
    const char *tenant;     /* private tier */
    const char *request_id; /* private tier */
    uint32_t attempt;       /* private tier */
} tg_upstream_ask;

/* Appends the body. When client and target share a dialect the client's body is kept verbatim but
 * for model, max tokens, stream and stream_options; not one with thinking that Anthropic did not
 * sign. */
int tg_dialect_encode_upstream(tg_provider provider, const tg_chat_request *request,
                               const tg_upstream_ask *ask, tg_buf *body);

/* Appends a tollgate.v1.CountTokensRequest for the same prompt. */
int tg_dialect_encode_count(const tg_chat_request *request, tg_buf *body);

/* The path to append to the endpoint's URL; for Bedrock with the model percent-encoded once. */
int tg_dialect_upstream_path(tg_provider provider, const tg_upstream_ask *ask, tg_buf *path);

/* ---- upstream answers ---- */

typedef struct tg_answer_decoder tg_answer_decoder;
typedef void tg_on_chat_event(void *user, const tg_chat_event *event);

/* For an answer of status 200. `doc` is shared scratch of the owner's loop. */
tg_answer_decoder *tg_answer_decoder_new(tg_provider provider, bool stream, tg_json_doc *doc);
tg_answer_decoder *tg_answer_decoder_free(tg_answer_decoder *decoder);
/* 0, or -EBADMSG with a reason: the answer is not what the provider promises. */
int tg_answer_decoder_feed(tg_answer_decoder *decoder, tg_str bytes, tg_on_chat_event *on_event,
                           void *user, tg_error *err);
/* The body has ended. -EBADMSG when it broke off before the answer was complete. */
int tg_answer_decoder_end(tg_answer_decoder *decoder, tg_on_chat_event *on_event, void *user,
                          tg_error *err);
/* True once the answer's own end mark was seen ([DONE], message_stop, metadata, GenerateEnd). */
bool tg_answer_decoder_complete(const tg_answer_decoder *decoder);

/* What a non-200 answer says. */
typedef struct tg_upstream_error {
    char type[64];     /* the provider's own word, or "" */
    char message[256]; /* cut; never echoes credentials */
    bool quota;        /* our quota (429) */
    bool capacity;     /* their capacity (529, 503, throttled capacity) */
    bool retryable;    /* another target may be tried */
    bool permanent;    /* insufficient_quota and the like: not before someone acts */
} tg_upstream_error;

void tg_dialect_decode_error(tg_provider provider, unsigned status, tg_str body, tg_json_doc *doc,
                             tg_upstream_error *ret);

/* Rate-limit headers of an answer → health's observation. */
typedef struct tg_rate_limit {
    bool has_requests, has_tokens, has_input_tokens, has_output_tokens;
    uint64_t requests_limit, requests_remaining, requests_reset_ms;
    uint64_t tokens_limit, tokens_remaining, tokens_reset_ms;
    uint64_t input_tokens_remaining, output_tokens_remaining;
    uint64_t retry_after_ms; /* 0: not said */
} tg_rate_limit;

/* Feeds one header; names of other providers are ignored. Dates are relative to `now_unix_ns`. */
void tg_dialect_rate_header(tg_provider provider, tg_str name, tg_str value, uint64_t now_unix_ns,
                            tg_rate_limit *limit);

/* ---- client answers ---- */

typedef struct tg_client_encoder {
    tg_dialect dialect;
    bool stream;
    bool include_usage;
    bool same_dialect;   /* client and target share a dialect: raw payloads go through */
    char id[64];         /* shown as the answer's id: "chatcmpl-…" or "msg_…" of the request id */
    uint64_t created_unix_s;
    /* State. */
    char model[TG_USAGE_MODEL_MAX]; /* what ran: set by the owner to what was asked for; an answer
                                       that names its model replaces it */
    tg_buf text;         /* plain: the whole text */
    tg_buf reasoning;    /* plain: the whole of it */
    tg_buf calls; /* plain: OpenAI's array of calls, without its brackets and the last call's end */
    tg_stop_reason stop;
    char stop_sequence[64];
    tg_tokens tokens;
    bool started, stopped, raw_body_set;
    bool thoughts;       /* Anthropic: the client wants to be told of thinking */
    /* Anthropic, streamed: the block under way */
    enum { TG_BLOCK_NONE, TG_BLOCK_TEXT, TG_BLOCK_THINKING, TG_BLOCK_CALL } open;
    uint32_t blocks;     /* the same: of content, begun so far */
    tg_buf raw_body;     /* plain and same dialect: the upstream's body */
} tg_client_encoder;

void tg_client_encoder_init(tg_client_encoder *encoder, const tg_chat_request *request,
                            bool same_dialect, const char *request_id, uint64_t created_unix_s);
void tg_client_encoder_free(tg_client_encoder *encoder);

/* Streamed: appends the bytes this event becomes (maybe none). Plain: collects. */
int tg_client_encoder_event(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out);
/* The end of a complete answer. Streamed: the final events, with `comment` as an SSE comment line
 * before the end mark. Plain: the whole JSON body. `tokens` are the final counts. */
int tg_client_encoder_end(tg_client_encoder *encoder, const tg_tokens *tokens, const char *comment,
                          tg_buf *out);
/* A stream that breaks off: the dialect's error event (never a clean end mark). */
int tg_client_encoder_broken(tg_client_encoder *encoder, const char *message, tg_buf *out);

/* An error body in the client's dialect; returns nothing but the bytes. `code` may be "" (OpenAI's
 * `code`). */
int tg_dialect_encode_error(tg_dialect dialect, unsigned status, const char *type, const char *code,
                            const char *message, const char *request_id, tg_buf *out);

#endif
