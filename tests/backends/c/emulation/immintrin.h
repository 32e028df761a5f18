/* AVX-512, VNNI and AMX instructions in plain C, for the kernels' tests on processors that lack them.

   Found before the compiler's own header of this name, it includes that one and puts functions in the place of the intrinsics
   that the kernels use. AVX2 and FMA are not emulated. Kernels that write an instruction in assembly use its intrinsic here,
   since the compiler is not told that the processor has it: the assembly itself is not tested by emulation. */
#ifndef IRC_EMULATED_IMMINTRIN_H
#define IRC_EMULATED_IMMINTRIN_H

#include_next <immintrin.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#define EMULATED static __attribute__((noinline, unused)) /* inlined, they take the compiler half a minute */

typedef union emulated_zmm {
    __m512i v;
    __m512 f;
    __m256i y[2];
    __m128i x[4];
    int64_t i64[8];
    int32_t i32[16];
    int16_t i16[32];
    uint8_t u8[64];
    int8_t i8[64];
    float f32[16];
} emulated_zmm;

EMULATED int64_t emulated_clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

EMULATED __m512i emulated_loadu(const void *p)
{
    emulated_zmm r;
    memcpy(&r, p, sizeof r);
    return r.v;
}
EMULATED void emulated_storeu(void *p, __m512i a) { memcpy(p, &a, sizeof a); }
EMULATED void emulated_mask_store(void *p, uint64_t mask, const void *from)
{
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            ((uint8_t *)p)[i] = ((const uint8_t *)from)[i];
}
EMULATED void emulated_mask_storeu_64(void *p, __mmask64 mask, __m512i a) { emulated_mask_store(p, mask, &a); }
EMULATED void emulated_mask_storeu_32(void *p, __mmask32 mask, __m256i a) { emulated_mask_store(p, mask, &a); }
EMULATED void emulated_mask_storeu_16(void *p, __mmask16 mask, __m128i a) { emulated_mask_store(p, mask, &a); }
EMULATED __m512 emulated_loadu_ps(const void *p)
{
    emulated_zmm r;
    memcpy(&r, p, sizeof r);
    return r.f;
}

#define EMULATED_LANES(name, field, count, expression) \
    EMULATED __m512i emulated_##name(__m512i first, __m512i second) \
    { \
        emulated_zmm a, b, r; \
        a.v = first; \
        b.v = second; \
        for (int i = 0; i < (count); i++) \
            r.field[i] = (expression); \
        return r.v; \
    }
EMULATED_LANES(add32, i32, 16, (int32_t)((uint32_t)a.i32[i] + (uint32_t)b.i32[i]))
EMULATED_LANES(maxu8, u8, 64, a.u8[i] > b.u8[i] ? a.u8[i] : b.u8[i])
/* within each quarter of 16 bytes: the values of a, then those of b */
EMULATED_LANES(packs32, i16, 32,
               (int16_t)emulated_clamp((i % 8 < 4 ? a : b).i32[i / 8 * 4 + i % 4], INT16_MIN, INT16_MAX))
EMULATED_LANES(packus16, u8, 64, (uint8_t)emulated_clamp((i % 16 < 8 ? a : b).i16[i / 16 * 8 + i % 8], 0, UINT8_MAX))
EMULATED_LANES(permute32, i32, 16, b.i32[a.i32[i] & 15])
EMULATED_LANES(unpacklo8, u8, 64, (i % 2 ? b : a).u8[i / 16 * 16 + i % 16 / 2])
EMULATED_LANES(unpackhi8, u8, 64, (i % 2 ? b : a).u8[i / 16 * 16 + 8 + i % 16 / 2])
EMULATED_LANES(unpacklo16, i16, 32, (i % 2 ? b : a).i16[i / 8 * 8 + i % 8 / 2])
EMULATED_LANES(unpackhi16, i16, 32, (i % 2 ? b : a).i16[i / 8 * 8 + 4 + i % 8 / 2])

EMULATED __m512i emulated_set1_32(int32_t value)
{
    emulated_zmm r;
    for (int i = 0; i < 16; i++)
        r.i32[i] = value;
    return r.v;
}
EMULATED __m512i emulated_set1_8(char value)
{
    emulated_zmm r;
    memset(&r, value, sizeof r);
    return r.v;
}
EMULATED __m512 emulated_set1_ps(float value)
{
    emulated_zmm r;
    for (int i = 0; i < 16; i++)
        r.f32[i] = value;
    return r.f;
}
EMULATED __m512i emulated_setr_32(const int32_t *values) { return emulated_loadu(values); }
EMULATED __m256i emulated_extract_256(__m512i a, int half) { return ((emulated_zmm){a}).y[half]; }
EMULATED __m128i emulated_extract_128(__m512i a, int quarter) { return ((emulated_zmm){a}).x[quarter]; }

