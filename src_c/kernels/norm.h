/* norm.h: layer norm and batch norm, with the activation that follows, and their gradients.
 *
 *   xhat = (x - mean) rstd,   z = gamma xhat + beta,   y = f(z),   rstd = 1 / sqrt(variance + eps)
 *
 * mean and variance are those of a row of x (LayerNorm; B of each) or of a column (BatchNorm; N of each), the variance
 * divided by the number of elements and summed from the differences to the mean, in a second pass: E[x^2] - mean^2
 * would lose all of a small variance beside a large mean. With g = dz gamma, and averages over the elements that share
 * a mean,
 *
 *   dgamma = sum over rows of dz xhat,   dbeta = sum over rows of dz,
 *   dx = rstd (g - average(g) - xhat average(g xhat))
 *
 * Backward needs x, mean and rstd, and makes xhat anew, in the same bits. The factor gamma of BatchNorm is one for all
 * that is averaged, so it is taken out: dx = gamma rstd (dz - average(dz) - xhat average(dz xhat)), from the sums of
 * dgamma and dbeta.
 * Sources: Ba, Kiros, Hinton, "Layer Normalization", arXiv 1607.06450, 2016; Ioffe, Szegedy, "Batch Normalization",
 * ICML 2015.
 *
 * Order of summation. Along a row, element j goes to partial sum j modulo LANES, a chain over at most FBP_BLOCK
 * vectors; the blocks' chains are added in order, and the partial sums as v_sum does. Down a column, chains over
 * FBP_BLOCK rows, added in order. Four rows go together along a row, or one; four vectors of columns down, or one: the
 * same bits.
 *
 * Range: a variance of 0 gives xhat = 0 as long as eps > 0. Where a difference's square or their sum overflows (1e19 in
 * float32), variance is inf, rstd and xhat 0. An inf or a nan, or a sum of x that overflows, makes its row (LayerNorm)
 * or column (BatchNorm) nan. gamma and beta may be NULL: 1 and 0. */
#ifndef FBP_NORM_H
#define FBP_NORM_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "activation.h"

/* Rows that go together: their sums over the lanes are taken at once, and what belongs to a column is read once. */
#define NORM_ROWS 4

/* The first n reals, where n is LANES or less; no mask where n is known to be LANES. */
FBP_SPECIALIZE vreal norm_load(const real *p, size_t n) { return n == LANES ? v_load(p) : v_load_n(p, n); }

FBP_SPECIALIZE void norm_store(real *p, vreal v, size_t n) {
    if (n == LANES) v_store(p, v);
    else v_store_n(p, v, n);
}

FBP_SPECIALIZE vreal norm_load_or(const real *p, size_t j, size_t n, real otherwise) {
    return p ? norm_load(p + j, n) : v_set(otherwise);
}

/* Share `part` of `parts` of `count` rows or columns, cut at multiples of `unit`. */
FBP_INLINE void norm_share(size_t count, size_t unit, int part, int parts, size_t *first, size_t *end) {
    const size_t units = (count + unit - 1) / unit, last = units * (size_t)(part + 1) / (size_t)parts * unit;
    *first = units * (size_t)part / (size_t)parts * unit;
    *end = last < count ? last : count;
}

/* ---------------------------------------------------------------------------------------- layer norm
 * `rows` is NORM_ROWS or 1, a constant at every call. */

/* Quarter r of the result: the sum over the lanes of sum[r]. */
FBP_SPECIALIZE vreal norm_sums(const int rows, const vreal *sum) {
    return rows == 1 ? v_sums(sum[0], v_zero(), v_zero(), v_zero()) : v_sums(sum[0], sum[1], sum[2], sum[3]);
}

/* Quarter r of v to p[r]. */
FBP_SPECIALIZE void norm_store_quarters(const int rows, vreal v, real *p) {
    _Alignas(64) real lane[LANES];
    v_store(lane, v);
    for (int r = 0; r < rows; r++) p[r] = lane[r * QUARTER];
}

