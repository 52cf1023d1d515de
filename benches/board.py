"""The speed board: fastbp and every other library installed, in one run on one machine. ``python -m benches.board``

Each library works in a process of its own, one at a time, round after round, so that all see the same machine. Before,
each is checked against the NumPy twin: an epoch must end at the same weights, and a prediction be the same numbers.
"""

import sys
from time import perf_counter, strftime

from fastbp._support import storage
from fastbp.bench import cores, report
from fastbp.bench.files import write_json

from . import cells, measure, results
from .commands import Parser, finish, progress
from .crew import Crew, race
from .peers import FASTBP, PEERS
from .workers import settings

PROGRAM = "python -m benches.board"
ROUNDS = 5


def main(arguments=None):
    return finish(PROGRAM, _run, _options(arguments))


def _options(arguments):
    parser = Parser(prog=PROGRAM, description="Time fastbp and every other library that is installed, side by side.")
    names = [peer.name for peer in PEERS]
    option = parser.add_argument
    option("--nets", metavar="TEXT", help="only cells whose name contains TEXT")
    option("--mode", choices=["train", "predict", "all"], default="all", help="default: %(default)s")
    option("--threads", choices=["one", "all", "both"], default="both", help="default: %(default)s")
    option("--peers", metavar="LIST", help=f"some of {','.join(names)} (default: all that are installed)")
    option("--rounds", type=int, metavar="N", help=f"interleaved rounds for each cell (default: {ROUNDS})")
    option("--quick", action="store_true", help="two rounds, of short samples: to see that everything works")
    option("--json", metavar="FILE", help="write everything found, every round's time included")
    option("--chart", metavar="FILE", help="draw a chart: .png, .svg or .pdf (needs Matplotlib)")
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
        from . import chart  # here, so that it is said at once when there is no Matplotlib

        chart.check(options.chart)

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
        print(f"{name}={value}")
    print(f"{date}; one thread: core {core}; about {_minutes(options, kinds, peers)}", flush=True)

    with Crew([FASTBP, *peers], kinds, core) as crew:
        for line in _who(crew, peers, missing):
            print(line)
        measurer = FASTBP.name, kinds[0]
        source = crew.ask(measurer, "peak", "float32")[1]
        peaks, bandwidths = {"float32": [], "float64": []}, [crew.ask(measurer, "bandwidth")]
        raced = []
        for number, cell in enumerate(options.cells):
            progress(f"{number + 1}/{len(options.cells)} {cell.name}")
            if measurer in crew.workers:
                peaks[cell.dtype].append(crew.ask(measurer, "peak", cell.dtype)[0])
            loaded, refused = crew.ask_all("load", cell)
            for kind in kinds:
                raced.append((cell, kind, race(crew, cell, kind, options.rounds, loaded, refused, options.quick)))
        progress("")
        if measurer in crew.workers:
            bandwidths.append(crew.ask(measurer, "bandwidth"))
        about = {f"{name} {kind}": said for (name, kind), said in crew.about.items()}

    limits = {
        "peak": {dtype: max(seen) for dtype, seen in peaks.items() if seen},
        "bandwidth": max(bandwidths),
        "cache": max(measure.caches(), default=None),
        "peak_source": source,
        "peaks_seen": peaks,
        "bandwidths_seen": bandwidths,
    }
    found = results.collect(raced, limits, len(cores.ALL_CORES))
    found = {
        "date": date,
        "seconds": perf_counter() - started,
        "machine": report.facts(),
        "flags": measure.build_flags(),
        "settings": {kind: settings(1 if kind == "one" else None) for kind in ("one", "all")},
        "core": core,
        "rounds": options.rounds,
        "quick": options.quick,
        "peers": {peer.name: peer.label for peer in (FASTBP, *peers)},
        "missing": [peer.name for peer in missing],
        "about": about,
        **found,
    }
    print("\n".join(results.lines(found)))
    if options.json:
        write_json(options.json, found)
    if options.chart:
        chart.save(chart.figure_of(found), options.chart)
    return 1 if any(status != "cannot" for r in found["records"] for status, _ in r["refused"].values()) else 0


def _minutes(options, kinds, peers):
    """Roughly how long it will take, in words. (torch.compile takes the most, where its cache has nothing yet.)"""
    seconds = 5.0 * (1 + len(kinds))
    for cell in options.cells:
        load, sample = (1.5, 0.25) if cell.mode == "train" else (0.3, 0.06)
        for peer in peers:
            load += {"compiled": 8.0, "jax": 1.5 if cell.mode == "train" else 0.2}.get(peer.name, 0.2)
        turns = options.rounds * (1 + len(peers)) + len(peers)
        seconds += load + len(kinds) * turns * sample / (3 if options.quick else 1)
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"


def _who(crew, peers, missing):
    """Lines: the libraries' versions, and which are left out."""
    for peer in peers:
        said = next((said for (name, _), said in crew.about.items() if name == peer.name), None)
        yield f"{peer.label}: {said['version']}" if said else f"{peer.label}: failed to start"
    for peer in missing:
        yield f"{peer.label}: not installed, left out"


if __name__ == "__main__":
    sys.exit(main())
