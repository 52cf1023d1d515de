/* plan.c: a net as a list of steps over one workspace.
 *
 * Problem. Run forward, loss, backward and update for minibatch after minibatch without allocation, without Python, and
 * with the same bits for any number of threads.
 *
 * Representation. A value is a matrix of at most `block` rows: value 0 is the net's input, every step makes one more. A step
 * is a dense layer or the addition that ends a residual block. A value's gradient takes its place: once dW = x^T dz is done
 * nobody needs x but its own derivative, so dense_backward_inputs overwrites x with the gradient before that activation. Rows
 * of values are padded so that neighbouring rows fall on different cache sets.
 *
 * A minibatch runs in blocks of at most FBP_BLOCK rows, each through the whole net and back, while it is in cache; the
 * gradient is summed block after block. So the workspace does not grow with the minibatch.
 *
 * Threads. Every part runs the same code over the same steps, computes its share of each and meets the others at a barrier
 * where a step reads what another part wrote. Decisions (is the loss finite, is the time slice over) are made from values
 * that all parts see, or by part 0 before a barrier.
 */
#define _DEFAULT_SOURCE /* clock_gettime, madvise */
#include "fbp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum {
    ALIGNMENT = 64,
    NORM_CHUNK = 4096,          /* reals in a partial sum of |gradient|^2: the same for any number of threads */
    UPDATE_GRAIN = 64,          /* parts of the update start at multiples of so many reals */
    HUGE_PAGE = 2 * 1024 * 1024,
    ROWS_AHEAD = 8              /* how far ahead of the copying a minibatch's rows are fetched */
};
static const double FLOPS_A_LOOK = 4e7;   /* work between two looks at the clock, for each second of a time slice: about a thousandth
                                             of it. A look takes as long as a tiny net's layer. */
static const double FLOPS_A_THREAD = 3e6; /* work in a block of rows that pays for one more thread: some 30 microseconds */

struct value {
    size_t width, row; /* columns, and reals from one row to the next */
    size_t offset;     /* in the workspace, bytes */
    int activation; double alpha; /* what made it, after which its gradient is taken further back */
    size_t skip;       /* value whose gradient arrives here past a residual block, or 0: none */
};

enum step_kind { STEP_DENSE, STEP_ADD };

struct step {
    int kind;
    size_t in, out;    /* values; out = in + f of ... */
    size_t skip;       /* STEP_ADD: out = in + skip */
    size_t earlier_skip; /* STEP_ADD: a gradient already waiting for `skip`, to be joined to this one, or 0: none */
    size_t W, b;       /* offsets in the flat vector, reals */
    int has_bias;
    struct fbp_dense dense; /* what of it is the same in every call */
};

struct fbp_plan {
    const struct fbp_kernels *kernels;
    struct step *steps; size_t n_steps;
    struct value *values; size_t n_values;
    size_t inputs, outputs, parameters;
    size_t block;             /* rows in a block */
    int threads;
    int input_is_skipped;     /* value 0 is added to by a residual block, so it must lie in the workspace */
    double flops_a_row;       /* of a training step */

    int loss;
    double *loss_parameters;
    int reduction_sum;
    size_t terms_a_row;       /* 1 where the loss is a mean over rows, else the number of outputs */
    size_t target_item;       /* bytes in one target: a label or a real */
    size_t target_width;      /* targets in a row */
    struct fbp_optimizer optimizer;

    unsigned char *memory, *workspace; /* as allocated; its first aligned byte */
    size_t workspace_bytes;
    size_t loss_gradient;     /* offset of (block, outputs): used when the net's last activation has a derivative */
    size_t targets, row_loss, norms;

    /* written by part 0, read by all after a barrier */
    double block_loss;
    int pause;
};

/* ---------------------------------------------------------------------------------------------- building */

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Rows a multiple of a vector long, and never a multiple of 1 KiB: fourteen rows 4 KiB apart would share one cache set. */
static size_t padded_row(size_t width, size_t item) {
    size_t row = round_up(width, ALIGNMENT / item);
    return row * item % 1024 ? row : row + ALIGNMENT / item;
}

