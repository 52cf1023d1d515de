/* overflow.c: parameters and the optimiser's state stay finite: an update that would make an element inf or nan is not made.
 *
 * Whether it might is decided before the update, from a few numbers: the norm of the gradient bounds every element of it, and
 * bounds on the moments follow from update to update. A parameter, however large, stays finite where its step is below half the
 * distance of the largest real from its neighbour. This costs an update nothing that can be measured, and nearly all pass. One
 * that does not is made with copies of all vectors at hand; they are copied back where the result is not finite. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double GROWTH = 1 + 0x1p-20; /* more than the rounding errors of a step add to a bound */
/* More than an element can be whose square is lost to underflow, where the norm is formed. */
static const double SMALL = 1;

enum { MOST_VECTORS = 5 };

/* The vectors that an update writes. Returns their number. */
static size_t vectors_of(const struct run *run, void *vectors[MOST_VECTORS]) {
    const struct fbp_vectors *v = run->vectors;
    size_t count = 0;
    vectors[count++] = v->parameters;
    for (int m = 0; m < 3; m++)
        if (v->moments[m]) vectors[count++] = v->moments[m];
    if (v->average) vectors[count++] = v->average;
    return count;
}

/* An upper bound on the magnitude of the elements; inf where their squares overflow. */
static double magnitude(const struct fbp_plan *plan, const void *x) {
    return sqrt(plan->kernels->sum_squares(x, plan->parameters)) * GROWTH + SMALL;
}

/* Whether the bound on the parameters matters: weight decay adds them to the gradient, and the average takes differences to them. */
static int needs_parameters(const struct run *run, double learning_rate) {
    const struct fbp_optimizer *o = &run->plan->optimizer;
    return run->vectors->average || (o->decoupled ? learning_rate * o->weight_decay > 1 : o->weight_decay > 0);
}

/* Measures the vectors. All parts do so: the bounds are each part's own, and this is rare. */
static void measure(const struct run *run, struct fbp_epoch *e) {
    const struct fbp_vectors *v = run->vectors;
    for (int m = 0; m < 3; m++) e->moment_bounds[m] = v->moments[m] ? magnitude(run->plan, v->moments[m]) : 0;
    e->parameter_bound = magnitude(run->plan, v->parameters);
    if (v->average) e->parameter_bound = fmax(e->parameter_bound, magnitude(run->plan, v->average));
    barrier(run); /* before any part changes them */
}

/* Whether no element can overflow. If so, the bounds become those after the update: each a formula of optimizer.h in bounds. */
static int is_safe(const struct run *run, struct fbp_epoch *e, double squared_norm) {
    const struct fbp_plan *plan = run->plan;
    const struct fbp_optimizer *o = &plan->optimizer;
    const int single = plan->kernels->item == 4;
    const double most = single ? 0x1p126 : 0x1p1022, longest_step = single ? 0x1p102 : 0x1p969;
    const double rate = e->learning_rates[e->step], decay = o->weight_decay * e->parameter_bound;
    const double *m = e->moment_bounds;
    double new[3] = {0, 0, 0}, g = sqrt(squared_norm), q, step;
    if (plan->clip_norm > 0 && g > plan->clip_norm) g = plan->clip_norm;
    g = g * GROWTH + SMALL;
    if (plan->clip_value > 0 && g > plan->clip_value) g = plan->clip_value * GROWTH;
    if (o->weight_decay > 0 && !o->decoupled) g += decay;
    switch (o->kind) {
    case FBP_SGD:
        q = new[0] = o->momentum *m[0] + g;
        if (o->nesterov) q = o->momentum * q + g;
        step = rate * q;
        break;
    case FBP_ADAM:
        new[0] = o->beta1 *m[0] + (1 - o->beta1) * g;
        new[1] = o->beta2 *m[1] + (1 - o->beta2) * g *g;
        q = new[0] / o->eps;
        step = rate / (1 - o->beta1) * q;
        if (o->decoupled && rate * o->weight_decay > 1) step += rate * decay;
        break;
    case FBP_RMSPROP:
        new[0] = o->beta2 *m[0] + (1 - o->beta2) * g *g;
        q = g / o->eps;
        new[1] = o->momentum *m[1] + q;
        new[2] = o->beta2 *m[2] + (1 - o->beta2) * g;
        step = rate * new[1];
        break;
    default: /* FBP_ADAGRAD */
        new[0] = m[0] + g *g;
        q = g / o->eps;
        step = rate * q;
    }
    /* Written so that a nan is not safe. Adam's rate grows by 1 / (1 - beta1) at most. */
    int safe = g < most && q < most && rate / (1 - o->beta1) < most && step < longest_step;
    safe = safe && (o->kind == FBP_SGD || o->eps > 1 / most); /* so that it is not 0 in the plan's reals */
    for (int k = 0; k < 3; k++) safe = safe && new[k] * GROWTH < most;
    if (needs_parameters(run, rate)) safe = safe && e->parameter_bound + step < most;
    if (!safe) return 0;
    for (int k = 0; k < 3; k++) e->moment_bounds[k] = new[k] * GROWTH;
    if (e->parameter_bound > 0) e->parameter_bound = (e->parameter_bound + step) * GROWTH;
    return 1;
}

int fbp_overflow_is_impossible(const struct run *run, struct fbp_epoch *e, double squared_norm) {
    if (e->parameter_bound == 0 && needs_parameters(run, e->learning_rates[e->step])) measure(run, e);
    if (is_safe(run, e, squared_norm)) return 1;
    measure(run, e);
    return is_safe(run, e, squared_norm);
}

int fbp_overflow_keep(const struct run *run) {
    struct fbp_plan *plan = run->plan;
    const size_t item = plan->kernels->item;
    void *vectors[MOST_VECTORS];
    const size_t count = vectors_of(run, vectors);
    size_t first, end;
    if (run->part == 0) {
        plan->overflows = 0;
        if (!plan->copies) plan->copies = malloc(count * plan->parameters * item);
    }
    barrier(run);
    if (!plan->copies) return FBP_NO_MEMORY;
    share(run, plan->parameters, ALIGNMENT, &first, &end);
    for (size_t i = 0; i < count; i++)
        memcpy(plan->copies + (i * plan->parameters + first) * item, reals(plan, vectors[i], first), (end - first) * item);
    barrier(run);
    return FBP_OK;
}

int fbp_overflow_undo(const struct run *run, struct fbp_epoch *e) {
    struct fbp_plan *plan = run->plan;
    const size_t item = plan->kernels->item;
    void *vectors[MOST_VECTORS];
    const size_t count = vectors_of(run, vectors);
    size_t first, end;
    share(run, plan->parameters, ALIGNMENT, &first, &end);
    barrier(run); /* the update is over */
    for (size_t i = 0; i < count; i++)
        if (!plan->kernels->all_finite(reals(plan, vectors[i], first), end - first))
            __atomic_store_n(&plan->overflows, 1, __ATOMIC_RELAXED);
    barrier(run);
    for (int m = 0; m < 3; m++) e->moment_bounds[m] = INFINITY; /* to be measured */
    e->parameter_bound = 0;
    if (!__atomic_load_n(&plan->overflows, __ATOMIC_RELAXED)) return FBP_OK;
    for (size_t i = 0; i < count; i++)
        memcpy((void *)reals(plan, vectors[i], first), plan->copies + (i * plan->parameters + first) * item, (end - first) * item);
    barrier(run);
    return FBP_UPDATE_NOT_FINITE;
}
