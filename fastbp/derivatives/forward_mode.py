"""Forward-mode differentiation: exact directional derivatives of code written for NumPy.

A `Dual` has the value x of an array and its tangent, the derivative dx/ds with respect to some variable s. Each
function in the tables below maps values to values and tangents to tangents: for y = f(a, b), the tangent of y is df/da
da + df/db db. The result of any code made of these functions has the derivative of the whole code, exact up to
rounding, at two to three times the cost of the code itself.

    x = Dual([3.0], [1.0])
    y = np.exp(2 * x)       # y.value exp(6), y.tangent 2 exp(6)

The tangent at a kink is the one from the left: `absolute` treats 0 as negative, and `maximum` and `minimum` treat an
array equal to the constant that it is compared with as smaller. Since all functions take the same side, a smooth
function made of such pieces has its derivative at the kinks of the pieces: max(x, 0) + log1p(exp(-|x|)) has 1/2 at 0.

Sources: Wengert, A Simple Automatic Derivative Evaluation Program, Communications of the ACM 7, 1964; Griewank and
Walther, Evaluating Derivatives, SIAM 2008, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np


class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """A float64 array with its tangent.

    Parameters
    ----------
    value : array_like of reals
    tangent : array_like of reals, of the shape of value, optional
        Zeros when None.

    Attributes
    ----------
    value, tangent : ndarray of float64
        The arguments, not copied if they are float64 arrays. A basic index gives a Dual of views of both; assignment to
        an index changes both.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Operators, functions and methods are those of arrays, as far as the tables of this module go. Other functions, and
    operations that would lose the tangent in a plain array, raise TypeError. Comparisons, signs and indices, whose
    derivative is 0, are plain arrays. float() gives the value without the tangent.
    """

    def __init__(self, value: Any, tangent: Any = None) -> None:
        self.value: Any = np.asarray(value, np.float64)
        self.tangent: Any = np.zeros_like(self.value) if tangent is None else np.asarray(tangent, np.float64)
        if self.value.shape != self.tangent.shape:
            raise ValueError(f"tangent has shape {self.tangent.shape}; value has {self.value.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[np.float64]:
        return np.dtype(np.float64)

    @property
    def T(self) -> Dual:
        return Dual(self.value.T, self.tangent.T)

    def __repr__(self) -> str:
        return f"Dual({self.value!r}, {self.tangent!r})"

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("a Dual does not become a plain array: its derivative would be lost")

    def __getitem__(self, index: Any) -> Dual:
        return Dual(self.value[index], self.tangent[index])

    def __setitem__(self, index: Any, x: Any) -> None:
        self.value[index] = _value(x)
        self.tangent[index] = _tangent(x)

    def __getattr__(self, name: str) -> Any:
        """The methods of arrays, as the functions of that name."""
        if name in _FUNCTIONS:
            return partial(getattr(np, name), self)
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"'Dual' has no attribute {name!r}")
        raise TypeError(f"no derivative is known of the array method {name}")

    def reshape(self, *shape: Any) -> Dual:
        return Dual(self.value.reshape(*shape), self.tangent.reshape(*shape))

    def transpose(self, *axes: Any) -> Dual:
        return Dual(self.value.transpose(*axes), self.tangent.transpose(*axes))

    def astype(self, dtype: Any, **how: Any) -> Any:
        if np.dtype(dtype) != np.float64:
            raise TypeError(f"a Dual is of float64, and does not become {np.dtype(dtype)}")
        return self.copy()

    def flatten(self) -> Any:
        return self.ravel().copy()

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, where: Any = None, **options: Any
    ) -> Any:
        name = ufunc.__name__
        values = [_value(x) for x in inputs]
        if method == "__call__" and name in _CONSTANT and where is None and not isinstance(out, Dual):
            return ufunc(*values, **options)
        if method != "__call__" or options or name not in _FACTORS and name not in _TANGENTS:
            how = "" if method == "__call__" else f".{method}"
            how += f" with {', '.join(options)}" if options else ""
            raise TypeError(f"no derivative is known of the function {name}{how}")
        value = np.asarray(ufunc(*values), np.float64)
        if name in _TANGENTS:
            tangent = _TANGENTS[name](ufunc, *inputs)
        else:
            tangent = np.zeros_like(value)
            for x, factor in zip(inputs, _FACTORS[name], strict=True):
                if isinstance(x, Dual):
                    tangent += factor(*values, value) * x.tangent
        result = Dual(value, tangent)
        if out is None and where is None:
            return result
        if out is None or not isinstance(out[0], Dual):
            raise TypeError(f"the result of {name} goes into a Dual, or the derivative would be lost")
        np.copyto(out[0].value, result.value, where=True if where is None else _value(where))
        np.copyto(out[0].tangent, result.tangent, where=True if where is None else _value(where))
        return out[0]

    def __array_function__(
        self, function: Any, types: Iterable[type], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        if function.__name__ not in _FUNCTIONS:
            raise TypeError(f"no derivative is known of the function {function.__name__}")
        refused = sorted({"out", "where", "initial"} & kwargs.keys())
        if refused:
            raise TypeError(f"no derivative is known of the function {function.__name__} with {', '.join(refused)}")
        return _FUNCTIONS[function.__name__](function, *args, **kwargs)


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Dual) else x


def _tangent(x: Any) -> Any:
    return x.tangent if isinstance(x, Dual) else 0.0


# --------------------------------------------------------------------------------------------------- element by element


def _bilinear(f: Any, a: Any, b: Any, **options: Any) -> Any:
    """The tangent of an f(a, b) that is linear in a and in b."""
    tangent: Any = 0.0
    if isinstance(a, Dual):
        tangent = tangent + f(a.tangent, _value(b), **options)
    if isinstance(b, Dual):
        tangent = tangent + f(_value(a), b.tangent, **options)
    return tangent


def _chosen(first: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The tangent of a symmetric function that is a where first(a, b), else b."""

    def tangent(_: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Dual):
            a, b = b, a
        return np.where(first(a.value, _value(b)), a.tangent, _tangent(b))

    return tangent


