/* fbp.h: the public types of the core.
 *
 * Letters, everywhere: B batch, I inputs, O outputs, C classes, N elements; x W b z y; gradients dx dW db dz dy.
 * A "real" is a float or a double; only the kernels know which. Here arrays of reals are void pointers, sizes and strides count
 * elements, and a row stride (x_row) is the distance between the starts of two rows. Only struct fbp_rows, which describes the
 * caller's data, counts bytes.
 *
 * What includes what: isa/ -> kernels/ -> vec/ -> fbp.h; plan.c, pass.c, update.c, epoch.c and calls.c -> plan.h -> fbp.h;
 * loss.c, pool.c, cpu.c, cache.c and rng.c -> fbp.h.
 */
#ifndef FBP_H
#define FBP_H

#include <stddef.h>
#include <stdint.h>

/* The longest chain of multiply-adds. A product's sum over k is cut into blocks of this many terms; each block is one chain, and
 * the blocks are added in order. A plan runs a minibatch through the net in row blocks of the same length, so that a weight gradient
 * summed block by block has the bits of one summed at once. The number is the same on every instruction set, so that their results
 * are equal bit for bit. */
#define FBP_BLOCK 256

enum fbp_status {
    FBP_OK,
    FBP_NO_MEMORY,
    FBP_LOSS_NOT_FINITE,     /* the loss of a minibatch is nan or inf; the update was not made */
    FBP_GRADIENT_NOT_FINITE, /* the loss is finite, its gradient is not; the update was not made */
    FBP_UPDATE_NOT_FINITE,   /* parameters, moments or running statistics would not be finite after the update; it was not made */
    FBP_PAUSED,              /* the time slice is over; call again to go on */
    FBP_STOPPED,             /* `look` of the plan's watch asked for it; the update was not made, the gradient is undefined */
    FBP_BAD_PLAN,            /* no plan can be made of this: see struct fbp_plan_error */
    FBP_TOO_MANY_ROWS        /* the plan takes a minibatch at once, and this one has more rows than the plan's `rows` */
};

/* ------------------------------------------------------------------------------------------- activations */

/* y = f(z). The derivative is computed from y, so that backward does not need z. For the activations from FBP_FROM_Z on, which are
 * not monotonic, it is computed from z, which takes the place of y in the arguments of activation_backward.
 * alpha: slope for z <= 0 (leaky_relu), beta (softplus), the limit at -inf is -alpha (elu); unused by the others. */
enum fbp_activation {
    FBP_IDENTITY,
    FBP_RELU,
    FBP_LEAKY_RELU,
    FBP_SIGMOID,
    FBP_TANH,
    FBP_SOFTPLUS,
    FBP_ELU,
    FBP_SELU,
    FBP_FROM_Z,
    FBP_GELU = FBP_FROM_Z, /* with the error function */
    FBP_GELU_TANH,
    FBP_SILU,
    FBP_ACTIVATIONS
};

/* ------------------------------------------------------------------------------------------------ losses */

enum fbp_loss {
    FBP_SOFTMAX_CROSS_ENTROPY_LABELS,        /* target: int64 class numbers, (B,), already checked to be in [0, C) */
    FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES, /* target: reals, (B, C) */
    FBP_BINARY_CROSS_ENTROPY,                /* target: reals, (B, C), as for all that follow; z are logits */
    FBP_BINARY_CROSS_ENTROPY_WEIGHTED,       /* parameters: C weights of the positive term */
    FBP_MEAN_SQUARED_ERROR,
    FBP_MEAN_ABSOLUTE_ERROR,
    FBP_HUBER,   /* parameters: C times delta */
    FBP_POISSON, /* z is the logarithm of the rate */
    FBP_PINBALL, /* parameters: C quantile levels */
    FBP_LOSSES
};

