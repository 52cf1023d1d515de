"""Golden trajectories: every optimiser, schedule, layer and loss, update by update, by PyTorch in float64. In tests/,
`python -m golden.make_trajectories` writes trajectories.json; only what is below the line needs PyTorch, and nothing
here needs fastbp.

Runs are plain records, as `to_dict` of fastbp's classes writes them. Parameters lie in one flat vector: for each layer
that has some, W (inputs, outputs) row by row, then b, or gamma, then beta; a block's projection after its layers.
Statistics in another: for each batch norm the running mean, then the variance. Minibatches are the rows in order, again
and again; layers, losses and optimisers are torch.nn's and torch.optim's.
"""

import hashlib
import json
import math
from pathlib import Path

from .make import numbers

PATH = Path(__file__).with_name("trajectories.json")
UPDATES = 10  # of a golden run


def dense(units, activation="identity", bias=True, frozen=False, l1=0.0, l2=0.0, penalize_bias=False, **parameters):
    penalties = {"l1": l1, "l2": l2, "penalize_bias": penalize_bias}
    f = {"kind": activation, **parameters}
    return {"kind": "dense", "units": units, "activation": f, "bias": bias, "frozen": frozen, **penalties}


def layer(kind, **parameters):
    return {"kind": kind, **parameters}


def batch_norm(momentum=0.1, eps=1e-5, affine=True, frozen=False):
    return layer("batch_norm", momentum=momentum, eps=eps, affine=affine, frozen=frozen)


def layer_norm(eps=1e-5, affine=True, frozen=False):
    return layer("layer_norm", eps=eps, affine=affine, frozen=frozen)


def residual(*layers, projection=None):
    return {"kind": "residual", "layers": list(layers), "projection": projection}


