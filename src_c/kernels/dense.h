/* dense.h: the dense layer, y = f(x W + b), and its two gradients.
 *
 * With z = x W + b and dz the loss's gradient at z:  dW = x^T dz,  db = sum over rows of dz,  dx = dz W^T.
 * Backward needs x, W and y: of x its values for dW and, when x is the output of a layer before, for that layer's
 * derivative. The derivative is applied where dx is made, so that dx leaves as the previous layer's dz, and may take x's place.
 * Every product's order of summation is gemm.h's.
 * Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986.
 */
#ifndef FBP_DENSE_H
#define FBP_DENSE_H

#include "../fbp.h"
#include "../vec/vec.h"
#include "gemm.h"

/* y (B, O) = f(x (B, I) W (I, O) + b (O,)). b may be NULL. Writes y only. nan and inf pass through. */
static void FBP(dense_forward)(const struct fbp_dense *d, int part, int parts) {
    const struct fbp_gemm product = {
        .M = d->B,
        .N = d->O,
        .K = d->I,
        .a = d->x,
        .a_row = d->x_row,
        .a_col = 1,
        .b = d->W,
        .b_row = d->O,
        .bias = d->b,
        .c = d->y,
        .c_row = d->y_row,
        .room = d->room,
    };
    const struct finish activate = {
        .forward = d->activation != FBP_IDENTITY,
        .activation = d->activation,
        .alpha = (real)d->alpha,
    };
    product_share(&product, &activate, part, parts);
}

/* db (+)= column sums of dz (B, columns), in blocks of FBP_BLOCK rows, as in a product. `vectors` is constant at every call;
 * with more than one, each is whole. */
FBP_SPECIALIZE void column_sums_of(const int vectors, const real *dz, size_t dz_row, int accumulate, real *db, size_t B,
                                   size_t columns) {
    size_t left = B;
    do { /* once even when B is 0: the sum is then 0 */
        const size_t rows = left < FBP_BLOCK ? left : FBP_BLOCK;
        vreal sum[4];
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) sum[v] = v_zero();
        for (size_t b = 0; b < rows; b++, dz += dz_row) FBP_UNROLL
        for (int v = 0; v < vectors; v++) sum[v] = v_add(sum[v], vectors > 1 ? v_load(dz + v * LANES) : v_load_n(dz, columns));
        FBP_UNROLL
        for (int v = 0; v < vectors; v++) {
            real *to = db + v * LANES;
            const size_t n = vectors > 1 ? LANES : columns;
            v_store_n(to, accumulate ? v_add(v_load_n(to, n), sum[v]) : sum[v], n);
        }
        accumulate = 1;
        left -= rows;
    } while (left);
}

/* db (O,) (+)= column sums of dz (B, O), over columns [first, end). Four vectors at a time: an addition waits for the one
 * before it. */
static void column_sums(const real *dz, size_t dz_row, int accumulate, real *db, size_t B, size_t first, size_t end) {
    size_t j = first;
    for (; j + 4 * LANES <= end; j += 4 * LANES) column_sums_of(4, dz + j, dz_row, accumulate, db + j, B, 4 * LANES);
    for (; j + 2 * LANES <= end; j += 2 * LANES) column_sums_of(2, dz + j, dz_row, accumulate, db + j, B, 2 * LANES);
    for (; j < end; j += LANES) column_sums_of(1, dz + j, dz_row, accumulate, db + j, B, end - j);
}

/* Whether `columns` columns of dW are quicker as rows of dW^T = dz^T x, which has the same chains with I in the lanes: few columns
 * leave lanes idle. Turning the result costs about as much as TURNING terms of k, and a tile of fewer than ROWS rows as much as
 * one of ROWS, since each multiply-add waits for the one before. */
static int turns(const struct fbp_dense *d, size_t columns) {
    enum { TURNING = 8, ROWS = 4 };
    const size_t upright = d->I * ((columns + LANES - 1) / LANES);
    const size_t turned = (columns < ROWS ? ROWS : columns) * ((d->I + LANES - 1) / LANES);
    return turned * (d->B + TURNING) < upright * d->B && d->B > 1 && (d->B <= FBP_BLOCK || !d->accumulate);
}

/* Columns [first, end) of dW, upright or turned. */
static void weight_columns(const struct fbp_dense *d, size_t first, size_t end, int turn, int part, int parts) {
    const real *dz = (const real *)d->dz + first;
    const struct fbp_gemm product = {
        .M = turn ? end - first : d->I,
        .N = turn ? d->I : end - first,
        .K = d->B,
        .a = turn ? dz : d->x,
        .a_row = 1,
        .a_col = turn ? d->dz_row : d->x_row,
        .b = turn ? d->x : dz,
        .b_row = turn ? d->x_row : d->dz_row,
        .accumulate = d->accumulate,
        .c = (real *)d->dW + first,
        .c_row = d->O,
        .room = d->room,
    };
    const struct finish finish = {.transpose = turn};
    product_share(&product, &finish, part, parts);
}

/* dW (I, O) = x^T (I, B) dz (B, O) and db (O,) = column sums of dz; added to them when `accumulate`. db may be NULL. */
static void FBP(dense_backward_weights)(const struct fbp_dense *d, int part, int parts) {
    const size_t rest = d->O % LANES, whole = d->O - rest;
    if (turns(d, d->O)) weight_columns(d, 0, d->O, 1, part, parts);
    else if (whole && rest && turns(d, rest)) {
        weight_columns(d, 0, whole, 0, part, parts);
        weight_columns(d, whole, d->O, 1, part, parts);
    } else weight_columns(d, 0, d->O, 0, part, parts);
    if (d->db) {
        const size_t vectors = (d->O + LANES - 1) / LANES;
        const size_t first = vectors * part / parts * LANES, end = vectors * (part + 1) / parts * LANES;
        column_sums(d->dz, d->dz_row, d->accumulate, d->db, d->B, first, end < d->O ? end : d->O);
    }
}

/* dx (B, I) = (dz (B, O) W^T (O, I) + skip (B, I)) * g'(x), with x = g(...). skip may be NULL; dx may be x. */
static void FBP(dense_backward_inputs)(const struct fbp_dense *d, int part, int parts) {
    const struct fbp_gemm product = {
        .M = d->B,
        .N = d->I,
        .K = d->O,
        .a = d->dz,
        .a_row = d->dz_row,
        .a_col = 1,
        .b = d->W,
        .b_row = d->O,
        .b_transposed = 1,
        .c = d->dx,
        .c_row = d->dx_row,
        .room = d->room,
    };
    const struct finish differentiate = {
        .backward = d->skip || d->x_activation != FBP_IDENTITY,
        .activation = d->x_activation,
        .alpha = (real)d->x_alpha,
        .skip = d->skip,
        .skip_row = d->skip_row,
        .saved = d->x,
        .saved_row = d->x_row,
    };
    product_share(&product, &differentiate, part, parts);
}

#endif
