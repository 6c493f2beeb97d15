/* Texts to vectors, with a model from a GGUF file: an encoder of the BERT family (architecture
 * "bert") or a decoder of an architecture that model.h lists.
 *
 * A vector is the mean of the text's last hidden states, or the first or last of them, scaled to
 * length 1. Which it is follows the configuration, else the file's pooling_type, else it is the
 * mean. It depends on the text alone: not on the other texts of a call, nor on the number of
 * threads.
 *
 * Ownership: tg_embed_free releases all; the results are the caller's memory.
 * Threads:   any thread may call tg_embed_run; calls take turns. TOLLGATE_CPU names the instruction
 *            path.
 * Errors:    a text longer than the model's context is refused, never cut.
 * Source:    Devlin et al. 2018 (BERT), Reimers and Gurevych 2019 (pooling); tensor names are
 *            GGUF's.
 */
#ifndef TG_INFERENCE_EMBED_H
#define TG_INFERENCE_EMBED_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#include <stdint.h>

#define TG_EMBED_CONTEXT_MAX 8192 /* tokens of one text, whatever the file says */
/* of a text, for each token of the context: a longer one is refused before it is encoded */
#define TG_EMBED_TOKEN_BYTES_MAX 512
#define TG_EMBED_LAYERS_MAX 128   /* layers of an encoder */
#define TG_EMBED_WIDTH_MAX 16384  /* numbers of a hidden state, or of the feed-forward layer */

typedef struct tg_embed tg_embed;

typedef enum tg_pooling { /* values are GGUF's pooling types */
                          TG_POOLING_AUTO = 0,
                          TG_POOLING_MEAN = 1,
                          TG_POOLING_FIRST = 2, /* of encoders only: the first token of a decoder
                                                   sees nothing but itself */
                          TG_POOLING_LAST = 3,
} tg_pooling;

typedef struct tg_embed_conf {
    uint32_t threads; /* at least 1 */
    tg_pooling pooling;
    uint64_t memory_limit_bytes; /* of weights and room to compute, [0: what the machine and the
                                    cgroup leave] */
} tg_embed_conf;

/* 0; -EINVAL with a sentence about the file or the configuration; -errno of open; -ENOMEM. */
int tg_embed_open(const char *path, const tg_embed_conf *conf, tg_error *err, tg_embed **ret);
int tg_embed_parse(
    const uint8_t *data, size_t size_bytes, const tg_embed_conf *conf, tg_error *err,
    tg_embed **ret); /* the same of a file in memory, 8-byte aligned, which must outlive it */
tg_embed *tg_embed_free(tg_embed *embed);

uint32_t tg_embed_dims(const tg_embed *embed);      /* numbers of a vector */
/* tokens of a text at most, [CLS] and [SEP] included */
uint32_t tg_embed_context(const tg_embed *embed);
tg_pooling tg_embed_pooling(const tg_embed *embed); /* as it was decided */

/* Whether a text may fit, by its bytes alone: 0, or -EMSGSIZE with a message. Cheap, unlike what
 * tg_embed_run does to know. */
int tg_embed_check(const tg_embed *embed, tg_str text, tg_error *err);

/* Writes count × dims floats and, where ret_tokens is not NULL, each text's tokens. 0; -EMSGSIZE or
 * -EINVAL with a message for a text past the context or without a token, whose index is then in
 * *ret_failed, where that is not NULL (what was written is undefined); -ENOMEM. */
int tg_embed_run(tg_embed *embed, const tg_str *texts, size_t count, tg_error *err,
                 float *ret_vectors, uint32_t *ret_tokens, size_t *ret_failed);

#endif
