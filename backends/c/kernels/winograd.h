/* 3x3 convolutions of stride 1 by Winograd's algorithm, in exact integers: where the instruction set has no such kernel, the
   ordinary one. The instruction set may give `irc_winograd_part` (IRC_WINOGRAD). */
#ifndef IRC_WINOGRAD_H
#define IRC_WINOGRAD_H

#include "conv.h"

/* Bytes of scratch memory a thread needs, 64-byte aligned; a function of the shape alone, the same for all instruction sets. */
#define IRC_WINOGRAD_SCRATCH (1280 * 1024)

/* The arguments of irc_conv_u8, but p has runs = 3, run_length = 3 C with C a multiple of 4, groups = 1, x_col = C, and
   max over channels of 255 * max(sum of positive w, -sum of negative w) < 2^25. Packed weights are the same.
   scratch: IRC_WINOGRAD_SCRATCH bytes of this thread. */
IRC_FN void irc_winograd_u8(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                            const uint8_t *residual, void *y, void *scratch, int thread, int threads)
{
    (void)scratch;
    irc_conv_u8(p, x, w, NULL, NULL, scale, bias, residual, y, thread, threads);
}

#endif
