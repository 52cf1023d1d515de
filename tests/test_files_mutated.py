"""Mutated files: each is read as what it says, or refused by a ValueError that names it, whatever the mutation.

Mutations of bytes hardly ever pass the checksums of the formats. Others therefore change the parts of a file, the text
of its header, the values in it and its vectors, and write the checksums anew.
"""

import copy
import io
import json
import os
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import fastbp as fb
from fastbp import schedules, tabular
from fastbp._support import network_steps, storage
from fastbp.callbacks import Checkpoint, EarlyStopping
from fastbp.layers import BatchNorm, Dense, Dropout, LayerNorm, LeakyReLU, Residual
from fastbp.tabular.inputs import ArrayInputs, NumberColumn, TableInputs, TextColumn
from fastbp.tabular.model_file import Encoding
from fastbp.tabular.targets import Classes, Quantity

FILES = 10_000
PARTS = 20  # tests that share them
SEED = int(os.environ.get("FASTBP_MUTATIONS_SEED", "0"))
MEMORY = 1 << 20  # bytes beside those that are proportional to the file: Python's own objects
EVERY = 20  # files of which one is read with a trace of its memory, which takes several times as long

rng = np.random.default_rng(0)
X = rng.standard_normal((6, 3)).astype("float32")
LABELS = np.array([0, 1, 1, 0, 1, 0])
LAYERS = [BatchNorm(), Residual([LayerNorm(), Dropout(0.25)]), Dense(2, LeakyReLU(0.1), l2=0.1)]


def make_trainer():
    schedule = schedules.Warmup(3, schedules.ReduceOnPlateau(0.5, patience=1))
    return fb.Trainer(fb.Network(3, LAYERS, seed=3), seed=2, schedule=schedule, clip_norm=2.0, average=0.9)


def resumed(path):
    """The trainer of a fit that goes on from this checkpoint, and is over."""
    trainer = make_trainer()
    trainer.fit(X, LABELS, epochs=2, batch_size=3, callbacks=[EarlyStopping("loss"), Resume(path)])
    return trainer


class Resume(Checkpoint):
    """Reads a checkpoint and writes none."""

    def epoch_end(self, run):
        pass


def table_of(path):
    net, encoding = tabular.load(path)
    outputs = np.zeros((2, encoding.target.outputs), "float32")
    encoding.target.decode(outputs)
    return net


def encodings():
    columns = [NumberColumn("a", 0.5, 1.0, 2.0), TextColumn("b", ["x", "y"])]
    yield Encoding(TableInputs(columns), Classes("c", ["1", "2"], True))
    yield Encoding(ArrayInputs(3, [0, 0, 1], [1, 2, 3], [1, 1, 0]), Quantity(["p"], [0.5], [2.0], quantiles=[0.1, 0.9]))


class Original(NamedTuple):
    """A file that is right.

    Attributes
    ----------
    data : bytes
    ending : str
    readers : tuple of functions of the path
    entries : dict of str to bytes
        Those of a .npz: the text of its header, and the vectors, as .npy.
    text : str
        The text of the header.
    vectors : dict of str to array
    """

    data: bytes
    ending: str
    readers: tuple
    entries: dict
    text: str
    vectors: dict