/* sum[r] += x, or += (x - mean[r])^2, of n elements of each row. */
FBP_SPECIALIZE void layer_norm_add(const int rows, const real *x, size_t x_row, const vreal *mean, vreal *sum, size_t n) {
    FBP_UNROLL
    for (int r = 0; r < rows; r++) {
        vreal v = norm_load(x + (size_t)r * x_row, n);
        if (mean) {
            v = v_sub(v, mean[r]);
            if (n != LANES) v = v_select(m_first(n), v, v_zero());
            sum[r] = v_fma(v, v, sum[r]);
        } else {
            sum[r] = v_add(sum[r], v);
        }
    }
}

/* Quarter r of the result: the sum over row r of x, or of (x - mean[r])^2; mean is NULL or not, as known at the
 * call. */
FBP_SPECIALIZE vreal layer_norm_sums(const int rows, const real *x, size_t x_row, const vreal *mean, size_t N) {
    vreal total[NORM_ROWS];
    FBP_UNROLL
    for (int r = 0; r < rows; r++) total[r] = v_zero();
    for (size_t j = 0; j < N;) {
        const size_t end = N - j < FBP_BLOCK * LANES ? N : j + FBP_BLOCK * LANES;
        vreal sum[NORM_ROWS];
        FBP_UNROLL
        for (int r = 0; r < rows; r++) sum[r] = v_zero();
        for (; j + LANES <= end; j += LANES) layer_norm_add(rows, x + j, x_row, mean, sum, LANES);
        if (j < end) layer_norm_add(rows, x + j, x_row, mean, sum, end - j), j = end;
        FBP_UNROLL
        for (int r = 0; r < rows; r++) total[r] = v_add(total[r], sum[r]);
    }
    return norm_sums(rows, total);
}

/* z of columns [j, j + n). */
FBP_SPECIALIZE void norm_apply(const int rows, const struct fbp_norm *norm, const real *x, const vreal *mean, const vreal *rstd,
                               real *y, size_t j, size_t n) {
    const vreal gamma = norm_load_or(norm->gamma, j, n, 1), beta = norm_load_or(norm->beta, j, n, 0);
    FBP_UNROLL
    for (int r = 0; r < rows; r++) {
        const vreal xhat = v_mul(v_sub(norm_load(x + (size_t)r * norm->x_row + j, n), mean[r]), rstd[r]);
        norm_store(y + (size_t)r * norm->y_row + j, v_fma(gamma, xhat, beta), n);
    }
}

FBP_SPECIALIZE void layer_norm_forward_rows(const int rows, const struct fbp_norm *norm, size_t b) {
    const size_t N = norm->N;
    const real *x = (const real *)norm->x + b * norm->x_row;
    real *y = (real *)norm->y + b * norm->y_row;
    const vreal count = v_set((real)N);
    vreal mean[NORM_ROWS], rstd[NORM_ROWS];
    const vreal means = v_div(layer_norm_sums(rows, x, norm->x_row, NULL, N), count);
    FBP_UNROLL
    for (int r = 0; r < rows; r++) mean[r] = v_spread(means, r);
    const vreal variances = v_div(layer_norm_sums(rows, x, norm->x_row, mean, N), count);
    const vreal rstds = v_div(v_set(1), v_sqrt(v_add(variances, v_set((real)norm->eps))));
    FBP_UNROLL
    for (int r = 0; r < rows; r++) rstd[r] = v_spread(rstds, r);
    norm_store_quarters(rows, means, (real *)norm->mean + b);
    norm_store_quarters(rows, rstds, (real *)norm->rstd + b);
    size_t j = 0;
    for (; j + LANES <= N; j += LANES) norm_apply(rows, norm, x, mean, rstd, y, j, LANES);
    if (j < N) norm_apply(rows, norm, x, mean, rstd, y, j, N - j);
    activation_forward_rows(y, norm->y_row, norm->activation, (real)norm->alpha, (size_t)rows, N);
}

/* x (B, N); gamma, beta (N,) or NULL; writes y (B, N), mean (B,) and rstd (B,). y may be x, where no backward
 * follows. */
