"""Checks of arguments, shared by the operations, the network and the trainer.

Each check returns an argument that the core can take: for an array, an aligned, C-contiguous one, which is the argument
itself where it is so already. An error names the argument, what was expected and what came: TypeError for kinds,
ValueError for values.

The core takes arguments that are ready without calling anything here, and gives the others to the functions that the
last line of this module registers.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy
from numpy import ndarray

from .. import _core
from . import declarative

if TYPE_CHECKING:
    from numpy.typing import NDArray

    DType: TypeAlias = numpy.dtype[Any]
    Real = TypeVar("Real", bound=numpy.floating[Any])
    Reals: TypeAlias = NDArray[numpy.floating[Any]]

FLOAT32: DType = numpy.dtype("float32")
FLOAT64: DType = numpy.dtype("float64")
INT64: DType = numpy.dtype("int64")
UINT8: DType = numpy.dtype("uint8")
AT_ONCE = 1 << 22  # elements checked in one call, between which signals are handled


def kind(value: object) -> str:
    """The kind of a value, for an error message: "list", "int64 array"."""
    if isinstance(value, ndarray):
        if hasattr(value, "mask"):
            return "masked array"
        return f"{value.dtype} array"
    return declarative.described(value)


def array(name: str, x: Any, ndim: int | None = None, dtype: DType | None = None) -> Reals:
    """Check an array of reals.

    Parameters
    ----------
    name : str
        The argument's name, for the error message.
    x : ndarray of float32 or float64
    ndim : int, optional
        The number of dimensions it must have; any when None.
    dtype : dtype, optional
        The dtype of the other arguments, which this one must share.

    Returns
    -------
    ndarray
        `x`, or a copy of it when it is not contiguous or not aligned.

    Raises
    ------
    TypeError
        Not an array, or of another dtype.
    ValueError
        Of another number of dimensions.
    """
    real = _real(name, x, ndim, dtype)
    flags = real.flags
    if not flags.carray and not (flags.c_contiguous and flags.aligned):  # most arrays pass the first test
        real = real.copy()
    return real


def in_place(name: str, x: Any, ndim: int | None = None, dtype: DType | None = None) -> Reals:
    """Check an array of reals that is updated in place.

    Parameters
    ----------
    name, x, ndim, dtype
        See `array`.

    Returns
    -------
    ndarray
        `x`, or for an instance of a subclass a plain array over the same memory.

    Raises
    ------
    TypeError
        Not an array, or of another dtype.
    ValueError
        Of another number of dimensions, not contiguous, not aligned or read-only.
    """
    real = _real(name, x, ndim, dtype)
    if not real.flags.carray:
        raise ValueError(f"{name} is updated in place: it must be writeable, contiguous and aligned")
    return real


def _real(name: str, x: Any, ndim: int | None, dtype: DType | None) -> Reals:
    plain: Reals = x if type(x) is ndarray else _plain(name, x, "a float32 or float64")
    its = plain.dtype
    if its is not dtype and its != dtype:
        if dtype is not None:
            raise TypeError(f"{name} must be a {dtype} array like the arguments before it, got {kind(plain)}")
        if its is not FLOAT32 and its is not FLOAT64 and its != FLOAT32 and its != FLOAT64:
            raise TypeError(f"{name} must be a float32 or float64 array, got {kind(plain)}")
    if ndim is not None and plain.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension{'s' * (ndim != 1)}, got shape {plain.shape}")
    return plain


def arrayed(name: str, x: Any) -> Any:
    """Convert an object that offers itself as an array, by ``__array__`` or DLPack; return anything else as it is.

    Parameters
    ----------
    name : str
        The argument's name, for the error message.
    x : object
        A pandas DataFrame or Series, a PyTorch tensor in the memory of the processor, a JAX array, ...

    Returns
    -------
    ndarray or object
        Over the memory of `x` where that is possible.

    Raises
    ------
    TypeError
        The object cannot be read, such as a tensor in the memory of another device, or holds Python objects.
    """
    if isinstance(x, (ndarray, numpy.generic, type)):
        return x
    if hasattr(x, "__array__"):
        read: Any = numpy.asarray
    elif hasattr(x, "__dlpack__"):
        read = numpy.from_dlpack
    else:
        return x
    try:
        found = read(x)
    except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as error:
        came = declarative.described(x)
        raise TypeError(
            f"{name} must be an array that NumPy can read, got {came}, of which it says: {error}"
        ) from error
    if found.dtype == object:
        raise TypeError(
            f"{name} must hold numbers of one kind, got {declarative.described(x)} that becomes an object array: "
            "convert columns of text, of mixed kinds or with missing values first"
        )
    return found


def inputs(name: str, x: Any, columns: int, taker: str) -> NDArray[Any]:
    """Check rows of inputs. They may have any strides and alignment: the core converts them row by row.

    Parameters
    ----------
    name : str
        The argument's name, for the error message.
    x : ndarray of float32, float64 or uint8, (B, columns), or an object that `arrayed` converts to one
        uint8 values are scaled by 1/255.
    columns : int
    taker : str
        What takes this number of columns, for the error message: "the network".

    Returns
    -------
    ndarray, (B, columns)
        `x`, as a plain array.

    Raises
    ------
    TypeError
        Not an array of these dtypes.
    ValueError
        Not of two dimensions, or of another width.
    """
    x = arrayed(name, x)
    rows: NDArray[Any] = x if type(x) is ndarray else _plain(name, x, "a float32 or float64")
    if rows.dtype not in (FLOAT32, FLOAT64, UINT8):
        advice = ""
        if rows.dtype.kind in "iub":
            advice = f": write {name}.astype('float32'), or 'uint8' for pixels, which are divided by 255"
        raise TypeError(f"{name} must be a float32 or float64 array, got {kind(rows)}{advice}")
    if rows.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions, got shape {rows.shape}")
    if rows.shape[1] != columns:
        raise ValueError(f"{name} has {rows.shape[1]} columns; {taker} takes {columns}")
    return rows


def converted(x: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """Return `x` in `dtype`; a value that is too large becomes inf, silently: `finite` reports it."""
    if x.dtype == dtype:
        return x
    with numpy.errstate(over="ignore", under="ignore"):
        return x.astype(dtype)


def finite(name: str, x: Reals, advice: str = "clean the data, or pass allow_nonfinite=True") -> None:
    """Refuse nan and inf in a contiguous array of reals.

    Raises
    ------
    ValueError
        Naming the first element that is not finite, and `advice`.
    """
    if not _core.all_finite(x):
        where = tuple(int(i) for i in numpy.argwhere(~numpy.isfinite(x))[0])
        raise ValueError(f"{name}[{', '.join(map(str, where))}] is {x[where]} in {x.dtype}; {advice}")


def finite_inputs(
    name: str, x: NDArray[Any], dtype: DType, advice: str = "clean the data, or pass allow_nonfinite=True"
) -> None:
    """Refuse nan and inf in rows of inputs, as `inputs` returns them, after conversion to `dtype`.

    Raises
    ------
    ValueError
        Naming the first element that is not finite, and `advice`.
    """
    at_once = max(1, AT_ONCE // max(1, x.shape[1]))
    for start in range(0, len(x), at_once):
        part = x[start : start + at_once]
        if not _core.all_rows_finite(part, dtype.itemsize):
            part = converted(part, dtype)
            row, column = (int(i) for i in numpy.argwhere(~numpy.isfinite(part))[0])
            raise ValueError(f"{name}[{start + row}, {column}] is {part[row, column]} in {dtype}; {advice}")


def rows(name: str, x: NDArray[Any], expected: int, other: str) -> None:
    """Refuse an array whose number of rows differs from that of the array called `other`."""
    if x.shape[0] != expected:
        raise ValueError(f"{name} has {x.shape[0]} rows; {other} has {expected}")


def labels(name: str, y: Any, expected_rows: int, classes: int, other: str = "x") -> NDArray[numpy.int64]:
    """Check class numbers.

    Parameters
    ----------
    name : str
        The argument's name, for the error message.
    y : ndarray of an integer dtype, (expected_rows,)
    expected_rows : int
    classes : int
        Each label must be in 0 .. classes - 1.
    other : str
        The argument that has this number of rows.

    Returns
    -------
    ndarray of int64, (expected_rows,)

    Raises
    ------
    TypeError
        Not an array of integers.
    ValueError
        Of another shape, or with a label out of range.
    """
    numbers = integers(name, y)
    rows(name, numbers, expected_rows, other)
    _core.check_labels(name, numbers, classes)
    return numbers


def integers(name: str, y: Any) -> NDArray[numpy.int64]:
    """Check a vector of integers and return it as contiguous int64. Values too large for int64 become negative."""
    plain: NDArray[Any] = y if type(y) is ndarray else _plain(name, y, "an integer")
    shape = plain.shape
    if plain.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an integer array of class numbers, got {kind(plain)}")
    if len(shape) != 1:
        one_hot = len(shape) == 2 and shape[1] > 1
        advice = ": rows of probabilities, as one-hot ones are, must be floats" if one_hot else ""
        raise ValueError(f"{name} must have 1 dimension, got shape {shape}{advice}")
    if plain.dtype is not INT64:
        return plain.astype(numpy.int64)
    flags = plain.flags
    return plain if flags.c_contiguous and flags.aligned else plain.copy()


def targets(name: str, y: Any, expected_rows: int, outputs: int, dtype: DType, other: str = "x") -> Reals:
    """Check targets that are reals, and convert them to `dtype`.

    Parameters
    ----------
    name : str
        The argument's name, for the error message.
    y : ndarray of float32 or float64, (expected_rows, outputs)
        Or (expected_rows,) when `outputs` is 1.
    expected_rows, outputs : int
    dtype : dtype
    other : str
        The argument that has this number of rows.

    Returns
    -------
    ndarray of dtype, (expected_rows, outputs)

    Raises
    ------
    TypeError
        Not an array of float32 or float64.
    ValueError
        Of another shape.
    """
    y = array(name, y)
    if y.ndim == 1 and outputs == 1:
        y = y.reshape(-1, 1)
    if y.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions (rows, {outputs}), got shape {y.shape}")
    rows(name, y, expected_rows, other)
    if y.shape[1] != outputs:
        raise ValueError(f"{name} has {y.shape[1]} columns; there are {outputs} outputs")
    return converted(y, dtype)


def row_weights(name: str, w: Any, expected_rows: int, other: str = "x") -> NDArray[numpy.float64]:
    """Check the weights of rows.

    Parameters
    ----------
    name : str
        The argument's name, for the error message.
    w : ndarray of float32 or float64, (expected_rows,)
    expected_rows : int
    other : str
        The argument that has this number of rows.

    Returns
    -------
    ndarray of float64, (expected_rows,)

    Raises
    ------
    TypeError
        Not an array of float32 or float64.
    ValueError
        Of another shape; or a weight is below 0 or not finite, or their sum is not.
    """
    weights: NDArray[numpy.float64] = converted(array(name, w, 1), FLOAT64)
    rows(name, weights, expected_rows, other)
    finite(name, weights, "weights must be finite")
    if weights.size and weights.min() < 0:
        where = int(weights.argmin())
        raise ValueError(f"{name}[{where}] is {weights[where]}; weights must be at least 0")
    with numpy.errstate(over="ignore"):
        if weights.sum() == inf:
            raise ValueError(f"{name} must have a finite sum, got weights up to {weights.max()}")
    return weights


def number(
    name: str, value: Any, least: float | None = None, above: float | None = None, below: float | None = None
) -> float:
    """As `declarative.number`, and quicker for a float in range."""
    if (
        type(value) is float
        and (-inf < value if least is None else least <= value)
        and (above is None or above < value)
        and value < (inf if below is None else below)
    ):
        return value
    return declarative.number(name, value, least, above, below)


def representable(name: str, value: float, dtype: DType) -> None:
    """Refuse a number that becomes infinite, or 0 where it was not, when rounded to `dtype`.

    Raises
    ------
    ValueError
    """
    if not is_representable(value, dtype):
        with numpy.errstate(over="ignore", under="ignore"):
            raise ValueError(f"{name} is {value:g}, which is {dtype.type(value):g} in {dtype}")


def is_representable(value: float, dtype: DType) -> bool:
    """Whether a number stays finite, and other than 0 unless it is 0, when rounded to `dtype`."""
    if value == 0 or 1e-30 < abs(value) < 1e30:  # the hyperparameters of most layers: NumPy takes a microsecond
        return True
    with numpy.errstate(over="ignore", under="ignore"):
        rounded = dtype.type(value)
    return bool(numpy.isfinite(rounded) and rounded != 0)


def _plain(name: str, x: Any, expected: str) -> NDArray[Any]:
    """View an array of a subclass of ndarray as a plain one. Refuse other objects, and masked arrays."""
    if not isinstance(x, ndarray) or hasattr(x, "mask"):
        raise TypeError(f"{name} must be {expected} array, got {kind(x)}")
    return x.view(ndarray)


_core.prepare_with(
    array, in_place, integers, declarative.number, declarative.integer, declarative.flag, declarative.choice
)
