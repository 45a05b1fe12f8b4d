"""Whether entries still come out as stored, when they are computed again."""
from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .engine import Lab
from .entry import META, PARTS, TENSORS, Damaged, Entry
from .files import dump, packed, sha256, unpacked
from .inventory import WHOLE, Item, rebuilt
from .provenance import provenance
from .shipped import Archive
from .stage import Stage
from .store import Store

SAME_BYTES = ("device", "processor", "torch")  # of the provenance: where these are equal, so are the bytes


class Untouched(Store):
    """A store that is only read: what is damaged stays where it is, and counts as absent."""

    def get(self, stage: str, key: str) -> Entry | None:
        try:
            return self.read(stage, key)
        except (FileNotFoundError, Damaged):
            return None


class Reader(Lab):
    """A lab that recomputes from what its store holds, and neither fills nor changes it."""

    def __init__(self, device: str | torch.device | None = None, store: Path | str | None = None):
        super().__init__(device, store, progress=False, shipped=False)
        self.store = Untouched(self.store.root)

    def map(self, specs: Iterable[Stage]) -> list[Entry]:
        """Raises LookupError where one is missing."""
        specs = list(specs)
        if missing := self.missing(specs):
            names = ", ".join(f"{s.stored} {self.key(s)[:12]}" for s in missing)
            raise LookupError(f"what it is made from is not there: {names}")
        return super().map(specs)


def obstacle(lab: Lab, item: Item) -> str:
    """Why an entry cannot be computed again here; nothing where it can."""
    try:
        key = lab.key(item.spec or rebuilt(item.stage, item.settings))
    except (ValueError, OSError) as error:  # a method of another session, or its data are not at hand
        return str(error).partition(";")[0]  # of what a union takes, the first
    if item.device != lab.device.type:
        return f"computed on {item.device}, and this is {lab.device.type}"
    return "" if key == item.key else "of another version of its stage, its code or its data"


@dataclass(frozen=True)
class Check:
    """How an entry came out when it was computed again.

    ``differs``: results and tensors by name. ``elsewhere``: what of the machine, which may explain that. ``why_not``:
    what is in the way of computing it.
    """

    item: Item
    differs: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    why_not: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it differs though device, processor and torch are the same."""
        return bool(self.differs) and not self.elsewhere


def drawn(able: Iterable[Item], seed: int) -> list[Item]:
    """These entries in a random order."""
    found = sorted(able, key=lambda i: i.key)
    random.Random(seed).shuffle(found)
    return found


def recomputed(lab: Reader, able: Iterable[Item], count: int, seed: int) -> Iterator[Check]:
    """Checks of ``count`` of these entries, drawn at random, and of those on the way that cannot be computed."""
    here = provenance(lab.device)
    for item in drawn(able, seed):
        if count == 0:
            return
        try:
            found = differences(lab, item)
        except LookupError as error:
            yield Check(item, why_not=str(error))
            continue
        yield Check(item, found, _elsewhere(item, here))
        count -= 1


def _elsewhere(item: Item, here: dict[str, str]) -> list[str]:
    return [f"{n} {item.meta.get(n)}, here {here[n]}" for n in SAME_BYTES if item.meta.get(n) != here[n]]


def differences(lab: Reader, item: Item) -> list[str]:
    """What is not, byte for byte, as stored when an entry is computed again: results and tensors by name.

    Raises:
        LookupError: what it is made from is not in the store.
    """
    assert item.spec is not None  # where its settings mean nothing there is an obstacle
    again = lab.recompute(item.spec)
    found = []
    if (item.folder / "result.json").read_bytes() != dump(again.values):
        names = sorted({*item.result, *again.values})
        found += [n for n in names if dump(item.result.get(n)) != dump(again.values.get(n))] or ["result.json"]
    data = (item.folder / "tensors.safetensors").read_bytes()
    if data != packed(again.tensors):
        before = unpacked(data)
        names = sorted({*before, *again.tensors})
        found += [n for n in names if not _equal(before.get(n), again.tensors.get(n))] or ["tensors.safetensors"]
    return found


def _equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    return a is not None and b is not None and packed({"": a}) == packed({"": b})


class Travelled(Item):
    """An entry that came with a project, as an item."""

    @cached_property
    def _found(self) -> tuple[str, str]:
        return WHOLE, ""

    def _json(self, name: str) -> dict[str, Any]:
        return self._entry.get(name, {})

    @cached_property
    def _entry(self) -> dict[str, dict[str, Any]]:
        archive: Any = self.store
        found = archive.get(self.stage, self.key)
        return {META: found.meta, PARTS[0]: found.spec, PARTS[1]: found.result} if found else {}


def travelled(archive: Archive) -> list[Item]:
    """Everything whole that came with a project."""
    found = [Travelled(archive, stage, key) for stage, key in archive.places]  # pyright: ignore[reportArgumentType]
    return [item for item in found if item.meta]


def computed_anew(lab: Lab, able: Iterable[Item], count: int, seed: int) -> Iterator[Check]:
    """Checks of ``count`` entries that came with a project, drawn at random.

    Args:
        lab: one that takes nothing from the project; what the entries are made from is computed into its store.
    """
    here = provenance(lab.device)
    for item in drawn(able, seed)[:count]:
        assert item.spec is not None
        lab.map(item.spec.upstream())
        again = lab.recompute(item.spec)
        found = [n for n in sorted({*item.result, *again.values})
                 if dump(item.result.get(n)) != dump(again.values.get(n))]
        if sha256(packed(again.tensors)) != item.meta["sha256"][TENSORS]:  # of the weights that did not travel too
            found.append(TENSORS)
        yield Check(item, found, _elsewhere(item, here))
