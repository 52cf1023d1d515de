"""The board as a picture: for every cell, each library's time over fastbp's. ``python -m benches.chart FILE...``

Each file is the JSON of a run of the board; it makes one column of the picture, or two where it has both one thread and
all threads. The modes are below one another.
"""

import json
import math
import re
import sys
import textwrap

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fastbp._support import storage

from .commands import Parser, finish
from .peers import FASTBP
from .results import MODES, THREADS

PROGRAM = "python -m benches.chart"
FORMATS = ("png", "svg", "pdf")
STYLES = {  # of a library: colour and marker
    "jax": ("#1f77b4", "o"),
    "torch": ("#d62728", "s"),
    "compiled": ("#ff7f0e", "D"),
    "sklearn": ("#2ca02c", "^"),
    "numpy": ("#7f7f7f", "v"),
}
ISAS = {"avx2": "AVX2", "avx512": "AVX-512", "neon": "NEON"}
WIDTH = 9.0  # inches, at 100 dots an inch: the width of a page on GitHub
ROW = 0.19  # inches of a cell
TITLES = {
    "train": "Training by epochs",
    "step": "Single steps called from Python with NumPy arrays",
    "predict": "Inference",
}


def check(option, path):
    """Refuse a file whose ending names no format."""
    if not path.lower().endswith(tuple(f".{kind}" for kind in FORMATS)):
        raise ValueError(f"{option}: {path} must end in .{', .'.join(FORMATS)}")


def save(figure, path):
    """Write a figure, whole or not at all. The path's ending chooses the format, one of FORMATS."""
    kind = path.rpartition(".")[2].lower()
    try:
        storage.write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=100, bbox_inches="tight"))
    finally:
        plt.close(figure)


def figure_of(runs, modes=tuple(MODES), threads=tuple(THREADS)):
    """The chart of some runs.

    Parameters
    ----------
    runs : list of dict
        What the board writes: see `results.collect`, and `board` for the rest.
    modes : sequence of str
        The keys of `results.MODES` to show.
    threads : sequence of str
        The keys of `results.THREADS` to show.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = [(run, kind) for run in runs for kind in THREADS if kind in threads and _chosen(run, kind, modes)]
    modes = [mode for mode in MODES if mode in modes and any(_chosen(*column, [mode]) for column in columns)]
    if not columns:
        raise ValueError("there is nothing to draw: no file has results of these modes and threads")
    names = {mode: list(dict.fromkeys(r["name"] for c in columns for r in _chosen(*c, [mode]))) for mode in modes}
    heights = [len(names[mode]) * ROW + 0.7 for mode in modes]
    figure, axes = plt.subplots(
        len(modes),
        len(columns),
        figsize=(WIDTH, sum(heights) + 1.3),
        height_ratios=heights,
        squeeze=False,
        sharex="row",
        sharey="row",
        layout="constrained",
    )
    for i, mode in enumerate(modes):
        for j, column in enumerate(columns):
            _panel(axes[i][j], {r["name"]: r for r in _chosen(*column, [mode])}, names[mode])
            title = (
                TITLES[mode] if len(columns) == 1 else f"{TITLES[mode].split(' called')[0]}, {_column_title(*column)}"
            )
            axes[i][j].set_title(title, fontsize=9.5)
        _scale(axes[i][0], names[mode])
    handles = {}
    for axis in axes.flat:
        handles |= dict(zip(*axis.get_legend_handles_labels()[::-1]))
    labels = {name: label for run in runs for name, label in run["peers"].items()}
    figure.legend(
        [handles[name] for name in labels if name in handles],
        [labels[name] for name in labels if name in handles],
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )
    figure.supxlabel(caption(runs), fontsize=7.5, x=0.01, ha="left")
    return figure


def _chosen(run, kind, modes):
    return [r for r in run["records"] if r["threads"] == kind and r["mode"] in modes]


def _column_title(run, kind):
    isa = run["machine"]["isa"]
    return f"{ISAS.get(isa, isa)}, {'one thread' if kind == 'one' else 'all threads'}"


def _panel(axis, records, names):
    """A row for each cell, in it a mark for each library at its time over fastbp's, and the least of these in words."""
    for place, name in enumerate(names):
        seconds = records[name]["seconds"] if name in records else {}
        ours = seconds.get(FASTBP.name)
        if not ours:
            continue
        ratios = {peer: min(times) / min(ours) for peer, times in seconds.items() if peer != FASTBP.name}
        for peer, ratio in ratios.items():
            color, marker = STYLES.get(peer, ("black", "x"))
            axis.plot(ratio, place, marker, color=color, markersize=4.5, alpha=0.9, label=peer, clip_on=False)
        if ratios:
            least = min(ratios.values())
            axis.plot([1, least], [place, place], color="#444444" if least >= 1 else "#d62728", linewidth=1.0, zorder=1)
            axis.annotate(
                f"{least:.3g}" if least >= 10 else f"{least:.2f}",
                (1, place),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                color="black" if least >= 1 else "#d62728",
            )
    axis.axvline(1, color="black", linewidth=0.8)
    axis.grid(axis="x", alpha=0.3)
    axis.grid(axis="y", alpha=0.15)
    axis.tick_params(axis="y", length=0)
    axis.set_axisbelow(True)


