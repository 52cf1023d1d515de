/* epoch.c: all minibatches of an epoch, in one call.
 *
 * Every part keeps its own copy of the epoch's counters and advances it alike. Part 0 hands its copy back.
 */
#define _DEFAULT_SOURCE /* clock_gettime */
#include "plan.h"

#include <math.h>
#include <time.h>

/* Multiply-adds between two readings of the clock, for each second of a time slice: about a thousandth of it. A reading takes as
 * long as a layer of a tiny net. */
static const double MULTIPLY_ADDS_A_READING = 2e7;

double fbp_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The number of rows of the next block, when `done` of the update's `rows` are done. */
static size_t rows_of_block(const struct fbp_plan *plan, size_t batch, size_t done, size_t rows) {
    const size_t left = plan->whole && batch - done % batch < rows - done ? batch - done % batch : rows - done;
    return left < plan->block ? left : plan->block;
}

static void run_epoch(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_plan *plan = call->plan;
    struct fbp_epoch e = *call->epoch;
    struct run run = run_of(call, part, parts);
    run.moves_statistics = 1, run.order = e.order;
    e.parameter_bound = 0; /* the caller may have changed them */
    const size_t rows_of_data = e.data.rows, most = e.batch * e.accumulate;
    const double deadline = part == 0 ? fbp_now() + e.seconds : 0;
    const double slice = e.seconds < 1 ? e.seconds : 1;
    const size_t blocks_a_reading =
        1 + (size_t)(MULTIPLY_ADDS_A_READING * slice / (plan->multiply_adds_a_row * (double)plan->block));
    const int *waiting = part == 0 && isfinite(e.seconds) ? plan->watch.waiting : NULL;
    size_t blocks = 0;
    int status = FBP_OK;
    if (part == 0) plan->pause = 0;
    barrier(&run); /* all parts have copied the counters */
    while (e.step * most < rows_of_data) {
        const size_t start = e.step * most;
        const size_t rows = rows_of_data - start < most ? rows_of_data - start : most;
        if (e.block_start == 0) e.mass = fbp_loss_mass(&plan->loss, e.data.weights, e.data.target, e.order, start, rows);
        run.rows = rows_of_block(plan, e.batch, e.block_start, rows);
        run.first_row = e.block_start, run.draw = e.t;
        run.one_row = rows == 1 && plan->outer_updates;
        fbp_pass_gather(&run, &e.data, start + e.block_start);
        barrier(&run);
        if (!fbp_pass_forward(&run, NULL)) goto stopped;
        fbp_pass_loss(&run, fbp_loss_scale(&plan->loss, e.mass));
        if (part == 0) plan->block_loss = fbp_pass_loss_sum(&run);
        if (!fbp_pass_backward(&run, call->vectors->gradient, e.block_start > 0, NULL, NULL)) goto stopped;
        e.block_start += run.rows;
        if (part == 0 && ++blocks % blocks_a_reading == 0) plan->pause = fbp_now() > deadline;
        if (waiting && __atomic_load_n(waiting, __ATOMIC_RELAXED)) plan->pause = 1;
        fbp_pass_look(&run, BLOCK_END);
        barrier(&run);
        if (fbp_pass_stops(&run, BLOCK_END)) goto stopped;
        e.batch_sum += plan->block_loss;
        int pause = plan->pause;
        if (e.block_start == rows) {
            const double loss = e.batch_sum * fbp_loss_sum_scale(&plan->loss, e.data.weights, e.mass);
            status = fbp_update_finish(&run, &e, loss, plan->penalizes);
            if (status != FBP_OK) break;
            pause |= e.step == e.pause_step;
        }
        if (pause && e.step * most < rows_of_data) {
            status = FBP_PAUSED;
            break;
        }
    }
    if (part == 0) *call->epoch = e, call->status = status;
    return;
stopped:
    if (part == 0) call->status = FBP_STOPPED;
}

void fbp_add_waiting(int *waiting, int by) { __atomic_fetch_add(waiting, by, __ATOMIC_RELAXED); }

int fbp_plan_epoch(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch) {
    struct call call = {.plan = plan, .vectors = vectors, .epoch = epoch, .training = 1};
    const size_t most = epoch->batch * epoch->accumulate;
    /* An epoch in time slices returns to the caller after any block. */
    watch_call(&call, isfinite(epoch->seconds) && most > plan->block ? plan->block : most);
    const int threads = fbp_plan_threads(plan, most < epoch->data.rows ? most : epoch->data.rows);
    fbp_pool_run(epoch->threads > 0 && epoch->threads < threads ? epoch->threads : threads, run_epoch, &call);
    return call.status;
}
