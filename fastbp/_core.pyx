# cython: language_level=3, binding=False, always_allow_keywords=False, cdivision=True
"""The door to C: pointers in, a call without the GIL unless it is short, a status out.

Functions here take arrays that are ready (plain, contiguous, aligned, of one real dtype) and say so when they are not,
but not as kindly as the functions in fastbp.ops, which come here first and explain when they are sent away: so nothing
may pass here that would not pass there. Whatever comes in, C gets pointers and sizes that agree. Arrays are seen through
the buffer protocol: nothing here knows how NumPy stores them.

Argument order: inputs, hyperparameters, outputs. Outputs that are left out are made, and returned.
"""

from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strcmp

import os

import numpy


cdef extern from "Python.h":
    ctypedef struct PyObject
    ctypedef struct Py_buffer:
        void *buf
        PyObject *obj
        Py_ssize_t len
        Py_ssize_t itemsize
        char *format
        int ndim
        Py_ssize_t *shape
        Py_ssize_t *strides
    enum:
        PyBUF_ND
        PyBUF_STRIDES
        PyBUF_FORMAT
        PyBUF_WRITABLE
    # Declared without `except`: `take` turns a failure into an error that names the argument.
    int PyObject_GetBuffer(object exporter, Py_buffer *view, int flags)
    void PyBuffer_Release(Py_buffer *view)
    void PyErr_Clear()
    # Variadic in C. Here for two arguments: unlike a call as Cython writes it, it makes no tuple of them.
    object PyObject_CallFunctionObjArgs(object function, PyObject *argument1, PyObject *argument2, void *end)

    ctypedef struct PyThreadState
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait) nogil
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int interruptible) nogil
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()
    int PyErr_CheckSignals() except -1


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
        FBP_PAUSED
        FBP_BAD_PLAN
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

    ctypedef void fbp_optimizer_fn(const fbp_optimizer *o, void *w, const void *g, void **moments, uint64_t t,
                                   double learning_rate, size_t N) noexcept nogil

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
        fbp_loss_fn *loss[9]
        void (*smooth_targets)(void *t, size_t t_row, double smoothing, const double *class_weights, size_t B,
                               size_t C) noexcept nogil
        void (*smooth_labels)(const int64_t *labels, double smoothing, const double *class_weights, void *t,
                              size_t t_row, size_t B, size_t C) noexcept nogil
        void (*scale_rows)(const double *weights, void *dz, size_t dz_row, double *row_loss, size_t B,
                           size_t C) noexcept nogil
        fbp_optimizer_fn *optimizer[4]
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
        double (*sum_squares)(const void *x, size_t N) noexcept nogil
        int (*all_finite)(const void *x, size_t N) noexcept nogil
        void (*gather)(const fbp_rows *x, const int64_t *order, void *y, size_t y_row, size_t B, size_t N) noexcept nogil

    const char *fbp_isa_name(int isa)
    int fbp_isa_available(int isa)
    int fbp_isa_best()
    const char *fbp_compiler()
    const fbp_kernels *fbp_kernels_of(int isa, size_t item)

    ctypedef void fbp_part_fn(void *context, int part, int parts) noexcept nogil
    void fbp_pool_run(int threads, fbp_part_fn *fn, void *context)
    void fbp_pool_barrier(int part, int parts)
    int fbp_cores()

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

    struct fbp_plan:
        pass

    int fbp_plan_create(const fbp_plan_spec *spec, fbp_plan **plan)
    void fbp_plan_destroy(fbp_plan *plan)
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
        size_t pause_step
        double *layer_squares
        size_t step
        size_t block_start
        uint64_t t
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


OK = FBP_OK
NO_MEMORY = FBP_NO_MEMORY
LOSS_NOT_FINITE = FBP_LOSS_NOT_FINITE
GRADIENT_NOT_FINITE = FBP_GRADIENT_NOT_FINITE
PAUSED = FBP_PAUSED


# ---------------------------------------------------------------------------------------- the instruction set

cdef int current_isa
cdef const fbp_kernels *kernels_f32
cdef const fbp_kernels *kernels_f64
cdef int default_threads
cdef bint threads_are_set  # by the environment; else they follow the cores this process may use


cdef inline const fbp_kernels *kernels_for(Py_ssize_t item) noexcept:
    return kernels_f32 if item == 4 else kernels_f64


def isa():
    """The name of the instruction set in use."""
    return fbp_isa_name(current_isa).decode()


def isas_available():
    """The names of the instruction sets that this build and this machine offer, from the plainest to the best."""
    return tuple([fbp_isa_name(i).decode() for i in range(FBP_ISAS) if fbp_isa_available(i)])


cdef int set_isa(int number) except -1:
    global current_isa, kernels_f32, kernels_f64
    kernels_f32 = fbp_kernels_of(number, 4)
    kernels_f64 = fbp_kernels_of(number, 8)
    current_isa = number
    return 0


cdef int isa_number(object name) except -2:
    cdef int i
    for i in range(FBP_ISAS):
        if fbp_isa_available(i) and fbp_isa_name(i).decode() == name:
            return i
    return -1


def use_isa(name):
    """Use an instruction set for what is called or made from now on.

    Raises
    ------
    ValueError
        It is not available here.
    """
    cdef int number = isa_number(name)
    if number < 0:
        raise ValueError(
            f"name must be an instruction set available here ({', '.join(isas_available())}), got {name!r}")
    set_isa(number)


def compiler():
    """The compiler that built the core, with its version."""
    return fbp_compiler().decode()


def cores():
    """The number of cores this process may use."""
    return fbp_cores()


def threads():
    """The number of threads used where nothing else is asked for: FASTBP_NUM_THREADS, else the cores."""
    return default_threads


cdef int choose_from_environment() except -1:
    global default_threads, threads_are_set
    name = os.environ.get("FASTBP_ISA", "").strip()
    cdef int number = isa_number(name) if name else fbp_isa_best()
    if number < 0:
        raise ValueError(
            f"the environment variable FASTBP_ISA must be one of {', '.join(isas_available())} on this machine, "
            f"got {name!r}")
    set_isa(number)
    count = os.environ.get("FASTBP_NUM_THREADS", "").strip()
    threads_are_set = bool(count)
    if not count:
        default_threads = fbp_cores()
    elif count.isdecimal() and 1 <= int(count) <= 256:
        default_threads = int(count)
    else:
        raise ValueError(f"the environment variable FASTBP_NUM_THREADS must be an integer in 1 .. 256, got {count!r}")
    return 0


choose_from_environment()


# ------------------------------------------------------------------------------------------------- arguments

cdef enum:
    MOST_ARGUMENTS = 8

# The buffers of one call. `item` is the size of its reals, 0 until the first has come: all others must be like it.
cdef struct Arguments:
    Py_buffer views[MOST_ARGUMENTS]
    int count
    Py_ssize_t item


cdef enum:
    ANY = -1  # any number of dimensions

cdef object ndarray = numpy.ndarray
cdef object empty = numpy.empty
cdef object float32 = numpy.dtype("float32")
cdef object float64 = numpy.dtype("float64")


cdef enum Flaw:
    READY
    NOT_PLAIN
    NOT_CONTIGUOUS
    WRONG_DTYPE
    WRONG_DIMENSIONS
    MISALIGNED


cdef Flaw look_at(Arguments *args, object x, char format, int ndim, int flags) noexcept:
    """Get the buffer of an argument into args.views[args.count - 1], unless it has a flaw: `take` says what is wanted.

    What is no ndarray has a flaw, and so has an instance of a subclass: a masked array hides elements.
    """
    cdef Py_buffer *view = &args.views[args.count]
    cdef char got
    cdef bint right
    if type(x) is not ndarray:
        return NOT_PLAIN
    if PyObject_GetBuffer(x, view, PyBUF_ND | PyBUF_FORMAT | flags) != 0:
        PyErr_Clear()
        return NOT_CONTIGUOUS
    args.count += 1
    got = view.format[0] if view.format != NULL and view.format[0] != 0 and view.format[1] == 0 else 0
    if format == b'r':
        right = (got == b'f' and view.itemsize == 4) or (got == b'd' and view.itemsize == 8)
        if right and view.itemsize != args.item:
            right = args.item == 0
            args.item = view.itemsize
    elif format == b'x':
        right = (got == b'f' and view.itemsize == 4) or (got == b'd' and view.itemsize == 8) or got == b'B'
    elif format == b'i':
        right = (got == b'l' or got == b'q') and view.itemsize == 8
    elif format == b'n':
        right = (got == b'i' or got == b'l' or got == b'q') and (view.itemsize == 4 or view.itemsize == 8)
    elif format == b'u':
        right = (got == b'I' or got == b'L') and view.itemsize == 4
    else:
        right = got == b'd' and view.itemsize == 8
    if not right:
        return WRONG_DTYPE
    if ndim != ANY and view.ndim != ndim:
        return WRONG_DIMENSIONS
    if <uintptr_t>view.buf % <size_t>view.itemsize != 0:
        return MISALIGNED
    return READY


cdef Py_buffer *take(Arguments *args, str name, object x, char format, int ndim, int flags) except NULL:
    """Get the buffer of an argument: C-contiguous, aligned, of the format and the number of dimensions wanted.

    format: b'r' for reals, b'i' for 64-bit, b'n' for 64-bit or 32-bit and b'u' for unsigned 32-bit integers, b'd' for
    doubles.
    flags: PyBUF_WRITABLE when C writes to it, else 0.
    """
    cdef Py_buffer *view = &args.views[args.count]
    cdef Flaw flaw = look_at(args, x, format, ndim, flags)
    if flaw == READY:
        return view
    if flaw == NOT_PLAIN:
        raise TypeError(f"{name} must be a plain array, got {type(x).__name__}")
    if flaw == NOT_CONTIGUOUS:
        raise ValueError(f"{name} must be {'a writeable' if flags else 'a'} C-contiguous array")
    if flaw == WRONG_DTYPE:
        expected = {b'r': "float32 or float64 like the others", b'i': "int64", b'u': "uint32"}.get(format, "float64")
        raise TypeError(f"{name} must be an array of {expected}, got format "
                        f"{(<bytes>view.format).decode() if view.format != NULL else 'B'!r}")
    if flaw == WRONG_DIMENSIONS:
        raise ValueError(f"{name} must have {ndim} dimensions, got {view.ndim}")
    raise ValueError(f"{name} must be aligned to {view.itemsize} bytes")


cdef inline Py_buffer *real(Arguments *args, str name, object x, int ndim) except NULL:
    return take(args, name, x, b'r', ndim, 0)


cdef inline Py_buffer *real_out(Arguments *args, str name, object x, int ndim) except NULL:
    return take(args, name, x, b'r', ndim, PyBUF_WRITABLE)


cdef Py_buffer *take_rows(Arguments *args, fbp_rows *rows, object x, Py_ssize_t item) except NULL:
    """Get the buffer of x (rows, columns) for a net of reals of size `item`: reals of either size, or bytes, with any strides
    and alignment."""
    cdef Py_buffer *view = &args.views[args.count]
    cdef const char *format
    if type(x) is not ndarray:
        raise TypeError(f"x must be a plain array, got {type(x).__name__}")
    if PyObject_GetBuffer(x, view, PyBUF_STRIDES | PyBUF_FORMAT) != 0:
        PyErr_Clear()
        raise TypeError("x must be an array of float32, float64 or uint8")
    args.count += 1
    format = view.format + 1 if view.format[0] == b'=' else view.format  # so NumPy says that the machine's own is not aligned
    if strcmp(format, "B") == 0:
        rows.kind = FBP_BYTES
    elif strcmp(format, "f") == 0 or strcmp(format, "d") == 0:
        rows.kind = FBP_REALS if view.itemsize == item else FBP_OTHER_REALS
    else:
        raise TypeError(f"x must be an array of float32, float64 or uint8, got format {(<bytes>view.format).decode()!r}")
    if view.ndim != 2:
        raise ValueError(f"x must have 2 dimensions, got {view.ndim}")
    rows.at, rows.row = view.buf, view.strides[0]
    rows.column = view.strides[1] if view.shape[1] > 1 else view.itemsize  # of one column the stride may be anything
    return view


cdef inline fbp_rows close_rows(const void *x, size_t columns, size_t item) noexcept:
    """Rows of a net's own reals, all of them close together."""
    cdef fbp_rows rows
    rows.at, rows.kind = x, FBP_REALS
    rows.row, rows.column = <ptrdiff_t>(columns * item), <ptrdiff_t>item
    return rows


