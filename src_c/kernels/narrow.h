/* narrow.h: products of few columns, or of few rows and B transposed.
 *
 * A product with few columns would leave most lanes idle. There the rows of A are taken LANES at a time into the lanes, by
 * transposing blocks of A, and each column of C is an accumulator. The shuffles of one block and the multiply-adds of the
 * block before it run side by side, on different execution ports, so that x W with 10 columns takes little more than its
 * multiply-adds. The chains are those of the tiles. dz W^T of a few rows is such a product too, seen as (W dz^T)^T.
 */
#ifndef FBP_NARROW_H
#define FBP_NARROW_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "activation.h"
#include "tiles.h"

#include <string.h>

enum {
    NARROW = 12,                                           /* columns at most, */
    NARROW_PASS = TILE_ROWS < NARROW ? TILE_ROWS : NARROW, /* and at once */
    NARROW_ROOM = (NARROW + LANES - 1) / LANES * LANES,
    FEW_COLUMNS = LANES / 4,
    NEAR_ROW = FBP_BLOCK + LANES, /* from one copied row to the next: not a multiple of 4 KiB */
};

/* C (M, N) = f(A B + bias), with N <= NARROW, M >= LANES. */
struct narrow {
    size_t M, N, K;
    const real *a;
    size_t a_row; /* A[i][k] = a[i * a_row + k] */
    const real *b;
    size_t b_row, b_col; /* B[k][j] = b[k * b_row + j * b_col] */
    const real *bias;    /* (N,) or NULL */
    real *c;
    size_t c_row; /* C[i][j] = c[i * c_row + j], or c[j * c_row + i] when `c_transposed` */
    int c_transposed;
};

/* out[j][r] = bias[j] + sum over k of a[r][k] b[k][j], for LANES rows of a, over one block of k. `columns` is a constant at
 * every call. Blocks of LANES k stay in registers, where there are enough. */
FBP_SPECIALIZE void narrow_run(const int columns, const struct narrow *n, const real *a, size_t a_row, const real *b,
                               const real *bias, size_t K, real *out) {
    const size_t b_row = n->b_row, b_col = n->b_col;
    vreal acc[NARROW_PASS], last[QUARTER];
    real block[LANES * LANES];
    FBP_UNROLL
    for (int j = 0; j < columns; j++) acc[j] = bias ? v_set(bias[j]) : v_zero();
#define NARROW_STEP(from) \
    { \
        const vreal ak = from; \
        FBP_UNROLL \
        for (int j = 0; j < columns; j++) acc[j] = v_fma(ak, v_set(b[j * b_col]), acc[j]); \
        b += b_row; \
    }
    size_t k = 0;
    for (; k + LANES <= K; k += LANES) {
        v_transpose(a + k, a_row, block, LANES);
        FBP_UNROLL
        for (int l = 0; l < LANES; l++) NARROW_STEP(v_load(block + l * LANES))
    }
    for (; k < K; k += QUARTER) {
        v_load_columns(a + k, a_row, K - k < QUARTER ? K - k : QUARTER, last);
        for (size_t l = 0; l < QUARTER && k + l < K; l++) NARROW_STEP(last[l])
    }
#undef NARROW_STEP
    FBP_UNROLL
    for (int j = 0; j < columns; j++) v_store(out + j * LANES, acc[j]);
}

static void narrow_dispatch(size_t columns, const struct narrow *n, const real *a, size_t a_row, const real *b, const real *bias,
                            size_t K, real *out) {
    switch (columns) {
#define COLUMNS(count) \
    case count: \
        if (count <= NARROW_PASS) narrow_run(count, n, a, a_row, b, bias, K, out); \
        return
        COLUMNS(1);
        COLUMNS(2);
        COLUMNS(3);
        COLUMNS(4);
        COLUMNS(5);
        COLUMNS(6);
        COLUMNS(7);
        COLUMNS(8);
        COLUMNS(9);
        COLUMNS(10);
        COLUMNS(11);
        COLUMNS(12);
#undef COLUMNS
    }
}

/* to[j][r] = from[r][j]. to: (N, LANES). */
static void few_to_lanes(const real *from, size_t from_row, size_t rows, size_t N, real *to) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < N; j++) to[j * LANES + r] = from[r * from_row + j];
}

/* Rows [first, end) of C, fewer than LANES or as many, from sum[j][r]: element by element, and f' in the lanes. */
static void finish_few(const struct narrow *n, const struct finish *f, real *sum, size_t first, size_t end) {
    const size_t rows = end - first;
    if (f->backward) {
        real saved[FEW_COLUMNS * LANES], skip[FEW_COLUMNS * LANES];
        struct finish lanes = *f;
        few_to_lanes(f->saved + first * f->saved_row, f->saved_row, rows, n->N, saved);
        if (f->skip) few_to_lanes(f->skip + first * f->skip_row, f->skip_row, rows, n->N, skip), lanes.skip = skip;
        lanes.saved = saved, lanes.saved_row = lanes.skip_row = LANES;
        finish_backward(&lanes, sum, LANES, 0, 0, sum, LANES, n->N, rows);
    }
    real *c = n->c + first * n->c_row;
    for (size_t r = 0; r < rows; r++, c += n->c_row)
        for (size_t j = 0; j < n->N; j++) c[j] = sum[j * LANES + r];
}

