/* epoch.c: minibatches, updates and epochs: the calls of a plan.
 *
 * A call runs one function on all parts. Each part keeps its own copy of the counters and advances it alike; part 0's is handed
 * back. Between the gradient and the update lie the penalties, the norm, which also shows whether the gradient is finite,
 * and the clipping. A sum over the gradient is one of sums over fixed chunks, added in order: the same for any number of
 * parts.
 */
#define _DEFAULT_SOURCE /* clock_gettime */
#include "plan.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum {
    UPDATE_GRAIN = 64,  /* parts of the update start at multiples of so many reals */
    UPDATE_PIECE = 4096 /* reals updated at once where more than one thing is done to them */
};
static const double FLOPS_A_LOOK = 4e7; /* work between two looks at the clock, for each second of a time slice: about a
                                           thousandth of it. A look takes as long as a tiny net's layer. */

/* Threads meet several times in each block of rows, so it is a block's work that must pay for them. */
static void run_parts(struct fbp_plan *plan, size_t rows, fbp_part_fn *fn, void *context) {
    fbp_pool_run(fbp_plan_threads(plan, rows), fn, context);
}

/* The weights of rows [start, start + rows) of the data, added up. */
static double mass_of(const struct run *run, const struct fbp_data *data, size_t start, size_t rows) {
    const struct fbp_plan *plan = run->plan;
    const double *of_class = plan->labels ? plan->class_weights : NULL;
    if (!data->weights && !of_class) return (double)rows;
    double mass = 0;
    for (size_t r = start; r < start + rows; r++) {
        const size_t row = run->order ? (size_t)run->order[r] : r;
        mass += (data->weights ? data->weights[row] : 1) * (of_class ? of_class[((const int64_t *)data->target)[row]] : 1);
    }
    return mass;
}

/* What the summed loss of rows of that mass is multiplied by. Where all weigh nothing there is no loss. */
static double loss_scale(const struct fbp_plan *plan, double mass) {
    if (plan->reduction_sum) return 1;
    return mass > 0 ? 1 / (mass * (double)plan->terms_a_row) : 0;
}

/* What the sum of a minibatch's row losses is multiplied by: where rows have weights, it is in them already. */
static double sum_scale(const struct fbp_plan *plan, const struct fbp_data *data, double mass) {
    return data->weights || plan->weighs_rows ? 1 : loss_scale(plan, mass);
}

/* Penalties join the gradient; |gradient|^2 chunk by chunk, and the penalties' sum. All parts return the same. */
static double add_penalties_and_square(const struct run *run, int penalties, double *penalty) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    double *squares = at(plan, plan->norms), *losses = at(plan, plan->penalties);
    size_t first, end;
    share(run, plan->n_chunks, 1, &first, &end);
    for (size_t c = first; c < end; c++) {
        const struct chunk *chunk = &plan->chunks[c];
        void *g = (void *)reals(plan, run->vectors->gradient, chunk->start);
        losses[c] = penalties && chunk->penalized
            ? k->penalty(reals(plan, run->vectors->parameters, chunk->start), g, chunk->l1, chunk->l2, chunk->penalized) : 0;
        squares[c] = k->sum_squares(g, chunk->size);
    }
    barrier(run);
    double sum = 0;
    *penalty = 0;
    for (size_t c = 0; c < plan->n_chunks; c++) sum += squares[c], *penalty += losses[c];
    return sum;
}

/* ---------------------------------------------------------------------------------------------------- update */

static void average_piece(const struct run *run, size_t start, size_t size, uint64_t t) {
    const struct fbp_plan *plan = run->plan;
    void *average = (void *)reals(plan, run->vectors->average, start);
    const void *w = reals(plan, run->vectors->parameters, start);
    if (t == 1) memcpy(average, w, size * plan->kernels->item);
    else plan->kernels->average(average, w, plan->average_decay, size);
}

