"""Whatever writes a file writes it whole or not at all: the former file stays as it was, and nothing else is left."""

import csv
import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp import tabular
from fastbp.bench.files import write_json
from fastbp.callbacks import Checkpoint, Log
from fastbp.cli import main
from fastbp.tabular.inputs import ArrayInputs
from fastbp.tabular.model_file import Encoding
from fastbp.tabular.targets import Classes

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 3)).astype("float32")
y = np.arange(40) % 2
TABLE = "a,b,c\n" + "".join(f"{a:.4f},{b:.4f},{c}\n" for (a, b, _), c in zip(X, y, strict=True))


def make_trainer(seed=0):
    return fb.Trainer(fb.Network(3, [fb.Dense(4, "tanh"), fb.BatchNorm(), fb.Dense(2)], seed=seed), average=0.9)


def fit(callback):
    make_trainer().fit(X, y, epochs=3, callbacks=callback)


def command(*arguments):
    """Run a command, which reports an OSError by a status and a line that names the file."""
    assert main([str(argument) for argument in arguments]) == 0


def train(path):
    command("train", path.parent / "in" / "table.csv", "--target", "c", "--epochs", 2, "--threads", 1, "-o", path)


def predict(path):
    command("predict", path.parent / "in" / "model.npz", path.parent / "in" / "table.csv", "-o", path)


def save_table(path):
    net = fb.Network(3, [fb.Dense(2)])
    tabular.model_file.save(path, net, Encoding(ArrayInputs(3), Classes("c", ["no", "yes"])))


def save_plot(path):
    pytest.importorskip("matplotlib")
    fb.History({"loss": [2.0, 1.0]}).plot(path)


def save_safetensors(path):
    pytest.importorskip("safetensors")
    make_trainer().save(path)


WRITERS = {
    "net.npz": lambda path: make_trainer().net.save(path),
    "run.npz": lambda path: make_trainer().save(path),
    "run.safetensors": save_safetensors,
    "checkpoint.npz": lambda path: fit(Checkpoint(path, resume=False)),
    "log.csv": lambda path: fit(Log(path)),
    "log.jsonl": lambda path: fit(Log(path)),
    "table.npz": save_table,
    "model.npz": train,
    "predictions.csv": predict,
    "plot.png": save_plot,
    "results.json": lambda path: write_json(path, {"times": list(range(1000))}),
}
COMMANDS = ("model.npz", "predictions.csv")
FORMER = b"the former file\n"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The files that the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "in").mkdir()
    (folder / "in" / "table.csv").write_text(TABLE)
    train(folder / "model.npz")
    (folder / "model.npz").rename(folder / "in" / "model.npz")
    return folder / "in"


