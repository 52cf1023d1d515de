/* math.h: exp, expm1, log, log1p, tanh, sigmoid and gelu of a vreal, written once for both real types over the
 * vocabulary.
 *
 * Every step is correctly rounded and there are no tables, so on instruction sets with fused multiply-add (AVX2,
 * AVX-512, NEON) the results are the same bits. The portable header rounds v_fma twice and gives others.
 *
 * Range: all numbers, but for v_exp_below (x <= 0) and v_log1p_unit (0 <= x <= 1). nan gives nan; subnormal arguments
 * and results are treated as all others. The largest error in units in the last place of the exact result, for both
 * reals; tests/limits.py has these limits, and tests/test_accuracy.py holds the functions to them:
 *
 *   exp                                  1     portable: 1.25
 *   expm1                                2
 *   expm1_below   expm1 for x <= 0       1
 *   log                                  1
 *   log1p         for 0 <= x <= 1        1
 *   tanh                                 2     portable: 2.5
 *   sigmoid                              2
 *   gelu                                 8     portable: 9
 *
 * Methods: exp and expm1 by the reduction x = n ln 2 + r with ln 2 in two parts (Cody and Waite, Software Manual for
 * the Elementary Functions, 1980); log by log(1 + f) = log((1 + s)/(1 - s)), s = f / (2 + f) (Tang, Table-driven
 * implementation of the logarithm function, 1990; fdlibm has the same shape); gelu by e^(x^2/2) Phi(-|x|), which is
 * smooth and falls slowly, as a quotient of polynomials with positive coefficients.
 *
 * Polynomials are our own: minimax fits in 60 digits with the lowest coefficient rounded to the type, the rest fitted
 * again, and so on up. Those of exp and log1p by Lawson's reweighted least squares on 80 Chebyshev nodes, as the fixed low
 * coefficients break the alternation an exchange method needs; that of log by Remez's exchange; those of gelu by both,
 * with the best of some tens of factors common to both polynomials. */
#ifndef FBP_VEC_MATH_H
#define FBP_VEC_MATH_H

#include "vec.h"

#if FBP_REAL == 32

#define FRACTION_BITS 23
#define EXPONENT_BIAS 127
#define SIGN_BIT INT32_MIN
#define INFINITY_BITS 0x7f800000
#define NAN_BITS 0x7fc00000
#define EXP_LOWEST -176.0f       /* n >= -2 EXPONENT_BIAS; e^x is 0 from -104 on */
#define EXP_BELOW_LOWEST -157.4f /* n >= -EXPONENT_BIAS - EXP_BELOW_LIFT */
#define EXP_BELOW_LIFT 100       /* 2^(n + EXP_BELOW_LIFT) is a normal number for all n of which e^x is not 0 */
#define EXP_BELOW_DROP 0x1p-100f /* 2^-EXP_BELOW_LIFT */
#define EXP_HIGHEST 89.0f        /* e^x is inf from 88.7228 on */
#define EXPM1_LOWEST -30.0f      /* e^x - 1 is -1 from -17.4 on */
#define EXPM1_LEAST 0x1p-25f     /* below it e^x - 1 is x */
#define TANH_LOWEST -10.0f       /* 1 - e^2x is 1 from -8.7 on */
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e4p-1f /* 15 bits: n LN2_HIGH is exact */
#define LN2_LOW 0x1.7f7d1cp-20f
#define GELU_HIGHEST 15.0f /* x (1 - Phi(x)) and its slope are 0 from 14.6 on */
#define HIGH_HALF -0x1000  /* the first 12 bits of a fraction */
#define SMALLEST_NORMAL 0x1p-126f
#define SQRT_HALF_BITS 0x3f3504f3
#define ONE_BITS 0x3f800000
#define FRACTION_MASK 0x007fffff

