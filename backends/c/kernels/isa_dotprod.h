/* ARMv8.2 with dot products (sdot). */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_dot_arm.h"
#include "depthwise_dot_arm.h"
#include "pack_b_arm.h"

#define IRC_CONV_BLOCK
#define IRC_CONV_STACK 8
#define IRC_CONV_MOST(p, scratch_bytes) IRC_POSITIONS

/* start += 128 * (sum of the weights of each channel), since sdot is given codes less 128. */
IRC_FN void irc_start_dotprod(irc_columns *t)
{
    const int32_t steps = t->runs * t->steps;
    const int8x16_t less = vdupq_n_s8(-128);
    int32x4_t sum[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int32_t s = 0; s < steps; s++)
        IRC_UNROLL for (int j = 0; j < 4; j++) sum[j] = vdotq_s32(sum[j], vld1q_s8(t->w + 64 * (int64_t)s + 16 * j), less);
    IRC_UNROLL for (int j = 0; j < 4; j++) vst1q_s32(t->start + 4 * j, vsubq_s32(vld1q_s32(t->start + 4 * j), sum[j]));
}

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    const irc_clamp clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi);
    irc_columns t;
    (void)scratch;
    (void)scratch_bytes;
    for (int32_t b = 0; b * IRC_BLOCK < part->n; b++) {
        irc_columns_of(&t, p, q, part, y, b, 1);
        irc_start_dotprod(&t);
        irc_dot_positions(&t, &clamp, 0, q->count);
    }
}

#endif
