/* Depthwise convolution for AVX-512 VNNI, for 64 channels at a time. Cells and bands: depthwise_bands.h.

   What unpacking leaves of 64 channels x 4 rows are quarters: quarter q holds channels 16 l + 4 q .. 16 l + 4 q + 3 for
   l = 0 .. 3. Weights and factors lie in the same order, and packing four quarters puts the codes in order again. */
#ifndef IRC_DEPTHWISE_VNNI_H
#define IRC_DEPTHWISE_VNNI_H

#include "conv_vnni.h"
#include "depthwise_bands.h"
#include "depthwise_columns.h"
#include "depthwise_portable.h"

#define IRC_DEPTHWISE_BANDS
#define IRC_STRIP_CHANNELS 64
#define IRC_STRIP_COLS 32  /* output columns at a time, at most */
#define IRC_STRIP_CELLS 96 /* at most */
#define IRC_STRIP_TAPS 40  /* vectors of four taps of all output rows of a band, at most */

/* 64 channels of a strip. */
typedef struct irc_strip {
    irc_bands bands;
    irc_clamp_zmm clamp;
    float scale[64], bias[64];          /* by quarters */
    irc_zmm w[IRC_STRIP_TAPS][4];       /* [output row of the band][group][kw] [quarter] */
    irc_zmm cell[IRC_STRIP_CELLS][4];   /* [group][column] [quarter] */
} irc_strip;

/* The four rows of 64 channels, interleaved. */
IRC_INLINE void irc_quarters(irc_zmm r0, irc_zmm r1, irc_zmm r2, irc_zmm r3, irc_zmm *to)
{
    const irc_zmm low0 = _mm512_unpacklo_epi8(r0, r1), low1 = _mm512_unpacklo_epi8(r2, r3);
    const irc_zmm high0 = _mm512_unpackhi_epi8(r0, r1), high1 = _mm512_unpackhi_epi8(r2, r3);
    _mm512_storeu_si512(to, _mm512_unpacklo_epi16(low0, low1));
    _mm512_storeu_si512(to + 1, _mm512_unpackhi_epi16(low0, low1));
    _mm512_storeu_si512(to + 2, _mm512_unpacklo_epi16(high0, high1));
    _mm512_storeu_si512(to + 3, _mm512_unpackhi_epi16(high0, high1));
}

/* The weights, factors and clamp of t->n <= 64 channels. */
IRC_FN void irc_strip_weights(const irc_depthwise *p, const int8_t *w, irc_columns *t, irc_strip *s)
{
    const int64_t stride = (p->channels + 15) / 16 * 16;
    const irc_bands *bands = &s->bands;
    s->clamp = irc_clamp_zmm_of(p->residual_scale, p->lo, p->hi);
    for (int32_t b = 0; b < bands->band; b++)
        for (int32_t g = 0; g < bands->groups; g++)
            for (int32_t j = 0; j < p->kw; j++) {
                irc_zmm rows[4];
                for (int32_t r = 0; r < 4; r++) {
                    const int32_t i = 4 * g + r - b * bands->down;
                    rows[r] = i >= 0 && i < p->kh ? _mm512_loadu_si512(w + (i * p->kw + j) * stride) : _mm512_setzero_si512();
                }
                irc_quarters(rows[0], rows[1], rows[2], rows[3], s->w[(b * bands->groups + g) * p->kw + j]);
            }
    for (int32_t c = 0; c < 64; c++) {
        const int32_t at = c % 16 / 4 * 16 + c / 16 * 4 + c % 4;
        s->scale[at] = c < t->n ? t->scale[c] : 0.0f;
        s->bias[at] = c < t->n ? t->bias[c] : 0.0f;
    }
}

/* The cells of `cols` output columns, from the window of the first one on; only `lines` input rows can be read. */
IRC_FN void irc_strip_cells(const irc_depthwise *p, const uint8_t *x, int32_t cols, int32_t lines, irc_strip *s)
{
    const int32_t columns = (cols - 1) * s->bands.step + (p->kw - 1) * s->bands.tap + 1;
    for (int32_t g = 0; g < s->bands.groups; g++) {
        const uint8_t *row[4];
        for (int32_t r = 0; r < 4; r++)
            row[r] = x + (4 * g + r < lines ? 4 * g + r : lines - 1) * p->tap_row;
        for (int32_t i = 0; i < columns; i++) {
            const int64_t at = i * s->bands.unit;
            irc_quarters(_mm512_loadu_si512(row[0] + at), _mm512_loadu_si512(row[1] + at), _mm512_loadu_si512(row[2] + at),
                         _mm512_loadu_si512(row[3] + at), s->cell[g * s->bands.columns + i]);
        }
    }
}

