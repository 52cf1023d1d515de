"""The command line, as a person meets it: in processes of its own."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb

ROOT = Path(fb.__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, modes and terminals of POSIX")


# Programs started here find the package that is under test, wherever they stand.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "COLUMNS": "120",
}


def start(*arguments, cwd, **keywords):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **keywords}
    command = [sys.executable, "-m", "fastbp", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, **streams)


def run(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


def fails(*arguments, cwd, status, message):
    """One line on stderr, and no traceback."""
    code, out, err = run(*arguments, cwd=cwd)
    assert code == status, err
    assert err.count("\n") == 1 and err.endswith("\n") and "Traceback" not in err
    assert re.search(message, err), err
    return out, err


@pytest.fixture
def mnist(tmp_path):
    """A folder in the format of MNIST with 60 and 20 images of 4 x 3, one gzipped file among them."""
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    for part, rows in (("train", 60), ("t10k", 20)):
        labels = np.arange(rows, dtype=np.uint8) % 5
        images = (rng.integers(0, 50, (rows, 12)) + 200 * (np.arange(12) == labels[:, None])).astype(np.uint8)
        sizes = [(size).to_bytes(4, "big") for size in (rows, 4, 3)]
        data = gzip.compress(b"\0\0\x08\x03" + b"".join(sizes) + images.tobytes())
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(data)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[0] + labels.tobytes())
    return folder


# --------------------------------------------------------------------------------------------------------- the main job


def test_train(tmp_path):
    code, out, err = run("train", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "epoch 30/30  loss " in out and "validation" in out
    found = {
        name: float(value)
        for name, value in re.findall(r"^(train loss|validation loss|test accuracy) +([\d.]+)", out, re.M)
    }
    assert 0 < found["train loss"] < 0.2 and 0 < found["validation loss"] < 0.4 and found["test accuracy"] > 93
    assert re.search(r"^time +[\d.]+ s for 30 epochs$", out, re.M)
    assert re.search(r"^NumPy twin +[\d.]+ s for 30 epochs, [\d.]+ times as long$", out, re.M)
    assert re.search(r"its training loss in epoch 30, [\d.]+, agrees with [\d.]+$", out, re.M)
    assert os.listdir(tmp_path) == ["model.npz"]
    net = fb.load(tmp_path / "model.npz")
    assert (net.inputs, net.outputs) == (64, 10)
    X, y = fb.load_digits()
    assert (net.predict(X).argmax(axis=1) == y).mean() > 0.95


def test_options(tmp_path):
    out = run(
        *("train", "--epochs", 2, "--batch-size", 100, "--hidden", 20, 10, "--learning-rate", 0.01, "--seed", 5),
        *("--threads", 1, "--out", tmp_path / "digits.npz", "--no-reference"),
        cwd=tmp_path,
    )
    assert out[0] == 0 and "net 64-20-10-10" in out[1] and "for 2 epochs" in out[1] and "twin" not in out[1]
    net = fb.load(tmp_path / "digits.npz")
    assert [layer.units for layer in net.layers] == [20, 10, 10] and net.seed == 5


def test_one_seed_one_model(tmp_path):
    for name, threads in (("a", 1), ("b", 2)):
        arguments = (
            "train",
            "--epochs",
            2,
            "--seed",
            3,
            "--threads",
            threads,
            "--out",
            f"{name}.npz",
            "--no-reference",
        )
        assert run(*arguments, cwd=tmp_path)[0] == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_data_in_the_format_of_mnist(tmp_path, mnist):
    code, out, err = run("train", "--data", mnist, "--epochs", 5, "--batch-size", 10, "--hidden", 8, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "50 rows to train on, 10 to validate, 20 to test; net 12-8-5" in out
    assert re.search(r"^NumPy twin +[\d.]+ s for 1 epoch, [\d.]+ times as long \(an epoch on average\)$", out, re.M)
    assert re.search(r"its training loss in epoch 1, [\d.]+, agrees with [\d.]+$", out, re.M)


def test_many_epochs_print_few_lines(tmp_path):
    code, out, _ = run("train", "--epochs", 200, "--hidden", 4, "--no-reference", cwd=tmp_path)
    assert code == 0 and out.count("\n") < 25


@POSIX
def test_on_a_terminal_one_line_is_written_over(tmp_path):
    ours, theirs = os.openpty()
    process = start("train", "--epochs", 5, "--no-reference", cwd=tmp_path, stdout=theirs, text=False)
    os.close(theirs)
    out = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        out += piece
    os.close(ours)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and not err
    lines = out.decode().replace("\r\n", "\n").split("\n")
    (progress,) = [line for line in lines if "epoch 1/5" in line]
    assert progress.count("\r") == 5 and "epoch 5/5" in progress
    assert lines[lines.index(progress) + 1].startswith("train loss")


def test_info(tmp_path):
    code, out, err = run("info", cwd=tmp_path)
    assert (code, err) == (0, "")
    for word in (fb.__version__, fb.cpu.isa(), *fb.cpu.available(), "threads", "build", np.__version__):
        assert word in out


def test_bench(tmp_path):
    code, out, err = run("bench", "--nets", "24-8-2", "--rounds", 1, "--json", "bench.json", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert fb.__version__ in out and np.__version__ in out and "us a step" in out and "NumPy us" in out
    kinds = 1 + (fb.cpu.cores() > 1)
    rows = [line.split() for line in out.splitlines() if line.startswith("24-8-2 ")]
    assert [row[1:3] for row in rows] == [["200", "adam"]] * kinds
    assert all(float(value) > 0 for row in rows for value in row[3:9])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert len(found["records"]) == kinds and found["machine"]["isa"] == fb.cpu.isa()
    for row, record in zip(rows, found["records"]):
        (ours,), (theirs,) = record["seconds"]["fastbp"], record["seconds"]["numpy"]
        assert record["flops"] == 2 * 200 * (2 * 24 * 8 + 3 * 8 * 2)
        assert record["ratio"] == {"best": theirs / ours, "median": theirs / ours}
        assert float(row[7]) == pytest.approx(theirs / ours, abs=0.006)
    assert os.listdir(tmp_path) == ["bench.json"]


def test_bench_refuses(tmp_path):
    fails("bench", "--nets", "zz", cwd=tmp_path, status=1, message="no net's name contains 'zz'; there are 4-64-64-2, ")
    fails("bench", "--json", "nowhere/a.json", cwd=tmp_path, status=1, message="--json: .*nowhere: no such folder")
    fails("bench", "--rounds", "0", cwd=tmp_path, status=2, message="--rounds: must be a whole number")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("bench", "--help"), ("info", "--help"), ("--version",)]
)
def test_help(tmp_path, arguments):
    code, out, err = run(*arguments, cwd=tmp_path)
    assert (code, err) == (0, "")
    if arguments[0] == "train":
        for option in (
            "data",
            "epochs",
            "batch-size",
            "hidden",
            "learning-rate",
            "seed",
            "threads",
            "out",
            "no-reference",
        ):
            assert f"--{option}" in out
        assert "None" not in out
    elif arguments == ("--version",):
        assert out == f"fastbp {fb.__version__}\n"


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "required: .train,bench,info"),
        (("bench-it",), "invalid choice: 'bench-it'"),
        (("train", "--epoch-count", "3"), "unrecognized arguments: --epoch-count"),
        (("train", "--epochs", "0"), "--epochs: must be a whole number in 1 .. .*, got '0'"),
        (("train", "--epochs", "2.5"), "--epochs: must be a whole number"),
        (("train", "--epochs"), "--epochs: expected one argument"),
        (("train", "--batch-size", "-1"), "--batch-size"),
        (("train", "--hidden", "12x"), "--hidden: must be a whole number"),
        (("train", "--hidden"), "--hidden: expected at least one argument"),
        (("train", "--learning-rate", "fast"), "--learning-rate: must be a number of at least 0, got 'fast'"),
        (("train", "--learning-rate", "nan"), "--learning-rate"),
        (("train", "--seed", str(2**64)), "--seed: must be a whole number in 0 .. "),
        (("train", "--threads", "0"), "--threads"),
    ],
)
def test_bad_options(tmp_path, arguments, message):
    fails(*arguments, cwd=tmp_path, status=2, message=message)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--batch-size", 5000), "--batch-size is 5000; there are 1198 rows to train on"),
        (("--out", "model.txt"), "path must end in .npz or .safetensors, got model.txt"),
        (("--out", "nowhere/model.npz"), "--out: .*nowhere: no such folder"),
        (("--out", "folder.npz"), "--out: folder.npz is not a file"),
        (("--data", "nowhere"), "nowhere: no such folder"),
        (("--data", "."), "train-images-idx3-ubyte: no such file"),
        (("--learning-rate", "1e30"), "training diverged"),
        (("--hidden", 2**31 - 1, 2**31 - 1), "no memory for .* parameters"),
    ],
)
def test_bad_values(tmp_path, arguments, message):
    (tmp_path / "folder.npz").mkdir()
    fails("train", *arguments, cwd=tmp_path, status=1, message=message)
    assert os.listdir(tmp_path) == ["folder.npz"]


def test_a_bad_data_file(tmp_path, mnist):
    path = mnist / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-3])
    fails("train", "--data", mnist, cwd=tmp_path, status=1, message="t10k-labels-idx1-ubyte: truncated")
    path.unlink()
    path.mkdir()
    fails("train", "--data", mnist, cwd=tmp_path, status=1, message="t10k-labels-idx1-ubyte: no such file")


@POSIX
def test_files_without_permission(tmp_path, mnist):
    if os.getuid() == 0:
        pytest.skip("root may read and write everything")
    (mnist / "t10k-labels-idx1-ubyte").chmod(0)
    fails("train", "--data", mnist, cwd=tmp_path, status=1, message="t10k-labels-idx1-ubyte: Permission denied")
    mnist.chmod(0o500)
    fails("train", "--out", mnist / "model.npz", cwd=tmp_path, status=1, message="no permission to write")
    mnist.chmod(0o700)


@POSIX
def test_ctrl_c(tmp_path):
    process = start(
        "train", "--epochs", 10**9, "--no-reference", "--hidden", 500, cwd=tmp_path, preexec_fn=_default_sigint
    )
    try:
        assert "rows to train on" in process.stdout.readline()
        threading.Event().wait(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert err == "python -m fastbp train: interrupted; no model was saved\n"
    assert os.listdir(tmp_path) == []


def _default_sigint():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a runner in the background may ignore it, which children inherit


@POSIX
def test_a_reader_that_leaves(tmp_path):
    process = start("train", "--epochs", 2000, "--hidden", 4, "--no-reference", cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == ""
    process.stderr.close()
