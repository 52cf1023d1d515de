# Layer norm, batch norm and dropout.

cdef int begin_norm(fbp_norm *n, Arguments *args, const Py_buffer *x, object gamma, object beta, double eps,
                    bint by_row) except -1:
    """Set the members that all norms share: x (B, N), gamma and beta (N,) or None."""
    memset(n, 0, sizeof(fbp_norm))
    n.B, n.N = x.shape[0], x.shape[1]
    n.x, n.x_row, n.y_row, n.dz_row, n.dx_row = x.buf, n.N, n.N, n.N, n.N
    n.eps = eps
    if (n.N if by_row else n.B) == 0:
        raise ValueError(f"x must have at least one {'column' if by_row else 'row'}, got shape {shape_of(x)}")
    if gamma is not None:
        gamma_ = real(args, "gamma", gamma, 1)
        match_length("gamma", gamma_, n.N, "x", "columns")
        n.gamma = gamma_.buf
    if beta is not None:
        beta_ = real(args, "beta", beta, 1)
        match_length("beta", beta_, n.N, "x", "columns")
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
        dy_ = real(&args, "dy", dy, 2)
        x_ = real(&args, "x", x, 2)
        match_shape("dy", dy_, "x", x_)
        begin_norm(&n, &args, x_, gamma, None, 0, True)
        mean_ = real(&args, "mean", mean, 1)
        match_length("mean", mean_, n.B, "x", "rows")
        rstd_ = real(&args, "rstd", rstd, 1)
        match_length("rstd", rstd_, n.B, "x", "rows")
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
        dy_ = real(&args, "dy", dy, 2)
        x_ = real(&args, "x", x, 2)
        match_shape("dy", dy_, "x", x_)
        begin_norm(&n, &args, x_, gamma, None, norm_eps(eps), False)
        mean_ = real(&args, "mean", mean, 1)
        match_length("mean", mean_, n.N, "x", "columns")
        variance_ = real(&args, "variance", variance, 1)
        match_length("variance", variance_, n.N, "x", "columns")
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
    """y (B, N) from given statistics mean and variance (N,)."""
    cdef Arguments args
    cdef fbp_norm n
    cdef void *block = NULL
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        begin_norm(&n, &args, x_, gamma, beta, norm_eps(eps), False)
        mean_ = real(&args, "mean", mean, 1)
        match_length("mean", mean_, n.N, "x", "columns")
        variance_ = real(&args, "variance", variance, 1)
        match_length("variance", variance_, n.N, "x", "columns")
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
    """Update running_mean and running_variance (N,) in place from the statistics of a minibatch of at least two rows."""
    cdef Arguments args
    cdef size_t N
    cdef size_t B
    cdef double share
    args.count = args.item = args.updated = 0
    try:
        running_mean_ = updatable(&args, "running_mean", running_mean, 1)
        N = elements(running_mean_)
        running_variance_ = updatable(&args, "running_variance", running_variance, 1)
        match_length("running_variance", running_variance_, N, "running_mean", "elements")
        mean_ = real(&args, "mean", mean, 1)
        match_length("mean", mean_, N, "running_mean", "elements")
        variance_ = real(&args, "variance", variance, 1)
        match_length("variance", variance_, N, "running_mean", "elements")
        B = integer("rows", rows, 2, SIZE_MOST)
        share = number("momentum", momentum, LEAST_ABOVE_0, INFINITY)
        if share > 1:
            raise ValueError(f"momentum must be at most 1, got {share}")
        separate(&args)
        kernels = kernels_for(args.item)
        if N:
            kernels.batch_norm_running(mean_.buf, variance_.buf, share, running_mean_.buf, running_variance_.buf, B, N)
    finally:
        release(&args)


def dropout_forward(x, rate, seed, stream, draw, first_row, y=..., mask=...):
    """y = x mask and mask, both (B, N): x is rows first_row, first_row + 1, ... of minibatch number draw."""
    cdef Arguments args
    cdef fbp_dropout d
    args.count = args.item = 0
    try:
        x_ = real(&args, "x", x, 2)
        d.B, d.N = x_.shape[0], x_.shape[1]
        d.x, d.x_row, d.y_row, d.mask_row = x_.buf, d.N, d.N, d.N
        d.rate = number("rate", rate, 0, 1)
        d.seed, d.stream = integer("seed", seed, 0, WORD_MOST), integer("stream", stream, 0, WORD_MOST)
        d.draw, d.first_row = integer("draw", draw, 0, 0xFFFFFFFF), integer("first_row", first_row, 0, 1 << 34)
        if (d.first_row + <double>d.B) * <double>d.N > 2.0**34:
            raise ValueError(f"first_row is {first_row}; with x, of shape {shape_of(x_)}, the minibatch has more than "
                             "2^34 elements")
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
