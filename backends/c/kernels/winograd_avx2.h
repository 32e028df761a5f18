/* irc_winograd_part for AVX2: see winograd.h.

   Scratch memory: V of a block of tiles [36][tile][channels], U of 16 output and up to 128 input channels [36][pair of input
   channels][16][2], M of the block's tiles [36][tile][16].

   The order of the input channels within 32: the even ones, then the odd ones, since this is how codes fall apart into int16. */
#ifndef IRC_WINOGRAD_AVX2_H
#define IRC_WINOGRAD_AVX2_H

#include "conv_avx2_tile.h"
#include "winograd_avx2_transform.h"

#define IRC_WINOGRAD
#define IRC_WINOGRAD_TILES 48
#define IRC_WINOGRAD_DEPTH 128 /* input channels at a time */
#define IRC_WINOGRAD_V (368 * 1024)

typedef struct irc_winograd {
    const irc_conv *p;
    const uint8_t *x; /* first byte of the first window */
    int32_t channels, across, down, tiles; /* tiles: of the block */
    int64_t first;                         /* tile of the block */
    int64_t depth;                         /* vectors of a tile's point in V */
    int64_t v_point, m_point;              /* vectors from one point to the next; odd multiples of 64 bytes: cache sets */
    irc_v *v, *u, *m;
} irc_winograd;

/* Where tile i of the block lies. */
IRC_INLINE void irc_winograd_place(const irc_winograd *g, int32_t i, int64_t *batch, int32_t *row, int32_t *col)
{
    const int64_t tile = g->first + i, line = tile / g->across;
    *col = (int32_t)(tile - line * g->across) * 4;
    *batch = line / g->down;
    *row = (int32_t)(line - *batch * g->down) * 4;
}

/* V of all tiles of the block. Rows and columns past the image repeat the last ones: no output that is stored depends on them. */
IRC_FN void irc_winograd_inputs(const irc_winograd *g)
{
    const irc_conv *p = g->p;
    for (int32_t i = 0; i < g->tiles; i++) {
        const uint8_t *row[6];
        int64_t column[6], batch;
        int32_t r, c;
        irc_winograd_place(g, i, &batch, &r, &c);
        for (int k = 0; k < 6; k++) {
            row[k] = g->x + batch * p->x_batch + (r + k < p->rows + 2 ? r + k : p->rows + 1) * p->x_row;
            column[k] = (c + k < p->cols + 2 ? c + k : p->cols + 1) * p->x_col;
        }
        for (int32_t ch = 0; ch < g->channels; ch += 32) {
            irc_winograd_input(row, column, g->v + i * g->depth + ch / 16, g->v_point);
            for (int k = 0; k < 6; k++)
                row[k] += 32;
        }
    }
}

/* Vectors from one point of U to the next. */
IRC_INLINE int64_t irc_winograd_u_point(int32_t depth) { return (int64_t)(depth + 31) / 32 * 32 + 2; }

/* U of a block of 16 output channels, input channels from .. from + depth - 1. w: the block. */
IRC_FN void irc_winograd_kernels(const irc_winograd *g, const int8_t *w, int32_t from, int32_t depth)
{
    const int64_t right = (int64_t)g->channels / 4 * 64, down = 3 * right, point = irc_winograd_u_point(depth);
    for (int32_t s = 0; s < (depth + 31) / 32 * 8; s++) { /* steps of 4 input channels */
        irc_v *u = g->u + s / 8 * 32 + s % 8 * 2;
        if (4 * s >= depth) {
            for (int64_t i = 0; i < 36; i++)
                for (int k = 0; k < 2; k++)
                    u[i * point + k] = u[i * point + 16 + k] = _mm256_setzero_si256();
            continue;
        }
        for (int k = 0; k < 2; k++)
            irc_winograd_weights(w + (from / 4 + s) * 64 + 32 * k, right, down, u + k, point, 16);
    }
}

