"""Activations: literals, the distance to the twin and to the exact function, differences, and the edges."""

import math

import numpy as np
import pytest
from arrays import (
    DTYPES,
    LANES,
    PLACES,
    SIZES,
    assert_close,
    assert_same_bits,
    assert_same_on_fused,
    central_difference,
    each_layout,
    guarded,
    guarded_empty,
    magnitudes,
    needs_guard_pages,
    needs_two_fused,
    real,
    special,
    ulps,
    wider,
)
from limits import LIMITS

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

FUNCTIONS = [Identity(), ReLU(), LeakyReLU(), LeakyReLU(0.25), LeakyReLU(0), Sigmoid(), Tanh(), Softplus(), Softplus(3)]
FUNCTIONS += [ELU(), ELU(0.25), ELU(0), SELU(), GELU(), GELUTanh(), SiLU()]
each_function = pytest.mark.parametrize("f", FUNCTIONS, ids=repr)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def forward(f, x, of=ops):
    return getattr(of, f"{f.name}_forward")(x, **{field: getattr(f, field) for field in f.fields})


def backward(f, dy, y, of=ops):
    return getattr(of, f"{f.name}_backward")(dy, y, **{field: getattr(f, field) for field in f.fields})


def saved(f, x):
    """What backward takes: f(x), or x itself."""
    return x if f.from_z else forward(f, x)


def outputs(f, x):
    """The same by the twin, as an array to differentiate from; any numbers do, if they are such as f returns."""
    if f.from_z:
        return x.copy()
    with np.errstate(over="ignore", under="ignore"):
        return forward(f, x, reference).astype(x.dtype)


def test_every_activation_is_here():
    assert {type(f) for f in FUNCTIONS} == set(ACTIVATIONS)


# ----------------------------------------------------------------------------------------------------------- literals


# By hand: exp(log 3) is 3, so sigmoid is 3/4, tanh (9 - 1)/(9 + 1), softplus log 4, and elu of -log 3 is 1/3 - 1. The
# others with mpmath.
LOG2, LOG3, LOG4 = 0.69314718055994530942, 1.0986122886681098, 1.3862943611198906188
FEW = [1, -1, 5.5, -3]
SIGMOID_OF_FEW = [0.73105857863000487925, 0.26894142136999512075, 0.99592986228410387267, 0.047425873177566780879]
TANH_OF_FEW = [0.76159415595576488812, -0.76159415595576488812, 0.99996659715630380964, -0.99505475368673045133]
SOFTPLUS_OF_FEW = [1.313261687518222834, 0.31326168751822283405, 5.5040784432705707209, 0.048587351573742058759]
SELU_OF_FEW = [1.0507009873554804934, -1.1113307378125627618, 5.7788554304551427138, -1.6705687287671119749]
GELU_OF_FEW = [0.84134474606854294859, -0.15865525393145705141, 5.4999998955574064376, -0.00404969409489028358]
GELU_TANH_OF_FEW = [0.84119199060827670478, -0.15880800939172329522, 5.4999999940723597361, -0.0036373920817730188378]
SILU_OF_FEW = [0.73105857863000487925, -0.26894142136999512075, 5.4776142425625712997, -0.14227761953270034264]
POINTS = [
    (Identity(), [-2, 0, 3.5], [-2, 0, 3.5]),
    (ReLU(), [-2, 0, 3.5], [0, 0, 3.5]),
    (LeakyReLU(0.25), [-2, 0, 3.5], [-0.5, 0, 3.5]),
    (LeakyReLU(2), [-2, 0, 3.5], [-4, 0, 3.5]),
    (Sigmoid(), [0, LOG3, -LOG3], [0.5, 0.75, 0.25]),
    (Sigmoid(), FEW, SIGMOID_OF_FEW),
    (Sigmoid(), [-20, 30], [2.0611536181902035814e-9, 0.99999999999990642377]),
    (Tanh(), [0, LOG2, -LOG3], [0, 0.6, -0.8]),
    (Tanh(), FEW, TANH_OF_FEW),
    (Tanh(), [2.0**-10, -20], [0.00097656218955926021858, -0.9999999999999999915]),
    (Softplus(), [0, LOG3, -LOG3], [LOG2, LOG4, 0.28768207245178092744]),
    (Softplus(), FEW, SOFTPLUS_OF_FEW),
    (Softplus(), [-20, 30], [2.0611536203143807032e-9, 30.000000000000093576]),
    (Softplus(3.0), [0, 1, -1, 5.5], [LOG2 / 3, 1.0161957838579140196, 0.016195783857914019586, 5.500000022752010478]),
    (ELU(), [0, 3.5, -LOG3], [0, 3.5, -2 / 3]),
    (ELU(0.75), [3.5, -LOG3, -LOG2], [3.5, -0.5, -0.375]),
    (SELU(), FEW, SELU_OF_FEW),
    (GELU(), FEW, GELU_OF_FEW),
    (GELU(), [2.0**-10, -12], [0.00048866171094607474708, -2.1317785344932147972e-32]),
    (GELUTanh(), FEW, GELU_TANH_OF_FEW),
    (GELUTanh(), [2.0**-10], [0.0004886617109457754352]),
    (SiLU(), [0, LOG3, -LOG3], [0, 0.75 * LOG3, -0.25 * LOG3]),
    (SiLU(), FEW, SILU_OF_FEW),
    (SiLU(), [2.0**-10, -20], [0.00048851966856015375802, -4.1223072363804071629e-8]),
]