def original(path, *readers):
    data, ending = path.read_bytes(), path.suffix
    if ending == ".npz":
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        vectors = {name.removesuffix(".npy"): np.load(io.BytesIO(content)) for name, content in entries.items()}
        return Original(data, ending, readers, entries, str(vectors.pop("header")), vectors)
    from safetensors.numpy import load

    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return Original(data, ending, readers, {}, header["__metadata__"]["fastbp"], load(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in memory, where there is one: ten thousand files take their time on a disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("mutated")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def originals(folder):
    found = []

    def keep(name, write, *readers):
        write(folder / name)
        found.append(original(folder / name, *readers))

    trainer = make_trainer()
    checkpoint = [EarlyStopping("loss"), Checkpoint(folder / "run.npz")]
    keep("run.npz", lambda path: trainer.fit(X, LABELS, 2, 3, callbacks=checkpoint), resumed)
    keep("trainer.npz", trainer.save, fb.Trainer.load)
    keep("net.npz", trainer.net.save, fb.load)
    plain = fb.Trainer(fb.Network(3, [Dense(2, "tanh")], "float64"), "huber", fb.RMSprop(momentum=0.9, centered=True))
    keep("plain.npz", plain.save, fb.Trainer.load, fb.load)
    for encoding in encodings():
        keep("table.npz", lambda path, of=encoding: tabular.model_file.save(path, trainer.net, of), table_of, fb.load)
    try:
        import safetensors  # noqa: F401
    except ImportError:
        return found
    keep("net.safetensors", trainer.net.save, fb.load)
    keep("trainer.safetensors", trainer.save, fb.Trainer.load)
    return found


# ----------------------------------------------------------------------------------------------- mutations of bytes

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63, 2**64 - 1]


def mutated_bytes(data, rng):
    """A copy of `data` with flipped bits, a huge number, or a part that is missing, doubled, moved or overwritten."""
    data = bytearray(data)
    a, b = sorted(int(i) for i in rng.integers(0, len(data) + 1, 2))
    if rng.random() < 0.5:
        b = min(b, a + int(rng.integers(1, 16)))
    kind = rng.integers(8)
    if kind <= 1 and data:
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del data[a:]
    elif kind == 3:
        del data[a:b]
    elif kind == 4:
        data[a:a] = data[a:b]
    elif kind == 5:
        data[a:b] = rng.bytes(b - a)
    elif kind == 6:
        part = data[a:b]
        del data[a:b]
        at = int(rng.integers(0, len(data) + 1))
        data[at:at] = part
    else:
        size = int(rng.choice([2, 4, 8]))
        data[a : a + size] = (NUMBERS[rng.integers(len(NUMBERS))] % 256**size).to_bytes(size, "little")
    return bytes(data)


# ---------------------------------------------------------------------------------------------- mutations of parts

VALUES = [
    None, True, False, 0, -1, 1, 2, 3, 7, 1 << 14, 1 << 20, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**400,
    0.0, -0.0, 0.5, 1.0, -1.5, 1e-320, 1e-46, 1e39, 1e308, float("inf"), float("nan"), "", "1", "relu", "adam", "dense",
    "float32", "float64", "\ud800", "x" * 1000, [], [1], [0.5, 0.5], [[]], {}, {"kind": "relu"}, {"kind": "dense"},
    {"kind": "dense", "units": 2}, {"kind": "batch_norm"}, {"kind": "sgd", "momentum": 0.9}, {"kind": "pinball"},
    {"kind": "constant", "value": 1}, {"kind": "cosine", "length": 1}, {"kind": "residual", "layers": []},
]  # fmt: skip


def places(record):
    """Each (dict or list, key or index) within a record."""
    found = []
    for key in list(record) if isinstance(record, dict) else range(len(record)):
        found.append((record, key))
        if isinstance(record[key], (dict, list)):
            found += places(record[key])
    return found


def mutate_record(record, rng):
    """Change one to three of the values in a record."""
    for _ in range(rng.integers(1, 4)):
        found = places(record)
        if not found:
            return
        where, key = found[rng.integers(len(found))]
        other_where, other = found[rng.integers(len(found))]
        kind = rng.integers(8)
        value = where[key]
        if isinstance(value, (int, float)) and abs(value) < 2**60 and rng.random() < 0.5:
            changed = value * int(rng.choice([-1, 2, 1000])) + float(rng.choice([-1, 0, 0, 0.25, 1]))
            where[key] = int(changed) if isinstance(value, int) else changed
        elif kind <= 2:
            where[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        elif kind == 3:
            del where[key]
        elif kind == 4:
            where[key] = copy.deepcopy(other_where[other])
        elif kind == 5 and isinstance(where, list):
            where[key:key] = copy.deepcopy(where[key : key + 1]) * int(rng.choice([1, 2, 30]))
        elif isinstance(where, dict):
            where[str(rng.choice(["kind", "units", "extra", "rate", "fit", "average", "seed"]))] = where[key]


REALS = [np.nan, np.inf, -np.inf, -1.0, -1e-30, -0.0, 1e30, 3e38]


def mutate_vectors(vectors, rng):
    """Change an element, the length, the dtype, the shape or the name of a vector."""
    name = sorted(vectors)[rng.integers(len(vectors))]
    vector = vectors[name].copy()
    kind = rng.integers(10)
    if kind <= 4:
        vector[rng.integers(len(vector))] = REALS[rng.integers(len(REALS))]
    elif kind == 5:
        vector = vector[: rng.integers(len(vector) + 1)]
    elif kind == 6:
        vector = np.concatenate([vector, vector[:1]])
    elif kind == 7:
        vector = vector.astype(str(rng.choice(["float32", "float64", "int32", "float16", ">f4"])))
    elif kind == 8:
        vector = vector[None] if rng.random() < 0.5 else vector[0]
    else:
        del vectors[name]
        name = str(rng.choice(["statistics", "moment3", "average", "extra", "callback0.steps"]))
    vectors[name] = np.asarray(vector)


def joined(of, text, vectors):
    """A file like the original `of`, with another text in its header, and other vectors."""
    if of.ending == ".npz":
        entries = {"header.npy": npy(np.array(text))}
        for name, vector in vectors.items():
            same = vector is of.vectors.get(name)
            entries[f"{name}.npy"] = of.entries[f"{name}.npy"] if same else npy(vector)
        return archive_of(entries)
    from safetensors.numpy import save

    return save(vectors, metadata={"fastbp": text})


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def with_checksum(record, vectors):
    """A header's text with the checksum of its contents; as it is where they have none."""
    record = {name: value for name, value in record.items() if name != "checksum"}
    native = {name: vector.astype(vector.dtype.newbyteorder("=")).ravel() for name, vector in vectors.items()}
    with suppress(ValueError, TypeError):
        record["checksum"] = storage._checksum(record, native)
    return json.dumps(record)


def archive_of(entries):
    """A .npz of these entries, each with its checksum, as np.savez writes it; zipfile takes ten times as long."""
    parts, directory, begin = [], [], 0
    for name, content in entries.items():
        of_both = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, zlib.crc32(content), len(content), len(content), len(name), 0)
        parts += [b"PK\3\4", of_both, name.encode(), content]
        directory += [b"PK\1\2\24\0", of_both, struct.pack("<3H2I", 0, 0, 0, 0, begin), name.encode()]
        begin += 30 + len(name) + len(content)
    size = sum(map(len, directory))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), size, begin, 0)
    return b"".join([*parts, *directory, end])


