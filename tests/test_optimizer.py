"""Optimiser steps: literals, trajectories against the twin and PyTorch, and the edges.

There is no gradient to difference here: the update is compared with the formula by hand.
"""

from fractions import Fraction

import numpy as np
import pytest
from arrays import (
    DTYPES,
    LANES,
    PLACES,
    SIZES,
    TOLERANCE,
    assert_same_bits,
    assert_same_on_fused,
    distance,
    each_layout,
    guarded,
    needs_guard_pages,
    needs_two_fused,
    real,
)

from fastbp import ops, reference

try:
    import torch
except ImportError:
    torch = None

each_dtype = pytest.mark.parametrize("dtype", DTYPES)

SGD = [
    dict(learning_rate=0.1),
    dict(learning_rate=0.1, weight_decay=0.05),
    dict(learning_rate=0.1, momentum=0.9),
    dict(learning_rate=0.1, momentum=0.9, weight_decay=0.05),
]
ADAM = [
    dict(learning_rate=0.01),
    dict(learning_rate=0.01, weight_decay=0.05),
    dict(learning_rate=0.1, beta1=0.5, beta2=0.75, eps=1e-3),
    dict(learning_rate=0.1, beta1=0.0, beta2=0.0),
]
RULES = [("sgd", given) for given in SGD] + [("adam", given) for given in ADAM]
each_rule = pytest.mark.parametrize(
    "rule, given", RULES, ids=lambda v: v if isinstance(v, str) else ", ".join(map(str, v.values()))
)


def state(rule, n, dtype, seed=0):
    """w, g and the moments of an optimiser that has run for a while."""
    w, g, first = (real(seed + i, n, dtype) for i in range(3))
    return [w, g, first, real(seed + 3, n, dtype, 0, 1)] if rule == "adam" else [w, g, first]


def step(rule, arrays, t=7, of=ops, **given):
    """Takes one step and returns what it may have changed: w and the moments."""
    if rule == "adam":
        of.adam_step(*arrays, t, **given)
    else:
        of.sgd_step(*arrays, **given)
    return tuple(arrays[:1] + arrays[2:])


def stepped(rule, arrays, t=7, of=ops, **given):
    """The same on copies."""
    return step(rule, [a.copy() for a in arrays], t, of, **given)


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
@pytest.mark.parametrize("n", [1, 37])
def test_sgd_by_hand(isa, n, dtype):
    # Numbers that float32 holds exactly: no rounding anywhere.
    w, v = np.ones(n, dtype), np.zeros(n, dtype)
    for g, expected_v, expected_w in [
        (0.5, 0.75, 0.625),  #         g' = 1/2 + 1/4,                 v = g',               w = 1 - v/2
        (-1.0, -0.46875, 0.859375),  # g' = -1 + 0.15625 = -0.84375,   v = 0.375 - 0.84375,  w = 0.625 + 0.234375
        (0.25, 0.23046875, 0.744140625),  # g' = 0.25 + 0.21484375,    v = -0.234375 + 0.46484375
    ]:
        ops.sgd_step(w, np.full(n, g, dtype), v, learning_rate=0.5, momentum=0.5, weight_decay=0.25)
        assert (v == expected_v).all() and (w == expected_w).all()

    w = np.ones(n, dtype)
    for g, expected in [(0.5, 0.75), (-1.0, 1.25), (0.25, 1.125)]:
        ops.sgd_step(w, np.full(n, g, dtype), learning_rate=0.5)
        assert (w == expected).all()
    for g, expected in [
        (0.5, 0.734375),
        (-1.0, 1.142578125),
    ]:  # 1.125 - (1/2 + 1.125/4)/2; 0.734375 + (1 - 0.18359375)/2
        ops.sgd_step(w, np.full(n, g, dtype), learning_rate=0.5, weight_decay=0.25)
        assert (w == expected).all()


