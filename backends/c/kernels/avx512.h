/* Vectors of AVX-512, and the way from sums to codes. */
#ifndef IRC_AVX512_H
#define IRC_AVX512_H

#include "conv_columns.h"
#include <immintrin.h>

typedef __m512i irc_zmm;

/* What does not change within a layer. */
typedef struct irc_clamp_zmm {
    __m512 residual_scale, hi;
    irc_zmm lo, order;
} irc_clamp_zmm;

IRC_INLINE irc_clamp_zmm irc_clamp_zmm_of(float residual_scale, float lo, float hi)
{
    irc_clamp_zmm c;
    c.residual_scale = _mm512_set1_ps(residual_scale);
    c.hi = _mm512_set1_ps(hi);
    c.lo = _mm512_set1_epi8((char)(uint8_t)lo);
    c.order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return c;
}

/* 16 rounded values; residual: 16 readable codes or NULL. Above hi they would not fit int32, below lo they saturate later. */
IRC_INLINE irc_zmm irc_rounded_zmm(irc_zmm acc, const float *scale, const float *bias, const uint8_t *residual,
                                   const irc_clamp_zmm *c)
{
    __m512 t = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(scale), _mm512_loadu_ps(bias));
    if (residual) {
        const irc_zmm r = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)residual));
        t = _mm512_fmadd_ps(_mm512_cvtepi32_ps(r), c->residual_scale, t);
    }
    return _mm512_cvtps_epi32(_mm512_min_ps(t, c->hi));
}

/* Four times 16 rounded values -> 64 codes, in this order. */
IRC_INLINE irc_zmm irc_codes_zmm(irc_zmm a, irc_zmm b, irc_zmm c, irc_zmm d, const irc_clamp_zmm *clamp)
{
    const irc_zmm packed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    return _mm512_permutexvar_epi32(clamp->order, _mm512_max_epu8(packed, clamp->lo));
}

/* The first n of 16, 32 or 64 codes. Masks only where they are needed: not every processor stores well through them. */
IRC_INLINE void irc_store_16(uint8_t *y, __m128i codes, int32_t n)
{
    if (n >= 16)
        _mm_storeu_si128((__m128i *)(void *)y, codes);
    else
        _mm_mask_storeu_epi8(y, (__mmask16)((1u << n) - 1), codes);
}
IRC_INLINE void irc_store_32(uint8_t *y, __m256i codes, int32_t n)
{
    if (n >= 32)
        _mm256_storeu_si256((__m256i *)(void *)y, codes);
    else
        _mm256_mask_storeu_epi8(y, (__mmask32)((1u << n) - 1), codes);
}
IRC_INLINE void irc_store_64(uint8_t *y, irc_zmm codes, int32_t n)
{
    if (n >= 64)
        _mm512_storeu_si512(y, codes);
    else
        _mm512_mask_storeu_epi8(y, (__mmask64)((1ull << n) - 1), codes);
}

/* Positions i, i + 1, ... of 16 V channels each, four vectors together: 4, 2 or 1 of them; `count` of them are there. */
IRC_INLINE void irc_finish_zmm(const irc_columns *t, const irc_clamp_zmm *clamp, int32_t i, int32_t count, const irc_zmm *acc,
                               const int V)
{
    const int rows = V == 1 ? 4 : V == 2 ? 2 : 1;
    irc_zmm v[4];
    irc_zmm codes;
    v[3] = _mm512_setzero_si512();
    IRC_UNROLL for (int r = 0; r < rows; r++) {
        const int32_t at = r < count ? i + r : i;
        IRC_UNROLL for (int j = 0; j < V; j++)
            v[r * V + j] = irc_rounded_zmm(acc[r * V + j], t->scale + 16 * j, t->bias + 16 * j,
                                           t->residual ? t->residual + t->q->r[at] + 16 * j : NULL, clamp);
    }
    codes = irc_codes_zmm(v[0], v[1], v[2], v[3], clamp);
    if (V > 2) {
        irc_store_64(t->codes + t->q->y[i], codes, t->n);
    } else if (V == 2) {
        irc_store_32(t->codes + t->q->y[i], _mm512_castsi512_si256(codes), t->n);
        if (count > 1)
            irc_store_32(t->codes + t->q->y[i + 1], _mm512_extracti64x4_epi64(codes, 1), t->n);
    } else {
        irc_store_16(t->codes + t->q->y[i], _mm512_castsi512_si128(codes), t->n);
        if (count > 1)
            irc_store_16(t->codes + t->q->y[i + 1], _mm512_extracti32x4_epi32(codes, 1), t->n);
        if (count > 2)
            irc_store_16(t->codes + t->q->y[i + 2], _mm512_extracti32x4_epi32(codes, 2), t->n);
        if (count > 3)
            irc_store_16(t->codes + t->q->y[i + 3], _mm512_extracti32x4_epi32(codes, 3), t->n);
    }
}

#endif
