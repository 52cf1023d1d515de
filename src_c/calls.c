/* calls.c: the calls of fbp.h for one array of rows: forward, loss, gradient, the gradients of single examples; and a step in parts,
 * for a loss that is computed by the caller.
 */
#include "plan.h"

/* The number of rows of the block that begins with row `start`. */
static size_t rows_of_block(const struct call *call, size_t start) {
    const size_t left = call->data->rows - start;
    return left < call->plan->block ? left : call->plan->block;
}

/* ---------------------------------------------------------------------------------------- forward, loss, gradient */

static void run_rows(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_plan *plan = call->plan;
    const struct fbp_data *data = call->data;
    struct run run = run_of(call, part, parts);
    const double mass = call->wants_loss ? fbp_loss_mass(&plan->loss, data->weights, data->target, NULL, 0, data->rows) : 0;
    double sum = 0, penalty = 0;
    for (size_t start = 0; start < data->rows; start += run.rows) {
        run.rows = rows_of_block(call, start), run.first_row = start;
        fbp_pass_gather(&run, data, start);
        barrier(&run);
        if (!fbp_pass_forward(&run, call->y ? (void *)reals(plan, call->y, start * plan->outputs) : NULL)) goto stopped;
        if (!call->wants_loss) continue;
        fbp_pass_loss(&run, call->wants_gradient ? fbp_loss_scale(&plan->loss, mass) : 1);
        if (part == 0) sum += fbp_pass_loss_sum(&run);
        if (call->wants_gradient
            && !fbp_pass_backward(&run, call->vectors->gradient, start > 0,
                                  call->dx ? (void *)reals(plan, call->dx, start * plan->inputs) : NULL, NULL))
            goto stopped;
        fbp_pass_look(&run, BLOCK_END);
        barrier(&run); /* part 0 has read the row losses, all parts have read the targets */
        if (fbp_pass_stops(&run, BLOCK_END)) goto stopped;
    }
    if (call->wants_gradient && plan->penalizes) fbp_update_square(&run, 1, &penalty);
    if (part == 0) call->loss = sum, call->mass = mass, call->penalty = penalty;
    return;
stopped:
    if (part == 0) call->status = FBP_STOPPED;
}

int fbp_plan_forward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_rows *x, size_t rows, void *y) {
    const struct fbp_data data = {.x = *x, .rows = rows};
    struct call call = {.plan = plan, .vectors = vectors, .data = &data, .y = y};
    return run_call(&call, rows / 3, run_rows); /* forward is a third of a training step's work */
}

int fbp_plan_loss(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, double *loss_sum,
                  double *mass) {
    struct call call = {.plan = plan, .vectors = vectors, .data = data, .wants_loss = 1};
    const int status = run_call(&call, data->rows / 3, run_rows);
    *loss_sum = call.loss;
    *mass = plan->loss.reduction_sum ? 1 : call.mass * (double)plan->loss.terms_a_row;
    return status;
}

int fbp_plan_gradient(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, int training,
                      uint64_t draw, double *loss, void *dx) {
    struct call call = {.plan = plan,
                        .vectors = vectors,
                        .data = data,
                        .training = training,
                        .draw = draw,
                        .dx = dx,
                        .wants_loss = 1,
                        .wants_gradient = 1};
    if (plan->whole && training && data->rows > plan->block) return FBP_TOO_MANY_ROWS;
    watch_call(&call, data->rows);
    const int status = run_call(&call, data->rows, run_rows);
    *loss = call.loss * fbp_loss_sum_scale(&plan->loss, data->weights, call.mass) + call.penalty;
    return status;
}

double fbp_plan_penalties(struct fbp_plan *plan, const struct fbp_vectors *vectors) {
    const struct run run = {.plan = plan, .vectors = vectors, .parts = 1};
    double penalty = 0;
    if (plan->penalizes) fbp_update_square(&run, 1, &penalty);
    return penalty;
}

/* -------------------------------------------------------------------------------------------------- single examples */

/* The scale of one row's loss as the loss of a minibatch of one. */
static double scale_of_row(const struct call *call, size_t row) {
    const struct fbp_weighted_loss *loss = &call->plan->loss;
    return fbp_loss_scale(loss, fbp_loss_mass(loss, call->data->weights, call->data->target, NULL, row, 1));
}

