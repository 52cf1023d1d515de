# Arguments of a call: buffers of arrays, numbers, and the GIL.

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
