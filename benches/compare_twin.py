"""A training epoch of every net: fastbp against its NumPy twin and NumPy by hand. ``python -m benches.compare_twin``"""

import argparse
import sys
from time import perf_counter

from fastbp.bench import contestants, cores, nets, report, timing, verify

from . import measure

CONTESTANTS = (contestants.Fastbp, contestants.Twin, contestants.ByHand)
SAMPLE = 0.02  # least seconds that a contestant trains in one round


def compare(net, rounds):
    """(times on one core, times on all cores)"""
    with cores.one_core():
        data = net.data()
        verify.verify(net, CONTESTANTS, 1)
        alone = timing.race([one(net, *data, 1) for one in CONTESTANTS], rounds, SAMPLE, True)
    if len(cores.ALL_CORES) == 1:
        return alone, alone
    return alone, timing.race([one(net, *data) for one in CONTESTANTS], rounds, SAMPLE, False)


HEADER = (
    *("net", "batch", "update", "fastbp us", "GFLOP/s", "peak", "noise", "twin us", "best", "median"),
    *("hand us", "best", "median", "| all: fastbp", "twin", "best", "hand", "best", "| least"),
)


def row(net, alone, everywhere, peak):
    """A line of the table, and whether the ratio to the twin reaches `Net.least_ratio` on one core and on all."""
    microseconds = 1e6 / net.steps()
    fast, twin, hand = (alone[one.name] for one in CONTESTANTS)
    gflops = net.flops() / min(fast) / 1e9
    to_twin, to_hand = timing.ratio(twin, fast), timing.ratio(hand, fast)
    # NumPy at the better number of threads: one for small products.
    all_fast = min(everywhere["fastbp"])
    all_twin, all_hand = (min(*alone[name], *everywhere[name]) for name in ("twin", "by hand"))
    enough = min(*to_twin, all_twin / all_fast) >= net.least_ratio
    cells = [
        *(net.name, str(net.batch), net.optimizer, f"{min(fast) * microseconds:.2f}", f"{gflops:.1f}"),
        *(f"{gflops / peak:.0%}", f"{timing.noise(fast):.0%}"),
        *(f"{min(twin) * microseconds:.1f}", *(f"{r:.2f}" for r in to_twin)),
        *(f"{min(hand) * microseconds:.1f}", *(f"{r:.2f}" for r in to_hand)),
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
    print(report.machine())
    with cores.one_core() as core:
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
    print("\n".join(report.table(HEADER, rows)))
    with cores.one_core():
        measure.peak.cache_clear()
        print(f"\npeak again {measure.peak().gflops:.1f} GFLOP/s, ", end="")
    print(f"load {report.load()}; {perf_counter() - started:.0f} s")
    return 1 if misses and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
