/* The way of AVX2 where all weights of a block are quad-safe (conv_avx2_steps.h): tiles of 4 positions x 16 channels, straight
   through the runs, without lists of steps and without widened activations.

   A run is pairs of steps, whose sums are added in int16, and, if its steps are odd, one more: a pair step, or, if only its first
   k is not zero, a product in int32.

   A tile stays while a panel of weights passes, which the first-level cache holds: its activations are read once. */
#ifndef IRC_CONV_AVX2_QUADS_H
#define IRC_CONV_AVX2_QUADS_H

#include "conv_avx2_tile.h"

#define IRC_PANEL_BYTES (16 * 1024)

enum { IRC_TAIL_NONE, IRC_TAIL_PAIR, IRC_TAIL_ONE }; /* the odd step of a run */

typedef struct irc_quads {
    const irc_tile *tile; /* pointers at the first block of the part; n: channels of the part */
    const int32_t *run_offset;
    int32_t runs, quads, tail; /* quads of a run */
    int32_t full;              /* the clamp is that of u8: packing saturates */
    int64_t block;             /* bytes of a block of weights */
} irc_quads;

#define IRC_VECTOR(p) (*(const int8_t(*)[32])(p))

/* c0 += a w0, c1 += a w1 where a is the first of four codes and w int32 */
#define IRC_ONE_ROW(c0, c1, a, w0, w1, mask) \
    do { \
        irc_v t, u; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpand %[o],%[t],%[t]\n\tvpmaddwd %[b0],%[t],%[u]\n\tvpmaddwd %[b1],%[t],%[t]\n\t" \
                         "vpaddd %[u],%[d0],%[d0]\n\tvpaddd %[t],%[d1],%[d1]" \
                         : [d0] "+x"(c0), [d1] "+x"(c1), [t] "=&x"(t), [u] "=&x"(u) \
                         : [x] "m"(IRC_FOUR(a)), [b0] "x"(w0), [b1] "x"(w1), [o] "m"(mask)); \
    } while (0)

/* IRC_QUAD_ROW with w1 in memory and the ones in a register: so 4 rows have their registers */
#define IRC_NEXT_ROW(c0, c1, a, v0, v1, w0, w1, one) IRC_QUAD_ROW_OF(c0, c1, a, v0, v1, w0, w1, one, "m", "x")
/* the same, c0 = and c1 = */
#define IRC_FIRST_ROW(c0, c1, a, v0, v1, w0, w1, one) \
    do { \
        irc_v t, u; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpbroadcastd %[y],%[u]\n\tvpmaddubsw %[a0],%[t],%[d0]\n\t" \
                         "vpmaddubsw %[b0],%[u],%[d1]\n\tvpmaddubsw %[a1],%[t],%[t]\n\tvpmaddubsw %[b1],%[u],%[u]\n\t" \
                         "vpaddw %[d1],%[d0],%[d0]\n\tvpaddw %[u],%[t],%[d1]\n\tvpmaddwd %[o],%[d0],%[d0]\n\t" \
                         "vpmaddwd %[o],%[d1],%[d1]" \
                         : [d0] "=&x"(c0), [d1] "=&x"(c1), [t] "=&x"(t), [u] "=&x"(u) \
                         : [x] "m"(IRC_FOUR(a)), [y] "m"(IRC_FOUR((a) + 4)), [a0] "x"(v0), [a1] "x"(v1), [b0] "x"(w0), \
                           [b1] "m"(w1), [o] "x"(one)); \
    } while (0)
#define IRC_FIRST_ROW_1(c0, a, v0, w0, one) \
    do { \
        c0 = _mm256_setzero_si256(); \
        IRC_QUAD_ROW_1(c0, a, v0, w0, one); \
    } while (0)

/* Codes of two positions, 8 channels each in a and b: lanes (a 0-3, b 0-3 ...) put in order and stored. */
IRC_INLINE irc_v irc_quads_clamped(const irc_quads *d, irc_v codes)
{
    if (d->full)
        return codes;
    return _mm256_min_epu8(_mm256_max_epu8(codes, _mm256_broadcastsi128_si256(d->tile->clamp.lo_codes)),
                           _mm256_broadcastsi128_si256(d->tile->clamp.hi_codes));
}

/* Rounded t of position i, channels c .. c + 7. */
IRC_INLINE irc_v irc_quads_rounded(const irc_tile *t, const int plain, const int added, irc_v sum, irc_vf scale, irc_vf bias, int32_t i, int64_t c)
{
    irc_vf s = irc_scaled(sum, scale, bias);
    if (added)
        s = irc_with_residual(s, t->residual + t->r_at[i] + c, &t->clamp);
    if (!plain && !t->clamp.fits)
        s = _mm256_min_ps(s, t->clamp.hi);
    return _mm256_cvtps_epi32(s);
}

/* Stores 16 channels at y0 and, if there is one, at y1. */
IRC_INLINE void irc_quads_store_16(const irc_quads *d, const int plain, irc_v a0, irc_v a1, irc_v b0, irc_v b1, uint8_t *y0, uint8_t *y1)
{
    const irc_v packed = _mm256_packus_epi16(_mm256_packs_epi32(a0, a1), _mm256_packs_epi32(b0, b1));
    const irc_v codes = plain ? packed : irc_quads_clamped(d, packed);
    const __m128i low = _mm256_castsi256_si128(codes), high = _mm256_extracti128_si256(codes, 1);
    _mm_storeu_si128((__m128i *)y0, _mm_unpacklo_epi32(low, high));
    if (y1)
        _mm_storeu_si128((__m128i *)y1, _mm_unpackhi_epi32(low, high));
}

/* Stores 8 channels of R positions. */
IRC_INLINE void irc_quads_store_8(const irc_quads *d, const int R, const int plain, irc_v a, irc_v b, irc_v c, irc_v e, uint8_t *const y[4])
{
    const irc_v packed = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, e));
    const irc_v codes = plain ? packed : irc_quads_clamped(d, packed);
    const __m128i low = _mm256_castsi256_si128(codes), high = _mm256_extracti128_si256(codes, 1);
    const __m128i y01 = _mm_unpacklo_epi32(low, high), y23 = _mm_unpackhi_epi32(low, high);
    _mm_storel_epi64((__m128i *)y[0], y01);
    if (R > 1)
        _mm_storeh_pd((double *)(void *)y[1], _mm_castsi128_pd(y01));
    if (R > 2) {
        _mm_storel_epi64((__m128i *)y[2], y23);
        _mm_storeh_pd((double *)(void *)y[3], _mm_castsi128_pd(y23));
    }
}

