/* pass.c: a block of rows through the net, forward and backward.
 *
 * Every part runs the same steps, computes its share of each, and waits for the other parts where the next step reads their
 * results. The gradient at a value overwrites the value. The step that computes it multiplies by the derivative of the value's
 * activation, so that the gradient at the pre-activation z is stored. Dense layers multiply as they store; the others in `finish`.
 */
#include "plan.h"

#include <string.h>

enum { ROWS_AHEAD = 8 }; /* rows between the row that is copied and the row that is prefetched */

/* ------------------------------------------------------------------------------------------------- gathering */

/* Rows come in random order, mostly from memory, where the hardware prefetcher does not follow. Into the second-level cache, since
 * the first has fewer outstanding misses: 17 GB/s rather than 8 for rows of 3 KiB. */
static void prefetch(const unsigned char *row, size_t bytes) {
#if defined(__GNUC__) || defined(__clang__)
    for (size_t b = 0; b < bytes; b += ALIGNMENT) __builtin_prefetch(row + b, 0, 2);
#else
    (void)row, (void)bytes;
#endif
}

/* For the short rows of small nets a call of memcpy would cost more than the copy. */
static inline void copy_row(unsigned char *to, const unsigned char *from, size_t bytes) {
    if (bytes > 256) {
        memcpy(to, from, bytes);
        return;
    }
    for (; bytes >= 16; bytes -= 16, to += 16, from += 16) memcpy(to, from, 16);
    if (bytes & 8) memcpy(to, from, 8), to += 8, from += 8;
    if (bytes & 4) memcpy(to, from, 4);
}

/* Whether the rows can be read in place: contiguous, aligned reals in each row, and rows in the order of memory. */
static int is_plain(const struct fbp_plan *plan, const struct fbp_rows *x) {
    const size_t item = plan->kernels->item;
    return x->kind == FBP_REALS && x->column == (ptrdiff_t)item && x->row >= 0
        && (((uintptr_t)x->at | (uintptr_t)x->row) & (item - 1)) == 0;
}

/* Rows [first, end) of the block. */
static void gather_x(const struct run *run, const struct fbp_rows *x, size_t start, size_t first, size_t end, int plain) {
    struct fbp_plan *plan = run->plan;
    const struct value *input = &plan->values[0];
    const size_t item = plan->kernels->item, bytes = input->width * item;
    unsigned char *to = at(plan, input->offset);
    const unsigned char *from = x->at;
    if (!plain) {
        struct fbp_rows rows = *x;
        if (!run->order) rows.at = from + (ptrdiff_t)(start + first) * x->row;
        plan->kernels->gather(&rows, run->order ? run->order + start + first : NULL, to + first * input->row * item, input->row,
                              end - first, input->width);
        return;
    }
    for (size_t r = first; r < end; r++) {
        if (run->order && r + ROWS_AHEAD < end) prefetch(from + run->order[start + r + ROWS_AHEAD] * x->row, bytes);
        const ptrdiff_t row = run->order ? (ptrdiff_t)run->order[start + r] : (ptrdiff_t)(start + r);
        copy_row(to + r * input->row * item, from + row * x->row, bytes);
    }
}

void fbp_pass_gather(struct run *run, const struct fbp_data *data, size_t start) {
    struct fbp_plan *plan = run->plan;
    const size_t item = plan->kernels->item, target_bytes = plan->loss.target_width * plan->loss.target_item;
    const size_t target_stride = data->target_row * plan->loss.target_item;
    const unsigned char *target = data->target;
    const int plain = is_plain(plan, &data->x), conflicts = run->rows > 8 && data->x.row % 1024 == 0;
    const int move_x = run->order || run->keeps || plan->input_moves || conflicts || !plain;
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    if (move_x) gather_x(run, &data->x, start, first, end, plain);
    run->x = move_x ? at(plan, plan->values[0].offset) : (const unsigned char *)data->x.at + start * (size_t)data->x.row;
    run->x_row = move_x ? plan->values[0].row : (size_t)data->x.row / item;
    if (target && run->order)
        for (size_t r = first; r < end; r++)
            copy_row((unsigned char *)at(plan, plan->targets) + r * target_bytes,
                     target + (size_t)run->order[start + r] * target_stride, target_bytes);
    run->target = run->order ? at(plan, plan->targets) : target ? target + start * target_stride : NULL;
    run->target_row = run->order ? plan->loss.target_width : data->target_row;
    run->weights = NULL;
    if (target && (data->weights || plan->loss.weighs_rows)) {
        double *weights = at(plan, plan->row_weights);
        for (size_t r = first; r < end; r++)
            weights[r] = fbp_loss_row_weight(&plan->loss, data->weights, data->target,
                                             run->order ? (size_t)run->order[start + r] : start + r);
        run->weights = weights;
    }
}

