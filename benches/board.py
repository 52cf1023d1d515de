"""The speed board: fastbp and every other library installed, in one run on one machine. ``python -m benches.board``

Each library works in a process of its own, one at a time, round after round, so that all see the same machine. Each is
first checked against the NumPy twin: an epoch must end at the same weights, a step return the same loss, and a
prediction be the same numbers.
"""

import sys
from time import perf_counter, strftime

import fastbp as fb
from fastbp._support import storage
from fastbp.bench import cores, report
from fastbp.bench.files import write_json

from . import cells, measure, results
from .commands import Parser, finish, progress
from .crew import Crew, race
from .peers import FASTBP, PEERS
from .workers import ISAS, KERNELS, settings

PROGRAM = "python -m benches.board"
ROUNDS = 5


def main(arguments=None):
    return finish(PROGRAM, _run, _options(arguments))


def _options(arguments):
    parser = Parser(prog=PROGRAM, description="Time fastbp and every other library that is installed, side by side.")
    names = [peer.name for peer in PEERS]
    option = parser.add_argument
    option("--nets", metavar="TEXT,...", help="only cells whose name contains one of the texts")
    option(
        "--mode",
        choices=[*results.MODES, "all"],
        default="all",
        help="epochs, single steps called from Python with NumPy arrays, or predictions (default: %(default)s)",
    )
    option("--isa", choices=ISAS, help="limit every library to this instruction set (default: each chooses)")
    option("--threads", choices=["one", "all", "both"], default="both", help="default: %(default)s")
    option("--peers", metavar="LIST", help=f"some of {','.join(names)} (default: all that are installed)")
    option("--rounds", type=int, metavar="N", help=f"interleaved rounds for each cell (default: {ROUNDS})")
    option("--quick", action="store_true", help="two rounds, of short samples: to see that everything works")
    option("--json", metavar="FILE", help="write all results, with the time of every round")
    option("--chart", metavar="FILE", help="draw a chart: .png, .svg or .pdf (needs Matplotlib); see benches.chart")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 2 if options.quick else ROUNDS
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.peers is not None:
        wanted = [name for name in options.peers.split(",") if name]
        unknown = [name for name in wanted if name not in names]
        if unknown:
            parser.error(f"--peers: no such peer as {unknown[0]!r}; there are {', '.join(names)}")
        options.peers = wanted
    options.cells = cells.all_cells(options.mode, options.nets)
    if not options.cells:
        parser.error(f"no cell's name contains {options.nets!r}")
    return options


def _run(options):
    for name in ("json", "chart"):
        if getattr(options, name):
            storage.check_destination(f"--{name}", getattr(options, name))
    if options.chart:
        from . import chart  # here, so that a missing Matplotlib is reported before anything is measured

        chart.check("--chart", options.chart)
    if options.isa:
        fb.cpu.use(options.isa)

    started, date = perf_counter(), strftime("%Y-%m-%d %H:%M %Z")
    kinds = ["one", "all"] if options.threads == "both" else [options.threads]
    if len(cores.ALL_CORES) == 1 and "all" in kinds:
        print("This process may use one core only: all cores are one.")
        kinds = ["one"]
    peers = [peer for peer in PEERS if options.peers is None or peer.name in options.peers]
    missing = [peer for peer in peers if not peer.installed()]
    peers = [peer for peer in peers if peer.installed()]
    core = cores.bench_core()
    print(report.machine())
    for name, value in report.environment().items():
        print(f"{name}={value}{' (not passed on to the libraries)' if name in KERNELS else ''}")
    if options.isa:
        print(f"Limited to {options.isa}; YNNPACK, which makes JAX's products, cannot be limited.")
    print(f"{date}; one thread: core {core}; about {_minutes(options, kinds, peers)}", flush=True)

    with Crew([FASTBP, *peers], kinds, core, options.isa) as crew:
        for line in _who(crew, peers, missing):
            print(line)
        raced, limits, interrupted = _measure(crew, options, kinds)
        found = {
            "date": date,
            "seconds": perf_counter() - started,
            "machine": report.facts(),
            "flags": measure.build_flags(),
            "isa": options.isa,
            "settings": {kind: settings(1 if kind == "one" else None, options.isa) for kind in ("one", "all")},
            "not_passed_on": [name for name in report.environment() if name in KERNELS],
            "core": core,
            "rounds": options.rounds,
            "quick": options.quick,
            "interrupted": interrupted,
            "peers": {peer.name: peer.label for peer in (FASTBP, *peers)},
            "missing": [peer.name for peer in missing],
            "about": {f"{name} {kind}": said for (name, kind), said in crew.about.items()},
            **results.collect(raced, limits, len(cores.ALL_CORES)),
        }
        if raced or not interrupted:
            print("\n".join(results.lines(found)), flush=True)
            if options.json:
                write_json(options.json, found)
            if options.chart:
                chart.save(chart.figure_of([found]), options.chart)
    if interrupted:
        raise KeyboardInterrupt
    return 1 if any(status != "cannot" for r in found["records"] for status, _ in r["refused"].values()) else 0


