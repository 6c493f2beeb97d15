/* A conversation as the model was trained to read it: through the chat template that its file carries (template.h).
 *
 * Control tokens come from the template alone: a message that contains "<|im_end|>" is encoded as the characters it is made
 * of.
 */
#ifndef TG_INFERENCE_CHAT_H
#define TG_INFERENCE_CHAT_H

#include "services/inference/model/model.h"

#define TG_PROMPT_MESSAGES_MAX 4096 /* messages of a conversation; more are refused */

typedef struct tg_prompt_message {
    tg_str role; /* system, user or assistant */
    tg_str content;
} tg_prompt_message;

/* Compiles the file's template and sets model->chat. One that is not understood is no error: raw text can still be sent.
 * 0 or -ENOMEM. */
int tg_chat_detect(tg_model *model);

/* Appends the conversation's tokens, ending where the assistant's answer begins; or, when `goes_on`, where the last message's
 * content ends, which must be the assistant's and is the beginning of the answer.
 * 0; -EINVAL (no messages, too many, an unknown role, or what the template itself refuses) or -ENOTSUP (the file's template is
 * not understood), with a message; -EMSGSIZE; -ENOMEM. */
int tg_chat_encode(const tg_model *model, const tg_prompt_message *messages, size_t messages_len, bool goes_on,
                   tg_error *err, tg_token_list *tokens);

#endif
