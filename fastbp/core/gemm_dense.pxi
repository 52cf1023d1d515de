# Matrix products and dense layers.

cdef void run(fbp_part_fn *fn, void *context, double multiply_adds) noexcept:
    """Call fn for every part of a product, on as many threads as pay."""
    state = let_go(multiply_adds / MULTIPLY_ADDS_A_REAL)
    fbp_pool_run(fbp_threads_for(multiply_adds, 0), fn, context)
    take_back(state)


cdef struct Product:
    const fbp_kernels *kernels
    fbp_gemm gemm


cdef void product_part(void *context, int part, int parts) noexcept nogil:
    cdef Product *p = <Product *>context
    p.kernels.gemm(&p.gemm, part, parts)


def gemm(a, b, bint transpose_a, bint transpose_b, c=...):
    """c (M, N) = A B, with A = a or its transpose, and B = b or its transpose."""
    cdef Arguments args
    cdef Product p
    args.count = args.item = 0
    try:
        a_ = real(&args, "a", a, 2)
        b_ = real(&args, "b", b, 2)
        memset(&p, 0, sizeof(p))
        p.kernels = kernels_for(args.item)
        p.gemm.M, p.gemm.K = a_.shape[transpose_a], a_.shape[not transpose_a]
        p.gemm.N = b_.shape[not transpose_b]
        if <size_t>b_.shape[transpose_b] != p.gemm.K:
            raise ValueError(f"a has {p.gemm.K} {'rows' if transpose_a else 'columns'}; "
                             f"b has {b_.shape[transpose_b]} {'columns' if transpose_b else 'rows'}")
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
        p.gemm.room = fbp_thread_room
        run(product_part, &p, <double>p.gemm.M * p.gemm.N * p.gemm.K)
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
        raise ValueError(f"W must have at least one row and one column, got shape {shape_of(W)}")
    memset(l, 0, sizeof(Layer))
    l.kernels = kernels_for(x.itemsize)
    l.dense.B, l.dense.I, l.dense.O = x.shape[0], x.shape[1], W.shape[1]
    l.dense.x, l.dense.x_row, l.dense.W = x.buf, l.dense.I, W.buf
    l.dense.activation, l.dense.alpha = activation, alpha
    l.dense.room = fbp_thread_room
    return 0


def dense_forward(x, W, b, int activation, double alpha, y=...):
    """y (B, O) = f(x W + b); b may be None."""
    cdef Arguments args
    cdef Layer l
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        W_ = real(&args, "W", W, 2)
        begin_layer(&l, x_, W_, activation, alpha)
        if b is not None:
            b_ = real(&args, "b", b, 1)
            match_length("b", b_, l.dense.O, "W", "columns")
            l.dense.b = b_.buf
        if y is ...:
            y = new_array((x_.shape[0], W_.shape[1]), args.item)
        y_ = real_out(&args, "y", y, 2)
        match("y", y_, l.dense.B, l.dense.O)
        if l.dense.B == 0:
            return y
        l.dense.y, l.dense.y_row = y_.buf, l.dense.O
        run(forward_part, &l, <double>l.dense.B * l.dense.I * l.dense.O)
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
    args.count = args.item = 0
    try:
        dy_ = real(&args, "dy", dy, 2)
        x_ = real(&args, "x", x, 2)
        W_ = real(&args, "W", W, 2)
        begin_layer(&l, x_, W_, activation, alpha)
        if activation >= FBP_FROM_Z:
            raise ValueError(f"the derivative of activation {activation} is computed from z")
        match_axis("dy", dy_, 1, l.dense.O, "W")
        match_axis("dy", dy_, 0, l.dense.B, "x")
        if y is not None or activation != FBP_IDENTITY:
            y_ = real(&args, "y", y, 2)
            match_axis("y", y_, 1, l.dense.O, "W")
            match_axis("y", y_, 0, l.dense.B, "x")
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
        run(backward_part, &l, <double>l.dense.B * l.dense.I * l.dense.O)
        return dx, dW, db
    finally:
        free(dz_block)
        release(&args)
