"""Whether contestants compute what the NumPy twin computes. A contestant that does not is not timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import reference
from .contestants import Twin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contestants import Contestant, Predictor
    from .nets import Net

# Tolerated distance between the weights of a contestant and of the twin after an epoch, as a share of the way that the
# twin's weights went. In float32 an Adam step may have the other sign for a weight whose gradient is rounding noise,
# hence the wide tolerance; float64 is the sharp check.
TOLERANCES = {"float64": 1e-8, "float32": 2e-2}


def agree(got: Any, expected: Any, tolerance: float) -> None:
    """Raise AssertionError unless arrays, or tuples of them, agree.

    tolerance: the largest difference, as a share of the largest element expected.
    """
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected):
            agree(one, other, tolerance)
        return
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}; expected {expected.shape}"
    difference = np.abs(got.astype(np.float64) - expected).max()
    scale = np.abs(expected.astype(np.float64)).max()
    assert difference <= tolerance * scale, f"differs by {difference:.2e}; the largest element is {scale:.2e}"


class OtherResults(Exception):
    """A contestant does not compute what the twin computes."""


def verify(net: Net, contestants: Iterable[Callable[..., Contestant]], threads: int | None = None) -> None:
    """Raise OtherResults unless all make the same updates: three minibatches and a half, in float64 and in float32."""
    rows = min(net.rows, 3 * net.batch + net.batch // 2)
    for dtype in TOLERANCES:
        data = net.data(rows, dtype)
        verify_epoch(net, data, [contestant(net, *data, threads) for contestant in contestants])


def verify_epoch(net: Net, data: tuple[NDArray[Any], NDArray[Any]], contestants: Iterable[Contestant]) -> None:
    """Raise OtherResults unless all, made from these data, end an epoch without shuffling where the twin ends it."""
    dtype = data[0].dtype.name
    start = net.start(dtype).parameters
    expected = Twin(net, *data)
    expected.epochs(1, shuffle=False)
    moved = np.linalg.norm(expected.parameters() - start)
    assert moved > 0
    for one in contestants:
        one.epochs(1, shuffle=False)
        apart = np.linalg.norm(one.parameters() - expected.parameters()) / moved
        if not apart < getattr(one, "tolerances", TOLERANCES)[dtype]:
            raise OtherResults(f"{one.name} trains {net.name} differently: {apart:.1e} of the way, {dtype}")


def verify_outputs(net: Net, one: Predictor) -> None:
    """Raise OtherResults unless a contestant predicts what the twin predicts.

    The tolerance is 1e-5 of the largest output for a hundred rows: a single output may be small by cancellation.
    """
    dtype = one.X.dtype.name
    twin = reference.Network(net.widths[0], net.layers(), dtype=dtype)
    got, expected = one.predict(), twin.predict(one.X)
    scale = np.abs(twin.predict(net.data(100, dtype)[0])).max()
    if one.probabilities:
        activation = "softmax" if net.loss == "softmax_cross_entropy" else "sigmoid"
        expected, scale = getattr(reference, f"{activation}_forward")(expected), 1.0
    if type(got) is not np.ndarray or got.dtype != expected.dtype or got.shape != expected.shape:
        shape, kind = (getattr(got, name, None) for name in ("shape", "dtype"))
        raise OtherResults(
            f"{one.name} predicts a {type(got).__name__} of {kind} {shape}, not {dtype} {expected.shape}"
        )
    apart = np.abs(got - expected).max() / scale
    if not apart < 1e-5:
        raise OtherResults(
            f"{one.name} predicts differently with {net.name}: {apart:.1e} of the largest output, {dtype}"
        )