def run(layers=None, loss=None, target="values", optimizer=None, rows=36, batch=8, inputs=5, **more):
    """A run; more: schedule, clip_norm, clip_value, average, accumulate, weighted (rows have weights)."""
    return {
        "inputs": inputs,
        "layers": layers or [dense(9, "tanh"), dense(7, "relu"), dense(3)],
        "loss": {"reduction": "mean"} | (loss or {"kind": "mean_squared_error"}),
        "target": target,
        "optimizer": optimizer or {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "rows": rows,
        "batch": batch,
        **more,
    }


SGD = {"kind": "sgd", "learning_rate": 0.1}
OPTIMIZERS = {
    "SGD": SGD,
    "SGD, momentum": SGD | {"momentum": 0.9},
    "SGD, Nesterov": SGD | {"momentum": 0.8, "nesterov": True},
    "Adam": {"kind": "adam", "learning_rate": 0.01, "beta1": 0.85, "beta2": 0.99, "eps": 1e-7},
    "AdamW": {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.0},
    "RMSprop": {"kind": "rmsprop", "learning_rate": 0.004, "alpha": 0.95},
    "RMSprop, centred": {"kind": "rmsprop", "learning_rate": 0.004, "alpha": 0.9, "eps": 1e-6, "centered": True},
    "RMSprop, momentum": {"kind": "rmsprop", "learning_rate": 0.002, "momentum": 0.7},
    "RMSprop, centred, momentum": {
        "kind": "rmsprop", "learning_rate": 0.002, "alpha": 0.9, "eps": 1e-4, "momentum": 0.5, "centered": True,
    },
    "Adagrad": {"kind": "adagrad", "learning_rate": 0.05},
    "Adagrad, begun and decaying": {
        "kind": "adagrad", "learning_rate": 0.1, "rate_decay": 0.05, "initial_accumulator": 0.2, "eps": 1e-6,
    },
}  # fmt: skip
LIMITS = {"": {}, ", norm clipped": {"clip_norm": 0.3}, ", values clipped": {"clip_value": 0.04}}

RUNS = {}
for _name, _optimizer in OPTIMIZERS.items():
    for _decay in (0.0, 0.03):
        for _clipped, _limit in LIMITS.items():
            _decayed = ", decay" if _decay else ""
            RUNS[f"{_name}{_decayed}{_clipped}"] = run(optimizer=_optimizer | {"weight_decay": _decay}, **_limit)

SCHEDULES = {
    "steps": {"kind": "step_decay", "size": 7, "gamma": 0.6, "unit": "step"},
    "steps of epochs": {"kind": "step_decay", "size": 2, "gamma": 0.5, "unit": "epoch"},
    "exponential": {"kind": "exponential", "gamma": 0.95, "unit": "step"},
    "exponential in epochs": {"kind": "exponential", "gamma": 0.8, "unit": "epoch"},
    "cosine": {"kind": "cosine", "length": 60, "end": 0.05, "unit": "step"},
    "cosine in epochs": {"kind": "cosine", "length": 12, "end": 0.0, "unit": "epoch"},
    "warm-up": {"kind": "warmup", "length": 6, "start": 0.1, "unit": "step", "then": {"kind": "constant_rate"}},
    "warm-up, cosine": {
        "kind": "warmup", "length": 5, "start": 0.2, "unit": "step",
        "then": {"kind": "cosine", "length": 50, "end": 0.1, "unit": "step"},
    },
    "one cycle": {
        "kind": "one_cycle", "length": 50, "pct_start": 0.3, "div_factor": 10.0,
        "final_div_factor": 100.0, "unit": "step",
    },
    "inverse scaling": {"kind": "inverse_scaling", "power": 0.5, "unit": "step"},
    "plateau": {
        "kind": "reduce_on_plateau", "gamma": 0.5, "patience": 1, "threshold": 0.1, "cooldown": 1, "least": 0.1,
    },
}  # fmt: skip
for _name, _schedule in SCHEDULES.items():
    for _with in ("SGD, momentum", "Adam", "AdamW", "Adagrad"):
        _optimizer = OPTIMIZERS[_with] | ({"weight_decay": 0.02} if _with == "AdamW" else {})
        RUNS[f"{_with}, {_name}"] = run(optimizer=_optimizer, schedule=_schedule)

ADAM, MOMENTUM, ADAMW = (OPTIMIZERS[_name] for _name in ("Adam", "SGD, momentum", "AdamW"))
LABELS = {"kind": "softmax_cross_entropy"}
ACTIVATIONS = {
    "leaky ReLU": ("leaky_relu", {"negative_slope": 0.2}),
    "sigmoid": ("sigmoid", {}),
    "softplus": ("softplus", {"beta": 1.0}),
    "steep softplus": ("softplus", {"beta": 3.0}),
    "ELU": ("elu", {"alpha": 1.0}),
    "ELU, alpha 0.4": ("elu", {"alpha": 0.4}),
    "SELU": ("selu", {}),
    "GELU": ("gelu", {}),
    "GELU by tanh": ("gelu_tanh", {}),
    "SiLU": ("silu", {}),
}
for _name, (_kind, _alpha) in ACTIVATIONS.items():
    RUNS[_name] = run([dense(9, _kind, **_alpha), dense(8, _kind, **_alpha), dense(3)], optimizer=ADAM)
    _own = [dense(9), layer(_kind, **_alpha), layer("tanh"), dense(3)]
    RUNS[f"{_name}, a layer of its own"] = run(_own, LABELS, "labels", SGD | {"momentum": 0.5})

BLOCK = [layer_norm(), dense(11, "gelu"), dense(8)]
# No bias before a batch norm, which takes it away: of its gradient, 0 but for rounding, Adam would make real steps.
NORMS = {
    "batch norm": [dense(9, bias=False), batch_norm(), layer("relu"), dense(3)],
    "batch norm after tanh": [dense(9, "tanh"), batch_norm(momentum=0.3, eps=1e-3), dense(3)],
    "batch norm without gamma": [dense(9, bias=False), batch_norm(affine=False), layer("sigmoid"), dense(3)],
    "batch norm first and last": [batch_norm(), dense(9, "tanh"), dense(3, bias=False), batch_norm(momentum=1.0)],
    "batch norm, GELU": [
        dense(9, bias=False), batch_norm(), layer("gelu"), dense(9, bias=False), batch_norm(), layer("silu"), dense(3),
    ],
    "layer norm": [dense(9), layer_norm(), layer("relu"), dense(3)],
    "layer norm, SiLU": [dense(9), layer_norm(eps=1e-2), layer("silu"), dense(3)],
    "layer norm without gamma": [dense(9, "tanh"), layer_norm(affine=False), dense(3)],
    "layer norm first and last": [layer_norm(), dense(9, "relu"), dense(3), layer_norm()],
    "norm before a block": [dense(8, "tanh"), residual(*BLOCK), residual(*BLOCK), layer_norm(), dense(3)],
    "both norms": [dense(8, bias=False), batch_norm(), layer("elu", alpha=1.0), residual(*BLOCK), dense(3)],
    "projection": [dense(7, "tanh"), residual(dense(9, "relu"), dense(4)), layer("tanh"), dense(3)],
    "projection first": [residual(dense(9, "silu"), dense(6)), dense(3)],
    "projection, same width": [dense(7, "tanh"), residual(dense(7, "tanh"), projection=True), dense(3)],
    "projections within a projection": [
        residual(residual(dense(8, "gelu"), dense(4, bias=False)), batch_norm(), dense(6, "tanh"), projection=True),
        residual(dense(6, "softplus", beta=1.0)), dense(3),
    ],
    "softmax inside": [dense(8), layer("softmax"), dense(3)],
    "softmax last": [dense(8, "tanh"), dense(3), layer("softmax")],
    "frozen": [dense(8, "tanh"), dense(9, "tanh", frozen=True), dense(3)],
    "frozen first": [dense(8, "tanh", frozen=True), batch_norm(frozen=True), dense(9, "gelu"), dense(3)],
    "frozen norms": [dense(8), batch_norm(frozen=True), layer("tanh"), dense(6), layer_norm(frozen=True), dense(3)],
}  # fmt: skip
for _name, _layers in NORMS.items():
    RUNS[f"{_name}, Adam"] = run(_layers, optimizer=ADAM | {"weight_decay": 0.01})
    RUNS[f"{_name}, momentum"] = run(_layers, LABELS, "labels", MOMENTUM | {"learning_rate": 0.03}, rows=42)

LOSSES = {
    "labels": (LABELS, "labels"),
    "labels, summed": (LABELS | {"reduction": "sum"}, "labels"),
    "labels smoothed": (LABELS | {"label_smoothing": 0.1}, "labels"),
    "classes weighted": (LABELS | {"class_weights": [0.5, 2.0, 1.25]}, "labels"),
    "classes weighted, one not": (LABELS | {"class_weights": [0.0, 2.0, 1.0]}, "labels"),
    "classes weighted, labels smoothed": (
        LABELS | {"class_weights": [0.5, 2.0, 1.25], "label_smoothing": 0.2}, "labels",
    ),
    "classes weighted, summed": (
        LABELS | {"class_weights": [0.5, 2.0, 1.25], "label_smoothing": 0.2, "reduction": "sum"}, "labels",
    ),
    "probabilities": (LABELS, "probabilities"),
    "probabilities smoothed": (LABELS | {"label_smoothing": 0.15}, "probabilities"),
    "probabilities weighted": (LABELS | {"class_weights": [0.5, 2.0, 1.25], "label_smoothing": 0.15}, "probabilities"),
    "binary": ({"kind": "binary_cross_entropy"}, "rates"),
    "binary, zeros and ones": ({"kind": "binary_cross_entropy", "reduction": "sum"}, "bits"),
    "binary, positive weight": ({"kind": "binary_cross_entropy", "pos_weight": 2.5}, "bits"),
    "binary, positive weights": ({"kind": "binary_cross_entropy", "pos_weight": [0.5, 3.0, 1.0]}, "rates"),
    "squares, summed": ({"kind": "mean_squared_error", "reduction": "sum"}, "values"),
    "absolute": ({"kind": "mean_absolute_error"}, "values"),
    "absolute, summed": ({"kind": "mean_absolute_error", "reduction": "sum"}, "values"),
    "Huber": ({"kind": "huber", "delta": 0.4}, "values"),
    "Huber, summed": ({"kind": "huber", "delta": 1.0, "reduction": "sum"}, "values"),
    "Poisson": ({"kind": "poisson"}, "counts"),
    "Poisson, summed": ({"kind": "poisson", "reduction": "sum"}, "counts"),
    "quantiles": ({"kind": "pinball", "quantiles": [0.1, 0.5, 0.9]}, "values"),
}  # fmt: skip
for _name, (_loss, _target) in LOSSES.items():
    _share = 0.1 if _loss.get("reduction") == "sum" else 1  # of the learning rate
    _rates = {"learning_rate": 0.05 * _share}, {"learning_rate": 0.01 * _share}
    RUNS[f"{_name}, momentum"] = run(None, _loss, _target, MOMENTUM | _rates[0])
    RUNS[f"{_name}, Adam"] = run(None, _loss, _target, ADAM | _rates[1])
    RUNS[f"{_name}, rows weighted"] = run(None, _loss, _target, MOMENTUM | _rates[0], weighted=True)

_NORMED = NORMS["batch norm, GELU"]
_PENALIZED = [dense(9, "tanh", l1=0.01, l2=0.1), dense(7, "relu", l2=0.3, penalize_bias=True), dense(3, l1=0.02)]
for _decay in (0.0, 0.5, 0.99):
    RUNS[f"average, {_decay}"] = run(optimizer=ADAM, average=_decay)
    RUNS[f"average, {_decay}, batch norm"] = run(_NORMED, optimizer=MOMENTUM, average=_decay, clip_norm=0.5)
for _every in (2, 3):
    RUNS[f"accumulate {_every}"] = run(optimizer=ADAM, accumulate=_every)
    RUNS[f"accumulate {_every}, labels"] = run(
        None, LOSSES["classes weighted"][0], "labels", accumulate=_every, batch=5, weighted=True, clip_norm=0.2
    )
    RUNS[f"accumulate {_every}, batch norm"] = run(_NORMED, LABELS, "labels", accumulate=_every, average=0.9)
    RUNS[f"accumulate {_every}, summed"] = run(
        _PENALIZED, {"kind": "huber", "reduction": "sum"}, optimizer=SGD | {"learning_rate": 0.01}, accumulate=_every
    )
RUNS["penalties, momentum"] = run(_PENALIZED, optimizer=MOMENTUM | {"learning_rate": 0.03})
RUNS["penalties, AdamW, clipped"] = run(_PENALIZED, LABELS, "labels", ADAMW | {"weight_decay": 0.1}, clip_norm=0.3)
RUNS["penalties, accumulated"] = run(_PENALIZED, LABELS, "labels", ADAM, accumulate=2, weighted=True)
RUNS["penalty of a frozen layer"] = run([dense(9, "tanh", l1=0.1, frozen=True), dense(3, l2=0.1)], optimizer=ADAM)
RUNS["all at once"] = run(
    [
        dense(8, bias=False, l2=0.01), batch_norm(), layer("gelu"), residual(*BLOCK),
        residual(dense(9, "silu"), dense(5)), dense(3),
    ],
    LABELS | {"label_smoothing": 0.1, "class_weights": [1.0, 2.0, 0.5]}, "labels",
    ADAMW | {"weight_decay": 0.05}, schedule=SCHEDULES["warm-up, cosine"], clip_norm=0.5, average=0.9, accumulate=2,
    weighted=True,
)  # fmt: skip
RUNS["many rows a minibatch"] = run(
    [
        dense(12, bias=False), batch_norm(), layer("gelu"),
        residual(layer_norm(), dense(20, "relu"), dense(12)), dense(3),
    ],
    LABELS, "labels", ADAM, rows=700, batch=300, weighted=True,
)  # fmt: skip


def learned(inputs, layers):
    """What has parameters, in order: ("dense", inputs, outputs, bias) or ("norm", width); and the last width."""
    found = []
    for record in layers:
        if record["kind"] == "dense":
            found.append(("dense", inputs, record["units"], record["bias"]))
            inputs = record["units"]
        elif record["kind"] == "residual":
            inside, outputs = learned(inputs, record["layers"])
            found += inside
            if record["projection"] or outputs != inputs:
                found.append(("dense", inputs, outputs, False))
            inputs = outputs
        elif record["kind"] in ("batch_norm", "layer_norm") and record["affine"]:
            found.append(("norm", inputs))
    return found, inputs


def data(run):
    """The rows of a run, its targets, and the weights of the rows or None: lists."""
    outputs = learned(run["inputs"], run["layers"])[1]
    rows, inputs, kind = run["rows"], run["inputs"], run["target"]
    x = numbers(1, rows * inputs, -1.7, 1.7)
    x = [x[i * inputs : (i + 1) * inputs] for i in range(rows)]
    t = numbers(2, rows * outputs)
    target = [
        [t[i * outputs + j] / 4 + x[i][j % inputs] * x[i][(j + 1) % inputs] for j in range(outputs)]
        for i in range(rows)
    ]
    if kind == "labels":
        target = [int(4 * abs(row[0] + row[1])) % outputs for row in x]
    elif kind == "probabilities":
        target = [[abs(value) + 0.01 for value in row] for row in target]
        target = [[value / sum(row) for value in row] for row in target]
    elif kind == "rates":
        target = [[1 / (1 + math.exp(-value)) for value in row] for row in target]
    elif kind == "bits":
        target = [[float(value > 0.1) for value in row] for row in target]
    elif kind == "counts":
        target = [[float(int(abs(2 * value))) for value in row] for row in target]
    weights = [max(value, 0.0) for value in numbers(3, rows, -0.3, 2.0)] if run.get("weighted") else None
    return x, target, weights


def parameters(run):
    """The first parameters of a golden run, of the size that torch.nn begins with: a flat list."""
    found = []
    for number, (kind, *sizes) in enumerate(learned(run["inputs"], run["layers"])[0]):
        if kind == "norm":
            found += numbers(300 + number, sizes[0], 0.7, 1.3) + numbers(400 + number, sizes[0], -0.2, 0.2)
            continue
        I, O, bias = sizes
        found += numbers(100 + number, I * O, -(I**-0.5), I**-0.5)
        found += numbers(200 + number, O, -(I**-0.5), I**-0.5) if bias else []
    return found


def groups(run):
    """The updates of an epoch: for each its minibatches, as (first row, the one after its last)."""
    starts = range(0, run["rows"], run["batch"])
    minibatches = [(start, min(start + run["batch"], run["rows"])) for start in starts]
    every = run.get("accumulate", 1)
    return [minibatches[i : i + every] for i in range(0, len(minibatches), every)]


def digest(run):
    """A run's description, in short: by it the file shows which one it was made from."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------------- PyTorch


def network(inputs, layers):
    """A torch.nn.Module of the layers, in float64, with PyTorch's own first weights; and the last width."""
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, inside, projection):
            super().__init__()
            self.inside = inside
            self.projection = projection

        def forward(self, x):
            return self.inside(x) + (x if self.projection is None else self.projection(x))

    class Frozen(nn.BatchNorm1d):
        def forward(self, x):
            self.eval()
            return super().forward(x)

    modules = []
    for record in layers:
        kind = record["kind"]
        if kind == "dense":
            module = nn.Linear(inputs, record["units"], bias=record["bias"])
            module.penalties = record["l1"], record["l2"], record["penalize_bias"]
            inputs = record["units"]
        elif kind == "residual":
            inside, outputs = network(inputs, record["layers"])
            projected = record["projection"] or outputs != inputs
            module = Residual(inside, nn.Linear(inputs, outputs, bias=False) if projected else None)
            inputs = outputs
        elif kind == "layer_norm":
            module = nn.LayerNorm(inputs, eps=record["eps"], elementwise_affine=record["affine"])
        elif kind == "batch_norm":
            make = Frozen if record["frozen"] else nn.BatchNorm1d
            module = make(inputs, eps=record["eps"], momentum=record["momentum"], affine=record["affine"])
        else:
            module = _activation(record)
        module.requires_grad_(not record.get("frozen", False))
        modules.append(module)
        if kind == "dense":
            modules.append(_activation(record["activation"]))
    return nn.Sequential(*modules).to(torch.float64), inputs


