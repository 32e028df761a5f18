/* ARMv8.6 with matrix products (usmmla) and mixed dot products (sudot). */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_dot_arm.h"
#include "conv_mmla_arm.h"
#include "depthwise_dot_arm.h"
#include "pack_b_arm.h"

#define IRC_CONV_BLOCK
#define IRC_CONV_STACK (32 * 1024)
#define IRC_CONV_MOST(p, scratch_bytes) irc_conv_most_i8mm(p, scratch_bytes)

/* From so many positions on, matrix products are worth the packing of their weights. */
#define IRC_MMLA_FROM 5

IRC_FN int32_t irc_conv_most_i8mm(const irc_conv *p, size_t scratch_bytes)
{
    const int32_t fit = irc_mmla_most(p, scratch_bytes);
    return fit ? fit : IRC_POSITIONS;
}

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    const irc_clamp clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi);
    const int32_t depth = irc_mmla_depth(p);
    const int matrices = q->count >= IRC_MMLA_FROM && q->count <= irc_mmla_most(p, scratch_bytes);
    int8_t *const w = (int8_t *)scratch;
    uint8_t *const a = (uint8_t *)scratch + (int64_t)depth * 128;
    irc_columns t;
    if (matrices)
        irc_mmla_activations(p, q, part->x, a);
    for (int32_t b = 0; b * IRC_BLOCK < part->n; b++) {
        irc_columns_of(&t, p, q, part, y, b, 1);
        if (matrices) {
            irc_mmla_weights(&t, w);
            irc_mmla_positions(&t, &clamp, a, w, depth);
        } else {
            irc_dot_positions(&t, &clamp, 0, q->count);
        }
    }
}

#endif
