"""Looking after a store: whether its entries still come out as stored, and what of it nothing needs."""
from __future__ import annotations

import json
import os
import random
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .engine import Lab
from .inventory import DAMAGED, WHOLE, Item, rebuilt
from .lease import dead
from .provenance import provenance
from .stage import STAGES, Stage, closure
from .store import Damaged, Entry, Store, dump, packed, unpacked

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
        super().__init__(device, store, progress=False)
        self.store = Untouched(self.store.root)

    def map(self, specs: Iterable[Stage]) -> list[Entry]:
        """Raises LookupError where one is missing."""
        specs = list(specs)
        if missing := self._missing(specs):
            names = ", ".join(f"{s.stored} {self.key(s)[:12]}" for s in missing)
            raise LookupError(f"what it is made from is not there: {names}")
        return super().map(specs)


def obstacle(lab: Lab, item: Item) -> str:
    """Why an entry cannot be computed again here; nothing where it can."""
    try:
        key = lab.key(item.spec or rebuilt(item.stage, item.settings))
    except (ValueError, OSError) as error:  # a method of another session, or its data are not at hand
        return str(error)
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


def recomputed(lab: Reader, able: Iterable[Item], count: int, seed: int) -> Iterator[Check]:
    """Checks of ``count`` of these entries, drawn at random, and of those on the way that cannot be computed."""
    drawn, here = sorted(able, key=lambda i: i.key), provenance(lab.device)
    random.Random(seed).shuffle(drawn)
    for item in drawn:
        if count == 0:
            return
        try:
            found = differences(lab, item)
        except LookupError as error:
            yield Check(item, why_not=str(error))
            continue
        yield Check(item, found, [f"{n} {item.meta.get(n)}, here {here[n]}" for n in SAME_BYTES
                                  if item.meta.get(n) != here[n]])
        count -= 1


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


def figure_keys(figures: Path) -> set[str]:
    """Every key that a figure's JSON file in this folder, or below it, lists under "keys", at any depth.

    Raises:
        ValueError: a file is no JSON, so what it needs is unknown.
    """
    found: set[str] = set()
    for path in sorted(figures.rglob("*.json")):
        try:
            found |= set(_listed(json.loads(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON, so what it needs is unknown: mend or remove it ({error})") from error
    return found


def _listed(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        keys = value.get("keys")
        yield from (k for k in keys if isinstance(k, str)) if isinstance(keys, list) else ()
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _listed(each)


def needed(lab: Lab, found: Sequence[Item], keys: set[str], plan: Iterable[Stage]) -> set[str]:
    """These keys, those of a plan, and those of everything that either is made from.

    Where this session would give an entry its key, it gives those upstream theirs. Of one computed elsewhere, or on
    data that are not at hand, whatever has the settings of something upstream counts as it.
    """
    kept, alike = set(keys), defaultdict(list)
    roots: dict[tuple[str | None, bool], list[Stage]] = defaultdict(list)
    for item in found:
        if item.spec is not None:
            alike[item.spec].append(item)
            if item.key in keys:
                roots[item.device, not obstacle(lab, item)].append(item.spec)
    for (device, exact), specs in roots.items():
        for spec in closure(specs):
            kept |= {lab.key(spec)} if exact else {i.key for i in alike[spec] if i.device == device}
    for spec in closure(plan):
        kept |= {lab.key(spec)} | {i.key for i in alike[spec] if i.device not in (None, lab.device.type)}
    return kept


def upstream(lab: Lab, found: Iterable[Item], item: Item) -> list[Item] | None:
    """What an entry is made from, as :func:`needed` finds it, missing ones included; None where it cannot be told."""
    if item.spec is None:
        return None
    direct = item.spec.upstream()
    if not obstacle(lab, item):
        return [Item(lab.store, s.stored, lab.key(s), s) for s in direct]
    return [i for i in found if i.spec in direct and i.device == item.device]


@dataclass(frozen=True)
class Waste:
    """A file or folder of a store that nothing needs.

    ``key``: whose lease protects it, or nothing. ``state``: "damaged" or "older version", else nothing.
    """

    what: str
    path: Path
    key: str = ""
    state: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return size(self.path)


def waste(store: Store, found: Sequence[Item], kept: set[str]) -> list[Waste]:
    """Everything but the entries of ``kept`` and checkpoints on the way to them; what is being computed left out."""
    left = [Waste(i.stage, i.folder, i.key, "" if i.state == WHOLE else i.state)
            for i in found if i.key not in kept and (i.stage in STAGES or i.state == WHOLE)]
    stored = {i.key for i in found if i.state == WHOLE}
    for path in _inside(store, "checkpoints"):
        key = path.name.partition(".")[0]
        if key in stored or key not in kept or path.suffix == ".partial":
            left.append(Waste("checkpoints", path, key))
    left += [Waste("aside", path, path.name.partition("-")[0]) for path in _inside(store, "aside")]
    left += [Waste("damaged", path, state=DAMAGED) for path in _inside(store, "damaged")]
    computed = held(store)
    return [w for w in left if w.key not in computed] + [
        Waste("leases", path) for path in _inside(store, "leases") if _ended(path)]


def held(store: Store) -> set[str]:
    """The keys that some process computes, as far as this machine can tell."""
    return {path.stem for path in _inside(store, "leases") if not _ended(path)}


def remove(store: Store, left: Iterable[Waste]) -> list[Waste]:
    """Removes each in one step, under its lease, and returns them; what another process has begun to compute stays.

    Raises:
        StoreError: the store cannot be written.
    """
    gone = []
    for each in left:
        try:
            mine = store.leases.acquire([each.key]) if each.key else []
            try:
                if mine or not each.key:
                    _remove(store, each.path)
                    gone.append(each)
            finally:
                store.leases.release(mine)
        except OSError as error:
            raise store.explained(error) from error
    return gone


def _remove(store: Store, path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = store.root / "aside" / f"{path.name}-{uuid.uuid4().hex}"  # a reader finds it whole or not at all
    aside.parent.mkdir(exist_ok=True)
    try:
        os.rename(path, aside)
    except FileNotFoundError:  # another process was faster
        return
    shutil.rmtree(aside)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is none."""
    return sum(f.stat().st_size for f in (path, *path.rglob("*")) if f.is_file())


def _inside(store: Store, name: str) -> list[Path]:
    return sorted((store.root / name).glob("*"))


def _ended(lease: Path) -> bool:
    try:
        return dead(lease.read_text())
    except FileNotFoundError:
        return True