@pytest.fixture(params=WRITERS)
def writer(request, tmp_path, inputs):
    """A function that writes a file, and the path of a former file, with nothing else beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "in").symlink_to(inputs)
    path = folder / request.param
    path.write_bytes(FORMER)
    return WRITERS[request.param], path


def listing(path):
    return sorted(os.listdir(path.parent))


def fails(write, path, capsys, message):
    """Call a writer, which fails and names the file."""
    capsys.readouterr()
    if path.name in COMMANDS:
        with pytest.raises(AssertionError):
            write(path)
        error = capsys.readouterr().err
        assert error.startswith("fastbp: error: ") and str(path) in error and message in error
    else:
        with pytest.raises(OSError, match=message) as caught:
            write(path)
        assert os.fspath(caught.value.filename) == str(path) and caught.value.filename2 is None
        assert ".tmp" not in str(caught.value)


def test_what_is_written_replaces_the_former_file(writer):
    write, path = writer
    write(path)
    assert path.read_bytes() != FORMER and listing(path) == sorted(["in", path.name])


# ------------------------------------------------------------------------------------------------------- a full disk


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("size", [0, 20])
def test_a_file_that_cannot_grow(writer, capsys, size):
    """The limit of the length of a file takes effect where a full disk does: in the system's call, after some bytes."""
    import resource

    write, path = writer
    if path.suffix == ".jsonl":
        pytest.skip("begins as an empty file: see below")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
        fails(write, path, capsys, os.strerror(errno.EFBIG))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert path.read_bytes() == FORMER and listing(path) == sorted(["in", path.name])


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("ending, size", [(".csv", 170), (".csv", 300), (".jsonl", 300), (".jsonl", 500)])
def test_a_log_that_cannot_grow_ends_with_a_whole_line(tmp_path, capsys, ending, size):
    """The beginning replaces the former file; each line is then added whole or not at all."""
    import resource

    path, whole = tmp_path / f"log{ending}", tmp_path / f"whole{ending}"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
            make_trainer().fit(X, y, epochs=20, callbacks=Log(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert caught.value.filename == str(path)
    make_trainer().fit(X, y, epochs=20, callbacks=Log(whole))
    lines = path.read_text().splitlines(keepends=True)
    assert 0 < len(lines) < 20 and all(line.endswith("\n") for line in lines) and path.stat().st_size <= size
    if ending == ".csv":
        rows, expected = (list(csv.DictReader(file.read_text().splitlines())) for file in (path, whole))
        assert [row["loss"] for row in rows] == [row["loss"] for row in expected[: len(rows)]]
    assert listing(path) == sorted([path.name, whole.name])


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_system_call_that_fails(writer, capsys, monkeypatch, name):
    write, path = writer

    def full(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *(str(each) for each in paths if name == "replace"))

    monkeypatch.setattr(os, name, full)
    fails(write, path, capsys, os.strerror(errno.ENOSPC))
    assert path.read_bytes() == FORMER and listing(path) == sorted(["in", path.name])


def test_ctrl_c_while_it_is_written(writer, monkeypatch):
    write, path = writer

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises((KeyboardInterrupt, AssertionError)):  # a command reports it by its status
        write(path)
    assert path.read_bytes() == FORMER and listing(path) == sorted(["in", path.name])


# ------------------------------------------------------------------------------------------------ folders and renames


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(writer, capsys):
    write, path = writer
    path.parent.chmod(0o500)
    try:
        capsys.readouterr()
        with pytest.raises((PermissionError, AssertionError)):
            write(path)
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == FORMER and listing(path) == sorted(["in", path.name])


def test_a_folder_that_becomes_read_only(writer, capsys, monkeypatch):
    """After the check that precedes long work: the error names the file, and not a temporary one."""
    write, path = writer
    plain = os.open

    def refusing(name, flags, *rest, **keywords):
        if flags & os.O_CREAT and ".fastbp-" in os.fspath(name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return plain(name, flags, *rest, **keywords)

    monkeypatch.setattr(os, "open", refusing)
    fails(write, path, capsys, os.strerror(errno.EACCES))
    assert path.read_bytes() == FORMER and listing(path) == sorted(["in", path.name])


def test_a_folder_that_cannot_be_synced(writer, monkeypatch):
    """Such as one without permission to list it: the file is complete under its name."""
    write, path = writer
    plain = os.open

    def refusing(name, flags, *rest, **keywords):
        if Path(name) == path.parent:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return plain(name, flags, *rest, **keywords)

    monkeypatch.setattr(os, "open", refusing)
    write(path)
    assert path.read_bytes() != FORMER and listing(path) == sorted(["in", path.name])


def test_a_rename_that_takes_its_time(writer, monkeypatch):
    """Another thread reads the former file until the new one is complete."""
    write, path = writer
    renaming, read = threading.Event(), threading.Event()
    seen = []

    def look():
        if renaming.wait(60):
            seen.append(path.read_bytes())
        read.set()

    plain = os.replace

    def slow(source, target):
        size = os.stat(source).st_size
        renaming.set()
        assert read.wait(60)
        plain(source, target)
        seen.append(size)

    monkeypatch.setattr(os, "replace", slow)
    reader = threading.Thread(target=look)
    reader.start()
    write(path)
    reader.join()
    assert seen[0] == FORMER
    if not path.name.startswith("log"):  # to which lines are added
        assert path.stat().st_size == seen[-1]


def test_two_writers_of_one_file(tmp_path):
    """Each has a temporary file of its own; the last to rename wins."""
    path = tmp_path / "net.npz"
    nets = [fb.Network(3, [fb.Dense(2)], seed=seed) for seed in range(4)]
    start = threading.Barrier(len(nets))

    def save(net):
        start.wait()
        for _ in range(10):
            net.save(path)

    threads = [threading.Thread(target=save, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fb.load(path).seed in range(4) and os.listdir(tmp_path) == ["net.npz"]
