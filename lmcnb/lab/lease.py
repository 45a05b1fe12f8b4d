"""Who computes what: leases on keys, for any number of processes and machines on one shared folder.

A lease is a file ``<key>.<n>`` that only one process can create (O_EXCL). Its holder touches it while it lives. Where
the holder is gone, the next one takes over by creating ``<key>.<n + 1>``, which again only one can. No lock is needed,
and no clock is compared with another machine's: whoever waits watches whether the file still changes.

A lease saves work, no more: results are addressed by content, so a holder that was only asleep does no harm.
"""
from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

HEARTBEAT = 5.0  # seconds between a holder's signs of life
PATIENCE = 60.0  # seconds without one after which a holder counts as gone


class Leases:
    """The leases of one store, seen by one process."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self._held: dict[str, Path] = {}
        self._seen: dict[Path, tuple[int, float]] = {}  # when a lease last changed, by our own clock
        self._beating: threading.Thread | None = None
        self._guard = threading.Lock()

    def acquire(self, keys: Sequence[str]) -> list[str]:
        """Takes those of ``keys`` that nobody else holds, and returns them. :meth:`release` gives them back.

        Raises:
            OSError: no lease can be written (a full disk, a read-only folder); none is held then.
        """
        mine: list[str] = []
        try:
            for key in keys:
                if (path := self._taken(key)) is not None:
                    mine.append(key)
                    with self._guard:
                        self._held[key] = path
        except BaseException:
            self.release(mine)
            raise
        if mine:
            self._beat()
        return mine

    def release(self, keys: Sequence[str]) -> None:
        """Gives back what :meth:`acquire` returned, and what was taken over for it."""
        for key in keys:
            with self._guard:
                path = self._held.pop(key)
            for older in sorted((p for p in self._of(key) if _number(p) <= _number(path)), key=_number):
                with suppress(OSError):  # gone, or a disk that has become read-only: a lease that is left does no harm
                    older.unlink()

    def sweep(self, keys: Iterable[str]) -> None:
        """Removes what processes of this machine that have ended left of ``keys``, whose results are there."""
        done = set(keys)
        for path in list(self.root.glob("*.*")):
            try:
                if path.stem in done and dead(path.read_bytes()):
                    path.unlink()
            except OSError:  # another process was faster, or the folder is read-only: a lease that is left does no harm
                continue

    def _taken(self, key: str) -> Path | None:
        latest = max(self._of(key), key=_number, default=None)
        if latest is not None and not self._abandoned(latest):
            return None
        path = self.root / f"{key}.{_number(latest) + 1 if latest else 1}"
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "x") as file:
                json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}, file)
        except FileExistsError:  # another was faster
            return None
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _of(self, key: str) -> list[Path]:
        return [p for p in self.root.glob(f"{key}.*") if p.suffix[1:].isdecimal()]

    def _abandoned(self, path: Path) -> bool:
        try:
            changed, text = path.stat().st_mtime_ns, path.read_bytes()
        except FileNotFoundError:  # free again
            return False
        if dead(text):
            return True
        before, since = self._seen.get(path, (None, 0.0))
        if before != changed:
            self._seen[path] = (changed, time.monotonic())
            return False
        return time.monotonic() - since > PATIENCE

    def _beat(self) -> None:
        with self._guard:
            if self._beating is None:
                self._beating = threading.Thread(target=self._signs_of_life, name="lmcnb leases", daemon=True)
                self._beating.start()

    def _signs_of_life(self) -> None:
        while True:
            time.sleep(HEARTBEAT)
            with self._guard:
                held = list(self._held.values())
                if not held:
                    self._beating = None
                    return
            for path in held:
                try:
                    os.utime(path)
                except OSError:  # was taken over, or the disk is away: the result decides
                    continue


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def dead(text: bytes) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    try:
        owner = json.loads(text)
        if owner["host"] != socket.gethostname():
            return False
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, PermissionError):  # half written, or not ours to signal
        return False
    return False
