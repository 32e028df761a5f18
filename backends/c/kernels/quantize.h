/* QuantizeLinear from float32 to uint8 codes: a number, a row, and from planes to pixels.

   code = saturate(round_half_even(x / scale) + zero_point), a true division as ONNX has it; NaN gives code 0. */
#ifndef IRC_QUANTIZE_H
#define IRC_QUANTIZE_H

#include "irc_math.h"
#include "spmd.h"

/* The clamp below comes before the rounding, which its whole bound allows, and drops NaN. The one above comes on the
   bits of the rounded number plus IRC_ROUNDER, which are in its order: compilers know how to vectorize that. */
static inline uint8_t irc_code_u8(float x, float scale, int32_t zero_point)
{
    const float t = irc_max(x / scale, (float)(-zero_point));
    const int32_t rounded = (int32_t)irc_bits(t + IRC_ROUNDER), top = (int32_t)IRC_ROUNDER_BITS + 255 - zero_point;
    return (uint8_t)((rounded < top ? rounded : top) + zero_point); /* the rounder's low byte is 0 */
}

/* round_half_even(fma(acc, scale, bias)) held in [lo, hi], whole numbers of 0 .. 255: the integer ops' contract. */
static inline uint8_t irc_requantize_u8(int32_t acc, float scale, float bias, float lo, int32_t hi)
{
    const float t = irc_max(IRC_FMAF((float)acc, scale, bias), lo);
    const int32_t rounded = (int32_t)irc_bits(t + IRC_ROUNDER), top = (int32_t)IRC_ROUNDER_BITS + hi;
    return (uint8_t)(rounded < top ? rounded : top);
}

static inline void irc_quantize_row_f32_u8(const float *restrict x, uint8_t *restrict y, int64_t n, float scale,
                                           int32_t zero_point)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = irc_code_u8(x[i], scale, zero_point);
}

/* Planes (N, C, rows, cols) of float32 to pixels (N, rows, cols, C) of codes, C from 1 to 4: what comes first in a net
   for images. Columns of x and channels of y have stride 1; y_col is C or more (the bytes between stay as they are). */
typedef struct irc_quantize_planes {
    int32_t batch, channels, rows, cols;
    int64_t x_batch, x_channel, x_row;
    int64_t y_batch, y_row, y_col;
    float scale;
    int32_t zero_point;
} irc_quantize_planes;

#define IRC_PIXELS 64 /* columns whose codes are made plane by plane, then interleaved */

static inline void irc_interleave_u8(const uint8_t (*plane)[IRC_PIXELS], int32_t channels, int64_t y_col, int32_t n,
                                     uint8_t *restrict y)
{
    if (channels == 3 && y_col == 3)
        for (int32_t i = 0; i < n; i++) {
            y[3 * i] = plane[0][i];
            y[3 * i + 1] = plane[1][i];
            y[3 * i + 2] = plane[2][i];
        }
    else
        for (int32_t c = 0; c < channels; c++)
            for (int32_t i = 0; i < n; i++)
                y[i * y_col + c] = plane[c][i];
}

static inline void irc_quantize_planes_f32_u8(const irc_quantize_planes *p, const float *x, uint8_t *y, int thread,
                                              int threads)
{
    int64_t begin, end;
    irc_share((int64_t)p->batch * p->rows, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const float *from = x + row / p->rows * p->x_batch + row % p->rows * p->x_row;
        uint8_t *to = y + row / p->rows * p->y_batch + row % p->rows * p->y_row;
        for (int32_t col = 0; col < p->cols; col += IRC_PIXELS) {
            const int32_t n = p->cols - col < IRC_PIXELS ? p->cols - col : IRC_PIXELS;
            uint8_t plane[4][IRC_PIXELS];
            for (int32_t c = 0; c < p->channels; c++)
                irc_quantize_row_f32_u8(from + c * p->x_channel + col, plane[c], n, p->scale, p->zero_point);
            irc_interleave_u8((const uint8_t(*)[IRC_PIXELS])plane, p->channels, p->y_col, n, to + col * p->y_col);
        }
    }
}

#endif
