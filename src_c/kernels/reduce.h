/* reduce.h: sums and tests over one long vector; rows of data as reals. */
#ifndef FBP_REDUCE_H
#define FBP_REDUCE_H

#include "../fbp.h"
#include "../vec/vec.h"

#include <string.h>

/* The vectors of a group go to as many accumulators, which hides the latency of the multiply-add. */
#define REDUCE_GROUP 4
/* Elements summed in reals before the sum moves to a double: a float's rounding errors stop growing here. */
#define REDUCE_BLOCK 4096

/* The sum of squares of N <= REDUCE_BLOCK elements. Vector k of the block goes to accumulator k % 4, by a fused
 * multiply-add; the result is v_sum((a0 + a1) + (a2 + a3)). */
static real sum_squares_block(const real *x, size_t N) {
    vreal sum[REDUCE_GROUP] = {v_zero(), v_zero(), v_zero(), v_zero()};
    size_t i = 0;
    for (; i + REDUCE_GROUP * LANES <= N; i += REDUCE_GROUP * LANES)
        for (size_t k = 0; k < REDUCE_GROUP; k++) {
            vreal v = v_load(x + i + k * LANES);
            sum[k] = v_fma(v, v, sum[k]);
        }
    for (size_t k = 0; i < N; k++, i += LANES) {
        vreal v = v_load_n(x + i, N - i);
        sum[k] = v_fma(v, v, sum[k]);
    }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* sum_i x_i^2. x: (N,); 0 when N is 0. Blocks of REDUCE_BLOCK elements are summed in reals, and the blocks, in order,
 * in a double. Relative error: at most 70 half ulp of a float, however long x is; of a double, 133 and one more for each
 * block. Squares below the smallest real are lost; a block's sum beyond the largest is inf. An inf gives an inf, a nan
 * a nan. */
static double FBP(sum_squares)(const void *x_, size_t N) {
    const real *x = x_;
    double sum = 0;
    for (; N > REDUCE_BLOCK; x += REDUCE_BLOCK, N -= REDUCE_BLOCK) sum += (double)sum_squares_block(x, REDUCE_BLOCK);
    return sum + (double)sum_squares_block(x, N);
}

/* squares (B,): of each row of x (B, N), rows x_row apart, the sum of squares, as sum_squares makes it. */
static void FBP(row_squares)(const void *x, size_t x_row, double *squares, size_t B, size_t N) {
    for (size_t b = 0; b < B; b++) squares[b] = FBP(sum_squares)((const real *)x + b * x_row, N);
}

/* 1 when no element of x (N,) is nan or inf. 0 x is 0 or a nan, and a nan stays in its sum. */
static int FBP(all_finite)(const void *x_, size_t N) {
    const real *x = x_;
    while (N > 0) {
        size_t n = N < REDUCE_BLOCK ? N : REDUCE_BLOCK, i = 0;
        vreal sum[REDUCE_GROUP] = {v_zero(), v_zero(), v_zero(), v_zero()};
        for (; i + REDUCE_GROUP * LANES <= n; i += REDUCE_GROUP * LANES)
            for (size_t k = 0; k < REDUCE_GROUP; k++) sum[k] = v_fma(v_zero(), v_load(x + i + k * LANES), sum[k]);
        for (size_t k = 0; i < n; k++, i += LANES) sum[k] = v_fma(v_zero(), v_load_n(x + i, n - i), sum[k]);
        vreal total = v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3]));
        if (m_any(v_ne(total, total))) return 0;
        x += n;
        N -= n;
    }
    return 1;
}

/* c = a + b. a, b, c: (N,); c may be a or b. Backward is a copy of dc to both. */
static void FBP(add)(const void *a_, const void *b_, void *c_, size_t N) {
    const real *a = a_, *b = b_;
    real *c = c_;
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) v_store(c + i, v_add(v_load(a + i), v_load(b + i)));
    if (i < N) v_store_n(c + i, v_add(v_load_n(a + i, N - i), v_load_n(b + i, N - i)), N - i);
}

/* -------------------------------------------------------------------------------------------------- gathering */

#if FBP_REAL == 32
typedef double other_real;
#else
typedef float other_real;
#endif

