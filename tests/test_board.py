"""The speed board: contestants it refuses, its figures, its charts, workers that fail, the command."""

import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as fb
from fastbp.bench import cores, nets, timing, verify
from fastbp.bench.contestants import ByHand, ByHandPrediction, Fastbp, FastbpPrediction, Twin

board = pytest.importorskip("benches.board", reason="the board is in the checkout, and pytest was not started from it")
from benches import measure, results, steps, workers  # noqa: E402
from benches.cells import Cell, all_cells  # noqa: E402
from benches.crew import Crew, race  # noqa: E402
from benches.peer_fastbp import FastbpStep  # noqa: E402
from benches.peer_numpy import ByHandStep  # noqa: E402
from benches.peers import FASTBP, PEERS, Peer  # noqa: E402
from benches.workers import Refused, Worker  # noqa: E402

ROOT = Path(board.__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="the board is for POSIX")
SMALL = nets.Net((4, 5, 3), 4, 12, "adam")
CELL = Cell("train", SMALL, 12)
NUMPY = next(peer for peer in PEERS if peer.name == "numpy")

# ------------------------------------------------------------------------------ contestants with and without errors


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


CHEAP = nets.ALL[:4] + nets.OTHERS[1:] + nets.MORE[:2] + nets.MORE[3:]


@pytest.mark.parametrize("net", CHEAP, ids=lambda net: f"{net.name} {net.batch} {net.optimizer}")
def test_equal_training_is_accepted(net):
    verify.verify(net, [Fastbp, ByHand], 1)


@pytest.mark.parametrize("wrong", [Faster, Unshuffled, Nothing, NotANumber])
def test_other_training_is_refused(wrong):
    with pytest.raises(verify.OtherResults, match=rf"{wrong.name} trains 4-5-3 differently: \S+ of the way, float64"):
        verify.verify(SMALL, [wrong], 1)


def test_other_predictions_are_refused():
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


@pytest.mark.parametrize("kind", [FastbpStep, ByHandStep])
def test_steps_are_verified(kind):
    for dtype in ("float64", "float32"):
        data = SMALL.data(dtype=dtype)
        one = kind(SMALL, *data, 1)
        verify.verify_epoch(SMALL, data, [one])
        steps.verify_loss(SMALL, data, one)

    class WrongLoss(kind):
        def step(self, x, target):
            return super().step(x, target) * 1.001

    class LeavesOne(kind):
        def epochs(self, count, shuffle=False):
            self.minibatches = self.minibatches[:2]
            return super().epochs(count)

    with pytest.raises(verify.OtherResults, match=r"returns a loss of .* for 4-5-3, the twin .*, float32"):
        steps.verify_loss(SMALL, data, WrongLoss(SMALL, *data, 1))
    with pytest.raises(verify.OtherResults, match="trains 4-5-3 differently"):
        verify.verify_epoch(SMALL, data, [LeavesOne(SMALL, *data, 1)])


def test_an_epoch_of_steps_is_one_call_for_each_minibatch():
    calls = []

    class Records:
        def __init__(self, net, X, y, threads):
            pass

        def step(self, x, target):
            calls.append((x.tolist(), target.tolist()))

    class Recorded(steps.Steps, Records):
        pass

    X, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    one = Recorded(SMALL._replace(batch=2), X, y)
    seconds = one.epochs(2)
    expected = [(X[i : i + 2].tolist(), y[i : i + 2].tolist()) for i in (0, 2, 4)]
    assert calls == expected * 2
    assert len(seconds) == 2 and min(seconds) > 0


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


