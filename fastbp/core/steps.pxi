# Checks of what a plan is made from.

cdef int to_status(int status) except -1:
    if status == FBP_NO_MEMORY:
        raise MemoryError("no memory for the workspace")
    if status == FBP_BAD_PLAN:
        raise ValueError("steps must hold a layer, and residual blocks that nest; a minibatch that must be whole has to fit")
    return status


cdef int set_optimizer(fbp_optimizer *o, constants) except -1:
    (o.kind, o.momentum, o.weight_decay, o.beta1, o.beta2, o.eps, o.rate_decay, o.nesterov, o.decoupled) = constants
    if not 0 <= o.kind < FBP_OPTIMIZERS:
        raise ValueError(f"there is no optimizer {o.kind}")
    return 0


cdef bint has_moments(const fbp_optimizer *o, const fbp_vectors *v) noexcept:
    """Whether the vectors are there that an optimiser keeps its state in."""
    if o.kind == FBP_SGD:
        return v.moments[0] != NULL or o.momentum == 0
    if o.kind == FBP_RMSPROP:
        return v.moments[0] != NULL and (v.moments[1] != NULL or o.momentum == 0)
    return v.moments[0] != NULL and (v.moments[1] != NULL or o.kind == FBP_ADAGRAD)


cdef tuple check_steps(list steps, Py_ssize_t rows):
    """Check that the widths of the steps follow from one another and that all sizes fit; give inputs, outputs and the
    numbers of parameters and running statistics."""
    if not steps:
        raise ValueError("steps must hold at least one layer")
    open_blocks = []
    width = inputs = int(steps[0][1])
    count = statistics = widths = 0
    for i, step in enumerate(steps):
        if len(step) != 12:
            raise ValueError(f"step {i} must have 12 numbers, got {len(step)}")
        kind, step_inputs, step_outputs, bias, activation = step[:5]
        if not 1 <= step_inputs < 2**31 or not 1 <= step_outputs < 2**31:
            raise ValueError(f"step {i} has widths {step_inputs} and {step_outputs}; both must be in 1 .. 2^31 - 1")
        if not FBP_DENSE <= kind <= FBP_BATCH_NORM:
            raise ValueError(f"there is no kind of layer {kind}")
        known_activation(activation)
        if activation >= FBP_FROM_Z and kind != FBP_ACTIVATION:
            raise ValueError(f"step {i} has activation {activation}, which must be a step of its own")
        if kind == FBP_PROJECTION:
            if not open_blocks or open_blocks[-1] != step_inputs or step_outputs != width:
                raise ValueError(f"step {i}, a projection, does not lead past an open residual block to its width")
            open_blocks[-1] = width
        elif step_inputs != width:
            raise ValueError(f"step {i} takes {step_inputs} columns; the one before gives {width}")
        if kind == FBP_DENSE or kind == FBP_PROJECTION:
            count += step_inputs * step_outputs + (step_outputs if bias else 0)
            width = step_outputs
        elif step_outputs != step_inputs:
            raise ValueError(f"step {i} has widths {step_inputs} and {step_outputs}, which must be the same")
        elif kind == FBP_RESIDUAL_BEGIN:
            open_blocks.append(width)
        elif kind == FBP_RESIDUAL_END:
            if not open_blocks or open_blocks.pop() != width:
                raise ValueError(f"step {i} ends a residual block of another width, or none")
        elif kind == FBP_LAYER_NORM or kind == FBP_BATCH_NORM:
            count += 2 * width if bias else 0
            statistics += 2 * width if kind == FBP_BATCH_NORM else 0
        widths += step_inputs + step_outputs
    if open_blocks:
        raise ValueError("a residual block is not ended")
    if max(count, widths * rows) >= 2**56:
        raise MemoryError(f"a network of {count} parameters over {rows} rows does not fit in memory")
    return inputs, width, count, statistics