/* --------------------------------------------------------------------------------------------------- long calls */

void fbp_pass_look_around(const struct run *run, int place) {
    struct fbp_plan *plan = run->plan;
    const double SECONDS = 0.02; /* between two looks */
    if (!plan->stop_wanted && fbp_now() > plan->looked + SECONDS) {
        if (plan->watch.look(plan->watch.context)) __atomic_store_n(&plan->stop_wanted, 1, __ATOMIC_RELAXED);
        plan->looked = fbp_now();
    }
    if (plan->stop_wanted && place != NOWHERE) plan->stop_place = place;
}

/* Whether a kernel need not run: its result is not used. */
static int is_in_vain(const struct run *run) { return run->watched && __atomic_load_n(&run->plan->stop_wanted, __ATOMIC_RELAXED); }

typedef void dense_fn(const struct fbp_dense *d, int part, int parts);

/* A dense kernel over all rows, piece by piece, with a look after each. A piece is whole blocks of rows, so that no bit changes.
 * `meets`: a part's share may differ from piece to piece. */
static void run_in_pieces(const struct run *run, const struct fbp_dense *dense, dense_fn *kernel, int meets) {
    const struct fbp_plan *plan = run->plan;
    const size_t SHORT = 1 << 26; /* multiply-adds: some milliseconds */
    size_t piece = SHORT / (dense->I * dense->O) / FBP_BLOCK * FBP_BLOCK;
    if (piece < FBP_BLOCK) piece = FBP_BLOCK;
    for (size_t first = 0; first < dense->B; first += piece) {
        struct fbp_dense d = *dense;
        d.B = dense->B - first < piece ? dense->B - first : piece;
        d.x = reals(plan, d.x, first * d.x_row);
        if (d.y) d.y = (void *)reals(plan, d.y, first * d.y_row);
        if (d.dz) d.dz = reals(plan, d.dz, first * d.dz_row);
        if (d.dx) d.dx = (void *)reals(plan, d.dx, first * d.dx_row);
        if (d.skip) d.skip = reals(plan, d.skip, first * d.skip_row);
        d.accumulate = dense->accumulate || first > 0;
        if (!is_in_vain(run)) kernel(&d, run->part, run->parts);
        fbp_pass_look(run, NOWHERE);
        if (meets) barrier(run);
    }
}

static inline void run_dense(const struct run *run, const struct fbp_dense *dense, dense_fn *kernel, int meets) {
    if (run->watched) run_in_pieces(run, dense, kernel, meets);
    else kernel(dense, run->part, run->parts);
}

/* ---------------------------------------------------------------------------------------------------- forward */

static unsigned char *place(const struct fbp_plan *plan, size_t value) { return at(plan, plan->values[value].offset); }

/* This part's share of a value's rows as one array of reals, padding included: its start in bytes; returns its length in reals. */
static size_t stretch(const struct run *run, const struct value *value, size_t *from) {
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    *from = first * value->row * run->plan->kernels->item;
    return (end - first) * value->row;
}

/* The kernel arguments of a dense step for both directions, without dW and db. */
static struct fbp_dense dense_of(const struct run *run, const struct step *step) {
    struct fbp_dense d = step->dense;
    d.B = run->rows;
    d.W = reals(run->plan, run->vectors->parameters, step->W);
    if (step->has_bias) d.b = reals(run->plan, run->vectors->parameters, step->b);
    if (!step->in) d.x = run->x, d.x_row = run->x_row;
    return d;
}

/* Whether a batch norm normalises by the statistics of the minibatch. */
static int takes_minibatch(const struct run *run, const struct step *step) {
    return step->kind == FBP_BATCH_NORM && run->training && !step->frozen;
}

