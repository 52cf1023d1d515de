/* update.c: from the gradient to the parameters: penalties, norm, clipping, optimiser, moving average, running statistics.
 *
 * The norm also shows whether the gradient is finite, before anything is changed. A sum over the gradient is a sum of sums over
 * fixed chunks, added in order: its bits do not depend on the number of parts.
 */
#include "plan.h"

#include <math.h>
#include <string.h>

enum {
    UPDATE_GRAIN = 64,  /* shares of the update start at multiples of this many reals */
    UPDATE_PIECE = 4096 /* reals updated at once where several loops go over them: they stay in the first-level cache */
};

double fbp_update_square(const struct run *run, int penalties, double *penalty) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    double *squares = at(plan, plan->norms), *losses = at(plan, plan->penalties);
    size_t first, end;
    share(run, plan->n_chunks, 1, &first, &end);
    for (size_t c = first; c < end; c++) {
        const struct chunk *chunk = &plan->chunks[c];
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

/* This part's share is one of the whole flat vector, so that it does not depend on which layers are trained. */
static void update(const struct run *run, double rate, uint64_t t, double squared_norm) {
    const struct fbp_plan *plan = run->plan;
    /* The 1e-6 is that of torch.nn.utils.clip_grad_norm_. */
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

/* A sum of squares may overflow although every element is finite. */
static int status_of(const struct run *run, double loss, double squared_norm) {
    const struct fbp_plan *plan = run->plan;
    if (!isfinite(loss)) return FBP_LOSS_NOT_FINITE;
    for (size_t c = 0; c < plan->n_chunks && !isfinite(squared_norm); c++)
        if (!plan->kernels->all_finite(reals(plan, run->vectors->gradient, plan->chunks[c].start), plan->chunks[c].size))
            return FBP_GRADIENT_NOT_FINITE;
    return FBP_OK;
}

int fbp_update_finish(const struct run *run, struct fbp_epoch *e, double loss, int penalties) {
    struct fbp_plan *plan = run->plan;
    double penalty;
    const double squared_norm = fbp_update_square(run, penalties, &penalty);
    loss += penalty;
    const int status = status_of(run, loss, squared_norm);
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
