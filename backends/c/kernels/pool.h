/* Pools over windows, channels innermost: the largest element, the mean, and the mean of codes.

   Padding is bounds, not memory: cells outside the input are left out. One spatial axis is rows = kernel_rows = 1. */
#ifndef IRC_POOL_H
#define IRC_POOL_H

#include "irc_math.h"
#include "quantize.h"
#include "spmd.h"

/* Sizes in cells; strides of memory in elements, channels adjacent. */
typedef struct irc_pool {
    int32_t batch, channels;
    int32_t rows, cols;         /* of x */
    int32_t out_rows, out_cols; /* of y */
    int32_t kernel_rows, kernel_cols;
    int32_t stride_rows, stride_cols;
    int32_t dilation_rows, dilation_cols;
    int32_t pad_top, pad_left, pad_bottom, pad_right; /* the last two only count, for count_include_pad */
    int64_t x_batch, x_row, x_col;
    int64_t y_batch, y_row, y_col;
    int32_t count_include_pad;
    int32_t zero_point; /* this and the rest: of the mean of codes */
    float scale, bias;  /* scale : s_x / s_y, not yet divided by the count */
    int32_t lo, hi;
} irc_pool;

/* The taps [from, to) of a window along one axis that hit the input, and the first's cell. */
typedef struct irc_taps {
    int32_t from, to, first;
    int32_t count; /* cells that the mean is taken over */
} irc_taps;

static inline irc_taps irc_taps_at(int32_t out, int32_t stride, int32_t pad, int32_t dilation, int32_t kernel,
                                   int32_t size, int32_t counted_before, int32_t counted_after)
{
    const int32_t start = out * stride - pad;
    irc_taps taps;
    taps.from = start < 0 ? (-start + dilation - 1) / dilation : 0;
    taps.to = start < size ? (size - start + dilation - 1) / dilation : 0;
    taps.to = taps.to < kernel ? taps.to : kernel;
    taps.from = taps.from < taps.to ? taps.from : taps.to;
    taps.first = start + taps.from * dilation;
    taps.count = 0;
    for (int32_t k = 0; k < kernel; k++) {
        const int32_t cell = start + k * dilation;
        taps.count += cell >= -counted_before && cell < size + counted_after;
    }
    return taps;
}

static inline irc_taps irc_row_taps(const irc_pool *p, int32_t row)
{
    const int32_t top = p->count_include_pad ? p->pad_top : 0, bottom = p->count_include_pad ? p->pad_bottom : 0;
    return irc_taps_at(row, p->stride_rows, p->pad_top, p->dilation_rows, p->kernel_rows, p->rows, top, bottom);
}

static inline irc_taps irc_col_taps(const irc_pool *p, int32_t col)
{
    const int32_t left = p->count_include_pad ? p->pad_left : 0, right = p->count_include_pad ? p->pad_right : 0;
    return irc_taps_at(col, p->stride_cols, p->pad_left, p->dilation_cols, p->kernel_cols, p->cols, left, right);
}

/* What is done to the sum of a window's cells. */
typedef struct irc_mean {
    float count;      /* of the cells that the mean is taken over */
    float multiplier; /* float32(scale / count) */
    float bias, lo;
    int32_t zero; /* zero_point times the number of cells */
    int32_t hi;
} irc_mean;

/* The taps of one window, in order of rows, then columns. */
typedef struct irc_walk {
    int64_t first;    /* elements to the first tap */
    int32_t taps;     /* all of them */
    int32_t cols;     /* in a row */
    int64_t col, row; /* elements from a tap to the next, and from the last of a row to the first of the next */
} irc_walk;

static inline irc_walk irc_walk_at(const irc_pool *p, irc_taps v, irc_taps h)
{
    irc_walk walk;
    walk.first = v.first * p->x_row + h.first * p->x_col;
    walk.cols = h.to - h.from;
    walk.taps = (v.to - v.from) * walk.cols;
    walk.col = p->dilation_cols * p->x_col;
    walk.row = p->dilation_rows * p->x_row - (walk.cols - 1) * walk.col;
    return walk;
}

/* For `channels` channels of one window: acc = start, then acc = step(acc, x) for each tap, then y = finish(acc). One
   loop over the taps, and a constant number of channels, `block`, often two vectors of AVX2, keep accumulators in
   registers (with gcc if it does not take the last loop for a memcpy: -fno-tree-loop-distribute-patterns). */
