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

import fastbp as fb
from fastbp import _core, losses, ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 100)
each_width = pytest.mark.parametrize("columns", WIDTHS)
each_reduction = pytest.mark.parametrize("reduction", ["mean", "sum"])

OPERATION = {  # of each case
    "labels": "softmax_cross_entropy",
    "probabilities": "softmax_cross_entropy",
    "binary": "binary_cross_entropy",
    "weighted": "binary_cross_entropy",
    "squares": "mean_squared_error",
    "absolute": "mean_absolute_error",
    "huber": "huber",
    "poisson": "poisson",
    "pinball": "pinball",
}
CASES = tuple(OPERATION)
each_case = pytest.mark.parametrize("case", CASES)
BY_CLASS = ("labels", "probabilities")  # cases whose mean is over rows, and which have class weights and smoothing
CODES = {case: losses.loss(name).code for case, name in OPERATION.items()}
CODES["labels"] = losses.SoftmaxCrossEntropy.code_labels
CODES["weighted"] = losses.BinaryCrossEntropy(pos_weight=1).code
OF_COLUMNS = {  # what each column has of its own
    "weighted": ("pos_weight", [0.5, 2.0, 1.0, 3.0, 0.25]),
    "pinball": ("quantiles", [0.1, 0.9, 0.5, 0.25]),
}
DELTA = 1.5


def options(case, columns):
    """The loss's own arguments for so many columns."""
    if case in OF_COLUMNS:
        name, numbers = OF_COLUMNS[case]
        return {name: np.resize(numbers, columns).tolist()}
    return {"delta": DELTA} if case == "huber" else {}


def parameters(case, columns):
    """The same as the core takes them."""
    if case == "huber":
        return DELTA
    return np.array(*options(case, columns).values()) if case in OF_COLUMNS else None


def example(case, rows, columns, dtype="float64", seed=0):
    """Logits or predictions, and targets for them."""
    z = real(seed, (rows, columns), dtype, -4, 4)
    if case == "labels":
        return z, np.random.default_rng(seed + 1).integers(0, columns, rows)
    if case == "probabilities":
        t = real(seed + 1, (rows, columns), dtype, 0, 1)
        return z, (t / t.sum(axis=1, keepdims=True)).astype(dtype)
    if case in ("binary", "weighted"):
        return z, real(seed + 1, (rows, columns), dtype, 0, 1)
    if case == "poisson":
        return z, np.random.default_rng(seed + 1).poisson(3.0, (rows, columns)).astype(dtype)
    return z, real(seed + 1, (rows, columns), dtype, -4, 4)


def weights(rows, seed=2, dtype="float64"):
    """Weights of rows; every fifth is 0."""
    s = real(seed, rows, dtype, 0.1, 3)
    s[4::5] = 0
    return s


def loss(case, z, target, reduction="mean", of=ops, **more):
    return getattr(of, OPERATION[case])(z, target, reduction=reduction, **options(case, z.shape[1]), **more)


def in_float64(x):
    return x if x.dtype.kind in "iu" else x.astype("float64")


def test_every_loss_is_here():
    assert set(OPERATION.values()) == {cls.name for cls in losses.Loss.__subclasses__()}
    assert set(losses.LOSSES) == set(losses.Loss.__subclasses__())
    assert sorted(CODES.values()) == list(range(len(CASES)))


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
    # p = 1/2, 2, 1: a positive term is weighed, a negative one is not.
    "weighted": ("weighted", [[LOG3, LOG3, -LOG3]], [[1, 0, 0]], 2.5 * LOG4 - 1.5 * LOG3, [[-1 / 8, 3 / 4, 1 / 4]]),
    "weighted coin": ("weighted", [[0, 0, 0]], [[1, 1, 0.5]], 3.5 * LOG2, [[-1 / 4, -1, 0]]),
    "absolute": ("absolute", [[1, -2, 0.5]], [[3, -2, 0]], 2.5, [[-1, 0, 1]]),
    # d = -2, 0, 1/2, 3/2 with delta 3/2: 3/2 (2 - 3/4), 0, 1/8, 9/8.
    "huber": ("huber", [[1, -2, 0.5, 1.5]], [[3, -2, 0, 0]], 3.125, [[-1.5, 0, 0.5, 1.5]]),
    "poisson": ("poisson", [[0, LOG3, -LOG2]], [[2, 1, 0]], 4.5 - LOG3, [[-1, 2, 0.5]]),
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


