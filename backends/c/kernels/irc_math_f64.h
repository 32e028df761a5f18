/* Elementary functions of float32 that nets use seldom, taken through double: at most 0.51 ulp, unless stated.

   Double leaves 29 bits to spare, so the series below are plain Taylor series cut where the rest is below 1e-11, and
   the error of the steps is of no account. Only IEEE operations of double, no fused ones: the same bits everywhere. */
#ifndef IRC_MATH_F64_H
#define IRC_MATH_F64_H

#include "irc_math.h"

#define IRC_LN2 0.69314718055994530942
#define IRC_HALF_PI 1.57079632679489661923
#define IRC_ROUNDER_F64 6755399441055744.0 /* 1.5 * 2^52 */

/* e^x - 1 for |x| <= 0.35; the rest is below 2e-13. */
static inline double irc_expm1_series(double r)
{
    double p = 1.0 + r * (1.0 / 11.0);
    p = 1.0 + r * (1.0 / 10.0) * p;
    p = 1.0 + r * (1.0 / 9.0) * p;
    p = 1.0 + r * (1.0 / 8.0) * p;
    p = 1.0 + r * (1.0 / 7.0) * p;
    p = 1.0 + r * (1.0 / 6.0) * p;
    p = 1.0 + r * (1.0 / 5.0) * p;
    p = 1.0 + r * (1.0 / 4.0) * p;
    p = 1.0 + r * (1.0 / 3.0) * p;
    p = 1.0 + r * (1.0 / 2.0) * p;
    return r * p;
}

/* e^x; held at e^-300 and e^300, far outside float32. */
static inline double irc_exp_f64(double x)
{
    const double below = x > 300.0 ? 300.0 : x;
    const double held = below < -300.0 ? -300.0 : below;
    const double shifted = held * (1.0 / IRC_LN2) + IRC_ROUNDER_F64;
    const double n = shifted - IRC_ROUNDER_F64;
    const double r = held - n * IRC_LN2;
    return (1.0 + irc_expm1_series(r)) * irc_from_bits_f64((irc_bits_f64(shifted) + 1023u) << 52);
}

/* e^x - 1. */
static inline double irc_expm1_f64(double x)
{
    const double near = irc_expm1_series(x > 0.35 ? 0.35 : (x < -0.35 ? -0.35 : x));
    return x > 0.35 || x < -0.35 ? irc_exp_f64(x) - 1.0 : near;
}

/* 2 artanh(s) = ln((1 + s) / (1 - s)) for |s| <= 0.172; the rest is below 2e-13 of it. */
static inline double irc_artanh_series(double s)
{
    const double t = s * s;
    double p = 1.0 / 13.0 + t * (1.0 / 15.0);
    p = 1.0 / 11.0 + t * p;
    p = 1.0 / 9.0 + t * p;
    p = 1.0 / 7.0 + t * p;
    p = 1.0 / 5.0 + t * p;
    p = 1.0 / 3.0 + t * p;
    return 2.0 * s + 2.0 * s * t * p;
}

/* ln(x) of a positive normal double; NaN, infinities, 0 and negative numbers as C's log. */
static inline double irc_log_f64(double x)
{
    const uint64_t offset = 0x3FE6A09E667F3BCDu; /* sqrt(1/2) */
    const uint64_t u = irc_bits_f64(x) + (0x3FF0000000000000u - offset);
    const double m = irc_from_bits_f64((u & 0x000FFFFFFFFFFFFFu) + offset);
    const double e = (double)(int32_t)(u >> 52) - 1023.0;
    const double y = e * IRC_LN2 + irc_artanh_series((m - 1.0) / (m + 1.0));
    const double special = x == 0.0 ? -INFINITY : (x > 0.0 ? x : NAN);
    return x > 0.0 && x < INFINITY ? y : special;
}

/* ln(1 + x). */
static inline double irc_log1p_f64(double x)
{
    const double held = x > 0.25 ? 0.25 : (x < -0.25 ? -0.25 : x);
    const double near = irc_artanh_series(held / (2.0 + held));
    return x > 0.25 || x < -0.25 ? irc_log_f64(1.0 + x) : near;
}

static inline float irc_expm1(float x) { return x > 90.0f ? x * INFINITY : (float)irc_expm1_f64(x); }

/* ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|). */
static inline double irc_softplus_f64(double x)
{
    return (x > 0.0 ? x : 0.0 * x) + irc_log1p_f64(irc_exp_f64(-fabs(x)));
}

/* The 0 * x above keeps NaN; an infinity is put right here. */
static inline float irc_softplus(float x) { return x == -INFINITY ? 0.0f : (float)irc_softplus_f64(x); }

/* tanh(x) = (e^2x - 1) / (e^2x + 1). */
static inline double irc_tanh_f64(double x)
{
    const double held = x > 20.0 ? 20.0 : (x < -20.0 ? -20.0 : x);
    const double e = irc_expm1_f64(2.0 * held);
    return e / (e + 2.0);
}

static inline float irc_sinh(float x)
{
    const double e = irc_expm1_f64(fabs((double)x)), magnitude = 0.5 * (e + e / (e + 1.0));
    return fabsf(x) > 100.0f ? x * INFINITY : (float)(x < 0.0f ? -magnitude : magnitude);
}

static inline float irc_cosh(float x)
{
    const double e = irc_exp_f64(fabs((double)x));
    return fabsf(x) > 100.0f ? INFINITY : (float)(0.5 * (e + 1.0 / e));
}

static inline float irc_asinh(float x)
{
    const double a = fabs((double)x), y = irc_log1p_f64(a + a * a / (1.0 + sqrt(a * a + 1.0)));
    return fabsf(x) == INFINITY ? x : (float)(x < 0.0f ? -y : y);
}

static inline float irc_acosh(float x)
{
    const double t = (double)x - 1.0;
    const float y = x == INFINITY ? x : (float)irc_log1p_f64(t + sqrt(t * (t + 2.0)));
    return x < 1.0f ? NAN : y;
}

static inline float irc_atanh(float x)
{
    const double a = fabs((double)x), y = 0.5 * irc_log1p_f64(2.0 * a / (1.0 - a));
    return (float)(x < 0.0f ? -y : y);
}

/* arctan(x): 1/x beyond 1, then the angle halved twice, then the series; the rest is below 1e-12. */
static inline double irc_atan_f64(double x)
{
    const double a = fabs(x), inner = a > 1.0 ? 1.0 / a : a;
    const double half = inner / (1.0 + sqrt(1.0 + inner * inner));
    const double s = half / (1.0 + sqrt(1.0 + half * half)), t = s * s;
    double p = 1.0 / 13.0 - t * (1.0 / 15.0);
    p = 1.0 / 11.0 - t * p;
    p = 1.0 / 9.0 - t * p;
    p = 1.0 / 7.0 - t * p;
    p = 1.0 / 5.0 - t * p;
    p = 1.0 / 3.0 - t * p;
    const double angle = 4.0 * (s - s * t * p);
    const double y = a > 1.0 ? IRC_HALF_PI - angle : angle;
    return x < 0.0 ? -y : y;
}

static inline float irc_atan(float x) { return (float)irc_atan_f64(x); }

static inline float irc_asin(float x)
{
    const double a = x;
    return (float)irc_atan_f64(a / sqrt((1.0 - a) * (1.0 + a)));
}

static inline float irc_acos(float x)
{
    const double a = x;
    return (float)(2.0 * irc_atan_f64(sqrt((1.0 - a) / (1.0 + a))));
}

/* x - n * pi/2, and the low bits of n. Below 2^20, pi/2 in two parts whose first has 26 bits, so that n times it is
   exact. Above, integers: x / (pi/2) modulo 4 needs of 2/pi only the bits that x's exponent points at. */
