"""The house rules: who may know whom, what a family consists of, and what must not be found anywhere.

Python is read with ast, C with comments and strings taken out and regular expressions. Each rule has a planted
violation that it must find: the scanners are tested, too.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastbp"
SOURCES = ROOT / "src_c"

# One word names a family's kernel, operations, twin, test and bench. rng has a C file of its own, too.
FAMILIES = ["gemm", "dense", "activation", "softmax", "loss", "norm", "dropout", "optimizer", "reduce", "rng"]

# ----------------------------------------------------------------------------------------------- Python: who knows whom

# Hyperparameters and shapes, no maths.
DECLARED = {
    "_support.declarative",
    "_support.network_steps",
    "_support.plan_spec",
    "_support.random_streams",
    "errors",
    "initializers",
    "layers",
    "losses",
    "optimizers",
    "schedules",
}

SHARED_TRAINING = {"training.batches", "training.data", "training.history", "training.loss_function", "training.run"}
TRAINING = SHARED_TRAINING | {"training.", "training.engine", "training.settings"}

# Room or module of fastbp -> the rooms and modules that it may import. "ops" is the folder's __init__, "ops." stands
# for all modules in the folder that have no line of their own. Imports for annotations alone (TYPE_CHECKING) do not
# count.
MAY_KNOW = {
    "_support": set(),
    "_support.declarative": set(),
    "_support.network_steps": {"_support.declarative", "_support.plan_spec", "initializers", "layers"},
    "_support.plan_spec": set(),
    "_support.random_streams": set(),
    "_support.cpu_quota": set(),
    "_support.storage": set(),
    "_support.wording": set(),
    "_support.arguments": {"_core", "_support.declarative"},
    "_support.initial_values": DECLARED | {"_core"},
    "errors": set(),
    "initializers": {"_support.declarative"},
    "layers": {"_support.declarative", "initializers"},
    "losses": {"_support.declarative"},
    "optimizers": {"_support.declarative"},
    "schedules": {"_support.declarative"},
    "metrics": {"_support.declarative"},
    "callbacks": {"_support.declarative", "_support.storage", "metrics"},
    "cpu": {"_core", "_support.cpu_quota"},
    "datasets": {"_core", "_support.declarative", "_support.random_streams"},
    "ops.": DECLARED | {"_core", "_support.arguments"},
    "ops": {"ops."},
    "network": DECLARED | {"_core", "_support.arguments", "_support.initial_values", "_support.storage"},
    "training": set(),
    # These modules serve the twin as well, which must not know the core.
    "training.batches": {"_support.declarative"},
    "training.data": {"_support.declarative", "_support.random_streams"},
    "training.history": {"_support.declarative", "_support.storage"},
    "training.loss_function": {"_support.declarative"},
    "training.run": {"_support.declarative", "callbacks", "metrics", "training.history"},
    "training.thread_tuner": set(),
    # The engine knows neither the run nor callbacks.
    "training.settings": DECLARED | {"network", "training.loss_function"},
    "training.engine": DECLARED
    | {"_core", "_support.arguments", "network", "training.data", "training.settings", "training.thread_tuner"},
    "training.": DECLARED | TRAINING | {"_core", "_support.arguments", "_support.storage", "network"},
    "trainer": DECLARED | TRAINING | {"_support.arguments", "network"},
    "reference.": DECLARED | SHARED_TRAINING | {"reference."},
    "reference": {"reference."},
    "derivatives.numerical": {"_support.declarative", "errors"},
    "derivatives.forward_mode": set(),
    "derivatives.second_order": DECLARED
    | {"derivatives.forward_mode", "network", "reference", "reference.", "trainer"},
    "derivatives.network_check": DECLARED
    | {"derivatives.numerical", "network", "ops", "reference", "reference.", "trainer", "training.loss_function"},
    "derivatives": {"derivatives.network_check", "derivatives.numerical", "derivatives.second_order"},
    "bench.": {"", "_core", "_support.storage", "bench.", "reference"},
    "bench": set(),
    "tabular.reading": {"_support.wording"},
    "tabular.kinds": {"tabular.reading"},
    "tabular.scaling": set(),
    "tabular.checks": {"_support.declarative"},
    "tabular.inputs": {
        "_support.declarative",
        "_support.wording",
        "tabular.checks",
        "tabular.kinds",
        "tabular.reading",
        "tabular.scaling",
    },
    "tabular.targets": {
        "_support.declarative",
        "tabular.checks",
        "tabular.kinds",
        "tabular.reading",
        "tabular.scaling",
    },
    "tabular.model_file": {
        "_support.declarative",
        "_support.storage",
        "network",
        "tabular.inputs",
        "tabular.targets",
    },
    "tabular": {"tabular.inputs", "tabular.model_file", "tabular.reading", "tabular.targets"},
    "cli.": DECLARED
    | {
        "",
        "_core",
        "_support.storage",
        "_support.wording",
        "bench.",
        "callbacks",
        "cli.",
        "datasets",
        "network",
        "reference",
        "tabular",
        "trainer",
        "training.history",
    },
    "cli": {"cli."},
    "": DECLARED
    | {
        "callbacks",
        "cpu",
        "datasets",
        "derivatives",
        "estimators",
        "metrics",
        "network",
        "ops",
        "reference",
        "tabular",
        "trainer",
        "training.history",
    },
    "__main__": {"cli"},
    "estimators.": DECLARED | {"callbacks", "estimators.", "network", "ops", "trainer", "training.loss_function"},
    "estimators": {"estimators."},
}
OPTIONAL = {
    "_support.storage": {"safetensors"},
    "training.full_batch": {"scipy"},
    "training.history": {"matplotlib", "pandas"},
    "tabular.reading": {"pandas"},
    "callbacks": {"tqdm"},
    "reference.trainer": {"scipy"},
}  # imported within a function, when it is needed
# What a folder is for, imported at the top: the folder is imported when it is first used. By rule.
NEEDED = {"estimators": {"sklearn"}, "estimators.": {"joblib", "scipy", "sklearn"}}


def name_of(path):
    """A module's name within fastbp: "trainer", "ops.dense", "ops." for the folder itself, "" for fastbp."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def rule_of(module):
    """The line of MAY_KNOW for a module: its own, or that of its folder."""
    own = module.removesuffix(".")
    return own if own in MAY_KNOW or "." not in own else own.split(".")[0] + "."


