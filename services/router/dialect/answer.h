/* The inside of an answer decoder, shared by answer.c and the four answer_<provider>.c. */
#ifndef TG_ROUTER_DIALECT_ANSWER_H
#define TG_ROUTER_DIALECT_ANSWER_H

#include "libs/http/sse.h"
#include "services/router/dialect/codec.h"
#include "services/router/dialect/eventstream.h"

struct tg_answer_decoder {
    tg_provider provider;
    bool stream;
    bool complete; /* the answer's own end mark was seen */
    bool started;  /* START was emitted */
    bool failed;   /* not to be fed any more */
    tg_json_doc *doc;
    tg_buf body; /* plain answers: what came so far */
    tg_sse_parser sse;
    tg_eventstream eventstream;

    uint32_t calls;   /* begun so far */
    bool call_empty;  /* the last has had no arguments yet */

    /* Anthropic reports usage in pieces; these are the sums so far. */
    tg_tokens tokens;
    bool has_input, has_output;

    /* The payload and the call under way. */
    tg_str raw, raw_name;
    bool raw_given, raw_usage_only;
    tg_on_chat_event *on_event;
    void *user;
    tg_error *err;
};

/* Adds the payload's raw form and hands the event out. */
void tg_answer_emit(tg_answer_decoder *decoder, tg_chat_event *event);
void tg_answer_emit_start(tg_answer_decoder *decoder, tg_str model, tg_str id); /* once an answer */
void tg_answer_emit_text(tg_answer_decoder *decoder,
                         tg_json text); /* nothing for an empty string */
void tg_answer_emit_reasoning(tg_answer_decoder *decoder, tg_json text);
void tg_answer_emit_call(tg_answer_decoder *decoder, tg_str id, tg_str name);
void tg_answer_emit_arguments(tg_answer_decoder *decoder, tg_str piece); /* of the last call */
void tg_answer_emit_object(tg_answer_decoder *decoder, tg_json arguments); /* all of them */
void tg_answer_emit_call_end(tg_answer_decoder *decoder); /* where none came they are {} */
void tg_answer_emit_stop(tg_answer_decoder *decoder, tg_stop_reason stop, tg_str sequence);
void tg_answer_emit_usage(tg_answer_decoder *decoder);
void tg_answer_emit_error(tg_answer_decoder *decoder, tg_str type, tg_str message);

/* Parses a payload that must be a JSON object. -EBADMSG with a reason. */
int tg_answer_parse(tg_answer_decoder *decoder, tg_str payload, tg_json *ret_root);
/* The member as a string, or the empty slice. */
tg_str tg_answer_text(tg_json object, const char *key);
/* Reads a count. False, with *ret untouched, when the member is absent or no number. */
bool tg_answer_count(tg_json object, const char *dotted, uint64_t *ret);
tg_stop_reason tg_answer_stop_reason(tg_str name);

/* One stream event, one whole plain answer. 0 or -EBADMSG with a reason. */
int tg_answer_openai_event(tg_answer_decoder *decoder, tg_str data);
int tg_answer_openai_body(tg_answer_decoder *decoder, tg_str body);
int tg_answer_anthropic_event(tg_answer_decoder *decoder, tg_str data);
int tg_answer_anthropic_body(tg_answer_decoder *decoder, tg_str body);
int tg_answer_bedrock_message(tg_answer_decoder *decoder, const tg_eventstream_message *message);
int tg_answer_bedrock_body(tg_answer_decoder *decoder, tg_str body);
int tg_answer_private_event(tg_answer_decoder *decoder, tg_str message);

#endif
