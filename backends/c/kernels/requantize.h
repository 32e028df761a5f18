/* From exact sums to codes, in plain C: the arithmetic contract itself. */
#ifndef IRC_REQUANTIZE_H
#define IRC_REQUANTIZE_H

#include "irc_types.h"
#include <math.h>

/* What becomes of one output position: where its residual and output lie, and the clamp. */
typedef struct irc_output {
    const uint8_t *residual; /* or NULL */
    uint8_t *codes;          /* one of these two is NULL */
    float *floats;
    float residual_scale, lo, hi;
} irc_output;

/* lo <= t <= hi, whole numbers of 0 .. 255. In [0, 255] a float plus 1.5 * 2^23 has no bits below one, so that the sum is
   rounded half to even. */
IRC_FN uint8_t irc_code(float t, float lo, float hi)
{
    const float magic = 12582912.0f;
    t = t < hi ? t : hi;
    t = t > lo ? t : lo;
    t = (t + magic) - magic;
    return (uint8_t)(int32_t)t;
}

/* Channels 0 .. n-1 of one output position. */
IRC_FN void irc_requantize(const int32_t *acc, const float *scale, const float *bias, int n, const irc_output *out)
{
    for (int j = 0; j < n; j++) {
        float t = fmaf((float)acc[j], scale[j], bias[j]);
        if (out->residual)
            t = fmaf((float)out->residual[j], out->residual_scale, t);
        if (out->floats)
            out->floats[j] = t;
        else
            out->codes[j] = irc_code(t, out->lo, out->hi);
    }
}

#endif
