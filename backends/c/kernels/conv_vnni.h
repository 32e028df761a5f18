/* Tiles of AVX-512 VNNI: positions x vectors of 16 channels, 10x2, 8x3 or 6x4, and lower ones for what is left.
   A tile higher than 10 needs more pointers than there are registers for, and gcc then keeps pointers where sums should be.

   gcc moves accumulators to memory and back around the intrinsic of vpdpbusd; a statement of assembly keeps them. */
#ifndef IRC_CONV_VNNI_H
#define IRC_CONV_VNNI_H

#include "avx512.h"
#include <string.h>

#if defined(__AVX512VNNI__)
#define IRC_DPBUSD_ZMM(c, a, w) __asm__ volatile("vpdpbusd %2,%1,%0" : "+v"(c) : "v"(a), "v"(w))
#else
#define IRC_DPBUSD_ZMM(c, a, w) (c) = _mm512_dpbusd_epi32(c, a, w)
#endif

#define IRC_VNNI_ROWS 10

/* 4 codes, 16 times. */
IRC_INLINE irc_zmm irc_four_codes(const uint8_t *a)
{
    int32_t codes;
    memcpy(&codes, a, sizeof codes);
    return _mm512_set1_epi32(codes);
}

/* Floats: rare, so they take the way of plain C. */
static __attribute__((noinline, unused)) void irc_finish_floats(const irc_columns *t, int32_t i, int32_t rows, int32_t stride,
                                                                const int32_t *acc)
{
    for (int32_t r = 0; r < rows; r++) {
        irc_output out;
        out.residual = t->residual ? t->residual + t->q->r[i + r] : NULL;
        out.codes = NULL;
        out.floats = t->floats + t->q->y[i + r];
        out.residual_scale = t->residual_scale;
        out.lo = t->lo;
        out.hi = t->hi;
        irc_requantize(acc + r * stride, t->scale, t->bias, t->n, &out);
    }
}

/* R positions from i on, V vectors of 16 channels. */
IRC_INLINE void irc_vnni_tile(const irc_columns *t, const irc_clamp_zmm *clamp, int32_t i, const int R, const int V)
{
    const int64_t column = (int64_t)t->runs * t->steps * 64;
    const int8_t *w = t->w;
    irc_zmm c[IRC_VNNI_ROWS * 4];
    const uint8_t *x[IRC_VNNI_ROWS];
    IRC_UNROLL for (int r = 0; r < R; r++) {
        x[r] = t->x + t->q->x[i + r];
        IRC_UNROLL for (int j = 0; j < V; j++) {
            c[r * V + j] = _mm512_loadu_si512(t->start + 16 * j);
            if (t->rows)
                c[r * V + j] = _mm512_add_epi32(c[r * V + j], _mm512_set1_epi32(t->rows[i + r]));
        }
    }
    for (int32_t run = 0; run < t->runs; run++) {
        const int64_t end = t->run_offset[run] + 4 * (int64_t)t->steps;
        for (int64_t at = t->run_offset[run]; at < end; at += 4, w += 64) {
            irc_zmm b[4];
            IRC_UNROLL for (int j = 0; j < V; j++) b[j] = _mm512_loadu_si512(w + j * column);
            IRC_UNROLL for (int r = 0; r < R; r++) {
                const irc_zmm a = irc_four_codes(x[r] + at);
                IRC_UNROLL for (int j = 0; j < V; j++) IRC_DPBUSD_ZMM(c[r * V + j], a, b[j]);
            }
        }
    }
    if (t->floats) {
        int32_t acc[IRC_VNNI_ROWS * IRC_WIDEST];
        IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < V; j++)
            _mm512_storeu_si512(acc + 16 * (r * V + j), c[r * V + j]);
        irc_finish_floats(t, i, R, 16 * V, acc);
        return;
    }
    IRC_UNROLL for (int r = 0; r < R; r += V == 1 ? 4 : V == 2 ? 2 : 1) {
        const int together = V == 1 ? 4 : V == 2 ? 2 : 1, count = R - r < together ? R - r : together;
        irc_zmm four[4];
        IRC_UNROLL for (int k = 0; k < 4; k++) four[k] = k < count * V ? c[r * V + k] : c[r * V];
        irc_finish_zmm(t, clamp, i + r, count, four, V);
    }
}

