"""``fastbp bench``: fastbp against NumPy written by hand."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Protocol

import fastbp as fb

from .._support import storage
from . import cores, nets, report, timing, verify
from .contestants import ByHand, Fastbp
from .files import write_json

SAMPLE = 0.02  # the least seconds of training in a sample
HEADER = ["", "batch", "update", "us a step", "steps/s", "GFLOP/s", "NumPy us", "best", "median", "noise"]
TITLES = {
    "one": "One thread, on core {core}",
    "all": "Up to {threads} threads, NumPy with one or {cores}, whichever is quicker",
}


class Progress(Protocol):
    """A line of progress that is shown where it can be overwritten (`in_place`), and wiped in the end."""

    in_place: bool

    def show(self, text: str) -> None: ...

    def clear(self) -> None: ...


def run(text: str | None, rounds: int, threads: str, path: str | None, progress: Progress) -> None:
    """Time the nets and print a table.

    Parameters
    ----------
    text : str or None
        Time only nets whose name contains this text.
    rounds : int
    threads : {"one", "all", "both"}
        One thread on one core, a thread for each core, or both in turn.
    path : str or None
        A file for all results, as JSON.
    progress : Progress

    Raises
    ------
    ValueError
        When no net has such a name.
    OSError
        When the file cannot be written.
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


def _race(net: nets.Net, kind: str, rounds: int) -> dict[str, list[float]]:
    """The seconds of an epoch in each round, by the contestant's name."""
    data = net.data()
    if kind == "one":
        with cores.one_core():
            return timing.race([Fastbp(net, *data, 1), ByHand(net, *data)], rounds, SAMPLE, True)
    by_hand = ByHand(net, *data)
    trial: dict[int, float] = {}
    for threads in (1, len(cores.ALL_CORES)):
        cores.numpy_threads(threads)
        trial[threads] = timing.sample(by_hand, SAMPLE)
    return timing.race([Fastbp(net, *data), by_hand], rounds, SAMPLE, False, min(trial, key=trial.__getitem__))


def _record(net: nets.Net, kind: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """The results of a net, for the file and the table."""
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


def _row(record: dict[str, Any]) -> list[str]:
    """The row of a net in the table."""
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
