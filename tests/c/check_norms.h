/* check_norms.h: the part of kernel_bits.c for norms and dropout. */
#ifndef CHECK_NORMS_H
#define CHECK_NORMS_H

#include "kernel_harness.h"

/* ----------------------------------------------------------------------------------------- norms and dropout */

static const struct pair BLOCKS[] = {
    /* B, N */
    {1, 1}, {2, 3}, {3, 16}, {4, 17}, {5, 8}, {9, 33}, {7, 64}, {257, 40}, {600, 5}, {11, 131}, {2, 4100}, {30, 9},
};

static void norm_of(struct fbp_norm *n, struct matrix x, struct matrix y, struct matrix dz, int affine) {
    const size_t B = x.rows, N = x.columns;
    *n = (struct fbp_norm){
        .B = B,
        .N = N,
        .x = x.at,
        .x_row = x.row,
        .eps = 1e-5,
        .gamma = affine ? vector(N) : NULL,
        .beta = affine ? vector(N) : NULL,
        .activation = affine ? FBP_TANH : FBP_IDENTITY,
        .y = y.at,
        .y_row = y.row,
        .dz = dz.at,
        .dz_row = dz.row,
        .dgamma = vector(N),
        .dbeta = vector(N),
        .accumulate = affine,
        .sums = vector(2 * N),
    };
}

typedef void norm_fn(const struct fbp_norm *norm, int part, int parts);

static void in_parts(norm_fn *fn, const struct fbp_norm *n, int parts) {
    for (int part = parts - 1; part >= 0; part--) fn(n, part, parts);
}

static void *row_of(struct matrix m, size_t row) { return (unsigned char *)m.at + row * m.row * k->item; }

/* y is f of what the identity gives. */
static void norm_activates(const struct fbp_norm *n, norm_fn *forward, struct matrix y) {
    struct matrix z = copy(y);
    struct fbp_norm plain = *n;
    plain.activation = FBP_IDENTITY, plain.y = z.at;
    forward(&plain, 0, 1);
    for (size_t b = 0; b < n->B; b++) k->activation_forward(row_of(z, b), n->activation, n->alpha, row_of(z, b), n->N);
    same(y, z, "a norm's activation is not that of activation_forward");
}

/* Column sums are added to what is there: of a layer norm in blocks of rows, of a batch norm all at once. */
static void norm_accumulates(const struct fbp_norm *n, norm_fn *weights, int by_column) {
    const size_t N = n->N;
    void *start = vector(N), *dgamma = copy_vector(start, N), *blocks = copy_vector(start, N);
    struct fbp_norm whole = *n;
    whole.accumulate = 1, whole.dgamma = dgamma, whole.dbeta = NULL;
    weights(&whole, 0, 1);
    if (by_column) {
        k->add(start, n->sums, blocks, N);
    } else {
        struct fbp_norm block = whole;
        block.dgamma = blocks;
        for (size_t b = 0; b < n->B; b += FBP_BLOCK) {
            block.B = n->B - b < FBP_BLOCK ? n->B - b : FBP_BLOCK;
            block.x = (const unsigned char *)n->x + b * n->x_row * k->item;
            block.dz = (const unsigned char *)n->dz + b * n->dz_row * k->item;
            block.mean = (unsigned char *)n->mean + b * k->item, block.rstd = (unsigned char *)n->rstd + b * k->item;
            weights(&block, 0, 1);
        }
    }
    same_vector(dgamma, blocks, N, "dgamma is not what was there and the sum");
    whole.dgamma = filled(1, N, 0, 0, 0).at;
    weights(&whole, 0, 1);
    struct fbp_norm anew = whole;
    anew.accumulate = 0, anew.dgamma = dgamma;
    weights(&anew, 0, 1);
    same_vector(dgamma, whole.dgamma, N, "dgamma is not its sum added to 0");
}

/* dx = dz gamma rstd. */
static void norm_takes_constants(const struct fbp_norm *n, struct matrix dz, struct matrix dx) {
    void *factor = copy_vector(n->rstd, n->N);
    struct matrix expected = copy(dx);
    if (n->gamma) k->multiply(n->gamma, factor, factor, n->N);
    for (size_t b = 0; b < n->B; b++) k->multiply(row_of(dz, b), factor, row_of(expected, b), n->N);
    same(dx, expected, "dx with constant statistics is not dz gamma rstd");
}

