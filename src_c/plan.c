/* plan.c: a net as a list of steps over one workspace.
 *
 * Problem. Run forward, loss, backward and update for minibatch after minibatch without allocation, without Python, and
 * with the same bits for any number of threads.
 *
 * Representation. A value is a matrix of at most `block` rows: value 0 is the net's input, and every step computes one more. A step
 * is a layer, or the addition that ends a residual block. A value's gradient overwrites it: once dW = x^T dz is computed, x is
 * needed only for the derivative of its activation, so dense_backward_inputs overwrites x with the gradient at the pre-activation.
 * Rows of values are padded so that neighbouring rows fall on different cache sets.
 *
 * A minibatch runs in blocks of at most FBP_BLOCK rows, each through the whole net and back while it is in cache; the gradient is
 * summed block after block. So the workspace does not grow with the minibatch. Only a net with trained batch norms takes a
 * minibatch at once.
 *
 * Threads. Every part runs the same code over the same steps, computes its share of each and waits for the others at a barrier
 * where a step reads the results of another part. Decisions (is the loss finite, is the time slice over) are made from values
 * that all parts see, or by part 0 before a barrier.
 *
 * This file makes plans; pass.c runs a block of rows through one, epoch.c and calls.c whole minibatches.
 */
#define _DEFAULT_SOURCE /* madvise */
#include "plan.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum {
    CHUNK = 8192, /* upper bound on the reals in a partial sum of |gradient|^2 */
    HUGE_PAGE = 2 * 1024 * 1024,
    ONE_ROW_PARAMETERS = 16384, /* fewest parameters for which an update of one row forms no gradient: for fewer, updating layer by
                                   layer costs more than dW, which stays in the first-level cache */
};
static const double MOST_REALS = 0x1p56; /* upper bound on the size of any vector: sizes in bytes do not overflow */

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

/* ------------------------------------------------------------------------------------------------- the steps */

/* The state of add_steps. */
struct builder {
    struct fbp_plan *plan;
    size_t now;          /* the value added last */
    size_t *open, depth; /* the input values of the residual blocks that are open */
    size_t projected;    /* the output value of the projection of the block that is about to end; 0: it has none */
    size_t dropouts;
};

static size_t add_value(struct fbp_plan *plan, size_t width, int activation, double alpha) {
    const size_t item = plan->kernels->item, row = padded_row(width, item);
    plan->values[plan->n_values] = (struct value){
        .width = width, .row = row, .offset = take(plan, plan->block * row * item), .activation = activation, .alpha = alpha};
    return plan->n_values++;
}

static struct step *add_step(struct builder *b, const struct fbp_layer *layer) {
    struct step *step = &b->plan->steps[b->plan->n_steps++];
    step->kind = layer->kind;
    step->in = b->now;
    step->frozen = layer->frozen;
    return step;
}

/* The pieces of the gradient for a layer whose parameters begin at plan->parameters. */
static void add_chunks(struct fbp_plan *plan, const struct fbp_layer *layer, size_t weights, size_t size) {
    const size_t penalized = layer->l1 == 0 && layer->l2 == 0 ? 0 : layer->penalize_bias ? size : weights;
    for (size_t done = 0; done < size; done += CHUNK)
        plan->chunks[plan->n_chunks++] = (struct chunk){.start = plan->parameters + done,
                                                        .size = size - done < CHUNK ? size - done : CHUNK,
                                                        .penalized = penalized < done         ? 0
                                                                   : penalized - done < CHUNK ? penalized - done
                                                                                              : CHUNK,
                                                        .l1 = layer->l1,
                                                        .l2 = layer->l2,
                                                        .step = plan->n_steps - 1,
                                                        .layer = plan->learned};
    if (penalized) plan->penalizes = 1;
    if (plan->n_trained && plan->trained[plan->n_trained - 1].end == plan->parameters)
        plan->trained[plan->n_trained - 1].end += size;
    else plan->trained[plan->n_trained++] = (struct range){plan->parameters, plan->parameters + size};
}

/* Parameters of a step: W (weights reals), and b (biases reals), in the flat vector's order. */
static void add_parameters(struct fbp_plan *plan, struct step *step, const struct fbp_layer *layer, size_t weights, size_t biases) {
    step->W = plan->parameters, step->b = plan->parameters + weights;
    step->has_bias = biases > 0;
    if (weights == 0) return;
    if (!step->frozen) {
        add_chunks(plan, layer, weights, weights + biases);
        plan->values[plan->n_values - 1].learns = 1;
    }
    plan->parameters += weights + biases;
    plan->learned++;
}