typedef void irc_vnni_function(const irc_columns *, const irc_clamp_zmm *, int32_t);

#define IRC_VNNI_TILE(R, V) \
    static __attribute__((noinline, unused)) void irc_vnni_##R##x##V(const irc_columns *t, const irc_clamp_zmm *clamp, int32_t i) \
    { \
        irc_vnni_tile(t, clamp, i, R, V); \
    }
IRC_VNNI_TILE(1, 1)
IRC_VNNI_TILE(2, 1)
IRC_VNNI_TILE(4, 1)
IRC_VNNI_TILE(8, 1)
IRC_VNNI_TILE(10, 1)
IRC_VNNI_TILE(1, 2)
IRC_VNNI_TILE(2, 2)
IRC_VNNI_TILE(4, 2)
IRC_VNNI_TILE(8, 2)
IRC_VNNI_TILE(10, 2)
IRC_VNNI_TILE(1, 3)
IRC_VNNI_TILE(2, 3)
IRC_VNNI_TILE(4, 3)
IRC_VNNI_TILE(8, 3)
IRC_VNNI_TILE(1, 4)
IRC_VNNI_TILE(2, 4)
IRC_VNNI_TILE(4, 4)
IRC_VNNI_TILE(6, 4)

/* All positions, `width` vectors. */
IRC_FN void irc_vnni_positions(const irc_columns *t, const irc_clamp_zmm *clamp, int32_t width)
{
    static const int32_t heights[4][6] = {{10, 8, 4, 2, 1, 0}, {10, 8, 4, 2, 1, 0}, {8, 4, 2, 1, 0, 0}, {6, 4, 2, 1, 0, 0}};
    static irc_vnni_function *const tiles[4][5] = {
        {irc_vnni_10x1, irc_vnni_8x1, irc_vnni_4x1, irc_vnni_2x1, irc_vnni_1x1},
        {irc_vnni_10x2, irc_vnni_8x2, irc_vnni_4x2, irc_vnni_2x2, irc_vnni_1x2},
        {irc_vnni_8x3, irc_vnni_4x3, irc_vnni_2x3, irc_vnni_1x3, NULL},
        {irc_vnni_6x4, irc_vnni_4x4, irc_vnni_2x4, irc_vnni_1x4, NULL}};
    const int32_t *height = heights[width - 1];
    irc_vnni_function *const *tile = tiles[width - 1];
    for (int32_t i = 0; i < t->q->count; i += *height) {
        for (; t->q->count - i < *height; height++)
            tile++;
        (*tile)(t, clamp, i);
    }
}

/* Vectors of the next tiles: 4 for few positions, whose sums would wait for each other; else 2, and 3 where one is left over. */
IRC_FN int32_t irc_vnni_width(int32_t blocks, int32_t positions)
{
    if (positions <= 6)
        return blocks < 4 ? blocks : 4;
    return blocks == 1 || blocks == 3 ? blocks : 2;
}

IRC_FN void irc_conv_block_vnni(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y)
{
    const irc_clamp_zmm clamp = irc_clamp_zmm_of(p->residual_scale, p->lo, p->hi);
    const int32_t blocks = irc_ceil_div(part->n, IRC_BLOCK);
    irc_columns t;
    for (int32_t b = 0, width; b < blocks; b += width) {
        width = irc_vnni_width(blocks - b, q->count);
        irc_columns_of(&t, p, q, part, y, b, width);
        irc_vnni_positions(&t, &clamp, width);
    }
}

#endif
