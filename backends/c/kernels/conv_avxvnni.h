/* Tiles of AVX-VNNI: up to 6 positions x 16 (or 8) channels by vpdpbusd on 32 bytes.

   The broadcast of 4 codes and its dot products are one statement of assembly: in this order, 12 accumulators, 2 vectors of
   weights and 1 of codes fill 15 of the 16 registers. */
#ifndef IRC_CONV_AVXVNNI_H
#define IRC_CONV_AVXVNNI_H

#include "conv_columns.h"
#include <immintrin.h>
#include <string.h>

#define IRC_AVXVNNI_ROWS 6
#define IRC_FOUR_CODES(p) (*(const uint8_t(*)[4])(p))

typedef __m256i irc_ymm;

IRC_INLINE irc_ymm irc_load_ymm(const void *p) { return _mm256_loadu_si256((const irc_ymm *)p); }

#if defined(__AVXVNNI__)
#define IRC_DOT_ROW_2(c0, c1, a, w0, w1) \
    do { \
        irc_ymm four; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\t%{vex%} vpdpbusd %[b0],%[t],%[d0]\n\t%{vex%} vpdpbusd %[b1],%[t],%[d1]" \
                         : [d0] "+x"(c0), [d1] "+x"(c1), [t] "=&x"(four) \
                         : [x] "m"(IRC_FOUR_CODES(a)), [b0] "x"(w0), [b1] "x"(w1)); \
    } while (0)
#define IRC_DOT_ROW_1(c0, a, w0) \
    do { \
        irc_ymm four; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\t%{vex%} vpdpbusd %[b0],%[t],%[d0]" \
                         : [d0] "+x"(c0), [t] "=&x"(four) \
                         : [x] "m"(IRC_FOUR_CODES(a)), [b0] "x"(w0)); \
    } while (0)
#else
IRC_INLINE irc_ymm irc_four_codes(const uint8_t *a)
{
    int32_t codes;
    memcpy(&codes, a, sizeof codes);
    return _mm256_set1_epi32(codes);
}
#define IRC_DOT_ROW_1(c0, a, w0) (c0) = _mm256_dpbusd_avx_epi32(c0, irc_four_codes(a), w0)
#define IRC_DOT_ROW_2(c0, c1, a, w0, w1) \
    do { \
        IRC_DOT_ROW_1(c0, a, w0); \
        IRC_DOT_ROW_1(c1, a, w1); \
    } while (0)
#endif

/* What does not change within a layer. */
typedef struct irc_clamp_ymm {
    __m256 residual_scale, hi;
    __m128i lo;
} irc_clamp_ymm;

/* 8 channels; residual: 8 readable codes or NULL. */
IRC_INLINE __m256 irc_scaled_ymm(irc_ymm acc, const float *scale, const float *bias, const uint8_t *residual,
                                 const irc_clamp_ymm *clamp)
{
    const __m256 t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(scale), _mm256_loadu_ps(bias));
    if (!residual)
        return t;
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)residual))),
                           clamp->residual_scale, t);
}

/* The first n of 16 codes. */
IRC_INLINE void irc_store_ymm(uint8_t *y, __m128i codes, int32_t n)
{
    uint8_t bytes[16];
    if (n >= 16) {
        _mm_storeu_si128((__m128i *)(void *)y, codes);
        return;
    }
    _mm_storeu_si128((__m128i *)(void *)bytes, codes);
    if (n & 8)
        memcpy(y, bytes, 8);
    for (int32_t k = n & 8; k < n; k++)
        y[k] = bytes[k];
}

/* Positions i and j (the same if there is no second one), 8 V channels each. Above hi a value might not fit int32, below lo it
   saturates and is clamped as a code. */
IRC_INLINE void irc_codes_avxvnni(const irc_columns *t, const irc_clamp_ymm *clamp, int32_t i, int32_t j, const __m256 *a,
                                  const __m256 *b, const int V)
{
    irc_ymm c[4];
    IRC_UNROLL for (int k = 0; k < 2; k++) {
        c[k] = _mm256_cvtps_epi32(_mm256_min_ps(a[k < V ? k : 0], clamp->hi));
        c[2 + k] = _mm256_cvtps_epi32(_mm256_min_ps(b[k < V ? k : 0], clamp->hi));
    }
    const irc_ymm packed = _mm256_packus_epi16(_mm256_packs_epi32(c[0], c[1]), _mm256_packs_epi32(c[2], c[3]));
    const __m128i low = _mm256_castsi256_si128(packed), high = _mm256_extracti128_si256(packed, 1);
    irc_store_ymm(t->codes + t->q->y[i], _mm_max_epu8(_mm_unpacklo_epi32(low, high), clamp->lo), t->n);
    if (j != i)
        irc_store_ymm(t->codes + t->q->y[j], _mm_max_epu8(_mm_unpackhi_epi32(low, high), clamp->lo), t->n);
}

IRC_INLINE void irc_floats_avxvnni(float *y, const __m256 *t, int32_t n, const int V)
{
    float floats[16];
    IRC_UNROLL for (int k = 0; k < V; k++) _mm256_storeu_ps(floats + 8 * k, t[k]);
    memcpy(y, floats, (size_t)n * sizeof *y);
}

