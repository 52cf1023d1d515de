/* plan.h: the representation of a plan, for plan.c (makes it), pass.c (a block of rows forward and backward), update.c (from the
 * gradient to the parameters), epoch.c (all minibatches of an epoch) and calls.c (single calls), and overflow.c. No other file includes it.
 */
#ifndef FBP_PLAN_H
#define FBP_PLAN_H

#include "fbp.h"

enum { ALIGNMENT = 64 };

/* A matrix of at most `block` rows: the net's input, or the output of a step. Its gradient overwrites it: once dW = x^T dz is
 * computed, x itself is needed for nothing but the derivative of the activation that produced it. */
struct value {
    size_t width, row; /* columns; reals from one row to the next */
    size_t offset;     /* in the workspace, bytes */
    int activation;
    double alpha; /* the activation that produced this value: the step that computes this value's gradient
                                     multiplies by its derivative, so that the gradient at the pre-activation is stored */
    size_t skip;  /* the value whose memory holds a gradient that reaches this value through a skip connection and
                                     waits to be added; 0: none */
    int learns;   /* a step before it is trained, so its gradient is needed */
};

/* A step is of a layer's kind. FBP_RESIDUAL_BEGIN makes no step. */
struct step {
    int kind;
    size_t in, out;      /* values */
    size_t skip;         /* RESIDUAL_END: out = in + skip */
    size_t earlier_skip; /* RESIDUAL_END, PROJECTION: the value whose memory holds an earlier gradient that waits for the same
                            value as this step's, and is added to it; 0: none */
    size_t waiting;      /* PROJECTION: the value whose memory receives the gradient at the block's input */
    size_t incoming;     /* PROJECTION: the value whose gradient is that of this step's output: the output of the block's end */
    int in_place;        /* in and out are the same memory */
    int frozen;
    int activation;
    double alpha;      /* ACTIVATION */
    size_t W, b;       /* offsets in the flat vector, reals: of W and b, or of gamma and beta */
    int has_bias;      /* b exists, or gamma and beta do */
    size_t statistics; /* BATCH_NORM: offset in the vector of running statistics, reals */
    double momentum;
    size_t pending;         /* BATCH_NORM: offset of the running statistics (2 N) that take effect with the next update */
    size_t kept;            /* dense: offset of x (I,), then dz (O,), of an update of one row: see update.c */
    size_t saved;           /* offset of the data that forward saves for backward: DROPOUT the mask, SOFTMAX the output, norms the
                            statistics */
    struct fbp_dense dense; /* the kernel arguments that are fixed when the plan is created */
    struct fbp_norm norm;
    struct fbp_dropout dropout;
};

/* A piece of the gradient whose squares are summed in one go. The pieces do not depend on the number of threads. */
struct chunk {
    size_t start, size;
    size_t penalized; /* number of reals, from the first on, that have a penalty */
    double l1, l2;
    size_t step;  /* whose parameters these are */
    size_t layer; /* index among the layers that have parameters */
};

struct range {
    size_t start, end;
};

struct fbp_plan {
    const struct fbp_kernels *kernels;
    struct step *steps;
    size_t n_steps;
    struct value *values;
    size_t n_values;
    struct chunk *chunks;
    size_t n_chunks;
    struct range *trained;
    size_t n_trained; /* ranges of the flat vector that are not frozen; adjacent ones are joined */
    size_t inputs, outputs, parameters, statistics, learned;
    size_t block; /* rows in a block */
    int threads, trains, whole;
    int input_moves;            /* value 0 must be copied into the workspace: a step reads it there, or writes its gradient there */
    int input_in_place;         /* its gradient is written there */
    double multiply_adds_a_row; /* of a training step */

    struct fbp_weighted_loss loss;
    struct fbp_optimizer optimizer;
    int penalizes;
    int outer_updates; /* an update of one row keeps x and dz in place of dW and db: see update.c */
    double clip_norm, clip_value, average_decay;

