/* Convolutions of float32, channels innermost. Padding lies in the buffer, as zeros around x, except for the transposed
   convolution, whose padding is bounds. Strides are in elements. */
#ifndef IRC_CONV_F32_H
#define IRC_CONV_F32_H

#include "spmd.h"
#include "tile_f32.h"

/* The window of an output position is `runs` pieces of run_length adjacent elements: a kernel row of kw * C elements
   where columns are not dilated and lie C apart, else a tap of C.
   Weights: float32 [groups][ceil(n / 16)][runs * run_length][16], the rest zeros; bias [groups * n] or NULL. */
typedef struct irc_float_conv {
    int32_t batch, rows, cols; /* output positions */
    int32_t n, groups;         /* output channels of a group */
    int32_t runs, run_length;
    const int32_t *run_offset; /* [runs], elements from the window's first */
    int64_t x_batch, x_row, x_col, x_group; /* elements from one window to the next */
    int64_t y_batch, y_row, y_col, y_group;
    float lo, hi; /* y is held in [lo, hi]; -infinity, infinity for as it is */
} irc_float_conv;

/* y = min(max(acc, lo), hi), NaN kept. */
static inline void irc_store_f32(const float *restrict acc, float *restrict y, int32_t n, float lo, float hi)
{
    for (int32_t j = 0; j < n; j++) {
        const float above = acc[j] < lo ? lo : acc[j];
        y[j] = above > hi ? hi : above;
    }
}

/* acc = bias of n channels, zeros beyond. */
static inline void irc_start_f32(const float *bias, int32_t n, float *acc)
{
    if (bias && n == IRC_TILE_COLS) {
        memcpy(acc, bias, IRC_TILE_COLS * sizeof *acc);
        return;
    }
    memset(acc, 0, IRC_TILE_COLS * sizeof *acc);
    for (int32_t j = 0; bias && j < n; j++)
        acc[j] = bias[j];
}

/* Up to six positions from `first` on, 16 channels. */
static inline void irc_conv_tile_f32(const irc_float_conv *p, const float *x, const float *w, const float *bias,
                                     float *y, int64_t first, int rows, int32_t n)
{
    const float *window[IRC_TILE_ROWS], *from[IRC_TILE_ROWS];
    float *to[IRC_TILE_ROWS], acc[IRC_TILE_ROWS][IRC_TILE_COLS];
    int64_t col = first % p->cols, row = first / p->cols % p->rows, batch = first / p->cols / p->rows;
    for (int r = 0; r < rows; r++) {
        window[r] = x + batch * p->x_batch + row * p->x_row + col * p->x_col;
        to[r] = y + batch * p->y_batch + row * p->y_row + col * p->y_col;
        irc_start_f32(bias, n, acc[r]);
        if (++col < p->cols)
            continue;
        col = 0;
        row = row + 1 < p->rows ? row + 1 : 0;
        batch += row == 0;
    }
    for (int r = rows; r < IRC_TILE_ROWS; r++)
        irc_start_f32((const float *)0, n, acc[r]); /* computed and dropped */
    for (int32_t run = 0; run < p->runs; run++) {
        for (int r = 0; r < rows; r++)
            from[r] = window[r] + p->run_offset[run];
        irc_tile_f32(from, rows, 1, w, IRC_TILE_COLS, p->run_length, acc);
        w += p->run_length * IRC_TILE_COLS;
    }
    for (int r = 0; r < rows; r++)
        irc_store_f32(acc[r], to[r], n, p->lo, p->hi);
}

/* y = bias or 0, then fma over the window's runs in turn, k ascending within each. Also a Gemm with constant weights:
   rows = 1, cols = M, runs = 1, run_length = K. */
static inline void irc_conv_f32(const irc_float_conv *p, const float *x, const float *w, const float *bias, float *y,
                                    int thread, int threads)
{
    const int64_t panels = (p->n + IRC_TILE_COLS - 1) / IRC_TILE_COLS;
    const int64_t positions = (int64_t)p->batch * p->rows * p->cols;
    const int64_t tiles = (positions + IRC_TILE_ROWS - 1) / IRC_TILE_ROWS;
    int64_t begin, end;
    irc_share(p->groups * panels * tiles, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t tile = index % tiles, panel = index / tiles % panels, group = index / tiles / panels;
        const int64_t first = tile * IRC_TILE_ROWS, channel = panel * IRC_TILE_COLS, left = p->n - channel;
        const int rows = positions - first < IRC_TILE_ROWS ? (int)(positions - first) : IRC_TILE_ROWS;
        irc_conv_tile_f32(p, x + group * p->x_group,
                          w + (group * panels + panel) * p->runs * p->run_length * IRC_TILE_COLS,
                          bias ? bias + group * p->n + channel : bias, y + group * p->y_group + channel, first, rows,
                          left < IRC_TILE_COLS ? (int32_t)left : IRC_TILE_COLS);
    }
}

/* One input channel for each output channel. Weights: float32 [kernel_rows * kernel_cols][channels]. */
typedef struct irc_float_depthwise {
    int32_t batch, rows, cols, channels;
    int32_t kernel_rows, kernel_cols;
    int64_t x_batch, x_row, x_col; /* elements from one window to the next */
    int64_t tap_row, tap_col;      /* elements from one tap to the next */
    int64_t y_batch, y_row, y_col;
    float lo, hi;
} irc_float_depthwise;

