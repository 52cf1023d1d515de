# cython: language_level=3, binding=False, always_allow_keywords=False, cdivision=True
"""The door to C: pointers in, a call without the GIL unless it is short, a status out.

Functions here take arrays that are ready (plain, contiguous, aligned, of one real dtype) and say so when they are not,
but not as kindly as the functions in fastbp.ops, which come here first and explain when they are sent away: so nothing
may pass here that would not pass there. Whatever comes in, C gets pointers and sizes that agree. Arrays are seen through
the buffer protocol: nothing here knows how NumPy stores them.

Argument order: inputs, hyperparameters, outputs. Outputs that are left out are made, and returned.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

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
    enum:
        PyBUF_ND
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
        const void *panels
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
        const void *dz_panels
        void *dW
        void *db
        int accumulate
        const void *skip
        size_t skip_row
        int x_activation
        double x_alpha
        void *dx
        size_t dx_row

    struct fbp_kernels:
        const char *isa
        size_t item
        size_t panel
        void (*gemm)(const fbp_gemm *product, int part, int parts) noexcept nogil
        void (*gemm_pack)(const void *b, size_t b_row, void *panels, size_t K, size_t N, int part,
                          int parts) noexcept nogil
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
        fbp_optimizer_fn *optimizer[4]
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

    struct fbp_plan_spec:
        const fbp_kernels *kernels
        const fbp_layer *layers
        size_t n_layers
        size_t rows
        int threads
        int loss
        const double *loss_parameters
        size_t n_loss_parameters
        int reduction_sum
        fbp_optimizer optimizer

    struct fbp_vectors:
        void *parameters
        void *gradient
        void *moments[2]

    struct fbp_plan:
        pass

    int fbp_plan_create(const fbp_plan_spec *spec, fbp_plan **plan)
    void fbp_plan_destroy(fbp_plan *plan)
    size_t fbp_plan_parameters(const fbp_plan *plan)
    size_t fbp_plan_workspace(const fbp_plan *plan)
    int fbp_plan_threads(const fbp_plan *plan, size_t rows)
    int fbp_plan_forward(fbp_plan *plan, const fbp_vectors *vectors, const void *x, size_t x_row, size_t rows, void *y)
    int fbp_plan_loss(fbp_plan *plan, const fbp_vectors *vectors, const void *x, size_t x_row, const void *target,
                      size_t target_row, size_t rows, double *loss_sum)
    int fbp_plan_gradient(fbp_plan *plan, const fbp_vectors *vectors, const void *x, size_t x_row, const void *target,
                          size_t target_row, size_t rows, double *loss, void *dx)
    int fbp_plan_example_gradients(fbp_plan *plan, const fbp_vectors *vectors, const void *x, size_t x_row,
                                   const void *target, size_t target_row, size_t rows, double *losses, void *gradients)

    struct fbp_epoch:
        const void *x
        size_t x_row
        const void *target
        size_t target_row
        size_t rows, batch
        const int64_t *order
        const double *learning_rates
        double seconds
        size_t step
        size_t block_start
        uint64_t t
        double batch_sum
        double loss_sum
        double last_loss
        double failed_loss
        double squared_norm_sum
        double last_squared_norm

    int fbp_plan_epoch(fbp_plan *plan, const fbp_vectors *vectors, fbp_epoch *epoch)


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
    MOST_ARGUMENTS = 7

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


# Memory in 64-byte lines, for packed matrices and intermediate gradients of one call.
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


cdef const double *quantile_levels(Arguments *args, object quantiles, size_t C, void **block) except NULL:
    """C quantile levels from a float, a list or tuple of C floats, or a float64 array (C,)."""
    cdef double *levels = <double *>scratch(C, sizeof(double), block)
    cdef size_t i
    if type(quantiles) is float:
        for i in range(C):
            levels[i] = quantiles
    elif type(quantiles) is tuple or type(quantiles) is list:
        if <size_t>len(quantiles) != C:
            raise ValueError(f"quantiles has {len(quantiles)} levels; there are {C} columns")
        for i in range(C):
            levels[i] = number("quantiles", quantiles[i], 0, 1)
    else:
        quantiles_ = take(args, "quantiles", quantiles, b'd', 1, 0)
        match_size("quantiles", quantiles_, C)
        memcpy(levels, quantiles_.buf, C * sizeof(double))
    for i in range(C):
        if not 0 < levels[i] < 1:
            raise ValueError(f"quantiles must be between 0 and 1, got {levels[i]}")
    return levels


def loss(int kind, z, target, parameters, bint reduction_sum, dz=...):
    """The loss of z (B, C) against target, and its gradient into dz (B, C). Where dz is left out: (loss, dz).

    target: int64 (B,) for labels, else like z. parameters: None, or the levels of the pinball loss: see
    `quantile_levels`.
    """
    cdef Arguments args
    cdef size_t B, C, count
    cdef double scale, total
    cdef const void *target_at
    cdef const double *levels = NULL
    cdef void *block = NULL  # of the labels, or of the levels
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
        if kind == FBP_PINBALL:
            levels = quantile_levels(&args, parameters, C, &block)
        made = dz is ...
        if made:
            dz = new_array((B, C), args.item)
        dz_ = real_out(&args, "dz", dz, 2)
        match("dz", dz_, B, C)
        if B == 0 and not reduction_sum:
            raise ValueError("z has no rows: there is no mean of nothing")
        count = B
        if kind > FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES:
            count = B * C
        if reduction_sum:
            count = 1
        scale = 1 / <double>count
        kernels = kernels_for(args.item)
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


def ready(x, target, Py_ssize_t item, size_t inputs, size_t outputs, int loss):
    """Whether x (rows, inputs) and the target of a loss are what C takes, as they stand: arrays of one real type (labels
    of int64), finite, the target within its range, and a row at least. What is wrong otherwise, the caller finds out."""
    cdef Arguments args
    cdef size_t rows
    cdef bint right
    args.count, args.item = 0, item
    try:
        if look_at(&args, x, b'r', 2, 0) != READY or <size_t>args.views[0].shape[1] != inputs:
            return False
        rows = args.views[0].shape[0]
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
        elif loss <= FBP_BINARY_CROSS_ENTROPY:
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


# ----------------------------------------------------------------------------------- optimizer, reduce and rng

def sgd_step(w, g, v, learning_rate, momentum, weight_decay):
    """Update w and v in place; v may be None when momentum is 0, and is left alone then."""
    cdef Arguments args
    cdef size_t N
    cdef fbp_optimizer o
    cdef void *moments[3]
    cdef double rate
    memset(&o, 0, sizeof(o))
    memset(&moments, 0, sizeof(moments))
    args.count = args.item = 0
    try:
        w_ = real_out(&args, "w", w, ANY)
        g_ = real(&args, "g", g, ANY)
        match_shape("g", g_, w_)
        rate = number("learning_rate", learning_rate, 0, INFINITY)
        o.momentum = number("momentum", momentum, 0, 1)
        o.weight_decay = number("weight_decay", weight_decay, 0, INFINITY)
        if v is not None or o.momentum != 0:
            v_ = real_out(&args, "v", v, ANY)
            match_shape("v", v_, w_)
            if o.momentum != 0:
                moments[0] = v_.buf
        N = elements(w_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.optimizer[FBP_SGD](&o, w_.buf, g_.buf, moments, 1, rate, N)
            take_back(state)
    finally:
        release(&args)


def adam_step(w, g, m, v, t, learning_rate, beta1, beta2, eps, weight_decay):
    """Update w, m and v in place in step t, from 1."""
    cdef Arguments args
    cdef size_t N
    cdef int64_t step
    cdef fbp_optimizer o
    cdef void *moments[3]
    cdef double rate
    memset(&o, 0, sizeof(o))
    args.count = args.item = 0
    try:
        w_ = real_out(&args, "w", w, ANY)
        g_ = real(&args, "g", g, ANY)
        m_ = real_out(&args, "m", m, ANY)
        v_ = real_out(&args, "v", v, ANY)
        match_shape("g", g_, w_)
        match_shape("m", m_, w_)
        match_shape("v", v_, w_)
        step = t if type(t) is int else 0
        if step < 1:
            raise (ValueError if type(t) is int else TypeError)(f"t must be an int from 1 on, got {t!r}")
        rate = number("learning_rate", learning_rate, 0, INFINITY)
        o.beta1 = number("beta1", beta1, 0, 1)
        o.beta2 = number("beta2", beta2, 0, 1)
        o.eps = number("eps", eps, LEAST_ABOVE_0, INFINITY)
        o.weight_decay = number("weight_decay", weight_decay, 0, INFINITY)
        moments[0], moments[1], moments[2] = m_.buf, v_.buf, NULL
        N = elements(w_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.optimizer[FBP_ADAM](&o, w_.buf, g_.buf, moments, step, rate, N)
            take_back(state)
    finally:
        release(&args)


def add(a, b, c=...):
    """c = a + b."""
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
            kernels.add(a_.buf, b_.buf, c_.buf, N)
            take_back(state)
        return c
    finally:
        release(&args)


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
        raise ValueError("steps must hold a layer, and residual blocks that nest")
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


cdef enum:
    AT_ONCE = 1 << 24  # multiply-adds, rows times parameters, between two looks at signals: some milliseconds


cdef class Plan:
    """A net compiled for training or prediction on rows of one real type.

    Parameters
    ----------
    dtype : "float32" or "float64"
    steps : sequence of (kind, inputs, outputs, bias, activation, alpha)
        As enum fbp_layer_kind, two widths, a flag, enum fbp_activation and its parameter.
    rows : int
        Rows of the largest minibatch or block to expect; more are taken in blocks of so many.
    threads : int
        At most so many; 0: as many as pay, within FASTBP_NUM_THREADS.
    loss : int
        As enum fbp_loss, or -1 to predict only.
    loss_parameters : sequence of float
        Quantile levels, one an output, for the pinball loss; else empty or None.
    reduction_sum : bool
        The loss is the sum of its terms rather than their mean.
    optimizer : (kind, momentum, weight_decay, beta1, beta2, eps) or None
        As enum fbp_optimizer_kind, then reals. None when no step is to be taken.
    parameters, gradient, moment1, moment2 : 1-D arrays of dtype, or None where they are not needed
        The vectors the plan reads and writes, all of one length. It holds on to them.

    Two threads may share a plan: the second waits, without the GIL, until the first is done.
    """

    cdef fbp_plan *plan
    cdef const fbp_kernels *kernels
    cdef fbp_vectors vectors
    cdef Arguments held          # parameters, gradient, moments
    cdef size_t inputs, outputs
    cdef int loss_kind
    cdef bint can_step
    cdef PyThread_type_lock lock
    cdef fbp_epoch epoch
    cdef Arguments epoch_held    # x, target and learning rates of the epoch
    cdef bint epoch_on
    cdef uint64_t step_t         # updates done when the last call of `step` was made, its own included if it made one
    cdef Room epoch_labels, epoch_order, labels, x_room, target_room
    cdef size_t most_rows        # that `try_predict` and `try_step` take
    cdef double multiply_adds    # in the forward pass of a row

    def __cinit__(self, str dtype, steps, Py_ssize_t rows, int threads, int loss, loss_parameters, bint reduction_sum,
                  optimizer, parameters, gradient=None, moment1=None, moment2=None):
        cdef fbp_plan_spec spec
        cdef fbp_layer *layers = NULL
        cdef double *levels = NULL
        cdef Py_ssize_t i
        cdef size_t count, levels_taken
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
        steps = [(int(kind), int(inputs), int(outputs), bool(bias), int(activation), float(alpha))
                 for kind, inputs, outputs, bias, activation, alpha, *_ in steps]
        self.inputs, self.outputs, count = check_steps(steps, rows)
        loss_parameters = [float(level) for level in (loss_parameters or ())]
        levels_taken = self.outputs if loss == FBP_PINBALL else 0
        if <size_t>len(loss_parameters) != levels_taken:
            raise ValueError(f"loss_parameters has {len(loss_parameters)} levels; this loss takes {levels_taken}")
        self.most_rows = rows if rows < FBP_BLOCK else max(<size_t>FBP_BLOCK, AT_ONCE // count)
        self.multiply_adds = count
        self.loss_kind = loss
        self.kernels = spec.kernels = kernels_for(4 if dtype == "float32" else 8)
        self.held.item = self.epoch_held.item = self.kernels.item
        self.vectors.parameters = self.hold("parameters", parameters, count)
        self.vectors.gradient = self.hold("gradient", gradient, count)
        self.vectors.moments[0] = self.hold("moment1", moment1, count)
        self.vectors.moments[1] = self.hold("moment2", moment2, count)
        if self.vectors.parameters == NULL:
            raise TypeError("parameters must be an array, got None")
        spec.optimizer.kind = FBP_SGD
        if optimizer is not None:
            (spec.optimizer.kind, spec.optimizer.momentum, spec.optimizer.weight_decay, spec.optimizer.beta1,
             spec.optimizer.beta2, spec.optimizer.eps) = optimizer
            if spec.optimizer.kind not in (FBP_SGD, FBP_ADAM):
                raise ValueError(f"there is no optimizer {spec.optimizer.kind}")
            self.can_step = (
                loss >= 0 and self.vectors.gradient != NULL
                and (self.vectors.moments[0] != NULL
                     or (spec.optimizer.kind == FBP_SGD and spec.optimizer.momentum == 0))
                and (self.vectors.moments[1] != NULL or spec.optimizer.kind == FBP_SGD))
        spec.rows = rows
        spec.threads = threads if threads else default_threads if threads_are_set else 0
        spec.loss = loss
        spec.reduction_sum = reduction_sum
        try:
            spec.n_layers = len(steps)
            layers = <fbp_layer *>malloc(spec.n_layers * sizeof(fbp_layer))
            spec.n_loss_parameters = len(loss_parameters)
            levels = <double *>malloc((spec.n_loss_parameters + 1) * sizeof(double))
            if layers == NULL or levels == NULL:
                raise MemoryError("no memory for the plan")
            for i in range(<Py_ssize_t>spec.n_layers):
                (layers[i].kind, layers[i].inputs, layers[i].outputs, layers[i].bias, layers[i].activation,
                 layers[i].alpha) = steps[i]
            for i in range(<Py_ssize_t>spec.n_loss_parameters):
                levels[i] = loss_parameters[i]
            spec.layers, spec.loss_parameters = layers, levels
            to_status(fbp_plan_create(&spec, &self.plan))
        finally:
            free(layers)
            free(levels)
        if fbp_plan_parameters(self.plan) != count:
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

    cdef Py_buffer *take_x(self, Arguments *args, object x) except NULL:
        args.count, args.item = 0, self.kernels.item
        view = real(args, "x", x, 2)
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
        cdef int status = FBP_OK
        args.count = 0
        try:
            x_ = self.take_x(&args, x)
            y_ = real_out(&args, "y", y, 2)
            match("y", y_, x_.shape[0], self.outputs)
            if x_.shape[0]:
                self.enter()
                state = self.let_go_for(1, x_.shape[0])
                status = fbp_plan_forward(self.plan, &self.vectors, x_.buf, self.inputs, x_.shape[0], y_.buf)
                take_back(state)
                self.leave()
            to_status(status)
        finally:
            release(&args)

    def loss(self, x, target):
        """The loss of (x, target), a sum over rows and elements that is not yet divided."""
        cdef Arguments args
        cdef int status = FBP_OK
        cdef double loss = 0
        args.count = 0
        try:
            x_ = self.take_x(&args, x)
            target_ = self.take_target(&args, target, x_.shape[0])
            if x_.shape[0]:
                self.enter()
                try:
                    at = self.target_pointer(&self.labels, target_)
                    state = self.let_go_for(1, x_.shape[0])
                    status = fbp_plan_loss(self.plan, &self.vectors, x_.buf, self.inputs, at, self.target_row(),
                                           x_.shape[0], &loss)
                    take_back(state)
                finally:
                    self.leave()
            to_status(status)
            return loss
        finally:
            release(&args)

    def gradient(self, x, target, dx=None):
        """The loss of the minibatch (x, target); its gradient goes to the gradient vector, that at x to dx if given."""
        cdef Arguments args
        cdef int status
        cdef double loss = 0
        cdef void *dx_at = NULL
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            x_ = self.take_x(&args, x)
            target_ = self.take_target(&args, target, x_.shape[0])
            if dx is not None:
                dx_ = real_out(&args, "dx", dx, 2)
                match("dx", dx_, x_.shape[0], self.inputs)
                dx_at = dx_.buf
            if x_.shape[0] == 0:
                raise ValueError("x has no rows")
            self.enter()
            try:
                at = self.target_pointer(&self.labels, target_)
                self.gradient_is_overwritten()
                state = self.let_go_for(3, x_.shape[0])
                status = fbp_plan_gradient(self.plan, &self.vectors, x_.buf, self.inputs, at, self.target_row(),
                                           x_.shape[0], &loss, dx_at)
                take_back(state)
            finally:
                self.leave()
            to_status(status)
            return loss
        finally:
            release(&args)

    def example_gradients(self, x, target, losses, gradients):
        """Write to losses (rows,) float64 and gradients (rows, P) those of each example, as a minibatch of one."""
        cdef Arguments args
        cdef int status = FBP_OK
        args.count = 0
        if self.vectors.gradient == NULL:
            raise RuntimeError("this plan has no gradient vector")
        try:
            x_ = self.take_x(&args, x)
            target_ = self.take_target(&args, target, x_.shape[0])
            losses_ = take(&args, "losses", losses, b'd', 1, PyBUF_WRITABLE)
            match_size("losses", losses_, x_.shape[0])
            gradients_ = real_out(&args, "gradients", gradients, 2)
            match("gradients", gradients_, x_.shape[0], fbp_plan_parameters(self.plan))
            if x_.shape[0]:
                self.enter()
                try:
                    at = self.target_pointer(&self.labels, target_)
                    state = self.let_go_for(3, x_.shape[0])
                    status = fbp_plan_example_gradients(self.plan, &self.vectors, x_.buf, self.inputs, at,
                                                        self.target_row(), x_.shape[0], <double *>losses_.buf,
                                                        gradients_.buf)
                    take_back(state)
                finally:
                    self.leave()
            to_status(status)
        finally:
            release(&args)

    cdef int make_step(self, const void *x, const void *target, size_t rows, double learning_rate, uint64_t t,
                       double *loss) noexcept:
        """One update. The lock is held."""
        cdef fbp_epoch once
        cdef int status
        memset(&once, 0, sizeof(once))
        once.x, once.x_row = x, self.inputs
        once.target, once.target_row = target, self.target_row()
        once.rows = once.batch = rows
        once.learning_rates = &learning_rate
        once.seconds = INFINITY
        once.t = t
        self.gradient_is_overwritten()
        state = self.let_go_for(3, rows)
        status = fbp_plan_epoch(self.plan, &self.vectors, &once)
        take_back(state)
        self.step_t = once.t
        loss[0] = once.last_loss if status == FBP_OK else once.failed_loss
        return status

    def step(self, x, target, double learning_rate, uint64_t t):
        """Make one update with the minibatch (x, target), after t others; return (status, loss)."""
        cdef Arguments args
        cdef int status
        cdef double loss
        args.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            x_ = self.take_x(&args, x)
            target_ = self.take_target(&args, target, x_.shape[0])
            if x_.shape[0] == 0:
                raise ValueError("x has no rows")
            self.enter()
            try:
                at = self.target_pointer(&self.labels, target_)
                status = self.make_step(x_.buf, at, x_.shape[0], learning_rate, t, &loss)
            finally:
                self.leave()
            return to_status(status), loss
        finally:
            release(&args)

    # What follows is for calls that are made again and again. It raises no errors and names no causes: where something
    # is not as it must be, nothing is done, None is returned, and the caller's own checks find out.

    cdef Py_buffer *glance_at_x(self, Arguments *args, object x) noexcept:
        """The buffer of x (rows, I), of either real type and with few enough rows; or NULL. NULL, too, when another
        instruction set has been chosen."""
        args.count = args.item = 0
        if self.kernels != kernels_for(self.kernels.item) or look_at(args, x, b'r', 2, 0) != READY:
            return NULL
        view = &args.views[0]
        if <size_t>view.shape[1] != self.inputs or not 0 < <size_t>view.shape[0] <= self.most_rows:
            return NULL
        if view.itemsize != <Py_ssize_t>self.kernels.item and view.shape[0] > FBP_BLOCK:
            return NULL  # its copy would take much memory for good
        return view

    def try_predict(self, x):
        """The outputs (rows, O) for x (rows, I), of either real type; None where x is not finite, too."""
        cdef Arguments args
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
                at = converted(&self.x_room, "x", x_, self.kernels.item)
                state = self.let_go_for(1, rows)
                finite = self.kernels.all_finite(at, rows * self.inputs)
                if finite:
                    fbp_plan_forward(self.plan, &self.vectors, at, self.inputs, rows, y_.buf)
                take_back(state)
            finally:
                self.leave()
            return y if finite else None
        finally:
            release(&args)

    def try_step(self, x, target, double learning_rate, Updates updates not None):
        """Make one update as `step`, count it and return its loss; None where the loss or its gradient is not finite,
        too, and while `updates` is held, if by this very thread: it may be in a signal's handler.

        x and target may be of either real type, labels of int64 or int32, and target (rows,) where there is one output.
        """
        cdef Arguments args
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
                x_at = converted(&self.x_room, "x", x_, self.kernels.item)
                if labels:
                    target_at = copied_positions(&self.labels, "target", target_)
                    if first_outside(<const int64_t *>target_at, rows, self.outputs) >= 0:
                        return None
                else:
                    target_at = converted(&self.target_room, "target", target_, self.kernels.item)
                    if (self.loss_kind <= FBP_BINARY_CROSS_ENTROPY
                            and not all_probabilities(target_at, self.kernels.item, rows * self.outputs)):
                        return None
                status = self.make_step(x_at, target_at, rows, learning_rate, updates.done, &loss)
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

    def begin_epoch(self, x, target, Py_ssize_t batch, order, learning_rates, uint64_t t):
        """Get ready for a pass over (x, target) in minibatches, after t updates; `run` then makes it.

        order: int64 (rows,), the order to take rows in, or None: as they stand.
        learning_rates: float64, one a minibatch.
        """
        cdef Arguments args
        cdef Arguments before
        cdef Py_ssize_t minibatches
        cdef Py_buffer *order_ = NULL
        args.count = before.count = 0
        if not self.can_step:
            raise RuntimeError("this plan lacks a loss, an optimizer or one of its vectors: it can take no step")
        try:
            x_ = self.take_x(&args, x)
            target_ = self.take_target(&args, target, x_.shape[0])
            if x_.shape[0] == 0:
                raise ValueError("x has no rows")
            if batch < 1:
                raise ValueError(f"batch must be at least 1, got {batch}")
            batch = min(batch, x_.shape[0])
            rates_ = take(&args, "learning_rates", learning_rates, b'd', 1, 0)
            minibatches = (x_.shape[0] - 1) // batch + 1
            match_size("learning_rates", rates_, minibatches)
            if order is not None:
                order_ = take(&args, "order", order, b'i', 1, 0)
                match_size("order", order_, x_.shape[0])
            self.enter()
            try:
                self.epoch_on = False
                memset(&self.epoch, 0, sizeof(self.epoch))
                if order_ != NULL:
                    self.epoch.order = checked_positions(&self.epoch_order, "order", order_, x_.shape[0])
                self.epoch.target = self.target_pointer(&self.epoch_labels, target_)
                self.epoch.target_row = self.target_row()
                self.epoch.x, self.epoch.x_row = x_.buf, self.inputs
                self.epoch.rows, self.epoch.batch = x_.shape[0], batch
                self.epoch.learning_rates = <const double *>rates_.buf
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

    def run(self, double seconds):
        """Go on with the epoch for about so long; return a status: PAUSED when there is more to do."""
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
        """Minibatches of the epoch done; after a failure, the number of the one that failed."""
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
    def loss_sum(self):
        """The sum over the epoch's minibatches of their loss times their rows."""
        return self.epoch.loss_sum

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
        """The sum over the epoch's minibatches of the squared norm of the gradient."""
        return self.epoch.squared_norm_sum

    @property
    def last_squared_norm(self):
        """The squared norm of the last minibatch's gradient."""
        return self.epoch.last_squared_norm