def test_quantiles_in_turn(isa):
    y, target = example("pinball", 5, 6)
    for of in (ops, reference):
        expected = of.pinball(y, target, [0.1, 0.5, 0.9] * 2)
        assert_same_bits(of.pinball(y, target, [0.1, 0.5, 0.9]), expected)
        assert_same_bits(of.pinball(y, target, [0.5]), of.pinball(y, target))
    for of in (ops, reference):
        with pytest.raises(ValueError, match="quantiles has 4 levels"):
            of.pinball(y, target, [0.1, 0.2, 0.3, 0.4])


def test_one_weight_for_all_columns(isa):
    z, target = example("binary", 5, 3)
    assert_same_bits(
        ops.binary_cross_entropy(z, target, "mean", 2), ops.binary_cross_entropy(z, target, "mean", [2.0] * 3)
    )
    assert_close(ops.binary_cross_entropy(z, target, pos_weight=1.0), ops.binary_cross_entropy(z, target), "float64")


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
            if case in BY_CLASS and columns == 1:  # log 1 and 1 - 1
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
        assert abs(got[0] - expected[0]) <= TOLERANCE[dtype] * max(abs(expected[0]), 1)
        assert distance(got[1], expected[1]) <= TOLERANCE[dtype] or columns == 1


@each_dtype
def test_binary_cross_entropy_gradient_in_ulp(isa, dtype):
    # Where the target is 0 or 1 nothing cancels, however close the sigmoid comes to it: exp (1), 1 + e and a quotient.
    # A weight of 3 comes with an error of its own.
    wide = wider(dtype)
    for target in (0, 1):
        z = np.concatenate([real(k, (20000, 1), dtype, -k, k) for k in (1, 20, 80)])
        Z = z.astype(wide)
        expected = 1 / (1 + np.exp(-Z)) if target == 0 else -1 / (1 + np.exp(Z))
        for weight, most in ((None, 3), (1.0, 3), (2.0, 3), (3.0, 4)):
            _, gradient = ops.binary_cross_entropy(z, np.full_like(z, target), "sum", weight)
            assert ulps(gradient, expected * (weight or 1) if target else expected).max() <= most


@each_dtype
def test_weighted_binary_cross_entropy_in_ulp(isa, dtype):
    # The loss of one element: all its parts are of one sign.
    wide = wider(dtype)
    z = np.concatenate([real(k, (20000, 1), dtype, -k, k) for k in (1, 20, 80)])
    t = real(0, z.shape, dtype, 0, 1)
    Z, T = z.astype(wide), t.astype(wide)
    rest = np.log1p(np.exp(-np.abs(Z)))
    expected = 3 * T * (np.maximum(-Z, 0) + rest) + (1 - T) * (np.maximum(Z, 0) + rest)
    terms = np.array([ops.binary_cross_entropy(z[i : i + 1], t[i : i + 1], "sum", 3.0)[0] for i in range(0, 60000, 30)])
    assert ulps(terms.astype(dtype), expected[::30, 0]).max() <= 8


# ------------------------------------------------------------------------------------------------ central differences


@each_reduction
@each_case
@pytest.mark.parametrize("columns", [1, 3, 8, 9, 17])
def test_gradient_against_differences(isa, case, columns, reduction):
    z, target = example(case, 3, columns)
    if case in ("pinball", "absolute"):  # no target is as close to z as the difference reaches
        assert np.abs(z - target).min() > 2e-3
    if case == "huber":
        assert np.abs(np.abs(z - target) - DELTA).min() > 2e-3
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
                    if case in BY_CLASS:
                        assert spoiled == "z" and bad == -np.inf or not np.isfinite(gradient[row]).any()
                        continue
                    assert_same_bits(np.delete(gradient[row], j), np.delete(clean[row], j))
                    shows = {  # in the gradient, too
                        "binary": spoiled == "target",
                        "weighted": spoiled == "target",
                        "squares": True,
                        "poisson": spoiled == "target" or bad == np.inf,
                        "pinball": False,
                    }
                    if shows.get(case, False) or np.isnan(bad) and case != "pinball":
                        assert not np.isfinite(gradient[row, j])
                    elif case in ("absolute", "huber", "pinball"):
                        assert np.isfinite(gradient[row, j])


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
            assert_same_bits(gradient, np.tile(-parameters("pinball", columns).astype(dtype), (3, 1)))


@each_dtype
def test_absolute_error_at_its_kink(isa, dtype):
    for columns in (1, 4, 17):
        for zero in (0.0, -0.0):
            got, gradient = ops.mean_absolute_error(np.full((3, columns), zero, dtype), np.zeros((3, columns), dtype))
            assert got == 0 and not gradient.any()


