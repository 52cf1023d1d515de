/* fbp.h: the public types of the core.
 *
 * Letters, everywhere: B batch, I inputs, O outputs, C classes, N elements; x W b z y; gradients dx dW db dz dy.
 * A "real" is a float or a double; which one is known to the kernels only. Here arrays of reals are void pointers,
 * sizes and strides count elements, and a row stride (x_row) is the distance between the starts of two rows.
 *
 * Who may know whom: isa/ -> kernels/ -> vec/ -> fbp.h; plan.c, pool.c, cpu.c and rng.c see fbp.h only.
 */
#ifndef FBP_H
#define FBP_H

#include <stddef.h>
#include <stdint.h>

/* The longest chain of multiply-adds. A product's sum over k is cut into blocks of this many terms; each block is one
 * chain, and the blocks are added in order. The plan runs a minibatch through the net in row blocks of the same
 * length, so a weight gradient summed block by block has the bits of one summed at once. It is the same number on
 * every instruction set: that is what makes their results equal bit for bit. */
#define FBP_BLOCK 256

enum fbp_status {
    FBP_OK,
    FBP_NO_MEMORY,
    FBP_LOSS_NOT_FINITE,     /* the loss of a minibatch is nan or inf; the update was not made */
    FBP_GRADIENT_NOT_FINITE, /* the loss is finite, its gradient is not; the update was not made */
    FBP_PAUSED,              /* the time slice is over; call again to go on */
    FBP_BAD_PLAN             /* no layers, or residual blocks that are empty or do not nest */
};

/* ------------------------------------------------------------------------------------------- activations */

/* y = f(z). Every derivative here is computed from y, so backward needs no z.
 * alpha: slope for z <= 0 (leaky_relu), beta (softplus); unused by the others. */
enum fbp_activation {
    FBP_IDENTITY,
    FBP_RELU,
    FBP_LEAKY_RELU,
    FBP_SIGMOID,
    FBP_TANH,
    FBP_SOFTPLUS,
    FBP_ACTIVATIONS
};

/* ------------------------------------------------------------------------------------------------ losses */

enum fbp_loss {
    FBP_SOFTMAX_CROSS_ENTROPY_LABELS,        /* target: int64 class numbers, (B,), already checked to be in [0, C) */
    FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES, /* target: reals, (B, C) */
    FBP_BINARY_CROSS_ENTROPY,                /* target: reals, (B, C); z are logits */
    FBP_MEAN_SQUARED_ERROR,                  /* target: reals, (B, C) */
    FBP_PINBALL,                             /* target: reals, (B, C); parameters: C quantile levels as double */
    FBP_LOSSES
};

/* One row block of a loss. For each row b it writes row_loss[b], the sum of the loss over the row's elements, and
 * dz = scale * d(row_loss[b])/dz. dz may be z itself. `target_row` is ignored for labels. */
typedef void fbp_loss_fn(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters,
                         double scale, void *dz, size_t dz_row, double *row_loss, size_t B, size_t C);

/* ---------------------------------------------------------------------------------------------- products */

/* C (M, N) = A (M, K) B (K, N), with A[i][k] = a[i * a_row + k * a_col]. All matrices of reals; c does not overlap a or b. */
struct fbp_gemm {
    size_t M, N, K;
    const void *a; size_t a_row, a_col;
    const void *b; size_t b_row;       /* B[k][j] = b[k * b_row + j]; not read when `panels` is given */
    int b_transposed;                  /* B[k][j] = b[j * b_row + k]; not with panels */
    const void *panels;                /* B as gemm_pack left it, or NULL */
    const void *bias;                  /* (N,): added to every row of C, or NULL */
    int accumulate;                    /* C += rather than C =; not with bias */
    void *c; size_t c_row;
};

/* One dense layer and all it needs for both directions: y = f(x W + b). */
struct fbp_dense {
    size_t B, I, O;
    const void *x; size_t x_row;       /* (B, I) */
    const void *W;                     /* (I, O), rows O apart */
    const void *b;                     /* (O,) or NULL */
    int activation; double alpha;      /* f */
    void *y; size_t y_row;             /* (B, O): written by forward */
    const void *dz; size_t dz_row;     /* (B, O): gradient at z = x W + b */
    const void *dz_panels;             /* dz as gemm_pack left it, or NULL: dense_backward_weights may read it instead */
    void *dW, *db;                     /* (I, O) and (O,) or NULL */
    int accumulate;                    /* dW += and db += rather than = */
    /* dx = (dz W^T + skip) * g'(x), where x = g(...) is the output of the layer before: what that layer calls dz. */
    const void *skip; size_t skip_row; /* (B, I) or NULL: gradient that arrives at x past this layer */
    int x_activation; double x_alpha;  /* g; FBP_IDENTITY leaves the gradient at x itself */
    void *dx; size_t dx_row;           /* (B, I): may be x itself */
};

