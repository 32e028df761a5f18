/* Reductions of (outer, reduced, inner) to (outer, inner): float32, integers, arguments, and the mean of codes.

   The order of a float32 reduction is fixed. With inner = 1 and adjacent elements it is that of lanes.h: sixteen lanes,
   then the fold. Else the elements of each output are taken in turn, from the first on. */
#ifndef IRC_REDUCE_H
#define IRC_REDUCE_H

#include "irc_math.h"
#include "lanes.h"
#include "quantize.h"
#include "spmd.h"

/* Strides in elements. Inner elements are adjacent in x and y, unless inner = 1. */
typedef struct irc_reduce {
    int64_t outer, reduced, inner;
    int64_t x_outer, x_reduced;
    int64_t y_outer;
} irc_reduce;

#define IRC_REDUCE_COLUMNS 64 /* outputs whose accumulators are in registers together; the unit that threads share */

/* step(acc, x) for each element, fold(a, b) of two lanes, finish(acc, count) at last. */
#define IRC_REDUCE(name, start, step, fold, finish)                                                                    \
    static inline float name##_row(const float *x, int64_t n)                                                          \
    {                                                                                                                  \
        float lane[IRC_LANES];                                                                                         \
        for (int l = 0; l < IRC_LANES; l++)                                                                            \
            lane[l] = (start);                                                                                         \
        int64_t i = 0;                                                                                                 \
        for (; i + IRC_LANES <= n; i += IRC_LANES)                                                                     \
            for (int l = 0; l < IRC_LANES; l++)                                                                        \
                lane[l] = step(lane[l], x[i + l]);                                                                     \
        for (int l = 0; i + l < n; l++)                                                                                \
            lane[l] = step(lane[l], x[i + l]);                                                                         \
        for (int width = IRC_LANES / 2; width; width /= 2)                                                             \
            for (int l = 0; l < width; l++)                                                                            \
                lane[l] = fold(lane[l], lane[l + width]);                                                              \
        return lane[0];                                                                                                \
    }                                                                                                                  \
    static inline void name##_columns(const irc_reduce *p, const float *x, int64_t columns, float *acc)                \
    {                                                                                                                  \
        for (int64_t c = 0; c < columns; c++)                                                                          \
            acc[c] = (start);                                                                                          \
        for (int64_t r = 0; r < p->reduced; r++)                                                                       \
            for (int64_t c = 0; c < columns; c++)                                                                      \
                acc[c] = step(acc[c], x[r * p->x_reduced + c]);                                                        \
    }                                                                                                                  \
    static inline void name(const irc_reduce *p, const float *x, float *y, int thread, int threads)                    \
    {                                                                                                                  \
        const int64_t blocks = (p->inner + IRC_REDUCE_COLUMNS - 1) / IRC_REDUCE_COLUMNS;                               \
        int64_t begin, end;                                                                                            \
        irc_share(p->outer * blocks, thread, threads, &begin, &end);                                                   \
        for (int64_t index = begin; index < end; index++) {                                                            \
            const int64_t outer = index / blocks, first = index % blocks * IRC_REDUCE_COLUMNS;                         \
            const int64_t left = p->inner - first, columns = left < IRC_REDUCE_COLUMNS ? left : IRC_REDUCE_COLUMNS;    \
            const float *from = x + outer * p->x_outer + first;                                                        \
            float acc[IRC_REDUCE_COLUMNS];                                                                             \
            if (p->inner == 1 && p->x_reduced == 1)                                                                    \
                acc[0] = name##_row(from, p->reduced);                                                                 \
            else if (columns == IRC_REDUCE_COLUMNS)                                                                    \
                name##_columns(p, from, IRC_REDUCE_COLUMNS, acc);                                                      \
            else                                                                                                       \
                name##_columns(p, from, columns, acc);                                                                 \
            for (int64_t c = 0; c < columns; c++)                                                                      \
                y[outer * p->y_outer + first + c] = finish(acc[c], (float)p->reduced);                                 \
        }                                                                                                              \
    }

