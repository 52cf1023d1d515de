"""Optimiser steps and what surrounds them: literals, trajectories against the twin and PyTorch, and the edges.

There is no gradient to difference here but that of the penalty: updates are compared with the formula by hand.
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
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    distance,
    each_layout,
    guarded,
    needs_guard_pages,
    needs_two_fused,
    real,
)

from fastbp import ops, optimizers, reference
from fastbp.reference.optimizer import of as update_of

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
    dict(learning_rate=0.1, momentum=0.9, nesterov=True),
    dict(learning_rate=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
]
ADAM = [
    dict(learning_rate=0.01),
    dict(learning_rate=0.01, weight_decay=0.05),
    dict(learning_rate=0.01, weight_decay=0.05, decoupled=True),
    dict(learning_rate=0.1, beta1=0.5, beta2=0.75, eps=1e-3),
    dict(learning_rate=0.1, beta1=0.0, beta2=0.0),
]
RMSPROP = [
    dict(learning_rate=0.01, **more, **decay)
    for more in ({}, dict(momentum=0.9), dict(centered=True), dict(alpha=0.9, eps=1e-3, momentum=0.5, centered=True))
    for decay in ({}, dict(weight_decay=0.05))
]
ADAGRAD = [
    dict(learning_rate=0.1),
    dict(learning_rate=0.1, weight_decay=0.05),
    dict(learning_rate=0.1, rate_decay=0.1),
    dict(learning_rate=0.1, rate_decay=0.1, weight_decay=0.05, eps=1e-3),
]
RULES = [
    (rule, given)
    for rule, list_of in (("sgd", SGD), ("adam", ADAM), ("rmsprop", RMSPROP), ("adagrad", ADAGRAD))
    for given in list_of
]
each_rule = pytest.mark.parametrize(
    "rule, given",
    RULES,
    ids=lambda v: v if isinstance(v, str) else ", ".join(f"{k}={x}" for k, x in v.items()),
)

# The state of each rule: sums of squares "v", means of what those are the squares of "m", or of any sign "u".
STATE = {"sgd": "u", "adam": "uv", "rmsprop": "vum", "adagrad": "v"}
RANGE = {"u": (-1, 1), "v": (0.5, 1.5), "m": (-0.6, 0.6)}


def state(rule, n, dtype, seed=0):
    """w, g and the moments of an optimiser that has run for a while."""
    return [
        real(seed, n, dtype),
        real(seed + 1, n, dtype),
        *(real(seed + i, n, dtype, *RANGE[kind]) for i, kind in enumerate(STATE[rule], 2)),
    ]


def step(rule, arrays, t=7, of=ops, **given):
    """Takes one step and returns what it may have changed: w and the moments."""
    counts = (t,) if rule in ("adam", "adagrad") else ()
    getattr(of, f"{rule}_step")(*arrays, *counts, **given)
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
def test_nesterov_by_hand(isa, n, dtype):
    w, v = np.ones(n, dtype), np.zeros(n, dtype)
    for g, expected_v, expected_w in [
        (0.5, 0.5, 0.625),  #          step = 1/2 + 1/4
        (-1.0, -0.75, 1.3125),  #      v = 1/4 - 1,     step = -1 - 3/8
        (0.25, -0.125, 1.21875),  #    v = -3/8 + 1/4,  step = 1/4 - 1/16
    ]:
        ops.sgd_step(w, np.full(n, g, dtype), v, learning_rate=0.5, momentum=0.5, nesterov=True)
        assert (v == expected_v).all() and (w == expected_w).all()
    w, v = np.ones(n, dtype), np.zeros(n, dtype)
    for g, expected_v, expected_w in [
        (0.5, 0.75, 0.4375),  #               g' = 1/2 + 1/4 = v,   step = 3/4 + 3/8
        (-1.0, -0.515625, 1.01171875),  #     g' = -1 + 0.109375,   v = 3/8 + g',   step = g' + v/2
    ]:
        ops.sgd_step(w, np.full(n, g, dtype), v, 0.5, 0.5, 0.25, True)
        assert (v == expected_v).all() and (w == expected_w).all()


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
@pytest.mark.parametrize("n", [1, 37])
def test_decoupled_adam_by_hand(isa, n, dtype):
    # The same gradients and steps; before each, w loses learning_rate weight_decay = 1/4 of itself.
    w, m, v = np.ones(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    for t, (g, expected) in enumerate([(2, 3 / 4 - 1 / 4), (-2, 3 / 8 + 1 / 12), (2, 11 / 32 - 3 / 28)], start=1):
        ops.adam_step(w, np.full(n, g, dtype), m, v, t, 0.5, 0.5, 0.75, 2.0, 0.5, True)
        np.testing.assert_allclose(w, expected, rtol=4 * np.finfo(dtype).eps)


@each_dtype
@pytest.mark.parametrize("n", [1, 37])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("momentum, expected", [(0.0, (0.5, 0.75, 0.5)), (0.5, (0.5, 0.5, 0.25))])
def test_rmsprop_by_hand(isa, n, weight_decay, momentum, expected, dtype):
    # With alpha = 3/4, v is 1 after a gradient of 2 and after one of 1. eps = 1: q is 1, -1/2, 1/2, the buffer 1, 0,
    # 1/2. With weight decay g makes up for it: g' is the same. No rounding anywhere.
    w, v, buffer = np.ones(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    for gradient, expected_w in zip((2, -1, 1), expected, strict=True):
        g = gradient - np.asarray(weight_decay, dtype) * w
        ops.rmsprop_step(w, g, v, buffer, None, 0.5, 0.75, 1.0, weight_decay, momentum)
        assert (w == expected_w).all() and (v == 1).all()
    assert (buffer == (0.5 if momentum else 0)).all()


@each_dtype
@pytest.mark.parametrize("n", [1, 37])
def test_centred_rmsprop_by_hand(isa, n, dtype):
    # alpha = 1/2. After a gradient of 2: v = 2, mean = 1, v - mean^2 = 1; of 3/2: v = 17/8, mean = 5/4, the root 3/4.
    w, v, mean = np.ones(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    for gradient, q in ((2, 2 / (1 + 0.25)), (1.5, 1.5 / (0.75 + 0.25))):
        expected = w - 0.5 * q
        ops.rmsprop_step(w, np.full(n, gradient, dtype), v, None, mean, 0.5, 0.5, 0.25, centered=True)
        np.testing.assert_allclose(w, expected, rtol=4 * np.finfo(dtype).eps)
    assert (v == 2.125).all() and (mean == 1.25).all()


@each_dtype
def test_a_variance_is_not_negative(isa, dtype):
    # v is a little less than mean^2 = 1/4, as rounding leaves it when gradients do not change: q = g / eps, and no nan.
    for module in (ops, reference):
        w, g = np.ones(3, dtype), np.full(3, 0.5, dtype)
        v, mean = np.full(3, 0.25 * (1 - 8 * np.finfo(dtype).eps), dtype), g.copy()
        module.rmsprop_step(w, g, v, None, mean, 0.25, 0.5, 0.5, centered=True)
        assert (v < 0.25).all() and (w == 0.75).all()


@each_dtype
@pytest.mark.parametrize("n", [1, 37])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_adagrad_by_hand(isa, n, weight_decay, dtype):
    # v is 9, 25, 169; with eps = 1, g' / (sqrt(v) + eps) is 3/4, -2/3, 6/7. The rate is 1/2, 1/3, 1/4.
    w, v = np.ones(n, dtype), np.zeros(n, dtype)
    last = Fraction(1)
    steps = [(3, 9, Fraction(5, 8)), (-4, 25, Fraction(61, 72)), (12, 169, Fraction(319, 504))]
    for t, (gradient, expected_v, expected_w) in enumerate(steps, start=1):
        g = np.full(n, float(gradient - Fraction(weight_decay) * last), dtype)
        ops.adagrad_step(w, g, v, t, 0.5, 0.5, weight_decay, 1.0)
        np.testing.assert_allclose(v, expected_v, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(w, float(expected_w), rtol=4 * np.finfo(dtype).eps)
        last = expected_w


@each_dtype
def test_penalty_by_hand(isa, dtype):
    w = np.array([3, -4, 0, -0.0, 0.5], dtype)
    for l1, l2, value, expected in [
        (0, 0, 0, [0, 0, 0, 0, 0]),
        (2, 0, 15, [2, -2, 0, 0, 2]),  #                        2 (3 + 4 + 1/2)
        (0, 4, 50.5, [12, -16, 0, 0, 2]),  #                    4/2 (9 + 16 + 1/4)
        (2, 4, 65.5, [14, -18, 0, 0, 4]),
    ]:
        g, before = np.ones(5, dtype), w.copy()
        assert ops.penalty(w, g, l1, l2) == value
        assert (g - 1 == expected).all()
        assert_same_bits(w, before)
    assert ops.penalty(w, g) == 0


@each_dtype
def test_clipping_by_hand(isa, dtype):
    g = np.array([3, 0, -4], dtype)
    assert ops.clip_by_norm(g, 5.0, 0) == 5 and (g == [3, 0, -4]).all()  # the factor is 1: nothing is done
    assert ops.clip_by_norm(g, 4.0, 3.0) == 5 and (g == [1.5, 0, -2]).all()
    assert ops.clip_by_norm(g, 1.25, 0) == 2.5 and (g == [0.75, 0, -1]).all()
    assert ops.clip_by_norm(g, 1.25) == 1.25  # a factor of 1 / (1 + 8e-7)
    np.testing.assert_allclose(g, [0.75 / (1 + 8e-7), 0, -1 / (1 + 8e-7)], rtol=np.finfo(dtype).eps)
    zero = np.zeros(3, dtype)
    assert ops.clip_by_norm(zero, 1.0, 0) == 0 and not zero.any()
    g = np.array([3, 0.5, -0.5, -0.0, -4], dtype)
    assert ops.clip_by_value(g, 0.5) is None
    assert_same_bits(g, np.array([0.5, 0.5, -0.5, -0.0, -0.5], dtype))


@each_dtype
def test_average_by_hand(isa, dtype):
    average = np.array([1, -2, 0.5], dtype)
    w = np.array([2, 2, 0.5], dtype)
    for expected in ([1.25, -1, 0.5], [1.4375, -0.25, 0.5]):
        ops.weight_average(average, w, 0.75)
        assert (average == expected).all()
    ops.weight_average(average, w, 0)
    assert (average == w).all()


@each_dtype
def test_the_first_step_of_adam_has_the_size_of_the_learning_rate(isa, dtype):
    # m^ = g and sqrt(v^) = |g|, by hand; eps is too small to count but for the last.
    g = np.array([3.0, -1e-3, 1e6, -1e-6, 0.0, 1e-8], dtype)
    w, m, v = np.zeros_like(g), np.zeros_like(g), np.zeros_like(g)
    ops.adam_step(w, g, m, v, 1, learning_rate=0.25, eps=1e-12)
    np.testing.assert_allclose(w, -0.25 * np.sign(g) * [1, 1, 1, 1, 1, 1 / (1 + 1e-4)], rtol=2e-6)


# Names of PyTorch's, where they are not ours.
TORCH = dict(learning_rate="lr", rate_decay="lr_decay")


@pytest.mark.torch
@each_rule
def test_fifty_steps_against_pytorch(isa, rule, given):
    n = 37
    w = real(0, n)
    expected = torch.tensor(w.copy(), requires_grad=True)
    options = {TORCH.get(k, k): value for k, value in given.items() if k not in ("beta1", "beta2", "decoupled")}
    if rule == "adam":
        options["betas"] = given.get("beta1", 0.9), given.get("beta2", 0.999)
    name = {"sgd": "SGD", "adam": "AdamW" if given.get("decoupled") else "Adam", "rmsprop": "RMSprop"}.get(
        rule, "Adagrad"
    )
    optimizer = getattr(torch.optim, name)([expected], **options)
    moments = [np.zeros(n) for _ in STATE[rule]]
    for t in range(1, 51):
        g = np.sin(3 * w) + 0.1 * real(t, n)  # it depends on where w is, so that an error would grow
        step(rule, [w, g, *moments], t, **given)
        expected.grad = torch.tensor(g)
        optimizer.step()
        np.testing.assert_allclose(w, expected.detach().numpy(), rtol=1e-12, atol=1e-13)


OBJECTS = [
    optimizers.SGD(),
    optimizers.SGD(0.1, 0.9, 0.05, nesterov=True),
    optimizers.Adam(),
    optimizers.AdamW(),
    optimizers.AdamW(weight_decay=0.5),
    optimizers.RMSprop(),
    optimizers.RMSprop(centered=True, weight_decay=0.05),
    optimizers.RMSprop(momentum=0.9),
    optimizers.RMSprop(momentum=0.9, centered=True),
    optimizers.Adagrad(),
    optimizers.Adagrad(rate_decay=0.5, weight_decay=0.05, initial_accumulator=0.1),
]


@pytest.mark.torch
@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_names_and_defaults_are_those_of_pytorch(optimizer):
    """An object of ours, stepped by the twin, and one of PyTorch's with the same arguments go the same way."""
    w = real(0, 37)
    expected = torch.tensor(w.copy(), requires_grad=True)
    names = {**TORCH, "initial_accumulator": "initial_accumulator_value"}
    options = {names.get(k, k): getattr(optimizer, k) for k in optimizer.fields if k not in ("beta1", "beta2")}
    if "beta1" in optimizer.fields:
        options["betas"] = optimizer.beta1, optimizer.beta2
    theirs = getattr(torch.optim, type(optimizer).__name__)([expected], **options)
    defaults = getattr(torch.optim, type(optimizer).__name__)([expected]).defaults
    for field, value in zip(type(optimizer)().fields, type(optimizer)()._values(), strict=True):
        known = defaults["betas"][field == "beta2"] if field.startswith("beta") else defaults[names.get(field, field)]
        assert known == value, field
    moments = [np.full(37, first) for first in optimizer.initial_moments]
    for t in range(1, 51):
        g = np.sin(3 * w) + 0.1 * real(t, 37)
        update_of(optimizer, w, g, moments, t)
        expected.grad = torch.tensor(g)
        theirs.step()
        np.testing.assert_allclose(w, expected.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.torch
@pytest.mark.parametrize("limit", [0.1, 1.0, 100.0])
def test_clipping_as_pytorch_does(isa, limit):
    g = real(0, 301)
    theirs = torch.zeros(301, dtype=torch.float64, requires_grad=True)
    theirs.grad = torch.tensor(g)
    norm = torch.nn.utils.clip_grad_norm_([theirs], limit)
    assert ops.clip_by_norm(g, limit) == pytest.approx(float(norm), rel=1e-14)
    np.testing.assert_allclose(g, theirs.grad.numpy(), rtol=1e-14)
    torch.nn.utils.clip_grad_value_([theirs], limit / 20)
    ops.clip_by_value(g, limit / 20)
    np.testing.assert_allclose(g, theirs.grad.numpy(), rtol=1e-14)


@pytest.mark.torch
def test_averages_as_pytorch_does(isa):
    module = torch.nn.Linear(5, 7).double()
    theirs = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    average = None
    for t in range(50):
        w = real(t, (7, 5))
        with torch.no_grad():
            module.weight.copy_(torch.tensor(w))
        theirs.update_parameters(module)
        if average is None:
            average = w.copy()
        else:
            ops.weight_average(average, w, 0.9)
        np.testing.assert_allclose(average, theirs.module.weight.detach().numpy(), rtol=1e-12, atol=1e-14)


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
            assert np.abs((g - before) - (e - before)).max() <= 4 * np.finfo(dtype).eps * max(1, np.abs(e).max())


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


@each_dtype
@pytest.mark.parametrize("t", [1, 2, 10**6, 2**63 - 1])
def test_adagrad_late_in_a_long_run(isa, t, dtype):
    arrays = state("adagrad", 33, dtype)
    got = stepped("adagrad", arrays, t, rate_decay=0.5)
    expected = stepped("adagrad", [a.astype("float64") for a in arrays], t, reference, rate_decay=0.5)
    for g, e in zip(got, expected, strict=True):
        assert distance(g, e) <= TOLERANCE[dtype]


@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_an_update_by_object(optimizer):
    """The twin's `of` takes the step of the object's name and hyperparameters; a schedule may change the rate."""
    given = {field: getattr(optimizer, field) for field in optimizer.fields if field != "initial_accumulator"}
    rule = optimizer.name.removesuffix("w")
    if optimizer.decoupled:
        given["decoupled"] = True
    for rate in (None, 0.03):
        arrays = state(rule, 37, "float64")
        twin = [a.copy() for a in arrays]
        moments = [twin[2 + (slot if rule == "rmsprop" else i)] for i, slot in enumerate(optimizer.slots)]
        update_of(optimizer, twin[0], twin[1], moments, 7, rate)
        step(rule, arrays, **{**given, **({} if rate is None else {"learning_rate": rate})})
        for a, b in zip(arrays, twin, strict=True):
            assert distance(a, b) <= 1e-13


def test_no_update_of_what_is_none_of_minibatches():
    with pytest.raises(ValueError, match=r"^LBFGS\(.*\) takes no steps$"):
        update_of(optimizers.LBFGS(), np.ones(3), np.ones(3), [], 1)


AROUND = {
    "penalty": lambda w, g, of: (of.penalty(w, g, 0.3, 0.7), g),
    "penalty, l1": lambda w, g, of: (of.penalty(w, g, 0.3), g),
    "penalty, l2": lambda w, g, of: (of.penalty(w, g, l2=0.7), g),
    "clip_by_norm": lambda w, g, of: (of.clip_by_norm(g, 0.3), g),
    "clip_by_norm, not": lambda w, g, of: (of.clip_by_norm(g, 1e6), g),
    "clip_by_value": lambda w, g, of: (of.clip_by_value(g, 0.3), g)[1:],
    "weight_average": lambda w, g, of: (of.weight_average(g, w, 0.9), g)[1:],
}
each_around = pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())


