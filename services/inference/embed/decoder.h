/* A decoder (llama, qwen2, qwen3) as an encoder behind embed.h: its last hidden states, after the
 * final norm. Texts that are short go through the network together, long ones in pieces; numerics.h
 * is why that changes no bit.
 *
 * The model is loaded for this alone, with KV memory for one text of the longest length. Calls take
 * turns by the caller's care. */
#ifndef TG_INFERENCE_DECODER_H
#define TG_INFERENCE_DECODER_H

#include "services/inference/backend/backend.h"
#include "services/inference/embed/pooling.h"

/* tokens of texts that go through a decoder together, or of one's piece */
#define TG_DECODER_STEP_TOKENS_MAX 256
#define TG_DECODER_STEP_TEXTS_MAX 16   /* texts that go through a decoder together */

typedef struct tg_decoder {
    tg_model *model;
    tg_backend *backend;
    uint32_t context;
    uint32_t *blocks; /* all of them, in order: [blocks of the longest text, and one for each
                         further text] */
    float *states;    /* [TG_DECODER_STEP_TOKENS_MAX][width] */
} tg_decoder;

/* Takes the gguf over, on failure too. 0; -EINVAL or -ENOMEM with a message, the sum of the memory
 * needed included. */
int tg_decoder_new(tg_gguf *gguf, const tg_embed_conf *conf, tg_error *err, tg_decoder **ret);
tg_decoder *tg_decoder_free(tg_decoder *decoder); /* NULL is a no-op; returns NULL */

/* How many of the texts, of so many tokens each, go together; at least one. */
size_t tg_decoder_together(const uint32_t *lens, size_t count);

/* That many texts, whose ids lie one after the other, to their vectors: [count][width]. 0 or -errno
 * of the backend. */
int tg_decoder_run(tg_decoder *decoder, const uint32_t *ids, const uint32_t *lens, size_t count,
                   tg_pooler *pooler, float *ret_vectors);

#endif
