"""The libraries on the board: which module runs each, and which package it needs."""

import importlib
import importlib.util
from typing import NamedTuple


class CannotDo(Exception):
    """A library has no way to do this: the message says why."""


class Peer(NamedTuple):
    """A library in one of its forms. Its classes have the interface that `fastbp.bench.contestants` describes."""

    name: str  # in options and files
    label: str  # in tables
    module: str
    training: str  # a class of the module: whole epochs
    step: str  # another: single steps, see `steps.Steps`
    prediction: str  # another
    needs: str | None = None  # the package that must be installed, by its import name

    def installed(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    def classes(self):
        """({mode: class}, the module's `about`). Imports the library."""
        module = importlib.import_module(self.module)
        names = {"train": self.training, "step": self.step, "predict": self.prediction}
        return {mode: getattr(module, name) for mode, name in names.items()}, module.about


FASTBP = Peer("fastbp", "fastbp", "benches.peer_fastbp", "Fastbp", "FastbpStep", "FastbpPrediction")
PEERS = [
    Peer("jax", "JAX", "benches.peer_jax", "Training", "Step", "Prediction", "jax"),
    Peer("torch", "PyTorch", "benches.peer_torch", "Training", "Step", "Prediction", "torch"),
    Peer(
        "compiled",
        "torch.compile",
        "benches.peer_torch",
        "CompiledTraining",
        "CompiledStep",
        "CompiledPrediction",
        "torch",
    ),
    Peer("sklearn", "scikit-learn", "benches.peer_sklearn", "Training", "Step", "Prediction", "sklearn"),
    Peer("numpy", "NumPy", "benches.peer_numpy", "ByHand", "ByHandStep", "ByHandPrediction"),
]