static size_t take(struct fbp_plan *plan, size_t bytes) {
    size_t offset = plan->workspace_bytes;
    plan->workspace_bytes += round_up(bytes, ALIGNMENT);
    return offset;
}

static size_t add_value(struct fbp_plan *plan, size_t width, int activation, double alpha) {
    const size_t item = plan->kernels->item, row = padded_row(width, item);
    plan->values[plan->n_values] = (struct value){
        .width = width, .row = row, .offset = take(plan, plan->block * row * item), .activation = activation, .alpha = alpha,
    };
    return plan->n_values++;
}

static void add_dense(struct fbp_plan *plan, const struct fbp_layer *layer, size_t in) {
    const size_t I = layer->inputs, O = layer->outputs;
    struct step *step = &plan->steps[plan->n_steps++];
    *step = (struct step){
        .kind = STEP_DENSE, .in = in, .W = plan->parameters, .b = plan->parameters + I * O, .has_bias = layer->bias,
    };
    plan->parameters += I * O + (layer->bias ? O : 0);
    plan->flops_a_row += 6.0 * I * O;
    step->out = add_value(plan, O, layer->activation, layer->alpha);
}

static void add_sum(struct fbp_plan *plan, size_t in, size_t skip) {
    struct step *step = &plan->steps[plan->n_steps++];
    *step = (struct step){.kind = STEP_ADD, .in = in, .skip = skip};
    step->out = add_value(plan, plan->values[in].width, FBP_IDENTITY, 0);
    if (skip == 0) plan->input_is_skipped = 1;
}

/* Backward goes through the steps from the last to the first, and each addition leaves its gradient waiting for the value
 * it skipped to. The second to do so for one value finds the first's waiting, and takes it along. */
static void route_skips(struct fbp_plan *plan) {
    for (size_t s = plan->n_steps; s--;) {
        struct step *step = &plan->steps[s];
        if (step->kind != STEP_ADD) continue;
        struct value *skipped = &plan->values[step->skip];
        step->earlier_skip = skipped->skip;
        skipped->skip = step->out;
    }
}

/* The layers as steps. Returns 0 when the layers do not nest, or there is none. */
static int add_steps(struct fbp_plan *plan, const struct fbp_layer *layers, size_t n_layers, size_t *open) {
    size_t depth = 0, now = add_value(plan, plan->inputs, FBP_IDENTITY, 0);
    for (size_t i = 0; i < n_layers; i++) {
        switch (layers[i].kind) {
        case FBP_DENSE: add_dense(plan, &layers[i], now); break;
        case FBP_RESIDUAL_BEGIN: open[depth++] = now; continue;
        default:
            if (!depth || open[depth - 1] == now) return 0;
            add_sum(plan, now, open[--depth]);
        }
        now = plan->n_values - 1;
    }
    plan->outputs = plan->values[now].width;
    return depth == 0 && plan->n_steps > 0;
}

/* What a dense step's kernels are told in every call. Values and their gradients share their places. */
static void describe_dense(struct fbp_plan *plan) {
    for (size_t s = 0; s < plan->n_steps; s++) {
        struct step *step = &plan->steps[s];
        if (step->kind != STEP_DENSE) continue;
        const struct value *in = &plan->values[step->in], *out = &plan->values[step->out];
        void *x = plan->workspace + in->offset, *y = plan->workspace + out->offset;
        step->dense = (struct fbp_dense){
            .I = in->width, .O = out->width, .activation = out->activation, .alpha = out->alpha,
            .x = x, .x_row = in->row, .y = y, .y_row = out->row,
            .dz = y, .dz_row = out->row, .dx = x, .dx_row = in->row,
            .x_activation = in->activation, .x_alpha = in->alpha,
        };
        if (in->skip) {
            step->dense.skip = plan->workspace + plan->values[in->skip].offset;
            step->dense.skip_row = plan->values[in->skip].row;
        }
    }
}

/* The workspace, zero: padding is read, though never used. A large one is in huge pages where the system has them: rows far
 * apart then do not each need a translation of their own. Returns 0 when there is no memory. */
