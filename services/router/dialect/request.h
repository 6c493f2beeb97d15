/* What the two readers of client requests share. Internal to dialect/. */
#ifndef TG_ROUTER_DIALECT_REQUEST_H
#define TG_ROUTER_DIALECT_REQUEST_H

#include "services/router/dialect/codec.h"

/* One request being read. Errors are sentences for the client; the first one wins. */
typedef struct tg_request_reader {
    tg_arena *arena;
    tg_error *err;
    tg_chat_request *out;
    tg_chat_message *messages; /* room for message_room of them */
    size_t message_room;
    bool max_tokens_seen; /* under either of OpenAI's two names */
    bool stream_options_seen;
} tg_request_reader;

/* Reads one member of the body; `name` is the member's own. null never gets here: it means absent.
 */
typedef int tg_request_read(tg_request_reader *reader, tg_json value, const char *name);

typedef struct tg_request_field {
    const char *name;
    tg_request_read *read;
} tg_request_field;

/* Every member of `root` that `fields` names; others are left to the upstream (verbatim) or
 * dropped. */
int tg_request_read_fields(tg_request_reader *reader, tg_json root, const tg_request_field *fields,
                           size_t count);

int tg_request_openai(tg_request_reader *reader, tg_json root);
int tg_request_anthropic(tg_request_reader *reader, tg_json root);

/* Members both dialects have. */
int tg_request_model(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_stream(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_max_tokens(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_stops(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_refuse(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_number(tg_request_reader *reader, tg_json value, const char *name, double most,
                      double *ret);

/* A JSON schema at this path of members in the body, the schema's own member last. */
int tg_request_schema(tg_request_reader *reader, const char *const *path, size_t path_len);

/* A part of content that must be text; its text is still inside the document. */
int tg_request_part_text(tg_request_reader *reader, tg_json part, const char *name, size_t index,
                         tg_str *ret);
/* Text content, a string or an array of {"type":"text","text":…} parts (joined by newlines), copied
 * into the arena. Any other part is refused by its type. */
int tg_request_text(tg_request_reader *reader, tg_json content, const char *name, tg_str *ret);
int tg_request_copy(tg_request_reader *reader, tg_str text, tg_str *ret); /* into the arena */
/* counts its bytes */
int tg_request_add_message(tg_request_reader *reader, tg_role role, tg_str text);

/* tools.c: OpenAI's tools, tool_choice, an assistant's tool_calls. Names in messages are the
 * members'. */
int tg_request_tools(tg_request_reader *reader, tg_json value, const char *name);
/* The request's list of tools, each read by `read`, which says what is wrong; they count as
 * text. */
typedef int (*tg_tool_fn)(tg_request_reader *reader, tg_json value, const char *name, size_t index,
                          tg_chat_tool *ret);
int tg_request_tool_list(tg_request_reader *reader, tg_json value, const char *name,
                         tg_tool_fn read);
int tg_request_tool_choice(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_one_call(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_calls(tg_request_reader *reader, tg_json value, const char *name,
                     tg_chat_message *message);
int tg_request_check_tools(tg_request_reader *reader); /* when all is read */

/* anthropic_tools.c: the same as Anthropic's clients have them, and the blocks of a message's
 * content, which may become several messages: results of calls, then the text. */
int tg_request_anthropic_tools(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_anthropic_tool_choice(tg_request_reader *reader, tg_json value, const char *name);
int tg_request_anthropic_blocks(tg_request_reader *reader, tg_json blocks, tg_role role);

/* The parameters of a tool, a JSON object of so little depth that every provider's request can hold
 * it. */
int tg_request_parameters(tg_request_reader *reader, tg_json value, const char *name, size_t index,
                          const char *field, tg_str *ret);
/* The text is a JSON object of such depth. 0 or -ENOMEM. */
int tg_request_is_object(tg_str text, bool *ret);

#endif
