"""Executed copies of notebooks: `<stem>.ipynb` is the last complete run; what did not finish is kept beside it.

While a notebook runs, its copy is `<stem>.running.ipynb`. What an error or a dead kernel leaves becomes
`<stem>.failed.ipynb`, what a signal leaves `<stem>.interrupted.ipynb`. The next complete run removes them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

RUNNING, FAILED, INTERRUPTED = "running", "failed", "interrupted"
MARKER = "papermill-error-cell-tag"  # on cells that tell of a failure; papermill drops them when it starts again
INJECTED = "injected-parameters"


@dataclass(frozen=True)
class Copy:
    """The executed copy of one notebook in `folder`."""

    folder: Path
    stem: str

    def path(self, outcome: str | None = None) -> Path:
        """The file of a complete run, or of what became of an incomplete one."""
        return self.folder / ".".join(filter(None, (self.stem, outcome, "ipynb")))

    def begin(self) -> Path:
        """The file to execute into."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path(RUNNING).unlink(missing_ok=True)
        return self.path(RUNNING)

    def complete(self) -> Path:
        """Put the run in the place of the last complete one."""
        assert self._node is not None
        return self._place(None)

    def keep(self, outcome: str, sentence: str) -> Path | None:
        """Keep an incomplete run beside the complete one, with a sentence on why it ended; None if there is nothing."""
        if self._node is None:
            return None
        self._node.metadata["lmcnb"] = {"stopped": sentence}
        if self._marks[self._last].get("status") != FAILED:  # papermill knows, and tells of, a cell's error only
            self._tell(sentence)
        return self._place(outcome)

    @cached_property
    def where(self) -> str:
        """Where an incomplete run ended, in cells as the notebook's reader counts them."""
        if self._node is None:
            return "before its first cell"
        own = [not {MARKER, INJECTED} & set(cell.metadata.get("tags", [])) for cell in self._node.cells]
        return f"in cell {sum(own[: self._last + 1])} of {sum(own)}"

    @cached_property
    def _node(self) -> Any:
        from lmcnb.ipynb import nbformat

        try:
            return nbformat.read(self.path(RUNNING), as_version=4)
        except (OSError, ValueError):  # not written yet, or only half
            return None

    @property
    def _marks(self) -> list[dict[str, Any]]:
        return [cell.metadata.get("papermill", {}) for cell in self._node.cells]

    @property
    def _last(self) -> int:
        return max((index for index, mark in enumerate(self._marks) if mark.get("start_time")), default=0)

    def _tell(self, sentence: str) -> None:
        from lmcnb.ipynb import nbformat

        # Papermill calls every cell of a run that was cut short completed.
        self._marks[self._last]["status"] = INTERRUPTED
        for mark in self._marks[self._last + 1 :]:
            mark["status"] = "pending"
        text = f"**This run is not complete: {sentence}.**"
        self._node.cells.insert(0, nbformat.v4.new_markdown_cell(text, metadata={"tags": [MARKER]}))

    def _place(self, outcome: str | None) -> Path:
        from lmcnb.ipynb import nbformat

        running, target = self.path(RUNNING), self.path(outcome)
        self._node.metadata.papermill["output_path"] = str(target)
        nbformat.write(self._node, running)
        os.replace(running, target)
        for other in {FAILED, INTERRUPTED} - {outcome}:
            self.path(other).unlink(missing_ok=True)
        return target
