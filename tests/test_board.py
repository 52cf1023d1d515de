"""The speed board: what it refuses to time, what it makes of times, and what becomes of workers that fail."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastbp.bench import cores, nets, timing, verify
from fastbp.bench.contestants import ByHand, ByHandPrediction, Fastbp, FastbpPrediction, Twin

board = pytest.importorskip("benches.board", reason="the board is in the checkout, and pytest was not started from it")
from benches import results  # noqa: E402
from benches.cells import Cell, all_cells  # noqa: E402
from benches.crew import Crew, race  # noqa: E402
from benches.peers import FASTBP, PEERS, Peer  # noqa: E402
from benches.workers import Refused, Worker  # noqa: E402

ROOT = Path(board.__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="the board is for POSIX")
SMALL = nets.Net((4, 5, 3), 4, 12, "adam")
CELL = Cell("train", SMALL, 12)
NUMPY = next(peer for peer in PEERS if peer.name == "numpy")

# ---------------------------------------------------------------------------------------- who computes something else


class Faster(ByHand):
    name = "faster"

    def _adam(self, beta1=0.9, beta2=0.999, eps=1e-8):
        before = self.w.copy()
        super()._adam(beta1, beta2, eps)
        self.w += 0.05 * (self.w - before)


class Unshuffled(ByHand):
    """Forgets the last minibatch."""

    name = "unshuffled"

    def __init__(self, net, X, y, threads=None):
        super().__init__(net, X[: -net.batch // 2], y[: -net.batch // 2], threads)


class Nothing(ByHand):
    name = "nothing"

    def epochs(self, count, shuffle=True):
        return [0.0] * count


class NotANumber(ByHand):
    name = "nan"

    def parameters(self):
        return self.w * np.nan


@pytest.mark.parametrize("net", nets.ALL[:4] + nets.OTHERS[1:], ids=lambda net: f"{net.name} {net.batch}")
def test_who_trains_alike_is_accepted(net):
    verify.verify(net, [Fastbp, ByHand], 1)


@pytest.mark.parametrize("wrong", [Faster, Unshuffled, Nothing, NotANumber])
def test_who_trains_otherwise_is_refused(wrong):
    with pytest.raises(verify.OtherResults, match=rf"{wrong.name} trains 4-5-3 otherwise: \S+ of the way, float64"):
        verify.verify(SMALL, [wrong], 1)


def test_who_predicts_otherwise_is_refused():
    X, _ = SMALL.data(7)
    for right in (FastbpPrediction, ByHandPrediction):
        verify.verify_outputs(SMALL, right(SMALL, X))

    class Wrong(ByHandPrediction):
        make = staticmethod(lambda y: y + 1e-3)

        def predict(self):
            return self.make(super().predict())

    for make in (lambda y: y + 1e-3, lambda y: y[:-1], lambda y: y * np.nan, lambda y: y.astype(float), list):
        Wrong.make = staticmethod(make)
        with pytest.raises(verify.OtherResults, match="by hand predicts"):
            verify.verify_outputs(SMALL, Wrong(SMALL, X))


def test_restart_is_the_start():
    data = SMALL.data()
    for kind in (Fastbp, Twin, ByHand):
        one = kind(SMALL, *data, 1)
        start = one.parameters().copy()
        one.epochs(2)
        first = one.parameters().copy()
        assert (first != start).any()
        one.restart()
        assert (one.parameters() == start).all()
        one.epochs(2)
        assert (one.parameters() == first).all(), "weights, moments and the order of rows start again"


def test_a_sample_starts_from_the_start_and_counts_all_epochs_but_the_first():
    class Counted:
        calls = []

        def restart(self):
            self.calls.append("restart")

        def epochs(self, count):
            self.calls.append(count)
            return [0.5] if count == 1 else [1.0, 2.0, 3.0]

    assert timing.sample(Counted(), 1.5) == 2.0
    assert Counted.calls == ["restart", 1, 3]


# ----------------------------------------------------------------------------------------------- figures by hand


def test_ratios():
    seconds = {"fastbp": [2.0, 4.0, 2.0], "jax": [6.0, 4.0, 8.0], "numpy": [5.0, 8.0, 10.0]}
    # The best peer of the rounds: 5, 4, 8. Bests: 4 over 2. By round: 2.5, 1 and 4.
    assert results.ratios(seconds) == {"best": 2.0, "median": 2.5, "peer": "jax"}
    assert results.ratios({"fastbp": [1.0]}) is None
    assert timing.noise([2.0, 3.0, 5.0]) == 0.5


def test_flops_and_bytes_of_training():
    net = nets.Net((10, 20), 5, 10, "sgd")
    cell = Cell("train", net, 10)
    # Two steps of 5 rows: x W and x^T dz, 2 * 5 * 200 each.
    assert (cell.steps, cell.flops) == (2, 4000)
    # 220 parameters: 880 bytes, with the gradient 1,760. Ten rows of 40 bytes and a label of 8: 480.
    assert cell.moved(None) == 0 and cell.moved(1760) == 0
    assert cell.moved(1759) == 2 * 880
    assert cell.moved(479) == 2 * 880 + 5 * 48
    assert cell.moved(0) == 2000
    adam = Cell("train", net._replace(optimizer="adam"), 10)
    assert adam.moved(4 * 880) == 0 and adam.moved(4 * 880 - 1) == 6 * 880
    wide = Cell("train", net, 10, "float64")
    assert wide.moved(0) == 2 * 1760 + 5 * 88
    squares = Cell("train", net._replace(loss="mean_squared_error"), 10)
    assert squares.moved(0) == 2 * 880 + 5 * (40 + 80)


def test_flops_and_bytes_of_prediction():
    cell = Cell("predict", nets.Net((10, 20), 5, 10, "sgd"), 3)
    assert (cell.steps, cell.flops) == (1, 1200)
    assert cell.moved(None) == 0 and cell.moved(880) == 0
    assert cell.moved(879) == 880
    assert cell.moved(359) == 880 + 3 * 4 * 30


def test_the_least_time_is_that_of_the_slower_limit():
    cell = Cell("train", nets.Net((10, 20), 5, 10, "sgd"), 10)
    assert cell.least_seconds(1e6, 1e6, 0) == 0.004  # 4,000 operations; 2,000 bytes take half of that
    assert cell.least_seconds(1e6, 1e5, 0) == 0.02
    assert cell.least_seconds(1e6, 1e5, None) == 0.004


LIMITS = {"peak": {"float32": 1e6}, "bandwidth": 1e6, "cache": None, "peak_source": "a guess"}


def found():
    """What the board would find with two nets, one of them also on two cores, on a core of 1 MFLOP/s and 1 MB/s."""
    net = nets.Net((10, 20), 5, 10, "sgd")
    training, prediction = Cell("train", net, 10), Cell("predict", net, 3)
    one = {"seconds": {"fastbp": [0.008, 0.010], "numpy": [0.032, 0.010]}, "kind_of": {}, "refused": {}}
    failed = {"seconds": {"fastbp": [0.0048]}, "kind_of": {}, "refused": {"numpy": ("failed", "no wish to")}}
    less = {"seconds": {"fastbp": [0.0024], "numpy": [0.0048]}, "kind_of": {}, "refused": {}}
    raced = [(training, "one", one), (prediction, "one", failed), (prediction, "all", less)]
    return {
        "peers": {"fastbp": "fastbp", "numpy": "NumPy"},
        "machine": {"load": "0", "processor": "P", "cores": 2, "isa": "i", "compiler": "c", "python": "3"},
        "about": {"fastbp one": {"version": "1"}, "numpy one": {"version": "2"}},
        "date": "today",
        "seconds": 1.0,
        **results.collect(raced, LIMITS, 2),
    }


def test_shares_of_the_limit():
    training, prediction, both = found()["records"]
    assert training["limit"] == 0.004 / 0.008
    assert training["ratio"] == {"best": 0.010 / 0.008, "median": 2.5, "peer": "numpy"}  # by round 4 and 1
    assert math.isclose(prediction["limit"], 0.25) and prediction["ratio"] is None
    assert math.isclose(both["limit"], 0.25), "two cores can do twice as much"


def test_summary():
    def record(name, mode, best, median):
        return {"name": name, "mode": mode, "ratio": {"best": best, "median": median}}

    records = [record("a", "train", 2, 3), record("b", "train", 8, 3.0), record("c", "predict", 4, 1)]
    records.append({"name": "d", "mode": "predict", "ratio": None})
    summary = results.summary(records)
    assert math.isclose(summary["train"]["best"], 4) and math.isclose(summary["train"]["median"], 3)
    assert (summary["train"]["least_best"], summary["train"]["least_best_at"]) == (2, "a")
    assert math.isclose(summary["all"]["best"], 4) and math.isclose(summary["all"]["median"], 9 ** (1 / 3))
    assert (summary["all"]["least_median"], summary["all"]["least_median_at"]) == (1, "c")
    assert [summary[mode]["cells"] for mode in ("train", "predict", "all")] == [2, 1, 3]
    assert results.summary(records[3:]) == {}


def test_text():
    text = "\n".join(results.lines(found()))
    (row,) = [line for line in text.splitlines() if line.startswith("10-20 batch 5")]
    assert row.split() == ["10-20", "batch", "5", "sgd", "8000", "10000", "1.25", "2.50", "0.0", "50%", "12%"]
    assert "NumPy failed: no wish to (10-20 3 rows)" in text
    assert "multiply-add peak 0.0 GFLOP/s float32, from a guess" in text
    assert "training   geometric mean 1.25 of bests, 2.50 of medians; least 1.25 (10-20 batch 5)" in text
    assert "together" not in text, "with one mode that has ratios"


def test_text_without_fastbp():
    raced = {"seconds": {"numpy": [0.001]}, "kind_of": {}, "refused": {"fastbp": ("failed", "ended by SIGILL")}}
    cell = Cell("predict", nets.Net((10, 20), 5, 10, "sgd"), 3)
    text = "\n".join(results.lines({**found(), **results.collect([(cell, "one", raced)], LIMITS, 2)}))
    (row,) = [line for line in text.splitlines() if line.startswith("10-20 3 rows")]
    assert row.split() == ["10-20", "3", "rows", "failed", "1000"]
    assert "fastbp failed: ended by SIGILL (10-20 3 rows)" in text and "geometric mean" not in text


def test_cells():
    cells = all_cells()
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names)
    assert sum(cell.mode == "train" for cell in cells) == 12 + 3
    assert sum(cell.mode == "predict" for cell in cells) == 2 * 11  # 4-64-64-2 stands there twice, by its batches
    assert [cell.name for cell in all_cells("train", "784-128-10")] == [
        "784-128-10 batch 64",
        "784-128-10 batch 64 float64",
    ]
    assert all_cells("predict", "batch") == []


def test_a_chart_is_written_whole(tmp_path):
    pytest.importorskip("matplotlib", reason="charts need Matplotlib")
    from benches import chart

    path = tmp_path / "board.png"
    chart.save(chart.figure_of(found()), str(path))
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n") and data.rstrip().endswith(b"IEND\xaeB`\x82") and len(data) > 10_000
    assert os.listdir(tmp_path) == ["board.png"]
    chart.check("a.svg")
    with pytest.raises(ValueError, match="--chart: a.xyz must end in .png, .svg, .pdf"):
        chart.check("a.xyz")


# ------------------------------------------------------------------------------------------------------------ workers

BAD = """
import os, signal, sys, time
from fastbp.bench.contestants import ByHand, ByHandPrediction
from benches.peers import CannotDo

