/* The geometry of depthwise convolutions by dot products of four.

   Four input rows are interleaved: a cell holds, for one input column, [channels][4 rows]. One dot product then takes four taps
   that lie above each other. A band is so many output rows that their windows lie in the same cells: with `down` input rows
   from one output row to the next, output row b of a band has the weights moved down by b * down rows, and zeros elsewhere.
   The loops over them: depthwise.h. */
#ifndef IRC_DEPTHWISE_BANDS_H
#define IRC_DEPTHWISE_BANDS_H

#include "irc_types.h"

typedef struct irc_bands {
    int32_t groups, band; /* groups of four input rows; output rows of a band */
    int32_t down;         /* taps from one output row of a band to the next */
    int32_t step, tap;    /* cells from one output column, one tap to the next */
    int64_t unit;         /* bytes of x from one cell to the next */
    int32_t cols;         /* output columns at a time */
    int32_t columns;      /* cells of a group */
} irc_bands;

/* At most so many cells, vectors of four taps (of all output rows of a band), output columns; 0 if that is not enough. */
IRC_FN int irc_bands_of(const irc_depthwise *p, int32_t cells, int32_t taps, int32_t cols, irc_bands *s)
{
    s->groups = irc_ceil_div(p->kh, 4);
    s->down = p->kh > 1 && p->tap_row > 0 && p->x_row % p->tap_row == 0 ? (int32_t)(p->x_row / p->tap_row) : 4 * s->groups;
    s->band = s->down > 0 ? (4 * s->groups - p->kh) / s->down + 1 : 1;
    s->unit = p->kw > 1 && p->tap_col > 0 ? irc_common_divisor(p->x_col, p->tap_col) : p->x_col;
    if (s->unit <= 0 || s->groups * p->kw > taps)
        return 0;
    if (s->band * s->groups * p->kw > taps)
        s->band = 1;
    s->step = (int32_t)(p->x_col / s->unit);
    s->tap = p->kw > 1 ? (int32_t)(p->tap_col / s->unit) : 0;
    const int32_t room = cells / s->groups - 1 - (p->kw - 1) * s->tap;
    s->cols = room < 0 ? 0 : room / s->step + 1;
    s->cols = s->cols < cols ? s->cols : cols;
    s->columns = (s->cols - 1) * s->step + (p->kw - 1) * s->tap + 1;
    return s->cols > 0;
}

#endif