cdef inline void release(Arguments *args) noexcept:
    while args.count > 0:
        args.count -= 1
        PyBuffer_Release(&args.views[args.count])


cdef inline size_t elements(const Py_buffer *view) noexcept:
    return <size_t>(view.len // view.itemsize)


cdef int match(str name, const Py_buffer *view, Py_ssize_t rows, Py_ssize_t columns) except -1:
    if view.shape[0] != rows or view.shape[1] != columns:
        raise ValueError(f"{name} must have shape ({rows}, {columns}), got ({view.shape[0]}, {view.shape[1]})")
    return 0


cdef int match_size(str name, const Py_buffer *view, size_t size) except -1:
    if elements(view) != size:
        raise ValueError(f"{name} must have {size} elements, got {elements(view)}")
    return 0


cdef int match_shape(str name, const Py_buffer *view, const Py_buffer *like) except -1:
    cdef int i
    if view.ndim == like.ndim:
        for i in range(view.ndim):
            if view.shape[i] != like.shape[i]:
                break
        else:
            return 0
    raise ValueError(f"{name} must have the shape of the first array")


cdef inline object new_array(shape, Py_ssize_t item):
    return PyObject_CallFunctionObjArgs(empty, <PyObject *>shape, <PyObject *>(float32 if item == 4 else float64), NULL)


cdef double LEAST_ABOVE_0 = 5e-324  # the smallest double
cdef double LEAST_ABOVE_1 = 1 + 2.0**-52


cdef double number(str name, object value, double least, double end) except? -1:
    """The value of a float or an int in [least, end). Other numbers and bools are for the caller to convert or refuse."""
    cdef double real
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"{name} must be a float, got {type(value).__name__}")
    real = value
    if not least <= real < end:
        raise ValueError(f"{name} must be in [{least}, {end}), got {value}")
    return real


cdef enum:
    LINE = 16         # rows of a column that may lie in one line of the cache
    GATHERED = 16384  # reals in a block of rows that is looked at


cdef enum:
    SHORT = 4096  # reals that C takes some microseconds for, the slowest functions included
    MULTIPLY_ADDS_A_REAL = 16  # that take as long


cdef inline PyThreadState *let_go(double reals) noexcept:
    """Release the GIL, unless what follows is over in a moment: other threads would then be let in for a time slice of
    5 ms or more. No Python until `take_back`."""
    return PyEval_SaveThread() if reals > SHORT else NULL


cdef inline void take_back(PyThreadState *state) noexcept:
    if state != NULL:
        PyEval_RestoreThread(state)


cdef int known_activation(int activation) except -1:
    if not 0 <= activation < FBP_ACTIVATIONS:
        raise ValueError(f"there is no activation {activation}")
    return 0


cdef Py_ssize_t first_outside(const int64_t *values, size_t N, uint64_t end) noexcept nogil:
    """The position of the first value not in 0 .. end - 1; -1 when there is none."""
    cdef size_t i
    cdef bint outside = False
    for i in range(N):
        outside |= <uint64_t>values[i] >= end
    if not outside:
        return -1
    for i in range(N):
        if <uint64_t>values[i] >= end:
            return <Py_ssize_t>i
    return -1


cdef int within(str name, const int64_t *values, size_t N, uint64_t end) except -1:
    cdef Py_ssize_t i
    state = let_go(N)
    i = first_outside(values, N, end)
    take_back(state)
    if i >= 0:
        raise ValueError(f"{name}[{i}] is {values[i]}; it must be in 0 .. {<int64_t>end - 1}")
    return 0


# Memory in 64-byte lines, for intermediate gradients of one call.
cdef void *scratch(size_t reals, Py_ssize_t item, void **block) except NULL:
    block[0] = malloc(reals * <size_t>item + 64)
    if block[0] == NULL:
        raise MemoryError(f"no memory for {reals} numbers of intermediate results")
    return <void *>((<uintptr_t>block[0] + 63) & ~<uintptr_t>63)


# -------------------------------------------------------------------------------------------- gemm and dense

# A product is worth a second thread from about 50 microseconds of work on.
cdef enum:
    WORK_PER_THREAD = 2000000


cdef int threads_for(size_t M, size_t N, size_t K) noexcept:
    cdef double parts = <double>M * <double>N * <double>K / WORK_PER_THREAD
    return 1 if parts < 2 else default_threads if parts > default_threads else <int>parts


cdef void run(int parts, fbp_part_fn *fn, void *context, double multiply_adds) noexcept:
    state = let_go(multiply_adds / MULTIPLY_ADDS_A_REAL)
    fbp_pool_run(parts, fn, context)
    take_back(state)


cdef struct Product:
    const fbp_kernels *kernels
    fbp_gemm gemm


cdef void product_part(void *context, int part, int parts) noexcept nogil:
    cdef Product *p = <Product *>context
    p.kernels.gemm(&p.gemm, part, parts)


def gemm(a, b, bint transpose_a, bint transpose_b, c=...):
    """c (M, N) = a b, either transposed first or not."""
    cdef Arguments args
    cdef Product p
    cdef int parts
    args.count = args.item = 0
    try:
        a_ = real(&args, "a", a, 2)
        b_ = real(&args, "b", b, 2)
        memset(&p, 0, sizeof(p))
        p.kernels = kernels_for(args.item)
        p.gemm.M, p.gemm.K = a_.shape[transpose_a], a_.shape[not transpose_a]
        p.gemm.N = b_.shape[not transpose_b]
        if <size_t>b_.shape[transpose_b] != p.gemm.K:
            raise ValueError(f"a gives {p.gemm.K} terms to each sum, b {b_.shape[transpose_b]}")
        if c is ...:
            c = new_array((p.gemm.M, p.gemm.N), args.item)
        c_ = real_out(&args, "c", c, 2)
        match("c", c_, p.gemm.M, p.gemm.N)
        if p.gemm.M == 0 or p.gemm.N == 0:
            return c
        p.gemm.a, p.gemm.a_row, p.gemm.a_col = a_.buf, a_.shape[1], 1
        if transpose_a:
            p.gemm.a_row, p.gemm.a_col = 1, a_.shape[1]
        p.gemm.b, p.gemm.b_row = b_.buf, b_.shape[1]
        p.gemm.c, p.gemm.c_row = c_.buf, p.gemm.N
        p.gemm.b_transposed = transpose_b
        parts = threads_for(p.gemm.M, p.gemm.N, p.gemm.K)
        run(parts, product_part, &p, <double>p.gemm.M * p.gemm.N * p.gemm.K)
        return c
    finally:
        release(&args)


cdef struct Layer:
    const fbp_kernels *kernels
    fbp_dense dense


cdef void forward_part(void *context, int part, int parts) noexcept nogil:
    cdef Layer *l = <Layer *>context
    l.kernels.dense_forward(&l.dense, part, parts)


cdef void backward_part(void *context, int part, int parts) noexcept nogil:
    cdef Layer *l = <Layer *>context
    l.kernels.dense_backward_weights(&l.dense, part, parts)
    l.kernels.dense_backward_inputs(&l.dense, part, parts)


cdef int begin_layer(Layer *l, const Py_buffer *x, const Py_buffer *W, int activation, double alpha) except -1:
    known_activation(activation)
    if x.shape[1] != W.shape[0]:
        raise ValueError(f"x has {x.shape[1]} columns; W takes {W.shape[0]}")
    if W.shape[0] == 0 or W.shape[1] == 0:
        raise ValueError(f"W must have at least one row and one column, got shape ({W.shape[0]}, {W.shape[1]})")
    memset(l, 0, sizeof(Layer))
    l.kernels = kernels_for(x.itemsize)
    l.dense.B, l.dense.I, l.dense.O = x.shape[0], x.shape[1], W.shape[1]
    l.dense.x, l.dense.x_row, l.dense.W = x.buf, l.dense.I, W.buf
    l.dense.activation, l.dense.alpha = activation, alpha
    return 0


def dense_forward(x, W, b, int activation, double alpha, y=...):
    """y (B, O) = f(x W + b); b may be None."""
    cdef Arguments args
    cdef Layer l
    cdef int parts
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        W_ = real(&args, "W", W, 2)
        begin_layer(&l, x_, W_, activation, alpha)
        if b is not None:
            b_ = real(&args, "b", b, 1)
            match_size("b", b_, l.dense.O)
            l.dense.b = b_.buf
        if y is ...:
            y = new_array((x_.shape[0], W_.shape[1]), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, l.dense.B, l.dense.O)
        if l.dense.B == 0:
            return y
        l.dense.y, l.dense.y_row = y_.buf, l.dense.O
        parts = threads_for(l.dense.B, l.dense.I, l.dense.O)
        run(parts, forward_part, &l, <double>l.dense.B * l.dense.I * l.dense.O)
        return y
    finally:
        release(&args)


def dense_backward(dy, x, W, y, int activation, double alpha, dx=..., dW=..., db=...):
    """dx (B, I), dW (I, O) and db (O,) from dy (B, O); y may be None when f is the identity."""
    cdef Arguments args
    cdef Layer l
    cdef Py_buffer *y_ = NULL
    cdef void *dz_block = NULL
    cdef void *dz
    cdef int parts
    args.count = args.item = 0
    try:
        dy_ = real(&args, "dy", dy, 2)
        x_ = real(&args, "x", x, 2)
        W_ = real(&args, "W", W, 2)
        begin_layer(&l, x_, W_, activation, alpha)
        if activation >= FBP_FROM_Z:
            raise ValueError(f"the derivative of activation {activation} is computed from z")
        match("dy", dy_, l.dense.B, l.dense.O)
        if y is not None or activation != FBP_IDENTITY:
            y_ = real(&args, "y", y, 2)
            match("y", y_, l.dense.B, l.dense.O)
        if dx is ...:
            dx = new_array((x_.shape[0], x_.shape[1]), args.item)
            dW = new_array((W_.shape[0], W_.shape[1]), args.item)
            db = new_array(W_.shape[1], args.item)
        dx_ = real_out(&args, "dx", dx, 2)
        dW_ = real_out(&args, "dW", dW, 2)
        db_ = real_out(&args, "db", db, 1)
        match("dx", dx_, l.dense.B, l.dense.I)
        match("dW", dW_, l.dense.I, l.dense.O)
        match_size("db", db_, l.dense.O)
        l.dense.dz, l.dense.dz_row = dy_.buf, l.dense.O
        l.dense.dx, l.dense.dx_row, l.dense.dW, l.dense.db = dx_.buf, l.dense.I, dW_.buf, db_.buf
        if l.dense.B == 0:
            memset(dW_.buf, 0, dW_.len)
            memset(db_.buf, 0, db_.len)
            return dx, dW, db
        if activation != FBP_IDENTITY:
            dz = scratch(l.dense.B * l.dense.O, args.item, &dz_block)
            l.dense.dz = dz
            with nogil:
                l.kernels.activation_backward(dy_.buf, y_.buf, activation, alpha, dz, l.dense.B * l.dense.O)
        parts = threads_for(l.dense.B, l.dense.I, l.dense.O)
        run(parts, backward_part, &l, <double>l.dense.B * l.dense.I * l.dense.O)
        return dx, dW, db
    finally:
        free(dz_block)
        release(&args)


# ------------------------------------------------------------------------------- activation, softmax and loss

def activation_forward(x, int activation, double alpha, y=...):
    """y = f(x), element by element."""
    cdef Arguments args
    cdef size_t N
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, ANY)
        if y is ...:
            y = new_array(x.shape, args.item)
        y_ = real_out(&args, "y", y, ANY)
        N = elements(x_)
        match_size("y", y_, N)
        known_activation(activation)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.activation_forward(x_.buf, activation, alpha, y_.buf, N)
            take_back(state)
        return y
    finally:
        release(&args)


def activation_backward(dy, y, int activation, double alpha, dx=...):
    """dx = dy f'(x), from y = f(x), or y = x for the activations from FBP_FROM_Z on, element by element."""
    cdef Arguments args
    cdef size_t N
    args.count = args.item = 0
    try:
        dy_ = real(&args, "dy", dy, ANY)
        y_ = real(&args, "y", y, ANY)
        match_shape("y", y_, dy_)
        if dx is ...:
            dx = new_array(dy.shape, args.item)
        dx_ = real_out(&args, "dx", dx, ANY)
        N = elements(dy_)
        match_size("dx", dx_, N)
        known_activation(activation)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.activation_backward(dy_.buf, y_.buf, activation, alpha, dx_.buf, N)
            take_back(state)
        return dx
    finally:
        release(&args)


