"""What has been computed, on disk: one folder an entry, addressed by content, whole or absent, never pickled.

Any number of processes may use one store. Nothing is ever changed in place: a file is written aside and renamed, the
first whole entry under a key stays, and what is damaged is moved to ``damaged/`` and kept.
"""
from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ..params import Params
from .entry import PARTS, Damaged, Entry, contents, own
from .files import dump, note_of, packed, sha256, unpacked
from .lease import Leases

log = logging.getLogger(__name__)

ELSEWHERE = ("aside", "checkpoints", "damaged", "leases", "progress", "slurm")  # folders that are no stage's


class StoreError(OSError):
    """The store could not be written; the message says where and what to do."""


class Store:
    """A folder of entries ``<root>/<stage>/<key>/{spec.json, result.json, tensors.safetensors, meta.json}``.

    ``meta.json`` holds the sha256 of the other three, the entry's stage and key, and its own sha256.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        if self.root.is_file():
            raise StoreError(f"the store {self.root} is a file: name a folder (LMCNB_STORE, or Lab(store=…))")

    @cached_property
    def leases(self) -> Leases:
        """Who is computing what in this store."""
        return Leases(self.root / "leases")

    def folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether an entry is there, without reading it."""
        return (self.folder(stage, key) / "meta.json").exists()

    def get(self, stage: str, key: str) -> Entry | None:
        """The entry, or None. A damaged one is reported, moved to ``damaged/`` and treated as absent.

        Raises:
            OSError: the files are there and cannot be read just now (too many open files, a stale handle, no
                permission): nothing is touched.
        """
        folder = self.folder(stage, key)
        for last in (False, True):  # another process may be putting a whole one in the place of a damaged one
            try:
                return self.read(stage, key)
            except (FileNotFoundError, Damaged) as error:
                if not folder.exists():
                    return None
                if last:
                    self.set_aside(folder, error)
        return None

    def read(self, stage: str, key: str) -> Entry:
        """The entry, every file of it checked.

        Raises:
            FileNotFoundError: it is not there, or not whole. Damaged: it is not what was stored.
        """
        folder = self.folder(stage, key)
        return Entry(folder, *contents(lambda name: (folder / name).read_bytes(), stage, key))

    def set_aside(self, folder: Path, reason: Exception) -> None:
        """Moves an entry's folder, or a checkpoint, to ``damaged/``, where nothing reads it and nothing deletes it."""
        target = self.root / "damaged" / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(folder, target)
        except FileNotFoundError:  # another process was faster
            return
        except OSError as error:
            raise self.explained(error) from error
        log.warning("%s of the store is damaged (%s): it lies in %s now and is computed again", folder, reason, target)

    def put(self, stage: str, key: str, spec: str, result: dict, tensors: Params, meta: dict) -> Entry:
        """Writes an entry aside, then renames it into place; a whole one that is there already stays, and is returned.

        Raises:
            StoreError: the disk is full or read-only.
        """
        parts = dict(zip(PARTS, (spec.encode(), dump(result), packed(tensors))))
        meta = {**meta, "stage": stage, "key": key, "sha256": {n: sha256(data) for n, data in parts.items()}}
        meta["self"] = own(meta)
        folder, aside = self.folder(stage, key), self.root / "aside" / f"{key}-{uuid.uuid4().hex}"
        try:
            aside.mkdir(parents=True)
            for name, data in (*parts.items(), ("meta.json", dump(meta))):
                (aside / name).write_bytes(data)
            folder.parent.mkdir(parents=True, exist_ok=True)
            while not _renamed(aside, folder):
                if (there := self.get(stage, key)) is not None:
                    return there
            return Entry(folder, json.loads(spec), json.loads(parts["result.json"]), meta)
        except OSError as error:
            raise self.explained(error) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def save_checkpoint(self, key: str, tensors: Params, note: dict[str, str]) -> None:
        """Keeps the state of an unfinished stage; replaces the previous one in a single step."""
        path = self._checkpoint(key)
        aside = path.with_name(f"{key}.{uuid.uuid4().hex}.partial")
        data = packed(tensors, note | {"key": key})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(sha256(data).encode() + data)
            os.replace(aside, path)
        except OSError as error:
            raise self.explained(error) from error
        finally:
            with suppress(OSError):  # it is in place, or the disk is read-only
                aside.unlink()

    def checkpoint(self, key: str) -> tuple[Params, dict[str, str]] | None:
        """The last checkpoint and its note, or None. A damaged one is set aside and counts as none."""
        path = self._checkpoint(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if data[:64] != sha256(data[64:]).encode():
            self.set_aside(path, Damaged("its checksum is not that of its content"))
            return None
        note = note_of(data[64:])
        if note.pop("key", None) != key:
            self.set_aside(path, Damaged("it is the checkpoint of another key"))
            return None
        return unpacked(data[64:]), note

    def progress(self, key: str) -> str:
        """How far the checkpoint of a key is: the step in its note, or "" where there is none."""
        try:
            with open(self._checkpoint(key), "rb") as file:
                file.seek(64)
                length = file.read(8)
                return note_of(length + file.read(int.from_bytes(length, "little"))).get("step", "")
        except (OSError, ValueError, OverflowError, MemoryError):  # none, or a damaged one: found when it is read
            return ""

    def drop_checkpoint(self, key: str) -> None:
        with suppress(OSError):  # it is not there, or the disk is read-only: the entry is stored
            self._checkpoint(key).unlink()

    def _checkpoint(self, key: str) -> Path:
        return self.root / "checkpoints" / f"{key}.ckpt"

    def stages(self) -> list[str]:
        """The stages that the store has a folder of."""
        folders = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(f.name for f in folders if f.is_dir() and f.name not in ELSEWHERE)

    def keys(self, stage: str) -> list[str]:
        """The keys of a stage's entries, whole or not."""
        return sorted(f.name for f in (self.root / stage).glob("*/"))

    def entries(self, stage: str) -> Iterator[Entry]:
        """Every whole entry of a stage, in the order of their keys; those of older versions of the package left out."""
        for key in self.keys(stage):
            if not self.of_older_version(stage, key) and (entry := self.get(stage, key)) is not None:
                yield entry

    def of_older_version(self, stage: str, key: str) -> bool:
        """Whether an entry was written before entries held checksums of all files: nobody asks for such a key."""
        try:
            meta = json.loads((self.folder(stage, key) / "meta.json").read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(meta, dict) and not {"self", "stage", "key"} & meta.keys()

    def metas(self, stage: str) -> list[dict[str, Any]]:
        """meta.json of every entry of a stage, for cost estimates."""
        found = []
        for path in sorted((self.root / stage).glob("*/meta.json")):
            try:
                found.append(json.loads(path.read_bytes()))
            except (OSError, ValueError):
                continue
        return [meta for meta in found if isinstance(meta, dict)]

    def explained(self, error: OSError) -> OSError:
        """What to do about a store that cannot be written."""
        if isinstance(error, StoreError):
            return error
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else str(error)
        return StoreError(f"cannot write to the store at {self.root}: {reason}. Free some space there, make it "
                          f"writable, or set LMCNB_STORE to another folder; what is stored stays valid, and the same "
                          f"command goes on from it")


def _renamed(aside: Path, folder: Path) -> bool:
    """Whether a folder was moved to its place; False where one is already."""
    try:
        os.rename(aside, folder)
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
