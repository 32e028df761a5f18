/* Activation functions of float32. Formulas are those of the ONNX ops. */
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
static inline float irc_thresholded_relu(float x, float alpha) { return x <= alpha ? 0.0f : x; }
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

#endif