@each_dtype
@pytest.mark.parametrize("f, x, y", POINTS, ids=lambda v: repr(v) if not isinstance(v, list) else "")
def test_forward_at_points_worked_out_elsewhere(isa, f, x, y, dtype):
    x = np.array(x, dtype)
    rtol = np.full(x.shape, 4.0)
    if f.name == "gelu_tanh":  # an ulp is up to an epsilon
        rtol = np.maximum(rtol, LIMITS["gelu_tanh"].of(isa) * (1 + np.abs(steepness(f, x))))
    assert (np.abs(forward(f, x) - y) <= rtol * np.finfo(dtype).eps * np.abs(y)).all()


# By hand, from y: relu, leaky relu and elu by their cases; y (1 - y); (1 - y)(1 + y); 1 - exp(-y log 4) with y = 1/2
# and 1. From z: silu q + z q (1 - q), where q = 3/4 and 1/4; the others with mpmath.
GELU_SLOPES = [1.0833154705876862984, -0.083315470587686298383, 1.000000573347239874, -0.011945647204183927]
GELU_TANH_SLOPES = [1.0829640838457825551, -0.08296408384578255514, 1.0000000467655281081, -0.011584166630969726204]
SILU_SLOPES = [0.92767051187148673179, 0.072329488128513268211, 1.0182245066058875922, -0.088104106015169617069]
SLOPES = [
    (Identity(), [-2, 0, 3], [1, 1, 1]),
    (ReLU(), [0, 1e-30, 3], [0, 1, 1]),
    (LeakyReLU(0.25), [-2, 0, 1e-30, 3], [0.25, 0.25, 1, 1]),
    (LeakyReLU(2), [-2, 3], [2, 1]),
    (Sigmoid(), [0, 0.25, 0.5, 1], [0, 0.1875, 0.25, 0]),
    (Tanh(), [-1, -0.5, 0, 0.75, 1], [0, 0.75, 1, 0.4375, 0]),
    (Softplus(LOG4), [0, 0.5, 1, 1e9], [0, 0.5, 0.75, 1]),
    (ELU(), [-1, -0.75, 0, 1e-30, 3], [0, 0.25, 1, 1, 1]),
    (ELU(0.5), [-0.5, -0.25, 0, 1e-30], [0, 0.25, 0.5, 1]),
    (SELU(), [1e-30, 2, 0], [1.0507009873554804934, 1.0507009873554804934, 1.758099340847376860]),
    (GELU(), [0, *FEW], [0.5, *GELU_SLOPES]),
    (GELU(), [-12], [-2.5578956616748956241e-31]),
    (GELUTanh(), [0, *FEW], [0.5, *GELU_TANH_SLOPES]),
    (SiLU(), [0, *FEW], [0.5, *SILU_SLOPES]),
    (SiLU(), [LOG3, -LOG3], [0.75 + 0.1875 * LOG3, 0.25 - 0.1875 * LOG3]),
]


