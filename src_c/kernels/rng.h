/* rng.h: random numbers by the generator of rng.c with seven rounds, sixteen blocks at a time.
 *
 * Philox4x32 turns a key (the seed) and a counter (the block's number and the stream) into four words of 32 bits;
 * see rng.c. Here a vector of words holds one word each of sixteen blocks whose numbers follow each other. Source:
 * Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011; constants from table 2. */
#ifndef FBP_RNG_H
#define FBP_RNG_H

#include "../vec/math.h"

/* Words in a group of sixteen blocks. */
#define RNG_GROUP 64

/* words (2 RNG_GROUP,), of Philox4x32-7: word 16 k + i is word k of block number first + i, for i < 16, and word
 * RNG_GROUP + 16 k + i is the lower half of that word times 2^16. first is a multiple of 16. Seven rounds are the fewest
 * that pass BigCrush (table 2 of the source). */
FBP_INLINE void random_halves(uint64_t seed, uint64_t stream, uint64_t first, uint32_t *words) {
    const vword multiplier0 = w_set(0xD2511F53u), multiplier1 = w_set(0xCD9E8D57u);
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    vword c0 = w_add(w_set((uint32_t)first), w_index()), c1 = w_set((uint32_t)(first >> 32));
    vword c2 = w_set((uint32_t)stream), c3 = w_set((uint32_t)(stream >> 32));
    FBP_UNROLL
    for (int round = 0; round < 7; round++) {
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
    w_store(words + RNG_GROUP, w_raised(c0));
    w_store(words + RNG_GROUP + 16, w_raised(c1));
    w_store(words + RNG_GROUP + 32, w_raised(c2));
    w_store(words + RNG_GROUP + 48, w_raised(c3));
}

#if FBP_REAL == 64

/* Quotients of polynomials of degree 7, lowest coefficient first: numerator, denominator. Of 0.180625 - q^2 for
 * |q| = |u - 1/2| <= 0.425; else of r - 1.6 for r = sqrt(-log(min(u, 1 - u))) <= 5, and of r - 5 beyond. Source:
 * Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics 37(3), 1988,
 * routine PPND16. */
static const real quantile_near[2][8] = {
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4, 4.5921953931549871457e4,
     6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3},
};
static const real quantile_tail[2][8] = {
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9},
};
static const real quantile_far[2][8] = {
    {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
    {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15},
};

FBP_INLINE vreal quantile_ratio(vreal r, const real coefficients[2][8]) {
    return v_div(v_polynomial(r, coefficients[0], 8), v_polynomial(r, coefficients[1], 8));
}

FBP_INLINE vreal quantile_of(vreal u) {
    const vreal q = v_sub(u, v_set(0.5));
    const vmask near = v_le(v_abs(q), v_set(0.425));
    vreal y = v_mul(q, quantile_ratio(v_fnma(q, q, v_set(0.180625)), quantile_near));
    if (m_all(near)) return y;
    const vmask negative = v_lt(q, v_zero());
    const vreal r = v_sqrt(v_neg(v_log(v_select(negative, u, v_sub(v_set(1), u)))));
    vreal tail = quantile_ratio(v_sub(r, v_set(1.6)), quantile_tail);
    const vmask far = v_gt(r, v_set(5));
    if (m_any(far)) tail = v_select(far, quantile_ratio(v_sub(r, v_set(5)), quantile_far), tail);
    return v_select(near, y, v_select(negative, v_neg(tail), tail));
}

/* y (N,): where the standard normal distribution function is u (N,), in (0, 1). y may be u. Relative error: 1e-15 or
 * less, but as much as the rounding of u - 1/2 and 1 - u makes of it: none where u is a multiple of 2^-53. 0, 1 and
 * what is outside give a nan. */
static void FBP(normal_quantile)(const double *u, double *y, size_t N) {
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(y + i, quantile_of(v_load(u + i)));
    if (i < N) v_store_n(y + i, quantile_of(v_load_n(u + i, N - i)), N - i);
}

#endif

#endif