def softmax_forward(x, y=...):
    """y (B, C): the softmax of each row of x."""
    cdef Arguments args
    cdef size_t B, C
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        B, C = x_.shape[0], x_.shape[1]
        if y is ...:
            y = new_array((B, C), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, B, C)
        kernels = kernels_for(args.item)
        if B and C:
            state = let_go(<double>B * C)
            kernels.softmax_forward(x_.buf, C, y_.buf, C, B, C)
            take_back(state)
        return y
    finally:
        release(&args)


def softmax_backward(dy, y, dx=...):
    """dx (B, C) = y (dy - sum(dy y)), row by row."""
    cdef Arguments args
    cdef size_t B, C
    args.count = args.item = 0
    try:
        dy_ = real(&args, "dy", dy, 2)
        y_ = real(&args, "y", y, 2)
        B, C = dy_.shape[0], dy_.shape[1]
        match("y", y_, B, C)
        if dx is ...:
            dx = new_array((B, C), args.item)
        dx_ = real_out(&args, "dx", dx, 2)
        match("dx", dx_, B, C)
        kernels = kernels_for(args.item)
        if B and C:
            state = let_go(<double>B * C)
            kernels.softmax_backward(dy_.buf, C, y_.buf, C, dx_.buf, C, B, C)
            take_back(state)
        return dx
    finally:
        release(&args)


cdef enum:
    LOSS_ROWS = 256  # rows whose losses are held at once


cdef double loss_sum(const fbp_kernels *kernels, int kind, const void *z, const void *target,
                     const double *parameters, double scale, void *dz, size_t B, size_t C) noexcept nogil:
    cdef double row_loss[LOSS_ROWS]
    cdef double total = 0
    cdef size_t start = 0, rows, i
    cdef size_t target_row = 1 if kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS else C
    cdef size_t target_item = sizeof(int64_t) if kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS else kernels.item
    while start < B:
        rows = B - start if B - start < LOSS_ROWS else LOSS_ROWS
        kernels.loss[kind](<const char *>z + start * C * kernels.item, C,
                           <const char *>target + start * target_row * target_item, target_row, parameters, scale,
                           <char *>dz + start * C * kernels.item, C, row_loss, rows, C)
        for i in range(rows):
            total += row_loss[i]
        start += rows
    return total


# A loss with weights or smoothed targets, and all it needs.
cdef struct Loss:
    const fbp_kernels *kernels
    int kind
    const void *z                # (B, C)
    const void *target           # int64 (B,) for labels, else (B, C)
    const double *parameters     # (C,) or NULL
    double smoothing
    const double *class_weights  # (C,) or NULL
    void *smoothed               # room for the targets of LOSS_ROWS rows, smoothed and weighed; or NULL: as they are
    double *row_weights          # (B,)
    double mass                  # what the sum is divided by
    void *dz                     # (B, C)
    size_t B, C


cdef double weighted_loss(const Loss *l) noexcept nogil:
    """The loss; its gradient goes to dz."""
    cdef double row_loss[LOSS_ROWS]
    cdef double factors[LOSS_ROWS]
    cdef double total = 0
    cdef size_t start = 0, rows, i, C = l.C, item = l.kernels.item
    cdef bint labels = l.kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS
    cdef size_t target_row = 1 if labels else C, target_item = sizeof(int64_t) if labels else item
    while start < l.B:
        rows = l.B - start if l.B - start < LOSS_ROWS else LOSS_ROWS
        z = <const char *>l.z + start * C * item
        target = <const char *>l.target + start * target_row * target_item
        dz = <char *>l.dz + start * C * item
        # The kernel's scale is 1: that of small weights need not be a real, but what comes of weight and scale is.
        if l.smoothed == NULL:
            l.kernels.loss[l.kind](z, C, target, target_row, l.parameters, 1, dz, C, row_loss, rows, C)
        else:
            if labels:
                l.kernels.smooth_labels(<const int64_t *>target, l.smoothing, l.class_weights, l.smoothed, C, rows, C)
            else:
                memcpy(l.smoothed, target, rows * C * item)
                l.kernels.smooth_targets(l.smoothed, C, l.smoothing, l.class_weights, rows, C)
            l.kernels.loss[FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES](z, C, l.smoothed, C, NULL, 1, dz, C, row_loss,
                                                                    rows, C)
        for i in range(rows):
            total += l.row_weights[start + i] * row_loss[i]
            factors[i] = l.row_weights[start + i] / l.mass
        l.kernels.scale_rows(factors, dz, C, row_loss, rows, C)
        start += rows
    return total / l.mass


cdef double weigh_rows(Loss *l) noexcept nogil:
    """The sum of the rows' weights, times those of their labels' classes. Where targets are not smoothed, class weights
    join those of the rows."""
    cdef double total = 0, weight
    cdef size_t b
    cdef const double *classes = l.class_weights if l.kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS else NULL
    for b in range(l.B):
        weight = l.row_weights[b]
        if classes != NULL:
            weight *= classes[(<const int64_t *>l.target)[b]]
            if l.smoothed == NULL:
                l.row_weights[b] = weight
        total += weight
    return total


cdef bint takes_parameters(int kind) noexcept nogil:
    """Whether a loss has a parameter for each column."""
    return kind == FBP_BINARY_CROSS_ENTROPY_WEIGHTED or kind == FBP_HUBER or kind == FBP_PINBALL


cdef double *numbers_of_columns(Arguments *args, str name, object values, size_t C, double least, double end,
                                void **block) except NULL:
    """C doubles in [least, end), as reals of the call, too, from a list or tuple of floats or a float64 array."""
    cdef double *numbers = <double *>scratch(C, sizeof(double), block)
    cdef size_t i
    if type(values) is tuple or type(values) is list:
        if <size_t>len(values) != C:
            raise ValueError(f"{name} has {len(values)} numbers; there are {C} columns")
        for i in range(C):
            numbers[i] = number(name, values[i], least, end)
    else:
        values_ = take(args, name, values, b'd', 1, 0)
        match_size(name, values_, C)
        memcpy(numbers, values_.buf, C * sizeof(double))
    for i in range(C):
        if not is_fit(numbers[i], least, end, args.item):
            refuse(name, numbers[i], least, end)
    return numbers


cdef inline bint is_fit(double value, double least, double end, Py_ssize_t item) noexcept:
    """Whether a number is in [least, end), and as a float neither infinite nor, where it is not 0, 0."""
    return least <= value < end and (
        item != sizeof(float) or ((<float>value == 0) == (value == 0) and <float>value != INFINITY))


cdef int refuse(str name, double value, double least, double end) except -1:
    if not least <= value < end:
        raise ValueError(f"{name} must be in [{least}, {end}), got {value}")
    raise ValueError(f"{name} must be a number that float32 holds, got {value}")


cdef double *loss_parameters(Arguments *args, int kind, object values, size_t C, void **block) except NULL:
    """A loss's parameters, one for each column: see `numbers_of_columns`. One float is for all."""
    cdef str name = "pos_weight" if kind == FBP_BINARY_CROSS_ENTROPY_WEIGHTED else (
        "delta" if kind == FBP_HUBER else "quantiles")
    cdef double least = 0 if kind == FBP_BINARY_CROSS_ENTROPY_WEIGHTED else LEAST_ABOVE_0
    cdef double end = 1 if kind == FBP_PINBALL else INFINITY
    cdef double *numbers
    cdef double value
    cdef size_t i
    if type(values) is not float and type(values) is not int:
        return numbers_of_columns(args, name, values, C, least, end, block)
    value = number(name, values, least, end)
    if not is_fit(value, least, end, args.item):
        refuse(name, value, least, end)
    numbers = <double *>scratch(C, sizeof(double), block)
    for i in range(C):
        numbers[i] = value
    return numbers


cdef double *weights_of_rows(Arguments *args, object weights, size_t B, void **block) except NULL:
    """The weights of B rows as doubles, from an array of floats or doubles; of None ones."""
    cdef double *numbers = <double *>scratch(B, sizeof(double), block)
    cdef Py_ssize_t item = args.item
    cdef size_t b
    if weights is None:
        for b in range(B):
            numbers[b] = 1
        return numbers
    args.item = 0  # they need not be like the others
    weights_ = real(args, "sample_weight", weights, 1)
    args.item = item
    match_size("sample_weight", weights_, B)
    for b in range(B):
        if weights_.itemsize == sizeof(float):
            numbers[b] = (<const float *>weights_.buf)[b]
        else:
            numbers[b] = (<const double *>weights_.buf)[b]
        if not 0 <= numbers[b] < INFINITY:
            raise ValueError(f"sample_weight must be finite and at least 0, got {numbers[b]}")
    return numbers


cdef double loss_with_weights(Arguments *args, Loss *l, sample_weight, smoothing, class_weights,
                              bint reduction_sum) except? -1:
    """The loss of an l that holds what a loss without weights needs; its gradient goes to dz."""
    cdef void *blocks[3]
    cdef double total
    cdef bint labels = l.kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS
    memset(&blocks, 0, sizeof(blocks))
    try:
        l.smoothing = number("label_smoothing", smoothing, 0, 1)
        if class_weights is not None:
            l.class_weights = numbers_of_columns(args, "class_weights", class_weights, l.C, 0, INFINITY, &blocks[0])
        if l.kind > FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES and (l.smoothing != 0 or l.class_weights != NULL):
            raise ValueError(f"loss {l.kind} has neither label smoothing nor class weights")
        if l.smoothing != 0 or (l.class_weights != NULL and not labels):
            l.smoothed = scratch((l.B if l.B < LOSS_ROWS else <size_t>LOSS_ROWS) * l.C, args.item, &blocks[1])
        l.row_weights = weights_of_rows(args, sample_weight, l.B, &blocks[2])
        l.mass = weigh_rows(l)
        if l.kind > FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES:
            l.mass *= <double>l.C
        if reduction_sum:
            l.mass = 1
        if l.mass == INFINITY:
            raise ValueError("sample_weight must have a finite sum")
        if l.mass == 0:
            memset(l.dz, 0, l.B * l.C * l.kernels.item)
            return 0
        state = let_go(<double>l.B * l.C)
        total = weighted_loss(l)
        take_back(state)
        return total
    finally:
        for block in blocks:
            free(block)


def loss(int kind, z, target, parameters, bint reduction_sum, weights=None, dz=...):
    """The loss of z (B, C) against target, and its gradient into dz (B, C). Where dz is left out: (loss, dz).

    target: int64 (B,) for labels, else like z. parameters: see `loss_parameters`; not looked at for a loss without.
    weights: None, or (sample_weight, label_smoothing, class_weights): floats or doubles (B,) or None; a float, and a
    sequence of C floats or None, both for the softmax cross-entropies.
    """
    cdef Arguments args
    cdef Loss l
    cdef size_t B, C, count
    cdef double scale, total
    cdef const void *target_at
    cdef const double *levels = NULL
    cdef void *block = NULL  # of the labels, or of the parameters
    cdef bint made
    args.count = args.item = 0
    if not 0 <= kind < FBP_LOSSES:
        raise ValueError(f"there is no loss {kind}")
    try:
        z_ = real(&args, "z", z, 2)
        B, C = z_.shape[0], z_.shape[1]
        if C == 0:
            raise ValueError("z must have at least one column")
        if kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS:
            target_ = take(&args, "target", target, b'i', 1, 0)
            match_size("target", target_, B)
            # A copy, so that labels stay in range whatever another thread does to the array.
            target_at = scratch(B, sizeof(int64_t), &block)
            memcpy(<void *>target_at, target_.buf, B * sizeof(int64_t))
            within("target", <const int64_t *>target_at, B, C)
        else:
            target_ = real(&args, "target", target, 2)
            match("target", target_, B, C)
            target_at = target_.buf
        if takes_parameters(kind):
            levels = loss_parameters(&args, kind, parameters, C, &block)
        made = dz is ...
        if made:
            dz = new_array((B, C), args.item)
        dz_ = real_out(&args, "dz", dz, 2)
        match("dz", dz_, B, C)
        if B == 0 and not reduction_sum:
            raise ValueError("z has no rows: there is no mean of nothing")
        kernels = kernels_for(args.item)
        if weights is not None:
            memset(&l, 0, sizeof(l))
            l.kernels, l.kind, l.parameters, l.B, l.C = kernels, kind, levels, B, C
            l.z, l.target, l.dz = z_.buf, target_at, dz_.buf
            sample_weight, smoothing, class_weights = weights
            total = loss_with_weights(&args, &l, sample_weight, smoothing, class_weights, reduction_sum)
            return (total, dz) if made else total
        count = B
        if kind > FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES:
            count = B * C
        if reduction_sum:
            count = 1
        scale = 1 / <double>count
        state = let_go(<double>B * C)
        total = loss_sum(kernels, kind, z_.buf, target_at, levels, scale, dz_.buf, B, C)
        take_back(state)
        total /= <double>count
        return (total, dz) if made else total
    finally:
        free(block)
        release(&args)


