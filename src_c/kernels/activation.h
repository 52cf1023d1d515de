/* activation.h: y = f(z) element by element, and the way back.
 *
 *                f(z)                                      f'(z), from y
 *   identity     z                                         1
 *   relu         z > 0 ? z : 0                             y > 0 ? 1 : 0
 *   leaky_relu   z > 0 ? z : alpha z                       y > 0 ? 1 : alpha         alpha >= 0
 *   sigmoid      1 / (1 + exp(-z))                         y (1 - y)
 *   tanh         tanh(z)                                   (1 - y) (1 + y)
 *   softplus     max(z, 0) + log1p(exp(-|alpha z|))/alpha  -expm1(-alpha y)          alpha > 0
 *
 * Forward leaves y and nothing else; y is all that backward needs. (softplus: y = log(1 + exp(alpha z))/alpha, so
 * exp(-alpha y) = 1 - sigmoid(alpha z).)
 *
 * Every z is allowed, and a nan gives a nan. At infinity: sigmoid 0 and 1, tanh -1 and 1, softplus 0 and inf; leaky_relu
 * with alpha = 0 makes a nan of -inf. The slope of a nan is a nan, but 0 for relu and alpha for leaky_relu. Errors are
 * those of vec/math.h; softplus adds three roundings (product, quotient, sum) to exp and log1p.
 *
 * Each element is computed alone: its bits do not depend on where in an array or a tile it stands. */

FBP_INLINE vreal activation_of(vreal z, int activation, real alpha) {
    switch (activation) {
    case FBP_RELU:
        return v_max(v_zero(), z); /* this order keeps a nan */
    case FBP_LEAKY_RELU:
        return v_select(v_gt(z, v_zero()), z, v_mul(v_set(alpha), z));
    case FBP_SIGMOID:
        return v_sigmoid(z);
    case FBP_TANH:
        return v_tanh(z);
    case FBP_SOFTPLUS: {
        vreal e = v_exp(v_neg(v_abs(v_mul(v_set(alpha), z))));
        return v_add(v_max(v_zero(), z), v_div(v_log1p_unit(e), v_set(alpha)));
    }
    default:
        return z;
    }
}

/* f'(z), given y = f(z). */
FBP_INLINE vreal activation_slope(vreal y, int activation, real alpha) {
    const vreal one = v_set(1);
    switch (activation) {
    case FBP_RELU:
        return v_select(v_gt(y, v_zero()), one, v_zero());
    case FBP_LEAKY_RELU:
        return v_select(v_gt(y, v_zero()), one, v_set(alpha));
    case FBP_SIGMOID:
        return v_mul(y, v_sub(one, y));
    case FBP_TANH:
        return v_mul(v_sub(one, y), v_add(one, y));
    case FBP_SOFTPLUS:
        return v_neg(v_expm1(v_neg(v_mul(v_set(alpha), y))));
    default:
        return one;
    }
}

/* The two loops below are compiled once for each activation: it is a constant wherever they are called. */

FBP_INLINE void activation_forward_each(const real *x, size_t x_row, int activation, real alpha, real *y, size_t y_row,
                                        size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++, x += x_row, y += y_row) {
        size_t j = 0;
        for (; j + LANES <= columns; j += LANES)
            v_store(y + j, activation_of(v_load(x + j), activation, alpha));
        if (j < columns)
            v_store_n(y + j, activation_of(v_load_n(x + j, columns - j), activation, alpha), columns - j);
    }
}

FBP_INLINE void activation_backward_each(const real *dy, size_t dy_row, const real *y, size_t y_row, int activation,
                                         real alpha, real *dx, size_t dx_row, size_t rows, size_t columns) {
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

/* y = f(x). x: (rows, columns), rows x_row apart. y: the same, y_row apart; may be x. */
static void activation_forward_strided(const real *x, size_t x_row, int activation, real alpha, real *y, size_t y_row,
                                       size_t rows, size_t columns) {
    switch (activation) {
    case FBP_RELU:
        activation_forward_each(x, x_row, FBP_RELU, alpha, y, y_row, rows, columns);
        break;
    case FBP_LEAKY_RELU:
        activation_forward_each(x, x_row, FBP_LEAKY_RELU, alpha, y, y_row, rows, columns);
        break;
    case FBP_SIGMOID:
        activation_forward_each(x, x_row, FBP_SIGMOID, alpha, y, y_row, rows, columns);
        break;
    case FBP_TANH:
        activation_forward_each(x, x_row, FBP_TANH, alpha, y, y_row, rows, columns);
        break;
    case FBP_SOFTPLUS:
        activation_forward_each(x, x_row, FBP_SOFTPLUS, alpha, y, y_row, rows, columns);
        break;
    default:
        if (x != y)
            activation_forward_each(x, x_row, FBP_IDENTITY, alpha, y, y_row, rows, columns);
    }
}

/* y = f(y) in place. y: (rows, columns), rows y_row apart. */
static void activation_forward_rows(real *y, size_t y_row, int activation, real alpha, size_t rows, size_t columns) {
    activation_forward_strided(y, y_row, activation, alpha, y, y_row, rows, columns);
}

/* dx = dy * f'(z). dy, y and dx: (rows, columns), rows dy_row, y_row and dx_row apart. dx may be dy or y, with its row
 * stride. A dy of nan or inf is never lost: where the slope is 0 it gives a nan. */
static void activation_backward_rows(const real *dy, size_t dy_row, const real *y, size_t y_row, int activation,
                                     real alpha, real *dx, size_t dx_row, size_t rows, size_t columns) {
    switch (activation) {
    case FBP_RELU:
        activation_backward_each(dy, dy_row, y, y_row, FBP_RELU, alpha, dx, dx_row, rows, columns);
        break;
    case FBP_LEAKY_RELU:
        activation_backward_each(dy, dy_row, y, y_row, FBP_LEAKY_RELU, alpha, dx, dx_row, rows, columns);
        break;
    case FBP_SIGMOID:
        activation_backward_each(dy, dy_row, y, y_row, FBP_SIGMOID, alpha, dx, dx_row, rows, columns);
        break;
    case FBP_TANH:
        activation_backward_each(dy, dy_row, y, y_row, FBP_TANH, alpha, dx, dx_row, rows, columns);
        break;
    case FBP_SOFTPLUS:
        activation_backward_each(dy, dy_row, y, y_row, FBP_SOFTPLUS, alpha, dx, dx_row, rows, columns);
        break;
    default:
        if (dx != dy)
            activation_forward_each(dy, dy_row, FBP_IDENTITY, alpha, dx, dx_row, rows, columns);
    }
}

/* y = f(x). x, y: (N,); y may be x. */
static void FBP(activation_forward)(const void *x, int activation, double alpha, void *y, size_t N) {
    activation_forward_strided(x, 0, activation, (real)alpha, y, 0, 1, N);
}

/* dx = dy * f'(z), y = f(z) being what forward wrote. dy, y, dx: (N,); dx may be dy or y. */
static void FBP(activation_backward)(const void *dy, const void *y, int activation, double alpha, void *dx, size_t N) {
    activation_backward_rows(dy, 0, y, 0, activation, (real)alpha, dx, 0, 1, N);
}
