# Losses, their parameters and weights, and checks of targets.

def loss_traits():
    """What the core knows of its losses, in the order of their numbers: a tuple of dicts with the fields of struct
    fbp_loss_traits."""
    found = []
    for kind in range(FBP_LOSSES):
        traits = &fbp_loss_traits_of[kind]
        found.append({
            "name": traits.name.decode(), "input": traits.input.decode(), "labels": bool(traits.labels), "probabilities": bool(traits.probabilities),
            "of_classes": bool(traits.of_classes), "smoothed": traits.smoothed,
            "mean_over_rows": bool(traits.mean_over_rows),
            "parameter": traits.parameter.decode() if traits.parameter != NULL else None,
            "parameter_least": traits.parameter_least, "parameter_end": traits.parameter_end,
        })
    return tuple(found)


cdef list parameter_names = [traits["parameter"] for traits in loss_traits()]


cdef double fit(str name, double value, Py_ssize_t item) except? -1:
    """A number that is finite as a real of size `item`, and not 0 unless the number is."""
    if item == sizeof(float) and ((<float>value == 0) != (value == 0) or <float>value == INFINITY):
        raise ValueError(f"{name} must be a number that float32 holds, got {value}")
    return value


cdef bint is_sequence(object values):
    return type(values) is list or (
        hasattr(values, "__len__") and not isinstance(values, (str, bytes, dict, set)))


cdef double *numbers_of_columns(Arguments *args, str name, str expected, object values, size_t C, bint in_turn,
                                double least, double end, void **block) except NULL:
    """C numbers in [least, end), from a sequence of numbers. expected: what values must be, for the error message.
    in_turn: the sequence may be shorter; columns then take its numbers in turn."""
    cdef double *numbers
    cdef size_t i, count
    cdef double value
    cdef list elements
    if type(values) is list:
        elements = values
    elif type(values) is ndarray and values.ndim == 1:
        elements = values.tolist()
    elif is_sequence(values):
        try:
            elements = list(values)
        except TypeError:
            raise TypeError(f"{name} must be {expected}, got {type(values).__name__}") from None
    else:
        raise TypeError(f"{name} must be {expected}, got {type(values).__name__}")
    count = len(elements)
    if count == 0:
        raise ValueError(f"{name} must be {expected}, got an empty one")
    if count != C and not (in_turn and C % count == 0):
        raise ValueError(f"{name} has {count} {'levels' if in_turn else 'weights'}; there are {C} outputs")
    numbers = <double *>scratch(C, sizeof(double), block)
    for i in range(count):
        element = elements[i]
        value = PyFloat_AsDouble(element) if type(element) is float else -1
        if not least <= value < end:
            value = number(f"{name}[{i}]", element, least, end)
        numbers[i] = fit(name, value, args.item)
    for i in range(count, C):
        numbers[i] = numbers[i - count]
    return numbers


cdef double *loss_parameters(Arguments *args, int kind, object values, size_t C, void **block) except NULL:
    """The parameters of a loss, one for each column: from one number, or from a sequence of numbers."""
    cdef const fbp_loss_traits *traits = &fbp_loss_traits_of[kind]
    cdef str name = parameter_names[kind]
    cdef double *numbers
    cdef double value
    cdef size_t i
    if type(values) is not float and kind != FBP_HUBER and is_sequence(values):
        return numbers_of_columns(args, name, "a number or a sequence of numbers", values, C, kind == FBP_PINBALL,
                                  traits.parameter_least, traits.parameter_end, block)
    value = fit(name, number(name, values, traits.parameter_least, traits.parameter_end), args.item)
    numbers = <double *>scratch(C, sizeof(double), block)
    for i in range(C):
        numbers[i] = value
    return numbers


cdef double *weights_of_rows(Arguments *args, object weights, size_t B, str other, void **block) except NULL:
    """The weights of B rows as doubles, from an array of floats or doubles. other: the argument that has B rows."""
    cdef double *numbers
    cdef Py_ssize_t item = args.item
    cdef size_t b
    args.item = 0  # the dtype of weights need not be that of the other arguments
    weights_ = real(args, "sample_weight", weights, 1)
    args.item = item
    match_axis("sample_weight", weights_, 0, B, other)
    numbers = <double *>scratch(B, sizeof(double), block)
    for b in range(B):
        if weights_.itemsize == sizeof(float):
            numbers[b] = (<const float *>weights_.buf)[b]
        else:
            numbers[b] = (<const double *>weights_.buf)[b]
        if not -INFINITY < numbers[b] < INFINITY:
            raise ValueError(f"sample_weight[{b}] is {numbers[b]} in float64; weights must be finite")
        if numbers[b] < 0:
            raise ValueError(f"sample_weight[{b}] is {numbers[b]}; weights must be at least 0")
    return numbers