def mutated(of, rng):
    """The kind of a mutation, and a mutated copy of the original `of`."""
    kind = str(rng.choice(["bytes", "entry", "text", "record", "record", "vectors", "both"]))
    if kind == "bytes":
        return kind, mutated_bytes(of.data, rng)
    if kind == "entry" and of.ending == ".safetensors":  # the header of this format, and its length
        length = int.from_bytes(of.data[:8], "little")
        head = mutated_bytes(of.data[8 : 8 + length], rng)
        return kind, len(head).to_bytes(8, "little") + head + of.data[8 + length :]
    if kind == "entry":
        name = sorted(of.entries)[rng.integers(len(of.entries))]
        content = of.entries[name]
        begin = 128 if rng.random() < 0.7 else len(content)  # of most entries the .npy header
        return kind, archive_of(of.entries | {name: mutated_bytes(content[:begin], rng) + content[begin:]})
    text, vectors = of.text, dict(of.vectors)
    if kind == "text":
        text = mutated_bytes(text.encode(), rng).decode(errors="replace")
        try:
            record = json.loads(text)
        except ValueError:
            return kind, joined(of, text, vectors)
    else:
        record = json.loads(text)
    if kind in ("record", "both"):
        mutate_record(record, rng)
    if kind in ("vectors", "both"):
        mutate_vectors(vectors, rng)
    return kind, joined(of, with_checksum(record, vectors), vectors)


# ------------------------------------------------------------------------------------------------------- reading


def vectors_of(found):
    return found.net.vectors() | found.engine.vectors() if isinstance(found, fb.Trainer) else found.vectors()


def bits(found):
    return repr(found), {name: vector.tobytes() for name, vector in vectors_of(found).items()}


def check(found, again):
    """A net or trainer that was read has a state that training can have, works, and can be written and read again."""
    net = getattr(found, "net", found)
    assert all(np.isfinite(vector).all() for vector in vectors_of(found).values())
    assert all((net.statistics[variance] >= 0).all() for _, variance in network_steps.statistics_slices(net.steps))
    if isinstance(found, fb.Trainer):
        moments = zip(found.optimizer.squares, found.engine.moments, strict=True)
        assert all((moment >= 0).all() for squares, moment in moments if squares)
    if max(net.inputs, net.outputs) < 1000:
        net.predict(np.ones((2, net.inputs), net.dtype))
    found.save(again)
    assert bits(type(found).load(again)) == bits(found)


@pytest.mark.filterwarnings("ignore")  # of NumPy's parser of headers
@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_files(originals, folder, monkeypatch, part):
    """FASTBP_MUTATIONS_SEED chooses other files."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    rng = np.random.default_rng([SEED, part])
    read = refused = 0
    for number in range(FILES // PARTS):
        of = originals[rng.integers(len(originals))]
        kind, content = mutated(of, rng)
        reader = of.readers[rng.integers(len(of.readers))]
        path = folder / f"file{of.ending}"
        path.write_bytes(content)
        try:
            found = read_traced(reader, path, len(content)) if number % EVERY == 0 else reader(path)
        except ValueError as error:
            assert type(error) is ValueError and str(error).startswith(f"{path}: "), (SEED, part, number)
            refused += 1
            continue
        except BaseException as error:
            error.add_note(f"mutation of {kind}: seed {SEED}, part {part}, file {number}")
            raise
        read += 1
        try:
            check(found, folder / f"again{of.ending}")
            if kind in ("bytes", "entry"):  # the checksum is the original's
                path.write_bytes(of.data)
                assert bits(found) == bits(reader(path))
        except BaseException as error:
            error.add_note(f"mutation of {kind}: seed {SEED}, part {part}, file {number}")
            raise
    assert read > FILES / PARTS / 20 and refused > FILES / PARTS / 2


def read_traced(reader, path, size):
    """Read a file of this size, and measure the memory that it takes."""
    tracemalloc.start()
    try:
        return reader(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 2 * size + MEMORY
