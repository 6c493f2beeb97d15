/* Any bytes as a model file: parsed, and if that goes well, loaded with its vocabulary and used to encode
 * and decode a little text. A refusal always has words. */
#include "services/inference/model/chat.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void use(const tg_model *model)
{
    static const char words[] = "hello <|im_end|> w\xc3\xb6rld 42\n";
    const tg_prompt_message message = {TG_STR("user"), TG_STR(words)};
    tg_token_list tokens = {0};
    tg_detokenizer state = {.at_start = true};
    tg_buf text;
    tg_buf_init(&text, 0);
    if (tg_chat_encode(model, &message, 1, NULL, &tokens) == 0)
        for (size_t i = 0; i < tokens.len; i++)
            require(tg_detokenizer_push(&state, model->tokenizer, tokens.ids[i], &text) == 0);
    require(tg_detokenizer_end(&state, &text) == 0 && tg_utf8_valid(text.data, text.len));
    for (uint32_t i = 0; i < model->shape.layers; i++) /* all of a matrix can be read */
        require(model->layers[i].q->data[0] + model->layers[i].q->data[model->layers[i].q->size_bytes - 1] >= 0);
    tg_buf_free(&text);
    tg_token_list_free(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_gguf *gguf = NULL;
    tg_model *model = NULL;
    tg_error err = {""};
    uint8_t *copy = malloc(size ? size : 1); /* aligned, and of the exact size */
    if (!copy)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    int rc = tg_gguf_parse(copy, size, &err, &gguf);
    if (rc == 0)
        rc = tg_model_new(gguf, &err, &model);
    require(rc == 0 || err.text[0] != '\0');
    if (model)
        use(model);
    tg_model_free(model);
    free(copy);
    return 0;
}
