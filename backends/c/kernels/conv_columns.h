/* A block of positions times a few neighbouring blocks of channels: what a tile of registers is made from. */
#ifndef IRC_CONV_COLUMNS_H
#define IRC_CONV_COLUMNS_H

#include "conv_block.h"

#define IRC_WIDEST 64 /* channels, at most */

/* Pointers are at the first of the channels. */
typedef struct irc_columns {
    const irc_positions *q;
    const uint8_t *x;
    const int8_t *w;
    const int32_t *run_offset, *rows; /* rows: acc_rows or NULL */
    const float *scale, *bias;
    const uint8_t *residual; /* or NULL */
    uint8_t *codes;          /* or NULL */
    float *floats;           /* or NULL */
    int32_t runs, steps;     /* steps: of a run */
    int32_t n;               /* channels that there are: 1 .. IRC_WIDEST */
    float residual_scale, lo, hi;
    int32_t start[IRC_WIDEST]; /* where the accumulators start */
} irc_columns;

/* Channel blocks `block` .. of a part, `width` of them at most. */
IRC_FN void irc_columns_of(irc_columns *t, const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y,
                           int32_t block, int32_t width)
{
    const int32_t c = block * IRC_BLOCK;
    t->q = q;
    t->x = part->x;
    t->run_offset = p->run_offset;
    t->runs = p->runs;
    t->steps = irc_ceil_div(p->run_length, 4);
    t->w = part->w + (int64_t)block * t->runs * t->steps * 64;
    t->rows = part->acc_rows;
    t->scale = part->scale + c;
    t->bias = part->bias + c;
    t->residual = part->residual ? part->residual + c : NULL;
    t->codes = p->float_output ? NULL : (uint8_t *)y + part->y + c;
    t->floats = p->float_output ? (float *)y + part->y + c : NULL;
    t->n = part->n - c < width * IRC_BLOCK ? part->n - c : width * IRC_BLOCK;
    t->residual_scale = p->residual_scale;
    t->lo = p->lo;
    t->hi = p->hi;
    for (int32_t j = 0; j < width * IRC_BLOCK; j++)
        t->start[j] = part->acc_init && j < t->n ? part->acc_init[c + j] : 0;
}

#endif