static void FBP(layer_norm_forward)(const struct fbp_norm *norm, int part, int parts) {
    size_t b, end;
    norm_share(norm->B, NORM_ROWS, part, parts, &b, &end);
    for (; b + NORM_ROWS <= end; b += NORM_ROWS) layer_norm_forward_rows(NORM_ROWS, norm, b);
    for (; b < end; b++) layer_norm_forward_rows(1, norm, b);
}

/* sum[0] += g and sum[1] += g xhat, of n elements of each row. */
FBP_SPECIALIZE void layer_norm_add_gradients(const int rows, const struct fbp_norm *norm, const real *x, const real *dz,
                                             const vreal *mean, const vreal *rstd, vreal sum[2][NORM_ROWS], size_t j, size_t n) {
    const vreal gamma = norm_load_or(norm->gamma, j, n, 1);
    FBP_UNROLL
    for (int r = 0; r < rows; r++) {
        vreal difference = v_sub(norm_load(x + (size_t)r * norm->x_row + j, n), mean[r]);
        if (n != LANES) difference = v_select(m_first(n), difference, v_zero()); /* -mean rstd may overflow */
        const vreal g = v_mul(norm_load(dz + (size_t)r * norm->dz_row + j, n), gamma);
        sum[0][r] = v_add(sum[0][r], g);
        sum[1][r] = v_fma(g, v_mul(difference, rstd[r]), sum[1][r]);
    }
}

FBP_SPECIALIZE void layer_norm_gradient(const int rows, const struct fbp_norm *norm, const real *x, const real *dz,
                                        const vreal *mean, const vreal *rstd, const vreal *g_mean, const vreal *gx_mean, real *dx,
                                        size_t j, size_t n) {
    const vreal gamma = norm_load_or(norm->gamma, j, n, 1);
    FBP_UNROLL
    for (int r = 0; r < rows; r++) {
        const vreal xhat = v_mul(v_sub(norm_load(x + (size_t)r * norm->x_row + j, n), mean[r]), rstd[r]);
        const vreal g = v_mul(norm_load(dz + (size_t)r * norm->dz_row + j, n), gamma);
        norm_store(dx + (size_t)r * norm->dx_row + j, v_mul(v_fnma(xhat, gx_mean[r], v_sub(g, g_mean[r])), rstd[r]), n);
    }
}

FBP_SPECIALIZE void layer_norm_backward_rows(const int rows, const struct fbp_norm *norm, size_t b) {
    const size_t N = norm->N;
    const real *x = (const real *)norm->x + b * norm->x_row, *dz = (const real *)norm->dz + b * norm->dz_row;
    real *dx = (real *)norm->dx + b * norm->dx_row;
    vreal mean[NORM_ROWS], rstd[NORM_ROWS], total[2][NORM_ROWS], average[2][NORM_ROWS];
    FBP_UNROLL
    for (int r = 0; r < rows; r++) {
        mean[r] = v_set(((const real *)norm->mean)[b + (size_t)r]);
        rstd[r] = v_set(((const real *)norm->rstd)[b + (size_t)r]);
        total[0][r] = total[1][r] = v_zero();
    }
    for (size_t j = 0; j < N;) {
        const size_t end = N - j < FBP_BLOCK * LANES ? N : j + FBP_BLOCK * LANES;
        vreal sum[2][NORM_ROWS];
        FBP_UNROLL
        for (int r = 0; r < rows; r++) sum[0][r] = sum[1][r] = v_zero();
        for (; j + LANES <= end; j += LANES) layer_norm_add_gradients(rows, norm, x, dz, mean, rstd, sum, j, LANES);
        if (j < end) layer_norm_add_gradients(rows, norm, x, dz, mean, rstd, sum, j, end - j), j = end;
        FBP_UNROLL
        for (int r = 0; r < rows; r++) total[0][r] = v_add(total[0][r], sum[0][r]), total[1][r] = v_add(total[1][r], sum[1][r]);
    }
    const vreal count = v_set((real)N);
    const vreal g_means = v_div(norm_sums(rows, total[0]), count), gx_means = v_div(norm_sums(rows, total[1]), count);
    FBP_UNROLL
    for (int r = 0; r < rows; r++) average[0][r] = v_spread(g_means, r), average[1][r] = v_spread(gx_means, r);
    size_t j = 0;
    for (; j + LANES <= N; j += LANES) layer_norm_gradient(rows, norm, x, dz, mean, rstd, average[0], average[1], dx, j, LANES);
    if (j < N) layer_norm_gradient(rows, norm, x, dz, mean, rstd, average[0], average[1], dx, j, N - j);
}

