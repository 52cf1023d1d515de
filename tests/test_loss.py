"""Losses: literals, the distance to the twin, differences, and the edges.

The core takes narrow rows one to a lane, unless there are few, and wider ones along the row, and rows in blocks of 256:
sizes here lie on both sides of each border.
"""

import math

import numpy as np
import pytest
from arrays import (
    BLOCK,
    DTYPES,
    LANES,
    PLACES,
    TOLERANCE,
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    distance,
    each_layout,
    guarded,
    guarded_empty,
    needs_guard_pages,
    needs_two_fused,
    real,
    ulps,
    wider,
)

from fastbp import _core, losses, ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 100)
each_width = pytest.mark.parametrize("columns", WIDTHS)
each_reduction = pytest.mark.parametrize("reduction", ["mean", "sum"])

CASES = ("labels", "probabilities", "binary", "squares", "pinball")
each_case = pytest.mark.parametrize("case", CASES)
OPERATION = {
    "labels": "softmax_cross_entropy",
    "probabilities": "softmax_cross_entropy",
    "binary": "binary_cross_entropy",
    "squares": "mean_squared_error",
    "pinball": "pinball",
}
CODES = {
    "labels": losses.SoftmaxCrossEntropy.code_labels,
    "probabilities": losses.SoftmaxCrossEntropy.code,
    "binary": losses.BinaryCrossEntropy.code,
    "squares": losses.MeanSquaredError.code,
    "pinball": losses.Pinball.code,
}


def levels(case, columns):
    """A quantile for each column; every third is 1/2."""
    return np.resize([0.1, 0.9, 0.5, 0.25], columns) if case == "pinball" else None


def example(case, rows, columns, dtype="float64", seed=0):
    """Logits or predictions, and targets for them."""
    z = real(seed, (rows, columns), dtype, -4, 4)
    if case == "labels":
        return z, np.random.default_rng(seed + 1).integers(0, columns, rows)
    if case == "probabilities":
        t = real(seed + 1, (rows, columns), dtype, 0, 1)
        return z, (t / t.sum(axis=1, keepdims=True)).astype(dtype)
    if case == "binary":
        return z, real(seed + 1, (rows, columns), dtype, 0, 1)
    return z, real(seed + 1, (rows, columns), dtype, -4, 4)


def loss(case, z, target, reduction="mean", of=ops):
    quantiles = {"quantiles": list(levels(case, z.shape[1]))} if case == "pinball" else {}
    return getattr(of, OPERATION[case])(z, target, reduction=reduction, **quantiles)


def in_float64(x):
    return x if x.dtype.kind in "iu" else x.astype("float64")


def test_every_loss_is_here():
    assert {losses.loss(name).name for name in OPERATION.values()} == {cls.name for cls in losses.Loss.__subclasses__()}


# ----------------------------------------------------------------------------------------------------------- literals

# By hand. exp of (0, log 3) is (1, 3), the probabilities 1/4 and 3/4. sigmoid(log 3) is 3/4. Sums; a mean divides them.
LOG2, LOG3, LOG4 = math.log(2), math.log(3), math.log(4)
LITERALS = {
    "label of the less likely": ("labels", [[0, LOG3]], [0], LOG4, [[-3 / 4, 3 / 4]]),
    "label of the more likely": ("labels", [[0, LOG3]], [1], LOG4 - LOG3, [[1 / 4, -1 / 4]]),
    "labels, two rows": ("labels", [[5, 5 + LOG3], [0, 0]], [0, 1], LOG4 + LOG2, [[-3 / 4, 3 / 4], [1 / 2, -1 / 2]]),
    "one class": ("labels", [[7.5], [-3]], [0, 0], 0, [[0], [0]]),
    "even odds": ("labels", [[2.0] * 16] * 2, [3, 15], 2 * 4 * LOG2, (1 / 16 - np.eye(16)[[3, 15]]).tolist()),
    "half and half": ("probabilities", [[0, LOG3]], [[1 / 2, 1 / 2]], LOG4 - LOG3 / 2, [[-1 / 4, 1 / 4]]),
    # -3 log(1/4) - 1 log(3/4): twice the mass in all, so the softmax comes in fourfold.
    "not probabilities": ("probabilities", [[0, LOG3]], [[3, 1]], 4 * LOG4 - LOG3, [[-2, 2]]),
    "no mass": ("probabilities", [[0, LOG3]], [[0, 0]], 0, [[0, 0]]),
    "coin": ("binary", [[0, 0, 0]], [[0, 1, 0.25]], 3 * LOG2, [[0.5, -0.5, 0.25]]),
    "binary": ("binary", [[LOG3, LOG3, -LOG3]], [[1, 0, 0]], 3 * LOG4 - 2 * LOG3, [[-1 / 4, 3 / 4, 1 / 4]]),
    "squares": ("squares", [[1, -2, 0.5]], [[3, -2, 0]], 4.25, [[-4, 0, 1]]),
    # u = target - y = 2, -2, 0, 4 at the levels 0.1, 0.9, 0.5, 0.25: 0.1 * 2, 0.1 * 2, 0, 0.25 * 4.
    "pinball": ("pinball", [[1, 1, 1, -3]], [[3, -1, 1, 1]], 1.4, [[-0.1, 0.1, -0.5, -0.25]]),
}


