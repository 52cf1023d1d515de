"""Schedules: the learning rate as a function of the progress of training.

A schedule gives a factor of the optimiser's learning rate for each position, the number of updates or of epochs done,
from 0. The factors equal those of ``torch.optim.lr_scheduler``, where it has the schedule, except for rounding. They
are computed by sums, products, quotients and square roots only, which are exactly rounded: a run has the same learning
rates, to the bit, on every machine.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

from ._support.declarative import Declared, choice, described, integer, number

UNITS = ("step", "epoch")
Unit = Literal["step", "epoch"]
State = dict[str, Any]  # of a schedule that depends on the loss: numbers and None, as JSON has them


class Schedule(Declared):
    """Base class of the schedules.

    Attributes
    ----------
    name : str
    unit : {"step", "epoch"}
        The unit of positions: updates or epochs.
    initial_state : dict
        The state of a schedule that depends on the loss, before the first epoch. Empty for all other schedules.
    """

    unit: Unit = "step"

    @property
    def initial_state(self) -> State:
        return {}

    def factor(self, position: int, state: State | None = None) -> float:
        """The factor of the learning rate.

        Parameters
        ----------
        position : int
            Updates or epochs done, at least 0.
        state : dict, optional
            What `advance` returned last. None: the initial state.

        Returns
        -------
        float
        """
        raise NotImplementedError(f"{type(self).__name__} defines no factor")  # each schedule has its own

    def advance(self, state: State, value: float) -> State:
        """The state after another epoch.

        Parameters
        ----------
        state : dict
            The initial state, or what this function returned last. It is not changed.
        value : float
            The loss of the epoch: on the validation data if there are any, otherwise on the training data.

        Returns
        -------
        dict of str to float, int or None
        """
        return state

    def checked_state(self, state: object) -> State:
        """Check a state that was read from a file.

        Parameters
        ----------
        state : dict

        Returns
        -------
        dict

        Raises
        ------
        TypeError, ValueError
            If it is not a state of this schedule.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict, got {described(state)}")
        if state:
            raise ValueError(f"state must be empty for {self!r}, got {', '.join(map(repr, state))}")
        return state


class Constant(Schedule):
    """1: the optimiser's learning rate throughout."""

    name = "constant_rate"

    def factor(self, position: int, state: State | None = None) -> float:
        return 1.0


