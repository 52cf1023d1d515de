"""Peak memory of training follows the formula of src_c/README.md, "Memory"."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp as fb

MEGABYTE = 1 << 20

# Prints by how much the memory of the process grew at its peak while a trainer was made and fitted.
PROGRAM = """
import json, sys
import numpy as np
import fastbp as fb
widths, rows, batch, optimizer, dtype = json.loads(sys.argv[1])
X = np.ones((rows, widths[0]), dtype)
y = np.arange(rows) % widths[-1]
def peak():
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
fb.Trainer(fb.Network(2, [fb.Dense(2)])).fit(X[:4, :2].copy(), y[:4] % 2, batch_size=2)
open("/proc/self/clear_refs", "w").write("5")  # the peak is now what is in use
before = peak()
net = fb.Network(widths[0], [*(fb.Dense(units, "relu") for units in widths[1:-1]), fb.Dense(widths[-1])], dtype=dtype)
trainer = fb.Trainer(net, optimizer=getattr(fb, optimizer)(1e-3), n_threads=1)
trainer.fit(X, y, epochs=2, batch_size=batch)
print(peak() - before)
"""


def workspace(widths, batch, item):
    """Bytes of the values of a block, of the gradient at the outputs, and of one row's x and dz of each layer."""
    kept = 2 * sum(widths) - widths[0] - widths[-1] if count(widths) >= 16384 else 0
    return item * (min(batch, 256) * (sum(widths) + widths[-1]) + kept)


def count(widths):
    return sum(inputs * outputs + outputs for inputs, outputs in zip(widths, widths[1:]))


def formula(widths, rows, batch, moments, item):
    return item * (2 + moments) * count(widths) + workspace(widths, batch, item) + 40 * rows


CASES = [
    ([784, 1024, 1024, 10], 1000, 256, "Adam", "float32"),
    ([784, 1024, 1024, 10], 1000, 1000, "SGD", "float64"),
    ([300, 2000, 300, 10], 512, 64, "SGD", "float32"),
    ([4, 32, 16, 4], 400_000, 400_000, "Adam", "float32"),  # no more than with a small batch
]


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak memory from now on"
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(width) for width in case[0]) + f" b{case[2]}")
def test_peak_memory(case):
    widths, rows, batch, optimizer, dtype = case
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(case)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    expected = formula(widths, rows, batch, 2 if optimizer == "Adam" else 0, 4 if dtype == "float32" else 8)
    # Freed memory that was used before may serve again; the initial weights are drawn layer by layer as doubles.
    drawing = 8 * max(inputs * outputs for inputs, outputs in zip(widths, widths[1:]))
    assert 0.8 * expected - MEGABYTE < int(done.stdout) < 1.15 * expected + 2 * drawing + 6 * MEGABYTE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(4, 64, 64, 2), (784, 128, 10), (784, 1024, 1024, 10), (100, 3000, 200, 300)])
def test_workspace(widths, dtype):
    item = 4 if dtype == "float32" else 8
    net = fb.Network(
        widths[0], [*(fb.Dense(units, "tanh") for units in widths[1:-1]), fb.Dense(widths[-1])], dtype=dtype
    )
    trainer = fb.Trainer(net)
    for rows in (1, 32, 256, 5000):
        plan = trainer.engine.plan_for(trainer.loss.code_labels, rows)
        block = min(rows, 256)
        padding = 128 * (block + 1) * (len(widths) + 1)
        targets = 16 * block + 64  # labels and losses
        norms = 8 * (plan.parameters_count // 4096 + 1)
        expected = workspace(widths, block, item)
        assert expected <= plan.workspace_bytes <= expected + padding + targets + norms + 64 * (len(widths) + 4)
