# Losses, their parameters and weights, and checks of targets.

def loss_traits():
    """What the core knows of its losses, in the order of their numbers: a tuple of dicts with the fields of struct
    fbp_loss_traits."""
    found = []
    for kind in range(FBP_LOSSES):
        traits = &fbp_loss_traits_of[kind]
        found.append({
            "name": traits.name.decode(), "labels": bool(traits.labels), "probabilities": bool(traits.probabilities),
            "of_classes": bool(traits.of_classes), "smoothed": traits.smoothed,
            "mean_over_rows": bool(traits.mean_over_rows),
            "parameter": traits.parameter.decode() if traits.parameter != NULL else None,
            "parameter_least": traits.parameter_least, "parameter_end": traits.parameter_end,
        })
    return tuple(found)


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
    cdef const fbp_loss_traits *traits = &fbp_loss_traits_of[kind]
    cdef str name = traits.parameter.decode()
    cdef double least = traits.parameter_least, end = traits.parameter_end
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
    """The weights of B rows as doubles, from an array of floats or doubles."""
    cdef double *numbers
    cdef Py_ssize_t item = args.item
    cdef size_t b
    args.item = 0  # they need not be like the others
    weights_ = real(args, "sample_weight", weights, 1)
    args.item = item
    match_size("sample_weight", weights_, B)
    numbers = <double *>scratch(B, sizeof(double), block)
    for b in range(B):
        if weights_.itemsize == sizeof(float):
            numbers[b] = (<const float *>weights_.buf)[b]
        else:
            numbers[b] = (<const double *>weights_.buf)[b]
        if not 0 <= numbers[b] < INFINITY:
            raise ValueError(f"sample_weight must be finite and at least 0, got {numbers[b]}")
    return numbers


def loss(int kind, z, target, parameters, bint reduction_sum, weights=None, dz=...):
    """The loss of z (B, C) against target, and its gradient into dz (B, C). Where dz is left out: (loss, dz).

    target: int64 (B,) for labels, else like z. parameters: see `loss_parameters`; ignored where the loss has none.
    weights: None, or (sample_weight, label_smoothing, class_weights): floats or doubles (B,) or None; a float, and a
    sequence of C floats or None, both for the losses of classes.
    """
    cdef Arguments args
    cdef fbp_weighted_loss l
    cdef size_t B
    cdef double mass, total
    cdef const void *target_at
    cdef const double *row_weights = NULL
    cdef void *blocks[4]  # copies: of labels or parameters, class weights, weights of rows; smoothed targets
    cdef bint made
    args.count = args.item = 0
    if not 0 <= kind < FBP_LOSSES:
        raise ValueError(f"there is no loss {kind}")
    traits = &fbp_loss_traits_of[kind]
    memset(&l, 0, sizeof(l))
    memset(&blocks, 0, sizeof(blocks))
    try:
        z_ = real(&args, "z", z, 2)
        B, l.C = z_.shape[0], z_.shape[1]
        if l.C == 0:
            raise ValueError("z must have at least one column")
        if traits.labels:
            target_ = take(&args, "target", target, b'i', 1, 0)
            match_size("target", target_, B)
            # A copy, so that labels stay in range whatever another thread does to the array.
            target_at = scratch(B, sizeof(int64_t), &blocks[0])
            memcpy(<void *>target_at, target_.buf, B * sizeof(int64_t))
            within("target", <const int64_t *>target_at, B, l.C)
        else:
            target_ = real(&args, "target", target, 2)
            match("target", target_, B, l.C)
            target_at = target_.buf
        if traits.parameter != NULL:
            l.parameters = loss_parameters(&args, kind, parameters, l.C, &blocks[0])
        made = dz is ...
        if made:
            dz = new_array((B, l.C), args.item)
        dz_ = real_out(&args, "dz", dz, 2)
        match("dz", dz_, B, l.C)
        if B == 0 and not reduction_sum:
            raise ValueError("z has no rows: there is no mean of nothing")
        l.kernels, l.loss, l.reduction_sum = kernels_for(args.item), kind, reduction_sum
        if weights is not None:
            sample_weight, smoothing, class_weights = weights
            l.smoothing = number("label_smoothing", smoothing, 0, 1)
            if class_weights is not None:
                l.class_weights = numbers_of_columns(&args, "class_weights", class_weights, l.C, 0, INFINITY, &blocks[1])
            if not traits.of_classes and (l.smoothing != 0 or l.class_weights != NULL):
                raise ValueError(f"loss {kind} has neither label smoothing nor class weights")
            if sample_weight is not None:
                row_weights = weights_of_rows(&args, sample_weight, B, &blocks[2])
        fbp_loss_begin(&l)
        if l.smooths:
            scratch(min(B, <size_t>FBP_BLOCK) * l.C, args.item, &blocks[3])
        mass = fbp_loss_mass(&l, row_weights, target_at, NULL, 0, B)
        if mass == INFINITY and not reduction_sum:
            raise ValueError("sample_weight must have a finite sum")
        state = let_go(<double>B * l.C)
        total = fbp_loss_whole(&l, z_.buf, target_at, row_weights, blocks[3], mass, dz_.buf, B)
        take_back(state)
        return (total, dz) if made else total
    finally:
        for block in blocks:
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
    if not 0 <= loss < FBP_LOSSES:
        raise ValueError(f"there is no loss {loss}")
    traits = &fbp_loss_traits_of[loss]
    try:
        if look_at(&args, x, b'r', 2, 0) != READY or <size_t>args.views[0].shape[1] != inputs:
            return False
        rows = args.views[0].shape[0]
        if rows > READY_AT_ONCE // max(inputs, outputs):
            return False
        kernels = kernels_for(item)
        if traits.labels:
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
        elif traits.labels:
            right = first_outside(<const int64_t *>target_at, rows, outputs) < 0
        elif traits.probabilities:
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
