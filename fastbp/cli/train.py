"""``fastbp train``: from a table, arrays or images to a file that predicts."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, callbacks, datasets, tabular
from .._support import storage
from .._support.wording import counted
from . import data, messages, settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network import Network
    from ..trainer import Trainer
    from ..training.history import History
    from .data import Rows
    from .program import Progress

OUTPUT = "model.npz"
MOST_VALIDATION = 10_000  # rows to validate, unless a share is given
LEAST_ROWS = 5
ENDINGS = {
    "--output": (".npz", ".safetensors"),
    "--checkpoint": (".npz", ".safetensors"),
    "--log": (".csv", ".jsonl"),
    "--plot": (".png", ".svg", ".pdf", ".jpg"),
}
TWIN_EPOCHS = 3  # of the NumPy twin, to compare with


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Train, say how well, and write the model."""
    output = options.output or OUTPUT
    _check_files(options, output)
    watching = list(_callbacks(options))
    progress.interrupted = "interrupted; no model was saved"
    if options.task is None and (options.loss or options.log_target or options.quantiles):
        options.task = "regression"  # all three are for numbers
    rows, test, name = data.training_data(options)
    train, validation, test = _split(rows, test, options)
    encoding = _encoding(rows, train, name, options)
    net = settings.network(encoding, options)
    training = _encoded(rows.take(train), encoding, net, options)
    trainer = settings.trainer(net, encoding, len(train), options)
    fit = settings.fit_arguments(encoding, len(train), options)
    if len(validation):
        fit["validation"] = _encoded(rows.take(validation), encoding, net, options)
    print(messages.of_data(options.data, rows, encoding))
    may_be_numbers = data.kind(options.data) in ("table", "arrays")
    print(messages.of_target_values(encoding.target, rows.target, may_be_numbers))
    uses = {"train on": len(train), "validate": len(validation), "test": 0 if test is None else len(test)}
    counts = ", ".join(f"{count:,} to {use}" for use, count in uses.items() if count)
    parameters = counted(len(net.parameters), "parameter")
    print(f"rows: {counts}; net {messages.of_widths(net)}, {parameters}", flush=True)

    stopping, ended = None, _Ended()
    if len(validation) and options.patience:
        stopping = callbacks.EarlyStopping(patience=options.patience)
        watching.append(stopping)
    if options.checkpoint is not None:
        watching.append(_SameData(options.checkpoint, encoding))
    try:
        history = trainer.fit(*training, **fit, callbacks=[*watching, ended])
    except KeyboardInterrupt:
        if options.output is not None:
            tabular.save(output, net, encoding)
            progress.interrupted = f"interrupted in epoch {ended.epochs + 1}; {output} holds the last parameters"
        raise
    tabular.save(output, net, encoding)
    progress.interrupted = f"interrupted; the model is in {output}"
    if options.plot is not None:
        history.plot(options.plot)

    best = f"; epoch {stopping.best_epoch} was the best, and is kept" if stopping is not None else ""
    print(f"trained {counted(history.epochs, 'epoch')} in {sum(history['seconds']):.2f} s on {_core.isa()}{best}")
    if test is not None:
        inputs: Any = test.inputs
        _print_scores("not used until now", net, encoding, encoding.inputs.encode(inputs, net.dtype), test)
    elif len(validation):
        chosen = ", by which the best epoch was chosen" if stopping is not None else ""
        _print_scores(f"held out{chosen}", net, encoding, fit["validation"][0], rows.take(validation))
    else:
        _print_scores("trained on, as none was held out", net, encoding, training[0], rows.take(train))
    print(f"model: {output}", flush=True)
    if options.compare or options.compare is None and data.kind(options.data) == "digits":
        _compare_with_twin(trainer, training, fit, history)


class _Ended(callbacks.Callback):
    """Counts the epochs that ended."""

    epochs = 0

    def epoch_end(self, run: Any) -> None:
        self.epochs = run.epoch


