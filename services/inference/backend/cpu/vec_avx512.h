/* Sixteen floats in one AVX-512 register; vec_scalar.h says what each operation means. */
#ifndef TG_CPU_VEC_AVX512_H
#define TG_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define TG_ISA __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#define TG_OPS(name) name##_avx512
#define TG_VEC static inline TG_ISA __attribute__((always_inline))
#define TG_ATTEND_STEP 8 /* query rows that share a pass over keys or values */

typedef __m512 v16;

TG_VEC v16 v16_set(float a) { return _mm512_set1_ps(a); }
TG_VEC v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
TG_VEC v16 v16_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
TG_VEC v16 v16_load_bf16(const uint16_t *p)
{
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
TG_VEC v16 v16_load_i8(const uint8_t *p) /* signed, as numbers */
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
TG_VEC v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
TG_VEC v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
TG_VEC v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
TG_VEC v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
TG_VEC v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
TG_VEC v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); } /* b where a is not a number */
TG_VEC v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
TG_VEC v16 v16_abs(v16 a) { return _mm512_abs_ps(a); }
TG_VEC v16 v16_round(v16 a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
TG_VEC v16 v16_zero_below(v16 a, v16 limit, v16 value)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, limit, _CMP_GE_OQ), value);
}
TG_VEC v16 v16_exp2i(v16 n)
{
    __m512i bits = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}
TG_VEC void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
TG_VEC void v16_store_f16(uint16_t *p, v16 a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
TG_VEC void v16_store_i8(int8_t *p, v16 a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
}

TG_VEC float v16_fold(v16 a)
{
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), upper);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
TG_VEC float v16_top(v16 a) { return _mm512_reduce_max_ps(a); }

/* 32 numbers of 16 bits. The intrinsics want constants, which arguments become only where functions
 * are inlined. */
typedef uint16_t u16x32 __attribute__((vector_size(64)));
TG_VEC __m512i u16_left(__m512i x, size_t bits) { return (__m512i)((u16x32)x << (uint16_t)bits); }
TG_VEC __m512i u16_right(__m512i x, size_t bits) { return (__m512i)((u16x32)x >> (uint16_t)bits); }

#endif