/* Both norms, one kernel after the other; forward and backward take what the kernels before them left. */
static void check_norms(void) {
    static const char *const stages[] = {"statistics", "forward", "backward_weights", "backward_inputs"};
    for (int by_column = 0; by_column < 2; by_column++)
        for (int stage = by_column ? 0 : 1; stage < 4; stage++) {
            begin(by_column ? "batch_norm" : "layer_norm", stages[stage]);
            for (size_t l = 0; l < count_of_pairs(COUNT(BLOCKS)); l++)
                for (int affine = 0; affine < 2; affine++) {
                    const size_t B = pair_at(BLOCKS, l).a, N = pair_at(BLOCKS, l).b, statistics = by_column ? N : B;
                    struct matrix x = filled(B, N, 2, -3, 5), dz = random_matrix(B, N, 1), y = random_matrix(B, N, 3);
                    struct matrix dx = random_matrix(B, N, 4), over_x = copy(x), over_dz = copy(dz), y3 = copy(y);
                    struct fbp_norm n;
                    norm_of(&n, x, y, dz, affine);
                    n.mean = vector(statistics), n.rstd = vector(statistics), n.variance = vector(statistics);
                    void *mean3 = vector(statistics), *rstd3 = vector(statistics);
                    struct fbp_norm again = n;
                    again.mean = mean3, again.rstd = rstd3, again.variance = vector(statistics), again.y = y3.at;
                    again.dgamma = copy_vector(n.dgamma, N), again.dbeta = copy_vector(n.dbeta, N);
                    again.sums = vector(2 * N);
                    norm_fn *const forward = by_column ? k->batch_norm_forward : k->layer_norm_forward;
                    norm_fn *const weights = by_column ? k->batch_norm_backward_weights : k->layer_norm_backward_weights;
                    norm_fn *const inputs = by_column ? k->batch_norm_backward_inputs : k->layer_norm_backward_inputs;
                    if (by_column) k->batch_norm_statistics(&n, 0, 1), in_parts(k->batch_norm_statistics, &again, 3);
                    forward(&n, 0, 1), in_parts(forward, &again, 3);
                    weights(&n, 0, 1), in_parts(weights, &again, 3);
                    same_vector(n.mean, mean3, statistics, "the mean depends on the number of parts");
                    same_vector(n.rstd, rstd3, statistics, "rstd depends on the number of parts");
                    same(y, y3, "a norm's y depends on the number of parts");
                    same_vector(n.dgamma, again.dgamma, N, "dgamma depends on the number of parts");
                    same_vector(n.dbeta, again.dbeta, N, "dbeta depends on the number of parts");
                    if (by_column) same_vector(n.sums, again.sums, 2 * N, "sums depend on the number of parts");
                    norm_activates(&n, forward, y);
                    norm_accumulates(&n, weights, by_column);
                    n.constant_statistics = by_column && l % 3 == 2;
                    n.dx = dx.at, n.dx_row = dx.row;
                    inputs(&n, 0, 1);
                    if (n.constant_statistics) norm_takes_constants(&n, dz, dx);
                    again = n, again.x = again.dx = over_x.at, again.dx_row = over_x.row;
                    in_parts(inputs, &again, 3);
                    same(dx, over_x, "a norm's dx depends on the number of parts, or on taking the place of x");
                    again = n, again.dz = again.dx = over_dz.at, again.dx_row = over_dz.row;
                    in_parts(inputs, &again, 2);
                    same(dx, over_dz, "a norm's dx depends on taking the place of dz");
                    if (stage == 0) take_vector(n.mean, N), take_vector(n.variance, N), take_vector(n.rstd, N);
                    if (stage == 1) take_matrix(y), take_vector(n.mean, statistics), take_vector(n.rstd, statistics);
                    if (stage == 2) take_vector(n.dgamma, N), take_vector(n.dbeta, N);
                    if (stage == 2 && by_column) take_vector(n.sums, 2 * N);
                    if (stage == 3) take_matrix(dx);
                }
            end();
        }
    begin("batch_norm", "rstd");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        const size_t N = length_at(LENGTHS, l);
        void *variance = filled(1, N, 0, 0, 2).at, *rstd = vector(N);
        k->batch_norm_rstd(variance, 1e-3, rstd, N);
        k->batch_norm_rstd(variance, 1e-3, variance, N);
        same_vector(rstd, variance, N, "batch_norm_rstd depends on being in place");
        take_vector(rstd, N);
    }
    end();
    begin("batch_norm", "running");
    for (size_t l = 0; l < count_of_lengths(COUNT(LENGTHS)); l++) {
        const size_t N = length_at(LENGTHS, l);
        void *mean = vector(N), *variance = vector(N), *its_mean = vector(N), *its_variance = vector(N);
        k->batch_norm_running(its_mean, its_variance, 0.1, mean, variance, 7, N);
        take_vector(mean, N);
        take_vector(variance, N);
    }
    end();
}

#endif