#define IRC_ADD(acc, x) ((acc) + (x))
#define IRC_MULTIPLY(acc, x) ((acc) * (x))
#define IRC_ADD_MAGNITUDE(acc, x) ((acc) + fabsf(x))
#define IRC_ADD_SQUARE(acc, x) IRC_FMAF(x, x, acc)
#define IRC_TAKE_LARGER(acc, x) irc_max(x, acc)
#define IRC_TAKE_SMALLER(acc, x) irc_min(x, acc)
#define IRC_ITSELF(acc, count) (acc)
#define IRC_MEAN(acc, count) ((acc) / (count))
#define IRC_ROOT(acc, count) sqrtf(acc)
#define IRC_LOGARITHM(acc, count) irc_log(acc)

IRC_REDUCE(irc_reduce_sum_f32, 0.0f, IRC_ADD, IRC_ADD, IRC_ITSELF)
IRC_REDUCE(irc_reduce_mean_f32, 0.0f, IRC_ADD, IRC_ADD, IRC_MEAN)
IRC_REDUCE(irc_reduce_prod_f32, 1.0f, IRC_MULTIPLY, IRC_MULTIPLY, IRC_ITSELF)
IRC_REDUCE(irc_reduce_max_f32, -INFINITY, IRC_TAKE_LARGER, IRC_TAKE_LARGER, IRC_ITSELF) /* NaN is passed over */
IRC_REDUCE(irc_reduce_min_f32, INFINITY, IRC_TAKE_SMALLER, IRC_TAKE_SMALLER, IRC_ITSELF)
IRC_REDUCE(irc_reduce_l1_f32, 0.0f, IRC_ADD_MAGNITUDE, IRC_ADD, IRC_ITSELF)
IRC_REDUCE(irc_reduce_l2_f32, 0.0f, IRC_ADD_SQUARE, IRC_ADD, IRC_ROOT)
IRC_REDUCE(irc_reduce_sum_square_f32, 0.0f, IRC_ADD_SQUARE, IRC_ADD, IRC_ITSELF)
IRC_REDUCE(irc_reduce_log_sum_f32, 0.0f, IRC_ADD, IRC_ADD, IRC_LOGARITHM)

/* ln(sum of e^x) = m + ln(sum of e^(x - m)), m the largest, elements taken in turn; a largest that is infinite is the
   result. */
static inline void irc_reduce_log_sum_exp_f32(const irc_reduce *p, const float *x, float *y, int thread, int threads)
{
    int64_t begin, end;
    irc_share(p->outer * p->inner, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t outer = index / p->inner, inner = index % p->inner;
        const float *from = x + outer * p->x_outer + inner;
        float largest = -INFINITY, sum = 0.0f;
        for (int64_t r = 0; r < p->reduced; r++)
            largest = irc_max(from[r * p->x_reduced], largest);
        for (int64_t r = 0; r < p->reduced; r++)
            sum += irc_exp_nonpositive(from[r * p->x_reduced] - largest);
        y[outer * p->y_outer + inner] = fabsf(largest) == INFINITY ? largest : largest + irc_log(sum);
    }
}

/* Integers; sums and products wrap around. */
#define IRC_REDUCE_INTEGER(name, type, start, step)                                                                    \
    static inline void name(const irc_reduce *p, const type *x, type *y, int thread, int threads)                      \
    {                                                                                                                  \
        int64_t begin, end;                                                                                            \
        irc_share(p->outer * p->inner, thread, threads, &begin, &end);                                                 \
        for (int64_t index = begin; index < end; index++) {                                                            \
            const int64_t outer = index / p->inner, inner = index % p->inner;                                          \
            const type *from = x + outer * p->x_outer + inner;                                                         \
            type acc = (start);                                                                                        \
            for (int64_t r = 0; r < p->reduced; r++)                                                                   \
                acc = step(acc, from[r * p->x_reduced]);                                                               \
            y[outer * p->y_outer + inner] = acc;                                                                       \
        }                                                                                                              \
    }

