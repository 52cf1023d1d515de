"""The dense layer: literals and exact integers, its parts, the distance to the twin, differences, and the edges.

Sizes lie around the register tiles, the block of 256 terms (inputs forward, rows backward), and the sizes from which on
a panel is copied and a second thread helps. The product itself has test_gemm.py.
"""

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
    each_layout,
    guarded,
    guarded_empty,
    needs_guard_pages,
    needs_two_fused,
    real,
)

from fastbp import _core, ops, reference
from fastbp.layers import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    GELUTanh,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
FUNCTIONS = [Identity(), ReLU(), LeakyReLU(0.25), Sigmoid(), Tanh(), Softplus(2.0), ELU(0.5), SELU()]
FROM_Z = [GELU(), GELUTanh(), SiLU()]  # forward alone
each_function = pytest.mark.parametrize("f", FUNCTIONS, ids=repr)

# Rows, inputs, outputs.
SMALL = [(B, I, O) for B in (1, 2, 6, 13, 15, 29) for I in (1, 3, 9, 17, 33) for O in (1, 2, 8, 15, 16, 17, 33)]
LONG = [(B, I, 9) for B in (BLOCK - 1, BLOCK, BLOCK + 1) for I in (BLOCK - 1, BLOCK, BLOCK + 1)]
LARGE = [(2 * BLOCK + 1, 5, 40), (33, 130, 257), (130, 300, 300), (300, 257, 129)]
LARGE += [(2, 300, 600), (3, 520, 530), (17, 35, 1024)]  # by streams; narrow, with rows of W 4 KiB apart
EACH_KIND = [(1, 1, 1), (15, 9, 17), (29, 17, 33), (7, BLOCK + 1, 10), (BLOCK + 1, 7, 10)]
EACH_KIND += [(29, 35, 2), (BLOCK + 1, 40, 3)]  # with few outputs the gradient of the weights is made transposed


def layer(B, I, O, dtype="float64", seed=0):
    """x, W, b and a gradient at y; weights scaled so that z is of order one."""
    W = real(seed + 1, (I, O)) / np.sqrt(I) * 2
    return real(seed, (B, I), dtype), W.astype(dtype), real(seed + 2, O, dtype), real(seed + 3, (B, O), dtype)


def in_float64(*arrays):
    return [a.astype("float64") for a in arrays]


def core_forward(x, W, b, f, y):
    _core.dense_forward(x, W, b, f.code, f.alpha, y)
    return y


def core_backward(dy, x, W, y, f, dx, dW, db):
    _core.dense_backward(dy, x, W, y, f.code, f.alpha, dx, dW, db)
    return dx, dW, db


def test_every_activation_is_here():
    assert {type(f) for f in FUNCTIONS + FROM_Z} == set(ACTIVATIONS)
    assert [f for f in FUNCTIONS + FROM_Z if f.from_z] == FROM_Z


# ----------------------------------------------------------------------------------------------------------- literals


@each_dtype
def test_a_layer_worked_out_by_hand(isa, dtype):
    x, W = np.array([[1, 2], [3, 4]], dtype), np.array([[1, -1, 0], [0.5, 2, 1]], dtype)
    b, dy = np.array([0.5, 0, -1], dtype), np.array([[1, 0, 2], [0, -1, 1]], dtype)
    y = ops.dense_forward(x, W, b)
    assert y.tolist() == [[2.5, 3, 1], [5.5, 5, 3]] and y.dtype == dtype
    assert ops.dense_forward(x, W).tolist() == [[2, 3, 2], [5, 5, 4]]
    dx, dW, db = ops.dense_backward(dy, x, W)
    assert dx.tolist() == [[1, 2.5], [1, -1]] and dx.dtype == dtype
    assert dW.tolist() == [[1, -3, 5], [2, -4, 8]] and dW.dtype == dtype
    assert db.tolist() == [1, -1, 3] and db.dtype == dtype


