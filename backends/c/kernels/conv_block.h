/* What an instruction set is given to do: one block of positions, some channels of one group. */
#ifndef IRC_CONV_BLOCK_H
#define IRC_CONV_BLOCK_H

#include "irc_types.h"
#include "requantize.h"

#define IRC_POSITIONS 240

#define IRC_POSITIONS_MORE 8

/* Where the positions of a block lie: bytes from x, elements from y, bytes from the residual. IRC_POSITIONS_MORE entries behind
   the last one repeat it, for tiles that are not full. */
typedef struct irc_positions {
    int32_t count;
    int64_t x[IRC_POSITIONS + IRC_POSITIONS_MORE], y[IRC_POSITIONS + IRC_POSITIONS_MORE], r[IRC_POSITIONS + IRC_POSITIONS_MORE];
} irc_positions;

/* Everything from the first channel of the part on. */
typedef struct irc_conv_part {
    const uint8_t *x;
    const int8_t *w;
    const int32_t *acc_init, *acc_rows; /* or NULL; acc_rows[i] belongs to position i of the block */
    const float *scale, *bias;
    const uint8_t *residual; /* or NULL */
    int64_t y;               /* elements from the start of y */
    int32_t n;               /* channels */
} irc_conv_part;

/* The output of channel block `block` (16 channels each) at position i. */
IRC_FN irc_output irc_conv_output(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, int32_t i,
                                  int32_t block)
{
    irc_output out;
    const int64_t at = part->y + q->y[i] + (int64_t)block * IRC_BLOCK;
    out.residual = part->residual ? part->residual + q->r[i] + (int64_t)block * IRC_BLOCK : NULL;
    out.codes = p->float_output ? NULL : (uint8_t *)y + at;
    out.floats = p->float_output ? (float *)y + at : NULL;
    out.residual_scale = p->residual_scale;
    out.lo = p->lo;
    out.hi = p->hi;
    return out;
}

#endif