static void update_piece(const struct run *run, size_t start, size_t size, double rate, uint64_t t, double factor) {
    const struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct fbp_vectors *v = run->vectors;
    void *w = (void *)reals(plan, v->parameters, start), *g = (void *)reals(plan, v->gradient, start);
    void *moments[3] = {NULL, NULL, NULL};
    for (int m = 0; m < 3; m++)
        if (v->moments[m]) moments[m] = (void *)reals(plan, v->moments[m], start);
    if (plan->clip_value > 0) k->clip(g, plan->clip_value, size);
    if (factor < 1) k->scale(g, factor, size);
    k->optimizer[plan->optimizer.kind](&plan->optimizer, w, g, moments, t, rate, size);
    if (v->average) average_piece(run, start, size, t);
}

/* This part's share of the parameters that are trained; of the whole vector, so that it does not depend on which are. */
static void update(const struct run *run, double rate, uint64_t t, double squared_norm) {
    const struct fbp_plan *plan = run->plan;
    /* The limit over the norm and a little, as torch.nn.utils.clip_grad_norm_ has it. */
    const double factor = plan->clip_norm > 0 ? plan->clip_norm / (sqrt(squared_norm) + 1e-6) : 1;
    const size_t piece = plan->clip_value > 0 || factor < 1 || run->vectors->average ? UPDATE_PIECE : plan->parameters;
    size_t first, end;
    share(run, plan->parameters, UPDATE_GRAIN, &first, &end);
    for (size_t i = 0; i < plan->n_trained; i++) {
        size_t from = plan->trained[i].start < first ? first : plan->trained[i].start;
        const size_t to = plan->trained[i].end < end ? plan->trained[i].end : end;
        for (; from < to; from += piece) update_piece(run, from, to - from < piece ? to - from : piece, rate, t, factor);
    }
}

/* Frozen parameters have an average, too, which may be on its way to them still. This part's share of them. */
static void average_frozen(const struct run *run, uint64_t t) {
    const struct fbp_plan *plan = run->plan;
    size_t first, end;
    share(run, plan->parameters, UPDATE_GRAIN, &first, &end);
    size_t from = first;
    for (size_t i = 0; i <= plan->n_trained; i++) {
        const size_t next = i < plan->n_trained ? plan->trained[i].start : plan->parameters, to = next < end ? next : end;
        if (from < to) average_piece(run, from, to - from, t);
        if (i < plan->n_trained && from < plan->trained[i].end) from = plan->trained[i].end;
    }
}

static void take_statistics(const struct run *run) {
    const struct fbp_plan *plan = run->plan;
    for (size_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        if (step->kind == FBP_BATCH_NORM && !step->frozen)
            memcpy((void *)reals(plan, run->vectors->statistics, step->statistics), at(plan, step->pending),
                   2 * step->norm.N * plan->kernels->item);
    }
}

/* From the gradient to the update, and the counters. `loss` is the data's. Nothing is changed when it or the gradient is not
 * finite. */
static int finish_update(const struct run *run, struct fbp_epoch *e, double loss, int penalties) {
    struct fbp_plan *plan = run->plan;
    double penalty;
    const double squared_norm = add_penalties_and_square(run, penalties, &penalty);
    loss += penalty;
    int status = FBP_OK;
    if (!isfinite(loss)) status = FBP_LOSS_NOT_FINITE;
    /* a sum of squares may overflow where no gradient does */
    else if (!isfinite(squared_norm)) {
        for (size_t c = 0; c < plan->n_chunks && status == FBP_OK; c++)
            if (!plan->kernels->all_finite(reals(plan, run->vectors->gradient, plan->chunks[c].start), plan->chunks[c].size))
                status = FBP_GRADIENT_NOT_FINITE;
    }
    if (status != FBP_OK) {
        e->failed_loss = loss;
        return status;
    }
    update(run, e->learning_rates[e->step], e->t + 1, squared_norm);
    if (run->vectors->average) average_frozen(run, e->t + 1);
    if (run->part == 0) {
        const double *squares = at(plan, plan->norms);
        if (e->layer_squares)
            for (size_t c = 0; c < plan->n_chunks; c++) e->layer_squares[plan->chunks[c].layer] += squares[c];
        if (run->moves_statistics && plan->statistics) take_statistics(run);
    }
    e->last_loss = loss;
    e->loss_sum += loss * e->mass;
    e->mass_sum += e->mass;
    e->squared_norm_sum += squared_norm;
    e->t++, e->step++;
    e->block_start = 0, e->batch_sum = 0;
    barrier(run);
    return FBP_OK;
}