@each_dtype
def test_huber_about_delta(isa, dtype):
    """Both branches meet; far out neither the square nor anything else overflows."""
    tiny = float(np.finfo(dtype).eps)
    d = np.array([[1 - tiny, 1, 1 + tiny, -1, -1 - tiny, 3, -3]], dtype)
    for delta in (1.0, 0.5, 2.0):
        got, gradient = ops.huber(d, np.zeros_like(d), delta, "sum")
        assert got == pytest.approx(
            sum(x * x / 2 if x <= delta else delta * (x - delta / 2) for x in abs(d[0])), rel=4 * tiny
        )
        assert_same_bits(gradient, np.clip(d, -delta, delta).astype(dtype))
    far = np.array([[float(np.finfo(dtype).max) / 4, -float(np.finfo(dtype).max) / 4]], dtype)
    got, gradient = ops.huber(far, 0 * far, 1.0, "sum")
    assert got == pytest.approx(2 * float(far[0, 0]), rel=4 * tiny) and gradient.tolist() == [[1, -1]]


@each_dtype
def test_poisson_at_the_ends(isa, dtype):
    lowest, highest = (-103.0, 88.0) if dtype == "float32" else (-745.0, 709.0)
    z = np.array([[lowest, highest, -1e4, 0]], dtype)
    t = np.array([[0, 3, 7, 0]], dtype)
    got, gradient = ops.poisson(z, t, "sum")
    rate = np.exp(z.astype(wider(dtype)))
    assert ulps(gradient, rate - t).max() <= 2
    assert got == pytest.approx(float((rate - t * z).sum()), rel=1e-6)
    got, gradient = ops.poisson(np.array([[1e4, 0]], dtype), np.ones((1, 2), dtype), "sum")
    assert got == np.inf and gradient.tolist() == [[np.inf, 0]]


@each_dtype
@each_width
def test_large_logits_with_a_weight(isa, columns, dtype):
    for large in (1e4, 1e30):
        z = np.where(np.arange(9 * columns).reshape(9, columns) % 2, large, -large).astype(dtype)
        p = np.resize(OF_COLUMNS["weighted"][1], columns).astype(dtype)
        right, wrong = (z > 0).astype(dtype), (z < 0).astype(dtype)
        got, gradient = loss("weighted", z, right, "sum")
        assert got == 0 and not gradient.any()
        got, gradient = loss("weighted", z, wrong, "sum")
        assert got == pytest.approx(
            float((np.where(wrong, p, 1) * np.abs(z)).sum(dtype="float64")), rel=TOLERANCE[dtype]
        )
        assert_same_bits(gradient, np.where(wrong, -p, np.ones_like(p)))


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
            got = _core.loss(CODES[case], z, target, parameters(case, columns), "mean", None, z)
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
            own = parameters(case, columns)
            own = guarded(own, place) if isinstance(own, np.ndarray) else own
            z_, target_ = guarded(z, place), guarded(target, place)
            got = _core.loss(CODES[case], z_, target_, own, "mean", None, dz)
            assert_same_bits((got, dz), loss(case, z, target))
            s, more = weights(rows), (0.0, None)
            if case in BY_CLASS:
                more = 0.1, real(3, columns, low=0.1, high=2)
            guards = guarded(s, place), more[0], None if more[1] is None else guarded(more[1], place)
            got = _core.loss(CODES[case], z_, target_, own, "mean", guards, dz)
            more = dict(zip(("label_smoothing", "class_weights"), more)) if case in BY_CLASS else {}
            assert_same_bits((got, dz), loss(case, z, target, sample_weight=s, **more))


def test_labels_out_of_range_are_refused_before_anything_is_written(isa):
    z, dz = np.zeros((3, 4)), np.full((3, 4), 7.0)
    for bad in (-1, 4, 2**62, -(2**63)):
        with pytest.raises(ValueError, match=r"target\[1\] is"):
            _core.loss(CODES["labels"], z, np.array([0, bad, 0]), None, "mean", None, dz)
        assert (dz == 7).all()


# ------------------------------------------------------------------------------- weights of rows and classes, smoothing

VARIANTS = {  # of the losses by class; None stands for weights, one for each class
    "smoothed": {"label_smoothing": 0.1},
    "weighed": {"class_weights": None},
    "both": {"label_smoothing": 0.25, "class_weights": None},
}
each_weighting = pytest.mark.parametrize(
    "case, variant",
    [(case, None) for case in CASES] + [(case, variant) for case in BY_CLASS for variant in VARIANTS],
)
each_by_class = pytest.mark.parametrize("case", BY_CLASS)


def class_weights(columns):
    """One of them 0, where there are several."""
    w = real(4, columns, low=0.2, high=2)
    w[3:4] = 0
    return w.tolist()