@each_dtype
def test_a_relu_layer_worked_out_by_hand(isa, dtype):
    # z = (1 - 3 + 1, 2 + 3 + 1) = (-1, 6): the first unit is off, and lets no gradient through.
    x, W, b = np.array([[1, 3]], dtype), np.array([[1, 2], [-1, 1]], dtype), np.array([1, 1], dtype)
    for f, y, slope in (("relu", [[0, 6]], 0), (LeakyReLU(0.5), [[-0.5, 6]], 0.5)):
        got = ops.dense_forward(x, W, b, f)
        assert got.tolist() == y
        dx, dW, db = ops.dense_backward(np.array([[4, 10]], dtype), x, W, got, f)
        assert db.tolist() == [4 * slope, 10]
        assert dW.tolist() == [[4 * slope, 10], [12 * slope, 30]]
        assert dx.tolist() == [[4 * slope + 20, 10 - 4 * slope]]


@each_dtype
def test_layers_of_other_activations_by_hand(isa, dtype):
    # z = log 3: exp is 3; sigmoid 3/4 with slope 3/16, tanh 4/5 with slope 9/25, softplus log 4 with slope 3/4.
    x, W, b = np.array([[np.log(3) / 2]], dtype), np.array([[1]], dtype), np.array([np.log(3) / 2], dtype)
    eps = np.finfo(dtype).eps
    for f, y, slope in (("sigmoid", 3 / 4, 3 / 16), ("tanh", 4 / 5, 9 / 25), ("softplus", np.log(4), 3 / 4)):
        got = ops.dense_forward(x, W, b, f)
        np.testing.assert_allclose(got, [[y]], rtol=4 * eps)
        dx, dW, db = ops.dense_backward(np.array([[2]], dtype), x, W, got, f)
        np.testing.assert_allclose([dx[0, 0], dW[0, 0], db[0]], [2 * slope, slope * np.log(3), 2 * slope], rtol=8 * eps)


@each_dtype
@pytest.mark.parametrize("f", [Identity(), ReLU(), LeakyReLU(2)], ids=repr)
def test_exact_integers_in_every_size(isa, f, dtype):
    # Small integers: NumPy's float64 results are exact as well, whatever the order.
    for B, I, O in SMALL + LONG + LARGE:
        x, W, b, dy = (np.rint(3 * a) for a in layer(B, I, O))
        z = x @ W + b
        y = np.where(z > 0, z, getattr(f, "alpha", 0) * z) if f.code else z
        slope = np.where(y > 0, 1, f.alpha) if f.code else 1
        got = ops.dense_forward(x.astype(dtype), W.astype(dtype), b.astype(dtype), f)
        assert np.array_equal(got, y), (B, I, O)
        dx, dW, db = ops.dense_backward(dy.astype(dtype), x.astype(dtype), W.astype(dtype), got, f)
        dz = dy * slope
        assert np.array_equal(dx, dz @ W.T), (B, I, O)
        assert np.array_equal(dW, x.T @ dz), (B, I, O)
        assert np.array_equal(db, dz.sum(axis=0)), (B, I, O)


# ---------------------------------------------------------------------------------------------------------- its parts


@each_dtype
@pytest.mark.parametrize("f", FROM_Z, ids=repr)
def test_a_layer_whose_backward_needs_z(isa, f, dtype):
    for B, I, O in EACH_KIND:
        x, W, b, dy = layer(B, I, O, dtype)
        z = ops.dense_forward(x, W, b)
        y = ops.dense_forward(x, W, b, f)
        assert_same_bits(y, getattr(ops, f"{f.name}_forward")(z))
        assert_close(y, reference.dense_forward(*in_float64(x, W, b), f), dtype)
        for of in (ops, reference):
            for what in (f, f.name):
                with pytest.raises(ValueError, match=rf"computed from y, got {f.name}: .* {f.name}_backward\(dy, z\)"):
                    of.dense_backward(dy, x, W, y, what)
        with pytest.raises(ValueError, match="computed from z"):
            _core.dense_backward(dy, x, W, y, f.code, f.alpha)


