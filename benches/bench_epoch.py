"""A training epoch of every net, in one C call, against the NumPy twin and NumPy by hand: one thread, one core.

The ratios are those of interleaved rounds, best over best. A net that is not as much faster than the twin as it must be
fails. ``python -m benches.compare_twin`` makes the same comparison in more rounds, and on all cores.
"""

import pytest

from fastbp.bench import contestants, cores, nets, timing, verify

from . import compare_twin


@pytest.mark.parametrize("net", nets.ALL, ids=[f"{net.name} batch {net.batch}" for net in nets.ALL])
def bench_epoch(speed, net):
    with cores.one_core():
        data = net.data()
        verify.verify(net, compare_twin.CONTESTANTS, 1)
        trainer = contestants.Fastbp(net, *data, 1)
        if not speed.enabled:
            speed(lambda: trainer.epochs(1))
            return
        who = [one(net, *data, 1) for one in compare_twin.CONTESTANTS]
        times = timing.race(who, 3, compare_twin.SAMPLE, one_core=True)
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
