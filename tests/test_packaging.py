"""What is installed, what importing it costs, and the environment variables that are read then."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import fastbp

ROOT = Path(__file__).parent.parent


def python(code, **environment):
    """Run code in another interpreter; return what it printed."""
    run = attempt(code, **environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def attempt(code, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FASTBP_") and k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def installed():
    """What a wheel left, and the names of its files. (A build leaves fastbp.egg-info in the checkout: not that.)"""
    for distribution in importlib.metadata.distributions(name="fastbp"):
        if distribution.read_text("RECORD"):
            names = [file.as_posix() for file in distribution.files]
            if "fastbp/__init__.py" in names:
                return distribution, names
    pytest.skip("fastbp is not installed from a wheel")


# ------------------------------------------------------------------------------------------------ what is there


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastbp.__version__)
    assert f"## {fastbp.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    others = [path for path in (ROOT / "pyproject.toml", ROOT / "setup.py") if fastbp.__version__ in path.read_text()]
    assert not others, "the version stands in fastbp/__init__.py alone"


def test_version_of_the_installed_package():
    assert installed()[0].version == fastbp.__version__


def test_requirements():
    required = [r for r in installed()[0].requires if "extra ==" not in r]
    assert len(required) == 1 and required[0].startswith("numpy")


def test_the_core_needs_no_particular_python():
    import sysconfig

    from fastbp import _core

    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert Path(_core.__file__).name in ("_core.abi3.so", "_core.pyd")


def test_the_wheel_holds_what_is_needed_and_no_sources():
    names = installed()[1]
    for needed in (
        "py.typed",
        "_core.pyi",
        "data/digits.npz",
        "ops/gemm.py",
        "reference/gemm.py",
        "bench/nets.py",
        "cli/train.py",
        "cli/program.py",
    ):
        assert f"fastbp/{needed}" in names
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".pxi", ".c", ".h"))]
    assert not [name for name in names if name.startswith(("tests", "benches", "src_c"))]


def test_the_source_distribution_is_whole(tmp_path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    folders = ("fastbp", "src_c", "tests", "benches", "examples", "docs")
    wanted = [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    wanted = [path for path in wanted if path.suffix not in (".so", ".pyd", ".pyc") and "." not in path.parent.name]
    missing = {path.relative_to(ROOT).as_posix() for path in wanted} - held
    assert not missing
    assert held >= {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    assert held >= {"pyproject.toml", "setup.py"}


# ------------------------------------------------------------------------------------------------ public names


def test_public_names():
    for name in fastbp.__all__:
        assert getattr(fastbp, name) is not None
        assert name in dir(fastbp)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastbp.nothing  # noqa: B018
    for name in fastbp.ops.__all__:
        assert callable(getattr(fastbp.ops, name)) and getattr(fastbp.ops, name).__doc__


# --------------------------------------------------------------------------------------------------- importing


def test_import_is_quick():
    # Counted, not timed: 5,500 calls of functions took 12 ms when this was written, and NumPy takes ten times that.
    code = """
import sys
import numpy
calls = 0
def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
sys.setprofile(count)
import fastbp
sys.setprofile(None)
print(calls)
"""
    python(code)  # writes the byte code
    assert int(python(code)) < 8000


def test_import_brings_nothing_that_is_not_needed():
    code = """
import sys
import numpy
before = set(sys.modules)
import fastbp
print(*sorted(set(sys.modules) - before))
"""
    loaded = python(code).split()
    top = {name.partition(".")[0] for name in loaded}
    assert top <= {"fastbp", "cython_runtime", *sys.stdlib_module_names} | {t for t in top if t.startswith("_cython_")}
    assert not {
        "fastbp.reference",
        "fastbp.derivatives.numerical",
        "fastbp.datasets",
        "fastbp.cli",
        "fastbp.bench",
    } & set(loaded)


# ------------------------------------------------------------------------------------------ instruction sets


def test_available():
    available = fastbp.cpu.available()
    assert available[0] == "portable" and fastbp.cpu.isa() in available
    assert 1 <= fastbp.cpu.cores() <= (os.cpu_count() or 1)


def test_the_best_is_chosen():
    assert python("import fastbp; print(fastbp.cpu.isa() == fastbp.cpu.available()[-1])") == "True"


@pytest.mark.parametrize("name", fastbp.cpu.available())
def test_force_an_instruction_set(name):
    assert python("import fastbp; print(fastbp.cpu.isa())", FASTBP_ISA=name) == name
    before = fastbp.cpu.isa()
    try:
        fastbp.cpu.use(name)
        assert fastbp.cpu.isa() == name
    finally:
        fastbp.cpu.use(before)


def test_unknown_instruction_sets():
    before = fastbp.cpu.isa()
    for bad in ("mmx", "", None, 3, "AVX2 "):
        with pytest.raises(ValueError, match="^name must be an instruction set available here .*portable"):
            fastbp.cpu.use(bad)
    assert fastbp.cpu.isa() == before
    run = attempt("import fastbp", FASTBP_ISA="mmx")
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode
    assert re.match("ValueError: the environment variable FASTBP_ISA must be one of portable.*'mmx'", last)


def test_a_checkout_that_is_not_compiled(tmp_path):
    source = Path(fastbp.__file__).parent
    shutil.copytree(source, tmp_path / "fastbp", ignore=shutil.ignore_patterns("_core*", "__pycache__"))
    run = subprocess.run([sys.executable, "-c", "import fastbp"], cwd=tmp_path, capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode and last.startswith(f"ImportError: fastbp in {tmp_path} is not compiled: run 'pip install .'")


def test_number_of_threads():
    code = "import fastbp; print(fastbp.cpu.threads())"
    assert python(code, FASTBP_NUM_THREADS="3") == "3"
    cores = fastbp.cpu.cores()
    assert python(code, OMP_NUM_THREADS="") == str(cores)
    assert python(code, OMP_NUM_THREADS="1") == "1"
    assert python(code, OMP_NUM_THREADS="1,4") == "1"
    assert python(code, OMP_NUM_THREADS=str(cores + 1)) == str(cores), "an upper bound only"
    assert python(code, OMP_NUM_THREADS="many") == str(cores), "other libraries' syntax is not ours to refuse"
    assert python(code, OMP_NUM_THREADS="1", FASTBP_NUM_THREADS="3") == "3"
    assert (
        python("import fastbp; from fastbp import _core; _core.set_core_quota(1); " + code, OMP_NUM_THREADS="") == "1"
    )
    for bad in ("0", "-1", "two", "1.5", "1000000"):
        run = attempt(code, FASTBP_NUM_THREADS=bad)
        assert run.returncode and "ValueError: the environment variable FASTBP_NUM_THREADS must be" in run.stderr
