"""fastbp/core/fbp.pxd declares what src_c/fbp.h declares; fastbp/_core.pyi declares what fastbp/_core defines.

Cython reads neither header nor stub: a field that is missing, or in another place, would be found by nobody else. Both
texts are read by the small parsers below, which are tested with planted faults.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

from fastbp import _core

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "src_c" / "fbp.h"
DECLARATIONS = ROOT / "fastbp" / "core" / "fbp.pxd"
STUB = ROOT / "fastbp" / "_core.pyi"

# ------------------------------------------------------------------------------------------------ C declarations


def split(text, separator=","):
    """Split at separators that stand outside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def normal(type_):
    """A type in one spelling. Cython has no const pointers, so that `*const` is `*`."""
    tokens = [token for token in re.findall(r"\w+|\*", type_) if token not in ("struct", "enum", "extern")]
    kept = [token for i, token in enumerate(tokens) if not (token == "const" and i and tokens[i - 1] == "*")]
    return re.sub(r"\* (?=\*)", "*", " ".join(kept))


def parameter_type(parameter):
    parameter = parameter.strip()
    if parameter in ("void", ""):
        return None
    array = parameter.endswith("]")
    parameter = parameter.partition("[")[0]
    words = re.findall(r"\w+|\*", parameter)
    named = words[-1] != "*" and len([w for w in words if w not in ("const", "struct", "enum", "*")]) > 1
    return normal(" ".join(words[:-1] if named else words) + (" *" if array else ""))


def parameter_types(parameters):
    return tuple(filter(None, map(parameter_type, split(parameters))))


def declared(statement, values):
    """What a statement declares: [(name, type)]; a function's type is (result, parameters).

    values: of the enumerators, for the lengths of arrays.
    """
    statement = " ".join(statement.split())
    statement = re.sub(r"\b(noexcept|nogil)\b", "", statement).replace("ctypedef", "").replace("typedef", "").strip()
    statement = re.sub(r'\w+ "(\w+)"', r"\1", statement)  # Cython's own name for something of C
    pointer = re.fullmatch(r"(.+?)\(\s*\*\s*(\w+)\s*\)\s*\((.*)\)", statement)
    if pointer:
        return [(pointer[2], ("pointer", normal(pointer[1]), parameter_types(pointer[3])))]
    function = re.fullmatch(r"(.+?)(\w+)\s*\((.*)\)", statement)
    if function:
        return [(function[2], (normal(function[1]), parameter_types(function[3])))]
    first, *others = split(statement)
    base = re.match(r"(?:(?:const|struct|enum|extern)\s+)*\w+(?:\s+const)?", first)[0]
    found = []
    for declarator in [first[len(base) :], *others]:
        stars, name, length = re.fullmatch(r"\s*([*\s]*|[*\s]*const\s+)(\w+)\s*(?:\[(\w+)\])?", declarator).groups()
        type_ = normal(base + " " + stars)
        if length:
            type_ += f" [{values.get(length, length)}]"
        found.append((name, type_))
    return found


def c_text(text):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    return re.sub(r"^[ \t]*#.*$", "", text, flags=re.M)


def constant(text):
    """The value of an integer, or of a shift of one, in C."""
    number, _, bits = text.partition("<<")
    return int(number) << int(bits or 0)


def read_header(text):
    """(enumerators, structs, others): {name: value}, {name: [(field, type)]} and {name: type} of a header."""
    values = {name: int(value) for name, value in re.findall(r"^#define (FBP_\w+) (\d+)$", text, re.M)}
    text = c_text(text)
    for body in re.findall(r"\benum\s+\w*\s*\{(.*?)\}", text, re.S):
        following = 0
        for entry in split(body):
            name, _, value = (part.strip() for part in entry.partition("="))
            following = (int(values[value]) if value in values else constant(value)) if value else following
            values[name] = str(following)
            following += 1
    structs, others = {}, {}
    for name, body in re.findall(r"\bstruct\s+(\w+)\s*\{(.*?)\n\}", text, re.S):
        structs[name] = [entry for statement in split(body, ";") for entry in declared(statement, values)]
    rest = re.sub(r"\b(struct|enum)\s+\w*\s*\{.*?\}\s*;", "", text, flags=re.S)
    for statement in split(rest, ";"):
        if not re.fullmatch(r"struct\s+\w+", statement):
            others.update(declared(statement, values))
    return values, structs, others


