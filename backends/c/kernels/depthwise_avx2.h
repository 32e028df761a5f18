/* Depthwise convolution for AVX2: two output rows of 32 channels at a time, exact for all weights.

   1. Spread: the input rows are taken in twos and interleaved, so that a dword holds (upper, lower) of one channel as int16:

          cells[quarter][pair of rows][column]   32 bytes = 8 channels

      A quarter is what unpacking leaves: quarter q holds channels 4 q .. 4 q + 3 and 16 + 4 q .. 16 + 4 q + 3.
   2. Sum: vpmaddwd multiplies a cell by the weights of two taps, one above the other. An output row that starts at the lower
      row of a pair has weights that are shifted by one: (0, w0), (w1, w2). Up to 8 output columns are summed at once.
   3. Requantize; packing four quarters puts the channels in order again. */
#ifndef IRC_DEPTHWISE_AVX2_H
#define IRC_DEPTHWISE_AVX2_H

#include "avx2.h"
#include "depthwise_portable.h"

#define IRC_DEPTHWISE_STRIP
#define IRC_STRIP_CHANNELS 32
#define IRC_STRIP_ROWS 2
#define IRC_STRIP_COLS 32  /* output columns at a time, at most */
#define IRC_STRIP_CELLS 200 /* pairs of rows times columns, at most */
#define IRC_STRIP_TAPS 64  /* pairs of taps, at most */

