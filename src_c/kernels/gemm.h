/* gemm.h: matrix products, each by the quickest way for its shape.
 *
 * C (M, N) = A (M, K) B (K, N) for the three products of a dense layer: x W, x^T dz and dz W^T. Most go by tiles (tiles.h). Three
 * kinds of shapes would leave lanes, accumulators or the memory idle there: few columns, or few rows of dz W^T (narrow.h), also the
 * last few of more columns (split_share); one or two rows, or few terms (streams.h).
 *
 * Order of summation. Each element of C is a chain of fused multiply-adds over at most FBP_BLOCK values of k, started from
 * the bias or zero; the blocks are added in order. Tiles, panels, shares of threads and the way taken change nothing in that,
 * so neither do they change the bits.
 */
#ifndef FBP_GEMM_H
#define FBP_GEMM_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "narrow.h"
#include "streams.h"
#include "tiles.h"

/* A product whose last columns, fewer than LANES, would cost as much as LANES of them: those take the narrow way, if it is the
 * quicker one. */
static void split_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    const size_t rest = g->N % LANES, whole = g->N - rest;
    if (!whole || !rest || f->transpose || !columns_are_narrow(g, rest)) {
        gemm_share(g, f, part, parts);
        return;
    }
    struct fbp_gemm first = *g, last = *g;
    struct finish end = *f;
    first.N = whole;
    last.N = rest;
    last.b = (const real *)g->b + (g->b_transposed ? whole * g->b_row : whole);
    last.bias = g->bias ? (const real *)g->bias + whole : NULL;
    last.c = (real *)g->c + whole;
    end.skip = f->skip ? f->skip + whole : NULL;
    end.saved = f->saved ? f->saved + whole : NULL;
    gemm_share(&first, f, part, parts);
    const struct narrow n = narrow_columns(&last);
    narrow_share(&n, &end, part, parts);
}

/* C = A B by the quickest way. */
static void product_share(const struct fbp_gemm *g, const struct finish *f, int part, int parts) {
    struct narrow n;
    if (is_stream(g, f)) stream_share(g, f, part, parts);
    else if (is_row(g, f)) row_share(g, f, part, parts);
    else if (is_outer(g, f)) outer_share(g, part, parts);
    else if (!f->transpose && rows_are_narrow(g)) n = narrow_rows(g), narrow_share(&n, f, part, parts);
    else if (!f->transpose && columns_are_narrow(g, g->N)) n = narrow_columns(g), narrow_share(&n, f, part, parts);
    else split_share(g, f, part, parts);
}

/* C (M, N) = A (M, K) B (K, N), plus the bias, added to C when `accumulate`. nan and inf as the multiply-adds give. */
static void FBP(gemm)(const struct fbp_gemm *product, int part, int parts) {
    const struct finish nothing = {0};
    product_share(product, &nothing, part, parts);
}

#endif