static void add_dense(struct builder *b, const struct fbp_layer *layer) {
    struct fbp_plan *plan = b->plan;
    const size_t I = layer->inputs, O = layer->outputs;
    struct step *step = add_step(b, layer);
    b->now = step->out = add_value(plan, O, layer->activation, layer->alpha);
    plan->values[step->out].learns = plan->values[step->in].learns;
    add_parameters(plan, step, layer, I * O, layer->bias ? O : 0);
    plan->multiply_adds_a_row += 3.0 * (double)I * (double)O;
}

/* On the skip connection: from the block's input to a value that its end adds. */
static void add_projection(struct builder *b, const struct fbp_layer *layer) {
    const size_t inner = b->now;
    b->now = b->open[b->depth - 1];
    add_dense(b, layer);
    b->projected = b->now;
    b->plan->steps[b->plan->n_steps - 1].incoming = b->plan->n_values + 1; /* the value of the block's end, added after the next */
    b->plan->steps[b->plan->n_steps - 1].waiting = add_value(b->plan, layer->inputs, FBP_IDENTITY, 0);
    b->now = inner;
}

static void add_end(struct builder *b, const struct fbp_layer *layer) {
    struct fbp_plan *plan = b->plan;
    struct step *step = add_step(b, layer);
    const size_t begun = b->open[--b->depth];
    step->skip = b->projected ? b->projected : begun;
    b->now = step->out = add_value(plan, layer->outputs, FBP_IDENTITY, 0);
    plan->values[step->out].learns = plan->values[step->in].learns || plan->values[step->skip].learns;
    if (step->skip == 0) plan->input_moves = 1;
    b->projected = 0;
}

/* A step whose output is as wide as its input, row by row. */
static struct step *add_rowwise(struct builder *b, const struct fbp_layer *layer, int activation, double alpha) {
    struct fbp_plan *plan = b->plan;
    struct step *step = add_step(b, layer);
    b->now = step->out = add_value(plan, layer->outputs, activation, alpha);
    plan->values[step->out].learns = plan->values[step->in].learns;
    plan->multiply_adds_a_row += 15.0 * (double)layer->outputs; /* take about as long as these steps do */
    if (step->in == 0) plan->input_moves = plan->input_in_place = 1;
    return step;
}

/* Whether a step may overwrite its input: no skip connection reads it, and it is not the net's input. */
static int may_overwrite(const struct builder *b) {
    for (size_t d = 0; d < b->depth; d++)
        if (b->open[d] == b->now) return 0;
    return b->now != 0;
}

static void put_in_place(struct builder *b, struct step *step, size_t workspace_before) {
    struct fbp_plan *plan = b->plan;
    step->in_place = 1;
    plan->values[step->out].offset = plan->values[step->in].offset;
    plan->workspace_bytes = workspace_before;
}

static void add_activation(struct builder *b, const struct fbp_layer *layer) {
    struct fbp_plan *plan = b->plan;
    const size_t before = plan->workspace_bytes;
    /* Before FBP_FROM_Z the activation is a field of the value, as after a dense layer. */
    const int with_value = layer->activation < FBP_FROM_Z;
    const int overwrites = may_overwrite(b) && plan->values[b->now].activation == FBP_IDENTITY && with_value;
    struct step *step = add_rowwise(b, layer, with_value ? layer->activation : FBP_IDENTITY, with_value ? layer->alpha : 0);
    step->activation = layer->activation, step->alpha = layer->alpha;
    if (overwrites) put_in_place(b, step, before);
}

static void add_softmax(struct builder *b, const struct fbp_layer *layer) {
    struct fbp_plan *plan = b->plan;
    struct step *step = add_rowwise(b, layer, FBP_IDENTITY, 0);
    if (plan->trains) step->saved = take(plan, plan->block * plan->values[step->out].row * plan->kernels->item);
}

/* In place only where scaling y does not change the derivative of the activation: that of ReLU depends on the sign of y alone. */
static void add_dropout(struct builder *b, const struct fbp_layer *layer, uint64_t stream) {
    struct fbp_plan *plan = b->plan;
    const size_t before = plan->workspace_bytes;
    const struct value *in = &plan->values[b->now];
    const int overwrites = may_overwrite(b) && (in->activation == FBP_IDENTITY || in->activation == FBP_RELU);
    struct step *step = add_rowwise(b, layer, overwrites ? in->activation : FBP_IDENTITY, 0);
    if (overwrites) put_in_place(b, step, before);
    step->dropout = (struct fbp_dropout){.rate = layer->rate, .stream = stream + b->dropouts++};
    if (plan->trains) step->saved = take(plan, plan->block * plan->values[step->out].row * plan->kernels->item);
}