/* (e^r - 1 - r) / r^2 on |r| <= ln(2)/2; the error relative to e^r is 2^-28.2 */
static const real exp_q[] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558bp-5f, 0x1.12398ep-7f, 0x1.6a4d34p-10f};
/* the same; the error relative to e^r - 1 is 2^-31.1 */
static const real expm1_q[] = {0x1p-1f, 0x1.555556p-3f, 0x1.5554f6p-5f, 0x1.111004p-7f, 0x1.6d3c94p-10f, 0x1.a242dep-13f};
/* (e^(2r) - 1 - 2r) / (2 r^2) on |r| <= ln(2)/4: expm1_q(2r) times 2 */
static const real tanh_q[] = {0x1p+0f, 0x1.555556p-1f, 0x1.5554f6p-2f, 0x1.111004p-3f, 0x1.6d3c94p-5f, 0x1.a242dep-7f};
/* (log((1 + s)/(1 - s)) - 2 s) / s^3 in z = s^2, z <= ((sqrt 2 - 1)/(sqrt 2 + 1))^2; relative error of the log 2^-30.2 */
static const real log_q[] = {0x1.55557ap-1f, 0x1.995ed2p-2f, 0x1.31e13ap-2f};
/* the same for |f| <= 1/2, that is z <= 1/25; relative error of the log 2^-28.3 */
static const real log1p_q[] = {0x1.5555b4p-1f, 0x1.992ac4p-2f, 0x1.36e916p-2f};
/* e^(x^2/2) Phi(-x) on [0, GELU_HIGHEST] = p(x) / q(x), even and odd powers apart; relative error 2^-26.9 */
static const real normal_p_even[] = {0x1.05805ap-1f, 0x1.7faa2ap-3f, 0x1.13c94ep-8f};
static const real normal_p_odd[] = {0x1.cabc4p-2f, 0x1.54627p-5f};
static const real normal_q_even[] = {0x1.05805ap+0f, 0x1.3aa68p+0f, 0x1.aaa27ep-4f};
static const real normal_q_odd[] = {0x1.b60402p+0f, 0x1.eb8038p-2f, 0x1.59a4a4p-7f};

#else

#define FRACTION_BITS 52
#define EXPONENT_BIAS 1023
#define SIGN_BIT INT64_MIN
#define INFINITY_BITS 0x7ff0000000000000
#define NAN_BITS 0x7ff8000000000000
#define EXP_LOWEST -1418.0       /* n >= -2 EXPONENT_BIAS; e^x is 0 from -745.2 on */
#define EXP_BELOW_LOWEST -1263.7 /* n >= -EXPONENT_BIAS - EXP_BELOW_LIFT */
#define EXP_BELOW_LIFT 800       /* 2^(n + EXP_BELOW_LIFT) is a normal number for all n of which e^x is not 0 */
#define EXP_BELOW_DROP 0x1p-800  /* 2^-EXP_BELOW_LIFT */
#define EXP_HIGHEST 710.0        /* e^x is inf from 709.79 on */
#define EXPM1_LOWEST -50.0       /* e^x - 1 is -1 from -37.5 on */
#define EXPM1_LEAST 0x1p-54      /* below it e^x - 1 is x */
#define TANH_LOWEST -20.0        /* 1 - e^2x is 1 from -18.8 on */
#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa4p-1 /* 39 bits: n LN2_HIGH is exact */
#define LN2_LOW -0x1.8432a1b0e2634p-43
#define GELU_HIGHEST 39.0    /* x (1 - Phi(x)) and its slope are 0 from 38.7 on */
#define HIGH_HALF -0x8000000 /* the first 26 bits of a fraction */
#define SMALLEST_NORMAL 0x1p-1022
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcd
#define ONE_BITS 0x3ff0000000000000
#define FRACTION_MASK 0x000fffffffffffff

/* (e^r - 1 - r) / r^2 on |r| <= ln(2)/2; the error relative to e^r is 2^-57.9 */
static const real exp_q[] = {0x1.000000000000ap-1,  0x1.5555555555504p-3,  0x1.55555555506bdp-5,  0x1.1111111125676p-7,
                             0x1.6c16c1847867bp-10, 0x1.a01a01363aaf2p-13, 0x1.a019995659142p-16, 0x1.71df0bfbc80aep-19,
                             0x1.28ae0900991c6p-22, 0x1.ada62c13f03d8p-26};
/* the same; the error relative to e^r - 1 is 2^-61.7 */
static const real expm1_q[] = {0x1p-1,
                               0x1.5555555555559p-3,
                               0x1.5555555555557p-5,
                               0x1.111111110f644p-7,
                               0x1.6c16c16c156e7p-10,
                               0x1.a01a01b00daadp-13,
                               0x1.a01a01ab652f2p-16,
                               0x1.71ddf7f076ea4p-19,
                               0x1.27e4d06100f87p-22,
                               0x1.af5f685893f71p-26,
                               0x1.1f857c3b6377cp-29};
