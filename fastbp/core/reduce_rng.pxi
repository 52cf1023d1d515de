# Element-wise products and sums, reductions and random numbers.

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


cdef enum:
    LINE = 16         # rows of a column that may lie in one line of the cache
    GATHERED = 16384  # reals in a block of rows that is looked at


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
