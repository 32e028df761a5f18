/* The heart of the float32 contractions: 6 rows by 16 columns of sums in registers.

   Every sum is one chain of fused multiply-adds with k ascending, from the bias or 0; vectors run over columns. So the
   bits do not depend on tiles, vector width or threads. */
#ifndef IRC_TILE_F32_H
#define IRC_TILE_F32_H

#include <stddef.h>

#include "irc_math.h"

#define IRC_TILE_ROWS 6
#define IRC_TILE_COLS 16 /* also the columns of a packed panel of weights: [ceil(n / 16)][k][16], the rest zeros */

/* Two rows at a time: one makes clang, six make gcc keep sums in memory. */
static inline void irc_tile_rows(float *c, float *d, float x, float y, const float *row)
{
    for (int j = 0; j < IRC_TILE_COLS; j++) {
        c[j] = IRC_FMAF(x, row[j], c[j]);
        d[j] = IRC_FMAF(y, row[j], d[j]);
    }
}

/* acc[r][j] += sum over k of a[r][k * a_k] * b[k * b_k + j]. Arrays of a row each, spelled out, so that compilers keep
   each in registers throughout the loop. */
static inline void irc_tile_6x16(const float *const *a, int64_t a_k, const float *restrict b, int64_t b_k, int64_t k,
                                 float (*acc)[IRC_TILE_COLS])
{
    const float *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3], *a4 = a[4], *a5 = a[5];
    float c0[IRC_TILE_COLS], c1[IRC_TILE_COLS], c2[IRC_TILE_COLS];
    float c3[IRC_TILE_COLS], c4[IRC_TILE_COLS], c5[IRC_TILE_COLS];
    memcpy(c0, acc[0], sizeof c0);
    memcpy(c1, acc[1], sizeof c1);
    memcpy(c2, acc[2], sizeof c2);
    memcpy(c3, acc[3], sizeof c3);
    memcpy(c4, acc[4], sizeof c4);
    memcpy(c5, acc[5], sizeof c5);
    for (int64_t i = 0; i < k; i++) {
        const float *row = b + i * b_k;
        irc_tile_rows(c0, c1, a0[i * a_k], a1[i * a_k], row);
        irc_tile_rows(c2, c3, a2[i * a_k], a3[i * a_k], row);
        irc_tile_rows(c4, c5, a4[i * a_k], a5[i * a_k], row);
    }
    memcpy(acc[0], c0, sizeof c0);
    memcpy(acc[1], c1, sizeof c1);
    memcpy(acc[2], c2, sizeof c2);
    memcpy(acc[3], c3, sizeof c3);
    memcpy(acc[4], c4, sizeof c4);
    memcpy(acc[5], c5, sizeof c5);
}

/* The same for one row. */
static inline void irc_tile_1x16(const float *restrict a, int64_t a_k, const float *restrict b, int64_t b_k, int64_t k,
                                 float *acc)
{
    float c[IRC_TILE_COLS];
    memcpy(c, acc, sizeof c);
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < IRC_TILE_COLS; j++)
            c[j] = IRC_FMAF(a[i * a_k], b[i * b_k + j], c[j]);
    memcpy(acc, c, sizeof c);
}

/* `rows` of the tile's rows; those missing are computed from the last one's numbers and dropped. */
static inline void irc_tile_f32(const float **a, int rows, int64_t a_k, const float *b, int64_t b_k, int64_t k,
                                float (*acc)[IRC_TILE_COLS])
{
    if (rows == 1) {
        irc_tile_1x16(a[0], a_k, b, b_k, k, acc[0]);
        return;
    }
    for (int r = rows; r < IRC_TILE_ROWS; r++)
        a[r] = a[rows - 1];
    irc_tile_6x16(a, a_k, b, b_k, k, acc);
}

#endif