/* (e^(2r) - 1 - 2r) / (2 r^2) on |r| <= ln(2)/4: expm1_q(2r) times 2 */
static const real tanh_q[] = {0x1p+0,
                              0x1.5555555555559p-1,
                              0x1.5555555555557p-2,
                              0x1.111111110f644p-3,
                              0x1.6c16c16c156e7p-5,
                              0x1.a01a01b00daadp-7,
                              0x1.a01a01ab652f2p-9,
                              0x1.71ddf7f076ea4p-11,
                              0x1.27e4d06100f87p-13,
                              0x1.af5f685893f71p-16,
                              0x1.1f857c3b6377cp-18};
/* (log((1 + s)/(1 - s)) - 2 s) / s^3 in z = s^2, z <= ((sqrt 2 - 1)/(sqrt 2 + 1))^2; relative error of the log 2^-59.5 */
static const real log_q[] = {0x1.5555555555593p-1, 0x1.999999997f9f7p-2, 0x1.249249422a614p-2, 0x1.c71c51d7b042ap-3,
                             0x1.746649b741793p-3, 0x1.39a094a736c4bp-3, 0x1.2f11895fed27bp-3};
/* the same for |f| <= 1/2, that is z <= 1/25; relative error of the log 2^-55.8 */
static const real log1p_q[] = {0x1.5555555555772p-1, 0x1.99999998f1a70p-2, 0x1.249249b196097p-2, 0x1.c71c01b3b42d5p-3,
                               0x1.7474d752fc669p-3, 0x1.3853a682abaeap-3, 0x1.3ab85ea1b4691p-3};
/* e^(x^2/2) Phi(-x) on [0, GELU_HIGHEST] = p(x) / q(x), even and odd powers apart; relative error 2^-57.5 */
static const real normal_p_even[] = {0x1.7311d8af1ca2p-1,  0x1.f81809f42e81ap-1,  0x1.8787ba8e8deffp-3,
                                     0x1.51a33367f56b2p-7, 0x1.42ea067b740aap-13, 0x1.5b101666bcabfp-22};
static const real normal_p_odd[] = {0x1.3322e5a560c92p+0, 0x1.08faa2a7dea68p-1, 0x1.a6df3575f8d12p-5, 0x1.8a0f282c6fb81p-10,
                                    0x1.51e5ac443513ep-17};
static const real normal_q_even[] = {0x1.7311d8af1ca2p+0,  0x1.053a1cdd40f1bp+2, 0x1.6b5ca51b9c2cfp+0,
                                     0x1.109bf1995c25dp-3, 0x1.f1304191442bbp-9, 0x1.a77dc50256d72p-16};
static const real normal_q_odd[] = {0x1.c72bf571fa50cp+1, 0x1.731b561c574aap+1,  0x1.0230216b26dccp-1,
                                    0x1.ad768399f586p-6,  0x1.958ffcd2e008cp-12, 0x1.b2fa906bb748bp-21};

#endif

#define NORMAL_DENSITY ((real)0x1.9884533d43651p-2) /* phi(0) = 1 / sqrt(2 pi) */

/* Adding it rounds a small number to an integer, to even; the sum's last bits are that integer. */
#define ROUNDER ((real)3 * ((uint_real)1 << (FRACTION_BITS - 1)))
#define V_POLYNOMIAL(x, coefficients) v_polynomial(x, coefficients, sizeof(coefficients) / sizeof(real))

FBP_INLINE vreal v_polynomial(vreal x, const real *coefficients, size_t n) {
    vreal y = v_set(coefficients[n - 1]);
    for (size_t i = n - 1; i-- > 0;) y = v_fma(y, x, v_set(coefficients[i]));
    return y;
}

/* x = (n ln 2) unit + r + *lost, where *lost is what the rounding of r took and unit is a power of two. Returns r; the last
 * bits of *n_bits are n + offset. */
FBP_INLINE vreal v_exp_reduce(vreal x, real unit, real offset, vint *n_bits, vreal *lost) {
    vreal rounder = v_set(ROUNDER + offset), t = v_fma(x, v_set(LOG2_E / unit), rounder), n = v_sub(t, rounder);
    *n_bits = v_bits(t);
    vreal low = v_set(LN2_LOW * unit), exact = v_fnma(n, v_set(LN2_HIGH * unit), x), r = v_fnma(n, low, exact);
    *lost = v_fnma(n, low, v_sub(exact, r));
    return r;
}

