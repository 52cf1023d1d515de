"""The libraries on the board: which module knows each, and what it needs installed."""

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
    training: str  # a class of the module
    prediction: str  # another
    needs: str | None = None  # what must be installed, by the name it is imported under

    def installed(self):
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    def classes(self):
        """(training, prediction), and the module's `about`. Imports the library."""
        module = importlib.import_module(self.module)
        return getattr(module, self.training), getattr(module, self.prediction), module.about


FASTBP = Peer("fastbp", "fastbp", "benches.peer_fastbp", "Fastbp", "FastbpPrediction")
PEERS = [
    Peer("jax", "JAX", "benches.peer_jax", "Training", "Prediction", "jax"),
    Peer("torch", "PyTorch", "benches.peer_torch", "Training", "Prediction", "torch"),
    Peer("compiled", "torch.compile", "benches.peer_torch", "CompiledTraining", "CompiledPrediction", "torch"),
    Peer("sklearn", "scikit-learn", "benches.peer_sklearn", "Training", "Prediction", "sklearn"),
    Peer("numpy", "NumPy", "benches.peer_numpy", "ByHand", "ByHandPrediction"),
]
