/* The most int8 operations that one core can do in a second: products and sums from registers, nothing loaded or stored. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include <stdint.h>
#include <time.h>

#define IRC_LIMIT_ROUNDS 200000
#define IRC_LIMIT_CHAINS 12

static double irc_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__AMX_INT8__)
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
long syscall(long number, ...);
/* 16 rows x 16 columns x 64 products an instruction. */
#define IRC_LIMIT_MACS (4.0 * 16 * 16 * 64)
static int32_t irc_limit_loop(int32_t start) {
    uint8_t config[64] = {1};
    (void)start;
    for (int i = 0; i < 8; i++) {
        config[48 + i] = 16;
        config[16 + 2 * i] = 64;
    }
    syscall(SYS_arch_prctl, 0x1023L, 18L);
    __asm__ volatile("" : : "r"(config) : "memory"); /* the compiler does not know that the next instruction reads it */
    _tile_loadconfig(config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int i = 0; i < IRC_LIMIT_ROUNDS; i++) {
        _tile_dpbusd(0, 4, 5);
        _tile_dpbusd(1, 4, 5);
        _tile_dpbusd(2, 4, 5);
        _tile_dpbusd(3, 4, 5);
    }
    _tile_release();
    return 0;
}
#elif defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(__AVX2__)
#include <immintrin.h>
#if defined(__AVX512VNNI__)
typedef __m512i irc_limit_vector;
#define IRC_LIMIT_SET(x) _mm512_set1_epi32(x)
#define IRC_LIMIT_STEP(c, a, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(a), "v"(w))
#define IRC_LIMIT_WIDTH 64
#elif defined(__AVXVNNI__)
typedef __m256i irc_limit_vector;
#define IRC_LIMIT_SET(x) _mm256_set1_epi32(x)
#define IRC_LIMIT_STEP(c, a, w) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(c) : "x"(a), "x"(w))
#define IRC_LIMIT_WIDTH 32
#else
typedef __m256i irc_limit_vector;
#define IRC_LIMIT_SET(x) _mm256_set1_epi32(x)
#define IRC_LIMIT_STEP(c, a, w) \
    do { \
        __m256i p_ = _mm256_maddubs_epi16(a, w); \
        __asm__("" : "+x"(p_)); \
        c = _mm256_add_epi32(c, _mm256_madd_epi16(p_, ones)); \
        __asm__("" : "+x"(c)); \
    } while (0)
#define IRC_LIMIT_WIDTH 32
#endif
#define IRC_LIMIT_MACS ((double)IRC_LIMIT_CHAINS * IRC_LIMIT_WIDTH)
static int32_t irc_limit_loop(int32_t start) {
    irc_limit_vector c[IRC_LIMIT_CHAINS];
    irc_limit_vector a = IRC_LIMIT_SET(start), w = IRC_LIMIT_SET(start + 1);
#if !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
    const __m256i ones = _mm256_set1_epi16(1);
#endif
    int32_t sum = 0, lanes[16] = {0};
    for (int j = 0; j < IRC_LIMIT_CHAINS; j++) c[j] = a;
    for (int i = 0; i < IRC_LIMIT_ROUNDS; i++) {
        IRC_LIMIT_STEP(c[0], a, w);
        IRC_LIMIT_STEP(c[1], a, w);
        IRC_LIMIT_STEP(c[2], a, w);
        IRC_LIMIT_STEP(c[3], a, w);
        IRC_LIMIT_STEP(c[4], a, w);
        IRC_LIMIT_STEP(c[5], a, w);
        IRC_LIMIT_STEP(c[6], a, w);
        IRC_LIMIT_STEP(c[7], a, w);
        IRC_LIMIT_STEP(c[8], a, w);
        IRC_LIMIT_STEP(c[9], a, w);
        IRC_LIMIT_STEP(c[10], a, w);
        IRC_LIMIT_STEP(c[11], a, w);
    }
    for (int j = 0; j < IRC_LIMIT_CHAINS; j++) {
        __builtin_memcpy(lanes, &c[j], sizeof c[j]);
        sum += lanes[0];
    }
    return sum;
}
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define IRC_LIMIT_STEP(c) __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(a), "w"(w))
#define IRC_LIMIT_WIDTH 32
#elif defined(__ARM_FEATURE_DOTPROD)
#define IRC_LIMIT_STEP(c) __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(a), "w"(w))
#define IRC_LIMIT_WIDTH 16
#else
#define IRC_LIMIT_STEP(c) __asm__("smlal %0.4s, %1.4h, %2.4h" : "+w"(c) : "w"(a), "w"(w))
#define IRC_LIMIT_WIDTH 4
#endif
#define IRC_LIMIT_MACS ((double)IRC_LIMIT_CHAINS * IRC_LIMIT_WIDTH)
static int32_t irc_limit_loop(int32_t start) {
    int32x4_t c[IRC_LIMIT_CHAINS];
    const int8x16_t a = vdupq_n_s8((int8_t)start), w = vdupq_n_s8((int8_t)(start + 1));
    int32_t sum = 0;
    for (int j = 0; j < IRC_LIMIT_CHAINS; j++) c[j] = vdupq_n_s32(start);
    for (int i = 0; i < IRC_LIMIT_ROUNDS; i++) {
        IRC_LIMIT_STEP(c[0]);
        IRC_LIMIT_STEP(c[1]);
        IRC_LIMIT_STEP(c[2]);
        IRC_LIMIT_STEP(c[3]);
        IRC_LIMIT_STEP(c[4]);
        IRC_LIMIT_STEP(c[5]);
        IRC_LIMIT_STEP(c[6]);
        IRC_LIMIT_STEP(c[7]);
        IRC_LIMIT_STEP(c[8]);
        IRC_LIMIT_STEP(c[9]);
        IRC_LIMIT_STEP(c[10]);
        IRC_LIMIT_STEP(c[11]);
    }
    for (int j = 0; j < IRC_LIMIT_CHAINS; j++) sum += vgetq_lane_s32(c[j], 0);
    return sum;
}
#else
#define IRC_LIMIT_MACS 8.0
static int32_t irc_limit_loop(int32_t start) {
    int32_t c[8];
    volatile int32_t factor = start;
    const int32_t w = factor;
    for (int j = 0; j < 8; j++) c[j] = start + j;
    for (int i = 0; i < IRC_LIMIT_ROUNDS; i++)
        for (int j = 0; j < 8; j++) c[j] += (c[j] & 127) * w;
    return c[0] + c[1] + c[2] + c[3] + c[4] + c[5] + c[6] + c[7];
}
#endif

static double irc_peak_gops(void) {
    volatile int32_t kept = 1;
    double best = 0.0;
    for (int i = 0; i < 9; i++) {
        const double start = irc_seconds();
        kept = irc_limit_loop(kept & 3);
        const double gops = 2e-9 * IRC_LIMIT_MACS * IRC_LIMIT_ROUNDS / (irc_seconds() - start);
        best = gops > best ? gops : best;
    }
    return best;
}
