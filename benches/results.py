"""The results of the board: ratios, shares, summary, and the tables that show them."""

import math
import statistics

from fastbp.bench import report, timing

from .peers import FASTBP

MODES = {
    "train": "training by epochs, microseconds a step",
    "step": "single steps from Python, microseconds a step",
    "predict": "inference, microseconds a call",
}


def ratios(seconds):
    """The best peer's time over fastbp's.

    Parameters
    ----------
    seconds : dict of lists
        For each contestant, fastbp among them, its time in each round.

    Returns
    -------
    dict
        "best": the least time of any peer over fastbp's least. "median": over the rounds, the median of the ratio of
        the best peer of the round to fastbp. "peer": the peer with the least time. None when there is no peer.
    """
    ours = seconds[FASTBP.name]
    peers = {name: times for name, times in seconds.items() if name != FASTBP.name}
    if not peers:
        return None
    best_of_round = [min(times) for times in zip(*peers.values())]
    best, median = timing.ratio(best_of_round, ours)
    return {"best": best, "median": median, "peer": min(peers, key=lambda name: min(peers[name]))}


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


def summary(records):
    """Geometric means and least ratios of the records that have a ratio.

    Parameters
    ----------
    records : list of dict
        With "mode", "name" and "ratio", as `ratios` gives it.

    Returns
    -------
    dict of dict
        For each mode among the records and for "all": "cells", the geometric means "best" and "median", and the least
        of either with its cell: "least_best", "least_best_at", "least_median", "least_median_at".
    """
    found = {}
    for mode in (*MODES, "all"):
        chosen = [record for record in records if record["ratio"] and mode in (record["mode"], "all")]
        if not chosen:
            continue
        entry = {"cells": len(chosen)}
        for kind in ("best", "median"):
            least = min(chosen, key=lambda record: record["ratio"][kind])
            entry[kind] = geometric_mean(record["ratio"][kind] for record in chosen)
            entry[f"least_{kind}"], entry[f"least_{kind}_at"] = least["ratio"][kind], least["name"]
        found[mode] = entry
    return found


def collect(raced, limits, cores):
    """The results as files and tables show them.

    Parameters
    ----------
    raced : list of (Cell, kind, the result of `crew.race`)
    limits : dict
        The best that a core can do: "peak" {dtype: floating-point operations a second}, "bandwidth" in bytes a second,
        "cache", the bytes of the last-level cache or None, and "peak_source".
    cores : int
        The number of cores of the kind "all".

    Returns
    -------
    dict
        "limits"; "records": one for each cell and kind; "summary" {kind: see
        `summary`}.
    """
    peak, bandwidth, cache = limits["peak"], limits["bandwidth"], limits["cache"]
    records = []
    for cell, kind, race in raced:
        used = cores if kind == "all" else 1
        least = cell.least_seconds(peak[cell.dtype] * used, bandwidth * used, cache)
        ours = race["seconds"].get(FASTBP.name)
        record = {
            "mode": cell.mode,
            "name": cell.name,
            "widths": list(cell.net.widths),
            "activation": cell.net.activation,
            "loss": cell.net.loss,
            "optimizer": None if cell.mode == "predict" else cell.net.optimizer,
            "batch": cell.rows if cell.mode == "predict" else cell.net.batch,
            "rows": cell.rows,
            "dtype": cell.dtype,
            "threads": kind,
            "flops": cell.flops,
            "bytes": cell.moved(cache),
            **race,
            "ratio": ratios(race["seconds"]) if ours else None,
            "limit": least / min(ours) if ours else None,
        }
        records.append(record)
    return {
        "limits": limits,
        "records": records,
        "summary": {
            kind: summary([r for r in records if r["threads"] == kind])
            for kind in dict.fromkeys(k for _, k, _ in raced)
        },
    }


THREADS = {"one": "One thread on one core", "all": "All cores, peers with one thread or all, whichever is quicker"}


EXPLANATION = """
Best of the rounds. best, median: the best peer's time over fastbp's, of the best times, and the median of the rounds.
limit: the least time of a step, by the core's multiply-add peak or by the memory's bandwidth, over fastbp's time.
noise: fastbp's median over its best. -: left out, see below."""


def lines(found):
    """The text of the board: the limits of the machine, a table for each mode and kind of threads, and the summary."""
    limits = found["limits"]
    peak = ", ".join(f"{value / 1e9:.1f} GFLOP/s {dtype}" for dtype, value in limits["peak"].items())
    cache = "unknown" if limits["cache"] is None else f"{limits['cache'] / 2**20:.0f} MiB"
    limited = f"Every library limited to {found['isa']}. " if found["isa"] else ""
    text = [
        f"{limited}One core: multiply-add peak {peak}, from {limits['peak_source']}; memory "
        f"{limits['bandwidth'] / 1e9:.1f} GB/s; last-level cache {cache}",
        EXPLANATION,
    ]
    for kind in THREADS:
        for mode in MODES:
            chosen = [r for r in found["records"] if (r["threads"], r["mode"]) == (kind, mode)]
            if chosen:
                text += ["", f"{THREADS[kind]}: {MODES[mode]}", "", *_table(chosen, found["peers"])]
    for kind, entries in found["summary"].items():
        if entries:
            text += ["", *summary_lines(entries, kind)]
    stopped = "interrupted: the cells and rounds finished before; " * found["interrupted"]
    text += ["", f"{stopped}load {found['machine']['load']}; {found['seconds']:.0f} s"]
    return text


def _table(records, peers):
    header = ["", *peers.values(), "best", "median", "GFLOP/s", "limit", "noise"]
    lines = report.table(header, [_row(record, peers) for record in records])
    reasons = {}
    for record in records:
        for name, (status, why) in record["refused"].items():
            reasons.setdefault((name, status, why), []).append(record["name"])
    return lines + [f"{peers[n]} {status}: {why} ({', '.join(where)})" for (n, status, why), where in reasons.items()]


def _row(record, peers):
    cells = [record["name"]]
    for name in peers:
        times = record["seconds"].get(name)
        if times:
            cells.append(report.microseconds(min(times)))
        else:
            status, _ = record["refused"][name]
            cells.append("-" if status == "cannot" else status)
    ratio, ours = record["ratio"], record["seconds"].get(FASTBP.name)
    cells += [f"{ratio['best']:.2f}", f"{ratio['median']:.2f}"] if ratio else ["", ""]
    if ours:
        cells += [f"{record['flops'] / min(ours) / 1e9:.1f}", f"{record['limit']:.0%}", f"{timing.noise(ours):.0%}"]
    return cells + [""] * (len(peers) + 6 - len(cells))


def summary_lines(found, threads):
    names = {"train": "training", "step": "single steps", "predict": "inference", "all": "together"}
    lines = [f"{THREADS[threads]}, the best peer's time over fastbp's:"]
    for mode, entry in found.items():
        if mode == "all" and len(found) == 2:
            continue
        of = f"{entry['cells']} cell" + "s" * (entry["cells"] != 1)
        lines.append(
            f"  {names[mode]:<12}  geometric mean {entry['best']:.2f} of best times, {entry['median']:.2f} of "
            f"medians; least {entry['least_best']:.2f} ({entry['least_best_at']}) and {entry['least_median']:.2f} "
            f"({entry['least_median_at']}); {of}"
        )
    return lines