    unsigned char *memory, *workspace; /* the allocation; the first aligned byte in it */
    size_t workspace_bytes;
    size_t loss_gradient; /* offset of (block, outputs): used when the last activation of the net has a derivative */
    size_t row_gradient;  /* offset of the gradient of gamma and beta for one row, for the widest norm */
    size_t targets, smooth_targets, row_weights, row_loss, norms, penalties; /* offsets */

    struct fbp_watch watch;

    size_t kept_rows; /* of the last fbp_plan_outputs */
    int kept_training;

    /* written by part 0, read by all parts after a barrier */
    double block_loss;
    int pause;

    double looked;   /* when part 0 last called `look` of the watch */
    int stop_wanted; /* by `look`: kernels need not run, but all parts go on to the next place where they can stop together */
    int stop_place;  /* that place: see fbp_pass_stops */

    unsigned char *copies; /* of the vectors, while an update is made that may have to be undone; NULL before the first */
    int overflows;         /* such an update has made an element inf or nan */
};

/* The state of a part during a call. */
struct run {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    int part, parts;

    int training;         /* otherwise prediction */
    int one_row;          /* the update has a single row, and dense layers keep x and dz in place of dW and db: see update.c */
    int moves_statistics; /* running statistics follow the minibatch's */
    int keeps;            /* values stay in the workspace for a backward pass in another call */
    int watched;          /* the call takes long: part 0 looks now and then, and all parts may stop */
    uint64_t draw;        /* of dropout */
    const int64_t *order;
    size_t rows;      /* of the block */
    size_t first_row; /* of the block, within the rows of its update */
    const void *x;
    size_t x_row; /* value 0: in the workspace, or the caller's array */
    const void *target;
    size_t target_row; /* in units of loss.target_item */
    double *weights;   /* of the rows, or NULL; after the loss, multiplied by its scale */
};

/* One call of fbp.h, shared by its parts. Fields that a call does not need are 0. */
struct call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    const struct fbp_data *data;
    struct fbp_epoch *epoch;
    int training, own, accumulate, wants_loss, wants_gradient, watched;
    uint64_t draw;
    size_t first_row;
    const void *dy;
    void *y, *dx;             /* outputs, or NULL */
    double *losses, *squares; /* of each example */
    double loss;              /* in: of the minibatch that is updated with; out: the sum of the row losses */
    double mass, penalty;     /* out */
    int status;               /* out */
};

static inline void *at(const struct fbp_plan *plan, size_t offset) { return plan->workspace + offset; }

static inline const void *reals(const struct fbp_plan *plan, const void *base, size_t n) {
    return (const unsigned char *)base + n * plan->kernels->item;
}

static inline int is_dense(const struct step *step) { return step->kind == FBP_DENSE || step->kind == FBP_PROJECTION; }

/* Of an update of one row: x (I,) and dz (O,) of a dense layer. */
static inline unsigned char *kept_x(const struct fbp_plan *plan, const struct step *step) { return at(plan, step->kept); }
static inline unsigned char *kept_dz(const struct fbp_plan *plan, const struct step *step) {
    return kept_x(plan, step) + plan->values[step->in].row * plan->kernels->item;
}

static inline void barrier(const struct run *run) {
    if (run->parts > 1) fbp_pool_barrier(run->part, run->parts);
}

/* This part's share of `n` elements, in multiples of `grain`. */
static inline void share(const struct run *run, size_t n, size_t grain, size_t *first, size_t *end) {
    const size_t grains = (n + grain - 1) / grain;
    *first = grains * run->part / run->parts * grain;
    *end = grains * (run->part + 1) / run->parts * grain;
    if (*end > n) *end = n;
    if (*first > n) *first = n;
}

/* Runs fn on as many threads as pay for minibatches of this many rows. */
static inline int run_call(struct call *call, size_t rows, fbp_part_fn *fn) {
    fbp_pool_run(fbp_plan_threads(call->plan, rows), fn, call);
    return call->status;
}