/* dx (B, N) of x, dz (B, N), gamma (N,) or NULL, mean and rstd (B,). dx may be x or dz, with its row stride. */
static void FBP(layer_norm_backward_inputs)(const struct fbp_norm *norm, int part, int parts) {
    size_t b, end;
    norm_share(norm->B, NORM_ROWS, part, parts, &b, &end);
    for (; b + NORM_ROWS <= end; b += NORM_ROWS) layer_norm_backward_rows(NORM_ROWS, norm, b);
    for (; b < end; b++) layer_norm_backward_rows(1, norm, b);
}

/* --------------------------------------------------------------------------------- sums down the columns `vectors` is
 * NORM_VECTORS or 1, a constant at every call: so many vectors of columns from j on. With one, n of its columns. */

#define NORM_VECTORS 4
#define NORM_WIDTH (NORM_VECTORS * LANES)

/* sum[0] and sum[1] of columns [j, ...), for rows [first, last): of dz xhat and of dz. by_row: mean and rstd belong to
 * rows rather than to columns, a constant at every call. */
FBP_SPECIALIZE void norm_gradient_chains(const int vectors, const int by_row, const struct fbp_norm *norm, size_t j, size_t n,
                                         size_t first, size_t last, vreal sum[2][NORM_VECTORS]) {
    const real *x = (const real *)norm->x + first * norm->x_row + j;
    const real *dz = (const real *)norm->dz + first * norm->dz_row + j;
    const real *means = norm->mean, *rstds = norm->rstd;
    vreal mean[NORM_VECTORS], rstd[NORM_VECTORS];
    FBP_UNROLL
    for (int v = 0; v < vectors; v++) {
        if (!by_row) {
            mean[v] = norm_load(means + j + (size_t)v * LANES, n);
            rstd[v] = norm_load(rstds + j + (size_t)v * LANES, n);
        }
        sum[0][v] = sum[1][v] = v_zero();
    }
    for (size_t b = first; b < last; b++, x += norm->x_row, dz += norm->dz_row) {
        const vreal row_mean = by_row ? v_set(means[b]) : v_zero(), row_rstd = by_row ? v_set(rstds[b]) : v_zero();
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) {
            const vreal difference = v_sub(norm_load(x + (size_t)v * LANES, n), by_row ? row_mean : mean[v]);
            const vreal g = norm_load(dz + (size_t)v * LANES, n);
            sum[0][v] = v_fma(g, v_mul(difference, by_row ? row_rstd : rstd[v]), sum[0][v]);
            sum[1][v] = v_add(sum[1][v], g);
        }
    }
}

/* to (+)= sum, n columns of each vector. to may be NULL. */
FBP_SPECIALIZE void norm_put(const int vectors, real *to, size_t j, int accumulate, const vreal *sum, size_t n) {
    if (!to) return;
    FBP_UNROLL
    for (int v = 0; v < vectors; v++) {
        real *at = to + j + (size_t)v * LANES;
        norm_store(at, accumulate ? v_add(norm_load(at, n), sum[v]) : sum[v], n);
    }
}

FBP_SPECIALIZE void layer_norm_weights_of(const int vectors, const struct fbp_norm *norm, size_t j, size_t n) {
    size_t b = 0;
    do { /* once even when B is 0: the sums are then 0 */
        const size_t last = norm->B - b < FBP_BLOCK ? norm->B : b + FBP_BLOCK;
        const int accumulate = norm->accumulate || b > 0;
        vreal sum[2][NORM_VECTORS];
        norm_gradient_chains(vectors, 1, norm, j, n, b, last, sum);
        norm_put(vectors, norm->dgamma, j, accumulate, sum[0], n);
        norm_put(vectors, norm->dbeta, j, accumulate, sum[1], n);
        b = last;
    } while (b < norm->B);
}

