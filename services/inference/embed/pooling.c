#include "services/inference/embed/pooling.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int tg_pooler_init(tg_pooler *p, tg_pooling pooling, uint32_t width)
{
    *p = (tg_pooler){pooling, width, 0, calloc(width, sizeof(*p->sum))};
    return p->sum ? 0 : -ENOMEM;
}

void tg_pooler_free(tg_pooler *p) { free(p->sum); }

void tg_pooler_add(tg_pooler *p, const float *rows, uint32_t len)
{
    for (uint32_t t = 0; t < len; t++, rows += p->width) {
        if (p->count > 0 && p->pooling == TG_POOLING_FIRST)
            return;
        const bool anew = p->count == 0 || p->pooling == TG_POOLING_LAST;
        for (uint32_t i = 0; i < p->width; i++)
            p->sum[i] = (anew ? 0.0 : p->sum[i]) + (double)rows[i];
        p->count = anew ? 1 : p->count + 1;
    }
}

void tg_pooler_take(tg_pooler *p, float *ret_vector)
{
    double squares = 0;
    for (uint32_t i = 0; i < p->width; i++) {
        ret_vector[i] = (float)(p->sum[i] / p->count);
        squares += (double)ret_vector[i] * (double)ret_vector[i];
    }
    const double scale = squares > 0 ? 1.0 / sqrt(squares) : 0;
    for (uint32_t i = 0; i < p->width; i++)
        ret_vector[i] = (float)((double)ret_vector[i] * scale);
    p->count = 0;
}