/* What a loss is, for everything but its kernel: see loss.c. */
struct fbp_loss_traits {
    const char *name;
    const char *input;     /* name of its first argument: z, logits or logarithms, or y, predictions */
    int labels;            /* targets are class numbers in [0, C), int64 (B,); otherwise reals (B, C) */
    int probabilities;     /* those reals are in [0, 1]; otherwise any finite numbers */
    int of_classes;        /* the C outputs are classes that exclude each other: label smoothing and class weights apply */
    int smoothed;          /* of_classes: the loss that takes smoothed targets, enum fbp_loss */
    int mean_over_rows;    /* a mean divides by B; otherwise by B C */
    const char *parameter; /* name of the loss's parameter, one for each output, or NULL: it has none */
    double parameter_least, parameter_end; /* the parameter is in [least, end) */
};
extern const struct fbp_loss_traits fbp_loss_traits[FBP_LOSSES];

/* One row block of a loss. For each row b it writes row_loss[b], the sum of the loss over the row's elements, and
 * dz = scale * d(row_loss[b])/dz. dz may be z itself. `target_row` is ignored for labels. */
typedef void fbp_loss_fn(const void *z, size_t z_row, const void *target, size_t target_row, const double *parameters, double scale,
                         void *dz, size_t dz_row, double *row_loss, size_t B, size_t C);

/* -------------------------------------------------------------------------------------------- optimisers */

enum fbp_optimizer_kind { FBP_SGD, FBP_ADAM, FBP_RMSPROP, FBP_ADAGRAD, FBP_OPTIMIZERS };

struct fbp_optimizer {
    int kind;
    double momentum, weight_decay, beta1, beta2, eps; /* beta2: RMSprop's alpha */
    double rate_decay;                                /* Adagrad */
    int nesterov;                                     /* SGD */
    int decoupled;                                    /* Adam: weight_decay shrinks w itself rather than joining the gradient */
};

/* One update of w (rows, N), in place. The gradient of row r is x[r] g, with g (N,) and x (rows,); x NULL: it is g, and
 * rows is 1. t: the number of this step, from 1. moments, each (rows, N) or NULL:
 * SGD {v}, NULL without momentum; Adam {m, v}; RMSprop {v, momentum buffer or NULL, mean gradient or NULL: not centred};
 * Adagrad {sum of squares}. */
typedef void fbp_optimizer_fn(const struct fbp_optimizer *o, void *w, const void *g, const void *x, void *const moments[3],
                              uint64_t t, double learning_rate, size_t rows, size_t N);

/* ---------------------------------------------------------------------------------------------- products */

/* An array and its row stride share a line. */
/* clang-format off */

/* Memory in which a thread packs blocks of a large product's operands, in lines of 64 bytes: of A, to be read from the
 * second-level cache, and of B, from the next. The sizes decide how C is cut, never a bit of it. */
struct fbp_room {
    void *a, *b;
    size_t a_bytes, b_bytes;
};
enum { FBP_ROOM_LEAST = 1 << 16 }; /* bytes of each, at least */

/* That of the calling thread, or NULL: products then do without. */
typedef const struct fbp_room *fbp_room_fn(void);

/* C (M, N) = A (M, K) B (K, N), with A[i][k] = a[i * a_row + k * a_col]. All matrices of reals; c does not overlap a or b. */
struct fbp_gemm {
    size_t M, N, K;
    const void *a; size_t a_row, a_col;
    const void *b; size_t b_row;       /* B[k][j] = b[k * b_row + j] */
    int b_transposed;                  /* B[k][j] = b[j * b_row + k] */
    const void *bias;                  /* (N,): added to every row of C, or NULL */
    int accumulate;                    /* C += rather than C =; not with bias */
    void *c; size_t c_row;
    fbp_room_fn *room;                 /* or NULL */
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
    void *dW, *db;                     /* (I, O) and (O,) or NULL */
    int accumulate;                    /* dW += and db += rather than = */
    /* dx = (dz W^T + skip) * g'(x), where x = g(...) is the output of the layer before: dx is that layer's dz. */
    const void *skip; size_t skip_row; /* (B, I) or NULL: gradient that reaches x through a skip connection */
    int x_activation; double x_alpha;  /* g; FBP_IDENTITY leaves the gradient at x itself */
    void *dx; size_t dx_row;           /* (B, I): may be x itself */
    fbp_room_fn *room;                 /* for its products, or NULL */
};

