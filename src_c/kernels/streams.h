/* streams.h: products that memory limits, or the latency of a multiply-add: one or two rows, or few terms.
 *
 * Each row of B is read once (few rows of A), or each row of C is written once (few terms), from end to end, as the hardware
 * prefetches best.
 */
#ifndef FBP_STREAMS_H
#define FBP_STREAMS_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "activation.h"
#include "tiles.h"

/* sums[n][j] = the chain over block n of k, for several whole blocks at once and one or two vectors of columns, from the bias
 * in the first: each chain by itself would wait for its own multiply-adds. With more than these the loads of B, which cross
 * cache lines, are what takes the time. `vectors` and `blocks` are constants at every call. */
enum { MOST_BLOCKS = 3, FEW_VECTORS = 2 };

FBP_SPECIALIZE void row_blocks(const int vectors, const int blocks, const struct fbp_gemm *g, const real *a, const real *b,
                               const real *bias, size_t columns, real (*sums)[FEW_VECTORS * LANES]) {
    const size_t a_col = g->a_col, b_row = g->b_row, last = columns - (vectors - 1) * LANES;
    vreal acc[MOST_BLOCKS][FEW_VECTORS];
    const real *p[MOST_BLOCKS], *q[MOST_BLOCKS];
    FBP_UNROLL
    for (int n = 0; n < blocks; n++) {
        p[n] = a + n * FBP_BLOCK * a_col, q[n] = b + n * FBP_BLOCK * b_row;
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) acc[n][v] = n || !bias ? v_zero() : v_load_n(bias + v * LANES, columns - v * LANES);
    }
    for (size_t k = 0; k < FBP_BLOCK; k++) FBP_UNROLL
    for (int n = 0; n < blocks; n++) {
        const vreal ak = v_set(*p[n]);
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) {
            const vreal bk = v == vectors - 1 ? v_load_n(q[n] + v * LANES, last) : v_load(q[n] + v * LANES);
            acc[n][v] = v_fma(ak, bk, acc[n][v]);
        }
        p[n] += a_col, q[n] += b_row;
    }
    FBP_UNROLL
    for (int n = 0; n < blocks; n++) FBP_UNROLL
    for (int v = 0; v < vectors; v++) v_store(sums[n] + v * LANES, acc[n][v]);
}

/* STREAM_TERMS rows of B, or a row of C, are read or written from end to end; meanwhile the chains of a stretch of columns wait in the
 * first-level cache. */
enum {
    STREAM_ROWS = 2,
    STREAM_TERMS = 4,
    STREAM_COLUMNS = 1024,
    STREAM_BYTES = 1 << 20, /* of C, from which on it is in no second-level cache that tiles could write to */
};

/* to = sum + (from + a b) for `rows` rows of A and `terms` rows of B, without sum or from where they are NULL. `rows` and `terms` are
 * constants at every call. to may be from or sum, whose rows are those of C. */
FBP_SPECIALIZE void stream_run(const int rows, const int terms, const struct fbp_gemm *g, const real *a, const real *b,
                               const real *from, size_t from_row, const real *sum, real *to, size_t to_row, size_t N) {
    const size_t b_row = g->b_row, sum_row = g->c_row;
    vreal ak[STREAM_ROWS][STREAM_TERMS];
    FBP_UNROLL
    for (int i = 0; i < rows; i++) FBP_UNROLL
    for (int k = 0; k < terms; k++) ak[i][k] = v_set(a[i * g->a_row + k * g->a_col]);
#define EACH_VECTOR(LOAD, STORE) \
    { \
        vreal acc[STREAM_ROWS]; \
        FBP_UNROLL \
        for (int i = 0; i < rows; i++) acc[i] = from ? LOAD(from + i * from_row + j) : v_zero(); \
        FBP_UNROLL \
        for (int k = 0; k < terms; k++) { \
            const vreal bk = LOAD(b + k * b_row + j); \
            FBP_UNROLL \
            for (int i = 0; i < rows; i++) acc[i] = v_fma(ak[i][k], bk, acc[i]); \
        } \
        FBP_UNROLL \
        for (int i = 0; i < rows; i++) STORE(to + i * to_row + j, sum ? v_add(LOAD(sum + i * sum_row + j), acc[i]) : acc[i]); \
    }
#define LOAD_REST(p) v_load_n(p, N - j)
#define STORE_REST(p, v) v_store_n(p, v, N - j)
    size_t j = 0;
    for (; j + LANES <= N; j += LANES) EACH_VECTOR(v_load, v_store)
    if (j < N) EACH_VECTOR(LOAD_REST, STORE_REST)
#undef EACH_VECTOR
#undef LOAD_REST
#undef STORE_REST
}

