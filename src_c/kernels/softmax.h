/* softmax.h: softmax over the rows of a matrix, and the tools that the row-wise kernels share.
 *
 *   forward    y_j = exp(x_j - m) / sum_k exp(x_k - m),  m = max_k x_k
 *   backward   dx_j = y_j (dy_j - sum_k dy_k y_k)
 *
 * A sum over a row has LANES partial sums, element j going to number j modulo LANES, which are added up as v_sum does.
 * There are two ways to it, which give the same bits:
 * - along the row, with the partial sums in the lanes of a vector;
 * - for rows of at most MOST_COLUMNS elements, which would leave most lanes idle and need a reduction over lanes each: LANES
 *   rows at a time, a row in each lane.
 *
 * Range: any finite x, the largest exponent being 0. -inf gives a 0, unless the whole row is -inf; that, an inf or a nan
 * makes the whole row nan. Error of y_j: that of exp at x_j - m, itself rounded, and the sum's: a few ulp while
 * |x_j - m| is small, up to |x_j - m| ulp more when it is not. */
#ifndef FBP_SOFTMAX_H
#define FBP_SOFTMAX_H

#include "../vec/math.h"

#include <math.h>

/* The widest row to go LANES rows at a time. */
#define MOST_COLUMNS 16
/* Fewer rows than this go along the row all the same: most lanes would be idle here too. */
#define FEW_ROWS (LANES / 2)

/* ---------------------------------------------------------------------- narrow rows: a row in each lane */

/* Copies rows of C elements. */
FBP_INLINE void rows_copy(const real *x, size_t x_row, real *y, size_t y_row, size_t rows, size_t C) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < C; j += LANES) v_store_n(y + i * y_row + j, v_load_n(x + i * x_row + j, C - j), C - j);
}

/* Lane i = x[i * x_row], for i < rows <= LANES; the other lanes 0. */
FBP_INLINE vreal column_load(const real *x, size_t x_row, size_t rows) {
    _Alignas(64) real lane[LANES];
    if (x_row == 1) return v_load_n(x, rows);
    if (rows < LANES) {
        v_store(lane, v_zero());
        for (size_t i = 0; i < rows; i++) lane[i] = x[i * x_row];
    } else {
        for (size_t i = 0; i < LANES; i++) lane[i] = x[i * x_row];
    }
    return v_load(lane);
}

/* x[i * x_row] = lane i, for i < rows <= LANES. */
FBP_INLINE void column_store(real *x, size_t x_row, vreal v, size_t rows) {
    _Alignas(64) real lane[LANES];
    if (x_row == 1) {
        v_store_n(x, v, rows);
        return;
    }
    v_store(lane, v);
    if (rows < LANES) {
        for (size_t i = 0; i < rows; i++) x[i * x_row] = lane[i];
    } else {
        for (size_t i = 0; i < LANES; i++) x[i * x_row] = lane[i];
    }
}

/* Lane i of columns[j] = x[i * x_row + j], for i < rows <= LANES and j < C <= MOST_COLUMNS; the other lanes are 0. Writes
 * vectors past columns[C], up to a multiple of QUARTER. */
FBP_INLINE void columns_load(const real *x, size_t x_row, vreal *columns, size_t rows, size_t C) {
    _Alignas(64) real block[LANES * MOST_COLUMNS];
    if (rows < LANES) {
        for (size_t i = 0; i < LANES * MOST_COLUMNS; i += LANES) v_store(block + i, v_zero());
        rows_copy(x, x_row, block, MOST_COLUMNS, rows, C);
        x = block, x_row = MOST_COLUMNS;
    }
    FBP_ROLLED
    for (size_t j = 0; j < C; j += QUARTER) v_load_columns(x + j, x_row, C - j < QUARTER ? C - j : QUARTER, columns + j);
}

/* The reverse; vectors past columns[C] are read, but not used. */
FBP_INLINE void columns_store(const vreal *columns, real *x, size_t x_row, size_t rows, size_t C) {
    _Alignas(64) real block[LANES * MOST_COLUMNS];
    real *to = rows < LANES ? block : x;
    const size_t to_row = rows < LANES ? MOST_COLUMNS : x_row;
    FBP_ROLLED
    for (size_t j = 0; j < C; j += QUARTER) v_store_columns(columns + j, to + j, to_row, C - j < QUARTER ? C - j : QUARTER);
    if (rows < LANES) rows_copy(block, MOST_COLUMNS, x, x_row, rows, C);
}

/* Of B rows, how many go LANES at a time. */
FBP_INLINE size_t rows_by_lane(size_t B) { return B % LANES < FEW_ROWS ? B - B % LANES : B; }