def imports(source, module, known=MODULES):
    """What a module imports: a list of (module, at the top?); modules of fastbp as ".name", others as "name"."""
    tree = ast.parse(source)
    at_top = {id(statement) for statement in tree.body}
    found = []
    for_annotations = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }

    def inside(name):
        if name in known or name == "_core":
            return "." + name
        return "." + name + "." if name + "." in known else None

    for node in ast.walk(tree):
        if id(node) in for_annotations:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name
                if name.split(".")[0] == "fastbp":
                    name = inside(name.removeprefix("fastbp").removeprefix(".")) or "." + name
                found.append((name, id(node) in at_top))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = module.split(".")[:-1] if "." in module else []
                folder = folder[: len(folder) - (node.level - 1)]
                base = ".".join([*folder, *filter(None, [base])])
            elif base.split(".")[0] == "fastbp":
                base = base.removeprefix("fastbp").removeprefix(".")
            else:
                found.append((base, id(node) in at_top))
                continue
            for alias in node.names:  # a module of that name, or else something from within the base module
                name = inside(f"{base}.{alias.name}" if base else alias.name) or inside(base) or "." + base
                found.append((name, id(node) in at_top))
    return found


def wrong_imports(source, module):
    """The imports of a module that the house does not allow."""
    allowed = MAY_KNOW[rule_of(module)]
    wrong = []
    for name, at_top in imports(source, module):
        if name.startswith("."):
            if rule_of(name[1:]) not in allowed:
                wrong.append(name)
        else:
            root = name.split(".")[0]
            optional = root in OPTIONAL.get(module, ()) and not at_top or root in NEEDED.get(rule_of(module), ())
            numpy_here = root == "numpy" and rule_of(module) not in DECLARED
            if root not in sys.stdlib_module_names and not numpy_here and not optional:
                wrong.append(name)
    return wrong


def test_every_module_has_its_rule():
    assert {rule_of(module) for module in MODULES} == MAY_KNOW.keys()


def on_a_circle(graph):
    """The nodes of a graph {node: nodes that it knows} from which a path leads back to them."""
    found = []
    for node in graph:
        reached, waiting = set(), set(graph[node])
        while waiting:
            now = waiting.pop()
            reached.add(now)
            waiting |= graph.get(now, set()) - reached
        if node in reached:
            found.append(node)
    return found


