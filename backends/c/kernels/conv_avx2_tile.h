/* The register tile of AVX2: up to 6 positions x 16 channels (or 8), all steps of the window, and the requantization.

   The order of the instructions matters (products in twos, then their sums), and compilers spill what they reorder: so a row of
   a step is one asm statement, from the broadcast of 4 codes to the two sums. */
#ifndef IRC_CONV_AVX2_TILE_H
#define IRC_CONV_AVX2_TILE_H

#include "conv_avx2_steps.h"

/* Some positions times one block of channels. Positions beyond `rows` are read (they repeat others) and not stored. */
typedef struct irc_tile {
    const uint8_t *x, *residual; /* residual: NULL if there is none */
    uint8_t *codes;              /* or NULL: */
    float *floats;
    const int64_t *x_at, *r_at, *y_at; /* of each position: bytes from x, bytes from residual, elements from codes or floats */
    const int32_t *row;                /* the start of each position's sums, or NULL */
    const uint8_t *wide;               /* the windows, widened; `stride` bytes apart */
    int64_t stride;
    const int8_t *w;
    const irc_steps *steps;
    const float *scale, *bias;
    const int32_t *init; /* [16] or NULL */
    int32_t rows, n;     /* positions; n <= 16 channels */
    irc_clamp clamp;
} irc_tile;

#define IRC_FOUR(p) (*(const uint8_t(*)[4])(p))

