# Arguments of a call: the buffers of arrays, numbers, and the GIL.
#
# An argument that C can take as it is costs a few comparisons. Every other one is given to the functions that
# `prepare_with` was called with: they return one that C can take, or raise an error that names the argument, what was
# expected and what came. A copy that they return lives as long as its buffer is held.

cdef enum:
    MOST_ARGUMENTS = 8

# The buffers of one call. `item` is the size of its reals, 0 until the first has come: all others must be like it.
# `updated` has a bit for each of the views that the call updates in place, and `names` their names: see `updatable`.
cdef struct Arguments:
    Py_buffer views[MOST_ARGUMENTS]
    int count
    Py_ssize_t item
    unsigned updated
    PyObject *names[MOST_ARGUMENTS]


cdef enum:
    ANY = -1  # any number of dimensions

cdef object ndarray = numpy.ndarray
cdef object empty = numpy.empty
cdef object float32 = numpy.dtype("float32")
cdef object float64 = numpy.dtype("float64")

cdef object prepared_array, prepared_in_place, prepared_labels
cdef object prepared_number, prepared_integer, prepared_flag, prepared_choice


def prepare_with(array, in_place, labels, number, integer, flag, choice):
    """Set the functions that prepare arguments which C cannot take as they are.

    array, in_place : (name, x, ndim or None, dtype or None) -> plain, aligned, C-contiguous array
        in_place returns an array over the memory of x, which can be written to.
    labels : (name, x) -> plain, aligned, C-contiguous vector of int64
    number : (name, value, least, above, below) -> float
        Each limit may be None.
    integer : (name, value, least, most) -> int
    flag : (name, value) -> bool
    choice : (name, value, choices) -> str
    """
    global prepared_array, prepared_in_place, prepared_labels
    global prepared_number, prepared_integer, prepared_flag, prepared_choice
    prepared_array, prepared_in_place, prepared_labels = array, in_place, labels
    prepared_number, prepared_integer, prepared_flag, prepared_choice = number, integer, flag, choice


# ---------------------------------------------------------------------------------------------------- arrays

cdef enum Flaw:
    READY
    NOT_PLAIN
    NOT_CONTIGUOUS
    WRONG_DTYPE
    WRONG_DIMENSIONS
    MISALIGNED


