/* Any bytes as a model file, or as several where "GGUF" stands in them again: parsed and its
 * metadata listed, and if that goes well, loaded with its vocabulary, used to encode and decode a
 * little text, and, where it is small, given to the backend for a step. A refusal always has
 * words. */
#include "services/inference/backend/backend.h"
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
    const tg_prompt_message message = {.role = TG_STR("user"), .content = TG_STR(words)};
    const tg_prompt prompt = {.messages = &message, .messages_len = 1};
    bool thinking;
    tg_token_list tokens = {0};
    tg_detokenizer state = {.at_start = true};
    tg_buf text;
    tg_buf_init(&text, 0);
    if (tg_chat_encode(model, &prompt, NULL, &tokens, &thinking) == 0)
        for (size_t i = 0; i < tokens.len; i++)
            require(tg_detokenizer_push(&state, model->tokenizer, tokens.ids[i], &text) == 0);
    require(tg_detokenizer_end(&state, &text) == 0 && tg_utf8_valid(text.data, text.len));
    for (uint32_t i = 0; i < model->shape.layers; i++) /* all of a matrix can be read */
        require(model->layers[i].q->data[0] +
                    model->layers[i].q->data[model->layers[i].q->size_bytes - 1] >=
                0);
    tg_buf_free(&text);
    tg_token_list_free(&tokens);
}

#define STEP_BYTES_MAX (8 << 20) /* of memory; larger models are not run */

static uint64_t list(const tg_gguf *gguf)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < tg_gguf_key_count(gguf); i++) {
        tg_gguf_value value;
        tg_str key = tg_gguf_key_at(gguf, i, &value);
        sum += (uint8_t)key.data[key.len - 1];
        if (value.kind == TG_GGUF_IS_STR && value.str.len > 0)
            sum += (uint8_t)value.str.data[value.str.len - 1];
    }
    return sum;
}

static void step(const tg_model *model)
{
    const tg_backend_conf conf = {
        .threads = 1, .kv_blocks = 1, .step_tokens_max = 4, .step_logits_max = 1};
    const uint32_t tokens[] = {0, model->shape.vocab - 1}, blocks[] = {0};
    const tg_step_seq seq = {tokens, 2, 0, blocks, 1};
    const tg_forward_step once = {.seqs = &seq, .seqs_len = 1};
    const float *logits = NULL;
    tg_backend *backend = NULL;
    tg_backend_needs needs;
    require(tg_backend_plan_cpu(model, &conf, NULL, &needs) == 0);
    if (needs.weights_bytes + needs.kv_bytes + needs.scratch_bytes > STEP_BYTES_MAX)
        return;
    require(tg_backend_open_cpu(model, &conf, NULL, &backend) == 0);
    require(backend->ops->run(backend, &once, &logits) == 0);
    tg_backend_close(backend);
}

#define PARTS_MAX 4 /* the last takes the rest */

/* A copy of each part: aligned, and of the exact size. */
static size_t cut_parts(const uint8_t *data, size_t size, tg_str *parts)
{
    size_t len = 0;
    while (len < PARTS_MAX) {
        const uint8_t *next =
            size > 4 && len + 1 < PARTS_MAX ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
        const size_t bytes = next ? (size_t)(next - data) : size;
        char *copy = malloc(bytes ? bytes : 1);
        if (!copy)
            break;
        if (bytes > 0)
            memcpy(copy, data, bytes);
        parts[len++] = (tg_str){copy, bytes};
        if (!next)
            break;
        data = next;
        size -= bytes;
    }
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_str parts[PARTS_MAX] = {{NULL, 0}};
    tg_gguf *gguf = NULL;
    tg_model *model = NULL;
    tg_error err = {""};
    size_t parts_len = cut_parts(data, size, parts);
    int rc = tg_gguf_parse_parts(parts, parts_len, &err, &gguf);
    if (rc == 0) {
        require(list(gguf) < UINT64_MAX); /* so that nothing of it is left out */
        rc = tg_model_new(gguf, &err, &model);
    }
    require(rc == 0 || err.text[0] != '\0');
    if (model) {
        use(model);
        step(model);
    }
    tg_model_free(model);
    while (parts_len > 0)
        free((void *)(uintptr_t)parts[--parts_len].data);
    return 0;
}