# The factor of each argument's tangent, as a function of the arguments and of the result y.
_FACTORS: dict[str, tuple[Callable[..., Any], ...]] = {
    "add": (lambda a, b, y: 1.0, lambda a, b, y: 1.0),
    "subtract": (lambda a, b, y: 1.0, lambda a, b, y: -1.0),
    "multiply": (lambda a, b, y: b, lambda a, b, y: a),
    "divide": (lambda a, b, y: 1 / b, lambda a, b, y: -y / b),
    "power": (lambda a, b, y: np.where(np.equal(b, 0), 0, b * a ** (b - 1.0)), lambda a, b, y: y * np.log(a)),
    "logaddexp": (lambda a, b, y: np.exp(a - y), lambda a, b, y: np.exp(b - y)),
    "hypot": (lambda a, b, y: a / y, lambda a, b, y: b / y),
    "arctan2": (lambda a, b, y: b / (a * a + b * b), lambda a, b, y: -a / (a * a + b * b)),
    "negative": (lambda a, y: -1.0,),
    "positive": (lambda a, y: 1.0,),
    "absolute": (lambda a, y: np.where(a > 0, 1.0, -1.0),),
    "square": (lambda a, y: 2 * a,),
    "sqrt": (lambda a, y: 0.5 / y,),
    "cbrt": (lambda a, y: 1 / (3 * y * y),),
    "reciprocal": (lambda a, y: -y * y,),
    "exp": (lambda a, y: y,),
    "exp2": (lambda a, y: math.log(2) * y,),
    "expm1": (lambda a, y: np.exp(a),),
    "log": (lambda a, y: 1 / a,),
    "log2": (lambda a, y: 1 / (math.log(2) * a),),
    "log10": (lambda a, y: 1 / (math.log(10) * a),),
    "log1p": (lambda a, y: 1 / (1 + a),),
    "sin": (lambda a, y: np.cos(a),),
    "cos": (lambda a, y: -np.sin(a),),
    "tan": (lambda a, y: 1 + y * y,),
    "arcsin": (lambda a, y: 1 / np.sqrt(1 - a * a),),
    "arccos": (lambda a, y: -1 / np.sqrt(1 - a * a),),
    "arctan": (lambda a, y: 1 / (1 + a * a),),
    "sinh": (lambda a, y: np.cosh(a),),
    "cosh": (lambda a, y: np.sinh(a),),
    "tanh": (lambda a, y: (1 - y) * (1 + y),),
    "arcsinh": (lambda a, y: 1 / np.hypot(1, a),),
    "arctanh": (lambda a, y: 1 / (1 - a * a),),
    # From SciPy; and math.erfc as the twin calls it, through np.frompyfunc.
    "erf": (lambda a, y: 2 / math.sqrt(math.pi) * np.exp(-a * a),),
    "erfc": (lambda a, y: -2 / math.sqrt(math.pi) * np.exp(-a * a),),
    "erfc (vectorized)": (lambda a, y: -2 / math.sqrt(math.pi) * np.exp(-a * a),),
    "expit": (lambda a, y: y * (1 - y),),
}

