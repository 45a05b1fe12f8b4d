"""How far a lab is: as a bar, and as a file for whoever shows what several processes do.

A kernel that papermill runs has no terminal. Where LMCNB_PROGRESS names a folder, every process that computes keeps a
file there which says what it is doing, and draws no bar of its own.
"""
from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm.auto import tqdm

from .lease import dead

FORM = "{desc} {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} left"
SECONDS = 0.5  # at least, between two writings of a file


@dataclass
class Doing:
    """What one process is doing. Costs are in training images.

    Attributes:
        stage, networks: what it computes now, and as how large a stack; "" while it waits for another process.
        stored, entries: how many of the entries that were missing are stored by now, whoever computed them.
        finished, cost: their cost, and that of all. within: the cost of what is done of the stack in hand.
    """

    stage: str = ""
    networks: int = 0
    stored: int = 0
    entries: int = 0
    finished: float = 0.0
    cost: float = 0.0
    within: float = 0.0


class Progress:
    """The progress of one call of a lab, from the first missing entry to the last."""

    def __init__(self, entries: int, cost: float, shown: bool = True):
        folder = os.environ.get("LMCNB_PROGRESS") if shown else None
        self.now = Doing(entries=entries, cost=cost)
        self._file = Path(folder) / f"{socket.gethostname()}-{os.getpid()}.json" if folder else None
        self._written = 0.0
        self._bar = tqdm(total=cost, disable=not shown or folder is not None, bar_format=FORM, leave=False)

    def begin(self, stage: str, networks: int) -> None:
        """A stack of networks is in hand."""
        self.now.stage, self.now.networks, self.now.within = stage, networks, 0.0
        self._show(f"{stage} × {networks}", at_once=True)

    def advance(self, cost: float) -> None:
        """So much more of the stack in hand is done."""
        self.now.within += cost
        self._show()

    def left(self, entries: int, cost: float) -> None:
        """So much is missing still."""
        self.now.stored, self.now.finished = self.now.entries - entries, self.now.cost - cost
        self.now.within = 0.0
        self._show(at_once=not entries)

    def wait(self) -> None:
        """What is missing is in another process's hands."""
        self.now.stage, self.now.networks = "", 0
        self._show("waiting for another process")

    def close(self) -> None:
        self._bar.close()
        if self._file:
            with suppress(OSError):
                self._file.unlink()

    def _show(self, words: str | None = None, at_once: bool = False) -> None:
        if words:
            self._bar.set_description(words, refresh=False)
        self._bar.update(self.now.finished + self.now.within - self._bar.n)
        if self._file and (at_once or time.monotonic() - self._written > SECONDS):
            aside = self._file.with_suffix(".aside")
            with suppress(OSError):  # a full disk: what matters is reported by the store
                aside.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), **asdict(self.now)}))
                os.replace(aside, self._file)
            self._written = time.monotonic()


def doing(folder: Path) -> list[Doing]:
    """What the processes that keep files in a folder are doing."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError):  # gone by now
            text = path.read_bytes()
            if not dead(text):
                found.append(Doing(**{n: v for n, v in json.loads(text).items() if n not in ("host", "pid")}))
    return found