cdef tuple check_steps(list steps, Py_ssize_t rows):
    """Check that the widths of the steps follow from one another and that all sizes fit; give inputs, outputs and the
    number of parameters."""
    if not steps:
        raise ValueError("steps must hold at least one layer")
    open_blocks = []
    width = inputs = int(steps[0][1])
    count = widths = 0
    for i, (kind, step_inputs, step_outputs, bias, activation, _) in enumerate(steps):
        if not 1 <= step_inputs < 2**31 or not 1 <= step_outputs < 2**31:
            raise ValueError(f"step {i} has widths {step_inputs} and {step_outputs}; both must be in 1 .. 2^31 - 1")
        if step_inputs != width:
            raise ValueError(f"step {i} takes {step_inputs} columns; the one before gives {width}")
        if kind == FBP_DENSE:
            known_activation(activation)
            count += step_inputs * step_outputs + (step_outputs if bias else 0)
            width = step_outputs
        elif kind not in (FBP_RESIDUAL_BEGIN, FBP_RESIDUAL_END):
            raise ValueError(f"there is no kind of layer {kind}")
        elif step_outputs != width:
            raise ValueError(f"step {i}, an end of a residual block, has widths {step_inputs} and {step_outputs}")
        elif kind == FBP_RESIDUAL_BEGIN:
            open_blocks.append(width)
        elif not open_blocks or open_blocks.pop() != width:
            raise ValueError(f"step {i} ends a residual block of another width, or none")
        widths += step_inputs + step_outputs
    if open_blocks:
        raise ValueError("a residual block is not ended")
    if max(count, widths * rows) >= 2**56:
        raise MemoryError(f"a network of {count} parameters over {rows} rows does not fit in memory")
    return inputs, width, count