#define IRC_ADD_I32(acc, x) ((int32_t)((uint32_t)(acc) + (uint32_t)(x)))
#define IRC_ADD_I64(acc, x) ((int64_t)((uint64_t)(acc) + (uint64_t)(x)))
#define IRC_MULTIPLY_I32(acc, x) ((int32_t)((uint32_t)(acc) * (uint32_t)(x)))
#define IRC_MULTIPLY_I64(acc, x) ((int64_t)((uint64_t)(acc) * (uint64_t)(x)))
#define IRC_LARGER(acc, x) ((x) > (acc) ? (x) : (acc))
#define IRC_SMALLER(acc, x) ((x) < (acc) ? (x) : (acc))

IRC_REDUCE_INTEGER(irc_reduce_sum_i32, int32_t, 0, IRC_ADD_I32)
IRC_REDUCE_INTEGER(irc_reduce_sum_i64, int64_t, 0, IRC_ADD_I64)
IRC_REDUCE_INTEGER(irc_reduce_prod_i32, int32_t, 1, IRC_MULTIPLY_I32)
IRC_REDUCE_INTEGER(irc_reduce_prod_i64, int64_t, 1, IRC_MULTIPLY_I64)
IRC_REDUCE_INTEGER(irc_reduce_max_i32, int32_t, INT32_MIN, IRC_LARGER)
IRC_REDUCE_INTEGER(irc_reduce_max_i64, int64_t, INT64_MIN, IRC_LARGER)
IRC_REDUCE_INTEGER(irc_reduce_max_u8, uint8_t, 0, IRC_LARGER)
IRC_REDUCE_INTEGER(irc_reduce_min_i32, int32_t, INT32_MAX, IRC_SMALLER)
IRC_REDUCE_INTEGER(irc_reduce_min_i64, int64_t, INT64_MAX, IRC_SMALLER)
IRC_REDUCE_INTEGER(irc_reduce_min_u8, uint8_t, UINT8_MAX, IRC_SMALLER)

/* The index along `reduced` of the largest or smallest element: the first of equals, or the last. `better(a, b)` is
   whether a beats b; a NaN is never better. */
#define IRC_REDUCE_ARGUMENT(name, type, better)                                                                        \
    static inline void name(const irc_reduce *p, int32_t select_last_index, const type *x, int64_t *y, int thread,     \
                            int threads)                                                                               \
    {                                                                                                                  \
        int64_t begin, end;                                                                                            \
        irc_share(p->outer * p->inner, thread, threads, &begin, &end);                                                 \
        for (int64_t index = begin; index < end; index++) {                                                            \
            const int64_t outer = index / p->inner, inner = index % p->inner;                                          \
            const type *from = x + outer * p->x_outer + inner;                                                         \
            int64_t best = 0;                                                                                          \
            for (int64_t r = 1; r < p->reduced; r++) {                                                                 \
                const type a = from[r * p->x_reduced], b = from[best * p->x_reduced];                                  \
                if (better(a, b) || (select_last_index && a == b))                                                     \
                    best = r;                                                                                          \
            }                                                                                                          \
            y[outer * p->y_outer + inner] = best;                                                                      \
        }                                                                                                              \
    }

#define IRC_IS_LARGER(a, b) ((a) > (b))
#define IRC_IS_SMALLER(a, b) ((a) < (b))

