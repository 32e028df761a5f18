/* 3x3 convolutions of stride 1 by Winograd's algorithm F(4x4, 3x3), in exact integers (Winograd 1980; Lavin and Gray 2016).

   A tile of 4x4 outputs takes 36 products for each pair of channels instead of 144. With d a tile of 6x6 codes and g a kernel:

       V = B' d B        |V| <= 17340, fits int16
       U = G g G'        |U| <= 49 * 128, fits int16; the rows of G are scaled so that it holds integers
       M = sum over channels of U * V, elementwise, modulo 2^32
       A' M A            = 9 * 2^k * acc, modulo 2^32, with k = 2 .. 6 depending on the place in the tile

       B' = 4  0 -5  0  1  0     G = 6  0  0     A' = 1 -4 -4  1  1  0    / 24
            0 -4 -4  1  1  0         1  1  1          0 -2  2  1 -1  0    / 12
            0  4 -4 -1  1  0         1 -1  1          0 -1 -1  1  1  0    / 6
            0 -2 -1  2  1  0         1  2  4          0 -1  1  2 -2  1    / 6
            0  2 -1 -2  1  0         1 -2  4
            0  4  0 -5  0  1         0  0  6

   Multiplying by the inverse of 9 modulo 2^32 and shifting right by k gives acc itself, exactly, if |acc| 2^6 < 2^31.

   Where the instruction set has no such kernel (IRC_WINOGRAD), the ordinary one does the work. */
#ifndef IRC_WINOGRAD_H
#define IRC_WINOGRAD_H

#include "conv.h"

#ifndef IRC_WINOGRAD
#define IRC_WINOGRAD
IRC_FN int irc_winograd_part(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                             const uint8_t *residual, void *y, void *scratch, int thread, int threads)
{
    (void)p, (void)x, (void)w, (void)scale, (void)bias, (void)residual, (void)y, (void)scratch, (void)thread, (void)threads;
    return 0;
}
#endif

/* The arguments of irc_conv_u8, the packed weights are the same; scratch: IRC_WINOGRAD_SCRATCH bytes of this thread, aligned to 64.
   p: runs = 3, run_length = 3 C, C a multiple of 4, groups = 1, x_col = C, x_row = the distance of two runs, and for every channel
   255 * max(sum of positive w, -sum of negative w) < 2^25. Of these, all but the last are checked: other shapes are done the
   ordinary way. Worth while from C = n = 32 and 16 output positions on. */
IRC_FN void irc_winograd_u8(const irc_conv *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                            const uint8_t *residual, void *y, void *scratch, int thread, int threads)
{
    const int32_t line = p->runs == 3 ? p->run_offset[1] - p->run_offset[0] : 0;
    const int fits = p->runs == 3 && p->run_length % 12 == 0 && p->groups == 1 && p->x_col == p->run_length / 3 && p->x_row == line &&
                     p->run_offset[2] - p->run_offset[1] == line;
    if (!fits || !irc_winograd_part(p, x, w, scale, bias, residual, y, scratch, thread, threads))
        irc_conv_with(p, x, w, NULL, NULL, scale, bias, residual, y, scratch, IRC_CONV_SCRATCH, thread, threads);
}

#endif