/* c0 += pairs(a, w0), c1 += pairs(a, w1) by int16 sums of u8 times s8 */
#define IRC_PAIR_ROW(c0, c1, a, w0, w1, one) \
    do { \
        irc_v t, u; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpmaddubsw %[b0],%[t],%[u]\n\tvpmaddubsw %[b1],%[t],%[t]\n\t" \
                         "vpmaddwd %[o],%[u],%[u]\n\tvpmaddwd %[o],%[t],%[t]\n\t" \
                         "vpaddd %[u],%[d0],%[d0]\n\tvpaddd %[t],%[d1],%[d1]" \
                         : [d0] "+x"(c0), [d1] "+x"(c1), [t] "=&x"(t), [u] "=&x"(u) \
                         : [x] "m"(IRC_FOUR(a)), [b0] "x"(w0), [b1] "x"(w1), [o] "m"(one)); \
    } while (0)
#define IRC_PAIR_ROW_1(c0, a, w0, one) \
    do { \
        irc_v t; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpmaddubsw %[b0],%[t],%[t]\n\tvpmaddwd %[o],%[t],%[t]\n\t" \
                         "vpaddd %[t],%[d0],%[d0]" \
                         : [d0] "+x"(c0), [t] "=&x"(t) \
                         : [x] "m"(IRC_FOUR(a)), [b0] "x"(w0), [o] "m"(one)); \
    } while (0)
/* c0 += pairs(a, v0) + pairs(a + 4, w0), the two added in int16; c1 likewise. in_w1, in_one: "x" or "m", where those are */
#define IRC_QUAD_ROW_OF(c0, c1, a, v0, v1, w0, w1, one, in_w1, in_one) \
    do { \
        irc_v t, u, r, s; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpbroadcastd %[y],%[u]\n\tvpmaddubsw %[a0],%[t],%[r]\n\t" \
                         "vpmaddubsw %[b0],%[u],%[s]\n\tvpmaddubsw %[a1],%[t],%[t]\n\tvpmaddubsw %[b1],%[u],%[u]\n\t" \
                         "vpaddw %[s],%[r],%[r]\n\tvpaddw %[u],%[t],%[t]\n\tvpmaddwd %[o],%[r],%[r]\n\t" \
                         "vpmaddwd %[o],%[t],%[t]\n\tvpaddd %[r],%[d0],%[d0]\n\tvpaddd %[t],%[d1],%[d1]" \
                         : [d0] "+x"(c0), [d1] "+x"(c1), [t] "=&x"(t), [u] "=&x"(u), [r] "=&x"(r), [s] "=&x"(s) \
                         : [x] "m"(IRC_FOUR(a)), [y] "m"(IRC_FOUR((a) + 4)), [a0] "x"(v0), [a1] "x"(v1), [b0] "x"(w0), \
                           [b1] in_w1(w1), [o] in_one(one)); \
    } while (0)
#define IRC_QUAD_ROW(c0, c1, a, v0, v1, w0, w1, one) IRC_QUAD_ROW_OF(c0, c1, a, v0, v1, w0, w1, one, "x", "m")
#define IRC_QUAD_ROW_1(c0, a, v0, w0, one) \
    do { \
        irc_v t, u; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpbroadcastd %[y],%[u]\n\tvpmaddubsw %[a0],%[t],%[t]\n\t" \
                         "vpmaddubsw %[b0],%[u],%[u]\n\tvpaddw %[u],%[t],%[t]\n\tvpmaddwd %[o],%[t],%[t]\n\t" \
                         "vpaddd %[t],%[d0],%[d0]" \
                         : [d0] "+x"(c0), [t] "=&x"(t), [u] "=&x"(u) \
                         : [x] "m"(IRC_FOUR(a)), [y] "m"(IRC_FOUR((a) + 4)), [a0] "x"(v0), [b0] "x"(w0), [o] "m"(one)); \
    } while (0)
/* c0 += a w0, c1 += a w1 by int32 sums of s16 pairs */
#define IRC_WIDE_ROW(c0, c1, a, w0, w1) \
    do { \
        irc_v t, u; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpmaddwd %[b0],%[t],%[u]\n\tvpmaddwd %[b1],%[t],%[t]\n\t" \
                         "vpaddd %[u],%[d0],%[d0]\n\tvpaddd %[t],%[d1],%[d1]" \
                         : [d0] "+x"(c0), [d1] "+x"(c1), [t] "=&x"(t), [u] "=&x"(u) \
                         : [x] "m"(IRC_FOUR(a)), [b0] "x"(w0), [b1] "x"(w1)); \
    } while (0)
#define IRC_WIDE_ROW_1(c0, a, w0) \
    do { \
        irc_v t; \
        __asm__ volatile("vpbroadcastd %[x],%[t]\n\tvpmaddwd %[b0],%[t],%[t]\n\tvpaddd %[t],%[d0],%[d0]" \
                         : [d0] "+x"(c0), [t] "=&x"(t) \
                         : [x] "m"(IRC_FOUR(a)), [b0] "x"(w0)); \
    } while (0)

/* 8 channels x 4 weights: the even or the odd ones as int16 */
#define IRC_EVEN_WEIGHTS(v, w) \
    __asm__ volatile("vmovdqu %[m],%[d]\n\tvpsllw $8,%[d],%[d]\n\tvpsraw $8,%[d],%[d]" : [d] "=x"(v) : [m] "m"(*(const int8_t(*)[32])(w)))
#define IRC_ODD_WEIGHTS(v, w) \
    __asm__ volatile("vmovdqu %[m],%[d]\n\tvpsraw $8,%[d],%[d]" : [d] "=x"(v) : [m] "m"(*(const int8_t(*)[32])(w)))

/* Does X for the rows of the tile; R is a constant. */
#define IRC_ROWS(X) \
    X(0) \
    if (R > 1) { \
        X(1) \
    } \
    if (R > 2) { \
        X(2) X(3) \
    } \
    if (R > 4) { \
        X(4) X(5) \
    }

/* t of position i, channels 8 v .. 8 v + 7 */
IRC_INLINE irc_vf irc_tile_scaled(const irc_tile *t, irc_v acc, int32_t i, const int v)
{
    const irc_vf s = irc_scaled(acc, _mm256_loadu_ps(t->scale + 8 * v), _mm256_loadu_ps(t->bias + 8 * v));
    return t->residual ? irc_with_residual(s, t->residual + t->r_at[i] + 8 * v, &t->clamp) : s;
}

/* Requantizes and stores the positions a and b as codes, all 8 V channels of them. */
IRC_INLINE void irc_tile_codes(const irc_tile *t, const int V, irc_v a0, irc_v a1, irc_v b0, irc_v b1, int32_t a, int32_t b)
{
    irc_vf ta0 = irc_tile_scaled(t, a0, a, 0), ta1 = V > 1 ? irc_tile_scaled(t, a1, a, 1) : ta0;
    irc_vf tb0 = irc_tile_scaled(t, b0, b, 0), tb1 = V > 1 ? irc_tile_scaled(t, b1, b, 1) : tb0;
    __m128i ca, cb;
    if (!t->clamp.fits) {
        ta0 = _mm256_min_ps(ta0, t->clamp.hi), tb0 = _mm256_min_ps(tb0, t->clamp.hi);
        ta1 = _mm256_min_ps(ta1, t->clamp.hi), tb1 = _mm256_min_ps(tb1, t->clamp.hi);
    }
    irc_codes(_mm256_cvtps_epi32(ta0), _mm256_cvtps_epi32(ta1), _mm256_cvtps_epi32(tb0), _mm256_cvtps_epi32(tb1), &t->clamp, &ca, &cb);
    irc_store_codes(t->codes + t->y_at[a], ca, 8 * V);
    if (b < t->rows)
        irc_store_codes(t->codes + t->y_at[b], cb, 8 * V);
}

/* `rows` positions from `first` on, as floats or as the codes of t->n channels: what irc_tile_codes does not do. Not inlined, so
   that it takes no registers from the usual case. */
static __attribute__((noinline, unused)) void irc_tile_others(const irc_tile *t, irc_v (*sums)[2], int32_t first, int32_t rows)
{
    for (int32_t r = 0; r < rows && first + r < t->rows; r++) {
        const int32_t i = first + r;
        const irc_vf t0 = irc_tile_scaled(t, sums[r][0], i, 0), t1 = t->n > 8 ? irc_tile_scaled(t, sums[r][1], i, 1) : t0;
        if (t->floats) {
            irc_store_floats(t->floats + t->y_at[i], t0, t->n);
            if (t->n > 8)
                irc_store_floats(t->floats + t->y_at[i] + 8, t1, t->n - 8);
        } else {
            const irc_v c0 = _mm256_cvtps_epi32(_mm256_min_ps(t0, t->clamp.hi)), c1 = _mm256_cvtps_epi32(_mm256_min_ps(t1, t->clamp.hi));
            __m128i a, b;
            irc_codes(c0, c1, c0, c1, &t->clamp, &a, &b);
            irc_store_codes(t->codes + t->y_at[i], a, t->n);
        }
    }
}

#define IRC_QUAD_WEIGHTS(i) \
    const int32_t at = t->steps->quad[i].x; \
    const int8_t *w = t->w + (int64_t)t->steps->quad[i].index * 64; \
    const irc_v v0 = irc_load(w), v1 = V > 1 ? irc_load(w + 32) : v0, w0 = irc_load(w + 64), w1 = V > 1 ? irc_load(w + 96) : w0;
#define IRC_QUAD(r) \
    if (V > 1) \
        IRC_QUAD_ROW(c##r##0, c##r##1, x##r + at, v0, v1, w0, w1, *one); \
    else \
        IRC_QUAD_ROW_1(c##r##0, x##r + at, v0, w0, *one);

#define IRC_PAIR(r) \
    if (V > 1) \
        IRC_PAIR_ROW(c##r##0, c##r##1, x##r + at, w0, w1, *one); \
    else \
        IRC_PAIR_ROW_1(c##r##0, x##r + at, w0, *one);

#define IRC_AT(r) (r < 3 ? low + r * stride : high + (r - 3) * stride)
#define IRC_EVEN(r) \
    if (V > 1) \
        IRC_WIDE_ROW(c##r##0, c##r##1, IRC_AT(r), w0, w1); \
    else \
        IRC_WIDE_ROW_1(c##r##0, IRC_AT(r), w0);
#define IRC_ODD(r) \
    if (V > 1) \
        IRC_WIDE_ROW(c##r##0, c##r##1, IRC_AT(r) + 4, w0, w1); \
    else \
        IRC_WIDE_ROW_1(c##r##0, IRC_AT(r) + 4, w0);
#define IRC_WIDE_STEP(w) \
    { \
        irc_v w0, w1; \
        IRC_EVEN_WEIGHTS(w0, w); \
        if (V > 1) \
            IRC_EVEN_WEIGHTS(w1, w + 32); \
        IRC_ROWS(IRC_EVEN) \
        IRC_ODD_WEIGHTS(w0, w); \
        if (V > 1) \
            IRC_ODD_WEIGHTS(w1, w + 32); \
        IRC_ROWS(IRC_ODD) \
    }

#define IRC_DECLARE(r) irc_v c##r##0 = i0, c##r##1 = i1; const uint8_t *x##r = NULL;
#define IRC_SUMS(r) sums[r][0] = c##r##0, sums[r][1] = c##r##1;
#define IRC_START(r) x##r = t->x + t->x_at[first + r];
#define IRC_ADD_ROW(r) \
    c##r##0 = _mm256_add_epi32(i0, _mm256_set1_epi32(t->row[first + r])), c##r##1 = _mm256_add_epi32(i1, _mm256_set1_epi32(t->row[first + r]));

/* Positions first .. first + R - 1 (R is 1, 2, 4 or 6), V vectors of 8 channels (1 or 2); `sorted` 0: all steps are wide and in
   order. */
IRC_INLINE void irc_tile_run(const irc_tile *t, const int R, const int V, const int sorted, const int32_t first)
{
    static const int16_t ones[16] __attribute__((aligned(32))) = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const irc_v *one = (const irc_v *)(const void *)ones;
    const irc_v zero = _mm256_setzero_si256();
    const irc_v i0 = t->init ? irc_load(t->init) : zero, i1 = t->init && V > 1 ? irc_load(t->init + 8) : zero;
    const int64_t stride = t->stride;
    const int32_t quads = sorted ? t->steps->quads : 0, pairs = sorted ? t->steps->pairs : 0, wides = t->steps->wides;
    IRC_DECLARE(0) IRC_DECLARE(1) IRC_DECLARE(2) IRC_DECLARE(3) IRC_DECLARE(4) IRC_DECLARE(5)
    if (t->row) {
        IRC_ROWS(IRC_ADD_ROW)
    }
    if (sorted) {
        IRC_ROWS(IRC_START)
        for (int32_t i = 0; i < quads; i++) { /* 4 rows with 4 vectors of weights: more do not fit */
            IRC_QUAD_WEIGHTS(i)
            IRC_QUAD(0)
            if (R > 1) {
                IRC_QUAD(1)
            }
            if (R > 2) {
                IRC_QUAD(2) IRC_QUAD(3)
            }
        }
        for (int32_t i = 0; R > 4 && i < quads; i++) {
            IRC_QUAD_WEIGHTS(i)
            IRC_QUAD(4) IRC_QUAD(5)
        }
        for (int32_t i = 0; i < pairs; i++) {
            const int32_t at = t->steps->pair[i].x;
            const int8_t *w = t->w + (int64_t)t->steps->pair[i].index * 64;
            const irc_v w0 = irc_load(w), w1 = V > 1 ? irc_load(w + 32) : w0;
            IRC_ROWS(IRC_PAIR)
        }
        for (int32_t i = 0; i < wides; i++) {
            const int8_t *w = t->w + (int64_t)t->steps->wide[i].index * 64;
            const uint8_t *low = t->wide + first * stride + (int64_t)t->steps->wide[i].index * 8, *high = low + 3 * stride;
            IRC_WIDE_STEP(w)
        }
    } else {
        const uint8_t *low = t->wide + first * stride, *high = low + 3 * stride;
        const int8_t *w = t->w;
        for (const int8_t *end = w + (int64_t)wides * 64; w < end; w += 64, low += 8, high += 8)
            IRC_WIDE_STEP(w)
    }
    if (!t->floats && t->n == 8 * V) {
        irc_tile_codes(t, V, c00, c01, R > 1 ? c10 : c00, R > 1 ? c11 : c01, first, R > 1 ? first + 1 : first);
        if (R > 2)
            irc_tile_codes(t, V, c20, c21, c30, c31, first + 2, first + 3);
        if (R > 4)
            irc_tile_codes(t, V, c40, c41, c50, c51, first + 4, first + 5);
    } else {
        irc_v sums[6][2];
        IRC_ROWS(IRC_SUMS)
        irc_tile_others(t, sums, first, R);
    }
}

/* From position first on, as many tiles as there are whole ones, at least one; the position behind them. */
#define IRC_TILE(R, V, kind, sorted) \
    static __attribute__((noinline, unused)) int32_t irc_tile_##R##x##V##_##kind(const irc_tile *t, int32_t first) \
    { \
        do \
            irc_tile_run(t, R, V, sorted, first); \
        while ((first += R) + R <= t->rows); \
        return first; \
    }
#define IRC_TILES(V, kind, sorted) \
    IRC_TILE(1, V, kind, sorted) \
    IRC_TILE(2, V, kind, sorted) \
    IRC_TILE(4, V, kind, sorted) \
    IRC_TILE(6, V, kind, sorted)
IRC_TILES(1, wide, 0)
IRC_TILES(2, wide, 0)
IRC_TILES(1, sorted, 1)
IRC_TILES(2, sorted, 1)

IRC_FN void irc_tile_avx2(const irc_tile *t)
{
#define IRC_TILE_NAMES(V, kind) {irc_tile_1x##V##_##kind, irc_tile_2x##V##_##kind, irc_tile_4x##V##_##kind, irc_tile_6x##V##_##kind}
    static int32_t (*const tiles[2][2][4])(const irc_tile *, int32_t) = {{IRC_TILE_NAMES(1, wide), IRC_TILE_NAMES(2, wide)},
                                                                        {IRC_TILE_NAMES(1, sorted), IRC_TILE_NAMES(2, sorted)}};
    const int sorted = t->steps->quads + t->steps->pairs > 0;
    const int tall = 2 * t->steps->quads < t->steps->pairs + t->steps->wides; /* quads do best with 4 rows */
    for (int32_t i = 0, left = t->rows; left > 0; left = t->rows - i)
        i = tiles[sorted][t->n > 8][left > 4 && tall ? 3 : left > 2 ? 2 : left - 1](t, i);
}

#endif
