/* Tiles of AMX: 32 positions x 32 channels, 16 x 16 in each tile of sums, 64 k in each product.

   A tile of activations is 16 windows at equal distances. Where the positions of a block lie so, and each run of the window has
   a whole number of 64 k (or there is one run), the activations are read where they are: direct. Else the windows are first
   copied into the scratch memory, their runs one behind the other: gathered, as the packed weights are.

   The last k of a window, fewer than 64, take a copy of their weights that is filled up with zeros. */
#ifndef IRC_CONV_AMX_H
#define IRC_CONV_AMX_H

#include "conv_vnni.h"

#define IRC_AMX_TILES 32 /* tiles of positions in a block, at most */
#define IRC_AMX_REST (2 * 1024) /* bytes of scratch memory for the last weights of two blocks of channels */

/* The compiler does not know that tile instructions read memory: what was stored must be there. */
#define IRC_STORED() __asm__ volatile("" ::: "memory")

typedef struct irc_amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} irc_amx_config;

/* 16 positions from i on, of which first .. last - 1 are this tile's outputs. */
typedef struct irc_amx_rows {
    int32_t i, first, last;
} irc_amx_rows;

/* The activations of a block of positions. */
typedef struct irc_amx {
    const uint8_t *x; /* where the position's window is: x + at[i] */
    const int64_t *at;
    int64_t stride;            /* bytes from one window of a tile to the next */
    int32_t runs, steps;       /* steps: of a run */
    const int32_t *run_offset;
    int32_t tiles;
    irc_amx_rows tile[IRC_AMX_TILES];
} irc_amx;

/* A pair of tiles of positions (the second may not be there) whose sums wait for requantization. */
typedef struct irc_amx_pending {
    const irc_columns *t; /* or NULL */
    irc_amx_rows tile[2];
    int32_t tiles;
    const int32_t *sums; /* [32][32] */
} irc_amx_pending;

/* Bytes from one gathered window to the next: an odd number of cache lines, so that 16 windows do not meet in one set. */
IRC_FN int64_t irc_amx_stride(const irc_conv *p)
{
    return ((int64_t)irc_ceil_div(p->runs * irc_ceil_div(p->run_length, 4), 16) | 1) * 64;
}

/* Positions of a block: as many windows as the scratch memory holds, a multiple of 16; 0: not even 16. */
IRC_FN int32_t irc_amx_most(const irc_conv *p, size_t scratch_bytes)
{
    const int64_t room = (int64_t)scratch_bytes - IRC_AMX_REST - 64, fit = room < 0 ? 0 : room / irc_amx_stride(p) / 16 * 16;
    return fit < IRC_POSITIONS ? (int32_t)fit : IRC_POSITIONS / 16 * 16;
}

/* Cuts the positions into tiles where they lie at distances of `stride`; 0 if that leaves fewer than 16 in a row somewhere. */
IRC_FN int irc_amx_direct(const irc_positions *q, int64_t stride, irc_amx *m)
{
    m->tiles = 0;
    for (int32_t from = 0, to; from < q->count; from = to) {
        for (to = from + 1; to < q->count && q->x[to] - q->x[to - 1] == stride; to++)
            ;
        if (to - from < 16)
            return 0;
        for (int32_t i = from; i < to; i += 16) { /* the last tile of a row begins earlier, and leaves out what there is */
            const int32_t start = i + 16 <= to ? i : to - 16;
            m->tile[m->tiles++] = (irc_amx_rows){start, i - start, 16};
        }
    }
    return 1;
}

/* Copies the windows to `to`; writes up to 64 bytes more. */
IRC_FN void irc_amx_gather(const irc_conv *p, const irc_positions *q, const uint8_t *x, uint8_t *to, int64_t stride)
{
    const int64_t bytes = 4 * (int64_t)irc_ceil_div(p->run_length, 4);
    for (int32_t i = 0; i < q->count; i++)
        for (int32_t run = 0; run < p->runs; run++) {
            const uint8_t *from = x + q->x[i] + p->run_offset[run];
            uint8_t *here = to + i * stride + run * bytes;
            for (int64_t k = 0; k < bytes; k += 64)
                _mm512_storeu_si512(here + k, _mm512_loadu_si512(from + k));
        }
}

