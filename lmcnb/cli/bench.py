"""Running the modules of `benchmarks/`, each with a function `run(quick) -> dict`."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmcnb.cli.text import Refused, table
from lmcnb.notebooks import unknown
from lmcnb.places import put


def find_benchmarks(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """The named benchmarks, or all of a project.

    Raises:
        Refused: an unknown name, or a project without benchmarks.
    """
    known = {path.stem: path for path in sorted((root / "benchmarks").glob("[!_]*.py"))}
    strangers = [unknown("benchmark", name, known) for name in names if name not in known]
    if not known:
        raise Refused(f"{root} has no benchmarks: they come with a checkout of lmcnb, not with what `lmcnb init` makes")
    if strangers:
        raise Refused("\n".join(strangers))
    return {name: known[name] for name in names or known}


def load(name: str, path: Path) -> Callable[[bool], Mapping[str, Any]]:
    """A benchmark's `run`. Files beside it can be imported as `benchmarks.…`.

    Raises:
        Refused: the module has no `run`.
    """
    if (root := str(path.parent.parent)) not in sys.path:
        sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(f"lmcnb_benchmark_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and torch.compile look a function's module up there
    spec.loader.exec_module(module)
    if not callable(getattr(module, "run", None)):
        raise Refused(f"{path} defines no `run(quick: bool) -> dict`")
    return module.run


def show(name: str, result: Mapping[str, Any]) -> str:
    """A benchmark's title and its rows as a table with the columns in order of appearance."""
    rows = result.get("rows", [])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column, "")) for column in columns] for row in rows]
    return f"{result.get('title', name)}\n{table(columns, cells)}"


def markdown(result: Mapping[str, Any]) -> str:
    """A benchmark's title, what it was measured on, its rows and its goals, for a page."""
    rows, goals = result.get("rows", []), result.get("goals", [])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    head = f"**{result['title']}** ({result.get('name', '')}, torch {result.get('torch', '')})"
    reached = [f"{goal['goal']}: {_cell(goal['found'])}, {'met' if goal['met'] else 'not met'}" for goal in goals]
    return "\n".join([head, "", *("| " + " | ".join(line) + " |" for line in lines), "", *[f"- {r}" for r in reached]])


def save(out: Path, quick: bool, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the results so far and what they were measured on."""
    machine = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {"quick": quick, "machine": machine, "benchmarks": results}
    put(out, json.dumps(document, indent=2, default=float) + "\n")


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