/* -------------------------------------------------------------------------------------- norms and dropout */

/* A layer or batch norm and all it needs for both directions:
 * xhat = (x - mean) * rstd,   z = gamma xhat + beta,   y = f(z),   rstd = 1 / sqrt(variance + eps).
 * LayerNorm: mean and rstd (B,), of each row. BatchNorm: mean, rstd and variance (N,), of each column. All of reals. */
struct fbp_norm {
    size_t B, N;
    const void *x; size_t x_row;       /* (B, N) */
    const void *gamma, *beta;          /* (N,), or both NULL: 1 and 0 */
    double eps;
    int activation; double alpha;      /* f */
    void *y; size_t y_row;             /* (B, N): written by forward; may be x where no backward follows */
    void *mean, *rstd, *variance;      /* variance: of BatchNorm, divided by B */
    const void *dz; size_t dz_row;     /* (B, N): gradient at z */
    void *dgamma, *dbeta;              /* (N,) or NULL */
    int accumulate;                    /* dgamma and dbeta += rather than = */
    void *sums;                        /* (2 N): BatchNorm's sums over the rows of dz xhat, then of dz; see each kernel */
    int constant_statistics;           /* BatchNorm: mean and rstd do not depend on x: dx = dz gamma rstd */
    void *dx; size_t dx_row;           /* (B, N): may be x or dz */
};

/* y = x mask, where mask is 0 with probability `rate`, else 1 / (1 - rate): inverted dropout. Element (r, c) has number
 * p = (first_row + r) N + c in its minibatch and is decided by word (p % 64) / 16 of block
 *     (draw << 32) + p / 128 * 16 + p % 16
 * of the stream of Philox4x32-7: by its upper half where p % 128 < 64, else by its lower half. It is dropped when the half is
 * below rate 2^16, rounded to an integer of at most 2^16 - 1. */
struct fbp_dropout {
    size_t B, N;
    const void *x; size_t x_row;       /* (B, N) */
    double rate;                       /* in [0, 1) */
    uint64_t seed, stream, draw;       /* draw: which minibatch, below 2^32 */
    size_t first_row;                  /* of this block in its minibatch */
    void *mask; size_t mask_row;       /* (B, N): written, for backward */
    void *y; size_t y_row;             /* (B, N): written; may be x */
};

/* clang-format on */

/* --------------------------------------------------------------------------------------------- the caller's data */

enum fbp_rows_kind {
    FBP_REALS,
    FBP_OTHER_REALS, /* doubles where the net has floats, and the reverse; a double beyond the range of floats becomes inf */
    FBP_BYTES        /* uint8 values, which are scaled by 1/255, rounded once */
};

/* Rows of inputs in the caller's memory: element (r, c) begins r * row + c * column bytes after `at`. Strides may have any sign and
 * size, and elements any alignment. */
struct fbp_rows {
    const void *at;
    ptrdiff_t row, column;
    int kind; /* enum fbp_rows_kind */
};

/* --------------------------------------------------------------------------------------- the kernel table */

/* The kernels of an instruction set for one real type. Functions with (part, parts) compute share `part` of `parts` of their output;
 * shares do not overlap, and the bits do not depend on `parts`. */
struct fbp_kernels {
    const char *isa;
    size_t item; /* bytes in a real: 4 or 8 */

    void (*gemm)(const struct fbp_gemm *product, int part, int parts);

    void (*dense_forward)(const struct fbp_dense *layer, int part, int parts);
    void (*dense_backward_weights)(const struct fbp_dense *layer, int part, int parts);
    void (*dense_backward_inputs)(const struct fbp_dense *layer, int part, int parts);

    void (*activation_forward)(const void *x, int activation, double alpha, void *y, size_t N);
    void (*activation_backward)(const void *dy, const void *y, int activation, double alpha, void *dx, size_t N);

    void (*softmax_forward)(const void *x, size_t x_row, void *y, size_t y_row, size_t B, size_t C);
    void (*softmax_backward)(const void *dy, size_t dy_row, const void *y, size_t y_row, void *dx, size_t dx_row, size_t B,
                             size_t C);

