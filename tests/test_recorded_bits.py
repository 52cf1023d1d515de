"""The bits of a training run, recorded: what one machine cannot show, that another machine gives the same.

`tests/golden/bits.json` has the hash of each run for the instruction sets with fused multiply-add, and one for the
portable kernels. `PYTHONPATH=. python tests/test_recorded_bits.py` prints it anew.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb

RECORDED = Path(__file__).parent / "golden" / "bits.json"
DTYPES = ["float32", "float64"]

# Every family of kernels; widths beside the vector's, a minibatch of more than one block of 256 rows.
CASES = {
    "classes": dict(
        layers=lambda: [fb.Dense(65, "relu"), fb.Dense(33, "tanh"), fb.Dense(7)],
        loss=lambda: fb.SoftmaxCrossEntropy(label_smoothing=0.1), optimizer=lambda: fb.Adam(3e-3), batch=67,
    ),
    "norms, dropout, projection": dict(
        layers=lambda: [
            fb.Dense(40), fb.BatchNorm(), fb.GELU(), fb.Dropout(0.3),
            fb.Residual([fb.LayerNorm(), fb.Dense(31, "elu"), fb.SiLU(), fb.Dense(50)], projection=True), fb.Dense(7),
        ],
        loss=fb.Huber, optimizer=lambda: fb.RMSprop(1e-3, momentum=0.5, centered=True), batch=300,
    ),
    "softmax, softplus": dict(
        layers=lambda: [fb.Dense(48, "softplus"), fb.Softmax(), fb.Dense(17, "gelu_tanh"), fb.Dense(7, "sigmoid")],
        loss=fb.MeanSquaredError, optimizer=lambda: fb.SGD(0.05, momentum=0.9, nesterov=True), batch=19,
    ),
}  # fmt: skip


def digest(case, dtype):
    """The hash of all that an epoch leaves. The data are fractions that any C library makes the same."""
    rng = np.random.default_rng(7)
    X = (rng.integers(-512, 512, (500, 37)) / 256).astype(dtype)
    y = rng.integers(0, 7, 500)
    if case["loss"] in (fb.Huber, fb.MeanSquaredError):
        y = np.eye(7, dtype=dtype)[y]
    net = fb.Network(37, case["layers"](), dtype=dtype, seed=5)
    trainer = fb.Trainer(net, case["loss"](), case["optimizer"](), seed=9, clip_norm=0.5)
    trainer.fit(X, y, epochs=1, batch_size=case["batch"])
    found = hashlib.sha256()
    for array in (net.parameters, net.statistics, *trainer.engine.moments, net.predict(X)):
        assert np.isfinite(array).all() and array.dtype.byteorder in "=|"
        found.update(array.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_recorded(name, isa):
    recorded = json.loads(RECORDED.read_text())["portable" if isa == "portable" else "fused"]
    assert {dtype: digest(CASES[name], dtype) for dtype in DTYPES} == recorded[name]


if __name__ == "__main__":
    table = {}
    for key, isa in (("fused", fb.cpu.available()[-1]), ("portable", "portable")):
        fb.cpu.use(isa)
        table[key] = {name: {dtype: digest(case, dtype) for dtype in DTYPES} for name, case in CASES.items()}
    json.dump(table, sys.stdout, indent=1)
    print()
