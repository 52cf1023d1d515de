"""Layer norm and batch norm: literals and PyTorch, the distance to the twin, differences, and the edges.

The core takes four rows at a time, or one, and four vectors of columns, or one: numbers of rows and widths here lie on
both sides; and sums of more than 256 rows or vectors are cut into blocks.
"""

import numpy as np
import pytest
from arrays import (
    DTYPES,
    LANES,
    PLACES,
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    each_layout,
    guarded,
    guarded_empty,
    misaligned,
    needs_guard_pages,
    needs_two_fused,
    real,
)

from fastbp import _core, ops, reference

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
WIDTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 130)
ROWS = (1, 2, 3, 4, 5, 8, 11)
each_width = pytest.mark.parametrize("columns", WIDTHS)
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}
BY_ROW = {"layer": True, "batch": False}
each_norm = pytest.mark.parametrize("norm", BY_ROW)


def functions(norm, home=ops):
    return getattr(home, f"{norm}_norm_forward"), getattr(home, f"{norm}_norm_backward")


def case(rows, columns, dtype="float64", low=-2.0, high=3.0):
    """x, dy, gamma and beta."""
    x, dy = real(rows, (rows, columns), dtype, low, high), real(rows + 1, (rows, columns), dtype)
    return x, dy, real(columns, columns, dtype, 0.5, 2), real(columns + 1, columns, dtype)


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
def test_rows_worked_out_by_hand(isa, dtype):
    # Mean 1 and variance 8; mean 5 and variance 0. With eps = 1, rstd is 1/3 and 1.
    x = np.array([[-3, 1, 1, 5], [5, 5, 5, 5]], dtype)
    gamma, beta = np.array([3, 6, 1, -3], dtype), np.array([0, 1, 2, 3], dtype)
    y, mean, rstd = ops.layer_norm_forward(x, gamma, beta, 1.0)
    assert mean.tolist() == [1, 5]
    np.testing.assert_allclose(rstd, [1 / 3, 1], rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(y, [[-4, 1, 2, -1], [0, 1, 2, 3]], rtol=4 * np.finfo(dtype).eps)
    # xhat = (-4, 0, 0, 4)/3 and 0. g = dy gamma = (3, 0, 0, 0), 3/4 on the average, and g xhat = (-4, 0, 0, 0), -1.
    dy = np.array([[1, 0, 0, 0], [0, 0, 0, 1]], dtype)
    dx, dgamma, dbeta = ops.layer_norm_backward(dy, x, mean, rstd, gamma)
    first = np.array([3 - 0.75 - 4 / 3, -0.75, -0.75, -0.75 + 4 / 3]) / 3
    np.testing.assert_allclose(dx, [first, [0.75, 0.75, 0.75, -2.25]], rtol=16 * np.finfo(dtype).eps)
    np.testing.assert_allclose(dgamma, [-4 / 3, 0, 0, 0], rtol=4 * np.finfo(dtype).eps)
    assert dbeta.tolist() == [1, 0, 0, 1]


@each_dtype
def test_columns_worked_out_by_hand(isa, dtype):
    x = np.array([[-3, 5], [1, 5], [1, 5], [5, 5]], dtype)
    gamma, beta = np.array([3, 2], dtype), np.array([1, 7], dtype)
    y, mean, variance = ops.batch_norm_forward(x, gamma, beta, 1.0)
    assert mean.tolist() == [1, 5] and variance.tolist() == [8, 0]
    np.testing.assert_allclose(y, [[-3, 7], [1, 7], [1, 7], [5, 7]], rtol=4 * np.finfo(dtype).eps)
    dy = np.array([[1, 0], [0, 0], [0, 0], [0, 4]], dtype)
    dx, dgamma, dbeta = ops.batch_norm_backward(dy, x, mean, variance, gamma, 1.0)
    # dy is 1/4 on the average, dy xhat -1/3.
    first = np.array([1 - 1 / 4 - 4 / 9, -1 / 4, -1 / 4, -1 / 4 + 4 / 9])
    np.testing.assert_allclose(dx, np.transpose([first, [-2, -2, -2, 6]]), rtol=16 * np.finfo(dtype).eps)
    np.testing.assert_allclose(dgamma, [-4 / 3, 0], rtol=4 * np.finfo(dtype).eps)
    assert dbeta.tolist() == [1, 4]
    # Given statistics: (x - 1) / sqrt(8 + 1), and (x - 4) / sqrt(3 + 1).
    y = ops.batch_norm_predict(x, np.array([1, 4], dtype), np.array([8, 3], dtype), gamma, beta, 1.0)
    np.testing.assert_allclose(y, [[-3, 8], [1, 8], [1, 8], [5, 8]], rtol=4 * np.finfo(dtype).eps)
    # Running ones: a tenth of the way from 0 to 1, and from 1 to 8 * 4/3.
    running_mean, running_variance = np.zeros(2, dtype), np.ones(2, dtype)
    assert ops.batch_norm_running(running_mean, running_variance, mean, variance, 4) is None
    np.testing.assert_allclose(running_mean, [0.1, 0.5], rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(running_variance, [1 + 0.1 * (32 / 3 - 1), 0.9], rtol=2 * np.finfo(dtype).eps)
    ops.batch_norm_running(running_mean, running_variance, mean, variance, 4, 1)
    np.testing.assert_allclose(running_variance, [32 / 3, 0], rtol=2 * np.finfo(dtype).eps)


@pytest.mark.torch
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("rows, columns", [(2, 3), (5, 17), (300, 40)])
def test_against_pytorch(rows, columns, affine):
    torch = pytest.importorskip("torch")
    x, dy, gamma, beta = case(rows, columns)
    if not affine:
        gamma = beta = None

    def by_torch(function, *more):
        leaves = [None if value is None else torch.tensor(value, requires_grad=True) for value in (x, gamma, beta)]
        y = function(leaves, *more)
        y.backward(torch.tensor(dy))
        return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves if leaf is not None)]

    def ours(norm):
        forward, backward = functions(norm)
        y, *saved = forward(x, gamma, beta, 1e-3)
        gradients = backward(dy, x, *saved, gamma, *([1e-3] if norm == "batch" else []))
        return [y, *gradients[: 3 if affine else 1]], saved

    def layer_norm(leaves):
        return torch.nn.functional.layer_norm(leaves[0], (columns,), leaves[1], leaves[2], 1e-3)

    def batch_norm(leaves):
        return torch.nn.functional.batch_norm(leaves[0], *running, leaves[1], leaves[2], True, 0.3, 1e-3)

    for got, expected in zip(ours("layer")[0], by_torch(layer_norm), strict=True):
        assert_close(got, expected, "float64", 1e-12)
    running = [torch.full((columns,), 0.5, dtype=torch.float64), torch.full((columns,), 2.0, dtype=torch.float64)]
    our_running = [np.full(columns, 0.5), np.full(columns, 2.0)]
    (results, saved), expected = ours("batch"), by_torch(batch_norm)
    for got, theirs in zip(results, expected, strict=True):
        assert_close(got, theirs, "float64", 1e-12)
    ops.batch_norm_running(*our_running, *saved, rows, 0.3)
    for got, theirs in zip(our_running, running, strict=True):
        assert_close(got, theirs.numpy(), "float64", 1e-12)
    given = [None if value is None else torch.tensor(value) for value in (gamma, beta)]
    theirs = torch.nn.functional.batch_norm(torch.tensor(x), *running, *given, False, 0.3, 1e-3)
    assert_close(ops.batch_norm_predict(x, *our_running, gamma, beta, 1e-3), theirs.numpy(), "float64", 1e-12)


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_norm
@each_width
def test_against_the_twin(isa, columns, norm, dtype):
    for rows in ROWS:
        x, dy, gamma, beta = case(rows, columns, dtype)
        forward, backward = functions(norm)
        twin_forward, twin_backward = functions(norm, reference)
        for g, b in ((gamma, beta), (None, None), (gamma, None), (None, beta)):
            got = forward(x, g, b, 1e-2)
            wide = [None if value is None else value.astype("float64") for value in (x, dy, g, b)]
            assert_close(got, twin_forward(wide[0], wide[2], wide[3], 1e-2), dtype, TOLERANCE[dtype])
            eps = [1e-2] if norm == "batch" else []
            gradients = backward(dy, x, *got[1:], g, *eps)
            # dx is a difference, which may be small: its error is that of what is subtracted.
            expected = twin_backward(wide[1], wide[0], *(part.astype("float64") for part in got[1:]), wide[2], *eps)
            scale = np.abs(dy).max() * 10 * 2
            assert (np.abs(gradients[0] - expected[0]) <= TOLERANCE[dtype] * scale).all()
            for part, wanted in zip(gradients[1:], expected[1:], strict=True):
                assert (np.abs(part - wanted) <= TOLERANCE[dtype] * rows).all()