def _activation(record):
    from torch import nn

    kind = record["kind"]
    if kind == "leaky_relu":
        return nn.LeakyReLU(record["negative_slope"])
    if kind == "softplus":  # from its threshold on PyTorch's is the identity, which is not exact
        return nn.Softplus(record["beta"], threshold=500)
    if kind == "elu":
        return nn.ELU(record["alpha"])
    if kind == "gelu_tanh":
        return nn.GELU("tanh")
    plain = {"identity": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "selu": nn.SELU}
    if kind == "softmax":
        return nn.Softmax(dim=1)
    return (plain | {"gelu": nn.GELU, "silu": nn.SiLU})[kind]()


def flat(net):
    """Its parameters in fastbp's order, as tensors to be read or written: a list of views, W transposed."""
    from torch import nn

    found = []
    for module in net.modules():
        if isinstance(module, nn.Sequential) or not hasattr(module, "weight") or module.weight is None:
            continue
        found.append(module.weight.T if isinstance(module, nn.Linear) else module.weight)
        if module.bias is not None:
            found.append(module.bias)
    return found


def vector(net):
    """Its parameters in one vector."""
    return [value for tensor in flat(net) for value in tensor.detach().reshape(-1).tolist()]


def statistics(net):
    """The running means and variances in one vector."""
    norms = [module for module in net.modules() if hasattr(module, "running_mean")]
    return [value for norm in norms for part in (norm.running_mean, norm.running_var) for value in part.tolist()]


