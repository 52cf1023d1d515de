"""What the board found: ratios, shares, summary, and the tables that say so."""

import math
import statistics

from fastbp.bench import report, timing

from .peers import FASTBP


def ratios(seconds):
    """How many times as long the best peer takes.

    Parameters
    ----------
    seconds : dict of lists
        For each contestant, fastbp among them, its time in each round.

    Returns
    -------
    dict
        "best": the least time of any peer over fastbp's least. "median": over the rounds, the median of the ratio of
        the best peer of the round to fastbp. "peer": whose the least time is. None when there is no peer.
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
        For "train", "predict" and "all", those that there are: "cells", the geometric means "best" and "median", and
        the least of either with its cell: "least_best", "least_best_at", "least_median", "least_median_at".
    """
    found = {}
    for mode in ("train", "predict", "all"):
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
    """What the files and tables say.

    Parameters
    ----------
    raced : list of (Cell, kind, what `crew.race` returned)
    limits : dict
        What a core can do at best: "peak" {dtype: floating-point operations a second}, "bandwidth" in bytes a second,
        "cache", the bytes of the last-level cache or None, and "peak_source".
    cores : int
        Of the kind "all": it can do so many times what a core can, at most.

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
            "optimizer": cell.net.optimizer if cell.mode == "train" else None,
            "batch": cell.net.batch if cell.mode == "train" else cell.rows,
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


MODES = {"train": "training, microseconds a step", "predict": "inference, microseconds a call"}
THREADS = {"one": "One thread on one core", "all": "All cores, peers with one thread or all, whichever is quicker"}


EXPLANATION = """
Best of the rounds. best, median: how many times as long the best peer takes as fastbp, of the bests, and the median of
the rounds. limit: the least that a step could take, by the core's multiply-add peak or by the memory's bandwidth, over
fastbp's time. noise: fastbp's median over its best. -: left out, see below."""


def lines(found):
    """The text of the board: what the machine can do, a table for each mode and kind of threads, and the summary."""
    limits = found["limits"]
    peak = ", ".join(f"{value / 1e9:.1f} GFLOP/s {dtype}" for dtype, value in limits["peak"].items())
    cache = "unknown" if limits["cache"] is None else f"{limits['cache'] / 2**20:.0f} MiB"
    text = [
        f"One core: multiply-add peak {peak}, from {limits['peak_source']}; memory "
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
    text += ["", f"load {found['machine']['load']}; {found['seconds']:.0f} s"]
    return text


def _table(records, peers):
    header = ["", "update", *peers.values(), "best", "median", "GFLOP/s", "limit", "noise"]
    lines = report.table(header, [_row(record, peers) for record in records])
    reasons = {}
    for record in records:
        for name, (status, why) in record["refused"].items():
            reasons.setdefault((name, status, why), []).append(record["name"])
    return lines + [f"{peers[n]} {status}: {why} ({', '.join(where)})" for (n, status, why), where in reasons.items()]


def _row(record, peers):
    cells = [record["name"], record["optimizer"] or ""]
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
    return cells + [""] * (len(peers) + 7 - len(cells))


def summary_lines(found, threads):
    names = {"train": "training", "predict": "inference", "all": "together"}
    lines = [f"{THREADS[threads]}, the best peer's time over fastbp's:"]
    for mode, entry in found.items():
        if mode == "all" and len(found) == 2:
            continue
        of = f"{entry['cells']} cell" + "s" * (entry["cells"] != 1)
        lines.append(
            f"  {names[mode]:<9}  geometric mean {entry['best']:.2f} of bests, {entry['median']:.2f} of medians; least "
            f"{entry['least_best']:.2f} ({entry['least_best_at']}) and {entry['least_median']:.2f} "
            f"({entry['least_median_at']}); {of}"
        )
    return lines
