/* Packing a matrix of codes at run time, for ARM. See irc_pack_b in irc_types.h. */
#ifndef IRC_PACK_B_ARM_H
#define IRC_PACK_B_ARM_H

#include "conv_columns.h"
#include "pack_b_portable.h"
#include <arm_neon.h>

#define IRC_PACK_BLOCK

IRC_INLINE uint8x16_t irc_flipped(const uint8_t *b) { return veorq_u8(vld1q_u8(b), vdupq_n_u8(0x80)); }

/* Four vectors of four dwords, transposed. */
IRC_INLINE void irc_transpose_dwords(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d, uint32x4_t *to)
{
    const uint64x2_t ab0 = vreinterpretq_u64_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
    const uint64x2_t ab1 = vreinterpretq_u64_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
    const uint64x2_t cd0 = vreinterpretq_u64_u32(vzip1q_u32(vreinterpretq_u32_u8(c), vreinterpretq_u32_u8(d)));
    const uint64x2_t cd1 = vreinterpretq_u64_u32(vzip2q_u32(vreinterpretq_u32_u8(c), vreinterpretq_u32_u8(d)));
    to[0] = vreinterpretq_u32_u64(vzip1q_u64(ab0, cd0));
    to[1] = vreinterpretq_u32_u64(vzip2q_u64(ab0, cd0));
    to[2] = vreinterpretq_u32_u64(vzip1q_u64(ab1, cd1));
    to[3] = vreinterpretq_u32_u64(vzip2q_u64(ab1, cd1));
}

/* Steps 0 .. steps - 1, a multiple of 4, of 16 channels whose k lie side by side: 4 channels x 16 k at a time. */
IRC_FN void irc_pack_columns(const uint8_t *b, int64_t b_n, int32_t steps, int8_t *w)
{
    for (int32_t s = 0; s < steps; s += 4)
        for (int32_t j = 0; j < 4; j++) {
            const uint8_t *four = b + 4 * j * b_n + 4 * s;
            uint32x4_t v[4];
            irc_transpose_dwords(irc_flipped(four), irc_flipped(four + b_n), irc_flipped(four + 2 * b_n),
                                 irc_flipped(four + 3 * b_n), v);
            IRC_UNROLL for (int i = 0; i < 4; i++) vst1q_s8(w + 64 * (s + i) + 16 * j, vreinterpretq_s8_u32(v[i]));
        }
}

/* Steps 0 .. steps - 1 where the 16 channels lie side by side. */
IRC_FN void irc_pack_rows(const uint8_t *b, int64_t b_k, int32_t steps, int8_t *w)
{
    for (int32_t s = 0; s < steps; s++, b += 4 * b_k, w += 64) {
        /* st4 stores the four rows interleaved byte by byte */
        const int8x16x4_t rows = {{vreinterpretq_s8_u8(irc_flipped(b)), vreinterpretq_s8_u8(irc_flipped(b + b_k)),
                                   vreinterpretq_s8_u8(irc_flipped(b + 2 * b_k)), vreinterpretq_s8_u8(irc_flipped(b + 3 * b_k))}};
        vst4q_s8(w, rows);
    }
}

/* sum[j] of `steps` packed steps. */
IRC_FN void irc_pack_sums(const int8_t *w, int32_t steps, int32_t *sum)
{
    int32x4_t sums[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int32_t s = 0; s < steps; s++, w += 64)
        IRC_UNROLL for (int j = 0; j < 4; j++) sums[j] = vpadalq_s16(sums[j], vpaddlq_s8(vld1q_s8(w + 16 * j)));
    IRC_UNROLL for (int j = 0; j < 4; j++) vst1q_s32(sum + 4 * j, sums[j]);
}

/* One block of 16 channels, as irc_pack_block_portable. */
IRC_FN void irc_pack_block(const irc_pack_b *p, const uint8_t *b, int32_t n, int8_t *w, int32_t *sum)
{
    const int32_t whole = p->b_k == 1 ? p->k / 16 * 4 : p->k / 4;
    if (n < IRC_BLOCK || (p->b_k != 1 && p->b_n != 1)) {
        irc_pack_block_portable(p, b, n, 0, w, sum);
        return;
    }
    if (p->b_k == 1)
        irc_pack_columns(b, p->b_n, whole, w);
    else
        irc_pack_rows(b, p->b_k, whole, w);
    irc_pack_block_portable(p, b, n, whole, w, sum);
    irc_pack_sums(w, irc_ceil_div(p->k, 4), sum);
}

#define IRC_ROW_SUM
/* The sum of k codes. */
IRC_FN int32_t irc_row_sum(const uint8_t *x, int32_t k)
{
    uint32x4_t sums = vdupq_n_u32(0);
    int32_t i = 0, sum;
    for (; i + 16 <= k; i += 16)
        sums = vpadalq_u16(sums, vpaddlq_u8(vld1q_u8(x + i)));
    sum = (int32_t)vaddvq_u32(sums);
    for (; i < k; i++)
        sum += x[i];
    return sum;
}

#endif
