/* Resize along rows and columns, channels innermost, from tables that say which cells make each output and with what
   weights. Nearest has one tap an axis, linear two, cubic four, an antialiased one more. */
#ifndef IRC_RESIZE_H
#define IRC_RESIZE_H

#include "irc_math.h"
#include "spmd.h"

/* Strides in elements, channels adjacent. Tables: [out_rows][row_taps] and [out_cols][col_taps]. */
typedef struct irc_resize {
    int32_t batch, channels;
    int32_t out_rows, out_cols;
    int32_t row_taps, col_taps;
    const int32_t *row_index, *col_index; /* cells of x; a first of -1: the whole row or column is `extrapolation` */
    const float *row_weight, *col_weight; /* not read by the nearest kernels */
    int64_t x_batch, x_row, x_col;
    int64_t y_batch, y_row, y_col;
    float extrapolation;
} irc_resize;

/* `extrapolation` as what a cell holds; as a code towards zero, and the nearest that there is. NaN becomes 0. */
static inline float irc_outside_f32(const irc_resize *p) { return p->extrapolation; }
static inline uint8_t irc_outside_u8(const irc_resize *p)
{
    const float x = p->extrapolation;
    return x >= 255.0f ? 255 : x > 0.0f ? (uint8_t)x : 0;
}

/* y[i][j] = x[row_index[i]][col_index[j]]. */
#define IRC_RESIZE_NEAREST(name, type, outside)                                                                        \
    static inline void name(const irc_resize *p, const type *x, type *y, int thread, int threads)                      \
    {                                                                                                                  \
        int64_t begin, end;                                                                                            \
        irc_share((int64_t)p->batch * p->out_rows, thread, threads, &begin, &end);                                     \
        for (int64_t index = begin; index < end; index++) {                                                            \
            const int64_t batch = index / p->out_rows, row = index % p->out_rows;                                      \
            const int32_t from = p->row_index[row];                                                                    \
            for (int32_t col = 0; col < p->out_cols; col++) {                                                          \
                const int32_t cell = p->col_index[col];                                                                \
                type *to = y + batch * p->y_batch + row * p->y_row + col * p->y_col;                                   \
                if (from >= 0 && cell >= 0)                                                                            \
                    memcpy(to, x + batch * p->x_batch + from * p->x_row + cell * p->x_col,                             \
                           (size_t)p->channels * sizeof *to);                                                          \
                else                                                                                                   \
                    for (int32_t c = 0; c < p->channels; c++)                                                          \
                        to[c] = outside(p);                                                                            \
            }                                                                                                          \
        }                                                                                                              \
    }

IRC_RESIZE_NEAREST(irc_resize_nearest_u8, uint8_t, irc_outside_u8)
IRC_RESIZE_NEAREST(irc_resize_nearest_f32, float, irc_outside_f32)

#define IRC_RESIZE_CHANNELS 16 /* channels whose sums are in registers together */

/* Up to 16 channels of one output: for each row tap, t = fma over the column taps from 0, then y = fma(t, weight, y). */
static inline void irc_resize_lanes_f32(const irc_resize *p, int64_t row, int64_t col, const float *x, float *y,
                                        int32_t channels)
{
    float sum[IRC_RESIZE_CHANNELS] = {0};
    for (int32_t i = 0; i < p->row_taps; i++) {
        const float row_weight = p->row_weight[row * p->row_taps + i];
        const float *from = x + p->row_index[row * p->row_taps + i] * p->x_row;
        float part[IRC_RESIZE_CHANNELS] = {0};
        for (int32_t j = 0; j < p->col_taps; j++) {
            const float weight = p->col_weight[col * p->col_taps + j];
            const float *cell = from + p->col_index[col * p->col_taps + j] * p->x_col;
            for (int32_t c = 0; c < channels; c++)
                part[c] = IRC_FMAF(cell[c], weight, part[c]);
        }
        for (int32_t c = 0; c < channels; c++)
            sum[c] = IRC_FMAF(part[c], row_weight, sum[c]);
    }
    for (int32_t c = 0; c < channels; c++)
        y[c] = sum[c];
}

/* y[i][j] = sum over row taps of row_weight * (sum over column taps of col_weight * x). */
static inline void irc_resize_weighted_f32(const irc_resize *p, const float *x, float *y, int thread, int threads)
{
    int64_t begin, end;
    irc_share((int64_t)p->batch * p->out_rows, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t batch = index / p->out_rows, row = index % p->out_rows;
        for (int32_t col = 0; col < p->out_cols; col++) {
            const float *from = x + batch * p->x_batch;
            float *to = y + batch * p->y_batch + row * p->y_row + col * p->y_col;
            const int outside = p->row_index[row * p->row_taps] < 0 || p->col_index[(int64_t)col * p->col_taps] < 0;
            int32_t c = 0;
            for (; outside && c < p->channels; c++)
                to[c] = p->extrapolation;
            for (; c + IRC_RESIZE_CHANNELS <= p->channels; c += IRC_RESIZE_CHANNELS)
                irc_resize_lanes_f32(p, row, col, from + c, to + c, IRC_RESIZE_CHANNELS);
            if (c < p->channels)
                irc_resize_lanes_f32(p, row, col, from + c, to + c, p->channels - c);
        }
    }
}

#endif