/* Floats, or n channels that are no whole vector: not inlined, so that it takes no registers from the usual case. */
static __attribute__((noinline, unused)) void irc_quads_others(const irc_quads *d, irc_v (*s)[2], int32_t rows, int32_t i, int64_t c)
{
    const irc_tile *t = d->tile;
    const int32_t n = t->n - c < IRC_BLOCK ? (int32_t)(t->n - c) : IRC_BLOCK;
    for (int32_t r = 0; r < rows; r++, i++)
        for (int32_t v = 0; 8 * v < n; v++) {
            const int64_t channel = c + 8 * v;
            irc_vf f = irc_scaled(s[r][v], _mm256_loadu_ps(t->scale + channel), _mm256_loadu_ps(t->bias + channel));
            if (t->residual)
                f = irc_with_residual(f, t->residual + t->r_at[i] + channel, &t->clamp);
            if (t->floats) {
                irc_store_floats(t->floats + t->y_at[i] + channel, f, n - 8 * v);
            } else {
                const irc_v words = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_min_ps(f, t->clamp.hi)), _mm256_setzero_si256());
                const irc_v codes = irc_quads_clamped(d, _mm256_packus_epi16(words, words));
                irc_store_codes(t->codes + t->y_at[i] + channel,
                                _mm_unpacklo_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)),
                                n - 8 * v < 8 ? n - 8 * v : 8);
            }
        }
}