def weighted(case, variant, z, target, reduction="mean", of=ops, sample_weight=...):
    """A loss with weights of its rows, and a variant of its own."""
    more = dict(VARIANTS.get(variant, {}))
    if "class_weights" in more:
        more["class_weights"] = class_weights(z.shape[1])
    if sample_weight is ...:
        sample_weight = weights(len(z))
    return loss(case, z, target, reduction, of, **more, sample_weight=sample_weight)


@each_dtype
@each_reduction
@each_weighting
def test_weights_against_the_twin(isa, case, variant, reduction, dtype):
    for columns in (2, 3, 5, 8, 10, 16, 17, 33):
        for rows in (2, 8, 9, 17, 33, BLOCK + 3):
            z, target = example(case, rows, columns, dtype, seed=rows)
            if variant == "weighed" and case == "labels" and columns == 2:
                target[:2] = 0, 1
            for s in (..., None):
                expected = weighted(case, variant, in_float64(z), in_float64(target), reduction, reference, s)
                assert_close(
                    weighted(case, variant, z, target, reduction, ops, s), expected, dtype, 4 * TOLERANCE[dtype]
                )


@each_dtype
@each_reduction
@each_case
def test_weights_of_one_change_no_bit(isa, case, reduction, dtype):
    for columns in (1, 3, 10, 20):
        for rows in (1, 9, 17, BLOCK + 5):
            z, target = example(case, rows, columns, dtype)
            for ones in (np.ones(rows), np.ones(rows, "float32")):
                assert_same_bits(loss(case, z, target, reduction, sample_weight=ones), loss(case, z, target, reduction))
            if case == "labels":
                got = loss(case, z, target, reduction, class_weights=[1.0] * columns)
                assert_same_bits(got, loss(case, z, target, reduction))
            if case == "probabilities":
                got = loss(case, z, target, reduction, class_weights=[1.0] * columns, sample_weight=np.ones(rows))
                assert_same_bits(got, loss(case, z, target, reduction))


@each_reduction
@each_case
@pytest.mark.parametrize("of", [ops, reference], ids=["ops", "twin"])
def test_a_weight_counts_rows(case, reduction, of):
    """A row of weight k is k rows; one of weight 0 is none."""
    counts = np.array([3, 0, 1, 2, 0, 1, 5])
    for columns in (1, 3, 17):
        z, target = example(case, len(counts), columns)
        got, gradient = loss(case, z, target, reduction, of, sample_weight=counts.astype(float))
        expected, slope = loss(case, z.repeat(counts, 0), target.repeat(counts, 0), reduction, of)
        assert got == pytest.approx(expected, rel=1e-13, abs=1e-13)
        first = np.cumsum(counts) - counts
        for b, count in enumerate(counts):
            np.testing.assert_allclose(
                gradient[b], count * slope[first[b]] if count else 0 * z[b], rtol=1e-13, atol=1e-15
            )


@each_weighting
@pytest.mark.parametrize("of", [ops, reference], ids=["ops", "twin"])
def test_only_ratios_of_weights_matter_to_a_mean(case, variant, of):
    for dtype in DTYPES:
        z, target = example(case, 20, 4, dtype)
        expected = weighted(case, variant, z, target, of=of)
        for factor in (2.0**-1000, 2.0**-100, 2.0**1000):
            assert_same_bits(weighted(case, variant, z, target, of=of, sample_weight=factor * weights(20)), expected)


@each_dtype
@each_weighting
@pytest.mark.parametrize("of", [ops, reference], ids=["ops", "twin"])
def test_no_weight_at_all(case, variant, of, dtype):
    z, target = example(case, 9, 4, dtype)
    for reduction in ("mean", "sum"):
        got, gradient = weighted(case, variant, z, target, reduction, of, np.zeros(9))
        assert type(got) is float and got == 0
        assert gradient.shape == z.shape and gradient.dtype == dtype and not gradient.any()
    if case == "labels" and variant is None:
        for more in ({}, {"label_smoothing": 0.1}):
            weights_of_classes = [1.0, 1.0, 0.0, 1.0]
            got, gradient = loss(case, z, np.full(9, 2), "mean", of, class_weights=weights_of_classes, **more)
            assert got == 0 and not gradient.any()


@each_weighting
def test_one_row_and_rows_alike(isa, case, variant):
    """The mean over one row, or over rows that are all alike, does not depend on their weights; the gradient is shared
    out by weight."""
    z, target = example(case, 1, 4, seed=3)
    if case == "labels":
        target[:] = 1
    alone, slope = weighted(case, variant, z, target, sample_weight=None)
    again, gradient = weighted(case, variant, z, target, sample_weight=np.array([0.3]))
    assert again == pytest.approx(alone, rel=1e-14)
    np.testing.assert_allclose(gradient, slope, rtol=1e-14)
    s = weights(30)
    got, gradient = weighted(case, variant, z.repeat(30, 0), target.repeat(30, 0), sample_weight=s)
    assert got == pytest.approx(alone, rel=1e-13)
    np.testing.assert_allclose(gradient, np.outer(s / s.sum(), slope), rtol=1e-13)


