/* Depthwise convolution on u8 codes: who does what. The instruction set may give `irc_depthwise_strip` (IRC_DEPTHWISE_STRIP). */
#ifndef IRC_DEPTHWISE_H
#define IRC_DEPTHWISE_H

#include "depthwise_portable.h"

#ifndef IRC_DEPTHWISE_STRIP
#define IRC_DEPTHWISE_STRIP
#define IRC_STRIP_CHANNELS 16
#define IRC_STRIP_ROWS 1

/* Output rows line .. line + lines - 1 of one image, channels from .. to - 1: at most IRC_STRIP_ROWS, IRC_STRIP_CHANNELS. */
IRC_FN void irc_depthwise_strip(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                const uint8_t *residual, void *y, int64_t line, int32_t lines, int32_t from, int32_t to)
{
    (void)lines;
    irc_depthwise_line(p, x, w, scale, bias, residual, y, line, from, to);
}
#endif

/* scale, bias: [channels]. The threads share the strips: blocks of channels times blocks of rows. */
IRC_FN void irc_depthwise_u8(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                             const uint8_t *residual, void *y, int thread, int threads)
{
    const int64_t bands = irc_ceil_div(p->rows, IRC_STRIP_ROWS), per_block = bands * p->batch;
    int64_t from, to;
    irc_share(irc_ceil_div(p->channels, IRC_STRIP_CHANNELS) * per_block, thread, threads, &from, &to);
    for (int64_t i = from; i < to; i++) {
        const int32_t c = (int32_t)(i / per_block) * IRC_STRIP_CHANNELS, row = (int32_t)(i % per_block % bands) * IRC_STRIP_ROWS;
        const int32_t end = p->channels - c < IRC_STRIP_CHANNELS ? p->channels : c + IRC_STRIP_CHANNELS;
        const int32_t lines = p->rows - row < IRC_STRIP_ROWS ? p->rows - row : IRC_STRIP_ROWS;
        irc_depthwise_strip(p, x, w, scale, bias, residual, y, i % per_block / bands * p->rows + row, lines, c, end);
    }
}

#endif
