"""One line on the terminal that says what all processes of a run are doing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from lmcnb.cli.text import duration

EVERY = 0.5  # seconds between two looks
PRINTED = 30.0  # seconds between two lines where there is no terminal, as in a log


@contextlib.contextmanager
def live(title: str, store: Path | None = None) -> Iterator[Live]:
    """Shows what is computed meanwhile, by this process and by those that it starts.

    Args:
        store: a folder that other machines see too, where workers run there.
    """
    if store is not None:
        store.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("LMCNB_PROGRESS")
    with tempfile.TemporaryDirectory(prefix="progress-", dir=store, ignore_cleanup_errors=True) as folder:
        os.environ["LMCNB_PROGRESS"] = folder
        line = Live(title, Path(folder))
        try:
            with line:
                yield line
        finally:
            os.environ.pop("LMCNB_PROGRESS")
            if before is not None:
                os.environ["LMCNB_PROGRESS"] = before


class Live:
    """The line, written by a thread of its own. ``title`` may change meanwhile."""

    def __init__(self, title: str, folder: Path, file: IO[str] | None = None):
        self.title, self.folder = title, folder
        self.file = file or sys.stderr
        self.begun = time.monotonic()
        self._first: tuple[float, float] | None = None  # cost done when it was first seen, and when
        self._printed, self._end = self.begun, threading.Event()
        self._thread = threading.Thread(target=self._run, name="lmcnb live", daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.clear()

    def say(self, text: str) -> None:
        """Prints a line of its own above."""
        self.clear()
        click.echo(text)

    def clear(self) -> None:
        """Leaves the terminal as it was."""
        if self.file.isatty():
            self.file.write("\r\x1b[K")
            self.file.flush()

    def _run(self) -> None:
        while not self._end.wait(EVERY):
            with contextlib.suppress(OSError, ValueError):  # a terminal that went away
                self._show()

    def _show(self) -> None:
        text = self.words()
        if self.file.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.file.write(f"\r\x1b[K{text[:width]}")
            self.file.flush()
        elif time.monotonic() - self._printed > PRINTED:
            self._printed = time.monotonic()
            print(text, file=self.file, flush=True)

    def words(self) -> str:
        """The line: title, share, results, what each process does, the time."""
        from lmcnb.lab.progress import doing

        found = doing(self.folder)
        now = time.monotonic()
        passed = f"{duration(now - self.begun)} passed"
        if not found:
            self._first = None
            return f"{self.title}: {passed}"
        cost = max(each.cost for each in found)
        done = min(cost, max(each.finished for each in found) + sum(each.within for each in found))
        first, since = self._first = self._first or (done, now)
        left = ""
        if done - first > cost / 200 and now - since > 5:  # of the first moments nothing can be said
            left = f", {duration((now - since) * (cost - done) / (done - first))} left"
        stored, entries = max((each.stored, each.entries) for each in found)
        names = ", ".join(f"{each.stage} × {each.networks}" if each.stage else "waiting" for each in found)
        return f"{self.title}: {done / max(cost, 1):.0%}, {stored} of {entries} results, {names}; {passed}{left}"
