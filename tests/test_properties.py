"""Properties of every operation of fastbp.ops, on arrays that Hypothesis chooses.

The sizes of axes go from 0 to 70; arrays have gaps, negative strides, any order of axes, any offset and alignment, are
read-only or share memory; some calls have an argument of a wrong kind, dtype, rank or size. The twin in float64 is the
oracle. Whatever is chosen:

- the result is the twin's, within the tolerances of the tests of each family, or the call is refused as documented, and
  with the twin's kind of exception where the twin refuses it too;
- what is only read does not change, and of the memory around an array that is updated no byte does;
- nothing changes in a call that is refused.

    FASTBP_EXAMPLES=10000 python -m pytest tests/test_properties.py

tries more examples, other ones in each run. A failure prints the call and a line that repeats it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, TOLERANCE, using
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import given as given_by
from hypothesis import strategies as st

from fastbp import cpu, layers, ops, reference

EXAMPLES = int(os.environ.get("FASTBP_EXAMPLES", "0"))
examples = settings(
    max_examples=EXAMPLES or 200,
    derandomize=not EXAMPLES,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

LARGEST = 70
MARGIN = 64  # bytes before and after an array that must stay as they are

# -------------------------------------------------------------------------------------------------- arrays in memory


@dataclass(frozen=True)
class Layout:
    """How an array lies in memory."""

    steps: tuple[int, int, int] = (1, 1, 1)  # of the axes, the last one last; elements lie in between where it is not 1
    order: tuple[int, int, int] = (0, 1, 2)  # of the axes, the slowest first
    offset: int = 0  # elements from an address that is a multiple of 64
    misaligned: bool = False
    read_only: bool = False


PLAIN = Layout()
LAYOUTS = [
    PLAIN,
    *(Layout(offset=offset) for offset in (1, 2, 3, 5)),
    Layout(misaligned=True),
    Layout(read_only=True),
    Layout(read_only=True, misaligned=True),
    *(Layout(steps=steps) for steps in product((1, 2, -1, 3), repeat=3) if steps != (1, 1, 1)),
    *(Layout(order=order, offset=1) for order in permutations(range(3))),
    *(Layout(steps=(1, -2, 2), order=order, misaligned=True) for order in permutations(range(3))),
    Layout(steps=(-1, -1, -1), read_only=True),
]
# PLAIN half of the time: few calls have nothing but plain arrays, or none, otherwise.
some_layout = st.sampled_from([*[PLAIN] * len(LAYOUTS), *LAYOUTS])


class Placed:
    """An array of a shape and dtype in memory of its own, all of which is known."""

    def __init__(self, values, layout):
        dtype, shape = values.dtype, values.shape
        steps, order = layout.steps[3 - len(shape) :], [axis for axis in layout.order if axis < len(shape)]
        strides, extent = [0] * len(shape), dtype.itemsize
        for axis in reversed(order):
            strides[axis] = extent * abs(steps[axis])
            extent *= abs(steps[axis]) * max(shape[axis], 1)
        memory = np.full(extent + 3 * MARGIN + 8 * dtype.itemsize, 0x7F, np.uint8)  # large reals
        start = -memory.ctypes.data % 64 + MARGIN + layout.offset * dtype.itemsize + layout.misaligned
        for axis, step in enumerate(steps):
            if step < 0 and shape[axis]:
                start += (shape[axis] - 1) * strides[axis]
                strides[axis] = -strides[axis]
        self.memory, self.start, self.strides = memory, start, tuple(strides)
        self.array = np.ndarray(shape, dtype, memory, start, self.strides)
        self.array[...] = values
        self.elements = np.zeros(memory.size, bool)
        np.ndarray((*shape, dtype.itemsize), bool, self.elements, start, (*self.strides, 1))[...] = True
        self.before = memory.copy()
        if layout.read_only:
            self.array.flags.writeable = False

    def unchanged(self, updated=False):
        same = self.memory == self.before
        return bool((same | self.elements).all() if updated else same.all())


def fits_in_place(x):
    """Whether C may update x: see the first lines of fastbp.ops."""
    return x.flags.writeable and x.flags.c_contiguous and x.flags.aligned


# ---------------------------------------------------------------------------------------------------- the operations


@dataclass(frozen=True)
class Array:
    """An argument that is an array of reals. The letters of `axes` name sizes, equal ones for all arguments; "*" is any
    shape, the same one for all."""

    axes: str
    low: Any = -1.0  # float, or a function of the numbers
    high: float = 1.0
    turned: Callable = lambda numbers: False  # whether the axes have the reverse order
    updated: bool = False
    needed: Callable = lambda numbers: True  # else it is an array that is left alone, or None
    own_dtype: bool = False  # of float32 or float64, whatever the others are
    labels: bool = False  # integers from 0 to below the size C
    sequence: bool = False  # numbers, which may also be a list or a tuple


@dataclass(frozen=True)
class Operation:
    arrays: dict[str, Array]
    numbers: dict[str, Any] = field(default_factory=dict)  # strategies of the arguments that are not arrays
    possible: Callable = lambda numbers: True
    least: Callable = lambda numbers: {}  # the least sizes
    tolerance: dict[str, float] = field(default_factory=lambda: TOLERANCE)
    # The magnitude of what is subtracted or summed up, by which the error is measured where the result is smaller: a
    # function of the arguments and the results in float64. None: the error is relative to the result.
    magnitude: Any = None
    special: bool = False  # nan, inf, zeros of both signs and subnormal numbers among the values


def one_of(*values):
    return st.sampled_from(values)


def optional(numbers):
    return False


def one(wide, results):
    return 1.0


x_of_any_shape = {"x": Array("*")}
x, gamma, beta = Array("BN", -3, 5), Array("N", 0.5, 2, needed=optional), Array("N", needed=optional)
statistics_of_columns = {"mean": Array("N"), "variance": Array("N", 0.5, 2)}
at_least_one = {"eps": one_of(1e-2, 1.0)}  # eps of norms that keeps 1 / sqrt(variance + eps) below 10

PARAMETERS = {
    "leaky_relu": {"negative_slope": one_of(0.0, 0.01, 0.3, 2.0)},
    "softplus": {"beta": one_of(0.1, 1.0, 3.0)},
    "elu": {"alpha": one_of(0.0, 1.0, 1.3)},
}
LOWEST = {
    "tanh": -0.99,
    "elu": lambda n: -n.get("alpha", 1.0) + 0.01,
    "selu": -1.7,
    "identity": -3.0,
    "leaky_relu": -3.0,
}
HIGHEST = {"tanh": 0.99, "sigmoid": 0.99}


def output_of(f):
    """An array of values that the activation takes."""
    return Array("*", LOWEST.get(f, 0.01), HIGHEST.get(f, 3.0))


ACTIVATIONS = {}
for f in layers.ACTIVATIONS:
    more = PARAMETERS.get(f.name, {})
    ACTIVATIONS[f"{f.name}_forward"] = Operation({"x": Array("*", -5, 5)}, more, special=True)
    saved = {"x": Array("*", -5, 5)} if f.from_z else {"y": output_of(f.name)}
    # The slope of those computed from z is a difference, which may be small.
    ACTIVATIONS[f"{f.name}_backward"] = Operation({"dy": Array("*")} | saved, more, magnitude=one if f.from_z else None)

FROM_Y = [f.name for f in layers.ACTIVATIONS if not f.from_z]
DENSE = {"x": Array("BI"), "W": Array("IO")}


PRODUCTS = {
    "gemm": Operation(
        {
            "a": Array("MK", turned=lambda n: n["transpose_a"]),
            "b": Array("KN", turned=lambda n: n["transpose_b"]),
        },
        {"transpose_a": st.booleans(), "transpose_b": st.booleans()},
        magnitude=one,
        special=True,
    ),
    "dense_forward": Operation(
        DENSE | {"b": Array("O", needed=optional)},
        {"activation": one_of(*(f.name for f in layers.ACTIVATIONS))},
        least=lambda n: {"I": 1, "O": 1},
        magnitude=one,
    ),
    "dense_backward": Operation(
        {"dy": Array("BO"), **DENSE, "y": Array("BO", 0.01, 0.99, needed=lambda n: n["activation"] != "identity")},
        {"activation": one_of(*FROM_Y)},
        least=lambda n: {"I": 1, "O": 1},
        magnitude=one,
    ),
}

NORM = {"float32": 5e-6, "float64": 1e-12}  # as in test_norm.py


def size_of_norm(wide, results):
    """|dy| rows 1/sqrt(eps), and for y that of x."""
    largest = max(np.abs(wide[name]).max(initial=1) for name in ("x", "dy") if name in wide)
    return 10 * largest * max(len(wide["x"]), 1)


NORMS = {
    "layer_norm_forward": Operation(
        {"x": x, "gamma": gamma, "beta": beta},
        at_least_one,
        least=lambda n: {"N": 1},
        tolerance=NORM,
        magnitude=size_of_norm,
    ),
    "layer_norm_backward": Operation(
        {"dy": Array("BN"), "x": x, "mean": Array("B"), "rstd": Array("B", 0.1, 2), "gamma": gamma},
        least=lambda n: {"N": 1},
        tolerance=NORM,
        magnitude=size_of_norm,
    ),
    "batch_norm_forward": Operation(
        {"x": x, "gamma": gamma, "beta": beta},
        at_least_one,
        least=lambda n: {"B": 1},
        tolerance=NORM,
        magnitude=size_of_norm,
    ),
    "batch_norm_backward": Operation(
        {"dy": Array("BN"), "x": x, **statistics_of_columns, "gamma": gamma},
        at_least_one,
        least=lambda n: {"B": 1},
        tolerance=NORM,
        magnitude=size_of_norm,
    ),
    "batch_norm_predict": Operation(
        {"x": x, **statistics_of_columns, "gamma": gamma, "beta": beta},
        at_least_one,
        least=lambda n: {"B": 1},
        tolerance=NORM,
        magnitude=size_of_norm,
    ),
    "batch_norm_running": Operation(
        {
            "running_mean": Array("N", updated=True),
            "running_variance": Array("N", 0.5, 2, updated=True),
            **statistics_of_columns,
        },
        {"rows": one_of(2, 3, 64), "momentum": one_of(0.1, 1.0)},
        magnitude=one,
    ),
    "dropout_forward": Operation(
        {"x": Array("BN")},
        {
            "rate": one_of(0.0, 0.3, 0.5, 0.999),
            "seed": st.integers(0, 2**64 - 1),
            "stream": one_of(0, 5, 2**40 + 3, 2**64 - 1),
            "draw": one_of(0, 7, 2**32 - 1),
            "first_row": st.integers(0, 300),
        },
    ),
    "dropout_backward": Operation({"dy": Array("*"), "mask": Array("*")}, special=True),
}

SUMMED = {"reduction": one_of("mean", "sum")}
weights_of_rows = Array("B", 0.0, 2.0, needed=optional, own_dtype=True)


def has_rows(numbers):
    return {"C": 1, "B": int(numbers["reduction"] == "mean")}


def loss(target, input="y", more=None, numbers=None, low=-5, high=5):
    return Operation(
        {input: Array("BC", low, high), "target": target, **(more or {}), "sample_weight": weights_of_rows},
        SUMMED | (numbers or {}),
        least=has_rows,
        tolerance={name: 4 * limit for name, limit in TOLERANCE.items()},  # as in test_loss.py
        magnitude=lambda wide, results: 1.0 if wide[input].size else 0.0,
    )


one_a_class = {"class_weights": Array("C", 0.1, 2, needed=optional, sequence=True, own_dtype=True)}
one_a_column = {"pos_weight": Array("C", 0.1, 2, needed=optional, sequence=True, own_dtype=True)}
LOSSES = {
    "softmax_cross_entropy of labels": loss(
        Array("B", labels=True), "z", one_a_class, {"label_smoothing": one_of(0.0, 0.1)}
    ),
    "softmax_cross_entropy": loss(Array("BC", 0, 1), "z", one_a_class, {"label_smoothing": one_of(0.0, 0.1)}),
    "binary_cross_entropy": loss(Array("BC", 0, 1), "z", one_a_column),
    "mean_squared_error": loss(Array("BC", -5, 5)),
    "mean_absolute_error": loss(Array("BC", -5, 5)),
    "huber": loss(Array("BC", -5, 5), numbers={"delta": one_of(0.5, 1.0, 3.0)}),
    "poisson": loss(Array("BC", 0, 9), "z", low=-3, high=3),
    "pinball": loss(Array("BC", -5, 5), numbers={"quantiles": one_of(0.5, 0.1, [0.25])}),
}

w, g = Array("*", updated=True), Array("*")
rate = {"learning_rate": one_of(1e-3, 0.1), "weight_decay": one_of(0.0, 0.05)}
UPDATES = {
    "sgd_step": Operation(
        {"w": w, "g": g, "v": Array("*", updated=True, needed=lambda n: n["momentum"] != 0)},
        rate | {"momentum": one_of(0.0, 0.9), "nesterov": st.booleans()},
        possible=lambda n: n["momentum"] or not n["nesterov"],
    ),
    "adam_step": Operation(
        {"w": w, "g": g, "m": Array("*", updated=True), "v": Array("*", 0.5, 1.5, updated=True)},
        rate | {"t": one_of(1, 7, 10**6), "beta1": one_of(0.0, 0.9), "decoupled": st.booleans()},
    ),
    "rmsprop_step": Operation(
        {
            "w": w,
            "g": g,
            "v": Array("*", 0.5, 1.5, updated=True),
            "buffer": Array("*", updated=True, needed=lambda n: n["momentum"] != 0),
            "mean": Array("*", -0.6, 0.6, updated=True, needed=lambda n: n["centered"]),
        },
        rate | {"momentum": one_of(0.0, 0.9), "centered": st.booleans()},
    ),
    "adagrad_step": Operation(
        {"w": w, "g": g, "v": Array("*", 0.5, 1.5, updated=True)},
        rate | {"t": one_of(1, 7, 10**6), "rate_decay": one_of(0.0, 0.1)},
    ),
    "penalty": Operation({"w": g, "g": w}, {"l1": one_of(0.0, 0.1), "l2": one_of(0.0, 0.2)}),
    "clip_by_norm": Operation({"g": w}, {"limit": one_of(0.01, 1.0, 100.0)}),
    "clip_by_value": Operation({"g": w}, {"limit": one_of(0.01, 0.5, 2.0)}, special=True),
    "weight_average": Operation({"average": w, "w": g}, {"decay": one_of(0.0, 0.9)}, special=True),
}

OTHERS = {
    "softmax_forward": Operation({"x": Array("BC", -20, 20)}, special=True),
    "softmax_backward": Operation({"dy": Array("BC"), "y": Array("BC", 0, 1)}, magnitude=one),
    "sum_squares": Operation(x_of_any_shape, magnitude=lambda wide, results: 1e-30, special=True),
    "all_finite": Operation(x_of_any_shape, special=True),
    "add": Operation({"a": Array("*"), "b": Array("*")}, special=True),
}

OPERATIONS = ACTIVATIONS | PRODUCTS | NORMS | LOSSES | UPDATES | OTHERS


def test_every_operation_is_tried():
    numbers_only = {name for name in ops.__all__ if name.startswith("random_")}
    assert {name.partition(" ")[0] for name in OPERATIONS} | numbers_only == set(ops.__all__)


# ---------------------------------------------------------------------------------------------------------- the calls

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40]
WRONG_DTYPES = ("float16", "int64", "complex128", "bool", "swapped", "other real")
FLAWS = (*WRONG_DTYPES, "list", "rank", "size")


def values_of(array, shape, dtype, numbers, rng, special, classes):
    if array.labels:
        return rng.integers(0, max(classes, 1), shape).astype(rng.choice(["int8", "uint8", ">i4", "int64", "uint64"]))
    low = array.low(numbers) if callable(array.low) else array.low
    values = np.asarray(rng.uniform(low, array.high, shape)).astype(dtype)
    if special:
        chosen = rng.random(shape) < 0.1
        values[chosen] = rng.choice(SPECIAL, chosen.sum()).astype(dtype)
    return values


def calls_of(operation):
    """All that Hypothesis chooses for a call of an operation."""
    letters = sorted({letter for array in operation.arrays.values() for letter in array.axes} - {"*"})
    return st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(DTYPES),
            "isa": st.sampled_from(cpu.available()),
            "numbers": st.fixed_dictionaries(operation.numbers).filter(operation.possible),
            "seed": st.integers(0, 2**32 - 1),  # of the values, and of choices that need not shrink
            "sizes": st.fixed_dictionaries({letter: st.integers(0, LARGEST) for letter in [*letters, "*"]}),
            "layouts": st.fixed_dictionaries({name: some_layout for name in operation.arrays}),
            "wrong": st.sampled_from([*[(None, None)] * 2 * len(FLAWS), *product(operation.arrays, FLAWS)]),
            "shares": one_of(False, False, True),
        }
    )


CALLS = {name: calls_of(operation) for name, operation in OPERATIONS.items()}


class Call:
    """A call of an operation that Hypothesis chooses: its arguments, and what is to come of it."""

    def __init__(self, operation, dtype, isa, numbers, seed, sizes, layouts, wrong, shares):
        self.operation, self.dtype, self.isa, self.numbers, self.sizes = operation, dtype, isa, numbers, sizes
        self.rng = np.random.default_rng(seed)
        n = sizes["*"]
        self.any_shape = [(n,), (n, 3), (2, n), (3, n, 2), ()][int(self.rng.integers(5))]
        self.special = operation.special and bool(self.rng.integers(2))
        self.placed, self.arguments, self.refusals = {}, {}, set()
        for name, array in operation.arrays.items():
            if shares:
                self.choose(name, array, PLAIN, None)
            else:
                self.choose(name, array, layouts[name], wrong[1] if wrong[0] == name else None)
        if shares:
            self.share_memory()
        self.check_dtypes()
        self.check_shapes()

    def axes(self, array):
        return array.axes[::-1] if array.turned(self.numbers) else array.axes

    def is_updated(self, array):
        return array.updated and array.needed(self.numbers)

    def choose(self, name, array, layout, wrong):
        if array.updated and not self.is_updated(array):
            layout = PLAIN
        if not array.needed(self.numbers) and self.rng.integers(2):
            self.arguments[name] = None
            return
        shape = self.any_shape if array.axes == "*" else tuple(self.sizes[letter] for letter in self.axes(array))
        if wrong == "size" and shape:
            axis = int(self.rng.integers(len(shape)))
            shape = tuple(n + (axis == i) for i, n in enumerate(shape))
        elif wrong == "rank" and not array.sequence:
            shape = (*shape, 1) if len(shape) < 3 else shape[1:]
        dtype = np.dtype(str(self.rng.choice(DTYPES)) if array.own_dtype else self.dtype)
        values = values_of(array, shape, dtype, self.numbers, self.rng, self.special, self.sizes.get("C", 0))
        if array.sequence:
            self.arguments[name] = [values, values.tolist(), tuple(values.tolist())][int(self.rng.integers(3))]
            return
        if wrong in WRONG_DTYPES and not array.labels:
            if wrong == "other real" and array.own_dtype:
                return self.keep(name, array, Placed(values, layout))
            to = {"swapped": dtype.newbyteorder(), "other real": DTYPES[dtype.itemsize == 4]}.get(wrong, wrong)
            with np.errstate(all="ignore"):
                values = values.astype(to)
            if wrong != "other real":  # see check_dtypes
                self.refusals.add(TypeError)
            if wrong == "int64" and name == "target" and "z" in self.operation.arrays:
                self.refusals.add(ValueError)  # they are labels, and not a vector
        elif wrong == "float16" and array.labels:
            values = values.astype("float64")
            self.refusals.add(TypeError)
        placed = Placed(values, layout)
        self.keep(name, array, placed)
        if wrong == "list":
            self.arguments[name] = placed.array.tolist()
            self.refusals.add(TypeError)

    def check_dtypes(self):
        """Arrays of one dtype are a call of that dtype, and arrays of both are refused."""
        found = set()
        for name, value in self.arguments.items():
            array = self.operation.arrays[name]
            if isinstance(value, np.ndarray) and not (array.own_dtype or array.labels) and value.dtype.name in DTYPES:
                found.add(value.dtype.name)
        if len(found) == 2:
            self.refusals.add(TypeError)
        elif found:
            self.dtype = found.pop()

    def keep(self, name, array, placed):
        self.placed[name], self.arguments[name] = placed, placed.array
        if self.is_updated(array) and not fits_in_place(placed.array):
            self.refusals.add(ValueError)

    def share_memory(self):
        """Let one argument lie over the memory of another, wholly or in part, or right beside it."""
        # Of one range of values: what is a variance or lies in [0, 1] must still be that.
        by_range: dict[Any, list[str]] = {}
        for name, array in self.operation.arrays.items():
            if name in self.placed and not array.labels and self.arguments[name].size:
                by_range.setdefault((array.low, array.high, self.arguments[name].dtype), []).append(name)
        pairs = [pair for names in by_range.values() for pair in permutations(names, 2)]
        if not pairs:
            return
        first, second = pairs[int(self.rng.integers(len(pairs)))]
        below, above = self.arguments[first], self.arguments[second]
        specs = [self.operation.arrays[name] for name in (first, second)]
        shift = int(self.rng.integers(-above.size, below.size + 1)) * int(self.rng.random() < 0.8)
        length = below.size + 2 * above.size
        values = values_of(specs[0], (length,), below.dtype, self.numbers, self.rng, False, 0)
        placed = Placed(values, PLAIN)
        start = above.size
        views = {
            first: placed.array[start : start + below.size].reshape(below.shape),
            second: placed.array[start + shift : start + shift + above.size].reshape(above.shape),
        }
        placed.elements[:] = False
        for name, view in views.items():
            at = view.ctypes.data - placed.memory.ctypes.data
            if self.is_updated(self.operation.arrays[name]):
                placed.elements[at : at + view.nbytes] = True
            self.arguments[name], self.placed[name] = view, placed
        if all(map(self.is_updated, specs)) and np.shares_memory(*views.values()):
            self.refusals.add(ValueError)

    def check_shapes(self):
        """Whether sizes that have one letter are equal, and large enough."""
        sizes = {}
        shape = None
        for name, array in self.operation.arrays.items():
            value, axes = self.arguments[name], self.axes(array)
            if value is None:
                continue
            value = np.asarray(value)
            if axes == "*":
                if shape not in (None, value.shape):
                    self.refusals.add(ValueError)
                shape = value.shape
                continue
            if value.ndim != len(axes):
                self.refusals.add(ValueError)
                continue
            for letter, n in zip(axes, value.shape):
                if sizes.setdefault(letter, n) != n or n < self.operation.least(self.numbers).get(letter, 0):
                    self.refusals.add(ValueError)

    def copies(self, dtype):
        """The arguments with arrays in memory of their own; those of reals in this dtype."""
        copies = dict(self.numbers)
        for name, value in self.arguments.items():
            is_array = isinstance(value, np.ndarray)
            copies[name] = np.array(value, dtype if value.dtype.kind == "f" else None) if is_array else value
        return copies

    def __repr__(self):
        of_arrays = {
            name: f"{x.dtype} {x.shape} strides {x.strides} at {x.ctypes.data % 64}" if isinstance(x, np.ndarray) else x
            for name, x in self.arguments.items()
        }
        return f"{self.numbers} {of_arrays}, refused: {self.refusals or 'no'}"


def parts_of(result):
    return list(result) if isinstance(result, tuple) else [] if result is None else [result]


def attempt(function, arguments):
    try:
        with np.errstate(all="ignore"):
            return parts_of(function(**arguments)), None
    except Exception as error:
        return None, error


def assert_near(got, expected, limit, floor):
    """|got - expected| <= limit max(|expected|, floor); nan and inf where the twin has them."""
    got, expected = np.asarray(got, "float64"), np.asarray(expected, "float64")
    assert got.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    assert np.isfinite(got[finite]).all()
    error, size = np.linalg.norm(got[finite] - expected[finite]), np.linalg.norm(expected[finite])
    assert error <= limit * max(size, floor), f"error {error:g} of {size:g}, allowed {limit:g} of {max(size, floor):g}"


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # the twin's, which does not refuse it
@pytest.mark.parametrize("name", OPERATIONS)
@examples
@given_by(data=st.data())
def test_an_operation_is_its_twin(name, data):
    operation, function = OPERATIONS[name], name.partition(" ")[0]
    call = Call(operation, **data.draw(CALLS[name]))
    note(f"{function} on {call.isa}: {call!r}")
    wide = call.copies("float64")
    of_before = call.copies("float64")
    with using(call.isa):
        got, error = attempt(getattr(ops, function), call.numbers | call.arguments)
    placed = {id(memory): memory for memory in call.placed.values()}

    # The twin takes what NumPy takes, of any kind.
    expected, twin_error = (
        attempt(getattr(reference, function), wide) if TypeError not in call.refusals else (None, None)
    )
    if call.refusals or twin_error is not None:
        allowed = tuple(call.refusals) or ValueError
        assert isinstance(error, allowed), f"{error!r} rather than {allowed}; the twin: {twin_error!r}"
        if twin_error is not None:
            assert isinstance(twin_error, type(error)), f"{error!r}; the twin: {twin_error!r}"
        assert all(memory.unchanged() for memory in placed.values()), "something changed in a call that was refused"
        return
    if error is not None:
        raise error

    limit = operation.tolerance[call.dtype]
    floor = operation.magnitude(of_before, expected) if operation.magnitude else 0.0
    assert len(got) == len(expected)
    for part, wanted in zip(got, expected, strict=True):
        if isinstance(part, np.ndarray):
            assert part.dtype == call.dtype and part.flags.c_contiguous and part.flags.aligned and part.flags.writeable
            assert not any(np.may_share_memory(part, memory.memory) for memory in placed.values())
        else:
            assert type(part) is type(wanted)
        assert_near(part, wanted, limit, floor)
    updated = [name for name, array in operation.arrays.items() if call.is_updated(array)]
    for argument in updated:
        assert_near(call.arguments[argument], wide[argument], limit, floor)
    for memory in placed.values():
        may_change = any(call.placed[argument] is memory for argument in updated)
        assert memory.unchanged(updated=may_change), "memory changed that is only read, or lies between elements"


WORDS = st.one_of(st.integers(0, 2**64 - 1), one_of(-1, 2**64, 1.0, None, True, "1"))


@pytest.mark.parametrize("name", [name for name in ops.__all__ if name.startswith("random_")])
@examples
@given_by(seed=WORDS, stream=WORDS, n=st.one_of(st.integers(0, LARGEST), one_of(-1, 2**64, 1.0, None, True)))
def test_random_numbers_are_the_twins(name, seed, stream, n):
    got, error = attempt(getattr(ops, name), {"seed": seed, "stream": stream, "n": n})
    given = seed, stream, n
    if any(type(value) is not int for value in given):
        assert isinstance(error, TypeError) or isinstance(error, ValueError) and not in_range(*given)
    elif not in_range(*given):
        assert isinstance(error, ValueError)
    else:
        expected = getattr(reference, name)(seed, stream, n)
        assert got[0].dtype == expected.dtype
        np.testing.assert_allclose(got[0], expected, rtol=2e-15 if name == "random_normal" else 0, atol=0)


def in_range(seed, stream, n):
    return all(type(v) is not int or 0 <= v < 2**64 for v in (seed, stream)) and (type(n) is not int or 0 <= n < 2**32)
