/* loss.h: losses, each with its gradient in the same pass.
 *
 * Every function here is a fbp_loss_fn: z (B, C) and dz (B, C) with rows z_row and dz_row apart, dz possibly z itself
 * (then dz_row = z_row); target (B, C), rows target_row apart, or (B,) labels; row_loss (B,). For each row b it writes
 * row_loss[b], the sum of the loss over the row, neither scaled nor divided, and dz = scale * d(row_loss[b])/dz. `scale`
 * is where a caller puts the 1/B or 1/(B C) of a mean. Nothing is dropped but where it is said: a loss is the whole
 * formula, constants included.
 *
 * A row's loss is summed in reals, in the order that softmax.h describes, and then stored as a double; adding rows up is
 * left to the caller. A nan in a row of z or of the target, and an inf in z where no line below says otherwise,
 * makes the row's loss nan or inf. */
#ifndef FBP_LOSS_H
#define FBP_LOSS_H

#include "../fbp.h"
#include "../vec/math.h"
#include "softmax.h"

/* row_loss[i] = lane i, for i < rows <= LANES. */
FBP_INLINE void rows_store(double *row_loss, vreal v, size_t rows) {
    _Alignas(64) real lane[LANES];
    v_store(lane, v);
    if (rows < LANES) {
        for (size_t i = 0; i < rows; i++) row_loss[i] = (double)lane[i];
    } else {
        for (size_t i = 0; i < LANES; i++) row_loss[i] = (double)lane[i];
    }
}

/* Lane i = labels[i], for i < rows <= LANES: those of narrow rows, which are exact as reals. The other lanes 0. */
FBP_INLINE vreal labels_load(const int64_t *labels, size_t rows) {
    _Alignas(64) real lane[LANES];
    if (rows < LANES) {
        v_store(lane, v_zero());
        for (size_t i = 0; i < rows; i++) lane[i] = (real)(int32_t)labels[i];
    } else {
        for (size_t i = 0; i < LANES; i++) lane[i] = (real)(int32_t)labels[i];
    }
    return v_load(lane);
}