/* e 2^n, for the n of v_exp_reduce with the offset 2 EXPONENT_BIAS; below the smallest normal number rounded once. 2^n
 * in two factors, as n runs past both ends of the exponent. */
FBP_INLINE vreal v_exp_scale(vreal e, vint n) {
    vint half = vi_shr(n, 1);
    vreal scale = v_from_bits(vi_shl(half, FRACTION_BITS)), rest = v_from_bits(vi_shl(vi_sub(n, half), FRACTION_BITS));
    return v_mul(v_mul(e, scale), rest);
}

/* e^r, |r| <= ln(2)/2 */
FBP_INLINE vreal v_exp_reduced(vreal r) {
    vreal one = v_set(1);
    return v_fma(r, v_fma(r, V_POLYNOMIAL(r, exp_q), one), one);
}

/* e^x. exp(-inf) = 0, exp(inf) = inf, nan stays nan; results below the smallest normal number are rounded once. */
FBP_INLINE vreal v_exp(vreal x) {
    /* At EXP_LOWEST both factors of v_exp_scale are 0, so e^-inf is 0 without the slow path that an underflow takes on
     * some processors. The second operands let nan through. */
    vint n;
    vreal lost, r = v_exp_reduce(v_min(v_set(EXP_HIGHEST), v_max(v_set(EXP_LOWEST), x)), 1, 2 * EXPONENT_BIAS, &n, &lost);
    return v_exp_scale(v_exp_reduced(r), n);
}

/* x = n ln 2 + r for x <= 0. Returns e^r; v_exp_below_scale makes e^x of it, or a multiple of e^x of its multiple. */
FBP_INLINE vreal v_exp_below_reduce(vreal x, vint *n_bits) {
    vreal lost;
    return v_exp_reduced(v_exp_reduce(v_max(v_set(EXP_BELOW_LOWEST), x), 1, EXPONENT_BIAS + EXP_BELOW_LIFT, n_bits, &lost));
}

/* e 2^n for the n of v_exp_below_reduce; below the smallest normal number rounded once. Without the other end of the exponent
 * the second factor is a constant. */
FBP_INLINE vreal v_exp_below_scale(vreal e, vint n) {
    return v_mul(v_mul(e, v_from_bits(vi_shl(n, FRACTION_BITS))), v_set(EXP_BELOW_DROP));
}

/* The same bits as v_exp(x), for x <= 0 or a nan, in fewer operations. */
FBP_INLINE vreal v_exp_below(vreal x) {
    vint n;
    vreal e = v_exp_below_reduce(x, &n);
    return v_exp_below_scale(e, n);
}

/* unit (e^(r/unit) - 1), for the n and r of v_exp_reduce and the coefficients of that unit. For n = 1 and r < 0 most of r
 * cancels in 2 (e^r - 1) + 1. With a float's fraction the errors stay within the bounds all the same; a double needs back what
 * rounding took from r. */
FBP_INLINE vreal v_expm1_reduce(vreal x, real unit, const real *coefficients, real offset, vint *n_bits) {
    vreal lost, r = v_exp_reduce(x, unit, offset, n_bits, &lost), square = v_mul(r, r);
    vreal q = v_polynomial(r, coefficients, sizeof(expm1_q) / sizeof(real));
    return FBP_REAL == 32 ? v_fma(square, q, r) : v_add(r, v_fma(square, q, lost));
}

/* e^x - 1. expm1(-inf) = -1, expm1(inf) = inf, nan stays nan, and so do subnormal numbers and the sign of zero. */
FBP_INLINE vreal v_expm1(vreal x) {
    /* scale is 2^(n - 1): 2^n would overflow before the result does. */
    vint n;
    vreal e = v_expm1_reduce(v_min(v_set(EXP_HIGHEST), v_max(v_set(EXPM1_LOWEST), x)), 1, expm1_q, EXPONENT_BIAS - 1, &n);
    vreal scale = v_from_bits(vi_shl(n, FRACTION_BITS));
    vreal y = v_fma(scale, e, v_sub(scale, v_set((real)0.5)));
    return v_select(v_lt(v_abs(x), v_set(EXPM1_LEAST)), x, v_add(y, y));
}

/* |tanh(x)| = q = g / (1 - g) with g = (1 - e) / 2 and e = e^(-2|x|), and the sign of x. The result is g + g q, which is q
 * again, but has only g times the errors of denominator and quotient; where e is small it is 1 - e / (1 - g), so that those of a
 * result near 1 are of e. tanh(+-inf) = +-1, nan stays nan, and so do subnormal numbers and the sign of zero. */
