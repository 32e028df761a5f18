/* What the generated elementwise loops are made of, besides irc_math.h. */
#ifndef IRC_ELEMENTWISE_H
#define IRC_ELEMENTWISE_H

#include <math.h>
#include <stdint.h>

#include "activation.h"
#include "integer.h"
#include "spmd.h"

/* t clamped to whole numbers lo and hi, |lo|, |hi| <= 2^21, then rounded half to even. NaN becomes lo. */
static inline int32_t irc_clamped_code(float t, float lo, float hi) {
    t = t > lo ? t : lo;
    t = t < hi ? t : hi;
    return (int32_t)((t + IRC_ROUNDER) - IRC_ROUNDER);
}

/* An index counted from the end if negative, and kept within 0 .. size - 1 whatever it is. */
static inline int64_t irc_index(int64_t i, int64_t size) {
    i = i < 0 ? i + size : i;
    return i < 0 ? 0 : i >= size ? size - 1 : i;
}

/* float to integer towards zero; numbers that do not fit, and NaN, become the nearest that fits, and 0. */
#define IRC_TO_INTEGER(name, type, low, high) \
    static inline type irc_to_integer_##name(double x) { \
        return x >= (double)(high) ? (type)(high) : x <= (double)(low) ? (type)(low) : x == x ? (type)x : (type)0; \
    }
IRC_TO_INTEGER(i8, int8_t, INT8_MIN, INT8_MAX)
IRC_TO_INTEGER(u8, uint8_t, 0, UINT8_MAX)
IRC_TO_INTEGER(i16, int16_t, INT16_MIN, INT16_MAX)
IRC_TO_INTEGER(u16, uint16_t, 0, UINT16_MAX)
IRC_TO_INTEGER(i32, int32_t, INT32_MIN, INT32_MAX)
IRC_TO_INTEGER(u32, uint32_t, 0, UINT32_MAX)
IRC_TO_INTEGER(i64, int64_t, INT64_MIN, INT64_MAX)
IRC_TO_INTEGER(u64, uint64_t, 0, UINT64_MAX)

#endif