def test_steps_cost_what_training_costs():
    net = nets.Net((10, 20), 5, 10, "sgd")
    step, epoch = (Cell(mode, net, 10) for mode in ("step", "train"))
    assert (step.steps, step.flops, step.moved(0)) == (epoch.steps, epoch.flops, epoch.moved(0))


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
        "isa": None,
        "interrupted": False,
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
    (row,) = [line for line in text.splitlines() if line.startswith("10-20 batch 5 SGD")]
    assert row.split() == ["10-20", "batch", "5", "SGD", "8000", "10000", "1.25", "2.50", "0.0", "50%", "12%"]
    assert "NumPy failed: no wish to (10-20 3 rows)" in text
    assert "multiply-add peak 0.0 GFLOP/s float32, from a guess" in text
    assert "training      geometric mean 1.25 of best times, 2.50 of medians; least 1.25 (10-20 batch 5 SGD)" in text
    assert "together" not in text, "with one mode that has ratios"
    assert "limited" not in text and "interrupted" not in text
    text = "\n".join(results.lines(found() | {"isa": "avx2", "interrupted": True}))
    assert "Every library limited to avx2." in text and "interrupted: the cells and rounds finished before" in text


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
    assert sum(cell.mode == "train" for cell in cells) == 17 + 3
    assert sum(cell.mode == "step" for cell in cells) == 6 * 3
    # Two nets are there with two batches or two updates, and one is predicted with for 100 rows, too.
    assert sum(cell.mode == "predict" for cell in cells) == 2 * 15 + 1
    assert [cell.name for cell in all_cells("train", "784-128-10")] == [
        "784-128-10 batch 64 SGD",
        "784-128-10 batch 64 SGD float64",
    ]
    assert {cell.name for cell in all_cells("step", "64-128-10,128-256")} == {
        *(f"64-128-10 step of {batch} SGD" for batch in (1, 32, 256)),
        *(f"128-256-256-8 step of {batch} SGD" for batch in (1, 32, 256)),
    }
    assert all_cells("predict", "batch") == []


def test_every_net_named_in_the_requirements_is_there():
    names = {cell.name for cell in all_cells()}
    assert names >= {
        "784-256-128-10 batch 128 Adam float64",
        "300-900-2 batch 100 SGD",
        "50-50-50-50-50-50-50-4 tanh batch 100 Adam",
        "512-768-768-512-100 batch 192 SGD",
        "128-256-256-8 batch 1 SGD",
        "128-256-256-8 batch 1 Adam",
        "300-900-2 100 rows",
    }


