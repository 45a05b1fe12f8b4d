"""A notebook as it is committed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

NOTEBOOK_NOISE = ("papermill", "widgets", "lmcnb")
CELL_NOISE = ("papermill", "execution", "ExecuteTime")
BAR = re.compile(r"%\|.*\| [\d:]+ passed, \S+ left")  # a lab's progress, which a live notebook removes when it is done
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def tidied(text: str) -> str:
    """A notebook's text as it is committed: cells counted 1…n, no trace of when or by what they were run."""
    from lmcnb.ipynb import nbformat

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
    cell.outputs = [o for o in cell.outputs if not BAR.search(o.get("data", {}).get("text/plain", ""))]
    for output in cell.outputs:
        # Without the widget state, which names the kernel's objects, a view shows nothing.
        _drop(output.get("data", {}), (WIDGET_VIEW,))
        if output.output_type == "execute_result":
            output.execution_count = count


def _drop(mapping: dict[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        mapping.pop(key, None)
