/* Vectors of aarch64, and the way from sums to codes. */
#ifndef IRC_ARM_H
#define IRC_ARM_H

#include "conv_columns.h"
#include <arm_neon.h>

/* How sums of 16 channels become codes: everything that does not change within a layer. */
typedef struct irc_clamp {
    float32x4_t residual_scale;
    uint8x16_t lo, hi;
} irc_clamp;

IRC_INLINE irc_clamp irc_clamp_of(float residual_scale, float lo, float hi)
{
    irc_clamp c;
    c.residual_scale = vdupq_n_f32(residual_scale);
    c.lo = vdupq_n_u8((uint8_t)lo);
    c.hi = vdupq_n_u8((uint8_t)hi);
    return c;
}

/* t of 4 * V channels. residual: 16 readable codes or NULL. */
IRC_INLINE void irc_scaled(const int32x4_t *acc, const float *scale, const float *bias, const uint8_t *residual,
                           const irc_clamp *clamp, float32x4_t *t, const int V)
{
    IRC_UNROLL for (int j = 0; j < V; j++)
        t[j] = vfmaq_f32(vld1q_f32(bias + 4 * j), vcvtq_f32_s32(acc[j]), vld1q_f32(scale + 4 * j));
    if (residual) {
        const uint8x16_t r = vld1q_u8(residual);
        const uint16x8_t low = vmovl_u8(vget_low_u8(r)), high = vmovl_high_u8(r);
        const uint32x4_t wide[4] = {vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low), vmovl_u16(vget_low_u16(high)),
                                    vmovl_high_u16(high)};
        IRC_UNROLL for (int j = 0; j < V; j++)
            t[j] = vfmaq_f32(t[j], vcvtq_f32_u32(wide[j]), clamp->residual_scale);
    }
}

/* Rounding half to even saturates at int32, and so does each narrowing: the clamp of the codes is enough. */
IRC_INLINE uint8x16_t irc_codes(const float32x4_t *t, const irc_clamp *clamp, const int V)
{
    const int16x4_t none = vdup_n_s16(0);
    const int16x8_t low = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(t[0])), vcvtnq_s32_f32(t[V > 1 ? 1 : 0]));
    const int16x8_t high = V > 2 ? vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(t[2])), vcvtnq_s32_f32(t[V > 3 ? 3 : 2]))
                                 : vcombine_s16(none, none);
    const uint8x8_t first = vqmovun_s16(low);
    const uint8x16_t codes = V > 2 ? vqmovun_high_s16(first, high) : vcombine_u8(first, first);
    return vminq_u8(vmaxq_u8(codes, clamp->lo), clamp->hi);
}

/* The first n of 16 codes. */
IRC_INLINE void irc_store_codes(uint8_t *y, uint8x16_t codes, int32_t n)
{
    if (n >= 16) {
        vst1q_u8(y, codes);
        return;
    }
    if (n & 8) {
        vst1_u8(y, vget_low_u8(codes));
        codes = vextq_u8(codes, codes, 8);
        y += 8;
    }
    for (int32_t i = 0; i < (n & 7); i++, codes = vextq_u8(codes, codes, 1))
        vst1q_lane_u8(y + i, codes, 0);
}

/* The first n of 4 * V floats. */
IRC_INLINE void irc_store_floats(float *y, const float32x4_t *t, int32_t n, const int V)
{
    IRC_UNROLL for (int j = 0; j < V; j++) {
        float32x4_t v = t[j];
        if (n >= 4 * j + 4)
            vst1q_f32(y + 4 * j, v);
        else
            for (int32_t i = 4 * j; i < n; i++, v = vextq_f32(v, v, 1))
                vst1q_lane_f32(y + i, v, 0);
    }
}

/* The sums of position i, requantized and stored; acc: 4 * V channels. */
IRC_INLINE void irc_finish(const irc_columns *t, const irc_clamp *clamp, int32_t i, const int32x4_t *acc, const int V)
{
    float32x4_t f[4];
    irc_scaled(acc, t->scale, t->bias, t->residual ? t->residual + t->q->r[i] : NULL, clamp, f, V);
    if (t->codes)
        irc_store_codes(t->codes + t->q->y[i], irc_codes(f, clamp, V), t->n);
    else
        irc_store_floats(t->floats + t->q->y[i], f, t->n, V);
}

#endif
