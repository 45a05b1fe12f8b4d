"""The package is a house: what is lower knows nothing of what is higher, and ``import lmcnb`` opens no room."""
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import lmcnb

ROOT = Path(lmcnb.__file__).parent
LONGEST = 300  # lines of a file
MOST = 47  # names that one reads `lmcnb.name`, and that are no modules

# From the ground up. A module belongs to the longest name that fits; those of one floor may use each other.
FLOORS = (
    ("lmcnb",),
    ("lmcnb.spec", "lmcnb.places", "lmcnb.statistics", "lmcnb.params", "lmcnb.sources", "lmcnb.ipynb",
     "lmcnb.notebooks", "lmcnb.profiles"),
    ("lmcnb.data",),
    ("lmcnb.models",),
    ("lmcnb.kernel",),
    ("lmcnb.networks",),
    ("lmcnb.prune", "lmcnb.distill", "lmcnb.measure"),
    ("lmcnb.tables",),
    ("lmcnb.lab",),
    ("lmcnb.stages",),
    ("lmcnb.figures", "lmcnb.widgets", "lmcnb.cli", "lmcnb.__main__"),
)
MODULES = {".".join(("lmcnb", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
           for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imports(module: str, for_types: bool = False) -> set[str]:
    """The package's modules that a module imports, in functions too; or those that it imports for its types alone."""
    found = set()
    for node, typing in statements(tree(module)):
        if typing == for_types:
            found |= targets(module, node)
    return found - {module}


def statements(node: ast.AST, typing: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether it is under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        yield child, typing
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield part, True
                yield from statements(part, True)
            for part in child.orelse:
                yield part, typing
                yield from statements(part, typing)
        else:
            yield from statements(child, typing)


def targets(module: str, node: ast.AST) -> set[str]:
    """The modules that one statement imports: ``from . import path`` is the module ``path`` where there is one."""
    if isinstance(node, ast.Import):
        return {known(alias.name) for alias in node.names if alias.name.split(".")[0] == "lmcnb"}
    if not isinstance(node, ast.ImportFrom):
        return set()
    base = node.module or ""
    if node.level:
        package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*package[:len(package) - node.level + 1], *filter(None, [node.module])])
    return {known(f"{base}.{alias.name}") for alias in node.names} if base.split(".")[0] == "lmcnb" else set()


def known(name: str) -> str:
    return name if name in MODULES else name.rpartition(".")[0]


def floor(module: str) -> int:
    fitting = [(len(name), number) for number, names in enumerate(FLOORS) for name in names
               if module == name or name != "lmcnb" and module.startswith(f"{name}.")]
    assert fitting, f"{module} is on no floor: say in FLOORS where it belongs"
    return max(fitting)[1]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle in the order of their imports, or nothing."""
    done, under_way = set(), []

    def visit(module: str) -> list[str]:
        if module in under_way:
            return [*under_way[under_way.index(module):], module]
        if module not in done:
            under_way.append(module)
            for target in sorted(graph[module]):
                if found := visit(target):
                    return found
            under_way.pop()
            done.add(module)
        return []
    return next((found for module in graph if (found := visit(module))), [])


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_imports_are_read_wherever_they_are():
    assert {"lmcnb.lab.inventory", "lmcnb.lab.shelf", "lmcnb.data"} <= imports("lmcnb.lab.engine")
    assert "lmcnb.lab.store" in imports("lmcnb.cli.store"), "within a function"
    assert "lmcnb.lab.engine" not in imports("lmcnb.lab.job"), "for its types alone"
    assert "lmcnb.lab.engine" in imports("lmcnb.lab.job", for_types=True)


def test_no_module_imports_itself_by_way_of_others():
    assert not (found := circle({m: imports(m) for m in MODULES})), " → ".join(found)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str):
    up = [target for target in imports(module) | imports(module, for_types=True) if floor(target) > floor(module)]
    assert not up, f"{module} uses what is above it: {', '.join(up)}"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_fits_a_mind(module: str):
    lines = len(MODULES[module].read_text().splitlines())
    assert lines <= LONGEST, f"{MODULES[module].name} has {lines} lines"


def test_so_does_every_file_of_tests_benchmarks_and_soak():
    here = Path(__file__).parents[1]
    files = [path for part in ("tests", "benchmarks", "soak") for path in (here / part).rglob("*.py")]
    assert not [path.name for path in files if len(path.read_text().splitlines()) > LONGEST]


def test_the_lab_knows_no_stage_by_name():
    import lmcnb.stages  # noqa: F401
    from lmcnb.lab import STAGES

    ours = [stage for stage in STAGES.values() if stage.__module__.startswith("lmcnb.stages")]
    stages = {name for stage in ours for name in (stage.__name__, stage.stored)}
    assert {"Train", "Ticket", "Connect"} <= stages
    for module in (m for m in MODULES if m.startswith("lmcnb.lab")):
        code = set(re.findall(r"\w+", ast.unparse(without_docstrings(module))))
        assert not code & stages, f"{module} names {', '.join(code & stages)}"


def without_docstrings(module: str) -> ast.Module:
    found = ast.parse(MODULES[module].read_text())
    for node in ast.walk(found):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
    return found


@pytest.mark.parametrize("module", ["lmcnb", "lmcnb.cli"])
def test_an_import_costs_nothing(module: str):
    """torch takes seconds to import, and nothing needs it before something is computed."""
    code = f"import sys, {module}; print(*{{'torch', 'pandas', 'matplotlib', 'pydantic'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not found.stdout.split()


def flat_names() -> list[str]:
    """The names of ``__init__.pyi``."""
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return [alias.asname or alias.name for line in lines for alias in line.names]


def test_every_flat_name_is_there_and_they_are_few():
    names = flat_names()
    assert sorted(names) == sorted(lmcnb.__all__) and len(set(names)) == len(names)
    assert not [name for name in names if getattr(lmcnb, name, None) is None]
    assert len([name for name in names if f"lmcnb.{name}" not in MODULES]) <= MOST