FBP_INLINE vreal v_tanh(vreal x) {
    const vint sign = vi_set(SIGN_BIT);
    vint n;
    vreal below = v_max(v_set(TANH_LOWEST), v_from_bits(vi_or(v_bits(x), sign)));
    vreal h = v_expm1_reduce(below, (real)0.5, tanh_q, EXPONENT_BIAS, &n); /* (e^(2r) - 1) / 2 */
    vreal scale = v_from_bits(vi_shl(n, FRACTION_BITS)), one = v_set(1), half = v_set((real)0.5);
    vreal g = v_fnma(scale, h, v_fnma(scale, half, half)), e = v_fma(scale, v_add(h, h), scale);
    const vmask large = v_lt(e, v_set((real)0.25));
    vreal q = v_div(v_select(large, e, g), v_sub(one, g)), y = v_select(large, v_sub(one, q), v_fma(g, q, g));
    return v_from_bits(vi_or(v_bits(y), vi_and(v_bits(x), sign)));
}

/* 1 / (1 + e^-x), from e = e^-|x|, so that a small result keeps its relative accuracy. With q = e / (1 + e) it is e - e q below
 * 0, which is q again, but has only e times the errors of denominator and quotient, and 1 - q above. sigmoid(-inf) = 0,
 * sigmoid(inf) = 1, nan stays nan; subnormal results are right. */
FBP_INLINE vreal v_sigmoid(vreal x) {
    vreal one = v_set(1), e = v_exp_below(v_neg(v_abs(x))), q = v_div(e, v_add(one, e));
    return v_select(v_lt(x, v_zero()), v_fnma(e, q, e), v_sub(one, q));
}

/* e^(a^2/2) Phi(-a), 0 <= a <= GELU_HIGHEST, with Phi the distribution function of the standard normal law: Mills'
 * ratio over sqrt(2 pi). */
FBP_INLINE vreal v_normal_tail(vreal a) {
    vreal square = v_mul(a, a);
    vreal p = v_fma(a, V_POLYNOMIAL(square, normal_p_odd), V_POLYNOMIAL(square, normal_p_even));
    vreal q = v_fma(a, V_POLYNOMIAL(square, normal_q_odd), V_POLYNOMIAL(square, normal_q_even));
    return v_div(p, q);
}

/* m e^(-a^2/2), 0 <= a <= GELU_HIGHEST. What rounding adds to the square, which would show in the result, is found from
 * the halves of a, whose products are exact (Dekker, 1971): so it is where v_fma rounds twice, too. */
FBP_INLINE vreal v_gaussian(vreal a, vreal m) {
    vreal high = v_from_bits(vi_and(v_bits(a), vi_set(HIGH_HALF))), low = v_sub(a, high), square = v_mul(a, a);
    vreal excess = v_fnma(low, low, v_fnma(v_add(high, high), low, v_fnma(high, high, square)));
    vreal half = v_set((real)0.5), lost;
    vint n;
    vreal r = v_exp_reduce(v_neg(v_mul(half, square)), 1, EXPONENT_BIAS + EXP_BELOW_LIFT, &n, &lost);
    return v_exp_below_scale(v_mul(m, v_exp_reduced(v_fma(half, excess, r))), n);
}

/* x Phi(x): for x < 0 it is -|x| Phi(-|x|), else what that leaves of x. So a small result keeps its relative accuracy.
 * gelu(-inf) = -0, gelu(inf) = inf, nan stays nan, and so does the sign of zero; subnormal results are right. */
FBP_INLINE vreal v_gelu(vreal x) {
    vreal a = v_min(v_set(GELU_HIGHEST), v_abs(x)), tail = v_gaussian(a, v_mul(a, v_normal_tail(a)));
    return v_select(v_lt(x, v_zero()), v_neg(tail), v_sub(x, tail));
}

/* gelu'(x) = Phi(x) + x phi(x), phi = Phi'. 0 at -inf, 1 at inf, nan stays nan. Within 6 ulp of Phi(x) + |x| phi(x):
 * the terms cancel at x = -0.7518. */
FBP_INLINE vreal v_gelu_slope(vreal x) {
    vreal a = v_min(v_set(GELU_HIGHEST), v_abs(x));
    vreal tail = v_gaussian(a, v_fnma(a, v_set(NORMAL_DENSITY), v_normal_tail(a)));
    return v_select(v_lt(x, v_zero()), tail, v_sub(v_set(1), tail));
}