static int allocate_workspace(struct fbp_plan *plan) {
    const size_t bytes = plan->workspace_bytes, alignment = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    plan->memory = calloc(bytes + alignment, 1);
    if (!plan->memory) return 0;
    plan->workspace = plan->memory + (alignment - (uintptr_t)plan->memory % alignment);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) madvise(plan->workspace, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return 1;
}

void fbp_plan_destroy(struct fbp_plan *plan) {
    if (!plan) return;
    free(plan->steps);
    free(plan->values);
    free(plan->loss_parameters);
    free(plan->memory);
    free(plan);
}

int fbp_plan_create(const struct fbp_plan_spec *spec, struct fbp_plan **result) {
    const size_t item = spec->kernels->item;
    struct fbp_plan *plan = calloc(1, sizeof *plan);
    size_t *open = malloc((spec->n_layers + 1) * sizeof *open);
    if (!plan || !open) goto no_memory;
    plan->kernels = spec->kernels;
    plan->steps = calloc(spec->n_layers + 1, sizeof *plan->steps);
    plan->values = calloc(spec->n_layers + 1, sizeof *plan->values);
    plan->loss_parameters = malloc((spec->n_loss_parameters + 1) * sizeof(double));
    if (!plan->steps || !plan->values || !plan->loss_parameters) goto no_memory;
    if (spec->n_loss_parameters)
        memcpy(plan->loss_parameters, spec->loss_parameters, spec->n_loss_parameters * sizeof(double));

    plan->inputs = spec->n_layers ? spec->layers[0].inputs : 0;
    plan->block = spec->rows < 1 ? 1 : spec->rows < FBP_BLOCK ? spec->rows : FBP_BLOCK;
    plan->threads = spec->threads;
    plan->loss = spec->loss;
    plan->reduction_sum = spec->reduction_sum;
    plan->optimizer = spec->optimizer;
    if (!add_steps(plan, spec->layers, spec->n_layers, open)) {
        free(open);
        fbp_plan_destroy(plan);
        return FBP_BAD_PLAN;
    }
    route_skips(plan);

    const int labels = plan->loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS;
    plan->target_item = labels ? sizeof(int64_t) : item;
    plan->target_width = labels ? 1 : plan->outputs;
    plan->terms_a_row = labels || plan->loss == FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES ? 1 : plan->outputs;
    if (plan->loss >= 0) {
        const struct value *output = &plan->values[plan->n_values - 1];
        plan->loss_gradient = take(plan, plan->block * output->row * item);
        plan->targets = take(plan, plan->block * plan->target_width * plan->target_item);
        plan->row_loss = take(plan, plan->block * sizeof(double));
        plan->norms = take(plan, (plan->parameters / NORM_CHUNK + 1) * sizeof(double));
    }
    if (!allocate_workspace(plan)) goto no_memory;
    describe_dense(plan);
    free(open);
    *result = plan;
    return FBP_OK;

no_memory:
    free(open);
    fbp_plan_destroy(plan);
    return FBP_NO_MEMORY;
}

size_t fbp_plan_parameters(const struct fbp_plan *plan) { return plan->parameters; }
size_t fbp_plan_workspace(const struct fbp_plan *plan) { return plan->workspace_bytes; }

/* Threads meet several times in each block of rows, so it is a block's work that must pay for them. */
int fbp_plan_threads(const struct fbp_plan *plan, size_t rows) {
    const size_t block = rows < plan->block ? rows : plan->block;
    const double pay = 1 + plan->flops_a_row * block / FLOPS_A_THREAD;
    if (pay < 2) return 1;
    const int most = plan->threads ? plan->threads : fbp_cores(); /* of now: a process may have been given fewer since */
    return pay < most ? (int)pay : most;
}

/* ------------------------------------------------------------------------------------------- one row block */

/* What one call works on. Every part has its own copy. */
struct run {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    int part, parts;

    size_t rows;                      /* of the block */
    const void *x; size_t x_row;      /* value 0: in the workspace, or where the caller has it */
    const void *target; size_t target_row; /* in units of target_item */
};

static void *at(const struct fbp_plan *plan, size_t offset) { return plan->workspace + offset; }

