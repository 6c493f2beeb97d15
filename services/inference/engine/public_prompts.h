/* System prompts that are public: their KV blocks are shared between tenants; internal to engine/.
 *
 * The prefix cache is salted by tenant, since how fast a prompt is answered would tell whether
 * another tenant had sent it. Where many tenants' requests begin with one text that is no secret,
 * configuration may declare it. A conversation whose first message is that text as the system's
 * then shares the whole blocks that lie in it and in what the chat template writes before it: what
 * others can learn is that the public text was used lately. From the first block on that holds
 * anything else all is the tenant's own. No request can declare anything: what is public is decided
 * by its tokens.
 *
 * A template that writes something that changes (today's date) ahead of the text makes the tokens
 * differ, and nothing is shared.
 *
 * Ownership: texts are not kept. Threads: read-only once made.
 */
#ifndef TG_ENGINE_PUBLIC_PROMPTS_H
#define TG_ENGINE_PUBLIC_PROMPTS_H

#include "services/inference/model/model.h"

#define TG_PUBLIC_PROMPTS_MAX 64 /* system prompts that are declared public */

typedef struct tg_public_prompts tg_public_prompts;

/* 0; -EINVAL: too many, an empty one, or as tg_chat_encode, with a message that says which;
 * -ENOMEM. */
int tg_public_prompts_new(const tg_model *model, const tg_str *texts, size_t texts_len,
                          tg_error *err, tg_public_prompts **ret);
tg_public_prompts *tg_public_prompts_free(tg_public_prompts *prompts);

/* How many whole leading blocks of these tokens are a public prompt's. NULL has none. */
uint32_t tg_public_prompts_match(const tg_public_prompts *prompts, const uint32_t *tokens,
                                 uint32_t len);

#endif