IRC_REDUCE_ARGUMENT(irc_arg_max_f32, float, IRC_IS_LARGER)
IRC_REDUCE_ARGUMENT(irc_arg_min_f32, float, IRC_IS_SMALLER)
IRC_REDUCE_ARGUMENT(irc_arg_max_u8, uint8_t, IRC_IS_LARGER)
IRC_REDUCE_ARGUMENT(irc_arg_min_u8, uint8_t, IRC_IS_SMALLER)
IRC_REDUCE_ARGUMENT(irc_arg_max_i64, int64_t, IRC_IS_LARGER)
IRC_REDUCE_ARGUMENT(irc_arg_min_i64, int64_t, IRC_IS_SMALLER)

/* QReduceMean over rows x cols cells, each of `inner` adjacent codes (the global average pool of an image with channels
   innermost), or with inner = 1 over cells that lie x_col apart.
   y = requantize(sum of (x - zero_point), scale, bias, lo, hi), the scale already divided by rows * cols. */
typedef struct irc_reduce_mean {
    int64_t outer;
    int32_t rows, cols, inner;
    int64_t x_outer, x_row, x_col;
    int64_t y_outer;
    int32_t zero_point;
    float scale, bias;
    int32_t lo, hi;
} irc_reduce_mean;

#define IRC_SUMS_IN_16_BITS 257 /* 257 * 255 = 65535 */

/* acc[c] += the codes of column c: in 16 bits, twice as many in a vector, as long as they hold the sum. */
static inline void irc_add_codes(const irc_reduce_mean *p, const uint8_t *x, int64_t columns, int32_t *acc)
{
    uint16_t part[IRC_REDUCE_COLUMNS] = {0};
    int32_t held = 0;
    for (int32_t row = 0; row < p->rows; row++)
        for (int32_t col = 0; col < p->cols; col++) {
            const uint8_t *cell = x + row * p->x_row + col * p->x_col;
            for (int64_t c = 0; c < columns; c++)
                part[c] = (uint16_t)(part[c] + cell[c]);
            if (++held < IRC_SUMS_IN_16_BITS)
                continue;
            for (int64_t c = 0; c < columns; c++) {
                acc[c] += part[c];
                part[c] = 0;
            }
            held = 0;
        }
    for (int64_t c = 0; c < columns; c++)
        acc[c] += part[c];
}

/* The sum of all codes, for inner = 1. */
static inline int32_t irc_sum_codes(const irc_reduce_mean *p, const uint8_t *x)
{
    int32_t acc = 0;
    for (int32_t row = 0; row < p->rows; row++) {
        const uint8_t *from = x + row * p->x_row;
        if (p->x_col == 1)
            for (int32_t col = 0; col < p->cols; col++)
                acc += from[col];
        else
            for (int32_t col = 0; col < p->cols; col++)
                acc += from[col * p->x_col];
    }
    return acc;
}

static inline void irc_reduce_mean_u8(const irc_reduce_mean *p, const uint8_t *x, uint8_t *y, int thread, int threads)
{
    const int64_t blocks = (p->inner + IRC_REDUCE_COLUMNS - 1) / IRC_REDUCE_COLUMNS;
    const int32_t zero = p->rows * p->cols * p->zero_point;
    int64_t begin, end;
    irc_share(p->outer * blocks, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t outer = index / blocks, first = index % blocks * IRC_REDUCE_COLUMNS;
        const int64_t left = p->inner - first, columns = left < IRC_REDUCE_COLUMNS ? left : IRC_REDUCE_COLUMNS;
        const uint8_t *from = x + outer * p->x_outer + first;
        uint8_t *to = y + outer * p->y_outer + first;
        int32_t acc[IRC_REDUCE_COLUMNS] = {0};
        if (p->inner == 1)
            acc[0] = irc_sum_codes(p, from);
        else if (columns == IRC_REDUCE_COLUMNS)
            irc_add_codes(p, from, IRC_REDUCE_COLUMNS, acc);
        else
            irc_add_codes(p, from, columns, acc);
        for (int64_t c = 0; c < columns; c++)
            to[c] = irc_requantize_u8(acc[c] - zero, p->scale, p->bias, (float)p->lo, p->hi);
    }
}

#endif