    fbp_loss_fn *loss[FBP_LOSSES];
    /* t (B, C), rows t_row apart: class_weights[j] * ((1 - smoothing) t + smoothing / C), in place; of labels t is [j == label].
     * class_weights: (C,) or NULL: 1. */
    void (*smooth_targets)(void *t, size_t t_row, double smoothing, const double *class_weights, size_t B, size_t C);
    void (*smooth_labels)(const int64_t *labels, double smoothing, const double *class_weights, void *t, size_t t_row, size_t B,
                          size_t C);
    /* Row b of dz (B, C) and row_loss[b] times weights[b]. */
    void (*scale_rows)(const double *weights, void *dz, size_t dz_row, double *row_loss, size_t B, size_t C);

    fbp_optimizer_fn *optimizer[FBP_OPTIMIZERS];
    /* g += l1 sign(w) + l2 w; returns l1 sum |w| + l2/2 sum w^2. */
    double (*penalty)(const void *w, void *g, double l1, double l2, size_t N);
    void (*scale)(void *g, double factor, size_t N);                       /* g *= factor */
    void (*clip)(void *g, double limit, size_t N);                         /* g = min(max(g, -limit), limit); a nan stays */
    void (*average)(void *average, const void *w, double decay, size_t N); /* average += (1 - decay) (w - average) */

    void (*layer_norm_forward)(const struct fbp_norm *norm, int part, int parts);          /* shares are of rows */
    void (*layer_norm_backward_weights)(const struct fbp_norm *norm, int part, int parts); /* of columns */
    void (*layer_norm_backward_inputs)(const struct fbp_norm *norm, int part, int parts);  /* of rows */
    void (*batch_norm_statistics)(const struct fbp_norm *norm, int part, int parts);       /* of columns: mean, variance, rstd */
    void (*batch_norm_forward)(const struct fbp_norm *norm, int part, int parts);          /* of rows, from mean and rstd */
    void (*batch_norm_backward_weights)(const struct fbp_norm *norm, int part, int parts); /* of columns; writes sums, too */
    void (*batch_norm_backward_inputs)(const struct fbp_norm *norm, int part, int parts);  /* of rows; reads sums */
    /* rstd (N,) = 1 / sqrt(variance + eps) */
    void (*batch_norm_rstd)(const void *variance, double eps, void *rstd, size_t N);
    /* running_mean += momentum (mean - running_mean), and so the variance with variance B / (B - 1). All (N,). */
    void (*batch_norm_running)(const void *mean, const void *variance, double momentum, void *running_mean, void *running_variance,
                               size_t B, size_t N);

    void (*dropout_forward)(const struct fbp_dropout *dropout, int part, int parts); /* shares are of rows */
    void (*multiply)(const void *a, const void *b, void *c, size_t N);               /* c = a b; c may be a or b */

    /* y (N,) = the quantiles of the standard normal distribution at u (N,), in (0, 1). NULL in the tables of floats. */
    void (*normal_quantile)(const double *u, double *y, size_t N);

    void (*add)(const void *a, const void *b, void *c, size_t N);                          /* c = a + b; c may be a or b */
    void (*row_squares)(const void *x, size_t x_row, double *squares, size_t B, size_t N); /* of each row, the sum of squares */
    double (*sum_squares)(const void *x, size_t N); /* inf or nan when an element is, or when the sum overflows a real */
    int (*all_finite)(const void *x, size_t N);
    /* y (B, N), rows y_row apart: rows order[0], order[1], ... of x as reals, or its first B when order is NULL. */
    void (*gather)(const struct fbp_rows *x, const int64_t *order, void *y, size_t y_row, size_t B, size_t N);
};

extern const struct fbp_kernels fbp_kernels_f32_portable, fbp_kernels_f64_portable;
extern const struct fbp_kernels fbp_kernels_f32_avx2, fbp_kernels_f64_avx2;
extern const struct fbp_kernels fbp_kernels_f32_avx512, fbp_kernels_f64_avx512;
extern const struct fbp_kernels fbp_kernels_f32_neon, fbp_kernels_f64_neon;