/* The sums of one or two tiles of positions (R) and one or two blocks of channels (V) into sums[32][32]. */
IRC_INLINE void irc_amx_sums(const irc_amx *m, const irc_columns *t, const irc_amx_rows *tile, const int8_t *rest, int32_t *sums,
                             const int R, const int V)
{
    const uint8_t *x0 = m->x + m->at[tile[0].i], *x1 = R > 1 ? m->x + m->at[tile[1].i] : x0;
    const int64_t column = (int64_t)t->runs * t->steps * 64, stride = m->stride;
    const int8_t *w = t->w;
    _tile_loadd(0, t->start, 0); /* the same in all rows */
    if (V > 1)
        _tile_loadd(1, t->start + 16, 0);
    if (R > 1)
        _tile_loadd(2, t->start, 0);
    if (R > 1 && V > 1)
        _tile_loadd(3, t->start + 16, 0);
    for (int32_t run = 0; run < m->runs; run++)
        for (int32_t s = 0; s < m->steps; s += 16, w += 1024) {
            const int64_t at = m->run_offset[run] + 4 * (int64_t)s;
            const int whole = s + 16 <= m->steps;
            _tile_loadd(4, x0 + at, stride);
            _tile_loadd(6, whole ? w : rest, 64);
            _tile_dpbusd(0, 4, 6);
            if (V > 1) {
                _tile_loadd(7, whole ? w + column : rest + 1024, 64);
                _tile_dpbusd(1, 4, 7);
            }
            if (R > 1) {
                _tile_loadd(5, x1 + at, stride);
                _tile_dpbusd(2, 5, 6);
            }
            if (R > 1 && V > 1)
                _tile_dpbusd(3, 5, 7);
        }
    _tile_stored(0, sums, 128);
    if (V > 1)
        _tile_stored(1, sums + 16, 128);
    if (R > 1)
        _tile_stored(2, sums + 512, 128);
    if (R > 1 && V > 1)
        _tile_stored(3, sums + 528, 128);
}

/* Rows of one tile: 4 / V positions at a time. */
IRC_INLINE void irc_amx_finish(const irc_columns *t, const irc_clamp_zmm *clamp, const irc_amx_rows *tile, const int32_t *sums,
                               const int V)
{
    const int together = 4 / V;
    for (int32_t r = tile->first; r < tile->last; r += together) {
        const int32_t count = tile->last - r < together ? tile->last - r : together;
        irc_zmm v[4];
        IRC_UNROLL for (int k = 0; k < 4; k++) {
            const int32_t row = k / V < count ? r + k / V : r;
            v[k] = _mm512_loadu_si512(sums + row * 32 + k % V * 16);
            if (t->rows)
                v[k] = _mm512_add_epi32(v[k], _mm512_set1_epi32(t->rows[tile->i + row]));
        }
        if (t->codes) {
            irc_finish_zmm(t, clamp, tile->i + r, count, v, V);
        } else {
            int32_t acc[64];
            IRC_UNROLL for (int k = 0; k < 4; k++) _mm512_storeu_si512(acc + 16 * k, v[k]);
            irc_finish_floats(t, tile->i + r, count, 16 * V, acc);
        }
    }
}

/* Requantizes what is waiting. */
static __attribute__((noinline, unused)) void irc_amx_flush(irc_amx_pending *waiting, const irc_clamp_zmm *clamp)
{
    for (int32_t k = 0; waiting->t && k < waiting->tiles; k++) {
        if (waiting->t->n > 16)
            irc_amx_finish(waiting->t, clamp, &waiting->tile[k], waiting->sums + 512 * k, 2);
        else
            irc_amx_finish(waiting->t, clamp, &waiting->tile[k], waiting->sums + 512 * k, 1);
    }
    waiting->t = NULL;
}