FBP_INLINE vreal columns_greatest(const vreal *x, size_t C) {
    vreal m = v_set(-(real)INFINITY);
    FBP_ROLLED
    for (size_t j = 0; j < C; j++) m = v_max(x[j], m);
    return m;
}

/* The sum of x[j] over j < C <= width, a power of two that is known where this is called. */
FBP_INLINE vreal columns_sum_of(const vreal *x, size_t C, size_t width) {
    vreal part[MOST_COLUMNS / 2];
    for (size_t j = 0; j < width / 2; j++) part[j] = j >= C ? v_zero() : j + width / 2 < C ? v_add(x[j], x[j + width / 2]) : x[j];
    for (size_t half = width / 4; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++) part[j] = v_add(part[j], part[j + half]);
    return part[0];
}

/* The sum of x[j] over j < C <= MOST_COLUMNS: in each lane the sum along its row, where missing elements count as 0. */
FBP_INLINE vreal columns_sum(const vreal *x, size_t C) {
    return C <= 2 ? columns_sum_of(x, C, 2) : C <= 4 ? columns_sum_of(x, C, 4) : columns_sum_of(x, C, MOST_COLUMNS);
}

/* --------------------------------------------------------------------------- wide rows: along the row */

/* The largest of x (C,). A nan is passed over: it shows in the sum of exponentials. */
FBP_INLINE real row_greatest(const real *x, size_t C) {
    vreal m = v_set(-(real)INFINITY);
    size_t j = 0;
    for (; j + LANES <= C; j += LANES) m = v_max(v_load(x + j), m);
    if (j < C) m = v_max(v_select(m_first(C - j), v_load_n(x + j, C - j), m), m);
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
    for (; j + LANES <= C; j += LANES) v_store(x + j, v_mul(v_load(x + j), f));
    if (j < C) v_store_n(x + j, v_mul(v_load_n(x + j, C - j), f), C - j);
}

/* ------------------------------------------------------------------------------------------- softmax */

/* y = softmax(x), row by row. x, y: (B, C), rows x_row and y_row apart; y may be x, with its row stride. What lies
 * between the rows is neither used nor written. */
static void FBP(softmax_forward)(const void *x_, size_t x_row, void *y_, size_t y_row, size_t B, size_t C) {
    const real *x = x_;
    real *y = y_;
    size_t b = 0;
    if (C == 0) return;
    const size_t end = C < MOST_COLUMNS ? rows_by_lane(B) : 0; /* MOST_COLUMNS elements fill their vectors */
    for (; b < end; b += LANES) {
        const size_t rows = end - b < LANES ? end - b : LANES;
        vreal e[MOST_COLUMNS];
        columns_load(x + b * x_row, x_row, e, rows, C);
        const vreal m = columns_greatest(e, C);
        FBP_ROLLED
        for (size_t j = 0; j < C; j++) e[j] = v_exp(v_sub(e[j], m));
        const vreal inverse = v_div(v_set(1), columns_sum(e, C));
        FBP_ROLLED
        for (size_t j = 0; j < C; j++) e[j] = v_mul(e[j], inverse);
        columns_store(e, y + b * y_row, y_row, rows, C);
    }
    for (; b < B; b++) {
        real sum = row_exp(x + b * x_row, row_greatest(x + b * x_row, C), y + b * y_row, C);
        row_scale(y + b * y_row, 1 / sum, C);
    }
}

/* dx = y (dy - sum of dy y), row by row. dy, y, dx: (B, C), rows dy_row, y_row and dx_row apart, y being what forward
 * wrote; dx may be dy or y, with its row stride. Every row counts as wide: there is nothing here that idle lanes make
 * dear. */
static void FBP(softmax_backward)(const void *dy_, size_t dy_row, const void *y_, size_t y_row, void *dx_, size_t dx_row, size_t B,
                                  size_t C) {
    const real *dy = dy_, *y = y_;
    real *dx = dx_;
    for (size_t b = 0; b < B; b++, dy += dy_row, y += y_row, dx += dx_row) {
        vreal sum = v_zero();
        size_t j = 0;
        for (; j + LANES <= C; j += LANES) sum = v_fma(v_load(dy + j), v_load(y + j), sum);
        if (j < C) sum = v_fma(v_load_n(dy + j, C - j), v_load_n(y + j, C - j), sum);
        const vreal dot = v_set(v_sum(sum));
        for (j = 0; j + LANES <= C; j += LANES) v_store(dx + j, v_mul(v_load(y + j), v_sub(v_load(dy + j), dot)));
        if (j < C) {
            size_t n = C - j;
            v_store_n(dx + j, v_mul(v_load_n(y + j, n), v_sub(v_load_n(dy + j, n), dot)), n);
        }
    }
}

#endif