def read_pxd(text, values):
    """The same of a .pxd file; structs of which nothing is declared are None. values: of the header."""
    text = re.sub(r"[ \t]*#[^\n]*", "", text)
    text = re.sub(r"\([^()]*\)", lambda match: match[0].replace("\n", " "), text)
    while re.search(r"\([^()]*\([^()]*\)[^()\n]*\n[^()]*\)", text):  # parameters that hold parentheses
        text = re.sub(r"(\([^()\n]*(?:\([^()]*\)[^()\n]*)*)\n\s*", r"\1 ", text, count=1)
    names, structs, others, block = [], {}, {}, None
    for line in text[text.index("cdef extern") :].splitlines()[1:]:
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        line = line.strip()
        if indent == 4:
            block = None
            opened = re.fullmatch(r"(?:ctypedef )?(enum|struct)\s*(\w*):", line)
            if opened and opened[1] == "enum":
                block = names
            elif opened:
                block = structs.setdefault(opened[2], [])
            else:
                others.update(declared(line, values))
        elif block is names:
            names.append(line)
        elif line == "pass":
            pass
        else:
            block.extend(declared(line, values))
    return names, {name: fields or None for name, fields in structs.items()}, others


def differences(header, pxd):
    """What a .pxd declares that the header does not, or otherwise."""
    values, structs, others = read_header(header)
    names, pxd_structs, pxd_others = read_pxd(pxd, values)
    found = [f"{name}: no such enumerator" for name in names if name not in values]
    for name, fields in pxd_structs.items():
        if fields is None:
            if f"struct {name};" not in header:
                found.append(f"{name}: not opaque")
        elif name not in structs:
            found.append(f"{name}: no such struct")
        elif fields != structs[name]:
            missing = [entry for entry in structs[name] if entry not in fields]
            found.append(f"{name}: {missing[0] if missing else fields} differs")
    for name, type_ in pxd_others.items():
        if others.get(name) != type_:
            found.append(f"{name}: {type_} rather than {others.get(name)}")
    return found


def test_fbp_pxd_declares_what_fbp_h_declares():
    assert differences(HEADER.read_text(), DECLARATIONS.read_text()) == []


def test_the_parsers_read_something():
    values, structs, others = read_header(HEADER.read_text())
    names, pxd_structs, pxd_others = read_pxd(DECLARATIONS.read_text(), values)
    assert values["FBP_BLOCK"] == 256 and values["FBP_GELU"] == values["FBP_FROM_Z"] == "8"
    assert structs["fbp_rows"] == [
        ("at", "const void *"), ("row", "ptrdiff_t"), ("column", "ptrdiff_t"), ("kind", "int")
    ]  # fmt: skip
    assert others["fbp_isa_best"] == ("int", ())
    assert others["fbp_pool_run"] == ("void", ("int", "fbp_part_fn *", "void *"))
    assert others["fbp_loss_fn"][1][4] == "const double *"
    assert dict(structs["fbp_kernels"])["gemm"] == ("pointer", "void", ("const fbp_gemm *", "int", "int"))
    assert {"fbp_kernels", "fbp_plan_spec", "fbp_epoch"} <= pxd_structs.keys() and len(pxd_others) > 30
    assert len(names) > 40 and pxd_structs["fbp_plan"] is None