@each_dtype
@each_reduction
@pytest.mark.parametrize("case, z, target, total, slope", LITERALS.values(), ids=LITERALS.keys())
def test_losses_worked_out_by_hand(isa, case, z, target, total, slope, reduction, dtype):
    z = np.array(z, dtype)
    target = np.array(target, "int64" if case == "labels" else dtype)
    terms = 1 if reduction == "sum" else z.shape[0] if OPERATION[case] == "softmax_cross_entropy" else z.size
    got, gradient = loss(case, z, target, reduction)
    assert type(got) is float and gradient.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    assert got == pytest.approx(total / terms, rel=8 * eps, abs=8 * eps)
    np.testing.assert_allclose(gradient, np.array(slope) / terms, rtol=8 * eps, atol=eps)


@each_dtype
def test_losses_worked_out_with_mpmath(isa, dtype):
    eps = float(np.finfo(dtype).eps)
    row = np.array([[1, 2, 3]], dtype)
    got, _ = ops.softmax_cross_entropy(row, np.array([0]))
    assert got == pytest.approx(2.4076059644443803045, rel=4 * eps)
    got, gradient = ops.binary_cross_entropy(np.array([[2.0]], dtype), np.array([[1.0]], dtype))
    assert got == pytest.approx(0.12692801104297249644, rel=8 * eps)
    assert gradient[0, 0] == pytest.approx(-0.11920292202211755594, rel=4 * eps)


def test_one_quantile_for_all_columns(isa):
    y, target = np.array([[1.0, 1.0]]), np.array([[2.0, 0.0]])
    assert ops.pinball(y, target, 0.25, "sum")[0] == 0.25 + 0.75
    assert ops.pinball(y, target)[0] == 0.5
    assert_same_bits(ops.pinball(y, target, 0.25), ops.pinball(y, target, [0.25, 0.25]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "uint64"])
def test_labels_of_any_integer_dtype(isa, dtype):
    z, target = example("labels", 9, 5)
    assert_same_bits(ops.softmax_cross_entropy(z, target.astype(dtype)), ops.softmax_cross_entropy(z, target))


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_reduction
@each_case
def test_against_the_twin(isa, case, reduction, dtype):
    for columns in WIDTHS:
        for rows in (1, 2, 7, 8, 9, 15, 16, 17, 33):
            z, target = example(case, rows, columns, dtype, seed=rows)
            expected = loss(case, in_float64(z), in_float64(target), reduction, reference)
            if case in ("labels", "probabilities") and columns == 1:  # log 1 and 1 - 1
                assert_same_bits(loss(case, z, target, reduction), (0.0, np.zeros_like(z)))
            else:
                assert_close(loss(case, z, target, reduction), expected, dtype)