IRC_INLINE void irc_finish_avxvnni(const irc_columns *t, const irc_clamp_ymm *clamp, int32_t i, int32_t j, const irc_ymm *a,
                                   const irc_ymm *b, const int V)
{
    const uint8_t *ra = t->residual ? t->residual + t->q->r[i] : NULL, *rb = t->residual ? t->residual + t->q->r[j] : NULL;
    __m256 ta[2], tb[2];
    IRC_UNROLL for (int k = 0; k < V; k++) {
        ta[k] = irc_scaled_ymm(a[k], t->scale + 8 * k, t->bias + 8 * k, ra ? ra + 8 * k : NULL, clamp);
        tb[k] = irc_scaled_ymm(b[k], t->scale + 8 * k, t->bias + 8 * k, rb ? rb + 8 * k : NULL, clamp);
    }
    if (t->codes) {
        irc_codes_avxvnni(t, clamp, i, j, ta, tb, V);
    } else {
        irc_floats_avxvnni(t->floats + t->q->y[i], ta, t->n, V);
        irc_floats_avxvnni(t->floats + t->q->y[j], tb, t->n, V);
    }
}

/* R positions from i on, 8 V channels. */
IRC_INLINE void irc_avxvnni_tile(const irc_columns *t, const irc_clamp_ymm *clamp, int32_t i, const int R, const int V)
{
    const int8_t *w = t->w;
    irc_ymm c[IRC_AVXVNNI_ROWS][2];
    const uint8_t *x[IRC_AVXVNNI_ROWS];
    IRC_UNROLL for (int r = 0; r < R; r++) {
        const irc_ymm row = _mm256_set1_epi32(t->rows ? t->rows[i + r] : 0);
        x[r] = t->x + t->q->x[i + r];
        IRC_UNROLL for (int j = 0; j < V; j++) c[r][j] = _mm256_add_epi32(irc_load_ymm(t->start + 8 * j), row);
    }
    for (int32_t run = 0; run < t->runs; run++) {
        const int64_t end = t->run_offset[run] + 4 * (int64_t)t->steps;
        for (int64_t at = t->run_offset[run]; at < end; at += 4, w += 64) {
            const irc_ymm w0 = irc_load_ymm(w), w1 = V > 1 ? irc_load_ymm(w + 32) : w0;
            IRC_UNROLL for (int r = 0; r < R; r++) {
                if (V > 1)
                    IRC_DOT_ROW_2(c[r][0], c[r][1], x[r] + at, w0, w1);
                else
                    IRC_DOT_ROW_1(c[r][0], x[r] + at, w0);
            }
        }
    }
    IRC_UNROLL for (int r = 0; r < R; r += 2) {
        const int next = r + 1 < R ? r + 1 : r;
        irc_finish_avxvnni(t, clamp, i + r, i + next, c[r], c[next], V);
    }
}

#define IRC_AVXVNNI_TILE(R, V) \
    static __attribute__((noinline, unused)) void irc_avxvnni_##R##x##V(const irc_columns *t, const irc_clamp_ymm *clamp, int32_t i) \
    { \
        irc_avxvnni_tile(t, clamp, i, R, V); \
    }
IRC_AVXVNNI_TILE(1, 1)
IRC_AVXVNNI_TILE(2, 1)
IRC_AVXVNNI_TILE(3, 1)
IRC_AVXVNNI_TILE(4, 1)
IRC_AVXVNNI_TILE(5, 1)
IRC_AVXVNNI_TILE(6, 1)
IRC_AVXVNNI_TILE(1, 2)
IRC_AVXVNNI_TILE(2, 2)
IRC_AVXVNNI_TILE(3, 2)
IRC_AVXVNNI_TILE(4, 2)
IRC_AVXVNNI_TILE(5, 2)
IRC_AVXVNNI_TILE(6, 2)

IRC_FN void irc_conv_block_avxvnni(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y)
{
    static void (*const tiles[2][IRC_AVXVNNI_ROWS])(const irc_columns *, const irc_clamp_ymm *, int32_t) = {
        {irc_avxvnni_1x1, irc_avxvnni_2x1, irc_avxvnni_3x1, irc_avxvnni_4x1, irc_avxvnni_5x1, irc_avxvnni_6x1},
        {irc_avxvnni_1x2, irc_avxvnni_2x2, irc_avxvnni_3x2, irc_avxvnni_4x2, irc_avxvnni_5x2, irc_avxvnni_6x2}};
    const irc_clamp_ymm clamp = {_mm256_set1_ps(p->residual_scale), _mm256_set1_ps(p->hi), _mm_set1_epi8((char)(uint8_t)p->lo)};
    irc_columns t;
    for (int32_t b = 0; b * IRC_BLOCK < part->n; b++) {
        irc_columns_of(&t, p, q, part, y, b, 1);
        for (int32_t i = 0, rows; i < q->count; i += rows) {
            rows = q->count - i < IRC_AVXVNNI_ROWS ? q->count - i : IRC_AVXVNNI_ROWS;
            tiles[t.n > 8][rows - 1](&t, &clamp, i);
        }
    }
}

#endif