/* ------------------------------------------------------------------------------------------------- loss.c */

/* A loss with its weights, smoothing and reduction. Set the first group, then call fbp_loss_begin, which sets the second. */
struct fbp_weighted_loss {
    const struct fbp_kernels *kernels;
    int loss; /* enum fbp_loss, or -1: none */
    size_t C;
    const double *parameters; /* (C,) or NULL */
    double smoothing;
    const double *class_weights; /* (C,) or NULL */
    int reduction_sum;           /* the sum of the terms rather than their weighted mean */

    int labels;                       /* targets are class numbers */
    int smooths;                      /* the kernel takes targets that are made from the caller's, in a buffer (B, C) of reals */
    int weighs_rows;                  /* class weights are weights of rows */
    size_t target_item, target_width; /* bytes in a target, a label or a real; targets in a row */
    size_t terms_a_row;               /* 1 where the mean is over rows, else C */
};
void fbp_loss_begin(struct fbp_weighted_loss *loss);

/* In what follows `weights` are those of the rows, or NULL: 1, and `target` is that of row 0.
 * row_weight: of one row, times that of its class where that is a weight of rows. mass: the sum of the weights of rows
 * [start, start + rows) of `order` (NULL: as they stand), times those of their labels' classes. scale: the factor that turns a sum
 * of the rows' losses, weighted, into the loss of rows of that mass; 0 where all weigh nothing. sum_scale: the same where a row's
 * loss has been multiplied by its weight and the scale, if rows have weights. */
double fbp_loss_row_weight(const struct fbp_weighted_loss *loss, const double *weights, const void *target, size_t row);
double fbp_loss_mass(const struct fbp_weighted_loss *loss, const double *weights, const void *target, const int64_t *order,
                     size_t start, size_t rows);
double fbp_loss_scale(const struct fbp_weighted_loss *loss, double mass);
double fbp_loss_sum_scale(const struct fbp_weighted_loss *loss, const double *weights, double mass);

/* The kernel over B rows, without weights of rows: see fbp_loss_fn. smoothed: a buffer (B, C), where `smooths` is set. */
void fbp_loss_rows(const struct fbp_weighted_loss *loss, const void *z, size_t z_row, const void *target, size_t target_row,
                   void *smoothed, double scale, void *dz, size_t dz_row, double *row_loss, size_t B);
/* The loss of B contiguous rows of that mass, and its gradient into dz (B, C). smoothed: a buffer of at most FBP_BLOCK rows. */
double fbp_loss_whole(const struct fbp_weighted_loss *loss, const void *z, const void *target, const double *weights,
                      void *smoothed, double mass, void *dz, size_t B);

/* -------------------------------------------------------------------------------------------------- cpu.c */

enum fbp_isa { FBP_PORTABLE, FBP_AVX2, FBP_AVX512, FBP_NEON, FBP_ISAS };

const char *fbp_isa_name(int isa);
int fbp_isa_available(int isa); /* built in, and the processor and the operating system support it */
int fbp_isa_best(void);
const char *fbp_compiler(void);                                 /* that built this file */
const struct fbp_kernels *fbp_kernels_of(int isa, size_t item); /* NULL when not available */

/* ------------------------------------------------------------------------------------------------ cache.c */

/* Bytes of the second- and third-level cache: as the processor or the system says, or else small ones. */
void fbp_cache_sizes(size_t *second, size_t *third);
void fbp_set_cache_sizes(size_t second, size_t third); /* from now on these; 0: as they are. For tests */
fbp_room_fn fbp_thread_room; /* allocated by the first large product of a thread, freed when the thread ends */

/* ------------------------------------------------------------------------------------------------- pool.c */

/* Runs fn(context, part, parts) for every part in [0, parts), part 0 on the calling thread, and returns when all have
 * returned. parts is at most `threads`; it is 1 when the pool is in use by another call or cannot start threads. */