/* What a strip needs: the geometry in cells, the weights, and where sums and codes go. */
typedef struct irc_strip {
    int32_t pairs, columns;  /* of cells that are held */
    int32_t step, tap;       /* cells from one output column, one tap, to the next */
    int64_t unit;            /* bytes of x from one cell to the next */
    int32_t kw, taps;        /* taps = pairs of taps of one output row * kw */
    irc_clamp clamp;
    float scale[32], bias[32];                    /* by quarters */
    irc_v weights[2][4][IRC_STRIP_TAPS];          /* [shift][quarter][pair of taps * kw + j] */
    irc_v cells[4][IRC_STRIP_CELLS];              /* [quarter][pair * columns + column] */
    irc_v rounded[IRC_STRIP_COLS][4];             /* [column][quarter] */
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

/* The weights of channels c .. c + 31; `shift` 1 for output rows that start at the lower row of a pair. */
IRC_FN void irc_strip_weights(const irc_depthwise *p, const int8_t *w, int shift, irc_strip *s)
{
    const int64_t stride = (p->channels + 15) / 16 * 16;
    const irc_v zero = _mm256_setzero_si256();
    for (int32_t i = 0; 2 * i - shift < p->kh; i++)
        for (int32_t j = 0; j < p->kw; j++) {
            const int32_t upper = 2 * i - shift, lower = upper + 1;
            irc_v q[4];
            irc_quarters(upper >= 0 ? irc_load(w + (upper * p->kw + j) * stride) : zero,
                         lower < p->kh ? irc_load(w + (lower * p->kw + j) * stride) : zero, q, 1);
            for (int k = 0; k < 4; k++)
                s->weights[shift][k][i * p->kw + j] = q[k];
        }
}

/* Scale and bias of n <= 32 channels in the order of the quarters. */
IRC_FN void irc_strip_factors(const float *scale, const float *bias, int32_t n, irc_strip *s)
{
    for (int32_t i = 0; i < 32; i++) {
        const int32_t c = i / 8 * 4 + i % 4 + i % 8 / 4 * 16;
        s->scale[i] = c < n ? scale[c] : 0.0f;
        s->bias[i] = c < n ? bias[c] : 0.0f;
    }
}

/* rows: input rows that the strip reads; the last pair repeats its upper row if their number is odd (its weight is zero). */
IRC_FN void irc_strip_spread(const irc_depthwise *p, const uint8_t *x, int32_t rows, irc_strip *s)
{
    for (int32_t i = 0; i < s->pairs; i++) {
        const uint8_t *upper = x + 2 * i * p->tap_row, *lower = 2 * i + 1 < rows ? upper + p->tap_row : upper;
        irc_v *cells = &s->cells[0][i * s->columns];
        for (int32_t j = 0; j < s->columns; j++) {
            irc_v q[4];
            irc_quarters(irc_load(upper + j * s->unit), irc_load(lower + j * s->unit), q, 0);
            for (int k = 0; k < 4; k++)
                cells[k * IRC_STRIP_CELLS + j] = q[k];
        }
    }
}

#define IRC_COLUMNS(X) X(0) X(1) X(2) X(3) if (T > 4) { X(4) } if (T > 5) { X(5) } if (T > 6) { X(6) } if (T > 7) { X(7) }

/* T (4 .. 8, a constant) output columns of quarter k of one output row; `first`: its first pair of rows. step: cells. */
IRC_INLINE void irc_strip_sum(irc_strip *s, const int T, const int64_t step, int shift, int k, int32_t first, int32_t column)
{
    const irc_v *w = s->weights[shift][k];
    const irc_vf scale = _mm256_loadu_ps(s->scale + 8 * k), bias = _mm256_loadu_ps(s->bias + 8 * k);
    irc_v *out = &s->rounded[column][k];
#define IRC_DECLARE_COLUMN(j) irc_v c##j = _mm256_setzero_si256();
    IRC_DECLARE_COLUMN(0) IRC_DECLARE_COLUMN(1) IRC_DECLARE_COLUMN(2) IRC_DECLARE_COLUMN(3)
    IRC_DECLARE_COLUMN(4) IRC_DECLARE_COLUMN(5) IRC_DECLARE_COLUMN(6) IRC_DECLARE_COLUMN(7)
    const irc_v *line = &s->cells[k][first * s->columns + column * step];
    for (const irc_v *end = w + s->taps; w < end; line += s->columns) {
        const irc_v *x = line;
        for (int32_t j = 0; j < s->kw; j++, w++, x += s->tap) {
            const irc_v v = *w;
#define IRC_SUM_COLUMN(j) c##j = _mm256_add_epi32(c##j, _mm256_madd_epi16(v, x[j * step]));
            IRC_COLUMNS(IRC_SUM_COLUMN)
        }
    }
#define IRC_ROUND_COLUMN(j) out[4 * j] = irc_rounded(irc_scaled(c##j, scale, bias, NULL, &s->clamp), &s->clamp);
    IRC_COLUMNS(IRC_ROUND_COLUMN)
}

IRC_INLINE void irc_strip_tile(irc_strip *s, const int64_t step, int shift, int k, int32_t first, int32_t column, int32_t tile)
{
    switch (tile) {
    case 8: irc_strip_sum(s, 8, step, shift, k, first, column); break;
    case 7: irc_strip_sum(s, 7, step, shift, k, first, column); break;
    case 6: irc_strip_sum(s, 6, step, shift, k, first, column); break;
    case 5: irc_strip_sum(s, 5, step, shift, k, first, column); break;
    default: irc_strip_sum(s, 4, step, shift, k, first, column);
    }
}

/* One output row, `cols` >= 4 columns of it. */
IRC_FN void irc_strip_row(irc_strip *s, int shift, int32_t first, int32_t cols)
{
    const int32_t tile = irc_ceil_div(cols, irc_ceil_div(cols, 8)), width = tile < 4 ? 4 : tile;
    for (int k = 0; k < 4; k++)
        for (int32_t j = 0; j < cols; j += width) {
            const int32_t column = j + width > cols ? cols - width : j; /* the last tile overlaps the one before */
            if (s->step == 1)
                irc_strip_tile(s, 1, shift, k, first, column, width);
            else if (s->step == 2)
                irc_strip_tile(s, 2, shift, k, first, column, width);
            else
                irc_strip_tile(s, s->step, shift, k, first, column, width);
        }
}

/* The codes of one output row: n <= 32 channels. */
IRC_FN void irc_strip_store(const irc_strip *s, uint8_t *y, int64_t y_col, int32_t cols, int32_t n)
{
    const irc_v lo = _mm256_broadcastsi128_si256(s->clamp.lo_codes), hi = _mm256_broadcastsi128_si256(s->clamp.hi_codes);
    for (int32_t j = 0; j < cols; j++, y += y_col) {
        const irc_v *q = s->rounded[j];
        irc_v codes = _mm256_packus_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        codes = _mm256_min_epu8(_mm256_max_epu8(codes, lo), hi);
        if (n == 32) {
            irc_store(y, codes);
        } else {
            irc_store_codes(y, _mm256_castsi256_si128(codes), n < 16 ? n : 16);
            if (n > 16)
                irc_store_codes(y + 16, _mm256_extracti128_si256(codes, 1), n - 16);
        }
    }
}

IRC_INLINE int64_t irc_common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t c = a % b;
        a = b;
        b = c;
    }
    return a;
}

