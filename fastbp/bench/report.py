"""What is printed: the machine, and tables."""

import os
import platform
from pathlib import Path

import numpy as np

import fastbp as fb

from .. import _core
from .cores import ALL_CORES

# Environment variables that have a say in speed open with these.
VARIABLES = (
    "FASTBP_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "OPENBLAS_",
    "MKL_",
    "ONEDNN_",
    "DNNL_",
    "ATEN_",
    "NPY_",
    "XLA_",
    "JAX_",
    "TORCH",
    "MALLOC_",
    "LD_PRELOAD",
    "CFLAGS",
)


def processor():
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if models:
            return models[0].split(":")[1].strip()
    return platform.processor() or platform.machine()


def load():
    """The load averages of 1, 5 and 15 minutes, as text; "unknown" where the system has none."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def machine():
    """One line on the machine and the versions."""
    versions = f"fastbp {fb.__version__} {fb.cpu.isa()}, NumPy {np.__version__}"
    return f"{processor()}, {len(ALL_CORES)} cores, load {load()}; {versions}"


def environment():
    """The environment variables that have a say in speed, {name: value}."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}


def facts():
    """What a file of results says of the machine and of fastbp: a dict for JSON."""
    return {
        "processor": processor(),
        "cores": len(ALL_CORES),
        "system": platform.platform(),
        "load": load(),
        "python": platform.python_version(),
        "fastbp": fb.__version__,
        "isa": fb.cpu.isa(),
        "isas_available": list(fb.cpu.available()),
        "compiler": _core.compiler(),
        "numpy": np.__version__,
        "environment": environment(),
    }


def microseconds(seconds):
    """As text, to four digits or so."""
    value = seconds * 1e6
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def table(header, rows):
    """Text in columns: to the right, but for the first and those that open with a bar."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 or cell.startswith("|") else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