cdef bint all_probabilities(const void *values, Py_ssize_t item, size_t N) noexcept nogil:
    """Whether all are in [0, 1]; nan is not."""
    cdef bint right = True
    cdef size_t i
    if item == sizeof(float):
        for i in range(N):
            right &= (<const float *>values)[i] >= 0 and (<const float *>values)[i] <= 1
    else:
        for i in range(N):
            right &= (<const double *>values)[i] >= 0 and (<const double *>values)[i] <= 1
    return right


cdef enum:
    READY_AT_ONCE = 1 << 26  # elements: some tens of milliseconds, where they are in memory


def ready(x, target, Py_ssize_t item, size_t inputs, size_t outputs, int loss):
    """Whether x (rows, inputs) and the target of a loss are what C takes, as they stand: arrays of one real type (labels
    of int64), finite, the target within its range, a row at least, and not so many that Ctrl-C would have to wait while they
    are looked at. What is wrong otherwise, the caller finds out."""
    cdef Arguments args
    cdef size_t rows
    cdef bint right
    args.count, args.item = 0, item
    try:
        if look_at(&args, x, b'r', 2, 0) != READY or <size_t>args.views[0].shape[1] != inputs:
            return False
        rows = args.views[0].shape[0]
        if rows > READY_AT_ONCE // max(inputs, outputs):
            return False
        kernels = kernels_for(item)
        if loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS:
            right = look_at(&args, target, b'i', 1, 0) == READY
        else:
            right = look_at(&args, target, b'r', 2, 0) == READY and <size_t>args.views[1].shape[1] == outputs
        if not right or rows == 0 or <size_t>args.views[1].shape[0] != rows:
            return False
        target_at = args.views[1].buf
        state = let_go(<double>rows * (inputs + outputs))
        right = kernels.all_finite(args.views[0].buf, rows * inputs)
        if not right:
            pass
        elif loss == FBP_SOFTMAX_CROSS_ENTROPY_LABELS:
            right = first_outside(<const int64_t *>target_at, rows, outputs) < 0
        elif loss <= FBP_BINARY_CROSS_ENTROPY_WEIGHTED:
            right = all_probabilities(target_at, item, rows * outputs)
        else:
            right = kernels.all_finite(target_at, rows * outputs)
        take_back(state)
        return right
    finally:
        release(&args)


def check_labels(str name, labels, uint64_t classes):
    """Refuse int64 labels (B,) that are not in 0 .. classes - 1; name is what the caller calls them."""
    cdef Arguments args
    args.count = args.item = 0
    try:
        labels_ = take(&args, name, labels, b'i', 1, 0)
        within(name, <const int64_t *>labels_.buf, elements(labels_), classes)
    finally:
        release(&args)


# ---------------------------------------------------------------------------------------- norm and dropout

cdef int begin_norm(fbp_norm *n, Arguments *args, const Py_buffer *x, object gamma, object beta, double eps,
                    bint by_row) except -1:
    """What all norms share: x (B, N), gamma and beta (N,) or None."""
    memset(n, 0, sizeof(fbp_norm))
    n.B, n.N = x.shape[0], x.shape[1]
    n.x, n.x_row, n.y_row, n.dz_row, n.dx_row = x.buf, n.N, n.N, n.N, n.N
    n.eps = eps
    if (n.N if by_row else n.B) == 0:
        raise ValueError(f"x must have at least one {'column' if by_row else 'row'}")
    if gamma is not None:
        gamma_ = real(args, "gamma", gamma, 1)
        match_size("gamma", gamma_, n.N)
        n.gamma = gamma_.buf
    if beta is not None:
        beta_ = real(args, "beta", beta, 1)
        match_size("beta", beta_, n.N)
        n.beta = beta_.buf
    return 0


cdef double norm_eps(object eps) except? -1:
    return number("eps", eps, LEAST_ABOVE_0, INFINITY)


def layer_norm_forward(x, gamma, beta, eps, y=..., mean=..., rstd=...):
    """y (B, N), mean (B,), rstd (B,): each row of x (B, N) normalised. gamma and beta (N,) or None."""
    cdef Arguments args
    cdef fbp_norm n
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        begin_norm(&n, &args, x_, gamma, beta, norm_eps(eps), True)
        if y is ...:
            y = new_array((n.B, n.N), args.item)
        if mean is ...:
            mean = new_array((n.B,), args.item)
        if rstd is ...:
            rstd = new_array((n.B,), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, n.B, n.N)
        mean_ = real_out(&args, "mean", mean, 1)
        match_size("mean", mean_, n.B)
        rstd_ = real_out(&args, "rstd", rstd, 1)
        match_size("rstd", rstd_, n.B)
        n.y, n.mean, n.rstd = y_.buf, mean_.buf, rstd_.buf
        kernels = kernels_for(args.item)
        state = let_go(<double>n.B * n.N)
        kernels.layer_norm_forward(&n, 0, 1)
        take_back(state)
        return y, mean, rstd
    finally:
        release(&args)


def layer_norm_backward(dy, x, mean, rstd, gamma, dx=..., dgamma=..., dbeta=...):
    """dx (B, N), dgamma (N,) and dbeta (N,)."""
    cdef Arguments args
    cdef fbp_norm n
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        begin_norm(&n, &args, x_, gamma, None, 0, True)
        dy_ = real(&args, "dy", dy, 2)
        match("dy", dy_, n.B, n.N)
        mean_ = real(&args, "mean", mean, 1)
        match_size("mean", mean_, n.B)
        rstd_ = real(&args, "rstd", rstd, 1)
        match_size("rstd", rstd_, n.B)
        dx, dgamma, dbeta = begin_norm_gradients(&n, &args, dx, dgamma, dbeta)
        n.dz, n.mean, n.rstd = dy_.buf, mean_.buf, rstd_.buf
        kernels = kernels_for(args.item)
        state = let_go(<double>n.B * n.N)
        kernels.layer_norm_backward_weights(&n, 0, 1)
        kernels.layer_norm_backward_inputs(&n, 0, 1)
        take_back(state)
        return dx, dgamma, dbeta
    finally:
        release(&args)


cdef tuple begin_norm_gradients(fbp_norm *n, Arguments *args, object dx, object dgamma, object dbeta):
    if dx is ...:
        dx = new_array((n.B, n.N), args.item)
    if dgamma is ...:
        dgamma = new_array((n.N,), args.item)
    if dbeta is ...:
        dbeta = new_array((n.N,), args.item)
    dx_ = real_out(args, "dx", dx, 2)
    match("dx", dx_, n.B, n.N)
    dgamma_ = real_out(args, "dgamma", dgamma, 1)
    match_size("dgamma", dgamma_, n.N)
    dbeta_ = real_out(args, "dbeta", dbeta, 1)
    match_size("dbeta", dbeta_, n.N)
    n.dx, n.dgamma, n.dbeta = dx_.buf, dgamma_.buf, dbeta_.buf
    return dx, dgamma, dbeta


def batch_norm_forward(x, gamma, beta, eps, y=..., mean=..., variance=...):
    """y (B, N), mean (N,), variance (N,): each column of x (B, N) normalised. gamma and beta (N,) or None."""
    cdef Arguments args
    cdef fbp_norm n
    cdef void *block = NULL
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        begin_norm(&n, &args, x_, gamma, beta, norm_eps(eps), False)
        if y is ...:
            y = new_array((n.B, n.N), args.item)
        if mean is ...:
            mean = new_array((n.N,), args.item)
        if variance is ...:
            variance = new_array((n.N,), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, n.B, n.N)
        mean_ = real_out(&args, "mean", mean, 1)
        match_size("mean", mean_, n.N)
        variance_ = real_out(&args, "variance", variance, 1)
        match_size("variance", variance_, n.N)
        n.y, n.mean, n.variance = y_.buf, mean_.buf, variance_.buf
        n.rstd = scratch(n.N, args.item, &block)
        kernels = kernels_for(args.item)
        state = let_go(<double>n.B * n.N)
        kernels.batch_norm_statistics(&n, 0, 1)
        kernels.batch_norm_forward(&n, 0, 1)
        take_back(state)
        return y, mean, variance
    finally:
        free(block)
        release(&args)


def batch_norm_backward(dy, x, mean, variance, gamma, eps, dx=..., dgamma=..., dbeta=...):
    """dx (B, N), dgamma (N,) and dbeta (N,)."""
    cdef Arguments args
    cdef fbp_norm n
    cdef void *block = NULL
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        begin_norm(&n, &args, x_, gamma, None, norm_eps(eps), False)
        dy_ = real(&args, "dy", dy, 2)
        match("dy", dy_, n.B, n.N)
        mean_ = real(&args, "mean", mean, 1)
        match_size("mean", mean_, n.N)
        variance_ = real(&args, "variance", variance, 1)
        match_size("variance", variance_, n.N)
        dx, dgamma, dbeta = begin_norm_gradients(&n, &args, dx, dgamma, dbeta)
        n.dz, n.mean = dy_.buf, mean_.buf
        n.sums = scratch(3 * n.N, args.item, &block)
        n.rstd = <char *>n.sums + 2 * n.N * <size_t>args.item
        kernels = kernels_for(args.item)
        state = let_go(<double>n.B * n.N)
        kernels.batch_norm_rstd(variance_.buf, n.eps, n.rstd, n.N)
        kernels.batch_norm_backward_weights(&n, 0, 1)
        kernels.batch_norm_backward_inputs(&n, 0, 1)
        take_back(state)
        return dx, dgamma, dbeta
    finally:
        free(block)
        release(&args)


def batch_norm_predict(x, mean, variance, gamma, beta, eps, y=...):
    """y (B, N) from statistics that are given, (N,)."""
    cdef Arguments args
    cdef fbp_norm n
    cdef void *block = NULL
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        begin_norm(&n, &args, x_, gamma, beta, norm_eps(eps), False)
        mean_ = real(&args, "mean", mean, 1)
        match_size("mean", mean_, n.N)
        variance_ = real(&args, "variance", variance, 1)
        match_size("variance", variance_, n.N)
        if y is ...:
            y = new_array((n.B, n.N), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, n.B, n.N)
        n.y, n.mean = y_.buf, mean_.buf
        n.rstd = scratch(n.N, args.item, &block)
        kernels = kernels_for(args.item)
        state = let_go(<double>n.B * n.N)
        kernels.batch_norm_rstd(variance_.buf, n.eps, n.rstd, n.N)
        kernels.batch_norm_forward(&n, 0, 1)
        take_back(state)
        return y
    finally:
        free(block)
        release(&args)


def batch_norm_running(running_mean, running_variance, mean, variance, rows, momentum):
    """Update running_mean and running_variance (N,) in place from the statistics of so many rows, at least two."""
    cdef Arguments args
    cdef size_t N
    cdef int64_t B
    cdef double share
    args.count = args.item = 0
    try:
        running_mean_ = real_out(&args, "running_mean", running_mean, 1)
        N = elements(running_mean_)
        running_variance_ = real_out(&args, "running_variance", running_variance, 1)
        match_size("running_variance", running_variance_, N)
        mean_ = real(&args, "mean", mean, 1)
        match_size("mean", mean_, N)
        variance_ = real(&args, "variance", variance, 1)
        match_size("variance", variance_, N)
        B = rows if type(rows) is int else 0
        if B < 2:
            raise (ValueError if type(rows) is int else TypeError)(f"rows must be an int from 2 on, got {rows!r}")
        share = number("momentum", momentum, LEAST_ABOVE_0, LEAST_ABOVE_1)
        kernels = kernels_for(args.item)
        if N:
            kernels.batch_norm_running(mean_.buf, variance_.buf, share, running_mean_.buf, running_variance_.buf, B, N)
    finally:
        release(&args)


cdef uint64_t word(str name, object value) except? 0:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    return value