/* The kernel arguments of a norm for both directions, without dgamma, dbeta and dx. */
static struct fbp_norm norm_of(const struct run *run, const struct step *step) {
    const struct fbp_plan *plan = run->plan;
    struct fbp_norm n = step->norm;
    n.B = run->rows;
    if (step->has_bias) {
        n.gamma = reals(plan, run->vectors->parameters, step->W);
        n.beta = reals(plan, run->vectors->parameters, step->b);
    }
    if (step->kind == FBP_BATCH_NORM && !takes_minibatch(run, step)) {
        n.constant_statistics = 1;
        n.mean = (void *)reals(plan, run->vectors->statistics, step->statistics);
        n.variance = (void *)reals(plan, n.mean, n.N);
    }
    return n;
}

/* The running statistics that take effect with the update. The first minibatch of an update starts from the present ones. */
static void move_statistics(const struct run *run, const struct step *step, const struct fbp_norm *n) {
    const struct fbp_plan *plan = run->plan;
    void *mean = at(plan, step->pending), *variance = (void *)reals(plan, mean, n->N);
    if (run->first_row == 0) memcpy(mean, reals(plan, run->vectors->statistics, step->statistics), 2 * n->N * plan->kernels->item);
    plan->kernels->batch_norm_running(n->mean, n->variance, step->momentum, mean, variance, n->B, n->N);
}

static void forward_batch_norm(const struct run *run, const struct step *step) {
    const struct fbp_kernels *k = run->plan->kernels;
    const struct fbp_norm n = norm_of(run, step);
    if (n.constant_statistics) {
        if (run->part == 0) k->batch_norm_rstd(n.variance, n.eps, n.rstd, n.N);
    } else {
        k->batch_norm_statistics(&n, run->part, run->parts);
    }
    barrier(run);
    if (run->part == 0 && run->moves_statistics && !n.constant_statistics) move_statistics(run, step, &n);
    k->batch_norm_forward(&n, run->part, run->parts);
}

static void forward_dropout(const struct run *run, const struct step *step) {
    struct fbp_plan *plan = run->plan;
    if (run->training) {
        struct fbp_dropout d = step->dropout;
        d.B = run->rows;
        d.draw = run->draw, d.first_row = run->first_row;
        plan->kernels->dropout_forward(&d, run->part, run->parts);
    } else if (!step->in_place) {
        size_t from;
        const size_t n = stretch(run, &plan->values[step->out], &from);
        memcpy(place(plan, step->out) + from, place(plan, step->in) + from, n * plan->kernels->item);
    }
}

static void forward_softmax(const struct run *run, const struct step *step) {
    struct fbp_plan *plan = run->plan;
    const struct value *in = &plan->values[step->in];
    size_t from;
    const size_t n = stretch(run, in, &from);
    unsigned char *y = place(plan, step->out) + from;
    plan->kernels->softmax_forward(place(plan, step->in) + from, in->row, y, in->row, n / in->row, in->width);
    if (plan->trains) memcpy((unsigned char *)at(plan, step->saved) + from, y, n * plan->kernels->item);
}

static void forward_activation(const struct run *run, const struct step *step) {
    struct fbp_plan *plan = run->plan;
    size_t from;
    const size_t n = stretch(run, &plan->values[step->in], &from);
    plan->kernels->activation_forward(place(plan, step->in) + from, step->activation, step->alpha, place(plan, step->out) + from,
                                      n);
}

static void forward_end(const struct run *run, const struct step *step) {
    struct fbp_plan *plan = run->plan;
    size_t from;
    const size_t n = stretch(run, &plan->values[step->out], &from);
    plan->kernels->add(place(plan, step->in) + from, place(plan, step->skip) + from, place(plan, step->out) + from, n);
}

/* From the workspace to y, without padding. */
static void copy_output(const struct run *run, void *y) {
    struct fbp_plan *plan = run->plan;
    const struct value *output = &plan->values[plan->n_values - 1];
    const size_t bytes = output->width * plan->kernels->item, stride = output->row * plan->kernels->item;
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    for (size_t r = first; r < end; r++)
        memcpy((unsigned char *)y + r * bytes, (unsigned char *)at(plan, output->offset) + r * stride, bytes);
}