static const void *reals(const struct fbp_plan *plan, const void *base, size_t n) {
    return (const unsigned char *)base + n * plan->kernels->item;
}

static void barrier(const struct run *run) {
    if (run->parts > 1) fbp_pool_barrier(run->part, run->parts);
}

/* This part's share of `n` things, in multiples of `grain`. */
static void share(const struct run *run, size_t n, size_t grain, size_t *first, size_t *end) {
    const size_t grains = (n + grain - 1) / grain;
    *first = grains * run->part / run->parts * grain;
    *end = grains * (run->part + 1) / run->parts * grain;
    if (*end > n) *end = n;
    if (*first > n) *first = n;
}

/* Rows come in random order, mostly from memory, and the processor cannot guess the next: it is told some rows before. To
 * the second-level cache, since the first has fewer misses to spare: 17 GB/s rather than 8 for rows of 3 KiB. */
static void fetch_ahead(const unsigned char *row, size_t bytes) {
#if defined(__GNUC__) || defined(__clang__)
    for (size_t b = 0; b < bytes; b += ALIGNMENT) __builtin_prefetch(row + b, 0, 2);
#else
    (void)row, (void)bytes;
#endif
}

/* memcpy for the short rows of small nets, whose call would cost more than the copy. */
static inline void copy_row(unsigned char *to, const unsigned char *from, size_t bytes) {
    if (bytes > 256) {
        memcpy(to, from, bytes);
        return;
    }
    for (; bytes >= 16; bytes -= 16, to += 16, from += 16) memcpy(to, from, 16);
    if (bytes & 8) memcpy(to, from, 8), to += 8, from += 8;
    if (bytes & 4) memcpy(to, from, 4);
}

/* Takes rows [start, start + rows) of x and target, in the given order, into the workspace where they must be moved. */
static void gather(struct run *run, const void *x, size_t x_row, const void *target, size_t target_row,
                   const int64_t *order, size_t start) {
    struct fbp_plan *plan = run->plan;
    const struct value *input = &plan->values[0];
    const size_t item = plan->kernels->item, target_bytes = plan->target_width * plan->target_item;
    const size_t x_stride = x_row * item, target_stride = target_row * plan->target_item;
    const int conflicts = run->rows > 8 && x_stride % 1024 == 0;
    const int move_x = order || plan->input_is_skipped || conflicts;
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    if (move_x)
        for (size_t r = first; r < end; r++) {
            if (order && r + ROWS_AHEAD < end)
                fetch_ahead((const unsigned char *)x + (size_t)order[start + r + ROWS_AHEAD] * x_stride,
                            input->width * item);
            const size_t row = order ? (size_t)order[start + r] : start + r;
            copy_row((unsigned char *)at(plan, input->offset) + r * input->row * item,
                     (const unsigned char *)x + row * x_stride, input->width * item);
        }
    run->x = move_x ? at(plan, input->offset) : reals(plan, x, start * x_row);
    run->x_row = move_x ? input->row : x_row;
    if (target && order)
        for (size_t r = first; r < end; r++)
            copy_row((unsigned char *)at(plan, plan->targets) + r * target_bytes,
                     (const unsigned char *)target + (size_t)order[start + r] * target_stride, target_bytes);
    run->target = order ? at(plan, plan->targets) : target ? (const unsigned char *)target + start * target_stride : NULL;
    run->target_row = order ? plan->target_width : target_row;
}

/* The dense layer of a step, for both directions, but for dW and db. */
static struct fbp_dense dense_of(const struct run *run, const struct step *step) {
    struct fbp_dense d = step->dense;
    d.B = run->rows;
    d.W = reals(run->plan, run->vectors->parameters, step->W);
    if (step->has_bias) d.b = reals(run->plan, run->vectors->parameters, step->b);
    if (!step->in) d.x = run->x, d.x_row = run->x_row;
    return d;
}

