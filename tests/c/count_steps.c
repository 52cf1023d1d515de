/* count_steps.c: trains a net for a given number of steps, for test_instructions.py to count what it takes.
 *
 *     count_steps <net: 0, 1 or 2> <steps>
 *
 * Runs on one thread, on rows that need no shuffling, in float32. ISA is defined by whoever compiles this. */
#include "fbp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_OF(isa) fbp_kernels_f32_##isa
#define TABLE(isa) TABLE_OF(isa)

static struct fbp_layer dense(size_t inputs, size_t outputs, int activation) {
    return (struct fbp_layer){.kind = FBP_DENSE, .inputs = inputs, .outputs = outputs, .bias = 1, .activation = activation};
}

/* Reals in (-1, 1) by a linear congruential generator: the same on every machine. */
static float *random_reals(size_t n) {
    static uint32_t state = 1;
    float *x = malloc(n * sizeof *x);
    if (!x) exit(2);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const int net = atoi(argv[1]);
    const size_t steps = (size_t)atoi(argv[2]);
    const struct fbp_layer online[] = {dense(4, 64, FBP_RELU), dense(64, 64, FBP_RELU), dense(64, 2, FBP_IDENTITY)};
    const struct fbp_layer digits[] = {dense(784, 128, FBP_RELU), dense(128, 10, FBP_IDENTITY)};
    const struct fbp_layer actor[] = {dense(17, 256, FBP_TANH), dense(256, 256, FBP_TANH), dense(256, 6, FBP_IDENTITY)};
    const struct fbp_optimizer sgd = {.kind = FBP_SGD}, adam = {.kind = FBP_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    const struct {
        const struct fbp_layer *layers;
        size_t n, batch;
        int loss;
        const struct fbp_optimizer *optimizer;
    } nets[] = {
        {online, 3, 1, FBP_SOFTMAX_CROSS_ENTROPY_LABELS, &adam},
        {digits, 2, 64, FBP_SOFTMAX_CROSS_ENTROPY_LABELS, &sgd},
        {actor, 3, 256, FBP_MEAN_SQUARED_ERROR, &adam},
    };
    if (net < 0 || net > 2 || steps < 1) return 2;
    const size_t inputs = nets[net].layers[0].inputs, outputs = nets[net].layers[nets[net].n - 1].outputs;
    const size_t batch = nets[net].batch;
    const struct fbp_plan_spec spec = {
        .kernels = &TABLE(ISA),
        .layers = nets[net].layers,
        .n_layers = nets[net].n,
        .rows = batch,
        .threads = 1,
        .trains = 1,
        .loss = nets[net].loss,
        .optimizer = *nets[net].optimizer,
    };
    struct fbp_plan *plan;
    if (fbp_plan_create(&spec, &plan, NULL) != FBP_OK) return 2;
    const size_t P = fbp_plan_parameters(plan);
    const struct fbp_vectors vectors = {
        .parameters = random_reals(P),
        .gradient = random_reals(P),
        .moments = {calloc(P, 4), calloc(P, 4)},
    };
    float *w = vectors.parameters;
    for (size_t i = 0; i < P; i++) w[i] *= 0.1f;
    float *x = random_reals(batch * inputs), *targets = random_reals(batch * outputs);
    int64_t *labels = malloc(batch * sizeof *labels);
    if (!labels || !vectors.moments[0] || !vectors.moments[1]) return 2;
    for (size_t i = 0; i < batch; i++) labels[i] = (int64_t)(i % outputs);
    const int of_labels = nets[net].loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS;
    const double rate = 1e-3;
    double loss = 0;
    uint64_t t = 0;
    double bounds[3] = {0, 0, 0};
    for (size_t s = 0; s < steps; s++) {
        struct fbp_epoch epoch = {
            .data = {.x = {.at = x, .row = (ptrdiff_t)(inputs * sizeof *x), .column = sizeof *x},
                     .target = of_labels ? (void *)labels : targets,
                     .target_row = of_labels ? 1 : outputs,
                     .rows = batch},
            .batch = batch,
            .accumulate = 1,
            .learning_rates = &rate,
            .seconds = 1e9,
            .t = t,
            .moment_bounds = {bounds[0], bounds[1], bounds[2]},
        };
        if (fbp_plan_epoch(plan, &vectors, &epoch) != FBP_OK) return 1;
        t = epoch.t, loss = epoch.last_loss;
        memcpy(bounds, epoch.moment_bounds, sizeof bounds);
    }
    printf("%.9g\n", loss);
    fbp_plan_destroy(plan);
    free(vectors.parameters), free(vectors.gradient), free(vectors.moments[0]), free(vectors.moments[1]);
    free(x), free(targets), free(labels);
    return 0;
}
