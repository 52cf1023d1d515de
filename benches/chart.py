"""The board as a picture: for every cell, how many times as long each library takes as fastbp."""

import textwrap

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator

from fastbp._support import storage

from .results import MODES, THREADS

FORMATS = ("png", "svg", "pdf")
COLORS = ["#1f77b4", "#d62728", "#ff9896", "#2ca02c", "#7f7f7f", "#9467bd"]
BAR, GAP = 0.13, 1.2  # inches of a bar, bars between two cells


def check(path):
    """Refuse a file whose ending names no format."""
    if not path.lower().endswith(tuple(f".{kind}" for kind in FORMATS)):
        raise ValueError(f"--chart: {path} must end in .{', .'.join(FORMATS)}")


def save(figure, path):
    """Write a figure, whole or not at all. The path's ending chooses the format, one of FORMATS."""
    kind = path.rpartition(".")[2].lower()
    try:
        storage.write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=110, bbox_inches="tight"))
    finally:
        plt.close(figure)


def figure_of(found):
    """The chart of what the board found: see `results.collect`, and `board` for the rest."""
    panels = [(mode, kind) for mode in MODES for kind in THREADS]
    chosen = {panel: [r for r in found["records"] if (r["mode"], r["threads"]) == panel] for panel in panels}
    chosen = {panel: records for panel, records in chosen.items() if records}
    peers = [name for name in found["peers"] if name != "fastbp"]
    height = max(map(len, chosen.values())) * (len(peers) + GAP) * BAR + 1.5
    size = (7 * len(chosen), height)
    figure, axes = plt.subplots(1, len(chosen), figsize=size, squeeze=False, layout="constrained")
    for axis, ((mode, kind), records) in zip(axes.flat, chosen.items()):
        _panel(axis, records, peers, found["peers"])
        axis.set_title(f"{MODES[mode].split(',')[0].capitalize()}. {THREADS[kind].split(',')[0]}")
    handles = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(peers), frameon=False)
    figure.supxlabel(caption(found, len(chosen)), fontsize=8, x=0.02, ha="left")
    return figure


def _panel(axis, records, peers, labels):
    """Bars from 1, to the right where the peer takes longer; a cross where it has no time."""
    for number, peer in enumerate(peers):
        places, ratios = [], []
        for i, record in enumerate(records):
            place = i * (len(peers) + GAP) + number
            times, ours = (record["seconds"].get(name) for name in (peer, "fastbp"))
            if times and ours:
                places.append(place)
                ratios.append(min(times) / min(ours))
            else:
                axis.text(1.02, place, "x", fontsize=6, va="center", color="#999999")
        widths = [ratio - 1 for ratio in ratios]
        axis.barh(places, widths, left=1, height=0.9, color=COLORS[number % len(COLORS)], label=labels[peer])
        for place, ratio in zip(places, ratios):
            text = f"{ratio:.3g}" if ratio >= 10 else f"{ratio:.2f}"
            axis.annotate(text, (max(ratio, 1), place), (2, 0), textcoords="offset points", fontsize=6, va="center")
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.8), max(high, 2) * 1.3)
    axis.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter("")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_yticks([i * (len(peers) + GAP) + (len(peers) - 1) / 2 for i in range(len(records))])
    axis.set_yticklabels([record["name"] for record in records], fontsize=8)
    axis.invert_yaxis()
    axis.margins(y=0.01)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def caption(found, panels):
    """The machine, the versions and the date, in lines that fit below so many panels."""
    machine, peak = found["machine"], found["limits"]["peak"]["float32"]
    about = {}
    for key, said in found["about"].items():
        about.setdefault(found["peers"][key.split()[0]], said["version"])
    versions = ", ".join(f"{label} {version}" for label, version in about.items())
    text = (
        "Time over fastbp's, best of the rounds (log scale; x: left out or refused). "
        f"{machine['processor']}, {machine['cores']} cores, {machine['isa']}, {peak / 1e9:.0f} GFLOP/s float32 a core; "
        f"{machine['compiler']}; Python {machine['python']}; {versions}. {found['date']}."
    )
    return "\n".join(textwrap.wrap(text, 75 * panels))
