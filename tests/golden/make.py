"""Golden training runs: losses, gradient norms and parameters by PyTorch, in float64. `python tests/golden/make.py`
writes training.json next to this file; only that needs PyTorch, and nothing here needs fastbp.

A net is described by plain records, as `to_dict` of fastbp's layers writes them. Parameters lie in one flat vector: for
each dense layer W (inputs, outputs) row by row, then b. Minibatches are the rows in order. The update is torch.optim's.
"""

import json
from pathlib import Path

PATH = Path(__file__).with_name("training.json")


def numbers(seed, count, low=-1.0, high=1.0):
    """`count` numbers in [low, high) by a linear congruential generator (Knuth's MMIX): the same everywhere."""
    state, found = seed * 2 + 1, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(low + (high - low) * ((state >> 11) / 2**53))
    return found


def dense(units, activation="identity", bias=True, **parameters):
    return {"kind": "dense", "units": units, "activation": {"kind": activation, **parameters}, "bias": bias}


def residual(*layers):
    return {"kind": "residual", "layers": list(layers)}


def shapes(inputs, layers):
    """The shapes (inputs, outputs) of all dense layers with whether they have a bias, in order; and the last width."""
    found = []
    for layer in layers:
        if layer["kind"] == "dense":
            found.append((inputs, layer["units"], layer["bias"]))
            inputs = layer["units"]
        else:
            inside, inputs = shapes(inputs, layer["layers"])
            found += inside
    return found, inputs


RUNS = {
    "classes, Adam": {
        "inputs": 6,
        "layers": [dense(16, "relu"), dense(9, "tanh"), dense(4)],
        "loss": {"kind": "softmax_cross_entropy", "reduction": "mean"},
        "target": "labels",
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "rows": 57,
        "batch": 13,
        "epochs": 6,
    },
    "probabilities, momentum and decay": {
        "inputs": 5,
        "layers": [dense(17, "leaky_relu", negative_slope=0.2), dense(11)],
        "loss": {"kind": "softmax_cross_entropy", "reduction": "sum"},
        "target": "probabilities",
        "optimizer": {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.01},
        "rows": 40,
        "batch": 8,
        "epochs": 6,
    },
    "residual blocks, Adam with decay": {
        "inputs": 7,
        "layers": [
            residual(dense(12, "sigmoid"), dense(7)),
            dense(8, "tanh", bias=False),
            residual(residual(dense(8, "softplus", beta=2.0), dense(8, bias=False)), dense(8, "tanh")),
            dense(3),
        ],
        "loss": {"kind": "binary_cross_entropy", "reduction": "mean"},
        "target": "probabilities",
        "optimizer": {
            "kind": "adam",
            "learning_rate": 0.02,
            "beta1": 0.8,
            "beta2": 0.99,
            "eps": 1e-6,
            "weight_decay": 0.05,
        },
        "rows": 64,
        "batch": 64,
        "epochs": 8,
    },
    "squares, plain descent": {
        "inputs": 4,
        "layers": [dense(9, "softplus", beta=1.0), dense(5, "sigmoid"), dense(2, "tanh")],
        "loss": {"kind": "mean_squared_error", "reduction": "mean"},
        "target": "values",
        "optimizer": {"kind": "sgd", "learning_rate": 0.2},
        "rows": 33,
        "batch": 10,
        "epochs": 8,
    },
    "quantiles, Adam": {
        "inputs": 3,
        "layers": [dense(18, "tanh"), residual(dense(18, "leaky_relu", negative_slope=0.01)), dense(3)],
        "loss": {"kind": "pinball", "quantiles": [0.1, 0.5, 0.9], "reduction": "mean"},
        "target": "values",
        "optimizer": {"kind": "adam", "learning_rate": 0.005},
        "rows": 50,
        "batch": 16,
        "epochs": 6,
    },
    "many rows a minibatch, momentum": {
        "inputs": 10,
        "layers": [dense(20, "relu"), dense(5)],
        "loss": {"kind": "softmax_cross_entropy", "reduction": "mean"},
        "target": "labels",
        "optimizer": {"kind": "sgd", "learning_rate": 0.3, "momentum": 0.5},
        "rows": 700,
        "batch": 300,
        "epochs": 4,
    },
}