typedef void fbp_part_fn(void *context, int part, int parts);
void fbp_pool_run(int threads, fbp_part_fn *fn, void *context);
/* Within fn, all parts wait here for each other. */
void fbp_pool_barrier(int part, int parts);
int fbp_cores(void);                /* cores this process may use now: of its affinity, and at most the quota */
void fbp_set_core_quota(int cores); /* of the process's container; 0: none */
int fbp_default_threads(void);      /* upper bound on the number of threads of a call that sets none */
/* fixed: that bound, or 0: the cores this process may use at the time, and at most `most` unless that is 0. */
void fbp_set_default_threads(int fixed, int most);
/* The number of threads that pays for this many multiply-adds between two meetings of the threads. most: its upper bound, or
 * 0: fbp_default_threads(). */
int fbp_threads_for(double multiply_adds, int most);

/* -------------------------------------------------------------------------------------------------- rng.c */

/* Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): word i of a stream is a function
 * of (seed, stream, i) alone. */
void fbp_random_bits(uint64_t seed, uint64_t stream, uint64_t start, uint32_t *words, size_t N);
void fbp_random_uniform(uint64_t seed, uint64_t stream, uint64_t start, double *u, size_t N); /* [0, 1), 53 bits: two words each */
/* order: a permutation of 0 .. N-1, the one that sorts the stream's first N words (ties by position). N < 2^32.
 * scratch: 2 N words of 64 bits. */
void fbp_random_permutation(uint64_t seed, uint64_t stream, int64_t *order, uint64_t *scratch, size_t N);

/* ------------------------------------------------------------------------------------------------- plan.c */

/* A layer of a net. The layers of a residual block stand between RESIDUAL_BEGIN and RESIDUAL_END, which adds the input of the block
 * to the output of its last layer. A PROJECTION directly before the end multiplies that input by a matrix first. */
enum fbp_layer_kind {
    FBP_DENSE,
    FBP_RESIDUAL_BEGIN,
    FBP_RESIDUAL_END,
    FBP_PROJECTION,
    FBP_ACTIVATION,
    FBP_SOFTMAX,
    FBP_DROPOUT,
    FBP_LAYER_NORM,
    FBP_BATCH_NORM,
    FBP_LAYER_KINDS
};

struct fbp_layer {
    int kind;
    size_t inputs, outputs; /* the same for all kinds but dense and projection */
    int bias;               /* dense: has b; norms: have gamma and beta */
    int activation;         /* of dense, norms (before FBP_FROM_Z) and FBP_ACTIVATION (any) */
    double alpha;
    int frozen;    /* its parameters are not trained; a frozen batch norm uses the running statistics and does not change them */
    double rate;   /* of a dropout; the momentum of a batch norm */
    double eps;    /* norms */
    double l1, l2; /* penalties of W, see fbp_kernels.penalty */
    int penalize_bias; /* they are penalties of b, too */
};

/* A net, and for training its loss and update. fbp_plan_create copies what it needs. */
struct fbp_plan_spec {
    const struct fbp_kernels *kernels;
    const struct fbp_layer *layers;
    size_t n_layers;
    size_t rows; /* rows of the largest minibatch to expect; more are allowed, in blocks of this size */
    int whole;   /* a minibatch, of at most `rows` rows, goes through the net at once: for batch norms, which need
                                    its statistics */
    int threads; /* upper bound on the number of threads; 0: fbp_default_threads() */
    int trains;  /* the plan is used for backward passes */
    int loss;    /* enum fbp_loss, or -1: none */
    const double *loss_parameters;
    size_t n_loss_parameters;
    int reduction_sum; /* the loss is the sum of its terms rather than their weighted mean */
    double smoothing;  /* softmax cross-entropy: of the targets */
    const double *class_weights;
    size_t n_class_weights; /* softmax cross-entropy: one a class, or NULL and 0 */
    struct fbp_optimizer optimizer;
    double clip_norm, clip_value;  /* limits of the gradient, or 0: none */
    double average_decay;          /* of vectors->average */
    uint64_t seed, dropout_stream; /* dropout layer number n draws from stream dropout_stream + n */
};

