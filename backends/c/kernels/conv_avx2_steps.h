/* Which steps of a block of weights may be multiplied how, so that nothing overflows, on AVX2.

   vpmaddubsw adds the products of u8 and s8 pairs in int16 and saturates. Whether that can happen depends on the two weights
   alone: it cannot if 255 times their positive part is <= 32767 and 255 times their negative part is >= -32768. Most pairs
   of real weights pass, but rarely all 32 of a step (16 channels x 4 k). So each step goes to one of three lists:

       quad  its sums in int16 and those of the next step can be added before they are widened
       pair  its sums in int16 cannot saturate
       wide  all others: products in int32 of activations and weights widened to int16 */
#ifndef IRC_CONV_AVX2_STEPS_H
#define IRC_CONV_AVX2_STEPS_H

#include "avx2.h"
#include "conv_block.h"

typedef struct irc_step {
    int32_t x, index; /* bytes from the window's first byte; number of the step */
} irc_step;

typedef struct irc_steps {
    irc_step *quad, *pair, *wide; /* room for every step in each */
    int32_t quads, pairs, wides;
} irc_steps;

/* |sums| of the positive and of the negative weights of each pair, of 16 channels: int16. */
typedef struct irc_pair_sums {
    irc_v positive0, negative0, positive1, negative1;
} irc_pair_sums;

IRC_INLINE irc_pair_sums irc_pair_sums_of(const int8_t *w)
{
    const irc_v one = _mm256_set1_epi8(1), zero = _mm256_setzero_si256(), w0 = irc_load(w), w1 = irc_load(w + 32);
    irc_pair_sums s;
    s.positive0 = _mm256_maddubs_epi16(one, _mm256_max_epi8(w0, zero));
    s.positive1 = _mm256_maddubs_epi16(one, _mm256_max_epi8(w1, zero));
    s.negative0 = _mm256_sub_epi16(zero, _mm256_maddubs_epi16(one, _mm256_min_epi8(w0, zero)));
    s.negative1 = _mm256_sub_epi16(zero, _mm256_maddubs_epi16(one, _mm256_min_epi8(w1, zero)));
    return s;
}

IRC_INLINE int irc_safe(const irc_pair_sums *s)
{
    const irc_v most = _mm256_max_epi16(_mm256_max_epi16(s->positive0, s->negative0), _mm256_max_epi16(s->positive1, s->negative1));
    const irc_v over = _mm256_cmpgt_epi16(most, _mm256_set1_epi16(128));
    return _mm256_testz_si256(over, over);
}

IRC_INLINE int irc_safe_together(const irc_pair_sums *a, const irc_pair_sums *b)
{
    irc_pair_sums s;
    s.positive0 = _mm256_add_epi16(a->positive0, b->positive0);
    s.negative0 = _mm256_add_epi16(a->negative0, b->negative0);
    s.positive1 = _mm256_add_epi16(a->positive1, b->positive1);
    s.negative1 = _mm256_add_epi16(a->negative1, b->negative1);
    return irc_safe(&s);
}

/* Are steps 0, 1 and 2, 3 and so on quads? */
IRC_FN int irc_are_quads(const int8_t *w, int32_t quads)
{
    for (int32_t i = 0; i < quads; i++) {
        const irc_pair_sums a = irc_pair_sums_of(w + (int64_t)i * 128), b = irc_pair_sums_of(w + (int64_t)i * 128 + 64);
        if (!irc_safe_together(&a, &b))
            return 0;
    }
    return 1;
}

/* Sorts the steps of one block of weights; `sorted` 0: all are wide. */
IRC_FN void irc_sort_steps(const irc_conv *p, const int8_t *w, int sorted, irc_steps *t)
{
    const int32_t steps = irc_ceil_div(p->run_length, 4);
    t->quads = t->pairs = t->wides = 0;
    for (int32_t r = 0, index = 0; r < p->runs; r++)
        for (int32_t s = 0; s < steps; s++, index++) {
            const irc_step step = {p->run_offset[r] + 4 * s, index};
            irc_pair_sums a, b;
            if (!sorted) {
                t->wide[t->wides++] = step;
                continue;
            }
            a = irc_pair_sums_of(w + (int64_t)index * 64);
            if (!irc_safe(&a)) {
                t->wide[t->wides++] = step;
                continue;
            }
            if (s + 1 < steps) {
                b = irc_pair_sums_of(w + (int64_t)index * 64 + 64);
                if (irc_safe_together(&a, &b)) {
                    t->quad[t->quads++] = step;
                    s++, index++;
                    continue;
                }
            }
            t->pair[t->pairs++] = step;
        }
}

#endif
