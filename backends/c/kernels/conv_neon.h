/* Tiles of up to 4 positions x 16 (or 8) channels by 8-bit multiplications (smull, smlal), for processors without dot products.

   The products of s8 weights with s8 codes a - 128 are summed as in conv_dot_arm.h: sums start at 128 * (sum of the weights).
   For 4 codes c0 .. c3 and each of 8 channels, c0 w0 + c2 w2 and c1 w1 + c3 w3 are summed in int16 and both then added to
   int32. Two products leave int16 only if both are (-128) (-128): a block with a weight of -128 takes twice the additions. */
#ifndef IRC_CONV_NEON_H
#define IRC_CONV_NEON_H

#include "arm.h"

#define IRC_NEON_ROWS 4

/* d0, d1 += 4 codes times the weights of channels 0 - 3, 4 - 7. a01: codes 0 and 1, eight times; b: codes 0 and 1, 2 and 3. */
#define IRC_NEON_PAIRS(d0, d1, a01, a23, b01, b23) \
    do { \
        int16x8_t low, high; \
        __asm__ volatile("smull %[l].8h,%[v].8b,%[a].8b\n\tsmull2 %[h].8h,%[v].16b,%[a].16b\n\t" \
                         "smlal %[l].8h,%[w].8b,%[b].8b\n\tsmlal2 %[h].8h,%[w].16b,%[b].16b\n\t" \
                         "sadalp %[c0].4s,%[l].8h\n\tsadalp %[c1].4s,%[h].8h" \
                         : [c0] "+w"(d0), [c1] "+w"(d1), [l] "=&w"(low), [h] "=&w"(high) \
                         : [a] "w"(a01), [b] "w"(a23), [v] "w"(b01), [w] "w"(b23)); \
    } while (0)
#define IRC_NEON_SINGLE(d0, d1, a, b) \
    do { \
        int16x8_t low, high; \
        __asm__ volatile("smull %[l].8h,%[v].8b,%[x].8b\n\tsmull2 %[h].8h,%[v].16b,%[x].16b\n\t" \
                         "sadalp %[c0].4s,%[l].8h\n\tsadalp %[c1].4s,%[h].8h" \
                         : [c0] "+w"(d0), [c1] "+w"(d1), [l] "=&w"(low), [h] "=&w"(high) \
                         : [x] "w"(a), [v] "w"(b)); \
    } while (0)

/* Step k of four. */
#define IRC_NEON_STEP(k) \
    { \
        int16x8x2_t b[2]; \
        IRC_UNROLL for (int j = 0; j < V / 2; j++) b[j] = vld2q_s16((const int16_t *)(const void *)(w + 64 * (k) + 32 * j)); \
        IRC_UNROLL for (int r = 0; r < R; r++) { \
            const int16x8_t a01 = vdupq_laneq_s16(v[r], 2 * (k)), a23 = vdupq_laneq_s16(v[r], 2 * (k) + 1); \
            IRC_UNROLL for (int j = 0; j < V / 2; j++) { \
                if (extreme) { \
                    IRC_NEON_SINGLE(c[r][2 * j], c[r][2 * j + 1], a01, b[j].val[0]); \
                    IRC_NEON_SINGLE(c[r][2 * j], c[r][2 * j + 1], a23, b[j].val[1]); \
                } else { \
                    IRC_NEON_PAIRS(c[r][2 * j], c[r][2 * j + 1], a01, a23, b[j].val[0], b[j].val[1]); \
                } \
            } \
        } \
    }

IRC_INLINE int16x8_t irc_neon_operand(const uint8_t *a)
{
    return vreinterpretq_s16_u8(veorq_u8(vld1q_u8(a), vdupq_n_u8(0x80)));
}