def test_class_weights_of_labels_are_weights_of_rows(isa):
    z, y = example("labels", 40, 5)
    w, s = np.array(class_weights(5)), weights(40)
    for reduction in ("mean", "sum"):
        expected = ops.softmax_cross_entropy(z, y, reduction, sample_weight=w[y] * s)
        assert_close(ops.softmax_cross_entropy(z, y, reduction, 0.0, w, s), expected, "float64")


@each_dtype
def test_smoothing_of_labels_and_of_their_indicators(isa, dtype):
    for rows, columns in ((5, 3), (20, 10), (7, 40), (BLOCK + 1, 2)):
        z, y = example("labels", rows, columns, dtype)
        one_hot = np.eye(columns, dtype=dtype)[y]
        smoothed = ((1 - 0.2) * np.eye(columns)[y] + 0.2 / columns).astype(dtype)
        got = ops.softmax_cross_entropy(z, y, "mean", 0.2)
        assert_same_bits(got, ops.softmax_cross_entropy(z, one_hot, "mean", 0.2))
        assert_close(got, ops.softmax_cross_entropy(in_float64(z), in_float64(smoothed)), dtype, 3 * TOLERANCE[dtype])


def test_the_mass_of_probabilities_has_no_class_weights(isa):
    """As in torch.nn.CrossEntropyLoss: of labels sum_b w[y_b] rows are made, of probabilities B."""
    z, w = np.zeros((2, 2)), [3.0, 1.0]
    for of in (ops, reference):
        assert of.softmax_cross_entropy(z, np.array([0, 1]), class_weights=w)[0] == pytest.approx(LOG2)
        assert of.softmax_cross_entropy(z, np.eye(2), class_weights=w)[0] == pytest.approx(2 * LOG2)


@each_reduction
@each_weighting
@pytest.mark.parametrize("columns", [2, 9])
def test_gradient_of_weighted_losses_against_differences(isa, case, variant, columns, reduction):
    z, target = example(case, 6, columns, seed=5)
    if case in ("pinball", "absolute", "huber"):
        d = np.abs(z - target)
        assert np.abs(d - (DELTA if case == "huber" else 0)).min() > 2e-3
    gradient = weighted(case, variant, z, target, reduction)[1]
    expected = central_difference(lambda z: weighted(case, variant, z, target, reduction)[0], z, 1e-3)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9)


@needs_two_fused
@each_dtype
@each_weighting
def test_weighted_losses_have_the_same_bits_on_every_instruction_set(case, variant, dtype):
    for columns in (1, 3, 9, 16, 17, 40):
        z, target = example(case, BLOCK + 7, columns, dtype)
        assert_same_on_fused(weighted, case, variant, z, target)


@each_dtype
@each_weighting
@each_layout
def test_layouts_of_weighted_losses(isa, layout, case, variant, dtype):
    z, target = example(case, 21, 5, dtype)
    s = weights(21)
    got = weighted(case, variant, layout(z), layout(target), sample_weight=layout(s))
    assert_same_bits(got, weighted(case, variant, z, target, sample_weight=s))


@each_dtype
@each_weighting
def test_the_gradient_of_a_weighted_loss_may_take_the_place_of_z(isa, case, variant, dtype):
    for columns in (1, 3, 9, 20):
        z, target = example(case, BLOCK + 1, columns, dtype)
        s = weights(BLOCK + 1)
        expected = weighted(case, variant, z, target, sample_weight=s)
        more = VARIANTS.get(variant, {})
        more = more.get("label_smoothing", 0.0), class_weights(columns) if "class_weights" in more else None
        got = _core.loss(CODES[case], z, target, parameters(case, columns), "mean", (s, *more), z)
        assert_same_bits((got, z), expected)


@each_dtype
@each_case
def test_a_nan_stays_in_its_row(isa, case, dtype):
    z, target = example(case, 9, 4, dtype)
    clean = weighted(case, None, z, target, "sum")[1]
    z[3, 2] = np.nan
    got, gradient = weighted(case, None, z, target, "sum")
    others = np.arange(9) != 3
    assert math.isnan(got)
    assert_same_bits(gradient[others], clean[others])