/* One example is too little work for several threads. */
int fbp_plan_example_gradients(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data,
                               double *losses, void *gradients) {
    const struct call call = {.plan = plan, .vectors = vectors, .data = data};
    struct run run = run_of(&call, 0, 1);
    run.rows = 1;
    for (size_t r = 0; r < data->rows; r++) {
        fbp_pass_gather(&run, data, r);
        fbp_pass_forward(&run, NULL);
        const double scale = scale_of_row(&call, r);
        fbp_pass_loss(&run, scale);
        losses[r] = fbp_pass_loss_sum(&run) * (run.weights ? 1 : scale);
        fbp_pass_backward(&run, (void *)reals(plan, gradients, r * plan->parameters), 0, NULL, NULL);
    }
    return FBP_OK;
}

/* The loss of every row is scaled as that of a minibatch of one: class weights that are weights of rows cancel. */
static void run_norms(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_plan *plan = call->plan;
    struct run run = run_of(call, part, parts);
    const double *row_loss = at(plan, plan->row_loss);
    for (size_t start = 0; start < call->data->rows; start += run.rows) {
        run.rows = rows_of_block(call, start);
        fbp_pass_gather(&run, call->data, start);
        barrier(&run);
        fbp_pass_forward(&run, NULL);
        double *scales = at(plan, plan->row_weights);
        size_t first, end;
        share(&run, run.rows, 1, &first, &end);
        for (size_t r = first; r < end; r++) scales[r] = (run.weights ? run.weights[r] : 1) * scale_of_row(call, start + r);
        run.weights = scales;
        fbp_pass_loss(&run, 1);
        for (size_t r = first; r < end; r++) call->losses[start + r] = row_loss[r], call->squares[start + r] = 0;
        barrier(&run);
        fbp_pass_backward(&run, NULL, 0, NULL, call->squares + start);
        barrier(&run);
    }
}

int fbp_plan_example_norms(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, double *losses,
                           double *squares) {
    struct call call = {.plan = plan, .vectors = vectors, .data = data, .losses = losses, .squares = squares};
    return run_call(&call, data->rows, run_norms);
}

/* ------------------------------------------------------------------------------------------------- a step in parts */

static void run_outputs(void *context, int part, int parts) {
    struct call *call = context;
    struct run run = run_of(call, part, parts);
    run.moves_statistics = call->training, run.keeps = 1, run.rows = call->data->rows;
    fbp_pass_gather(&run, call->data, 0);
    barrier(&run);
    if (!fbp_pass_forward(&run, call->y) && part == 0) call->status = FBP_STOPPED;
}

int fbp_plan_outputs(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_rows *x, size_t rows,
                     size_t first_row, int training, uint64_t draw, void *y) {
    const struct fbp_data data = {.x = *x, .rows = rows};
    struct call call = {
        .plan = plan, .vectors = vectors, .data = &data, .training = training, .draw = draw, .first_row = first_row, .y = y};
    if (rows > plan->block) return FBP_TOO_MANY_ROWS;
    plan->kept_rows = rows, plan->kept_training = training;
    watch_call(&call, rows);
    return run_call(&call, rows, run_outputs);
}

static void run_backward(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_plan *plan = call->plan;
    struct run run = run_of(call, part, parts);
    run.rows = plan->kept_rows;
    run.x = at(plan, plan->values[0].offset), run.x_row = plan->values[0].row;
    fbp_pass_incoming(&run, call->dy);
    if (!fbp_pass_backward(&run, call->vectors->gradient, call->accumulate, call->dx, NULL) && part == 0)
        call->status = FBP_STOPPED;
}

int fbp_plan_backward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *dy, int accumulate, void *dx) {
    struct call call = {
        .plan = plan, .vectors = vectors, .dy = dy, .accumulate = accumulate, .dx = dx, .training = plan->kept_training};
    watch_call(&call, plan->kept_rows);
    return run_call(&call, plan->kept_rows, run_backward);
}

static void run_update(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_epoch e = *call->epoch;
    struct run run = run_of(call, part, parts);
    run.moves_statistics = call->own;
    barrier(&run); /* all parts have copied the counters */
    const int status = fbp_update_finish(&run, &e, call->loss, call->own);
    if (part == 0) *call->epoch = e, call->status = status;
}

int fbp_plan_update(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch, double loss, int own) {
    struct call call = {.plan = plan, .vectors = vectors, .epoch = epoch, .loss = loss, .own = own};
    return run_call(&call, plan->block, run_update);
}
