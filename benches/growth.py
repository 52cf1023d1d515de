"""How the cost of a step grows with the size of its parts. ``python -m benches.growth``

A training step (`Trainer.step`, Adam) against the batch, the width and the depth of a net, and a prediction against the
number of rows; one thread on one core. Sizes are powers of two with their neighbours, and sizes where cost may jump:
one past a register tile or a vector, rows of whole KiB, weights that just fill a cache.

A cliff is a size whose time lies more than the tolerance above the straight line between its neighbours, time against
floating-point operations, or whose time per operation lies as far above that of a smaller size.
"""

import sys
from time import perf_counter, strftime
from typing import NamedTuple

import fastbp as fb
from fastbp._support import storage
from fastbp.bench import cores, report, timing
from fastbp.bench.files import write_json
from fastbp.bench.nets import Net

from . import measure
from .commands import Parser, finish, progress

PROGRAM = "python -m benches.growth"
ROUNDS = 3
TOLERANCE = 0.25
SAMPLE = 0.02  # least seconds that a size is timed in a round


class Sweep(NamedTuple):
    """Sizes to time. `net(n)` is the net of size n, `rows(n)` the number of its rows."""

    name: str
    what: str
    sizes: list
    net: object
    rows: object
    predicts: bool = False

    def flops(self, n):
        net, rows = self.net(n), self.rows(n)
        return net.forward_flops(rows) if self.predicts else net.flops(rows)

    def seconds(self, n):
        """Time of a step, or of a prediction, of size n."""
        net = self.net(n)
        x, y = net.data(self.rows(n))
        model = net.start()
        if self.predicts:
            return timing.seconds_a_call(lambda: model.predict(x), SAMPLE, 1)[0]
        trainer = fb.Trainer(model, net.loss, net.optimizer_object(), n_threads=1)
        return timing.seconds_a_call(lambda: trainer.step(x, y), SAMPLE, 1)[0]


def net(*widths):
    """A classifier of these widths."""
    return Net(widths, 1, 1, "adam")


def around(most, least=1, more=()):
    """The powers of two from least to most, each with its neighbours, and more; no less than 1."""
    sizes, n = set(more), least
    while n <= most:
        sizes |= {n - 1, n, n + 1} if n >= 8 else {n}
        n *= 2
    return sorted(n for n in sizes if least <= n <= most + 1)


def sweeps(quick=False):
    """The four sweeps. quick: fewer and smaller sizes."""
    tiles = [14 * k + s for k in (1, 2, 4, 9, 18, 36) for s in (0, 1)]  # AVX-512's have 14 rows, AVX2's 6
    tiles += [6 * k + s for k in (1, 3, 9) for s in (0, 1)]
    vectors = [16 * k + 1 for k in (1, 2, 3, 6, 10, 20, 40)]
    whole_kib = [256 * k + s for k in (3, 5, 6, 12) for s in (0, 1)]
    # Square matrices of float32 that just fill one of the caches, and those one wider.
    fills = [int((size / 4) ** 0.5) + s for size in measure.caches() for s in (0, 1)]
    widest, longest, deepest = (512, 1024, 8) if quick else (4096, 65536, 32)
    width = around(widest, 8, [n for n in (*vectors, *whole_kib, *fills) if 8 <= n <= widest])
    rows = around(longest, 1, tiles)
    batches = "rows in the minibatch, 64-128-128-10"
    return [
        Sweep("batch", batches, rows, lambda n: net(64, 128, 128, 10), lambda n: n),
        Sweep("width", "width of two hidden layers, batch 64", width, lambda n: net(64, n, n, 10), lambda n: 64),
        Sweep(
            "depth",
            "hidden layers of 128, batch 64",
            list(range(1, deepest + 1)),
            lambda n: net(64, *[128] * n, 10),
            lambda n: 64,
        ),
        Sweep("predict", "rows to predict, 64-128-128-10", rows, lambda n: net(64, 128, 128, 10), lambda n: n, True),
    ]


def over_the_line(flops, seconds):
    """The distance of each time above the straight line between its neighbours, as a share; 0 at the ends.

    Parameters
    ----------
    flops : list
        Rising.
    seconds : list
    """
    over = [0.0] * len(flops)
    for i in range(1, len(flops) - 1):
        share = (flops[i] - flops[i - 1]) / (flops[i + 1] - flops[i - 1])
        over[i] = seconds[i] / (seconds[i - 1] + share * (seconds[i + 1] - seconds[i - 1])) - 1
    return over


def over_smaller(flops, seconds):
    """The distance of each size's time per operation above the least of the smaller sizes, as a share, or 0."""
    over, least = [], float("inf")
    for work, time in zip(flops, seconds):
        over.append(max(0.0, time / work / least - 1))
        least = min(least, time / work)
    return over