/* ---------------------------------------------------------------------------------------------------- an epoch */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct epoch_call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    struct fbp_epoch *epoch;
    double loss;
    int own, status;
};

/* Rows of the update to take next, when `done` of its `rows` are. */
static size_t rows_of_block(const struct fbp_plan *plan, size_t batch, size_t done, size_t rows) {
    const size_t left = plan->whole && batch - done % batch < rows - done ? batch - done % batch : rows - done;
    return left < plan->block ? left : plan->block;
}

static void run_epoch(void *context, int part, int parts) {
    struct epoch_call *call = context;
    struct fbp_plan *plan = call->plan;
    struct fbp_epoch e = *call->epoch;
    struct run run = {
        .plan = plan, .vectors = call->vectors, .part = part, .parts = parts,
        .training = 1, .moves_statistics = 1, .order = e.order,
    };
    const size_t rows_of_data = e.data.rows, most = e.batch * e.accumulate;
    const double deadline = part == 0 ? now() + e.seconds : 0;
    const double slice = e.seconds < 1 ? e.seconds : 1;
    const size_t blocks_a_look = 1 + (size_t)(FLOPS_A_LOOK * slice / (plan->flops_a_row * (double)plan->block));
    size_t blocks = 0;
    int status = FBP_OK;
    if (part == 0) plan->pause = 0;
    barrier(&run); /* all have copied the counters */
    while (e.step * most < rows_of_data) {
        const size_t start = e.step * most;
        const size_t rows = rows_of_data - start < most ? rows_of_data - start : most;
        if (e.block_start == 0) e.mass = mass_of(&run, &e.data, start, rows);
        run.rows = rows_of_block(plan, e.batch, e.block_start, rows);
        run.first_row = e.block_start, run.draw = e.t;
        fbp_pass_gather(&run, &e.data, start + e.block_start);
        barrier(&run);
        fbp_pass_forward(&run, NULL);
        fbp_pass_loss(&run, loss_scale(plan, e.mass));
        if (part == 0) plan->block_loss = fbp_pass_loss_sum(&run);
        fbp_pass_backward(&run, call->vectors->gradient, e.block_start > 0, NULL, NULL);
        e.block_start += run.rows;
        if (part == 0 && ++blocks % blocks_a_look == 0) plan->pause = now() > deadline;
        barrier(&run);
        e.batch_sum += plan->block_loss;
        int pause = plan->pause;
        if (e.block_start == rows) {
            status = finish_update(&run, &e, e.batch_sum * sum_scale(plan, &e.data, e.mass), plan->penalizes);
            if (status != FBP_OK) break;
            pause |= e.step == e.pause_step;
        }
        if (pause && e.step * most < rows_of_data) {
            status = FBP_PAUSED;
            break;
        }
    }
    if (part == 0) *call->epoch = e, call->status = status;
}

int fbp_plan_epoch(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch) {
    struct epoch_call call = {.plan = plan, .vectors = vectors, .epoch = epoch, .status = FBP_OK};
    const size_t most = epoch->batch * epoch->accumulate;
    run_parts(plan, most < epoch->data.rows ? most : epoch->data.rows, run_epoch, &call);
    return call.status;
}

static void run_update(void *context, int part, int parts) {
    struct epoch_call *call = context;
    struct fbp_epoch e = *call->epoch;
    struct run run = {.plan = call->plan, .vectors = call->vectors, .part = part, .parts = parts, .moves_statistics = call->own};
    barrier(&run);
    const int status = finish_update(&run, &e, call->loss, call->own);
    if (part == 0) *call->epoch = e, call->status = status;
}