cdef Flaw look_at(Arguments *args, object x, char format, int ndim, int flags) noexcept:
    """Get the buffer of an array that is C-contiguous, aligned, and of this format and number of dimensions.

    It becomes the last of args.views. An instance of a subclass of ndarray has a flaw: a masked array hides elements.
    An array with a flaw may leave a buffer in args.views, too.

    format: b'r' for reals, all of one call of the same type, b'x' for reals or bytes, b'i' for 64-bit, b'n' for 64-bit
    or 32-bit and b'u' for unsigned 32-bit integers, b'd' for doubles.
    flags: PyBUF_WRITABLE when C writes to the array, else 0.
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
    # An array without elements may lie anywhere: NumPy calls it aligned.
    if view.len != 0 and <uintptr_t>view.buf % <size_t>view.itemsize != 0:
        return MISALIGNED
    return READY


cdef Py_buffer *take(Arguments *args, str name, object x, char format, int ndim, int flags) except NULL:
    """Get the buffer of an array that must be ready: see `look_at`, whose flaws are errors here."""
    cdef Py_buffer *view = &args.views[args.count]
    cdef Flaw flaw = look_at(args, x, format, ndim, flags)
    if flaw == READY:
        return view
    if flaw == NOT_PLAIN:
        raise TypeError(f"{name} must be a plain array, got {type(x).__name__}")
    if flaw == NOT_CONTIGUOUS:
        raise ValueError(f"{name} must be {'a writeable' if flags else 'a'} C-contiguous array")
    if flaw == WRONG_DTYPE:
        expected = {b'i': "int64", b'u': "uint32"}.get(format, "float64")
        raise TypeError(f"{name} must be a {expected} array, got {x.dtype} array")
    if flaw == WRONG_DIMENSIONS:
        raise ValueError(f"{name} must have {ndim} dimension{'s' if ndim != 1 else ''}, got shape {x.shape}")
    raise ValueError(f"{name} must be aligned to {view.itemsize} bytes")


cdef inline Py_buffer *real(Arguments *args, str name, object x, int ndim) except NULL:
    """Get the buffer of an array of reals that C reads."""
    cdef int count = args.count
    cdef Py_ssize_t item = args.item
    if look_at(args, x, b'r', ndim, 0) == READY:
        return &args.views[count]
    return prepared(args, count, item, name, x, ndim, 0)


cdef inline Py_buffer *real_out(Arguments *args, str name, object x, int ndim) except NULL:
    """Get the buffer of an array of reals that C writes to."""
    cdef int count = args.count
    cdef Py_ssize_t item = args.item
    if look_at(args, x, b'r', ndim, PyBUF_WRITABLE) == READY:
        return &args.views[count]
    return prepared(args, count, item, name, x, ndim, PyBUF_WRITABLE)


cdef inline Py_buffer *updatable(Arguments *args, str name, object x, int ndim) except NULL:
    """Get the buffer of an array of reals that C reads and writes to. `separate` must follow when all buffers have come.
    name: a literal, of which no reference is kept."""
    cdef int count = args.count
    view = real_out(args, name, x, ndim)
    args.updated |= 1u << count
    args.names[count] = <PyObject *>name
    return view


cdef int separate(Arguments *args) except -1:
    """Refuse arrays that are updated and share memory. Replace those that are only read, and share memory with one that is
    updated, by copies: kernels read and write vector by vector."""
    cdef int i, j
    for i in range(args.count):
        if not args.updated >> i & 1:
            continue
        for j in range(args.count):
            if i == j or not overlap(&args.views[i], &args.views[j]):
                continue
            if args.updated >> j & 1:
                raise ValueError(f"{<object>args.names[i]} and {<object>args.names[j]} share memory: "
                                 "arrays that are updated must not overlap")
            replace_by_copy(&args.views[j])
    return 0


cdef inline bint overlap(const Py_buffer *a, const Py_buffer *b) noexcept:
    return (a.len > 0 and b.len > 0 and <uintptr_t>a.buf < <uintptr_t>b.buf + <size_t>b.len
            and <uintptr_t>b.buf < <uintptr_t>a.buf + <size_t>a.len)


cdef int replace_by_copy(Py_buffer *view) except -1:
    cdef Py_buffer copied
    copy = (<object>view.obj).copy()
    if PyObject_GetBuffer(copy, &copied, PyBUF_ND | PyBUF_FORMAT) != 0:
        return -1
    PyBuffer_Release(view)
    view[0] = copied
    return 0


cdef Py_buffer *prepared(Arguments *args, int count, Py_ssize_t item, str name, object x, int ndim,
                         int flags) except NULL:
    """Prepare an array of reals that has a flaw, and get the buffer of the result. count, item: of args before."""
    release_from(args, count)
    args.item = item
    dtype = None if item == 0 else float32 if item == sizeof(float) else float64
    ready = (prepared_in_place if flags else prepared_array)(name, x, None if ndim == ANY else ndim, dtype)
    if look_at(args, ready, b'r', ndim, flags) != READY:
        raise SystemError(f"{name} is not ready though it has been prepared")
    return &args.views[count]


cdef Py_buffer *take_rows(Arguments *args, fbp_rows *rows, object x, Py_ssize_t item) except NULL:
    """Get the buffer of x (rows, columns) for a net of reals of size `item`: reals of either size, or bytes, with any
    strides and alignment."""
    cdef Py_buffer *view = &args.views[args.count]
    cdef const char *format
    if type(x) is not ndarray:
        raise TypeError(f"x must be a plain array, got {type(x).__name__}")
    if PyObject_GetBuffer(x, view, PyBUF_STRIDES | PyBUF_FORMAT) != 0:
        PyErr_Clear()
        raise TypeError(f"x must be a float32, float64 or uint8 array, got {x.dtype} array")
    args.count += 1
    # NumPy writes "=f" rather than "f" where an array is not aligned.
    format = view.format + 1 if view.format[0] == b'=' else view.format
    if strcmp(format, "B") == 0:
        rows.kind = FBP_BYTES
    elif strcmp(format, "f") == 0 or strcmp(format, "d") == 0:
        rows.kind = FBP_REALS if view.itemsize == item else FBP_OTHER_REALS
    else:
        raise TypeError(f"x must be a float32, float64 or uint8 array, got {x.dtype} array")
    if view.ndim != 2:
        raise ValueError(f"x must have 2 dimensions, got shape {x.shape}")
    rows.at, rows.row = view.buf, view.strides[0]
    rows.column = view.strides[1] if view.shape[1] > 1 else view.itemsize  # the stride of a single column may be anything
    return view


cdef inline fbp_rows close_rows(const void *x, size_t columns, size_t item) noexcept:
    """Contiguous rows of reals of the network's own type."""
    cdef fbp_rows rows
    rows.at, rows.kind = x, FBP_REALS
    rows.row, rows.column = <ptrdiff_t>(columns * item), <ptrdiff_t>item
    return rows


cdef inline void release_from(Arguments *args, int count) noexcept:
    """Release all buffers but the first `count`."""
    while args.count > count:
        args.count -= 1
        PyBuffer_Release(&args.views[args.count])


cdef inline void release(Arguments *args) noexcept:
    release_from(args, 0)


