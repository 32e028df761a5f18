/* Depthwise convolution in plain C: one position, 16 channels at a time. */
#ifndef IRC_DEPTHWISE_PORTABLE_H
#define IRC_DEPTHWISE_PORTABLE_H

#include "irc_types.h"
#include "requantize.h"

/* Channels c .. c + n - 1 of the position whose window starts at x. */
IRC_FN void irc_depthwise_position(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                   int n, const irc_output *out)
{
    const int64_t stride = (p->channels + 15) / 16 * 16;
    int32_t acc[IRC_BLOCK] = {0};
    for (int32_t i = 0; i < p->kh; i++)
        for (int32_t j = 0; j < p->kw; j++) {
            const uint8_t *a = x + i * p->tap_row + j * p->tap_col;
            const int8_t *v = w + ((int64_t)i * p->kw + j) * stride;
            for (int k = 0; k < n; k++)
                acc[k] += a[k] * v[k];
        }
    irc_requantize(acc, scale, bias, n, out);
}

/* Channels from .. to - 1 of output row `line` = batch * rows + row. */
IRC_FN void irc_depthwise_line(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                               const uint8_t *residual, void *y, int64_t line, int32_t from, int32_t to)
{
    const int64_t batch = line / p->rows, row = line % p->rows;
    irc_output out;
    out.residual_scale = p->residual_scale;
    out.lo = p->lo;
    out.hi = p->hi;
    for (int32_t j = 0; j < p->cols; j++) {
        const uint8_t *window = x + batch * p->x_batch + row * p->x_row + j * p->x_col;
        const int64_t at = batch * p->y_batch + row * p->y_row + j * p->y_col;
        for (int32_t c = from; c < to; c += IRC_BLOCK) {
            out.residual = residual ? residual + batch * p->r_batch + row * p->r_row + j * p->r_col + c : NULL;
            out.codes = p->float_output ? NULL : (uint8_t *)y + at + c;
            out.floats = p->float_output ? (float *)y + at + c : NULL;
            irc_depthwise_position(p, window + c, w + c, scale + c, bias + c, to - c < IRC_BLOCK ? to - c : IRC_BLOCK, &out);
        }
    }
}

#endif
