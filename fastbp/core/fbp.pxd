# The part of src_c/fbp.h that the core uses. tests/test_core_declarations.py compares the two.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "fbp.h" nogil:
    enum:
        FBP_BLOCK
    enum:
        FBP_REALS
        FBP_OTHER_REALS
        FBP_BYTES
    enum:
        FBP_OK
        FBP_NO_MEMORY
        FBP_LOSS_NOT_FINITE
        FBP_GRADIENT_NOT_FINITE
        FBP_UPDATE_NOT_FINITE
        FBP_PAUSED
        FBP_STOPPED
        FBP_BAD_PLAN
        FBP_TOO_MANY_ROWS
    enum:
        FBP_IDENTITY
        FBP_FROM_Z
        FBP_ACTIVATIONS
    enum:
        FBP_SOFTMAX_CROSS_ENTROPY_LABELS
        FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES
        FBP_BINARY_CROSS_ENTROPY
        FBP_BINARY_CROSS_ENTROPY_WEIGHTED
        FBP_MEAN_SQUARED_ERROR
        FBP_HUBER
        FBP_PINBALL
        FBP_LOSSES
    enum:
        FBP_ISAS
    enum:
        FBP_DENSE
        FBP_RESIDUAL_BEGIN
        FBP_RESIDUAL_END
        FBP_PROJECTION
        FBP_ACTIVATION
        FBP_SOFTMAX
        FBP_DROPOUT
        FBP_LAYER_NORM
        FBP_BATCH_NORM
    enum:
        FBP_SGD
        FBP_ADAM
        FBP_RMSPROP
        FBP_ADAGRAD
        FBP_OPTIMIZERS

    ctypedef void fbp_loss_fn(const void *z, size_t z_row, const void *target, size_t target_row,
                              const double *parameters, double scale, void *dz, size_t dz_row, double *row_loss,
                              size_t B, size_t C) noexcept nogil

    struct fbp_optimizer:
        int kind
        double momentum, weight_decay, beta1, beta2, eps
        double rate_decay
        int nesterov
        int decoupled

    ctypedef void fbp_optimizer_fn(const fbp_optimizer *o, void *w, const void *g, const void *x, void **moments,
                                   uint64_t t, double learning_rate, size_t rows, size_t N) noexcept nogil

    struct fbp_norm:
        size_t B, N
        const void *x
        size_t x_row
        const void *gamma
        const void *beta
        double eps
        int activation
        double alpha
        void *y
        size_t y_row
        void *mean
        void *rstd
        void *variance
        const void *dz
        size_t dz_row
        void *dgamma
        void *dbeta
        int accumulate
        void *sums
        int constant_statistics
        void *dx
        size_t dx_row

    struct fbp_dropout:
        size_t B, N
        const void *x
        size_t x_row
        double rate
        uint64_t seed, stream, draw
        size_t first_row
        void *mask
        size_t mask_row
        void *y
        size_t y_row

    struct fbp_room:
        void *a
        void *b
        size_t a_bytes, b_bytes

    ctypedef const fbp_room *fbp_room_fn() noexcept nogil
    struct fbp_gemm:
        size_t M, N, K
        const void *a
        size_t a_row, a_col
        const void *b
        size_t b_row
        int b_transposed
        const void *bias
        int accumulate
        void *c
        size_t c_row
        fbp_room_fn *room

    struct fbp_dense:
        size_t B, I, O
        const void *x
        size_t x_row
        const void *W
        const void *b
        int activation
        double alpha
        void *y
        size_t y_row
        const void *dz
        size_t dz_row
        void *dW
        void *db
        int accumulate
        const void *skip
        size_t skip_row
        int x_activation
        double x_alpha
        void *dx
        size_t dx_row
        fbp_room_fn *room

    struct fbp_rows:
        const void *at
        ptrdiff_t row, column
        int kind

    struct fbp_kernels:
        const char *isa
        size_t item
        void (*gemm)(const fbp_gemm *product, int part, int parts) noexcept nogil
        void (*dense_forward)(const fbp_dense *layer, int part, int parts) noexcept nogil
        void (*dense_backward_weights)(const fbp_dense *layer, int part, int parts) noexcept nogil
        void (*dense_backward_inputs)(const fbp_dense *layer, int part, int parts) noexcept nogil
        void (*activation_forward)(const void *x, int activation, double alpha, void *y, size_t N) noexcept nogil
        void (*activation_backward)(const void *dy, const void *y, int activation, double alpha, void *dx,
                                    size_t N) noexcept nogil
        void (*softmax_forward)(const void *x, size_t x_row, void *y, size_t y_row, size_t B, size_t C) noexcept nogil
        void (*softmax_backward)(const void *dy, size_t dy_row, const void *y, size_t y_row, void *dx, size_t dx_row,
                                 size_t B, size_t C) noexcept nogil
        fbp_loss_fn *loss[FBP_LOSSES]
        void (*smooth_targets)(void *t, size_t t_row, double smoothing, const double *class_weights, size_t B,
                               size_t C) noexcept nogil
        void (*smooth_labels)(const int64_t *labels, double smoothing, const double *class_weights, void *t,
                              size_t t_row, size_t B, size_t C) noexcept nogil
        void (*scale_rows)(const double *weights, void *dz, size_t dz_row, double *row_loss, size_t B,
                           size_t C) noexcept nogil
        fbp_optimizer_fn *optimizer[FBP_OPTIMIZERS]
        double (*penalty)(const void *w, void *g, double l1, double l2, size_t N) noexcept nogil
        void (*scale)(void *g, double factor, size_t N) noexcept nogil
        void (*clip)(void *g, double limit, size_t N) noexcept nogil
        void (*average)(void *average, const void *w, double decay, size_t N) noexcept nogil
        void (*layer_norm_forward)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*layer_norm_backward_weights)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*layer_norm_backward_inputs)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*batch_norm_statistics)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*batch_norm_forward)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*batch_norm_backward_weights)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*batch_norm_backward_inputs)(const fbp_norm *norm, int part, int parts) noexcept nogil
        void (*batch_norm_rstd)(const void *variance, double eps, void *rstd, size_t N) noexcept nogil
        void (*batch_norm_running)(const void *mean, const void *variance, double momentum, void *running_mean,
                                   void *running_variance, size_t B, size_t N) noexcept nogil
        void (*dropout_forward)(const fbp_dropout *dropout, int part, int parts) noexcept nogil
        void (*multiply)(const void *a, const void *b, void *c, size_t N) noexcept nogil
        void (*normal_quantile)(const double *u, double *y, size_t N) noexcept nogil
        void (*add)(const void *a, const void *b, void *c, size_t N) noexcept nogil
        void (*row_squares)(const void *x, size_t x_row, double *squares, size_t B, size_t N) noexcept nogil
        double (*sum_squares)(const void *x, size_t N) noexcept nogil
        int (*all_finite)(const void *x, size_t N) noexcept nogil
        void (*gather)(const fbp_rows *x, const int64_t *order, void *y, size_t y_row, size_t B, size_t N) noexcept nogil

    struct fbp_loss_traits:
        const char *name
        const char *input
        int labels
        int probabilities
        int of_classes
        int smoothed
        int mean_over_rows
        const char *parameter
        double parameter_least, parameter_end
    const fbp_loss_traits fbp_loss_traits_of "fbp_loss_traits"[FBP_LOSSES]

    struct fbp_weighted_loss:
        const fbp_kernels *kernels
        int loss
        size_t C
        const double *parameters
        double smoothing
        const double *class_weights
        int reduction_sum
        int labels
        int smooths
        int weighs_rows
        size_t target_item, target_width
        size_t terms_a_row
    void fbp_loss_begin(fbp_weighted_loss *loss)
    double fbp_loss_mass(const fbp_weighted_loss *loss, const double *weights, const void *target, const int64_t *order,
                         size_t start, size_t rows)
    double fbp_loss_whole(const fbp_weighted_loss *loss, const void *z, const void *target, const double *weights,
                          void *smoothed, double mass, void *dz, size_t B)

    const char *fbp_isa_name(int isa)
    int fbp_isa_available(int isa)
    int fbp_isa_best()
    const char *fbp_compiler()
    const fbp_kernels *fbp_kernels_of(int isa, size_t item)

    ctypedef void fbp_part_fn(void *context, int part, int parts) noexcept nogil
    void fbp_pool_run(int threads, fbp_part_fn *fn, void *context)
    void fbp_pool_barrier(int part, int parts)
    int fbp_cores()
    void fbp_set_core_quota(int cores)
    int fbp_default_threads()
    void fbp_set_default_threads(int fixed, int most)
    int fbp_threads_for(double multiply_adds, int most)
    void fbp_cache_sizes(size_t *second, size_t *third)
    void fbp_set_cache_sizes(size_t second, size_t third)
    fbp_room_fn fbp_thread_room

    void fbp_random_bits(uint64_t seed, uint64_t stream, uint64_t start, uint32_t *words, size_t N)
    void fbp_random_uniform(uint64_t seed, uint64_t stream, uint64_t start, double *u, size_t N)
    void fbp_random_permutation(uint64_t seed, uint64_t stream, int64_t *order, uint64_t *scratch, size_t N)

    struct fbp_layer:
        int kind
        size_t inputs, outputs
        int bias
        int activation
        double alpha
        int frozen
        double rate
        double eps
        double l1, l2
        int penalize_bias

    struct fbp_plan_spec:
        const fbp_kernels *kernels
        const fbp_layer *layers
        size_t n_layers
        size_t rows
        int whole
        int threads
        int trains
        int loss
        const double *loss_parameters
        size_t n_loss_parameters
        int reduction_sum
        double smoothing
        const double *class_weights
        size_t n_class_weights
        fbp_optimizer optimizer
        double clip_norm, clip_value
        double average_decay
        uint64_t seed, dropout_stream

    struct fbp_vectors:
        void *parameters
        void *gradient
        void *moments[3]
        void *average
        void *statistics

    enum:
        FBP_NO_FLAW
        FBP_FLAW_NO_LAYERS
        FBP_FLAW_WIDTHS
        FBP_FLAW_SIZE
        FBP_FLAW_KIND
        FBP_FLAW_ACTIVATION
        FBP_FLAW_FROM_Z
        FBP_FLAW_INPUTS
        FBP_FLAW_UNEQUAL
        FBP_FLAW_PROJECTION
        FBP_FLAW_AFTER_PROJECTION
        FBP_FLAW_END
        FBP_FLAW_OPEN
        FBP_FLAW_LOSS
        FBP_FLAW_LOSS_PARAMETERS
        FBP_FLAW_CLASS_WEIGHTS

    struct fbp_plan_error:
        int flaw
        size_t layer
        size_t number

    struct fbp_plan:
        pass

    int fbp_plan_create(const fbp_plan_spec *spec, fbp_plan **plan, fbp_plan_error *error)
    void fbp_plan_destroy(fbp_plan *plan)
    struct fbp_watch:
        const int *waiting
        int (*look)(void *context) noexcept nogil
        void *context
    void fbp_plan_watch(fbp_plan *plan, const fbp_watch *watch)
    void fbp_add_waiting(int *waiting, int by)
    size_t fbp_plan_inputs(const fbp_plan *plan)
    size_t fbp_plan_width(const fbp_plan *plan)
    size_t fbp_plan_parameters(const fbp_plan *plan)
    size_t fbp_plan_statistics(const fbp_plan *plan)
    size_t fbp_plan_learned(const fbp_plan *plan)
    size_t fbp_plan_workspace(const fbp_plan *plan)
    int fbp_plan_threads(const fbp_plan *plan, size_t rows)

    struct fbp_data:
        fbp_rows x
        const void *target
        size_t target_row
        const double *weights
        size_t rows

    int fbp_plan_forward(fbp_plan *plan, const fbp_vectors *vectors, const fbp_rows *x, size_t rows, void *y)
    int fbp_plan_loss(fbp_plan *plan, const fbp_vectors *vectors, const fbp_data *data, double *loss_sum, double *mass)
    int fbp_plan_gradient(fbp_plan *plan, const fbp_vectors *vectors, const fbp_data *data, int training, uint64_t draw,
                          double *loss, void *dx)
    int fbp_plan_example_gradients(fbp_plan *plan, const fbp_vectors *vectors, const fbp_data *data, double *losses,
                                   void *gradients)
    int fbp_plan_example_norms(fbp_plan *plan, const fbp_vectors *vectors, const fbp_data *data, double *losses,
                               double *squares)

    struct fbp_epoch:
        fbp_data data
        size_t batch
        size_t accumulate
        const int64_t *order
        const double *learning_rates
        double seconds
        int threads
        size_t pause_step
        double *layer_squares
        size_t step
        size_t block_start
        uint64_t t
        double moment_bounds[3]
        double parameter_bound
        double mass
        double batch_sum
        double loss_sum, mass_sum
        double last_loss
        double failed_loss
        double squared_norm_sum

    int fbp_plan_epoch(fbp_plan *plan, const fbp_vectors *vectors, fbp_epoch *epoch)
    int fbp_plan_outputs(fbp_plan *plan, const fbp_vectors *vectors, const fbp_rows *x, size_t rows, size_t first_row,
                         int training, uint64_t draw, void *y)
    int fbp_plan_backward(fbp_plan *plan, const fbp_vectors *vectors, const void *dy, int accumulate, void *dx)
    int fbp_plan_update(fbp_plan *plan, const fbp_vectors *vectors, fbp_epoch *epoch, double loss, int own)
    double fbp_plan_penalties(fbp_plan *plan, const fbp_vectors *vectors)