/* With `y` (rows, outputs) the last dense layer writes there, if it is the last step. */
static void forward(const struct run *run, void *y) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    for (size_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        const struct value *out = &plan->values[step->out];
        if (step->kind == STEP_DENSE) {
            struct fbp_dense d = dense_of(run, step);
            if (y && s == plan->n_steps - 1) d.y = y, d.y_row = out->width;
            k->dense_forward(&d, run->part, run->parts);
        } else {
            size_t first, end, row = out->row;
            share(run, run->rows, 1, &first, &end);
            const size_t from = first * row * k->item;
            k->add((unsigned char *)at(plan, plan->values[step->in].offset) + from,
                   (unsigned char *)at(plan, plan->values[step->skip].offset) + from,
                   (unsigned char *)at(plan, out->offset) + from, (end - first) * row);
        }
        barrier(run);
    }
}

/* The loss of each row into row_loss, and the gradient at the last layer's z in place of the output. */
static void loss(const struct run *run, double scale) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct value *output = &plan->values[plan->n_values - 1];
    const int differentiate = output->activation != FBP_IDENTITY;
    size_t first, end;
    share(run, run->rows, 1, &first, &end);
    unsigned char *y = (unsigned char *)at(plan, output->offset) + first * output->row * k->item;
    unsigned char *dy = (unsigned char *)at(plan, plan->loss_gradient) + first * output->row * k->item;
    k->loss[plan->loss](y, output->row, (const unsigned char *)run->target + first * run->target_row * plan->target_item,
                        run->target_row, plan->loss_parameters, scale, differentiate ? dy : y, output->row,
                        (double *)at(plan, plan->row_loss) + first, end - first, output->width);
    if (differentiate)
        k->activation_backward(dy, y, output->activation, output->alpha, y, (end - first) * output->row);
    barrier(run);
}

/* Gradients of the block, from dz in place of the output; added to what `gradient` holds when `accumulate`. dx (rows, I)
 * may be NULL. */
static void backward(const struct run *run, void *gradient, int accumulate, void *dx) {
    struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    for (size_t s = plan->n_steps; s--;) {
        const struct step *step = &plan->steps[s];
        const struct value *in = &plan->values[step->in], *out = &plan->values[step->out];
        if (step->kind == STEP_ADD) {
            size_t first, end, row = out->row;
            share(run, run->rows, 1, &first, &end);
            const size_t from = first * row * k->item, n = (end - first) * row;
            unsigned char *dy = (unsigned char *)at(plan, out->offset) + from, *x = (unsigned char *)at(plan, in->offset) + from;
            k->activation_backward(dy, x, in->activation, in->alpha, x, n);
            if (step->earlier_skip)
                k->add(dy, (unsigned char *)at(plan, plan->values[step->earlier_skip].offset) + from, dy, n);
            barrier(run);
            continue;
        }
        struct fbp_dense d = dense_of(run, step);
        d.dW = (void *)reals(plan, gradient, step->W);
        d.db = step->has_bias ? (void *)reals(plan, gradient, step->b) : NULL;
        d.accumulate = accumulate;
        k->dense_backward_weights(&d, run->part, run->parts);
        if (!step->in && !dx) continue;
        if (!step->in) d.dx = dx, d.dx_row = in->width;
        barrier(run); /* all have read x for dW before anyone writes its gradient over it */
        k->dense_backward_inputs(&d, run->part, run->parts);
        barrier(run);
    }
}

static double sum_row_losses(const struct run *run) {
    const double *row_loss = at(run->plan, run->plan->row_loss);
    double sum = 0;
    for (size_t r = 0; r < run->rows; r++) sum += row_loss[r];
    return sum;
}

/* What a minibatch's summed loss is divided by. */
static double loss_scale(const struct fbp_plan *plan, size_t rows) {
    return plan->reduction_sum ? 1 : 1 / ((double)rows * plan->terms_a_row);
}

/* ---------------------------------------------------------------------- forward, loss, gradient: whole calls */

struct call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    const void *x; size_t x_row;
    const void *target; size_t target_row;
    size_t rows;
    void *y, *dx;
    int wants_loss, wants_gradient;
    double loss_sum;
};