int fbp_pass_forward(const struct run *run, void *y) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    /* A last dense layer can write to y, unless a backward pass needs the output in the workspace. */
    const struct step *last = &plan->steps[plan->n_steps - 1];
    const int directly = y && last->kind == FBP_DENSE && !run->keeps;
    for (size_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        switch (step->kind) {
        case FBP_DENSE:
        case FBP_PROJECTION: {
            struct fbp_dense d = dense_of(run, step);
            if (directly && step == last) d.y = y, d.y_row = d.O;
            run_dense(run, &d, k->dense_forward, 0);
            break;
        }
        case FBP_RESIDUAL_END: forward_end(run, step); break;
        case FBP_ACTIVATION: forward_activation(run, step); break;
        case FBP_SOFTMAX: forward_softmax(run, step); break;
        case FBP_DROPOUT: forward_dropout(run, step); break;
        case FBP_BATCH_NORM: forward_batch_norm(run, step); break;
        default: {
            const struct fbp_norm n = norm_of(run, step);
            k->layer_norm_forward(&n, run->part, run->parts);
        }
        }
        fbp_pass_look(run, (int)s);
        barrier(run);
        if (fbp_pass_stops(run, (int)s)) return 0;
    }
    if (y && !directly) copy_output(run, y);
    return 1;
}

/* ------------------------------------------------------------------------------------------------------- loss */

void fbp_pass_loss(const struct run *run, double scale) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct value *output = &plan->values[plan->n_values - 1];
    const int differentiate = output->activation != FBP_IDENTITY;
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    unsigned char *y = place(plan, plan->n_values - 1) + first * output->row * k->item;
    unsigned char *dy = differentiate ? (unsigned char *)at(plan, plan->loss_gradient) + first * output->row * k->item : y;
    double *row_loss = (double *)at(plan, plan->row_loss) + first;
    fbp_loss_rows(&plan->loss, y, output->row,
                  (const unsigned char *)run->target + first * run->target_row * plan->loss.target_item, run->target_row,
                  (unsigned char *)at(plan, plan->smooth_targets) + first * output->width * k->item, run->weights ? 1 : scale, dy,
                  output->row, row_loss, end - first);
    if (run->weights) { /* weight times scale first: if all weights are tiny, the scale alone overflows a float */
        for (size_t r = first; r < end; r++) run->weights[r] *= scale;
        k->scale_rows(run->weights + first, dy, output->row, row_loss, end - first, output->width);
    }
    if (differentiate) k->activation_backward(dy, y, output->activation, output->alpha, y, (end - first) * output->row);
    barrier(run);
}

double fbp_pass_loss_sum(const struct run *run) {
    const double *row_loss = at(run->plan, run->plan->row_loss);
    double sum = 0;
    for (size_t r = 0; r < run->rows; r++) sum += row_loss[r];
    return sum;
}

void fbp_pass_incoming(const struct run *run, const void *dy_) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct value *output = &plan->values[plan->n_values - 1];
    const int differentiate = output->activation != FBP_IDENTITY;
    unsigned char *y = place(plan, plan->n_values - 1);
    unsigned char *dy = differentiate ? at(plan, plan->loss_gradient) : y;
    const size_t bytes = output->width * k->item, stride = output->row * k->item;
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    for (size_t r = first; r < end; r++) memcpy(dy + r * stride, (const unsigned char *)dy_ + r * bytes, bytes);
    if (differentiate)
        k->activation_backward(dy + first * stride, y + first * stride, output->activation, output->alpha, y + first * stride,
                               (end - first) * output->row);
    barrier(run);
}

/* --------------------------------------------------------------------------------------------------- backward */

/* The value whose memory receives dx of a step that is not dense: x's, or y's where x is still needed, for its derivative. */
static size_t place_of_dx(const struct fbp_plan *plan, const struct step *step) {
    return plan->values[step->in].activation == FBP_IDENTITY ? step->in : step->out;
}

/* From dx to the gradient at the pre-activation of x, which overwrites x: adds the gradient of a skip connection that waits for x,
 * and multiplies by f'. */
static void finish(const struct run *run, const struct step *step) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct value *in = &plan->values[step->in];
    size_t from;
    const size_t n = stretch(run, in, &from);
    unsigned char *dx = place(plan, place_of_dx(plan, step)) + from;
    if (in->skip) k->add(dx, place(plan, in->skip) + from, dx, n);
    if (in->activation != FBP_IDENTITY)
        k->activation_backward(dx, place(plan, step->in) + from, in->activation, in->alpha, place(plan, step->in) + from, n);
}