def dropout_forward(x, rate, seed, stream, draw, first_row, y=..., mask=...):
    """y = x mask and mask, both (B, N), for rows first_row and on of minibatch number draw, below 2^32."""
    cdef Arguments args
    cdef fbp_dropout d
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        d.B, d.N = x_.shape[0], x_.shape[1]
        d.x, d.x_row, d.y_row, d.mask_row = x_.buf, d.N, d.N, d.N
        d.rate = number("rate", rate, 0, 1)
        d.seed, d.stream = word("seed", seed), word("stream", stream)
        d.draw, d.first_row = word("draw", draw), word("first_row", first_row)
        if d.draw >> 32:
            raise ValueError(f"draw must be below 2^32, got {draw}")
        if d.first_row >> 34 or (d.first_row + <double>d.B) * <double>d.N > 2.0**34:
            raise ValueError(f"row {first_row} and {d.B} more, of {d.N} columns, are more than 2^34 elements")
        if y is ...:
            y = new_array((d.B, d.N), args.item)
        if mask is ...:
            mask = new_array((d.B, d.N), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, d.B, d.N)
        mask_ = real_out(&args, "mask", mask, 2)
        match("mask", mask_, d.B, d.N)
        d.y, d.mask = y_.buf, mask_.buf
        kernels = kernels_for(args.item)
        if d.B and d.N:
            state = let_go(<double>d.B * d.N)
            kernels.dropout_forward(&d, 0, 1)
            take_back(state)
        return y, mask
    finally:
        release(&args)


cdef object of_two(a, b, c, bint multiplies):
    """c, which is new where it is `...`: a b or a + b."""
    cdef Arguments args
    cdef size_t N
    args.count = args.item = 0
    try:
        a_ = real(&args, "a", a, ANY)
        b_ = real(&args, "b", b, ANY)
        match_shape("b", b_, a_)
        if c is ...:
            c = new_array(a.shape, args.item)
        c_ = real_out(&args, "c", c, ANY)
        N = elements(a_)
        match_size("c", c_, N)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            (kernels.multiply if multiplies else kernels.add)(a_.buf, b_.buf, c_.buf, N)
            take_back(state)
        return c
    finally:
        release(&args)


def multiply(a, b, c=...):
    """c = a b."""
    return of_two(a, b, c, True)


# ----------------------------------------------------------------------------------- optimizer, reduce and rng

# One update of an optimiser. begin_update, then update_of, update_with for each of the moments, then make_update.
cdef struct Update:
    Arguments args
    fbp_optimizer o
    const Py_buffer *w
    const void *g
    void *moments[3]
    uint64_t t
    double learning_rate


cdef int begin_update(Update *u, int kind, object learning_rate, object weight_decay) except -1:
    u.args.count = u.args.item = 0
    memset(&u.o, 0, sizeof(u.o))
    memset(&u.moments, 0, sizeof(u.moments))
    u.o.kind = kind
    u.t = 1
    u.learning_rate = number("learning_rate", learning_rate, 0, INFINITY)
    u.o.weight_decay = number("weight_decay", weight_decay, 0, INFINITY)
    return 0


cdef int update_of(Update *u, object w, object g) except -1:
    w_ = real_out(&u.args, "w", w, ANY)
    g_ = real(&u.args, "g", g, ANY)
    match_shape("g", g_, w_)
    u.w, u.g = w_, g_.buf
    return 0


cdef int update_with(Update *u, str name, object moment, int slot, bint used) except -1:
    """Check one of the moments, and have the kernel use it unless it is not needed."""
    moment_ = real_out(&u.args, name, moment, ANY)
    match_shape(name, moment_, u.w)
    if used:
        u.moments[slot] = moment_.buf
    return 0


cdef void make_update(Update *u) noexcept:
    cdef size_t N = elements(u.w)
    kernels = kernels_for(u.args.item)
    if N:
        state = let_go(N)
        kernels.optimizer[u.o.kind](&u.o, u.w.buf, u.g, u.moments, u.t, u.learning_rate, N)
        take_back(state)


cdef int64_t step_number(object t) except -1:
    cdef int64_t step = t if type(t) is int else 0
    if step < 1:
        raise (ValueError if type(t) is int else TypeError)(f"t must be an int from 1 on, got {t!r}")
    return step


cdef bint flag(str name, object value) except -1:
    if type(value) is not bool:
        raise TypeError(f"{name} must be a bool, got {type(value).__name__}")
    return value


