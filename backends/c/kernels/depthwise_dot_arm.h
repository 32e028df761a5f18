/* Depthwise convolution by dot products, for 16 channels at a time: sdot, which is given codes less 128 (conv_dot_arm.h), or
   usdot where there is one. Cells and bands: depthwise_bands.h. */
#ifndef IRC_DEPTHWISE_DOT_ARM_H
#define IRC_DEPTHWISE_DOT_ARM_H

#include "conv_dot_arm.h"
#include "depthwise_bands.h"
#include "depthwise_columns.h"
#include "depthwise_portable.h"

#define IRC_DEPTHWISE_BANDS
#define IRC_STRIP_CHANNELS 16
#define IRC_STRIP_COLS 32   /* output columns at a time, at most */
#define IRC_STRIP_CELLS 256 /* at most */
#define IRC_STRIP_TAPS 64   /* vectors of four taps of all output rows of a band, at most */

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define IRC_DOT_CELL(c, a, w) __asm__ volatile("usdot %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(a), "w"(w))
#else
#define IRC_DOT_CELL(c, a, w) __asm__ volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(a), "w"(w))
#endif

/* 16 channels of a strip. */
typedef struct irc_strip {
    irc_bands bands;
    irc_clamp clamp;
    int8_t w[IRC_STRIP_TAPS][64];      /* [output row of the band][group][kw] [16 channels][4 rows] */
    uint8_t cell[IRC_STRIP_CELLS][64]; /* [group][column] [16 channels][4 rows] */
} irc_strip;

/* The four rows r of 16 channels -> [16 channels][4 rows]. */
IRC_INLINE void irc_interleave(const uint8x16_t *r, uint8_t *to)
{
    const uint8x16_t low0 = vzip1q_u8(r[0], r[2]), high0 = vzip2q_u8(r[0], r[2]);
    const uint8x16_t low1 = vzip1q_u8(r[1], r[3]), high1 = vzip2q_u8(r[1], r[3]);
    vst1q_u8(to, vzip1q_u8(low0, low1));
    vst1q_u8(to + 16, vzip2q_u8(low0, low1));
    vst1q_u8(to + 32, vzip1q_u8(high0, high1));
    vst1q_u8(to + 48, vzip2q_u8(high0, high1));
}

/* The weights and clamp of 16 channels, and where their sums start (IRC_DOT_OPERAND takes 128 from each code). */
IRC_FN void irc_strip_weights(const irc_depthwise *p, const int8_t *w, irc_columns *t, irc_strip *s)
{
    const int64_t stride = (p->channels + 15) / 16 * 16;
    s->clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi);
    for (int32_t b = 0; b < s->bands.band; b++)
        for (int32_t g = 0; g < s->bands.groups; g++)
            for (int32_t j = 0; j < p->kw; j++) {
                uint8x16_t rows[4];
                for (int32_t r = 0; r < 4; r++) {
                    const int32_t i = 4 * g + r - b * s->bands.down;
                    rows[r] = i >= 0 && i < p->kh ? vreinterpretq_u8_s8(vld1q_s8(w + (i * p->kw + j) * stride)) : vdupq_n_u8(0);
                }
                irc_interleave(rows, (uint8_t *)s->w[(b * s->bands.groups + g) * p->kw + j]);
            }
    for (int32_t c = 0; c < 16; c++) {
        t->start[c] = 0;
#if !defined(__ARM_FEATURE_MATMUL_INT8)
        for (int32_t k = 0; k < p->kh * p->kw; k++)
            t->start[c] += 128 * w[k * stride + c];
#endif
    }
}

/* The cells of `cols` output columns, from the window of the first one on; only `lines` input rows can be read. */
IRC_FN void irc_strip_cells(const irc_depthwise *p, const uint8_t *x, int32_t cols, int32_t lines, irc_strip *s)
{
    const int32_t columns = (cols - 1) * s->bands.step + (p->kw - 1) * s->bands.tap + 1;
    for (int32_t g = 0; g < s->bands.groups; g++) {
        const uint8_t *row[4];
        for (int32_t r = 0; r < 4; r++)
            row[r] = x + (4 * g + r < lines ? 4 * g + r : lines - 1) * p->tap_row;
        for (int32_t i = 0; i < columns; i++) {
            uint8x16_t v[4];
            IRC_UNROLL for (int r = 0; r < 4; r++) v[r] = IRC_DOT_OPERAND(vld1q_u8(row[r] + i * s->bands.unit));
            irc_interleave(v, s->cell[g * s->bands.columns + i]);
        }
    }
}

/* R output columns from i on, of output row b of the band. */
IRC_INLINE void irc_strip_tile(const irc_depthwise *p, const irc_strip *s, const irc_columns *t, int32_t b, int32_t i,
                               const int R)
{
    const int8_t *w = s->w[b * s->bands.groups * p->kw];
    int32x4_t c[4][4];
    IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < 4; j++) c[r][j] = vld1q_s32(t->start + 4 * j);
    for (int32_t g = 0; g < s->bands.groups; g++) {
        const uint8_t *cell = s->cell[g * s->bands.columns + i * s->bands.step];
        for (int32_t k = 0; k < p->kw; k++, w += 64, cell += s->bands.tap * 64) {
            int8x16_t v[4];
            IRC_UNROLL for (int j = 0; j < 4; j++) v[j] = vld1q_s8(w + 16 * j);
            IRC_UNROLL for (int r = 0; r < R; r++) {
                uint8x16_t a[4];
                IRC_UNROLL for (int j = 0; j < 4; j++) a[j] = vld1q_u8(cell + (r * s->bands.step) * 64 + 16 * j);
                IRC_UNROLL for (int j = 0; j < 4; j++) IRC_DOT_CELL(c[r][j], a[j], v[j]);
            }
        }
    }
    irc_finish(t, &s->clamp, i, R, c, R, 4);
}

/* Output row b of the band, `cols` columns. */
static __attribute__((noinline, unused)) void irc_strip_row(const irc_depthwise *p, const irc_strip *s, const irc_columns *t,
                                                            int32_t b, int32_t cols)
{
    int32_t i = 0;
    for (; i + 4 <= cols; i += 4)
        irc_strip_tile(p, s, t, b, i, 4);
    for (; i < cols; i++)
        irc_strip_tile(p, s, t, b, i, 1);
}

#endif
