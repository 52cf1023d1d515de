/* rng.h: the random numbers of rng.c, sixteen blocks of them at a time.
 *
 * Philox4x32-10 turns a key (the seed) and a counter (the block's number and the stream) into four words of 32 bits; see
 * rng.c. Here a vector of words holds one word each of sixteen blocks whose numbers follow each other.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; constants from table 2. */

/* Words in a group of sixteen blocks. */
#define RNG_GROUP 64

/* words (RNG_GROUP,): word 16 k + i is word k of block number first + i, for i < 16. first is a multiple of 16. */
FBP_INLINE void random_group(uint64_t seed, uint64_t stream, uint64_t first, uint32_t *words) {
    const vword multiplier0 = w_set(0xD2511F53u), multiplier1 = w_set(0xCD9E8D57u);
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    vword c0 = w_add(w_set((uint32_t)first), w_index()), c1 = w_set((uint32_t)(first >> 32));
    vword c2 = w_set((uint32_t)stream), c3 = w_set((uint32_t)(stream >> 32));
    FBP_UNROLL
    for (int round = 0; round < 10; round++) {
        vword high0, high1;
        const vword low0 = w_product(multiplier0, c0, &high0), low1 = w_product(multiplier1, c2, &high1);
        c0 = w_xor(w_xor(high1, c1), w_set(key0));
        c1 = low1;
        c2 = w_xor(w_xor(high0, c3), w_set(key1));
        c3 = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    w_store(words, c0);
    w_store(words + 16, c1);
    w_store(words + 32, c2);
    w_store(words + 48, c3);
}
