#include "services/inference/model/chat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM_MAX 4096 /* bytes of a template's default system message */

/* The default system message is the literal text between "<|im_start|>system" and "<|im_end|>" in the
 * template. Line ends stand in it as themselves or as \n. A template that computes the text there has
 * no default. */
static int find_system(tg_model *model, tg_str template)
{
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    const char *at = memmem(template.data, template.len, open, sizeof(open) - 1);
    if (!at)
        return 0;
    at += sizeof(open) - 1;
    const char *end = memmem(at, (size_t)(template.data + template.len - at), close, sizeof(close) - 1);
    if (!end || end - at > SYSTEM_MAX || memchr(at, '\'', (size_t)(end - at)) ||
        memchr(at, '{', (size_t)(end - at)))
        return 0;
    char *text = calloc(1, (size_t)(end - at) + 1);
    if (!text)
        return -ENOMEM;
    size_t len = 0;
    for (const char *p = at; p < end; p++) {
        if (p[0] == '\\' && p + 1 < end && p[1] == 'n') {
            text[len++] = '\n';
            p++;
        } else {
            text[len++] = *p;
        }
    }
    if (len == 0 || text[0] != '\n') {
        free(text);
        return 0;
    }
    memmove(text, text + 1, len);
    model->chat_system = text;
    return 0;
}

int tg_chat_detect(tg_model *model)
{
    tg_str template;
    model->chat = TG_CHAT_NONE;
    if (tg_gguf_str(model->gguf, "tokenizer.chat_template", NULL, &template) < 0 || template.len == 0)
        return 0;
    model->chat = TG_CHAT_UNSUPPORTED;
    if (!memmem(template.data, template.len, "<|im_start|>", 12) ||
        tg_tokenizer_find_control(model->tokenizer, TG_STR("<|im_start|>")) == TG_TOKEN_NONE ||
        tg_tokenizer_find_control(model->tokenizer, TG_STR("<|im_end|>")) == TG_TOKEN_NONE)
        return 0;
    model->chat = TG_CHAT_CHATML;
    return find_system(model, template);
}

static bool known_role(tg_str role)
{
    return tg_str_is(role, "system") || tg_str_is(role, "user") || tg_str_is(role, "assistant");
}

static size_t chatml_message(tg_token_span *spans, tg_str role, tg_str content)
{
    spans[0] = (tg_token_span){TG_STR("<|im_start|>"), true};
    spans[1] = (tg_token_span){role, false};
    spans[2] = (tg_token_span){TG_STR("\n"), true};
    spans[3] = (tg_token_span){content, false};
    spans[4] = (tg_token_span){TG_STR("<|im_end|>\n"), true};
    return 5;
}

static size_t chatml(const tg_model *model, const tg_prompt_message *messages, size_t messages_len,
                     tg_token_span *spans)
{
    size_t len = 0;
    if (model->chat_system && !tg_str_is(messages[0].role, "system"))
        len += chatml_message(spans, TG_STR("system"), tg_str_of(model->chat_system));
    for (size_t i = 0; i < messages_len; i++)
        len += chatml_message(spans + len, messages[i].role, messages[i].content);
    spans[len++] = (tg_token_span){TG_STR("<|im_start|>assistant\n"), true};
    return len;
}

static size_t plain(const tg_prompt_message *messages, size_t messages_len, tg_token_span *spans)
{
    size_t len = 0;
    for (size_t i = 0; i < messages_len; i++) {
        if (i > 0)
            spans[len++] = (tg_token_span){TG_STR("\n"), true};
        spans[len++] = (tg_token_span){messages[i].content, false};
    }
    return len;
}

int tg_chat_encode(const tg_model *model, const tg_prompt_message *messages, size_t messages_len,
                   tg_error *err, tg_token_list *tokens)
{
    if (model->chat == TG_CHAT_UNSUPPORTED)
        return tg_error_set(err, -ENOTSUP, "the model's chat template is of a kind that is not "
                            "supported; ChatML is, and raw text can be sent instead of messages");
    if (messages_len == 0 || messages_len > TG_PROMPT_MESSAGES_MAX)
        return tg_error_set(err, -EINVAL, "%zu messages; 1 to %d are allowed", messages_len,
                            TG_PROMPT_MESSAGES_MAX);
    for (size_t i = 0; i < messages_len; i++)
        if (!known_role(messages[i].role))
            return tg_error_set(err, -EINVAL, "message %zu has the role '%.*s'; system, user and "
                                "assistant are allowed", i,
                                (int)(messages[i].role.len < 32 ? messages[i].role.len : 32),
                                messages[i].role.data);
    tg_token_span *spans = calloc(5 * (messages_len + 1) + 1, sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    size_t len = model->chat == TG_CHAT_CHATML ? chatml(model, messages, messages_len, spans)
                                               : plain(messages, messages_len, spans);
    int rc = tg_tokenizer_encode(model->tokenizer, spans, len, true, tokens);
    free(spans);
    return rc;
}
