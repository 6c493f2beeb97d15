/* A conversation as the model was trained to read it.
 *
 * ChatML is what the default model's file asks for. Control tokens come from the template alone: a
 * message that contains "<|im_end|>" is encoded as the characters it is made of.
 */
#ifndef TG_INFERENCE_CHAT_H
#define TG_INFERENCE_CHAT_H

#include "services/inference/model/model.h"

#define TG_PROMPT_MESSAGES_MAX 4096

typedef struct tg_prompt_message {
    tg_str role; /* system, user or assistant */
    tg_str content;
} tg_prompt_message;

/* Looks at the file's template and sets model->chat and chat_system. 0 or -ENOMEM. */
int tg_chat_detect(tg_model *model);

/* Appends the conversation's tokens, ending where the assistant's answer begins.
 * 0; -EINVAL (no messages, too many, an unknown role) or -ENOTSUP (the file's template is of another
 * kind), with a message; -EMSGSIZE; -ENOMEM. */
int tg_chat_encode(const tg_model *model, const tg_prompt_message *messages, size_t messages_len,
                   tg_error *err, tg_token_list *tokens);

#endif
