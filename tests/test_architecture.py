"""The shape of the package: imports go one way, modules and functions stay small."""

import ast
import io
import tokenize
from itertools import pairwise
from pathlib import Path

import pytest

import bayesmv

ROOT = Path(bayesmv.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in MODULES]

#: From the bottom up; a module imports from its own layer or from those before.
LAYERS = (
    {"dims", "errors", "_version", "compiled"},
    {
        "covariance",
        "draws",
        "priors",
        "groups",
        "pedigree",
        "_pedigree_kernels",
        "genomic",
        "coordinates",
        "modelfile",
        "prior_draws",
        "basis",
        "reshape",
        "direct",
    },
    {"formula", "spec"},
    {"relationship", "fixed", "records", "layout", "terms", "residuals", "design", "identifiability"},
    {"likelihood"},
    {"reml", "builders"},
    {
        "density",
        "posterior",
        "choose_density",
        "effects",
        "predictive",
        "diagnostics",
        "nuts",
        "runs",
        "sampling",
        "outlook",
    },
    {"genetics", "loadings", "summary", "curves", "compare", "ranking"},
    {"plots", "report"},
    {"datasets", "simulate", "io"},
    {"terminal"},
    {"cli"},
)
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
LONGEST_MODULE, LONGEST_FUNCTION = 400, 40


def part_of(path: Path) -> str:
    """Module or subpackage of the first level that a file belongs to; empty for the package's own __init__."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(path: Path) -> set[str]:
    """Modules of bayesmv, of the first level, that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            names = [node.module]
            if node.module == "bayesmv":
                names = [f"bayesmv.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("bayesmv.")}
    return found


def code_lines(source: str) -> set[int]:
    """Lines that hold more than white space and comments."""
    idle = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in idle:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines


def function_lengths(path: Path) -> dict[str, int]:
    """Lines of code of every function, signature included, docstring not."""
    source = path.read_text(encoding="utf-8")
    code = code_lines(source)
    out = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            mine = set(range(node.lineno, node.end_lineno + 1))
            if ast.get_docstring(node) is not None:
                mine -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
            out[f"{node.name}:{node.lineno}"] = len(mine & code)
    return out


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_module__has_a_layer(path):
    assert part_of(path) in {"", *LAYER}, "new modules are given their place in LAYERS"


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(p) in LAYER], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports__go_one_way(path):
    mine = LAYER[part_of(path)]
    upwards = {name for name in imports(path) if LAYER.get(name, len(LAYERS)) > mine}
    assert not upwards


def test_imports__have_no_cycle():
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        if part_of(path):
            graph.setdefault(part_of(path), set()).update(imports(path) - {part_of(path)})
    free = True
    while free:
        free = [name for name, needs in graph.items() if not needs & set(graph)]
        for name in free:
            del graph[name]
    assert not graph


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_module__length(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_functions__length(path):
    assert {name: n for name, n in function_lengths(path).items() if n > LONGEST_FUNCTION} == {}


def test_layers__name_each_module_once():
    assert len(LAYER) == sum(map(len, LAYERS))
    assert all(not a & b for a, b in pairwise(LAYERS))


def test_function_lengths__counts_code_only(tmp_path):
    path = tmp_path / "f.py"
    path.write_text(
        'def f(\n    x,\n):\n    """Doc\n\n    string."""\n\n    # comment\n    y = """a\n    b"""\n    return y\n'
    )
    assert function_lengths(path) == {"f:1": 6}
