/* Tiles of 6 positions x 16 channels by matrix products of 2 x 8 codes and 8 x 2 weights (usmmla).

   Scratch memory holds what usmmla takes, for each two steps (8 k) of a run; the last of an odd number of steps is followed
   by zero weights:
       weights      [8 pairs of channels][2][8 k]   of one block of 16 channels
       activations  [pairs of positions][2][8 k]    of all positions of the block */
#ifndef IRC_CONV_MMLA_ARM_H
#define IRC_CONV_MMLA_ARM_H

#include "arm.h"

#define IRC_MMLA_PAIRS 3 /* pairs of positions in a tile */
#define IRC_MMLA(c, a, b) __asm__ volatile("usmmla %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(a), "w"(b))

/* Number of 8 k that a window has. */
IRC_FN int32_t irc_mmla_depth(const irc_conv *p) { return p->runs * irc_ceil_div(p->run_length, 8); }

/* Positions whose activations fit into the scratch memory beside a block of weights; a multiple of a tile's. 0 without any k. */
IRC_FN int32_t irc_mmla_most(const irc_conv *p, size_t scratch_bytes)
{
    const int64_t depth = irc_mmla_depth(p), room = (int64_t)scratch_bytes - depth * 128;
    const int64_t fit = room <= 0 || !depth ? 0 : room / (depth * 8) / (2 * IRC_MMLA_PAIRS) * (2 * IRC_MMLA_PAIRS);
    return fit < IRC_POSITIONS ? (int32_t)fit : IRC_POSITIONS;
}