int fbp_plan_update(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch, double loss, int own) {
    struct epoch_call call = {.plan = plan, .vectors = vectors, .epoch = epoch, .loss = loss, .own = own, .status = FBP_OK};
    run_parts(plan, plan->block, run_update, &call);
    return call.status;
}

/* ---------------------------------------------------------------------- forward, loss, gradient: whole calls */

struct call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    const struct fbp_data *data;
    void *y, *dx;
    int training, wants_loss, wants_gradient;
    uint64_t draw;
    double mass, loss_sum, penalty;
};

static void run_call(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_plan *plan = call->plan;
    const struct fbp_data *data = call->data;
    struct run run = {
        .plan = plan, .vectors = call->vectors, .part = part, .parts = parts, .training = call->training, .draw = call->draw,
    };
    const double mass = call->wants_loss ? mass_of(&run, data, 0, data->rows) : 0;
    double sum = 0, penalty = 0;
    for (size_t start = 0; start < data->rows; start += run.rows) {
        run.rows = data->rows - start < plan->block ? data->rows - start : plan->block;
        run.first_row = start;
        fbp_pass_gather(&run, data, start);
        barrier(&run);
        fbp_pass_forward(&run, call->y ? (void *)reals(plan, call->y, start * plan->outputs) : NULL);
        if (!call->wants_loss) continue;
        fbp_pass_loss(&run, call->wants_gradient ? loss_scale(plan, mass) : 1);
        if (part == 0) sum += fbp_pass_loss_sum(&run);
        if (call->wants_gradient)
            fbp_pass_backward(&run, call->vectors->gradient, start > 0,
                              call->dx ? (void *)reals(plan, call->dx, start * plan->inputs) : NULL, NULL);
        barrier(&run); /* part 0 has read the row losses, all have read the targets */
    }
    if (call->wants_gradient && plan->penalizes) add_penalties_and_square(&run, 1, &penalty);
    if (part == 0) call->loss_sum = sum, call->mass = mass, call->penalty = penalty;
}

int fbp_plan_forward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_rows *x, size_t rows,
                     void *y) {
    const struct fbp_data data = {.x = *x, .rows = rows};
    struct call call = {.plan = plan, .vectors = vectors, .data = &data, .y = y};
    run_parts(plan, rows / 3, run_call, &call);
    return FBP_OK;
}

int fbp_plan_loss(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, double *loss_sum,
                  double *mass) {
    struct call call = {.plan = plan, .vectors = vectors, .data = data, .wants_loss = 1};
    run_parts(plan, data->rows / 3, run_call, &call);
    *loss_sum = call.loss_sum;
    *mass = plan->reduction_sum ? 1 : call.mass * (double)plan->terms_a_row;
    return FBP_OK;
}

int fbp_plan_gradient(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, int training,
                      uint64_t draw, double *loss, void *dx) {
    struct call call = {.plan = plan, .vectors = vectors, .data = data, .training = training, .draw = draw, .dx = dx,
                        .wants_loss = 1, .wants_gradient = 1};
    if (plan->whole && training && data->rows > plan->block) return FBP_TOO_MANY_ROWS;
    run_parts(plan, data->rows, run_call, &call);
    *loss = call.loss_sum * sum_scale(plan, data, call.mass) + call.penalty;
    return FBP_OK;
}

/* One example is too little work to share, so all run on the calling thread. */
int fbp_plan_example_gradients(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data,
                               double *losses, void *gradients) {
    struct run run = {.plan = plan, .vectors = vectors, .parts = 1, .rows = 1};
    for (size_t r = 0; r < data->rows; r++) {
        fbp_pass_gather(&run, data, r);
        fbp_pass_forward(&run, NULL);
        const double scale = loss_scale(plan, mass_of(&run, data, r, 1));
        fbp_pass_loss(&run, scale);
        losses[r] = fbp_pass_loss_sum(&run) * (run.weights ? 1 : scale);
        fbp_pass_backward(&run, (void *)reals(plan, gradients, r * plan->parameters), 0, NULL, NULL);
    }
    return FBP_OK;
}

struct norms_call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    const struct fbp_data *data;
    double *losses, *squares;
};