@each_dtype
@pytest.mark.parametrize("rows, columns", [(255, 5), (256, 40), (257, 9), (700, 33), (3, 4097), (2, 9000)])
def test_many_rows_and_long_rows_against_the_twin(rows, columns, dtype):
    x, dy, gamma, beta = case(rows, columns, dtype)
    wide = [value.astype("float64") for value in (x, dy, gamma, beta)]
    for norm in BY_ROW:
        forward, backward = functions(norm)
        twin_forward, twin_backward = functions(norm, reference)
        got = forward(x, gamma, beta)
        assert_close(got, twin_forward(wide[0], *wide[2:]), dtype, TOLERANCE[dtype])
        gradients = backward(dy, x, *got[1:], gamma)
        expected = twin_backward(wide[1], wide[0], *(part.astype("float64") for part in got[1:]), wide[2])
        assert_close(gradients[:1], expected[:1], dtype, TOLERANCE[dtype])
        assert_close(gradients[1:], expected[1:], dtype, 2 * TOLERANCE[dtype])


@each_dtype
def test_given_and_running_statistics_against_the_twin(isa, dtype):
    for rows in ROWS:
        for columns in WIDTHS:
            x, _, gamma, beta = case(rows, columns, dtype)
            mean, variance = real(1, columns, dtype), real(2, columns, dtype, 0, 2)
            wide = [value.astype("float64") for value in (x, mean, variance, gamma, beta)]
            got = ops.batch_norm_predict(x, mean, variance, gamma, beta)
            assert_close(got, reference.batch_norm_predict(*wide), dtype, TOLERANCE[dtype])
            running, twin = [gamma.copy(), gamma.copy()], [wide[3].copy(), wide[3].copy()]
            ops.batch_norm_running(*running, mean, variance, rows + 1, 0.2)
            reference.batch_norm_running(*twin, wide[1], wide[2], rows + 1, 0.2)
            assert_close(tuple(running), tuple(twin), dtype, TOLERANCE[dtype])


