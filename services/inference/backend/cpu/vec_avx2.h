/* Sixteen floats in two AVX2 registers; vec_scalar.h says what each operation means. */
#ifndef TG_CPU_VEC_AVX2_H
#define TG_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define TG_ISA __attribute__((target("avx2,fma,f16c")))
#define TG_OPS(name) name##_avx2
#define TG_ATTEND_STEP 4 /* query rows that share a pass over keys or values */
#define TG_VEC static inline TG_ISA __attribute__((always_inline))

typedef struct v16 {
    __m256 a, b;
} v16;

#define TG_VEC_BOTH(op) return (v16) { op(x.a, y.a), op(x.b, y.b) }

TG_VEC v16 v16_set(float x)
{
    const __m256 all = _mm256_set1_ps(x);
    return (v16){all, all};
}
TG_VEC v16 v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
TG_VEC v16 v16_load_f16(const uint16_t *p)
{
    const __m128i *from = (const __m128i *)(const void *)p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(from)),
                 _mm256_cvtph_ps(_mm_loadu_si128(from + 1))};
}
TG_VEC v16 v16_load_bf16(const uint16_t *p)
{
    const __m128i *from = (const __m128i *)(const void *)p;
    return (v16){
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16)),
        _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from + 1)), 16))};
}
TG_VEC v16 v16_load_i8(const uint8_t *p) /* signed, as numbers */
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
TG_VEC v16 v16_add(v16 x, v16 y) { TG_VEC_BOTH(_mm256_add_ps); }
TG_VEC v16 v16_sub(v16 x, v16 y) { TG_VEC_BOTH(_mm256_sub_ps); }
TG_VEC v16 v16_mul(v16 x, v16 y) { TG_VEC_BOTH(_mm256_mul_ps); }
TG_VEC v16 v16_div(v16 x, v16 y) { TG_VEC_BOTH(_mm256_div_ps); }
TG_VEC v16 v16_max(v16 x, v16 y) { TG_VEC_BOTH(_mm256_max_ps); } /* y where x is not a number */
TG_VEC v16 v16_min(v16 x, v16 y) { TG_VEC_BOTH(_mm256_min_ps); }
TG_VEC v16 v16_fma(v16 x, v16 y, v16 z)
{
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
TG_VEC v16 v16_abs(v16 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
TG_VEC __m256 v8_round(__m256 x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
TG_VEC v16 v16_round(v16 x) { return (v16){v8_round(x.a), v8_round(x.b)}; }
TG_VEC __m256 v8_zero_below(__m256 x, __m256 limit, __m256 value)
{
    return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_GE_OQ), value);
}
TG_VEC v16 v16_zero_below(v16 x, v16 limit, v16 value)
{
    return (v16){v8_zero_below(x.a, limit.a, value.a), v8_zero_below(x.b, limit.b, value.b)};
}
TG_VEC __m256 v8_exp2i(__m256 n)
{
    const __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
TG_VEC v16 v16_exp2i(v16 n) { return (v16){v8_exp2i(n.a), v8_exp2i(n.b)}; }
TG_VEC void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
TG_VEC void v16_store_f16(uint16_t *p, v16 x)
{
    __m128i *to = (__m128i *)(void *)p;
    _mm_storeu_si128(to, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(to + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
TG_VEC void v16_store_i8(int8_t *p, v16 x)
{
    const __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    /* packs works within 128-bit halves */
    const __m256i ordered = _mm256_permute4x64_epi64(both, 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128((__m128i *)(void *)p, bytes);
}

TG_VEC float v16_fold(v16 x)
{
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
TG_VEC float v16_top(v16 x)
{
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

#endif
