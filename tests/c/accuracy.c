/* accuracy.c: the largest errors of the functions of vec/math.h and kernels/activation.h. Compile once for each header and real:
 *
 *   cc -O2 -std=c11 -ffp-contract=off -fno-math-errno -fno-trapping-math -mavx2 -mfma -DFBP_REAL=32
 *      -DVEC_HEADER='"../../src_c/vec/avx2.h"' accuracy.c -lm
 *
 * The arguments are a number and names of functions, of all without names. Floats: every bit pattern whose number is a multiple
 * of the first argument, so 1 stands for all 2^32. Doubles: as many points, of which half are bit patterns at equal steps and
 * half lie where a function changes. A line "exp 0.8913 at 0x1p+0, 0.62 at 0x1p+0" names the largest error in units in the last
 * place (ulp), then the largest of |error| / max(1, |f(x)|) in units of the machine epsilon, and where they are.
 *
 * The exact values are those of the C library in a wider type. An ulp is that of the exact value; of a derivative computed as a
 * sum of terms that cancel, it is the ulp of the sum of their magnitudes. Where an argument of exp is rounded first, the error
 * is divided by 1 + |argument|, as it grows with it. A nan, an infinity or a sign that is wrong counts as an infinite error. */
#define _DEFAULT_SOURCE

#include VEC_HEADER
#include "../../src_c/kernels/activation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reals.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if FBP_REAL == 32
typedef double wide;
#define W(function) function
#define FRACTION 23
#define LEAST_EXPONENT -126
#define BEYOND_LARGEST 0x1p128
#define EPSILON 0x1p-23
#else
typedef long double wide;
#define W(function) function##l
#define FRACTION 52
#define LEAST_EXPONENT -1022
#define BEYOND_LARGEST 0x1p1024L
#define EPSILON 0x1p-52
#endif

/* ------------------------------------------------------------------------------------------------ exact values */

#define FAR 5000 /* beyond it the sigmoid and the normal distribution are 0 or 1 in every type */
static const wide root_half = 0.707106781186547524400844362104849039L, density_at_0 = 0.398942280401432677939946059934381868L;
static const wide selu_scale = 1.05070098735548049341933498529460L, selu_limit = 1.75809934084737685994021752081231L;

static wide near(wide x) { return x > FAR ? FAR : x < -FAR ? -FAR : x; }
static wide r_exp(wide x) { return W(exp)(x); }
static wide r_expm1(wide x) { return W(expm1)(x); }
static wide r_log(wide x) { return W(log)(x); }
static wide r_log1p(wide x) { return W(log1p)(x); }
static wide r_tanh(wide x) { return W(tanh)(x); }
static wide r_sigmoid(wide x) {
    const wide e = W(exp)(-W(fabs)(x));
    return (x < 0 ? e : 1) / (1 + e);
}
static wide r_density(wide x) { return W(exp)(-x * x / 2) * density_at_0; }
#if FBP_REAL == 32
static wide r_normal(wide x) { return erfc(-x * root_half) / 2; }
#else
/* What rounding takes from x / sqrt(2), even in a long double, shows in the tail: it goes through the derivative. */
static wide r_normal(wide x) {
    const wide root = 0x1.6a09e667f3bcdp-1L, rest = -4.833646656726456518593584e-17L, y = x * root;
    const wide lost = fabsl(x) < 100 ? fmal(x, root, -y) + x * rest : 0;
    return erfcl(-y) / 2 + r_density(x) * lost / root_half;
}
#endif
static wide r_gelu(wide x) { return x < -100 ? (wide)-0.0 : x * r_normal(x); }
static wide r_gelu_slope(wide x) { return r_normal(near(x)) + near(x) * r_density(near(x)); }
static wide s_gelu_slope(wide x) { return r_normal(near(x)) + W(fabs)(near(x)) * r_density(near(x)); }