/* --------------------------------------------------------------------------------------- the kernel table */

/* What an instruction set offers for one real type. Functions with (part, parts) compute share `part` of `parts` of
 * their output; shares do not overlap, and the bits do not depend on `parts`. */
struct fbp_kernels {
    const char *isa;
    size_t item;   /* bytes in a real: 4 or 8 */
    size_t panel;  /* columns in a panel of a packed matrix; a packed (K, N) takes K * ceil(N / panel) * panel reals */

    void (*gemm)(const struct fbp_gemm *product, int part, int parts);
    /* Writes B (K, N), B[k][j] = b[k * b_row + j], as panels: panels[j / panel][k][j % panel], columns past N zero. */
    void (*gemm_pack)(const void *b, size_t b_row, void *panels, size_t K, size_t N, int part, int parts);

    void (*dense_forward)(const struct fbp_dense *layer, int part, int parts);
    void (*dense_backward_weights)(const struct fbp_dense *layer, int part, int parts);
    void (*dense_backward_inputs)(const struct fbp_dense *layer, int part, int parts);

    void (*activation_forward)(const void *x, int activation, double alpha, void *y, size_t N);
    void (*activation_backward)(const void *dy, const void *y, int activation, double alpha, void *dx, size_t N);

    void (*softmax_forward)(const void *x, void *y, size_t B, size_t C);
    void (*softmax_backward)(const void *dy, const void *y, void *dx, size_t B, size_t C);

    fbp_loss_fn *loss[FBP_LOSSES];

    /* Updates w in place. v: the momentum buffer, NULL when momentum is 0. */
    void (*sgd_step)(void *w, const void *g, void *v, double learning_rate, double momentum, double weight_decay,
                     size_t N);
    /* Updates w, m and v in place. t: the number of this step, from 1. */
    void (*adam_step)(void *w, const void *g, void *m, void *v, uint64_t t, double learning_rate, double beta1,
                      double beta2, double eps, double weight_decay, size_t N);

    void (*add)(const void *a, const void *b, void *c, size_t N); /* c = a + b; c may be a or b */
    double (*sum_squares)(const void *x, size_t N); /* inf or nan when an element is, or when the sum overflows a real */
    int (*all_finite)(const void *x, size_t N);
};

extern const struct fbp_kernels fbp_kernels_f32_portable, fbp_kernels_f64_portable;
extern const struct fbp_kernels fbp_kernels_f32_avx2, fbp_kernels_f64_avx2;
extern const struct fbp_kernels fbp_kernels_f32_avx512, fbp_kernels_f64_avx512;
extern const struct fbp_kernels fbp_kernels_f32_neon, fbp_kernels_f64_neon;

/* -------------------------------------------------------------------------------------------------- cpu.c */

enum fbp_isa { FBP_PORTABLE, FBP_AVX2, FBP_AVX512, FBP_NEON, FBP_ISAS };

const char *fbp_isa_name(int isa);
int fbp_isa_available(int isa);            /* built in, and the processor and the operating system support it */
int fbp_isa_best(void);
const char *fbp_compiler(void);            /* that built this file */
const struct fbp_kernels *fbp_kernels_of(int isa, size_t item); /* NULL when not available */

/* ------------------------------------------------------------------------------------------------- pool.c */

/* Runs fn(context, part, parts) for every part in [0, parts), part 0 on the calling thread, and returns when all have
 * returned. parts is at most `threads`; it is 1 when the pool is in use by another call or cannot start threads. */
typedef void fbp_part_fn(void *context, int part, int parts);
void fbp_pool_run(int threads, fbp_part_fn *fn, void *context);
/* Within fn, all parts wait here for each other. */
void fbp_pool_barrier(int part, int parts);
int fbp_cores(void); /* cores this process may use */

/* -------------------------------------------------------------------------------------------------- rng.c */

/* Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): word i of a stream is a function
 * of (seed, stream, i) alone. */