static inline struct run run_of(const struct call *call, int part, int parts) {
    return (struct run){.plan = call->plan,
                        .vectors = call->vectors,
                        .part = part,
                        .parts = parts,
                        .training = call->training,
                        .watched = call->watched,
                        .draw = call->draw,
                        .first_row = call->first_row};
}

/* Places where all parts may stop, besides the numbers of steps. */
enum { NOWHERE = -1, BLOCK_END = -2 };

double fbp_now(void); /* seconds of a clock that does not jump */

/* Before a call of so many rows between two returns to the caller: decides whether it is watched. */
static inline void watch_call(struct call *call, size_t rows) {
    struct fbp_plan *plan = call->plan;
    const double SHORT = 6.7e7; /* multiply-adds: some milliseconds */
    call->watched = plan->watch.look && (double)rows * plan->multiply_adds_a_row > SHORT;
    plan->stop_wanted = 0, plan->stop_place = NOWHERE;
    if (call->watched) plan->looked = fbp_now();
}

/* pass.c */

/* A place is a number that differs from those of the neighbouring places, at which all parts meet in a barrier: part 0 looks
 * before it, and all parts ask after it whether they stop there. So all stop at the same one. */
void fbp_pass_look_around(const struct run *run, int place);
static inline void fbp_pass_look(const struct run *run, int place) {
    if (run->watched && run->part == 0) fbp_pass_look_around(run, place);
}
static inline int fbp_pass_stops(const struct run *run, int place) { return run->watched && run->plan->stop_place == place; }

/* Takes rows [start, start + run->rows) of the data, in the run's order: copies them into the workspace where they cannot be read
 * in place. */
void fbp_pass_gather(struct run *run, const struct fbp_data *data, size_t start);
/* The outputs are also written to y (rows, outputs), unless NULL. Returns 0 when all parts stop. */
int fbp_pass_forward(const struct run *run, void *y);
/* Writes row_loss, the loss of each row, multiplied by its weight and by scale where rows have weights; and replaces the output by
 * the gradient at the last pre-activation, multiplied by scale. */
void fbp_pass_loss(const struct run *run, double scale);
/* Replaces the output by the gradient at the last pre-activation, from dy (rows, outputs), the gradient at the output. */
void fbp_pass_incoming(const struct run *run, const void *dy);
/* The gradients of the block, from the gradient at the last pre-activation, which has replaced the output. They are added to
 * `gradient` when `accumulate` is set. dx (rows, I) may be NULL. With `squares` (rows,) no gradient is written; the square that
 * each row's gradient would add to its norm is added there. Returns 0 when all parts stop. */
int fbp_pass_backward(const struct run *run, void *gradient, int accumulate, void *dx, double *squares);
double fbp_pass_loss_sum(const struct run *run); /* of the block; after a barrier */

/* update.c */

/* |gradient|^2, chunk by chunk. With `penalties` their gradient is added first, and their loss goes to *penalty. All parts return
 * the same. */
double fbp_update_square(const struct run *run, int penalties, double *penalty);
/* Penalties, norm, clipping, optimiser, moving average, running statistics and counters. `loss` is that of the data. Changes
 * nothing, and returns the reason, when the loss or the gradient is not finite. */
int fbp_update_finish(const struct run *run, struct fbp_epoch *epoch, double loss, int penalties);

/* overflow.c; all parts return the same */

/* Whether an update with a gradient of this norm leaves all vectors finite for certain; if so, the epoch's bounds follow. */
int fbp_overflow_is_impossible(const struct run *run, struct fbp_epoch *epoch, double squared_norm);
/* Otherwise: keep comes before the update; undo after it, which goes back where an element is not finite. */
int fbp_overflow_keep(const struct run *run);
int fbp_overflow_undo(const struct run *run, struct fbp_epoch *epoch);

#endif