static wide r_softplus(wide x) { return W(fmax)(x, 0) + W(log1p)(W(exp)(-W(fabs)(x))) + 0 * x; }
static wide r_softplus_3(wide x) { return W(fmax)(x, 0) + W(log1p)(W(exp)(-W(fabs)(3 * x))) / 3 + 0 * x; }
static wide g_softplus_3(wide x) { return 3 * x; }
static wide r_elu(wide x) { return x > 0 ? x : W(expm1)(x); }
static wide r_elu_03(wide x) { return x > 0 ? x : (real)0.3 * W(expm1)(x); }
static wide r_selu(wide x) { return x > 0 ? selu_scale * x : selu_limit * W(expm1)(x); }
static wide r_silu(wide x) { return x < -FAR ? (wide)-0.0 : x * r_sigmoid(x); }
static wide r_silu_slope(wide x) {
    x = near(x);
    return r_sigmoid(x) + x * r_sigmoid(x) * r_sigmoid(-x);
}
static wide s_silu_slope(wide x) {
    x = near(x);
    return r_sigmoid(x) + W(fabs)(x) * r_sigmoid(x) * r_sigmoid(-x);
}
/* gelu_tanh(x) = x q(v), v = 2 sqrt(2/pi) (x + c x^3) */
static wide v_of(wide x) { return 4 * density_at_0 * (near(x) + near(x) * near(x) * near(x) * 44715 / 1000000); }
static wide g_gelu_tanh(wide x) { return v_of(x); }
static wide r_gelu_tanh(wide x) { return x < -FAR ? (wide)-0.0 : x * r_sigmoid(v_of(x)); }
static wide gelu_tanh_term(wide x) {
    const wide v = v_of(x), growth = 4 * density_at_0 * (near(x) + 3 * near(x) * near(x) * near(x) * 44715 / 1000000);
    return growth * r_sigmoid(v) * r_sigmoid(-v);
}
static wide r_gelu_tanh_slope(wide x) { return r_sigmoid(v_of(x)) + gelu_tanh_term(x); }
static wide s_gelu_tanh_slope(wide x) { return r_sigmoid(v_of(x)) + W(fabs)(gelu_tanh_term(x)); }

static wide r_sigmoid_slope(wide y) { return y * (1 - y); }
static wide r_tanh_slope(wide y) { return (1 - y) * (1 + y); }
static wide r_softplus_slope(wide y) { return -W(expm1)(-y); }
static wide r_elu_slope(wide y) { return y > 0 ? 1 : y + 1; }
static wide r_selu_slope(wide y) { return y > 0 ? selu_scale : y + selu_limit; }
static wide s_selu_slope(wide y) { return y > 0 ? selu_scale : selu_limit + 0 * y; }

/* ------------------------------------------------------------------------------------------------ functions */

#define ACTIVATION(name, code, alpha) \
    static vreal name(vreal x) { return activation_of(x, code, (real)(alpha)); } \
    static vreal name##_slope(vreal y) { return activation_slope(y, code, (real)(alpha)); }
ACTIVATION(a_sigmoid, FBP_SIGMOID, 0)
ACTIVATION(a_tanh, FBP_TANH, 0)
ACTIVATION(a_softplus, FBP_SOFTPLUS, 1)
ACTIVATION(a_elu, FBP_ELU, 1)
ACTIVATION(a_selu, FBP_SELU, 0)
ACTIVATION(a_gelu, FBP_GELU, 0)
ACTIVATION(a_gelu_tanh, FBP_GELU_TANH, 0)
ACTIVATION(a_silu, FBP_SILU, 0)
static vreal a_softplus_3(vreal x) { return activation_of(x, FBP_SOFTPLUS, 3); }
static vreal a_elu_03(vreal x) { return activation_of(x, FBP_ELU, (real)0.3); }

#define LEAST (FBP_REAL == 32 ? -105 : -746) /* e^x is 0 below */
#define MOST (FBP_REAL == 32 ? 89 : 710)     /* and inf above */
#define EDGE (FBP_REAL == 32 ? 15 : 40)      /* of gelu */