#define IRC_QUADS_ROWS(X) \
    X(0) \
    if (R > 1) { \
        X(1) \
    } \
    if (R > 2) { \
        X(2) X(3) \
    }
#define IRC_QUADS_ROW(r) \
    if (V > 1) \
        IRC_NEXT_ROW(c##r##0, c##r##1, x##r + at, v0, v1, w0, IRC_VECTOR(w + 96), one); \
    else \
        IRC_QUAD_ROW_1(c##r##0, x##r + at, v0, w0, one);
#define IRC_QUADS_PAIR(r) \
    if (V > 1) \
        IRC_PAIR_ROW(c##r##0, c##r##1, x##r + at, w0, w1, one); \
    else \
        IRC_PAIR_ROW_1(c##r##0, x##r + at, w0, one);
#define IRC_QUADS_ONE(r) IRC_ONE_ROW(c##r##0, c##r##1, x##r + at, w0, w1, mask);
#define IRC_QUADS_SUMS(r) s[r][0] = c##r##0, s[r][1] = c##r##1;
#define IRC_QUADS_ROUND(r) \
    c##r##0 = irc_quads_rounded(t, plain, added, c##r##0, s0, b0, first + r, c); \
    if (V > 1) \
        c##r##1 = irc_quads_rounded(t, plain, added, c##r##1, s1, b1, first + r, c + 8);
#define IRC_QUADS_FIRST(r) \
    if (V > 1) \
        IRC_FIRST_ROW(c##r##0, c##r##1, x##r + at, v0, v1, w0, IRC_VECTOR(w + 96), one); \
    else \
        IRC_FIRST_ROW_1(c##r##0, x##r + at, v0, w0, one);
#define IRC_QUADS_WINDOW(r) \
    const uint8_t *x##r = t->x + t->x_at[first + (r < R ? r : 0)] + (single ? d->run_offset[0] + length : 0); \
    uint8_t *y##r = plain || t->codes ? t->codes + t->y_at[first + (r < R ? r : 0)] : NULL;
#define IRC_QUADS_START(r) \
    c##r##0 = i0, c##r##1 = i1; \
    if (!plain && t->row && r < R) { \
        const irc_v row = _mm256_set1_epi32(t->row[first + (r < R ? r : 0)]); \
        c##r##0 = _mm256_add_epi32(c##r##0, row), c##r##1 = _mm256_add_epi32(c##r##1, row); \
    }
#define IRC_QUADS_WEIGHTS \
    const irc_v v0 = irc_load(w), v1 = V > 1 ? irc_load(w + 32) : v0; \
    const irc_v w0 = irc_load(w + 64);

/* The odd step of a run, at x + at. */
#define IRC_QUADS_TAIL \
    if (d->tail == IRC_TAIL_PAIR) { \
        const irc_v w0 = irc_load(w), w1 = V > 1 ? irc_load(w + 32) : w0; \
        IRC_QUADS_ROWS(IRC_QUADS_PAIR) \
        w += 64; \
    } else if (d->tail == IRC_TAIL_ONE) { \
        const irc_v w0 = _mm256_srai_epi32(_mm256_slli_epi32(irc_load(w), 24), 24); \
        const irc_v w1 = V > 1 ? _mm256_srai_epi32(_mm256_slli_epi32(irc_load(w + 32), 24), 24) : w0; \
        IRC_QUADS_ROWS(IRC_QUADS_ONE) \
        w += 64; \
    }

/* From position first on, tiles of R (1, 2 or 4) positions as long as there are whole ones, at least one, times the blocks b .. end - 1, of which V vectors of 8 channels are used.
   plain: whole vectors of codes, the clamp does nothing, sums start at 0; single: one run, without an odd step. */
IRC_INLINE int32_t irc_quads_tile(const irc_quads *d, const int R, const int V, const int plain, const int single, const int adds,
                                  int32_t first, int32_t b, int32_t end)
{
    const irc_v one = _mm256_set1_epi16(1), mask = _mm256_set1_epi32(255);
    const irc_tile *t = d->tile;
    const int added = plain ? adds : t->residual != NULL;
    const int64_t length = 8 * (int64_t)d->quads, last = (int64_t)end * IRC_BLOCK;
    do {
        const int8_t *w = t->w + b * d->block;
        IRC_QUADS_WINDOW(0) IRC_QUADS_WINDOW(1) IRC_QUADS_WINDOW(2) IRC_QUADS_WINDOW(3)
        for (int64_t c = (int64_t)b * IRC_BLOCK; c < last; c += IRC_BLOCK) {
            irc_v c00, c01, c10, c11, c20, c21, c30, c31;
            if (single) {
                int64_t at = -length;
                __asm__("" : "+r"(at)); /* or compilers make eight addresses of it */
                {
                    IRC_QUADS_WEIGHTS
                    IRC_QUADS_ROWS(IRC_QUADS_FIRST)
                }
                for (at += 8, w += 128; at; at += 8, w += 128) {
                    IRC_QUADS_WEIGHTS
                    if (R == 1)
                        _mm_prefetch((const char *)w + 1024, _MM_HINT_T0), _mm_prefetch((const char *)w + 1088, _MM_HINT_T0);
                    IRC_QUADS_ROWS(IRC_QUADS_ROW)
                }
            } else {
                const irc_v i0 = !plain && t->init ? irc_load(t->init + c) : _mm256_setzero_si256();
                const irc_v i1 = !plain && t->init && V > 1 ? irc_load(t->init + c + 8) : _mm256_setzero_si256();
                IRC_QUADS_START(0) IRC_QUADS_START(1) IRC_QUADS_START(2) IRC_QUADS_START(3)
                for (int32_t run = 0; run < d->runs; run++) {
                    int64_t at = d->run_offset[run];
                    for (const int64_t stop = at + length; at < stop; at += 8, w += 128) {
                        IRC_QUADS_WEIGHTS
                        IRC_QUADS_ROWS(IRC_QUADS_ROW)
                    }
                    IRC_QUADS_TAIL
                }
            }
            if (plain || (t->codes && t->n - c >= 8 * V)) {
                const irc_vf s0 = _mm256_loadu_ps(t->scale + c), s1 = V > 1 ? _mm256_loadu_ps(t->scale + c + 8) : s0;
                const irc_vf b0 = _mm256_loadu_ps(t->bias + c), b1 = V > 1 ? _mm256_loadu_ps(t->bias + c + 8) : b0;
                IRC_QUADS_ROWS(IRC_QUADS_ROUND)
                if (V == 1) {
                    uint8_t *const y[4] = {y0 + c, y1 + c, y2 + c, y3 + c};
                    irc_quads_store_8(d, R, plain, c00, R > 1 ? c10 : c00, R > 2 ? c20 : c00, R > 2 ? c30 : c00, y);
                } else {
                    irc_quads_store_16(d, plain, c00, c01, R > 1 ? c10 : c00, R > 1 ? c11 : c01, y0 + c, R > 1 ? y1 + c : NULL);
                    if (R > 2)
                        irc_quads_store_16(d, plain, c20, c21, c30, c31, y2 + c, y3 + c);
                }
            } else {
                irc_v s[4][2];
                IRC_QUADS_ROWS(IRC_QUADS_SUMS)
                irc_quads_others(d, s, R, first, c);
            }
        }
    } while ((first += R) + R <= t->rows);
    return first;
}

#define IRC_QUADS_TILE(R, V, kind, plain, single, adds) \
    static __attribute__((noinline, unused)) int32_t irc_quads_##R##x##V##_##kind(const irc_quads *d, int32_t first, int32_t b, int32_t end) \
    { \
        return irc_quads_tile(d, R, V, plain, single, adds, first, b, end); \
    }
#define IRC_QUADS_TILES(kind, plain, single, adds) \
    IRC_QUADS_TILE(1, 1, kind, plain, single, adds) \
    IRC_QUADS_TILE(1, 2, kind, plain, single, adds) \
    IRC_QUADS_TILE(2, 1, kind, plain, single, adds) \
    IRC_QUADS_TILE(2, 2, kind, plain, single, adds) \
    IRC_QUADS_TILE(4, 1, kind, plain, single, adds) \
    IRC_QUADS_TILE(4, 2, kind, plain, single, adds)
IRC_QUADS_TILES(any, 0, 0, 0)
IRC_QUADS_TILES(runs, 1, 0, 0)
IRC_QUADS_TILES(single, 1, 1, 0)
IRC_QUADS_TILES(adds, 1, 1, 1)

/* All positions times the blocks b .. end - 1. */
IRC_FN void irc_quads_panel(const irc_quads *d, int32_t b, int32_t end)
{
#define IRC_QUADS_NAMES(V, kind) {irc_quads_1x##V##_##kind, irc_quads_2x##V##_##kind, irc_quads_4x##V##_##kind}
    static int32_t (*const tiles[4][2][3])(const irc_quads *, int32_t, int32_t, int32_t) = {
        {IRC_QUADS_NAMES(1, any), IRC_QUADS_NAMES(2, any)},
        {IRC_QUADS_NAMES(1, runs), IRC_QUADS_NAMES(2, runs)},
        {IRC_QUADS_NAMES(1, single), IRC_QUADS_NAMES(2, single)},
        {IRC_QUADS_NAMES(1, adds), IRC_QUADS_NAMES(2, adds)}};
    const irc_tile *t = d->tile;
    const int half = end * IRC_BLOCK - t->n >= 8; /* the last block has at most 8 channels */
    const int whole = end * IRC_BLOCK <= t->n || end * IRC_BLOCK - t->n == 8;
    const int plain = t->codes && !t->init && !t->row && t->clamp.fits && d->full && whole;
    const int single = d->runs == 1 && d->tail == IRC_TAIL_NONE && d->quads;
    const int kind = !plain ? 0 : single ? (t->residual ? 3 : 2) : t->residual ? 0 : 1;
    for (int32_t i = 0, next = 0; i < t->rows; i = next) {
        const int rows = t->rows - i >= 4 ? 2 : t->rows - i >= 2 ? 1 : 0;
        if (end - half > b)
            next = tiles[kind][1][rows](d, i, b, end - half);
        if (half)
            next = tiles[kind][0][rows](d, i, end - 1, end);
    }
}

/* t: pointers at the part's first block, n its channels. */
IRC_FN void irc_quads_avx2(const irc_conv *p, const irc_tile *t)
{
    const int32_t steps = irc_ceil_div(p->run_length, 4), blocks = irc_ceil_div(t->n, IRC_BLOCK);
    irc_quads d;
    int32_t panel;
    d.tile = t;
    d.run_offset = p->run_offset;
    d.runs = p->runs;
    d.quads = steps / 2;
    d.tail = steps % 2 == 0 ? IRC_TAIL_NONE : p->run_length % 4 == 1 ? IRC_TAIL_ONE : IRC_TAIL_PAIR;
    d.full = p->lo <= 0.0f && p->hi >= 255.0f;
    d.block = (int64_t)p->runs * steps * 64;
    panel = d.block < IRC_PANEL_BYTES ? (int32_t)(IRC_PANEL_BYTES / (d.block ? d.block : 1)) : 1;
    for (int32_t b = 0; b < blocks; b += panel)
        irc_quads_panel(&d, b, b + panel < blocks ? b + panel : blocks);
}

#endif
