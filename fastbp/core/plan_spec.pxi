# What a plan is made from: a PlanSpec of fastbp/_support/plan_spec.py as the structs of fbp.h, and why it is refused.

cdef int to_status(int status) except -1:
    if status == FBP_NO_MEMORY:
        raise MemoryError("no memory for the workspace")
    if status == FBP_TOO_MANY_ROWS:
        raise ValueError("a minibatch that goes through the network at once has more rows than the plan's rows")
    return status


cdef int set_optimizer(fbp_optimizer *o, constants) except -1:
    (o.kind, o.momentum, o.weight_decay, o.beta1, o.beta2, o.eps, o.rate_decay, o.nesterov, o.decoupled) = constants
    if not 0 <= o.kind < FBP_OPTIMIZERS:
        raise ValueError(f"there is no optimizer {o.kind}")
    return 0


cdef bint has_moments(const fbp_optimizer *o, const fbp_vectors *v) noexcept:
    """Whether the vectors that hold the optimiser's state are there."""
    if o.kind == FBP_SGD:
        return v.moments[0] != NULL or o.momentum == 0
    if o.kind == FBP_RMSPROP:
        return v.moments[0] != NULL and (v.moments[1] != NULL or o.momentum == 0)
    return v.moments[0] != NULL and (v.moments[1] != NULL or o.kind == FBP_ADAGRAD)


cdef int set_layer(fbp_layer *layer, record) except -1:
    # A width that is not a size becomes 0, which the core refuses.
    layer.inputs = record.inputs if 0 < record.inputs < 2**31 else 0
    layer.outputs = record.outputs if 0 < record.outputs < 2**31 else 0
    layer.kind, layer.bias, layer.frozen = record.kind, record.bias, record.frozen
    layer.activation, layer.alpha = record.activation, record.alpha
    layer.rate, layer.eps = record.rate, record.eps
    layer.l1, layer.l2, layer.penalize_bias = record.l1, record.l2, record.penalize_bias
    return 0


cdef void *set_plan_spec(fbp_plan_spec *to, spec) except NULL:
    """Fill `to`, all but kernels and trains. Return the memory that it points to, for the caller to free."""
    cdef void *memory
    cdef fbp_layer *layers
    cdef double *numbers
    cdef Py_ssize_t i
    memset(to, 0, sizeof(fbp_plan_spec))
    if spec.rows < 1:
        raise ValueError(f"rows must be at least 1, got {spec.rows}")
    if spec.threads < 0:
        raise ValueError(f"threads must be at least 0, got {spec.threads}")
    to.rows, to.whole, to.loss = spec.rows, spec.whole, spec.loss
    to.threads = spec.threads
    to.reduction_sum, to.smoothing = spec.reduction_sum, spec.smoothing
    to.clip_norm, to.clip_value, to.average_decay = spec.clip_norm, spec.clip_value, spec.average_decay
    to.seed, to.dropout_stream = spec.seed, spec.dropout_stream
    if spec.optimizer is not None:
        set_optimizer(&to.optimizer, spec.optimizer)
    records, parameters, weights = list(spec.layers), list(spec.loss_parameters), list(spec.class_weights or ())
    to.n_layers, to.n_loss_parameters, to.n_class_weights = len(records), len(parameters), len(weights)
    memory = malloc(to.n_layers * sizeof(fbp_layer) + (to.n_loss_parameters + to.n_class_weights) * sizeof(double) + 1)
    if memory == NULL:
        raise MemoryError("no memory for the plan")
    layers = <fbp_layer *>memory
    numbers = <double *>(layers + to.n_layers)
    try:
        for i, record in enumerate(records):
            try:
                set_layer(&layers[i], record)
            except AttributeError:
                raise TypeError(f"layers[{i}] must be a LayerRecord, got {record!r}") from None
        for i, value in enumerate(parameters + weights):
            numbers[i] = value
    except BaseException:
        free(memory)
        raise
    to.layers, to.loss_parameters = layers, numbers
    to.class_weights = numbers + to.n_loss_parameters if weights else NULL
    return memory


cdef int refuse_plan(const fbp_plan_error *error, spec) except -1:
    """Raise what `fbp_plan_create` found wrong."""
    cdef int flaw = error.flaw
    if flaw == FBP_FLAW_NO_LAYERS:
        raise ValueError("layers must hold at least one layer")
    if flaw == FBP_FLAW_SIZE:
        raise MemoryError(f"a network of these widths over {spec.rows} rows does not fit in memory")
    if flaw == FBP_FLAW_OPEN:
        raise ValueError("a residual block is not ended")
    if flaw == FBP_FLAW_LOSS:
        raise ValueError(f"there is no loss {spec.loss}")
    if flaw == FBP_FLAW_LOSS_PARAMETERS:
        raise ValueError(f"loss_parameters has {len(spec.loss_parameters)} numbers; this loss takes {error.number}")
    if flaw == FBP_FLAW_CLASS_WEIGHTS:
        raise ValueError(f"class_weights has {len(spec.class_weights)} numbers; there are {error.number} outputs")
    layer = spec.layers[error.layer]
    if flaw == FBP_FLAW_WIDTHS:
        why = f"has widths {layer.inputs} and {layer.outputs}; both must be in 1 .. 2^31 - 1"
    elif flaw == FBP_FLAW_KIND:
        why = f"is of kind {layer.kind}, which does not exist"
    elif flaw == FBP_FLAW_ACTIVATION:
        why = f"has activation {layer.activation}, which does not exist"
    elif flaw == FBP_FLAW_FROM_Z:
        why = f"has activation {layer.activation}, which must be a layer of its own"
    elif flaw == FBP_FLAW_INPUTS:
        why = f"takes {layer.inputs} columns; the one before gives {error.number}"
    elif flaw == FBP_FLAW_UNEQUAL:
        why = f"has widths {layer.inputs} and {layer.outputs}, which must be the same"
    elif flaw == FBP_FLAW_PROJECTION:
        why = "is a projection, and no residual block is open that goes from its inputs to its outputs"
    elif flaw == FBP_FLAW_AFTER_PROJECTION:
        why = "comes between a projection and the end of the residual block"
    else:
        why = "ends a residual block that is empty or of another width, or none"
    raise ValueError(f"layers[{error.layer}] {why}")
