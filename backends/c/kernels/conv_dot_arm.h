/* Tiles of up to 5 positions x 16 (or 8) channels by dot products of 4 codes: sdot, or sudot where there is one.

   sudot multiplies s8 by u8. sdot wants s8: it gets a - 128, and the sums start at 128 * (sum of the weights):
   sum a w = sum (a - 128) w + 128 sum w.

   The dot product is written in assembly, since gcc copies and spills accumulators around the intrinsic. */
#ifndef IRC_CONV_DOT_ARM_H
#define IRC_CONV_DOT_ARM_H

#include "arm.h"

#define IRC_DOT_ROWS 5

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define IRC_DOT(c, a, w, lane) __asm__ volatile("sudot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(c) : "w"(w), "w"(a))
#define IRC_DOT_OPERAND(a) (a)
#else
#define IRC_DOT(c, a, w, lane) __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(c) : "w"(w), "w"(a))
#define IRC_DOT_OPERAND(a) veorq_u8(a, vdupq_n_u8(0x80))
#endif

/* Step k of four: 4 codes of each position, 16 channels. */
#define IRC_DOT_STEP(k) \
    { \
        int8x16_t b[4]; \
        IRC_UNROLL for (int j = 0; j < V; j++) b[j] = vld1q_s8(w + 64 * (k) + 16 * j); \
        IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < V; j++) IRC_DOT(c[r][j], v[r], b[j], k); \
    }

/* c[r] += the window of position i + r times the weights; R positions, 4 * V channels. */
IRC_INLINE void irc_dot_window(const irc_columns *t, int32_t i, int32x4_t (*c)[4], const int R, const int V)
{
    const int8_t *w = t->w;
    for (int32_t run = 0; run < t->runs; run++) {
        const uint8_t *a[IRC_DOT_ROWS];
        uint8x16_t v[IRC_DOT_ROWS];
        int32_t s = t->steps;
        IRC_UNROLL for (int r = 0; r < R; r++) a[r] = t->x + t->q->x[i + r] + t->run_offset[run];
        for (; s >= 4; s -= 4, w += 256) {
            IRC_UNROLL for (int r = 0; r < R; r++) {
                v[r] = IRC_DOT_OPERAND(vld1q_u8(a[r]));
                a[r] += 16;
            }
            IRC_DOT_STEP(0) IRC_DOT_STEP(1) IRC_DOT_STEP(2) IRC_DOT_STEP(3)
        }
        if (s == 0)
            continue;
        IRC_UNROLL for (int r = 0; r < R; r++) v[r] = IRC_DOT_OPERAND(vld1q_u8(a[r]));
        IRC_DOT_STEP(0)
        if (s > 1)
            IRC_DOT_STEP(1)
        if (s > 2)
            IRC_DOT_STEP(2)
        w += 64 * s;
    }
}

IRC_INLINE void irc_dot_tile(const irc_columns *t, const irc_clamp *clamp, int32_t i, const int R, const int V)
{
    int32x4_t c[IRC_DOT_ROWS][4];
    IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < V; j++) {
        c[r][j] = vld1q_s32(t->start + 4 * j);
        if (t->rows)
            c[r][j] = vaddq_s32(c[r][j], vdupq_n_s32(t->rows[i + r]));
    }
    irc_dot_window(t, i, c, R, V);
    irc_finish(t, clamp, i, R, c, R, V);
}

/* As many tiles as there are from position i on, before `to`; returns the next position. */
#define IRC_DOT_TILE(R, V) \
    static __attribute__((noinline, unused)) int32_t irc_dot_##R##x##V(const irc_columns *t, const irc_clamp *clamp, int32_t i, \
                                                                       int32_t to) \
    { \
        for (; to - i >= R; i += R) \
            irc_dot_tile(t, clamp, i, R, V); \
        return i; \
    }
IRC_DOT_TILE(1, 2)
IRC_DOT_TILE(2, 2)
IRC_DOT_TILE(3, 2)
IRC_DOT_TILE(4, 2)
IRC_DOT_TILE(5, 2)
IRC_DOT_TILE(1, 4)
IRC_DOT_TILE(2, 4)
IRC_DOT_TILE(3, 4)
IRC_DOT_TILE(4, 4)
IRC_DOT_TILE(5, 4)

/* Positions from .. to - 1. */
IRC_FN void irc_dot_positions(const irc_columns *t, const irc_clamp *clamp, int32_t from, int32_t to)
{
    static int32_t (*const tiles[2][IRC_DOT_ROWS])(const irc_columns *, const irc_clamp *, int32_t, int32_t) = {
        {irc_dot_1x2, irc_dot_2x2, irc_dot_3x2, irc_dot_4x2, irc_dot_5x2},
        {irc_dot_1x4, irc_dot_2x4, irc_dot_3x4, irc_dot_4x4, irc_dot_5x4}};
    while (from < to)
        from = tiles[t->n > 8][to - from > IRC_DOT_ROWS ? IRC_DOT_ROWS - 1 : to - from - 1](t, clamp, from, to);
}

#endif
