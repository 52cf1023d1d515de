/* update.c: from the gradient to the parameters: penalties, norm, clipping, optimiser, moving average, running statistics.
 *
 * The norm also shows whether the gradient is finite, before anything is changed. A sum over the gradient is a sum of sums over
 * fixed chunks, added in order: its bits do not depend on the number of parts.
 *
 * An update of one row needs no gradient in memory, except in small nets (see ONE_ROW_PARAMETERS in plan.c). That of a dense layer
 * is the outer product dW = x dz, whose norm is |x| |dz|: the backward pass keeps x and dz, and the optimiser multiplies them as it
 * reads W. So W is read by forward and backward, and read and written once by the update; dW would be written and read twice. Every
 * element of W gets the bits that it would get from dW in memory, except where the norm clips: its last bits may differ. */
#include "plan.h"

#include <math.h>
#include <string.h>

enum {
    UPDATE_GRAIN = 64,  /* shares of the update start at multiples of this many reals */
    UPDATE_PIECE = 4096 /* reals updated at once where several loops go over them: they stay in the first-level cache */
};

/* |x|^2 (|dz|^2 + 1 with a bias), all of it in the first chunk of the layer. */
static double outer_square(const struct fbp_plan *plan, const struct step *step, const struct chunk *chunk) {
    if (chunk->start != step->W) return 0;
    const size_t I = plan->values[step->in].width, O = plan->values[step->out].width;
    double x, dz;
    plan->kernels->row_squares(kept_x(plan, step), I, &x, 1, I);
    plan->kernels->row_squares(kept_dz(plan, step), O, &dz, 1, O);
    return (x + step->has_bias) * dz;
}

double fbp_update_square(const struct run *run, int penalties, double *penalty) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    double *squares = at(plan, plan->norms), *losses = at(plan, plan->penalties);
    size_t first, end;
    share(run, plan->n_chunks, 1, &first, &end);
    for (size_t c = first; c < end; c++) {
        const struct chunk *chunk = &plan->chunks[c];
        if (run->one_row && is_dense(&plan->steps[chunk->step])) {
            losses[c] = 0, squares[c] = outer_square(plan, &plan->steps[chunk->step], chunk);
            continue;
        }
        void *g = (void *)reals(plan, run->vectors->gradient, chunk->start);
        losses[c] = penalties && chunk->penalized
                      ? k->penalty(reals(plan, run->vectors->parameters, chunk->start), g, chunk->l1, chunk->l2, chunk->penalized)
                      : 0;
        squares[c] = k->sum_squares(g, chunk->size);
    }
    barrier(run);
    double sum = 0;
    *penalty = 0;
    for (size_t c = 0; c < plan->n_chunks; c++) sum += squares[c], *penalty += losses[c];
    return sum;
}

static void average_piece(const struct run *run, size_t start, size_t size, uint64_t t) {
    const struct fbp_plan *plan = run->plan;
    void *average = (void *)reals(plan, run->vectors->average, start);
    const void *w = reals(plan, run->vectors->parameters, start);
    if (t == 1) memcpy(average, w, size * plan->kernels->item);
    else plan->kernels->average(average, w, plan->average_decay, size);
}

/* What all pieces of an update share. */
struct update {
    double rate, factor; /* the learning rate; of the gradient, to clip its norm */
    uint64_t t;
};

/* `rows` times N parameters from `start` on, with the gradient g, or the products of x (rows,) and g (N,). Clipping changes g. */
static void update_rows(const struct run *run, const struct update *u, size_t start, void *g, const void *x, size_t rows,
                        size_t N) {
    const struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct fbp_vectors *v = run->vectors;
    void *w = (void *)reals(plan, v->parameters, start);
    void *moments[3] = {NULL, NULL, NULL};
    for (int m = 0; m < 3; m++)
        if (v->moments[m]) moments[m] = (void *)reals(plan, v->moments[m], start);
    if (plan->clip_value > 0) k->clip(g, plan->clip_value, N);
    if (u->factor < 1) k->scale(g, u->factor, N);
    k->optimizer[plan->optimizer.kind](&plan->optimizer, w, g, x, moments, u->t, u->rate, rows, N);
    if (v->average) average_piece(run, start, rows * N, u->t);
}