@each_dtype
@each_case
@pytest.mark.parametrize("rows", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_blocks_of_rows(isa, case, rows, dtype):
    for columns in (1, 3, 10):
        z, target = example(case, rows, columns, dtype)
        expected = loss(case, in_float64(z), in_float64(target), "mean", reference)
        got = loss(case, z, target)
        assert abs(got[0] - expected[0]) <= TOLERANCE[dtype] * max(expected[0], 1)
        assert distance(got[1], expected[1]) <= TOLERANCE[dtype] or columns == 1


@each_dtype
def test_binary_cross_entropy_gradient_in_ulp(isa, dtype):
    # Where the target is 0 or 1 nothing cancels, however close the sigmoid comes to it: exp (1), 1 + e and a quotient.
    wide = wider(dtype)
    for target in (0, 1):
        z = np.concatenate([real(k, (20000, 1), dtype, -k, k) for k in (1, 20, 80)])
        Z = z.astype(wide)
        expected = 1 / (1 + np.exp(-Z)) if target == 0 else -1 / (1 + np.exp(Z))
        _, gradient = ops.binary_cross_entropy(z, np.full_like(z, target), "sum")
        assert ulps(gradient, expected).max() <= 3


# ------------------------------------------------------------------------------------------------ central differences


@each_reduction
@each_case
@pytest.mark.parametrize("columns", [1, 3, 8, 9, 17])
def test_gradient_against_differences(isa, case, columns, reduction):
    z, target = example(case, 3, columns)
    if case == "pinball":  # no target is as close to z as the difference reaches
        assert np.abs(z - target).min() > 2e-3
    gradient = loss(case, z, target, reduction)[1]
    expected = central_difference(lambda z: loss(case, z, target, reduction)[0], z, 1e-3)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("columns", [3, 12])
def test_gradient_of_targets_that_do_not_sum_to_one(isa, columns):
    z, target = example("binary", 4, columns)
    expected = central_difference(lambda z: loss("probabilities", z, target)[0], z)
    np.testing.assert_allclose(loss("probabilities", z, target)[1], expected, rtol=0, atol=1e-9)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_width
def test_large_logits(isa, columns, dtype):
    for large in (1e4, 1e30):
        z = np.full((columns, columns), -large, dtype)
        np.fill_diagonal(z, large)
        right, wrong, one_hot = np.arange(columns), np.roll(np.arange(columns), 1), np.eye(columns, dtype=dtype)
        big = 2 * float(z[0, 0]) * (columns > 1)
        for target, total, slope in (
            (right, 0, 0 * one_hot),
            (wrong, big, one_hot - one_hot[wrong]),
            (one_hot, 0, 0 * one_hot),
            (one_hot[wrong], big, one_hot - one_hot[wrong]),
        ):
            got, gradient = ops.softmax_cross_entropy(z, target)
            assert got == pytest.approx(total, rel=TOLERANCE[dtype], abs=0)
            assert_same_bits(gradient + 0, (slope * (1 / columns)).astype(dtype) + 0)
        # A wrong logit costs its size, a right one nothing.
        for target, total, slope in (((z > 0), 0, 0), ((z < 0), abs(float(z[0, 0])), np.where(z > 0, 1, -1))):
            got, gradient = ops.binary_cross_entropy(z, target.astype(dtype))
            assert got == pytest.approx(total, rel=TOLERANCE[dtype])
            assert distance(gradient, slope / z.size * np.ones_like(z, "float64")) <= TOLERANCE[dtype]


@each_dtype
@each_case
def test_a_row_does_not_depend_on_its_place(isa, case, dtype):
    for columns in (1, 3, 4, 5, 8, 9, 20):
        rows = 2 * LANES[dtype] + 3
        z, target = example(case, rows, columns, dtype)
        alone = [loss(case, z[i : i + 1], target[i : i + 1], "sum") for i in range(rows)]
        for first in range(rows):
            for end in {first + 1, min(first + LANES[dtype], rows), rows}:
                total, gradient = loss(case, z[first:end], target[first:end], "sum")
                assert_same_bits(gradient, np.concatenate([a[1] for a in alone[first:end]]))
                in_order = 0.0
                for a in alone[first:end]:
                    in_order += a[0]
                assert total == in_order


@needs_two_fused
@each_dtype
@each_case
def test_the_same_bits_on_every_instruction_set(case, dtype):
    for columns in WIDTHS:
        z, target = example(case, 37, columns, dtype)
        assert_same_on_fused(loss, case, z, target)
        z[5, columns // 2], z[6, 0], z[7, -1] = np.nan, np.inf, -np.inf
        assert_same_on_fused(loss, case, z, target)
    z, target = example(case, BLOCK + 3, 10, dtype)
    assert_same_on_fused(loss, case, z, target)


@each_dtype
@each_case
@each_layout
def test_layouts(isa, layout, case, dtype):
    for columns in (3, 19):
        z, target = example(case, 21, columns, dtype)
        assert_same_bits(loss(case, layout(z), layout(target)), loss(case, z, target))


@each_dtype
@each_case
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_show_wherever_they_stand(isa, case, bad, dtype):
    for columns in (2, 3, 5, 8, 9, 17, 35):
        for rows in (1, 3, LANES[dtype] + 1):
            z, target = example(case, rows, columns, dtype)
            clean = loss(case, z, target, "sum")[1]
            row = rows // 2
            others = np.arange(rows) != row
            for j in range(columns):
                for spoiled in ("z", "target") if case != "labels" else ("z",):
                    z_, target_ = z.copy(), target.copy()
                    (z_ if spoiled == "z" else target_)[row, j] = bad
                    if case == "labels" and bad == -np.inf and target[row] != j:
                        continue  # a class that is impossible, and does not come: see below
                    got, gradient = loss(case, z_, target_, "sum")
                    assert not math.isfinite(got), (columns, rows, j, spoiled)
                    assert_same_bits(gradient[others], clean[others])
                    if case in ("labels", "probabilities") and not (spoiled == "z" and bad == -np.inf):
                        assert not np.isfinite(gradient[row]).any()
                    elif case == "squares" or case == "binary" and (spoiled == "target" or np.isnan(bad)):
                        assert not np.isfinite(gradient[row, j])
                        assert_same_bits(np.delete(gradient[row], j), np.delete(clean[row], j))


@each_dtype
@pytest.mark.parametrize("columns", [2, 5, 8, 9, 17, 35])
def test_an_impossible_class_that_does_not_come(isa, columns, dtype):
    for j in range(columns):
        z, target = example("probabilities", 3, columns, dtype)
        z[1, j], target[1, j] = -np.inf, 0
        labels = np.full(3, (j + 1) % columns)
        without = [np.delete(a, j, axis=1).astype("float64") for a in (z, target)]
        for given, expected in (
            (target, reference.softmax_cross_entropy(without[0][1:2], without[1][1:2])[0]),
            (labels, reference.softmax_cross_entropy(without[0][1:2], np.array([(labels[1] - (labels[1] > j))]))[0]),
        ):
            got, gradient = ops.softmax_cross_entropy(z[1:2], given[1:2])
            assert got == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
            assert gradient[0, j] == 0 and np.isfinite(gradient).all()
            assert_same_bits(ops.softmax_cross_entropy(z, given, "sum")[1][1:2], gradient)


@each_dtype
def test_pinball_at_its_kink(isa, dtype):
    for columns in (1, 4, 17):
        for zero in (0.0, -0.0):
            y = np.full((3, columns), zero, dtype)
            got, gradient = loss("pinball", y, np.abs(y), "sum")
            assert got == 0
            assert_same_bits(gradient, np.tile(-levels("pinball", columns).astype(dtype), (3, 1)))


@each_dtype
@each_case
def test_no_rows(isa, case, dtype):
    z, target = example(case, 0, 4, dtype)
    total, gradient = loss(case, z, target, "sum")
    assert total == 0 and gradient.shape == (0, 4) and gradient.dtype == dtype
    with pytest.raises(ValueError, match="mean"):
        loss(case, z, target)


@each_dtype
@each_case
def test_the_gradient_may_take_the_place_of_z(isa, case, dtype):
    for columns in (1, 3, 4, 5, 8, 9, 20):
        for rows in (1, LANES[dtype] + 3, BLOCK + 1):
            z, target = example(case, rows, columns, dtype)
            expected = loss(case, z, target)
            got = _core.loss(CODES[case], z, target, levels(case, columns), False, z)
            assert_same_bits((got, z), expected)


@needs_guard_pages
@each_dtype
@each_case
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, case, dtype, place):
    for columns in WIDTHS:
        for rows in (1, 2, LANES[dtype] - 1, LANES[dtype], LANES[dtype] + 1):
            z, target = example(case, rows, columns, dtype)
            dz = guarded_empty(z.shape, dtype, place)
            quantiles = levels(case, columns)
            quantiles = None if quantiles is None else guarded(quantiles, place)
            got = _core.loss(CODES[case], guarded(z, place), guarded(target, place), quantiles, False, dz)
            assert_same_bits((got, dz), loss(case, z, target))


def test_labels_out_of_range_are_refused_before_anything_is_written(isa):
    z, dz = np.zeros((3, 4)), np.full((3, 4), 7.0)
    for bad in (-1, 4, 2**62, -(2**63)):
        with pytest.raises(ValueError, match=r"target\[1\] is"):
            _core.loss(CODES["labels"], z, np.array([0, bad, 0]), None, False, dz)
        assert (dz == 7).all()
