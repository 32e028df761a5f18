/* Vectors of aarch64, and the way from sums to codes. */
#ifndef IRC_ARM_H
#define IRC_ARM_H

#include "conv_columns.h"
#include <arm_neon.h>

#define IRC_ARM_ROWS 6 /* positions in a tile, at most */

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

/* t of 4 * V channels; residual: 4 * V readable codes, if `added`. */
IRC_INLINE void irc_scaled(const int32x4_t *acc, const float *scale, const float *bias, const uint8_t *residual,
                           const irc_clamp *clamp, float32x4_t *t, const int V, const int added)
{
    IRC_UNROLL for (int j = 0; j < V; j++)
        t[j] = vfmaq_f32(vld1q_f32(bias + 4 * j), vcvtq_f32_s32(acc[j]), vld1q_f32(scale + 4 * j));
    if (added) {
        const uint8x16_t r = V > 2 ? vld1q_u8(residual) : vcombine_u8(vld1_u8(residual), vdup_n_u8(0));
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

/* The first n of 16 floats. */
IRC_INLINE void irc_store_floats(float *y, const float32x4_t *t, int32_t n)
{
    IRC_UNROLL for (int j = 0; j < 4; j++) {
        float32x4_t v = t[j];
        if (n >= 4 * j + 4)
            vst1q_f32(y + 4 * j, v);
        else
            for (int32_t i = 4 * j; i < n; i++, v = vextq_f32(v, v, 1))
                vst1q_lane_f32(y + i, v, 0);
    }
}

/* The way for all: rest of channels, floats, residual or not; acc: [rows][4 * V]. */
static __attribute__((noinline, unused)) void irc_finish_any(const irc_columns *t, const irc_clamp *clamp, int32_t i, int32_t rows,
                                                             const int32_t *acc, int32_t width)
{
    for (int32_t r = 0; r < rows; r++) {
        int32x4_t sums[4];
        float32x4_t f[4];
        IRC_UNROLL for (int j = 0; j < 4; j++) sums[j] = vld1q_s32(acc + r * width + 4 * j);
        if (t->residual)
            irc_scaled(sums, t->scale, t->bias, t->residual + t->q->r[i + r], clamp, f, 4, 1);
        else
            irc_scaled(sums, t->scale, t->bias, NULL, clamp, f, 4, 0);
        if (t->codes)
            irc_store_codes(t->codes + t->q->y[i + r], irc_codes(f, clamp, 4), t->n);
        else
            irc_store_floats(t->floats + t->q->y[i + r], f, t->n);
    }
}

/* Positions i .. i + R - 1, all 4 * V channels. */
IRC_INLINE void irc_finish_codes(const irc_columns *t, const irc_clamp *clamp, int32_t i, int32x4_t (*acc)[4], const int R,
                                 const int V, const int added)
{
    IRC_UNROLL for (int r = 0; r < R; r++) {
        float32x4_t f[4];
        uint8_t *const y = t->codes + t->q->y[i + r];
        irc_scaled(acc[r], t->scale, t->bias, added ? t->residual + t->q->r[i + r] : NULL, clamp, f, V, added);
        if (V > 2)
            vst1q_u8(y, irc_codes(f, clamp, V));
        else
            vst1_u8(y, vget_low_u8(irc_codes(f, clamp, V)));
    }
}

/* The sums of positions i .. i + rows - 1, rows <= R, requantized and stored; acc: 4 * V channels of each. */
IRC_INLINE void irc_finish(const irc_columns *t, const irc_clamp *clamp, int32_t i, int32_t rows, int32x4_t (*acc)[4], const int R,
                           const int V)
{
    if (t->codes && t->n >= 4 * V && rows == R) {
        if (t->residual)
            irc_finish_codes(t, clamp, i, acc, R, V, 1);
        else
            irc_finish_codes(t, clamp, i, acc, R, V, 0);
    } else {
        int32_t sums[IRC_ARM_ROWS * 16 + 16]; /* those of the last position may be read past */
        IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int j = 0; j < V; j++)
            vst1q_s32(sums + 4 * (r * V + j), acc[r][j]);
        irc_finish_any(t, clamp, i, rows, sums, 4 * V);
    }
}

#endif
