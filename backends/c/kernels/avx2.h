/* Vectors of AVX2, and the way from sums to codes. */
#ifndef IRC_AVX2_H
#define IRC_AVX2_H

#include "requantize.h"
#include <immintrin.h>
#include <string.h>

typedef __m256i irc_v; /* 32 bytes */
typedef __m256 irc_vf; /* 8 floats */

IRC_INLINE irc_v irc_load(const void *p) { return _mm256_loadu_si256((const irc_v *)p); }
IRC_INLINE void irc_store(void *p, irc_v v) { _mm256_storeu_si256((irc_v *)p, v); }

#define IRC_CONV_LINE
/* out[i] = at + i * step for i < count; up to 3 more are written. */
IRC_INLINE void irc_conv_line(int64_t *out, int32_t count, int64_t at, int64_t step)
{
    irc_v four = _mm256_setr_epi64x(at, at + step, at + 2 * step, at + 3 * step);
    const irc_v next = _mm256_set1_epi64x(4 * step);
    for (int32_t i = 0; i < count; i += 4, four = _mm256_add_epi64(four, next))
        irc_store(out + i, four);
}

/* How sums of 8 channels become codes: everything that does not change within a layer. */
typedef struct irc_clamp {
    irc_vf residual_scale, hi;
    __m128i lo_codes, hi_codes;
    int fits; /* no t leaves int32: the clamp of the codes is enough */
} irc_clamp;

IRC_INLINE irc_clamp irc_clamp_of(float residual_scale, float lo, float hi, int fits)
{
    irc_clamp c;
    c.residual_scale = _mm256_set1_ps(residual_scale);
    c.hi = _mm256_set1_ps(hi);
    c.lo_codes = _mm_set1_epi8((char)(uint8_t)lo);
    c.hi_codes = _mm_set1_epi8((char)(uint8_t)hi);
    c.fits = fits;
    return c;
}

/* t of 8 channels */
IRC_INLINE irc_vf irc_scaled(irc_v acc, irc_vf scale, irc_vf bias) { return _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), scale, bias); }

IRC_INLINE irc_vf irc_with_residual(irc_vf t, const uint8_t *residual, const irc_clamp *c)
{
    const irc_v r = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)residual));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(r), c->residual_scale, t);
}

/* Rounded values of channels 0-7, 8-15 of two positions -> 16 codes each. */
IRC_INLINE void irc_codes(irc_v a0, irc_v a1, irc_v b0, irc_v b1, const irc_clamp *c, __m128i *a, __m128i *b)
{
    const irc_v packed = _mm256_packus_epi16(_mm256_packs_epi32(a0, a1), _mm256_packs_epi32(b0, b1));
    const __m128i low = _mm256_castsi256_si128(packed), high = _mm256_extracti128_si256(packed, 1);
    *a = _mm_min_epu8(_mm_max_epu8(_mm_unpacklo_epi32(low, high), c->lo_codes), c->hi_codes);
    *b = _mm_min_epu8(_mm_max_epu8(_mm_unpackhi_epi32(low, high), c->lo_codes), c->hi_codes);
}

IRC_INLINE void irc_store_codes(uint8_t *y, __m128i codes, int n)
{
    if (n >= 16) {
        _mm_storeu_si128((__m128i *)y, codes);
    } else if (n == 8) {
        _mm_storel_epi64((__m128i *)y, codes);
    } else {
        uint8_t bytes[16];
        _mm_storeu_si128((__m128i *)bytes, codes);
        for (int i = 0; i < n; i++)
            y[i] = bytes[i];
    }
}

IRC_INLINE void irc_store_floats(float *y, irc_vf t, int n)
{
    if (n >= 8) {
        _mm256_storeu_ps(y, t);
    } else {
        float values[8];
        _mm256_storeu_ps(values, t);
        for (int i = 0; i < n; i++)
            y[i] = values[i];
    }
}

#endif
