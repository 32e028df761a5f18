/* irc_conv_block in plain C: one position, 16 channels at a time. */
#ifndef IRC_CONV_PORTABLE_H
#define IRC_CONV_PORTABLE_H

#include "conv_block.h"

/* acc[16] += the dot products of one window with one block of weights; returns the weights behind the block. */
IRC_FN void irc_dot_portable(const irc_conv *p, const uint8_t *x, const int8_t *w, int32_t *acc)
{
    const int32_t steps = irc_ceil_div(p->run_length, 4);
    for (int32_t r = 0; r < p->runs; r++) {
        const uint8_t *a = x + p->run_offset[r];
        for (int32_t s = 0; s < steps; s++, a += 4, w += 64) {
            const int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
            for (int j = 0; j < IRC_BLOCK; j++)
                acc[j] += a0 * w[4 * j] + a1 * w[4 * j + 1] + a2 * w[4 * j + 2] + a3 * w[4 * j + 3];
        }
    }
}

IRC_FN void irc_conv_block_portable(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y)
{
    const int64_t block_bytes = (int64_t)p->runs * irc_ceil_div(p->run_length, 4) * 64;
    for (int32_t b = 0; b * IRC_BLOCK < part->n; b++) {
        const int32_t c = b * IRC_BLOCK, n = part->n - c < IRC_BLOCK ? part->n - c : IRC_BLOCK;
        for (int32_t i = 0; i < q->count; i++) {
            int32_t acc[IRC_BLOCK];
            const irc_output out = irc_conv_output(p, q, part, y, i, b);
            for (int j = 0; j < IRC_BLOCK; j++)
                acc[j] = (part->acc_init && j < n ? part->acc_init[c + j] : 0) + (part->acc_rows ? part->acc_rows[i] : 0);
            irc_dot_portable(p, part->x + q->x[i], part->w + b * block_bytes, acc);
            irc_requantize(acc, part->scale + c, part->bias + c, n, &out);
        }
    }
}

#endif
