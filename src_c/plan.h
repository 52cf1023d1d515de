/* plan.h: what a plan is made of, for plan.c (making one), pass.c (a block of rows through the net and back) and epoch.c
 * (updates and whole calls). Nobody else includes it.
 */
#ifndef FBP_PLAN_H
#define FBP_PLAN_H

#include "fbp.h"

enum { ALIGNMENT = 64 };

/* A matrix of at most `block` rows: the net's input, or what a step made. Its gradient takes its place: once dW = x^T dz is
 * done nobody needs x but its own derivative. */
struct value {
    size_t width, row; /* columns, and reals from one row to the next */
    size_t offset;     /* in the workspace, bytes */
    int activation; double alpha; /* what made it: who makes its gradient takes that further back, to before f */
    size_t skip;       /* value in whose place a gradient for this one waits, come past a residual block; 0: none */
    int learns;        /* something before it is trained, so its gradient is needed */
};

/* The kinds of steps are those of layers, but for RESIDUAL_BEGIN, which leaves none. */
struct step {
    int kind;
    size_t in, out;      /* values */
    size_t skip;         /* RESIDUAL_END: out = in + skip */
    size_t earlier_skip; /* RESIDUAL_END, PROJECTION: where a gradient waits already for what they lead past; 0: nowhere */
    size_t waiting;      /* PROJECTION: the value in whose place it leaves its gradient */
    size_t incoming;     /* PROJECTION: the value whose gradient is its own: the end's */
    int in_place;        /* in and out are the same memory */
    int frozen;
    int activation; double alpha; /* ACTIVATION */
    size_t W, b;         /* offsets in the flat vector, reals: of W and b, or gamma and beta */
    int has_bias;        /* b, or gamma and beta, are there */
    size_t statistics;   /* BATCH_NORM: offset in its vector, reals */
    double momentum;
    size_t pending;      /* BATCH_NORM: offset of the running statistics as they will be after the update: (2 N) */
    size_t saved;        /* offset of what forward leaves for backward: DROPOUT its mask, SOFTMAX its output, norms their statistics */
    struct fbp_dense dense; /* what of the kernels' arguments is the same in every call */
    struct fbp_norm norm;
    struct fbp_dropout dropout;
};

/* A piece of the gradient whose norm is summed at once: the same pieces for any number of threads. */
struct chunk {
    size_t start, size;
    size_t penalized;    /* so many of its first reals have a penalty */
    double l1, l2;
    size_t layer;        /* number among those that have parameters */
};

struct range { size_t start, end; };

struct fbp_plan {
    const struct fbp_kernels *kernels;
    struct step *steps; size_t n_steps;
    struct value *values; size_t n_values;
    struct chunk *chunks; size_t n_chunks;
    struct range *trained; size_t n_trained; /* of the flat vector: all that is not frozen, neighbours joined */
    size_t inputs, outputs, parameters, statistics, learned;
    size_t block;             /* rows in a block */
    int threads, trains, whole;
    int input_moves;          /* value 0 must lie in the workspace: it is read there, or its gradient is made there */
    int input_in_place;       /* its gradient is made there */
    double flops_a_row;       /* of a training step */

    int loss;
    double *loss_parameters, *class_weights;
    double smoothing;
    int smooths;              /* the loss is given targets made of those that come */
    int labels;               /* targets are class numbers */
    int weighs_rows;          /* class weights are weights of rows */
    int reduction_sum;
    size_t terms_a_row;       /* 1 where the loss is a mean over rows, else the number of outputs */
    size_t target_item;       /* bytes in one target: a label or a real */
    size_t target_width;      /* targets in a row */
    struct fbp_optimizer optimizer;
    int penalizes;
    double clip_norm, clip_value, average_decay;

    unsigned char *memory, *workspace; /* as allocated; its first aligned byte */
    size_t workspace_bytes;
    size_t loss_gradient;     /* offset of (block, outputs): used when the net's last activation has a derivative */
    size_t row_gradient;      /* of one row at a norm: gamma and beta, the widest */
    size_t targets, smooth_targets, row_weights, row_loss, norms, penalties;

    size_t kept_rows;         /* of fbp_plan_outputs */
    int kept_training;

    /* written by part 0, read by all after a barrier */
    double block_loss;
    int pause;
};

/* What one call works on. Every part has its own copy. */
struct run {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    int part, parts;

    int training;                     /* rather than prediction */
    int moves_statistics;             /* running statistics follow */
    int keeps;                        /* what a backward pass in another call will need stays */
    uint64_t draw;                    /* of dropout */
    const int64_t *order;
    size_t rows;                      /* of the block */
    size_t first_row;                 /* of the block, in its update's rows */
    const void *x; size_t x_row;      /* value 0: in the workspace, or where the caller has it */
    const void *target; size_t target_row; /* in units of target_item */
    double *weights;                  /* of the rows, or NULL; after the loss, times its scale */
};

static inline void *at(const struct fbp_plan *plan, size_t offset) { return plan->workspace + offset; }

static inline const void *reals(const struct fbp_plan *plan, const void *base, size_t n) {
    return (const unsigned char *)base + n * plan->kernels->item;
}

static inline void barrier(const struct run *run) {
    if (run->parts > 1) fbp_pool_barrier(run->part, run->parts);
}

/* This part's share of `n` things, in multiples of `grain`. */
static inline void share(const struct run *run, size_t n, size_t grain, size_t *first, size_t *end) {
    const size_t grains = (n + grain - 1) / grain;
    *first = grains * run->part / run->parts * grain;
    *end = grains * (run->part + 1) / run->parts * grain;
    if (*end > n) *end = n;
    if (*first > n) *first = n;
}

/* pass.c */

/* Takes rows [start, start + run->rows) of the data, in the run's order, into the workspace where they must be moved. */
void fbp_pass_gather(struct run *run, const struct fbp_data *data, size_t start);
/* With `y` (rows, outputs) the outputs go there. */
void fbp_pass_forward(const struct run *run, void *y);
/* The loss of each row into row_loss, times its weight and scale where rows have weights; and the gradient at the last z, times
 * scale, in place of the output. */
void fbp_pass_loss(const struct run *run, double scale);
/* From dy (rows, outputs), the gradient at the output, to that at the last z in its place. */
void fbp_pass_incoming(const struct run *run, const void *dy);
/* Gradients of the block, from that at the last z in place of the output; added to what `gradient` holds when `accumulate`.
 * dx (rows, I) may be NULL. With `squares` (rows,) no gradient is made, and what each row's would add to the square of
 * its norm is added there. */
void fbp_pass_backward(const struct run *run, void *gradient, int accumulate, void *dx, double *squares);
double fbp_pass_loss_sum(const struct run *run); /* of the block; after a barrier */

#endif
