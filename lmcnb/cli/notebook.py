"""A notebook as the runner sees it: its parameters, its tagged cells, and what is not to be committed."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmcnb.cli.text import Refused, unknown

NOTEBOOK_NOISE = ("papermill", "widgets")
CELL_NOISE = ("papermill", "execution", "ExecuteTime")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name = default  # help`."""

    name: str
    default: object
    kind: str
    help: str

    def accepts(self, value: object) -> bool:
        """Whether a value has the default's type: an int may stand for a float, a bool for nothing else."""
        if self.default is None:
            return True
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if isinstance(self.default, float):
            return isinstance(value, int | float)
        if isinstance(self.default, list | tuple):
            return isinstance(value, list | tuple)
        return isinstance(value, type(self.default))


@dataclass(frozen=True)
class Notebook:
    """One .ipynb file, read on first use."""

    path: Path

    @property
    def stem(self) -> str:
        return self.path.stem

    @cached_property
    def node(self) -> Any:
        """The nbformat node.

        Raises:
            Refused: the file is not a notebook.
        """
        import nbformat

        try:
            return nbformat.read(self.path, as_version=4)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            raise Refused(f"{self.stem}: {self.path} cannot be read as a notebook: {error}") from error

    def tagged(self, tag: str) -> list[int]:
        """The positions of the code cells with a tag."""
        return [
            index
            for index, cell in enumerate(self.node.cells)
            if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])
        ]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The settings of the cell tagged `parameters`, in its order; none where there is no such cell.

        Raises:
            Refused: there are several such cells, or one that holds more than `name = literal` lines.
        """
        cells = self.tagged("parameters")
        if len(cells) > 1:
            raise Refused(f"{self.stem}: {len(cells)} cells are tagged `parameters`, one is allowed")
        try:
            return read_parameters(self.node.cells[cells[0]].source) if cells else {}
        except (SyntaxError, ValueError) as error:
            raise Refused(f"{self.stem}: parameters cell: {error}") from error


def read_parameters(source: str) -> dict[str, Parameter]:
    """The parameters that a cell's source assigns.

    Papermill has a parser of its own, which loses help texts with `=` or `#` in them and annotations such as
    `int | None`, and with them the parameter.

    Raises:
        SyntaxError: the source is not Python.
        ValueError: a statement is something else than `name = literal`.
    """
    lines = io.StringIO(source).readline
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(lines)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body:
        name, default = _assignment(node)
        kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else type(default).__name__
        text = comments.get(node.end_lineno or 0) or comments.get(node.lineno, "")
        found[name] = Parameter(name, default, kind, text)
    return found


def _assignment(node: ast.stmt) -> tuple[str, object]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            pass
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            pass
        case _:
            raise ValueError(f"line {node.lineno} is not of the form `name = literal`")
    try:
        return name, ast.literal_eval(value)
    except ValueError:
        # Values are injected after this cell: what it derived from its defaults would go unnoticed.
        raise ValueError(f"line {node.lineno}: `{name}` is no literal; derive it in a later cell") from None


def find_notebooks(root: Path, names: Sequence[str] = ()) -> list[Notebook]:
    """The named notebooks in the order given, or all of a project in reading order.

    A name is a path, a stem, or the beginning of exactly one stem.

    Raises:
        Refused: a name fits none or several, or the project has none.
    """
    known = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not names and not known:
        raise Refused(f"{root / 'notebooks'} holds no notebook named NN_name.ipynb")
    chosen = [_find(name, known) for name in names] or known
    return [Notebook(path) for path in dict.fromkeys(chosen)]


def _find(name: str, known: Sequence[Path]) -> Path:
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    by_stem = {path.stem: path for path in known}
    wanted = path.name.removesuffix(".ipynb")
    fitting = [wanted] if wanted in by_stem else [stem for stem in by_stem if stem.startswith(wanted)]
    if len(fitting) == 1 and path.name == name:
        return by_stem[fitting[0]]
    if len(fitting) > 1:
        raise Refused(f"`{name}` fits several notebooks: {', '.join(fitting)}")
    raise Refused(unknown("notebook", name, by_stem))


def tidied(text: str) -> str:
    """A notebook's text as it is committed: cells counted 1…n, no trace of when or by what they were run."""
    import nbformat

    node = nbformat.reads(text, as_version=4)
    _drop(node.metadata, NOTEBOOK_NOISE)
    count = 0
    for cell in node.cells:
        _drop(cell.metadata, CELL_NOISE)
        if cell.cell_type == "code" and cell.execution_count is not None:
            count += 1
            _tidy_code(cell, count)
    return nbformat.writes(node).rstrip("\n") + "\n"


def _tidy_code(cell: Any, count: int) -> None:
    cell.execution_count = count
    for output in cell.outputs:
        # Without the widget state, which names the kernel's objects, a view shows nothing.
        _drop(output.get("data", {}), (WIDGET_VIEW,))
        if output.output_type == "execute_result":
            output.execution_count = count


def _drop(mapping: dict[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        mapping.pop(key, None)
