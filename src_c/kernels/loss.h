/* loss.h: losses, each with its gradient in the same pass.
 *
 * Every function here is a fbp_loss_fn: z (B, C) and dz (B, C) with rows z_row and dz_row apart, dz possibly z itself
 * (then dz_row = z_row); target (B, C), rows target_row apart, or (B,) labels; row_loss (B,). For each row b it writes
 * row_loss[b], the sum of the loss over the row, neither scaled nor divided, and dz = scale * d(row_loss[b])/dz. `scale`
 * is where a caller puts the 1/B or 1/(B C) of a mean. Nothing is dropped: a loss is the whole formula, constants
 * included.
 *
 * A row's loss is summed in reals, as softmax.h says for narrow and wide rows, and then stored as a double; adding rows
 * up is left to the caller. A nan in a row of z or of the target, and an inf in z where no line below says otherwise,
 * makes the row's loss nan or inf. */

/* row_loss[i] = lane i, for i < rows <= LANES. */
FBP_INLINE void rows_store(double *row_loss, vreal v, size_t rows) {
    _Alignas(64) real lane[LANES];
    v_store(lane, v);
    for (size_t i = 0; i < rows; i++)
        row_loss[i] = (double)lane[i];
}

/* ------------------------------------------------------------------------------- softmax cross-entropy
 *
 *   loss = sum_j t_j (logsumexp(z) - z_j),   dz = softmax(z) sum_j t_j - t;   with a label y: t_j = [j == y]
 *
 * t_j >= 0. Targets need not sum to one: the two formulas hold for any sum. With m = max_j z_j and
 * s = sum_j exp(z_j - m) the loss is computed as
 *
 *   sum_j t_j log(s) - sum_j t_j (z_j - m)
 *
 * whose two parts are both >= 0: nothing cancels, whatever the size of z. A z_j of -inf is allowed where t_j is 0, and
 * adds nothing to the loss; elsewhere it makes the loss inf. A row of z with a nan or an inf has a nan loss. */

/* Rows of at most NARROW columns; labels and target: one of them, the other NULL, which is known where this is called. */
FBP_INLINE void softmax_cross_entropy_narrow(const real *z, size_t z_row, const int64_t *labels, const real *target,
                                             size_t target_row, real scale, real *dz, size_t dz_row, double *row_loss,
                                             size_t B, size_t C) {
    const vreal zero = v_zero(), one = v_set(1);
    for (size_t b = 0; b < B; b += LANES) {
        size_t rows = B - b < LANES ? B - b : LANES;
        vreal columns[NARROW], t[NARROW], e[NARROW], m, label = zero;
        if (labels) {
            _Alignas(64) real lane[LANES] = {0}; /* a label below NARROW is exact as a real */
            for (size_t i = 0; i < rows; i++)
                lane[i] = (real)labels[b + i];
            label = v_load(lane);
        }
        for (size_t j = 0; j < C; j++) {
            columns[j] = column_load(z + b * z_row + j, z_row, rows);
            t[j] = labels ? v_select(v_eq(label, v_set((real)j)), one, zero)
                          : column_load(target + b * target_row + j, target_row, rows);
        }
        vreal sum = columns_exp(columns, C, &m, e), total = zero, weighted = zero;
        for (size_t j = 0; j < C; j++) {
            total = v_add(total, t[j]);
            weighted = v_add(weighted, v_select(v_eq(t[j], zero), zero, v_mul(t[j], v_sub(columns[j], m))));
        }
        rows_store(row_loss + b, v_sub(v_mul(total, v_log(sum)), weighted), rows);
        vreal share = v_div(total, sum);
        for (size_t j = 0; j < C; j++) {
            vreal slope = v_fma(e[j], share, v_neg(t[j]));
            column_store(dz + b * dz_row + j, dz_row, v_mul(v_set(scale), slope), rows);
        }
    }
}