def done(around, w, g, of=ops):
    """On a copy of what is updated."""
    return around(w, g.copy(), of)


@each_dtype
@each_around
def test_around_the_update_against_the_twin(isa, around, dtype):
    for n in (*SIZES[1:], 4095, 4096, 4097, 9001):
        w, g = real(n, n, dtype), real(n + 1, n, dtype)
        expected = done(around, w.astype("float64"), g.astype("float64"), reference)
        assert_close(done(around, w, g), expected, dtype)


def test_the_gradient_of_the_penalty(isa):
    w = real(0, 23)  # none nearer to 0 than the steps of the difference

    def penalty(w):
        return ops.penalty(w, np.zeros_like(w), 0.3, 0.7)

    gradient = np.zeros_like(w)
    ops.penalty(w, gradient, 0.3, 0.7)
    assert distance(gradient, central_difference(penalty, w)) <= 1e-6


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
def test_state_that_is_not_needed_is_left_alone(isa, dtype):
    for given in [given for given in RMSPROP if len(given) < 5]:
        arrays = state("rmsprop", 37, dtype)
        before = [a.copy() for a in arrays]
        step("rmsprop", arrays, **given)
        less = [a.copy() for a in before]
        less[3] = less[3] if "momentum" in given else None
        less[4] = less[4] if "centered" in given else None
        step("rmsprop", less, **given)
        for got, was, without in zip(arrays, before, less, strict=True):
            assert_same_bits(got, was if without is None else without)


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
        after, *moments = stepped("rmsprop", [w, g, zero, zero, zero], 1, momentum=0.9, centered=True)
        assert_same_bits(after, w)
        assert not np.any(moments)
        after, v = stepped("adagrad", [w, g, zero], 1)
        assert_same_bits(after, w)
        assert not v.any()


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


