"""MemoryError where the system gives no memory: nothing has changed then, nothing is kept, and the next call succeeds.

c/no_memory.c (see test_c.py) lets every allocation of the C core fail. Here the address space of a process is limited,
so that what the bindings allocate cannot be had.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space as Linux does")

PROGRAM = """
import resource
import numpy as np
import fastbp as fb
from fastbp import ops

MB = 1 << 20
none, hard = resource.getrlimit(resource.RLIMIT_AS)

def in_use():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def limited(more, call):
    resource.setrlimit(resource.RLIMIT_AS, (in_use() + more * MB, hard))
    try:
        return call()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (none, hard))

def refused(more, call):
    before = in_use()
    for _ in range(4):
        try:
            limited(more, call)
        except MemoryError as error:
            message = str(error)
        else:
            raise SystemExit("no MemoryError")
    assert in_use() - before < 8 * MB, f"{(in_use() - before) / MB:.0f} MB are kept"
    return message
"""

# What the core allocates beside its results, in MB that are there when it asks for more. Results come first.
BIG = 4 * 1024 * 1024
CASES = {
    "dense_backward": (
        "dy, x, W = np.ones((1024, 16384), 'f4'), np.ones((1024, 1), 'f4'), np.ones((1, 16384), 'f4')",
        "ops.dense_backward(dy, x, W, dy, 'tanh')",
        32,
    ),
    "batch_norm_forward": (f"x = np.ones((1, {BIG}), 'f4')", "ops.batch_norm_forward(x)", 56),
    "batch_norm_backward": (
        f"x, n = np.ones((1, {BIG}), 'f4'), np.ones({BIG}, 'f4')",
        "ops.batch_norm_backward(x, x, n, n)",
        64,
    ),
    "batch_norm_predict": (
        f"x, n = np.ones((1, {BIG}), 'f4'), np.ones({BIG}, 'f4')",
        "ops.batch_norm_predict(x, n, n)",
        24,
    ),
    "labels": (f"z, t = np.ones(({BIG}, 1), 'f4'), np.zeros({BIG}, 'i8')", "ops.softmax_cross_entropy(z, t)", 24),
    "parameters of a loss": (f"z = np.ones((1, {BIG}), 'f4')", "ops.huber(z, z, 1.0)", 24),
    "weights of rows": (
        f"z, w = np.ones(({BIG}, 1), 'f4'), np.ones({BIG}, 'f4')",
        "ops.mean_squared_error(z, z, sample_weight=w)",
        40,
    ),
    "smoothed targets": (
        "z = np.ones((256, 16384), 'f4')",
        "ops.softmax_cross_entropy(z, z, label_smoothing=0.1)",
        24,
    ),
    "permutation": ("", f"ops.random_permutation(0, 0, {BIG})", 64),
    "an argument that is not contiguous": (
        f"x = np.ones({2 * BIG}, 'f4')[::2]",
        "ops.sum_squares(x)",
        8,
    ),
    "an argument that shares memory": (
        f"w = np.ones({BIG} + 1, 'f4')",
        "ops.sgd_step(w[1:], w[:-1])",
        8,
    ),
    "a network": (
        "net = fb.Network(2, [fb.Dense(65536), fb.Dense(1)]); x = np.ones((256, 2), 'f4')",
        "net.predict(x)",
        32,
    ),
    "a trainer": (
        "t = fb.Trainer(fb.Network(2, [fb.Dense(32768), fb.Dense(1)]), 'mean_squared_error', n_threads=1); "
        "x = np.ones((512, 2), 'f4')",
        "t.fit(x, x[:, :1], 1, batch_size=256)",
        24,
    ),
}


def run(text):
    # The C library would keep large blocks for the next ones, unless told from which size on to return them.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PROGRAM + textwrap.dedent(text)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("case", CASES)
def test_no_memory(case):
    before, call, more = CASES[case]
    run(f"""
        {before}
        arrays = {{name: value.copy() for name, value in globals().items() if isinstance(value, np.ndarray)}}
        message = refused({more}, lambda: {call})
        for name, value in arrays.items():
            assert np.array_equal(globals()[name], value), f"{{name}} has changed"
        assert "emory" in message or "allocate" in message, message
        {call}
    """)


def test_training_goes_on_without_threads():
    """Where no thread can be started, and there is no memory to pack operands in, bits are the same."""
    run("""
        def trained(within):
            net = fb.Network(512, [fb.Dense(512, "tanh"), fb.Dense(8)], seed=1)
            trainer = fb.Trainer(net, "mean_squared_error", n_threads=2, seed=2)
            x = np.linspace(-1, 1, 512 * 512, dtype="f4").reshape(512, 512)
            y = np.ascontiguousarray(x[:, :8])
            trainer.evaluate(x[:1], y[:1])  # whatever is imported and created at the first call
            fit = lambda: trainer.fit(x, y, 1, batch_size=256)
            fit() if within is None else limited(within, fit)
            return net.parameters.copy(), threads()

        def threads():
            [line] = [line for line in open("/proc/self/status") if line.startswith("Threads:")]
            return int(line.split()[1])

        before = threads()
        few, count = trained(7)  # MB: less than a thread's stack, enough for the plan
        assert count == before, "threads were started"
        many, count = trained(None)
        assert count == before + 1, "no thread was started"
        assert np.array_equal(few, many)
    """)