# ------------------------------------------------------------------------------------------------ central differences


@each_norm
@pytest.mark.parametrize("rows, columns", [(1, 5), (2, 3), (5, 9), (3, 20)])
def test_backward_against_differences(isa, rows, columns, norm):
    x, dy, gamma, beta = case(rows, columns)
    forward, backward = functions(norm)
    y, *saved = forward(x, gamma, beta)
    gradients = backward(dy, x, *saved, gamma)
    for argument, got in zip((x, gamma, beta), gradients, strict=True):

        def loss(value, argument=argument):
            return (dy * forward(*(value if given is argument else given for given in (x, gamma, beta)))[0]).sum()

        np.testing.assert_allclose(got, central_difference(loss, argument), rtol=1e-6, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_norm
def test_no_variance(isa, norm, dtype):
    forward, backward = functions(norm)
    for value in (0, 5, -1e4, 2.0**90):
        x = np.full((8, 16), value, dtype)
        _, dy, gamma, beta = case(8, 16, dtype)
        y, *saved = forward(x, gamma, beta)
        assert_same_bits(y, np.broadcast_to(beta, y.shape).copy())
        dx, dgamma, dbeta = backward(dy, x, *saved, gamma)
        assert not dgamma.any() and np.isfinite(dx).all()


@each_dtype
@each_norm
def test_a_small_variance_beside_a_large_mean(isa, norm, dtype):
    # E[x^2] - mean^2 would be all rounding here. What is left is the rounding of the mean.
    x = real(0, (16, 16), dtype)
    shift = np.array(2.0 ** (np.finfo(dtype).nmant // 2 + 4), dtype)
    moved = (np.round(x * 256) / 256).astype(dtype) + shift
    forward, _ = functions(norm)
    assert_close(forward(moved)[0], functions(norm, reference)[0](moved.astype("float64"))[0], dtype, 2e-2)


@each_dtype
@each_norm
def test_a_variance_below_the_smallest_numbers(isa, norm, dtype):
    x = (real(0, (8, 9)) * 1e-30).astype(dtype)
    y, *saved = functions(norm)[0](x)
    assert np.isfinite(y).all() and np.abs(y).max() < 1e-26
    assert all(np.isfinite(part).all() for part in functions(norm)[1](y, x, *saved))


@each_norm
def test_the_ends_of_the_range(isa, norm):
    # The squares of differences overflow: the variance is inf, and xhat 0.
    x, dy, gamma, beta = case(4, 9, "float32", -1e30, 1e30)
    y, *saved = functions(norm)[0](x, gamma, beta)
    assert_same_bits(y, np.broadcast_to(beta, y.shape).copy())
    assert not any(part.any() for part in functions(norm)[1](dy, x, *saved, gamma)[:2])
    # rstd mean overflows, where nothing varies: no nan comes of what lies past the end of a row.
    x = np.full((4, 9), 3e37, "float32")
    y, *saved = functions(norm)[0](x, gamma, beta)
    assert np.isfinite(y).all() and all(np.isfinite(part).all() for part in functions(norm)[1](dy, x, *saved, gamma))


@each_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@each_norm
def test_nan_and_inf_take_their_row_or_column(isa, norm, bad, dtype):
    for rows, columns in ((1, 5), (6, 9), (5, 40)):
        x, dy, gamma, beta = case(rows, columns, dtype)
        forward, backward = functions(norm)
        y, *saved = forward(x, gamma, beta)
        dx = backward(dy, x, *saved, gamma)[0]
        for i, j in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2)):
            x_, dy_ = x.copy(), dy.copy()
            x_[i, j] = dy_[i, j] = bad
            hit = np.zeros(x.shape, bool)
            hit[(i, slice(None)) if BY_ROW[norm] else (slice(None), j)] = True
            got = forward(x_, gamma, beta)[0]
            assert np.isnan(got[hit]).all()
            assert_same_bits(got[~hit], y[~hit])
            got = backward(dy_, x, *saved, gamma)
            assert not np.isfinite(got[0][hit]).any() and not np.isfinite(got[2][j])
            assert_same_bits(got[0][~hit], dx[~hit])


@each_dtype
def test_a_row_does_not_depend_on_its_place(isa, dtype):
    for columns in WIDTHS:
        x, dy, gamma, beta = case(11, columns, dtype)
        y, mean, rstd = ops.layer_norm_forward(x, gamma, beta)
        dx, _, _ = ops.layer_norm_backward(dy, x, mean, rstd, gamma)
        predicted = ops.batch_norm_predict(x, gamma, gamma, gamma, beta)
        for first in range(11):
            for end in range(first + 1, 12):
                rows = slice(first, end)
                assert_same_bits(ops.layer_norm_forward(x[rows], gamma, beta), (y[rows], mean[rows], rstd[rows]))
                assert_same_bits(ops.layer_norm_backward(dy[rows], x[rows], mean[rows], rstd[rows], gamma)[0], dx[rows])
                assert_same_bits(ops.batch_norm_predict(x[rows], gamma, gamma, gamma, beta), predicted[rows])


@each_dtype
def test_a_column_does_not_depend_on_its_place(isa, dtype):
    columns = 5 * LANES[dtype] + 3
    x, dy, gamma, beta = case(9, columns, dtype)
    whole = ops.batch_norm_forward(x, gamma, beta)
    gradients = ops.batch_norm_backward(dy, x, *whole[1:], gamma)
    sums = ops.layer_norm_backward(dy, x, x[:, 0].copy(), x[:, 1].copy())[1:]
    for first, end in ((0, 1), (3, 20), (1, columns), (7, columns - 2), (columns - 1, columns)):
        cut = [np.ascontiguousarray(value[..., first:end]) for value in (x, dy, gamma, beta, *whole[1:])]
        got = ops.batch_norm_forward(cut[0], cut[2], cut[3])
        assert_same_bits(got, tuple(np.ascontiguousarray(part[..., first:end]) for part in whole))
        got = ops.batch_norm_backward(cut[1], cut[0], cut[4], cut[5], cut[2])
        assert_same_bits(got, tuple(np.ascontiguousarray(part[..., first:end]) for part in gradients))
        got = ops.layer_norm_backward(cut[1], cut[0], x[:, 0].copy(), x[:, 1].copy())[1:]
        assert_same_bits(got, tuple(part[first:end] for part in sums))


@needs_two_fused
@each_dtype
@each_norm
def test_the_same_bits_on_every_instruction_set(norm, dtype):
    forward, backward = functions(norm)
    for rows in (1, 4, 7, 259):
        for columns in (*WIDTHS, 1000):
            x, dy, gamma, beta = case(rows, columns, dtype)
            x[rows // 2, columns // 2], dy[0, 0] = np.inf, np.nan
            for g, b in ((gamma, beta), (None, None)):
                assert_same_on_fused(forward, x, g, b)
                assert_same_on_fused(backward, dy, x, *forward(x, g, b)[1:], g)


@each_dtype
@each_norm
@each_layout
def test_layouts(isa, layout, norm, dtype):
    for shape in ((7, 19), (5, 64)):
        x, dy, gamma, beta = case(*shape, dtype)
        forward, backward = functions(norm)
        y, *saved = forward(x, gamma, beta)
        given = [layout(value) for value in (x, dy, gamma, beta, *saved)]
        assert_same_bits(forward(given[0], given[2], given[3]), (y, *saved))
        got = backward(given[1], given[0], given[4], given[5], given[2])
        assert_same_bits(got, backward(dy, x, *saved, gamma))
    predicted = ops.batch_norm_predict(x, gamma, gamma, beta)
    assert_same_bits(ops.batch_norm_predict(layout(x), layout(gamma), layout(gamma), layout(beta)), predicted)


@each_dtype
@each_norm
def test_dx_may_take_an_argument_s_place(isa, norm, dtype):
    eps = [1e-5] if norm == "batch" else []
    backward = getattr(_core, f"{norm}_norm_backward")
    for rows, columns in ((1, 5), (4, 16), (7, 70)):
        x, dy, gamma, beta = case(rows, columns, dtype)
        _, *saved = functions(norm)[0](x, gamma, beta)
        dx, dgamma, dbeta = functions(norm)[1](dy, x, *saved, gamma)
        for place in (0, 1):
            given = [dy.copy(), x.copy()]
            got = backward(*given, *saved, gamma, *eps, given[place])
            assert got[0] is given[place]
            assert_same_bits(got, (dx, dgamma, dbeta))


@needs_guard_pages
@each_dtype
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, dtype, place):
    for rows in (1, 3, 4, 5):
        for columns in WIDTHS:
            x, dy, gamma, beta = case(rows, columns, dtype)
            given = [guarded(value, place) for value in (x, dy, gamma, beta)]
            for norm, count in (("layer", rows), ("batch", columns)):
                forward, backward = (getattr(_core, f"{norm}_norm_{way}") for way in ("forward", "backward"))
                eps = [1e-5] if norm == "batch" else []
                out = [guarded_empty(shape, dtype, place) for shape in (x.shape, count, count)]
                forward(given[0], given[2], given[3], 1e-5, *out)
                y, *saved = functions(norm)[0](x, gamma, beta)
                assert_same_bits(tuple(out), (y, *saved))
                gradients = [guarded_empty(shape, dtype, place) for shape in (x.shape, columns, columns)]
                backward(given[1], given[0], out[1], out[2], given[2], *eps, *gradients)
                assert_same_bits(tuple(gradients), functions(norm)[1](dy, x, *saved, gamma))
            y = guarded_empty(x.shape, dtype, place)
            _core.batch_norm_predict(given[0], given[2], given[2], given[2], given[3], 1e-5, y)
            assert_same_bits(y, ops.batch_norm_predict(x, gamma, gamma, gamma, beta))
            running = [guarded(value, place) for value in (gamma, beta)]
            _core.batch_norm_running(*running, given[2], given[3], 3, 0.1)
            assert np.isfinite(running).all()


@each_dtype
def test_no_rows_and_no_columns(isa, dtype):
    y, mean, rstd = ops.layer_norm_forward(np.empty((0, 3), dtype))
    assert y.shape == (0, 3) and mean.shape == rstd.shape == (0,)
    dx, dgamma, dbeta = ops.layer_norm_backward(y, y, mean, rstd)
    assert dx.shape == (0, 3) and dgamma.tolist() == dbeta.tolist() == [0, 0, 0]
    y, mean, variance = ops.batch_norm_forward(np.empty((3, 0), dtype))
    assert y.shape == (3, 0) and mean.shape == variance.shape == (0,)
    assert ops.batch_norm_backward(y, y, mean, variance)[1].shape == (0,)


@each_dtype
def test_running_statistics_are_not_updated_elsewhere(dtype):
    running = misaligned(np.zeros(5, dtype))
    with pytest.raises(
        ValueError, match="^running_mean is updated in place: it must be writeable, contiguous and aligned"
    ):
        ops.batch_norm_running(running, np.zeros(5, dtype), np.ones(5, dtype), np.ones(5, dtype), 3)
    with pytest.raises(ValueError, match="^running_variance is updated in place"):
        ops.batch_norm_running(np.zeros(5, dtype), running, np.ones(5, dtype), np.ones(5, dtype), 3)