@each_dtype
@pytest.mark.parametrize("f, y, slope", SLOPES, ids=lambda v: repr(v) if not isinstance(v, list) else "")
def test_backward_at_points_worked_out_elsewhere(isa, f, y, slope, dtype):
    for dy in (1.0, -3.0):
        dx = backward(f, np.full(len(y), dy, dtype), np.array(y, dtype))
        np.testing.assert_allclose(dx, dy * np.array(slope), rtol=(20 if f.from_z else 4) * np.finfo(dtype).eps, atol=0)


@each_dtype
def test_tanh_keeps_its_slope_near_one(isa, dtype):
    # With y = 1 - d, by hand: (1 - y)(1 + y) = d (2 - d). The square in 1 - y^2 would round half of the digits away.
    d = {"float32": 3 * 2.0**-13, "float64": 3 * 2.0**-27}[dtype]
    dx = ops.tanh_backward(np.ones(1, dtype), np.array([1 - d], dtype))
    np.testing.assert_allclose(dx, [d * (2 - d)], rtol=2 * np.finfo(dtype).eps, atol=0)


@pytest.mark.torch
@each_dtype
def test_the_same_as_pytorch(isa, dtype):
    torch = pytest.importorskip("torch")
    of = torch.nn.functional
    theirs = {
        "identity": lambda x: x + 0,
        "relu": of.relu,
        "leaky_relu": lambda x, negative_slope: of.leaky_relu(x, negative_slope),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": lambda x, beta: of.softplus(x, beta, 1000),
        "elu": lambda x, alpha: of.elu(x, alpha),
        "selu": of.selu,
        "gelu": of.gelu,
        "gelu_tanh": lambda x: of.gelu(x, approximate="tanh"),
        "silu": of.silu,
    }
    x, dy = real(0, 4001, dtype, -9, 9), real(1, 4001, dtype)
    for f in FUNCTIONS:
        z = torch.tensor(x, requires_grad=True)
        y = theirs[f.name](z, **{field: getattr(f, field) for field in f.fields})
        y.backward(torch.tensor(dy))
        assert_close(forward(f, x), y.detach().numpy(), dtype)
        assert_close(backward(f, dy, saved(f, x)), z.grad.numpy(), dtype)


# ---------------------------------------------------------------------------------------------------------- the twin


@each_dtype
@each_function
def test_forward_and_backward_against_the_twin(isa, f, dtype):
    for n in SIZES:
        x, dy = real(n, n, dtype, -6, 6), real(n + 1, n, dtype)
        assert_close(forward(f, x), forward(f, x.astype("float64"), reference), dtype)
        y = saved(f, x)
        assert_close(backward(f, dy, y), backward(f, dy.astype("float64"), y.astype("float64"), reference), dtype)


def exact(f, x):
    """f in the dtype of x, wider than what is measured."""
    with np.errstate(over="ignore", under="ignore"):
        if f.name == "sigmoid":
            return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))
        if f.name == "tanh":
            return np.tanh(x)
        if f.name == "elu":
            return np.where(x > 0, x, f.alpha * np.expm1(np.minimum(x, 0)))
        if f.name == "selu":
            scale, limit = (x.dtype.type(text) for text in ("1.0507009873554804934", "1.7580993408473768600"))
            return np.where(x > 0, scale * x, limit * np.expm1(np.minimum(x, 0)))
        if f.name in ("silu", "gelu_tanh"):
            return np.maximum(x, -5000) * exact(Sigmoid(), steepness(f, x))
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(f.beta * x))) / f.beta


