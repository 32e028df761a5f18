/* Depthwise convolution on u8 codes: who does what.

   The instruction set may give `irc_depthwise_strip` (IRC_DEPTHWISE_STRIP), or what it is made of where cells lie in bands
   (IRC_DEPTHWISE_BANDS, see depthwise_bands.h): `irc_strip` and `irc_strip_weights`, `irc_strip_cells`, `irc_strip_row`. */
#ifndef IRC_DEPTHWISE_H
#define IRC_DEPTHWISE_H

#include "depthwise_portable.h"

/* Output rows first .. last - 1 of one image, channels from .. to - 1: at most IRC_STRIP_CHANNELS. */
#if defined(IRC_DEPTHWISE_BANDS)
IRC_FN void irc_depthwise_strip(const irc_depthwise *p, const uint8_t *x, const int8_t *w, const float *scale, const float *bias,
                                const uint8_t *residual, void *y, int64_t batch, int32_t first, int32_t last, int32_t from, int32_t to)
{
    irc_strip s;
    if (!irc_bands_of(p, IRC_STRIP_CELLS, IRC_STRIP_TAPS, IRC_STRIP_COLS, &s.bands)) {
        for (int32_t row = first; row < last; row++)
            irc_depthwise_line(p, x, w, scale, bias, residual, y, batch * p->rows + row, from, to);
        return;
    }
    irc_positions q;
    irc_columns t;
    irc_columns_of_strip(&t, p, &q, scale + from, bias + from, to - from);
    irc_strip_weights(p, w + from, &t, &s);
    for (int32_t row = first; row < last; row += s.bands.band) {
        const int32_t rows = last - row < s.bands.band ? last - row : s.bands.band;
        for (int32_t col = 0; col < p->cols; col += s.bands.cols) {
            const int32_t cols = p->cols - col < s.bands.cols ? p->cols - col : s.bands.cols;
            irc_strip_cells(p, x + batch * p->x_batch + row * p->x_row + col * p->x_col + from, cols,
                            (rows - 1) * s.bands.down + p->kh, &s);
            for (int32_t b = 0; b < rows; b++) {
                irc_strip_outputs(&t, p, &q, residual, y, batch, row + b, col, cols, from);
                irc_strip_row(p, &s, &t, b, cols);
            }
        }
    }
}
#elif !defined(IRC_DEPTHWISE_STRIP)
#define IRC_STRIP_CHANNELS 16
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