static const struct function {
    const char *name;
    vreal (*vector)(vreal);
    wide (*exact)(wide);
    wide (*size)(wide);   /* whose ulp is the unit, or NULL: the exact value */
    wide (*growth)(wide); /* the argument that is rounded, or NULL */
    double low, high;     /* where the function is neither a constant nor x: sampled densely */
    real from, to;        /* other arguments have no value */
} functions[] = {
    {"exp", v_exp, r_exp, NULL, NULL, LEAST, MOST, -INFINITY, INFINITY},
    {"expm1", v_expm1, r_expm1, NULL, NULL, -40, MOST, -INFINITY, INFINITY},
    {"expm1_below", v_expm1, r_expm1, NULL, NULL, -40, 0, -INFINITY, 0}, /* all that the kernels use of it */
    {"log", v_log, r_log, NULL, NULL, 0, 16, -INFINITY, INFINITY},
    {"log1p", v_log1p_unit, r_log1p, NULL, NULL, 0, 1, 0, 1},
    {"tanh", a_tanh, r_tanh, NULL, NULL, -20, 20, -INFINITY, INFINITY},
    {"sigmoid", a_sigmoid, r_sigmoid, NULL, NULL, LEAST, 40, -INFINITY, INFINITY},
    {"softplus", a_softplus, r_softplus, NULL, NULL, LEAST, 40, -INFINITY, INFINITY},
    {"softplus(3)", a_softplus_3, r_softplus_3, NULL, g_softplus_3, LEAST / 3., 40, -INFINITY, INFINITY},
    {"elu", a_elu, r_elu, NULL, NULL, -40, 1, -INFINITY, INFINITY},
    {"elu(0.3)", a_elu_03, r_elu_03, NULL, NULL, -40, 1, -INFINITY, INFINITY},
    {"selu", a_selu, r_selu, NULL, NULL, -40, 1, -INFINITY, INFINITY},
    {"gelu", a_gelu, r_gelu, NULL, NULL, -EDGE, EDGE, -INFINITY, INFINITY},
    {"gelu_tanh", a_gelu_tanh, r_gelu_tanh, NULL, g_gelu_tanh, -25, 25, -INFINITY, INFINITY},
    {"silu", a_silu, r_silu, NULL, NULL, LEAST - 10, 40, -INFINITY, INFINITY},
    {"sigmoid'", a_sigmoid_slope, r_sigmoid_slope, NULL, NULL, 0, 1, 0, 1},
    {"tanh'", a_tanh_slope, r_tanh_slope, NULL, NULL, -1, 1, -1, 1},
    {"softplus'", a_softplus_slope, r_softplus_slope, NULL, NULL, 0, 40, 0, INFINITY},
    {"elu'", a_elu_slope, r_elu_slope, NULL, NULL, -1, 1, -1, INFINITY},
    {"selu'", a_selu_slope, r_selu_slope, s_selu_slope, NULL, -1.75, 1, (real)-1.75, INFINITY},
    {"gelu'", a_gelu_slope, r_gelu_slope, s_gelu_slope, NULL, -EDGE, EDGE, -INFINITY, INFINITY},
    {"gelu_tanh'", a_gelu_tanh_slope, r_gelu_tanh_slope, s_gelu_tanh_slope, g_gelu_tanh, -25, 25, -INFINITY, INFINITY},
    {"silu'", a_silu_slope, r_silu_slope, s_silu_slope, NULL, LEAST - 10, 40, -INFINITY, INFINITY},
};

/* ------------------------------------------------------------------------------------------------ errors */

/* A difference in units in the last place of b, those of subnormal numbers being the smallest number. */
static double in_ulp_of(wide b, wide difference) {
#if FBP_REAL == 32
    uint64_t u;
    memcpy(&u, &b, sizeof u);
    const int exponent = (int)(u >> 52 & 0x7ff) - 1023;
    u = (uint64_t)(1023 + FRACTION - (exponent < LEAST_EXPONENT ? LEAST_EXPONENT : exponent)) << 52;
    memcpy(&b, &u, sizeof u);
    return fabs(difference) * b;
#else
    int exponent;
    frexpl(b, &exponent);
    exponent = b == 0 || exponent - 1 < LEAST_EXPONENT ? LEAST_EXPONENT : exponent - 1;
    return (double)ldexpl(fabsl(difference), FRACTION - exponent);
#endif
}

struct worst {
    double ulp, absolute;
    real ulp_at, absolute_at;
    double inputs;
};

