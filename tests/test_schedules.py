"""Schedules: literals from their formulas, PyTorch's values over sixty positions, states, records, and refusals."""

import ast
import copy
import inspect
import json
import math
import pickle
import re
import warnings
from fractions import Fraction

import numpy as np
import pytest

from fastbp import schedules
from fastbp.schedules import (
    Constant,
    Cosine,
    Exponential,
    Function,
    InverseScaling,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Warmup,
    schedule,
)

try:
    import torch
except ImportError:
    torch = None

NAN, INF = float("nan"), float("inf")

SCHEDULES = [
    Constant(),
    StepDecay(3),
    StepDecay(7, 0.5, "epoch"),
    Exponential(0.9),
    Exponential(1.1, "epoch"),
    Cosine(60),
    Cosine(25, 0.1, "epoch"),
    Warmup(5),
    Warmup(10, Cosine(50, 0.1), 0.1),
    Warmup(10, StepDecay(5, unit="epoch"), unit="epoch"),
    Warmup(3, Warmup(4, Exponential(0.9), 0.5), 0.25),
    Warmup(2, ReduceOnPlateau(patience=1)),
    OneCycle(60),
    OneCycle(60, 0.5, 10, 100, "epoch"),
    InverseScaling(),
    InverseScaling(0.3, "epoch"),
    ReduceOnPlateau(),
    ReduceOnPlateau(0.5, 2, 1e-3, 1, 0.01),
]
each_schedule = pytest.mark.parametrize("given", SCHEDULES, ids=repr)


def factors(given, count=60):
    return [given.factor(position) for position in range(count)]


# ----------------------------------------------------------------------------------------------------------- literals


@pytest.mark.parametrize(
    "given, expected",
    [
        (Constant(), {0: 1, 1: 1, 10**12: 1}),
        (StepDecay(3, 0.5), {0: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.25, 30: 2**-10}),
        (StepDecay(1, 0), {0: 1, 1: 0, 2: 0}),
        (Exponential(0.5), {0: 1, 1: 0.5, 10: 2**-10, 1000: 2**-1000, 2000: 0}),
        (Exponential(2), {10: 1024}),
        (Cosine(6), {0: 1, 2: 0.75, 3: 0.5, 4: 0.25, 6: 0, 7: 0, 10**12: 0}),
        (Cosine(6, 0.5), {0: 1, 2: 0.875, 3: 0.75, 4: 0.625, 6: 0.5, 60: 0.5}),
        (Cosine(1), {0: 1, 1: 0}),
        (Warmup(4), {0: 0, 1: 0.25, 2: 0.5, 3: 0.75, 4: 1, 5: 1}),
        (Warmup(4, start=0.5), {0: 0.5, 1: 0.625, 3: 0.875, 4: 1}),
        (Warmup(4, Exponential(0.5)), {3: 0.75, 4: 1, 5: 0.5, 6: 0.25}),
        (Warmup(2, Cosine(6)), {1: 0.5, 2: 1, 5: 0.5, 8: 0, 9: 0}),
        # 10 positions: up in 0 .. 2, down in 2 .. 9.
        (OneCycle(10), {0: 0.04, 1: 0.52, 2: 1, 9: 4e-6, 10: 4e-6, 100: 4e-6}),
        # Up in 0 .. 4, down in 4 .. 8; a third of the way up is at a quarter of the height.
        (OneCycle(9, 5 / 9, 4, 100), {0: 0.25, 2: 0.625, 4: 1, 6: (1 + 0.0025) / 2, 8: 0.0025}),
        (OneCycle(13, 4 / 13, 2, 0.5), {0: 0.5, 1: 0.625, 2: 0.875, 3: 1, 12: 1}),
        (OneCycle(1), {0: 4e-6, 1: 4e-6}),
        (OneCycle(10, 0.1), {0: 1, 9: 4e-6}),  # the way up is a single position, the top
        (OneCycle(10, 0.0), {9: 4e-6}),
        (InverseScaling(), {0: 1, 3: 0.5, 8: 1 / 3, 10**12 - 1: 1e-6}),
        (InverseScaling(1), {0: 1, 1: 0.5, 9: 0.1}),
        (InverseScaling(1.5), {3: 1 / 8}),
        (InverseScaling(0.25), {15: 0.5}),
        (InverseScaling(0), {15: 1}),
        (ReduceOnPlateau(), {0: 1, 1000: 1}),
        (Function(lambda position: 1 / (1 + position)), {0: 1, 3: 0.25}),
    ],
    ids=repr,
)
def test_by_hand(given, expected):
    for position, factor in expected.items():
        got = given.factor(position)
        assert type(got) is float and got == pytest.approx(factor, rel=4e-15, abs=4e-16), position