/* M of R tiles at one point: m[tile][2] (+)= sum over n pairs of channels. stride: bytes from a tile to the next in v. */
IRC_INLINE void irc_winograd_sum(const int R, const uint8_t *v, int64_t stride, const irc_v *u, int32_t n, irc_v *m, int add)
{
    const uint8_t *low = v, *high = v + 3 * stride;
    const irc_v zero = _mm256_setzero_si256();
#define IRC_M_START(r) irc_v c##r##0 = zero, c##r##1 = zero; if (add && r < R) c##r##0 = m[2 * r], c##r##1 = m[2 * r + 1];
    IRC_M_START(0) IRC_M_START(1) IRC_M_START(2) IRC_M_START(3) IRC_M_START(4) IRC_M_START(5)
    for (int32_t i = 0; i < n; i++, u += 2, low += 4, high += 4) {
        const irc_v w0 = u[0], w1 = u[1];
#define IRC_M_ROW(r) IRC_WIDE_ROW(c##r##0, c##r##1, (r < 3 ? low + r * stride : high + (r - 3) * stride), w0, w1);
        IRC_ROWS(IRC_M_ROW)
    }
#define IRC_M_STORE(r) m[2 * r] = c##r##0, m[2 * r + 1] = c##r##1;
    IRC_ROWS(IRC_M_STORE)
}

/* All points and tiles: `from` is where the depth begins in V. */
IRC_FN void irc_winograd_products(const irc_winograd *g, int32_t from, int32_t depth)
{
    const int32_t n = (depth + 31) / 32 * 16;
    const int64_t stride = g->depth * (int64_t)sizeof(irc_v);
    for (int64_t i = 0; i < 36; i++) {
        const irc_v *u = g->u + i * irc_winograd_u_point(depth);
        for (int32_t t = 0; t < g->tiles;) {
            const uint8_t *v = (const uint8_t *)(g->v + i * g->v_point + t * g->depth + from / 16);
            irc_v *m = g->m + i * g->m_point + t * 2;
            const int32_t left = g->tiles - t;
            if (left >= 6) {
                irc_winograd_sum(6, v, stride, u, n, m, from > 0);
                t += 6;
            } else if (left >= 4) {
                irc_winograd_sum(4, v, stride, u, n, m, from > 0);
                t += 4;
            } else if (left >= 2) {
                irc_winograd_sum(2, v, stride, u, n, m, from > 0);
                t += 2;
            } else {
                irc_winograd_sum(1, v, stride, u, n, m, from > 0);
                t += 1;
            }
        }
    }
}

/* The outputs of the tiles, channels of block b. shared: its scale, bias, n and clamp are set. */
IRC_FN void irc_winograd_outputs(const irc_winograd *g, const uint8_t *residual, void *y, int32_t b, const irc_tile *shared)
{
    const irc_conv *p = g->p;
    irc_tile own = *shared, *t = &own;
    const int64_t channel = (int64_t)b * IRC_BLOCK;
    int64_t y_at[2], r_at[2];
    t->residual = residual ? residual + channel : NULL;
    t->codes = p->float_output ? NULL : (uint8_t *)y + channel;
    t->floats = p->float_output ? (float *)y + channel : NULL;
    t->y_at = y_at;
    t->r_at = r_at;
    for (int32_t i = 0; i < g->tiles; i++) {
        irc_v acc[2][16];
        int64_t batch;
        int32_t row, col;
        irc_winograd_place(g, i, &batch, &row, &col);
        irc_winograd_output(g->m + 2 * i, g->m_point, acc[0]);
        irc_winograd_output(g->m + 2 * i + 1, g->m_point, acc[1]);
        for (int32_t r = 0; r < 4 && row + r < p->rows; r++)
            for (int32_t c = 0; c < 4 && col + c < p->cols; c += 2) {
                t->rows = col + c + 1 < p->cols ? 2 : 1;
                y_at[0] = batch * p->y_batch + (row + r) * p->y_row + (col + c) * p->y_col;
                r_at[0] = batch * p->r_batch + (row + r) * p->r_row + (col + c) * p->r_col;
                y_at[1] = t->rows > 1 ? y_at[0] + p->y_col : y_at[0];
                r_at[1] = t->rows > 1 ? r_at[0] + p->r_col : r_at[0];
                if (t->codes && t->n == IRC_BLOCK) {
                    irc_tile_codes(t, 2, acc[0][4 * r + c], acc[1][4 * r + c], acc[0][4 * r + c + 1], acc[1][4 * r + c + 1], 0, 1);
                } else {
                    irc_v sums[2][2] = {{acc[0][4 * r + c], acc[1][4 * r + c]}, {acc[0][4 * r + c + 1], acc[1][4 * r + c + 1]}};
                    irc_tile_others(t, sums, 0, 2);
                }
            }
    }
}