@each_dtype
def test_rmsprop_and_adagrad_settle(isa, dtype):
    # As Adam's, with alpha = momentum = 1/2: means below the normal numbers become 0, squares only where eps rules.
    tiny = np.finfo(dtype).tiny
    state = np.array([tiny, 4 * tiny, 0, np.nan], dtype)
    settled, halves = np.array([0, 2 * tiny, 0, np.nan], dtype), state / 2
    zero, tiny_g = np.zeros(4, dtype), np.full(4, tiny, dtype)
    for module in (ops, reference):
        for eps, expected in ((1.0, settled), (float(tiny), halves)):
            w, v, buffer, mean = np.ones(4, dtype), state.copy(), state.copy(), state.copy()
            module.rmsprop_step(w, zero, v, buffer, mean, 0.1, 0.5, eps, 0, 0.5, True)
            np.testing.assert_array_equal(v, expected)
            np.testing.assert_array_equal(mean, settled)
            np.testing.assert_array_equal(buffer[:3], settled[:3])
            v = halves.copy()
            module.adagrad_step(w, tiny_g, v, 1, eps=eps)  # its square is lost
            np.testing.assert_array_equal(v, [0, 2 * tiny, 0, np.nan] if eps == 1 else halves)


@each_dtype
def test_averages_settle(isa, dtype):
    tiny = np.finfo(dtype).tiny
    for module in (ops, reference):
        average = np.array([tiny, -tiny, 4 * tiny, np.nan], dtype)
        module.weight_average(average, np.zeros(4, dtype), 0.5)
        np.testing.assert_array_equal(average, np.array([0, 0, 2 * tiny, np.nan], dtype))