/* dgamma (N,) (+)= column sums of dz xhat, dbeta (N,) (+)= column sums of dz, from x, dz (B, N), mean and rstd (B,).
 * dgamma and dbeta may be NULL. Blocks of rows are added one by one, so a sum made in several calls has the bits of
 * one. */
static void FBP(layer_norm_backward_weights)(const struct fbp_norm *norm, int part, int parts) {
    size_t j, end;
    norm_share(norm->N, LANES, part, parts, &j, &end);
    if (!norm->dgamma && !norm->dbeta) return;
    for (; j + NORM_WIDTH <= end; j += NORM_WIDTH) layer_norm_weights_of(NORM_VECTORS, norm, j, LANES);
    for (; j + LANES <= end; j += LANES) layer_norm_weights_of(1, norm, j, LANES);
    if (j < end) layer_norm_weights_of(1, norm, j, end - j);
}

/* ---------------------------------------------------------------------------------------- batch norm */

/* average[v]: of x, or of (x - mean[v])^2 where mean is not NULL, as known at the call. */
FBP_SPECIALIZE void batch_norm_averages(const int vectors, const struct fbp_norm *norm, size_t j, size_t n, const vreal *mean,
                                        vreal *average) {
    const real *x = (const real *)norm->x + j;
    FBP_UNROLL
    for (int v = 0; v < vectors; v++) average[v] = v_zero();
    for (size_t b = 0; b < norm->B;) {
        const size_t last = norm->B - b < FBP_BLOCK ? norm->B : b + FBP_BLOCK;
        vreal sum[NORM_VECTORS];
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) sum[v] = v_zero();
        for (; b < last; b++, x += norm->x_row) {
            FBP_UNROLL
            for (int v = 0; v < vectors; v++) {
                const vreal a = norm_load(x + (size_t)v * LANES, n), d = mean ? v_sub(a, mean[v]) : a;
                sum[v] = mean ? v_fma(d, d, sum[v]) : v_add(sum[v], d);
            }
        }
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) average[v] = v_add(average[v], sum[v]);
    }
    FBP_UNROLL
    for (int v = 0; v < vectors; v++) average[v] = v_div(average[v], v_set((real)norm->B));
}

FBP_INLINE vreal batch_norm_rstd_of(vreal variance, double eps) {
    return v_div(v_set(1), v_sqrt(v_add(variance, v_set((real)eps))));
}

FBP_SPECIALIZE void batch_norm_statistics_of(const int vectors, const struct fbp_norm *norm, size_t j, size_t n) {
    vreal mean[NORM_VECTORS], variance[NORM_VECTORS];
    batch_norm_averages(vectors, norm, j, n, NULL, mean);
    batch_norm_averages(vectors, norm, j, n, mean, variance);
    FBP_UNROLL
    for (int v = 0; v < vectors; v++) {
        const size_t at = j + (size_t)v * LANES;
        norm_store((real *)norm->mean + at, mean[v], n);
        norm_store((real *)norm->variance + at, variance[v], n);
        norm_store((real *)norm->rstd + at, batch_norm_rstd_of(variance[v], norm->eps), n);
    }
}

/* mean, variance and rstd (N,) of the columns of x (B, N), B > 0. */
static void FBP(batch_norm_statistics)(const struct fbp_norm *norm, int part, int parts) {
    size_t j, end;
    norm_share(norm->N, LANES, part, parts, &j, &end);
    for (; j + NORM_WIDTH <= end; j += NORM_WIDTH) batch_norm_statistics_of(NORM_VECTORS, norm, j, LANES);
    for (; j + LANES <= end; j += LANES) batch_norm_statistics_of(1, norm, j, LANES);
    if (j < end) batch_norm_statistics_of(1, norm, j, end - j);
}