class StepDecay(Schedule):
    """gamma^(position // size). (PyTorch: StepLR)

    Parameters
    ----------
    size : int
        At least 1: the number of updates or epochs between two changes of the factor.
    gamma : float, default 0.1
        Finite, at least 0.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    """

    name = "step_decay"
    fields = ("size", "gamma", "unit")
    required = ("size",)

    size: int
    gamma: float

    def __init__(self, size: int, gamma: float = 0.1, unit: Unit = "step") -> None:
        self._set(
            size=integer("size", size, least=1),
            gamma=number("gamma", gamma, least=0),
            unit=choice("unit", unit, UNITS),
        )

    def factor(self, position: int, state: State | None = None) -> float:
        return _power(self.gamma, position // self.size)


class Exponential(Schedule):
    """gamma^position. (PyTorch: ExponentialLR)

    Parameters
    ----------
    gamma : float
        Finite, at least 0. Above 1 the learning rate grows, as in a search for the largest usable one.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    """

    name = "exponential"
    fields = ("gamma", "unit")
    required = ("gamma",)

    gamma: float

    def __init__(self, gamma: float, unit: Unit = "step") -> None:
        self._set(gamma=number("gamma", gamma, least=0), unit=choice("unit", unit, UNITS))

    def factor(self, position: int, state: State | None = None) -> float:
        return _power(self.gamma, position)


class Cosine(Schedule):
    """end + (1 - end) (1 + cos(pi position / length)) / 2 up to position length, then end.

    Loshchilov and Hutter, SGDR, ICLR 2017, without restarts. (PyTorch: CosineAnnealingLR, which rises again)

    Parameters
    ----------
    length : int
        At least 1.
    end : float, default 0
        Finite, at least 0.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    """

    name = "cosine"
    fields = ("length", "end", "unit")
    required = ("length",)

    length: int
    end: float

    def __init__(self, length: int, end: float = 0.0, unit: Unit = "step") -> None:
        self._set(
            length=integer("length", length, least=1),
            end=number("end", end, least=0),
            unit=choice("unit", unit, UNITS),
        )

    def factor(self, position: int, state: State | None = None) -> float:
        return _between(1.0, self.end, position / self.length) if position < self.length else self.end


class Warmup(Schedule):
    """start + (1 - start) position / length up to position length, then another schedule from its position 0.

    (PyTorch: LinearLR, then another schedule by SequentialLR)

    Parameters
    ----------
    length : int
        At least 1.
    then : Schedule, default Constant()
        The schedule after the warm-up, of the same unit. `ReduceOnPlateau` counts the epochs of the warm-up as well.
    start : float, default 0
        In [0, 1). With 0 the first update does not change the parameters.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or the units of the two schedules differ.
    """

    name = "warmup"
    fields = ("length", "then", "start", "unit")
    required = ("length",)

    length: int
    then: Schedule
    start: float

    def __init__(
        self,
        length: int,
        then: Schedule = Constant(),  # noqa: B008
        start: float = 0.0,
        unit: Unit = "step",
    ) -> None:
        self._set(
            length=integer("length", length, least=1),
            then=then,
            start=number("start", start, least=0, below=1),
            unit=choice("unit", unit, UNITS),
        )
        if not isinstance(then, Schedule):
            raise TypeError(f"then must be a schedule, got {described(then)}")
        if "unit" in then.fields and then.unit != unit:
            raise ValueError(f"then has the unit {then.unit!r}; it must be that of the warm-up, {unit!r}")

    @property
    def initial_state(self) -> State:
        return self.then.initial_state

    def factor(self, position: int, state: State | None = None) -> float:
        if position < self.length:
            return self.start + (1 - self.start) * (position / self.length)
        return self.then.factor(position - self.length, state)

    def advance(self, state: State, value: float) -> State:
        return self.then.advance(state, value)

    def checked_state(self, state: object) -> State:
        return self.then.checked_state(state)


class OneCycle(Schedule):
    """Up from 1 / div_factor to 1, then down to 1 / (div_factor final_div_factor), each along half a cosine.

    Smith and Topin, Super-Convergence, 2018. The optimiser's learning rate is the maximum; momentum does not change.
    (PyTorch: OneCycleLR with cycle_momentum=False)

    Parameters
    ----------
    length : int
        At least 1. The final factor is reached at position length - 1.
    pct_start : float, default 0.3
        In [0, 1): the share of the length that rises. The maximum is at position pct_start length - 1.
    div_factor, final_div_factor : float, default 25 and 1e4
        Finite, greater than 0.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    """

    name = "one_cycle"
    fields = ("length", "pct_start", "div_factor", "final_div_factor", "unit")
    required = ("length",)

    length: int
    pct_start: float
    div_factor: float
    final_div_factor: float

    def __init__(
        self,
        length: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        unit: Unit = "step",
    ) -> None:
        self._set(
            length=integer("length", length, least=1),
            pct_start=number("pct_start", pct_start, least=0, below=1),
            div_factor=number("div_factor", div_factor, above=0),
            final_div_factor=number("final_div_factor", final_div_factor, above=0),
            unit=choice("unit", unit, UNITS),
        )

    def factor(self, position: int, state: State | None = None) -> float:
        start = 1 / self.div_factor
        top, last = self.pct_start * self.length - 1, self.length - 1
        if position <= top:
            return _between(start, 1.0, position / top if top else 1.0)
        return _between(1.0, start / self.final_div_factor, (position - top) / (last - top) if position < last else 1.0)


class InverseScaling(Schedule):
    """1 / (position + 1)^power. (scikit-learn: learning_rate="invscaling", whose positions are examples)

    Parameters
    ----------
    power : float, default 0.5
        Finite, at least 0.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    """

    name = "inverse_scaling"
    fields = ("power", "unit")

    power: float

    def __init__(self, power: float = 0.5, unit: Unit = "step") -> None:
        self._set(power=number("power", power, least=0), unit=choice("unit", unit, UNITS))

    def factor(self, position: int, state: State | None = None) -> float:
        return 1 / _power(position + 1.0, self.power)


class ReduceOnPlateau(Schedule):
    """1, multiplied by gamma each time the loss has not improved for more than `patience` epochs.

    An improvement is a loss below (1 - threshold) times the best so far. (PyTorch: ReduceLROnPlateau with eps=0)

    Parameters
    ----------
    gamma : float, default 0.1
        In [0, 1). Called factor in PyTorch.
    patience : int, default 10
        At least 0.
    threshold : float, default 1e-4
        Finite, at least 0.
    cooldown : int, default 0
        At least 0: the number of epochs after a reduction in which a missing improvement does not count.
    least : float, default 0
        In [0, 1): lower bound of the factor.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    """

    name = "reduce_on_plateau"
    fields = ("gamma", "patience", "threshold", "cooldown", "least")
    unit = "epoch"

    gamma: float
    patience: int
    threshold: float
    cooldown: int
    least: float

    def __init__(
        self,
        gamma: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        least: float = 0.0,
    ) -> None:
        self._set(
            gamma=number("gamma", gamma, least=0, below=1),
            patience=integer("patience", patience, least=0),
            threshold=number("threshold", threshold, least=0),
            cooldown=integer("cooldown", cooldown, least=0),
            least=number("least", least, least=0, below=1),
        )

    @property
    def initial_state(self) -> State:
        return {"factor": 1.0, "best": None, "bad": 0, "cooldown": 0}

    def factor(self, position: int, state: State | None = None) -> float:
        return state["factor"] if state else 1.0

    def advance(self, state: State, value: float) -> State:
        factor, best, bad, cooldown = (state[key] for key in ("factor", "best", "bad", "cooldown"))
        value = float(value)
        if value < (math.inf if best is None else best * (1 - self.threshold)):
            best, bad = value, 0
        else:
            bad += 1
        if cooldown > 0:
            cooldown, bad = cooldown - 1, 0
        if bad > self.patience:
            factor, cooldown, bad = max(factor * self.gamma, self.least), self.cooldown, 0
        return {"factor": factor, "best": best, "bad": bad, "cooldown": cooldown}

    def checked_state(self, state: object) -> State:
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict, got {described(state)}")
        if state.keys() != self.initial_state.keys():
            raise ValueError(f"state must hold {', '.join(self.initial_state)}, got {', '.join(map(repr, state))}")
        return {
            "factor": number("factor", state["factor"], least=0),
            "best": None if state["best"] is None else number("best", state["best"]),
            "bad": integer("bad", state["bad"], least=0),
            "cooldown": integer("cooldown", state["cooldown"], least=0),
        }


class Function(Schedule):
    """The value of a Python function of the position. This schedule cannot be written to a file.

    Parameters
    ----------
    function : callable
        function(position) -> float, finite and at least 0.
    unit : {"step", "epoch"}, default "step"
        The unit of positions: updates or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range; in `factor`, if the value of the function is.
    """

    fields = ("function", "unit")
    required = ("function",)

    function: Callable[[int], float]

    def __init__(self, function: Callable[[int], float], unit: Unit = "step") -> None:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"function must be a function of the position, got {described(function)}")
        self._set(function=function, unit=choice("unit", unit, UNITS))

    def factor(self, position: int, state: State | None = None) -> float:
        return number("what the schedule returns", self.function(position), least=0)

    def to_dict(self) -> dict[str, Any]:
        raise TypeError("a schedule that is a function cannot be written: use a class of fastbp.schedules")