# ------------------------------------------------------------------------------------------ edges around the update


@each_dtype
def test_nan_and_inf_around_the_update(isa, dtype):
    inf, nan = np.inf, np.nan
    for module in (ops, reference):
        w = np.array([inf, -inf, 1], dtype)
        g = np.zeros(3, dtype)
        with np.errstate(all="ignore"):
            assert module.penalty(w, g, 1.0) == inf and (g == [1, -1, 1]).all()
            assert module.penalty(w, g, 0.0, 1.0) == inf and (g == [inf, -inf, 2]).all()
            g = np.zeros(3, dtype)
            assert np.isnan(module.penalty(np.array([nan, 2, 0], dtype), g, 1.0))
            np.testing.assert_array_equal(g, [nan, 1, 0])
            g = np.array([inf, -inf, nan, 0.25], dtype)
            module.clip_by_value(g, 0.5)
            np.testing.assert_array_equal(g, [0.5, -0.5, nan, 0.25])
            g = np.array([inf, 1, -1], dtype)
            assert module.clip_by_norm(g, 1.0) == inf
            np.testing.assert_array_equal(g, [nan, 0, 0])
            g = np.array([nan, 1, -1], dtype)
            assert np.isnan(module.clip_by_norm(g, 1.0))
            np.testing.assert_array_equal(g, [nan, 1, -1])
            g = np.full(3, np.sqrt(np.finfo(dtype).max), dtype)  # the sum of squares overflows
            assert module.clip_by_norm(g, 1.0) == inf and not g.any()
            average = np.array([1, nan, 1], dtype)
            module.weight_average(average, np.array([inf, 1, 2], dtype), 0.5)
            np.testing.assert_array_equal(average, [inf, nan, 1.5])


