"""Metrics: literals, scikit-learn's values, and the meaning of names with each loss."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import metrics

sklearn = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn, which is not installed")


def test_literals():
    output = np.array([[1.0, 2, 0], [3, 1, 2], [0, 1, 5]])
    labels = np.array([1, 1, 2])
    assert metrics.accuracy(output, labels) == pytest.approx(2 / 3)
    assert metrics.accuracy(output, np.eye(3)[labels]) == pytest.approx(2 / 3)
    assert [metrics.top_k(output, labels, k) for k in (1, 2, 3)] == pytest.approx([2 / 3, 2 / 3, 1])
    assert metrics.binary_accuracy(np.array([[1.0], [-1], [2]]), np.array([1.0, 1, 1])) == pytest.approx(2 / 3)
    y, t = np.array([[1.0], [2], [3]]), np.array([1.0, 2, 5])
    assert metrics.mean_absolute_error(y, t) == pytest.approx(2 / 3)
    assert metrics.mean_squared_error(y, t) == pytest.approx(4 / 3)
    assert metrics.r2(y, t) == pytest.approx(1 - 4 / (26 / 3))
    assert metrics.r2(y[:2], y[:2] * 0 + 1) == 0 and metrics.r2(y * 0, y[:, 0] * 0) == 1


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    output, labels = rng.normal(size=(500, 7)), rng.integers(0, 7, 500)
    assert metrics.accuracy(output, labels) == pytest.approx(sklearn.accuracy_score(labels, output.argmax(axis=1)))
    for k in (1, 3, 6):
        assert metrics.top_k(output, labels, k) == pytest.approx(sklearn.top_k_accuracy_score(labels, output, k=k))
    target = rng.normal(size=(500, 7))
    for name in ("r2", "mean_absolute_error", "mean_squared_error"):
        theirs = getattr(sklearn, "r2_score" if name == "r2" else name)
        assert getattr(metrics, name)(output, target) == pytest.approx(theirs(target, output), rel=1e-12)


def test_names():
    softmax, binary, squares = fb.SoftmaxCrossEntropy(), fb.BinaryCrossEntropy(), fb.MeanSquaredError()
    assert metrics.resolve("accuracy", softmax) == {"accuracy": metrics.accuracy}
    assert metrics.resolve(["accuracy"], binary) == {"accuracy": metrics.binary_accuracy}
    assert list(metrics.resolve(("top_5", len), softmax)) == ["top_5", "len"]
    assert metrics.resolve({"mine": max}, softmax) == {"mine": max} and metrics.resolve((), squares) == {}
    for given, loss, kind, message in [
        ("accuracy", squares, ValueError, "'accuracy' does not go with the loss mean_squared_error"),
        ("top_2", binary, ValueError, "'top_2' does not go with"),
        ("r2", softmax, ValueError, "'r2' does not go with"),
        ("accuracy", lambda z, t: 0, ValueError, "given as a function"),
        ("f1", softmax, ValueError, "metrics must be among 'accuracy'.*got 'f1'"),
        ("top_0", softmax, ValueError, "got 'top_0'"),
        ([3], softmax, TypeError, "metrics must hold names and functions, got 3"),
        (3, softmax, TypeError, "metrics must be names"),
        ({"a": 3}, softmax, TypeError, "metrics must map names to functions"),
        ([len, len], softmax, ValueError, "names that differ"),
    ]:
        with pytest.raises(kind, match=message):
            metrics.resolve(given, loss)