static void backward_end(const struct run *run, const struct step *step, int wants_in, int wants_skip) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct value *in = &plan->values[step->in];
    size_t from;
    const size_t n = stretch(run, &plan->values[step->out], &from);
    unsigned char *dy = place(plan, step->out) + from, *x = place(plan, step->in) + from;
    if (wants_in) k->activation_backward(dy, x, in->activation, in->alpha, x, n);
    if (wants_skip && step->earlier_skip) k->add(dy, place(plan, step->earlier_skip) + from, dy, n);
}

/* dx of an activation, a softmax or a dropout. */
static void backward_rowwise(const struct run *run, const struct step *step) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct value *in = &plan->values[step->in];
    size_t from;
    const size_t n = stretch(run, in, &from);
    unsigned char *dy = place(plan, step->out) + from, *x = place(plan, step->in) + from;
    unsigned char *dx = place(plan, place_of_dx(plan, step)) + from;
    if (step->in_place) { /* the gradient stored is already that at the pre-activation of x, without the mask */
        if (step->kind == FBP_DROPOUT && run->training) k->multiply(dy, (unsigned char *)at(plan, step->saved) + from, dy, n);
        return;
    }
    switch (step->kind) {
    case FBP_SOFTMAX:
        k->softmax_backward(dy, in->row, (unsigned char *)at(plan, step->saved) + from, in->row, dx, in->row, n / in->row,
                            in->width);
        break;
    case FBP_DROPOUT:
        if (run->training) {
            k->multiply(dy, (unsigned char *)at(plan, step->saved) + from, dx, n);
            break;
        }
        if (dx != dy) memcpy(dx, dy, n * k->item);
        break;
    default: /* FBP_ACTIVATION: before FBP_FROM_Z the activation is the value's own, and dy is the gradient at z already */
        if (step->activation >= FBP_FROM_Z) k->activation_backward(dy, x, step->activation, step->alpha, dx, n);
        else if (dx != dy) memcpy(dx, dy, n * k->item);
    }
    finish(run, step);
}

/* squares[r] += |x_r|^2 |dz_r|^2 (+ |dz_r|^2 with a bias), for this part's rows. */
static void dense_squares(const struct run *run, const struct fbp_dense *d, int has_bias, double *squares) {
    const struct fbp_kernels *k = run->plan->kernels;
    enum { ROWS = 64 };
    double of_x[ROWS], of_dz[ROWS];
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    for (size_t r = first; r < end; r += ROWS) {
        const size_t rows = end - r < ROWS ? end - r : ROWS;
        k->row_squares(reals(run->plan, d->x, r * d->x_row), d->x_row, of_x, rows, d->I);
        k->row_squares(reals(run->plan, d->dz, r * d->dz_row), d->dz_row, of_dz, rows, d->O);
        for (size_t i = 0; i < rows; i++) squares[r + i] += (of_x[i] + has_bias) * of_dz[i];
    }
}

static void backward_dense(const struct run *run, const struct step *step, void *gradient, int accumulate, double *squares,
                           int wants_in, void *dx) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    struct fbp_dense d = dense_of(run, step);
    if (!step->frozen && squares) {
        dense_squares(run, &d, step->has_bias, squares);
    } else if (!step->frozen && run->one_row) {
        if (run->part == 0) memcpy(kept_x(plan, step), d.x, d.I * k->item), memcpy(kept_dz(plan, step), d.dz, d.O * k->item);
    } else if (!step->frozen) {
        d.dW = (void *)reals(plan, gradient, step->W);
        d.db = step->has_bias ? (void *)reals(plan, gradient, step->b) : NULL;
        d.accumulate = accumulate;
        run_dense(run, &d, k->dense_backward_weights, 1);
    }
    if (!wants_in) return;
    if (!step->in && dx && step->kind == FBP_DENSE) d.dx = dx, d.dx_row = plan->values[0].width;
    fbp_pass_look(run, NOWHERE);
    barrier(run); /* all parts have read x for dW: its gradient may overwrite it */
    run_dense(run, &d, k->dense_backward_inputs, 0);
}

