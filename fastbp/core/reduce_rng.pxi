# Element-wise products and sums, reductions and random numbers.

cdef object of_two(a, b, c, str a_name, str b_name, bint multiplies):
    """a b or a + b, in c or, where that is `...`, in a new array."""
    cdef Arguments args
    cdef size_t N
    args.count = args.item = 0
    try:
        a_ = real(&args, a_name, a, ANY)
        b_ = real(&args, b_name, b, ANY)
        match_shape(b_name, b_, a_name, a_)
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


def dropout_backward(dy, mask, dx=...):
    """dx = dy mask, element by element."""
    return of_two(dy, mask, dx, "dy", "mask", True)


def add(a, b, c=...):
    """c = a + b."""
    return of_two(a, b, c, "a", "b", False)


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
    LINE = 16         # elements of a column that may share a cache line
    GATHERED = 16384  # reals in a block of rows that is copied


def all_rows_finite(x, Py_ssize_t item):
    """Whether no element of x (rows, columns) is nan or infinite in reals of size `item`. Where x has to be copied, blocks
    of its rows are."""
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


cdef object new_numbers(size_t n, str dtype):
    """A new array of n numbers."""
    try:
        return numpy.empty(n, dtype)
    except MemoryError:
        raise MemoryError(f"n is {n}: there is no memory for as many numbers of {dtype}") from None


def random_bits(seed, stream, n):
    """The first n words of a stream: uint32 (n,)."""
    cdef Arguments args
    cdef uint64_t seed_ = integer("seed", seed, 0, WORD_MOST), stream_ = integer("stream", stream, 0, WORD_MOST)
    cdef size_t N = integer("n", n, 0, SIZE_MOST // sizeof(uint32_t))
    args.count = args.item = 0
    words = new_numbers(N, "uint32")
    try:
        words_ = take(&args, "words", words, b'u', 1, PyBUF_WRITABLE)
        with nogil:
            fbp_random_bits(seed_, stream_, 0, <uint32_t *>words_.buf, N)
    finally:
        release(&args)
    return words


def random_uniform(seed, stream, n):
    """The first n numbers of a stream, in [0, 1): float64 (n,)."""
    cdef Arguments args
    cdef uint64_t seed_ = integer("seed", seed, 0, WORD_MOST), stream_ = integer("stream", stream, 0, WORD_MOST)
    cdef size_t N = integer("n", n, 0, SIZE_MOST // sizeof(double))
    args.count = args.item = 0
    u = new_numbers(N, "float64")
    try:
        u_ = take(&args, "u", u, b'd', 1, PyBUF_WRITABLE)
        with nogil:
            fbp_random_uniform(seed_, stream_, 0, <double *>u_.buf, N)
    finally:
        release(&args)
    return u


def random_normal(seed, stream, n):
    """n numbers of the standard normal distribution: float64 (n,)."""
    cdef Arguments args
    cdef size_t i, N
    cdef double *u
    y = random_uniform(seed, stream, n)
    args.count = args.item = 0
    try:
        y_ = take(&args, "y", y, b'd', 1, PyBUF_WRITABLE)
        u, N = <double *>y_.buf, elements(y_)
        with nogil:
            for i in range(N):  # to the middle of the 2^52 parts of (0, 1)
                u[i] = (<double><int64_t>(u[i] * 4503599627370496.0) + 0.5) / 4503599627370496.0
            kernels_f64.normal_quantile(u, u, N)
    finally:
        release(&args)
    return y


def random_permutation(seed, stream, n):
    """The permutation that sorts the first n words of a stream: int64 (n,)."""
    cdef Arguments args
    cdef uint64_t seed_ = integer("seed", seed, 0, WORD_MOST), stream_ = integer("stream", stream, 0, WORD_MOST)
    cdef size_t N = integer("n", n, 0, 0xFFFFFFFF)
    cdef void *block = NULL
    cdef uint64_t *pairs
    args.count = args.item = 0
    order = new_numbers(N, "int64")
    try:
        order_ = take(&args, "order", order, b'i', 1, PyBUF_WRITABLE)
        pairs = <uint64_t *>scratch(2 * N, sizeof(uint64_t), &block)
        with nogil:
            fbp_random_permutation(seed_, stream_, <int64_t *>order_.buf, pairs, N)
    finally:
        free(block)
        release(&args)
    return order