cdef inline object new_array(shape, Py_ssize_t item):
    return PyObject_CallFunctionObjArgs(empty, <PyObject *>shape, <PyObject *>(float32 if item == 4 else float64), NULL)


# ----------------------------------------------------------------------------------------------- shapes

cdef inline size_t elements(const Py_buffer *view) noexcept:
    return <size_t>(view.len // view.itemsize)


cdef tuple shape_of(const Py_buffer *view):
    cdef int i
    return tuple([view.shape[i] for i in range(view.ndim)])


cdef int match(str name, const Py_buffer *view, Py_ssize_t rows, Py_ssize_t columns) except -1:
    if view.shape[0] != rows or view.shape[1] != columns:
        raise ValueError(f"{name} must have shape ({rows}, {columns}), got {shape_of(view)}")
    return 0


cdef int match_size(str name, const Py_buffer *view, size_t size) except -1:
    if elements(view) != size:
        raise ValueError(f"{name} must have {size} elements, got {elements(view)}")
    return 0


cdef int match_shape(str name, const Py_buffer *view, str other, const Py_buffer *like) except -1:
    """Require the shape of another argument."""
    cdef int i
    if view.ndim == like.ndim:
        for i in range(view.ndim):
            if view.shape[i] != like.shape[i]:
                break
        else:
            return 0
    raise ValueError(f"{name} has shape {shape_of(view)}; {other} has {shape_of(like)}")


cdef int match_axis(str name, const Py_buffer *view, int axis, size_t size, str other) except -1:
    """Require as many rows (axis 0) or columns (axis 1) as another matrix has."""
    if <size_t>view.shape[axis] != size:
        raise ValueError(f"{name} has {view.shape[axis]} {'columns' if axis else 'rows'}; {other} has {size}")
    return 0


cdef int match_length(str name, const Py_buffer *view, size_t size, str other, str what) except -1:
    """Require a vector with one element for each row, column or element (`what`) of another argument."""
    if <size_t>view.shape[0] != size:
        raise ValueError(f"{name} has {view.shape[0]} elements; {other} has {size} {what}")
    return 0


# ---------------------------------------------------------------------------------------------- numbers

cdef double LEAST_ABOVE_0 = 5e-324  # the smallest double
cdef uint64_t WORD_MOST = 0xFFFFFFFFFFFFFFFF
cdef uint64_t SIZE_MOST = 0x7FFFFFFFFFFFFFFF


cdef double number(str name, object value, double least, double end) except? -1:
    """The value of a number in [least, end), where least is at least 0; LEAST_ABOVE_0 excludes 0."""
    cdef double real = -1
    if type(value) is float or type(value) is int:
        real = PyFloat_AsDouble(value)
        if real == -1:
            PyErr_Clear()  # of an int that is too large
        if least <= real < end:
            return real
    if least == LEAST_ABOVE_0:
        return prepared_number(name, value, None, 0, None if end == INFINITY else end)
    return prepared_number(name, value, least, None, None if end == INFINITY else end)


cdef uint64_t integer(str name, object value, uint64_t least, uint64_t most) except? 0xFFFFFFFFFFFFFFFF:
    """The value of an integer in [least, most]."""
    cdef uint64_t number
    if type(value) is int:
        number = PyLong_AsUnsignedLongLong(value)
        if number == <uint64_t>-1 and PyErr_Occurred() != NULL:
            PyErr_Clear()  # of an int that is negative or too large
        elif least <= number <= most:
            return number
    return prepared_integer(name, value, least, most)


cdef bint flag(str name, object value) except -1:
    return value if type(value) is bool else prepared_flag(name, value)


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


# ------------------------------------------------------------------------------------ the GIL, and memory

cdef enum:
    SHORT = 4096  # reals that C takes some microseconds for, the slowest functions included
    MULTIPLY_ADDS_A_REAL = 16  # that take as long


cdef inline PyThreadState *let_go(double reals) noexcept:
    """Release the GIL, unless the work that follows is over in a moment: other threads would then be let in for a time
    slice of 5 ms or more. No Python until `take_back`."""
    return PyEval_SaveThread() if reals > SHORT else NULL


cdef inline void take_back(PyThreadState *state) noexcept:
    if state != NULL:
        PyEval_RestoreThread(state)


cdef void *scratch(size_t reals, Py_ssize_t item, void **block) except NULL:
    """Memory for intermediate results of one call, aligned to 64 bytes, within *block, which the caller frees."""
    block[0] = malloc(reals * <size_t>item + 64)
    if block[0] == NULL:
        raise MemoryError(f"no memory for {reals} numbers of intermediate results")
    return <void *>((<uintptr_t>block[0] + 63) & ~<uintptr_t>63)