/* The vectors a plan works on. The first four are of fbp_plan_parameters reals in one layout: for each layer that has
 * parameters W (I, O) then b (O,), or gamma (N,) then beta (N,). */
struct fbp_vectors {
    void *parameters;
    void *gradient;   /* NULL: no training. The elements of frozen layers are never written */
    void *moments[3]; /* see fbp_optimizer_fn */
    void *average;    /* of the parameters over the updates, or NULL */
    void *statistics; /* for each batch norm the running mean (N,), then the variance (N,); NULL where there is none */
};

/* Why no plan can be made of a spec. */
enum fbp_plan_flaw {
    FBP_NO_FLAW,
    FBP_FLAW_NO_LAYERS,
    FBP_FLAW_WIDTHS,           /* a width of the layer is not in 1 .. 2^31 - 1 */
    FBP_FLAW_SIZE,             /* parameters or workspace would exceed 2^56 reals */
    FBP_FLAW_KIND,             /* there is no such kind of layer */
    FBP_FLAW_ACTIVATION,       /* there is no such activation */
    FBP_FLAW_FROM_Z,           /* the activation's derivative needs z: it must be a layer of its own */
    FBP_FLAW_INPUTS,           /* the layer before has another number of outputs: `number` */
    FBP_FLAW_UNEQUAL,          /* the kind of the layer needs as many outputs as inputs */
    FBP_FLAW_PROJECTION,       /* no residual block is open, or it is empty or of other widths, or has a projection already */
    FBP_FLAW_AFTER_PROJECTION, /* a projection is not followed by the end of its block */
    FBP_FLAW_END,              /* no residual block is open, or it is empty or of another width */
    FBP_FLAW_OPEN,             /* a residual block is not ended */
    FBP_FLAW_LOSS,             /* there is no such loss */
    FBP_FLAW_LOSS_PARAMETERS,  /* the loss takes `number` parameters */
    FBP_FLAW_CLASS_WEIGHTS     /* the net has `number` outputs */
};

struct fbp_plan_error {
    int flaw;     /* enum fbp_plan_flaw */
    size_t layer; /* index of the layer that is wrong, where one is */
    size_t number;
};

struct fbp_plan;

/* On FBP_BAD_PLAN `error`, unless NULL, says why. */
int fbp_plan_create(const struct fbp_plan_spec *spec, struct fbp_plan **plan, struct fbp_plan_error *error);
void fbp_plan_destroy(struct fbp_plan *plan);
/* What the calls of a plan watch. */
struct fbp_watch {
    const int
        *waiting; /* the number of threads that wait for the vectors, or NULL. While it is not 0 an epoch in time slices pauses
                           after each block of rows */
    int (*look)(void *context); /* or NULL. A long call for training calls it now and then, between two kernels and on the calling
                                   thread. Not 0: the call ends with FBP_STOPPED */
    void *context;
};
void fbp_plan_watch(struct fbp_plan *plan, const struct fbp_watch *watch);
void fbp_add_waiting(int *waiting, int by); /* also while an epoch runs */
size_t fbp_plan_inputs(const struct fbp_plan *plan);
size_t fbp_plan_width(const struct fbp_plan *plan); /* outputs */
size_t fbp_plan_parameters(const struct fbp_plan *plan);
size_t fbp_plan_statistics(const struct fbp_plan *plan);        /* reals */
size_t fbp_plan_learned(const struct fbp_plan *plan);           /* layers that have parameters */
size_t fbp_plan_workspace(const struct fbp_plan *plan);         /* bytes */
int fbp_plan_threads(const struct fbp_plan *plan, size_t rows); /* number of threads for a minibatch of this many rows */

/* A minibatch, or all data, with its targets: labels int64, target_row 1, or reals. */
struct fbp_data {
    struct fbp_rows x;
    const void *target;
    size_t target_row;
    const double *weights; /* of the rows, or NULL: 1 */
    size_t rows;
};

/* y (rows, O) = net(x), in prediction. */
int fbp_plan_forward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_rows *x, size_t rows, void *y);

