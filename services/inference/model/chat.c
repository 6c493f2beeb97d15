#include "services/inference/model/chat.h"

#include "libs/base/clock.h"
#include "services/inference/template/template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tg_chat_detect(tg_model *model)
{
    tg_str source;
    tg_error err = {""};
    model->chat = TG_CHAT_NONE;
    if (tg_gguf_str(model->gguf, "tokenizer.chat_template", NULL, &source) < 0 || source.len == 0)
        return 0;
    int rc = tg_template_compile(source, &err, &model->template);
    if (rc == -ENOMEM)
        return rc;
    model->chat = rc < 0 ? TG_CHAT_UNSUPPORTED : TG_CHAT_TEMPLATE;
    tg_str_copy(model->template_problem, sizeof(model->template_problem), tg_str_of(err.text));
    return 0;
}

static bool known_role(tg_str role)
{
    return tg_str_is(role, "system") || tg_str_is(role, "user") || tg_str_is(role, "assistant");
}

/* A file without a template: contents, a line end between. */
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

/* A span for each run of bytes of one origin. Returns how many; without `spans` it only counts. */
static size_t spans_of(const tg_template_text *text, tg_token_span *spans)
{
    size_t len = 0;
    for (size_t at = 0, end; at < text->len; at = end, len++) {
        for (end = at + 1; end < text->len && text->trusted[end] == text->trusted[at];)
            end++;
        if (spans)
            spans[len] = (tg_token_span){{text->bytes + at, end - at}, text->trusted[at] != 0};
    }
    return len;
}

static tg_str piece_of(const tg_tokenizer *tokenizer, uint32_t id)
{
    return id == TG_TOKEN_NONE ? (tg_str){"", 0} : tg_tokenizer_piece(tokenizer, id);
}

/* Cuts the text where the last message's content, as the template left it, ends. */
static int cut_behind(tg_template_text *text, tg_str content, tg_error *err)
{
    const tg_str wanted[] = {content, tg_str_trim(content)};
    for (size_t k = 0; k < 2; k++) {
        for (size_t at = text->len; at-- > 0 && wanted[k].len > 0;) {
            if (text->trusted[at] || text->len - at < wanted[k].len || memcmp(text->bytes + at, wanted[k].data, wanted[k].len) != 0)
                continue;
            text->len = at + wanted[k].len;
            return 0;
        }
    }
    return tg_error_set(err, -EINVAL, "the last message is to be continued, but it is empty or the chat template does not show it");
}

static int render(const tg_model *model, const tg_prompt_message *messages, size_t messages_len, bool goes_on, tg_error *err,
                  tg_template_text *ret)
{
    tg_template_message *list = calloc(messages_len, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < messages_len; i++)
        list[i] = (tg_template_message){messages[i].role, messages[i].content};
    const tg_template_input in = {.messages = list,
                                  .messages_len = messages_len,
                                  .bos_token = piece_of(model->tokenizer, tg_tokenizer_bos(model->tokenizer)),
                                  .eos_token = piece_of(model->tokenizer, tg_tokenizer_eos(model->tokenizer)),
                                  .add_generation_prompt = !goes_on,
                                  .now_s = (int64_t)(tg_clock_wall_ns() / 1000000000u)};
    int rc = tg_template_render(model->template, &in, err, ret);
    free(list);
    return rc == -E2BIG ? tg_error_set(err, -EMSGSIZE, "the chat template writes more than is allowed") : rc;
}

static int encode_template(const tg_model *model, const tg_prompt_message *messages, size_t messages_len, bool goes_on,
                           tg_error *err, tg_token_list *tokens)
{
    tg_template_text text = {0};
    int rc = render(model, messages, messages_len, goes_on, err, &text);
    if (rc < 0)
        return rc;
    if (goes_on)
        rc = cut_behind(&text, messages[messages_len - 1].content, err);
    const size_t len = spans_of(&text, NULL);
    tg_token_span *spans = calloc(len + 1, sizeof(*spans));
    if (rc == 0 && !spans)
        rc = -ENOMEM;
    if (rc == 0) {
        spans_of(&text, spans);
        rc = tg_tokenizer_encode(model->tokenizer, spans, len, true, tokens);
    }
    free(spans);
    tg_template_text_free(&text);
    return rc;
}

static int encode_plain(const tg_model *model, const tg_prompt_message *messages, size_t messages_len, tg_token_list *tokens)
{
    tg_token_span *spans = calloc(2 * messages_len, sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    int rc = tg_tokenizer_encode(model->tokenizer, spans, plain(messages, messages_len, spans), true, tokens);
    free(spans);
    return rc;
}

int tg_chat_encode(const tg_model *model, const tg_prompt_message *messages, size_t messages_len, bool goes_on,
                   tg_error *err, tg_token_list *tokens)
{
    if (model->chat == TG_CHAT_UNSUPPORTED)
        return tg_error_set(err, -ENOTSUP, "the model's chat template is not supported (%s); raw text can be sent instead of "
                            "messages", model->template_problem);
    if (messages_len == 0 || messages_len > TG_PROMPT_MESSAGES_MAX)
        return tg_error_set(err, -EINVAL, "%zu messages; 1 to %d are allowed", messages_len,
                            TG_PROMPT_MESSAGES_MAX);
    for (size_t i = 0; i < messages_len; i++)
        if (!known_role(messages[i].role))
            return tg_error_set(err, -EINVAL, "message %zu has the role '%.*s'; system, user and "
                                "assistant are allowed", i,
                                (int)(messages[i].role.len < 32 ? messages[i].role.len : 32),
                                messages[i].role.data);
    if (goes_on && !tg_str_is(messages[messages_len - 1].role, "assistant"))
        return tg_error_set(err, -EINVAL, "the last message is to be continued, but it is not the assistant's");
    return model->chat == TG_CHAT_TEMPLATE ? encode_template(model, messages, messages_len, goes_on, err, tokens)
                                           : encode_plain(model, messages, messages_len, tokens);
}