class _SameData(callbacks.Callback):
    """Refuses the checkpoint of a run with other columns, other scales or another target."""

    def __init__(self, path: str, encoding: tabular.Encoding):
        self._path, self._record = path, encoding.to_dict()

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"encoding": self._record}, {}

    def check_state(self, run: Any, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        record["encoding"]  # raises KeyError, before anything is changed

    def set_state(self, record: dict[str, Any], vectors: dict[str, NDArray[Any]]) -> None:
        if record["encoding"] != self._record:
            raise ValueError(
                f"{self._path}: it was written for another target or other data: give another --checkpoint"
            )


def _check_files(options: argparse.Namespace, output: str) -> None:
    """Refuse files that cannot be written, before the work whose result they are to hold."""
    files = {"--output": output, "--checkpoint": options.checkpoint, "--log": options.log, "--plot": options.plot}
    data.refuse_same({"DATA": options.data, **files})
    for option, path in files.items():
        if path is None:
            continue
        if not path.endswith(ENDINGS[option]):
            raise ValueError(f"{option} must end in {' or '.join(ENDINGS[option])}, got {path}")
        storage.check_destination(option, path)
        if path.endswith(".safetensors"):
            storage.safetensors_package()
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib: pip install 'fastbp[plot]'")


def _callbacks(options: argparse.Namespace) -> Iterator[callbacks.Callback]:
    if options.checkpoint is not None:
        yield callbacks.Checkpoint(options.checkpoint)
    if options.log is not None:
        yield callbacks.Log(options.log)
    if not options.verbose and importlib.util.find_spec("tqdm") is not None:
        yield callbacks.ProgressBar()


def _split(
    rows: Rows, test: Rows | None, options: argparse.Namespace
) -> tuple[NDArray[np.int64], NDArray[np.int64], Rows | None]:
    """The positions of the training and of the validation rows, and the test rows: a random split by the seed."""
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"{options.data} has {counted(len(rows), 'row')}; training takes at least {LEAST_ROWS}")
    train: NDArray[np.int64] = np.arange(len(rows), dtype=np.int64)
    share = options.test
    if share is None:
        share = 0.2 if data.kind(options.data) == "digits" else 0.0
    elif test is not None:
        raise ValueError("--test does not go with data in MNIST's format, which has test images of its own")
    if share:
        train, _, tested, _ = datasets.train_test_split(train, train, share, options.seed)
        test = rows.take(np.sort(tested))
    share = options.validation
    if share is None:
        share = min(0.2, MOST_VALIDATION / len(train))
    validation = train[:0]
    if share:
        train, _, validation, _ = datasets.train_test_split(train, train, share, options.seed)
    return np.sort(train), np.sort(validation), test


def _encoding(rows: Rows, train: NDArray[np.int64], name: str, options: argparse.Namespace) -> tabular.Encoding:
    """The encoding of inputs and target that is learnt from the training rows."""
    scale: Any = "counts" if options.loss == "poisson" else "log" if options.log_target else "standard"
    target = tabular.learn_target(name, rows.target, train, options.task, scale, options.quantiles)
    inputs: tabular.TableInputs | tabular.ArrayInputs
    if isinstance(rows.inputs, tabular.Table):
        inputs = tabular.learn_inputs(rows.inputs, _input_names(rows.inputs, name, options), train, options.text)
    elif options.drop or options.text:
        raise ValueError("--drop and --text go with the columns of a CSV file")
    elif data.kind(options.data) == "arrays" and rows.inputs.dtype != np.uint8:
        inputs = tabular.ArrayInputs.learn(rows.inputs[train])
    else:
        inputs = tabular.ArrayInputs(rows.inputs.shape[1])
    return tabular.Encoding(inputs, target)


def _input_names(table: tabular.Table, target: str, options: argparse.Namespace) -> list[str]:
    """The names of the columns to predict from."""
    for option, names in (("--drop", options.drop), ("--text", options.text)):
        for name in names:
            if name not in table.names:
                raise ValueError(f"{option}: {options.data} has no column {name!r}")
            if name == target:
                raise ValueError(f"{option}: {name!r} is the target: --task says what it is taken for")
    names = [name for name in table.names if name != target and name not in options.drop]
    if not names:
        raise ValueError(f"{options.data} has no column to predict {target!r} from")
    return names


def _encoded(
    rows: Rows, encoding: tabular.Encoding, net: Network, options: argparse.Namespace
) -> tuple[NDArray[Any], NDArray[Any]]:
    """X and y as `Trainer.fit` takes them."""
    inputs: Any = rows.inputs
    X = encoding.inputs.encode(inputs, net.dtype)
    target = encoding.target
    if isinstance(target, tabular.Classes):
        return X, target.encode(rows.target)
    y = target.encode(rows.target.astype(np.float64).reshape(len(rows), -1))
    return X, (np.exp(y) if options.loss == "poisson" else y).astype(net.dtype)


def _print_scores(which: str, net: Network, encoding: tabular.Encoding, X: NDArray[Any], rows: Rows) -> None:
    print(f"on {counted(len(rows), 'row')} {which}:")
    for line in messages.of_predictions(encoding.target, net.predict(X), rows.target):
        print(f"  {line}")


def _compare_with_twin(
    trainer: Trainer, training: tuple[NDArray[Any], NDArray[Any]], fit: dict[str, Any], history: History
) -> None:
    """Train the NumPy twin for a few epochs, and print its time and whether its loss agrees."""
    from .. import reference

    epochs = min(TWIN_EPOCHS, history.epochs)
    net = trainer.net
    twin = reference.Trainer(
        reference.Network(net.inputs, net.layers, net.dtype.name, net.seed),
        trainer.loss,
        trainer.optimizer,
        trainer.seed,
        schedule=trainer.schedule,
        clip_norm=trainer.clip_norm,
    )
    of_twin = twin.fit(*training, **{**fit, "epochs": epochs, "verbose": False})
    seconds, ours = sum(of_twin["seconds"]), sum(history["seconds"][:epochs])
    print(f"NumPy twin: {counted(epochs, 'epoch')} in {seconds:.2f} s, {seconds / ours:.1f} times as long")
    expected, got = of_twin["loss"][-1], history["loss"][epochs - 1]
    verdict = "agrees with" if abs(expected - got) <= 0.01 * abs(got) else "DIFFERS from"
    print(f"  its training loss in epoch {epochs}, {expected:.6f}, {verdict} {got:.6f}", flush=True)