/* c[r] += the window of position i + r times the weights; R positions, 4 * V channels. */
IRC_INLINE void irc_neon_window(const irc_columns *t, int32_t i, int32x4_t (*c)[4], const int R, const int V, const int extreme)
{
    const int8_t *w = t->w;
    for (int32_t run = 0; run < t->runs; run++) {
        const uint8_t *a[IRC_NEON_ROWS];
        int16x8_t v[IRC_NEON_ROWS];
        int32_t s = t->steps;
        IRC_UNROLL for (int r = 0; r < R; r++) a[r] = t->x + t->q->x[i + r] + t->run_offset[run];
        for (; s >= 4; s -= 4, w += 256) {
            IRC_UNROLL for (int r = 0; r < R; r++) {
                v[r] = irc_neon_operand(a[r]);
                a[r] += 16;
            }
            IRC_NEON_STEP(0) IRC_NEON_STEP(1) IRC_NEON_STEP(2) IRC_NEON_STEP(3)
        }
        if (s == 0)
            continue;
        IRC_UNROLL for (int r = 0; r < R; r++) v[r] = irc_neon_operand(a[r]);
        IRC_NEON_STEP(0)
        if (s > 1)
            IRC_NEON_STEP(1)
        if (s > 2)
            IRC_NEON_STEP(2)
        w += 64 * s;
    }
}

IRC_INLINE void irc_neon_tile(const irc_columns *t, const irc_clamp *clamp, int32_t i, const int R, const int V, const int extreme)
{
    int32x4_t c[IRC_NEON_ROWS][4];
    IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < V; j++) {
        c[r][j] = vld1q_s32(t->start + 4 * j);
        if (t->rows)
            c[r][j] = vaddq_s32(c[r][j], vdupq_n_s32(t->rows[i + r]));
    }
    irc_neon_window(t, i, c, R, V, extreme);
    irc_finish(t, clamp, i, R, c, R, V);
}

/* As many tiles as there are from position i on, before `to`; returns the next position. */
#define IRC_NEON_TILE(name, R, V, extreme) \
    static __attribute__((noinline, unused)) int32_t irc_neon_##name(const irc_columns *t, const irc_clamp *clamp, int32_t i, \
                                                                     int32_t to) \
    { \
        for (; to - i >= R; i += R) \
            irc_neon_tile(t, clamp, i, R, V, extreme); \
        return i; \
    }
IRC_NEON_TILE(1x2, 1, 2, 0)
IRC_NEON_TILE(2x2, 2, 2, 0)
IRC_NEON_TILE(4x2, 4, 2, 0)
IRC_NEON_TILE(1x4, 1, 4, 0)
IRC_NEON_TILE(2x4, 2, 4, 0)
IRC_NEON_TILE(4x4, 4, 4, 0)
IRC_NEON_TILE(extreme_1x4, 1, 4, 1)
IRC_NEON_TILE(extreme_2x4, 2, 4, 1)
IRC_NEON_TILE(extreme_4x4, 4, 4, 1)

IRC_FN void irc_neon_positions(const irc_columns *t, const irc_clamp *clamp, int32_t count, int extreme)
{
    static int32_t (*const tiles[3][3])(const irc_columns *, const irc_clamp *, int32_t, int32_t) = {
        {irc_neon_1x2, irc_neon_2x2, irc_neon_4x2},
        {irc_neon_1x4, irc_neon_2x4, irc_neon_4x4},
        {irc_neon_extreme_1x4, irc_neon_extreme_2x4, irc_neon_extreme_4x4}};
    for (int32_t i = 0; i < count;)
        i = tiles[extreme ? 2 : t->n > 8][count - i >= 4 ? 2 : count - i >= 2 ? 1 : 0](t, clamp, i, count);
}

/* start += 128 * (sum of the weights of each channel); returns whether a weight is -128. */
IRC_FN int irc_neon_start(irc_columns *t)
{
    const int32_t steps = t->runs * t->steps;
    int32x4_t sum[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    int8x16_t least = vdupq_n_s8(0);
    for (int32_t s = 0; s < steps; s++)
        IRC_UNROLL for (int j = 0; j < 4; j++) {
            const int8x16_t w = vld1q_s8(t->w + 64 * (int64_t)s + 16 * j);
            sum[j] = vpadalq_s16(sum[j], vpaddlq_s8(w));
            least = vminq_s8(least, w);
        }
    IRC_UNROLL for (int j = 0; j < 4; j++)
        vst1q_s32(t->start + 4 * j, vaddq_s32(vld1q_s32(t->start + 4 * j), vshlq_n_s32(sum[j], 7)));
    return vminvq_s8(least) == -128;
}

#endif
