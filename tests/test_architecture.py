"""Shape of the package: rooms are folders, and imports go one way between them."""

import ast
from pathlib import Path

import pytest

import bayesmv

ROOT = Path(bayesmv.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in MODULES]

#: Rooms from the ground up; a file imports from its own room or from rooms on lower floors.
FLOORS = (
    {"_version", "arrays", "errors", "dims"},
    {"numerics"},
    {"covariance", "relationship", "families"},
    {"priors"},
    {"model"},
    {"design"},
    {"likelihood"},
    {"reml"},
    {"posterior", "simulation"},
    {"sampling", "pymc_model", "checks"},
    {"estimates"},
    {"comparison", "io"},
    {"report", "studies"},
    {"cli"},
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    """Folder of the first level that a file stands in, or its own name at the root; empty for the package itself."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if first in ("__init__", "__main__") else first


def imports(path: Path) -> set[str]:
    """Rooms that a file imports from, anywhere in it."""
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


def test_root__holds_no_module_outside_the_rooms():
    alone = {path.stem for path in ROOT.glob("*.py")}
    assert alone == {"__init__", "__main__", "_version", "arrays", "errors", "dims"}


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_imports__go_down(path):
    room = room_of(path)
    if room:
        assert {name for name in imports(path) - {room} if FLOOR[name] >= FLOOR[room] > 0} == set()


def test_imports__have_no_circle():
    """Modules, not only rooms: none imports itself by way of others when it is loaded."""
    names = {".".join(["bayesmv", *path.relative_to(ROOT).with_suffix("").parts]): path for path in MODULES}
    graph = {name: loaded(path) & set(names) - {name} for name, path in names.items() if path.stem != "__init__"}
    free = True
    while free:
        free = [name for name, needs in graph.items() if not needs & set(graph)]
        for name in free:
            del graph[name]
    assert not graph


def loaded(path: Path) -> set[str]:
    """Modules that a file imports when it is loaded, names of functions and classes dropped."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("bayesmv"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_floors__name_each_room_once():
    assert len(FLOOR) == sum(map(len, FLOORS))


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_kernels__are_kept_by_our_own_cache(path):
    """numba's own cache goes stale, and fails where nothing can be written."""
    if path.parent.name == "numerics" and path.stem == "compiled":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "numba":
            assert not {"njit", "jit", "cfunc"} & {alias.name for alias in node.names}, "take it of numerics.compiled"
