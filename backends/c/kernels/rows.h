/* Softmax, logarithmic softmax, layer norm and RMS norm over rows of float32, to float32 or, in one pass, to codes.

   A row is the last axis, elements adjacent; up to three outer axes. A fused step gives the bits of the steps apart. */
#ifndef IRC_ROWS_H
#define IRC_ROWS_H

#include "lanes.h"
#include "quantize.h"
#include "spmd.h"

/* Sizes and strides are in elements; outer axes of size 1 come first. */
typedef struct irc_rows {
    int32_t outer0, outer1, outer2;
    int32_t n; /* elements of a row */
    int64_t x0, x1, x2;
    int64_t y0, y1, y2;
    int64_t mask0, mask1, mask2; /* of softmax's mask; 0 broadcasts */
    int32_t mask_col;            /* 1: a number for each element; 0: one for the row */
    float epsilon;               /* of the norms */
    float y_scale;               /* of the codes, where y is uint8 */
    int32_t y_zero_point;
} irc_rows;

typedef struct irc_row {
    int64_t x, y, mask; /* elements from the tensor's first to the row's */
} irc_row;

static inline irc_row irc_row_at(const irc_rows *p, int64_t index)
{
    const int64_t i2 = index % p->outer2, i1 = index / p->outer2 % p->outer1, i0 = index / p->outer2 / p->outer1;
    irc_row row;
    row.x = i0 * p->x0 + i1 * p->x1 + i2 * p->x2;
    row.y = i0 * p->y0 + i1 * p->y1 + i2 * p->y2;
    row.mask = i0 * p->mask0 + i1 * p->mask1 + i2 * p->mask2;
    return row;
}

static inline int64_t irc_rows_count(const irc_rows *p) { return (int64_t)p->outer0 * p->outer1 * p->outer2; }

/* z = x + mask; z may be x. */
static inline void irc_masked_row(const irc_rows *p, const float *x, const float *mask, float *z)
{
    if (!mask)
        for (int32_t i = 0; i < p->n; i++)
            z[i] = x[i];
    else if (p->mask_col)
        for (int32_t i = 0; i < p->n; i++)
            z[i] = x[i] + mask[i];
    else
        for (int32_t i = 0; i < p->n; i++)
            z[i] = x[i] + mask[0];
}

/* z = e^(z - largest); the sum of them, in the order of lanes.h. */
static inline float irc_exp_row(float *z, float largest, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        z[i] = irc_exp_nonpositive(z[i] - largest);
    return irc_lane_sum(z, n);
}

/* y = e^(z - max z) * (1 / sum of them), z = x + mask. mask may be NULL; y may be x. */
static inline void irc_softmax_f32(const irc_rows *p, const float *x, const float *mask, float *y, int thread,
                                   int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        float *z = y + row.y;
        irc_masked_row(p, x + row.x, mask ? mask + row.mask : mask, z);
        const float inverse = 1.0f / irc_exp_row(z, irc_lane_max(z, p->n), p->n);
        for (int32_t i = 0; i < p->n; i++)
            z[i] *= inverse;
    }
}

static inline void irc_quantize_scaled_row(const float *restrict z, uint8_t *restrict y, int32_t n, float factor,
                                           float scale, int32_t zero_point)
{
    for (int32_t i = 0; i < n; i++)
        y[i] = irc_code_u8(z[i] * factor, scale, zero_point);
}

/* The same to codes. scratch : n floats of this thread's own. */
static inline void irc_softmax_f32_u8(const irc_rows *p, const float *x, const float *mask, float *scratch, uint8_t *y,
                                      int thread, int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        irc_masked_row(p, x + row.x, mask ? mask + row.mask : mask, scratch);
        const float inverse = 1.0f / irc_exp_row(scratch, irc_lane_max(scratch, p->n), p->n);
        irc_quantize_scaled_row(scratch, y + row.y, p->n, inverse, p->y_scale, p->y_zero_point);
    }
}