IRC_INLINE int8x16_t irc_zip_low(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
IRC_INLINE int8x16_t irc_zip_high(int8x16_t a, int8x16_t b)
{
    return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

IRC_FN void irc_mmla_weights(const irc_columns *t, int8_t *to)
{
    const int8_t *w = t->w;
    for (int32_t run = 0; run < t->runs; run++)
        for (int32_t s = 0; s < t->steps; s += 2, to += 128) {
            const int two = s + 1 < t->steps;
            IRC_UNROLL for (int j = 0; j < 4; j++) {
                const int8x16_t a = vld1q_s8(w + 16 * j), b = two ? vld1q_s8(w + 64 + 16 * j) : vdupq_n_s8(0);
                vst1q_s8(to + 32 * j, irc_zip_low(a, b));
                vst1q_s8(to + 32 * j + 16, irc_zip_high(a, b));
            }
            w += two ? 128 : 64;
        }
}

/* Positions i and j. */
IRC_FN void irc_mmla_pair(const irc_conv *p, const uint8_t *xi, const uint8_t *xj, uint8_t *to)
{
    const int32_t depth = irc_ceil_div(p->run_length, 8);
    for (int32_t run = 0; run < p->runs; run++) {
        const uint8_t *a = xi + p->run_offset[run], *b = xj + p->run_offset[run];
        int32_t d = depth;
        for (; d >= 2; d -= 2, a += 16, b += 16, to += 32) {
            const uint64x2_t u = vreinterpretq_u64_u8(vld1q_u8(a)), v = vreinterpretq_u64_u8(vld1q_u8(b));
            vst1q_u8(to, vreinterpretq_u8_u64(vzip1q_u64(u, v)));
            vst1q_u8(to + 16, vreinterpretq_u8_u64(vzip2q_u64(u, v)));
        }
        if (d) {
            vst1q_u8(to, vcombine_u8(vld1_u8(a), vld1_u8(b)));
            to += 16;
        }
    }
}

/* A last position without a neighbour is its own; a tile's sums of pairs that are not there are not made. */
IRC_FN void irc_mmla_activations(const irc_conv *p, const irc_positions *q, const uint8_t *x, uint8_t *to)
{
    const int64_t bytes = (int64_t)irc_mmla_depth(p) * 16;
    for (int32_t i = 0; i < q->count; i += 2, to += bytes)
        irc_mmla_pair(p, x + q->x[i], x + q->x[i + 1 < q->count ? i + 1 : i], to);
}

/* Sums by pairs of positions and pairs of channels -> by positions; the last position may not be there. */
IRC_INLINE void irc_mmla_finish(const irc_columns *t, const irc_clamp *clamp, int32_t i, int32x4_t (*c)[8],
                                const int P, const int V)
{
    const int32_t left = t->q->count - i, rows = left < 2 * P ? left : 2 * P;
    int32x4_t acc[2 * IRC_MMLA_PAIRS][4];
    IRC_UNROLL for (int r = 0; r < P; r++) IRC_UNROLL for (int h = 0; h < V; h++) {
        const int64x2_t low = vreinterpretq_s64_s32(c[r][2 * h]), high = vreinterpretq_s64_s32(c[r][2 * h + 1]);
        acc[2 * r][h] = vreinterpretq_s32_s64(vzip1q_s64(low, high));
        acc[2 * r + 1][h] = vreinterpretq_s32_s64(vzip2q_s64(low, high));
    }
    if (t->rows)
        IRC_UNROLL for (int r = 0; r < 2 * P; r++) {
            const int32x4_t row = vdupq_n_s32(t->rows[r < rows ? i + r : i]);
            IRC_UNROLL for (int h = 0; h < V; h++) acc[r][h] = vaddq_s32(acc[r][h], row);
        }
    irc_finish(t, clamp, i, rows, acc, 2 * P, V);
}

/* Positions i .. i + 2 P - 1, or one less; a: their packed activations, w: packed weights, depth: number of 8 k. */
IRC_INLINE void irc_mmla_tile(const irc_columns *t, const irc_clamp *clamp, int32_t i, const uint8_t *a, const int8_t *w,
                              int32_t depth, const int P, const int V)
{
    int32x4_t c[IRC_MMLA_PAIRS][8]; /* (position, channel): (0, 0), (0, 1), (1, 0), (1, 1) of a pair of each */
    const uint8_t *from[IRC_MMLA_PAIRS];
    IRC_UNROLL for (int r = 0; r < P; r++) {
        from[r] = a + (int64_t)r * depth * 16;
        IRC_UNROLL for (int j = 0; j < 2 * V; j++) {
            const int32x2_t start = vld1_s32(t->start + 2 * j);
            c[r][j] = vcombine_s32(start, start);
        }
    }
    for (int32_t d = 0; d < depth; d++, w += 128) {
        uint8x16_t v[IRC_MMLA_PAIRS];
        IRC_UNROLL for (int r = 0; r < P; r++) {
            v[r] = vld1q_u8(from[r]);
            from[r] += 16;
        }
        IRC_UNROLL for (int h = 0; h < V; h++) {
            const int8x16_t b0 = vld1q_s8(w + 32 * h), b1 = vld1q_s8(w + 32 * h + 16);
            IRC_UNROLL for (int r = 0; r < P; r++) {
                IRC_MMLA(c[r][2 * h], v[r], b0);
                IRC_MMLA(c[r][2 * h + 1], v[r], b1);
            }
        }
    }
    irc_mmla_finish(t, clamp, i, c, P, V);
}

/* As many tiles as there are from pair i of positions on, before `to`; returns the next pair. */
#define IRC_MMLA_TILE(P, V) \
    static __attribute__((noinline, unused)) int32_t irc_mmla_##P##x##V(const irc_columns *t, const irc_clamp *clamp, int32_t i, \
                                                                        int32_t to, const uint8_t *a, const int8_t *w, int32_t depth) \
    { \
        for (; to - i >= P; i += P) \
            irc_mmla_tile(t, clamp, 2 * i, a + (int64_t)i * depth * 16, w, depth, P, V); \
        return i; \
    }
IRC_MMLA_TILE(1, 2)
IRC_MMLA_TILE(2, 2)
IRC_MMLA_TILE(3, 2)
IRC_MMLA_TILE(1, 4)
IRC_MMLA_TILE(2, 4)
IRC_MMLA_TILE(3, 4)

/* All positions, from packed activations and weights. */
IRC_FN void irc_mmla_positions(const irc_columns *t, const irc_clamp *clamp, const uint8_t *a, const int8_t *w, int32_t depth)
{
    static int32_t (*const tiles[2][IRC_MMLA_PAIRS])(const irc_columns *, const irc_clamp *, int32_t, int32_t, const uint8_t *,
                                                     const int8_t *, int32_t) = {{irc_mmla_1x2, irc_mmla_2x2, irc_mmla_3x2},
                                                                                 {irc_mmla_1x4, irc_mmla_2x4, irc_mmla_3x4}};
    const int32_t pairs = irc_ceil_div(t->q->count, 2);
    for (int32_t i = 0, left; (left = pairs - i) > 0;) /* four pairs are two and two */
        i = tiles[t->n > 8][left == 4 || left == 2 ? 1 : left > 2 ? 2 : 0](t, clamp, i, pairs, a, w, depth);
}

#endif