static void run_call(void *context, int part, int parts) {
    struct call *call = context;
    struct fbp_plan *plan = call->plan;
    struct run run = {.plan = plan, .vectors = call->vectors, .part = part, .parts = parts};
    const struct value *output = &plan->values[plan->n_values - 1];
    const int last_is_dense = plan->steps[plan->n_steps - 1].kind == STEP_DENSE;
    const size_t item = plan->kernels->item;
    double sum = 0;
    for (size_t start = 0; start < call->rows; start += run.rows) {
        run.rows = call->rows - start < plan->block ? call->rows - start : plan->block;
        gather(&run, call->x, call->x_row, call->target, call->target_row, NULL, start);
        barrier(&run);
        void *y = call->y ? (void *)reals(plan, call->y, start * output->width) : NULL;
        forward(&run, last_is_dense ? y : NULL);
        if (y && !last_is_dense)
            for (size_t r = run.rows * part / parts; r < run.rows * (part + 1) / parts; r++)
                memcpy((unsigned char *)y + r * output->width * item,
                       (unsigned char *)at(plan, output->offset) + r * output->row * item, output->width * item);
        if (!call->wants_loss) continue;
        loss(&run, loss_scale(plan, call->rows));
        if (part == 0) sum += sum_row_losses(&run);
        if (call->wants_gradient)
            backward(&run, call->vectors->gradient, start > 0,
                     call->dx ? (void *)reals(plan, call->dx, start * plan->inputs) : NULL);
        barrier(&run); /* part 0 has read the row losses, all have read the targets */
    }
    if (part == 0) call->loss_sum = sum;
}

int fbp_plan_forward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row, size_t rows,
                     void *y) {
    struct call call = {.plan = plan, .vectors = vectors, .x = x, .x_row = x_row, .rows = rows, .y = y};
    fbp_pool_run(fbp_plan_threads(plan, rows / 3), run_call, &call);
    return FBP_OK;
}

int fbp_plan_loss(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row,
                  const void *target, size_t target_row, size_t rows, double *loss_sum) {
    struct call call = {.plan = plan, .vectors = vectors, .x = x, .x_row = x_row, .target = target,
                        .target_row = target_row, .rows = rows, .wants_loss = 1};
    fbp_pool_run(fbp_plan_threads(plan, rows / 3), run_call, &call);
    *loss_sum = call.loss_sum;
    return FBP_OK;
}

int fbp_plan_gradient(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row,
                      const void *target, size_t target_row, size_t rows, double *loss, void *dx) {
    struct call call = {.plan = plan, .vectors = vectors, .x = x, .x_row = x_row, .target = target,
                        .target_row = target_row, .rows = rows, .dx = dx, .wants_loss = 1, .wants_gradient = 1};
    fbp_pool_run(fbp_plan_threads(plan, rows), run_call, &call);
    *loss = call.loss_sum * loss_scale(plan, rows);
    return FBP_OK;
}

/* One example is too little work to share, so all run on the calling thread. */
int fbp_plan_example_gradients(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row,
                               const void *target, size_t target_row, size_t rows, double *losses, void *gradients) {
    struct run run = {.plan = plan, .vectors = vectors, .parts = 1, .rows = 1};
    for (size_t r = 0; r < rows; r++) {
        gather(&run, x, x_row, target, target_row, NULL, r);
        forward(&run, NULL);
        loss(&run, loss_scale(plan, 1));
        losses[r] = sum_row_losses(&run) * loss_scale(plan, 1);
        backward(&run, (void *)reals(plan, gradients, r * plan->parameters), 0, NULL);
    }
    return FBP_OK;
}

/* -------------------------------------------------------------------------------------------------- an epoch */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* |gradient|^2: partial sums of fixed chunks, added in order by every part alike. */
static double squared_norm(const struct run *run) {
    struct fbp_plan *plan = run->plan;
    double *partial = at(plan, plan->norms);
    const size_t P = plan->parameters, chunks = (P + NORM_CHUNK - 1) / NORM_CHUNK;
    size_t first, end;
    share(run, chunks, 1, &first, &end);
    for (size_t c = first; c < end; c++) {
        const size_t start = c * NORM_CHUNK, n = P - start < NORM_CHUNK ? P - start : NORM_CHUNK;
        partial[c] = plan->kernels->sum_squares(reals(plan, run->vectors->gradient, start), n);
    }
    barrier(run);
    double sum = 0;
    for (size_t c = 0; c < chunks; c++) sum += partial[c];
    return sum;
}