static void backward_weights(const struct run *run, const struct step *step, const struct fbp_norm *n, int part, int parts) {
    const struct fbp_kernels *k = run->plan->kernels;
    (step->kind == FBP_LAYER_NORM ? k->layer_norm_backward_weights : k->batch_norm_backward_weights)(n, part, parts);
}

/* squares[r] += |dgamma_r|^2 + |dbeta_r|^2, for all rows: on part 0 only. */
static void norm_squares(const struct run *run, const struct step *step, const struct fbp_norm *norm, double *squares) {
    struct fbp_plan *plan = run->plan;
    struct fbp_norm n = *norm;
    n.B = 1;
    n.dgamma = at(plan, plan->row_gradient), n.dbeta = (void *)reals(plan, n.dgamma, n.N);
    for (size_t r = 0; r < run->rows; r++) {
        double square;
        n.x = reals(plan, norm->x, r * norm->x_row);
        n.dz = reals(plan, norm->dz, r * norm->dz_row);
        if (step->kind == FBP_LAYER_NORM) n.mean = (void *)reals(plan, norm->mean, r), n.rstd = (void *)reals(plan, norm->rstd, r);
        backward_weights(run, step, &n, 0, 1);
        plan->kernels->row_squares(n.dgamma, 2 * n.N, &square, 1, 2 * n.N);
        squares[r] += square;
    }
}

static void backward_norm(const struct run *run, const struct step *step, void *gradient, int accumulate, double *squares,
                          int wants_in) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    struct fbp_norm n = norm_of(run, step);
    const int learns = step->has_bias && !step->frozen;
    if (learns && squares) {
        barrier(run); /* a projection whose input needs no gradient may come before, where every part adds squares of its rows */
        if (run->part == 0) norm_squares(run, step, &n, squares);
    } else {
        if (learns) {
            n.dgamma = (void *)reals(plan, gradient, step->W);
            n.dbeta = (void *)reals(plan, gradient, step->b);
            n.accumulate = accumulate;
        }
        if (learns || takes_minibatch(run, step)) backward_weights(run, step, &n, run->part, run->parts);
    }
    if (!wants_in) return;
    barrier(run); /* all parts have read x and dz, and the sums of a batch norm are complete */
    n.dx = place(plan, place_of_dx(plan, step)), n.dx_row = plan->values[step->in].row;
    (step->kind == FBP_LAYER_NORM ? k->layer_norm_backward_inputs : k->batch_norm_backward_inputs)(&n, run->part, run->parts);
    barrier(run); /* the kernels' shares of rows differ from those of `finish` */
    finish(run, step);
}

int fbp_pass_backward(const struct run *run, void *gradient, int accumulate, void *dx, double *squares) {
    struct fbp_plan *plan = run->plan;
    for (size_t s = plan->n_steps; s--;) {
        const struct step *step = &plan->steps[s];
        if (!dx && !plan->values[step->out].learns) continue;
        const int wants_in = dx || plan->values[step->in].learns;
        switch (step->kind) {
        case FBP_DENSE:
        case FBP_PROJECTION:
            backward_dense(run, step, gradient, accumulate, squares, wants_in, dx);
            if (!wants_in) continue; /* nobody reads what it wrote before the caller's barrier */
            break;
        case FBP_RESIDUAL_END: backward_end(run, step, wants_in, dx || plan->values[step->skip].learns); break;
        case FBP_LAYER_NORM:
        case FBP_BATCH_NORM: backward_norm(run, step, gradient, accumulate, squares, wants_in); break;
        default:
            if (wants_in) backward_rowwise(run, step);
        }
        fbp_pass_look(run, (int)(plan->n_steps + s));
        barrier(run);
        if (fbp_pass_stops(run, (int)(plan->n_steps + s))) return 0;
    }
    if (dx && plan->input_in_place) {
        const struct value *input = &plan->values[0];
        const size_t bytes = input->width * plan->kernels->item;
        size_t first, end;
        share(run, run->rows, 1, &first, &end);
        for (size_t r = first; r < end; r++)
            memcpy((unsigned char *)dx + r * bytes, place(plan, 0) + r * input->row * plan->kernels->item, bytes);
    }
    return 1;
}