def _scale(axis, names):
    """The scales that the panels of a row share."""
    axis.set_yticks(range(len(names)), [shortened(name) for name in names], fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xscale("log")
    low, high = axis.dataLim.intervalx
    for other in axis.get_shared_x_axes().get_siblings(axis):
        low, high = min(low, other.dataLim.intervalx[0]), max(high, other.dataLim.intervalx[1])
    axis.set_xlim(min(0.8, 0.9 * low), 1.15 * max(high, 2)) if math.isfinite(low + high) else None
    for other in axis.get_shared_x_axes().get_siblings(axis):
        other.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        other.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        other.xaxis.set_minor_formatter(NullFormatter())
        other.tick_params(axis="x", labelsize=8)


def shortened(name):
    """A cell's name with three and more equal widths in a row written once: 28-300x5-1."""
    return re.sub(r"(?<!\d)(\d+)(-\1(?!\d)){2,}", lambda found: f"{found[1]}x{found[0].count('-') + 1}", name)


def caption(runs):
    """The machines, the versions and the dates."""
    text = "Time over fastbp's, best of the rounds, log scale; on the right, that of the best library. "
    versions = {}
    for run in runs:
        machine, peak = run["machine"], run["limits"]["peak"].get("float32")
        limited = f"every library limited to {run['isa']}" if run["isa"] else machine["isa"]
        rate = f", {peak / 1e9:.0f} GFLOP/s float32 a core" if peak else ""
        text += (
            f"{machine['processor']}, {machine['cores']} cores, {limited}{rate}, {machine['compiler']}, {run['date']}. "
        )
        for key, said in run["about"].items():
            versions.setdefault(run["peers"][key.split()[0]], said["version"])
    text += ", ".join(f"{label} {version}" for label, version in versions.items()) + "."
    return "\n".join(textwrap.wrap(text, 150))


def _options(arguments):
    parser = Parser(prog=PROGRAM, description="Draw a chart of runs of the board, side by side.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="what python -m benches.board --json wrote")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the picture: .png, .svg or .pdf")
    parser.add_argument("--modes", metavar="LIST", default=",".join(MODES), help="default: %(default)s")
    parser.add_argument("--threads", metavar="LIST", default=",".join(THREADS), help="default: %(default)s")
    options = parser.parse_args(arguments)
    for name, known in (("modes", MODES), ("threads", THREADS)):
        chosen = getattr(options, name).split(",")
        for one in chosen:
            if one not in known:
                parser.error(f"--{name}: {one!r} is none of {', '.join(known)}")
        setattr(options, name, chosen)
    return options


def _run(options):
    check("--output", options.output)
    storage.check_destination("--output", options.output)
    runs = []
    for path in options.files:
        with open(path, encoding="utf-8") as file:
            runs.append(json.load(file))
    save(figure_of(runs, options.modes, options.threads), options.output)
    return 0


def main(arguments=None):
    return finish(PROGRAM, _run, _options(arguments))


if __name__ == "__main__":
    sys.exit(main())