/* Whether several loops go over each piece, which then has to be short. */
static int has_more_loops(const struct run *run, const struct update *u) {
    return run->plan->clip_value > 0 || u->factor < 1 || run->vectors->average;
}

/* This part's share is one of the whole flat vector, so that it does not depend on which layers are trained. */
static void update(const struct run *run, const struct update *u) {
    const struct fbp_plan *plan = run->plan;
    const size_t piece = has_more_loops(run, u) ? UPDATE_PIECE : plan->parameters;
    size_t first, end;
    share(run, plan->parameters, UPDATE_GRAIN, &first, &end);
    for (size_t i = 0; i < plan->n_trained; i++) {
        size_t from = plan->trained[i].start < first ? first : plan->trained[i].start;
        const size_t to = plan->trained[i].end < end ? plan->trained[i].end : end;
        for (; from < to; from += piece)
            update_rows(run, u, from, (void *)reals(plan, run->vectors->gradient, from), NULL, 1,
                        to - from < piece ? to - from : piece);
    }
}

/* A part of the outer product x dz: rows [i, i + rows), columns [j, j + N), to g, rows N apart. */
static void outer_piece(const struct fbp_plan *plan, const struct step *step, size_t i, size_t rows, size_t j, size_t N, void *g) {
    const struct fbp_gemm product = {
        .M = rows,
        .N = N,
        .K = 1,
        .a = reals(plan, kept_x(plan, step), i),
        .a_row = 1,
        .a_col = 1,
        .b = reals(plan, kept_dz(plan, step), j),
        .b_row = N,
        .c = g,
        .c_row = N,
    };
    plan->kernels->gemm(&product, 0, 1);
}

/* This part's share of the rows of W, and of b, of a dense layer. */
static void update_dense(const struct run *run, const struct update *u, const struct step *step) {
    const struct fbp_plan *plan = run->plan;
    const size_t I = plan->values[step->in].width, O = plan->values[step->out].width, item = plan->kernels->item;
    enum { PIECE_BYTES = 8192, LONG_ROW = 16 };
    _Alignas(ALIGNMENT) unsigned char room[PIECE_BYTES];
    const size_t most = PIECE_BYTES / item, rows = O < most ? most / O : 1;
    size_t first, end;
    share(run, I, 1, &first, &end);
    if (O >= LONG_ROW && !has_more_loops(run, u)) {
        update_rows(run, u, step->W + first * O, kept_dz(plan, step), reals(plan, kept_x(plan, step), first), end - first, O);
    } else { /* as a matrix in the first-level cache */
        for (size_t i = first; i < end; i += rows) {
            const size_t M = end - i < rows ? end - i : rows;
            for (size_t j = 0; j < O; j += most) {
                const size_t N = O - j < most ? O - j : most;
                outer_piece(plan, step, i, M, j, N, room);
                update_rows(run, u, step->W + i * O + j, room, NULL, 1, M * N);
            }
        }
    }
    if (!step->has_bias) return;
    share(run, O, most, &first, &end);
    for (size_t j = first; j < end; j += most) { /* dz + 0, as a sum of one row */
        const size_t N = end - j < most ? end - j : most;
        memset(room, 0, N * item);
        plan->kernels->add(reals(plan, kept_dz(plan, step), j), room, room, N);
        update_rows(run, u, step->b + j, room, NULL, 1, N);
    }
}

static void update_one_row(const struct run *run, const struct update *u) {
    const struct fbp_plan *plan = run->plan;
    for (size_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        if (step->frozen) continue;
        if (is_dense(step)) update_dense(run, u, step);
        else if (step->has_bias && run->part == 0) /* gamma and beta */
            update_rows(run, u, step->W, (void *)reals(plan, run->vectors->gradient, step->W), NULL, 1, 2 * step->norm.N);
    }
}

