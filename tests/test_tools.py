"""The tools around the code: builds that setup.py knows, the quick subset of the tests, workflows and hooks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_house import FAMILIES

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="needs a checkout")


# ------------------------------------------------------------------------------------------------------------- builds


def flags_of(build, monkeypatch):
    """The compiler's and the linker's flags of the extension when FASTBP_BUILD is `build`."""
    pytest.importorskip("Cython")
    setuptools = pytest.importorskip("setuptools")
    found = {}
    monkeypatch.setenv("FASTBP_BUILD", build)
    monkeypatch.setattr("Cython.Build.cythonize", lambda extensions, **options: extensions)
    monkeypatch.setattr(setuptools, "setup", found.update)
    monkeypatch.chdir(ROOT)
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    exec(compile(source, str(ROOT / "setup.py"), "exec"), {"__name__": "__main__", "__file__": str(ROOT / "setup.py")})
    [extension] = found["ext_modules"]
    return extension.extra_compile_args, extension.extra_link_args


@pytest.mark.parametrize("build", ["", "release"])
def test_the_release_build_has_no_debug_information(build, monkeypatch):
    compiler, linker = flags_of(build, monkeypatch)
    assert "-g0" in compiler and "-g" not in compiler and not any("sanitize" in flag for flag in compiler + linker)


def test_the_debug_build(monkeypatch):
    compiler, linker = flags_of("debug", monkeypatch)
    assert {"-O0", "-g"} <= set(compiler) and "-g0" not in compiler


@pytest.mark.parametrize("build, flag", [("sanitize", "address,undefined"), ("sanitize-threads", "thread")])
def test_the_sanitizer_builds(build, flag, monkeypatch):
    compiler, linker = flags_of(build, monkeypatch)
    assert f"-fsanitize={flag}" in compiler and f"-fsanitize={flag}" in linker and "-DFBP_SMALL" in compiler


def test_an_unknown_build_is_refused(monkeypatch):
    known = "release, debug, sanitize, sanitize-threads"
    with pytest.raises(SystemExit, match=f"FASTBP_BUILD must be one of {known}, got 'fast'"):
        flags_of("fast", monkeypatch)


def test_the_builds_are_documented():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "FASTBP_BUILD=debug" in text and "FASTBP_BUILD=sanitize" in text and 'pytest -m "not slow"' in text


# -------------------------------------------------------------------------------------------------- the quick subset


@pytest.fixture(scope="module")
def quick_tests():
    """{file: number of its tests without the mark `slow`}"""
    command = [sys.executable, "-m", "pytest", "-qq", "--collect-only", "-p", "no:cacheprovider", "-m", "not slow"]
    run = subprocess.run([*command, "tests"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return {Path(name).stem: int(count) for name, count in re.findall(r"^(\S+\.py): (\d+)$", run.stdout, re.M)}


@pytest.mark.slow
def test_every_family_has_quick_tests(quick_tests):
    few = {name for name in FAMILIES if quick_tests.get(f"test_{name}", 0) < 5}
    assert few == set()


@pytest.mark.slow
def test_slow_files_are_there_and_have_no_quick_tests(quick_tests):
    from conftest import SLOW

    assert {name for name in SLOW if not (ROOT / "tests" / f"{name}.py").exists()} == set()
    assert SLOW & set(quick_tests) == set()


# ------------------------------------------------------------------------------------------------ workflows and hooks


def yaml_files():
    return [ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))]


def extras():
    import tomllib

    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["optional-dependencies"]


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: path.stem)
def test_yaml_is_read(path):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_use_what_is_there(path):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    assert jobs
    for job in jobs.values():
        commands = "\n".join(step["run"] for step in job["steps"] if "run" in step)
        assert job["steps"] and job["runs-on"]
        for script in re.findall(r"(?:^|\s)(\.ci/\S+)", commands):
            assert os.access(ROOT / script, os.X_OK), script
        for name in re.findall(r"tests/\w+\.py", commands):
            assert (ROOT / name).exists(), name
        for names in re.findall(r"pip install '\.\[(.*?)\]'", commands):
            assert set(names.split(",")) <= set(extras())


def test_hooks_and_linters_come_with_the_extra():
    named = {re.match(r"[\w-]+", requirement)[0] for requirement in extras()["dev"]}
    hooks = set(re.findall(r"^ +entry: ([\w-]+)", (ROOT / ".pre-commit-config.yaml").read_text(), re.M))
    linters = set(re.findall(r"^check ([\w-]+)", (ROOT / ".ci" / "lint").read_text(), re.M))
    assert {"ruff", "clang-format", "mypy"} <= hooks <= named
    assert {"ruff", "clang-format", "mypy", "pyright"} == linters <= named
