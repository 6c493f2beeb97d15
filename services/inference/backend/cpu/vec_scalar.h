/* Sixteen floats in plain C: the meaning of the operations that ops.h is written with. */
#ifndef TG_CPU_VEC_SCALAR_H
#define TG_CPU_VEC_SCALAR_H

#include "services/inference/model/dtype.h"

#include <math.h>

#define TG_ISA
#define TG_OPS(name) name##_scalar
#define TG_ATTEND_STEP 4 /* query rows that share a pass over keys or values */

typedef struct v16 {
    float f[16];
} v16;

#define TG_VEC_EACH(expression)                                                                    \
    v16 r;                                                                                         \
    for (int i = 0; i < 16; i++)                                                                   \
        r.f[i] = (expression);                                                                     \
    return r

static inline v16 v16_set(float a) { TG_VEC_EACH(a); }
static inline v16 v16_load(const float *p) { TG_VEC_EACH(p[i]); }
static inline v16 v16_load_f16(const uint16_t *p) { TG_VEC_EACH(tg_f16_to_f32(p[i])); }
static inline v16 v16_load_i8(const uint8_t *p) { TG_VEC_EACH((float)(int8_t)p[i]); }
static inline v16 v16_add(v16 a, v16 b) { TG_VEC_EACH(a.f[i] + b.f[i]); }
static inline v16 v16_sub(v16 a, v16 b) { TG_VEC_EACH(a.f[i] - b.f[i]); }
static inline v16 v16_mul(v16 a, v16 b) { TG_VEC_EACH(a.f[i] * b.f[i]); }
static inline v16 v16_div(v16 a, v16 b) { TG_VEC_EACH(a.f[i] / b.f[i]); }
static inline v16 v16_fma(v16 a, v16 b, v16 c) { TG_VEC_EACH(fmaf(a.f[i], b.f[i], c.f[i])); }
static inline v16 v16_max(v16 a, v16 b) { TG_VEC_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }
static inline v16 v16_min(v16 a, v16 b) { TG_VEC_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]); }
static inline v16 v16_abs(v16 a) { TG_VEC_EACH(fabsf(a.f[i])); }
static inline v16 v16_round(v16 a) { TG_VEC_EACH(rintf(a.f[i])); } /* ties to even */
static inline v16 v16_zero_below(v16 a, v16 limit, v16 value) /* value where a ≥ limit, else +0 */
{
    TG_VEC_EACH(a.f[i] >= limit.f[i] ? value.f[i] : 0.0f);
}

static inline v16 v16_exp2i(v16 n) /* 2^n for whole n in −126..127 */
{
    v16 r;
    for (int i = 0; i < 16; i++) {
        uint32_t bits = (uint32_t)((int32_t)n.f[i] + 127) << 23;
        memcpy(&r.f[i], &bits, sizeof(bits));
    }
    return r;
}

static inline void v16_store(float *p, v16 a) { memcpy(p, a.f, sizeof(a.f)); }

static inline void v16_store_f16(uint16_t *p, v16 a)
{
    for (int i = 0; i < 16; i++)
        p[i] = tg_f32_to_f16(a.f[i]);
}

static inline void v16_store_i8(int8_t *p, v16 a) /* whole numbers in −127..127 */
{
    for (int i = 0; i < 16; i++)
        p[i] = (int8_t)a.f[i];
}

static inline float v16_fold(v16 a) /* lanes, 8, 4, 2, 1 */
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a.f[i] = a.f[i] + a.f[i + half];
    return a.f[0];
}
static inline float v16_top(v16 a) /* the largest */
{
    float top = a.f[0];
    for (int i = 1; i < 16; i++)
        top = a.f[i] > top ? a.f[i] : top;
    return top;
}

#endif