/* Rows [i, i + rows), STREAM_ROWS of them at most, and columns [first, end) of C. */
static void stream_rows(const struct fbp_gemm *g, const struct finish *f, size_t i, size_t rows, size_t first, size_t end) {
    real chain[STREAM_ROWS * STREAM_COLUMNS];
    for (size_t j = first; j < end; j += STREAM_COLUMNS) {
        const size_t N = end - j < STREAM_COLUMNS ? end - j : STREAM_COLUMNS;
        real *const c = (real *)g->c + i * g->c_row + j;
        size_t k = 0;
        do { /* once even when K is 0 */
            const size_t stop = g->K - k < FBP_BLOCK ? g->K : k + FBP_BLOCK;
            const int adds = k || g->accumulate;
            const real *from = k || !g->bias ? NULL : (const real *)g->bias + j;
            size_t from_row = 0;
            do {
                size_t terms = STREAM_TERMS;
                while (terms > stop - k) terms /= 2;
                const real *a = (const real *)g->a + i * g->a_row + k * g->a_col, *b = (const real *)g->b + k * g->b_row + j;
                k += terms;
                const real *sum = adds && k == stop ? c : NULL;
                real *const to = adds && k < stop ? chain : c;
                const size_t to_row = to == chain ? STREAM_COLUMNS : g->c_row;
                switch (rows * 8 + terms) {
#define STREAM(rows, terms) \
    case rows * 8 + terms: stream_run(rows, terms, g, a, b, from, from_row, sum, to, to_row, N); break
                    STREAM(1, 0);
                    STREAM(1, 1);
                    STREAM(1, 2);
                    STREAM(1, 4);
                    STREAM(2, 0);
                    STREAM(2, 1);
                    STREAM(2, 2);
                    STREAM(2, 4);
#undef STREAM
                }
                from = to, from_row = to_row;
            } while (k < stop);
        } while (k < g->K);
        if (f->forward) activation_forward_rows(c, g->c_row, f->activation, f->alpha, rows, N);
    }
}

/* Parts have runs of columns of few rows, and else runs of rows. */
static void stream_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    if (g->M <= STREAM_ROWS) {
        const size_t vectors = (g->N + LANES - 1) / LANES, end = vectors * (part + 1) / parts * LANES;
        stream_rows(g, f, 0, g->M, vectors * part / parts * LANES, end < g->N ? end : g->N);
        return;
    }
    for (size_t i = g->M * part / parts; i < g->M * (part + 1) / parts; i++) stream_rows(g, f, i, 1, 0, g->N);
}

/* Whether memory limits the product, rather than multiply-adds. */
static int is_stream(const struct fbp_gemm *g, const struct finish *f) {
    if (g->b_transposed || f->transpose || f->backward || g->N <= 2 * WIDE_VECTORS * LANES) return 0;
    return g->M <= STREAM_ROWS
        || (g->K > 1 && g->K <= STREAM_TERMS && g->N >= STREAM_COLUMNS / 2 && g->M * g->N * sizeof(real) >= STREAM_BYTES);
}

static int is_row(const struct fbp_gemm *g, const struct finish *f) {
    return g->M == 1 && !g->b_transposed && !f->transpose && !f->backward;
}

