/* Texts to vectors with an encoder of the BERT family, from a GGUF file (architecture "bert").
 *
 * A vector is the mean of the text's last hidden states, or the first one, as the file's pooling type
 * says, scaled to length 1. It depends on the text alone: not on the other texts of a call, nor on the
 * number of threads.
 *
 * Ownership: tg_embed_free releases all; the results are the caller's memory.
 * Threads:   any thread may call tg_embed_run; calls take turns.
 * Errors:    a text longer than the model's context is refused, never cut.
 * Source:    Devlin et al. 2018 (BERT), Reimers and Gurevych 2019 (pooling); tensor names are GGUF's.
 */
#ifndef TG_INFERENCE_EMBED_H
#define TG_INFERENCE_EMBED_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdint.h>

#define TG_EMBED_CONTEXT_MAX 8192 /* tokens of one text, whatever the file says */
#define TG_EMBED_LAYERS_MAX 128   /* layers of an encoder */
#define TG_EMBED_WIDTH_MAX 16384  /* numbers of a hidden state, or of the feed-forward layer */

typedef struct tg_embed tg_embed;

typedef struct tg_embed_conf {
    uint32_t threads; /* at least 1 */
    const char *cpu;  /* instruction path by name, or NULL for the best */
} tg_embed_conf;

/* 0; -EINVAL with a sentence about the file or the configuration; -errno of open; -ENOMEM. */
int tg_embed_open(const char *path, const tg_embed_conf *conf, tg_error *err, tg_embed **ret);
tg_embed *tg_embed_free(tg_embed *embed);

uint32_t tg_embed_dims(const tg_embed *embed);    /* numbers of a vector */
uint32_t tg_embed_context(const tg_embed *embed); /* tokens of a text at most, [CLS] and [SEP] included */

/* Writes count × dims floats and, where ret_tokens is not NULL, each text's tokens. 0; -EMSGSIZE with
 * a message for a text past the context (what was written is then undefined); -ENOMEM. */
int tg_embed_run(tg_embed *embed, const tg_str *texts, size_t count, tg_error *err,
                 float *ret_vectors, uint32_t *ret_tokens);

#endif
