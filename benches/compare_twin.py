"""A training epoch of every net: fastbp against its NumPy twin and NumPy by hand. ``python -m benches.compare_twin``"""

import argparse
import math
import os
import statistics
import sys
from time import perf_counter, sleep

from . import contestants, measure, nets

CONTESTANTS = (contestants.Fastbp, contestants.Twin, contestants.ByHand)
SAMPLE = 0.02  # seconds a contestant trains in one round, at least
# OpenBLAS's threads keep their cores busy for up to 2^26 ticks after a product: time for them to fall asleep.
OPENBLAS_SPINS = 0.05


class Times:
    """Seconds of an epoch, one figure a round."""

    def __init__(self):
        self.rounds = []

    best = property(lambda self: min(self.rounds))
    median = property(lambda self: statistics.median(self.rounds))


def race(net, data, who, rounds, one_core):
    """Every contestant in turn, round after round; {name: Times}.

    Every sample starts from the initial weights, so that all rounds do the same work. Epochs of fastbp are short: a
    sample has several, and the first, which pays for the first touch of memory, does not count. An epoch of NumPy is a
    sample.
    """
    threads = 1 if one_core else None
    short = contestants.Fastbp(net, *data, threads).epochs(2)[-1]
    count = {one: 1 + math.ceil(SAMPLE / short) if one is contestants.Fastbp else 1 for one in who}
    times = {one.name: Times() for one in who}
    if not one_core:
        measure.numpy_threads(len(measure.ALL_CORES))
    for _ in range(rounds):
        for one in who:
            if not one_core and one is contestants.Fastbp:
                sleep(OPENBLAS_SPINS)
            seconds = one(net, *data, threads).epochs(count[one])
            seconds = seconds[1:] or seconds
            times[one.name].rounds.append(sum(seconds) / len(seconds))
    return times


def ratio(slow, fast):
    """How many times as long: of the bests, and the median over the rounds."""
    return slow.best / fast.best, statistics.median(a / b for a, b in zip(slow.rounds, fast.rounds))


def compare(net, rounds):
    """(times on one core, times on all cores)"""
    with measure.one_core():
        data = net.data()
        contestants.verify(net, CONTESTANTS, 1)
        alone = race(net, data, CONTESTANTS, rounds, True)
    everywhere = race(net, data, CONTESTANTS, rounds, False) if len(measure.ALL_CORES) > 1 else alone
    return alone, everywhere


HEADER = (
    *("net", "batch", "update", "fastbp us", "GFLOP/s", "peak", "noise", "twin us", "best", "median"),
    *("hand us", "best", "median", "| all: fastbp", "twin", "best", "hand", "best", "| least"),
)


def row(net, alone, everywhere, peak):
    """A line of the table, and whether the twin is beaten as it must be on one core and on all."""
    microseconds = 1e6 / net.steps()
    fast, twin, hand = (alone[one.name] for one in CONTESTANTS)
    gflops = net.flops() / fast.best / 1e9
    to_twin, to_hand = ratio(twin, fast), ratio(hand, fast)
    # NumPy at its better number of threads: for small products one.
    all_fast = everywhere["fastbp"].best
    all_twin, all_hand = (min(alone[name].best, everywhere[name].best) for name in ("twin", "by hand"))
    enough = min(*to_twin, all_twin / all_fast) >= net.least_ratio
    cells = [
        *(net.name, str(net.batch), net.optimizer, f"{fast.best * microseconds:.2f}", f"{gflops:.1f}"),
        *(f"{gflops / peak:.0%}", f"{fast.median / fast.best - 1:.0%}"),
        *(f"{twin.best * microseconds:.1f}", *(f"{r:.2f}" for r in to_twin)),
        *(f"{hand.best * microseconds:.1f}", *(f"{r:.2f}" for r in to_hand)),
        f"| {all_fast * microseconds:.2f}",
        *(f"{all_twin * microseconds:.1f}", f"{all_twin / all_fast:.2f}"),
        *(f"{all_hand * microseconds:.1f}", f"{all_hand / all_fast:.2f}"),
        f"| {net.least_ratio:g} {'ok' if enough else 'MISSED'}",
    ]
    return cells, enough


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benches.compare_twin", description=__doc__.split(". ``")[0] + ".")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds for each net (default: %(default)s)")
    parser.add_argument("--nets", metavar="TEXT", help="only nets whose name contains TEXT")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a net is not fast enough")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    chosen = [net for net in nets.ALL if not options.nets or options.nets in net.name]
    if not chosen:
        parser.error(f"no net's name contains {options.nets!r}")

    started = perf_counter()
    print(measure.machine())
    with measure.one_core() as core:
        peak = measure.peak().gflops
        print(f"multiply-add peak {peak:.1f} GFLOP/s float32, from {measure.peak().source}, on core {core}")
    rows, misses = [], 0
    for net in chosen:
        cells, enough = row(net, *compare(net, options.rounds), peak)
        rows.append(cells)
        misses += not enough
        if sys.stderr.isatty():
            print(f"\r{len(rows)}/{len(chosen)}", end="\r", file=sys.stderr)
    print(
        "Microseconds a step, float32, best of the rounds; best, median: ratio to fastbp, of the bests and median of\n"
        "the rounds. One thread on one core, then all cores, with NumPy at the better of one thread and all.\n"
        "noise: median over best. least: the ratio to the twin demanded, in each of best, median and on all cores.\n"
    )
    print("\n".join(measure.table(HEADER, rows)))
    with measure.one_core():
        measure.peak.cache_clear()
        print(f"\npeak again {measure.peak().gflops:.1f} GFLOP/s, ", end="")
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"load {load}; {perf_counter() - started:.0f} s")
    return 1 if misses and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