def steepness(f, x):
    """v in f(x) = x sigmoid(v), for silu and gelu_tanh."""
    if f.name == "silu":
        return x
    near = np.clip(x, -5000, 5000)  # beyond, the sigmoid is 0 or 1
    return 2 * np.sqrt(2 / (x.dtype.type(4) * np.arctan(x.dtype.type(1)))) * (near + near**3 * 44715 / 1000000)


# Through fastbp.ops, and with NumPy's functions, what c/accuracy.c measures in C.
ULPS = [
    (Sigmoid(), "sigmoid"),
    (Tanh(), "tanh"),
    (Softplus(), "softplus"),
    (Softplus(2.0), "softplus"),
    (ELU(), "elu"),
    (ELU(float(np.float32(0.3))), "elu(0.3)"),
    (SELU(), "selu"),
]


@each_dtype
@pytest.mark.parametrize("f, name", ULPS, ids=repr)
def test_forward_in_ulp(isa, f, name, dtype):
    wide = wider(dtype)
    x = np.concatenate([magnitudes(dtype), special(dtype), *(real(k, 20000, dtype, -k, k) for k in (1, 20, 120, 800))])
    error = ulps(forward(f, x), exact(f, x.astype(wide)))
    assert error.max() <= LIMITS[name].of(isa), x[error.argmax()]


@each_dtype
@pytest.mark.parametrize("beta", [3.0, 0.7, 50.0])
def test_softplus_in_ulp_where_its_beta_rounds(isa, beta, dtype):
    wide = wider(dtype)
    x = np.concatenate([magnitudes(dtype), special(dtype), *(real(k, 20000, dtype, -k, k) for k in (1, 20, 120))])
    f = Softplus(float(np.array(beta, dtype)))
    with np.errstate(over="ignore", under="ignore"):
        bound = LIMITS["softplus(3)"].of(isa) * (1 + np.minimum(np.abs(beta * x.astype(wide)), 2000))
    assert (ulps(forward(f, x), exact(f, x.astype(wide))) <= bound).all()


@each_dtype
@pytest.mark.parametrize("f", [SiLU(), GELUTanh()], ids=repr)
def test_products_with_a_sigmoid_in_ulp(isa, f, dtype):
    wide = wider(dtype)
    x = np.concatenate(
        [magnitudes(dtype), special(dtype), *(real(k, 20000, dtype, -k, k) for k in (1, 4, 20, 120, 800))]
    )
    y, x = forward(f, x), x.astype(wide)
    expected = exact(f, x)
    bound = LIMITS[f.name].of(isa) * (1 + (f.name == "gelu_tanh") * np.minimum(np.abs(steepness(f, x)), 2000))
    error = ulps(y, expected)
    assert (error <= bound).all(), x[(error - bound).argmax()]


# Python's erfc is exact enough for floats; c/accuracy.c measures doubles.
def test_gelu_in_ulp(isa):
    x = np.concatenate(
        [magnitudes("float32"), special("float32"), *(real(k, 20000, "float32", -k, k) for k in (1, 4, 15))]
    )
    wide = x.astype("float64")
    cdf = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in wide])
    assert ulps(ops.gelu_forward(x), np.maximum(wide, -100) * cdf).max() <= LIMITS["gelu"].of(isa)
    near = np.clip(wide, -100, 100)
    term = near * np.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    dx = ops.gelu_backward(np.ones_like(x), x)
    size = (cdf + np.abs(term)).astype("float32")
    assert (np.abs(dx - (cdf + term)) <= LIMITS["gelu'"].of(isa) * np.spacing(size)).all()


