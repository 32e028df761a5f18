/* y = table[x]: any function of one uint8 code to another. */
#ifndef IRC_LOOKUP_H
#define IRC_LOOKUP_H

#include <stdint.h>

#include "spmd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* A tensor of up to three axes, elements of the last adjacent. Sizes and strides in elements. */
typedef struct irc_lookup {
    int32_t size0, size1, n;
    int64_t x0, x1;
    int64_t y0, y1;
} irc_lookup;

#if defined(__AVX2__)
/* What a code's low half finds in one of sixteen tables of 16 bytes. */
static inline __m256i irc_lookup_16(const uint8_t *table, __m256i low)
{
    const __m128i part = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(part), low);
}

/* The same in 64 bytes: bits 4 and 5 of the code choose. They were shifted to where the blend looks, a byte's top. */
static inline __m256i irc_lookup_64(const uint8_t *table, __m256i low, __m256i bit4, __m256i bit5)
{
    const __m256i first = _mm256_blendv_epi8(irc_lookup_16(table, low), irc_lookup_16(table + 16, low), bit4);
    const __m256i second = _mm256_blendv_epi8(irc_lookup_16(table + 32, low), irc_lookup_16(table + 48, low), bit4);
    return _mm256_blendv_epi8(first, second, bit5);
}

static inline int64_t irc_lookup_vectors(const uint8_t *table, const uint8_t *x, uint8_t *y, int64_t n)
{
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256i code = _mm256_loadu_si256((const __m256i *)(const void *)(x + i));
        const __m256i low = _mm256_and_si256(code, _mm256_set1_epi8(15));
        const __m256i bit4 = _mm256_slli_epi16(code, 3), bit5 = _mm256_slli_epi16(code, 2);
        const __m256i bit6 = _mm256_slli_epi16(code, 1);
        const __m256i first = _mm256_blendv_epi8(irc_lookup_64(table, low, bit4, bit5),
                                                 irc_lookup_64(table + 64, low, bit4, bit5), bit6);
        const __m256i second = _mm256_blendv_epi8(irc_lookup_64(table + 128, low, bit4, bit5),
                                                  irc_lookup_64(table + 192, low, bit4, bit5), bit6);
        _mm256_storeu_si256((__m256i *)(void *)(y + i), _mm256_blendv_epi8(first, second, code));
    }
    return i;
}
#elif defined(__aarch64__) && defined(__ARM_NEON)
/* Four tables of 64 bytes; an index outside a table leaves the byte as it is. */
static inline int64_t irc_lookup_vectors(const uint8_t *table, const uint8_t *x, uint8_t *y, int64_t n)
{
    const uint8x16x4_t t0 = vld1q_u8_x4(table), t1 = vld1q_u8_x4(table + 64);
    const uint8x16x4_t t2 = vld1q_u8_x4(table + 128), t3 = vld1q_u8_x4(table + 192);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const uint8x16_t code = vld1q_u8(x + i);
        uint8x16_t found = vqtbl4q_u8(t0, code);
        found = vqtbx4q_u8(found, t1, vsubq_u8(code, vdupq_n_u8(64)));
        found = vqtbx4q_u8(found, t2, vsubq_u8(code, vdupq_n_u8(128)));
        found = vqtbx4q_u8(found, t3, vsubq_u8(code, vdupq_n_u8(192)));
        vst1q_u8(y + i, found);
    }
    return i;
}
#else
static inline int64_t irc_lookup_vectors(const uint8_t *table, const uint8_t *x, uint8_t *y, int64_t n)
{
    (void)table;
    (void)x;
    (void)y;
    (void)n;
    return 0;
}
#endif

/* y may be x. */
static inline void irc_lookup_row_u8(const uint8_t *table, const uint8_t *x, uint8_t *y, int64_t n)
{
    for (int64_t i = irc_lookup_vectors(table, x, y, n); i < n; i++)
        y[i] = table[x[i]];
}

/* table : 256 codes. A dense tensor is cut in pieces for the threads, any other by rows. */
static inline void irc_lookup_u8(const irc_lookup *p, const uint8_t *x, const uint8_t *table, uint8_t *y, int thread,
                                 int threads)
{
    int64_t begin, end;
    const int64_t rows = (int64_t)p->size0 * p->size1;
    const int dense = (p->size1 == 1 || (p->x1 == p->n && p->y1 == p->n)) &&
                      (p->size0 == 1 || (p->x0 == (int64_t)p->n * p->size1 && p->y0 == p->x0));
    if (dense) {
        irc_share(rows * p->n, thread, threads, &begin, &end);
        irc_lookup_row_u8(table, x + begin, y + begin, end - begin);
        return;
    }
    irc_share(rows, thread, threads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        const int64_t i0 = row / p->size1, i1 = row % p->size1;
        irc_lookup_row_u8(table, x + i0 * p->x0 + i1 * p->x1, y + i0 * p->y0 + i1 * p->y1, p->n);
    }
}

#endif