def schedule(value: Schedule | Callable[[int], float] | None) -> Schedule:
    """A schedule, given as an object, as a function of the number of updates (`Function`), or as None (`Constant`).

    Parameters
    ----------
    value : Schedule, callable or None

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError
        If value is none of these.
    """
    if value is None:
        return Constant()
    if isinstance(value, Schedule):
        return value
    if isinstance(value, type) and issubclass(value, Schedule):
        raise TypeError(f"schedule must be an object, got the class {value.__name__}: write {value.__name__}(...)")
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"schedule must be None, a schedule or a function of the position, got {described(value)}")
    return Function(value)


def _power(base: float, exponent: float) -> float:
    """base^exponent, both at least 0, by multiplications and square roots: pow differs between C libraries."""
    whole, result = int(exponent), 1.0
    part, square = exponent - whole, base
    while whole:
        if whole & 1:
            result *= square
        square *= square
        whole >>= 1
    root = base
    while part and root != 1:
        part, root = part * 2, math.sqrt(root)
        if part >= 1:
            part, result = part - 1, result * root
    return result


def _between(start: float, end: float, share: float) -> float:
    """Interpolation by half a cosine: start at share 0, end at share 1."""
    return end + (start - end) / 2 * (1 + _cosine(share))


# (-1)^k / (2 k)!, from k = 11 down to 0.
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(11, -1, -1))


def _cosine(turns: float) -> float:
    """cos(pi turns) for turns in [0, 1], by Taylor's polynomial, to 4e-16: cos differs between C libraries."""
    if turns > 0.5:
        return -_cosine(1 - turns)
    angle, result = math.pi * turns, 0.0
    square = angle * angle
    for coefficient in _COSINE:
        result = result * square + coefficient
    return result
