/* The outputs of a strip of a depthwise convolution, as the columns of a convolution have them. */
#ifndef IRC_DEPTHWISE_COLUMNS_H
#define IRC_DEPTHWISE_COLUMNS_H

#include "conv_columns.h"

/* What does not change in a strip; scale, bias: of its first channel, n: channels. */
IRC_FN void irc_columns_of_strip(irc_columns *t, const irc_depthwise *p, irc_positions *q, const float *scale, const float *bias,
                                 int32_t n)
{
    t->q = q;
    t->x = NULL;
    t->w = NULL;
    t->run_offset = t->rows = NULL;
    t->scale = scale;
    t->bias = bias;
    t->runs = t->steps = 0;
    t->n = n;
    t->residual_scale = p->residual_scale;
    t->lo = p->lo;
    t->hi = p->hi;
}

/* Positions 0 .. cols - 1 are the output columns from `col` on, channels from `from` on. */
IRC_FN void irc_strip_outputs(irc_columns *t, const irc_depthwise *p, irc_positions *q, const uint8_t *residual, void *y,
                              int64_t batch, int32_t row, int32_t col, int32_t cols, int32_t from)
{
    const int64_t at = batch * p->y_batch + row * p->y_row + col * p->y_col + from;
    q->count = cols;
    t->codes = p->float_output ? NULL : (uint8_t *)y + at;
    t->floats = p->float_output ? (float *)y + at : NULL;
    t->residual = residual ? residual + batch * p->r_batch + row * p->r_row + col * p->r_col + from : NULL;
    for (int32_t i = 0; i < cols; i++) {
        q->y[i] = i * p->y_col;
        q->r[i] = i * p->r_col;
    }
}

#endif