static inline double irc_reduce_angle(float x, uint32_t *quadrant)
{
    static const uint32_t two_over_pi[8] = {0u, 0xA2F9836Eu, 0x4E441529u, 0xFC2757D1u,
                                            0xF534DDC0u, 0xDB629599u, 0x3C439041u, 0xFE5163ABu};
    if (fabsf(x) < 1048576.0f) {
        const double shifted = (double)x * (1.0 / IRC_HALF_PI) + IRC_ROUNDER_F64, n = shifted - IRC_ROUNDER_F64;
        *quadrant = (uint32_t)irc_bits_f64(shifted);
        return ((double)x - n * 1.5707963109016418) - n * 1.5893254773528197e-08;
    }
    const uint32_t bits = irc_bits(x), exponent = (bits >> 23) & 255u;
    const uint64_t m = (bits & 0x007FFFFFu) | 0x00800000u;
    const uint32_t first = exponent - 150u + 32u - 2u; /* |x| = m * 2^(exponent - 150) */
    const uint32_t word = first >> 5, shift = first & 31u;
    if (exponent == 255u) {
        *quadrant = 0;
        return x - x; /* no angle: NaN */
    }
    uint32_t part[3]; /* 96 bits of 2/pi from there on: the integer part of x / (pi/2) is taken modulo 4 */
    for (uint32_t i = 0; i < 3; i++) {
        const uint64_t pair = ((uint64_t)two_over_pi[word + i] << 32) | two_over_pi[word + i + 1];
        part[i] = (uint32_t)((pair << shift) >> 32);
    }
    const uint64_t turns = ((m * part[0]) << 32) + m * part[1] + ((m * part[2]) >> 32); /* 2.62 bits fixed point */
    const uint64_t n = (turns + ((uint64_t)1 << 61)) >> 62;
    const uint64_t rest = turns - (n << 62);
    const double angle = (rest >> 63 ? -(double)(0u - rest) : (double)rest) * (IRC_HALF_PI / 4611686018427387904.0);
    *quadrant = (uint32_t)(bits >> 31 ? 0u - n : n);
    return bits >> 31 ? -angle : angle;
}

/* sin(r) and cos(r) for |r| <= pi/4; the rest is below 1e-12. */
static inline double irc_sin_series(double r)
{
    const double t = r * r;
    double p = 1.0 - t * (1.0 / 156.0);
    p = 1.0 - t * (1.0 / 110.0) * p;
    p = 1.0 - t * (1.0 / 72.0) * p;
    p = 1.0 - t * (1.0 / 42.0) * p;
    p = 1.0 - t * (1.0 / 20.0) * p;
    p = 1.0 - t * (1.0 / 6.0) * p;
    return r * p;
}

static inline double irc_cos_series(double r)
{
    const double t = r * r;
    double p = 1.0 - t * (1.0 / 182.0);
    p = 1.0 - t * (1.0 / 132.0) * p;
    p = 1.0 - t * (1.0 / 90.0) * p;
    p = 1.0 - t * (1.0 / 56.0) * p;
    p = 1.0 - t * (1.0 / 30.0) * p;
    p = 1.0 - t * (1.0 / 12.0) * p;
    return 1.0 - t * (1.0 / 2.0) * p;
}

static inline float irc_sin(float x)
{
    uint32_t n;
    const double r = irc_reduce_angle(x, &n), y = n & 1u ? irc_cos_series(r) : irc_sin_series(r);
    return (float)(n & 2u ? -y : y);
}

static inline float irc_cos(float x)
{
    uint32_t n;
    const double r = irc_reduce_angle(x, &n), y = n & 1u ? irc_sin_series(r) : irc_cos_series(r);
    return (float)((n + 1u) & 2u ? -y : y);
}

static inline float irc_tan(float x)
{
    uint32_t n;
    const double r = irc_reduce_angle(x, &n), s = irc_sin_series(r), c = irc_cos_series(r);
    return (float)(n & 1u ? -c / s : s / c);
}

/* x^y = e^(y ln x), with C99's rules for signs, zeros, infinities and NaN. */
static inline float irc_pow(float x, float y)
{
    const double power = (double)y * irc_log_f64(fabs((double)x));
    const double magnitude = power < -120.0 ? 0.0 : (power > 120.0 ? INFINITY : irc_exp_f64(power));
    const int whole = fabsf(y) >= 8388608.0f || y == truncf(y);
    const int odd = fabsf(y) < 16777216.0f && whole && ((int32_t)(whole && fabsf(y) < 16777216.0f ? y : 0.0f) & 1);
    const int negative = (int)(irc_bits(x) >> 31);
    const float signless = x < 0.0f && x > -INFINITY && !whole ? NAN : (float)magnitude;
    const float result = negative && odd ? -signless : signless;
    const float unit = x == -1.0f && fabsf(y) == INFINITY ? 1.0f : result;
    return x == 1.0f || y == 0.0f ? 1.0f : unit;
}

#endif
