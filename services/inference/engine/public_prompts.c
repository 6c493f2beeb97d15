#include "services/inference/engine/public_prompts.h"

#include "services/inference/backend/backend.h"
#include "services/inference/model/chat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tg_public_prompts {
    tg_token_list tokens[TG_PUBLIC_PROMPTS_MAX]; /* of whole blocks */
    size_t len;
};

static size_t common(const tg_token_list *a, const tg_token_list *b)
{
    size_t len = 0;
    while (len < a->len && len < b->len && a->ids[len] == b->ids[len])
        len++;
    return len;
}

/* What two conversations with this system prompt have in common, whatever the user says. */
static int encode(const tg_model *model, tg_str text, tg_error *err, tg_token_list *ret)
{
    tg_prompt_message messages[] = {{.role = TG_STR("system"), .content = text},
                                    {.role = TG_STR("user"), .content = TG_STR("a")}};
    const tg_prompt prompt = {.messages = messages, .messages_len = 2};
    tg_token_list other = {0};
    bool thinking;
    if (text.len == 0)
        return tg_error_set(err, -EINVAL, "it is empty");
    int rc = tg_chat_encode(model, &prompt, err, ret, &thinking);
    messages[1].content = TG_STR("1");
    if (rc == 0)
        rc = tg_chat_encode(model, &prompt, err, &other, &thinking);
    if (rc == 0)
        ret->len = common(ret, &other) / TG_KV_BLOCK_TOKENS * TG_KV_BLOCK_TOKENS;
    tg_token_list_free(&other);
    return rc;
}

int tg_public_prompts_new(const tg_model *model, const tg_str *texts, size_t texts_len,
                          tg_error *err, tg_public_prompts **ret)
{
    if (texts_len > TG_PUBLIC_PROMPTS_MAX)
        return tg_error_set(err, -EINVAL, "%zu public prompts; at most %d are allowed", texts_len,
                            TG_PUBLIC_PROMPTS_MAX);
    tg_public_prompts *prompts = calloc(1, sizeof(*prompts));
    if (!prompts)
        return -ENOMEM;
    for (size_t i = 0; i < texts_len; i++) {
        tg_error why = {""};
        const int rc = encode(model, texts[i], &why, &prompts->tokens[prompts->len++]);
        if (rc < 0) {
            tg_public_prompts_free(prompts);
            return tg_error_set(err, rc, "public prompt %zu: %s", i + 1,
                                why.text[0] ? why.text : strerror(-rc));
        }
    }
    *ret = prompts;
    return 0;
}

tg_public_prompts *tg_public_prompts_free(tg_public_prompts *prompts)
{
    for (size_t i = 0; prompts && i < prompts->len; i++)
        tg_token_list_free(&prompts->tokens[i]);
    free(prompts);
    return NULL;
}

uint32_t tg_public_prompts_match(const tg_public_prompts *prompts, const uint32_t *tokens,
                                 uint32_t len)
{
    size_t most = 0;
    for (size_t i = 0; prompts && i < prompts->len; i++) {
        const tg_token_list given = {.ids = (uint32_t *)(uintptr_t)tokens, .len = len};
        const size_t same = common(&prompts->tokens[i], &given);
        most = same > most ? same : most;
    }
    return (uint32_t)(most / TG_KV_BLOCK_TOKENS);
}
