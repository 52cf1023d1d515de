/* softmax.h: softmax over the rows of a matrix, and the tools that the row-wise kernels share.
 *
 *   forward    y_j = exp(x_j - m) / sum_k exp(x_k - m),  m = max_k x_k
 *   backward   dx_j = y_j (dy_j - sum_k dy_k y_k)
 *
 * A row is worked on in one of two ways, by its width alone, so a row's bits do not depend on how many rows there are
 * or where it stands:
 * - wide (C > NARROW): along the row, with LANES partial sums that v_sum adds up;
 * - narrow (C <= NARROW): LANES rows at a time, a row in each lane. Sums run over the columns in order. Along the row
 *   most lanes would be idle, and each row would need a reduction over lanes.
 *
 * Range: any finite x, the largest exponent being 0. -inf gives a 0, unless the whole row is -inf; that, an inf or a nan
 * makes the whole row nan. Error of y_j: that of exp at x_j - m, itself rounded, and the sum's: a few ulp while
 * |x_j - m| is small, up to |x_j - m| ulp more when it is not. */

#include <math.h>

/* The widest row to go LANES rows at a time. Wider ones gain little when there are many, and a single one loses. */
#define NARROW 8

/* ---------------------------------------------------------------------- narrow rows: a row in each lane */

/* Lane i = x[i * x_row], for i < rows <= LANES; the other lanes 0. One row, like one column, is a plain load: gathering
 * lanes in memory costs a stall, which nothing would hide. */
FBP_INLINE vreal column_load(const real *x, size_t x_row, size_t rows) {
    _Alignas(64) real lane[LANES];
    if (x_row == 1 || rows == 1)
        return v_load_n(x, rows);
    if (rows < LANES) {
        v_store(lane, v_zero());
        for (size_t i = 0; i < rows; i++)
            lane[i] = x[i * x_row];
    } else {
        for (size_t i = 0; i < LANES; i++)
            lane[i] = x[i * x_row];
    }
    return v_load(lane);
}

/* x[i * x_row] = lane i, for i < rows <= LANES. */
FBP_INLINE void column_store(real *x, size_t x_row, vreal v, size_t rows) {
    _Alignas(64) real lane[LANES];
    if (x_row == 1 || rows == 1) {
        v_store_n(x, v, rows);
        return;
    }
    v_store(lane, v);
    if (rows < LANES) {
        for (size_t i = 0; i < rows; i++)
            x[i * x_row] = lane[i];
    } else {
        for (size_t i = 0; i < LANES; i++)
            x[i * x_row] = lane[i];
    }
}

/* e[j] = exp(x_j - m), j < C; m goes to *greatest. Returns the sum of e over j. */
FBP_INLINE vreal columns_exp(const vreal *x, size_t C, vreal *greatest, vreal *e) {
    vreal m = v_set(-(real)INFINITY), sum = v_zero();
    for (size_t j = 0; j < C; j++)
        m = v_max(x[j], m);
    for (size_t j = 0; j < C; j++) {
        e[j] = v_exp(v_sub(x[j], m));
        sum = v_add(sum, e[j]);
    }
    *greatest = m;
    return sum;
}

/* --------------------------------------------------------------------------- wide rows: along the row */

/* The largest of x (C,). A nan is passed over: it shows in the sum of exponentials. */
FBP_INLINE real row_greatest(const real *x, size_t C) {
    vreal m = v_set(-(real)INFINITY);
    size_t j = 0;
    for (; j + LANES <= C; j += LANES)
        m = v_max(v_load(x + j), m);
    if (j < C)
        m = v_max(v_select(m_first(C - j), v_load_n(x + j, C - j), m), m);
    return v_greatest(m);
}

/* e_j = exp(x_j - m), and returns the sum of e. x, e: (C,); e may be x. */
FBP_INLINE real row_exp(const real *x, real m, real *e, size_t C) {
    const vreal shift = v_set(m);
    vreal sum = v_zero();
    size_t j = 0;
    for (; j + LANES <= C; j += LANES) {
        vreal v = v_exp(v_sub(v_load(x + j), shift));
        v_store(e + j, v);
        sum = v_add(sum, v);
    }
    if (j < C) {
        size_t n = C - j;
        vreal v = v_exp(v_sub(v_load_n(x + j, n), shift));
        v_store_n(e + j, v, n);
        sum = v_add(sum, v_select(m_first(n), v, v_zero()));
    }
    return v_sum(sum);
}

/* x_j = factor * x_j. x: (C,). */
FBP_INLINE void row_scale(real *x, real factor, size_t C) {
    const vreal f = v_set(factor);
    size_t j = 0;
    for (; j + LANES <= C; j += LANES)
        v_store(x + j, v_mul(v_load(x + j), f));
    if (j < C)
        v_store_n(x + j, v_mul(v_load_n(x + j, C - j), f), C - j);
}

/* ------------------------------------------------------------------------------------------- softmax */

/* x, y: (B, C); y may be x. */
static void FBP(softmax_forward)(const void *x_, void *y_, size_t B, size_t C) {
    const real *x = x_;
    real *y = y_;
    if (C == 0)
        return;
    if (C <= NARROW) {
        for (size_t b = 0; b < B; b += LANES, x += LANES * C, y += LANES * C) {
            size_t rows = B - b < LANES ? B - b : LANES;
            vreal columns[NARROW], e[NARROW], m;
            for (size_t j = 0; j < C; j++)
                columns[j] = column_load(x + j, C, rows);
            vreal inverse = v_div(v_set(1), columns_exp(columns, C, &m, e));
            for (size_t j = 0; j < C; j++)
                column_store(y + j, C, v_mul(e[j], inverse), rows);
        }
        return;
    }
    for (size_t b = 0; b < B; b++, x += C, y += C) {
        real sum = row_exp(x, row_greatest(x, C), y, C);
        row_scale(y, 1 / sum, C);
    }
}

/* dy, y, dx: (B, C), y being what forward wrote; dx may be dy or y. Every row counts as wide: there is nothing here that
 * idle lanes make dear. */
static void FBP(softmax_backward)(const void *dy_, const void *y_, void *dx_, size_t B, size_t C) {
    const real *dy = dy_, *y = y_;
    real *dx = dx_;
    for (size_t b = 0; b < B; b++, dy += C, y += C, dx += C) {
        vreal sum = v_zero();
        size_t j = 0;
        for (; j + LANES <= C; j += LANES)
            sum = v_fma(v_load(dy + j), v_load(y + j), sum);
        if (j < C)
            sum = v_fma(v_load_n(dy + j, C - j), v_load_n(y + j, C - j), sum);
        const vreal dot = v_set(v_sum(sum));
        for (j = 0; j + LANES <= C; j += LANES)
            v_store(dx + j, v_mul(v_load(y + j), v_sub(v_load(dy + j), dot)));
        if (j < C) {
            size_t n = C - j;
            v_store_n(dx + j, v_mul(v_load_n(y + j, n), v_sub(v_load_n(dy + j, n), dot)), n);
        }
    }
}
