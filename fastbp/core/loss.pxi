# Losses, their parameters and weights, and checks of targets.

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
