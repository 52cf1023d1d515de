"""A training epoch of every net, in one C call, against the NumPy twin and NumPy by hand: one thread, one core.

The ratios are of interleaved rounds, best over best. A net fails whose ratio to the twin is below `Net.least_ratio`.
``python -m benches.compare_twin`` makes the same comparison in more rounds, and on all cores.

Also an epoch of data of other dtypes and layouts, which are converted as they are gathered, against one of a float32
array: from pixels it may take no longer.
"""

import numpy as np
import pytest

import fastbp as fb
from fastbp.bench import contestants, cores, nets, timing, verify

from . import compare_twin


@pytest.mark.parametrize("net", nets.ALL, ids=[f"{net.name} batch {net.batch} {net.update}" for net in nets.ALL])
def bench_epoch(speed, net):
    with cores.one_core():
        data = net.data()
        verify.verify(net, compare_twin.CONTESTANTS, 1)
        trainer = contestants.Fastbp(net, *data, 1)
        if not speed.enabled:
            speed(lambda: trainer.epochs(1))
            return
        raced = [one(net, *data, 1) for one in compare_twin.CONTESTANTS]
        times = timing.race(raced, 3, compare_twin.SAMPLE, one_core=True)
        fast, twin, by_hand = (times[one.name] for one in compare_twin.CONTESTANTS)
        ratio, median = timing.ratio(twin, fast)
        figures = {
            "us a step": round(min(fast) / net.steps() * 1e6, 2),
            "twin ratio": round(ratio, 2),
            "median": round(median, 2),
            "by hand ratio": round(timing.ratio(by_hand, fast)[0], 2),
        }
        speed(lambda: trainer.epochs(1), flops=net.flops(), **figures)
    assert ratio >= net.least_ratio, f"{ratio:.2f} times as fast as the twin; it must be {net.least_ratio:g} times"


class From:
    """Trains 784-128-10 in float32, batch 64, on data of one dtype and layout."""

    def __init__(self, name, X):
        self.name, self.X, self.y = name, X, np.arange(len(X)) % 10

    def restart(self):
        net = fb.Network(784, [fb.Dense(128, "relu"), fb.Dense(10)])
        self.trainer = fb.Trainer(net, optimizer=fb.SGD(0.1), n_threads=1)

    def epochs(self, count):
        return self.trainer.fit(self.X, self.y, epochs=count, batch_size=64)["seconds"]


# {data: (how they are made of pixels, upper bound on the time of an epoch over that of float32)}
DATA = {
    "uint8": (lambda pixels: pixels, 1.05),
    "float64": (lambda pixels: pixels / 255, 1.3),
    "float32 in Fortran order": (lambda pixels: np.asfortranarray(pixels.astype("float32") / 255), 4),
    "uint8 in Fortran order": (np.asfortranarray, 4),
}


@pytest.mark.parametrize("name", DATA)
def bench_data(speed, name):
    make, most = DATA[name]
    pixels = np.random.default_rng(0).integers(0, 256, (60_000 if speed.enabled else 200, 784), np.uint8)
    plain, other = From("float32", pixels.astype("float32") / 255), From(name, make(pixels))
    with cores.one_core():
        for one in (plain, other):
            one.restart()
            one.epochs(1)
        assert np.array_equal(plain.trainer.net.parameters, other.trainer.net.parameters)
        if not speed.enabled:
            speed(lambda: other.epochs(1))
            return
        times = timing.race([plain, other], 5, 0.1, one_core=True)
        ratio, median = timing.ratio(times[name], times["float32"])
        best = round(min(times[name]) * 1e3, 1)
        speed(
            lambda: other.epochs(1), **{"ms an epoch": best, "to float32": round(ratio, 2), "median": round(median, 2)}
        )
    assert ratio <= most, f"{ratio:.2f} times as long as from float32; it may be {most:g} times"