# Each rounding adds half an ulp, or a whole one where the mantissa of the exact result is just below 2.
@each_dtype
@pytest.mark.parametrize(
    "f, bound",
    [
        (Identity(), 0),
        (ReLU(), 0),
        (LeakyReLU(0.25), 0.5),
        (Sigmoid(), 3),
        (Tanh(), 4),
        (Softplus(), 4),
        (ELU(), 1.5),
        (ELU(0.25), 1.5),
        (SELU(), 1.5),
    ],
    ids=repr,
)
def test_backward_in_ulp(isa, f, bound, dtype):
    wide = wider(dtype)
    y = outputs(f, np.concatenate([real(k, 10000, dtype, -k, k) for k in (1, 20)]))
    dy = real(3, y.shape, dtype, 0.5, 2)
    Y = y.astype(wide)
    slope = {
        "identity": lambda: np.ones_like(Y),
        "relu": lambda: (Y > 0) * wide(1),
        "leaky_relu": lambda: np.where(Y > 0, wide(1), wide(0.25)),
        "sigmoid": lambda: Y * (1 - Y),
        "tanh": lambda: (1 - Y) * (1 + Y),
        "softplus": lambda: -np.expm1(-Y),
        "elu": lambda: np.where(Y > 0, wide(1), Y + f.alpha),
        "selu": lambda: np.where(
            Y > 0, wide(dtype_of(1.0507009873554805, dtype)), Y + dtype_of(1.7580993408473768, dtype)
        ),
    }[f.name]()
    assert ulps(backward(f, dy, y), dy * slope).max() <= bound


# ------------------------------------------------------------------------------------------------ central differences