def sgd_step(w, g, v, learning_rate, momentum, weight_decay, nesterov):
    """Update w and v in place; v may be None when momentum is 0, and is left alone then."""
    cdef Update u
    begin_update(&u, FBP_SGD, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        u.o.momentum = number("momentum", momentum, 0, 1)
        u.o.nesterov = flag("nesterov", nesterov)
        if u.o.nesterov and u.o.momentum == 0:
            raise ValueError("nesterov needs a momentum")
        if v is not None or u.o.momentum != 0:
            update_with(&u, "v", v, 0, u.o.momentum != 0)
        make_update(&u)
    finally:
        release(&u.args)


def adam_step(w, g, m, v, t, learning_rate, beta1, beta2, eps, weight_decay, decoupled):
    """Update w, m and v in place in step t, from 1."""
    cdef Update u
    begin_update(&u, FBP_ADAM, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        update_with(&u, "m", m, 0, True)
        update_with(&u, "v", v, 1, True)
        u.t = step_number(t)
        u.o.beta1 = number("beta1", beta1, 0, 1)
        u.o.beta2 = number("beta2", beta2, 0, 1)
        u.o.eps = number("eps", eps, LEAST_ABOVE_0, INFINITY)
        u.o.decoupled = flag("decoupled", decoupled)
        make_update(&u)
    finally:
        release(&u.args)


def rmsprop_step(w, g, v, buffer, mean, learning_rate, alpha, eps, weight_decay, momentum, centered):
    """Update w, v, buffer and mean in place. buffer may be None when momentum is 0, mean when it is not centred; they are
    left alone then."""
    cdef Update u
    cdef bint centres
    begin_update(&u, FBP_RMSPROP, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        update_with(&u, "v", v, 0, True)
        u.o.beta2 = number("alpha", alpha, 0, 1)
        u.o.eps = number("eps", eps, LEAST_ABOVE_0, INFINITY)
        u.o.momentum = number("momentum", momentum, 0, 1)
        centres = flag("centered", centered)
        if buffer is not None or u.o.momentum != 0:
            update_with(&u, "buffer", buffer, 1, u.o.momentum != 0)
        if mean is not None or centres:
            update_with(&u, "mean", mean, 2, centres)
        make_update(&u)
    finally:
        release(&u.args)


def adagrad_step(w, g, v, t, learning_rate, rate_decay, weight_decay, eps):
    """Update w and v in place in step t, from 1."""
    cdef Update u
    begin_update(&u, FBP_ADAGRAD, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        update_with(&u, "v", v, 0, True)
        u.t = step_number(t)
        u.o.rate_decay = number("rate_decay", rate_decay, 0, INFINITY)
        u.o.eps = number("eps", eps, LEAST_ABOVE_0, INFINITY)
        make_update(&u)
    finally:
        release(&u.args)


def penalty(w, g, l1, l2):
    """l1 sum |w| + l2/2 sum w^2; its gradient is added to g in place."""
    cdef Arguments args
    cdef size_t N
    cdef double first, second, result = 0
    args.count = args.item = 0
    try:
        w_ = real(&args, "w", w, ANY)
        g_ = real_out(&args, "g", g, ANY)
        match_shape("g", g_, w_)
        first = number("l1", l1, 0, INFINITY)
        second = number("l2", l2, 0, INFINITY)
        N = elements(w_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            result = kernels.penalty(w_.buf, g_.buf, first, second, N)
            take_back(state)
        return result
    finally:
        release(&args)


def clip_by_norm(g, limit, eps):
    """The norm of g, which is scaled in place by limit / (norm + eps) where that is below 1."""
    cdef Arguments args
    cdef size_t N
    cdef double most, more, norm = 0
    args.count = args.item = 0
    try:
        g_ = real_out(&args, "g", g, ANY)
        most = number("limit", limit, LEAST_ABOVE_0, INFINITY)
        more = number("eps", eps, 0, INFINITY)
        N = elements(g_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            norm = sqrt(kernels.sum_squares(g_.buf, N))
            if most / (norm + more) < 1:
                kernels.scale(g_.buf, most / (norm + more), N)
            take_back(state)
        return norm
    finally:
        release(&args)


def clip_by_value(g, limit):
    """Bring the elements of g into [-limit, limit] in place."""
    cdef Arguments args
    cdef size_t N
    cdef double most
    args.count = args.item = 0
    try:
        g_ = real_out(&args, "g", g, ANY)
        most = number("limit", limit, LEAST_ABOVE_0, INFINITY)
        N = elements(g_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.clip(g_.buf, most, N)
            take_back(state)
    finally:
        release(&args)


def weight_average(average, w, decay):
    """Update average in place: average += (1 - decay) (w - average)."""
    cdef Arguments args
    cdef size_t N
    cdef double share
    args.count = args.item = 0
    try:
        average_ = real_out(&args, "average", average, ANY)
        w_ = real(&args, "w", w, ANY)
        match_shape("w", w_, average_)
        share = number("decay", decay, 0, 1)
        N = elements(average_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.average(average_.buf, w_.buf, share, N)
            take_back(state)
    finally:
        release(&args)


def add(a, b, c=...):
    """c = a + b."""
    return of_two(a, b, c, False)


def sum_squares(x):
    """The sum of the squares of x."""
    cdef Arguments args
    cdef size_t N
    cdef double total = 0
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, ANY)
        N = elements(x_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            total = kernels.sum_squares(x_.buf, N)
            take_back(state)
        return total
    finally:
        release(&args)


def all_finite(x):
    """Whether no element of x is nan or infinite."""
    cdef Arguments args
    cdef size_t N
    cdef int finite = 1
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, ANY)
        N = elements(x_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            finite = kernels.all_finite(x_.buf, N)
            take_back(state)
        return finite != 0
    finally:
        release(&args)


def all_rows_finite(x, Py_ssize_t item):
    """Whether no element of x (rows, columns) is nan or infinite as a net of reals of size `item` takes it. Copies a block of
    rows at a time, where it has to."""
    cdef Arguments args
    cdef fbp_rows rows
    cdef size_t count, columns, block, n
    cdef void *memory = NULL
    cdef void *reals
    cdef bint close, finite = True
    args.count = 0
    try:
        x_ = take_rows(&args, &rows, x, item)
        count, columns = x_.shape[0], x_.shape[1]
        if rows.kind == FBP_BYTES or count == 0 or columns == 0:
            return True
        kernels = kernels_for(item)
        block = min(count, max(<size_t>LINE, GATHERED // columns))
        close = (rows.kind == FBP_REALS and rows.column == item and rows.row == <ptrdiff_t>columns * item
                 and <uintptr_t>rows.at % <size_t>item == 0)
        reals = NULL if close else scratch(block * columns, item, &memory)
        state = let_go(<double>count * columns)
        while finite and count:
            n = min(block, count)
            if not close:
                kernels.gather(&rows, NULL, reals, columns, n, columns)
            finite = kernels.all_finite(rows.at if close else reals, n * columns)
            rows.at = <const char *>rows.at + rows.row * <ptrdiff_t>n
            count -= n
        take_back(state)
        return finite
    finally:
        free(memory)
        release(&args)


def random_bits(uint64_t seed, uint64_t stream, Py_ssize_t n):
    """The first n words of a stream: uint32 (n,)."""
    cdef Arguments args
    args.count = args.item = 0
    words = numpy.empty(n, "uint32")
    try:
        words_ = take(&args, "words", words, b'u', 1, PyBUF_WRITABLE)
        with nogil:
            fbp_random_bits(seed, stream, 0, <uint32_t *>words_.buf, n)
    finally:
        release(&args)
    return words


def random_uniform(uint64_t seed, uint64_t stream, Py_ssize_t n):
    """The first n numbers of a stream, in [0, 1): float64 (n,)."""
    cdef Arguments args
    args.count = args.item = 0
    u = numpy.empty(n, "float64")
    try:
        u_ = take(&args, "u", u, b'd', 1, PyBUF_WRITABLE)
        with nogil:
            fbp_random_uniform(seed, stream, 0, <double *>u_.buf, n)
    finally:
        release(&args)
    return u


def random_normal(uint64_t seed, uint64_t stream, Py_ssize_t n):
    """n numbers of the standard normal distribution: float64 (n,)."""
    cdef Arguments args
    cdef Py_ssize_t i
    cdef double *u
    args.count = args.item = 0
    y = numpy.empty(n, "float64")
    try:
        y_ = take(&args, "y", y, b'd', 1, PyBUF_WRITABLE)
        u = <double *>y_.buf
        with nogil:
            fbp_random_uniform(seed, stream, 0, u, n)
            for i in range(n):  # to the middle of the 2^52 parts of (0, 1)
                u[i] = (<double><int64_t>(u[i] * 4503599627370496.0) + 0.5) / 4503599627370496.0
            kernels_f64.normal_quantile(u, u, n)
    finally:
        release(&args)
    return y


def random_permutation(uint64_t seed, uint64_t stream, Py_ssize_t n):
    """The permutation that sorts the first n words of a stream: int64 (n,)."""
    cdef Arguments args
    cdef void *block = NULL
    cdef uint64_t *pairs
    args.count = args.item = 0
    if n > 0xFFFFFFFF:
        raise ValueError(f"n must be below 2^32, got {n}")
    order = numpy.empty(n, "int64")
    try:
        order_ = take(&args, "order", order, b'i', 1, PyBUF_WRITABLE)
        pairs = <uint64_t *>scratch(2 * <size_t>n, sizeof(uint64_t), &block)
        with nogil:
            fbp_random_permutation(seed, stream, <int64_t *>order_.buf, pairs, n)
    finally:
        free(block)
        release(&args)
    return order


# --------------------------------------------------------------------------------------------------- the plan

# Memory of a plan's own, which grows.
cdef struct Room:
    void *at
    size_t bytes


cdef void *room_for(Room *room, size_t bytes, str name) except NULL:
    if bytes > room.bytes or room.at == NULL:
        free(room.at)
        room.bytes = 0
        room.at = malloc(bytes + 1)
        if room.at == NULL:
            raise MemoryError(f"no memory for a copy of {name}")
        room.bytes = bytes
    return room.at


cdef const int64_t *copied_positions(Room *room, str name, const Py_buffer *view) except NULL:
    """Integers that C will use as positions, in memory of our own: once checked they stay in range, whatever becomes of
    the array."""
    cdef size_t N = elements(view), i
    cdef int64_t *positions = <int64_t *>room_for(room, N * sizeof(int64_t), name)
    if view.itemsize == sizeof(int64_t):
        memcpy(positions, view.buf, N * sizeof(int64_t))
    else:
        for i in range(N):
            positions[i] = (<const int32_t *>view.buf)[i]
    return positions


cdef const int64_t *checked_positions(Room *room, str name, const Py_buffer *view, uint64_t end) except NULL:
    positions = copied_positions(room, name, view)
    within(name, positions, elements(view), end)
    return positions


cdef const void *converted(Room *room, str name, const Py_buffer *view, Py_ssize_t item) except NULL:
    """Reals of size `item`: those of the view itself, or a copy, in which what is too large is infinite."""
    cdef size_t N = elements(view), i
    cdef void *copy
    if view.itemsize == item:
        return view.buf
    copy = room_for(room, N * item, name)
    if item == sizeof(float):
        for i in range(N):
            (<float *>copy)[i] = <float>(<const double *>view.buf)[i]
    else:
        for i in range(N):
            (<double *>copy)[i] = (<const float *>view.buf)[i]
    return copy


cdef int to_status(int status) except -1:
    if status == FBP_NO_MEMORY:
        raise MemoryError("no memory for the workspace")
    if status == FBP_BAD_PLAN:
        raise ValueError("steps must hold a layer, and residual blocks that nest; a minibatch that must be whole has to fit")
    return status


cdef class Updates:
    """The count of a trainer's updates, and the lock that whoever makes some must hold: ``with updates: ...``.

    The lock lets in the thread that holds it again, as threading.RLock does. It is one of our own since
    `Plan.try_step` takes it and counts its update without a call of Python: half a microsecond less.

    Parameters
    ----------
    done : int
        Updates made already.

    Attributes
    ----------
    done : int
    last_loss : float or None
        The loss of the last update.
    """

    cdef PyThread_type_lock lock
    cdef unsigned long owner  # while depth is not 0
    cdef int depth
    cdef public uint64_t done
    cdef public object last_loss

    def __cinit__(self, uint64_t done):
        self.done = done
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no memory for a lock")

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __reduce__(self):
        raise TypeError("Updates cannot be pickled: save the trainer")

    cdef bint begin(self) noexcept:
        """Take the lock if nobody holds it, this thread included."""
        if not PyThread_acquire_lock(self.lock, 0):
            return False
        self.owner = PyThread_get_thread_ident()
        self.depth = 1
        return True

    cdef void end(self) noexcept:
        self.depth -= 1
        if self.depth == 0:
            PyThread_release_lock(self.lock)

    def __enter__(self):
        cdef unsigned long here = PyThread_get_thread_ident()
        cdef int got
        if self.depth and self.owner == here:
            self.depth += 1
            return self
        got = PyThread_acquire_lock(self.lock, 0)
        while got != 1:
            with nogil:  # until it is free, or a signal comes
                got = PyThread_acquire_lock_timed(self.lock, -1, 1)
            if got != 1:
                PyErr_CheckSignals()
        self.owner, self.depth = here, 1
        return self

    def __exit__(self, *exception):
        if not self.depth or self.owner != PyThread_get_thread_ident():
            raise RuntimeError("the lock is not held by this thread")
        self.end()


cdef int set_optimizer(fbp_optimizer *o, constants) except -1:
    (o.kind, o.momentum, o.weight_decay, o.beta1, o.beta2, o.eps, o.rate_decay, o.nesterov, o.decoupled) = constants
    if not 0 <= o.kind < FBP_OPTIMIZERS:
        raise ValueError(f"there is no optimizer {o.kind}")
    return 0


cdef bint has_moments(const fbp_optimizer *o, const fbp_vectors *v) noexcept:
    """Whether the vectors are there that an optimiser keeps its state in."""
    if o.kind == FBP_SGD:
        return v.moments[0] != NULL or o.momentum == 0
    if o.kind == FBP_RMSPROP:
        return v.moments[0] != NULL and (v.moments[1] != NULL or o.momentum == 0)
    return v.moments[0] != NULL and (v.moments[1] != NULL or o.kind == FBP_ADAGRAD)


cdef enum:
    AT_ONCE = 1 << 24  # multiply-adds, rows times parameters, between two looks at signals: some milliseconds


cdef class Plan:
    """A net compiled for training or prediction on rows of one real type.

    Parameters
    ----------
    dtype : "float32" or "float64"
    steps : sequence of tuples
        As `fastbp._support.network_steps.Step.record` gives them and struct fbp_layer holds them.
    rows : int
        Rows of the largest minibatch or block to expect; more are taken in blocks of so many.
    threads : int
        At most so many; 0: as many as pay, within FASTBP_NUM_THREADS.
    loss : int
        As enum fbp_loss, or -1 to predict only.
    loss_parameters : sequence of float
        One an output for the losses that have some: see `takes_parameters`; else empty or None.
    reduction_sum : bool
        The loss is the sum of its terms rather than their mean.
    optimizer : tuple or None
        `fastbp.optimizers.Optimizer.constants`. None when no step is to be taken.
    parameters, gradient, moment1, moment2, moment3, average : 1-D arrays of dtype, or None where they are not needed
        The vectors the plan reads and writes, all of one length. It holds on to them. Without gradient it predicts only.
    statistics : 1-D array of dtype or None
        Running statistics of the batch norms.
    smoothing, class_weights
        Of a softmax cross-entropy: a float and a sequence of floats, one a class, or None.
    clip_norm, clip_value : float
        0: no limit.
    average_decay : float
    seed, dropout_stream : int
    whole : bool
        Whether minibatches, of at most `rows` rows, go through the net at once.

    Two threads may share a plan: the second waits, without the GIL, until the first is done.
    """

    cdef fbp_plan *plan
    cdef const fbp_kernels *kernels
    cdef fbp_vectors vectors
    cdef Arguments held          # parameters, gradient, moments
    cdef size_t inputs, outputs
    cdef int loss_kind
    cdef bint can_step, whole
    cdef size_t rows, kept_rows  # of the spec; of the last call of `forward_kept`, until `backward`
    cdef PyThread_type_lock lock
    cdef fbp_epoch epoch
    cdef Arguments epoch_held    # x, target, weights and learning rates of the epoch
    cdef bint epoch_on
    cdef uint64_t step_t         # updates done when the last call of `step` was made, its own included if it made one
    cdef Room epoch_labels, epoch_order, labels, x_room, target_room
    cdef size_t most_rows        # that `try_predict` and `try_step` take
    cdef double multiply_adds    # in the forward pass of a row

    def __cinit__(self, str dtype, steps, Py_ssize_t rows, int threads, int loss, loss_parameters, bint reduction_sum,
                  optimizer, parameters, gradient=None, moment1=None, moment2=None, moment3=None, average=None,
                  statistics=None, double smoothing=0, class_weights=None, double clip_norm=0, double clip_value=0,
                  double average_decay=0, uint64_t seed=0, uint64_t dropout_stream=0, bint whole=False):
        cdef fbp_plan_spec spec
        cdef void *memory = NULL
        cdef fbp_layer *layers
        cdef double *numbers
        cdef Py_ssize_t i
        cdef size_t count, statistics_count, taken
        memset(&spec, 0, sizeof(spec))
        self.held.count = self.epoch_held.count = 0
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no memory for a lock")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        if threads < 0:
            raise ValueError(f"threads must be at least 0, got {threads}")
        if not -1 <= loss < FBP_LOSSES:
            raise ValueError(f"there is no loss {loss}")
        steps = [tuple(step) for step in steps]
        self.inputs, self.outputs, count, statistics_count = check_steps(steps, rows)
        loss_parameters = [float(number) for number in (loss_parameters or ())]
        taken = self.outputs if takes_parameters(loss) else 0
        if <size_t>len(loss_parameters) != taken:
            raise ValueError(f"loss_parameters has {len(loss_parameters)} numbers; this loss takes {taken}")
        class_weights = [float(weight) for weight in (class_weights or ())]
        if class_weights and <size_t>len(class_weights) != self.outputs:
            raise ValueError(f"class_weights has {len(class_weights)} numbers; there are {self.outputs} outputs")
        self.whole = whole
        self.rows = rows
        self.most_rows = rows if rows < FBP_BLOCK or whole else max(<size_t>FBP_BLOCK, AT_ONCE // (count + 1))
        self.multiply_adds = count
        self.loss_kind = loss
        self.kernels = spec.kernels = kernels_for(4 if dtype == "float32" else 8)
        self.held.item = self.epoch_held.item = self.kernels.item
        self.vectors.parameters = self.hold("parameters", parameters, count)
        self.vectors.gradient = self.hold("gradient", gradient, count)
        self.vectors.moments[0] = self.hold("moment1", moment1, count)
        self.vectors.moments[1] = self.hold("moment2", moment2, count)
        self.vectors.moments[2] = self.hold("moment3", moment3, count)
        self.vectors.average = self.hold("average", average, count)
        self.vectors.statistics = self.hold("statistics", statistics, statistics_count)
        if self.vectors.parameters == NULL:
            raise TypeError("parameters must be an array, got None")
        if statistics_count and self.vectors.statistics == NULL:
            raise TypeError("statistics must be an array, got None")
        if optimizer is not None:
            set_optimizer(&spec.optimizer, optimizer)
            self.can_step = self.vectors.gradient != NULL and has_moments(&spec.optimizer, &self.vectors)
        spec.rows = rows
        spec.whole = whole
        spec.threads = threads if threads else default_threads if threads_are_set else 0
        spec.trains = self.vectors.gradient != NULL
        spec.loss = loss
        spec.reduction_sum = reduction_sum
        spec.smoothing = smoothing
        spec.clip_norm, spec.clip_value = clip_norm, clip_value
        spec.average_decay = average_decay
        spec.seed, spec.dropout_stream = seed, dropout_stream
        try:
            spec.n_layers = len(steps)
            spec.n_loss_parameters = len(loss_parameters)
            memory = malloc(spec.n_layers * sizeof(fbp_layer)
                            + (spec.n_loss_parameters + len(class_weights)) * sizeof(double) + 1)
            if memory == NULL:
                raise MemoryError("no memory for the plan")
            layers = <fbp_layer *>memory
            numbers = <double *>(layers + spec.n_layers)
            for i in range(<Py_ssize_t>spec.n_layers):
                (layers[i].kind, layers[i].inputs, layers[i].outputs, layers[i].bias, layers[i].activation,
                 layers[i].alpha, layers[i].frozen, layers[i].rate, layers[i].eps, layers[i].l1, layers[i].l2,
                 layers[i].penalize_bias) = steps[i]
            for i, value in enumerate(loss_parameters + class_weights):
                numbers[i] = value
            spec.layers, spec.loss_parameters = layers, numbers
            if class_weights:
                spec.class_weights = numbers + spec.n_loss_parameters
            to_status(fbp_plan_create(&spec, &self.plan))
        finally:
            free(memory)
        if fbp_plan_parameters(self.plan) != count or fbp_plan_statistics(self.plan) != statistics_count:
            raise SystemError(f"the plan has {fbp_plan_parameters(self.plan)} parameters rather than {count}")

    def __dealloc__(self):
        if self.plan != NULL:
            fbp_plan_destroy(self.plan)
        release(&self.held)
        release(&self.epoch_held)
        free(self.epoch_labels.at)
        free(self.epoch_order.at)
        free(self.labels.at)
        free(self.x_room.at)
        free(self.target_room.at)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __reduce__(self):
        raise TypeError("a Plan cannot be pickled: save the network or the trainer")

    cdef void *hold(self, str name, object vector, size_t count) except? NULL:
        if vector is None:
            return NULL
        view = real_out(&self.held, name, vector, 1)
        match_size(name, view, count)
        return view.buf

    cdef void enter(self) noexcept:
        if not PyThread_acquire_lock(self.lock, 0):
            with nogil:
                PyThread_acquire_lock(self.lock, 1)

    cdef void leave(self) noexcept:
        PyThread_release_lock(self.lock)

    cdef PyThreadState *let_go_for(self, int passes, size_t rows) noexcept:
        return let_go(passes * self.multiply_adds / MULTIPLY_ADDS_A_REAL * rows)

    cdef Py_buffer *take_x(self, Arguments *args, fbp_rows *rows, object x) except NULL:
        args.count, args.item = 0, self.kernels.item
        view = take_rows(args, rows, x, self.kernels.item)
        if <size_t>view.shape[1] != self.inputs:
            raise ValueError(f"x has {view.shape[1]} columns; the network takes {self.inputs}")
        return view

    cdef Py_buffer *take_target(self, Arguments *args, object target, Py_ssize_t rows) except NULL:
        if self.loss_kind < 0:
            raise RuntimeError("this plan has no loss: it can predict only")
        if self.loss_kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS:
            view = take(args, "target", target, b'i', 1, 0)
            match_size("target", view, rows)
        else:
            view = real(args, "target", target, 2)
            match("target", view, rows, self.outputs)
        return view

    cdef const void *target_pointer(self, Room *labels, const Py_buffer *view) except NULL:
        """Where C may read the target; for labels a checked copy. The lock is held."""
        if self.loss_kind != FBP_SOFTMAX_CROSS_ENTROPY_LABELS:
            return view.buf
        return checked_positions(labels, "target", view, self.outputs)

    cdef size_t target_row(self) noexcept nogil:
        return 1 if self.loss_kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS else self.outputs

    cdef void gradient_is_overwritten(self) noexcept:
        """Give up an epoch that was stopped within a minibatch: half of its gradient is about to be lost."""
        if self.epoch.block_start:
            self.epoch_on = False

    @property
    def learned_count(self):
        """Layers that have parameters."""
        return fbp_plan_learned(self.plan)

    @property
    def parameters_count(self):
        return fbp_plan_parameters(self.plan)

    @property
    def workspace_bytes(self):
        return fbp_plan_workspace(self.plan)

    @property
    def isa(self):
        return self.kernels.isa.decode()

    @property
    def outdated(self):
        """Whether another instruction set has been chosen since the plan was made."""
        return self.kernels != kernels_for(self.kernels.item)

    def threads_for(self, size_t rows):
        """The number of threads that a minibatch of so many rows would use."""
        return fbp_plan_threads(self.plan, rows)

    def forward(self, x, y):
        """Write the outputs for x (rows, I) to y (rows, O)."""
        cdef Arguments args
        cdef fbp_rows x_rows
        cdef int status = FBP_OK
        args.count = 0
        try:
            x_ = self.take_x(&args, &x_rows, x)
            y_ = real_out(&args, "y", y, 2)
            match("y", y_, x_.shape[0], self.outputs)
            if x_.shape[0]:
                self.enter()
                state = self.let_go_for(1, x_.shape[0])
                status = fbp_plan_forward(self.plan, &self.vectors, &x_rows, x_.shape[0], y_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    cdef int take_data(self, Arguments *args, fbp_data *data, object x, object target, object weights) except -1:
        """x, target and the weights of rows as C takes them; a pointer to labels is still the caller's own memory."""
        memset(data, 0, sizeof(fbp_data))
        x_ = self.take_x(args, &data.x, x)
        target_ = self.take_target(args, target, x_.shape[0])
        data.rows = x_.shape[0]
        data.target, data.target_row = target_.buf, self.target_row()
        if weights is not None:
            weights_ = take(args, "weights", weights, b'd', 1, 0)
            match_size("weights", weights_, data.rows)
            data.weights = <const double *>weights_.buf
        return 0

    cdef int enter_with(self, Arguments *args, fbp_data *data) except -1:
        """Take the lock, and let data.target be where C may read it."""
        self.enter()
        try:
            data.target = self.target_pointer(&self.labels, &args.views[1])
        except BaseException:
            self.leave()
            raise
        return 0

    cdef int refuse_too_many(self, size_t rows) except -1:
        if self.whole and rows > self.rows:
            raise ValueError(f"x has {rows} rows; this plan takes minibatches whole, of at most {self.rows}")
        return 0

    def loss(self, x, target, weights=None):
        """The loss of (x, target) in prediction, a sum over rows and elements, and what a mean divides it by."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status = FBP_OK
        cdef double loss = 0, mass = 0
        args.count = 0
        try:
            self.take_data(&args, &data, x, target, weights)
            if data.rows:
                self.enter_with(&args, &data)
                state = self.let_go_for(1, data.rows)
                status = fbp_plan_loss(self.plan, &self.vectors, &data, &loss, &mass)
                take_back(state)
                self.leave()
            to_status(status)
            return loss, mass
        finally:
            release(&args)

    def gradient(self, x, target, dx=None, weights=None, bint training=True, uint64_t draw=0):
        """The loss of the minibatch (x, target) with its penalties; its gradient goes to the gradient vector, that at x to dx
        if given."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status
        cdef double loss = 0
        cdef void *dx_at = NULL
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            self.take_data(&args, &data, x, target, weights)
            if dx is not None:
                dx_ = real_out(&args, "dx", dx, 2)
                match("dx", dx_, data.rows, self.inputs)
                dx_at = dx_.buf
            if data.rows == 0:
                raise ValueError("x has no rows")
            if training:
                self.refuse_too_many(data.rows)
            self.enter_with(&args, &data)
            self.gradient_is_overwritten()
            state = self.let_go_for(3, data.rows)
            status = fbp_plan_gradient(self.plan, &self.vectors, &data, training, draw, &loss, dx_at)
            take_back(state)
            self.leave()
            to_status(status)
            return loss
        finally:
            release(&args)

    def example_gradients(self, x, target, losses, gradients):
        """Write to losses (rows,) float64 and gradients (rows, P) those of each example, as a minibatch of one."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status = FBP_OK
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            self.take_data(&args, &data, x, target, None)
            losses_ = take(&args, "losses", losses, b'd', 1, PyBUF_WRITABLE)
            match_size("losses", losses_, data.rows)
            gradients_ = real_out(&args, "gradients", gradients, 2)
            match("gradients", gradients_, data.rows, fbp_plan_parameters(self.plan))
            if data.rows:
                self.enter_with(&args, &data)
                state = self.let_go_for(3, data.rows)
                status = fbp_plan_example_gradients(self.plan, &self.vectors, &data, <double *>losses_.buf,
                                                    gradients_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    def example_norms(self, x, target, losses, squares):
        """Write to losses (rows,) and squares (rows,), float64, each example's loss and its gradient's squared norm."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status = FBP_OK
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            self.take_data(&args, &data, x, target, None)
            losses_ = take(&args, "losses", losses, b'd', 1, PyBUF_WRITABLE)
            match_size("losses", losses_, data.rows)
            squares_ = take(&args, "squares", squares, b'd', 1, PyBUF_WRITABLE)
            match_size("squares", squares_, data.rows)
            if data.rows:
                self.enter_with(&args, &data)
                state = self.let_go_for(3, data.rows)
                status = fbp_plan_example_norms(self.plan, &self.vectors, &data, <double *>losses_.buf,
                                                <double *>squares_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    def forward_kept(self, x, y, bint training, uint64_t draw=0, size_t first_row=0):
        """Write the outputs for x (rows, I) to y (rows, O) and keep what `backward` needs; rows at most those of the plan."""
        cdef Arguments args
        cdef fbp_rows x_rows
        cdef int status
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            x_ = self.take_x(&args, &x_rows, x)
            y_ = real_out(&args, "y", y, 2)
            match("y", y_, x_.shape[0], self.outputs)
            if x_.shape[0] == 0:
                raise ValueError("x has no rows")
            self.enter()
            self.gradient_is_overwritten()
            state = self.let_go_for(1, x_.shape[0])
            status = fbp_plan_outputs(self.plan, &self.vectors, &x_rows, x_.shape[0], first_row, training, draw,
                                      y_.buf)
            take_back(state)
            self.kept_rows = x_.shape[0] if status == FBP_OK else 0
            self.leave()
            to_status(status)
        finally:
            release(&args)

    def backward(self, dy, bint accumulate=False, dx=None):
        """From dy (rows, O), the gradient at what `forward_kept` gave: the gradient vector and, unless None, dx (rows, I)."""
        cdef Arguments args
        cdef void *dx_at = NULL
        args.count, args.item = 0, self.kernels.item
        try:
            dy_ = real(&args, "dy", dy, 2)
            match("dy", dy_, self.kept_rows, self.outputs)
            if dx is not None:
                dx_ = real_out(&args, "dx", dx, 2)
                match("dx", dx_, self.kept_rows, self.inputs)
                dx_at = dx_.buf
            self.enter()
            if self.kept_rows == 0:
                self.leave()
                raise RuntimeError("backward comes after forward_kept, once")
            state = self.let_go_for(2, self.kept_rows)
            fbp_plan_backward(self.plan, &self.vectors, dy_.buf, accumulate, dx_at)
            take_back(state)
            self.kept_rows = 0
            self.leave()
        finally:
            release(&args)

    def add_penalties(self):
        """Add the gradient of the layers' penalties to the gradient vector; return their loss."""
        cdef double penalty
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        self.enter()
        state = self.let_go_for(1, FBP_BLOCK)
        penalty = fbp_plan_penalties(self.plan, &self.vectors)
        take_back(state)
        self.leave()
        return penalty

    def update(self, double loss, double mass, double learning_rate, uint64_t t, bint own, layer_squares=None):
        """Make an update with the gradient vector as it is, after t others; return (status, loss, squared norm). own: the
        gradient was made by this plan, so that penalties join it and running statistics follow."""
        cdef Arguments args
        cdef fbp_epoch once
        cdef int status
        args.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            memset(&once, 0, sizeof(once))
            once.learning_rates = &learning_rate
            once.t, once.mass = t, mass
            if layer_squares is not None:
                squares_ = take(&args, "layer_squares", layer_squares, b'd', 1, PyBUF_WRITABLE)
                match_size("layer_squares", squares_, fbp_plan_learned(self.plan))
                once.layer_squares = <double *>squares_.buf
            self.enter()
            state = self.let_go_for(1, FBP_BLOCK)
            status = fbp_plan_update(self.plan, &self.vectors, &once, loss, own)
            take_back(state)
            self.step_t = once.t
            self.leave()
            return to_status(status), once.last_loss if status == FBP_OK else once.failed_loss, once.squared_norm_sum
        finally:
            release(&args)

    cdef int make_step(self, const fbp_data *data, double learning_rate, uint64_t t, double *loss) noexcept:
        """One update. The lock is held."""
        cdef fbp_epoch once
        cdef int status
        memset(&once, 0, sizeof(once))
        once.data = data[0]
        once.batch = data.rows
        once.accumulate = 1
        once.learning_rates = &learning_rate
        once.seconds = INFINITY
        once.t = t
        self.gradient_is_overwritten()
        state = self.let_go_for(3, data.rows)
        status = fbp_plan_epoch(self.plan, &self.vectors, &once)
        take_back(state)
        self.step_t = once.t
        loss[0] = once.last_loss if status == FBP_OK else once.failed_loss
        return status

    def step(self, x, target, double learning_rate, uint64_t t, weights=None):
        """Make one update with the minibatch (x, target), after t others; return (status, loss)."""
        cdef Arguments args
        cdef fbp_data data
        cdef int status
        cdef double loss
        args.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            self.take_data(&args, &data, x, target, weights)
            if data.rows == 0:
                raise ValueError("x has no rows")
            self.refuse_too_many(data.rows)
            self.enter_with(&args, &data)
            status = self.make_step(&data, learning_rate, t, &loss)
            self.leave()
            return to_status(status), loss
        finally:
            release(&args)

    # What follows is for calls that are made again and again. It raises no errors and names no causes: where something
    # is not as it must be, nothing is done, None is returned, and the caller's own checks find out.

    cdef Py_buffer *glance_at_x(self, Arguments *args, object x) noexcept:
        """The buffer of x (rows, I), of bytes or of either real type and with few enough rows; or NULL. NULL, too, when
        another instruction set has been chosen."""
        args.count = args.item = 0
        if self.kernels != kernels_for(self.kernels.item) or look_at(args, x, b'x', 2, 0) != READY:
            return NULL
        view = &args.views[0]
        if <size_t>view.shape[1] != self.inputs or not 0 < <size_t>view.shape[0] <= self.most_rows:
            return NULL
        if view.itemsize != <Py_ssize_t>self.kernels.item and view.itemsize > 1 and view.shape[0] > FBP_BLOCK:
            return NULL  # its copy would take much memory for good
        return view

    cdef int set_rows(self, fbp_rows *rows, const Py_buffer *view) except -1:
        """The rows that `glance_at_x` found; those of the other real type are copied. The lock is held."""
        if view.itemsize == 1:
            rows.at, rows.kind = view.buf, FBP_BYTES
            rows.row, rows.column = <ptrdiff_t>self.inputs, 1
        else:
            rows[0] = close_rows(converted(&self.x_room, "x", view, self.kernels.item), self.inputs, self.kernels.item)
        return 0

    def try_predict(self, x):
        """The outputs (rows, O) for x (rows, I), of bytes or either real type; None where x is not finite, too."""
        cdef Arguments args
        cdef fbp_rows x_rows
        cdef size_t rows
        cdef bint finite
        try:
            x_ = self.glance_at_x(&args, x)
            if x_ == NULL:
                return None
            rows = x_.shape[0]
            y = new_array((rows, self.outputs), self.kernels.item)
            args.item = self.kernels.item
            y_ = real_out(&args, "y", y, 2)
            self.enter()
            try:
                self.set_rows(&x_rows, x_)
                state = self.let_go_for(1, rows)
                finite = x_rows.kind == FBP_BYTES or self.kernels.all_finite(x_rows.at, rows * self.inputs)
                if finite:
                    fbp_plan_forward(self.plan, &self.vectors, &x_rows, rows, y_.buf)
                take_back(state)
            finally:
                self.leave()
            return y if finite else None
        finally:
            release(&args)

    def try_step(self, x, target, double learning_rate, Updates updates not None):
        """Make one update as `step`, count it and return its loss; None where the loss or its gradient is not finite,
        too, and while `updates` is held, if by this very thread: it may be in a signal's handler.

        x may be of bytes, x and target of either real type, labels of int64 or int32, and target (rows,) where there is one output.
        """
        cdef Arguments args
        cdef fbp_data data
        cdef const void *target_at
        cdef size_t rows
        cdef int status = FBP_LOSS_NOT_FINITE
        cdef double loss
        cdef bint labels = self.loss_kind == FBP_SOFTMAX_CROSS_ENTROPY_LABELS
        args.count = 0
        if not self.can_step or not updates.begin():
            return None
        try:
            x_ = self.glance_at_x(&args, x)
            args.item = 0
            if x_ == NULL or look_at(&args, target, b'n' if labels else b'r', ANY, 0) != READY:
                return None
            target_ = &args.views[1]
            rows = x_.shape[0]
            if target_.ndim == 1:
                # One probability is no distribution over classes: for that loss a vector holds labels.
                if not labels and (self.outputs != 1 or self.loss_kind == FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES):
                    return None
            elif target_.ndim != 2 or labels or <size_t>target_.shape[1] != self.outputs:
                return None
            if <size_t>target_.shape[0] != rows:
                return None
            self.enter()
            try:
                memset(&data, 0, sizeof(data))
                self.set_rows(&data.x, x_)
                if labels:
                    target_at = copied_positions(&self.labels, "target", target_)
                    if first_outside(<const int64_t *>target_at, rows, self.outputs) >= 0:
                        return None
                else:
                    target_at = converted(&self.target_room, "target", target_, self.kernels.item)
                    if (self.loss_kind <= FBP_BINARY_CROSS_ENTROPY_WEIGHTED
                            and not all_probabilities(target_at, self.kernels.item, rows * self.outputs)):
                        return None
                data.rows, data.target, data.target_row = rows, target_at, self.target_row()
                status = self.make_step(&data, learning_rate, updates.done, &loss)
            finally:
                self.leave()
            if status != FBP_OK:
                return None
            updates.done = self.step_t
            updates.last_loss = loss
            return updates.last_loss
        finally:
            updates.end()
            release(&args)

    def begin_epoch(self, x, target, Py_ssize_t batch, order, learning_rates, uint64_t t, weights=None, size_t accumulate=1,
                    layer_squares=None):
        """Get ready for a pass over (x, target) in minibatches, after t updates; `run` then makes it.

        order: int64, the rows to take, one after the other, of x and target; or None: all, as they stand.
        learning_rates: float64, one an update, that is for every `accumulate` minibatches.
        layer_squares: float64, one a layer with parameters, to which |gradient|^2 is added in every update; or None.
        """
        cdef Arguments args
        cdef Arguments before
        cdef fbp_data data
        cdef Py_ssize_t updates
        cdef size_t rows
        cdef Py_buffer *order_ = NULL
        cdef Py_buffer *squares_ = NULL
        args.count = before.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            self.take_data(&args, &data, x, target, weights)
            rows = data.rows
            if order is not None:
                order_ = take(&args, "order", order, b'i', 1, 0)
                data.rows = elements(order_)
            if data.rows == 0:
                raise ValueError("there are no rows to take")
            if batch < 1:
                raise ValueError(f"batch must be at least 1, got {batch}")
            batch = min(<size_t>batch, data.rows)
            self.refuse_too_many(batch)
            accumulate = max(<size_t>1, min(accumulate, (data.rows - 1) // <size_t>batch + 1))
            rates_ = take(&args, "learning_rates", learning_rates, b'd', 1, 0)
            updates = (data.rows - 1) // (batch * accumulate) + 1
            match_size("learning_rates", rates_, updates)
            if layer_squares is not None:
                squares_ = take(&args, "layer_squares", layer_squares, b'd', 1, PyBUF_WRITABLE)
                match_size("layer_squares", squares_, fbp_plan_learned(self.plan))
            self.enter()
            try:
                self.epoch_on = False
                memset(&self.epoch, 0, sizeof(self.epoch))
                if order_ != NULL:
                    self.epoch.order = checked_positions(&self.epoch_order, "order", order_, rows)
                data.target = self.target_pointer(&self.epoch_labels, &args.views[1])
                self.epoch.data = data
                self.epoch.batch, self.epoch.accumulate = batch, accumulate
                self.epoch.learning_rates = <const double *>rates_.buf
                if squares_ != NULL:
                    self.epoch.layer_squares = <double *>squares_.buf
                self.epoch.t = t
                before = self.epoch_held
                self.epoch_held = args
                args.count = 0
                self.epoch_on = True
            finally:
                self.leave()
        finally:
            release(&args)
            release(&before)

    def run(self, double seconds, size_t pause_step=0):
        """Go on with the epoch for about so long, or until so many of its updates are done; return a status: PAUSED when
        there is more to do."""
        cdef int status
        cdef Arguments done
        done.count = 0
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, got {seconds}")
        self.enter()
        try:
            if not self.epoch_on:
                raise RuntimeError("there is no epoch to run: begin_epoch comes first")
            self.epoch.seconds = seconds
            self.epoch.pause_step = pause_step
            with nogil:
                status = fbp_plan_epoch(self.plan, &self.vectors, &self.epoch)
            self.epoch_on = status == FBP_PAUSED
            if not self.epoch_on:
                done = self.epoch_held
                self.epoch_held.count = 0
        finally:
            self.leave()
        release(&done)
        return to_status(status)

    @property
    def step_count(self):
        """Updates of the epoch done; after a failure, the number of the one that failed."""
        return self.epoch.step

    @property
    def updates(self):
        """Updates done, over all epochs, after the last call of `step`."""
        return self.step_t

    @property
    def t(self):
        """Updates done, over all epochs."""
        return self.epoch.t

    @property
    def mean_loss(self):
        """The mean over the epoch's updates of their loss, weighted by what their rows weigh; 0 where they weigh nothing."""
        return self.epoch.loss_sum / self.epoch.mass_sum if self.epoch.mass_sum > 0 else 0.0

    @property
    def mass_sum(self):
        """What the rows of the epoch's updates weigh."""
        return self.epoch.mass_sum

    @property
    def last_loss(self):
        """The loss of the last minibatch done."""
        return self.epoch.last_loss

    @property
    def failed_loss(self):
        """After a failure, the loss of the minibatch that failed."""
        return self.epoch.failed_loss

    @property
    def squared_norm_sum(self):
        """The sum over the epoch's updates of the squared norm of the gradient."""
        return self.epoch.squared_norm_sum


cdef tuple check_steps(list steps, Py_ssize_t rows):
    """Check that the widths of the steps follow from one another and that all sizes fit; give inputs, outputs and the
    numbers of parameters and running statistics."""
    if not steps:
        raise ValueError("steps must hold at least one layer")
    open_blocks = []
    width = inputs = int(steps[0][1])
    count = statistics = widths = 0
    for i, step in enumerate(steps):
        if len(step) != 12:
            raise ValueError(f"step {i} must have 12 numbers, got {len(step)}")
        kind, step_inputs, step_outputs, bias, activation = step[:5]
        if not 1 <= step_inputs < 2**31 or not 1 <= step_outputs < 2**31:
            raise ValueError(f"step {i} has widths {step_inputs} and {step_outputs}; both must be in 1 .. 2^31 - 1")
        if not FBP_DENSE <= kind <= FBP_BATCH_NORM:
            raise ValueError(f"there is no kind of layer {kind}")
        known_activation(activation)
        if activation >= FBP_FROM_Z and kind != FBP_ACTIVATION:
            raise ValueError(f"step {i} has activation {activation}, which must be a step of its own")
        if kind == FBP_PROJECTION:
            if not open_blocks or open_blocks[-1] != step_inputs or step_outputs != width:
                raise ValueError(f"step {i}, a projection, does not lead past an open residual block to its width")
            open_blocks[-1] = width
        elif step_inputs != width:
            raise ValueError(f"step {i} takes {step_inputs} columns; the one before gives {width}")
        if kind == FBP_DENSE or kind == FBP_PROJECTION:
            count += step_inputs * step_outputs + (step_outputs if bias else 0)
            width = step_outputs
        elif step_outputs != step_inputs:
            raise ValueError(f"step {i} has widths {step_inputs} and {step_outputs}, which must be the same")
        elif kind == FBP_RESIDUAL_BEGIN:
            open_blocks.append(width)
        elif kind == FBP_RESIDUAL_END:
            if not open_blocks or open_blocks.pop() != width:
                raise ValueError(f"step {i} ends a residual block of another width, or none")
        elif kind == FBP_LAYER_NORM or kind == FBP_BATCH_NORM:
            count += 2 * width if bias else 0
            statistics += 2 * width if kind == FBP_BATCH_NORM else 0
        widths += step_inputs + step_outputs
    if open_blocks:
        raise ValueError("a residual block is not ended")
    if max(count, widths * rows) >= 2**56:
        raise MemoryError(f"a network of {count} parameters over {rows} rows does not fit in memory")
    return inputs, width, count, statistics