EMULATED __m512 emulated_to_floats(__m512i a)
{
    emulated_zmm v = {a}, r;
    for (int i = 0; i < 16; i++)
        r.f32[i] = (float)v.i32[i];
    return r.f;
}
EMULATED __m512 emulated_fmadd(__m512 a, __m512 b, __m512 c)
{
    emulated_zmm u, v, w, r;
    u.f = a, v.f = b, w.f = c;
    for (int i = 0; i < 16; i++)
        r.f32[i] = fmaf(u.f32[i], v.f32[i], w.f32[i]);
    return r.f;
}
/* As minps: the second operand if one is NaN. */
EMULATED __m512 emulated_min(__m512 a, __m512 b)
{
    emulated_zmm u, v, r;
    u.f = a, v.f = b;
    for (int i = 0; i < 16; i++)
        r.f32[i] = u.f32[i] < v.f32[i] ? u.f32[i] : v.f32[i];
    return r.f;
}
/* As cvtps2dq: half to even; what does not fit becomes INT32_MIN. */
EMULATED __m512i emulated_to_integers(__m512 a)
{
    emulated_zmm v, r;
    v.f = a;
    for (int i = 0; i < 16; i++)
        r.i32[i] = v.f32[i] >= -2147483648.0f && v.f32[i] < 2147483648.0f ? (int32_t)rintf(v.f32[i]) : INT32_MIN;
    return r.v;
}
EMULATED __m512i emulated_widen_u8(__m128i a)
{
    uint8_t from[16];
    emulated_zmm r;
    memcpy(from, &a, sizeof from);
    for (int i = 0; i < 16; i++)
        r.i32[i] = from[i];
    return r.v;
}

/* One lane of vpdpbusd: no saturation, sums wrap. */
EMULATED int32_t emulated_dot(int32_t sum, const uint8_t *a, const int8_t *b)
{
    uint32_t total = (uint32_t)sum;
    for (int k = 0; k < 4; k++)
        total += (uint32_t)(a[k] * b[k]);
    return (int32_t)total;
}
EMULATED __m512i emulated_dpbusd_512(__m512i c, __m512i a, __m512i b)
{
    emulated_zmm r = {c}, u = {a}, s = {b};
    for (int i = 0; i < 16; i++)
        r.i32[i] = emulated_dot(r.i32[i], u.u8 + 4 * i, s.i8 + 4 * i);
    return r.v;
}
EMULATED __m256i emulated_dpbusd_256(__m256i c, __m256i a, __m256i b)
{
    int32_t sum[8];
    uint8_t u[32];
    int8_t s[32];
    memcpy(sum, &c, 32);
    memcpy(u, &a, 32);
    memcpy(s, &b, 32);
    for (int i = 0; i < 8; i++)
        sum[i] = emulated_dot(sum[i], u + 4 * i, s + 4 * i);
    memcpy(&c, sum, 32);
    return c;
}

/* Eight tiles: rows and bytes of a row as the configuration says; what an instruction may not do ends the process. */
typedef struct emulated_tile {
    uint8_t data[16][64];
    int rows, bytes;
} emulated_tile;
static emulated_tile emulated_tiles[8] __attribute__((unused));