@pytest.mark.parametrize("base", [0.1, 0.3, 0.9, 0.999, 1.001, 3.0])
def test_powers(base):
    """Against exact powers of the same float, and for other exponents against the power whose power is whole."""
    for exponent in (0, 1, 2, 3, 10, 63, 64, 1000):
        exact = Fraction(base) ** exponent
        if not 1e-300 < exact < 1e300:
            continue
        assert abs(Fraction(schedules._power(base, exponent)) / exact - 1) <= Fraction(2 * exponent + 1, 2**53)
    for exponent in (0.5, 0.25, 0.3, 2.7, 1e-3, 1e-300):
        assert schedules._power(base, exponent) == pytest.approx(base**exponent, rel=1e-14)
    assert schedules._power(0.0, 0) == 1 and schedules._power(0.0, 3) == schedules._power(0.0, 0.5) == 0
    assert schedules._power(3.0, 1000) == INF and schedules._power(0.1, 1000) == schedules._power(0.5, 1e9) == 0


def test_cosines():
    for turns in np.linspace(0, 1, 4001).tolist():
        assert abs(schedules._cosine(turns) - math.cos(math.pi * turns)) <= 5e-16
    assert schedules._cosine(0.0) == 1 and schedules._cosine(1.0) == -1


def test_no_function_that_differs_between_c_libraries():
    """Learning rates have the same bits everywhere: only exactly rounded functions of math, and no power of floats."""
    tree = ast.parse(inspect.getsource(schedules))
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "math"
    }
    assert used <= {"sqrt", "pi", "inf", "factorial"}
    powers = [
        ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
    ]
    assert powers == ["(-1) ** k"]
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"pow", "__import__"}


def test_one_cycle_rises_once_and_falls():
    for given in (OneCycle(60), OneCycle(60, 0.5, 10, 100), OneCycle(1000, 0.123)):
        values = factors(given, given.length + 5)
        top = values.index(max(values))
        assert abs(top - (given.pct_start * given.length - 1)) < 1 and values[top] > 0.98
        assert all(a < b for a, b in zip(values[:top], values[1 : top + 1]))
        assert all(a > b for a, b in zip(values[top : given.length - 1], values[top + 1 : given.length]))
        assert len(set(values[given.length - 1 :])) == 1


# ------------------------------------------------------------------------------------------------------------ PyTorch