cdef int kind_for(int kind, object target) except -1:
    """The loss for this target: where a loss of classes is given labels, the one for labels."""
    if kind == FBP_SOFTMAX_CROSS_ENTROPY_PROBABILITIES and isinstance(target, ndarray) and target.ndim == 1:
        return FBP_SOFTMAX_CROSS_ENTROPY_LABELS
    return kind


cdef bint is_sum(object reduction) except -1:
    if type(reduction) is str:
        if reduction == "mean":
            return False
        if reduction == "sum":
            return True
    return prepared_choice("reduction", reduction, ("mean", "sum")) == "sum"


def loss(int kind, z, target, parameters, reduction, weights=None, dz=...):
    """The loss of z (B, C) against target, and its gradient into dz (B, C). Where dz is left out: (loss, dz).

    kind: enum fbp_loss; the softmax cross-entropy for probabilities becomes that for labels where target is a vector.
    target: int64 (B,) for labels, else like z.
    parameters: see `loss_parameters`; ignored where the loss has none.
    reduction: "mean" or "sum".
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
    kind = kind_for(kind, target)
    traits = &fbp_loss_traits_of[kind]
    input = "z" if traits.input[0] == b'z' else "y"
    memset(&l, 0, sizeof(l))
    memset(&blocks, 0, sizeof(blocks))
    try:
        z_ = real(&args, input, z, 2)
        B, l.C = z_.shape[0], z_.shape[1]
        if l.C == 0:
            raise ValueError(f"{input} must have at least one column")
        if traits.labels:
            if look_at(&args, target, b'i', 1, 0) != READY:
                release_from(&args, 1)
                take(&args, "target", prepared_labels("target", target), b'i', 1, 0)
            target_ = &args.views[1]
            match_axis("target", target_, 0, B, input)
            # A copy, so that labels stay in range whatever another thread does to the array.
            target_at = scratch(B, sizeof(int64_t), &blocks[0])
            memcpy(<void *>target_at, target_.buf, B * sizeof(int64_t))
            within("target", <const int64_t *>target_at, B, l.C)
        else:
            if traits.of_classes and isinstance(target, ndarray) and target.dtype.kind in "iu":
                prepared_labels("target", target)  # refuses: labels are a vector
            target_ = real(&args, "target", target, 2)
            match_shape("target", target_, input, z_)
            target_at = target_.buf
        if traits.parameter != NULL:
            l.parameters = loss_parameters(&args, kind, parameters, l.C, &blocks[0])
        made = dz is ...
        if made:
            dz = new_array((B, l.C), args.item)
        dz_ = real_out(&args, "dz", dz, 2)
        match("dz", dz_, B, l.C)
        l.kernels, l.loss, l.reduction_sum = kernels_for(args.item), kind, is_sum(reduction)
        if B == 0 and not l.reduction_sum:
            raise ValueError(f"{input} has no rows: there is no mean of nothing")
        if weights is not None:
            sample_weight, smoothing, class_weights = weights
            l.smoothing = number("label_smoothing", smoothing, 0, 1)
            if class_weights is not None:
                l.class_weights = numbers_of_columns(&args, "class_weights", "a sequence of numbers or None",
                                                     class_weights, l.C, False, 0, INFINITY, &blocks[1])
            if not traits.of_classes and (l.smoothing != 0 or l.class_weights != NULL):
                raise ValueError(f"loss {kind} has neither label smoothing nor class weights")
            if sample_weight is not None:
                row_weights = weights_of_rows(&args, sample_weight, B, input, &blocks[2])
        fbp_loss_begin(&l)
        if l.smooths:
            scratch(min(B, <size_t>FBP_BLOCK) * l.C, args.item, &blocks[3])
        mass = fbp_loss_mass(&l, row_weights, target_at, NULL, 0, B)
        if mass == INFINITY:
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
    READY_AT_ONCE = 1 << 26  # elements: some tens of milliseconds


def ready(x, target, Py_ssize_t item, size_t inputs, size_t outputs, int loss):
    """Whether C can take x (rows, inputs) and the target of a loss as they are: arrays of one real type (labels of int64),
    finite, the target within its range, of at least one row, and of few enough that the check does not delay Ctrl-C.
    Where it is not so, the caller has to find the cause."""
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
    """Refuse int64 labels (B,) that are not in 0 .. classes - 1. name: of the argument, for the error message."""
    cdef Arguments args
    args.count = args.item = 0
    try:
        labels_ = take(&args, name, labels, b'i', 1, 0)
        within(name, <const int64_t *>labels_.buf, elements(labels_), classes)
    finally:
        release(&args)
