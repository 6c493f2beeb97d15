/* The one canonical conversation that every dialect is decoded into and encoded from. */
#ifndef TG_ROUTER_CHAT_H
#define TG_ROUTER_CHAT_H

#include "libs/base/str.h"
#include "libs/money/money.h"
#include "libs/usage/event.h"

#include <stdbool.h>
#include <stdint.h>

#define TG_CHAT_MESSAGES_MAX 4096 /* messages of a conversation; more are refused */
#define TG_CHAT_TOOLS_MAX 128 /* tools one request may offer, and calls one message may hold */
#define TG_CHAT_STOPS_MAX 16 /* stop strings of one request; more are refused */
#define TG_CHAT_CHOICES_MAX 1024 /* texts of which an answer may have to be one; more are refused */

typedef enum tg_dialect {
    TG_DIALECT_OPENAI,
    TG_DIALECT_ANTHROPIC,
    TG_DIALECT_BEDROCK,
    TG_DIALECT_TOLLGATE
} tg_dialect;

typedef enum tg_role { TG_ROLE_SYSTEM, TG_ROLE_USER, TG_ROLE_ASSISTANT, TG_ROLE_TOOL } tg_role;

typedef struct tg_chat_call { /* of a tool, in an assistant's message */
    tg_str id, name;
    tg_str arguments; /* as the client wrote them */
    tg_str object;    /* the same as a JSON object: {"arguments": their text} where they are none */
} tg_chat_call;

typedef struct tg_chat_message {
    tg_role role;
    tg_str text;
    tg_str call_id;   /* TOOL: the call that this answers */
    tg_str reasoning; /* ASSISTANT: what it thought before */
    const tg_chat_call *calls; /* ASSISTANT */
    size_t call_count;
} tg_chat_message;

/* What the answer's text has to be. */
typedef enum tg_answer_form {
    TG_FORM_TEXT,
    TG_FORM_JSON_OBJECT,
    TG_FORM_JSON_SCHEMA,
    TG_FORM_REGEX,
    TG_FORM_CHOICE
} tg_answer_form;

typedef struct tg_chat_tool {
    tg_str name, description; /* description may be empty */
    tg_str parameters;        /* a JSON schema; empty: none was given */
} tg_chat_tool;

typedef enum tg_tool_use {
    TG_TOOL_USE_AUTO,
    TG_TOOL_USE_NONE,
    TG_TOOL_USE_REQUIRED,
    TG_TOOL_USE_NAMED
} tg_tool_use;

typedef struct tg_chat_request {
    tg_dialect dialect; /* that the client spoke */
    tg_str body;        /* the client's body, verbatim; empty for gRPC */
    tg_str model;
    const tg_chat_message *messages;
    size_t message_count;
    uint64_t max_tokens; /* 0: not stated */
    bool has_temperature, has_top_p, has_seed;
    double temperature, top_p;
    uint64_t top_k; /* 0: not stated */
    uint64_t seed;
    const tg_str *stops;
    size_t stop_count;
    tg_answer_form form;
    tg_str schema;    /* JSON_SCHEMA: JSON, as the client wrote it; over HTTP a slice of `body` */
    tg_str form_name; /* JSON_SCHEMA: OpenAI's name for it, else empty */
    const tg_str *form_texts; /* REGEX: the expression; CHOICE: the texts */
    size_t form_text_count;
    const tg_chat_tool *tools;
    size_t tool_count;
    tg_tool_use tool_use;
    tg_str tool_named; /* TG_TOOL_USE_NAMED */
    bool one_call;     /* at most one call an answer */
    bool stream;
    bool include_usage; /* OpenAI: the client asked for the usage chunk itself */
    bool wants_thoughts;    /* Anthropic: it asked for thinking, and to see it */
    bool unsigned_thoughts; /* Anthropic: the conversation has thinking of another target, which
                               Anthropic would refuse */
    uint64_t text_bytes; /* of all messages, tools and the schema: the basis of the bound */
    uint64_t text_units; /* of all these (libs/tokenizer/estimate.h): the basis of estimates */
} tg_chat_request;

typedef enum tg_stop_reason {
    TG_STOP_NONE,
    TG_STOP_END,    /* the model ended its turn */
    TG_STOP_LENGTH, /* max_tokens */
    TG_STOP_SEQUENCE,
    TG_STOP_FILTER, /* the provider withheld content */
    TG_STOP_TOOLS,  /* the answer calls tools */
    TG_STOP_OTHER
} tg_stop_reason;

typedef enum tg_chat_event_type {
    TG_CHAT_START, /* model, upstream_id */
    TG_CHAT_TEXT,  /* text */
    TG_CHAT_REASONING, /* text: what the model thinks before it answers */
    TG_CHAT_CALL,      /* a call begins: call, call_id, call_name */
    TG_CHAT_ARGUMENTS, /* text: a piece of the JSON of that call's arguments */
    TG_CHAT_STOP,  /* stop */
    TG_CHAT_USAGE, /* tokens; later ones replace earlier ones */
    TG_CHAT_ERROR, /* error_type, error_message */
    TG_CHAT_OTHER  /* a payload without meaning to us (a ping): only its raw form matters */
} tg_chat_event_type;

/* Slices are valid during the callback only. */
typedef struct tg_chat_event {
    tg_chat_event_type type;
    tg_str model, upstream_id; /* START */
    tg_str text;               /* TEXT, REASONING, ARGUMENTS */
    uint32_t call;             /* CALL, ARGUMENTS: which, from 0 */
    tg_str call_id, call_name; /* CALL */
    tg_stop_reason stop;       /* STOP */
    tg_str stop_sequence;      /* STOP with TG_STOP_SEQUENCE, when the provider said it */
    tg_tokens tokens;          /* USAGE */
    bool has_input, has_output; /* USAGE: which of the two were reported */
    uint64_t queue_ns, gpu_ns;  /* USAGE of the private tier */
    tg_str numerics;            /* the same */
    tg_str error_type, error_message; /* ERROR */

    /* The upstream's own payload this event came from (one SSE event's data, or a whole plain
     * body), so that a client of the same dialect gets it verbatim. A payload may give several
     * events: the first carries it, the others have raw_shared set. */
    tg_str raw;
    tg_str raw_name;  /* the SSE event name, or empty */
    bool raw_shared;
    bool raw_usage_only; /* OpenAI's extra usage chunk: hidden from a client that did not ask for
                          * it */
} tg_chat_event;

/* The answer has begun: who has seen this cannot be given another target's. */
static inline bool tg_chat_is_output(const tg_chat_event *event)
{
    return event->type == TG_CHAT_CALL ||
           ((event->type == TG_CHAT_TEXT || event->type == TG_CHAT_REASONING ||
             event->type == TG_CHAT_ARGUMENTS) &&
            event->text.len > 0);
}

void tg_chat_count_text(tg_chat_request *request, tg_str text); /* into text_bytes and text_units */
/* An upper bound of the prompt's tokens, from its bytes, what passes verbatim in the client's body
 * included: for caps and reservations. */
uint64_t tg_chat_input_bound(const tg_chat_request *request);
/* The prompt's units, what chat templates add included: for a guess of its tokens. */
uint64_t tg_chat_input_units(const tg_chat_request *request);

#endif