/* 16 channels, or fewer, of one position. */
static inline void irc_depthwise_lanes_f32(const irc_float_depthwise *p, const float *x, const float *w,
                                           const float *bias, float *y, int32_t channels)
{
    float acc[IRC_TILE_COLS];
    for (int32_t c = 0; c < channels; c++)
        acc[c] = bias ? bias[c] : 0.0f;
    const int64_t skip = p->tap_row - (p->kernel_cols - 1) * p->tap_col; /* from a row's last tap to the next row */
    int32_t left = p->kernel_cols;
    for (int32_t tap = 0; tap < p->kernel_rows * p->kernel_cols; tap++) {
        for (int32_t c = 0; c < channels; c++)
            acc[c] = IRC_FMAF(x[c], w[c], acc[c]);
        left--;
        x += left ? p->tap_col : skip;
        left = left ? left : p->kernel_cols;
        w += p->channels;
    }
    irc_store_f32(acc, y, channels, p->lo, p->hi);
}

/* y = bias or 0, then fma over the taps in order of rows, then columns. */
static inline void irc_depthwise_f32(const irc_float_depthwise *p, const float *x, const float *w, const float *bias,
                                         float *y, int thread, int threads)
{
    int64_t begin, end;
    irc_share((int64_t)p->batch * p->rows, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++)
        for (int32_t col = 0; col < p->cols; col++) {
            const int64_t batch = index / p->rows, row = index % p->rows;
            const float *from = x + batch * p->x_batch + row * p->x_row + col * p->x_col;
            float *to = y + batch * p->y_batch + row * p->y_row + col * p->y_col;
            int32_t c = 0;
            for (; c + IRC_TILE_COLS <= p->channels; c += IRC_TILE_COLS)
                irc_depthwise_lanes_f32(p, from + c, w + c, bias ? bias + c : bias, to + c, IRC_TILE_COLS);
            if (c < p->channels)
                irc_depthwise_lanes_f32(p, from + c, w + c, bias ? bias + c : bias, to + c, p->channels - c);
        }
}

/* ONNX ConvTranspose: out = in * stride - pad + tap * dilation.
   Weights: float32 [groups][ceil(n / 16)][kernel_rows * kernel_cols][channels][16], the rest zeros. */
typedef struct irc_conv_transpose {
    int32_t batch, rows, cols;         /* of x */
    int32_t out_rows, out_cols;        /* of y */
    int32_t channels, n, groups;       /* input and output channels of a group */
    int32_t kernel_rows, kernel_cols;
    int32_t stride_rows, stride_cols;
    int32_t dilation_rows, dilation_cols;
    int32_t pad_top, pad_left;
    int64_t x_batch, x_row, x_col; /* the channels of a group are adjacent, and groups follow each other */
    int64_t y_batch, y_row, y_col;
    float lo, hi;
} irc_conv_transpose;

/* The cell of the input that reaches `out` through `tap`, or -1. */
static inline int32_t irc_transpose_cell(int32_t out, int32_t tap, int32_t stride, int32_t dilation, int32_t pad,
                                         int32_t size)
{
    const int32_t offset = out + pad - tap * dilation;
    return offset >= 0 && offset % stride == 0 && offset / stride < size ? offset / stride : -1;
}

/* y = bias or 0, then fma over the taps in order of rows, then columns, and the channels within each. */
static inline void irc_conv_transpose_f32(const irc_conv_transpose *p, const float *x, const float *w,
                                              const float *bias, float *y, int thread, int threads)
{
    const int64_t panels = (p->n + IRC_TILE_COLS - 1) / IRC_TILE_COLS;
    const int64_t panel_size = (int64_t)p->kernel_rows * p->kernel_cols * p->channels * IRC_TILE_COLS;
    int64_t begin, end;
    irc_share((int64_t)p->groups * panels * p->batch * p->out_rows, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int32_t row = (int32_t)(index % p->out_rows);
        const int64_t batch = index / p->out_rows % p->batch, rest = index / p->out_rows / p->batch;
        const int64_t group = rest / panels, channel = rest % panels * IRC_TILE_COLS, left = p->n - channel;
        const int32_t n = left < IRC_TILE_COLS ? (int32_t)left : IRC_TILE_COLS;
        const float *from = x + batch * p->x_batch + group * p->channels;
        for (int32_t col = 0; col < p->out_cols; col++) {
            float acc[IRC_TILE_COLS];
            irc_start_f32(bias ? bias + group * p->n + channel : bias, n, acc);
            for (int32_t i = 0; i < p->kernel_rows; i++) {
                const int32_t r = irc_transpose_cell(row, i, p->stride_rows, p->dilation_rows, p->pad_top, p->rows);
                for (int32_t j = 0; j < p->kernel_cols && r >= 0; j++) {
                    const int32_t c =
                        irc_transpose_cell(col, j, p->stride_cols, p->dilation_cols, p->pad_left, p->cols);
                    if (c >= 0)
                        irc_tile_1x16(from + r * p->x_row + c * p->x_col, 1,
                                      w + rest * panel_size +
                                          ((int64_t)i * p->kernel_cols + j) * p->channels * IRC_TILE_COLS,
                                      IRC_TILE_COLS, p->channels, acc);
                }
            }
            irc_store_f32(acc, y + batch * p->y_batch + row * p->y_row + col * p->y_col + group * p->n + channel, n,
                          p->lo, p->hi);
        }
    }
}

#endif
