/* activation.h: y = f(z) element by element, and the way back.
 *
 * From y:        f(z)                                      f'(z)
 *   identity     z                                         1
 *   relu         z > 0 ? z : 0                             y > 0 ? 1 : 0
 *   leaky_relu   z > 0 ? z : alpha z                       y > 0 ? 1 : alpha         alpha >= 0
 *   sigmoid      1 / (1 + exp(-z))                         y (1 - y)
 *   tanh         tanh(z)                                   (1 - y) (1 + y)
 *   softplus     max(z, 0) + log1p(exp(-|alpha z|))/alpha  -expm1(-alpha y)          alpha > 0
 *   elu          z > 0 ? z : alpha expm1(z)                y > 0 ? 1 : y + alpha     alpha >= 0
 *   selu         z > 0 ? s z : s a expm1(z)                y > 0 ? s : y + s a
 *
 * From z:
 *   gelu         z Phi(z)                                  Phi(z) + z phi(z)
 *   gelu_tanh    z q(v(z)), v = 2 sqrt(2/pi) (z + c z^3)   q(v) + z v' q(v) q(-v),  v' = 2 sqrt(2/pi) (1 + 3 c z^2)
 *   silu         z q(z)                                    q(z) + z q(z) q(-z)
 *
 * Phi and phi are the standard normal distribution and its density, q the sigmoid, c = 0.044715.
 *
 * Forward leaves y and nothing else. Of the first table y is all that backward needs. (softplus: y =
 * log(1 + exp(alpha z))/alpha, so exp(-alpha y) = 1 - sigmoid(alpha z).) The others fall and rise again, so that y does
 * not tell z: backward needs z.
 *
 * Every z is allowed, and a nan gives a nan. At infinity: sigmoid 0 and 1, tanh -1 and 1, softplus 0 and inf, elu
 * -alpha and inf, selu -s a and inf, the last three -0 and inf, with slopes 0 and 1; leaky_relu with alpha = 0 makes a
 * nan of -inf. The slope of a nan is a nan, but 0 for relu and alpha for leaky_relu.
 *
 * Errors: tests/limits.py has the largest of each function and slope. softplus adds three roundings (product, quotient,
 * sum) to exp and log1p; elu adds one to expm1, selu two. What rounding takes from alpha z (softplus) or v (gelu_tanh)
 * moves exp(-|v|) by as much: there the errors grow with 1 + |v|. Subnormal results are as accurate as all others. y +
 * s a is within an ulp of s a. The slopes from z cross 0 at one z < 0: their errors are in ulp of the sum of their terms'
 * magnitudes.
 *
 * Sources: Hendrycks, Gimpel, Gaussian Error Linear Units, arXiv:1606.08415, 2016 (gelu, gelu_tanh, silu); Clevert,
 * Unterthiner, Hochreiter, arXiv:1511.07289, 2015 (elu); Klambauer et al., arXiv:1706.02515, 2017 (selu; s and a keep
 * mean 0 and variance 1).
 *
 * Each element is computed alone: its bits do not depend on where in an array or a tile it stands. */
#ifndef FBP_ACTIVATION_H
#define FBP_ACTIVATION_H

#include "../fbp.h"
#include "../vec/math.h"

#define SELU_SCALE ((real)0x1.0cfabd6a91132p+0)       /* s = 1.0507... */
#define SELU_LIMIT ((real)0x1.c212cc640f031p+0)       /* s a = 1.7580..., a = 1.6732... */
#define GELU_TANH_LINEAR ((real)0x1.9884533d43651p+0) /* 2 sqrt(2/pi) */
#define GELU_TANH_CUBIC ((real)0x1.2444f2a4d8b4bp-4)  /* 0.044715 times that */
#define GATE_HIGHEST ((real)1e4)                      /* sigmoid(-v) is 0 from 1e4 on in both types */

/* z sigmoid(v(z)), v odd: for z < 0 it is -|z| sigmoid(-|v|), else what that leaves of z. So a small result keeps its
 * relative accuracy, and -inf gives 0. */
FBP_INLINE vreal gate_of(vreal z, int activation) {
    const vreal a = v_min(v_set(GATE_HIGHEST), v_abs(z)); /* this order keeps a nan */
    vreal v = a;
    if (activation == FBP_GELU_TANH) v = v_mul(a, v_fma(v_set(GELU_TANH_CUBIC), v_mul(a, a), v_set(GELU_TANH_LINEAR)));
    /* z multiplies before the power of two does: where the sigmoid underflows the product need not. */
    vint n;
    const vreal reduced = v_exp_below_reduce(v_neg(v), &n), e = v_exp_below_scale(reduced, n);
    const vreal product = v_exp_below_scale(v_mul(a, reduced), n), q = v_div(e, v_add(v_set(1), e));
    const vreal rest = v_fnma(product, q, product); /* as in v_sigmoid */
    return v_select(v_lt(z, v_zero()), v_neg(rest), v_sub(z, rest));
}

/* Its derivative, from that of |z| q, q = sigmoid(-|v|) = e / (1 + e), e = exp(-|v|): it is q (1 - |z| v' (1 - q)). The power of
 * two is the last factor, as above. */
