/* Packing a matrix of codes at run time, in plain C. See irc_pack_b in irc_types.h. */
#ifndef IRC_PACK_B_PORTABLE_H
#define IRC_PACK_B_PORTABLE_H

#include "irc_types.h"

/* Steps from `first` on of a block of 16 channels, of which n are there: w: ceil(k / 4) steps of [16][4]; sum[j] = the sum of
   these steps of channel j. */
IRC_FN void irc_pack_block_portable(const irc_pack_b *p, const uint8_t *b, int32_t n, int32_t first, int8_t *w, int32_t *sum)
{
    for (int32_t j = 0; j < IRC_BLOCK; j++) {
        const uint8_t *column = b + j * p->b_n;
        sum[j] = 0;
        for (int32_t k = 4 * first; k < irc_ceil_div(p->k, 4) * 4; k++) {
            const int32_t value = j < n && k < p->k ? column[k * p->b_k] - 128 : 0;
            w[(k / 4) * 64 + j * 4 + k % 4] = (int8_t)value;
            sum[j] += value;
        }
    }
}

#endif