# Tangents that are not a sum of such products, as functions of the ufunc and its arguments.
_TANGENTS: dict[str, Callable[..., Any]] = {
    "matmul": _bilinear,
    "maximum": _chosen(np.greater),
    "minimum": _chosen(np.less_equal),
}

# Functions that are constant near almost every point.
_CONSTANT = {
    *("greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "isfinite", "isnan", "isinf", "signbit"),
    *("sign", "floor", "ceil", "rint", "trunc", "logical_and", "logical_or", "logical_not", "logical_xor"),
}


# ------------------------------------------------------------------------------------------------------- whole arrays


def _of_values(function: Any, *args: Any, **options: Any) -> Any:
    """A function that is constant near almost every point."""
    return function(*map(_value, args), **options)


def _linear(function: Any, x: Any, *args: Any, **options: Any) -> Dual:
    """A function that is linear in its first argument, an array or a sequence of arrays."""
    if isinstance(x, Dual):
        return Dual(function(x.value, *args, **options), function(x.tangent, *args, **options))
    tangents = [np.zeros(np.shape(each)) + _tangent(each) for each in x]
    return Dual(function([_value(each) for each in x], *args, **options), function(tangents, *args, **options))


def _product(function: Any, a: Any, b: Any, **options: Any) -> Dual:
    """A function that is linear in each of its two arguments."""
    return Dual(function(_value(a), _value(b), **options), _bilinear(function, a, b, **options))


def _like(function: Any, x: Any, *args: Any, **options: Any) -> Any:
    """An array of the shape of x whose elements do not depend on those of x."""
    value = np.zeros_like(x.value) if function is np.empty_like else function(x.value, *args, **options)
    return Dual(value) if value.dtype == np.float64 else value


def _where(_: Any, condition: Any, a: Any, b: Any) -> Dual:
    condition = _value(condition)
    return Dual(np.where(condition, _value(a), _value(b)), np.where(condition, _tangent(a), _tangent(b)))


def _clip(_: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    if low is not None:
        x = np.maximum(x, low)
    return x.copy() if high is None else np.minimum(x, high)


def _extreme(place: Callable[..., Any]) -> Callable[..., Any]:
    """The largest or smallest element, given argmax or argmin; the first of equal ones."""

    def of(_: Any, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        if axis is None:
            found = x.ravel()[place(x.value)]
            return found.reshape((1,) * x.ndim) if keepdims else found
        places = np.expand_dims(place(x.value, axis=axis), axis)
        value, tangent = (np.take_along_axis(part, places, axis) for part in (x.value, x.tangent))
        found = Dual(value, tangent)
        return found if keepdims else np.squeeze(found, axis)

    return of


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("sum", "mean", "cumsum", "trace", "diagonal", "copy", "ravel", "reshape", "transpose", "swapaxes", "moveaxis")
        + ("squeeze", "expand_dims", "broadcast_to", "repeat", "tile", "flip", "roll", "take", "take_along_axis")
        + ("concatenate", "stack", "hstack", "vstack"),
        _linear,
    ),
    **dict.fromkeys(("dot", "inner", "outer", "tensordot"), _product),
    **dict.fromkeys(("any", "all", "argmax", "argmin", "argsort", "shape", "ndim", "size"), _of_values),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like"), _like),
    **dict.fromkeys(("max", "amax"), _extreme(np.argmax)),
    **dict.fromkeys(("min", "amin"), _extreme(np.argmin)),
    "where": _where,
    "clip": _clip,
}