static void add_norm(struct builder *b, const struct fbp_layer *layer) {
    struct fbp_plan *plan = b->plan;
    struct step *step = add_rowwise(b, layer, layer->activation, layer->alpha);
    const size_t N = layer->outputs;
    add_parameters(plan, step, layer, layer->bias ? N : 0, layer->bias ? N : 0);
    step->norm.eps = layer->eps;
    if (layer->kind == FBP_BATCH_NORM) {
        step->statistics = plan->statistics;
        step->momentum = layer->rate;
        plan->statistics += 2 * N;
    }
}

/* What is wrong with a layer as the successor of those already added. */
static int flaw_of(const struct builder *b, const struct fbp_layer *layer) {
    const struct value *values = b->plan->values;
    const size_t width = values[b->now].width, begun = b->depth ? b->open[b->depth - 1] : b->now;
    const int block_is_empty = begun == b->now; /* or none is open */
    if (layer->kind < 0 || layer->kind >= FBP_LAYER_KINDS) return FBP_FLAW_KIND;
    if (layer->activation < 0 || layer->activation >= FBP_ACTIVATIONS) return FBP_FLAW_ACTIVATION;
    if (layer->activation >= FBP_FROM_Z && layer->kind != FBP_ACTIVATION) return FBP_FLAW_FROM_Z;
    if (layer->kind == FBP_PROJECTION) {
        const int fits = values[begun].width == layer->inputs && layer->outputs == width;
        return block_is_empty || b->projected || !fits ? FBP_FLAW_PROJECTION : FBP_NO_FLAW;
    }
    if (b->projected && layer->kind != FBP_RESIDUAL_END) return FBP_FLAW_AFTER_PROJECTION;
    if (layer->inputs != width) return FBP_FLAW_INPUTS;
    if (layer->kind == FBP_DENSE) return FBP_NO_FLAW;
    if (layer->outputs != width) return FBP_FLAW_UNEQUAL;
    if (layer->kind != FBP_RESIDUAL_END) return FBP_NO_FLAW;
    return block_is_empty || values[b->projected ? b->projected : begun].width != width ? FBP_FLAW_END : FBP_NO_FLAW;
}

/* The layers as steps. Returns the flaw of the first layer that has one. */
static int add_steps(struct builder *b, const struct fbp_plan_spec *spec, struct fbp_plan_error *error) {
    struct fbp_plan *plan = b->plan;
    b->now = add_value(plan, plan->inputs, FBP_IDENTITY, 0);
    for (size_t i = 0; i < spec->n_layers; i++) {
        const struct fbp_layer *layer = &spec->layers[i];
        const int flaw = flaw_of(b, layer);
        error->layer = i, error->number = plan->values[b->now].width;
        if (flaw != FBP_NO_FLAW) return flaw;
        switch (layer->kind) {
        case FBP_DENSE: add_dense(b, layer); break;
        case FBP_RESIDUAL_BEGIN: b->open[b->depth++] = b->now; break;
        case FBP_PROJECTION: add_projection(b, layer); break;
        case FBP_RESIDUAL_END: add_end(b, layer); break;
        case FBP_ACTIVATION: add_activation(b, layer); break;
        case FBP_SOFTMAX: add_softmax(b, layer); break;
        case FBP_DROPOUT: add_dropout(b, layer, spec->dropout_stream); break;
        default: add_norm(b, layer);
        }
    }
    plan->outputs = plan->values[b->now].width;
    return b->depth ? FBP_FLAW_OPEN : FBP_NO_FLAW;
}

/* Backward goes through the steps from the last to the first. At the end of a residual block, the gradient for the value on the skip
 * connection stays in the memory of the end's output until a step computes the other gradient of that value and adds it. Where two
 * blocks skip from the same value, the second to run backward adds the gradient that already waits to its own. */
