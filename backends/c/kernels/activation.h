/* Activation functions of float32, and the hot ones over strided rows. Formulas are those of the ONNX ops. */
#ifndef IRC_ACTIVATION_H
#define IRC_ACTIVATION_H

#include "irc_math_f64.h"
#include "quantize.h"

/* max(x, 0), and NaN of NaN. */
static inline float irc_relu(float x) { return x < 0.0f ? 0.0f : x; }

/* min(max(x, low), high), and NaN of NaN. */
static inline float irc_clip(float x, float low, float high)
{
    const float above = x < low ? low : x;
    return above > high ? high : above;
}

static inline float irc_leaky_relu(float x, float alpha) { return x < 0.0f ? alpha * x : x; }
static inline float irc_thresholded_relu(float x, float alpha) { return x > alpha ? x : 0.0f * (x - x); }
static inline float irc_elu(float x, float alpha) { return x < 0.0f ? alpha * irc_expm1(x) : x; }
static inline float irc_selu(float x, float alpha, float gamma) { return gamma * irc_elu(x, alpha); }
static inline float irc_celu(float x, float alpha) { return x < 0.0f ? alpha * irc_expm1(x / alpha) : x; }
static inline float irc_softsign(float x) { return x / (1.0f + fabsf(x)); }
static inline float irc_hard_sigmoid(float x, float alpha, float beta)
{
    return irc_clip(alpha * x + beta, 0.0f, 1.0f);
}

/* x * max(0, min(1, x / 6 + 1/2)). */
static inline float irc_hard_swish(float x) { return x * irc_clip(x / 6.0f + 0.5f, 0.0f, 1.0f); }

/* x * sigmoid(alpha * x); SiLU with alpha = 1. */
static inline float irc_swish(float x, float alpha) { return x * irc_sigmoid(alpha * x); }
static inline float irc_silu(float x) { return x * irc_sigmoid(x); }

/* x * tanh(ln(1 + e^x)), through double. */
static inline float irc_mish(float x)
{
    const double y = x * irc_tanh_f64(irc_softplus_f64(x));
    return x == -INFINITY ? -0.0f : (float)y;
}

/* x / 2 * (1 + erf(x / sqrt 2)). */
static inline float irc_gelu(float x) { return 0.5f * x * (1.0f + irc_erf(x * 0.707106781f)); }

/* x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). */
static inline float irc_gelu_tanh(float x)
{
    const float cubic = IRC_FMAF(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + irc_tanh(0.797884561f * cubic));
}

/* y = function(x) over rows of n elements; strides in elements, elements of a row adjacent. */
typedef struct irc_map {
    int64_t rows, n;
    int64_t x_row, y_row;
    float scale; /* of the codes, where y is uint8 */
    int32_t zero_point;
} irc_map;

#define IRC_MAP_F32(name, function)                                                                                    \
    static inline void name##_f32(const irc_map *p, const float *x, float *y, int thread, int threads)                 \
    {                                                                                                                  \
        int64_t begin, end;                                                                                            \
        irc_share(p->rows, thread, threads, &begin, &end);                                                             \
        for (int64_t row = begin; row < end; row++) {                                                                  \
            const float *from = x + row * p->x_row;                                                                    \
            float *to = y + row * p->y_row;                                                                            \
            for (int64_t i = 0; i < p->n; i++)                                                                         \
                to[i] = function(from[i]);                                                                             \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void name##_row_u8(const float *restrict x, uint8_t *restrict y, int64_t n, float scale,             \
                                     int32_t zero_point)                                                               \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++)                                                                                \
            y[i] = irc_code_u8(function(x[i]), scale, zero_point);                                                     \
    }                                                                                                                  \
    static inline void name##_f32_u8(const irc_map *p, const float *x, uint8_t *y, int thread, int threads)            \
    {                                                                                                                  \
        int64_t begin, end;                                                                                            \
        irc_share(p->rows, thread, threads, &begin, &end);                                                             \
        for (int64_t row = begin; row < end; row++)                                                                    \
            name##_row_u8(x + row * p->x_row, y + row * p->y_row, p->n, p->scale, p->zero_point);                      \
    }

IRC_MAP_F32(irc_map_gelu, irc_gelu)
IRC_MAP_F32(irc_map_gelu_tanh, irc_gelu_tanh)
IRC_MAP_F32(irc_map_silu, irc_silu)
IRC_MAP_F32(irc_map_sigmoid, irc_sigmoid)
IRC_MAP_F32(irc_map_tanh, irc_tanh)
IRC_MAP_F32(irc_map_hard_swish, irc_hard_swish)

#endif
