/* Packing a matrix of codes at run time, for AVX2. See irc_pack_b in irc_types.h. */
#ifndef IRC_PACK_B_AVX2_H
#define IRC_PACK_B_AVX2_H

#include "avx2.h"
#include "pack_b_portable.h"

#define IRC_PACK_BLOCK

/* Steps 0 .. steps - 1 of 16 channels whose k lie side by side. */
IRC_FN void irc_pack_columns(const uint8_t *b, int64_t b_n, int32_t steps, int8_t *w)
{
    for (int32_t s = 0; s < steps; s++)
        for (int j = 0; j < IRC_BLOCK; j++) {
            uint32_t four;
            memcpy(&four, b + j * b_n + 4 * s, sizeof four);
            four ^= 0x80808080u;
            memcpy(w + 64 * s + 4 * j, &four, sizeof four);
        }
}

/* The same where the 16 channels lie side by side. */
IRC_FN void irc_pack_rows(const uint8_t *b, int64_t b_k, int32_t steps, int8_t *w)
{
    const __m128i flip = _mm_set1_epi8((char)0x80);
    for (int32_t s = 0; s < steps; s++, b += 4 * b_k, w += 64) {
        const __m128i r0 = _mm_xor_si128(_mm_loadu_si128((const __m128i *)b), flip);
        const __m128i r1 = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(b + b_k)), flip);
        const __m128i r2 = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(b + 2 * b_k)), flip);
        const __m128i r3 = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(b + 3 * b_k)), flip);
        const __m128i a = _mm_unpacklo_epi8(r0, r1), c = _mm_unpacklo_epi8(r2, r3);
        const __m128i d = _mm_unpackhi_epi8(r0, r1), e = _mm_unpackhi_epi8(r2, r3);
        _mm_storeu_si128((__m128i *)w, _mm_unpacklo_epi16(a, c));
        _mm_storeu_si128((__m128i *)(w + 16), _mm_unpackhi_epi16(a, c));
        _mm_storeu_si128((__m128i *)(w + 32), _mm_unpacklo_epi16(d, e));
        _mm_storeu_si128((__m128i *)(w + 48), _mm_unpackhi_epi16(d, e));
    }
}

/* sum[j] of `steps` packed steps. */
IRC_FN void irc_pack_sums(const int8_t *w, int32_t steps, int32_t *sum)
{
    const irc_v one = _mm256_set1_epi8(1), wide = _mm256_set1_epi16(1);
    irc_v s0 = _mm256_setzero_si256(), s1 = s0;
    for (int32_t s = 0; s < steps; s++, w += 64) {
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(_mm256_maddubs_epi16(one, irc_load(w)), wide));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(_mm256_maddubs_epi16(one, irc_load(w + 32)), wide));
    }
    irc_store(sum, s0);
    irc_store(sum + 8, s1);
}

/* One block of 16 channels, as irc_pack_block_portable. */
IRC_FN void irc_pack_block(const irc_pack_b *p, const uint8_t *b, int32_t n, int8_t *w, int32_t *sum)
{
    const int32_t whole = p->k / 4;
    if (n < IRC_BLOCK || (p->b_k != 1 && p->b_n != 1)) {
        irc_pack_block_portable(p, b, n, 0, w, sum);
        return;
    }
    if (p->b_k == 1)
        irc_pack_columns(b, p->b_n, whole, w);
    else
        irc_pack_rows(b, p->b_k, whole, w);
    irc_pack_block_portable(p, b, n, whole, w, sum);
    irc_pack_sums(w, irc_ceil_div(p->k, 4), sum);
}

#define IRC_ROW_SUM
/* The sum of k codes. */
IRC_FN int32_t irc_row_sum(const uint8_t *x, int32_t k)
{
    irc_v sums = _mm256_setzero_si256();
    __m128i s;
    int32_t i = 0, sum;
    for (; i + 32 <= k; i += 32)
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(irc_load(x + i), _mm256_setzero_si256()));
    s = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    sum = _mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 2);
    for (; i < k; i++)
        sum += x[i];
    return sum;
}

#endif
