/* Batched matrix products of float32: C = A B + bias, with any strides, so that either may be transposed. */
#ifndef IRC_MATMUL_F32_H
#define IRC_MATMUL_F32_H

#include "spmd.h"
#include "tile_f32.h"

/* A (m, k), B (k, n), C (m, n); strides in elements, the columns of C adjacent. Up to two axes of batches; a stride of
   0 broadcasts. */
typedef struct irc_matmul {
    int32_t batch0, batch1;
    int32_t m, n, k;
    int64_t a0, a1, a_row, a_col;
    int64_t b0, b1, b_row, b_col; /* of a packed B, [ceil(n / 16)][k][16], only b0 and b1 count */
    int64_t c0, c1, c_row;
    int64_t bias_row, bias_col; /* the bias is broadcast over batches */
    int32_t b_packed;
} irc_matmul;

/* The panel of 16 columns of B from `first` on, as rows *stride apart: in place, or copied to scratch, filled up with
   zeros. */
static inline const float *irc_panel_f32(const irc_matmul *p, const float *b, int32_t first, float *scratch,
                                         int64_t *stride)
{
    const int32_t left = p->n - first, columns = left < IRC_TILE_COLS ? left : IRC_TILE_COLS;
    if (p->b_packed) {
        *stride = IRC_TILE_COLS;
        return b + (int64_t)first * p->k;
    }
    if (p->b_col == 1 && columns == IRC_TILE_COLS) {
        *stride = p->b_row;
        return b + first;
    }
    for (int64_t k = 0; k < p->k; k++)
        for (int32_t j = 0; j < IRC_TILE_COLS; j++)
            scratch[k * IRC_TILE_COLS + j] = j < columns ? b[k * p->b_row + (first + j) * p->b_col] : 0.0f;
    *stride = IRC_TILE_COLS;
    return scratch;
}

/* Rows [from, to) of one panel. */
static inline void irc_matmul_panel_f32(const irc_matmul *p, const float *a, const float *panel, int64_t stride,
                                        const float *bias, float *c, int32_t first, int64_t from, int64_t to)
{
    const int32_t left = p->n - first, columns = left < IRC_TILE_COLS ? left : IRC_TILE_COLS;
    for (int64_t row = from; row < to; row += IRC_TILE_ROWS) {
        const int rows = to - row < IRC_TILE_ROWS ? (int)(to - row) : IRC_TILE_ROWS;
        const float *x[IRC_TILE_ROWS];
        float acc[IRC_TILE_ROWS][IRC_TILE_COLS] = {{0}};
        for (int r = 0; r < rows; r++) {
            x[r] = a + (row + r) * p->a_row;
            for (int32_t j = 0; bias && j < columns; j++)
                acc[r][j] = bias[(row + r) * p->bias_row + (first + j) * p->bias_col];
        }
        irc_tile_f32(x, rows, p->a_col, panel, stride, p->k, acc);
        for (int r = 0; r < rows; r++)
            memcpy(c + (row + r) * p->c_row + first, acc[r], (size_t)columns * sizeof(float));
    }
}

/* c[i][j] = bias[i][j] or 0, then fma over k ascending. bias may be NULL.
   scratch : 16 * k floats of this thread's own; NULL if B is packed. */
static inline void irc_matmul_f32(const irc_matmul *p, const float *a, const float *b, const float *bias,
                                      float *scratch, float *c, int thread, int threads)
{
    const int64_t panels = (p->n + IRC_TILE_COLS - 1) / IRC_TILE_COLS;
    const int64_t columns = (int64_t)p->batch0 * p->batch1 * panels;
    const int64_t parts = columns < threads ? threads : 1; /* of the rows, where panels are too few for the threads */
    int64_t begin, end;
    irc_share(columns * parts, thread, threads, &begin, &end);
    for (int64_t index = begin; index < end; index++) {
        const int64_t part = index % parts, panel = index / parts % panels, batch = index / parts / panels;
        const int64_t i0 = batch / p->batch1, i1 = batch % p->batch1;
        const int32_t first = (int32_t)panel * IRC_TILE_COLS;
        int64_t stride, from, to;
        const float *weights = irc_panel_f32(p, b + i0 * p->b0 + i1 * p->b1, first, scratch, &stride);
        irc_share(p->m, (int)part, (int)parts, &from, &to);
        irc_matmul_panel_f32(p, a + i0 * p->a0 + i1 * p->a1, weights, stride, bias, c + i0 * p->c0 + i1 * p->c1, first,
                             from, to);
    }
}

#endif