/* The loss of the data, in prediction: the weighted sum over rows and elements, and the divisor of the mean. */
int fbp_plan_loss(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, double *loss_sum,
                  double *mass);

/* The loss of one minibatch with its penalties, its gradient (into vectors->gradient) and, unless NULL, dx (rows, I).
 * `training`: dropout drops, as in update number draw + 1, and batch norms take the minibatch's statistics. */
int fbp_plan_gradient(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, int training,
                      uint64_t draw, double *loss, void *dx);

/* The loss of every example, as if it were a minibatch of one, in prediction and without penalties, and its gradient: losses
 * (rows,), gradients (rows, P), whose elements for frozen layers are not written. */
int fbp_plan_example_gradients(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data,
                               double *losses, void *gradients);
/* The squared norms of those gradients, (rows,), without the gradients: that of x^T dz is |x|^2 |dz|^2 for one row.
 * Source: Goodfellow, Efficient Per-Example Gradient Computations, arXiv:1510.01799, 2015. */
int fbp_plan_example_norms(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_data *data, double *losses,
                           double *squares);

/* One pass over the data, update after update. Set the first group, t and moment_bounds, zero the others, call until the status is
 * not FBP_PAUSED. Parameters may change between two calls, moments may not. On a failure `step` is the update that failed, and the parameters are those before it. */
struct fbp_epoch {
    struct fbp_data data;
    size_t batch;                 /* rows in a minibatch */
    size_t accumulate;            /* minibatches to an update */
    const int64_t *order;         /* (data.rows,): the rows to take, one after the other, or NULL: as they stand */
    const double *learning_rates; /* one an update */
    double seconds;               /* the time slice */
    int threads;                  /* upper bound on their number in this slice; 0: that of the plan */
    size_t pause_step;            /* also pause when this many updates of the epoch are done; 0: no */
    double *layer_squares;        /* (fbp_plan_learned,): sums over updates of |gradient|^2, layer by layer; or NULL */

    size_t step;               /* updates done */
    size_t block_start;        /* rows of the current update done: not 0 only between two blocks of it */
    uint64_t t;                /* optimiser steps done, over all epochs: in and out */
    double moment_bounds[3];   /* upper bounds on the magnitudes of the moments, in and out; inf: to be measured */
    double parameter_bound;    /* on those of parameters and average; 0: not measured */
    double mass;               /* of the rows of the current update: see fbp_loss_mass */
    double batch_sum;          /* loss of the rows done */
    double loss_sum, mass_sum; /* sums over updates of (loss * mass) and of mass */
    double last_loss;          /* of the last update done, as the loss reports it, penalties included */
    double failed_loss;        /* on a failure, of the update that failed */
    double squared_norm_sum;   /* sum over updates of |gradient|^2 */
};
int fbp_plan_epoch(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch);

/* A step in parts, for a loss that the caller computes.
 * outputs: y (rows, O) = net(x), as `training` and `draw` say for rows [first_row, first_row + rows) of an update; rows at
 *   most those of the plan's spec, and at most FBP_BLOCK unless it takes minibatches whole.
 * backward: from dy (rows, O), the gradient at that y, into vectors->gradient (+= when `accumulate`) and, unless NULL, dx.
 * update: with the gradient as it is, for a minibatch of that loss and of epoch->mass. `own`: the gradient is that of the
 *   plan's last backward passes, so that penalties join it and batch norms' statistics follow. Counters and status are those
 *   of an epoch. */
int fbp_plan_outputs(struct fbp_plan *plan, const struct fbp_vectors *vectors, const struct fbp_rows *x, size_t rows,
                     size_t first_row, int training, uint64_t draw, void *y);
int fbp_plan_backward(struct fbp_plan *plan, const struct fbp_vectors *vectors, const void *dy, int accumulate, void *dx);
int fbp_plan_update(struct fbp_plan *plan, const struct fbp_vectors *vectors, struct fbp_epoch *epoch, double loss, int own);
/* Adds the penalties' gradient to vectors->gradient; returns their loss. */
double fbp_plan_penalties(struct fbp_plan *plan, const struct fbp_vectors *vectors);

#endif