#define IRC_POOL_WINDOW(name, block, type, sum_type, start, step, finish)                                              \
    static inline void name##_lanes(irc_walk walk, irc_mean mean, const type *x, int32_t channels, type *restrict y)   \
    {                                                                                                                  \
        sum_type acc[block];                                                                                           \
        (void)mean;                                                                                                    \
        x += walk.first;                                                                                               \
        for (int32_t c = 0; c < channels; c++)                                                                         \
            acc[c] = (start);                                                                                          \
        for (int32_t tap = 0, left = walk.cols; tap < walk.taps; tap++) {                                              \
            for (int32_t c = 0; c < channels; c++)                                                                     \
                acc[c] = step(acc[c], x[c]);                                                                           \
            left--;                                                                                                    \
            x += left ? walk.col : walk.row;                                                                           \
            left = left ? left : walk.cols;                                                                            \
        }                                                                                                              \
        for (int32_t c = 0; c < channels; c++)                                                                         \
            y[c] = finish(acc[c]);                                                                                     \
    }                                                                                                                  \
    static inline void name(irc_walk walk, irc_mean mean, const type *x, int32_t channels, type *y)                    \
    {                                                                                                                  \
        for (; channels >= (block); channels -= (block)) {                                                             \
            name##_lanes(walk, mean, x, (block), y);                                                                   \
            x += (block);                                                                                              \
            y += (block);                                                                                              \
        }                                                                                                              \
        if (channels)                                                                                                  \
            name##_lanes(walk, mean, x, channels, y);                                                                  \
    }

/* All windows; threads share the rows of y. */
#define IRC_POOL(name, block, type, sum_type, start, step, finish)                                                     \
    IRC_POOL_WINDOW(name##_window, block, type, sum_type, start, step, finish)                                         \
    static inline void name(const irc_pool *p, const type *x, type *y, int thread, int threads)                        \
    {                                                                                                                  \
        int64_t begin, end;                                                                                            \
        irc_share((int64_t)p->batch * p->out_rows, thread, threads, &begin, &end);                                     \
        for (int64_t index = begin; index < end; index++) {                                                            \
            const int64_t batch = index / p->out_rows, row = index % p->out_rows;                                      \
            const irc_taps v = irc_row_taps(p, (int32_t)row);                                                          \
            for (int32_t col = 0; col < p->out_cols; col++) {                                                          \
                const irc_taps h = irc_col_taps(p, col);                                                               \
                const irc_walk walk = irc_walk_at(p, v, h);                                                            \
                const irc_mean mean = irc_mean_of(p, walk.taps, v.count * h.count);                                    \
                name##_window(walk, mean, x + batch * p->x_batch, p->channels,                                         \
                              y + batch * p->y_batch + row * p->y_row + col * p->y_col);                               \
            }                                                                                                          \
        }                                                                                                              \
    }

static inline irc_mean irc_mean_of(const irc_pool *p, int32_t cells, int32_t count)
{
    irc_mean mean;
    mean.count = (float)count;
    mean.multiplier = p->scale / (float)count;
    mean.bias = p->bias;
    mean.lo = (float)p->lo;
    mean.zero = cells * p->zero_point;
    mean.hi = p->hi;
    return mean;
}

#define IRC_POOL_MAX(acc, x) ((x) > (acc) ? (x) : (acc))
#define IRC_POOL_ADD(acc, x) ((acc) + (x))
#define IRC_POOL_ITSELF(acc) (acc)
#define IRC_POOL_MEAN(acc) ((acc) / mean.count)
#define IRC_POOL_CODE(acc) irc_requantize_u8((acc) - mean.zero, mean.multiplier, mean.bias, mean.lo, mean.hi)

/* The largest element of each window; a NaN is passed over. A window without cells gives the least number. */
IRC_POOL(irc_max_pool_u8, 64, uint8_t, uint8_t, 0, IRC_POOL_MAX, IRC_POOL_ITSELF)
IRC_POOL(irc_max_pool_s8, 64, int8_t, int8_t, INT8_MIN, IRC_POOL_MAX, IRC_POOL_ITSELF)
IRC_POOL(irc_max_pool_f32, 16, float, float, -INFINITY, IRC_POOL_MAX, IRC_POOL_ITSELF)

/* The sum over each window in order of rows, then columns, divided by the count. */
IRC_POOL(irc_average_pool_f32, 16, float, float, 0.0f, IRC_POOL_ADD, IRC_POOL_MEAN)

/* QAveragePool: exact sums of (x - zero_point) over the cells of x, times float32(scale / count), requantized. */
IRC_POOL(irc_average_pool_u8, 64, uint8_t, int32_t, 0, IRC_POOL_ADD, IRC_POOL_CODE)

#endif