/* target: int64 (B,), in [0, C). target_row and parameters are not read. */
static void FBP(softmax_cross_entropy_labels)(const void *z_, size_t z_row, const void *target, size_t target_row,
                                              const double *parameters, double scale_, void *dz_, size_t dz_row,
                                              double *row_loss, size_t B, size_t C) {
    const real *z = z_, scale = (real)scale_;
    real *dz = dz_;
    const int64_t *labels = target;
    (void)target_row, (void)parameters;
    if (C <= NARROW) {
        softmax_cross_entropy_narrow(z, z_row, labels, NULL, 0, scale, dz, dz_row, row_loss, B, C);
        return;
    }
    real sums[LANES], shifted[LANES]; /* of LANES rows, which share one logarithm */
    for (size_t b = 0; b < B; b++) {
        const real *zb = z + b * z_row;
        real *dzb = dz + b * dz_row, m = row_greatest(zb, C);
        size_t i = b % LANES, y = (size_t)labels[b];
        shifted[i] = zb[y] - m;
        sums[i] = row_exp(zb, m, dzb, C);
        real inverse = 1 / sums[i], slope = dzb[y] * inverse - 1;
        row_scale(dzb, scale * inverse, C);
        dzb[y] = scale * slope;
        if (i == LANES - 1 || b == B - 1)
            rows_store(row_loss + (b - i), v_sub(v_log(v_load_n(sums, i + 1)), v_load_n(shifted, i + 1)), i + 1);
    }
}

/* target: (B, C), each >= 0. parameters are not read. */
static void FBP(softmax_cross_entropy_probabilities)(const void *z_, size_t z_row, const void *target_,
                                                     size_t target_row, const double *parameters, double scale_,
                                                     void *dz_, size_t dz_row, double *row_loss, size_t B, size_t C) {
    const real *z = z_, *target = target_, scale = (real)scale_;
    real *dz = dz_;
    (void)parameters;
    if (C <= NARROW) {
        softmax_cross_entropy_narrow(z, z_row, NULL, target, target_row, scale, dz, dz_row, row_loss, B, C);
        return;
    }
    const vreal zero = v_zero();
    real sums[LANES], totals[LANES], weighted[LANES]; /* of LANES rows, which share one logarithm */
    for (size_t b = 0; b < B; b++) {
        const real *zb = z + b * z_row, *tb = target + b * target_row;
        real *dzb = dz + b * dz_row, m = row_greatest(zb, C);
        const vreal shift = v_set(m);
        vreal total = zero, dot = zero;
        size_t i = b % LANES, j = 0;
        for (; j < C; j += LANES) { /* past the row's end t is 0, which adds nothing */
            vreal t = v_load_n(tb + j, C - j), d = v_sub(v_load_n(zb + j, C - j), shift);
            total = v_add(total, t);
            dot = v_add(dot, v_select(v_eq(t, zero), zero, v_mul(t, d)));
        }
        totals[i] = v_sum(total);
        weighted[i] = v_sum(dot);
        sums[i] = row_exp(zb, m, dzb, C);
        const vreal share = v_set(totals[i] / sums[i]), factor = v_set(scale);
        for (j = 0; j < C; j += LANES) {
            vreal slope = v_fma(v_load_n(dzb + j, C - j), share, v_neg(v_load_n(tb + j, C - j)));
            v_store_n(dzb + j, v_mul(factor, slope), C - j);
        }
        if (i == LANES - 1 || b == B - 1) {
            vreal logs = v_mul(v_load_n(totals, i + 1), v_log(v_load_n(sums, i + 1)));
            rows_store(row_loss + (b - i), v_sub(logs, v_load_n(weighted, i + 1)), i + 1);
        }
    }
}

/* ------------------------------------------------------------------------------------ element-wise losses
 *
 *   binary_cross_entropy   max(z, 0) - z t + log1p(exp(-|z|))       dz = sigmoid(z) - t
 *   mean_squared_error     (z - t)^2                                dz = 2 (z - t)
 *   pinball                u (tau - [u < 0]),  u = t - z            dz = [u < 0] - tau; -tau at u = 0
 *
 * binary_cross_entropy takes logits; it is -t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z)), without the two logarithms
 * of a probability that may have been rounded to 0 or 1. Its gradient is computed, with e = exp(-|z|), as
 *   z >= 0: ((1 - t) - t e)/(1 + e)        z < 0: ((1 - t) e - t)/(1 + e)
 * which keeps its relative precision when t is 0 or 1 and sigmoid(z) is close to it. z = inf or -inf gives an inf or a nan.
 * pinball (Koenker and Bassett, Regression Quantiles, Econometrica 46, 1978): one level tau in (0, 1) for each column; its
 * gradient is never nan. */