/* Every row's loss is scaled as that of a minibatch of one. Class weights, which are weights of rows, cancel there. */
static void run_norms(void *context, int part, int parts) {
    struct norms_call *call = context;
    struct fbp_plan *plan = call->plan;
    const struct fbp_data *data = call->data;
    struct run run = {.plan = plan, .vectors = call->vectors, .part = part, .parts = parts};
    const double *row_loss = at(plan, plan->row_loss);
    for (size_t start = 0; start < data->rows; start += run.rows) {
        run.rows = data->rows - start < plan->block ? data->rows - start : plan->block;
        fbp_pass_gather(&run, data, start);
        barrier(&run);
        fbp_pass_forward(&run, NULL);
        double *scales = at(plan, plan->row_weights);
        size_t first, end;
        share(&run, run.rows, 1, &first, &end);
        for (size_t r = first; r < end; r++) {
            const double weight = run.weights ? run.weights[r] : 1;
            scales[r] = weight * loss_scale(plan, mass_of(&run, data, start + r, 1));
        }
        run.weights = scales;
        fbp_pass_loss(&run, 1);
        for (size_t r = first; r < end; r++) call->losses[start + r] = row_loss[r], call->squares[start + r] = 0;
        barrier(&run);
        fbp_pass_backward(&run, NULL, 0, NULL, call->squares + start);
        barrier(&run);
    }
}

int fbp_plan_example_norms(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data,
                           double *losses, double *squares) {
    struct norms_call call = {plan, vectors, data, losses, squares};
    run_parts(plan, data->rows, run_norms, &call);
    return FBP_OK;
}

/* ---------------------------------------------------------------------------- a step in parts, for other losses */

struct outputs_call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    const struct fbp_data *data;
    size_t first_row;
    int training;
    uint64_t draw;
    void *y;
};

static void run_outputs(void *context, int part, int parts) {
    struct outputs_call *call = context;
    struct fbp_plan *plan = call->plan;
    struct run run = {
        .plan = plan, .vectors = call->vectors, .part = part, .parts = parts, .training = call->training,
        .moves_statistics = call->training, .keeps = 1, .draw = call->draw, .rows = call->data->rows,
        .first_row = call->first_row,
    };
    fbp_pass_gather(&run, call->data, 0);
    barrier(&run);
    fbp_pass_forward(&run, call->y);
}

int fbp_plan_outputs(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_rows *x, size_t rows,
                     size_t first_row, int training, uint64_t draw, void *y) {
    const struct fbp_data data = {.x = *x, .rows = rows};
    struct outputs_call call = {plan, vectors, &data, first_row, training, draw, y};
    if (rows > plan->block) return FBP_TOO_MANY_ROWS;
    run_parts(plan, rows, run_outputs, &call);
    plan->kept_rows = rows, plan->kept_training = training;
    return FBP_OK;
}

struct backward_call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    const void *dy;
    int accumulate;
    void *dx;
};

static void run_backward(void *context, int part, int parts) {
    struct backward_call *call = context;
    struct fbp_plan *plan = call->plan;
    struct run run = {
        .plan = plan, .vectors = call->vectors, .part = part, .parts = parts, .training = plan->kept_training,
        .rows = plan->kept_rows, .x = at(plan, plan->values[0].offset), .x_row = plan->values[0].row,
    };
    fbp_pass_incoming(&run, call->dy);
    fbp_pass_backward(&run, call->vectors->gradient, call->accumulate, call->dx, NULL);
}

int fbp_plan_backward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *dy, int accumulate, void *dx) {
    struct backward_call call = {plan, vectors, dy, accumulate, dx};
    run_parts(plan, plan->kept_rows, run_backward, &call);
    return FBP_OK;
}

double fbp_plan_penalties(struct fbp_plan *plan, const struct fbp_vectors *vectors) {
    const struct run run = {.plan = plan, .vectors = vectors, .parts = 1};
    double penalty = 0;
    if (plan->penalizes) add_penalties_and_square(&run, 1, &penalty);
    return penalty;
}
