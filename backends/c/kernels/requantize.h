/* From exact sums to codes, in plain C: the arithmetic contract itself. */
#ifndef IRC_REQUANTIZE_H
#define IRC_REQUANTIZE_H

#include "irc_math.h"
#include "irc_types.h"

/* What becomes of one output position: where its residual and output lie, and the clamp. */
typedef struct irc_output {
    const uint8_t *residual; /* or NULL */
    uint8_t *codes;          /* one of these two is NULL */
    float *floats;
    float residual_scale, lo, hi;
} irc_output;

/* t held in [lo, hi], whole numbers of 0 .. 255, and rounded half to even. */
IRC_FN uint8_t irc_code(float t, float lo, float hi)
{
    t = t < hi ? t : hi;
    t = t > lo ? t : lo;
    return (uint8_t)(int32_t)((t + IRC_ROUNDER) - IRC_ROUNDER);
}

/* t of n channels, n <= 16, in loops that vectorize. */
IRC_FN void irc_exact(const int32_t *acc, const float *scale, const float *bias, const uint8_t *residual, float residual_scale,
                      int n, float *t)
{
    for (int j = 0; j < n; j++)
        t[j] = IRC_FMAF((float)acc[j], scale[j], bias[j]);
    if (residual)
        for (int j = 0; j < n; j++)
            t[j] = IRC_FMAF((float)residual[j], residual_scale, t[j]);
}

/* Channels 0 .. n - 1 of one output position. */
IRC_FN void irc_requantize(const int32_t *acc, const float *scale, const float *bias, int n, const irc_output *out)
{
    const float lo = out->lo, hi = out->hi, residual_scale = out->residual_scale;
    for (int c = 0; c < n; c += 16) {
        const uint8_t *const residual = out->residual ? out->residual + c : NULL;
        const int count = n - c < 16 ? n - c : 16;
        float t[16];
        if (count == 16)
            irc_exact(acc + c, scale + c, bias + c, residual, residual_scale, 16, t);
        else
            irc_exact(acc + c, scale + c, bias + c, residual, residual_scale, count, t);
        if (out->floats)
            memcpy(out->floats + c, t, (size_t)count * sizeof *t);
        else
            for (int j = 0; j < count; j++)
                out->codes[c + j] = irc_code(t[j], lo, hi);
    }
}

#endif