/* k ln 2 + log(1 + f), with the coefficients for the range of f. */
FBP_INLINE vreal v_log_reduced(vreal k, vreal f, const real *coefficients) {
    vreal s = v_div(f, v_add(v_set(2), f)), z = v_mul(s, s), q = v_polynomial(z, coefficients, sizeof(log_q) / sizeof(real));
    vreal half_square = v_mul(v_mul(v_set((real)0.5), f), f);
    vreal tail = v_fma(s, v_fma(z, q, half_square), v_mul(k, v_set(LN2_LOW)));
    return v_fma(k, v_set(LN2_HIGH), v_sub(f, v_sub(half_square, tail)));
}

/* x = 2^k m, sqrt(1/2) <= m < sqrt(2), for a normal x > 0. Returns m; *biased is k + EXPONENT_BIAS. */
FBP_INLINE vreal v_log_split(vreal x, vint *biased) {
    vint bits = vi_add(v_bits(x), vi_set(ONE_BITS - SQRT_HALF_BITS));
    *biased = vi_shr(bits, FRACTION_BITS);
    return v_from_bits(vi_add(vi_and(bits, vi_set(FRACTION_MASK)), vi_set(SQRT_HALF_BITS)));
}

/* biased - bias, as reals: the integer is put in the last bits of 2^FRACTION_BITS. */
FBP_INLINE vreal v_log_exponent(vint biased, vreal bias) {
    vreal base = v_set((real)((uint_real)1 << FRACTION_BITS));
    return v_sub(v_from_bits(vi_or(biased, v_bits(base))), v_add(base, bias));
}

/* y = log(u) for finite u > 0; the rest: log(0) = -inf, log(inf) = inf, nan below 0, and nan stays nan. */
FBP_INLINE vreal v_log_edges(vreal u, vreal y) {
    vreal infinite = v_from_bits(vi_set(INFINITY_BITS)), not_a_number = v_from_bits(vi_set(NAN_BITS));
    vreal edge = v_select(v_eq(u, v_zero()), v_neg(infinite), not_a_number);
    y = v_select(v_eq(u, infinite), u, y);
    return v_select(v_gt(u, v_zero()), y, edge);
}

/* log(x), natural. Subnormal numbers are right. */
FBP_INLINE vreal v_log(vreal x) {
    vmask subnormal = v_lt(x, v_set(SMALLEST_NORMAL));
    real shift = FRACTION_BITS + 1;
    vreal normal = v_select(subnormal, v_mul(x, v_set((real)((uint_real)1 << (FRACTION_BITS + 1)))), x);
    vint biased;
    vreal m = v_log_split(normal, &biased);
    vreal k = v_log_exponent(biased, v_select(subnormal, v_set(EXPONENT_BIAS + shift), v_set(EXPONENT_BIAS)));
    return v_log_edges(x, v_log_reduced(k, v_sub(m, v_set(1)), log_q));
}

/* log(1 + x), natural, for 0 <= x <= 1; nan stays nan, and so do subnormal numbers. 1 + x = 2^k (1 + f) with k = 0, f = x below
 * 1/2 and k = 1, f = (x - 1)/2 from there on: both f are exact. */
FBP_INLINE vreal v_log1p_unit(vreal x) {
    const vreal one = v_set(1), half = v_set((real)0.5);
    vmask upper = v_ge(x, half);
    return v_log_reduced(v_select(upper, one, v_zero()), v_select(upper, v_fma(half, x, v_neg(half)), x), log1p_q);
}

#undef FRACTION_BITS
#undef EXPONENT_BIAS
#undef SIGN_BIT
#undef INFINITY_BITS
#undef NAN_BITS
#undef EXP_LOWEST
#undef EXP_BELOW_LOWEST
#undef EXP_BELOW_LIFT
#undef EXP_BELOW_DROP
#undef EXP_HIGHEST
#undef EXPM1_LOWEST
#undef EXPM1_LEAST
#undef TANH_LOWEST
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef GELU_HIGHEST
#undef HIGH_HALF
#undef SMALLEST_NORMAL
#undef SQRT_HALF_BITS
#undef ONE_BITS
#undef FRACTION_MASK
#undef NORMAL_DENSITY
#undef ROUNDER
#undef V_POLYNOMIAL

#endif
