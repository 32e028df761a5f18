/* The integer kernels: what they take, and what they promise.

   Every kernel computes exact int32 sums of u8 codes times s8 weights and requantizes them with float32 arithmetic:

       t = fma((float)acc, scale[c], bias[c])               one rounding
       t = fma((float)residual, residual_scale, t)          if there is a residual
       y = round_half_even(min(max(t, lo), hi))  as u8      or t itself as float, if float_output

   All instruction sets give the same bits, for any number of threads.

   Activations are u8 codes, channels innermost (NHWC) and contiguous; every other stride is free. Spatial padding lies in
   the buffer: the producer's border holds the zero point, so no kernel checks bounds.

   Reading past the end: behind the last byte of every buffer (activations, weights, scale, bias, acc_init, residual) there
   must be IRC_SLACK readable bytes, of any value. Nothing is ever written outside the outputs.

   Threads: a kernel is called by all `threads` threads with the same arguments and its own number; it does its share of the
   outputs and does not wait. */
#ifndef IRC_TYPES_H
#define IRC_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "spmd.h"

#define IRC_FN static inline
#define IRC_INLINE static inline __attribute__((always_inline))

/* Unrolls the loop behind it, which has a constant number of turns, so that arrays of vectors become registers. */
#if defined(__clang__)
#define IRC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define IRC_UNROLL _Pragma("GCC unroll 16")
#endif

#define IRC_SLACK 64
#define IRC_BLOCK 16 /* output channels in a block of packed weights */

/* Scratch memory, bytes for each thread, aligned to 64; the same for all shapes and instruction sets. */
#define IRC_CONV_SCRATCH (256 * 1024)
#define IRC_WINOGRAD_SCRATCH (640 * 1024)

/* What the weights of a layer promise, in irc_conv.flags. A kernel that profits from safe weights also looks for them itself, step
   by step (conv_avx2_steps.h): a flag saves the looking and the other way's preparations. Let p(n, s, i) = weight of channel n at k = 4 s + i, where s counts
   the steps of all runs; "safe" means that 255 * (sum of the positive ones) <= 32767 and 255 * (sum of the negative ones) >= -32768. */
enum {
    /* for all n, s and i = 0, 2: the two weights p(n, s, i), p(n, s, i + 1) are safe */
    IRC_PAIRS_SAFE = 1,
    /* for all n, s = 0, 2, 4, ... and i = 0, 2: the four weights p(n, s, i), p(n, s, i + 1), p(n, s + 1, i), p(n, s + 1, i + 1)
       are safe; a step past the last one counts as zeros. Implies IRC_PAIRS_SAFE, which must be set as well. */
    IRC_QUADS_SAFE = 2,
    /* |t| < 2^31 for every input: 255 * max over c of (sum |w|) * |scale[c]| + |bias[c]| + 255 |residual_scale| < 2^31 */
    IRC_CODES_FIT = 4
};

/* A convolution, Gemm or MatMul with constant or packed weights. A Gemm (M, K) x (K, N) is rows = 1, cols = M, n = N, runs = 1,
   run_length = K, x_col = stride of a row of x.

   The window of an output position is `runs` pieces of run_length bytes: for a convolution without dilation along the last
   spatial axis one kernel row of kw * C bytes, else one tap of C bytes.

   Packed weights: for every group, for every block of 16 output channels (n padded with zeros to a multiple of 16), for every
   run, ceil(run_length / 4) steps of [16 channels][4 k] int8; the rest of a run's last step is zero.
   Size in bytes: groups * ceil(n / 16) * runs * ceil(run_length / 4) * 64. */
typedef struct irc_conv {
    int32_t batch, rows, cols;  /* output positions */
    int32_t n;                  /* output channels of a group */
    int32_t groups;             /* group g reads x + g x_group, writes y + g y_group, and has its own blocks of weights */
    int32_t runs, run_length;   /* run_length in bytes */
    const int32_t *run_offset;  /* [runs], bytes from the window's first byte; may be negative */
    int64_t x_batch, x_row, x_col, x_group; /* bytes from one window to the next */
    int64_t y_batch, y_row, y_col, y_group; /* elements of y */
    int64_t r_batch, r_row, r_col, r_group; /* bytes of the residual */
    float residual_scale, lo, hi;           /* lo, hi: whole numbers in 0 .. 255 */
    int32_t float_output;
    int32_t flags; /* IRC_PAIRS_SAFE | ...; 0 is always right */
    int32_t positions; /* of a block, which the kernel may make smaller; 0: it chooses */
} irc_conv;

/* A convolution with one input channel per output channel.
   Weights: int8 [kh * kw][C16], C16 = channels rounded up to a multiple of 16; tap (i, j) is row i * kw + j. */
typedef struct irc_depthwise {
    int32_t batch, rows, cols, channels;
    int32_t kh, kw;
    int64_t x_batch, x_row, x_col; /* bytes from one output position's window to the next one's (stride) */
    int64_t tap_row, tap_col;      /* bytes from one tap to the next (dilation) */
    int64_t y_batch, y_row, y_col; /* elements of y */
    int64_t r_batch, r_row, r_col; /* bytes of the residual */
    float residual_scale, lo, hi;
    int32_t float_output;
    int32_t flags; /* IRC_CODES_FIT or 0 */
} irc_depthwise;

/* A matrix b of u8 codes that becomes packed weights at run time, for a product with a:
   acc[m][n] = sum over k of (a[m][k] - a_zero_point) (b[k][n] - b_zero_point).
   Let w = b ^ 0x80 as int8 = b - 128. Then acc = sum a w + column[n] + row[m] with
       column[n] = -a_zero_point * sum over k of (w[k][n] + 128 - b_zero_point)
       row[m]    = (128 - b_zero_point) * sum over k of a[m][k]
   column is acc_init of irc_conv_u8, row is acc_rows. */
typedef struct irc_pack_b {
    int32_t matrices, k, n;
    int64_t b_matrix, b_k, b_n; /* bytes from one element of b to the next along each axis; b_k or b_n is 1 */
    int32_t a_zero_point, b_zero_point;
} irc_pack_b;

/* The sums of the rows of a: row[i][m] = multiplier * sum over k of a[i][m][k]. */
typedef struct irc_row_sums {
    int32_t matrices, m, k;
    int64_t a_matrix, a_row; /* bytes */
    int32_t multiplier;      /* 128 - b_zero_point; if it is 0, no row term is needed */
} irc_row_sums;

IRC_FN int32_t irc_ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

IRC_FN int64_t irc_common_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

#endif