/* Weight blocks first .. last - 1 of the block of tiles. */
IRC_FN void irc_winograd_blocks(const irc_winograd *g, const int8_t *w, const float *scale, const float *bias, const uint8_t *residual,
                                void *y, int32_t first, int32_t last)
{
    const irc_conv *p = g->p;
    irc_tile t;
    t.clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi, p->flags & IRC_CODES_FIT);
    for (int32_t b = first; b < last; b++) {
        for (int32_t c = 0; c < g->channels; c += IRC_WINOGRAD_DEPTH) {
            const int32_t depth = g->channels - c < IRC_WINOGRAD_DEPTH ? g->channels - c : IRC_WINOGRAD_DEPTH;
            irc_winograd_kernels(g, w + (int64_t)b * g->channels / 4 * 9 * 64, c, depth);
            irc_winograd_products(g, c, depth);
        }
        t.scale = scale + b * IRC_BLOCK;
        t.bias = bias + b * IRC_BLOCK;
        t.n = p->n - b * IRC_BLOCK < IRC_BLOCK ? p->n - b * IRC_BLOCK : IRC_BLOCK;
        irc_winograd_outputs(g, residual, y, b, &t);
    }
}

/* 0: not a single tile fits the scratch memory, nothing was done. */
IRC_FN int irc_winograd_part(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                             const uint8_t *residual, void *y, void *scratch, int thread, int threads)
{
    const int32_t blocks = irc_ceil_div(p->n, IRC_BLOCK);
    int64_t from = 0, to, first = 0, last = blocks, most;
    irc_winograd g;
    g.p = p;
    g.x = x + p->run_offset[0];
    g.channels = p->run_length / 3;
    g.across = irc_ceil_div(p->cols, 4);
    g.down = irc_ceil_div(p->rows, 4);
    g.depth = (int64_t)irc_ceil_div(g.channels, 32) * 2 + (g.channels % 256 ? 0 : 2); /* no multiple of 512 bytes: cache sets */
    g.v = (irc_v *)scratch;
    g.u = g.v + IRC_WINOGRAD_V / (int64_t)sizeof(irc_v);
    g.m = g.u + 36 * (IRC_WINOGRAD_DEPTH + 2);
    most = (IRC_WINOGRAD_V - 36 * 96) / (36 * g.depth * (int64_t)sizeof(irc_v)); /* 96: room for v_point */
    most = most < IRC_WINOGRAD_TILES ? most : IRC_WINOGRAD_TILES;
    if (!most)
        return 0;
    to = (int64_t)p->batch * g.down * g.across;
    if (to >= (int64_t)IRC_WINOGRAD_TILES * threads || blocks < threads)
        irc_share(to, thread, threads, &from, &to);
    else
        irc_share(blocks, thread, threads, &first, &last);
    most = to > from ? irc_ceil_div((int32_t)(to - from), irc_ceil_div((int32_t)(to - from), (int32_t)most)) : 1;
    for (g.first = from; g.first < to; g.first += most) {
        g.tiles = (int32_t)(to - g.first < most ? to - g.first : most);
        g.v_point = (g.tiles * g.depth) / 2 * 2 + (g.tiles * g.depth / 2 % 2 ? 0 : 2);
        g.m_point = 2 * (g.tiles | 1);
        irc_winograd_inputs(&g);
        irc_winograd_blocks(&g, w, scale, bias, residual, y, (int32_t)first, (int32_t)last);
    }
    return 1;
}

#endif
