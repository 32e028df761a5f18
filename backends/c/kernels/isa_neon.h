/* ARMv8.0: NEON without dot products. */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_neon.h"
#include "depthwise_neon.h"
#include "pack_b_arm.h"

#define IRC_CONV_BLOCK
#define IRC_CONV_STACK 8
#define IRC_CONV_MOST(p, scratch_bytes) IRC_POSITIONS

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    const irc_clamp clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi);
    irc_columns t;
    (void)scratch;
    (void)scratch_bytes;
    for (int32_t b = 0; b * IRC_BLOCK < part->n; b++) {
        irc_columns_of(&t, p, q, part, y, b, 1);
        irc_neon_positions(&t, &clamp, q->count, irc_neon_start(&t));
    }
}

#endif