/* The weights of the last k of a window, of one or two blocks of channels, with zeros behind them. */
IRC_FN void irc_amx_rest(const irc_amx *m, const irc_columns *t, int8_t *rest)
{
    const int32_t steps = m->steps % 16;
    const int64_t column = (int64_t)t->runs * t->steps * 64;
    for (int32_t b = 0; b * 16 < t->n; b++)
        for (int32_t s = 0; s < 16; s++)
            _mm512_storeu_si512(rest + 1024 * b + 64 * s,
                                s < steps ? _mm512_loadu_si512(t->w + b * column + column - 64 * (int64_t)(steps - s))
                                          : _mm512_setzero_si512());
}

/* All positions times the channels of t. Sums are requantized one pair of tiles later, while the tiles work on the next. */
IRC_FN void irc_amx_positions(const irc_amx *m, const irc_columns *t, const irc_clamp_zmm *clamp, const int8_t *rest,
                              int32_t (*sums)[1024], int32_t *turn, irc_amx_pending *waiting)
{
    for (int32_t k = 0; k < m->tiles; k += 2, *turn ^= 1) {
        const int32_t tiles = m->tiles - k < 2 ? 1 : 2;
        int32_t *here = sums[*turn];
        if (tiles > 1 && t->n > 16)
            irc_amx_sums(m, t, m->tile + k, rest, here, 2, 2);
        else if (tiles > 1)
            irc_amx_sums(m, t, m->tile + k, rest, here, 2, 1);
        else if (t->n > 16)
            irc_amx_sums(m, t, m->tile + k, rest, here, 1, 2);
        else
            irc_amx_sums(m, t, m->tile + k, rest, here, 1, 1);
        irc_amx_flush(waiting, clamp);
        *waiting = (irc_amx_pending){t, {m->tile[k], m->tile[tiles > 1 ? k + 1 : k]}, tiles, here};
    }
}

/* Where the activations of a block of positions are read: in place or in `to`. `at`: room for the gathered positions. */
IRC_FN void irc_amx_activations(irc_amx *m, const irc_conv *p, const irc_positions *q, const uint8_t *x, uint8_t *to, int64_t *at)
{
    static const int32_t none = 0;
    const int32_t steps = irc_ceil_div(p->run_length, 4);
    if ((p->runs == 1 || steps % 16 == 0) && p->x_col % 4096 != 0 && irc_amx_direct(q, p->x_col, m)) {
        m->x = x;
        m->at = q->x;
        m->stride = p->x_col;
        m->runs = p->runs;
        m->steps = steps;
        m->run_offset = p->run_offset;
        return;
    }
    m->x = to;
    m->at = at;
    m->stride = irc_amx_stride(p);
    m->runs = 1;
    m->steps = p->runs * steps;
    m->run_offset = &none;
    m->tiles = 0;
    for (int32_t i = 0; i < q->count; i++)
        at[i] = i * m->stride;
    for (int32_t i = 0; i < q->count; i += 16)
        m->tile[m->tiles++] = (irc_amx_rows){i, 0, q->count - i < 16 ? q->count - i : 16};
    irc_amx_gather(p, q, x, to, m->stride);
}

IRC_FN void irc_conv_block_amx(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch)
{
    const irc_clamp_zmm clamp = irc_clamp_zmm_of(p->residual_scale, p->lo, p->hi);
    const int32_t blocks = irc_ceil_div(part->n, IRC_BLOCK);
    irc_amx_config config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    irc_amx_pending waiting = {NULL, {{0, 0, 0}, {0, 0, 0}}, 0, NULL};
    int8_t *const rest = (int8_t *)scratch;
    int32_t sums[2][1024], turn = 0;
    int64_t at[IRC_POSITIONS];
    irc_columns t[2];
    irc_amx m;
    irc_amx_activations(&m, p, q, part->x, (uint8_t *)scratch + IRC_AMX_REST, at);
    IRC_STORED();
    _tile_loadconfig(&config);
    for (int32_t b = 0; b < blocks; b += 2) {
        irc_columns *here = &t[b / 2 % 2]; /* the sums that wait are the other one's */
        irc_columns_of(here, p, q, part, y, b, 2);
        irc_amx_rest(&m, here, rest);
        IRC_STORED();
        irc_amx_positions(&m, here, &clamp, rest, sums, &turn, &waiting);
    }
    irc_amx_flush(&waiting, &clamp);
    _tile_release();
}

#endif
