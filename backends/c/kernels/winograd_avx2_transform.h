/* The transforms of winograd.h for AVX2. */
#ifndef IRC_WINOGRAD_AVX2_TRANSFORM_H
#define IRC_WINOGRAD_AVX2_TRANSFORM_H

#include "avx2.h"

#define IRC_ADD16(a, b) _mm256_add_epi16(a, b)
#define IRC_SUB16(a, b) _mm256_sub_epi16(a, b)

/* t = B' d for six int16 vectors, `from` apart in d and `to` apart in t. */
IRC_INLINE void irc_winograd_input_line(const irc_v *d, const int from, irc_v *t, const int64_t to)
{
    const irc_v d0 = d[0], d1 = d[from], d2 = d[2 * from], d3 = d[3 * from], d4 = d[4 * from], d5 = d[5 * from];
    const irc_v a = IRC_SUB16(d4, _mm256_slli_epi16(d2, 2)), b = IRC_SUB16(d3, _mm256_slli_epi16(d1, 2));
    const irc_v c = IRC_SUB16(d4, d2), f = IRC_SUB16(d3, d1), e = IRC_ADD16(f, f);
    t[0] = IRC_ADD16(c, _mm256_slli_epi16(IRC_SUB16(d0, d2), 2));
    t[to] = IRC_ADD16(a, b);
    t[2 * to] = IRC_SUB16(a, b);
    t[3 * to] = IRC_ADD16(c, e);
    t[4 * to] = IRC_SUB16(c, e);
    t[5 * to] = IRC_SUB16(IRC_SUB16(d5, d3), _mm256_slli_epi16(f, 2));
}

/* 32 channels of a tile: rows and columns of codes as pointers and offsets -> V, 36 points `stride` vectors apart, each
   16 even channels and then 16 odd ones. */
IRC_FN void irc_winograd_input(const uint8_t *const row[6], const int64_t column[6], irc_v *v, int64_t stride)
{
    irc_v d[2][36], t[36]; /* [parity][row * 6 + column] */
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            const irc_v codes = irc_load(row[i] + column[j]);
            d[0][i * 6 + j] = _mm256_and_si256(codes, _mm256_set1_epi16(255));
            d[1][i * 6 + j] = _mm256_srli_epi16(codes, 8);
        }
    for (int parity = 0; parity < 2; parity++) {
        for (int j = 0; j < 6; j++)
            irc_winograd_input_line(d[parity] + j, 6, t + j, 6);
        for (int i = 0; i < 6; i++)
            irc_winograd_input_line(t + 6 * i, 1, v + 6 * i * stride + parity, stride);
    }
}

/* u = G g for three int16 vectors. */
IRC_INLINE void irc_winograd_weight_line(irc_v g0, irc_v g1, irc_v g2, irc_v *u, const int64_t to)
{
    const irc_v six = _mm256_set1_epi16(6), s = IRC_ADD16(g0, g2), q = IRC_ADD16(g0, _mm256_slli_epi16(g2, 2)), h = IRC_ADD16(g1, g1);
    u[0] = _mm256_mullo_epi16(g0, six);
    u[to] = IRC_ADD16(s, g1);
    u[2 * to] = IRC_SUB16(s, g1);
    u[3 * to] = IRC_ADD16(q, h);
    u[4 * to] = IRC_SUB16(q, h);
    u[5 * to] = _mm256_mullo_epi16(g2, six);
}

/* 4 input times 8 output channels: w at tap (0, 0), taps `right` and `down` bytes apart; u: even channels, 36 points `stride`
   vectors apart; the odd ones are `odd` vectors behind. */
IRC_FN void irc_winograd_weights(const int8_t *w, int64_t right, int64_t down, irc_v *u, int64_t stride, int64_t odd)
{
    irc_v t[18]; /* [row of G][column] */
    for (int parity = 0; parity < 2; parity++) {
        for (int j = 0; j < 3; j++) {
            irc_v g[3];
            for (int i = 0; i < 3; i++) {
                const irc_v packed = irc_load(w + i * down + j * right);
                g[i] = _mm256_srai_epi16(parity ? packed : _mm256_slli_epi16(packed, 8), 8);
            }
            irc_winograd_weight_line(g[0], g[1], g[2], t + j, 3);
        }
        for (int i = 0; i < 6; i++)
            irc_winograd_weight_line(t[3 * i], t[3 * i + 1], t[3 * i + 2], u + 6 * i * stride + parity * odd, stride);
    }
}

/* o = A' m without the divisors, for six int32 vectors `from` apart. */
IRC_INLINE void irc_winograd_output_line(const irc_v *m, const int64_t from, irc_v *o, const int to)
{
    const irc_v m1 = m[from], m2 = m[2 * from], m3 = m[3 * from], m4 = m[4 * from];
    const irc_v s = _mm256_add_epi32(m1, m2), d = _mm256_sub_epi32(m2, m1);
    const irc_v p = _mm256_add_epi32(m3, m4), q = _mm256_sub_epi32(m3, m4);
    o[0] = _mm256_add_epi32(_mm256_sub_epi32(m[0], _mm256_slli_epi32(s, 2)), p);
    o[to] = _mm256_add_epi32(_mm256_add_epi32(d, d), q);
    o[2 * to] = _mm256_sub_epi32(p, s);
    o[3 * to] = _mm256_add_epi32(_mm256_add_epi32(d, _mm256_add_epi32(q, q)), m[5 * from]);
}

/* 8 channels: M, 36 points `stride` vectors apart -> acc [4 * row + column]. */
IRC_FN void irc_winograd_output(const irc_v *m, int64_t stride, irc_v acc[16])
{
    const irc_v ninth = _mm256_set1_epi32(954437177); /* 9 * this = 1 modulo 2^32 */
    irc_v t[24];                                      /* [row][column of M] */
    for (int j = 0; j < 6; j++)
        irc_winograd_output_line(m + j * stride, 6 * stride, t + j, 6);
    for (int i = 0; i < 4; i++) {
        const int k = i == 0 ? 3 : i == 1 ? 2 : 1;
        irc_v *o = acc + 4 * i;
        irc_winograd_output_line(t + 6 * i, 1, o, 1);
        o[0] = _mm256_sra_epi32(_mm256_mullo_epi32(o[0], ninth), _mm_cvtsi32_si128(k + 3));
        o[1] = _mm256_sra_epi32(_mm256_mullo_epi32(o[1], ninth), _mm_cvtsi32_si128(k + 2));
        o[2] = _mm256_sra_epi32(_mm256_mullo_epi32(o[2], ninth), _mm_cvtsi32_si128(k + 1));
        o[3] = _mm256_sra_epi32(_mm256_mullo_epi32(o[3], ninth), _mm_cvtsi32_si128(k + 1));
    }
}

#endif