@each_dtype
@pytest.mark.parametrize("n", [1, 37])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_adam_by_hand(isa, n, weight_decay, dtype):
    # A gradient of 2, -2, 2: v^ is always 4. With beta1 = 1/2 the mean m is 1, -1/2, 3/4, so that m^ is 2, -2/3, 6/7.
    # eps = 2 and learning_rate = 1/2 make each step m^/8. With weight decay g makes up for it: g' is the same.
    w, m, v = np.ones(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    last = Fraction(1)
    for t, (gradient, expected_m, expected_w) in enumerate(
        [(2, 1, Fraction(3, 4)), (-2, Fraction(-1, 2), Fraction(5, 6)), (2, Fraction(3, 4), Fraction(61, 84))], start=1
    ):
        g = np.full(n, float(gradient - Fraction(weight_decay) * last), dtype)
        ops.adam_step(w, g, m, v, t, learning_rate=0.5, beta1=0.5, beta2=0.75, eps=2.0, weight_decay=weight_decay)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(m, float(expected_m), rtol=2 * eps)
        np.testing.assert_allclose(v, 4 * (1 - 0.75**t), rtol=2 * eps)
        np.testing.assert_allclose(w, float(expected_w), rtol=2 * eps)
        last = expected_w


@each_dtype
def test_the_first_step_of_adam_has_the_size_of_the_learning_rate(isa, dtype):
    # m^ = g and sqrt(v^) = |g|, by hand; eps is too small to count but for the last.
    g = np.array([3.0, -1e-3, 1e6, -1e-6, 0.0, 1e-8], dtype)
    w, m, v = np.zeros_like(g), np.zeros_like(g), np.zeros_like(g)
    ops.adam_step(w, g, m, v, 1, learning_rate=0.25, eps=1e-12)
    np.testing.assert_allclose(w, -0.25 * np.sign(g) * [1, 1, 1, 1, 1, 1 / (1 + 1e-4)], rtol=2e-6)


@pytest.mark.torch
@each_rule
def test_fifty_steps_against_pytorch(isa, rule, given):
    n = 37
    w = real(0, n)
    expected = torch.tensor(w.copy(), requires_grad=True)
    names = dict(learning_rate="lr", momentum="momentum", weight_decay="weight_decay", eps="eps")
    options = {names[k]: value for k, value in given.items() if k in names}
    if rule == "adam":
        options["betas"] = given.get("beta1", 0.9), given.get("beta2", 0.999)
    optimizer = (torch.optim.Adam if rule == "adam" else torch.optim.SGD)([expected], **options)
    moments = [np.zeros(n) for _ in range(2 if rule == "adam" else 1)]
    for t in range(1, 51):
        g = np.sin(3 * w) + 0.1 * real(t, n)  # it depends on where w is, so that an error would grow
        step(rule, [w, g, *moments], t, **given)
        expected.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(w, expected.detach().numpy(), rtol=1e-12, atol=1e-13)


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_rule
def test_against_the_twin(isa, rule, given, dtype):
    for n in SIZES[1:]:
        arrays = state(rule, n, dtype, seed=n)
        got = stepped(rule, arrays, **given)
        expected = stepped(rule, [a.astype("float64") for a in arrays], of=reference, **given)
        for g, e, before in zip(got, expected, [arrays[0], *arrays[2:]], strict=True):
            assert g.dtype == dtype
            assert distance(g, e) <= TOLERANCE[dtype]
            # And the change itself, to what the rounding of the result leaves of it.
            assert np.abs((g - before) - (e - before)).max() <= 4 * np.finfo(dtype).eps


@each_dtype
@each_rule
def test_fifty_steps_against_the_twin(isa, rule, given, dtype):
    n = 37
    mine = [a.astype(dtype) for a in state(rule, n, "float64")]
    twin = [a.astype("float64") for a in mine]
    for a in mine[2:] + twin[2:]:
        a[:] = 0
    for t in range(1, 51):
        mine[1] = real(t, n, dtype)
        twin[1] = mine[1].astype("float64")
        step(rule, mine, t, **given)
        step(rule, twin, t, reference, **given)
    for a, b in zip(mine, twin, strict=True):
        assert distance(a, b) <= 5 * TOLERANCE[dtype]


@each_dtype
@pytest.mark.parametrize("t", [1, 2, 3, 1000, 12345, 10**6, 2**40, 2**63 - 1])
def test_adam_late_in_a_long_run(isa, t, dtype):
    arrays = state("adam", 33, dtype)
    got = stepped("adam", arrays, t)
    expected = stepped("adam", [a.astype("float64") for a in arrays], t, reference)
    for g, e in zip(got, expected, strict=True):
        assert distance(g, e) <= TOLERANCE[dtype]
    if t >= 10**6:  # nothing is left to correct
        w, g, m, v = (a.astype("float64") for a in arrays)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        assert distance(got[0], w - 1e-3 * m / (np.sqrt(v) + 1e-8)) <= TOLERANCE[dtype]


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
def test_no_momentum_leaves_v_alone(isa, dtype):
    w, g, v = state("sgd", 37, dtype)
    w_, v_ = w.copy(), v.copy()
    ops.sgd_step(w, g, None, 0.1, 0.0, 0.5)
    ops.sgd_step(w_, g, v_, 0.1, 0.0, 0.5)
    assert_same_bits(w_, w)
    assert_same_bits(v_, v)


@each_dtype
@each_rule
def test_the_gradient_is_left_alone(isa, rule, given, dtype):
    arrays = state(rule, 37, dtype)
    g = arrays[1].copy()
    arrays[1].flags.writeable = False
    step(rule, arrays, **given)
    assert_same_bits(arrays[1], g)


@each_dtype
@pytest.mark.parametrize("shape", [(), (3, 5), (2, 3, 7)])
@each_rule
def test_any_shape(isa, rule, given, shape, dtype):
    arrays = state(rule, shape, dtype)
    flat = stepped(rule, [np.ravel(a) for a in arrays], **given)
    for got, expected in zip(step(rule, [np.array(a) for a in arrays], **given), flat, strict=True):
        assert_same_bits(got, expected.reshape(shape))


@each_dtype
@each_rule
def test_an_element_does_not_depend_on_its_place(isa, rule, given, dtype):
    n = 2 * LANES[dtype] + 5
    arrays = state(rule, n, dtype)
    expected = stepped(rule, arrays, **given)
    for first in range(n):
        for end in {first + 1, min(first + LANES[dtype], n), n}:
            got = stepped(rule, [a[first:end] for a in arrays], **given)
            assert_same_bits(got, tuple(e[first:end] for e in expected))


@needs_two_fused
@each_dtype
@each_rule
def test_the_same_bits_on_every_instruction_set(rule, given, dtype):
    arrays = state(rule, 1001, dtype)
    arrays[1][[5, 6, 7]] = np.nan, np.inf, -np.inf
    assert_same_on_fused(stepped, rule, arrays, **given)


@each_dtype
@each_rule
@each_layout
def test_layouts_of_the_gradient(isa, layout, rule, given, dtype):
    arrays = state(rule, (19, 5), dtype)
    expected = stepped(rule, arrays, **given)
    arrays[1] = layout(arrays[1])
    assert_same_bits(step(rule, arrays, **given), expected)


@each_dtype
@each_rule
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_show_in_their_element_alone(isa, rule, given, bad, dtype):
    n = LANES[dtype] + 3
    arrays = state(rule, n, dtype)
    clean = stepped(rule, arrays, **given)
    for which in range(2):  # w, g
        for i in range(n):
            arrays_ = [a.copy() for a in arrays]
            arrays_[which][i] = bad
            got = step(rule, arrays_, **given)
            assert not np.isfinite(got[0][i])
            assert_same_bits(tuple(np.delete(a, i) for a in got), tuple(np.delete(a, i) for a in clean))


@each_dtype
def test_a_zero_gradient_changes_nothing_but_signs_of_zeros(isa, dtype):
    w = real(0, 37, dtype)
    zero = np.zeros_like(w)
    for g in (zero, -zero):
        after, _ = stepped("sgd", [w, g, zero], learning_rate=0.1, momentum=0.9)
        assert_same_bits(after, w)
        after, m, v = stepped("adam", [w, g, zero, zero], 1)
        assert_same_bits(after, w)
        assert not m.any() and not v.any()


@each_dtype
@each_rule
def test_empty(isa, rule, given, dtype):
    for a in step(rule, state(rule, 0, dtype), **given):
        assert a.shape == (0,)


@needs_guard_pages
@each_dtype
@each_rule
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, rule, given, dtype, place):
    for n in range(1, 2 * LANES[dtype] + 2):
        arrays = state(rule, n, dtype)
        expected = stepped(rule, arrays, **given)
        assert_same_bits(step(rule, [guarded(a, place) for a in arrays], **given), expected)


