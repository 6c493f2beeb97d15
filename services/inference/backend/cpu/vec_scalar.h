/* Eight floats in plain C: the meaning of the operations that ops.h is written with. */
#ifndef TG_CPU_VEC_SCALAR_H
#define TG_CPU_VEC_SCALAR_H

#include "services/inference/model/dtype.h"

#include <math.h>

#define TG_ISA
#define TG_OPS(name) name##_scalar

typedef struct v8 {
    float f[8];
} v8;

#define TG_V8_EACH(expression)                                                                     \
    v8 r;                                                                                          \
    for (int i = 0; i < 8; i++)                                                                    \
        r.f[i] = (expression);                                                                     \
    return r

static inline v8 v8_set(float a) { TG_V8_EACH(a); }
static inline v8 v8_load(const float *p) { TG_V8_EACH(p[i]); }
static inline v8 v8_load_f16(const uint16_t *p) { TG_V8_EACH(tg_f16_to_f32(p[i])); }
static inline v8 v8_add(v8 a, v8 b) { TG_V8_EACH(a.f[i] + b.f[i]); }
static inline v8 v8_sub(v8 a, v8 b) { TG_V8_EACH(a.f[i] - b.f[i]); }
static inline v8 v8_mul(v8 a, v8 b) { TG_V8_EACH(a.f[i] * b.f[i]); }
static inline v8 v8_div(v8 a, v8 b) { TG_V8_EACH(a.f[i] / b.f[i]); }
static inline v8 v8_fma(v8 a, v8 b, v8 c) { TG_V8_EACH(fmaf(a.f[i], b.f[i], c.f[i])); }
static inline v8 v8_max(v8 a, v8 b) { TG_V8_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }
static inline v8 v8_min(v8 a, v8 b) { TG_V8_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]); }
static inline v8 v8_abs(v8 a) { TG_V8_EACH(fabsf(a.f[i])); }
static inline v8 v8_round(v8 a) { TG_V8_EACH(rintf(a.f[i])); } /* ties to even */
static inline v8 v8_zero_below(v8 a, v8 limit, v8 value) /* value where a ≥ limit, else +0 */
{
    TG_V8_EACH(a.f[i] >= limit.f[i] ? value.f[i] : 0.0f);
}

static inline v8 v8_exp2i(v8 n) /* 2^n for whole n in −126..127 */
{
    v8 r;
    for (int i = 0; i < 8; i++) {
        uint32_t bits = (uint32_t)((int32_t)n.f[i] + 127) << 23;
        memcpy(&r.f[i], &bits, sizeof(bits));
    }
    return r;
}

static inline void v8_store(float *p, v8 a) { memcpy(p, a.f, sizeof(a.f)); }

static inline void v8_store_f16(uint16_t *p, v8 a)
{
    for (int i = 0; i < 8; i++)
        p[i] = tg_f32_to_f16(a.f[i]);
}

static inline void v8_store_i8(int8_t *p, v8 a) /* whole numbers in −127..127 */
{
    for (int i = 0; i < 8; i++)
        p[i] = (int8_t)a.f[i];
}

#endif