FBP_SPECIALIZE void batch_norm_apply(const int rows, const struct fbp_norm *norm, const real *x, real *y, size_t j, size_t n) {
    vreal mean[NORM_ROWS], rstd[NORM_ROWS];
    mean[0] = norm_load((const real *)norm->mean + j, n);
    rstd[0] = norm_load((const real *)norm->rstd + j, n);
    FBP_UNROLL
    for (int r = 1; r < rows; r++) mean[r] = mean[0], rstd[r] = rstd[0];
    norm_apply(rows, norm, x, mean, rstd, y, j, n);
}

FBP_SPECIALIZE void batch_norm_forward_rows(const int rows, const struct fbp_norm *norm, size_t b) {
    const size_t N = norm->N;
    const real *x = (const real *)norm->x + b * norm->x_row;
    real *y = (real *)norm->y + b * norm->y_row;
    size_t j = 0;
    for (; j + LANES <= N; j += LANES) batch_norm_apply(rows, norm, x, y, j, LANES);
    if (j < N) batch_norm_apply(rows, norm, x, y, j, N - j);
    activation_forward_rows(y, norm->y_row, norm->activation, (real)norm->alpha, (size_t)rows, N);
}

/* y (B, N) of x (B, N), mean and rstd (N,), gamma and beta (N,) or NULL. y may be x, where no backward follows. */
static void FBP(batch_norm_forward)(const struct fbp_norm *norm, int part, int parts) {
    size_t b, end;
    norm_share(norm->B, NORM_ROWS, part, parts, &b, &end);
    for (; b + NORM_ROWS <= end; b += NORM_ROWS) batch_norm_forward_rows(NORM_ROWS, norm, b);
    for (; b < end; b++) batch_norm_forward_rows(1, norm, b);
}

FBP_SPECIALIZE void batch_norm_weights_of(const int vectors, const struct fbp_norm *norm, size_t j, size_t n) {
    vreal total[2][NORM_VECTORS];
    FBP_UNROLL
    for (int v = 0; v < vectors; v++) total[0][v] = total[1][v] = v_zero();
    for (size_t b = 0; b < norm->B; b += FBP_BLOCK) {
        vreal sum[2][NORM_VECTORS];
        norm_gradient_chains(vectors, 0, norm, j, n, b, norm->B - b < FBP_BLOCK ? norm->B : b + FBP_BLOCK, sum);
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) total[0][v] = v_add(total[0][v], sum[0][v]), total[1][v] = v_add(total[1][v], sum[1][v]);
    }
    norm_put(vectors, norm->sums, j, 0, total[0], n);
    norm_put(vectors, norm->sums, norm->N + j, 0, total[1], n);
    norm_put(vectors, norm->dgamma, j, norm->accumulate, total[0], n);
    norm_put(vectors, norm->dbeta, j, norm->accumulate, total[1], n);
}

/* sums (2 N,): the column sums of dz xhat, then of dz, from x, dz (B, N), mean and rstd (N,); dgamma and dbeta (N,),
 * each maybe NULL, are (+)= the same. */
static void FBP(batch_norm_backward_weights)(const struct fbp_norm *norm, int part, int parts) {
    size_t j, end;
    norm_share(norm->N, LANES, part, parts, &j, &end);
    for (; j + NORM_WIDTH <= end; j += NORM_WIDTH) batch_norm_weights_of(NORM_VECTORS, norm, j, LANES);
    for (; j + LANES <= end; j += LANES) batch_norm_weights_of(1, norm, j, LANES);
    if (j < end) batch_norm_weights_of(1, norm, j, end - j);
}