def fill(net, values):
    """Write a flat list of parameters into the net."""
    import torch

    at = 0
    with torch.no_grad():
        for tensor in flat(net):
            end = at + tensor.numel()
            tensor.copy_(torch.tensor(values[at:end], dtype=torch.float64).reshape(tensor.shape))
            at = end
    assert at == len(values)


def loss_of(loss, y, target, reduction):
    """PyTorch's loss; reduction "none": an array of its terms."""
    import torch
    import torch.nn.functional as F

    kind = loss["kind"]
    if kind == "softmax_cross_entropy":
        weights = loss.get("class_weights")
        weights = None if weights is None else torch.tensor(weights, dtype=y.dtype)
        smoothing = loss.get("label_smoothing", 0.0)
        return F.cross_entropy(y, target, weights, reduction=reduction, label_smoothing=smoothing)
    if kind == "binary_cross_entropy":
        p = loss.get("pos_weight")
        p = None if p is None else torch.as_tensor(p, dtype=y.dtype)
        return F.binary_cross_entropy_with_logits(y, target, reduction=reduction, pos_weight=p)
    if kind == "huber":
        return F.huber_loss(y, target, reduction=reduction, delta=loss.get("delta", 1.0))
    if kind == "poisson":
        return F.poisson_nll_loss(y, target, log_input=True, full=False, reduction=reduction)
    if kind == "pinball":
        tau, u = torch.tensor(loss["quantiles"], dtype=y.dtype), target - y
        terms = torch.maximum(tau * u, (tau - 1) * u)
        return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](terms)
    return {"mean_squared_error": F.mse_loss, "mean_absolute_error": F.l1_loss}[kind](y, target, reduction=reduction)