/* y = (z - max z) - ln(sum of e^(z - max z)). mask may be NULL; y may not be x. scratch : n floats a thread. */
static inline void irc_log_softmax_f32(const irc_rows *p, const float *x, const float *mask, float *scratch, float *y,
                                       int thread, int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        float *z = y + row.y;
        irc_masked_row(p, x + row.x, mask ? mask + row.mask : mask, z);
        const float largest = irc_lane_max(z, p->n);
        for (int32_t i = 0; i < p->n; i++) {
            z[i] -= largest;
            scratch[i] = irc_exp_nonpositive(z[i]);
        }
        const float shift = irc_log(irc_lane_sum(scratch, p->n));
        for (int32_t i = 0; i < p->n; i++)
            z[i] -= shift;
    }
}

/* y = (x - mean) * inverse [* scale] [+ bias], scale and bias fused. y may be x. */
static inline void irc_normalize_row(const float *x, float mean, float inverse, const float *scale, const float *bias,
                                     float *y, int32_t n)
{
    if (scale && bias)
        for (int32_t i = 0; i < n; i++)
            y[i] = IRC_FMAF((x[i] - mean) * inverse, scale[i], bias[i]);
    else if (scale)
        for (int32_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * inverse * scale[i];
    else
        for (int32_t i = 0; i < n; i++)
            y[i] = bias ? (x[i] - mean) * inverse + bias[i] : (x[i] - mean) * inverse;
}

/* 1 / sqrt(mean of (x - mean)^2 + epsilon). */
static inline float irc_inverse_deviation(const float *x, float mean, int32_t n, float epsilon)
{
    return 1.0f / sqrtf(irc_lane_sum_square(x, mean, n) / (float)n + epsilon);
}

/* y = (x - mean) / sqrt(variance + epsilon) * scale + bias; scale and bias, of n elements, may be NULL. y may be x. */
static inline void irc_layer_norm_f32(const irc_rows *p, const float *x, const float *scale, const float *bias,
                                      float *y, int thread, int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        const float mean = irc_lane_sum(x + row.x, p->n) / (float)p->n;
        const float inverse = irc_inverse_deviation(x + row.x, mean, p->n, p->epsilon);
        irc_normalize_row(x + row.x, mean, inverse, scale, bias, y + row.y, p->n);
    }
}

/* The same to codes. scratch : n floats of this thread's own. */
static inline void irc_layer_norm_f32_u8(const irc_rows *p, const float *x, const float *scale, const float *bias,
                                         float *scratch, uint8_t *y, int thread, int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        const float mean = irc_lane_sum(x + row.x, p->n) / (float)p->n;
        const float inverse = irc_inverse_deviation(x + row.x, mean, p->n, p->epsilon);
        irc_normalize_row(x + row.x, mean, inverse, scale, bias, scratch, p->n);
        irc_quantize_row_f32_u8(scratch, y + row.y, p->n, p->y_scale, p->y_zero_point);
    }
}

/* y = x / sqrt(mean of x^2 + epsilon) * scale; scale, of n elements, may be NULL. y may be x. */
static inline void irc_rms_norm_f32(const irc_rows *p, const float *x, const float *scale, float *y, int thread,
                                    int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        const float inverse = irc_inverse_deviation(x + row.x, 0.0f, p->n, p->epsilon);
        irc_normalize_row(x + row.x, 0.0f, inverse, scale, (const float *)0, y + row.y, p->n);
    }
}

/* The same to codes. scratch : n floats of this thread's own. */
static inline void irc_rms_norm_f32_u8(const irc_rows *p, const float *x, const float *scale, float *scratch,
                                       uint8_t *y, int thread, int threads)
{
    int64_t begin, end;
    irc_share(irc_rows_count(p), thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const irc_row row = irc_row_at(p, index);
        const float inverse = irc_inverse_deviation(x + row.x, 0.0f, p->n, p->epsilon);
        irc_normalize_row(x + row.x, 0.0f, inverse, scale, (const float *)0, scratch, p->n);
        irc_quantize_row_f32_u8(scratch, y + row.y, p->n, p->y_scale, p->y_zero_point);
    }
}

#endif
