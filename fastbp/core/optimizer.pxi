# Updates of parameters, penalties, clipping and averages of weights.

# One update by an optimiser: begin_update, update_of, update_moment or update_optional for each moment, then make_update.
cdef struct Update:
    Arguments args
    fbp_optimizer o
    const Py_buffer *w
    const Py_buffer *g
    void *moments[3]
    uint64_t t
    double learning_rate


cdef int begin_update(Update *u, int kind, object learning_rate, object weight_decay) except -1:
    u.args.count = u.args.item = u.args.updated = 0
    memset(&u.o, 0, sizeof(u.o))
    memset(&u.moments, 0, sizeof(u.moments))
    u.o.kind = kind
    u.t = 1
    u.learning_rate = number("learning_rate", learning_rate, 0, INFINITY)
    u.o.weight_decay = number("weight_decay", weight_decay, 0, INFINITY)
    return 0


cdef int update_of(Update *u, object w, object g) except -1:
    w_ = updatable(&u.args, "w", w, ANY)
    g_ = real(&u.args, "g", g, ANY)
    match_shape("g", g_, "w", w_)
    u.w, u.g = w_, g_
    return 0


cdef int update_moment(Update *u, str name, object moment, int slot) except -1:
    """Check a moment that the optimiser has whatever its hyperparameters are."""
    moment_ = updatable(&u.args, name, moment, ANY)
    match_shape(name, moment_, "w", u.w)
    u.moments[slot] = moment_.buf
    return 0


cdef int update_optional(Update *u, str name, object moment, int slot, str needed) except -1:
    """Check a moment that may be None. needed: when it must not be; None where the optimiser leaves it alone."""
    if moment is not None:
        update_moment(u, name, moment, slot)
        if needed is None:
            u.moments[slot] = NULL
            u.args.updated ^= 1u << (u.args.count - 1)
    elif needed is not None:
        raise ValueError(f"{name} is needed when {needed}: zeros before the first step")
    return 0


cdef int make_update(Update *u) except -1:
    cdef size_t N = elements(u.w)
    separate(&u.args)
    kernels = kernels_for(u.args.item)
    if N:
        state = let_go(N)
        kernels.optimizer[u.o.kind](&u.o, u.w.buf, u.g.buf, NULL, u.moments, u.t, u.learning_rate, 1, N)
        take_back(state)
    return 0


def sgd_step(w, g, v, learning_rate, momentum, weight_decay, nesterov):
    """Update w and v in place. v may be None when momentum is 0, and is not changed then."""
    cdef Update u
    begin_update(&u, FBP_SGD, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        u.o.momentum = number("momentum", momentum, 0, 1)
        u.o.nesterov = flag("nesterov", nesterov)
        if u.o.nesterov and u.o.momentum == 0:
            raise ValueError("nesterov is True; it needs a momentum above 0")
        update_optional(&u, "v", v, 0, "momentum is not 0" if u.o.momentum != 0 else None)
        make_update(&u)
    finally:
        release(&u.args)


def adam_step(w, g, m, v, t, learning_rate, beta1, beta2, eps, weight_decay, decoupled):
    """Update w, m and v in place: step t, counted from 1."""
    cdef Update u
    begin_update(&u, FBP_ADAM, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        update_moment(&u, "m", m, 0)
        update_moment(&u, "v", v, 1)
        u.t = integer("t", t, 1, SIZE_MOST)
        u.o.beta1 = number("beta1", beta1, 0, 1)
        u.o.beta2 = number("beta2", beta2, 0, 1)
        u.o.eps = number("eps", eps, LEAST_ABOVE_0, INFINITY)
        u.o.decoupled = flag("decoupled", decoupled)
        make_update(&u)
    finally:
        release(&u.args)


def rmsprop_step(w, g, v, buffer, mean, learning_rate, alpha, eps, weight_decay, momentum, centered):
    """Update w, v, buffer and mean in place. buffer may be None when momentum is 0, mean when centered is False; they are
    not changed then."""
    cdef Update u
    cdef bint centres
    begin_update(&u, FBP_RMSPROP, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        update_moment(&u, "v", v, 0)
        u.o.beta2 = number("alpha", alpha, 0, 1)
        u.o.eps = number("eps", eps, LEAST_ABOVE_0, INFINITY)
        u.o.momentum = number("momentum", momentum, 0, 1)
        centres = flag("centered", centered)
        update_optional(&u, "buffer", buffer, 1, "momentum is not 0" if u.o.momentum != 0 else None)
        update_optional(&u, "mean", mean, 2, "centered" if centres else None)
        make_update(&u)
    finally:
        release(&u.args)


def adagrad_step(w, g, v, t, learning_rate, rate_decay, weight_decay, eps):
    """Update w and v in place: step t, counted from 1."""
    cdef Update u
    begin_update(&u, FBP_ADAGRAD, learning_rate, weight_decay)
    try:
        update_of(&u, w, g)
        update_moment(&u, "v", v, 0)
        u.t = integer("t", t, 1, SIZE_MOST)
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
    args.count = args.item = args.updated = 0
    try:
        w_ = real(&args, "w", w, ANY)
        g_ = updatable(&args, "g", g, ANY)
        match_shape("g", g_, "w", w_)
        first = number("l1", l1, 0, INFINITY)
        second = number("l2", l2, 0, INFINITY)
        separate(&args)
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
    """Multiply g in place by limit / (norm + eps) where that is below 1; return the norm of g before."""
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
    args.count = args.item = args.updated = 0
    try:
        average_ = updatable(&args, "average", average, ANY)
        w_ = real(&args, "w", w, ANY)
        match_shape("w", w_, "average", average_)
        share = number("decay", decay, 0, 1)
        separate(&args)
        N = elements(average_)
        kernels = kernels_for(args.item)
        if N:
            state = let_go(N)
            kernels.average(average_.buf, w_.buf, share, N)
            take_back(state)
    finally:
        release(&args)
