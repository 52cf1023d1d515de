"""Clocks: samples in interleaved rounds, and what is made of them."""

import gc
import math
import statistics
from time import perf_counter, sleep

from .cores import ALL_CORES, numpy_threads

# OpenBLAS's threads keep their cores busy for up to 2^26 ticks after a product: time for them to fall asleep.
SETTLE = 0.05


def seconds_a_call(f, seconds=0.05, rounds=5):
    """Best and median time of one call, from `rounds` rounds that take about `seconds` together."""
    f()
    calls = 1
    while True:
        started = perf_counter()
        for _ in range(calls):
            f()
        taken = perf_counter() - started
        if taken > seconds / rounds or calls > 1 << 24:
            break
        calls = max(2 * calls, int(calls * seconds / rounds / max(taken, 1e-9)))
    times = [taken / calls]
    for _ in range(rounds - 1):
        started = perf_counter()
        for _ in range(calls):
            f()
        times.append((perf_counter() - started) / calls)
    return min(times), statistics.median(times)


def sample(one, seconds):
    """Seconds of an epoch of a contestant from the start: the mean of as many as take `seconds`, one at least.

    Every sample starts from the initial weights, so that all rounds do the same work. An epoch before, which pays for
    the first touch of memory and for caches that another contestant filled, does not count.
    """
    gc.collect()
    gc.disable()
    try:
        one.restart()
        (first,) = one.epochs(1)
        times = one.epochs(max(1, math.ceil(seconds / first)))
        return sum(times) / len(times)
    finally:
        gc.enable()


def race(contestants, rounds, seconds, one_core, threads_of_numpy=None):
    """Every contestant in turn, round after round.

    Parameters
    ----------
    contestants : list
    rounds : int
    seconds : float
        What a sample takes at least.
    one_core : bool
        Whether this thread is on one core.
    threads_of_numpy : int or None
        Unless on one core; None: as many as there are cores.

    Returns
    -------
    dict of lists
        {name: seconds of an epoch in each round}
    """
    if not one_core:
        numpy_threads(threads_of_numpy or len(ALL_CORES))
    times = {one.name: [] for one in contestants}
    for _ in range(rounds):
        for one in contestants:
            if not one_core:
                sleep(SETTLE)
            times[one.name].append(sample(one, seconds))
    return times


def ratio(slow, fast):
    """How many times as long: of the bests, and the median over the rounds."""
    return min(slow) / min(fast), statistics.median(a / b for a, b in zip(slow, fast))


def noise(times):
    """The median over the best, less 1."""
    return statistics.median(times) / min(times) - 1
