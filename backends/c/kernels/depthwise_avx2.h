/* Depthwise convolution for AVX2: two output rows of 32 channels at a time, exact for all weights.

   A strip of 16 or fewer channels, of rows that are not too short, is narrow: it has the right half of its columns in the upper
   lanes. Wherever this file says channels 16 .. 31, those are then channels 0 .. 15 again, of the column that lies `upper` bytes
   further right.

   1. Spread: the input rows are taken in twos and interleaved, so that a dword holds (upper, lower) of one channel as int16:

          cells[quarter][pair of rows][column]   32 bytes = 8 channels

      A quarter is what unpacking leaves: quarter q holds channels 4 q .. 4 q + 3 and 16 + 4 q .. 16 + 4 q + 3.
      Two output rows later some pairs are needed again: the pairs lie in a ring.
   2. Sum: vpmaddwd multiplies a cell by the weights of two taps, one above the other. An output row that starts at the lower
      row of a pair has weights that are shifted by one: (0, w0), (w1, w2). Up to 8 output columns are summed at once.
   3. Requantize each quarter as it is summed. Packing quarters 0 and 1, 2 and 3 to int16, and what that gives to codes, puts the
      channels in order again. */
#ifndef IRC_DEPTHWISE_AVX2_H
#define IRC_DEPTHWISE_AVX2_H

#include "avx2.h"
#include "depthwise_portable.h"

#define IRC_DEPTHWISE_STRIP
#define IRC_STRIP_CHANNELS 32
#define IRC_STRIP_COLS 32  /* output columns at a time, at most */
#define IRC_STRIP_CELLS 220 /* pairs of rows times columns, at most */
#define IRC_STRIP_TAPS 64  /* pairs of taps, at most */

/* What a strip needs: the geometry in cells, the weights, and where sums and codes go. */
typedef struct irc_strip {
    int32_t pairs, columns;  /* of cells that are held */
    int32_t down;            /* input rows from one output row to the next, in taps; 0: output rows share no pairs */
    int32_t ring;            /* where the first pair of the band is */
    int32_t step, tap;       /* cells from one output column, one tap, to the next */
    int64_t unit;            /* bytes of x from one cell to the next */
    int64_t upper, y_upper;  /* bytes of x and y from the lower lane's to the upper lane's */
    int32_t narrow;          /* at most 16 channels */
    int32_t kh, kw, taps;    /* taps: pairs of taps of one output row */
    int32_t row[IRC_STRIP_TAPS]; /* [taps]: cells of the pairs that an output row needs */
    irc_clamp clamp;
    int32_t full; /* the clamp is that of u8: packing saturates */
    float scale[32], bias[32];                    /* by quarters */
    irc_v weights[2][4][IRC_STRIP_TAPS];          /* [shift][quarter][pair of taps * kw + j] */
    irc_v cells[4][IRC_STRIP_CELLS];              /* [quarter][pair * columns + column] */
    irc_v rounded[8];                             /* [column]: of quarter 0 or 2, until the next one is summed */
    irc_v words[2][8];                            /* [quarters 0 and 1, 2 and 3][column]: packed to int16 */
} irc_strip;

IRC_INLINE void irc_quarters(irc_v upper, irc_v lower, irc_v q[4], const int is_signed)
{
    const irc_v low = _mm256_unpacklo_epi8(upper, lower), high = _mm256_unpackhi_epi8(upper, lower), zero = _mm256_setzero_si256();
    if (is_signed) {
        q[0] = _mm256_srai_epi16(_mm256_unpacklo_epi8(low, low), 8), q[1] = _mm256_srai_epi16(_mm256_unpackhi_epi8(low, low), 8);
        q[2] = _mm256_srai_epi16(_mm256_unpacklo_epi8(high, high), 8), q[3] = _mm256_srai_epi16(_mm256_unpackhi_epi8(high, high), 8);
    } else {
        q[0] = _mm256_unpacklo_epi8(low, zero), q[1] = _mm256_unpackhi_epi8(low, zero);
        q[2] = _mm256_unpacklo_epi8(high, zero), q[3] = _mm256_unpackhi_epi8(high, zero);
    }
}

