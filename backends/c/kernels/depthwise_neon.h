/* Depthwise convolution for processors without dot products, for 16 channels at a time.

   Codes less 128 are multiplied by the weights in int16, and the products of two taps are added there before they are added to
   int32. Two products leave int16 only if both are (-128) (-128): with a weight of -128 in the strip, taps go one by one.
   The sums start at 128 * (sum of the weights). */
#ifndef IRC_DEPTHWISE_NEON_H
#define IRC_DEPTHWISE_NEON_H

#include "arm.h"
#include "depthwise_columns.h"
#include "depthwise_portable.h"

#define IRC_DEPTHWISE_STRIP
#define IRC_STRIP_CHANNELS 16
#define IRC_STRIP_COLS 64 /* output columns at a time */
#define IRC_STRIP_TAPS 64 /* at most; an even number */

/* 16 channels of a strip: taps in twos, the last perhaps with a tap of zeros. */
typedef struct irc_strip {
    int32_t taps, extreme; /* extreme: a weight is -128 */
    int64_t offset[IRC_STRIP_TAPS];
    int8_t w[IRC_STRIP_TAPS][16];
} irc_strip;

IRC_INLINE void irc_add_wide(int32x4_t *c, int16x8_t low, int16x8_t high)
{
    c[0] = vaddw_s16(c[0], vget_low_s16(low));
    c[1] = vaddw_high_s16(c[1], low);
    c[2] = vaddw_s16(c[2], vget_low_s16(high));
    c[3] = vaddw_high_s16(c[3], high);
}

IRC_INLINE int8x16_t irc_less_128(const uint8_t *x) { return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x), vdupq_n_u8(0x80))); }

/* R output columns from i on; x: the window of column i. */
IRC_INLINE void irc_strip_tile(const irc_strip *s, const irc_columns *t, const irc_clamp *clamp, const uint8_t *x, int64_t x_col,
                               int32_t i, const int R, const int extreme)
{
    int32x4_t c[4][4];
    IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < 4; j++) c[r][j] = vld1q_s32(t->start + 4 * j);
    for (int32_t k = 0; k < s->taps; k += 2) {
        const int8x16_t v = vld1q_s8(s->w[k]), w = vld1q_s8(s->w[k + 1]);
        const uint8_t *one = x + s->offset[k], *two = x + s->offset[k + 1];
        IRC_UNROLL for (int r = 0; r < R; r++, one += x_col, two += x_col) {
            const int8x16_t a = irc_less_128(one), b = irc_less_128(two);
            int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(v)), high = vmull_high_s8(a, v);
            if (extreme) {
                irc_add_wide(c[r], low, high);
                low = vmull_s8(vget_low_s8(b), vget_low_s8(w));
                high = vmull_high_s8(b, w);
            } else {
                low = vmlal_s8(low, vget_low_s8(b), vget_low_s8(w));
                high = vmlal_high_s8(high, b, w);
            }
            irc_add_wide(c[r], low, high);
        }
    }
    irc_finish(t, clamp, i, R, c, R, 4);
}

#define IRC_STRIP_ROW(name, extreme) \
    static __attribute__((noinline, unused)) void name(const irc_strip *s, const irc_columns *t, const irc_clamp *clamp, \
                                                       const uint8_t *x, int64_t x_col, int32_t cols) \
    { \
        int32_t i = 0; \
        for (; i + 4 <= cols; i += 4) \
            irc_strip_tile(s, t, clamp, x + i * x_col, x_col, i, 4, extreme); \
        for (; i < cols; i++) \
            irc_strip_tile(s, t, clamp, x + i * x_col, x_col, i, 1, extreme); \
    }
IRC_STRIP_ROW(irc_strip_row, 0)
IRC_STRIP_ROW(irc_strip_row_extreme, 1)

/* The taps and weights of channels c .. c + 15, and where their sums start. */
IRC_FN void irc_strip_of(const irc_depthwise *p, const int8_t *w, irc_strip *s, int32_t *start)
{
    const int64_t stride = (p->channels + 15) / 16 * 16;
    s->taps = (p->kh * p->kw + 1) / 2 * 2;
    s->extreme = 0;
    for (int32_t c = 0; c < 16; c++)
        start[c] = 0;
    for (int32_t k = 0; k < s->taps; k++) {
        const int real = k < p->kh * p->kw;
        s->offset[k] = real ? k / p->kw * p->tap_row + k % p->kw * p->tap_col : 0;
        for (int32_t c = 0; c < 16; c++) {
            s->w[k][c] = real ? w[k * stride + c] : 0;
            s->extreme |= s->w[k][c] == -128;
            start[c] += 128 * s->w[k][c];
        }
    }
}

IRC_FN void irc_depthwise_strip(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                const uint8_t *residual, void *y, int64_t batch, int32_t first, int32_t last, int32_t from, int32_t to)
{
    const irc_clamp clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi);
    irc_positions q;
    irc_columns t;
    irc_strip s;
    if (p->kh * p->kw > IRC_STRIP_TAPS) {
        for (int32_t row = first; row < last; row++)
            irc_depthwise_line(p, x, w, scale, bias, residual, y, batch * p->rows + row, from, to);
        return;
    }
    irc_columns_of_strip(&t, p, &q, scale + from, bias + from, to - from);
    irc_strip_of(p, w + from, &s, t.start);
    for (int32_t row = first; row < last; row++)
        for (int32_t col = 0; col < p->cols; col += IRC_STRIP_COLS) {
            const uint8_t *window = x + batch * p->x_batch + row * p->x_row + col * p->x_col + from;
            const int32_t cols = p->cols - col < IRC_STRIP_COLS ? p->cols - col : IRC_STRIP_COLS;
            irc_strip_outputs(&t, p, &q, residual, y, batch, row, col, cols, from);
            if (s.extreme)
                irc_strip_row_extreme(&s, &t, &clamp, window, p->x_col, cols);
            else
                irc_strip_row(&s, &t, &clamp, window, p->x_col, cols);
        }
}

#endif
