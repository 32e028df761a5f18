/* Packing a matrix of u8 codes as weights, for products of two activations. See irc_pack_b in irc_types.h. */
#ifndef IRC_PACK_B_H
#define IRC_PACK_B_H

#include "irc_types.h"

#ifndef IRC_PACK_BLOCK
#define IRC_PACK_BLOCK
/* One block of 16 channels: w: ceil(k / 4) steps of [16][4]; sum[j] = sum over k of w. */
IRC_FN void irc_pack_block(const irc_pack_b *p, const uint8_t *b, int32_t n, int8_t *w, int32_t *sum)
{
    for (int32_t j = 0; j < IRC_BLOCK; j++) {
        const uint8_t *column = b + j * p->b_n;
        int32_t total = 0;
        for (int32_t k = 0; k < irc_ceil_div(p->k, 4) * 4; k++) {
            const int32_t value = j < n && k < p->k ? column[k * p->b_k] - 128 : 0;
            w[(k / 4) * 64 + j * 4 + k % 4] = (int8_t)value;
            total += value;
        }
        sum[j] = total;
    }
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
    for (int64_t i = from; i < to; i++) {
        const uint8_t *x = a + i / p->m * p->a_matrix + i % p->m * p->a_row;
        int32_t sum = 0;
        for (int32_t k = 0; k < p->k; k++)
            sum += x[k];
        row[i] = sum * p->multiplier;
    }
}

#endif