def rates_of_pytorch(make, count=60):
    """The learning rates of sixty steps by one of PyTorch's schedulers, from a rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = make(optimizer)
        found = []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return found


def theirs():
    scheduler = torch.optim.lr_scheduler

    def sequential(first, then, milestone):
        return lambda o: scheduler.SequentialLR(o, [first(o), then(o)], [milestone])

    def linear(start, length):
        return lambda o: scheduler.LinearLR(o, start, 1.0, length)

    return [
        (Constant(), lambda o: scheduler.ConstantLR(o, 1.0)),
        (StepDecay(7), lambda o: scheduler.StepLR(o, 7)),
        (StepDecay(20, 0.5), lambda o: scheduler.StepLR(o, 20, 0.5)),
        (Exponential(0.9), lambda o: scheduler.ExponentialLR(o, 0.9)),
        (Exponential(1.05), lambda o: scheduler.ExponentialLR(o, 1.05)),
        (Cosine(59), lambda o: scheduler.CosineAnnealingLR(o, 59)),
        (Cosine(100, 0.1), lambda o: scheduler.CosineAnnealingLR(o, 100, 0.1)),
        (Warmup(20, start=0.25), linear(0.25, 20)),
        (Warmup(20, Exponential(0.9), 0.1), sequential(linear(0.1, 20), lambda o: scheduler.ExponentialLR(o, 0.9), 20)),
        (
            Warmup(10, Cosine(60, 0.1), 0.5),
            sequential(linear(0.5, 10), lambda o: scheduler.CosineAnnealingLR(o, 60, 0.1), 10),
        ),
        (OneCycle(61), lambda o: scheduler.OneCycleLR(o, 1.0, 61, cycle_momentum=False)),
        (OneCycle(60), lambda o: scheduler.OneCycleLR(o, 1.0, 60, cycle_momentum=False)),
        (
            OneCycle(97, 0.41, 7, 13),
            lambda o: scheduler.OneCycleLR(
                o, 1.0, 97, pct_start=0.41, div_factor=7, final_div_factor=13, cycle_momentum=False
            ),
        ),
        (InverseScaling(), lambda o: scheduler.LambdaLR(o, lambda t: (t + 1) ** -0.5)),
        (Function(lambda t: 0.95**t), lambda o: scheduler.LambdaLR(o, lambda t: 0.95**t)),
    ]


@pytest.mark.torch
@pytest.mark.parametrize("which", range(15))
def test_sixty_positions_against_pytorch(which):
    assert len(theirs()) == 15
    given, make = theirs()[which]
    np.testing.assert_allclose(factors(given), rates_of_pytorch(make), rtol=1e-12, atol=1e-15)


LOSSES = {
    "falls": [1 / (1 + t) for t in range(60)],
    "rests": [1.0] * 60,
    "wanders": np.random.default_rng(1).uniform(0.9, 1.1, 60).tolist(),
    "falls, then rests": [max(0.2, 1 - 0.05 * t) for t in range(60)],
    "barely falls": [1 - 5e-5 * t for t in range(60)],
    "below 0": [-1 - 0.01 * (t % 7) for t in range(60)],
    "is nan at times": [NAN if t % 5 == 2 else 1 - 0.01 * t for t in range(60)],
    "is inf at first": [INF, INF, INF, *[1.0 - 0.001 * (t % 11) for t in range(57)]],
}


@pytest.mark.torch
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize(
    "given",
    [
        ReduceOnPlateau(),
        ReduceOnPlateau(0.5, 2),
        ReduceOnPlateau(0.5, 0),
        ReduceOnPlateau(0.5, 1, 1e-2, 3),
        ReduceOnPlateau(0.7, 1, 0.0, 0, 0.05),
    ],
    ids=repr,
)
def test_plateaus_against_pytorch(given, losses):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=given.gamma,
        patience=given.patience,
        threshold=given.threshold,
        cooldown=given.cooldown,
        min_lr=given.least,
        eps=0,
    )
    state = given.initial_state
    for epoch, loss in enumerate(losses, start=1):
        theirs.step(loss)
        state = given.advance(state, loss)
        assert given.factor(epoch, state) == optimizer.param_groups[0]["lr"]
        assert (state["bad"], state["cooldown"]) == (theirs.num_bad_epochs, theirs.cooldown_counter)


# ------------------------------------------------------------------------------------------------------------- states


def advanced(given, losses):
    state, found = given.initial_state, []
    for loss in losses:
        state = given.advance(state, loss)
        found.append(given.factor(0, state))
    return found


def test_plateaus_by_hand():
    half = ReduceOnPlateau(0.5, patience=1)
    # 1 is the best; 1 twice in a row is one too many.
    assert advanced(half, [1, 1, 1, 1, 1]) == [1, 1, 0.5, 0.5, 0.25]
    assert advanced(half, [1, 1, 0.9, 0.9, 0.9]) == [1, 1, 1, 1, 0.5]
    assert advanced(half, [1, 2, NAN, INF]) == [1, 1, 0.5, 0.5]
    # A hundredth better is no improvement when a tenth is asked for.
    assert advanced(ReduceOnPlateau(0.5, 0, threshold=0.1), [1, 0.99, 0.8]) == [1, 0.5, 0.5]
    # Three epochs of rest after a reduction: the fourth counts again.
    assert advanced(ReduceOnPlateau(0.5, 0, cooldown=3), [1] * 7) == [1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert advanced(ReduceOnPlateau(0.5, 0, least=0.3), [1] * 4) == [1, 0.5, 0.3, 0.3]
    assert advanced(ReduceOnPlateau(0.0, 0), [1] * 3) == [1, 0, 0]


def test_a_state_is_not_changed_and_is_json():
    given = ReduceOnPlateau(0.5, 1, cooldown=2)
    state = given.initial_state
    for loss in [NAN, 1.0, np.float32(0.5), 2, 2, 2, 2, 2, 2]:
        before = copy.deepcopy(state)
        after = given.advance(state, loss)
        assert state == before and after is not state
        state = json.loads(json.dumps(after, allow_nan=False))
        assert state == after and given.checked_state(state) == after
    assert after["factor"] == 0.25
    assert given.initial_state == given.initial_state and given.initial_state is not given.initial_state


@each_schedule
def test_every_schedule_has_a_state(given):
    state = given.initial_state
    assert given.checked_state(json.loads(json.dumps(state))) == state
    for position in (0, 1, 7):
        assert given.factor(position, state) == given.factor(position)
    after = given.advance(state, 1.0)
    if "reduce_on_plateau" not in json.dumps(given.to_dict()):
        assert state == after == {}


def test_a_plateau_after_a_warmup():
    given = Warmup(2, ReduceOnPlateau(0.5, 0), start=0.5)
    state = given.initial_state
    assert state == ReduceOnPlateau().initial_state
    for _ in range(2):
        state = given.advance(state, 1.0)
    assert state["factor"] == 0.5
    assert [given.factor(position, state) for position in range(4)] == [0.5, 0.75, 0.5, 0.5]


@pytest.mark.parametrize(
    "given, state, error, message",
    [
        (Constant(), None, TypeError, "state must be a dict, got None"),
        (Constant(), {"factor": 1.0}, ValueError, "state must be empty for Constant(), got 'factor'"),
        (ReduceOnPlateau(), [], TypeError, "state must be a dict, got list"),
        (ReduceOnPlateau(), {}, ValueError, "state must hold factor, best, bad, cooldown, got "),
        (Warmup(3, ReduceOnPlateau()), {"factor": 1.0}, ValueError, "state must hold factor, best, bad, cooldown, got"),
        (
            ReduceOnPlateau(),
            dict(factor=NAN, best=1.0, bad=0, cooldown=0),
            ValueError,
            "factor must be a finite number",
        ),
        (ReduceOnPlateau(), dict(factor=-1, best=1.0, bad=0, cooldown=0), ValueError, "factor must be at least 0"),
        (ReduceOnPlateau(), dict(factor=1, best="1", bad=0, cooldown=0), TypeError, "best must be a number"),
        (ReduceOnPlateau(), dict(factor=1, best=1, bad=0.5, cooldown=0), TypeError, "bad must be an integer"),
        (ReduceOnPlateau(), dict(factor=1, best=1, bad=0, cooldown=-1), ValueError, "cooldown must be at least 0"),
    ],
)
def test_wrong_states(given, state, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        given.checked_state(state)


# ------------------------------------------------------------------------------------------------ records and refusals


@each_schedule
def test_records_and_copies_are_equal(given):
    record = json.loads(json.dumps(given.to_dict()))
    assert Schedule.from_dict(record) == given and type(given).from_dict(record) == given
    assert factors(Schedule.from_dict(record)) == factors(given)
    assert eval(repr(given), vars(schedules)) == given
    for other in (copy.copy(given), copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert other == given and hash(other) == hash(given)
    assert sum(given == other for other in SCHEDULES) == 1
    assert list(given.fields) == list(inspect.signature(type(given)).parameters)
    assert given.unit in schedules.UNITS
    assert not given.fields or type(given) is ReduceOnPlateau or given.fields[-1] == "unit"


def test_every_class_is_tried():
    assert {type(given) for given in SCHEDULES} | {Function} == set(Schedule.__subclasses__())


def test_a_function_is_not_written():
    given = schedule(math.exp2 if hasattr(math, "exp2") else math.exp)
    assert type(given) is Function and given.unit == "step" and given == Function(given.function)
    for holder in (given, Warmup(3, given)):
        with pytest.raises(TypeError, match="^a schedule that is a function cannot be written: use a class"):
            holder.to_dict()
    with pytest.raises(ValueError, match="^record's 'kind' must be one of"):
        Schedule.from_dict({"kind": None, "function": "f"})
    assert Function(len, "epoch").unit == "epoch"
    assert Function(lambda t: np.float32(0.5)).factor(3) == 0.5


@pytest.mark.parametrize("value, error", [(NAN, ValueError), (INF, ValueError), (-1, ValueError), (None, TypeError)])
def test_what_a_function_returns_is_checked(value, error):
    with pytest.raises(error, match="^what the schedule returns must be"):
        schedule(lambda position: value).factor(0)


def test_what_stands_for_a_schedule():
    assert schedule(None) == Constant()
    cosine = Cosine(3)
    assert schedule(cosine) is cosine
    with pytest.raises(TypeError, match=r"^schedule must be an object, got the class Cosine: write Cosine\(...\)$"):
        schedule(Cosine)
    for wrong in ("cosine", 0.1, int, [1.0]):
        with pytest.raises(TypeError, match="^schedule must be None, a schedule or a function of the position, got"):
            schedule(wrong)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: StepDecay(), TypeError, "size"),
        (lambda: StepDecay(0), ValueError, "size must be at least 1, got 0"),
        (lambda: StepDecay(1.5), TypeError, "size must be an integer, got 1.5 (float)"),
        (lambda: StepDecay(3, -0.1), ValueError, "gamma must be at least 0, got -0.1"),
        (lambda: StepDecay(3, unit="steps"), ValueError, "unit must be one of 'step', 'epoch', got 'steps'"),
        (lambda: StepDecay(3, 0.1, None), TypeError, "unit must be one of 'step', 'epoch', got None"),
        (lambda: Exponential(NAN), ValueError, "gamma must be a finite number, got nan"),
        (lambda: Exponential("0.9"), TypeError, "gamma must be a number, got '0.9' (str)"),
        (lambda: Cosine(-3), ValueError, "length must be at least 1, got -3"),
        (lambda: Cosine(True), TypeError, "length must be an integer, got True (bool)"),
        (lambda: Cosine(3, -1), ValueError, "end must be at least 0, got -1"),
        (lambda: Warmup(0), ValueError, "length must be at least 1, got 0"),
        (lambda: Warmup(3, start=1), ValueError, "start must be less than 1, got 1"),
        (lambda: Warmup(3, "cosine"), TypeError, "then must be a schedule, got 'cosine' (str)"),
        (lambda: Warmup(3, Cosine), TypeError, "then must be a schedule, got the class Cosine"),
        (
            lambda: Warmup(3, Cosine(3, unit="epoch")),
            ValueError,
            "then has the unit 'epoch'; it must be that of the warm-up, 'step'",
        ),
        (lambda: OneCycle(0), ValueError, "length must be at least 1, got 0"),
        (lambda: OneCycle(9, 1), ValueError, "pct_start must be less than 1, got 1"),
        (lambda: OneCycle(9, div_factor=0), ValueError, "div_factor must be greater than 0, got 0"),
        (lambda: OneCycle(9, final_div_factor=-1), ValueError, "final_div_factor must be greater than 0, got -1"),
        (lambda: InverseScaling(-0.5), ValueError, "power must be at least 0, got -0.5"),
        (lambda: ReduceOnPlateau(1), ValueError, "gamma must be less than 1, got 1"),
        (lambda: ReduceOnPlateau(patience=-1), ValueError, "patience must be at least 0, got -1"),
        (lambda: ReduceOnPlateau(threshold=INF), ValueError, "threshold must be a finite number, got inf"),
        (lambda: ReduceOnPlateau(cooldown=1.0), TypeError, "cooldown must be an integer, got 1.0 (float)"),
        (lambda: ReduceOnPlateau(least=1), ValueError, "least must be less than 1, got 1"),
        (lambda: Function(3), TypeError, "function must be a function of the position, got 3 (int)"),
        (lambda: Function(int), TypeError, "function must be a function of the position, got the class int"),
        (
            lambda: Schedule.from_dict({"kind": "cosine"}),
            ValueError,
            "record of kind 'cosine' must have a field 'length'",
        ),
        (lambda: Schedule.from_dict({"kind": "warmup", "length": 2, "then": {"kind": "relu"}}), TypeError, "then must"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()