@each_dtype
@each_function
def test_a_layer_is_its_parts_bit_for_bit(isa, f, dtype):
    # Fused with the product or not, the activation does the same to each element; both gradients are products.
    for B, I, O in EACH_KIND + LARGE:
        x, W, b, dy = layer(B, I, O, dtype)
        z = ops.dense_forward(x, W, b)
        y = np.empty_like(z)
        _core.activation_forward(z, f.code, f.alpha, y)
        assert_same_bits(ops.dense_forward(x, W, b, f), y)
        assert_same_bits(ops.dense_forward(x, W), ops.gemm(x, W))
        dz = np.empty_like(dy)
        _core.activation_backward(dy, y, f.code, f.alpha, dz)
        sums = ops.gemm(np.ones((1, B), dtype), dz)[0]  # in blocks of 256 rows, like any product
        products = ops.gemm(dz, W, False, True), ops.gemm(x, dz, True)
        assert_same_bits(ops.dense_backward(dy, x, W, y, f), (*products, sums))


@each_dtype
def test_the_bias_starts_the_sum(isa, dtype):
    # tiny is half of what 1 can be changed by: 255 of them vanish in a bias of 1, and add up without one.
    tiny = np.finfo(dtype).eps / 2
    for O in (1, 16, 40):
        x, W, b = np.ones((3, BLOCK - 1), dtype), np.full((BLOCK - 1, O), tiny, dtype), np.ones(O, dtype)
        assert (ops.dense_forward(x, W, b) == 1).all()
        assert (ops.dense_forward(x, W) == (BLOCK - 1) * tiny).all()


# ----------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_function
def test_against_the_twin(isa, f, dtype):
    for B, I, O in SMALL[::5] + EACH_KIND:
        x, W, b, dy = layer(B, I, O, dtype, seed=B + I + O)
        for bias in (b, None):
            y = ops.dense_forward(x, W, bias, f)
            expected = reference.dense_forward(*in_float64(x, W), None if bias is None else bias.astype("float64"), f)
            check_against_twin(y, expected, dtype)
        expected = reference.dense_backward(*in_float64(dy, x, W, y), f)
        for got, e in zip(ops.dense_backward(dy, x, W, y, f), expected, strict=True):
            check_against_twin(got, e, dtype)


def check_against_twin(got, expected, dtype):
    """Within the tolerance normwise; where a few sums come out small, as the difference of terms of order one does."""
    assert got.dtype == dtype and got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= TOLERANCE[dtype] * max(np.linalg.norm(expected), 1)


# ------------------------------------------------------------------------------------------------ central differences


@each_function
@pytest.mark.parametrize("B, I, O", [(1, 1, 1), (3, 4, 2), (4, 2, 17)])
def test_gradients_against_differences(isa, f, B, I, O):
    x, W, b, dy = layer(B, I, O)
    assert np.abs(x @ W + b).min() > 4e-3, "too close to a kink to take differences"

    def total(x, W, b):
        return (dy * ops.dense_forward(x, W, b, f)).sum()

    dx, dW, db = ops.dense_backward(dy, x, W, ops.dense_forward(x, W, b, f), f)
    np.testing.assert_allclose(dx, central_difference(lambda x: total(x, W, b), x, 1e-3), rtol=0, atol=1e-10)
    np.testing.assert_allclose(dW, central_difference(lambda W: total(x, W, b), W, 1e-3), rtol=0, atol=1e-10)
    np.testing.assert_allclose(db, central_difference(lambda b: total(x, W, b), b, 1e-3), rtol=0, atol=1e-10)


# -------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_function
def test_no_rows(isa, f, dtype):
    x, W, b, dy = layer(0, 5, 19, dtype)
    y = ops.dense_forward(x, W, b, f)
    assert_same_bits(y, np.empty((0, 19), dtype))
    expected = np.empty((0, 5), dtype), np.zeros((5, 19), dtype), np.zeros(19, dtype)
    assert_same_bits(ops.dense_backward(dy, x, W, y, f), expected)