/* The loss of each lane; its derivative goes to *slope. `loss` is a constant wherever this is called. */
FBP_INLINE vreal loss_of(int loss, vreal z, vreal t, vreal tau, vreal *slope) {
    const vreal zero = v_zero(), one = v_set(1);
    switch (loss) {
    case FBP_BINARY_CROSS_ENTROPY: {
        vreal e = v_exp(v_neg(v_abs(z))), rest = v_sub(one, t);
        vreal above = v_fnma(t, e, rest), below = v_fma(rest, e, v_neg(t));
        *slope = v_div(v_select(v_ge(z, zero), above, below), v_add(one, e));
        return v_add(v_fnma(z, t, v_max(zero, z)), v_log1p(e));
    }
    case FBP_PINBALL: {
        vreal u = v_sub(t, z), level = v_select(v_lt(u, zero), v_sub(tau, one), tau);
        *slope = v_neg(level);
        return v_mul(u, level);
    }
    default: { /* FBP_MEAN_SQUARED_ERROR */
        vreal d = v_sub(z, t);
        *slope = v_add(d, d);
        return v_mul(d, d);
    }
    }
}

/* n levels from parameters[j] on, as reals; zero when this loss has none. */
FBP_INLINE vreal levels_load(int loss, const double *parameters, size_t j, size_t n) {
    _Alignas(64) real lane[LANES] = {0};
    if (loss != FBP_PINBALL)
        return v_zero();
    if (n >= LANES)
        for (size_t i = 0; i < LANES; i++)
            lane[i] = (real)parameters[j + i];
    else
        for (size_t i = 0; i < n; i++)
            lane[i] = (real)parameters[j + i];
    return v_load(lane);
}

/* Rows of at most this many columns go as narrow rows: those whose terms cost more than moving them to lanes. */
FBP_INLINE size_t loss_narrow(int loss) {
    return loss == FBP_BINARY_CROSS_ENTROPY ? 4 : 1;
}

FBP_INLINE void loss_each(int loss, const real *z, size_t z_row, const real *target, size_t target_row,
                          const double *parameters, real scale, real *dz, size_t dz_row, double *row_loss, size_t B,
                          size_t C) {
    const vreal factor = v_set(scale);
    vreal slope;
    if (C <= loss_narrow(loss)) {
        for (size_t b = 0; b < B; b += LANES) {
            size_t rows = B - b < LANES ? B - b : LANES;
            vreal sum = v_zero();
            for (size_t j = 0; j < C; j++) {
                vreal tau = loss == FBP_PINBALL ? v_set((real)parameters[j]) : v_zero();
                vreal t = column_load(target + b * target_row + j, target_row, rows);
                sum = v_add(sum, loss_of(loss, column_load(z + b * z_row + j, z_row, rows), t, tau, &slope));
                column_store(dz + b * dz_row + j, dz_row, v_mul(factor, slope), rows);
            }
            rows_store(row_loss + b, sum, rows);
        }
        return;
    }
    const size_t tail = C % LANES;
    const vreal tail_levels = levels_load(loss, parameters, C - tail, tail);
    for (size_t b = 0; b < B; b++, z += z_row, target += target_row, dz += dz_row) {
        vreal sum = v_zero();
        size_t j = 0;
        for (; j + LANES <= C; j += LANES) {
            vreal tau = levels_load(loss, parameters, j, LANES);
            sum = v_add(sum, loss_of(loss, v_load(z + j), v_load(target + j), tau, &slope));
            v_store(dz + j, v_mul(factor, slope));
        }
        if (tail) {
            vreal term = loss_of(loss, v_load_n(z + j, tail), v_load_n(target + j, tail), tail_levels, &slope);
            sum = v_add(sum, v_select(m_first(tail), term, v_zero()));
            v_store_n(dz + j, v_mul(factor, slope), tail);
        }
        row_loss[b] = (double)v_sum(sum);
    }
}

/* parameters are not read. */
static void FBP(binary_cross_entropy)(const void *z, size_t z_row, const void *target, size_t target_row,
                                      const double *parameters, double scale, void *dz, size_t dz_row,
                                      double *row_loss, size_t B, size_t C) {
    loss_each(FBP_BINARY_CROSS_ENTROPY, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters are not read. */
static void FBP(mean_squared_error)(const void *z, size_t z_row, const void *target, size_t target_row,
                                    const double *parameters, double scale, void *dz, size_t dz_row, double *row_loss,
                                    size_t B, size_t C) {
    loss_each(FBP_MEAN_SQUARED_ERROR, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters: (C,), the level tau of each column. */
static void FBP(pinball)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters,
                         double scale, void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_PINBALL, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}
