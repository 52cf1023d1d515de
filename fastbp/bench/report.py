"""The machine and its software, and tables, as text."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb

from .. import _core
from .cores import ALL_CORES

# Beginnings of the environment variables that influence speed.
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


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if models:
            return models[0].split(":")[1].strip()
    return platform.processor() or platform.machine()


def load() -> str:
    """The load averages of 1, 5 and 15 minutes, as text; "unknown" where the system has none."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def machine() -> str:
    """A line about the machine and the versions."""
    versions = f"fastbp {fb.__version__} {fb.cpu.isa()}, NumPy {np.__version__}"
    return f"{processor()}, {len(ALL_CORES)} cores, load {load()}; {versions}"


def environment() -> dict[str, str]:
    """The environment variables that influence speed."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}


def facts() -> dict[str, Any]:
    """The machine and the versions for a file of results: a dict for JSON."""
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


def microseconds(seconds: float) -> str:
    """A time in microseconds as text, to about four digits."""
    value = seconds * 1e6
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table. Cells are aligned right, except in the first column and where they begin with a bar."""
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