static void route_skips(struct fbp_plan *plan) {
    for (size_t s = plan->n_steps; s--;) {
        struct step *step = &plan->steps[s];
        if (step->kind != FBP_RESIDUAL_END && step->kind != FBP_PROJECTION) continue;
        if (step->kind == FBP_RESIDUAL_END && s && plan->steps[s - 1].kind == FBP_PROJECTION) continue;
        struct value *past = &plan->values[step->kind == FBP_PROJECTION ? step->in : step->skip];
        step->earlier_skip = past->skip;
        past->skip = step->kind == FBP_PROJECTION ? step->waiting : step->out;
    }
}

/* -------------------------------------------------------- kernel arguments that are fixed when the plan is created */

/* A value and its gradient share memory. */
static void describe_dense(const struct fbp_plan *plan, struct step *step) {
    const struct value *in = &plan->values[step->in], *out = &plan->values[step->out];
    void *x = at(plan, in->offset), *y = at(plan, out->offset);
    step->dense = (struct fbp_dense){.I = in->width,
                                     .O = out->width,
                                     .activation = out->activation,
                                     .alpha = out->alpha,
                                     .x = x,
                                     .x_row = in->row,
                                     .y = y,
                                     .y_row = out->row,
                                     .dz = y,
                                     .dz_row = out->row,
                                     .dx = x,
                                     .dx_row = in->row,
                                     .x_activation = in->activation,
                                     .x_alpha = in->alpha,
                                     .room = fbp_thread_room};
    size_t skip = in->skip;
    if (step->kind == FBP_PROJECTION) {
        const struct value *waiting = &plan->values[step->waiting], *incoming = &plan->values[step->incoming];
        step->dense.dz = at(plan, incoming->offset), step->dense.dz_row = incoming->row;
        step->dense.dx = at(plan, waiting->offset), step->dense.dx_row = waiting->row;
        step->dense.x_activation = FBP_IDENTITY; /* the step that adds this gradient to its own multiplies by the derivative */
        skip = step->earlier_skip;
    }
    if (skip) {
        step->dense.skip = at(plan, plan->values[skip].offset);
        step->dense.skip_row = plan->values[skip].row;
    }
}

static void describe_norm(const struct fbp_plan *plan, struct step *step) {
    const struct value *in = &plan->values[step->in], *out = &plan->values[step->out];
    struct fbp_norm *norm = &step->norm;
    norm->N = out->width;
    norm->x = at(plan, in->offset), norm->x_row = in->row;
    norm->y = norm->dx = at(plan, out->offset), norm->y_row = norm->dx_row = out->row;
    norm->dz = at(plan, out->offset), norm->dz_row = out->row;
    norm->activation = out->activation, norm->alpha = out->alpha;
    unsigned char *room = at(plan, step->saved);
    norm->mean = room;
    norm->rstd = (void *)reals(plan, room, step->kind == FBP_LAYER_NORM ? plan->block : norm->N);
    if (step->kind == FBP_BATCH_NORM) {
        norm->variance = (void *)reals(plan, room, 2 * norm->N);
        norm->sums = (void *)reals(plan, room, 3 * norm->N);
    }
}

static void describe_dropout(const struct fbp_plan *plan, struct step *step, uint64_t seed) {
    const struct value *in = &plan->values[step->in], *out = &plan->values[step->out];
    struct fbp_dropout *d = &step->dropout;
    d->N = out->width, d->seed = seed;
    d->x = at(plan, in->offset), d->x_row = in->row;
    d->y = at(plan, out->offset), d->y_row = out->row;
    d->mask = at(plan, step->saved), d->mask_row = out->row;
}

static void describe(struct fbp_plan *plan, const struct fbp_plan_spec *spec) {
    for (size_t s = 0; s < plan->n_steps; s++) {
        struct step *step = &plan->steps[s];
        if (is_dense(step)) describe_dense(plan, step);
        else if (step->kind == FBP_LAYER_NORM || step->kind == FBP_BATCH_NORM) describe_norm(plan, step);
        else if (step->kind == FBP_DROPOUT) describe_dropout(plan, step, spec->seed);
    }
}

/* Memory for the statistics that norms save for backward, and that batch norms keep until the update. */
static void take_norm_rooms(struct fbp_plan *plan) {
    size_t widest = 0;
    for (size_t s = 0; s < plan->n_steps; s++) {
        struct step *step = &plan->steps[s];
        const size_t N = plan->values[step->out].width;
        if ((step->kind == FBP_LAYER_NORM || step->kind == FBP_BATCH_NORM) && N > widest) widest = N;
        if (step->kind == FBP_LAYER_NORM) step->saved = take(plan, 2 * plan->block * plan->kernels->item);
        if (step->kind == FBP_BATCH_NORM) {
            step->saved = take(plan, 5 * N * plan->kernels->item);
            step->pending = take(plan, 2 * N * plan->kernels->item);
        }
    }
    plan->row_gradient = take(plan, 2 * widest * plan->kernels->item);
}

