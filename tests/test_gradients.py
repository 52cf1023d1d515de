"""Gradients of whole nets: random nets of every activation and loss, against PyTorch's autograd and against the twin.

float64 within 1e-12 of autograd, relative to the gradient's norm; float32 within 5e-6 of autograd in float64.
Parameters and data are the same in both: numbers that a float32 holds.
"""

import numpy as np
import pytest
from golden import make  # the nets in PyTorch

import fastbp as fb
from fastbp import reference
from fastbp.layers import Layer
from fastbp.losses import Loss

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)  # these nets are small

TOLERANCE = {"float64": 1e-12, "float32": 5e-6}
DTYPES = list(TOLERANCE)
ACTIVATIONS = [
    {"activation": "identity"},
    {"activation": "relu"},
    {"activation": "leaky_relu", "negative_slope": 0.1},
    {"activation": "sigmoid"},
    {"activation": "tanh"},
    {"activation": "softplus", "beta": 1.0},
    {"activation": "softplus", "beta": 3.0},
]
LOSSES = ["labels", "probabilities", "binary_cross_entropy", "mean_squared_error", "pinball"]
EDGES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130]  # around the vector


class Case:
    """A random net with its minibatch: records for PyTorch, objects for fastbp, all numbers exact in float32."""

    def __init__(self, seed, loss, widths=(1, 130), rows=(1, 70), depth=(1, 5)):
        self.rng = rng = np.random.default_rng([seed, LOSSES.index(loss)])
        self.widths = widths
        self.rows = int(rng.integers(rows[0], rows[1] + 1))
        self.inputs = self.width()
        records, _ = self.layers(self.inputs, int(rng.integers(depth[0], depth[1] + 1)) - 1, 0)
        if not records or rng.random() < 0.7:  # else the net ends as it stands, in a block perhaps
            units = self.width()
            records.append(self.dense(units) if rng.random() < 0.3 else make.dense(units))
        self.records = records
        self.outputs = make.shapes(self.inputs, self.records)[1]
        self.reduction = str(rng.choice(["mean", "sum"]))
        self.loss = {"kind": loss, "reduction": self.reduction}
        if loss in ("labels", "probabilities"):
            self.loss["kind"] = "softmax_cross_entropy"
        if loss == "pinball":
            self.loss["quantiles"] = rng.uniform(0.05, 0.95, self.outputs).round(3).tolist()
        self.x = self.reals(rng.standard_normal((self.rows, self.inputs)))
        self.target = self.targets(loss)
        sizes = make.shapes(self.inputs, self.records)[0]
        parts = []
        for I, O, bias in sizes:
            parts.append(rng.uniform(-1, 1, I * O) * np.sqrt(3 / I))
            parts.append(rng.uniform(-0.5, 0.5, O * bias))
        self.parameters = self.reals(np.concatenate(parts))

    def width(self):
        low, high = self.widths
        if self.rng.random() < 0.5:
            return int(self.rng.integers(low, high + 1))
        return int(self.rng.choice([edge for edge in EDGES if low <= edge <= high] or [low, high]))

    def activation(self):
        return ACTIVATIONS[self.rng.integers(len(ACTIVATIONS))]

    def dense(self, units):
        return make.dense(units, bias=bool(self.rng.random() < 0.8), **self.activation())

    def layers(self, width, depth, nesting):
        """Records of `depth` dense layers, some of them in residual blocks, and the width they end in."""
        found = []
        while depth:
            if nesting < 3 and self.rng.random() < 0.35:
                inside = int(self.rng.integers(1, depth + 1))
                block, end = self.layers(width, inside - 1, nesting + 1)
                if self.rng.random() < 0.3 and end == width and block:
                    inside -= 1  # the block ends with what is in it, perhaps with a block
                else:
                    block.append(self.dense(width))
                found.append(make.residual(*block))
                if self.rng.random() < 0.2:
                    found[-1] = make.residual(found[-1])  # two blocks around the same layers
                depth -= inside
            else:
                width = self.width()
                found.append(self.dense(width))
                depth -= 1
        return found, width

    @staticmethod
    def reals(values):
        return values.astype(np.float32).astype(np.float64)

    def targets(self, loss):
        shape = (self.rows, self.outputs)
        if loss == "labels":
            return self.rng.integers(0, self.outputs, self.rows)
        if loss == "probabilities":
            t = self.rng.uniform(0.1, 1, shape)
            return self.reals(t / t.sum(axis=1, keepdims=True))
        if loss == "binary_cross_entropy":
            return self.reals(self.rng.uniform(0, 1, shape))
        return self.reals(self.rng.standard_normal(shape))

    def trainer(self, home, dtype, reduction=None, **options):
        net = home.Network(self.inputs, [Layer.from_dict(record) for record in self.records], dtype=dtype)
        net.parameters = self.parameters.astype(dtype)
        loss = Loss.from_dict(self.loss | {"reduction": reduction or self.reduction})
        return home.Trainer(net, loss, **options)

    def batch(self, dtype):
        target = self.target if self.target.dtype.kind == "i" else self.target.astype(dtype)
        return self.x.astype(dtype), target

    def of(self, home, dtype):
        """loss, gradient, dx by fastbp or by its twin."""
        return self.trainer(home, dtype).value_and_grad(*self.batch(dtype), inputs=True)

    def of_torch(self):
        """The same by PyTorch in float64."""
        p = torch.tensor(self.parameters, requires_grad=True)
        x = torch.tensor(self.x, requires_grad=True)
        loss = make.loss_of(self.loss, make.output(self.records, p, x), torch.tensor(self.target))
        loss.backward()
        return loss.item(), p.grad.numpy(), x.grad.numpy()