/* The moving average of frozen parameters, which may have been trained before, still approaches them. */
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

/* The pending running statistics take effect. */
static void take_statistics(const struct run *run) {
    const struct fbp_plan *plan = run->plan;
    for (size_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        if (step->kind == FBP_BATCH_NORM && !step->frozen)
            memcpy((void *)reals(plan, run->vectors->statistics, step->statistics), at(plan, step->pending),
                   2 * step->norm.N * plan->kernels->item);
    }
}

static int statistics_are_finite(const struct fbp_plan *plan) {
    for (size_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        if (step->kind == FBP_BATCH_NORM && !step->frozen && !plan->kernels->all_finite(at(plan, step->pending), 2 * step->norm.N))
            return 0;
    }
    return 1;
}

/* Whether every element of x dz is finite. */
static int outer_is_finite(const struct fbp_plan *plan, const struct step *step) {
    const size_t I = plan->values[step->in].width, O = plan->values[step->out].width;
    enum { PIECE = 256 };
    double room[PIECE]; /* of reals of either size */
    for (size_t i = 0; i < I; i++)
        for (size_t j = 0; j < O; j += PIECE) {
            const size_t N = O - j < PIECE ? O - j : PIECE;
            outer_piece(plan, step, i, 1, j, N, room);
            if (!plan->kernels->all_finite(room, N)) return 0;
        }
    return plan->kernels->all_finite(kept_dz(plan, step), O);
}

static int chunk_is_finite(const struct run *run, const struct chunk *chunk) {
    const struct fbp_plan *plan = run->plan;
    const struct step *step = &plan->steps[chunk->step];
    if (run->one_row && is_dense(step)) return chunk->start != step->W || outer_is_finite(plan, step);
    return plan->kernels->all_finite(reals(plan, run->vectors->gradient, chunk->start), chunk->size);
}

/* A sum of squares may overflow although every element is finite. */
static int status_of(const struct run *run, double loss, double squared_norm) {
    const struct fbp_plan *plan = run->plan;
    if (!isfinite(loss)) return FBP_LOSS_NOT_FINITE;
    for (size_t c = 0; c < plan->n_chunks && !isfinite(squared_norm); c++)
        if (!chunk_is_finite(run, &plan->chunks[c])) return FBP_GRADIENT_NOT_FINITE;
    return !run->moves_statistics || !plan->statistics || statistics_are_finite(plan) ? FBP_OK : FBP_UPDATE_NOT_FINITE;
}

static int failed(struct fbp_epoch *e, int status, double loss) {
    e->failed_loss = loss;
    return status;
}

int fbp_update_finish(const struct run *run, struct fbp_epoch *e, double loss, int penalties) {
    struct fbp_plan *plan = run->plan;
    double penalty;
    const double squared_norm = fbp_update_square(run, penalties, &penalty);
    loss += penalty;
    int status = status_of(run, loss, squared_norm);
    if (status != FBP_OK) return failed(e, status, loss);
    const int may_overflow = !fbp_overflow_is_impossible(run, e, squared_norm);
    if (may_overflow && (status = fbp_overflow_keep(run)) != FBP_OK) return failed(e, status, loss);
    const struct update u = {
        .rate = e->learning_rates[e->step],
        .factor =
            plan->clip_norm > 0 ? plan->clip_norm / (sqrt(squared_norm) + 1e-6) : 1, /* 1e-6 as torch.nn.utils.clip_grad_norm_ */
        .t = e->t + 1,
    };
    if (run->one_row) update_one_row(run, &u);
    else update(run, &u);
    if (run->vectors->average) average_frozen(run, e->t + 1);
    if (may_overflow && (status = fbp_overflow_undo(run, e)) != FBP_OK) return failed(e, status, loss);
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
