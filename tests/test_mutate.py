"""The planted faults: the table is that of the sources and tests of today, and what it says of a few of them is so."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mutate
import pytest
from mutate import Fault

SAMPLE = 4
STORAGE = "fastbp/_support/storage.py"


def misfits(faults):
    """The faults that change no place of the sources, or more than one."""
    return [fault.name for fault in faults if not fault.fits]


def missing(faults):
    """The tests that faults name and that are not there."""
    found = set()
    for test in {test for fault in faults for test in fault.tests}:
        path, _, function = test.partition("::")
        text = (mutate.ROOT / path).read_text(encoding="utf-8") if (mutate.ROOT / path).exists() else ""
        if not re.search(rf"^def {re.escape(function.partition('[')[0])}\(" if function else r"^def test_", text, re.M):
            found.add(test)
    return found


def test_every_fault_fits():
    assert misfits(mutate.faults()) == []


def test_every_test_that_is_named_is_there():
    assert missing(mutate.faults()) == set()


def test_the_checks_of_the_table_find_what_is_wrong():
    path = "tests/test_mutate.py"
    assert misfits([Fault("gone", STORAGE, "no such text", "", ())]) == ["gone"]
    assert misfits([Fault("twice", STORAGE, "import", "", ())]) == ["twice"]
    assert misfits([Fault("same", STORAGE, "VERSION = 2", "VERSION = 2", ())]) == ["same"]
    named = (path, f"{path}::test_every_fault_fits", f"{path}::test_no_such", "tests/test_no_such.py")
    assert missing([Fault("tests", STORAGE, "", "", named)]) == set(named[2:])


def test_there_are_faults_in_all_languages():
    files = [fault.file for fault in mutate.faults()]
    assert len(files) >= 60
    for ending in (".py", ".pxi", ".c", ".h"):
        assert sum(file.endswith(ending) for file in files) >= 10, ending


def test_every_fault_in_python_comes_into_the_sample():
    known = mutate.faults()
    samples = [{fault.name for fault in mutate.sample(known, SAMPLE, number)} for number in range(200)]
    assert set().union(*samples) == {fault.name for fault in known if not fault.is_compiled}
    assert all(len(names) == SAMPLE for names in samples)
    assert mutate.sample(known, SAMPLE, 2**32 - 1)


@pytest.mark.slow
def test_a_sample_is_caught(capsys):
    """Which one depends on the sources of the package."""
    survived = mutate.run(mutate.sample(mutate.faults(), SAMPLE, mutate.number_of_sources()))
    output = capsys.readouterr().out
    print(output)
    assert survived == 0 and output.count("caught   ") == SAMPLE


@pytest.mark.slow
def test_what_is_not_caught_is_told(capsys):
    metrics, change = "tests/test_metrics.py::test_literals", ("(output > own).sum(axis=1) < k", "True")
    cooked = [
        Fault("unseen", "fastbp/metrics.py", *change, ("tests/test_datasets.py::test_digits",)),
        Fault("lost", "fastbp/metrics.py", "no such text", "", (metrics,)),
        Fault("untested", "fastbp/metrics.py", *change, (f"{metrics}_of_pi",)),
    ]
    assert mutate.run(cooked) == 3
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SURVIVED")]
    assert [line.partition(":")[0] for line in lines] == ["SURVIVED unseen", "SURVIVED lost", "SURVIVED untested"]
    assert "passed" in lines[0] and "the old text occurs 0 times" in lines[1] and "an error" in lines[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "tests.mutate", "--only", "checkpoint"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(mutate.ROOT), *sys.path])}
    process = subprocess.Popen(command, cwd=mutate.ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not list(tmp_path.glob("*/planted/tests")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_the_tools_of_a_checkout_know_it():
    text = Path(mutate.ROOT, "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "python -m tests.mutate" in text