def distance(got, expected):
    """|got - expected| / |expected|, in the Euclidean norm."""
    error, norm = (np.linalg.norm(a.astype(np.float64).ravel()) for a in (got - expected, expected))
    return error / norm if norm else float(error != 0)


def assert_close(got, expected, dtype, what):
    loss, gradient, dx = got
    tolerance = TOLERANCE[dtype]
    assert gradient.dtype == dtype and dx.dtype == dtype and isinstance(loss, float)
    assert abs(loss - expected[0]) <= tolerance * max(abs(expected[0]), 1), what
    assert distance(gradient, expected[1]) <= tolerance, what
    assert distance(dx, expected[2]) <= tolerance, what


SMALL = [(seed, loss) for loss in LOSSES for seed in range(12)]
LARGE = [(seed, loss, rows) for seed, loss in enumerate(LOSSES) for rows in (300, 600)]


def large(seed, loss, rows):
    return Case(1000 + seed, loss, widths=(257, 300), rows=(rows, rows), depth=(1, 3))


# ------------------------------------------------------------------------------------------------------ whole nets


@pytest.mark.torch
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed, loss", SMALL)
def test_autograd(seed, loss, dtype):
    case = Case(seed, loss)
    assert_close(case.of(fb, dtype), case.of_torch(), dtype, case.records)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed, loss, rows", LARGE)
def test_autograd_large(seed, loss, rows, dtype):
    """More rows than one block of the core, and sums longer than one chain."""
    case = large(seed, loss, rows)
    assert_close(case.of(fb, dtype), case.of_torch(), dtype, case.records)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed, loss", SMALL)
def test_twin(seed, loss, dtype):
    case = Case(seed, loss)
    assert_close(case.of(fb, dtype), case.of(reference, "float64"), dtype, case.records)
    assert_close(case.of(reference, dtype), case.of(reference, "float64"), dtype, case.records)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed, loss, rows", LARGE)
def test_twin_large(seed, loss, rows, dtype):
    case = large(seed, loss, rows)
    assert_close(case.of(fb, dtype), case.of(reference, "float64"), dtype, case.records)


@pytest.mark.parametrize("isa", fb.cpu.available())
@pytest.mark.parametrize("loss", LOSSES)
def test_every_instruction_set(loss, isa):
    before = fb.cpu.isa()
    fb.cpu.use(isa)
    try:
        for seed in (3, 7):
            case = Case(seed, loss)
            for dtype in DTYPES:
                assert_close(case.of(fb, dtype), case.of(reference, "float64"), dtype, case.records)
    finally:
        fb.cpu.use(before)


