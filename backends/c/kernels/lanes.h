/* Reductions in one fixed order, so that every compiler and vector width gives the same bits.

   Sixteen lanes: lane l takes the elements l, l + 16, l + 32, ... in turn; then lane l takes lane l + 8, + 4, + 2, + 1.
   Two vectors of AVX2, one of AVX-512 and four of NEON hold the lanes, in registers. */
#ifndef IRC_LANES_H
#define IRC_LANES_H

#include "irc_math.h"

#define IRC_LANES 16

static inline float irc_fold_sum(const float *lane)
{
    float eight[8], four[4];
    for (int l = 0; l < 8; l++)
        eight[l] = lane[l] + lane[l + 8];
    for (int l = 0; l < 4; l++)
        four[l] = eight[l] + eight[l + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

static inline float irc_fold_max(const float *lane)
{
    float eight[8], four[4];
    for (int l = 0; l < 8; l++)
        eight[l] = irc_max(lane[l], lane[l + 8]);
    for (int l = 0; l < 4; l++)
        four[l] = irc_max(eight[l], eight[l + 4]);
    return irc_max(irc_max(four[0], four[2]), irc_max(four[1], four[3]));
}

/* The sum of n elements. */
static inline float irc_lane_sum(const float *x, int64_t n)
{
    float lane[IRC_LANES];
    for (int l = 0; l < IRC_LANES; l++)
        lane[l] = 0.0f;
    int64_t i = 0;
    for (; i + IRC_LANES <= n; i += IRC_LANES)
        for (int l = 0; l < IRC_LANES; l++)
            lane[l] += x[i + l];
    for (int l = 0; i + l < n; l++)
        lane[l] += x[i + l];
    return irc_fold_sum(lane);
}

/* The sum of (x - centre)^2, each square fused with its addition. */
static inline float irc_lane_sum_square(const float *x, float centre, int64_t n)
{
    float lane[IRC_LANES];
    for (int l = 0; l < IRC_LANES; l++)
        lane[l] = 0.0f;
    int64_t i = 0;
    for (; i + IRC_LANES <= n; i += IRC_LANES)
        for (int l = 0; l < IRC_LANES; l++) {
            const float d = x[i + l] - centre;
            lane[l] = IRC_FMAF(d, d, lane[l]);
        }
    for (int l = 0; i + l < n; l++) {
        const float d = x[i + l] - centre;
        lane[l] = IRC_FMAF(d, d, lane[l]);
    }
    return irc_fold_sum(lane);
}

/* The largest of n elements, -infinity of none; NaN is passed over. */
static inline float irc_lane_max(const float *x, int64_t n)
{
    float lane[IRC_LANES];
    for (int l = 0; l < IRC_LANES; l++)
        lane[l] = -INFINITY;
    int64_t i = 0;
    for (; i + IRC_LANES <= n; i += IRC_LANES)
        for (int l = 0; l < IRC_LANES; l++)
            lane[l] = irc_max(x[i + l], lane[l]);
    for (int l = 0; i + l < n; l++)
        lane[l] = irc_max(x[i + l], lane[l]);
    return irc_fold_max(lane);
}

#endif