@needs_two_fused
@each_dtype
@each_around
def test_around_the_update_the_same_bits_on_every_instruction_set(around, dtype):
    for n in (1001, 9001):
        w, g = real(0, n, dtype), real(1, n, dtype)
        assert_same_on_fused(done, around, w, g)
        g[[5, 6, 7]] = np.nan, np.inf, -np.inf
        assert_same_on_fused(done, around, w, g)


@each_dtype
@each_around
@each_layout
def test_layouts_around_the_update(isa, layout, around, dtype):
    w, g = real(0, (19, 5), dtype), real(1, (19, 5), dtype)
    assert_same_bits(done(around, layout(w), g), done(around, w, g))


@needs_guard_pages
@each_dtype
@each_around
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_is_touched_around_the_update(isa, around, dtype, place):
    for n in [*range(1, 6 * LANES[dtype] + 2), 4097]:
        w, g = real(n, n, dtype), real(n + 1, n, dtype)
        assert_same_bits(around(guarded(w, place), guarded(g, place), ops), done(around, w, g))


@each_dtype
@pytest.mark.parametrize("name", ["clip_by_value", "weight_average", "penalty"])
def test_an_element_around_the_update_does_not_depend_on_its_place(isa, name, dtype):
    n = 2 * LANES[dtype] + 5
    w, g = real(0, n, dtype), real(1, n, dtype)
    expected = done(AROUND[name], w, g)[-1]
    for first in range(n):
        assert_same_bits(done(AROUND[name], w[first:], g[first:])[-1], expected[first:])


@each_dtype
def test_all_elements_are_clipped_by_one_factor(isa, dtype):
    g = real(1, 2 * LANES[dtype] + 5, dtype)
    clipped = g.copy()
    norm = ops.clip_by_norm(clipped, 0.5)
    assert norm == np.sqrt(ops.sum_squares(g))
    assert_same_bits(clipped, g * np.asarray(0.5 / (norm + 1e-6), dtype))
