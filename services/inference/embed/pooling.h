/* From a text's last hidden states to its vector. Rows come in order, as many at a time as are
 * there; the sums are in double and in the order of the rows, so that how they were cut changes
 * nothing. */
#ifndef TG_INFERENCE_POOLING_H
#define TG_INFERENCE_POOLING_H

#include "services/inference/embed/embed.h"

typedef struct tg_pooler {
    tg_pooling pooling; /* not AUTO */
    uint32_t width, count;
    double *sum; /* width */
} tg_pooler;

int tg_pooler_init(tg_pooler *pooler, tg_pooling pooling, uint32_t width); /* 0 or -ENOMEM */
void tg_pooler_free(tg_pooler *pooler);

void tg_pooler_add(tg_pooler *pooler, const float *rows, uint32_t len);
/* scaled to length 1; the next text may come */
void tg_pooler_take(tg_pooler *pooler, float *ret_vector);

#endif