FAULTS = {
    "a field is missing": ("        size_t pause_step\n", ""),
    "fields are exchanged": ("beta1, beta2, eps", "beta2, beta1, eps"),
    "a field has another type": ("        int nesterov\n", "        size_t nesterov\n"),
    "a field has another name": ("        double *layer_squares\n", "        double *squares\n"),
    "a field lacks its const": ("        const double *learning_rates\n", "        double *learning_rates\n"),
    "an array has another length": ("        void *moments[3]\n", "        void *moments[2]\n"),
    "an enumerator is unknown": ("        FBP_PAUSED\n", "        FBP_HALTED\n"),
    "a function has another result": ("    int fbp_cores()\n", "    size_t fbp_cores()\n"),
    "a function has another parameter": ("pool_barrier(int part, int parts)", "pool_barrier(int part)"),
    "a kernel has another parameter": ("(*scale)(void *g, double factor,", "(*scale)(void *g, float factor,"),
    "a struct is declared opaque": ("    struct fbp_rows:\n", "    struct fbp_rows:\n        pass\n    struct rows:\n"),
}  # fmt: skip


@pytest.mark.parametrize("old, new", FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_is_found(old, new):
    text = DECLARATIONS.read_text()
    assert old in text
    assert differences(HEADER.read_text(), text.replace(old, new, 1))


def test_a_change_of_the_header_is_found():
    header, pxd = HEADER.read_text(), DECLARATIONS.read_text()
    for old, new in (
        ("    size_t rows;\n};", "    size_t rows, columns;\n};"),
        ("fbp_optimizer_fn *optimizer[FBP_OPTIMIZERS]", "fbp_optimizer_fn *optimizer[FBP_LOSSES]"),
        ("int fbp_cores(void);", "int fbp_cores(int all);"),
    ):
        assert old in header
        assert differences(header.replace(old, new, 1), pxd)


# ------------------------------------------------------------------------------------------------ the stub


def functions_of_stub(tree):
    """{qualified name: parameter names} of a module and its classes; attributes have None."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for name, parameters in functions_of_stub(node).items():
                found[f"{node.name}.{name}"] = parameters
        elif isinstance(node, ast.FunctionDef) and not any(ast.unparse(d) == "property" for d in node.decorator_list):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            names += [node.args.vararg.arg] if node.args.vararg else []
            found[node.name] = names
        elif isinstance(node, (ast.FunctionDef, ast.AnnAssign)):
            found[node.name if isinstance(node, ast.FunctionDef) else node.target.id] = None
    return found


def functions_of_core():
    """The same of the Cython files, whose functions do not tell their parameters at run time."""
    found = {}
    for path in (ROOT / "fastbp" / "core").glob("*.pxi"):
        where = ""
        for line in re.findall(r"^cdef class \w+|^(?:    )?def \w+\([^:]*\):", path.read_text(), re.M):
            if line.startswith("cdef class"):
                where = line.split()[2] + "."
                continue
            name, parameters = re.fullmatch(r"def (\w+)\((.*)\):", " ".join(line.split())).groups()
            names = [p.partition("=")[0].removesuffix(" not None").split()[-1].lstrip("*") for p in split(parameters)]
            found[name if line.startswith("def") else where + name] = names
    return found


def public(names):
    return {name for name in names if not name.rpartition(".")[2].startswith("_")}


def names_of_core():
    found = {name for name in vars(_core) if not inspect.ismodule(getattr(_core, name))}
    classes = {name for name in found if inspect.isclass(getattr(_core, name))}
    for name in classes:
        found |= {f"{name}.{member}" for member in vars(getattr(_core, name))}
    return public(found) - classes


def test_the_stub_names_what_the_core_defines():
    stub = functions_of_stub(ast.parse(STUB.read_text()))
    assert public(stub) == names_of_core()


def test_the_stub_has_the_parameters_of_the_core():
    stub, core = functions_of_stub(ast.parse(STUB.read_text())), functions_of_core()
    assert len(core) > 60
    wrong = {name: (stub[name], core[name]) for name in public(core) if stub[name] not in (None, core[name])}
    assert wrong == {}