/* C (1, N) = f(a B + bias): WIDE_VECTORS vectors of columns at a time. */
static void row_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    const size_t width = WIDE_VECTORS * LANES, panels = (g->N + width - 1) / width, end = panels * (part + 1) / parts;
    const int relu = f->forward && f->activation == FBP_RELU;
    for (size_t panel = panels * part / parts; panel < end; panel++) {
        const size_t j = panel * width, columns = g->N - j < width ? g->N - j : width;
        real *c = (real *)g->c + j;
        size_t k = 0;
        do { /* once even when K is 0 */
            const real *a = (const real *)g->a + k * g->a_col, *b = (const real *)g->b + k * g->b_row + j;
            const real *bias = g->bias && !k ? (const real *)g->bias + j : NULL;
            size_t blocks = (g->K - k) / FBP_BLOCK;
            if (blocks > 1 && columns <= FEW_VECTORS * LANES) {
                real sums[MOST_BLOCKS][FEW_VECTORS * LANES];
                blocks = blocks == 3 && columns <= LANES ? 3 : 2;
                if (blocks == 3) row_blocks(1, 3, g, a, b, bias, columns, sums);
                else if (columns <= LANES) row_blocks(1, 2, g, a, b, bias, columns, sums);
                else row_blocks(2, 2, g, a, b, bias, columns, sums);
                for (size_t n = 0; n < blocks; n++)
                    for (size_t v = 0; v < columns; v += LANES) {
                        const vreal sum = v_load(sums[n] + v), before = v_load_n(c + v, columns - v);
                        v_store_n(c + v, k || n || g->accumulate ? v_add(before, sum) : sum, columns - v);
                    }
                k += blocks * FBP_BLOCK;
                continue;
            }
            struct strip s = {
                .tiles = 1,
                .K = blocks ? FBP_BLOCK : g->K - k,
                .a = a,
                .a_row = 0,
                .a_col = g->a_col,
                .a_tile = 0,
                .b = b,
                .b_row = g->b_row,
                .bias = bias,
                .sum = k || g->accumulate ? c : NULL,
                .sum_row = 0,
                .finish = relu && g->K - k <= FBP_BLOCK ? TILE_RELU : TILE_STORE,
                .saved = NULL,
                .saved_row = 0,
                .c = c,
                .c_row = 0,
                .packed_a = 0,
                .copy = NULL,
                .last = columns % LANES ? columns % LANES : LANES,
            };
            k += s.K;
            strip_dispatch(1, columns, &s);
        } while (k < g->K);
        if (f->forward && (!relu || g->K % FBP_BLOCK == 0)) activation_forward_rows(c, 0, f->activation, f->alpha, 1, columns);
    }
}

static int is_outer(const struct fbp_gemm *g, const struct finish *f) {
    return g->K == 1 && g->N >= LANES && !g->bias && !g->b_transposed && !f->forward && !f->backward && !f->transpose;
}

/* C (M, N) (+)= a (M) b (N), a product with one term: its time is that of its stores, which go along the rows. */
static void outer_share(const struct fbp_gemm *g, int part, int parts) {
    const real *b = g->b;
    const size_t end = g->M * (part + 1) / parts, N = g->N, whole = N / LANES * LANES;
    const vreal last = v_load_n(b + whole, N - whole);
    for (size_t i = g->M * part / parts; i < end; i++) {
        const vreal ai = v_set(((const real *)g->a)[i * g->a_row]);
        real *c = (real *)g->c + i * g->c_row;
        if (g->accumulate)
            for (size_t j = 0; j < N; j += LANES)
                v_store_n(c + j, v_add(v_load_n(c + j, N - j), v_fma(ai, v_load_n(b + j, N - j), v_zero())), N - j);
        else {
            for (size_t j = 0; j < whole; j += LANES) v_store(c + j, v_fma(ai, v_load(b + j), v_zero()));
            if (whole < N) v_store_n(c + whole, v_fma(ai, last, v_zero()), N - whole);
        }
    }
}

#endif
