# Activations and softmax.

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
    """dx = dy f'(x), element by element. y: f(x); for the activations from FBP_FROM_Z on, x itself."""
    cdef Arguments args
    cdef size_t N
    args.count = args.item = 0
    try:
        dy_ = real(&args, "dy", dy, ANY)
        argument = "x" if activation >= FBP_FROM_Z else "y"
        y_ = real(&args, argument, y, ANY)
        match_shape(argument, y_, "dy", dy_)
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
        match_shape("y", y_, "dy", dy_)
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