@each_dtype
@each_function
@pytest.mark.parametrize("B, I, O", [(29, 33, 49), (70, BLOCK + 1, 65), (300, 150, 260)])
def test_rows_and_columns_do_not_depend_on_their_place(isa, f, B, I, O, dtype):
    # Nor on the shape around them: a small layer is neither copied in panels nor shared out among threads.
    x, W, b, dy = layer(B, I, O, dtype)
    y = ops.dense_forward(x, W, b, f)
    dx, dW, db = ops.dense_backward(dy, x, W, y, f)
    for first, end in [(0, 1), (1, 2), (B - 1, B), (1, B), (3, 17)]:
        assert_same_bits(ops.dense_forward(x[first:end], W, b, f), y[first:end])
        assert_same_bits(ops.dense_backward(dy[first:end], x[first:end], W, y[first:end], f)[0], dx[first:end])
    for first, end in [(0, 1), (1, 2), (O - 1, O), (1, O), (3, 17)]:
        assert_same_bits(ops.dense_forward(x, W[:, first:end], b[first:end], f), y[:, first:end])
        part = ops.dense_backward(dy[:, first:end], x, W[:, first:end], y[:, first:end], f)
        assert_same_bits(part[1:], (dW[:, first:end], db[first:end]))
    for first, end in [(0, 1), (I - 1, I), (1, I), (3, 17)]:
        part = ops.dense_backward(dy, x[:, first:end], W[first:end], y, f)
        assert_same_bits(part, (dx[:, first:end], dW[first:end], db))


@needs_two_fused
@each_dtype
@each_function
def test_the_same_bits_on_every_instruction_set(f, dtype):
    for B, I, O in SMALL[::3] + LONG + LARGE:
        x, W, b, dy = layer(B, I, O, dtype)
        assert_same_on_fused(ops.dense_forward, x, W, b, f)
        y = ops.dense_forward(x, W, b, f)
        assert_same_on_fused(ops.dense_backward, dy, x, W, y, f)


@each_dtype
@each_function
@each_layout
def test_layouts(isa, layout, f, dtype):
    x, W, b, dy = layer(9, 5, 19, dtype)
    y = ops.dense_forward(x, W, b, f)
    assert_same_bits(ops.dense_forward(layout(x), layout(W), layout(b), f), y)
    assert_same_bits(ops.dense_backward(*map(layout, (dy, x, W, y)), f), ops.dense_backward(dy, x, W, y, f))


@each_dtype
@each_function
@pytest.mark.parametrize("I", [3, BLOCK + 1])
def test_nan_shows_wherever_it_stands_forward(isa, f, I, dtype):
    B, O = 8, LANES[dtype] + 3
    x, W, b, _ = layer(B, I, O, dtype)
    y = ops.dense_forward(x, W, b, f)

    def check(got, spoiled):
        assert np.isnan(got[spoiled]).all()
        assert_same_bits(got[~spoiled], y[~spoiled])

    some = range(I) if I < 10 else (0, BLOCK - 1, BLOCK)
    for k in some:
        for i in range(B):
            x_ = x.copy()
            x_[i, k] = np.nan
            check(ops.dense_forward(x_, W, b, f), np.repeat(np.arange(B)[:, None] == i, O, axis=1))
        for j in range(O):
            W_ = W.copy()
            W_[k, j] = np.nan
            check(ops.dense_forward(x, W_, b, f), np.repeat(np.arange(O)[None] == j, B, axis=0))
    for j in range(O):
        b_ = b.copy()
        b_[j] = np.nan
        check(ops.dense_forward(x, W, b_, f), np.repeat(np.arange(O)[None] == j, B, axis=0))