def test_a_chart_is_written_whole(tmp_path):
    pytest.importorskip("matplotlib", reason="charts need Matplotlib")
    from benches import chart

    path = tmp_path / "board.png"
    chart.save(chart.figure_of([found()]), str(path))
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n") and data.rstrip().endswith(b"IEND\xaeB`\x82") and len(data) > 10_000
    assert os.listdir(tmp_path) == ["board.png"]
    chart.check("--chart", "a.svg")
    with pytest.raises(ValueError, match="--chart: a.xyz must end in .png, .svg, .pdf"):
        chart.check("--chart", "a.xyz")


def test_a_chart_of_several_runs(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="charts need Matplotlib")
    from benches import chart

    narrow = found()
    wide = narrow | {"machine": narrow["machine"] | {"isa": "avx512"}, "isa": "avx512"}
    figure = chart.figure_of([narrow, wide], ["train"], ["one"])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["Training by epochs, i, one thread", "Training by epochs, AVX-512, one thread"]
    for axis in figure.axes:
        (mark,) = [line for line in axis.lines if line.get_label() == "numpy"]
        assert mark.get_xdata() == [0.010 / 0.008]
        assert "1.25" in [text.get_text() for text in axis.texts]
    assert chart.shortened("28-300-300-300-300-300-1 tanh") == "28-300x5-1 tanh"
    assert chart.shortened("50-50-50-4 batch 50") == "50x3-4 batch 50"
    assert chart.shortened("4-64-64-2") == "4-64-64-2" and chart.shortened("13-3-3-3-33") == "13-3x3-33"
    files = [tmp_path / name for name in ("a.json", "b.json", "chart.svg")]
    for path, run in zip(files, (narrow, wide)):
        path.write_text(json.dumps(run))
    arguments = [*map(str, files[:2]), "-o", str(files[2])]
    assert chart.main(arguments) == 0
    assert files[2].read_text().rstrip().endswith("</svg>")
    assert chart.main([*arguments, "--modes", "step"]) == 1
    assert "nothing to draw" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        chart.main([*arguments, "--modes", "walk"])
    assert "--modes: 'walk' is none of train, step, predict" in capsys.readouterr().err


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

class Interrupts(ByHand):
    samples = 0
    def restart(self):
        super().restart()
        self.fresh = True
    def epochs(self, count, shuffle=True):
        if shuffle:
            self.samples += self.fresh
            self.fresh = False
        if self.samples == 3:
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(1000)
        return super().epochs(count, shuffle)

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
    return lambda training, module="bad_peer": Peer(
        training.lower(), training, module, training, training, "ByHandPrediction"
    )


@POSIX
@pytest.mark.parametrize(
    "training, status, why",
    [
        ("Wrong", "differs", "by hand trains 4-5-3 differently: .* of the way, float64"),
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


# -------------------------------------------------------------------------------------------------- instruction sets


def test_variables_that_choose_kernels_are_kept_from_the_libraries(monkeypatch):
    for name in workers.KERNELS:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setattr(measure, "numpy_avx512", lambda: ["X86_V4", "AVX512_ICL"])
    free, limited = workers.environment(1), workers.environment(1, "avx2")
    assert not set(workers.KERNELS) & set(free)
    assert free["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    expected = {
        "FASTBP_ISA": "avx2",
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=false --xla_cpu_max_isa=AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL",
    }
    assert limited.items() >= expected.items()
    assert not {"MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "OPENBLAS_L2_SIZE"} & set(limited)
    monkeypatch.setattr(measure, "numpy_avx512", list)
    assert "NPY_DISABLE_CPU_FEATURES" not in workers.environment(1, "avx2"), "NumPy warns of an empty list"


@POSIX
def test_a_limit_reaches_the_libraries_and_they_say_so(monkeypatch):
    def said(isa):
        with Crew([FASTBP, NUMPY], ["one"], cores.bench_core(), isa) as crew:
            return crew.about["fastbp", "one"]["isa"], " ".join(crew.about["numpy", "one"]["blas"])

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    isa, blas = said(None)
    if "openblas" not in blas or "x86" not in platform.machine():
        pytest.skip("needs threadpoolctl, and OpenBLAS on x86-64")
    assert isa == fb.cpu.isa() and "Nehalem" not in blas
    monkeypatch.setattr(workers, "limits", lambda: {"FASTBP_ISA": "portable", "OPENBLAS_CORETYPE": "Nehalem"})
    isa, blas = said("avx2")
    assert isa == "portable" and "Nehalem" in blas


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
    cells = [CELL, Cell("step", SMALL, 12), Cell("predict", SMALL, 5)]
    if peer.name != "compiled":  # which takes seconds for each
        cells += [Cell("train", tanh, 12), Cell("train", squares, 12, "float64"), Cell("predict", tanh, 1)]
        cells += [Cell("step", tanh, 12), Cell("step", squares, 12, "float64")]
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
@pytest.mark.skipif("avx2" not in fb.cpu.available(), reason="needs AVX2")
def test_single_steps_limited_to_avx2(tmp_path):
    path = tmp_path / "board.json"
    options = "--mode step --nets".split() + ["4-64-64-2 step of 1 "] + "--threads one --quick --peers numpy".split()
    code, out, err = run(*options, "--isa", "avx2", "--json", path)
    assert (code, err) == (0, "")
    assert "Every library limited to avx2." in out
    found = json.loads(path.read_text())
    (record,) = found["records"]
    assert (record["mode"], record["batch"], len(record["seconds"]["numpy"])) == ("step", 1, 2)
    assert found["isa"] == found["machine"]["isa"] == found["about"]["fastbp one"]["isa"] == "avx2"
    assert found["settings"]["one"]["OPENBLAS_CORETYPE"] == "Haswell"


@POSIX
@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (("--rounds", "0"), 2, "--rounds must be at least 1"),
        (("--peers", "numpy,mx"), 2, "--peers: no such peer as 'mx'; there are jax,"),
        (("--nets", "zz"), 2, "no cell's name contains 'zz'"),
        (("--threads", "three"), 2, "invalid choice: 'three'"),
        (("--isa", "sse9"), 2, "invalid choice: 'sse9'"),
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


@POSIX
def test_ctrl_c_keeps_the_finished_rounds(peer, tmp_path, monkeypatch, capsys):
    path = tmp_path / "board.json"
    monkeypatch.setattr(board, "PEERS", [peer("Interrupts"), NUMPY])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = board.main(
            ["--nets", "24-8-2,4-32-16-4", "--mode", "train", "--threads", "one", "--quick", "--rounds", "4"]
            + ["--json", str(path)]
        )
    finally:
        signal.signal(signal.SIGINT, before)
    out, err = capsys.readouterr()
    assert status == 130 and err == "python -m benches.board: interrupted\n"
    found = json.loads(path.read_text())
    (record,) = found["records"]
    assert {name: len(times) for name, times in record["seconds"].items()} == {
        "fastbp": 2,
        "interrupts": 2,
        "numpy": 2,
    }, "the third round was not finished"
    assert found["interrupted"] and record["ratio"]["best"] > 0
    assert record["name"] in out and "interrupted: the cells and rounds finished before" in out
