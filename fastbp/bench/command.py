"""``python -m fastbp bench``: fastbp against NumPy written by hand."""

from time import perf_counter

import fastbp as fb

from .._support import storage
from . import cores, nets, report, timing, verify
from .contestants import ByHand, Fastbp
from .files import write_json

SAMPLE = 0.02  # seconds a contestant trains in one round, at least
HEADER = ["", "batch", "update", "us a step", "steps/s", "GFLOP/s", "NumPy us", "best", "median", "noise"]
TITLES = {
    "one": "One thread, on core {core}",
    "all": "Up to {threads} threads, NumPy with one or {cores}, whichever is quicker",
}


def run(text, rounds, threads, path, progress):
    """Time the nets and print a table.

    Parameters
    ----------
    text : str or None
        Only nets whose name contains it.
    rounds : int
    threads : "one", "all" or "both"
    path : str or None
        A file for everything found, as JSON.
    progress : object
        Where it is shown `in_place`, its show(text) is called with what is being done, and clear() in the end.

    Raises
    ------
    ValueError, OSError
        When no net has such a name; when the file cannot be written.
    """
    chosen = [net for net in nets.ALL if not text or text in net.name]
    if not chosen:
        raise ValueError(
            f"no net's name contains {text!r}; there are {', '.join(dict.fromkeys(n.name for n in nets.ALL))}"
        )
    if path:
        storage.check_destination("--json", path)
    started = perf_counter()
    print(report.machine(), flush=True)
    kinds = ["one", "all"] if threads == "both" else [threads]
    if "all" in kinds and len(cores.ALL_CORES) == 1:
        print("This process may use one core only: all cores are one.", flush=True)
        kinds = ["one"]
    records = []
    for number, net in enumerate(chosen):
        if progress.in_place:
            progress.show(f"{number + 1}/{len(chosen)} {net.name}")
        with cores.one_core():
            verify.verify(net, [Fastbp, ByHand], 1)
        records += [_record(net, kind, _race(net, kind, rounds)) for kind in kinds]
    progress.clear()
    print("Training, each net checked first. best, median: how many times as long NumPy by hand takes.")
    for kind in kinds:
        names = {"core": cores.bench_core(), "threads": fb.cpu.threads(), "cores": len(cores.ALL_CORES)}
        print("", TITLES[kind].format(**names), "", sep="\n")
        print("\n".join(report.table(HEADER, [_row(record) for record in records if record["threads"] == kind])))
    print(f"\n{perf_counter() - started:.0f} s", flush=True)
    if path:
        write_json(path, {"machine": report.facts(), "rounds": rounds, "records": records})


def _race(net, kind, rounds):
    """{name: seconds of an epoch in each round}"""
    data = net.data()
    if kind == "one":
        with cores.one_core():
            return timing.race([Fastbp(net, *data, 1), ByHand(net, *data)], rounds, SAMPLE, True)
    by_hand = ByHand(net, *data)
    trial = {}
    for threads in (1, len(cores.ALL_CORES)):
        cores.numpy_threads(threads)
        trial[threads] = timing.sample(by_hand, SAMPLE)
    return timing.race([Fastbp(net, *data), by_hand], rounds, SAMPLE, False, min(trial, key=trial.get))


def _record(net, kind, times):
    """What the file and the table say of a net."""
    steps = net.steps()
    seconds = {name: [taken / steps for taken in rounds] for name, rounds in times.items()}
    ours, theirs = seconds[Fastbp.name], seconds[ByHand.name]
    best, median = timing.ratio(theirs, ours)
    return {
        "name": net.name,
        "batch": net.batch,
        "optimizer": net.optimizer,
        "threads": kind,
        "flops": net.flops() / steps,
        "seconds": {"fastbp": ours, "numpy": theirs},
        "ratio": {"best": best, "median": median},
    }


def _row(record):
    ours, theirs = record["seconds"]["fastbp"], record["seconds"]["numpy"]
    return [
        record["name"],
        str(record["batch"]),
        record["optimizer"],
        report.microseconds(min(ours)),
        f"{1 / min(ours):.0f}",
        f"{record['flops'] / min(ours) / 1e9:.1f}",
        report.microseconds(min(theirs)),
        f"{record['ratio']['best']:.2f}",
        f"{record['ratio']['median']:.2f}",
        f"{timing.noise(ours):.0%}",
    ]