def total_and_mass(loss, y, target, weights):
    """A minibatch's terms, weighted by row and added up, and what a mean divides them by."""
    import torch

    terms = loss_of(loss, y, target, "none")
    s = torch.ones(len(y), dtype=y.dtype) if weights is None else weights
    if terms.ndim == 2:
        return (s[:, None] * terms).sum(), s.sum() * terms.shape[1]
    if target.ndim == 1 and loss.get("class_weights"):
        return (s * terms).sum(), (s * torch.tensor(loss["class_weights"], dtype=y.dtype)[target]).sum()
    return (s * terms).sum(), s.sum()


def penalty(net):
    """l1 |W|_1 + l2/2 |W|^2 over the layers that have such and learn, and so for b where it is penalised, too."""
    total = 0.0
    for module in net.modules():
        if not hasattr(module, "penalties") or not module.weight.requires_grad:
            continue
        l1, l2, of_bias = module.penalties
        for tensor in [module.weight, *([module.bias] if of_bias and module.bias is not None else [])]:
            total = total + l1 * tensor.abs().sum() + l2 / 2 * (tensor**2).sum()
    return total


def optimizer_of(record, tensors):
    import torch

    options = dict(record)
    kind, options["lr"] = options.pop("kind"), options.pop("learning_rate")
    if "beta1" in options:
        options["betas"] = options.pop("beta1"), options.pop("beta2")
    if "rate_decay" in options:
        options["lr_decay"], options["initial_accumulator_value"] = (
            options.pop("rate_decay"),
            options.pop("initial_accumulator"),
        )
    kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad"}
    return getattr(torch.optim, kinds[kind])(tensors, **options)


