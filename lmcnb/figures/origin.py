"""Where a figure comes from: the values its notebook ran with, and whether they are exactly a profile's."""
from __future__ import annotations

import ast
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import torch

from .. import __version__
from ..notebooks import Notebook, ProjectError, find_notebooks
from ..places import project_root
from ..profiles import CUSTOM, load_profile, overrides, recorded, values_under

RESULTS = ("date", "data", "keys")  # of a lab's record, which results these are; the rest is how they were computed


@dataclass(frozen=True)
class Origin:
    """A figure's notebook, its profile, its parameters' values, and where these differ from the profile's.

    ``why`` says in words why the figure is not one of the profile; it is empty for one that is.
    """

    profile: str
    notebook: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @classmethod
    def of(cls, name: str, profile: str, announced: Mapping[str, object]) -> Origin:
        """The origin of a figure drawn now. What the kernel's names mean counts before what was announced."""
        try:
            notebook, exact = _expected(name, profile)
        except (ProjectError, FileNotFoundError) as error:
            return cls(profile, None, {n: recorded(v) for n, v in announced.items()}, why=str(error))
        shell = _shell()
        meant = {**announced, **(shell.user_ns if shell else {})}
        values = {n: recorded(meant[n]) for n in exact if n in meant}
        changed = overrides(values, exact)
        return cls(profile, notebook.stem, values, changed, _why(profile, values, changed) or _stale(notebook, shell))

    @property
    def folder(self) -> str:
        """Whose figure it is: the profile, or "custom"."""
        return CUSTOM if self.why else self.profile

    def record(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """What the figure's JSON says of it: this, and which results are behind it, of :meth:`Lab.record`.

        The versions are those that drew it; the commits are the results', the date is that of the newest: drawing it
        again changes nothing.
        """
        stored = {n: run.get(n) for n in ("commit", *RESULTS)}
        versions = {"lmcnb": __version__, "torch": torch.__version__, "python": platform.python_version(),
                    "matplotlib": matplotlib.__version__}
        return {"notebook": self.notebook, "profile": self.profile, "parameters": dict(self.parameters),
                "overrides": dict(self.overrides), "versions": versions, **stored}


def _expected(name: str, profile: str) -> tuple[Notebook, dict[str, object]]:
    """The notebook that draws a figure, and its parameters' values under a profile."""
    root = project_root()
    [notebook] = find_notebooks(root, [number(name)])
    sections = load_profile(root, profile)
    return notebook, values_under(notebook, profile, sections)


def number(name: str) -> str:
    """The number of the notebook that draws a figure: "03" of "fig03_stability".

    Raises:
        ProjectError: the name has none.
    """
    found = re.match(r"fig(\d\d)", name)
    if found is None:
        raise ProjectError("its name does not begin with figNN, the number of a notebook")
    return found[1]


def _shell() -> Any:
    """The running kernel's IPython shell; None where there is no kernel."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _why(profile: str, values: Mapping[str, object], changed: Mapping[str, Mapping[str, object]]) -> str:
    if not changed:
        return ""
    if not values:
        return "no kernel has the notebook's parameters, and none were passed"
    parts = [f"{n} is {c['here']!r}, not {c['profile']!r}" if n in values else f"{n} is not set"
             for n, c in changed.items()]
    return f"not exactly profile {profile}: {'; '.join(parts)}"


def _stale(notebook: Notebook, shell: Any) -> str:
    """Cells run out of order: a parameter that was set after the plan was made says nothing of the results."""
    inputs = list(shell.history_manager.input_hist_parsed) if shell and notebook.tagged("plan") else []
    last_set, last_plan = (max((i for i, cell in enumerate(inputs) if binds(cell, names)), default=0)
                           for names in (notebook.parameters, ["plan"]))
    return "a parameter was set after the plan was made: run all cells again" if last_plan < last_set else ""


def binds(source: str, names: Iterable[str]) -> set[str]:
    """Which of the names a cell's source binds at its top level; nothing of what is no Python."""
    try:
        return {n for node in ast.parse(source).body for n in _bound(node)} & set(names)
    except SyntaxError:
        return set()


def _bound(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name  # what its body binds is its own, as for the following
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)