/* What backward keeps of each dense layer for an update of one row: see update.c. */
static void take_kept_rooms(struct fbp_plan *plan) {
    plan->outer_updates = plan->trains && !plan->penalizes && plan->parameters >= ONE_ROW_PARAMETERS;
    for (size_t s = 0; s < plan->n_steps && plan->outer_updates; s++) {
        struct step *step = &plan->steps[s];
        if (is_dense(step) && !step->frozen)
            step->kept = take(plan, (plan->values[step->in].row + plan->values[step->out].width) * plan->kernels->item);
    }
}

/* ------------------------------------------------------------------------------------------------- the whole */

static void take_loss_rooms(struct fbp_plan *plan) {
    const struct value *output = &plan->values[plan->n_values - 1];
    const size_t item = plan->kernels->item;
    plan->loss_gradient = take(plan, plan->block * output->row * item);
    plan->targets = take(plan, plan->block * plan->loss.target_width * plan->loss.target_item);
    if (plan->loss.smooths) plan->smooth_targets = take(plan, plan->block * plan->outputs * item);
    plan->row_weights = take(plan, plan->block * sizeof(double));
    plan->row_loss = take(plan, plan->block * sizeof(double));
}

/* The workspace, zeroed: padding is read, though its values are never used. A large one lies in huge pages where the system has
 * them, so that distant rows share address translations. Returns 0 when there is no memory. */
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
    free(plan->chunks);
    free(plan->trained);
    free((void *)plan->loss.parameters);
    free((void *)plan->loss.class_weights);
    free(plan->memory);
    free(plan->copies);
    free(plan);
}

void fbp_plan_watch(struct fbp_plan *plan, const struct fbp_watch *watch) { plan->watch = *watch; }

/* Zeroed memory for an array that may be empty. */
static void *zeros(size_t count, size_t size) { return calloc(count + 1, size); }

static int copy_numbers(const double **to, const double *from, size_t count) {
    if (!count) return 1;
    double *copy = zeros(count, sizeof(double));
    if (copy) memcpy(copy, from, count * sizeof(double));
    *to = copy;
    return copy != NULL;
}

/* The loss, which keeps copies of its parameters and class weights. Returns 0 when there is no memory. */
static int set_loss(struct fbp_plan *plan, const struct fbp_plan_spec *spec) {
    plan->loss = (struct fbp_weighted_loss){.kernels = spec->kernels,
                                            .loss = spec->loss,
                                            .C = plan->outputs,
                                            .smoothing = spec->smoothing,
                                            .reduction_sum = spec->reduction_sum};
    if (!copy_numbers(&plan->loss.parameters, spec->loss_parameters, spec->n_loss_parameters)) return 0;
    if (!copy_numbers(&plan->loss.class_weights, spec->class_weights, spec->n_class_weights)) return 0;
    fbp_loss_begin(&plan->loss);
    return 1;
}

/* An upper bound on the number of chunks. */
static size_t chunks_of(const struct fbp_plan_spec *spec) {
    size_t count = 0;
    for (size_t i = 0; i < spec->n_layers; i++)
        count += 2 + (spec->layers[i].inputs * spec->layers[i].outputs + spec->layers[i].outputs) / CHUNK;
    return count;
}

/* What can be wrong before any layer is added: afterwards no size overflows. */
static int flaw_of_sizes(const struct fbp_plan_spec *spec, struct fbp_plan_error *error) {
    double parameters = 0, widths = 0;
    for (size_t i = 0; i < spec->n_layers; i++) {
        const size_t I = spec->layers[i].inputs, O = spec->layers[i].outputs;
        error->layer = i;
        if (I < 1 || I > INT32_MAX || O < 1 || O > INT32_MAX) return FBP_FLAW_WIDTHS;
        const int is_product = spec->layers[i].kind == FBP_DENSE || spec->layers[i].kind == FBP_PROJECTION;
        parameters += is_product ? ((double)I + 1) * (double)O : 2 * (double)O;
        widths += (double)(I + O);
    }
    if (spec->n_layers == 0) return FBP_FLAW_NO_LAYERS;
    return parameters >= MOST_REALS || widths * (double)spec->rows >= MOST_REALS ? FBP_FLAW_SIZE : FBP_NO_FLAW;
}