@each_dtype
def test_means_of_gradients_that_have_stopped_settle_at_zero(isa, dtype):
    # beta1 = momentum = 1/2 takes the smallest normal number below itself: to 0, where 3 times it stays normal.
    tiny = np.finfo(dtype).tiny
    state = np.array([tiny, -tiny, 3 * tiny, np.nan], dtype)
    expected = np.array([0, 0, 1.5 * tiny, np.nan], dtype)
    for module in (ops, reference):
        w, g, m, v = np.ones(4, dtype), np.zeros(4, dtype), state.copy(), np.ones(4, dtype)
        module.sgd_step(w, g, m, momentum=0.5)
        np.testing.assert_array_equal(m, expected)
        m = state.copy()
        module.adam_step(w, g, m, v, 1, beta1=0.5)
        np.testing.assert_array_equal(m, expected)


@each_dtype
def test_mean_squares_settle_where_eps_rules(isa, dtype):
    # beta2 = 1/2, t large: no correction. With eps = 1 the root of a subnormal adds nothing; a tiny eps is less.
    tiny = np.finfo(dtype).tiny
    state = np.array([tiny, 4 * tiny, 0, np.nan], dtype)
    halves = state / 2
    settled = np.array([0, 2 * tiny, 0, np.nan], dtype)
    for module in (ops, reference):
        for eps, expected in ((1.0, settled), (float(tiny), halves)):
            w, g, m, v = np.ones(4, dtype), np.zeros(4, dtype), np.full(4, tiny * 8, dtype), state.copy()
            module.adam_step(w, g, m, v, 10_000, beta2=0.5, eps=eps)
            np.testing.assert_array_equal(v, expected)
