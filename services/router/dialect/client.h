/* The inside of the client encoders: client.c has the face, client_<dialect>.c the wire forms. */
#ifndef TG_ROUTER_DIALECT_CLIENT_H
#define TG_ROUTER_DIALECT_CLIENT_H

#include "services/router/dialect/codec.h"

/* Streamed: the pieces of an answer. `begin` is called once, before the first text. */
int tg_client_openai_begin(tg_client_encoder *encoder, tg_buf *out);
int tg_client_openai_text(tg_client_encoder *encoder, tg_str text, tg_buf *out);
int tg_client_openai_reasoning(tg_client_encoder *encoder, tg_str text, tg_buf *out);
/* CALL or ARGUMENTS */
int tg_client_openai_call(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out);
/* Plain, of both: the call, or the piece of arguments, into encoder->calls. */
int tg_client_collect(tg_client_encoder *encoder, const tg_chat_event *event);
int tg_client_openai_finish(tg_client_encoder *encoder, const char *comment, tg_buf *out);
int tg_client_openai_broken(const char *message, tg_buf *out);
int tg_client_anthropic_begin(tg_client_encoder *encoder, tg_buf *out);
/* CALL or ARGUMENTS */
int tg_client_anthropic_call(tg_client_encoder *encoder, const tg_chat_event *event, tg_buf *out);
int tg_client_anthropic_text(tg_client_encoder *encoder, tg_str text, tg_buf *out);
int tg_client_anthropic_thought(tg_client_encoder *encoder, tg_str text, tg_buf *out);
int tg_client_anthropic_finish(tg_client_encoder *encoder, const char *comment, tg_buf *out);
int tg_client_anthropic_broken(const char *message, tg_buf *out);

/* Streamed and same dialect: what is left to say once the upstream's own events went through. */
int tg_client_openai_raw_end(tg_client_encoder *encoder, const char *comment, tg_buf *out);
int tg_client_anthropic_raw_end(tg_client_encoder *encoder, const char *comment, tg_buf *out);

/* Plain: the whole body from what was collected. */
int tg_client_openai_body(tg_client_encoder *encoder, tg_buf *out);
int tg_client_anthropic_body(tg_client_encoder *encoder, tg_buf *out);

/* ": comment" and an empty line; line breaks inside become spaces. NULL or "": nothing. */
int tg_client_comment(const char *comment, tg_buf *out);
/* One SSE event. `name` may be empty; a payload of several lines becomes several data lines. */
int tg_client_sse(tg_str name, tg_str data, tg_buf *out);

#endif