IRC_INLINE irc_v irc_two_lanes(const void *p, int64_t upper)
{
    const __m128i *lower = (const __m128i *)p, *other = (const __m128i *)(const void *)((const uint8_t *)p + upper);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(lower)), _mm_loadu_si128(other), 1);
}

/* The weights of 32 channels from w on; `shift` 1 for output rows that start at the lower row of a pair. */
IRC_FN void irc_strip_weights(const irc_depthwise *p, const int8_t *w, int shift, irc_strip *s)
{
    const int64_t stride = (p->channels + 15) / 16 * 16, upper_half = s->narrow ? 0 : 16;
    const irc_v zero = _mm256_setzero_si256();
    for (int32_t i = 0; 2 * i - shift < p->kh; i++)
        for (int32_t j = 0; j < p->kw; j++) {
            const int32_t upper = 2 * i - shift, lower = upper + 1, at = i * p->kw + j;
            irc_v q[4];
            irc_quarters(upper >= 0 ? irc_two_lanes(w + (upper * p->kw + j) * stride, upper_half) : zero,
                         lower < p->kh ? irc_two_lanes(w + (lower * p->kw + j) * stride, upper_half) : zero, q, 1);
            s->weights[shift][0][at] = q[0], s->weights[shift][1][at] = q[1];
            s->weights[shift][2][at] = q[2], s->weights[shift][3][at] = q[3];
        }
}

/* n <= 32 factors in the order of the quarters. */
IRC_FN void irc_strip_factors(const float *factors, int32_t n, float *by_quarters)
{
    float padded[32] = {0};
    memcpy(padded, factors, (size_t)n * sizeof *factors);
    for (int k = 0; k < 4; k++) {
        _mm_storeu_ps(by_quarters + 8 * k, _mm_loadu_ps(padded + 4 * k));
        _mm_storeu_ps(by_quarters + 8 * k + 4, _mm_loadu_ps(padded + 4 * k + (n > 16 ? 16 : 0)));
    }
}

/* One pair of input rows into slot `slot` of the ring. */
IRC_INLINE void irc_strip_spread_lanes(irc_strip *s, const int narrow, const uint8_t *upper, const uint8_t *lower, int32_t slot)
{
    irc_v *cells = &s->cells[0][slot * s->columns];
    const int64_t unit = s->unit, aside = s->upper;
    for (int32_t j = 0; j < s->columns; j++, cells++, upper += unit, lower += unit) {
        irc_v q[4];
        irc_quarters(narrow ? irc_two_lanes(upper, aside) : irc_load(upper), narrow ? irc_two_lanes(lower, aside) : irc_load(lower), q, 0);
        cells[0] = q[0], cells[IRC_STRIP_CELLS] = q[1];
        cells[2 * IRC_STRIP_CELLS] = q[2], cells[3 * IRC_STRIP_CELLS] = q[3];
    }
}

IRC_FN void irc_strip_spread(irc_strip *s, const uint8_t *upper, const uint8_t *lower, int32_t slot)
{
    if (s->narrow)
        irc_strip_spread_lanes(s, 1, upper, lower, slot);
    else
        irc_strip_spread_lanes(s, 0, upper, lower, slot);
}

/* Two columns at once: compilers that choose the order spill. */
#define IRC_SUM_2(a, b, x, y, w) \
    do { \
        irc_v t, u; \
        __asm__ volatile("vpmaddwd %[m],%[v],%[t]\n\tvpmaddwd %[n],%[v],%[u]\n\tvpaddd %[t],%[c],%[c]\n\tvpaddd %[u],%[d],%[d]" \
                         : [c] "+x"(a), [d] "+x"(b), [t] "=&x"(t), [u] "=&x"(u) \
                         : [m] "m"(x), [n] "m"(y), [v] "x"(w)); \
    } while (0)
#define IRC_SUM_1(a, x, w) \
    do { \
        irc_v t; \
        __asm__ volatile("vpmaddwd %[m],%[v],%[t]\n\tvpaddd %[t],%[c],%[c]" : [c] "+x"(a), [t] "=&x"(t) : [m] "m"(x), [v] "x"(w)); \
    } while (0)

