"""A project's notebooks: their parameters, read without running anything, and their tagged cells."""

from __future__ import annotations

import ast
import difflib
import io
import sys
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


class ProjectError(ValueError):
    """A notebook, a profile or a setting that cannot be; the message names it and the way out."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence that says what is not known, what it was probably meant to be, and what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean `{close[0]}`?" if close else "."
    return f"unknown {kind} `{name}`{hint} Known: {', '.join(known) or 'none'}"


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name = default  # help`."""

    name: str
    default: object
    kind: str
    help: str

    def accepts(self, value: object) -> bool:
        """Whether a value, and every entry of a list, has the default's type.

        An int may stand for a finite float, a bool for nothing else. An empty list as default takes any entries.
        """
        return self.default is None or _alike(self.default, value)

    @property
    def expected(self) -> str:
        """What :meth:`accepts` takes, in words."""
        return _expected(self.default)


def _expected(default: object) -> str:
    if isinstance(default, list | tuple) and default:
        return f"list of {' or '.join(dict.fromkeys(map(_expected, default)))}"
    return "finite float" if isinstance(default, float) else type(default).__name__


def _alike(default: object, value: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple) and all(
            not default or any(_alike(one, entry) for one in default) for entry in value)
    return isinstance(value, type(default))


@dataclass(frozen=True)
class Notebook:
    """One .ipynb file, read on first use."""

    path: Path

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        """Its first line: "3 · Do distilled subnetworks land in one minimum?"; nothing where a notebook has no cell."""
        first = self.node.cells[0].source if self.node.cells else ""
        return first.partition("\n")[0].lstrip("# ") if first.startswith("#") else ""

    @cached_property
    def node(self) -> Any:
        """The nbformat node.

        Raises:
            ProjectError: the file is not a notebook.
        """
        from lmcnb.ipynb import nbformat

        try:
            return nbformat.read(self.path, as_version=4)
        except OSError as error:
            raise ProjectError(f"{self.stem}: {self.path} cannot be read: {error.strerror}") from error
        except (ValueError, nbformat.ValidationError) as error:
            raise ProjectError(f"{self.stem}: {self.path} cannot be read as a notebook") from error

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
            ProjectError: there are several such cells, or one that holds more than `name = literal` lines.
        """
        cells = self.tagged("parameters")
        if len(cells) > 1:
            raise ProjectError(f"{self.stem}: {len(cells)} cells are tagged `parameters`, one is allowed")
        try:
            return read_parameters(self.node.cells[cells[0]].source) if cells else {}
        except (SyntaxError, ValueError) as error:
            raise ProjectError(f"{self.stem}: parameters cell: {error}") from error

    @property
    def defaults(self) -> dict[str, object]:
        """The parameters' values as the notebook has them."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


def read_parameters(source: str) -> dict[str, Parameter]:
    """The parameters that a cell's source assigns.

    Papermill has a parser of its own, which loses help texts with `=` or `#` in them and annotations such as
    `int | None`, and with them the parameter.

    Raises:
        SyntaxError: the source is not Python.
        ValueError: a statement is something else than `name = literal`.
    """
    statements, lines = ast.parse(source).body, io.StringIO(source).readline
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(lines)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in statements:
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
        ProjectError: a name fits none or several, or the project has none.
    """
    known = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not names and not known:
        raise ProjectError(f"{root / 'notebooks'} holds no notebook named NN_name.ipynb")
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
        raise ProjectError(f"`{name}` fits several notebooks: {', '.join(fitting)}")
    raise ProjectError(unknown("notebook", name, by_stem))
