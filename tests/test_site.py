"""The site is built without a warning, and has an entry for every public name."""

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import fastbp as fb

ROOT = Path(fb.__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GENERATOR = ("sphinx", "myst_parser", "furo", "numpydoc", "sklearn")  # the last one for the estimators' docstrings

pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(not DOCS.exists(), reason="fastbp was not imported from a checkout, which holds the pages"),
    *(
        pytest.mark.skipif(not importlib.util.find_spec(name), reason=f"{name} is not installed: pip install '.[docs]'")
        for name in GENERATOR
    ),
]


def build(source, target):
    """Run Sphinx, warnings being errors; what it says."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", source, target]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    status, said = build(DOCS, target)
    assert status == 0, said
    return target


def inventory(site):
    """The names that the site describes."""
    first, *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    assert first == b"# Sphinx inventory version 2"
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines() if " py:" in line}


def public_names():
    """fastbp's names, and those of its public modules: what their __all__ has, else the classes they define."""
    for name in dir(fb):
        yield f"fastbp.{name}"
        module = getattr(fb, name)
        if inspect.ismodule(module):
            for inner, value in vars(module).items():
                if getattr(fb, inner, None) is value:
                    continue  # described under its shorter name
                own = getattr(value, "__module__", None) == module.__name__ and not inner.startswith("_")
                base = inspect.isclass(value) and not vars(value).get("name") and value.__subclasses__()
                if inner in getattr(module, "__all__", ()) or own and inspect.isclass(value) and not base:
                    yield f"fastbp.{name}.{inner}"


def test_every_public_name_has_an_entry(site):
    names = set(public_names()) - {"fastbp.__version__"}
    assert {"fastbp.Trainer", "fastbp.schedules.Cosine", "fastbp.ops.gemm", "fastbp.cpu.use"} <= names
    assert len(names) > 180
    assert sorted(names - inventory(site)) == []


def test_every_page_is_in_a_menu(site):
    """Sphinx warns of a page that no menu has; here each has become one."""
    pages = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")} - {Path("README.html")}
    assert [str(page) for page in pages if not (site / page).exists()] == []


@pytest.mark.parametrize(
    "fault, said",
    [
        ("See [this](nowhere.md).", "nowhere.md"),
        ("{py:class}`fastbp.Nothing`", "fastbp.Nothing"),
        ("```{eval-rst}\n.. autoclass:: fastbp.Nothing\n```", "Nothing"),
    ],
)
def test_a_fault_is_found(fault, said, tmp_path):
    shutil.copy(DOCS / "conf.py", tmp_path)
    (tmp_path / "index.md").write_text(f"# A page\n\n{fault}\n")
    status, warnings = build(tmp_path, tmp_path / "out")
    assert status != 0 and said in warnings
