"""Schedules: how the learning rate changes as training goes on.

A schedule is a factor of the optimiser's learning rate, a function of the position: updates done, or epochs done, both
from 0. Values are those of ``torch.optim.lr_scheduler`` where it has the schedule, but for rounding. They are made of
sums, products, quotients and square roots alone, which are exactly rounded: a run has the same learning rates, to the
bit, on every machine.
"""

import math

from ._support.declarative import Declared, choice, described, integer, number

UNITS = ("step", "epoch")


class Schedule(Declared):
    """Base class of the schedules.

    Attributes
    ----------
    name : str
    unit : {"step", "epoch"}
        What positions count: updates, or epochs.
    initial_state : dict
        Of a schedule that looks at the loss: what `factor` depends on besides the position. Empty for all others.
    """

    unit = "step"

    @property
    def initial_state(self):
        return {}

    def factor(self, position, state=None):
        """The factor of the learning rate.

        Parameters
        ----------
        position : int
            Updates or epochs done, at least 0.
        state : dict, optional
            As `advance` left it; the initial one when left out.

        Returns
        -------
        float
        """
        raise NotImplementedError(f"{type(self).__name__} defines no factor")  # each schedule has its own

    def advance(self, state, value):
        """The state after another epoch. The one given is not changed.

        Parameters
        ----------
        state : dict
            The initial one, or what this function returned.
        value : float
            The epoch's loss, of the validation data where there are any.

        Returns
        -------
        dict
            Of floats, ints and None, as JSON holds them.
        """
        return state

    def checked_state(self, state):
        """A state that was read from a file.

        Parameters
        ----------
        state : dict

        Returns
        -------
        dict

        Raises
        ------
        TypeError, ValueError
            If it is not one of this schedule's.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict, got {described(state)}")
        if state:
            raise ValueError(f"state must be empty for {self!r}, got {', '.join(map(repr, state))}")
        return state


class Constant(Schedule):
    """1: the optimiser's learning rate throughout."""

    name = "constant_rate"

    def factor(self, position, state=None):
        return 1.0