@pytest.mark.parametrize("f", FUNCTIONS + [Softplus(0.2)], ids=repr)
def test_backward_against_differences(isa, f):
    x = np.concatenate([real(0, 20, low=-4, high=4), [-0.02, 0.02]])  # a difference reaches 0.002: not to the kink at 0
    dy = real(1, x.shape, low=0.5, high=2)
    expected = dy * np.diagonal(central_difference(lambda x: forward(f, x), x, 1e-3))
    np.testing.assert_allclose(backward(f, dy, saved(f, x)), expected, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------------------------- edges


@each_dtype
@each_function
def test_an_element_does_not_depend_on_its_place(isa, f, dtype):
    n = 3 * LANES[dtype]
    x, dy = real(0, n, dtype, -8, 8), real(1, n, dtype)
    y, dx = forward(f, x), backward(f, dy, outputs(f, x))
    for first in range(n):
        for end in (first + 1, min(first + LANES[dtype], n), n):
            assert_same_bits(forward(f, x[first:end].copy()), y[first:end])
            assert_same_bits(backward(f, dy[first:end].copy(), outputs(f, x)[first:end].copy()), dx[first:end])


@needs_two_fused
@each_dtype
@each_function
def test_the_same_bits_on_every_instruction_set(f, dtype):
    x = np.concatenate([magnitudes(dtype), special(dtype), [np.inf, -np.inf, np.nan], real(0, 4000, dtype, -30, 30)])
    x = x.astype(dtype)
    y = outputs(f, np.nan_to_num(x))
    assert_same_on_fused(forward, f, x)
    for dy, out in ((x, y), (y, y), (y, x)):
        assert_same_on_fused(backward, f, dy, out)


@each_dtype
@each_function
@each_layout
def test_layouts(isa, layout, f, dtype):
    x, dy = real(0, (19, 5), dtype, -3, 3), real(1, (19, 5), dtype)
    y = forward(f, x)
    assert_same_bits(forward(f, layout(x)), y)
    y = saved(f, x)
    assert_same_bits(backward(f, layout(dy), layout(y)), backward(f, dy, y))


@each_dtype
@each_function
def test_nan_shows_wherever_it_stands(isa, f, dtype):
    n = 2 * LANES[dtype] + 3
    x, dy = real(0, n, dtype, -3, 3), real(1, n, dtype)
    y = forward(f, x)
    dx = backward(f, dy, y)
    for i in range(n):
        others = np.arange(n) != i
        x_, dy_, y_ = x.copy(), dy.copy(), y.copy()
        x_[i] = dy_[i] = y_[i] = np.nan
        got = forward(f, x_)
        assert np.isnan(got[i])
        assert_same_bits(got[others], y[others])
        got = backward(f, dy_, y)
        assert np.isnan(got[i])
        assert_same_bits(got[others], dx[others])
        got = backward(f, dy, y_)
        # Where y is nan a comparison decides for the slope below 0; the nan has shown in forward.
        of_nan = {"identity": dy[i], "relu": 0, "leaky_relu": dy[i] * dtype_of(getattr(f, "negative_slope", 0), dtype)}
        assert np.array_equal(got[i], of_nan.get(f.name, np.nan), equal_nan=True)
        assert_same_bits(got[others], dx[others])


def dtype_of(value, dtype):
    return np.array(value, dtype)[()]


# f and its slope at -inf and inf, from their limits. Zero times an infinite gradient is nan.
AT_INFINITY = [
    (Identity(), (-np.inf, np.inf)),
    (ReLU(), (0, np.inf)),
    (LeakyReLU(0.25), (-np.inf, np.inf)),
    (Sigmoid(), (0, 1)),
    (Tanh(), (-1, 1)),
    (Softplus(), (0, np.inf)),
    (Softplus(3.0), (0, np.inf)),
    (ELU(0.25), (-0.25, np.inf)),
    (ELU(0), (0, np.inf)),
    (GELU(), (0, np.inf)),
    (GELUTanh(), (0, np.inf)),
    (SiLU(), (0, np.inf)),
]


@each_dtype
@pytest.mark.parametrize("f, limits", AT_INFINITY, ids=repr)
def test_infinity_wherever_it_stands(isa, f, limits, dtype):
    n = LANES[dtype] + 3
    x = real(0, n, dtype, -3, 3)
    y = forward(f, x)
    for i in range(n):
        for infinity, limit in zip((-np.inf, np.inf), limits, strict=True):
            x_ = x.copy()
            x_[i] = infinity
            got = forward(f, x_)
            assert got[i] == limit
            assert_same_bits(np.delete(got, i), np.delete(y, i))


@each_dtype
@each_function
def test_an_infinite_gradient_is_not_lost(isa, f, dtype):
    n = LANES[dtype] + 3
    y = outputs(f, real(0, n, dtype, 0.5, 3))
    for i in range(n):
        for infinity in (-np.inf, np.inf):
            dy = real(1, n, dtype)
            dy[i] = infinity
            assert backward(f, dy, y)[i] == infinity
    flat = {"relu": 0, "sigmoid": 1, "tanh": -1, "softplus": 0, "elu": -f.alpha}
    flat |= {"selu": -1.7580993408473768, "gelu": -1e4, "gelu_tanh": -1e4, "silu": -1e4}
    if f.name in flat:
        dx = backward(f, np.array([np.inf, -np.inf], dtype), np.full(2, flat[f.name], dtype))
        assert np.isnan(dx).all()


@each_dtype
def test_large_arguments_reach_the_ends_without_overflow(isa, dtype):
    x = np.array([-np.finfo(dtype).max, -1e30, -1e4, 1e4, 1e30, np.finfo(dtype).max], dtype)
    assert ops.sigmoid_forward(x).tolist() == [0, 0, 0, 1, 1, 1]
    assert ops.tanh_forward(x).tolist() == [-1, -1, -1, 1, 1, 1]
    assert_same_bits(ops.softplus_forward(x), np.maximum(x, 0))
    assert_same_bits(ops.softplus_forward(x, 1e6), np.maximum(x, 0))
    assert_same_bits(ops.relu_forward(x), np.maximum(x, 0))
    assert ops.elu_forward(x, 0.5).tolist() == [-0.5, -0.5, -0.5, *x[3:].tolist()]
    ones = np.ones(6, dtype)
    assert not ops.sigmoid_backward(ones, ops.sigmoid_forward(x)).any()
    assert not ops.tanh_backward(ones, ops.tanh_forward(x)).any()
    assert ops.softplus_backward(ones, ops.softplus_forward(x)).tolist() == [0, 0, 0, 1, 1, 1]
    assert ops.elu_backward(ones, ops.elu_forward(x)).tolist() == [0, 0, 0, 1, 1, 1]
    assert not ops.selu_backward(ones[:3], ops.selu_forward(x[:3])).any()
    assert np.isinf(ops.selu_forward(x)[5])  # 1.05 times the largest number


@each_dtype
@pytest.mark.parametrize("f", [f for f in FUNCTIONS if f.from_z], ids=repr)
def test_far_from_0_what_needs_z_is_0_or_the_identity(isa, f, dtype):
    x = np.array([-np.inf, -np.finfo(dtype).max, -1e30, -1e4, -900, 900, 1e4, 1e30, np.finfo(dtype).max, np.inf], dtype)
    expected = np.maximum(x, 0)
    assert_same_bits(np.abs(forward(f, x)), expected)
    assert np.signbit(forward(f, x)[:5]).all()  # a 0 from below
    assert backward(f, np.ones_like(x), x).tolist() == [0] * 5 + [1] * 5
    for twin in (forward(f, x, reference), backward(f, np.full_like(x, 2), x, reference)):
        assert np.isfinite(twin[:-1]).all() and not twin[:5].any()


@each_dtype
def test_signed_zeros(isa, dtype):
    zeros = np.array([0.0, -0.0] * 20, dtype)
    for f in (Identity(), LeakyReLU(0.25), Tanh(), ELU(), SELU(), GELU(), GELUTanh(), SiLU()):
        assert_same_bits(forward(f, zeros), zeros)
    assert not ops.relu_forward(zeros).any()
    assert (ops.sigmoid_forward(zeros) == 0.5).all()
    assert_same_bits(ops.softplus_forward(zeros), ops.softplus_forward(np.abs(zeros)))
    for f in (ReLU(), LeakyReLU(0.25)):  # neither zero is above 0
        slope = backward(f, np.ones_like(zeros), zeros)
        assert_same_bits(slope, np.full_like(zeros, getattr(f, "negative_slope", 0)))
    for f in (GELU(), GELUTanh(), SiLU()):
        assert (backward(f, np.ones_like(zeros), zeros) == 0.5).all()


@each_dtype
def test_subnormal_numbers_are_kept(isa, dtype):
    info = np.finfo(dtype)
    x = np.array([info.smallest_subnormal, -info.smallest_subnormal, info.tiny / 2, -info.tiny / 2] * 5, dtype)
    for f in (Identity(), Tanh(), LeakyReLU(1), ELU(1)):
        assert_same_bits(forward(f, x), x)
    for f in (GELU(), GELUTanh(), SiLU()):
        assert (np.abs(forward(f, x) - x / 2) <= info.smallest_subnormal).all()
        assert (backward(f, np.ones_like(x), x) == 0.5).all()
    assert_same_bits(ops.relu_forward(x), np.where(x > 0, x, 0).astype(dtype))
    assert_same_bits(ops.relu_backward(x, np.ones_like(x)), x)


@each_dtype
@each_function
def test_results_may_take_an_argument_s_place(isa, f, dtype):
    for n in (1, LANES[dtype] - 1, 3 * LANES[dtype] + 1):
        x, dy = real(0, n, dtype, -3, 3), real(1, n, dtype)
        y = forward(f, x)
        there = x.copy()
        _core.activation_forward(there, f.code, f.alpha, there)
        assert_same_bits(there, y)
        y = saved(f, x)
        dx = backward(f, dy, y)
        there = dy.copy()
        _core.activation_backward(there, y, f.code, f.alpha, there)
        assert_same_bits(there, dx)
        there = y.copy()
        _core.activation_backward(dy, there, f.code, f.alpha, there)
        assert_same_bits(there, dx)


@needs_guard_pages
@each_dtype
@each_function
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_the_arrays_is_touched(isa, f, dtype, place):
    for n in range(1, 2 * LANES[dtype] + 2):
        x, dy = real(0, n, dtype, -3, 3), real(1, n, dtype)
        y = guarded_empty(n, dtype, place)
        _core.activation_forward(guarded(x, place), f.code, f.alpha, y)
        assert_same_bits(y, forward(f, x))
        dx = guarded_empty(n, dtype, place)
        y[...] = saved(f, x)
        _core.activation_backward(guarded(dy, place), y, f.code, f.alpha, dx)
        assert_same_bits(dx, backward(f, dy, y.copy()))