/* Lane i = x[i], for i < n, as a real; n above LANES counts as LANES. The other lanes 0. */
FBP_INLINE vreal reals_load(const double *x, size_t n) {
    _Alignas(64) real lane[LANES] = {0};
    if (n >= LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] = (real)x[i];
    else
        for (size_t i = 0; i < n; i++) lane[i] = (real)x[i];
    return v_load(lane);
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

/* Vectors, and blocks of LANES narrow rows, to work on at a time. */
#define CHUNK_VECTORS 64
#define CHUNK_BLOCKS 16

/* Rows of C <= MOST_COLUMNS columns, at most CHUNK_VECTORS / C and at most CHUNK_BLOCKS times LANES. by_label, which is known
 * where this is called, says which of labels and target there is. Each step goes over all rows before the next begins,
 * as the steps of LANES rows are one chain of instructions that wait for each other. */
FBP_INLINE void softmax_cross_entropy_narrow(int by_label, const real *z, size_t z_row, const int64_t *labels, const real *target,
                                             size_t target_row, real scale, real *dz, size_t dz_row, double *row_loss, size_t rows,
                                             size_t C) {
    const vreal zero = v_zero(), one = v_set(1), factor = v_set(scale);
    const size_t blocks = (rows + LANES - 1) / LANES;
    vreal x[CHUNK_VECTORS + QUARTER], t[CHUNK_VECTORS + QUARTER]; /* C a block; x: z, z - m, its exponential, dz */
    vreal label[CHUNK_BLOCKS], sum[CHUNK_BLOCKS], total[CHUNK_BLOCKS], weighted[CHUNK_BLOCKS];
    for (size_t k = 0; k < blocks; k++) {
        const size_t b = k * LANES, n = rows - b < LANES ? rows - b : LANES;
        columns_load(z + b * z_row, z_row, x + k * C, n, C);
        if (by_label) label[k] = labels_load(labels + b, n);
        else columns_load(target + b * target_row, target_row, t + k * C, n, C);
    }
    for (size_t k = 0; k < blocks; k++) {
        vreal *d = x + k * C, m = columns_greatest(d, C), index = zero, chosen = zero, terms[MOST_COLUMNS];
        FBP_ROLLED
        for (size_t j = 0; j < C; j++, index = v_add(index, one)) {
            d[j] = v_sub(d[j], m);
            if (by_label) chosen = v_select(v_eq(label[k], index), d[j], chosen);
            else terms[j] = v_select(v_eq(t[k * C + j], zero), zero, v_mul(t[k * C + j], d[j]));
        }
        weighted[k] = by_label ? chosen : columns_sum(terms, C);
    }
    for (size_t i = 0; i < blocks * C; i++) x[i] = v_exp(x[i]);
    for (size_t k = 0; k < blocks; k++) {
        vreal *e = x + k * C, index = zero;
        sum[k] = columns_sum(e, C);
        total[k] = by_label ? one : columns_sum(t + k * C, C);
        const vreal share = v_div(total[k], sum[k]);
        FBP_ROLLED
        for (size_t j = 0; j < C; j++, index = v_add(index, one)) {
            vreal tj = by_label ? v_select(v_eq(label[k], index), one, zero) : t[k * C + j];
            e[j] = v_mul(factor, v_fma(e[j], share, v_neg(tj)));
        }
    }
    for (size_t k = 0; k < blocks; k++) {
        const size_t b = k * LANES, n = rows - b < LANES ? rows - b : LANES;
        columns_store(x + k * C, dz + b * dz_row, dz_row, n, C);
        rows_store(row_loss + b, v_sub(by_label ? v_log(sum[k]) : v_mul(total[k], v_log(sum[k])), weighted[k]), n);
    }
}

/* All rows that go LANES at a time. Returns their number: the others come after them. */
FBP_INLINE size_t softmax_cross_entropy_by_lane(int by_label, const real *z, size_t z_row, const int64_t *labels,
                                                const real *target, size_t target_row, real scale, real *dz, size_t dz_row,
                                                double *row_loss, size_t B, size_t C) {
    if (C == 0 || C > MOST_COLUMNS) return 0;
    const size_t end = rows_by_lane(B);
    const size_t most = LANES * (CHUNK_VECTORS / C < CHUNK_BLOCKS ? CHUNK_VECTORS / C : CHUNK_BLOCKS);
    for (size_t b = 0; b < end; b += most)
        softmax_cross_entropy_narrow(by_label, z + b * z_row, z_row, by_label ? labels + b : NULL,
                                     by_label ? NULL : target + b * target_row, target_row, scale, dz + b * dz_row, dz_row,
                                     row_loss + b, end - b < most ? end - b : most, C);
    return end;
}

/* target: int64 (B,), in [0, C). target_row and parameters are not read. */
static void FBP(softmax_cross_entropy_labels)(const void *z_, size_t z_row, const void *target, size_t target_row,
                                              const double *parameters, double scale_, void *dz_, size_t dz_row, double *row_loss,
                                              size_t B, size_t C) {
    const real *z = z_, scale = (real)scale_;
    real *dz = dz_;
    const int64_t *labels = target;
    const vreal zero = v_zero(), one = v_set(1), factor = v_set(scale);
    real sums[LANES], shifted[LANES]; /* of LANES rows, which share one logarithm */
    (void)target_row, (void)parameters;
    size_t b = softmax_cross_entropy_by_lane(1, z, z_row, labels, NULL, 0, scale, dz, dz_row, row_loss, B, C);
    for (size_t i = 0; b < B; b++) {
        const real *zb = z + b * z_row;
        real *dzb = dz + b * dz_row, m = row_greatest(zb, C);
        const size_t y = (size_t)labels[b];
        shifted[i] = zb[y] - m;
        if (C <= LANES) { /* in one vector, which does not go through memory and back */
            const vreal e = v_exp(v_sub(v_load_n(zb, C), v_set(m)));
            const vreal t = v_select(m_first(y + 1), v_select(m_first(y), zero, one), zero);
            sums[i] = v_sum(v_select(m_first(C), e, zero));
            v_store_n(dzb, v_mul(factor, v_fma(e, v_set(1 / sums[i]), v_neg(t))), C);
        } else {
            sums[i] = row_exp(zb, m, dzb, C);
            const vreal share = v_set(1 / sums[i]), slope = v_mul(factor, v_fma(v_set(dzb[y]), share, v_neg(one)));
            for (size_t j = 0; j < C; j += LANES) v_store_n(dzb + j, v_mul(factor, v_mul(v_load_n(dzb + j, C - j), share)), C - j);
            v_store_n(dzb + y, slope, 1);
        }
        if (++i == LANES || b == B - 1) {
            /* One row is had from registers: what was just stored as a scalar is slow to load as a vector. */
            const vreal s = i == 1 ? v_set(sums[0]) : v_load_n(sums, i);
            const vreal d = i == 1 ? v_set(shifted[0]) : v_load_n(shifted, i);
            rows_store(row_loss + (b + 1 - i), v_sub(v_log(s), d), i);
            i = 0;
        }
    }
}

/* target: (B, C), each >= 0. parameters are not read. */
static void FBP(softmax_cross_entropy_probabilities)(const void *z_, size_t z_row, const void *target_, size_t target_row,
                                                     const double *parameters, double scale_, void *dz_, size_t dz_row,
                                                     double *row_loss, size_t B, size_t C) {
    const real *z = z_, *target = target_, scale = (real)scale_;
    real *dz = dz_;
    const vreal zero = v_zero();
    real sums[LANES], totals[LANES], weighted[LANES]; /* of LANES rows, which share one logarithm */
    (void)parameters;
    size_t b = softmax_cross_entropy_by_lane(0, z, z_row, NULL, target, target_row, scale, dz, dz_row, row_loss, B, C);
    for (size_t i = 0; b < B; b++) {
        const real *zb = z + b * z_row, *tb = target + b * target_row;
        real *dzb = dz + b * dz_row, m = row_greatest(zb, C);
        const vreal shift = v_set(m);
        vreal total = zero, dot = zero;
        size_t j = 0;
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
        if (++i == LANES || b == B - 1) {
            vreal logs = v_mul(v_load_n(totals, i), v_log(v_load_n(sums, i)));
            rows_store(row_loss + (b + 1 - i), v_sub(logs, v_load_n(weighted, i)), i);
            i = 0;
        }
    }
}

/* ---------------------------------------------------------------- what weights and smoothing do to targets and rows
 *
 *   smooth_targets   t_bj = w_j ((1 - smoothing) t_bj + smoothing / C)
 *   smooth_labels    the same of t_bj = [j == label_b]
 *   scale_rows       dz_bj = weights_b dz_bj,   row_loss_b = weights_b row_loss_b
 *
 * Label smoothing is that of Szegedy et al. (Rethinking the Inception Architecture for Computer Vision, CVPR 2016).
 * With such targets softmax_cross_entropy_probabilities is the smoothed loss in which class j counts w_j times. */

/* v times n class weights from class_weights[j] on. */
FBP_INLINE vreal weighed(vreal v, const double *class_weights, size_t j, size_t n) {
    return class_weights ? v_mul(reals_load(class_weights + j, n), v) : v;
}

/* t: (B, C), rows t_row apart, in place. class_weights: (C,) or NULL: 1. A nan or an inf stays where it is. */
static void FBP(smooth_targets)(void *t_, size_t t_row, double smoothing, const double *class_weights, size_t B, size_t C) {
    const vreal kept = v_set((real)(1 - smoothing)), spread = v_set((real)(smoothing / (double)C));
    real *t = t_;
    for (size_t b = 0; b < B; b++, t += t_row)
        for (size_t j = 0; j < C; j += LANES)
            v_store_n(t + j, weighed(v_fma(kept, v_load_n(t + j, C - j), spread), class_weights, j, C - j), C - j);
}

/* labels: (B,), each in [0, C). class_weights: (C,) or NULL: 1. Writes t (B, C), rows t_row apart: the bits that
 * smooth_targets gives for ones and zeros. */
static void FBP(smooth_labels)(const int64_t *labels, double smoothing, const double *class_weights, void *t_, size_t t_row,
                               size_t B, size_t C) {
    const real kept = (real)(1 - smoothing), spread = (real)(smoothing / (double)C);
    real *t = t_;
    for (size_t b = 0; b < B; b++, t += t_row) {
        const size_t y = (size_t)labels[b];
        for (size_t j = 0; j < C; j += LANES) v_store_n(t + j, weighed(v_set(spread), class_weights, j, C - j), C - j);
        t[y] = class_weights ? (real)class_weights[y] * (kept + spread) : kept + spread;
    }
}

/* weights: (B,); dz: (B, C), rows dz_row apart; row_loss: (B,). Both in place. */
static void FBP(scale_rows)(const double *weights, void *dz_, size_t dz_row, double *row_loss, size_t B, size_t C) {
    real *dz = dz_;
    for (size_t b = 0; b < B; b++, dz += dz_row) {
        row_scale(dz, (real)weights[b], C);
        row_loss[b] *= weights[b];
    }
}

/* ------------------------------------------------------------------------------------ element-wise losses
 *
 *   binary_cross_entropy   max(z, 0) - z t + log1p(exp(-|z|))       dz = sigmoid(z) - t
 *     ..._weighted         p t softplus(-z) + (1 - t) softplus(z)   dz = (1 - t) sigmoid(z) - p t sigmoid(-z)
 *   mean_squared_error     (z - t)^2                                dz = 2 (z - t)
 *   mean_absolute_error    |z - t|                                  dz = sign(z - t); 0 at z = t
 *   huber                  c (d - c/2),  d = z - t                  dz = c = max(-delta, min(delta, d))
 *   poisson                exp(z) - t z                             dz = exp(z) - t
 *   pinball                u (tau - [u < 0]),  u = t - z            dz = [u < 0] - tau; -tau at u = 0
 *
 * binary_cross_entropy takes logits; it is -t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z)), without the two logarithms
 * of a probability that may have been rounded to 0 or 1. Its gradient is computed, with e = exp(-|z|), as
 *   z >= 0: ((1 - t) - t e)/(1 + e)        z < 0: ((1 - t) e - t)/(1 + e)
 * which keeps its relative precision when t is 0 or 1 and sigmoid(z) is close to it. z = inf or -inf gives an inf or a nan.
 * The weighted one has a weight p >= 0 of the first term for each column; softplus(z) = max(z, 0) + log1p(exp(-|z|)).
 * Its gradient is computed as above with p t for t. All parts of its loss are >= 0 for t in [0, 1]: nothing cancels.
 * huber (Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 35, 1964): one delta > 0
 * for each column. Its loss is d^2/2 where |d| <= delta, else delta (|d| - delta/2).
 * poisson takes the logarithm of the rate; it is the negative log-likelihood but for log(t!), which has no z in it.
 * exp(z) is inf from z = 88.7 (float64: 709.8) on. z = -inf gives an inf, and a nan where t is 0.
 * pinball (Koenker and Bassett, Regression Quantiles, Econometrica 46, 1978): one level tau in (0, 1) for each column; its
 * gradient is never nan. */

/* Whether the kernel reads a parameter for each column. `loss` is a constant at every call of this and the functions below. */
FBP_INLINE int takes_parameters(int loss) {
    return loss == FBP_BINARY_CROSS_ENTROPY_WEIGHTED || loss == FBP_HUBER || loss == FBP_PINBALL;
}

/* Whether a term costs more than moving it to the lanes of narrow rows. */
FBP_INLINE int is_costly(int loss) {
    return loss == FBP_BINARY_CROSS_ENTROPY || loss == FBP_BINARY_CROSS_ENTROPY_WEIGHTED || loss == FBP_POISSON;
}

/* The loss of each lane, `own` being its parameter; its derivative goes to *slope. */
FBP_INLINE vreal loss_of(int loss, vreal z, vreal t, vreal own, vreal *slope) {
    const vreal zero = v_zero(), one = v_set(1);
    switch (loss) {
    case FBP_BINARY_CROSS_ENTROPY: {
        vreal e = v_exp(v_neg(v_abs(z))), rest = v_sub(one, t);
        vreal above = v_fnma(t, e, rest), below = v_fma(rest, e, v_neg(t));
        *slope = v_div(v_select(v_ge(z, zero), above, below), v_add(one, e));
        return v_add(v_fnma(z, t, v_max(zero, z)), v_log1p_unit(e));
    }
    case FBP_BINARY_CROSS_ENTROPY_WEIGHTED: {
        vreal e = v_exp(v_neg(v_abs(z))), rest = v_sub(one, t), weighted = v_mul(own, t);
        vreal above = v_fnma(weighted, e, rest), below = v_fma(rest, e, v_neg(weighted));
        vreal linear = v_fma(rest, v_max(zero, z), v_mul(weighted, v_max(zero, v_neg(z))));
        *slope = v_div(v_select(v_ge(z, zero), above, below), v_add(one, e));
        return v_fma(v_add(weighted, rest), v_log1p_unit(e), linear);
    }
    case FBP_MEAN_ABSOLUTE_ERROR: {
        vreal d = v_sub(z, t);
        *slope = v_select(v_gt(d, zero), one, v_select(v_lt(d, zero), v_neg(one), d));
        return v_abs(d);
    }
    case FBP_HUBER: {
        vreal d = v_sub(z, t), c = v_max(v_neg(own), v_min(own, d));
        *slope = c;
        return v_mul(c, v_fnma(v_set((real)0.5), c, d));
    }
    case FBP_POISSON: {
        vreal rate = v_exp(z);
        *slope = v_sub(rate, t);
        return v_fnma(t, z, rate);
    }
    case FBP_PINBALL: {
        vreal u = v_sub(t, z), level = v_select(v_lt(u, zero), v_sub(own, one), own);
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

/* n parameters from parameters[j] on; zero when this loss has none. */
FBP_INLINE vreal levels_load(int loss, const double *parameters, size_t j, size_t n) {
    return takes_parameters(loss) ? reals_load(parameters + j, n) : v_zero();
}

FBP_INLINE void loss_each(int loss, const real *z, size_t z_row, const real *target, size_t target_row, const double *parameters,
                          real scale, real *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    const vreal zero = v_zero(), factor = v_set(scale);
    vreal slope;
    size_t b = 0;
    if (C == 1 && B >= FEW_ROWS) {
        const vreal own = takes_parameters(loss) ? v_set((real)parameters[0]) : zero;
        for (; b < B; b += LANES) {
            const size_t rows = B - b < LANES ? B - b : LANES;
            vreal t = column_load(target + b * target_row, target_row, rows);
            vreal term = loss_of(loss, column_load(z + b * z_row, z_row, rows), t, own, &slope);
            column_store(dz + b * dz_row, dz_row, v_mul(factor, slope), rows);
            rows_store(row_loss + b, v_add(zero, term), rows); /* along the row -0 would become 0 */
        }
        return;
    }
    const size_t end = is_costly(loss) && C <= MOST_COLUMNS ? rows_by_lane(B) : 0;
    for (; b < end; b += LANES) {
        const size_t rows = end - b < LANES ? end - b : LANES;
        vreal x[MOST_COLUMNS], t[MOST_COLUMNS], terms[MOST_COLUMNS];
        columns_load(z + b * z_row, z_row, x, rows, C);
        columns_load(target + b * target_row, target_row, t, rows, C);
        FBP_ROLLED
        for (size_t j = 0; j < C; j++) {
            const vreal own = takes_parameters(loss) ? v_set((real)parameters[j]) : zero;
            terms[j] = loss_of(loss, x[j], t[j], own, &slope);
            x[j] = v_mul(factor, slope);
        }
        columns_store(x, dz + b * dz_row, dz_row, rows, C);
        rows_store(row_loss + b, v_add(zero, columns_sum(terms, C)), rows);
    }
    z += b * z_row, target += b * target_row, dz += b * dz_row;
    const size_t tail = C % LANES;
    const vreal tail_levels = levels_load(loss, parameters, C - tail, tail);
    for (; b < B; b++, z += z_row, target += target_row, dz += dz_row) {
        vreal sum = v_zero();
        size_t j = 0;
        for (; j + LANES <= C; j += LANES) {
            vreal own = levels_load(loss, parameters, j, LANES);
            sum = v_add(sum, loss_of(loss, v_load(z + j), v_load(target + j), own, &slope));
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
static void FBP(binary_cross_entropy)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters,
                                      double scale, void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_BINARY_CROSS_ENTROPY, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters: (C,), the weight p of each column's positive term. */
static void FBP(binary_cross_entropy_weighted)(const void *z, size_t z_row, const void *target, size_t target_row,
                                               const double *parameters, double scale, void *dz, size_t dz_row, double *row_loss,
                                               size_t B, size_t C) {
    loss_each(FBP_BINARY_CROSS_ENTROPY_WEIGHTED, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters are not read. */
static void FBP(mean_squared_error)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters,
                                    double scale, void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_MEAN_SQUARED_ERROR, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters are not read. */
static void FBP(mean_absolute_error)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters,
                                     double scale, void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_MEAN_ABSOLUTE_ERROR, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters: (C,), the delta of each column. */
static void FBP(huber)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters, double scale,
                       void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_HUBER, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters are not read. */
static void FBP(poisson)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters, double scale,
                         void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_POISSON, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

/* parameters: (C,), the level tau of each column. */
static void FBP(pinball)(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters, double scale,
                         void *dz, size_t dz_row, double *row_loss, size_t B, size_t C) {
    loss_each(FBP_PINBALL, z, z_row, target, target_row, parameters, (real)scale, dz, dz_row, row_loss, B, C);
}

#endif