class Wrong(ByHand):
    def _adam(self):
        super()._adam()
        self.w *= 1.001

class Raises(ByHand):
    def __init__(self, *_):
        raise ValueError("no\\nsuch net")

class Cannot(ByHand):
    def __init__(self, *_):
        raise CannotDo("too deep")

class Leaves(ByHand):
    def __init__(self, *_):
        sys.exit("had enough")

class Killed(ByHand):
    def __init__(self, *_):
        os.kill(os.getpid(), signal.SIGKILL)

class LeavesLate(ByHand):
    rounds = 0
    def restart(self):
        super().restart()
        LeavesLate.rounds += 1
        if LeavesLate.rounds > 4:
            os._exit(7)

class Hangs(ByHand):
    def __init__(self, *_):
        time.sleep(1000)

class Talks(ByHand):
    def __init__(self, *arguments):
        print("to the pipe, if it were stdout", flush=True)
        super().__init__(*arguments)

def about():
    return {"version": "0"}
"""


@pytest.fixture
def peer(tmp_path, monkeypatch):
    (tmp_path / "bad_peer.py").write_text(BAD)
    (tmp_path / "broken_peer.py").write_text("import no_such_package\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return lambda training, module="bad_peer": Peer(training.lower(), training, module, training, "ByHandPrediction")


@POSIX
@pytest.mark.parametrize(
    "training, status, why",
    [
        ("Wrong", "differs", "by hand trains 4-5-3 otherwise: .* of the way, float64"),
        ("Raises", "failed", "ValueError: no such net"),
        ("Cannot", "cannot", "too deep"),
        ("Leaves", "failed", "ended with status 1: had enough"),
        ("Killed", "failed", "ended by SIGKILL"),
        ("LeavesLate", "failed", "ended with status 7"),
    ],
)
def test_a_peer_that_fails_is_reported_and_the_others_go_on(peer, training, status, why):
    bad = peer(training)
    with Crew([FASTBP, bad, NUMPY], ["one"], cores.bench_core()) as crew:
        loaded, refused = crew.ask_all("load", CELL)
        raced = race(crew, CELL, "one", 3, loaded, refused, quick=True)
        assert set(raced["seconds"]) == {"fastbp", "numpy"}
        assert all(len(times) == 3 and min(times) > 0 for times in raced["seconds"].values())
        (refusal,) = raced["refused"].items()
        assert refusal[0] == bad.name and refusal[1][0] == status
        assert re.search(why, refusal[1][1]), refusal
        again, _ = crew.ask_all("load", CELL)
        assert set(again) >= {("fastbp", "one"), ("numpy", "one")}, "with the next cell"


@POSIX
def test_a_peer_that_cannot_start_is_reported(peer):
    with Crew([FASTBP, peer("Broken", "broken_peer")], ["one"], cores.bench_core()) as crew:
        assert set(crew.about) == {("fastbp", "one")}
        loaded, refused = crew.ask_all("load", CELL)
        assert set(loaded) == {("fastbp", "one")}
        ((status, why),) = refused.values()
        assert status == "failed" and "No module named 'no_such_package'" in why


@POSIX
def test_a_peer_that_hangs_is_ended(peer):
    worker = Worker(peer("Hangs"), cores.bench_core())
    worker.receive()
    worker.send("load", CELL)
    with pytest.raises(Refused, match="no answer for 0.5 seconds"):
        worker.receive(0.5)
    assert not worker.alive


@POSIX
def test_what_a_library_prints_does_not_disturb(peer):
    worker = Worker(peer("Talks"), cores.bench_core())
    try:
        assert worker.receive() == {"version": "0"}
        assert worker.ask("load", CELL) is None
        assert worker.ask("sample", 0.001) > 0
    finally:
        worker.end()
    assert not worker.alive


TORCH = pytest.mark.torch
LIBRARIES = [pytest.param(p, id=p.name, marks=[TORCH] * (p.needs == "torch")) for p in PEERS if p.needs]


@POSIX
@pytest.mark.parametrize("peer", LIBRARIES)
def test_the_libraries_that_are_installed(peer):
    if not peer.installed():
        pytest.skip(f"{peer.needs} is not installed")
    if peer.name == "compiled" and not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("torch.compile needs a C++ compiler, and there is none")
    tanh = nets.Net((3, 4, 1), 4, 12, "momentum", activation="tanh", loss="binary_cross_entropy")
    squares = nets.Net((3, 4, 2), 4, 12, "sgd", loss="mean_squared_error")
    cells = [CELL, Cell("predict", SMALL, 5)]
    if peer.name != "compiled":  # which takes seconds for each
        cells += [Cell("train", tanh, 12), Cell("train", squares, 12, "float64"), Cell("predict", tanh, 1)]
    with Crew([peer], ["one"], cores.bench_core()) as crew:
        assert (peer.name, "one") in crew.about, crew.lost
        for cell in cells:
            loaded, refused = crew.ask_all("load", cell)
            assert not refused and loaded
            assert crew.ask((peer.name, "one"), "sample", 0.001) > 0
        if peer.name == "sklearn":
            _, refused = crew.ask_all("load", Cell("train", nets.Net((3, 4, 2), 4, 12, "adam"), 12))
            assert refused == {("sklearn", "one"): ("cannot", "of two classes it makes one logistic output")}


# -------------------------------------------------------------------------------------------------------- the command


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "benches.board", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever the tests' own parent ignores
    )


def run(*arguments):
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


@POSIX
def test_a_run(tmp_path):
    path = tmp_path / "board.json"
    code, out, err = run("--nets", "24-8-2", "--quick", "--peers", "numpy", "--json", path)
    assert (code, err) == (0, "")
    assert "24-8-2 batch 200" in out and "24-8-2 1000 rows" in out and "geometric mean" in out
    assert os.listdir(tmp_path) == ["board.json"]
    found = json.loads(path.read_text())
    assert found["peers"] == {"fastbp": "fastbp", "numpy": "NumPy"}
    kinds = ["one", "all"] if len(cores.ALL_CORES) > 1 else ["one"]
    assert len(found["records"]) == 3 * len(kinds) and set(found["summary"]) == set(kinds)
    for record in found["records"]:
        assert [len(times) for times in record["seconds"].values()] == [2, 2] and not record["refused"]
        assert 0 < record["limit"] and record["flops"] > 0 and record["threads"] in kinds
    assert found["limits"]["peak"]["float32"] > 1e8 and found["machine"]["isa"]


@POSIX
@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (("--rounds", "0"), 2, "--rounds must be at least 1"),
        (("--peers", "numpy,mx"), 2, "--peers: no such peer as 'mx'; there are jax,"),
        (("--nets", "zz"), 2, "no cell's name contains 'zz'"),
        (("--threads", "three"), 2, "invalid choice: 'three'"),
        (("--json", "nowhere/a.json"), 1, "--json: .*nowhere: no such folder"),
    ],
)
def test_bad_options(arguments, status, message):
    code, out, err = run(*arguments)
    assert code == status and out == "" and err.count("\n") == 1
    assert re.search(message, err), err


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the workers in /proc")
def test_ctrl_c_ends_the_workers():
    process = start("--peers", "numpy", "--threads", "one")
    try:
        for line in process.stdout:
            if line.startswith("NumPy: "):
                break
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        threading.Event().wait(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and err == "python -m benches.board: interrupted\n"
    assert len(workers) == 2
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