@each_by_class
def test_logits_of_any_size_with_smoothing(isa, case):
    """Every class has a share of the target: a logit d above the others costs eps / C times d for each of those."""
    for dtype in DTYPES:
        z = np.zeros((2, 4), dtype)
        z[:, 1] = 1e4
        target = np.array([1, 1]) if case == "labels" else np.eye(4, dtype=dtype)[[1, 1]]
        got, gradient = ops.softmax_cross_entropy(z, target, "mean", 0.1)
        assert got == pytest.approx(1e4 * 0.1 * 3 / 4, rel=1e-6)
        np.testing.assert_allclose(gradient, [[-0.0125, 0.0375, -0.0125, -0.0125]] * 2, rtol=1e-5)


def test_mass_and_losses_by_object():
    """What the training loop of the twin uses: minibatches in parts, with the mass of all."""
    s = weights(30)
    objects = [cls(reduction=reduction) for cls in losses.LOSSES for reduction in ("mean", "sum")]
    objects += [
        losses.SoftmaxCrossEntropy("mean", 0.1, class_weights(4)),
        losses.BinaryCrossEntropy("mean", [1, 2, 3, 4]),
    ]
    for of in objects:
        cases = [case for case in CASES if OPERATION[case] == of.name]
        for case in cases:
            z, target = example(case, 30, 4)
            for sample_weight in (None, s):
                whole = reference.loss.of(of, z, target, sample_weight)
                parts = [slice(0, 11), slice(11, 12), slice(12, 30)]
                of_part = [None if sample_weight is None else s[part] for part in parts]
                masses = [reference.loss.mass(of, target[part], 4, w) for part, w in zip(parts, of_part, strict=True)]
                mass = 1.0 if of.reduction == "sum" else sum(masses)
                assert mass == pytest.approx(reference.loss.mass(of, target, 4, sample_weight), rel=1e-14)
                each = [
                    reference.loss.of(of, z[part], target[part], w, mass)
                    for part, w in zip(parts, of_part, strict=True)
                ]
                assert sum(value for value, _ in each) == pytest.approx(whole[0], rel=1e-12, abs=1e-12)
                np.testing.assert_allclose(np.concatenate([dz for _, dz in each]), whole[1], rtol=1e-12, atol=1e-15)
    assert reference.loss.of(losses.Huber(), z, z, None, 0.0)[0] == 0


# ----------------------------------------------------------------------------------------------------------- PyTorch


def torch_terms(case, variant, z, target):
    """Each element's loss, or each row's for the losses by class, by PyTorch."""
    import torch
    from torch.nn import functional

    if case in BY_CLASS:
        more = VARIANTS.get(variant, {})
        w = torch.tensor(class_weights(z.shape[1]), dtype=z.dtype) if "class_weights" in more else None
        return functional.cross_entropy(
            z, target, weight=w, reduction="none", label_smoothing=more.get("label_smoothing", 0.0)
        )
    own = parameters(case, z.shape[1])
    own = None if own is None else torch.tensor(own)
    return {
        "binary": lambda: functional.binary_cross_entropy_with_logits(z, target, reduction="none"),
        "weighted": lambda: functional.binary_cross_entropy_with_logits(z, target, reduction="none", pos_weight=own),
        "squares": lambda: functional.mse_loss(z, target, reduction="none"),
        "absolute": lambda: functional.l1_loss(z, target, reduction="none"),
        "huber": lambda: functional.huber_loss(z, target, reduction="none", delta=DELTA),
        "poisson": lambda: functional.poisson_nll_loss(z, target, log_input=True, full=False, reduction="none"),
        "pinball": lambda: torch.maximum(own * (target - z), (own - 1) * (target - z)),
    }[case]()


def torch_loss(case, variant, z, target, reduction):
    """The loss as PyTorch itself reduces it, which has no weights of rows."""
    import torch
    from torch.nn import functional

    if case in BY_CLASS:
        more = VARIANTS.get(variant, {})
        w = torch.tensor(class_weights(z.shape[1]), dtype=z.dtype) if "class_weights" in more else None
        return functional.cross_entropy(
            z, target, weight=w, reduction=reduction, label_smoothing=more.get("label_smoothing", 0.0)
        )
    terms = torch_terms(case, variant, z, target)
    return terms.mean() if reduction == "mean" else terms.sum()