/* Codes of 64 channels of position i. */
IRC_INLINE void irc_strip_codes(const irc_strip *s, const irc_columns *t, int32_t i, const irc_zmm *acc)
{
    const irc_clamp_zmm *const clamp = &s->clamp;
    const irc_zmm zero = _mm512_setzero_si512();
    __m512 f[4];
    irc_zmm v[4];
    IRC_UNROLL for (int q = 0; q < 4; q++)
        f[q] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[q]), _mm512_loadu_ps(s->scale + 16 * q), _mm512_loadu_ps(s->bias + 16 * q));
    if (t->residual) {
        const irc_zmm r = _mm512_loadu_si512(t->residual + t->q->r[i]);
        const irc_zmm low = _mm512_unpacklo_epi8(r, zero), high = _mm512_unpackhi_epi8(r, zero);
        f[0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_unpacklo_epi16(low, zero)), clamp->residual_scale, f[0]);
        f[1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_unpackhi_epi16(low, zero)), clamp->residual_scale, f[1]);
        f[2] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_unpacklo_epi16(high, zero)), clamp->residual_scale, f[2]);
        f[3] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_unpackhi_epi16(high, zero)), clamp->residual_scale, f[3]);
    }
    IRC_UNROLL for (int q = 0; q < 4; q++) v[q] = _mm512_cvtps_epi32(_mm512_min_ps(f[q], clamp->hi));
    v[0] = _mm512_packus_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
    irc_store_64(t->codes + t->q->y[i], _mm512_max_epu8(v[0], clamp->lo), t->n);
}

/* The same as floats, put in order and then in plain C. */
static __attribute__((noinline, unused)) void irc_strip_floats(const irc_columns *t, int32_t i, const int32_t *quarters)
{
    int32_t acc[64];
    for (int32_t c = 0; c < 64; c++)
        acc[c] = quarters[c % 16 / 4 * 16 + c / 16 * 4 + c % 4];
    irc_finish_floats(t, i, 1, 64, acc);
}

/* R output columns from i on, of output row b of the band. */
IRC_INLINE void irc_strip_tile(const irc_depthwise *p, const irc_strip *s, const irc_columns *t, int32_t b, int32_t i,
                               const int R)
{
    const irc_zmm(*w)[4] = s->w + b * s->bands.groups * p->kw;
    irc_zmm c[4][4];
    IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int q = 0; q < 4; q++) c[r][q] = _mm512_setzero_si512();
    for (int32_t g = 0; g < s->bands.groups; g++) {
        const irc_zmm(*cell)[4] = s->cell + g * s->bands.columns + i * s->bands.step;
        for (int32_t k = 0; k < p->kw; k++, w++, cell += s->bands.tap) {
            irc_zmm v[4];
            IRC_UNROLL for (int q = 0; q < 4; q++) v[q] = _mm512_loadu_si512(*w + q);
            IRC_UNROLL for (int r = 0; r < R; r++) IRC_UNROLL for (int q = 0; q < 4; q++) {
                const irc_zmm a = _mm512_loadu_si512(cell[r * s->bands.step] + q);
                IRC_DPBUSD_ZMM(c[r][q], a, v[q]);
            }
        }
    }
    IRC_UNROLL for (int r = 0; r < R; r++) {
        if (t->codes) {
            irc_strip_codes(s, t, i + r, c[r]);
        } else {
            int32_t quarters[64];
            IRC_UNROLL for (int q = 0; q < 4; q++) _mm512_storeu_si512(quarters + 16 * q, c[r][q]);
            irc_strip_floats(t, i + r, quarters);
        }
    }
}

/* Output row b of the band, `cols` columns. */
static __attribute__((noinline, unused)) void irc_strip_row(const irc_depthwise *p, const irc_strip *s, const irc_columns *t,
                                                            int32_t b, int32_t cols)
{
    int32_t i = 0;
    for (; i + 4 <= cols; i += 4)
        irc_strip_tile(p, s, t, b, i, 4);
    for (; i < cols; i++)
        irc_strip_tile(p, s, t, b, i, 1);
}

#endif