def test_rules_go_downward():
    """A path of rules never leads back. (The modules of one room may know each other: see the next test.)"""
    rules = {room: known - {room} for room, known in MAY_KNOW.items()}
    assert on_a_circle(rules) == []
    assert set().union(*rules.values()) <= MAY_KNOW.keys() | {"_core"}


def test_imports_go_downward():
    """No module imports itself by way of others, within a room either."""
    graph = {}
    for module, path in MODULES.items():
        graph[module] = {name[1:] for name, _ in imports(path.read_text(), module) if name.startswith(".")} - {module}
    assert on_a_circle(graph) == []


def test_the_scan_for_circles():
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"e", "a"}, "e": {"f"}, "f": {"d"}}
    assert on_a_circle(graph) == ["d", "e", "f"]


@pytest.mark.parametrize("module", MODULES)
def test_imports(module):
    assert wrong_imports(MODULES[module].read_text(), module) == []


@pytest.mark.parametrize(
    "module, source, wrong",
    [
        ("layers", "import numpy as np", ["numpy"]),
        ("layers", "from .network import Network", [".network"]),
        ("layers", "def f():\n    from . import trainer", [".trainer"]),
        ("losses", "import fastbp.network", [".network"]),
        ("network", "from .trainer import Trainer", [".trainer"]),
        ("network", "from fastbp.trainer import Trainer", [".trainer"]),
        ("network", "from . import ops", [".ops."]),
        ("_support.arguments", "from ..ops import gemm", [".ops.gemm"]),
        ("_support.arguments", "import fastbp", ["."]),
        ("ops.dense", "from ..network import Network", [".network"]),
        ("ops.dense", "from .gemm import gemm", [".ops.gemm"]),
        ("reference.dense", "from .. import _core", ["._core"]),
        ("reference.dense", "from .._support.arguments import array", ["._support.arguments"]),
        ("reference.dense", "from ..ops.dense import dense_forward", [".ops.dense"]),
        ("reference.dense", "from . import gemm", []),
        ("reference.dense", "import scipy.special", ["scipy.special"]),
        ("_support.storage", "import safetensors.numpy", ["safetensors.numpy"]),
        ("_support.storage", "def f():\n    import safetensors.numpy", []),
        ("trainer", "if True:\n    import torch", ["torch"]),
        ("derivatives.numerical", "import fastbp.reference.rng", [".reference.rng"]),
        ("derivatives.forward_mode", "from .._support.declarative import number", ["._support.declarative"]),
        ("derivatives.second_order", "import scipy", ["scipy"]),
        (
            "estimators.base",
            "import sklearn.base\nfrom ..trainer import Trainer\nfrom .docstrings import documented",
            [],
        ),
        ("estimators.base", "import pandas\nfrom ..cli import main", ["pandas", ".cli."]),
        ("trainer", "from .estimators import MLPClassifier", [".estimators."]),
        ("training.engine", "from ..trainer import Trainer", [".trainer"]),
        ("training.engine", "from ..callbacks import Callback\nfrom .run import Run", [".callbacks", ".training.run"]),
        ("training.run", "from .engine import Engine", [".training.engine"]),
        ("training.run", "if TYPE_CHECKING:\n    from .engine import Engine", []),
        ("training.in_core", "from ..ops import gemm", [".ops.gemm"]),
        ("reference.trainer", "from ..training.engine import Engine", [".training.engine"]),
        ("callbacks", "from .training.history import LISTS", [".training.history"]),
        ("layers", "from ._support.arguments import array", ["._support.arguments"]),
    ],
)
def test_the_scan_of_imports(module, source, wrong):
    assert wrong_imports(source, module) == wrong


# ------------------------------------------------------------------------------ Python: private names stay at home

OF_NAMEDTUPLES = {"_asdict", "_fields", "_make", "_replace"}  # public, though their names begin with an underscore


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name not in OF_NAMEDTUPLES