def _measure(crew, options, kinds):
    """(the races that have a round at least, the limits of a core, whether Ctrl-C ended the measuring)"""
    measurer = FASTBP.name, kinds[0]
    peaks, bandwidths, source, raced = {"float32": [], "float64": []}, [], None, []
    interrupted = False
    try:
        source = crew.ask(measurer, "peak", "float32")[1]
        bandwidths.append(crew.ask(measurer, "bandwidth"))
        for number, cell in enumerate(options.cells):
            progress(f"{number + 1}/{len(options.cells)} {cell.name}")
            if measurer in crew.workers:
                peaks[cell.dtype].append(crew.ask(measurer, "peak", cell.dtype)[0])
            loaded, refused = crew.ask_all("load", cell)
            for kind in kinds:
                raced.append((cell, kind, {}))
                race(crew, cell, kind, options.rounds, loaded, refused, options.quick, raced[-1][-1])
        if measurer in crew.workers:
            bandwidths.append(crew.ask(measurer, "bandwidth"))
    except KeyboardInterrupt:
        interrupted = True
        raced = [one for one in raced if one[-1].get("seconds")]
    progress("")
    return (
        raced,
        {
            "peak": {dtype: max(seen) for dtype, seen in peaks.items() if seen},
            "bandwidth": max(bandwidths, default=None),
            "cache": max(measure.caches(), default=None),
            "peak_source": source,
            "peaks_seen": peaks,
            "bandwidths_seen": bandwidths,
        },
        interrupted,
    )


def _minutes(options, kinds, peers):
    """A rough estimate of the time of the run, in words. (torch.compile takes the most, until its cache is filled.)"""
    seconds = 5.0 * (1 + len(kinds))
    for cell in options.cells:
        load, sample = {"train": (1.5, 0.25), "step": (1.0, 0.15), "predict": (0.3, 0.06)}[cell.mode]
        for peer in peers:
            load += {"compiled": 8.0, "jax": 0.2 if cell.mode == "predict" else 1.5}.get(peer.name, 0.2)
        turns = options.rounds * (1 + len(peers)) + len(peers)
        seconds += load + len(kinds) * turns * sample / (3 if options.quick else 1)
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"


def _who(crew, peers, missing):
    """Lines: each library's version and what it says it uses, and the libraries that are left out."""
    for peer in peers:
        said = next((said for (name, _), said in crew.about.items() if name == peer.name), None)
        if said is None:
            yield f"{peer.label}: failed to start"
            continue
        more = [f"{name} {value}" for name, value in said.items() if name not in ("version", "blas") and value]
        yield f"{peer.label}: {', '.join([said['version'], *more, *said.get('blas', [])])}"
    for peer in missing:
        yield f"{peer.label}: not installed, left out"


if __name__ == "__main__":
    sys.exit(main())