def time_sweep(sweep, rounds):
    """Seconds of each size, the best of the rounds; a suspected cliff and its neighbours get as many rounds again."""
    best = [float("inf")] * len(sweep.sizes)

    def take(places):
        for i in places:
            progress(f"{sweep.name} {sweep.sizes[i]}")
            best[i] = min(best[i], sweep.seconds(sweep.sizes[i]))

    for _ in range(rounds):
        take(range(len(best)))
    flops = [sweep.flops(n) for n in sweep.sizes]
    for _ in range(rounds):
        over = list(map(max, over_the_line(flops, best), over_smaller(flops, best)))
        suspects = [i for i, share in enumerate(over) if share > TOLERANCE / 2]
        near = {j for i in suspects for j in (i - 1, i, i + 1) if 0 <= j < len(best)}
        take(sorted(near))
    return best


def record(sweep, seconds, tolerance):
    """The results of a sweep, for the file and the text."""
    flops = [sweep.flops(n) for n in sweep.sizes]
    line, smaller = over_the_line(flops, seconds), over_smaller(flops, seconds)
    return {
        "name": sweep.name,
        "what": sweep.what,
        "sizes": sweep.sizes,
        "flops": flops,
        "seconds": seconds,
        "over_the_line": line,
        "over_smaller": smaller,
        "cliffs": [n for n, a, b in zip(sweep.sizes, line, smaller) if max(a, b) > tolerance],
    }


def lines(found):
    """The text: for each sweep its worst cliffs, and some sizes."""
    text = []
    for sweep in found["sweeps"]:
        sizes, seconds, flops = sweep["sizes"], sweep["seconds"], sweep["flops"]
        shown = sorted({round(i * (len(sizes) - 1) / 7) for i in range(8)})
        rows = [[str(sizes[i]), report.microseconds(seconds[i]), f"{flops[i] / seconds[i] / 1e9:.1f}"] for i in shown]
        text += ["", f"{sweep['name']}: {sweep['what']}", *report.table(["size", "us", "GFLOP/s"], rows)]
        for kind, said in (("over_the_line", "the line between its neighbours"), ("over_smaller", "a smaller size's")):
            worst = max(range(len(sizes)), key=sweep[kind].__getitem__)
            per = " per operation" if kind == "over_smaller" else ""
            text.append(f"worst time{per}: {sweep[kind][worst]:.0%} over {said}, at {sizes[worst]}")
        listed = ", ".join(map(str, sweep["cliffs"])) or "none"
        text.append(f"over the tolerance of {found['tolerance']:.0%}: {listed}")
    return text


def _options(arguments):
    parser = Parser(prog=PROGRAM, description="Time a step against batch, width and depth, and look for cliffs.")
    option = parser.add_argument
    option("--quick", action="store_true", help="one round of fewer sizes: to see that everything works")
    option("--rounds", type=int, metavar="N", help=f"default: {ROUNDS}")
    option("--tolerance", type=float, default=TOLERANCE, metavar="X", help="a cliff is more (default: %(default)s)")
    option("--json", metavar="FILE", help="write every time")
    option("--chart", metavar="FILE", help="draw time and GFLOP/s: .png, .svg or .pdf (needs Matplotlib)")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 1 if options.quick else ROUNDS
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _run(options):
    for name in ("json", "chart"):
        if getattr(options, name):
            storage.check_destination(f"--{name}", getattr(options, name))
    if options.chart:
        from . import chart, growth_chart

        chart.check("--chart", options.chart)
    started = perf_counter()
    found = {"date": strftime("%Y-%m-%d %H:%M %Z"), "machine": report.facts(), "tolerance": options.tolerance}
    print(report.machine(), flush=True)
    with cores.one_core() as core:
        peak, found["sweeps"] = 0.0, []
        for sweep in sweeps(options.quick):
            measure.peak.cache_clear()
            peak = max(peak, 1e9 * measure.peak().gflops)
            found["sweeps"].append(record(sweep, time_sweep(sweep, options.rounds), options.tolerance))
    progress("")
    print(f"One thread, core {core}: multiply-add peak {peak / 1e9:.1f} GFLOP/s float32")
    found |= {"core": core, "peak": peak, "rounds": options.rounds, "seconds": perf_counter() - started}
    print("\n".join(lines(found)))
    print(f"\nload {report.load()}; {found['seconds']:.0f} s")
    if options.json:
        write_json(options.json, found)
    if options.chart:
        chart.save(growth_chart.figure_of(found), options.chart)
    return 0


def main(arguments=None):
    return finish(PROGRAM, _run, _options(arguments))


if __name__ == "__main__":
    sys.exit(main())
