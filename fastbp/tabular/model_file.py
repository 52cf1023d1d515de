"""A net and the encoding of its table in one file."""

from __future__ import annotations

import os
from typing import Any

from .._support import storage
from .._support.declarative import Declared
from ..network import Network, expected_vectors
from .inputs import ArrayInputs, TableInputs
from .targets import Classes, Quantity

VERSION = 1  # of the record under "table"


class Encoding(Declared):
    """How the columns of a table become inputs of a net, and its outputs columns.

    Parameters
    ----------
    inputs : TableInputs or ArrayInputs
    target : Classes or Quantity
    """

    name = "encoding"
    fields = required = ("inputs", "target")
    inputs: TableInputs | ArrayInputs
    target: Classes | Quantity

    def __init__(self, inputs: TableInputs | ArrayInputs, target: Classes | Quantity):
        if not isinstance(inputs, (TableInputs, ArrayInputs)) or not isinstance(target, (Classes, Quantity)):
            raise TypeError(
                "inputs must be TableInputs or ArrayInputs, and target Classes or Quantity, "
                f"got {inputs!r} and {target!r}"
            )
        self._set(inputs=inputs, target=target)


def save(path: str | os.PathLike[str], net: Network, encoding: Encoding) -> None:
    """Write a net and the encoding of its table to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
        As for `Network.save`; `fastbp.load` reads the net alone from the file.
    net : Network
    encoding : Encoding

    Raises
    ------
    TypeError, ValueError, ImportError, OSError
        As for `Network.save`.
    """
    record = {"version": VERSION, **encoding.to_dict()}
    storage.write(path, {"network": net.description(), "table": record}, net.vectors(), expected_vectors)


def load(path: str | os.PathLike[str]) -> tuple[Network, Encoding]:
    """Read a net and the encoding of its table from a file that `save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    net : Network
    encoding : Encoding

    Raises
    ------
    ValueError
        Naming the file and what is wrong with it, as for `Network.load`; also when the file holds a net alone.
    TypeError, ImportError, OSError
        As for `Network.load`.
    """
    found: list[Encoding] = []

    def expect(description: dict[str, Any]) -> Any:
        if "table" not in description:
            raise storage.OtherContents(
                "it holds a network and no table: fastbp.load reads it, and its outputs stay numbers"
            )
        record = dict(description["table"])
        version = record.pop("version")
        if version != VERSION:
            raise storage.OtherContents(f"its table is of version {version}; this fastbp reads version {VERSION}")
        found.append(Encoding.from_dict(record))
        return expected_vectors(description)

    description, vectors = storage.read(path, expect)
    net, (encoding,) = Network.from_description(description["network"], vectors), found
    if (net.inputs, net.outputs) != (encoding.inputs.width, encoding.target.outputs):
        raise ValueError(f"{path}: its network and its table do not fit each other")
    return net, encoding