FBP_INLINE vreal gate_slope(vreal z, int activation) {
    const vreal one = v_set(1), a = v_min(v_set(GATE_HIGHEST), v_abs(z));
    vreal v = a, growth = a; /* |z| v' */
    if (activation == FBP_GELU_TANH) {
        const vreal cubic = v_mul(v_set(GELU_TANH_CUBIC), v_mul(a, a)), linear = v_set(GELU_TANH_LINEAR);
        v = v_mul(a, v_add(cubic, linear));
        growth = v_mul(a, v_fma(v_set(3), cubic, linear));
    }
    vint n;
    const vreal e = v_exp_below_reduce(v_neg(v), &n), inverse = v_div(one, v_add(one, v_exp_below_scale(e, n)));
    const vreal slope = v_exp_below_scale(v_mul(e, v_mul(inverse, v_fnma(growth, inverse, one))), n);
    return v_select(v_lt(z, v_zero()), slope, v_sub(one, slope));
}

FBP_INLINE vreal activation_of(vreal z, int activation, real alpha) {
    switch (activation) {
    case FBP_RELU: return v_max(v_zero(), z); /* this order keeps a nan */
    case FBP_LEAKY_RELU: return v_select(v_gt(z, v_zero()), z, v_mul(v_set(alpha), z));
    case FBP_SIGMOID: return v_sigmoid(z);
    case FBP_TANH: return v_tanh(z);
    case FBP_SOFTPLUS: {
        vreal e = v_exp_below(v_neg(v_abs(v_mul(v_set(alpha), z))));
        return v_add(v_max(v_zero(), z), v_div(v_log1p_unit(e), v_set(alpha)));
    }
    case FBP_ELU: return v_select(v_gt(z, v_zero()), z, v_mul(v_set(alpha), v_expm1(z)));
    case FBP_SELU: {
        vmask above = v_gt(z, v_zero());
        return v_mul(v_select(above, v_set(SELU_SCALE), v_set(SELU_LIMIT)), v_select(above, z, v_expm1(z)));
    }
    case FBP_GELU: return v_gelu(z);
    case FBP_GELU_TANH:
    case FBP_SILU: return gate_of(z, activation);
    default: return z;
    }
}

/* f'(z), given y = f(z), or z itself for those from FBP_FROM_Z on. */
FBP_INLINE vreal activation_slope(vreal y, int activation, real alpha) {
    const vreal one = v_set(1);
    switch (activation) {
    case FBP_RELU: return v_select(v_gt(y, v_zero()), one, v_zero());
    case FBP_LEAKY_RELU: return v_select(v_gt(y, v_zero()), one, v_set(alpha));
    case FBP_SIGMOID: return v_mul(y, v_sub(one, y));
    case FBP_TANH: return v_mul(v_sub(one, y), v_add(one, y));
    case FBP_SOFTPLUS: return v_neg(v_expm1(v_neg(v_mul(v_set(alpha), y))));
    case FBP_ELU: return v_select(v_gt(y, v_zero()), one, v_add(y, v_set(alpha)));
    case FBP_SELU: return v_select(v_gt(y, v_zero()), v_set(SELU_SCALE), v_add(y, v_set(SELU_LIMIT)));
    case FBP_GELU: return v_gelu_slope(y);
    case FBP_GELU_TANH:
    case FBP_SILU: return gate_slope(y, activation);
    default: return one;
    }
}

/* The two loops below are compiled once for each activation, which is a constant at every call. */

FBP_INLINE void activation_forward_each(const real *x, size_t x_row, int activation, real alpha, real *y, size_t y_row, size_t rows,
                                        size_t columns) {
    for (size_t i = 0; i < rows; i++, x += x_row, y += y_row) {
        size_t j = 0;
        for (; j + LANES <= columns; j += LANES) v_store(y + j, activation_of(v_load(x + j), activation, alpha));
        if (j < columns) v_store_n(y + j, activation_of(v_load_n(x + j, columns - j), activation, alpha), columns - j);
    }
}

FBP_INLINE void activation_backward_each(const real *dy, size_t dy_row, const real *y, size_t y_row, int activation, real alpha,
                                         real *dx, size_t dx_row, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++, dy += dy_row, y += y_row, dx += dx_row) {
        size_t j = 0;
        for (; j + LANES <= columns; j += LANES)
            v_store(dx + j, v_mul(v_load(dy + j), activation_slope(v_load(y + j), activation, alpha)));
        if (j < columns) {
            vreal slope = activation_slope(v_load_n(y + j, columns - j), activation, alpha);
            v_store_n(dx + j, v_mul(v_load_n(dy + j, columns - j), slope), columns - j);
        }
    }
}

