/* A model's logits: `test-logits MODEL CHUNK [q8]`, the latter for keys and values in Q8; token ids
 * from standard input as u32, little-endian, given to the backend CHUNK at a time; after each
 * chunk its last token's logits as float32 on standard output. */
#include "services/inference/backend/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 4096

int main(int argc, char **argv)
{
    static uint32_t tokens[TOKENS_MAX], blocks[TOKENS_MAX / TG_KV_BLOCK_TOKENS];
    const bool q8 = argc == 4 && strcmp(argv[3], "q8") == 0;
    const tg_backend_conf conf = {.threads = 2,
                                  .kv_type = q8 ? TG_KV_Q8 : TG_KV_F16,
                                  .kv_blocks = TOKENS_MAX / TG_KV_BLOCK_TOKENS,
                                  .step_tokens_max = TOKENS_MAX,
                                  .step_logits_max = 1};
    tg_error err = {""};
    tg_model *model = NULL;
    tg_backend *backend = NULL;
    const uint32_t chunk = argc == 3 || q8 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    if (chunk == 0)
        return 2;
    const uint32_t len = (uint32_t)fread(tokens, sizeof(tokens[0]), TOKENS_MAX, stdin);
    for (uint32_t i = 0; i < TOKENS_MAX / TG_KV_BLOCK_TOKENS; i++)
        blocks[i] = i;
    int rc = tg_model_open(argv[1], &err, &model);
    if (rc == 0)
        rc = tg_backend_open_cpu(model, &conf, &err, &backend);
    for (uint32_t at = 0; at < len && rc == 0; at += chunk) {
        const uint32_t n = len - at < chunk ? len - at : chunk;
        const tg_step_seq seq = {tokens + at, n, at, blocks, 1};
        const tg_forward_step step = {.seqs = &seq, .seqs_len = 1};
        const float *logits = NULL;
        rc = backend->ops->run(backend, &step, &logits);
        if (rc == 0)
            fwrite(logits, sizeof(*logits), model->shape.vocab, stdout);
    }
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text[0] ? err.text : "the step failed");
    tg_backend_close(backend);
    tg_model_free(model);
    return rc < 0;
}
