/* Elementary functions in float32: the same bits from every compiler and ISA, for any vector width.

   Every function is branch-free, so that compilers vectorize loops over it; all steps are IEEE operations in a stated
   order, and a multiply-add is fused where IRC_FMAF says so and nowhere else (-ffp-contract=off). Compile with
   -fno-math-errno -fno-trapping-math, which change no result but let loops be vectorized; never with -ffast-math.

   The largest error over all finite float32 is stated beside each function, in units in the last place (ulp) of the
   exact result. Not a number goes through; infinities, zeros and subnormals are right. */
#ifndef IRC_MATH_H
#define IRC_MATH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "float arithmetic must be rounded to float, step by step: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

#ifdef __clang__ /* gcc does not know the pragma; its -std=c99 has contraction off anyway */
#pragma STDC FP_CONTRACT OFF
#endif

static inline uint32_t irc_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float irc_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint64_t irc_bits_f64(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double irc_from_bits_f64(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* fmaf(a, b, c) without hardware for it: a * b is exact in double, the sum is rounded to odd there, so that the
   conversion to float32 is the only rounding that counts (Boldo and Melquiond 2008). Faster than a C library's fmaf
   in software, and vectorizable. */
static inline float irc_fmaf(float a, float b, float c)
{
    const double product = (double)a * (double)b, addend = c;
    const double sum = product + addend, virtual_addend = sum - product;
    const double error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
    const uint64_t bits = irc_bits_f64(sum), step = fabs(error) > 0.0 ? ~bits & 1u : 0u; /* NaN: an infinity's error */
    const uint64_t inwards = 0u - ((bits ^ irc_bits_f64(error)) >> 63);
    return (float)irc_from_bits_f64(bits + ((step ^ inwards) - inwards));
}

#ifndef IRC_FMAF
#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__) || defined(FP_FAST_FMAF)
#define IRC_FMAF(a, b, c) fmaf(a, b, c)
#else
#define IRC_FMAF(a, b, c) irc_fmaf(a, b, c)
#endif
#endif

#define IRC_ROUNDER 12582912.0f /* 1.5 * 2^23: x + IRC_ROUNDER - IRC_ROUNDER rounds |x| < 2^22 half to even */
#define IRC_ROUNDER_BITS 0x4B400000u

/* max(x, y) and min(x, y); of a NaN in x it gives y, as the instructions of x86 do. */
static inline float irc_max(float x, float y) { return x > y ? x : y; }
static inline float irc_min(float x, float y) { return x < y ? x : y; }

/* x held in [-bound, bound]; NaN stays. */
static inline float irc_limit(float x, float bound)
{
    const float below = bound < x ? bound : x;
    return -bound > below ? -bound : below;
}

/* (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, minimax for the relative error of e^r. */
static inline float irc_exp_tail(float r)
{
    float p = IRC_FMAF(0.00138138806f, r, 0.0083690636f);
    p = IRC_FMAF(p, r, 0.0416684218f);
    p = IRC_FMAF(p, r, 0.166665178f);
    return IRC_FMAF(p, r, 0.49999993f);
}

/* e^x = 2^n * e^r with n = round(x / ln 2); at most 1.02 ulp. The power of 2 is applied in two halves, so that the
   product overflows or becomes subnormal with one rounding. */
static inline float irc_exp(float x)
{
    const float below = x > 89.0f ? 89.0f : x;
    const float held = below < -104.0f ? -104.0f : below;
    const float shifted = IRC_FMAF(held, 1.44269504f, IRC_ROUNDER);
    const float n = shifted - IRC_ROUNDER;
    /* ln 2 in two parts: n times the first is exact, and so is the difference */
    const float r = IRC_FMAF(n, 2.12194440e-4f, IRC_FMAF(n, -0.693359375f, held));
    const float power = 1.0f + IRC_FMAF(r * r, irc_exp_tail(r), r);
    const uint32_t k = irc_bits(shifted) - IRC_ROUNDER_BITS + 256u, half = k >> 1;
    return power * irc_from_bits((half - 1u) << 23) * irc_from_bits((k - half - 1u) << 23);
}

/* e^x for x <= 0, and 0 where it is below the smallest normal float32, 1.18e-38; else at most 1.02 ulp. For softmax. */
static inline float irc_exp_nonpositive(float x)
{
    const float least = -87.3365402f;
    const float held = x < least ? least : x;
    /* the exponent's bias rides on the rounding constant: its low bits are 127 + n */
    const float shifted = IRC_FMAF(held, 1.44269504f, IRC_ROUNDER + 127.0f);
    const float n = shifted - (IRC_ROUNDER + 127.0f);
    const float r = IRC_FMAF(n, 2.12194440e-4f, IRC_FMAF(n, -0.693359375f, held));
    const float power = 1.0f + IRC_FMAF(r * r, irc_exp_tail(r), r);
    const float y = power * irc_from_bits(irc_bits(shifted) << 23);
    return x < least ? 0.0f : y;
}

/* ln(x) = e * ln 2 + ln(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); at most 1 ulp. */
static inline float irc_log(float x)
{
    const int subnormal = x < 1.17549435e-38f;
    const uint32_t u = irc_bits(subnormal ? x * 8388608.0f : x) + (0x3F800000u - 0x3F3504F3u);
    const float f = irc_from_bits((u & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    const float e = (float)(int32_t)(u >> 23) - (subnormal ? 150.0f : 127.0f);
    const float square = f * f;
    float p = IRC_FMAF(0.0674663900f, f, -0.116756601f);
    p = IRC_FMAF(p, f, 0.118881671f);
    p = IRC_FMAF(p, f, -0.124055880f);
    p = IRC_FMAF(p, f, 0.142195516f);
    p = IRC_FMAF(p, f, -0.166679959f);
    p = IRC_FMAF(p, f, 0.200021187f);
    p = IRC_FMAF(p, f, -0.250000096f);
    p = IRC_FMAF(p, f, 0.333333126f);
    const float tail = IRC_FMAF(e, -2.12194440e-4f, square * f * p);
    const float y = IRC_FMAF(e, 0.693359375f, f + IRC_FMAF(-0.5f, square, tail));
    const float special = x == 0.0f ? -INFINITY : (x > 0.0f ? x : NAN);
    return x > 0.0f && x < INFINITY ? y : special;
}

/* The Gauss error function: x * P(x^2) / Q(x^2), minimax for the relative error on [-3.92, 3.92]; at most
   6 ulp (4e-7): a form good to 2 ulp needs an exponential and costs twice the time, of which GELU is full. */
static inline float irc_erf(float x)
{
    const float held = irc_limit(x, 3.9195f), t = held * held;
    float p = IRC_FMAF(2.05064705e-6f, t, 2.84879248e-4f);
    p = IRC_FMAF(p, t, 3.76438805e-3f);
    p = IRC_FMAF(p, t, 5.27450038e-2f);
    p = IRC_FMAF(p, t, 0.190374546f);
    p = IRC_FMAF(p, t, 1.12837915f);
    float q = IRC_FMAF(3.80973390e-5f, t, 1.16228279e-3f);
    q = IRC_FMAF(q, t, 1.49667333e-2f);
    q = IRC_FMAF(q, t, 0.114096374f);
    q = IRC_FMAF(q, t, 0.502047792f);
    q = IRC_FMAF(q, t, 1.0f);
    return irc_limit(held * p, q) / q;
}

/* The hyperbolic tangent: x * P(x^2) / Q(x^2), minimax for the relative error on [-9.01, 9.01]; at
   most 5.1 ulp (3e-7). */
static inline float irc_tanh(float x)
{
    const float held = irc_limit(x, 9.011f), t = held * held;
    float p = IRC_FMAF(-1.22245826e-11f, t, 3.06136180e-8f);
    p = IRC_FMAF(p, t, 2.80193828e-5f);
    p = IRC_FMAF(p, t, 3.86891942e-3f);
    p = IRC_FMAF(p, t, 0.136803874f);
    p = IRC_FMAF(p, t, 1.0f);
    float q = IRC_FMAF(1.28819875e-6f, t, 3.93967383e-4f);
    q = IRC_FMAF(q, t, 2.72480047e-2f);
    q = IRC_FMAF(q, t, 0.470137195f);
    q = IRC_FMAF(q, t, 1.0f);
    return irc_limit(held * p, q) / q;
}

/* 1 / (1 + e^-x), as 1 / (1 + e) or e / (1 + e) with e = e^-|x|, which cannot overflow; at most 2.5 ulp. */
static inline float irc_sigmoid(float x)
{
    const float e = irc_exp(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

#endif