static void update(const struct run *run, double learning_rate, uint64_t t) {
    const struct fbp_plan *plan = run->plan;
    const struct fbp_kernels *k = plan->kernels;
    const struct fbp_optimizer *o = &plan->optimizer;
    const struct fbp_vectors *v = run->vectors;
    size_t first, end;
    share(run, plan->parameters, UPDATE_GRAIN, &first, &end);
    const size_t n = end - first;
    void *w = (void *)reals(plan, v->parameters, first);
    const void *g = reals(plan, v->gradient, first);
    void *moments[3] = {NULL, NULL, NULL};
    for (int m = 0; m < 2; m++)
        if (v->moments[m]) moments[m] = (void *)reals(plan, v->moments[m], first);
    k->optimizer[o->kind](o, w, g, moments, t, learning_rate, n);
}

struct epoch_call {
    struct fbp_plan *plan;
    const struct fbp_vectors *vectors;
    struct fbp_epoch *epoch;
    int status;
};

/* Every part keeps its own copy of the counters and advances it alike; part 0's is handed back. */
static void run_epoch(void *context, int part, int parts) {
    struct epoch_call *call = context;
    struct fbp_plan *plan = call->plan;
    struct fbp_epoch e = *call->epoch;
    struct run run = {.plan = plan, .vectors = call->vectors, .part = part, .parts = parts};
    const double deadline = part == 0 ? now() + e.seconds : 0;
    const double slice = e.seconds < 1 ? e.seconds : 1;
    const size_t blocks_a_look = 1 + (size_t)(FLOPS_A_LOOK * slice / (plan->flops_a_row * (double)plan->block));
    size_t blocks = 0;
    int status = FBP_OK;
    if (part == 0) plan->pause = 0;
    barrier(&run); /* all have copied the counters */
    while (e.step * e.batch < e.rows) {
        const size_t start = e.step * e.batch;
        const size_t rows = e.rows - start < e.batch ? e.rows - start : e.batch;
        run.rows = rows - e.block_start < plan->block ? rows - e.block_start : plan->block;
        gather(&run, e.x, e.x_row, e.target, e.target_row, e.order, start + e.block_start);
        barrier(&run);
        forward(&run, NULL);
        loss(&run, loss_scale(plan, rows));
        if (part == 0) plan->block_loss = sum_row_losses(&run);
        backward(&run, call->vectors->gradient, e.block_start > 0, NULL);
        e.block_start += run.rows;
        if (part == 0 && ++blocks % blocks_a_look == 0) plan->pause = now() > deadline;
        barrier(&run);
        e.batch_sum += plan->block_loss;
        const int pause = plan->pause;

        if (e.block_start == rows) {
            const double loss = e.batch_sum * loss_scale(plan, rows), norm = squared_norm(&run);
            if (!isfinite(loss)) status = FBP_LOSS_NOT_FINITE;
            /* a sum of squares may overflow where no gradient does */
            else if (!isfinite(norm) && !plan->kernels->all_finite(call->vectors->gradient, plan->parameters))
                status = FBP_GRADIENT_NOT_FINITE;
            if (status != FBP_OK) {
                e.failed_loss = loss;
                break;
            }
            update(&run, e.learning_rates[e.step], e.t + 1);
            e.last_loss = loss;
            e.loss_sum += loss * (double)rows;
            e.last_squared_norm = norm;
            e.squared_norm_sum += norm;
            e.t++, e.step++;
            e.block_start = 0, e.batch_sum = 0;
            barrier(&run);
        }
        if (pause && e.step * e.batch < e.rows) { status = FBP_PAUSED; break; }
    }
    if (part == 0) *call->epoch = e, call->status = status;
}

int fbp_plan_epoch(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch) {
    struct epoch_call call = {.plan = plan, .vectors = vectors, .epoch = epoch, .status = FBP_OK};
    fbp_pool_run(fbp_plan_threads(plan, epoch->batch < epoch->rows ? epoch->batch : epoch->rows), run_epoch, &call);
    return call.status;
}
