/* irc_conv_block for AVX2: where all weights are quad-safe the way of conv_avx2_quads.h, else tiles of 6 positions x 16
   channels, 12 accumulators.

   Scratch memory: the lists of steps (conv_avx2_steps.h), then the activations of the block of positions, widened to int16:
   per step of 4 codes c0 .. c3 the dwords (c0, c2), (c1, c3), which meet the even and the odd weights. */
#ifndef IRC_CONV_AVX2_H
#define IRC_CONV_AVX2_H

#include "conv_avx2_quads.h"
#include "conv_portable.h"

#define IRC_CONV_BLOCK irc_conv_block
#define IRC_CONV_STACK (32 * 1024)
#define IRC_CONV_MOST(p, scratch_bytes) irc_conv_most_avx2(p, scratch_bytes)

IRC_FN int32_t irc_steps_of(const irc_conv *p) { return p->runs * irc_ceil_div(p->run_length, 4); }

/* Bytes of a position's widened activations; odd multiples of 32 keep the rows of a tile in different cache sets. */
IRC_FN int64_t irc_wide_stride(const irc_conv *p) { return ((int64_t)irc_steps_of(p) * 8 / 64 + 1) * 64 + 32; }

/* Positions whose widened activations fit; 0 if not even a tile's do. */
IRC_FN int64_t irc_conv_fit_avx2(const irc_conv *p, size_t scratch_bytes)
{
    const int64_t room = (int64_t)scratch_bytes - (int64_t)irc_steps_of(p) * 3 * (int64_t)sizeof(irc_step) - 64;
    return room <= 0 ? 0 : room / irc_wide_stride(p) / 6 * 6;
}

/* Does the flag say that all steps of each run are quads? Where their number is odd it says it of other twos. */
IRC_FN int irc_conv_promises_quads(const irc_conv *p) { return (p->flags & IRC_QUADS_SAFE) && irc_ceil_div(p->run_length, 4) % 2 == 0; }

IRC_FN int32_t irc_conv_most_avx2(const irc_conv *p, size_t scratch_bytes)
{
    const int64_t fit = irc_conv_promises_quads(p) ? IRC_POSITIONS : irc_conv_fit_avx2(p, scratch_bytes);
    return fit ? (int32_t)(fit < IRC_POSITIONS ? fit : IRC_POSITIONS) : IRC_POSITIONS;
}

/* Widens the window of one position. */
IRC_FN void irc_widen(const irc_conv *p, const uint8_t *x, uint8_t *wide)
{
    const irc_v split = _mm256_setr_epi8(0, -1, 2, -1, 1, -1, 3, -1, 4, -1, 6, -1, 5, -1, 7, -1, /* lane by lane */
                                         8, -1, 10, -1, 9, -1, 11, -1, 12, -1, 14, -1, 13, -1, 15, -1);
    const int32_t steps = irc_ceil_div(p->run_length, 4);
    for (int32_t r = 0; r < p->runs; r++, wide += (int64_t)steps * 8) {
        const uint8_t *a = x + p->run_offset[r];
        for (int32_t s = 0; s < steps; s += 4) {
            const irc_v codes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(a + 4 * s)));
            irc_store(wide + 8 * s, _mm256_shuffle_epi8(codes, split));
        }
    }
}

/* The tile that starts at channel c of the part. */
IRC_FN irc_tile irc_conv_tile(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, int64_t c)
{
    irc_tile t;
    t.steps = NULL;
    t.wide = NULL;
    t.clamp = irc_clamp_of(p->residual_scale, p->lo, p->hi, p->flags & IRC_CODES_FIT);
    t.w = part->w + c / IRC_BLOCK * (int64_t)irc_steps_of(p) * 64;
    t.scale = part->scale + c;
    t.bias = part->bias + c;
    t.init = part->acc_init ? part->acc_init + c : NULL;
    t.n = (int32_t)(part->n - c);
    t.stride = irc_wide_stride(p);
    t.x = part->x;
    t.residual = part->residual ? part->residual + c : NULL;
    t.codes = p->float_output ? NULL : (uint8_t *)y + part->y + c;
    t.floats = p->float_output ? (float *)y + part->y + c : NULL;
    t.rows = q->count;
    t.x_at = q->x;
    t.y_at = q->y;
    t.r_at = q->r;
    t.row = part->acc_rows;
    return t;
}

/* All positions of the block times the 16 channels of weight block b. */
IRC_FN void irc_conv_column(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, int32_t b,
                            const irc_steps *steps, const uint8_t *wide)
{
    irc_tile t = irc_conv_tile(p, q, part, y, (int64_t)b * IRC_BLOCK);
    t.steps = steps;
    t.wide = wide;
    t.n = t.n < IRC_BLOCK ? t.n : IRC_BLOCK;
    irc_tile_avx2(&t);
}

/* Are all steps of the part quads? */
IRC_FN int irc_conv_all_quads(const irc_conv *p, const irc_conv_part *part)
{
    const int64_t steps = irc_ceil_div(p->run_length, 4), runs = (int64_t)irc_ceil_div(part->n, IRC_BLOCK) * p->runs;
    if (irc_conv_promises_quads(p))
        return 1;
    if (!(p->flags & IRC_PAIRS_SAFE) || steps % 2 == 0)
        return 0;
    for (int64_t r = 0; r < runs; r++)
        if (!irc_are_quads(part->w + r * steps * 64, (int32_t)steps / 2))
            return 0;
    return 1;
}

/* Sorting is worth its time if some tiles make use of it, and if the window is so long that saved products count. */
#define IRC_SORT_POSITIONS 25
#ifndef IRC_SORT_STEPS
#define IRC_SORT_STEPS 12
#endif

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    const int32_t count = irc_steps_of(p);
    const int sorted = (p->flags & IRC_PAIRS_SAFE) || (q->count >= IRC_SORT_POSITIONS && count >= IRC_SORT_STEPS);
    irc_step *list = (irc_step *)scratch;
    uint8_t *wide = (uint8_t *)(list + (int64_t)3 * count);
    irc_steps steps = {list, list + count, list + 2 * count, 0, 0, 0};
    if (irc_conv_all_quads(p, part)) {
        const irc_tile t = irc_conv_tile(p, q, part, y, 0);
        irc_quads_avx2(p, &t);
        return;
    }
    if (!irc_conv_fit_avx2(p, scratch_bytes)) {
        irc_conv_block_portable(p, q, part, y);
        return;
    }
    wide += (64 - (uintptr_t)wide % 64) % 64;
    if (!(p->flags & IRC_PAIRS_SAFE))
        for (int32_t i = 0; i < q->count; i++)
            irc_widen(p, part->x + q->x[i], wide + i * irc_wide_stride(p));
    for (int32_t b = 0; b * IRC_BLOCK < part->n; b++) {
        irc_sort_steps(p, part->w + (int64_t)b * count * 64, sorted, &steps);
        irc_conv_column(p, q, part, y, b, &steps, wide);
    }
}

#endif