/* Plans the cells; the number of output columns that fit, or 0 if this is no case for this kernel. `down`: rows of x from one
   output row to the next, in units of taps; rows: input rows of the strip. */
IRC_FN int32_t irc_strip_plan(const irc_depthwise *p, int32_t rows, irc_strip *s)
{
    const int64_t unit = irc_common_divisor(p->x_col, p->tap_col);
    int32_t cols = p->cols < IRC_STRIP_COLS ? p->cols : IRC_STRIP_COLS;
    if (unit <= 0 || p->cols < 4 || p->x_col < 0 || p->tap_col < 0 || p->x_col / unit > 64 || p->tap_col / unit > 64)
        return 0;
    s->unit = unit;
    s->step = (int32_t)(p->x_col / unit);
    s->tap = (int32_t)(p->tap_col / unit);
    s->kw = p->kw;
    s->pairs = irc_ceil_div(rows, 2);
    for (; cols >= 4; cols -= 4)
        if ((cols - 1) * s->step + (p->kw - 1) * s->tap < IRC_STRIP_CELLS / s->pairs)
            return cols;
    return 0;
}

/* Output rows line .. line + lines - 1 (at most 2), channels from .. to - 1 (at most 32). */
IRC_FN void irc_depthwise_strip(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                const uint8_t *residual, void *y, int64_t line, int32_t lines, int32_t from, int32_t to)
{
    const int64_t batch = line / p->rows, row = line % p->rows;
    const int32_t down = p->tap_row > 0 && p->x_row % p->tap_row == 0 && p->x_row / p->tap_row <= 2 ? (int32_t)(p->x_row / p->tap_row) : 0;
    const int together = lines == 2 && down > 0;
    const int32_t rows = p->kh + (together ? down : 0);
    irc_strip s;
    int32_t most = residual || p->float_output || irc_ceil_div(p->kh + 1, 2) * p->kw > IRC_STRIP_TAPS ? 0 : irc_strip_plan(p, rows, &s);
    if (!most) {
        for (int32_t r = 0; r < lines; r++)
            irc_depthwise_line(p, x, w, scale, bias, residual, y, line + r, from, to);
        return;
    }
    s.clamp = irc_clamp_of(0.0f, p->lo, p->hi, p->flags & IRC_CODES_FIT);
    irc_strip_factors(scale + from, bias + from, to - from, &s);
    irc_strip_weights(p, w + from, 0, &s);
    if (together && down % 2)
        irc_strip_weights(p, w + from, 1, &s);
    for (int32_t j = 0; j < p->cols; j += most) {
        const int32_t start = j + most > p->cols && p->cols >= most ? p->cols - most : j, cols = most;
        const uint8_t *window = x + batch * p->x_batch + row * p->x_row + start * p->x_col + from;
        uint8_t *out = (uint8_t *)y + batch * p->y_batch + row * p->y_row + start * p->y_col + from;
        s.columns = (cols - 1) * s.step + (p->kw - 1) * s.tap + 1;
        for (int32_t r = 0; r < lines; r++) {
            const int32_t above = together ? r * down : 0;
            if (r == 0 || !together)
                irc_strip_spread(p, window + (together ? 0 : r * p->x_row), rows, &s);
            s.taps = irc_ceil_div(above % 2 + p->kh, 2) * p->kw;
            irc_strip_row(&s, above % 2, above / 2, cols);
            irc_strip_store(&s, out + r * p->y_row, p->y_col, cols, to - from);
        }
    }
}

#endif