def test_the_nets_are_of_all_kinds():
    """What the random nets are made of: every activation and loss, all depths, blocks within blocks, odd sizes."""
    cases = [Case(seed, loss) for seed, loss in SMALL]

    def kinds(records, depth=0):
        for record in records:
            if record["kind"] == "dense":
                yield record["activation"]["kind"], depth
            else:
                yield "residual", depth + 1
                yield from kinds(record["layers"], depth + 1)

    seen = {kind for case in cases for kind, _ in kinds(case.records)}
    assert seen == {choice["activation"] for choice in ACTIVATIONS} | {"residual"}
    assert max(depth for case in cases for _, depth in kinds(case.records)) >= 3
    depths = {len(make.shapes(case.inputs, case.records)[0]) for case in cases}
    assert depths >= {1, 2, 3, 4, 5}
    assert {case.reduction for case in cases} == {"mean", "sum"}
    assert min(case.rows for case in cases) <= 3 and max(case.rows for case in cases) >= 65
    assert any(case.records[0]["kind"] == "residual" for case in cases), "a block that skips from the input"
    assert any(case.records[-1]["kind"] == "residual" for case in cases), "a block that ends the net"
    assert any(
        case.records[-1]["kind"] == "dense" and case.records[-1]["activation"]["kind"] != "identity" for case in cases
    )


# ------------------------------------------------------------------------------------------------ one by one, and dx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed, loss", SMALL[::2])
def test_example_gradients(seed, loss, dtype):
    """Each is the gradient of a minibatch of one; they add up to the gradient of the summed loss."""
    case = Case(seed, loss)
    x, target = case.batch(dtype)
    trainer = case.trainer(fb, dtype)
    losses, gradients = trainer.example_gradients(x, target)
    assert losses.shape == (case.rows,) and losses.dtype == np.float64
    assert gradients.shape == (case.rows, len(case.parameters)) and gradients.dtype == dtype
    for row in {0, case.rows // 2, case.rows - 1}:
        loss_alone, gradient_alone = trainer.value_and_grad(x[row : row + 1], target[row : row + 1])
        assert losses[row] == loss_alone
        assert np.array_equal(gradients[row], gradient_alone)
    expected = case.trainer(reference, "float64", "sum").value_and_grad(*case.batch("float64"))
    each = 1 if case.reduction == "sum" or case.loss["kind"] == "softmax_cross_entropy" else case.outputs
    assert abs(losses.sum() * each - expected[0]) <= TOLERANCE[dtype] * max(1, abs(expected[0]))
    assert distance(gradients.astype(np.float64).sum(axis=0) * each, expected[1]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_asking_for_dx_changes_nothing(loss, dtype):
    case = Case(5, loss)
    x, target = case.batch(dtype)
    trainer = case.trainer(fb, dtype)
    before = x.copy()
    value, gradient, dx = trainer.value_and_grad(x, target, inputs=True)
    assert (value, gradient.tobytes()) == (lambda v, g: (v, g.tobytes()))(*trainer.value_and_grad(x, target))
    assert dx.shape == x.shape and np.array_equal(x, before)
    assert value == pytest.approx(trainer.evaluate(x, target), rel=1e-12)


def test_the_distance_sees_one_wrong_element():
    """The tester tested: one element off by 1e-11 of the norm is seen in float64, by 1e-5 in float32."""
    case = Case(2, "labels")
    right = case.of(reference, "float64")
    for dtype, by in (("float64", 1e-11), ("float32", 1e-5)):
        for part in (1, 2):
            wrong = [right[0], right[1].astype(dtype), right[2].astype(dtype)]
            wrong[part] = wrong[part].copy()
            wrong[part].flat[wrong[part].size // 3] += by * np.linalg.norm(right[part])
            with pytest.raises(AssertionError):
                assert_close(wrong, right, dtype, "")
