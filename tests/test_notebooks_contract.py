"""What every committed notebook keeps to, so that JupyterLab, papermill, nbval and GitHub show the same."""

import ast
import builtins
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmcnb.cli.runner import complaints, plans, prepare
from lmcnb.cli.tidy import tidied
from lmcnb.figures.origin import binds
from lmcnb.lab.stage import closure
from lmcnb.models import ViT
from lmcnb.notebooks import Notebook
from lmcnb.profiles import load_profile
from lmcnb.stages import Connect, GradualTicket, Train

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [Notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
PROFILES = sorted(path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml"))
ABSOLUTE = re.compile(r"(?<![\w.])/(work|home|root|Users|tmp|content)/|\b[CD]:\\")

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="there are no notebooks yet")
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
each_profile = pytest.mark.parametrize("profile", PROFILES)


def code_cells(notebook: Notebook) -> list:
    return [cell for cell in notebook.node.cells if cell.cell_type == "code"]


def trees(notebook: Notebook) -> Iterator[ast.AST]:
    """Every syntax node of a notebook's code, without its magics."""
    for cell in code_cells(notebook):
        lines = [line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        yield from ast.walk(ast.parse("\n".join(lines)))


@each_notebook
def test_is_named_in_reading_order(notebook: Notebook) -> None:
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", notebook.stem)


@each_notebook
def test_begins_with_a_title(notebook: Notebook) -> None:
    first = notebook.node.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


@each_notebook
def test_has_one_cell_of_literal_parameters(notebook: Notebook) -> None:
    assert len(notebook.tagged("parameters")) == 1
    assert notebook.parameters, "the parameters cell assigns nothing"


@each_notebook
def test_no_later_cell_gives_a_parameter_another_value(notebook: Notebook) -> None:
    """What the parameters mean when the figure is saved is what decides whose figure it is."""
    [own] = notebook.tagged("parameters")
    for cell in (cell for index, cell in enumerate(notebook.node.cells) if index != own and cell.cell_type == "code"):
        assert not binds(cell.source, notebook.parameters)


@each_notebook
def test_holds_no_injected_cell(notebook: Notebook) -> None:
    assert not notebook.tagged("injected-parameters"), "commit the notebook run with its defaults"


@each_notebook
def test_plans_what_it_computes(notebook: Notebook) -> None:
    named = {node.id for node in trees(notebook) if isinstance(node, ast.Name)}
    named |= {node.attr for node in trees(notebook) if isinstance(node, ast.Attribute)}
    assert "lab" not in named or notebook.tagged("plan"), "it uses the lab and has no cell tagged `plan`"


@each_notebook
def test_runs_on_the_plain_kernel(notebook: Notebook) -> None:
    assert notebook.node.metadata.kernelspec.name == "python3"


@each_notebook
def test_was_executed_in_order(notebook: Notebook) -> None:
    cells = [cell for cell in code_cells(notebook) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


@each_notebook
def test_is_tidy(notebook: Notebook) -> None:
    text = notebook.path.read_text(encoding="utf-8")
    assert tidied(text) == text, f"run `lmcnb tidy {notebook.stem}`"


@pytest.mark.parametrize("number, settings, wanted", [
    ("02", ["platon=true"], lambda s: isinstance(s, Train) and isinstance(s.mask, GradualTicket)),
    ("03", ["platon=true"], lambda s: isinstance(s, Connect) and isinstance(s.a.mask, GradualTicket)),
    ("04", ["weights_only=[imp, idc]"], lambda s: getattr(s, "rewind", "") == "weights"),
    ("16", ["model=vit", "width=12", "widths=[24]", "optimiser=adamw"], lambda s: isinstance(s.net, ViT)),
], ids=["accuracy of PLATON", "stability of PLATON", "weights-only rewinding", "a transformer"])
def test_what_is_off_by_default_is_planned_where_it_is_asked_for(number, settings, wanted) -> None:
    plain, asked = (closure(plans(prepare(ROOT, [number], "smoke", more))[0]) for more in ([], settings))
    assert any(map(wanted, asked)) and not any(map(wanted, plain))


def test_tidying_takes_away_what_a_live_notebook_does() -> None:
    from lmcnb.ipynb import nbformat
    from lmcnb.lab.progress import FORM

    bar = FORM.format(desc="Train × 3:", percentage=42, bar="████      ", elapsed="01:05", remaining="02:10")
    shown = [nbformat.v4.new_output("display_data", {"text/plain": text}) for text in (bar, "42% of the weights left")]
    cell = nbformat.v4.new_code_cell("1", execution_count=5, outputs=shown)
    (clean,) = nbformat.reads(tidied(nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))), as_version=4).cells
    assert [o.data["text/plain"] for o in clean.outputs] == ["42% of the weights left"] and clean.execution_count == 1


def folded(cell) -> bool:
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


@each_notebook
def test_reads_in_one_sitting(notebook: Notebook) -> None:
    """Settings and plan are folded away; what is left to read is short, in lines and across."""
    shown = [cell for cell in code_cells(notebook) if not folded(cell)]
    assert sum(len(cell.source.splitlines()) for cell in shown) <= 120
    assert not [line for cell in code_cells(notebook) for line in cell.source.splitlines() if len(line) > 100]
    assert all(folded(notebook.node.cells[i]) for tag in ("parameters", "plan") for i in notebook.tagged(tag))


@each_notebook
def test_draws_its_figure_in_a_cell_of_its_own(notebook: Notebook) -> None:
    """Which :meth:`lmcnb.figures.Saved.draw` runs again on the saved table."""
    saves = any(isinstance(node, ast.Attribute) and node.attr == "save" for node in trees(notebook))
    assert len(notebook.tagged("figure")) == saves


@each_notebook
def test_draws_and_judges_with_what_was_saved_alone(notebook: Notebook) -> None:
    """What these cells are given by :func:`lmcnb.figures.read`; a name of another cell is not there."""
    saved = {"lmcnb", "np", "plt", "verdicts", "images", "table", "claims", "note"}
    given = saved | {*notebook.parameters, *dir(builtins)}
    for tag in ("figure", "claims"):
        for cell in notebook.tagged(tag):
            names = [n for n in ast.walk(ast.parse(notebook.node.cells[cell].source)) if isinstance(n, ast.Name)]
            own = {n.id for n in names if isinstance(n.ctx, ast.Store)}
            assert not {n.id for n in names} - own - given, f"cell {cell + 1}, tagged {tag}"


@each_notebook
def test_outputs_are_small(notebook: Notebook) -> None:
    assert sum(len(json.dumps(cell.outputs)) for cell in code_cells(notebook)) < 1_000_000


@each_notebook
def test_names_no_path_of_one_machine(notebook: Notebook) -> None:
    texts = [cell.source for cell in notebook.node.cells]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            shown = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
            texts += [output.get("text", ""), *map(str, shown.values())]
    assert not [line for text in texts for line in text.splitlines() if ABSOLUTE.search(line)]


@each_notebook
def test_uses_public_names_only(notebook: Notebook) -> None:
    attributes = [node.attr for node in trees(notebook) if isinstance(node, ast.Attribute)]
    imported = [name for node in trees(notebook) for name in imported_names(node)]
    parts = [part for name in imported for part in name.split(".")]
    assert not [name for name in attributes + parts if re.match(r"_(?!_)", name)]


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@each_profile
def test_profile_fits_the_notebooks(profile: str) -> None:
    for job in prepare(ROOT, [], profile):
        assert not complaints(job)


@pytest.mark.skipif("smoke" not in PROFILES, reason="there is no smoke profile yet")
def test_smoke_is_what_the_notebooks_are_committed_with() -> None:
    sections = load_profile(ROOT, "smoke")
    for notebook in NOTEBOOKS:
        defaults = {name: parameter.default for name, parameter in notebook.parameters.items()}
        assert defaults | sections[notebook.stem] == defaults
        assert defaults.get("profile", "smoke") == "smoke"