static int flaw_of_loss(const struct fbp_plan *plan, const struct fbp_plan_spec *spec, struct fbp_plan_error *error) {
    if (spec->loss < -1 || spec->loss >= FBP_LOSSES) return FBP_FLAW_LOSS;
    error->number = spec->loss >= 0 && fbp_loss_traits[spec->loss].parameter ? plan->outputs : 0;
    if (spec->n_loss_parameters != error->number) return FBP_FLAW_LOSS_PARAMETERS;
    error->number = plan->outputs;
    return spec->n_class_weights && spec->n_class_weights != plan->outputs ? FBP_FLAW_CLASS_WEIGHTS : FBP_NO_FLAW;
}

static int build(struct fbp_plan *plan, const struct fbp_plan_spec *spec, size_t *open, struct fbp_plan_error *error) {
    const size_t rows = spec->rows < 1 ? 1 : spec->rows, n = spec->n_layers;
    plan->kernels = spec->kernels;
    plan->trains = spec->trains;
    plan->whole = spec->whole;
    plan->block = spec->whole || rows < FBP_BLOCK ? rows : FBP_BLOCK;
    plan->threads = spec->threads;
    plan->optimizer = spec->optimizer;
    plan->clip_norm = spec->clip_norm, plan->clip_value = spec->clip_value;
    plan->average_decay = spec->average_decay;
    plan->inputs = spec->layers[0].inputs;
    plan->steps = zeros(n, sizeof *plan->steps);
    plan->values = zeros(2 * n, sizeof *plan->values);
    plan->trained = zeros(n, sizeof *plan->trained);
    plan->chunks = zeros(chunks_of(spec), sizeof *plan->chunks);
    if (!plan->steps || !plan->values || !plan->trained || !plan->chunks) return FBP_NO_MEMORY;

    struct builder builder = {.plan = plan, .open = open};
    error->flaw = add_steps(&builder, spec, error);
    if (error->flaw == FBP_NO_FLAW) error->flaw = flaw_of_loss(plan, spec, error);
    if (error->flaw != FBP_NO_FLAW) return FBP_BAD_PLAN;
    route_skips(plan);
    take_norm_rooms(plan);
    take_kept_rooms(plan);
    if (!set_loss(plan, spec)) return FBP_NO_MEMORY;
    if (spec->trains || spec->loss >= 0) take_loss_rooms(plan);
    if (spec->trains) {
        plan->norms = take(plan, plan->n_chunks * sizeof(double));
        plan->penalties = take(plan, plan->n_chunks * sizeof(double));
    }
    if (!allocate_workspace(plan)) return FBP_NO_MEMORY;
    describe(plan, spec);
    return FBP_OK;
}

int fbp_plan_create(const struct fbp_plan_spec *spec, struct fbp_plan **result, struct fbp_plan_error *why) {
    struct fbp_plan_error unused, *error = why ? why : &unused;
    *error = (struct fbp_plan_error){0};
    error->flaw = flaw_of_sizes(spec, error);
    if (error->flaw != FBP_NO_FLAW) return FBP_BAD_PLAN;
    struct fbp_plan *plan = zeros(1, sizeof *plan);
    size_t *open = zeros(spec->n_layers, sizeof *open);
    const int status = plan && open ? build(plan, spec, open, error) : FBP_NO_MEMORY;
    free(open);
    if (status == FBP_OK) *result = plan;
    else fbp_plan_destroy(plan);
    return status;
}

size_t fbp_plan_inputs(const struct fbp_plan *plan) { return plan->inputs; }
size_t fbp_plan_width(const struct fbp_plan *plan) { return plan->outputs; }
size_t fbp_plan_parameters(const struct fbp_plan *plan) { return plan->parameters; }
size_t fbp_plan_statistics(const struct fbp_plan *plan) { return plan->statistics; }
size_t fbp_plan_learned(const struct fbp_plan *plan) { return plan->learned; }
size_t fbp_plan_workspace(const struct fbp_plan *plan) { return plan->workspace_bytes; }

/* Threads meet several times in each block of rows, so it is a block's work that must pay for them. */
int fbp_plan_threads(const struct fbp_plan *plan, size_t rows) {
    return fbp_threads_for(plan->multiply_adds_a_row * (double)(rows < plan->block ? rows : plan->block), plan->threads);
}