void fbp_random_bits(uint64_t seed, uint64_t stream, uint64_t start, uint32_t *words, size_t N);
void fbp_random_uniform(uint64_t seed, uint64_t stream, uint64_t start, double *u, size_t N); /* [0, 1), 53 bits: two words each */
/* order: a permutation of 0 .. N-1, the one that sorts the stream's first N words (ties by position). N < 2^32.
 * scratch: 2 N words of 64 bits. */
void fbp_random_permutation(uint64_t seed, uint64_t stream, int64_t *order, uint64_t *scratch, size_t N);

/* ------------------------------------------------------------------------------------------------- plan.c */

enum fbp_layer_kind { FBP_DENSE, FBP_RESIDUAL_BEGIN, FBP_RESIDUAL_END };

struct fbp_layer {
    int kind;
    size_t inputs, outputs; /* of a residual block's ends: its width, both */
    int bias;               /* dense only, like the two that follow */
    int activation;
    double alpha;
};

enum fbp_optimizer_kind { FBP_SGD, FBP_ADAM };

struct fbp_optimizer {
    int kind;
    double momentum, weight_decay, beta1, beta2, eps;
};

/* What a plan computes: a net, and for training its loss and update. Copied by fbp_plan_create. */
struct fbp_plan_spec {
    const struct fbp_kernels *kernels;
    const struct fbp_layer *layers; size_t n_layers;
    size_t rows;                 /* rows in the largest minibatch or block to expect: more is allowed, in blocks of this many */
    int threads;                 /* at most so many; 0: as many as pay */
    int loss;                    /* enum fbp_loss, or -1: predict only */
    const double *loss_parameters; size_t n_loss_parameters;
    int reduction_sum;           /* the loss is the sum of its terms rather than their mean */
    struct fbp_optimizer optimizer;
};

/* The vectors a plan works on, all of fbp_plan_parameters reals in one layout: for each dense layer W (I, O) then b (O,). */
struct fbp_vectors {
    void *parameters;
    void *gradient;   /* NULL: predict only */
    void *moments[2]; /* SGD with momentum: {v, NULL}; Adam: {m, v} */
};

struct fbp_plan;

int fbp_plan_create(const struct fbp_plan_spec *spec, struct fbp_plan **plan);
void fbp_plan_destroy(struct fbp_plan *plan);
size_t fbp_plan_parameters(const struct fbp_plan *plan);
size_t fbp_plan_workspace(const struct fbp_plan *plan); /* bytes */
int fbp_plan_threads(const struct fbp_plan *plan, size_t rows); /* threads a minibatch of so many rows would use */

/* y (rows, O) = net(x). x and y are contiguous in each row; x_row apart, and y rows O apart. */
int fbp_plan_forward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row, size_t rows,
                     void *y);

/* The loss of (x, target), without gradient. The returned loss is a sum over rows and elements, not yet divided. */
int fbp_plan_loss(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row,
                  const void *target, size_t target_row, size_t rows, double *loss_sum);

/* loss, gradient (into vectors->gradient) and, unless NULL, dx (rows, I), of one minibatch. */
int fbp_plan_gradient(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row,
                      const void *target, size_t target_row, size_t rows, double *loss, void *dx);

/* The loss of every example, as if it were a minibatch of one, and its gradient: losses (rows,), gradients (rows, P). */
int fbp_plan_example_gradients(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *x, size_t x_row,
                               const void *target, size_t target_row, size_t rows, double *losses, void *gradients);

/* One pass over the data, minibatch after minibatch. Set the first group, zero the second, call until the status is not
 * FBP_PAUSED. On a failure `step` is the minibatch that failed, and the parameters are those before it. */
struct fbp_epoch {
    const void *x; size_t x_row;
    const void *target; size_t target_row; /* labels: int64, target_row 1 */
    size_t rows, batch;
    const int64_t *order;          /* (rows,): the order to take rows in, or NULL: as they stand */
    const double *learning_rates;  /* one a minibatch */
    double seconds;                /* the time slice */

    size_t step;                   /* minibatches done */
    size_t block_start;            /* rows of the current minibatch done: not 0 only between two blocks of it */
    uint64_t t;                    /* optimiser steps done, over all epochs: in and out */
    double batch_sum;              /* loss of those rows */
    double loss_sum;               /* sum over minibatches of (loss * rows in it) */
    double last_loss;              /* of the last minibatch done, as the loss reports it */
    double failed_loss;            /* on a failure, of the minibatch that failed */
    double squared_norm_sum;       /* sum over minibatches of |gradient|^2 */
    double last_squared_norm;
};
int fbp_plan_epoch(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch);

#endif