def scheduler_of(record, optimizer):
    """One of torch.optim.lr_scheduler."""
    from torch.optim import lr_scheduler as s

    kind, group = record["kind"], optimizer.param_groups[0]
    rate = group.get("initial_lr", group["lr"])  # a warm-up has changed the other
    if kind == "step_decay":
        return s.StepLR(optimizer, record["size"], record["gamma"])
    if kind == "exponential":
        return s.ExponentialLR(optimizer, record["gamma"])
    if kind == "cosine":
        return s.CosineAnnealingLR(optimizer, record["length"], record["end"] * rate)
    if kind == "one_cycle":
        names = ("pct_start", "div_factor", "final_div_factor")
        options = {name: record[name] for name in names}
        return s.OneCycleLR(optimizer, rate, record["length"], cycle_momentum=False, **options)
    if kind == "inverse_scaling":
        return s.LambdaLR(optimizer, lambda position: (position + 1) ** -record["power"])
    if kind == "reduce_on_plateau":
        return s.ReduceLROnPlateau(
            optimizer, "min", record["gamma"], record["patience"], record["threshold"], "rel", record["cooldown"],
            record["least"] * rate, eps=0.0,
        )  # fmt: skip
    first = s.LinearLR(optimizer, record["start"], 1.0, record["length"])
    if record["then"]["kind"] == "constant_rate":
        return first
    return s.SequentialLR(optimizer, [first, scheduler_of(record["then"], optimizer)], [record["length"]])


