"""Data in batches: what is taken for them, what an epoch gives, and what is refused."""

import numpy as np
import pytest

from fastbp.training.batches import Batches, are_batches

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6)
PAIRS = [(X[:4], Y[:4]), (X[4:], Y[4:])]


class Again:
    """Begins anew in every epoch, as a DataLoader does."""

    def __iter__(self):
        return iter(PAIRS)


class OffersItself:
    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return self.x

    def __iter__(self):
        return iter(self.x)


class ByDlpack:
    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **keywords):
        return self.x.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()

    def __iter__(self):
        return iter(self.x)


@pytest.mark.parametrize("source", [PAIRS, tuple(PAIRS), iter(PAIRS), Again(), (pair for pair in PAIRS), []])
def test_these_are_batches(source):
    assert are_batches(source)


@pytest.mark.parametrize(
    "other",
    [X, X[0, 0], OffersItself(X), ByDlpack(X), None, 3, "xy", b"xy", memoryview(X), {0: X}, {1}, list, np.ndarray],
)
def test_these_are_not(other):
    assert not are_batches(other)


def test_libraries_arrays_are_not():
    for name, make in (
        ("pandas", lambda m: m.DataFrame(X)),
        ("torch", lambda m: m.tensor(X)),
        ("scipy.sparse", lambda m: m.csr_matrix(X)),
        ("scipy.sparse", lambda m: m.coo_array(X)),
    ):
        try:
            module = __import__(name, fromlist=["x"])
        except ImportError:
            continue
        assert not are_batches(make(module)), name


def test_an_epoch_gives_what_the_source_gives():
    for source in (PAIRS, Again(), (pair for pair in PAIRS), [list(pair) for pair in PAIRS]):
        got = list(Batches(source).epoch())
        assert len(got) == 2
        for (x, y, weights), (expected_x, expected_y) in zip(got, PAIRS, strict=True):
            assert x is expected_x and y is expected_y and weights is None
    weights = np.ones(6)
    (batch,) = Batches([(X, Y, weights)]).epoch()
    assert batch[2] is weights
    (batch,) = Batches([(X, Y, None)]).epoch()
    assert batch[2] is None


def test_epochs_are_counted_and_lazy():
    batches = Batches(Again())
    assert batches.epochs == 0
    for number in (1, 2, 3):
        assert len(list(batches.epoch())) == 2 and batches.epochs == number
    given = []

    def stream():
        for pair in PAIRS:
            given.append(pair)
            yield pair

    epoch = Batches(stream()).epoch()
    assert given == []
    next(epoch)
    assert len(given) == 1


@pytest.mark.parametrize("used_up", [lambda: (pair for pair in PAIRS), lambda: iter(PAIRS)])
def test_a_generator_gives_one_epoch(used_up):
    batches = Batches(used_up(), "stream")
    assert len(list(batches.epoch())) == 2
    with pytest.raises(ValueError, match=r"^stream gave no batches in epoch 2: a \w+ can be gone through once"):
        next(batches.epoch())


def test_nothing_at_all():
    with pytest.raises(ValueError, match="^X gave no batches$"):
        next(Batches([]).epoch())
    source = list(PAIRS)
    batches = Batches(source)
    list(batches.epoch())
    source.clear()
    with pytest.raises(ValueError, match="^X gave no batches in epoch 2$"):
        next(batches.epoch())


@pytest.mark.parametrize(
    "batch, came",
    [
        (X, "ndarray"),
        ((X,), "1 values"),
        ((X, Y, Y, Y), "4 values"),
        ({"x": X, "y": Y}, "dict"),
        ("xy", r"'xy' \(str\)"),
        (None, "None"),
        ([1.0] * 5, "5 values"),
    ],
)
def test_what_is_no_batch(batch, came):
    batches = Batches([PAIRS[0], batch]).epoch()
    next(batches)
    with pytest.raises(TypeError, match=rf"^X must give batches \(x, y\) or .*, got {came} as batch 2$"):
        next(batches)


def test_errors_of_the_source_pass():
    def broken():
        yield PAIRS[0]
        raise OSError("the disk is gone")

    epoch = Batches(broken()).epoch()
    next(epoch)
    with pytest.raises(OSError, match="the disk is gone"):
        next(epoch)


def test_a_data_loader():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=4)
    assert are_batches(loader)
    batches = Batches(loader)
    for _ in range(2):
        for (x, y, weights), (expected_x, expected_y) in zip(batches.epoch(), PAIRS, strict=True):
            assert weights is None and np.array_equal(x, expected_x) and np.array_equal(y, expected_y)
