/* Parts of upstream requests for upstream_request.c: tools, each in its dialect's words, by
 * upstream_tools.c; the private tier's request by upstream_private.c. */
#ifndef TG_ROUTER_DIALECT_UPSTREAM_H
#define TG_ROUTER_DIALECT_UPSTREAM_H

#include "services/router/dialect/codec.h"

const char *tg_upstream_role(tg_role role); /* system, user, assistant, tool */
int tg_upstream_private(const tg_chat_request *request, const tg_upstream_ask *ask, tg_buf *body);

/* Members of the object being written; nothing where the request offers no tools. */
void tg_upstream_tools_openai(tg_json_out *out, const tg_chat_request *request);
void tg_upstream_tools_anthropic(tg_json_out *out, const tg_chat_request *request);
void tg_upstream_tools_bedrock(tg_json_out *out, const tg_chat_request *request);

/* Members of one message beside role and content: the calls it makes, the call it answers. */
void tg_upstream_message_openai(tg_json_out *out, const tg_chat_message *message);
/* OpenAI's form as an array by itself, for those who take it as text. */
void tg_upstream_calls_openai(tg_json_out *out, const tg_chat_message *message);
void tg_upstream_tool_list_openai(tg_json_out *out, const tg_chat_request *request);

/* The blocks of one message: text, calls, a call's result. */
void tg_upstream_blocks(tg_json_out *out, bool bedrock, const tg_chat_message *message);

#endif
