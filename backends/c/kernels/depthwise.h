/* Depthwise convolution on u8 codes: who does what. The instruction set may give `irc_depthwise_strip` (IRC_DEPTHWISE_STRIP). */
#ifndef IRC_DEPTHWISE_H
#define IRC_DEPTHWISE_H

#include "depthwise_portable.h"

#ifndef IRC_DEPTHWISE_STRIP
#define IRC_DEPTHWISE_STRIP
#define IRC_STRIP_CHANNELS 16

/* Output rows first .. last - 1 of one image, channels from .. to - 1: at most IRC_STRIP_CHANNELS. */
IRC_FN void irc_depthwise_strip(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                const uint8_t *residual, void *y, int64_t batch, int32_t first, int32_t last, int32_t from, int32_t to)
{
    for (int32_t row = first; row < last; row++)
        irc_depthwise_line(p, x, w, scale, bias, residual, y, batch * p->rows + row, from, to);
}
#endif

/* scale, bias: [channels]. The threads share bands of IRC_STRIP_ROWS rows of blocks of channels. */
#define IRC_STRIP_ROWS 2
IRC_FN void irc_depthwise_u8(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                             const uint8_t *residual, void *y, int thread, int threads)
{
    const int64_t bands = irc_ceil_div(p->rows, IRC_STRIP_ROWS);
    int64_t from, to;
    irc_share(irc_ceil_div(p->channels, IRC_STRIP_CHANNELS) * bands * p->batch, thread, threads, &from, &to);
    for (int64_t i = from, next; i < to; i = next) {
        const int64_t plane = i / bands, end = (plane + 1) * bands < to ? (plane + 1) * bands : to;
        const int32_t c = (int32_t)(plane / p->batch) * IRC_STRIP_CHANNELS;
        const int32_t first = (int32_t)(i - plane * bands) * IRC_STRIP_ROWS, last = (int32_t)(end - plane * bands) * IRC_STRIP_ROWS;
        irc_depthwise_strip(p, x, w, scale, bias, residual, y, plane % p->batch, first, last < p->rows ? last : p->rows, c,
                            p->channels - c < IRC_STRIP_CHANNELS ? p->channels : c + IRC_STRIP_CHANNELS);
        next = end;
    }
}

#endif