def data(run):
    """The rows of a run, its targets and its first parameters: lists of lists (labels: of ints), and a flat list."""
    sizes, outputs = shapes(run["inputs"], run["layers"])
    rows, inputs = run["rows"], run["inputs"]
    x = numbers(1, rows * inputs)
    x = [x[i * inputs : (i + 1) * inputs] for i in range(rows)]
    if run["target"] == "labels":  # with something to learn: a function of the row
        target = [int(4 * abs(row[0] + row[1])) % outputs for row in x]
    else:
        t = numbers(2, rows * outputs)
        target = [
            [t[i * outputs + j] / 4 + x[i][j % inputs] * x[i][(j + 1) % inputs] for j in range(outputs)]
            for i in range(rows)
        ]
    if run["target"] == "probabilities":
        positive = [[abs(value) + 0.01 for value in row] for row in target]
        if run["loss"]["kind"] == "binary_cross_entropy":
            target = [[value / 2 for value in row] for row in positive]
        else:
            target = [[value / sum(row) for value in row] for row in positive]
    parameters = []
    for number, (I, O, bias) in enumerate(sizes):
        parameters += [value * 1.5 / I**0.5 for value in numbers(100 + number, I * O)]
        parameters += numbers(200 + number, O, -0.2, 0.2) if bias else []
    return x, target, parameters


# ----------------------------------------------------------------------------------------------------------- PyTorch


def output(layers, parameters, x):
    """The net's output for a batch x; parameters: a flat tensor."""
    y, used = _output(layers, parameters, x, 0)
    assert used == len(parameters)
    return y


def _output(layers, p, x, at):
    for layer in layers:
        if layer["kind"] == "residual":
            y, at = _output(layer["layers"], p, x, at)
            x = x + y
            continue
        I, O = x.shape[1], layer["units"]
        x = x @ p[at : at + I * O].reshape(I, O)
        at += I * O
        if layer["bias"]:
            x = x + p[at : at + O]
            at += O
        x = _activate(layer["activation"], x)
    return x, at


def _activate(activation, z):
    import torch.nn.functional as F

    kind = activation["kind"]
    if kind == "identity":
        return z
    if kind == "leaky_relu":
        return F.leaky_relu(z, activation["negative_slope"])
    if kind == "softplus":  # from its threshold on PyTorch's is the identity, which is not exact
        return F.softplus(z, activation["beta"], threshold=500)
    return {"relu": F.relu, "sigmoid": F.sigmoid, "tanh": F.tanh}[kind](z)


def loss_of(loss, y, target):
    """The loss, a tensor; target: a tensor of int64 for labels."""
    import torch
    import torch.nn.functional as F

    kind, reduction = loss["kind"], loss["reduction"]
    if kind == "softmax_cross_entropy":
        return F.cross_entropy(y, target, reduction=reduction)
    if kind == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(y, target, reduction=reduction)
    if kind == "mean_squared_error":
        return F.mse_loss(y, target, reduction=reduction)
    tau = torch.as_tensor(loss["quantiles"], dtype=y.dtype)
    u = target - y
    terms = torch.where(u < 0, (tau - 1) * u, tau * u)
    return terms.mean() if reduction == "mean" else terms.sum()


def train(run):
    """Losses and gradient norms of each epoch, as `fit` without shuffling reports them, and the last parameters."""
    import torch

    x, target, parameters = data(run)
    x = torch.tensor(x, dtype=torch.float64)
    target = torch.tensor(target, dtype=torch.int64 if run["target"] == "labels" else torch.float64)
    p = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
    options = dict(run["optimizer"])
    kind, options["lr"] = options.pop("kind"), options.pop("learning_rate")
    if kind == "adam":
        betas = options.pop("beta1", 0.9), options.pop("beta2", 0.999)
        optimizer = torch.optim.Adam([p], betas=betas, **options)
    else:
        optimizer = torch.optim.SGD([p], **options)
    result = {"loss": [], "gradient_norm": []}
    for _ in range(run["epochs"]):
        total, squares, steps = 0.0, 0.0, 0
        for start in range(0, len(x), run["batch"]):
            xb, tb = x[start : start + run["batch"]], target[start : start + run["batch"]]
            optimizer.zero_grad()
            loss = loss_of(run["loss"], output(run["layers"], p, xb), tb)
            loss.backward()
            total += loss.item() * len(xb)
            squares += (p.grad**2).sum().item()
            steps += 1
            optimizer.step()
        result["loss"].append(total / len(x))
        result["gradient_norm"].append((squares / steps) ** 0.5)
    return result | {"parameters": p.detach().tolist()}


def main():
    import torch

    golden = {
        "what": "Golden values, not to be edited: written by make.py in this folder with PyTorch, in float64",
        "torch": torch.__version__,
        "runs": {name: {"run": run, "result": train(run)} for name, run in RUNS.items()},
    }
    PATH.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
