/* dropout.h: y = x mask, where an element of mask is 0 with probability `rate` and 1 / (1 - rate) otherwise.
 *
 * Whether an element is dropped depends on (seed, stream, draw) and its place in the minibatch alone, so masks have the
 * same bits however a minibatch is cut. fbp.h says which half of a word decides: elements are numbered row by row, and 128 of
 * them take the sixteen blocks of a group. Backward is dx = dy mask: `multiply`. Source: Srivastava et al., "Dropout: A
 * Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014. */
#ifndef FBP_DROPOUT_H
#define FBP_DROPOUT_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "rng.h"

/* Words made at a time, a multiple of DROPOUT_GROUP: they stay in the first-level cache. */
#define DROPOUT_GROUP (2 * RNG_GROUP) /* elements that a group of blocks decides */
#define DROPOUT_WORDS 1024

/* mask and y of n elements of a row, from as many words. */
FBP_INLINE void dropout_apply(const real *x, const uint32_t *words, uint32_t limit, vreal keep, real *mask, real *y, size_t n) {
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vreal m = v_select(m_below(words + j, limit), v_zero(), keep);
        v_store(mask + j, m);
        v_store(y + j, v_mul(v_load(x + j), m));
    }
    if (j < n) {
        const vreal m = v_select(m_below(words + j, limit), v_zero(), keep);
        v_store_n(mask + j, m, n - j);
        v_store_n(y + j, v_mul(v_load_n(x + j, n - j), m), n - j);
    }
}

/* x (B, N); writes mask and y (B, N). y may be x. Rows are a minibatch's from first_row on, which has less than 2^34
 * elements in all. A dropped inf or nan gives a nan. */
static void FBP(dropout_forward)(const struct fbp_dropout *d, int part, int parts) {
    const size_t N = d->N, begin = d->B * (size_t)part / (size_t)parts, end = d->B * (size_t)(part + 1) / (size_t)parts;
    const uint32_t threshold = (uint32_t)(d->rate * 0x1p16 + 0.5);
    const uint32_t limit = (threshold > UINT16_MAX ? UINT16_MAX : threshold) << 16;
    const vreal keep = v_set((real)(1 / (1 - d->rate)));
    uint64_t p = (uint64_t)(d->first_row + begin) * N; /* of the next element */
    const uint64_t last = (uint64_t)(d->first_row + end) * N;
    size_t row = begin, j = 0;
    _Alignas(64) uint32_t words[DROPOUT_WORDS + LANES]; /* with room to read a vector from the last one on */
    for (size_t i = DROPOUT_WORDS; i < DROPOUT_WORDS + LANES; i++) words[i] = 0;
    while (p < last) {
        const uint64_t group = p / DROPOUT_GROUP, start = group * DROPOUT_GROUP;
        const uint64_t stop = last - start < DROPOUT_WORDS ? last : start + DROPOUT_WORDS;
        for (uint64_t g = 0; start + g * DROPOUT_GROUP < stop; g++)
            random_halves(d->seed, d->stream, (d->draw << 32) + (group + g) * 16, words + g * DROPOUT_GROUP);
        while (p < stop) {
            const size_t n = stop - p < N - j ? (size_t)(stop - p) : N - j;
            dropout_apply((const real *)d->x + row * d->x_row + j, words + (p - start), limit, keep,
                          (real *)d->mask + row * d->mask_row + j, (real *)d->y + row * d->y_row + j, n);
            p += n, j += n;
            if (j == N) row++, j = 0;
        }
    }
}

/* c = a b. a, b, c: (N,); c may be a or b. */
static void FBP(multiply)(const void *a_, const void *b_, void *c_, size_t N) {
    const real *a = a_, *b = b_;
    real *c = c_;
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(c + i, v_mul(v_load(a + i), v_load(b + i)));
    if (i < N) v_store_n(c + i, v_mul(v_load_n(a + i, N - i), v_load_n(b + i, N - i)), N - i);
}

#endif