/* Rows [first, end) of C from sum[j][from + r]: blocks of LANES columns are transposed. */
static void finish_columns(const struct narrow *n, const struct finish *f, const real *sum, size_t from, size_t first, size_t end) {
    real turned[LANES * LANES], *const rows = turned + from * LANES;
    for (size_t j = 0; j < n->N; j += LANES) {
        const size_t columns = n->N - j < LANES ? n->N - j : LANES;
        real *const c = n->c + first * n->c_row + j;
        v_transpose(sum + j * LANES, LANES, turned, LANES);
        if (f->backward) finish_backward(f, rows, LANES, first, j, c, n->c_row, end - first, columns);
        else
            for (size_t r = 0; r < end - first; r++) v_store_n(c + r * n->c_row, v_load(rows + r * LANES), columns);
    }
}

static void narrow_share(const struct narrow *n, const struct finish *f, int part, int parts) {
    const size_t groups = (n->M + LANES - 1) / LANES, end = groups * (part + 1) / parts;
    const size_t passes = (n->N + NARROW_PASS - 1) / NARROW_PASS;
    real sum[NARROW_ROOM * LANES], chain[NARROW_ROOM * LANES], near[LANES * NEAR_ROW];
    /* Rows a multiple of 4 KiB apart share few cache sets, and each line would be read from far away several times. */
    const int copies = n->a_row * sizeof(real) % 4096 == 0 && n->K > LANES;
    for (size_t j = n->N; j < NARROW_ROOM; j++) v_store(sum + j * LANES, v_zero()); /* turned along, never stored */
    for (size_t group = groups * part / parts; group < end; group++) {
        /* The last group reads some rows of the one before again, rather than past the end. */
        const size_t first = group * LANES, i = first + LANES <= n->M ? first : n->M - LANES;
        size_t k = 0;
        do { /* once even when K is 0 */
            const size_t K = n->K - k < FBP_BLOCK ? n->K - k : FBP_BLOCK, a_row = copies ? NEAR_ROW : n->a_row;
            const real *a = n->a + i * n->a_row + k;
            if (copies) {
                for (size_t r = 0; r < LANES; r++) memcpy(near + r * NEAR_ROW, a + r * n->a_row, K * sizeof(real));
                a = near;
            }
            for (size_t pass = 0; pass < passes; pass++) {
                const size_t j = n->N * pass / passes, columns = n->N * (pass + 1) / passes - j;
                narrow_dispatch(columns, n, a, a_row, n->b + k * n->b_row + j * n->b_col, n->bias && !k ? n->bias + j : NULL, K,
                                (k ? chain : sum) + j * LANES);
            }
            if (k)
                for (size_t j = 0; j < n->N * LANES; j += LANES) v_store(sum + j, v_add(v_load(sum + j), v_load(chain + j)));
            k += K;
        } while (k < n->K);
        if (n->c_transposed) {
            /* past the end of a row of sums lie those of rows of A that the group before has done */
            finish_backward(f, sum + (first - i), LANES, 0, first, n->c + first, n->c_row, n->N, i + LANES - first);
            continue;
        }
        if (f->forward) activation_forward_rows(sum, LANES, f->activation, f->alpha, n->N, LANES);
        if (n->N <= FEW_COLUMNS) finish_few(n, f, sum + (first - i), first, i + LANES);
        else finish_columns(n, f, sum, first - i, first, i + LANES);
    }
}

/* Whether the narrow way is the quicker one for `columns` columns, fewer than those of a panel. A tile's row costs a multiply-add
 * for each k and LANES columns; here it is columns / LANES of one, the shuffles, and the turning back of C. */
static int columns_are_narrow(const struct fbp_gemm *g, size_t columns) {
    enum { SHUFFLES = 2, TURNING = 150, TURNING_FEW = 60 };
    const size_t lanes = (columns + LANES - 1) / LANES * LANES, passes = (columns + NARROW_PASS - 1) / NARROW_PASS;
    return columns <= NARROW && g->M >= LANES && g->a_col == 1 && !g->accumulate
        && g->K * lanes >= g->K * (columns + passes * SHUFFLES) + (columns > FEW_COLUMNS ? TURNING : TURNING_FEW);
}

static struct narrow narrow_columns(const struct fbp_gemm *g) {
    return (struct narrow){
        .M = g->M,
        .N = g->N,
        .K = g->K,
        .a = g->a,
        .a_row = g->a_row,
        .b = g->b,
        .b_row = g->b_transposed ? 1 : g->b_row,
        .b_col = g->b_transposed ? g->b_row : 1,
        .bias = g->bias,
        .c = g->c,
        .c_row = g->c_row,
    };
}

/* Whether it is for few rows and B transposed: C^T = B^T A^T. */
static int rows_are_narrow(const struct fbp_gemm *g) {
    return g->M <= NARROW && g->N >= LANES && g->a_col == 1 && g->b_transposed && !g->bias && !g->accumulate;
}

static struct narrow narrow_rows(const struct fbp_gemm *g) {
    return (struct narrow){
        .M = g->N,
        .N = g->M,
        .K = g->K,
        .a = g->b,
        .a_row = g->b_row,
        .b = g->a,
        .b_row = 1,
        .b_col = g->a_row,
        .c = g->c,
        .c_row = g->c_row,
        .c_transposed = 1,
    };
}

#endif