@each_dtype
@each_function
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("B, I, O", [(5, 4, 19), (9, 19, 2)])
def test_nan_and_inf_show_wherever_they_stand_backward(isa, f, B, I, O, bad, dtype):
    x, W, b, dy = layer(B, I, O, dtype)
    y = ops.dense_forward(x, W, b, f)
    clean = ops.dense_backward(dy, x, W, y, f)

    def check(spoiled, *where):
        """Where dx, dW and db are not finite, as a function of nothing but the place of the bad element."""
        got = ops.dense_backward(*spoiled, y, f)
        for g, c, at in zip(got, clean, where, strict=True):
            mask = np.zeros(g.shape, bool)
            if at is not None:
                mask[at] = True
            assert not np.isfinite(g[mask]).any()
            assert_same_bits(g[~mask], c[~mask])

    for i, j in np.ndindex(B, O):
        dy_ = dy.copy()
        dy_[i, j] = bad
        check((dy_, x, W), np.s_[i], np.s_[:, j], np.s_[j])
    for i, k in np.ndindex(B, I):
        x_ = x.copy()
        x_[i, k] = bad
        check((dy, x_, W), None, np.s_[k], None)
    for k, j in np.ndindex(I, O):
        W_ = W.copy()
        W_[k, j] = bad
        check((dy, x, W_), np.s_[:, k], None, None)


@each_dtype
def test_a_gradient_of_infinity_at_a_unit_that_is_off_is_nan(isa, dtype):
    x, W = np.ones((2, 3), dtype), -np.ones((3, 20), dtype)
    y = ops.dense_forward(x, W, None, "relu")
    assert not y.any()
    dx, dW, db = ops.dense_backward(np.full((2, 20), np.inf, dtype), x, W, y, "relu")
    assert np.isnan(dx).all() and np.isnan(dW).all() and np.isnan(db).all()


@each_dtype
def test_large_logits(isa, dtype):
    # 1e4 both ways: the ends of each function, reached without overflow, and slopes of 0 or 1.
    x, W = np.array([[1], [-1]], dtype), np.full((1, 20), 1e4, dtype)
    for f, high, low, slope_high in (
        ("identity", 1e4, -1e4, None),
        ("relu", 1e4, 0, 1),
        ("sigmoid", 1, 0, 0),
        ("tanh", 1, -1, 0),
        ("softplus", 1e4, 0, 1),
        ("elu", 1e4, -1, 1),
        ("gelu", 1e4, 0, None),
        ("gelu_tanh", 1e4, 0, None),
        ("silu", 1e4, 0, None),
    ):
        y = ops.dense_forward(x, W, None, f)
        assert (y[0] == high).all() and (y[1] == low).all()
        if slope_high is not None:
            assert (ops.dense_backward(np.ones_like(y), x, W, y, f)[2] == slope_high).all()


@each_dtype
def test_the_activation_is_known_by_name_or_object(isa, dtype):
    x, W, b, _ = layer(5, 3, 7, dtype)
    for f in (of() for of in ACTIVATIONS):
        assert_same_bits(ops.dense_forward(x, W, b, f.name), ops.dense_forward(x, W, b, f))


@needs_guard_pages
@each_dtype
@pytest.mark.parametrize("f", [Identity(), ReLU(), Tanh()], ids=repr)  # none, one in the tile's registers, one after it
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, f, place, dtype):
    for B, I, O in SMALL[::4] + EACH_KIND + LARGE:
        x, W, b, dy = layer(B, I, O, dtype)
        X, V = guarded(x, place), guarded(W, place)
        y = core_forward(X, V, guarded(b, place), f, guarded_empty((B, O), dtype, place))
        assert_same_bits(y, ops.dense_forward(x, W, b, f))
        outputs = (guarded_empty(shape, dtype, place) for shape in ((B, I), (I, O), (O,)))
        got = core_backward(guarded(dy, place), X, V, y, f, *outputs)
        assert_same_bits(got, ops.dense_backward(dy, x, W, y.copy(), f))
