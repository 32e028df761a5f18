/* Packing a matrix of u8 codes as weights, for products of two activations. See irc_pack_b in irc_types.h. */
#ifndef IRC_PACK_B_H
#define IRC_PACK_B_H

#include "pack_b_portable.h"

#ifndef IRC_PACK_BLOCK
#define IRC_PACK_BLOCK
IRC_FN void irc_pack_block(const irc_pack_b *p, const uint8_t *b, int32_t n, int8_t *w, int32_t *sum)
{
    irc_pack_block_portable(p, b, n, 0, w, sum);
}
#endif

#ifndef IRC_ROW_SUM
#define IRC_ROW_SUM
IRC_FN int32_t irc_row_sum(const uint8_t *x, int32_t k)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < k; i++)
        sum += x[i];
    return sum;
}
#endif

/* w: packed as irc_conv's weights with groups = matrices, runs = 1, run_length = k. column: [matrices][n] */
IRC_FN void irc_pack_b_u8(const irc_pack_b *p, const uint8_t *b, int8_t *w, int32_t *column, int thread, int threads)
{
    const int32_t blocks = irc_ceil_div(p->n, IRC_BLOCK), steps = irc_ceil_div(p->k, 4);
    int64_t from, to;
    irc_share((int64_t)p->matrices * blocks, thread, threads, &from, &to);
    for (int64_t i = from; i < to; i++) {
        const int32_t first = (int32_t)(i % blocks) * IRC_BLOCK;
        const int32_t n = p->n - first < IRC_BLOCK ? p->n - first : IRC_BLOCK;
        int32_t sum[IRC_BLOCK];
        irc_pack_block(p, b + i / blocks * p->b_matrix + first * p->b_n, n, w + i * steps * 64, sum);
        for (int32_t j = 0; j < n; j++)
            column[i / blocks * p->n + first + j] = -p->a_zero_point * (sum[j] + p->k * (128 - p->b_zero_point));
    }
}

/* row: [matrices][m] */
IRC_FN void irc_row_sums_u8(const irc_row_sums *p, const uint8_t *a, int32_t *row, int thread, int threads)
{
    int64_t from, to;
    irc_share((int64_t)p->matrices * p->m, thread, threads, &from, &to);
    for (int64_t i = from; i < to; i++)
        row[i] = p->multiplier * irc_row_sum(a + i / p->m * p->a_matrix + i % p->m * p->a_row, p->k);
}

#endif
