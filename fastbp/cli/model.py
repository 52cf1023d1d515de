"""``fastbp predict``, ``evaluate`` and ``info``: the commands that take a trained model."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__, _core, network, tabular
from .._support import storage
from .._support.wording import counted, shortened
from . import data, messages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .program import Progress

DIGITS = {"float32": 7, "float64": 15}  # that are written


def predict(options: argparse.Namespace, progress: Progress) -> None:
    """Write a line of predictions for each row."""
    data.refuse_same({"MODEL": options.model, "DATA": options.data, "--output": options.output})
    if options.output is not None:
        storage.check_destination("--output", options.output)
    net, encoding = tabular.load(options.model)
    inputs = data.inputs_for_model(encoding, options)
    columns = encoding.target.decode(_outputs(net, encoding, inputs))
    digits = DIGITS[net.dtype.name]
    texts = [
        values if values.dtype == object else [f"{value:.{digits}g}" for value in values.tolist()]
        for values in columns.values()
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*texts))
    if options.output is None:
        sys.stdout.write(text.getvalue())
        return
    storage.write_whole(options.output, lambda file: file.write(text.getvalue().encode()))
    print(f"{counted(len(inputs), 'prediction')} in {options.output}: {', '.join(columns)}")


def evaluate(options: argparse.Namespace, progress: Progress) -> None:
    """Say how well a model predicts data whose target is known."""
    net, encoding = tabular.load(options.model)
    rows = data.rows_for_model(encoding, options)
    target = encoding.target
    if isinstance(target, tabular.Classes):
        _warn_of_unknown(target, rows.target)
    outputs = _outputs(net, encoding, rows.inputs)
    print(f"{options.data}: {counted(len(rows), 'row')}")
    print("\n".join(messages.of_predictions(target, outputs, rows.target)))
    if isinstance(target, tabular.Classes):
        print("\n".join(messages.of_each_class(target, outputs, rows.target)))


def _outputs(net: network.Network, encoding: tabular.Encoding, inputs: Any) -> NDArray[Any]:
    outputs: NDArray[Any] = net.predict(encoding.inputs.encode(inputs, net.dtype))
    return outputs


def _warn_of_unknown(target: tabular.Classes, values: NDArray[Any]) -> None:
    """Name the values that are not a class of the target."""
    unknown = values[target.encode(values) < 0]
    if len(unknown):
        names = [repr(value) if isinstance(value, str) else f"{value:g}" for value in sorted(set(unknown))]
        warnings.warn(
            f"column {target.column!r} holds {shortened(names, str)} in {counted(len(unknown), 'row')}, "
            "which no training row had: their predictions are wrong",
            stacklevel=2,
        )


def info(options: argparse.Namespace, progress: Progress) -> None:
    """Describe a model, or fastbp and the machine."""
    for name, value in _of_fastbp() if options.model is None else _of_model(options.model):
        print(f"{name:<16} {value}")


def _of_fastbp() -> Iterator[tuple[str, str]]:
    yield "fastbp", __version__
    yield "instruction set", f"{_core.isa()} (available: {', '.join(_core.isas_available())})"
    yield "threads", f"{_core.threads()} of {_core.cores()} cores"
    yield "build", f"{_core.compiler()}, {os.path.abspath(_core.__file__)}"
    yield "Python", sys.version.split()[0]
    yield "NumPy", np.__version__


def _of_model(path: str) -> Iterator[tuple[str, str]]:
    description, vectors = storage.read(path, network.expected_vectors)
    net = network.Network.from_description(description["network"], vectors)
    parameters = counted(len(net.parameters), "parameter")
    yield "net", f"{messages.of_widths(net)}, {parameters} of {net.dtype}, seed {net.seed}"
    for i, layer in enumerate(net.layers):
        yield "" if i else "layers", repr(layer)
    if "trainer" in description:
        record = description["trainer"]
        yield "trained", f"{counted(record['epochs'], 'epoch')}, {counted(record['steps'], 'update')}"
        yield "", f"{record['optimizer']['kind']}, {record['loss']['kind']}"
    if "table" not in description:
        yield "predicts", "numbers: the file holds no table, fastbp.load reads it"
        return
    _, encoding = tabular.load(path)
    yield "predicts", messages.of_target(encoding.target)
    inputs = encoding.inputs
    if isinstance(inputs, tabular.ArrayInputs):
        yield "from", f"{counted(inputs.width, 'number')} a row, {'as they are' if inputs.mean is None else 'scaled'}"
        return
    for i, column in enumerate(inputs.columns):
        yield "" if i else "from", f"{column.column}: {messages.of_column(column)}"