#define IRC_COLUMNS(X) \
    X(0) X(1) X(2) X(3) \
    if (T > 4) { \
        X(4) X(5) X(6) \
    } \
    if (T > 7) { \
        X(7) \
    }

/* The products of one tap. */
#define IRC_SUM_COLUMNS(x, w) \
    do { \
        const irc_v v = w; \
        IRC_SUM_2(c0, c1, (x)[0], (x)[step], v); \
        IRC_SUM_2(c2, c3, (x)[2 * step], (x)[3 * step], v); \
        if (T > 4) \
            IRC_SUM_2(c4, c5, (x)[4 * step], (x)[5 * step], v); \
        if (T == 7) \
            IRC_SUM_1(c6, (x)[6 * step], v); \
        if (T == 8) \
            IRC_SUM_2(c6, c7, (x)[6 * step], (x)[7 * step], v); \
    } while (0)

/* The codes of `cols` columns of one output row, from their words: n <= 32 channels. */
IRC_INLINE void irc_strip_store(const irc_strip *s, uint8_t *y, int64_t y_col, int32_t cols, int32_t n)
{
    const irc_v lo = _mm256_broadcastsi128_si256(s->clamp.lo_codes), hi = _mm256_broadcastsi128_si256(s->clamp.hi_codes);
    for (int32_t j = 0; j < cols; j++, y += y_col) {
        irc_v codes = _mm256_packus_epi16(s->words[0][j], s->words[1][j]);
        if (!s->full)
            codes = _mm256_min_epu8(_mm256_max_epu8(codes, lo), hi);
        if (n == 32) {
            irc_store(y, codes);
        } else {
            irc_store_codes(y, _mm256_castsi256_si128(codes), n < 16 ? n : 16);
            if (s->narrow || n > 16)
                irc_store_codes(y + s->y_upper, _mm256_extracti128_si256(codes, 1), s->narrow ? n : n - 16);
        }
    }
}

IRC_INLINE irc_vf irc_strip_below(const irc_strip *s, const int K, irc_vf t) { return K ? t : _mm256_min_ps(t, s->clamp.hi); }

/* T output columns (4, 7 or 8) of quarter k of one output row, from cell column * step on: summed and rounded; if k is odd, packed
   with the quarter before it. T, K (the width and height of the kernel, whose codes then fit; 0: any) and step (cells from one
   output column to the next) are constants where it matters. */