def train(run, first=None, updates=UPDATES, an_epoch=None):
    """A run of so many updates, an_epoch of them to an epoch (as `groups` has it, when None).

    first: a flat list of parameters; PyTorch's own, when None. Returns a dict of the first and last parameters, every
    update's loss and gradient's norm before clipping, the norms' statistics and, where there is one, the average.
    """
    import torch
    from torch.optim import swa_utils

    x, target, weights = data(run)
    x = torch.tensor(x, dtype=torch.float64)
    target = torch.tensor(target, dtype=torch.int64 if run["target"] == "labels" else torch.float64)
    weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    torch.manual_seed(0)
    net, _ = network(run["inputs"], run["layers"])
    if first is not None:
        fill(net, first)
    result = {"first": vector(net), "loss": [], "gradient_norm": []}
    tensors = [tensor for tensor in net.parameters() if tensor.requires_grad]
    optimizer = optimizer_of(run["optimizer"], tensors)
    schedule = run.get("schedule")
    scheduler = None if schedule is None else scheduler_of(schedule, optimizer)
    in_epochs = schedule is not None and schedule.get("unit", "epoch") == "epoch"
    averaged = None
    if run.get("average") is not None:
        averaged = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(run["average"]))
    an_epoch = an_epoch or len(groups(run))
    for update in range(updates):
        group = groups(run)[update % len(groups(run))]
        optimizer.zero_grad()
        if len(group) == 1 and weights is None:
            (rows,) = (slice(*rows) for rows in group)
            loss = loss_of(run["loss"], net(x[rows]), target[rows], run["loss"]["reduction"])
        else:
            pairs = [
                total_and_mass(run["loss"], net(x[rows]), target[rows], None if weights is None else weights[rows])
                for rows in (slice(*rows) for rows in group)
            ]
            loss = sum(total for total, _ in pairs)
            if run["loss"]["reduction"] == "mean":
                loss = loss / sum(mass for _, mass in pairs)
        loss = loss + penalty(net)
        loss.backward()
        result["loss"].append(loss.item())
        result["gradient_norm"].append(sum((tensor.grad**2).sum().item() for tensor in tensors) ** 0.5)
        if run.get("clip_norm"):
            torch.nn.utils.clip_grad_norm_(tensors, run["clip_norm"])
        if run.get("clip_value"):
            torch.nn.utils.clip_grad_value_(tensors, run["clip_value"])
        optimizer.step()
        if averaged is not None:
            averaged.update_parameters(net)
        if scheduler is not None and schedule["kind"] == "reduce_on_plateau":
            if (update + 1) % an_epoch == 0:
                epoch = _mean_loss(run, result["loss"][-an_epoch:], weights, update + 1 - an_epoch)
                scheduler.step(epoch)
        elif scheduler is not None and (not in_epochs or (update + 1) % an_epoch == 0):
            scheduler.step()
    result |= {"parameters": vector(net), "statistics": statistics(net)}
    return result if averaged is None else result | {"average": vector(averaged.module)}


def _mean_loss(run, losses, weights, first):
    """The mean of some updates' losses, each as often as it has rows: runs that look at it have no weights."""
    assert weights is None
    an_epoch = groups(run)
    rows = [sum(end - start for start, end in an_epoch[(first + i) % len(an_epoch)]) for i in range(len(losses))]
    return sum(loss * r for loss, r in zip(losses, rows)) / sum(rows)


def golden(run):
    """What the file holds of a run whose every update is an epoch."""
    result = train(run, parameters(run), an_epoch=1)
    found = {"run": digest(run), "loss": result["loss"], "norm": math.hypot(*result["parameters"])}
    if result["statistics"]:
        found["statistics"] = math.hypot(*result["statistics"])
    if "average" in result:
        found["average"] = math.hypot(*result["average"])
    return found


def main():
    import torch

    head = {
        "what": "Golden values, not to be edited: written by make_trajectories.py here with PyTorch, in float64",
        "torch": torch.__version__,
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(golden(each))}" for name, each in RUNS.items()]
    text = json.dumps(head, indent=1)[:-2] + ',\n "runs": {\n' + ",\n".join(lines) + "\n }\n}\n"
    PATH.write_text(text)


if __name__ == "__main__":
    main()