FBP_SPECIALIZE void batch_norm_gradient(const int rows, const struct fbp_norm *norm, const real *x, const real *dz, real *dx,
                                        size_t j, size_t n) {
    const vreal mean = norm_load((const real *)norm->mean + j, n), rstd = norm_load((const real *)norm->rstd + j, n);
    const vreal factor = v_mul(norm_load_or(norm->gamma, j, n, 1), rstd);
    if (norm->constant_statistics) {
        FBP_UNROLL
        for (int r = 0; r < rows; r++) {
            const vreal g = norm_load(dz + (size_t)r * norm->dz_row + j, n);
            norm_store(dx + (size_t)r * norm->dx_row + j, v_mul(g, factor), n);
        }
        return;
    }
    const vreal share = v_set((real)(1 / (double)norm->B));
    const vreal gx_mean = v_mul(norm_load((const real *)norm->sums + j, n), share);
    const vreal g_mean = v_mul(norm_load((const real *)norm->sums + norm->N + j, n), share);
    FBP_UNROLL
    for (int r = 0; r < rows; r++) {
        const vreal xhat = v_mul(v_sub(norm_load(x + (size_t)r * norm->x_row + j, n), mean), rstd);
        const vreal g = v_sub(norm_load(dz + (size_t)r * norm->dz_row + j, n), g_mean);
        norm_store(dx + (size_t)r * norm->dx_row + j, v_mul(v_fnma(xhat, gx_mean, g), factor), n);
    }
}

FBP_SPECIALIZE void batch_norm_backward_rows(const int rows, const struct fbp_norm *norm, size_t b) {
    const size_t N = norm->N;
    const real *x = (const real *)norm->x + b * norm->x_row, *dz = (const real *)norm->dz + b * norm->dz_row;
    real *dx = (real *)norm->dx + b * norm->dx_row;
    size_t j = 0;
    for (; j + LANES <= N; j += LANES) batch_norm_gradient(rows, norm, x, dz, dx, j, LANES);
    if (j < N) batch_norm_gradient(rows, norm, x, dz, dx, j, N - j);
}

/* dx (B, N) of x, dz (B, N), gamma (N,) or NULL, mean and rstd (N,) and the sums (2 N,) over all B rows that
 * batch_norm_backward_weights left. With constant_statistics dx = dz gamma rstd, and x, mean and sums are not used. dx
 * may be x or dz, with its row stride. */
static void FBP(batch_norm_backward_inputs)(const struct fbp_norm *norm, int part, int parts) {
    size_t b, end;
    norm_share(norm->B, NORM_ROWS, part, parts, &b, &end);
    for (; b + NORM_ROWS <= end; b += NORM_ROWS) batch_norm_backward_rows(NORM_ROWS, norm, b);
    for (; b < end; b++) batch_norm_backward_rows(1, norm, b);
}

/* rstd (N,) = 1 / sqrt(variance (N,) + eps). rstd may be variance. inf gives 0; a nan, or a sum below 0, gives a
 * nan. */
static void FBP(batch_norm_rstd)(const void *variance_, double eps, void *rstd_, size_t N) {
    const real *variance = variance_;
    real *rstd = rstd_;
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(rstd + i, batch_norm_rstd_of(v_load(variance + i), eps));
    if (i < N) v_store_n(rstd + i, batch_norm_rstd_of(v_load_n(variance + i, N - i), eps), N - i);
}

/* running (N,) += momentum (factor value (N,) - running), in place. */
static void batch_norm_run(const real *value, double factor, double momentum, real *running, size_t N) {
    const vreal f = v_set((real)factor), m = v_set((real)momentum);
    for (size_t i = 0; i < N; i += LANES) {
        const size_t n = N - i < LANES ? N - i : LANES;
        const vreal r = v_load_n(running + i, n);
        v_store_n(running + i, v_fma(m, v_sub(v_mul(f, v_load_n(value + i, n)), r), r), n);
    }
}

/* running_mean += momentum (mean - running_mean), running_variance += momentum (variance B / (B - 1) -
 * running_variance), all (N,): the running variance is the unbiased estimate, as in PyTorch. B > 1. */
static void FBP(batch_norm_running)(const void *mean, const void *variance, double momentum, void *running_mean,
                                    void *running_variance, size_t B, size_t N) {
    batch_norm_run(mean, 1, momentum, running_mean, N);
    batch_norm_run(variance, (double)B / ((double)B - 1), momentum, running_variance, N);
}

#endif
