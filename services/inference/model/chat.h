/* A conversation as the model was trained to read it: through the chat template that its file
 * carries (template.h).
 *
 * Control tokens come from the template alone: a message that contains "<|im_end|>" is encoded as
 * the characters it is made of.
 */
#ifndef TG_INFERENCE_CHAT_H
#define TG_INFERENCE_CHAT_H

#include "services/inference/model/model.h"

#define TG_PROMPT_MESSAGES_MAX 4096 /* messages of a conversation; more are refused */

typedef struct tg_prompt_message {
    tg_str role; /* system, user, assistant or tool */
    tg_str content;
    tg_str name;         /* who speaks; of a tool's message also which tool */
    tg_str tool_call_id; /* of a tool's message: the call it answers */
    tg_str tool_calls;   /* of an assistant's message: template.h */
    tg_str reasoning;    /* of an assistant's message: what it thought before */
} tg_prompt_message;

typedef struct tg_prompt { /* a conversation, and how the answer is to begin */
    const tg_prompt_message *messages;
    size_t messages_len;
    bool goes_on;  /* the last message is the beginning of the answer */
    tg_str tools;  /* a JSON array of those offered; empty: none */
    tg_str args;   /* a JSON object of further values for the template; empty: none */
    bool calls;    /* the answer is to be a call: the prompt ends behind the mark that opens one */
} tg_prompt;

/* Compiles the file's template and sets model->chat, ->answer and ->marks. One that is not
 * understood is no error: raw text can still be sent. 0 or -ENOMEM. */
int tg_chat_detect(tg_model *model);

/* What is configured in the file's stead; NULL or "": nothing. A template that is not understood is
 * refused here. 0; -ENOTSUP, -EINVAL or what opening the file says, with a message. */
int tg_chat_configure(tg_model *model, const char *template_file, const char *tool_format,
                      tg_error *err);

/* Appends the conversation's tokens, ending where the assistant's answer begins; or, when it goes
 * on, where the last message's content ends, which must be the assistant's; or behind the mark that
 * opens a call. *ret_thinking: that is within the thinking before the answer.
 * 0; -EINVAL (no messages, too many, an unknown role, tools for a template without a place for
 * them, or what the template itself refuses) or -ENOTSUP (the template is not understood), with
 * a message; -EMSGSIZE; -ENOMEM. */
int tg_chat_encode(const tg_model *model, const tg_prompt *prompt, tg_error *err,
                   tg_token_list *tokens, bool *ret_thinking);

#endif