/* All but ReLU and the identity: a call for a few short rows should not pay for the registers that these save. */
static FBP_NOINLINE void activation_forward_others(const real *x, size_t x_row, int activation, real alpha, real *y, size_t y_row,
                                                   size_t rows, size_t columns) {
    switch (activation) {
    case FBP_LEAKY_RELU: activation_forward_each(x, x_row, FBP_LEAKY_RELU, alpha, y, y_row, rows, columns); break;
    case FBP_SIGMOID: activation_forward_each(x, x_row, FBP_SIGMOID, alpha, y, y_row, rows, columns); break;
    case FBP_TANH: activation_forward_each(x, x_row, FBP_TANH, alpha, y, y_row, rows, columns); break;
    case FBP_SOFTPLUS: activation_forward_each(x, x_row, FBP_SOFTPLUS, alpha, y, y_row, rows, columns); break;
    case FBP_ELU: activation_forward_each(x, x_row, FBP_ELU, alpha, y, y_row, rows, columns); break;
    case FBP_SELU: activation_forward_each(x, x_row, FBP_SELU, alpha, y, y_row, rows, columns); break;
    case FBP_GELU: activation_forward_each(x, x_row, FBP_GELU, alpha, y, y_row, rows, columns); break;
    case FBP_GELU_TANH: activation_forward_each(x, x_row, FBP_GELU_TANH, alpha, y, y_row, rows, columns); break;
    case FBP_SILU: activation_forward_each(x, x_row, FBP_SILU, alpha, y, y_row, rows, columns); break;
    }
}

/* y = f(x). x: (rows, columns), rows x_row apart. y: the same, y_row apart; may be x. */
FBP_INLINE void activation_forward_strided(const real *x, size_t x_row, int activation, real alpha, real *y, size_t y_row,
                                           size_t rows, size_t columns) {
    if (activation == FBP_RELU) activation_forward_each(x, x_row, FBP_RELU, alpha, y, y_row, rows, columns);
    else if (activation != FBP_IDENTITY) activation_forward_others(x, x_row, activation, alpha, y, y_row, rows, columns);
    else if (x != y) activation_forward_each(x, x_row, FBP_IDENTITY, alpha, y, y_row, rows, columns);
}

/* y = f(y) in place. y: (rows, columns), rows y_row apart. */
static void activation_forward_rows(real *y, size_t y_row, int activation, real alpha, size_t rows, size_t columns) {
    activation_forward_strided(y, y_row, activation, alpha, y, y_row, rows, columns);
}

/* dx = dy * f'(z). dy, y and dx: (rows, columns), rows dy_row, y_row and dx_row apart. y is z for those from
 * FBP_FROM_Z on. dx may be dy or y, with its row stride. A dy of nan or inf is never lost: where the slope is 0 it
 * gives a nan. */
static void activation_backward_rows(const real *dy, size_t dy_row, const real *y, size_t y_row, int activation, real alpha,
                                     real *dx, size_t dx_row, size_t rows, size_t columns) {
    switch (activation) {
    case FBP_RELU: activation_backward_each(dy, dy_row, y, y_row, FBP_RELU, alpha, dx, dx_row, rows, columns); break;
    case FBP_LEAKY_RELU: activation_backward_each(dy, dy_row, y, y_row, FBP_LEAKY_RELU, alpha, dx, dx_row, rows, columns); break;
    case FBP_SIGMOID: activation_backward_each(dy, dy_row, y, y_row, FBP_SIGMOID, alpha, dx, dx_row, rows, columns); break;
    case FBP_TANH: activation_backward_each(dy, dy_row, y, y_row, FBP_TANH, alpha, dx, dx_row, rows, columns); break;
    case FBP_SOFTPLUS: activation_backward_each(dy, dy_row, y, y_row, FBP_SOFTPLUS, alpha, dx, dx_row, rows, columns); break;
    case FBP_ELU: activation_backward_each(dy, dy_row, y, y_row, FBP_ELU, alpha, dx, dx_row, rows, columns); break;
    case FBP_SELU: activation_backward_each(dy, dy_row, y, y_row, FBP_SELU, alpha, dx, dx_row, rows, columns); break;
    case FBP_GELU: activation_backward_each(dy, dy_row, y, y_row, FBP_GELU, alpha, dx, dx_row, rows, columns); break;
    case FBP_GELU_TANH: activation_backward_each(dy, dy_row, y, y_row, FBP_GELU_TANH, alpha, dx, dx_row, rows, columns); break;
    case FBP_SILU: activation_backward_each(dy, dy_row, y, y_row, FBP_SILU, alpha, dx, dx_row, rows, columns); break;
    default:
        if (dx != dy) activation_forward_each(dy, dy_row, FBP_IDENTITY, alpha, dx, dx_row, rows, columns);
    }
}

/* y = f(x). x, y: (N,); y may be x. */
static void FBP(activation_forward)(const void *x, int activation, double alpha, void *y, size_t N) {
    activation_forward_strided(x, 0, activation, (real)alpha, y, 0, 1, N);
}

/* dx = dy * f'(z), y = f(z) being what forward wrote, or z itself for those from FBP_FROM_Z on. dy, y, dx: (N,); dx may
 * be dy or y. */
static void FBP(activation_backward)(const void *dy, const void *y, int activation, double alpha, void *dx, size_t N) {
    activation_backward_rows(dy, 0, y, 0, activation, (real)alpha, dx, 0, 1, N);
}

#endif
