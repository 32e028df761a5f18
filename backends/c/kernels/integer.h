/* Integer arithmetic where C has no answer: results wrap around, a division by zero gives 0, shifts may be of any width. */
#ifndef IRC_INTEGER_H
#define IRC_INTEGER_H

#include <math.h>
#include <stdint.h>

/* divide: towards zero; modulo: with the sign of b; remainder: with the sign of a. `wide` computes without overflow. */
#define IRC_SIGNED(name, type, wide)                                                                                   \
    static inline type irc_divide_##name(type a, type b)                                                               \
    {                                                                                                                  \
        return b == 0 ? (type)0 : b == -1 ? (type)((wide)0 - (wide)a) : (type)(a / b);                                 \
    }                                                                                                                  \
    static inline type irc_remainder_##name(type a, type b) { return b == 0 || b == -1 ? (type)0 : (type)(a % b); }    \
    static inline type irc_modulo_##name(type a, type b)                                                               \
    {                                                                                                                  \
        const type r = irc_remainder_##name(a, b);                                                                     \
        return r != 0 && (r < 0) != (b < 0) ? (type)(r + b) : r;                                                       \
    }                                                                                                                  \
    static inline type irc_right_##name(type a, type b)                                                                \
    {                                                                                                                  \
        return (uint64_t)b < 8 * sizeof a ? (type)(a >> b) : a < 0 ? (type)-1 : (type)0;                               \
    }                                                                                                                  \
    static inline type irc_left_##name(type a, type b)                                                                 \
    {                                                                                                                  \
        return (uint64_t)b < 8 * sizeof a ? (type)((wide)a << b) : (type)0;                                            \
    }
#define IRC_UNSIGNED(name, type, wide)                                                                                 \
    static inline type irc_divide_##name(type a, type b) { return b == 0 ? (type)0 : (type)(a / b); }                  \
    static inline type irc_remainder_##name(type a, type b) { return b == 0 ? (type)0 : (type)(a % b); }               \
    static inline type irc_modulo_##name(type a, type b) { return irc_remainder_##name(a, b); }                        \
    static inline type irc_right_##name(type a, type b) { return b < 8 * sizeof a ? (type)(a >> b) : (type)0; }        \
    static inline type irc_left_##name(type a, type b) { return b < 8 * sizeof a ? (type)((wide)a << b) : (type)0; }

IRC_SIGNED(i8, int8_t, uint32_t)
IRC_SIGNED(i16, int16_t, uint32_t)
IRC_SIGNED(i32, int32_t, uint32_t)
IRC_SIGNED(i64, int64_t, uint64_t)
IRC_UNSIGNED(u8, uint8_t, uint32_t)
IRC_UNSIGNED(u16, uint16_t, uint32_t)
IRC_UNSIGNED(u32, uint32_t, uint32_t)
IRC_UNSIGNED(u64, uint64_t, uint64_t)

/* a^b modulo 2^64; for b < 0 what is left of 1 / a^-b: 0, or 1 or -1 for such a. */
static inline uint64_t irc_power(int64_t a, int64_t b)
{
    uint64_t base = (uint64_t)a, made = 1;
    if (b < 0)
        return a == 1 ? 1 : a != -1 ? 0 : b % 2 ? (uint64_t)-1 : 1;
    for (; b; b >>= 1) {
        made *= b & 1 ? base : 1;
        base *= base;
    }
    return made;
}

/* The remainder of a / b with the sign of b; exact. */
static inline float irc_modulo_f32(float a, float b)
{
    const float r = fmodf(a, b);
    return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
}

static inline double irc_modulo_f64(double a, double b)
{
    const double r = fmod(a, b);
    return r != 0.0 && (r < 0.0) != (b < 0.0) ? r + b : r;
}

/* Whether a comes before b in descending and in ascending order; a NaN is larger than every number. */
#define IRC_COMES_FIRST(a, b) ((a) > (b) || ((a) != (a) && (b) == (b)))
#define IRC_COMES_LAST(a, b) ((a) < (b) || ((b) != (b) && (a) == (a)))

#endif
