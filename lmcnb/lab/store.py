"""What has been computed, on disk: one folder an entry, addressed by content, whole or absent, never pickled."""
from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ..params import Params

log = logging.getLogger(__name__)


class StoreError(OSError):
    """The store could not be written; the message says where and what to do."""


@dataclass(frozen=True)
class Entry:
    """One computed artifact: ``result`` (plain numbers), ``tensors`` (read when asked for), ``meta`` (provenance)."""

    folder: Path
    spec: dict[str, Any]
    result: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tensors(self) -> Params:
        return load_file(self.folder / "tensors.safetensors")


class Store:
    """A folder of entries ``<root>/<stage>/<key>/{spec.json, result.json, tensors.safetensors, meta.json}``."""

    def __init__(self, root: Path):
        self.root = Path(root)

    def folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether an entry is there, without reading it."""
        return (self.folder(stage, key) / "result.json").exists()

    def get(self, stage: str, key: str) -> Entry | None:
        """The entry, or None. A damaged one is reported, set aside and treated as absent."""
        folder = self.folder(stage, key)
        if not folder.exists():
            return None
        try:
            return self._read(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("entry %s of the store is damaged (%s): it will be computed again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def _read(self, folder: Path) -> Entry:
        spec, result, meta = (json.loads((folder / f"{n}.json").read_text()) for n in ("spec", "result", "meta"))
        if _sha256(folder / "tensors.safetensors") != meta["sha256"]:
            raise ValueError("tensors.safetensors does not have the recorded sha256")
        return Entry(folder, spec, result, meta)

    def put(self, stage: str, key: str, spec: str, result: dict, tensors: Params, meta: dict) -> Entry:
        """Writes an entry aside, then renames it into place. Raises StoreError when the disk is full or read-only."""
        folder = self.folder(stage, key)
        aside = self.root / "aside" / f"{key}-{uuid.uuid4().hex}"
        try:
            aside.mkdir(parents=True)
            save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, aside / "tensors.safetensors")
            meta = {**meta, "sha256": _sha256(aside / "tensors.safetensors")}
            for name, text in (("spec", spec), ("meta", _dump(meta)), ("result", _dump(result))):
                (aside / f"{name}.json").write_text(text)
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(aside, folder)
        except Exception as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise self._explained(error) from error
        return Entry(folder, json.loads(spec), result, meta)

    def save_checkpoint(self, key: str, tensors: Params, note: dict[str, str]) -> None:
        """Keeps the state of an unfinished stage; replaces the previous one in a single step."""
        path = self.root / "checkpoints" / f"{key}.safetensors"
        aside = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, aside, metadata=note)
            os.replace(aside, path)
        except Exception as error:
            aside.unlink(missing_ok=True)
            raise self._explained(error) from error

    def checkpoint(self, key: str) -> tuple[Params, dict[str, str]] | None:
        """The last checkpoint and its note, or None; an unreadable one counts as none."""
        from safetensors import SafetensorError, safe_open

        path = self.root / "checkpoints" / f"{key}.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as f:
                return {n: f.get_tensor(n) for n in f.keys()}, f.metadata() or {}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            log.warning("checkpoint %s is damaged (%s): its stage starts over", path, error)
            return None

    def drop_checkpoint(self, key: str) -> None:
        (self.root / "checkpoints" / f"{key}.safetensors").unlink(missing_ok=True)

    def remember(self, kind: str, key: str, choose: Callable[[], str]) -> str:
        """A small choice made once for this store: what was chosen before, else ``choose()``."""
        path = self.root / kind / f"{key}.txt"
        if path.exists() and (text := path.read_text().strip()):
            return text
        chosen = choose()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(chosen)
        except OSError as error:
            raise self._explained(error) from error
        return chosen

    def entries(self, stage: str) -> Iterator[Entry]:
        """Every readable entry of a stage, in the order of their keys."""
        for folder in sorted((self.root / stage).glob("*/")):
            if (entry := self.get(stage, folder.name)) is not None:
                yield entry

    def metas(self, stage: str) -> list[dict[str, Any]]:
        """meta.json of every entry of a stage, for cost estimates."""
        found = []
        for path in sorted((self.root / stage).glob("*/meta.json")):
            try:
                found.append(json.loads(path.read_text()))
            except (OSError, ValueError):
                continue
        return found

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, OSError) or "no space left" in str(error).lower():
            full = getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower()
            reason = "no space left on the disk" if full else str(error)
            return StoreError(f"cannot write to the store at {self.root}: {reason}. Free some space or set LMCNB_STORE "
                              f"to another folder; what is already there stays valid and is not computed again")
        return error


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _dump(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)