/* Columns that are taken together where the rows lie closer to one another than the columns: those of a line of y, so that
 * each line of x serves as many rows as it has. */
#define GATHER_COLUMNS LANES
#define GATHER_AHEAD 8 /* how many rows before its turn a row is asked for */

FBP_SPECIALIZE real gather_one(const unsigned char *p, int kind) {
    real x;
    other_real other;
    if (kind == FBP_BYTES) return (real)*p / 255;
    if (kind == FBP_REALS) {
        memcpy(&x, p, sizeof x);
        return x;
    }
    memcpy(&other, p, sizeof other);
    return (real)other;
}

FBP_SPECIALIZE void gather_row(const unsigned char *x, ptrdiff_t column, int kind, real *restrict y, size_t n) {
    for (size_t j = 0; j < n; j++) y[j] = gather_one(x + (ptrdiff_t)j * column, kind);
}

FBP_SPECIALIZE ptrdiff_t gather_item(int kind) {
    return kind == FBP_BYTES ? 1 : kind == FBP_REALS ? (ptrdiff_t)sizeof(real) : (ptrdiff_t)sizeof(other_real);
}

static inline const unsigned char *gather_from(const struct fbp_rows *x, const int64_t *order, size_t b) {
    return (const unsigned char *)x->at + (ptrdiff_t)(order ? order[b] : (int64_t)b) * x->row;
}

FBP_SPECIALIZE void gather_close(const struct fbp_rows *x, int kind, const int64_t *order, real *y, size_t y_row, size_t B,
                                 size_t N) {
    for (size_t b = 0; b < B; b++) {
        if (order && b + GATHER_AHEAD < B) {
            const unsigned char *ahead = gather_from(x, order, b + GATHER_AHEAD);
            for (size_t i = 0; i < N * (size_t)gather_item(kind); i += 64) FBP_FETCH(ahead + i);
        }
        gather_row(gather_from(x, order, b), gather_item(kind), kind, y + b * y_row, N);
    }
}

FBP_SPECIALIZE void gather_apart(const struct fbp_rows *x, int kind, const int64_t *order, real *y, size_t y_row, size_t B,
                                 size_t N) {
    const ptrdiff_t row = x->row < 0 ? -x->row : x->row, column = x->column < 0 ? -x->column : x->column;
    const size_t together = row < column ? GATHER_COLUMNS : N;
    for (size_t j = 0; j < N; j += together) {
        const ptrdiff_t at = (ptrdiff_t)j * x->column;
        const size_t n = N - j < together ? N - j : together;
        for (size_t b = 0; b < B; b++) {
            if (order && b + GATHER_AHEAD < B)
                for (size_t i = 0; i < n; i++) FBP_FETCH(gather_from(x, order, b + GATHER_AHEAD) + at + (ptrdiff_t)i * x->column);
            gather_row(gather_from(x, order, b) + at, x->column, kind, y + b * y_row + j, n);
        }
    }
}

FBP_SPECIALIZE void gather_kind(const struct fbp_rows *x, int kind, const int64_t *order, real *y, size_t y_row, size_t B,
                                size_t N) {
    if (x->column == gather_item(kind)) gather_close(x, kind, order, y, y_row, B, N);
    else gather_apart(x, kind, order, y, y_row, B, N);
}

/* y[b][j] = real(x[order[b]][j]), or of x[b][j] when order is NULL; of a byte n it is n / 255. y: (B, N), rows y_row apart; no
 * alias of x, whose elements may have any alignment. One rounding to nearest at most, the same as NumPy's astype and division: no
 * error. What is too large for a float becomes inf; nan and inf stay. What lies between the elements of x is not read. */
static void FBP(gather)(const struct fbp_rows *x, const int64_t *order, void *y, size_t y_row, size_t B, size_t N) {
    if (x->kind == FBP_BYTES) gather_kind(x, FBP_BYTES, order, y, y_row, B, N);
    else if (x->kind == FBP_OTHER_REALS) gather_kind(x, FBP_OTHER_REALS, order, y, y_row, B, N);
    else gather_kind(x, FBP_REALS, order, y, y_row, B, N);
}

#endif
