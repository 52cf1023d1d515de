"""NumPy by hand, as the package has it, on the board."""

import numpy as np

from fastbp.bench.contestants import ByHand, ByHandPrediction

__all__ = ["ByHand", "ByHandPrediction", "about"]


def about():
    """The version, and which library makes NumPy's products."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"version": np.__version__, "blas": f"{blas.get('name')} {blas.get('version')}"}
