"""The growth of cost as a picture: time, and below it GFLOP/s, against size; cliffs are ringed."""

from .chart import plt


def figure_of(found):
    sweeps = found["sweeps"]
    figure, axes = plt.subplots(2, len(sweeps), figsize=(4.5 * len(sweeps), 7.5), squeeze=False, layout="constrained")
    for column, sweep in enumerate(sweeps):
        sizes, seconds = sweep["sizes"], sweep["seconds"]
        series = [1e6 * s for s in seconds], [f / s / 1e9 for f, s in zip(sweep["flops"], seconds)]
        for axis, values in zip(axes[:, column], series):
            axis.loglog(sizes, values, ".-", linewidth=0.8, markersize=4)
            at = [i for i, n in enumerate(sizes) if n in sweep["cliffs"]]
            axis.loglog([sizes[i] for i in at], [values[i] for i in at], "o", color="red", fillstyle="none")
            axis.grid(which="both", alpha=0.2)
        axes[1][column].axhline(found["peak"] / 1e9, color="black", linewidth=0.8)
        axes[0][column].set_title(f"{sweep['name']}\n{sweep['what']}", fontsize=9)
        axes[1][column].set_xlabel(sweep["name"])
    axes[0][0].set_ylabel("microseconds")
    axes[1][0].set_ylabel("GFLOP/s (line: multiply-add peak)")
    machine = found["machine"]
    figure.supxlabel(
        f"One thread. Ringed: over the tolerance of {found['tolerance']:.0%}. {machine['processor']}, "
        f"{machine['isa']}, fastbp {machine['fastbp']}, {machine['compiler']}. {found['date']}.",
        fontsize=8,
    )
    return figure
