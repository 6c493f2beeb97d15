/* Eight floats in one AVX2 register; vec_scalar.h says what each operation means. */
#ifndef TG_CPU_VEC_AVX2_H
#define TG_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define TG_ISA __attribute__((target("avx2,fma,f16c")))
#define TG_OPS(name) name##_avx2
#define TG_V8 static inline TG_ISA __attribute__((always_inline))

typedef __m256 v8;

TG_V8 v8 v8_set(float a) { return _mm256_set1_ps(a); }
TG_V8 v8 v8_load(const float *p) { return _mm256_loadu_ps(p); }
TG_V8 v8 v8_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
TG_V8 v8 v8_add(v8 a, v8 b) { return _mm256_add_ps(a, b); }
TG_V8 v8 v8_sub(v8 a, v8 b) { return _mm256_sub_ps(a, b); }
TG_V8 v8 v8_mul(v8 a, v8 b) { return _mm256_mul_ps(a, b); }
TG_V8 v8 v8_div(v8 a, v8 b) { return _mm256_div_ps(a, b); }
TG_V8 v8 v8_fma(v8 a, v8 b, v8 c) { return _mm256_fmadd_ps(a, b, c); }
TG_V8 v8 v8_max(v8 a, v8 b) { return _mm256_max_ps(a, b); } /* b where a is not a number */
TG_V8 v8 v8_min(v8 a, v8 b) { return _mm256_min_ps(a, b); }
TG_V8 v8 v8_abs(v8 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
TG_V8 v8 v8_round(v8 a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
TG_V8 v8 v8_zero_below(v8 a, v8 limit, v8 value)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, limit, _CMP_GE_OQ), value);
}
TG_V8 v8 v8_exp2i(v8 n)
{
    __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
TG_V8 void v8_store(float *p, v8 a) { _mm256_storeu_ps(p, a); }
TG_V8 void v8_store_f16(uint16_t *p, v8 a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
TG_V8 void v8_store_i8(int8_t *p, v8 a)
{
    __m256i wide = _mm256_cvtps_epi32(a);
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(half, half));
}

#endif