def defined_in(cls):
    """The names that a class defines: of methods, of its attributes, and of those of its instances."""
    found = {node.name for node in cls.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def is_own(value):
    """Whether an expression stands for the object or the class that a method belongs to."""
    return ast.unparse(value) in ("self", "cls", "super()", "type(self)")


def private_uses(source):
    """The private names of others that a module uses: of objects of other classes, and of other modules of fastbp.

    A class may use its private names on any object: ``other._values`` in a method of the class that sets `_values`.
    """
    found = []

    def look(node, at_home):
        if isinstance(node, ast.ClassDef):
            at_home = at_home | defined_in(node)
        elif isinstance(node, ast.Attribute):
            if is_private(node.attr) and node.attr not in at_home and not is_own(node.value):
                if ast.unparse(node) != "fastbp._core":
                    found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "fastbp"):
            names = [alias.name for alias in node.names if is_private(alias.name)]
            found.extend(name for name in names if name not in ("_core", "_support"))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if is_private(name) and name not in at_home and not is_own(node.args[0]):
                found.append(ast.unparse(node))
        for child in ast.iter_child_nodes(node):
            look(child, at_home)

    look(ast.parse(source), frozenset())
    return found


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_at_home(module):
    assert private_uses(MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    "source, found",
    [
        ("class A:\n    def f(self, trainer):\n        return trainer._moments", ["trainer._moments"]),
        ("def f(trainer):\n    trainer.net._plan = None", ["trainer.net._plan"]),
        ("def f(trainer):\n    return getattr(trainer, '_write', None)", ["getattr(trainer, '_write', None)"]),
        ("from .network import _dtype", ["_dtype"]),
        ("from fastbp.network import Network, _dtype", ["_dtype"]),
        ("from . import network\nnetwork._dtype('float32')", ["network._dtype"]),
        ("class A:\n    _x = 1\nclass B:\n    def f(self, a):\n        return a._x", ["a._x"]),
        (
            "class A:\n    def __init__(self):\n        self._x = 1\n    def f(self, other):\n        return other._x",
            [],
        ),
        ("class A:\n    def f(self):\n        return self._x + super()._x + type(self)._of(record._replace(x=1))", []),
        ("from .. import _core\nfrom .._support import arguments\nfrom ._support.storage import read", []),
        ("from sklearn.utils.validation import _check_sample_weight", []),
    ],
)
def test_the_scan_of_private_names(source, found):
    assert private_uses(source) == found


# ------------------------------------------------------------------------------------------- Python: other rules


def core_sources():
    """The text of the Cython files, by their names within fastbp."""
    paths = [PACKAGE / "_core.pyx", *(PACKAGE / "core").iterdir()]
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in paths}


def wrong_in_core(sources):
    """What the rules of the Cython files do not allow: C is declared in two .pxd files, all other files are included by
    _core.pyx, which alone imports, and no file is long."""
    found = []
    included = set(re.findall(r"^include \"(.+)\"$", sources["_core.pyx"], re.M))
    for name, source in sources.items():
        headers = re.findall(r'cdef extern from "([^"]+)"', source)
        if headers != {"core/fbp.pxd": ["fbp.h"], "core/python.pxd": ["Python.h"]}.get(name, []):
            found.append(f"{name} declares {headers}")
        if name.endswith(".pxi") != (name in included):
            found.append(f"{name} is not included")
        for imported in re.findall(r"^import (\S+)|^from (\S+) c?import|^cimport (\S+)", source, re.M):
            module = "".join(imported)
            own = name == "_core.pyx" and module in ("numpy", "os", "weakref", "fastbp.core.fbp", "fastbp.core.python")
            if not own and not (module.startswith("libc.") and not name.endswith(".pxi")):
                found.append(f"{name} imports {module}")
        if len(source.splitlines()) > 750:
            found.append(f"{name} is longer than 750 lines")
    return found


def test_the_core_knows_c_by_its_header_alone():
    assert wrong_in_core(core_sources()) == []


@pytest.mark.parametrize(
    "name, text, wrong",
    [
        ("core/loss.pxi", 'cdef extern from "plan.h":\n    pass\n', "core/loss.pxi declares ['plan.h']"),
        ("core/loss.pxi", "from libc.math cimport sqrt\n", "core/loss.pxi imports libc.math"),
        ("core/loss.pxi", "import numpy\n", "core/loss.pxi imports numpy"),
        ("core/new.pxi", "", "core/new.pxi is not included"),
        ("_core.pyx", "from fastbp.layers import Dense\n", "_core.pyx imports fastbp.layers"),
        ("core/loss.pxi", "\n" * 751, "core/loss.pxi is longer than 750 lines"),
    ],
)
def test_the_scan_of_the_core(name, text, wrong):
    sources = core_sources()
    assert wrong_in_core({**sources, name: sources.get(name, "") + text}) == [wrong]


