"""The archives of a release: .ci/wheels, which builds and checks them, and the workflow that publishes them.

The tests with the mark `wheels` compile with zig, of the extra `wheels`: about two minutes of processor time.
"""

import hashlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / ".ci" / "wheels"
EPOCH = "1700000000"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="needs a checkout")
WITHOUT_ZIG = not importlib.util.find_spec("ziglang") or not sys.platform.startswith("linux")


def compiles(test):
    """Marks of a test that compiles with zig."""
    test = pytest.mark.skipif(WITHOUT_ZIG, reason="needs Linux and the extra `wheels`")(test)
    return pytest.mark.slow(pytest.mark.wheels(test))


@pytest.fixture(scope="module")
def script():
    """.ci/wheels as a module."""
    loader = importlib.machinery.SourceFileLoader("wheels", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("wheels", loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def workflow():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------------------------------- the checks


@pytest.fixture(scope="module")
def compiler():
    found = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if found is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    return found


GOOD = ["-fvisibility=hidden", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"]
NO_RELRO = "lacks full RELRO: its table of addresses stays writable"
SOURCE = '__attribute__((visibility("default"))) int PyInit__core(void) { return 0; }\n'


@pytest.mark.parametrize(
    "source, flags, fault",
    [
        (SOURCE, GOOD, None),
        (SOURCE + "int other(void) { return 1; }\n", GOOD[1:], "exports PyInit__core, other; expected PyInit__core"),
        ("int other(void) { return 1; }\n", GOOD, "exports ; expected PyInit__core"),
        (SOURCE, [*GOOD, "-Wl,-rpath,/opt/lib", "-Wl,--enable-new-dtags"], "has DT_RUNPATH /opt/lib"),
        (SOURCE, [*GOOD, "-Wl,-rpath,/opt/lib", "-Wl,--disable-new-dtags"], "has DT_RPATH /opt/lib"),
        (SOURCE, [GOOD[0], GOOD[2], "-Wl,-z,relro,-z,lazy"], NO_RELRO),
        (SOURCE, [GOOD[0], GOOD[2], "-Wl,-z,norelro,-z,now"], NO_RELRO),
        (SOURCE, [*GOOD[:2], "-Wl,-z,execstack"], "asks for an executable stack"),
    ],
    ids=["good", "exports", "no-export", "runpath", "rpath", "lazy", "no-relro", "stack"],
)
def test_faults_of_shared_libraries_are_found(script, compiler, tmp_path, source, flags, fault):
    (tmp_path / "a.c").write_text(source)
    run = [compiler, "-shared", "-fPIC", *flags, "-o", tmp_path / "a.so", tmp_path / "a.c"]
    subprocess.run(run, check=True, capture_output=True)
    with open(tmp_path / "a.so", "rb") as file:
        assert script.faults_of_elf(file) == ([fault] if fault else [])


def test_faults_of_wheels_are_found(script, tmp_path):
    def faults(name, **members):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as wheel:
            for member, content in members.items():
                wheel.writestr(member.replace("__", "."), content)
        return script.faults_of_wheel(path)

    wheel = "fastbp-1.0.0-cp311-abi3-win_amd64.whl"
    assert faults(wheel, _core__pyd=b"") == []
    assert faults(wheel) == ["has 0 extensions, not one: "]
    assert faults(wheel, a__pyd=b"", b__so=b"") == ["has 2 extensions, not one: a.pyd, b.so"]
    [fault] = faults(wheel, _core__pyd=os.urandom(script.MOST_BYTES))
    assert re.fullmatch(r"has 2,000,\d+ bytes; at most 2,000,000 are allowed", fault)


@pytest.mark.parametrize(
    "name, reported, right",
    [
        ("manylinux2014_x86_64", "manylinux_2_17_x86_64", True),
        ("manylinux2014_x86_64", "manylinux_2_5_x86_64", True),
        ("manylinux2014_x86_64", "manylinux_2_34_x86_64", False),
        ("manylinux2014_x86_64", "manylinux_2_17_aarch64", False),
        ("manylinux2014_x86_64", "musllinux_1_2_x86_64", False),
        ("manylinux2014_x86_64", "linux_x86_64", False),
        ("manylinux_2_9_x86_64", "manylinux_2_17_x86_64", False),
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_17_x86_64", True),
        ("manylinux_2_28_x86_64.manylinux2014_x86_64", "manylinux_2_28_x86_64", False),
        ("musllinux_1_2_aarch64", "musllinux_1_1_aarch64", True),
        ("musllinux_1_1_aarch64", "musllinux_1_2_aarch64", False),
        ("linux_x86_64", "manylinux_2_17_x86_64", False),
    ],
)
def test_platforms_are_compared(script, monkeypatch, name, reported, right):
    report = f'fastbp.whl\nis consistent with the following\nplatform tag: "{reported}".\n\nThe wheel references ...'
    monkeypatch.setattr(script, "tool", lambda *arguments, **options: report)
    faults = script.faults_of_platform(Path("fastbp.whl"), name)
    assert faults == ([] if right else [f"is of the platform {name} by name, and of {reported} by its symbols"])


def test_unknown_platforms_are_refused():
    run = [sys.executable, SCRIPT, "build", "manylinux1_i686"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "tag must be one of manylinux2014_x86_64, " in done.stderr
    assert done.stderr.strip().endswith("got manylinux1_i686")


# ------------------------------------------------------------------------------------------------------- the archives


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def build(folder, *tags, home):
    """Build archives with .ci/wheels, in temporary folders below `home`."""
    home.mkdir()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "TMPDIR": str(home)}
    command = [sys.executable, SCRIPT, "build", "--folder", folder, *tags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source distribution, and the wheel for this machine with the oldest C library."""
    folder = tmp_path_factory.mktemp("archives")
    return build(folder / "dist", this_tag(), home=folder / "scratch")


def this_tag():
    return f"manylinux2014_{os.uname().machine}"


def sdist(folder, source, mask=0o022):
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, timeout=300, umask=mask)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="changes the umask")
def test_source_distributions_have_the_same_bytes(tmp_path):
    """Whatever the time, the times and modes of the files, and the umask; and where one was made before."""
    pytest.importorskip("Cython")
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("needs setuptools 77")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("fastbp", "src_c", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    first = digests(sdist(tmp_path / "a", tree))
    assert len(first) == 1
    for path in tree.rglob("*.*"):
        if path.is_file():
            path.chmod(0o664)
            os.utime(path, (1e9, 1e9))
    assert digests(sdist(tmp_path / "b", tree, mask=0o002)) == first
    with tarfile.open(next((tmp_path / "a").iterdir())) as tar:
        members = tar.getmembers()
    assert {member.mtime for member in members} == {int(EPOCH)}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}


@compiles
def test_archives_have_the_same_bytes(archives, tmp_path):
    assert digests(build(tmp_path / "dist", this_tag(), home=tmp_path / "another folder")) == digests(archives)


@compiles
def test_archives_pass_every_check(script, archives):
    names = sorted(path.name for path in archives.iterdir())
    assert len(names) == 2 and names[0].endswith(f"-cp311-abi3-{this_tag()}.whl") and names[1].endswith(".tar.gz")
    script.check(sorted(archives.iterdir()))
    with zipfile.ZipFile(archives / names[0]) as wheel:
        assert [name for name in wheel.namelist() if name.endswith(".so")] == ["fastbp/_core.abi3.so"]
        core = wheel.read("fastbp/_core.abi3.so")
    for folder in {os.fsencode(ROOT), os.fsencode(sys.prefix), sysconfig.get_config_var("base").encode()} - {b"/usr"}:
        assert folder not in core, "the extension names a folder of the machine that built it"


@compiles
def test_the_wheel_computes_the_golden_bits(archives, tmp_path):
    """zig's clang has the bits of the compiler at hand, and of the golden files."""
    [wheel] = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    code = "import fastbp._core; print(fastbp._core.__file__, fastbp._core.compiler())"
    run = [sys.executable, "-c", code]
    used = subprocess.run(run, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout
    assert used.startswith(f"{tmp_path}{os.sep}") and " clang " in used
    files = ["tests/test_determinism.py", "tests/test_training.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *files]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:]


@compiles
@pytest.mark.parametrize("target", ["aarch64-macos", "x86_64-windows-gnu"])
def test_the_core_compiles_for_other_systems(target, tmp_path):
    """All of src_c, without a warning, for systems that this machine cannot run."""
    [*isas] = ["portable", "neon"] if target.startswith("aarch64") else ["portable", "avx2", "avx512"]
    flags = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]}
    sources = [(path, []) for path in sorted((ROOT / "src_c").glob("*.c"))]
    sources += [(path, flags.get(isa, [])) for isa in isas for path in (ROOT / "src_c" / "isa").glob(f"{isa}_*.c")]
    assert len(sources) >= 10 + 2 * len(isas)

    def compiled(source):
        path, more = source
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-O0", "-fno-sanitize=all"]
        command += ["-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument", f"-I{ROOT / 'src_c'}", *more]
        command += ["-c", path, "-o", tmp_path / f"{path.stem}.o"]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for done in workers.map(compiled, sources):
            assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------------- the workflow


def steps_of(workflow):
    return [(name, step) for name, job in workflow["jobs"].items() for step in job["steps"]]


def test_actions_are_pinned_to_commits(workflow):
    used = [step["uses"] for _, step in steps_of(workflow) if "uses" in step]
    assert len(used) >= 10
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)] == []
    text = (ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8")
    versions = dict(re.findall(r"uses: (\S+) # (v\d+\.\d+\.\d+)$", text, re.M))
    assert set(versions) == set(used), "the version stands beside the commit"
    assert len({name.partition("@")[0] for name in versions}) == len(versions), "one commit of each action"


def test_only_publishing_may_do_more_than_read(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert granted == {"publish": {"contents": "read", "id-token": "write", "attestations": "write"}}
    assert "secrets." not in str(workflow), "trusted publishing needs no token"
    checkouts = [step for _, step in steps_of(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)
    # Code of the packages that it would install could use the permissions.
    assert not [step for step in workflow["jobs"]["publish"]["steps"] if "run" in step]


def test_only_tags_are_published_and_only_after_every_check(workflow):
    jobs = workflow["jobs"]
    publish = jobs["publish"]
    assert publish["if"] == "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')"
    assert workflow[True]["push"] == {"tags": ["v*"]}  # YAML 1.1 reads `on` as true
    assert publish["environment"]["name"] == "pypi"
    needed, open_ = set(), ["publish"]
    while open_:
        needs = jobs[open_.pop()].get("needs", [])
        new = {needs} if isinstance(needs, str) else set(needs)
        open_ += new - needed
        needed |= new
    assert needed == set(jobs) - {"publish"}
    names = [step["uses"].partition("@")[0] for step in publish["steps"]]
    assert names[-1] == "pypa/gh-action-pypi-publish"
    attested = [step["with"] for step in publish["steps"] if step["uses"].startswith("actions/attest@")]
    assert [with_["subject-path"] for with_ in attested] == ["dist/*", "dist/*"]
    assert [with_.get("sbom-path") for with_ in attested] == [None, "sbom/fastbp.cdx.json"]
    [sbom] = [step["with"] for step in steps_of_job(jobs["check"], "actions/upload-artifact") if "sbom" in str(step)]
    assert sbom["name"] == "sbom" and sbom["path"] == "fastbp.cdx.json"


def steps_of_job(job, action):
    return [step for step in job["steps"] if step.get("uses", "").startswith(f"{action}@")]


def test_what_is_built_is_published(workflow):
    """Every uploaded folder of archives is one that `publish` downloads."""
    jobs = workflow["jobs"]
    [archives, sbom] = [step["with"] for step in steps_of_job(jobs["publish"], "actions/download-artifact")]
    assert archives == {"pattern": "archives-*", "path": "dist", "merge-multiple": True}
    assert sbom == {"name": "sbom", "path": "sbom"}
    names = {
        name: [step["with"]["name"] for step in steps_of_job(job, "actions/upload-artifact")]
        for name, job in jobs.items()
    }
    assert names == {
        **dict.fromkeys(jobs, []),
        "linux": ["${{ matrix.attempt }}-linux"],
        "cibuildwheel": ["archives-${{ matrix.os }}"],
        "check": ["sbom"],
    }
    assert jobs["linux"]["strategy"]["matrix"]["attempt"] == ["archives", "again"]
    commands = [step["run"] for _, step in steps_of(workflow) if "run" in step]
    assert ".ci/wheels build" in commands and "diff -r archives-linux again-linux" in commands
    assert commands.count(".ci/wheels check dist/*") == 2 and ".ci/wheels test dist/*.whl" in commands
    assert any(".ci/wheels test --numpy-only dist/*.whl" in command for command in commands)


def test_every_system_has_a_runner(workflow):
    jobs = workflow["jobs"]
    machines = {"ubuntu-24.04", "ubuntu-24.04-arm"}
    assert set(jobs["test-linux"]["strategy"]["matrix"]["os"]) == machines
    assert set(jobs["test-musl"]["strategy"]["matrix"]["os"]) == machines
    systems = {name.split("-")[0] for name in jobs["cibuildwheel"]["strategy"]["matrix"]["os"]}
    assert machines < set(jobs["cibuildwheel"]["strategy"]["matrix"]["os"])
    assert systems == {"ubuntu", "macos", "windows"}


# ------------------------------------------------------------------------------------------------------ cibuildwheel


def test_pyproject_follows_its_schemas():
    """[tool.cibuildwheel] among others, whose options are named there."""
    if not importlib.util.find_spec("validate_pyproject"):
        pytest.skip("validate-pyproject is not installed")
    command = [sys.executable, "-m", "validate_pyproject", ROOT / "pyproject.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


BUILDS = {
    ("linux", "x86_64"): {"cp314t-manylinux_x86_64", "cp314t-musllinux_x86_64"},
    ("linux", "aarch64"): {"cp314t-manylinux_aarch64", "cp314t-musllinux_aarch64"},
    ("macos", "arm64"): {"cp311-macosx_arm64", "cp314-macosx_arm64", "cp314t-macosx_arm64"},
    ("windows", "AMD64"): {"cp311-win_amd64", "cp314-win_amd64", "cp314t-win_amd64"},
}


@pytest.mark.parametrize("platform, machine", BUILDS)
def test_builds_are_selected(platform, machine):
    """cibuildwheel reads its own configuration. 3.11 makes the wheel that 3.14 tests."""
    if not importlib.util.find_spec("cibuildwheel"):
        pytest.skip("cibuildwheel is not installed")
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    done = subprocess.run(
        [*command, "--archs", machine, ROOT], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and set(done.stdout.split()) == BUILDS[platform, machine], done.stdout + done.stderr


def test_wheels_are_tested_as_installed(project, script):
    config = project["tool"]["cibuildwheel"]
    [free_threaded] = config["overrides"]
    for options in (config, free_threaded):
        assert options["test-command"].startswith('python -m pytest -m "not slow" {project}/tests')
    files = [f"tests/test_{name}.py" for name in script.NUMPY_TESTS]
    assert re.findall(r"\{project\}/(\S+)", free_threaded["test-command"]) == files
    assert all((ROOT / name).exists() for name in files)
    assert config["test-environment"] == {"PYTHONSAFEPATH": "1"}
    assert set(config["test-extras"]) <= set(project["project"]["optional-dependencies"])
    assert "test-skip" not in config


def test_one_version_of_zig(project, script):
    """Windows wheels and Linux wheels come from the same compiler, with the same flags."""
    windows = project["tool"]["cibuildwheel"]["windows"]
    [zig] = [name for name in project["project"]["optional-dependencies"]["wheels"] if name.startswith("ziglang")]
    assert re.fullmatch(r"ziglang==\d+\.\d+\.\d+", zig) and windows["before-build"] == f"pip install {zig}"
    # Without a target the code would be for the processor of the machine that builds.
    expected = ["python-zig", "cc", "-target", "x86_64-windows-gnu", *script.ZIG_FLAGS]
    assert windows["environment"]["CC"].split() == expected


def test_the_extra_has_what_builds_need(project):
    """.ci/wheels builds in the environment it runs in."""
    assert set(project["build-system"]["requires"]) <= set(project["project"]["optional-dependencies"]["wheels"])


# ------------------------------------------------------------------------------------------------------------ setup.py


def test_an_ordinary_build_has_full_relro_and_no_path_of_its_machine(script):
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    from fastbp import _core

    if os.environ.get("FASTBP_BUILD") == "sanitize":
        pytest.skip("the sanitizers export symbols")
    with open(_core.__file__, "rb") as file:
        if file.read(4) != b"\x7fELF":
            pytest.skip("not an ELF file")
        assert script.faults_of_elf(file) == []
