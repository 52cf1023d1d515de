"""Whether contestants compute what the NumPy twin computes. Nothing is timed that does not."""

import numpy as np

from .. import reference
from .contestants import Twin

# How far from the twin's a contestant's epoch may end, as a share of the way. In float32 one Adam step may go the other
# way for a weight whose gradient is rounding noise, hence the wide tolerance there; float64 is the sharp check.
TOLERANCES = {"float64": 1e-8, "float32": 2e-2}


def agree(got, expected, tolerance):
    """Raise unless arrays, or tuples of them, differ by at most `tolerance` times the largest element expected."""
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


def verify(net, contestants, threads=None):
    """Raise unless all make the same update: an epoch of three minibatches and a half, in float64 and in float32."""
    rows = min(net.rows, 3 * net.batch + net.batch // 2)
    for dtype in TOLERANCES:
        data = net.data(rows, dtype)
        verify_epoch(net, data, [contestant(net, *data, threads) for contestant in contestants])


def verify_epoch(net, data, contestants):
    """Raise OtherResults unless all, made from these data, go where the twin goes in an epoch without shuffling."""
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
            raise OtherResults(f"{one.name} trains {net.name} otherwise: {apart:.1e} of the way, {dtype}")


def verify_outputs(net, one):
    """Raise OtherResults unless a contestant predicts what the twin predicts.

    To 1e-5 of the largest output for a hundred rows: of one row and one output, little may be left by cancellation.
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
        raise OtherResults(f"{one.name} predicts otherwise with {net.name}: {apart:.1e} of the largest output, {dtype}")
