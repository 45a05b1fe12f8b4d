"""One computed artifact as it is kept: four files that vouch for one another."""
from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..params import Params
from ..spec import canonical, digest
from .files import dump, sha256, unpacked

PARTS = ("spec.json", "result.json", "tensors.safetensors")  # what meta.json holds the checksums of
META, TENSORS = "meta.json", PARTS[2]
Files = Callable[[str], bytes]  # an entry's file by name; raises FileNotFoundError


class Damaged(ValueError):
    """What lies under a key is not what was stored there."""


@dataclass(frozen=True)
class Entry:
    """One computed artifact: ``result`` (plain numbers), ``meta`` (provenance), ``tensors`` (read when asked for)."""

    folder: Path
    spec: dict[str, Any]
    result: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def stage(self) -> str:
        return self.folder.parent.name

    @property
    def whole(self) -> bool:
        """Whether its tensors are at hand; those of :meth:`.stage.Stage.stays` do not travel."""
        return True

    @property
    def tensors(self) -> Params:
        """Read from the file each time: what nobody holds any more is released. Raises Damaged when it has changed."""
        try:
            return unpacked(checked((self.folder / TENSORS).read_bytes(), TENSORS, self.meta))
        except Damaged as error:
            raise Damaged(f"{self.folder}: {error}, and had it when it was read. A new session sets it aside and "
                          f"computes it again: restart the kernel, or give the command again") from None


def contents(files: Files, stage: str, key: str, absent: Collection[str] = ()
             ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings, result and provenance of an entry, every file of it checked but those that may be ``absent``.

    Raises:
        FileNotFoundError: it is not there, or not whole. Damaged: it is not what was stored.
    """
    data = files(META)
    meta = _json(META, data)
    if not isinstance(meta, dict) or meta.get("self") != own(meta) or dump(meta) != data:
        raise Damaged("meta.json does not have the sha256 that it holds")
    if (meta["stage"], meta["key"]) != (stage, key):
        raise Damaged(f"it is the entry {meta['stage']}/{meta['key']}")
    parts = {name: checked(files(name), name, meta) for name in PARTS if name not in absent}
    return _json(PARTS[0], parts[PARTS[0]]), _json(PARTS[1], parts[PARTS[1]]), meta


def checked(data: bytes, name: str, meta: dict[str, Any]) -> bytes:
    """The bytes of a file that are what ``meta`` says. Raises Damaged."""
    if sha256(data) != meta["sha256"][name]:
        raise Damaged(f"{name} does not have the recorded sha256")
    return data


def own(meta: dict[str, Any]) -> str:
    """The sha256 of a meta.json, which it holds itself."""
    try:
        return digest(canonical({n: v for n, v in meta.items() if n != "self"}))
    except ValueError as error:  # a number that is none
        raise Damaged(f"meta.json cannot be: {error}") from error


def _json(name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise Damaged(f"{name} is no JSON") from error