@pytest.mark.torch
@each_reduction
@each_weighting
def test_against_pytorch(case, variant, reduction):
    import torch

    for rows in (1, 2, 9, 40, BLOCK + 3):
        for columns in (2, 3, 5, 10, 17, 40):
            z, target = example(case, rows, columns, seed=rows)
            if case == "labels":
                target[0] = 1  # whose class has a weight
            for s in (None, weights(rows)):
                Z, T = torch.tensor(z, requires_grad=True), torch.tensor(target)
                if s is None:
                    value = torch_loss(case, variant, Z, T, reduction)
                else:
                    terms = torch_terms(case, variant, Z, T)
                    mass = s.copy()
                    if case == "labels" and "class_weights" in VARIANTS.get(variant, {}):
                        mass = s * np.array(class_weights(columns))[target]
                    mass = mass.sum() * (1 if case in BY_CLASS else columns)
                    terms = terms.mT * torch.tensor(s) if terms.ndim == 2 else terms * torch.tensor(s)
                    value = terms.sum() / mass if reduction == "mean" else terms.sum()
                value.backward()
                for of in (ops, reference):
                    got = weighted(case, variant, z, target, reduction, of, s)
                    assert_close(got, (value.item(), Z.grad.numpy()), "float64", 1e-12)


@pytest.mark.torch
def test_hard_cases_against_pytorch():
    """Logits of +-1e4, targets of exactly 0 and 1: what is finite there is finite here, and the same."""
    import torch

    z = np.array([[1e4, -1e4, 0, 30], [-1e4, 1e4, 1e4, -30], [-700, 36, -36, 1e-300]])
    hot = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    cases = [("binary", None, hot), ("binary", None, 1 - hot), ("weighted", None, hot), ("weighted", None, 1 - hot)]
    for variant in (None, *VARIANTS):
        cases += [("labels", variant, np.array([2, 0, 1])), ("probabilities", variant, hot)]
    cases += [("absolute", None, hot), ("huber", None, hot), ("squares", None, hot)]
    for case, variant, target in cases:
        Z = torch.tensor(z, requires_grad=True)
        value = torch_loss(case, variant, Z, torch.tensor(target), "sum")
        value.backward()
        assert math.isfinite(value.item())
        got = weighted(case, variant, z, target, "sum", sample_weight=None)
        assert got[0] == pytest.approx(value.item(), rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(got[1], Z.grad.numpy(), rtol=1e-12, atol=1e-15, err_msg=f"{case} {variant}")


# ------------------------------------------------------------------------------------------------- classes and training


def test_parameters_of_the_classes():
    assert losses.BinaryCrossEntropy().parameters(3) == () and losses.BinaryCrossEntropy().code == 2
    assert losses.BinaryCrossEntropy(pos_weight=2).parameters(3) == (2.0, 2.0, 2.0)
    assert losses.BinaryCrossEntropy(pos_weight=np.array([0, 1.5])).parameters(2) == (0.0, 1.5)
    assert losses.Huber(2).parameters(2) == (2.0, 2.0) and losses.Huber().delta == 1.0
    assert losses.Pinball([0.1, 0.9]).parameters(4) == (0.1, 0.9, 0.1, 0.9)
    assert losses.Poisson().parameters(2) == losses.MeanAbsoluteError().parameters(2) == ()
    smoothed = losses.SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=[1, 2])
    assert smoothed.smoothing == 0.1 and smoothed.class_weights == (1.0, 2.0) and smoothed.parameters(2) == ()
    assert [cls().mean_over for cls in losses.LOSSES] == ["batch"] + ["elements"] * 6
    for cls in losses.LOSSES:
        assert (
            cls().smoothing == 0 and cls().class_weights is None and cls("sum" if cls.fields[0] == "reduction" else 0.5)
        )


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: losses.SoftmaxCrossEntropy(label_smoothing=1),
            ValueError,
            "label_smoothing must be less than 1, got 1.0",
        ),
        (lambda: losses.SoftmaxCrossEntropy(label_smoothing=-0.1), ValueError, "label_smoothing must be at least 0"),
        (
            lambda: losses.SoftmaxCrossEntropy(label_smoothing=None),
            TypeError,
            "label_smoothing must be a number, got None",
        ),
        (
            lambda: losses.SoftmaxCrossEntropy(class_weights=1.0),
            TypeError,
            r"class_weights must be a sequence of numbers or None, got 1.0 \(float\)",
        ),
        (lambda: losses.SoftmaxCrossEntropy(class_weights={0: 1.0}), TypeError, "class_weights must be a sequence"),
        (
            lambda: losses.SoftmaxCrossEntropy(class_weights=[]),
            ValueError,
            "class_weights must be .*, got an empty one",
        ),
        (
            lambda: losses.SoftmaxCrossEntropy(class_weights=[1, -1]),
            ValueError,
            r"class_weights\[1\] must be at least 0, got -1",
        ),
        (
            lambda: losses.SoftmaxCrossEntropy(class_weights=[1, float("inf")]),
            ValueError,
            r"class_weights\[1\] must be a finite number",
        ),
        (
            lambda: losses.SoftmaxCrossEntropy(class_weights=[1, 2]).parameters(3),
            ValueError,
            "class_weights has 2 weights; there are 3 outputs",
        ),
        (lambda: losses.BinaryCrossEntropy(pos_weight="2"), TypeError, "pos_weight must be a number, got '2'"),
        (lambda: losses.BinaryCrossEntropy(pos_weight=-1), ValueError, "pos_weight must be at least 0, got -1"),
        (
            lambda: losses.BinaryCrossEntropy(pos_weight=[1, None]),
            TypeError,
            r"pos_weight\[1\] must be a number, got None",
        ),
        (
            lambda: losses.BinaryCrossEntropy(pos_weight=[1, 2]).parameters(3),
            ValueError,
            "pos_weight has 2 weights; there are 3 outputs",
        ),
        (lambda: losses.Huber(0), ValueError, "delta must be greater than 0, got 0"),
        (lambda: losses.Huber("sum"), TypeError, "delta must be a number, got 'sum'"),
        (lambda: losses.Pinball([0.1, 0.2]).parameters(3), ValueError, "quantiles has 2 levels; there are 3 outputs"),
        (lambda: losses.Poisson("none"), ValueError, "reduction must be one of"),
    ],
)
def test_wrong_arguments_of_the_classes(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


@each_dtype
@pytest.mark.parametrize(
    "of",
    [
        losses.BinaryCrossEntropy(pos_weight=[0.5, 2, 1]),
        losses.BinaryCrossEntropy("sum", 3.0),
        losses.MeanAbsoluteError(),
        losses.Huber(0.7),
        losses.Huber(0.7, "sum"),
        losses.Poisson(),
        losses.Pinball([0.2]),
    ],
    ids=repr,
)
def test_training_is_that_of_the_twin(of, dtype):
    rows = 600
    x, target = real(0, (rows, 4), dtype), real(1, (rows, 3), dtype, 0, 1)
    layers = [fb.Dense(6, "tanh"), fb.Dense(3)]
    ours, twin = (
        home.Trainer(
            home.Network(4, layers, dtype=dtype, seed=1), of, fb.SGD(0.05 / (1 if of.reduction == "mean" else rows))
        )
        for home in (fb, reference)
    )
    assert_close(
        ours.value_and_grad(x, target, True), twin.value_and_grad(x, target, True), dtype, 20 * TOLERANCE[dtype]
    )
    before = ours.evaluate(x, target)
    history, expected = (trainer.fit(x, target, epochs=3, batch_size=100) for trainer in (ours, twin))
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4 if dtype == "float32" else 1e-11)
    assert ours.evaluate(x, target) == pytest.approx(
        twin.evaluate(x, target), rel=1e-4 if dtype == "float32" else 1e-11
    )
    assert ours.evaluate(x, target) < before


