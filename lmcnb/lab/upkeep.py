"""What of a store nothing needs: not a figure, not a plan."""
from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engine import Lab
from .inventory import DAMAGED, WHOLE, Item
from .lease import dead
from .stage import STAGES, Stage, closure
from .store import Store
from .verify import obstacle

FORGOTTEN = 86_400.0  # seconds without a sign of life after which a lease of any machine counts as ended


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
    found = 0
    for folder, _, names in os.walk(path) if path.is_dir() else [(path.parent, [], [path.name])]:
        for name in names:
            with suppress(OSError):  # gone by now
                found += os.stat(os.path.join(folder, name)).st_size
    return found


def _inside(store: Store, name: str) -> list[Path]:
    return sorted((store.root / name).glob("*"))


def _ended(lease: Path) -> bool:
    try:  # of a node that is gone for good nothing else tells; a living one renews its leases
        return dead(lease.read_bytes()) or time.time() - lease.stat().st_mtime > FORGOTTEN
    except FileNotFoundError:
        return True