class StepDecay(Schedule):
    """gamma^(position // size). (PyTorch: StepLR)

    Parameters
    ----------
    size : int
        At least 1: how many updates or epochs one factor lasts.
    gamma : float, default 0.1
        Finite, at least 0.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.
    """

    name = "step_decay"
    fields = ("size", "gamma", "unit")
    required = ("size",)

    def __init__(self, size, gamma=0.1, unit="step"):
        self._set(
            size=integer("size", size, least=1),
            gamma=number("gamma", gamma, least=0),
            unit=choice("unit", unit, UNITS),
        )

    def factor(self, position, state=None):
        return _power(self.gamma, position // self.size)


class Exponential(Schedule):
    """gamma^position. (PyTorch: ExponentialLR)

    Parameters
    ----------
    gamma : float
        Finite, at least 0. Above 1 the learning rate grows, as when one looks for the greatest that works.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.
    """

    name = "exponential"
    fields = ("gamma", "unit")
    required = ("gamma",)

    def __init__(self, gamma, unit="step"):
        self._set(gamma=number("gamma", gamma, least=0), unit=choice("unit", unit, UNITS))

    def factor(self, position, state=None):
        return _power(self.gamma, position)


class Cosine(Schedule):
    """end + (1 - end) (1 + cos(pi position / length)) / 2 up to length, and end from there on.

    Loshchilov and Hutter, SGDR, ICLR 2017, without restarts. (PyTorch: CosineAnnealingLR, which rises again)

    Parameters
    ----------
    length : int
        At least 1.
    end : float, default 0
        Finite, at least 0.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.
    """

    name = "cosine"
    fields = ("length", "end", "unit")
    required = ("length",)

    def __init__(self, length, end=0.0, unit="step"):
        self._set(
            length=integer("length", length, least=1),
            end=number("end", end, least=0),
            unit=choice("unit", unit, UNITS),
        )

    def factor(self, position, state=None):
        return _between(1.0, self.end, position / self.length) if position < self.length else self.end


class Warmup(Schedule):
    """start + (1 - start) position / length before length; from there on another schedule, whose positions begin at 0.

    (PyTorch: LinearLR, then another one by SequentialLR)

    Parameters
    ----------
    length : int
        At least 1.
    then : Schedule, default Constant()
        It must count what this one counts. `ReduceOnPlateau` looks at the epochs of the warm-up, too.
    start : float, default 0
        In [0, 1). With 0 the first update leaves the parameters where they are.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range, or the units of the two differ.
    """

    name = "warmup"
    fields = ("length", "then", "start", "unit")
    required = ("length",)

    def __init__(self, length, then=Constant(), start=0.0, unit="step"):  # noqa: B008
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
    def initial_state(self):
        return self.then.initial_state

    def factor(self, position, state=None):
        if position < self.length:
            return self.start + (1 - self.start) * (position / self.length)
        return self.then.factor(position - self.length, state)

    def advance(self, state, value):
        return self.then.advance(state, value)

    def checked_state(self, state):
        return self.then.checked_state(state)


class OneCycle(Schedule):
    """Up from 1 / div_factor to 1, then down to 1 / (div_factor final_div_factor), each along half a cosine.

    Smith and Topin, Super-Convergence, 2018. The optimiser's learning rate is the greatest; momentum stays as it is.
    (PyTorch: OneCycleLR with cycle_momentum=False)

    Parameters
    ----------
    length : int
        At least 1: the end is reached at position length - 1, and kept.
    pct_start : float, default 0.3
        In [0, 1): the share of the length on the way up, whose last position is pct_start length - 1.
    div_factor, final_div_factor : float, default 25 and 1e4
        Finite, above 0.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.
    """

    name = "one_cycle"
    fields = ("length", "pct_start", "div_factor", "final_div_factor", "unit")
    required = ("length",)

    def __init__(self, length, pct_start=0.3, div_factor=25.0, final_div_factor=1e4, unit="step"):
        self._set(
            length=integer("length", length, least=1),
            pct_start=number("pct_start", pct_start, least=0, below=1),
            div_factor=number("div_factor", div_factor, above=0),
            final_div_factor=number("final_div_factor", final_div_factor, above=0),
            unit=choice("unit", unit, UNITS),
        )

    def factor(self, position, state=None):
        start = 1 / self.div_factor
        top, last = self.pct_start * self.length - 1, self.length - 1
        if position <= top:
            return _between(start, 1.0, position / top if top else 1.0)
        return _between(1.0, start / self.final_div_factor, (position - top) / (last - top) if position < last else 1.0)


class InverseScaling(Schedule):
    """1 / (position + 1)^power. (scikit-learn: learning_rate="invscaling", which counts examples)

    Parameters
    ----------
    power : float, default 0.5
        Finite, at least 0.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.
    """

    name = "inverse_scaling"
    fields = ("power", "unit")

    def __init__(self, power=0.5, unit="step"):
        self._set(power=number("power", power, least=0), unit=choice("unit", unit, UNITS))

    def factor(self, position, state=None):
        return 1 / _power(position + 1.0, self.power)


class ReduceOnPlateau(Schedule):
    """1, and gamma times itself whenever the loss has not improved for more than `patience` epochs.

    A loss improves when it is below (1 - threshold) times the best so far. (PyTorch: ReduceLROnPlateau with eps=0)

    Parameters
    ----------
    gamma : float, default 0.1
        In [0, 1). PyTorch calls it factor.
    patience : int, default 10
        At least 0.
    threshold : float, default 1e-4
        Finite, at least 0.
    cooldown : int, default 0
        At least 0: for so many epochs after a reduction none counts as one without improvement.
    least : float, default 0
        In [0, 1): the factor does not fall below.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.
    """

    name = "reduce_on_plateau"
    fields = ("gamma", "patience", "threshold", "cooldown", "least")
    unit = "epoch"

    def __init__(self, gamma=0.1, patience=10, threshold=1e-4, cooldown=0, least=0.0):
        self._set(
            gamma=number("gamma", gamma, least=0, below=1),
            patience=integer("patience", patience, least=0),
            threshold=number("threshold", threshold, least=0),
            cooldown=integer("cooldown", cooldown, least=0),
            least=number("least", least, least=0, below=1),
        )

    @property
    def initial_state(self):
        return {"factor": 1.0, "best": None, "bad": 0, "cooldown": 0}

    def factor(self, position, state=None):
        return state["factor"] if state else 1.0

    def advance(self, state, value):
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

    def checked_state(self, state):
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
    """What a Python function of the position returns. It cannot be written to a file.

    Parameters
    ----------
    function : callable
        function(position) -> float, finite and at least 0.
    unit : {"step", "epoch"}, default "step"
        What positions count: updates, or epochs.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range; by `factor` if what the function returns is.
    """

    fields = ("function", "unit")
    required = ("function",)

    def __init__(self, function, unit="step"):
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"function must be a function of the position, got {described(function)}")
        self._set(function=function, unit=choice("unit", unit, UNITS))

    def factor(self, position, state=None):
        return number("what the schedule returns", self.function(position), least=0)

    def to_dict(self):
        raise TypeError("a schedule that is a function cannot be written: use a class of fastbp.schedules")


def schedule(value):
    """A schedule from None (`Constant`), a function of the position (`Function`, of updates) or the object itself.

    Parameters
    ----------
    value : Schedule, callable or None

    Returns
    -------
    Schedule

    Raises
    ------
    TypeError
        If it is none of these.
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


def _power(base, exponent):
    """base^exponent, neither below 0, by multiplications and square roots: pow differs between C libraries."""
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


def _between(start, end, share):
    """From start, where share is 0, to end, where it is 1, along half a cosine."""
    return end + (start - end) / 2 * (1 + _cosine(share))


# (-1)^k / (2 k)!, from k = 11 down to 0.
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(11, -1, -1))


def _cosine(turns):
    """cos(pi turns) for turns in [0, 1], to 4e-16, by Taylor's polynomial: cos differs between C libraries."""
    if turns > 0.5:
        return -_cosine(1 - turns)
    angle, result = math.pi * turns, 0.0
    square = angle * angle
    for coefficient in _COSINE:
        result = result * square + coefficient
    return result