EMULATED void emulated_must(int condition)
{
    if (!condition)
        __builtin_trap();
}
EMULATED void emulated_tile_loadconfig(const void *memory)
{
    const uint8_t *config = (const uint8_t *)memory;
    emulated_must(config[0] == 1 && config[1] == 0); /* palette 1, start_row 0 */
    memset(emulated_tiles, 0, sizeof emulated_tiles);
    for (int i = 0; i < 8; i++) {
        emulated_tiles[i].bytes = config[16 + 2 * i] + 256 * config[17 + 2 * i];
        emulated_tiles[i].rows = config[48 + i];
        emulated_must(emulated_tiles[i].bytes <= 64 && emulated_tiles[i].rows <= 16);
    }
}
EMULATED void emulated_tile_release(void) { memset(emulated_tiles, 0, sizeof emulated_tiles); }
EMULATED void emulated_tile_zero(int t) { memset(emulated_tiles[t].data, 0, sizeof emulated_tiles[t].data); }
EMULATED void emulated_tile_load(int t, const void *from, int64_t stride)
{
    emulated_tile *tile = &emulated_tiles[t];
    emulated_must(tile->rows > 0);
    memset(tile->data, 0, sizeof tile->data);
    for (int r = 0; r < tile->rows; r++)
        memcpy(tile->data[r], (const uint8_t *)from + r * stride, (size_t)tile->bytes);
}
EMULATED void emulated_tile_store(int t, void *to, int64_t stride)
{
    const emulated_tile *tile = &emulated_tiles[t];
    emulated_must(tile->rows > 0);
    for (int r = 0; r < tile->rows; r++)
        memcpy((uint8_t *)to + r * stride, tile->data[r], (size_t)tile->bytes);
}
EMULATED void emulated_tile_dpbusd(int d, int a, int b)
{
    emulated_tile *out = &emulated_tiles[d];
    const emulated_tile *left = &emulated_tiles[a], *right = &emulated_tiles[b];
    emulated_must(d != a && d != b && a != b);
    emulated_must(left->bytes == 4 * right->rows && out->rows == left->rows && out->bytes == right->bytes && out->rows > 0);
    for (int m = 0; m < out->rows; m++)
        for (int n = 0; n < out->bytes / 4; n++) {
            int32_t sum;
            memcpy(&sum, out->data[m] + 4 * n, 4);
            for (int k = 0; k < right->rows; k++)
                sum = emulated_dot(sum, left->data[m] + 4 * k, (const int8_t *)right->data[k] + 4 * n);
            memcpy(out->data[m] + 4 * n, &sum, 4);
        }
}

#undef _mm512_loadu_si512
#undef _mm512_extracti64x4_epi64
#undef _mm512_extracti32x4_epi32
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#define _mm512_loadu_si512(p) emulated_loadu(p)
#define _mm512_loadu_ps(p) emulated_loadu_ps(p)
#define _mm512_storeu_si512(p, a) emulated_storeu(p, a)
#define _mm512_mask_storeu_epi8(p, mask, a) emulated_mask_storeu_64(p, mask, a)
#define _mm256_mask_storeu_epi8(p, mask, a) emulated_mask_storeu_32(p, mask, a)
#define _mm_mask_storeu_epi8(p, mask, a) emulated_mask_storeu_16(p, mask, a)
#define _mm512_add_epi32(a, b) emulated_add32(a, b)
#define _mm512_max_epu8(a, b) emulated_maxu8(a, b)
#define _mm512_packs_epi32(a, b) emulated_packs32(a, b)
#define _mm512_packus_epi16(a, b) emulated_packus16(a, b)
#define _mm512_permutexvar_epi32(order, a) emulated_permute32(order, a)
#define _mm512_unpacklo_epi8(a, b) emulated_unpacklo8(a, b)
#define _mm512_unpackhi_epi8(a, b) emulated_unpackhi8(a, b)
#define _mm512_unpacklo_epi16(a, b) emulated_unpacklo16(a, b)
#define _mm512_unpackhi_epi16(a, b) emulated_unpackhi16(a, b)
#define _mm512_set1_epi32(value) emulated_set1_32(value)
#define _mm512_set1_epi8(value) emulated_set1_8(value)
#define _mm512_set1_ps(value) emulated_set1_ps(value)
#define _mm512_setr_epi32(...) emulated_setr_32((const int32_t[16]){__VA_ARGS__})
#define _mm512_setzero_si512() emulated_set1_32(0)
#define _mm512_castsi512_si256(a) emulated_extract_256(a, 0)
#define _mm512_castsi512_si128(a) emulated_extract_128(a, 0)
#define _mm512_extracti64x4_epi64(a, half) emulated_extract_256(a, half)
#define _mm512_extracti32x4_epi32(a, quarter) emulated_extract_128(a, quarter)
#define _mm512_cvtepi32_ps(a) emulated_to_floats(a)
#define _mm512_cvtps_epi32(a) emulated_to_integers(a)
#define _mm512_cvtepu8_epi32(a) emulated_widen_u8(a)
#define _mm512_fmadd_ps(a, b, c) emulated_fmadd(a, b, c)
#define _mm512_min_ps(a, b) emulated_min(a, b)
#define _mm512_dpbusd_epi32(c, a, b) emulated_dpbusd_512(c, a, b)
#define _mm256_dpbusd_avx_epi32(c, a, b) emulated_dpbusd_256(c, a, b)
#define _tile_loadconfig(memory) emulated_tile_loadconfig(memory)
#define _tile_release() emulated_tile_release()
#define _tile_zero(t) emulated_tile_zero(t)
#define _tile_loadd(t, from, stride) emulated_tile_load(t, from, stride)
#define _tile_stored(t, to, stride) emulated_tile_store(t, to, stride)
#define _tile_dpbusd(d, a, b) emulated_tile_dpbusd(d, a, b)

#endif