IRC_INLINE void irc_strip_sum(irc_strip *s, const int T, const int K, const int64_t step, int shift, int k, const int odd, int32_t column)
{
    const irc_v *w = s->weights[shift][k], *cells = s->cells[k] + column * step;
    const irc_vf scale = _mm256_loadu_ps(s->scale + 8 * k), bias = _mm256_loadu_ps(s->bias + 8 * k);
#define IRC_DECLARE_COLUMN(j) irc_v c##j = _mm256_setzero_si256();
    IRC_DECLARE_COLUMN(0) IRC_DECLARE_COLUMN(1) IRC_DECLARE_COLUMN(2) IRC_DECLARE_COLUMN(3)
    IRC_DECLARE_COLUMN(4) IRC_DECLARE_COLUMN(5) IRC_DECLARE_COLUMN(6) IRC_DECLARE_COLUMN(7)
    if (K) {
        IRC_UNROLL
        for (int i = 0; i < (K + 1) / 2; i++) {
            const irc_v *x = cells + s->row[i];
            IRC_UNROLL
            for (int j = 0; j < K; j++)
                IRC_SUM_COLUMNS(x + j, w[i * K + j]);
        }
    } else {
        for (int32_t i = 0; i < s->taps; w += s->kw, i++) {
            const irc_v *x = cells + s->row[i];
            for (int32_t j = 0; j < s->kw; j++)
                IRC_SUM_COLUMNS(x + j * s->tap, w[j]);
        }
    }
#define IRC_ROUND_COLUMN(j) \
    c##j = _mm256_cvtps_epi32(irc_strip_below(s, K, _mm256_fmadd_ps(_mm256_cvtepi32_ps(c##j), scale, bias))); \
    if (odd) \
        s->words[k / 2][j] = _mm256_packs_epi32(s->rounded[j], c##j); \
    else \
        s->rounded[j] = c##j;
    IRC_COLUMNS(IRC_ROUND_COLUMN)
}

/* The columns of one output row, T at a time; the last ones overlap those before. cols >= T. */
#define IRC_STRIP_LINE(name, T, K, step) \
    static __attribute__((noinline, unused)) void irc_strip_##name##_##T(irc_strip *s, int shift, uint8_t *y, int64_t y_col, int32_t cols, int32_t n) \
    { \
        for (int32_t j = 0, at = 0; j < cols; j += T) { \
            at = j + T > cols ? cols - T : j; \
            for (int k = 0; k < 4; k += 2) { \
                irc_strip_sum(s, T, K, step, shift, k, 0, at); \
                irc_strip_sum(s, T, K, step, shift, k + 1, 1, at); \
            } \
            irc_strip_store(s, y + at * y_col, y_col, T, n); \
        } \
    }
#define IRC_STRIP_LINES(name, K, step) IRC_STRIP_LINE(name, 4, K, step) IRC_STRIP_LINE(name, 7, K, step) IRC_STRIP_LINE(name, 8, K, step)
IRC_STRIP_LINES(any, 0, s->step)
IRC_STRIP_LINES(any_s1, 0, 1)
IRC_STRIP_LINES(any_s2, 0, 2)
IRC_STRIP_LINES(k3_s1, 3, 1)
IRC_STRIP_LINES(k3_s2, 3, 2)
IRC_STRIP_LINES(k5_s1, 5, 1)
IRC_STRIP_LINES(k5_s2, 5, 2)

typedef void irc_strip_line(irc_strip *s, int shift, uint8_t *y, int64_t y_col, int32_t cols, int32_t n);

/* The function for the geometry and the tile that wastes least. */
IRC_FN irc_strip_line *irc_strip_choose(const irc_strip *s, int32_t cols)
{
#define IRC_STRIP_TILES(name) {irc_strip_##name##_4, irc_strip_##name##_7, irc_strip_##name##_8}
    static irc_strip_line *const lines[7][3] = {IRC_STRIP_TILES(any),   IRC_STRIP_TILES(any_s1), IRC_STRIP_TILES(any_s2),
                                                IRC_STRIP_TILES(k3_s1), IRC_STRIP_TILES(k3_s2),  IRC_STRIP_TILES(k5_s1),
                                                IRC_STRIP_TILES(k5_s2)};
    const int square = s->tap == 1 && s->kw == s->kh && s->clamp.fits ? s->kw : 0, strides = s->step == 1 || s->step == 2;
    const int kind = !strides ? 0 : square == 3 ? 2 + s->step : square == 5 ? 4 + s->step : s->step;
    const int32_t by8 = irc_ceil_div(cols, 8) * 8, by7 = irc_ceil_div(cols, 7) * 7;
    return lines[kind][cols < 7 ? 0 : cols < 8 || by7 < by8 ? 1 : 2];
}

/* Plans the cells; the number of output columns at a time, of `width`, or 0 if this is no case for this kernel. */
IRC_FN int32_t irc_strip_plan(const irc_depthwise *p, int32_t width, irc_strip *s)
{
    const int64_t unit = irc_common_divisor(p->x_col, p->tap_col);
    int32_t most = IRC_STRIP_COLS, cols;
    if (unit <= 0 || width < 4 || p->x_col < 0 || p->tap_col < 0 || p->x_col / unit > 64 || p->tap_col / unit > 64 ||
        irc_ceil_div(p->kh + 1, 2) * p->kw > IRC_STRIP_TAPS)
        return 0;
    s->unit = unit;
    s->step = (int32_t)(p->x_col / unit);
    s->tap = (int32_t)(p->tap_col / unit);
    s->kw = p->kw;
    s->kh = p->kh;
    s->down = p->tap_row > 0 && (p->x_row == p->tap_row || p->x_row == 2 * p->tap_row) ? (int32_t)(p->x_row / p->tap_row) : 0;
    s->pairs = irc_ceil_div(p->kh + s->down, 2);
    while (most >= 4 && (most - 1) * s->step + (p->kw - 1) * s->tap >= IRC_STRIP_CELLS / s->pairs)
        most -= 4;
    if (most < 4)
        return 0;
    cols = irc_ceil_div(width, irc_ceil_div(width, most));
    return cols < 4 ? 4 : cols;
}

/* Output rows first .. last - 1 (first is even) of `cols` columns: x, y at row 0, first column and channel. */
IRC_FN void irc_strip_run(const irc_depthwise *p, const uint8_t *x, uint8_t *y, int32_t first, int32_t last, int32_t cols, int32_t n, irc_strip *s)
{
    irc_strip_line *const line = irc_strip_choose(s, cols);
    const int32_t band = s->down ? 2 : 1, rows = (p->rows - 1) * s->down + p->kh;
    int32_t ready = 0; /* pairs of rows that are spread, from the top of the image */
    s->columns = (cols - 1) * s->step + (p->kw - 1) * s->tap + 1;
    for (int32_t row = first; row < last; row += band) {
        const int32_t top = row * s->down / 2; /* the first pair; row is even */
        const uint8_t *image = s->down ? x : x + row * p->x_row;
        s->ring = top % s->pairs;
        for (int32_t i = s->down && ready > top ? ready : top; i < top + s->pairs; i++) {
            const uint8_t *upper = image + 2 * i * p->tap_row;
            const int inside = 2 * i + 1 < (s->down ? rows : p->kh);
            if (2 * i < (s->down ? rows : p->kh))
                irc_strip_spread(s, upper, inside ? upper + p->tap_row : upper, i % s->pairs);
        }
        ready = top + s->pairs;
        for (int32_t r = 0; r < band && row + r < last; r++) {
            const int32_t above = r * s->down;
            s->taps = irc_ceil_div(above % 2 + p->kh, 2);
            for (int32_t i = 0; i < s->taps; i++) {
                const int32_t slot = s->ring + above / 2 + i;
                s->row[i] = (slot < s->pairs ? slot : slot - s->pairs) * s->columns;
            }
            line(s, above % 2, y + (row + r) * p->y_row, p->y_col, cols, n);
        }
    }
}

/* Output rows first .. last - 1 of one image (first is even), channels from .. to - 1, at most 32. */
IRC_FN void irc_depthwise_strip(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                const uint8_t *residual, void *y, int64_t batch, int32_t first, int32_t last, int32_t from, int32_t to)
{
    irc_strip s;
    const int32_t narrow = to - from <= 16 && p->cols >= 8, width = narrow ? (p->cols + 1) / 2 : p->cols;
    const int32_t cols = residual || p->float_output ? 0 : irc_strip_plan(p, width, &s);
    if (!cols) {
        for (int32_t row = first; row < last; row++)
            irc_depthwise_line(p, x, w, scale, bias, residual, y, batch * p->rows + row, from, to);
        return;
    }
    s.narrow = narrow;
    s.upper = narrow ? (p->cols - width) * p->x_col : 16;
    s.y_upper = narrow ? (p->cols - width) * p->y_col : 16;
    s.clamp = irc_clamp_of(0.0f, p->lo, p->hi, p->flags & IRC_CODES_FIT);
    s.full = p->lo <= 0.0f && p->hi >= 255.0f;
    irc_strip_factors(scale + from, to - from, s.scale);
    irc_strip_factors(bias + from, to - from, s.bias);
    irc_strip_weights(p, w + from, 0, &s);
    if (s.down == 1)
        irc_strip_weights(p, w + from, 1, &s);
    for (int32_t j = 0; j < width; j += cols) {
        const int32_t column = j + cols > width ? width - cols : j; /* the last ones overlap those before */
        irc_strip_run(p, x + batch * p->x_batch + column * p->x_col + from, (uint8_t *)y + batch * p->y_batch + column * p->y_col + from,
                      first, last, cols, to - from, &s);
    }
}

#endif
