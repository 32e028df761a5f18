/* Convolution, Gemm and MatMul on u8 codes: the loops that all instruction sets share.

   The instruction set gives `irc_conv_block`: a block of output positions times some blocks of output channels. */
#ifndef IRC_CONV_H
#define IRC_CONV_H

#include "conv_block.h"

#if !defined(IRC_CONV_BLOCK)
#error "include isa_<name>.h first"
#endif

/* Bytes of activations that a block of positions may touch: it stays in the second-level cache while all weights pass. */
#define IRC_ACTIVATION_BYTES (192 * 1024)

/* The positions of a block: as many as was asked for, or as the cache holds; and as the instruction set's scratch memory holds. */
IRC_FN int32_t irc_conv_positions(const irc_conv *p, size_t scratch_bytes)
{
    const int64_t depth = (int64_t)p->runs * p->run_length, most = IRC_CONV_MOST(p, scratch_bytes);
    int64_t fit = p->positions > 0 ? p->positions : IRC_ACTIVATION_BYTES / (depth ? depth : 1) / 12 * 12;
    (void)scratch_bytes;
    fit = fit < 12 ? 12 : fit > IRC_POSITIONS ? IRC_POSITIONS : fit;
    return (int32_t)(fit < most ? fit : most);
}

#ifndef IRC_CONV_LINE
/* out[i] = at + i * step for i < count; up to 3 more may be written */
IRC_FN void irc_conv_line(int64_t *out, int32_t count, int64_t at, int64_t step)
{
    for (int32_t i = 0; i < count; i++, at += step)
        out[i] = at;
}
#endif

/* Fills the offsets of positions from, from + 1, ... ; position = (batch * rows + row) * cols + col. Those of the residual only
   if there is one. */
IRC_FN void irc_conv_offsets(const irc_conv *p, int64_t from, int32_t count, int with_residual, irc_positions *q)
{
    int64_t line = from / p->cols, col = from % p->cols;
    int64_t batch = line / p->rows, row = line % p->rows;
    q->count = count;
    for (int32_t i = 0; i < count;) {
        const int32_t here = p->cols - col < count - i ? (int32_t)(p->cols - col) : count - i;
        irc_conv_line(q->x + i, here, batch * p->x_batch + row * p->x_row + col * p->x_col, p->x_col);
        irc_conv_line(q->y + i, here, batch * p->y_batch + row * p->y_row + col * p->y_col, p->y_col);
        if (with_residual)
            irc_conv_line(q->r + i, here, batch * p->r_batch + row * p->r_row + col * p->r_col, p->r_col);
        i += here;
        col = 0;
        if (++row == p->rows) {
            row = 0;
            batch++;
        }
    }
    irc_conv_line(q->x + count, IRC_POSITIONS_MORE, q->x[count - 1], 0);
    irc_conv_line(q->y + count, IRC_POSITIONS_MORE, q->y[count - 1], 0);
    if (with_residual)
        irc_conv_line(q->r + count, IRC_POSITIONS_MORE, q->r[count - 1], 0);
}

/* Few positions and many channels: the threads share the channels, so that each reads its weights only. */
IRC_FN int irc_conv_shares_channels(const irc_conv *p, int64_t positions, int threads)
{
    return threads > 1 && positions < p->n && irc_ceil_div(p->n, IRC_BLOCK) >= threads;
}

/* acc_init: [groups][n] or NULL, where the accumulators start; acc_rows: [groups][positions] or NULL, added to all channels
   of a position. scale, bias: [groups][n]. Sums are exact; the caller sees to it that they fit int32.
   scratch: scratch_bytes of this thread's own, aligned to 64; IRC_CONV_SCRATCH is what kernels make use of. */
IRC_FN void irc_conv_with(const irc_conv *p, const uint8_t *x, const int8_t *w, const int32_t *acc_init, const int32_t *acc_rows,
                          const float *scale, const float *bias, const uint8_t *residual, void *y, void *scratch,
                          size_t scratch_bytes, int thread, int threads)
{
    const int64_t positions = (int64_t)p->batch * p->rows * p->cols;
    const int32_t blocks = irc_ceil_div(p->n, IRC_BLOCK), steps = p->runs * irc_ceil_div(p->run_length, 4);
    const int32_t most = irc_conv_positions(p, scratch_bytes);
    int64_t from = 0, to = positions, first = 0, last = blocks;
    irc_positions q;
    irc_conv_part part;

    if (irc_conv_shares_channels(p, positions, threads))
        irc_share(blocks, thread, threads, &first, &last);
    else
        irc_share(positions, thread, threads, &from, &to);
    for (int64_t m = from; m < to; m += most) {
        irc_conv_offsets(p, m, (int32_t)(to - m < most ? to - m : most), residual != NULL, &q);
        for (int32_t g = 0; g < p->groups; g++) {
            const int64_t c = (int64_t)g * p->n + first * IRC_BLOCK;
            part.x = x + g * p->x_group;
            part.w = w + ((int64_t)g * blocks + first) * steps * 64;
            part.acc_init = acc_init ? acc_init + c : NULL;
            part.acc_rows = acc_rows ? acc_rows + g * positions + m : NULL;
            part.scale = scale + c;
            part.bias = bias + c;
            part.residual = residual ? residual + g * p->r_group + first * IRC_BLOCK : NULL;
            part.y = g * p->y_group + first * IRC_BLOCK;
            part.n = (int32_t)((last * IRC_BLOCK < p->n ? last * IRC_BLOCK : p->n) - first * IRC_BLOCK);
            if (part.n > 0)
                irc_conv_block(p, &q, &part, y, scratch, scratch_bytes);
        }
    }
}

/* With IRC_CONV_SCRATCH bytes of scratch memory: the fast way. */
IRC_FN void irc_conv_scratch_u8(const irc_conv *p, const uint8_t *x, const int8_t *w, const int32_t *acc_init,
                                const int32_t *acc_rows, const float *scale, const float *bias, const uint8_t *residual, void *y,
                                void *scratch, int thread, int threads)
{
    irc_conv_with(p, x, w, acc_init, acc_rows, scale, bias, residual, y, scratch, IRC_CONV_SCRATCH, thread, threads);
}

/* Without scratch memory: some of the stack serves, and long windows take more time. */
IRC_FN void irc_conv_u8(const irc_conv *p, const uint8_t *x, const int8_t *w, const int32_t *acc_init, const int32_t *acc_rows,
                        const float *scale, const float *bias, const uint8_t *residual, void *y, int thread, int threads)
{
    int64_t scratch[IRC_CONV_STACK / 8];
    irc_conv_with(p, x, w, acc_init, acc_rows, scale, bias, residual, y, scratch, sizeof scratch, thread, threads);
}

#endif