/* The errors of got; infinite ones where it is wrong altogether. */
static void compare(const struct function *f, real x, real got, struct worst *worst) {
    const wide exact = f->exact(x);
    wide a = W(fabs)(got), b = W(fabs)(exact), difference = INFINITY;
    /* The numbers above the largest one round to infinity: it counts as the first of them. */
    if (a == (wide)INFINITY) a = BEYOND_LARGEST;
    if (b > BEYOND_LARGEST) b = BEYOND_LARGEST;
    if (exact != exact && got != got) return;
    if (f->size) difference = got - exact;
    else if (!signbit(got) == !signbit(exact)) difference = a - b;

    double ulp = in_ulp_of(f->size ? f->size(x) : b, difference), absolute = (double)W(fabs)(difference) * (1 / EPSILON);
    if (f->growth) ulp /= (double)(1 + W(fabs)(f->growth(x)));
    if (!(ulp <= worst->ulp)) worst->ulp = ulp == ulp ? ulp : INFINITY, worst->ulp_at = x;
    if (b > 1 && absolute > worst->absolute) absolute /= (double)b;
    if (!(absolute <= worst->absolute)) worst->absolute = absolute == absolute ? absolute : INFINITY, worst->absolute_at = x;
}

static void measure(const struct function *f, const real *x, struct worst *worst) {
    real y[LANES];
    v_store(y, f->vector(v_load(x)));
    for (int i = 0; i < LANES; i++) {
        if (x[i] < f->from || x[i] > f->to || (f->from == 0 && signbit(x[i]))) continue; /* 0, not -0 */
        worst->inputs++;
        compare(f, x[i], y[i], worst);
    }
}

/* Every step-th bit pattern, from 0 on; past the last one they begin again. */
static void measure_patterns(const struct function *f, uint64_t step, struct worst *worst) {
    const uint64_t last = FBP_REAL == 32 ? UINT32_MAX : UINT64_MAX, vectors = last / step / LANES + 1;
    real x[LANES];
    for (uint64_t k = 0; k < vectors; k++) {
        for (int i = 0; i < LANES; i++) x[i] = real_of((uint_real)((k * LANES + (uint64_t)i) * step));
        measure(f, x, worst);
    }
}

/* The range that matters, its middle, every magnitude, and around even multiples of ln(2)/2 and powers of two. */
static real hard_point(const struct function *f, uint64_t k) {
    const double u = random_unit(), low = fmax(f->low, -2), high = fmin(f->high, 2);
    switch (k % 5) {
    case 0: return (real)(f->low + (f->high - f->low) * u);
    case 1: return (real)(low + (high - low) * u);
    case 2: return (real)((1 + u) * ldexp(k % 2 ? 1 : -1, -(int)(random_word() % 20)));
    case 3: return (real)(0.34657359027997264 * (double)((long)(random_word() % 64) - 32) + 1e-3 * (u - 0.5));
    default: return (real)(ldexp(0.70710678118654752, (int)(random_word() % 20) - 10) * (1 + 1e-2 * (u - 0.5)) - (k % 2 ? 1 : 0));
    }
}

static void measure_hard_points(const struct function *f, uint64_t points, struct worst *worst) {
    real x[LANES];
    random_state = 1;
    for (uint64_t k = 0; k < points; k += LANES) {
        for (int i = 0; i < LANES; i++) x[i] = hard_point(f, k + (uint64_t)i);
        measure(f, x, worst);
    }
}

int main(int argc, char **argv) {
    const uint64_t amount = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    if (!amount) {
        fprintf(stderr, "usage: accuracy STEP|POINTS [FUNCTION ...]\n");
        return 2;
    }
    for (size_t k = 0; k < COUNT(functions); k++) {
        const struct function *f = &functions[k];
        int wanted = argc == 2;
        for (int i = 2; i < argc; i++) wanted |= !strcmp(argv[i], f->name);
        if (!wanted) continue;
        struct worst worst = {0, 0, 0, 0, 0};
        measure_patterns(f, FBP_REAL == 32 ? amount : UINT64_MAX / (amount / 2 + 1), &worst);
        if (FBP_REAL == 64) measure_hard_points(f, amount - amount / 2, &worst);
        else if (amount > 1) measure_hard_points(f, UINT32_MAX / amount / 8, &worst);
        printf("%s %.9g at %a, %.9g at %a, %.0f inputs\n", f->name, worst.ulp, (double)worst.ulp_at, worst.absolute,
               (double)worst.absolute_at, worst.inputs);
        fflush(stdout);
    }
    return 0;
}