def test_nothing_imports_tests_or_benches():
    def names(path):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield "." * node.level + (node.module or "")
                yield from (alias.name for alias in node.names)

    users = [*PACKAGE.rglob("*.py"), *(ROOT / "examples").glob("*.py"), ROOT / "setup.py"]
    for path in users:
        for name in names(path):
            assert not re.search(r"(^|\.)(tests?|benches|bench_\w+|conftest|pytest)(_|\.|$)", name), (
                f"{path} imports {name}"
            )
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name in ("test_board.py", "test_growth.py"):  # what they test is there
            continue
        assert not any(name.lstrip(".").split(".")[0] == "benches" for name in names(path)), path
    for path in (ROOT / "benches").rglob("*.py"):
        assert not any(name.lstrip(".").split(".")[0] == "tests" for name in names(path)), path


def test_import_loads_nothing_optional():
    """`import fastbp` needs NumPy alone, and leaves alone what few scripts use."""
    code = (
        "import numpy, sys; before = set(sys.modules); import fastbp; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before})); "
        "print(*sorted(name for name in sys.modules if name.startswith('fastbp')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    roots, ours = (line.split() for line in done.stdout.splitlines())
    assert [r for r in roots if r not in sys.stdlib_module_names and "cython" not in r] == ["fastbp"]
    late = [
        "__main__",
        "bench",
        "cli",
        "datasets",
        "derivatives",
        "estimators",
        "reference",
        "tabular",
    ]
    assert not [name for name in ours if name.removeprefix("fastbp.").split(".")[0] in late], ours


# ---------------------------------------------------------------------------------------------------- C: who knows whom


def code_of(text):
    """C without comments, and strings empty but for those of #include."""
    pattern = r'//[^\n]*|/\*.*?\*/|(#\s*include[^\n]*)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def kept(match):
        if match[1]:
            return match[1]
        return '""' if match[0][0] in "\"'" else " "

    return re.sub(pattern, kept, text, flags=re.S)


def includes(text):
    return set(re.findall(r'#\s*include\s*([<"][^>"\n]+[>"])', code_of(text)))


def read(name):
    return (SOURCES / name).read_text()


SYSTEM_HEADERS = {
    "plan.c": "stdlib string sys/mman",
    "pass.c": "string",
    "loss.c": "float math string",
    "update.c": "math string",
    "overflow.c": "math stdlib string",
    "epoch.c": "math time",
    "calls.c": "",
    "pool.c": "pthread sched stdatomic string unistd",
    "cpu.c": "cpuid",
    "cache.c": "cpuid pthread stdatomic stdlib sys/sysctl unistd",
    "rng.c": "string",
}
VEC_HEADERS = {
    "avx2": {"<immintrin.h>"},
    "avx512": {"<immintrin.h>"},
    "neon": {"<arm_neon.h>"},
    "portable": {"<math.h>", "<string.h>"},
}
KERNELS = sorted(path.name for path in (SOURCES / "kernels").glob("*.h") if path.name != "table.h")
C_FILES = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.[ch]"))


def test_fbp_h_knows_nothing():
    assert includes(read("fbp.h")) == {"<stddef.h>", "<stdint.h>"}


PLAN_FILES = ("plan.c", "pass.c", "update.c", "overflow.c", "epoch.c", "calls.c")


def test_the_plan_and_its_neighbours_see_the_interface_alone():
    assert {path.name for path in SOURCES.glob("*.c")} == SYSTEM_HEADERS.keys()
    for name, system in SYSTEM_HEADERS.items():
        seen = {'"plan.h"'} if name in PLAN_FILES else {'"fbp.h"'}
        assert includes(read(name)) - {f"<{header}.h>" for header in system.split()} == seen, name
    assert includes(read("plan.h")) == {'"fbp.h"'}


def test_vec_knows_lanes_alone():
    assert {path.stem for path in (SOURCES / "vec").glob("*.h")} == {*VEC_HEADERS, "common", "math", "vec"}
    for isa, system in VEC_HEADERS.items():
        assert includes(read(f"vec/{isa}.h")) <= {'"common.h"'} | system, isa
    assert includes(read("vec/common.h")) == {"<stddef.h>", "<stdint.h>"}
    assert includes(read("vec/vec.h")) == {'"portable.h"'}
    assert includes(read("vec/math.h")) == {'"vec.h"'}


# Kernel header: the kernel headers whose names it uses.
KERNEL_MAY_KNOW = {
    "activation.h": set(),
    "tiles.h": {"activation.h"},
    "narrow.h": {"activation.h", "tiles.h"},
    "streams.h": {"activation.h", "tiles.h"},
    "gemm.h": {"narrow.h", "streams.h", "tiles.h"},
    "dense.h": {"gemm.h"},
    "softmax.h": set(),
    "loss.h": {"softmax.h"},
    "norm.h": {"activation.h"},
    "rng.h": set(),
    "dropout.h": {"rng.h"},
    "reduce.h": set(),
    "optimizer.h": {"reduce.h"},
}


def names_defined(text):
    """What a C header leaves defined: functions, as "name(", macros, enumeration constants, file-wide constants."""
    code = code_of(text)
    names = set(re.findall(r"^#\s*define (\w+)", code, re.M)) - set(re.findall(r"^#\s*undef (\w+)", code, re.M))
    for body in re.findall(r"(?m)^enum\b[^{;()]*\{([^}]*)\}", code):
        names |= set(re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", body))))
    names |= set(re.findall(r"^static const \w+ (\w+)", code, re.M))
    names |= set(re.findall(r"^(?:static|FBP_\w+)\b[^;{}=()]*?\b(\w+\()(?!\w+\)\()", code, re.M))
    return {name for name in names if not re.fullmatch(r"FBP_\w+_H|FBP\(", name)}


def wrong_includes(name, texts):
    """What kernel header `name` of `texts` (by name) includes without need or leave, or uses without including it."""
    allowed = KERNEL_MAY_KNOW[name]
    seen = includes(texts[name])
    wrong = {x for x in seen if x[0] == "<" and x not in ("<math.h>", "<string.h>")}
    wrong |= {
        x for x in seen if x[0] == '"' and x.strip('"') not in {"../fbp.h", "../vec/vec.h", "../vec/math.h"} | allowed
    }
    words = set(re.findall(r"\w+\(?", code_of(texts[name])))
    for other, text in texts.items():
        if other != name and bool(words & names_defined(text)) != (f'"{other}"' in seen):
            wrong.add(f'"{other}"')
    if not seen & {'"../vec/vec.h"', '"../vec/math.h"'}:
        wrong.add('"../vec/vec.h"')
    return wrong


def test_kernels_include_what_they_use():
    texts = {name: read(f"kernels/{name}") for name in KERNELS}
    assert KERNELS == sorted(KERNEL_MAY_KNOW)
    for name in KERNELS:
        assert wrong_includes(name, texts) == set(), name
    expected = {f'"{name}"' for name in KERNELS} | {'"../fbp.h"'}
    assert includes(read("kernels/table.h")) == expected


def test_kernels_share_no_name():
    """All kernel headers meet in one translation unit: a name has one meaning there."""
    homes = {}
    for name in KERNELS:
        for word in names_defined(read(f"kernels/{name}")):
            homes.setdefault(word, []).append(name)
    assert {word: files for word, files in homes.items() if len(files) > 1} == {}


def test_the_scan_of_kernel_headers():
    texts = {name: read(f"kernels/{name}") for name in KERNELS}

    def planted(name, old, new):
        assert old in texts[name]
        return wrong_includes(name, texts | {name: texts[name].replace(old, new, 1)})

    assert planted("loss.h", '#include "softmax.h"\n', "") == {'"softmax.h"'}
    assert planted("rng.h", '#include "../vec/math.h"', '#include "gemm.h"') == {'"gemm.h"', '"../vec/vec.h"'}
    assert planted("softmax.h", '#include "../vec/math.h"', '#include "../vec/math.h"\n#include "../plan.h"') == {
        '"../plan.h"'
    }
    assert planted("reduce.h", "#include <string.h>", "#include <stdlib.h>") == {"<stdlib.h>"}
    assert planted(
        "dropout.h", "\n#endif", "\nstatic int f(const struct fbp_norm *n) { return norm_load(n); }\n#endif"
    ) == {'"norm.h"'}
    text = (
        "enum { A = 12, B = (A + 1) / 2 };\n#define C 3\n#define D 4\n#undef D\nstatic const int e = 5;\n"
        "FBP_INLINE int f(int x) {\n    return g(x);\n}\nstatic void FBP(h)(int x) {}\n"
    )
    assert names_defined(text) == {"A", "B", "C", "e", "f("}


def test_isa_files_are_three_lines():
    names = {path.name for path in (SOURCES / "isa").iterdir()}
    assert names == {f"{isa}_{real}.c" for isa in VEC_HEADERS for real in ("f32", "f64")}
    for isa in VEC_HEADERS:
        for bits in (32, 64):
            assert read(f"isa/{isa}_f{bits}.c").splitlines() == [
                f"#define FBP_REAL {bits}",
                f'#include "../vec/{isa}.h"',
                '#include "../kernels/table.h"',
            ]


# ------------------------------------------------------------------------------------------------ C: what is not there

INTRINSICS = re.compile(
    r"\b(_mm\d*_\w+|__m(?:128|256|512)\w*|_k\w+_mask\w+|__mmask\d+|v[a-z0-9]+(?:_[a-z0-9]+)*_[fsup](?:8|16|32|64)"
    r"|(?:float|u?int)\d+x\d+\w*_t|__builtin_ia32\w*|__asm__|asm|immintrin|arm_neon)\b"
)
CONDITION = re.compile(r"^[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif)\b(?![ \t]*(?:FBP_REAL|FBP_[A-Z]+_H)\b)[^\n]*", re.M)
LIBM = re.compile(
    r"\b((?:exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|tanh|sinh|cosh|sin|cos|tan|asin|acos|atan|atan2|asinh|acosh"
    r"|atanh|erf|erfc|tgamma|lgamma|cbrt|hypot)[fl]?)\s*\("
)
HEAP = re.compile(r"\b(malloc|calloc|realloc|aligned_alloc|posix_memalign|alloca|strdup|free)\s*\(")
TALK = re.compile(r"\b(f?printf|sn?printf|f?puts|putchar|perror|exit|_exit|abort|assert|longjmp|rand|srand)\s*\(")


def found(pattern, name, text=None):
    return sorted(set(pattern.findall(code_of(read(name) if text is None else text))))


@pytest.mark.parametrize("name", [*KERNELS, "table.h"])
def test_kernels_hold_no_intrinsics(name):
    assert found(INTRINSICS, f"kernels/{name}") == []
    assert found(CONDITION, f"kernels/{name}") == [], "kernels are written once, for every instruction set"


def test_math_holds_no_intrinsics():
    assert found(INTRINSICS, "vec/math.h") == []


@pytest.mark.parametrize("name", C_FILES)
def test_no_libm_but_what_is_exactly_rounded(name):
    """exp and its kin differ between C libraries. sqrt, fabs and fma do not."""
    assert found(LIBM, name) == []


@pytest.mark.parametrize("name", C_FILES)
def test_c_neither_talks_nor_exits(name):
    assert found(TALK, name) == []


@pytest.mark.parametrize("name", C_FILES)
def test_only_what_happens_once_allocates(name):
    text = code_of(read(name))
    if name == "plan.c":
        for function in (
            "static int allocate_workspace(",
            "static void *zeros(",
            "int fbp_plan_create(",
            "void fbp_plan_destroy(",
        ):
            start = text.index("\n" + function)
            text = text[:start] + text[text.index("\n}\n", start) :]
    if name == "overflow.c":  # once for each plan, and only where an update may overflow
        start = text.index("\nint fbp_overflow_keep(")
        text = text[:start] + text[text.index("\n}\n", start) :]
    if name == "cache.c":  # once for each thread
        start = text.index("\nconst struct fbp_room *fbp_thread_room(")
        text = text[:start] + text[text.index("\n}\n", start) :]
    assert found(HEAP, name, text) == []


def test_the_plan_knows_no_instruction_set_and_no_real_type():
    text = "".join(code_of(read(name)) for name in ("plan.h", *PLAN_FILES))
    assert re.findall(r"(?<![a-z])(?:avx|sse|neon|portable|x86|aarch64|float|f32|f64)(?![a-z])", text, re.I) == []


def test_flags_keep_the_order_of_operations():
    text = (ROOT / "setup.py").read_text()
    wrong = (
        r"-ffast-math|-Ofast|-fassociative-math|-funsafe-math\S*|-freciprocal-math|-fopenmp|-march=native|-mtune=native"
    )
    assert re.findall(wrong, text) == []
    assert '"-ffp-contract=off"' in text


@pytest.mark.parametrize(
    "pattern, text, result",
    [
        (INTRINSICS, "x = _mm256_add_ps(a, b); __m512d z;", ["__m512d", "_mm256_add_ps"]),
        (INTRINSICS, "y = vaddq_f32(a, b); vreinterpretq_u32_f32(y); float32x4_t q; vdupq_n_f64(0);",
         ["float32x4_t", "vaddq_f32", "vdupq_n_f64", "vreinterpretq_u32_f32"]),
        (INTRINSICS, "v_add(v_load(a), v_set(1)); /* as _mm_add_ps */ vreal x; v_load_n(p, n);", []),
        (CONDITION, "#ifdef __AVX512F__\n#endif\n #if FBP_ISA == 2", ["#ifdef __AVX512F__", " #if FBP_ISA == 2"][::-1]),
        (CONDITION, "#if FBP_REAL == 32\n#else\n#endif", []),
        (LIBM, "y = v_exp(x) + sqrt(x) + fma(a, b, c) + expf (x); // log(2)", ["expf"]),
        (HEAP, "free_all(); p = malloc(3); free(p);", ["free", "malloc"]),
        (TALK, "printf(\"x\"); s = \"exit(1)\"; exit(1);", ["exit", "printf"]),
    ],
)  # fmt: skip
def test_the_scan_of_c(pattern, text, result):
    assert found(pattern, "", text) == result


def test_code_of():
    assert includes('/* #include "a.h" */ #include <b.h>\n#include "../c.h" // "d"\nx = "#include <e.h>";') == {
        "<b.h>",
        '"../c.h"',
    }


# ------------------------------------------------------------------------------------------------------- the families


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_all_its_homes(family):
    homes = [SOURCES / f"kernels/{family}.h", PACKAGE / "ops" / f"{family}.py", PACKAGE / "reference" / f"{family}.py",
             ROOT / "tests" / f"test_{family}.py", ROOT / "benches" / f"bench_{family}.py"]  # fmt: skip
    if family == "rng":
        homes.append(SOURCES / "rng.c")
    assert [str(path.relative_to(ROOT)) for path in homes if not path.is_file()] == []


def test_every_kernel_belongs_to_a_family():
    ways_of_gemm = {"tiles", "narrow", "streams"}
    assert {name.removesuffix(".h") for name in KERNELS} == {*FAMILIES, *ways_of_gemm}
    assert {path.stem for path in (PACKAGE / "ops").glob("*.py")} == {*FAMILIES, "__init__"}
    assert {path.stem for path in (PACKAGE / "reference").glob("*.py")} == {
        *FAMILIES,
        "initial_values",
        "network",
        "objective",
        "trainer",
        "__init__",
    }


def test_the_table_names_every_kernel():
    """What fbp.h promises of a table, kernels/table.h gives; every entry and nothing else."""
    header, table = code_of(read("fbp.h")), code_of(read("kernels/table.h"))
    struct = header[header.index("struct fbp_kernels {") : header.index("extern const struct fbp_kernels")]
    promised = set(re.findall(r"\(\*(\w+)\)", struct)) | {"loss", "optimizer", "isa", "item"}
    assert set(re.findall(r"^\s+\.(\w+) =", table, re.M)) == promised
    for name, kernel in re.findall(r"^\s+\.(\w+) = FBP\((\w+)\)", table, re.M):
        assert name == kernel
    numbers = header[header.index("enum fbp_loss {") : header.index("FBP_LOSSES")]
    entry = table[re.search(r"\.loss =\s*\{", table).start() :]
    pairs = re.findall(r"\[FBP_(\w+)\] = FBP\((\w+)\)", entry[: entry.index("}")])
    assert [upper for upper, _ in pairs] == re.findall(r"FBP_(\w+),", numbers)
    assert all(upper.lower() == lower for upper, lower in pairs)
