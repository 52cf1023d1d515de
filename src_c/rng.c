/* rng.c: counter-based random numbers and permutations.
 *
 * Philox4x32-10 turns (key, counter) into four 32-bit words by ten rounds of multiplication and exclusive or. There is no
 * state to carry, so any word of any stream can be had at once, by any thread, in any order.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; constants from table 2.
 */
#include "fbp.h"

#include <string.h>

static void philox(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]) {
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)p0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* words (N,): word i is word start + i of the stream. */
void fbp_random_bits(uint64_t seed, uint64_t stream, uint64_t start, uint32_t *words, size_t N) {
    for (size_t i = 0; i < N;) {
        uint32_t block[4];
        philox(seed, stream, (start + i) / 4, block);
        for (size_t lane = (start + i) % 4; lane < 4 && i < N; lane++) words[i++] = block[lane];
    }
}

/* u (N,): number i is made of words 2 (start + i) and 2 (start + i) + 1, the upper 27 and 26 bits of them. */
void fbp_random_uniform(uint64_t seed, uint64_t stream, uint64_t start, double *u, size_t N) {
    for (size_t i = 0; i < N;) {
        uint32_t block[4];
        philox(seed, stream, (start + i) / 2, block);
        for (size_t pair = (start + i) % 2; pair < 2 && i < N; pair++)
            u[i++] = (double)((uint64_t)(block[2 * pair] >> 5) << 26 | block[2 * pair + 1] >> 6) * 0x1p-53;
    }
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES = 3 };

/* Sorts pairs (word << 32 | position) by word with a stable radix sort, least significant digit first: three passes of
 * eleven bits, their counts taken in one reading. Positions start in order, so ties keep them. */
void fbp_random_permutation(uint64_t seed, uint64_t stream, int64_t *order, uint64_t *scratch, size_t N) {
    uint64_t *from = scratch, *to = scratch + N;
    uint32_t count[PASSES][DIGITS];
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < N;) {
        uint32_t block[4];
        philox(seed, stream, i / 4, block);
        for (int lane = 0; lane < 4 && i < N; lane++, i++) {
            from[i] = (uint64_t)block[lane] << 32 | i;
            for (int pass = 0; pass < PASSES; pass++) count[pass][block[lane] >> (pass * DIGIT_BITS) & (DIGITS - 1)]++;
        }
    }
    for (int pass = 0; pass < PASSES; pass++) {
        uint32_t place = 0;
        for (int digit = 0; digit < DIGITS; digit++) {
            uint32_t here = count[pass][digit];
            count[pass][digit] = place;
            place += here;
        }
        for (size_t i = 0; i < N; i++) to[count[pass][from[i] >> (32 + pass * DIGIT_BITS) & (DIGITS - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < N; i++) order[i] = (int64_t)(uint32_t)from[i];
}