# ------------------------------------------------------------------------------------------------ one table of losses


def test_the_classes_agree_with_the_table_of_the_core():
    """losses.py, which knows no core, states what Python needs of the core's table: the same, for every number."""
    traits = _core.loss_traits()
    numbers = {}
    for cls in losses.LOSSES:
        loss = cls()
        numbers[loss.code] = loss
        if loss.code_labels is not None:
            assert traits[loss.code_labels]["labels"] and traits[loss.code_labels]["smoothed"] == loss.code
            numbers[loss.code_labels] = loss
    numbers[losses.BinaryCrossEntropy.code_weighted] = losses.BinaryCrossEntropy(pos_weight=2.0)
    assert sorted(numbers) == list(range(len(traits)))
    for code, loss in numbers.items():
        has = traits[code]
        assert has["name"].startswith(loss.name)
        assert has["labels"] == (code == loss.code_labels)
        assert has["mean_over_rows"] == (loss.mean_over == "batch")
        assert has["of_classes"] == ("class_weights" in loss.fields) == ("label_smoothing" in loss.fields)
        assert (has["parameter"] is not None) == (len(loss.parameters(3)) == 3)
        if has["parameter"] is not None:
            assert has["parameter"] in loss.fields
            for value, fits in ((0.0, has["parameter_least"] == 0), (1.0, has["parameter_end"] > 1), (-1.0, False)):
                if fits:
                    type(loss)(**{has["parameter"]: value})
                else:
                    with pytest.raises(ValueError, match=has["parameter"]):
                        type(loss)(**{has["parameter"]: value})


def test_only_probabilities_have_a_range():
    """The trait decides which targets `ready` lets pass, as the trainer relies on."""
    reals = np.array([[0.5, 1.5]])
    for code, has in enumerate(_core.loss_traits()):
        if not has["labels"]:
            assert _core.ready(reals, reals, 8, 2, 2, code) == (not has["probabilities"])
            assert _core.ready(reals, reals / 2, 8, 2, 2, code)
