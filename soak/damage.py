"""No damaged entry or checkpoint is trusted or deleted: it counts as absent, is kept, and is put or computed again.

Every kind of damage to every file of an entry in turn, and to checkpoints; entries of a small plan, at random.
"""
from __future__ import annotations

import json
import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lmcnb.lab import Lab, Stage, Store
from lmcnb.lab.entry import PARTS
from lmcnb.lab.files import dump, unpacked
from lmcnb.lab.stage import closure
from lmcnb.params import Params
from soak._children import PLANS

COUNT = 1000
FILES = (*PARTS, "meta.json")
RECOMPUTED = 20  # one in so many is computed again, the others are put again


def flipped(data: bytes, _: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:]


def truncated(data: bytes, _: bytes, chance: random.Random) -> bytes:
    return data[:chance.randrange(1, len(data))]


def grown(data: bytes, _: bytes, chance: random.Random) -> bytes:
    return data + chance.choice([b"\0", b" ", b"\n", data])


def zeroed(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """A block that never reached the disk."""
    at = chance.randrange(len(data))
    return data[:at] + bytes(len(data) - at)


def rewritten(data: bytes, _: bytes, chance: random.Random) -> bytes:
    """Another value in well-formed JSON; the last tensor's first bits for what is none."""
    try:
        values = json.loads(data)
    except ValueError:
        return data[:-4] + bytes(b ^ 255 for b in data[-4:])
    values[chance.choice(sorted(values))] = chance.choice([float("nan"), float("inf"), 0.25, None, "", [], {}])
    if "self" in values and chance.random() < 0.5:  # without the sum that would tell
        values["self"] = chance.choice([None, "", float("nan")])
    return dump(values)


DAMAGES: dict[str, Callable[[bytes, bytes, random.Random], bytes | None]] = {
    "flipped": flipped, "truncated": truncated, "emptied": lambda *_: b"", "missing": lambda *_: None, "grown": grown,
    "zeroed": zeroed, "rewritten": rewritten, "of another": lambda _, other, __: other}
KINDS = [*product(DAMAGES, (*FILES, "checkpoint")), ("under another key", "entry"), ("swapped", "entry"),
         ("under another key", "checkpoint"), ("swapped", "checkpoint")]


def run(count: int, seed: int) -> dict:
    chance, found, failures = random.Random(f"damage/{seed}"), Counter(), []
    with TemporaryDirectory(prefix="lmcnb-soak-") as folder, without_warnings():
        shelves = Shelf(Path(folder), chance)
        for what, where in islice(cycle(KINDS), count):
            problems = shelves.damage(what, where, found)
            found.update({"damaged": 1, "checkpoints among them": where == "checkpoint",
                          "noticed, kept, and whole again": not problems})
            failures += [f"{where} {what}: {p}" for p in problems]
    return {**found, "failures": failures}


@contextmanager
def without_warnings() -> Iterator[None]:
    """Without the store's, which say of each what is counted here."""
    logger = logging.getLogger("lmcnb.lab.store")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class Shelf:
    """A store of small entries and checkpoints whose bytes are known."""

    def __init__(self, folder: Path, chance: random.Random):
        self.store, self.chance = Store(folder / "store"), chance
        lab, plan = self._lab(), PLANS["pruning"] + PLANS["measuring"]
        lab.map(plan)
        self.specs: dict[Path, Stage] = {self.store.folder(s.stored, lab.key(s)): s for s in closure(plan)}
        self.known = {f: {n: (f / n).read_bytes() for n in FILES} for f in self.specs}
        self.checkpoints = {}
        for key in (f"checkpoint{k}" for k in range(5)):
            self._save(key)
            self.checkpoints[self._path(key)] = self._path(key).read_bytes()

    def _lab(self) -> Lab:
        return Lab("cpu", self.store.root, progress=False)

    def damage(self, what: str, where: str, found: Counter) -> list[str]:
        if where == "checkpoint":
            return self._checkpoint(what)
        mine, other = self._two(self.specs, where)
        if where == "entry":
            return self._noticed(self._exchanged(mine, other, what), found)
        damaged = self._damaged(what, self.known[mine][where], self.known[other][where])
        entry = self.store.get(mine.parent.name, mine.name)
        write(mine / where, damaged)
        problems = self._changed(entry) if where == "tensors.safetensors" else []
        return problems + self._noticed({mine: {**self.known[mine], where: damaged}}, found)

    def _damaged(self, what: str, data: bytes, other: bytes) -> bytes | None:
        while (damaged := DAMAGES[what](data, other, self.chance)) == data:
            continue
        return damaged

    def _two(self, known: dict[Path, object], where: str = "") -> tuple[Path, Path]:
        """Two of them at random whose bytes differ."""
        while True:
            mine, other = self.chance.sample(sorted(known), 2)
            if where not in FILES or self.known[mine][where] != self.known[other][where]:
                return mine, other

    def _changed(self, entry) -> list[str]:
        """What is wrong with tensors that changed after their entry was read: they must not be had."""
        try:
            _ = entry.tensors
        except (ValueError, FileNotFoundError):
            return []
        return ["an entry that was read before gives the tensors"]

    def _exchanged(self, mine: Path, other: Path, what: str) -> dict[Path, dict[str, bytes | None]]:
        """A whole entry in the place of another, which is gone, or in the place of the first."""
        aside = self.store.root / "aside" / "exchanged"
        aside.parent.mkdir(exist_ok=True)
        other.rename(aside)
        if what == "swapped":
            mine.rename(other)
            aside.rename(mine)
            return {mine: self.known[other], other: self.known[mine]}
        shutil.copytree(mine, other)
        shutil.rmtree(aside)
        return {other: self.known[mine]}

    def _noticed(self, damaged: dict[Path, dict[str, bytes | None]], found: Counter) -> list[str]:
        """What is wrong with how damaged entries are met; they are whole afterwards."""
        problems = [p for folder, files in damaged.items() for p in self._met(folder, files)]
        for folder in damaged:
            if folder.exists():
                shutil.rmtree(folder)
            known, names = self.known[folder], FILES
            if self.chance.randrange(RECOMPUTED):
                self._put(folder)
            else:
                self._lab().get(self.specs[folder])
                names, self.known[folder] = PARTS, {n: (folder / n).read_bytes() for n in FILES}
                found["computed again"] += 1
            whole = self.store.get(folder.parent.name, folder.name) is not None
            if not whole or any((folder / n).read_bytes() != known[n] for n in names):
                problems.append("it is not whole again")
        return problems

    def _met(self, folder: Path, files: dict[str, bytes | None]) -> list[str]:
        before = self._kept()
        try:
            if self.store.get(folder.parent.name, folder.name) is not None:
                return ["it is trusted"]
        except Exception as error:
            return [f"the store raises {type(error).__name__}: {error}"]
        kept = [{n: read(f / n) for n in FILES} for f in self._kept() - before]
        return ["its bytes are not in damaged/"] if kept != [files] else []

    def _put(self, folder: Path) -> None:
        spec, result, tensors, meta = (self.known[folder][n] for n in FILES)
        self.store.put(folder.parent.name, folder.name, spec.decode(), json.loads(result), unpacked(tensors),
                       json.loads(meta))

    def _kept(self) -> set[Path]:
        return set((self.store.root / "damaged").glob("*"))

    def _checkpoint(self, what: str) -> list[str]:
        mine, other = self._two(self.checkpoints)
        damaged = {mine: self.checkpoints[other]}
        if what == "swapped":
            damaged[other] = self.checkpoints[mine]
        elif what in DAMAGES:
            damaged[mine] = self._damaged(what, self.checkpoints[mine], self.checkpoints[other])
        problems = []
        for path, data in damaged.items():
            write(path, data)
        for path, data in damaged.items():
            before = self._kept()
            self.store.progress(path.stem)
            try:
                problems += ["it is trusted"] if self.store.checkpoint(path.stem) is not None else []
            except Exception as error:
                problems.append(f"the store raises {type(error).__name__}: {error}")
            kept = [read(p) for p in self._kept() - before]
            if data is not None and kept != [data] and not problems:
                problems.append("its bytes are not in damaged/")
            self._save(path.stem)
            problems += [] if self._saved(path.stem) else ["it is not whole again"]
        return problems

    def _path(self, key: str) -> Path:
        return self.store.root / "checkpoints" / f"{key}.ckpt"

    def _state(self, key: str) -> tuple[Params, dict[str, str]]:
        numbers = torch.Generator().manual_seed(int(key[-1]))
        return ({n: torch.randn(5, 7, generator=numbers) for n in ("momentum/w", "params/w")},
                {"step": key[-1], "seconds": "1.5"})

    def _save(self, key: str) -> None:
        self.store.save_checkpoint(key, *self._state(key))

    def _saved(self, key: str) -> bool:
        (tensors, note), found = self._state(key), self.store.checkpoint(key)
        return (found is not None and found[1] == note and found[0].keys() == tensors.keys()
                and all(torch.equal(t, found[0][n]) for n, t in tensors.items()))


def write(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
