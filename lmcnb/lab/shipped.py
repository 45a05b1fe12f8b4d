"""Results that travel with a project: a second store, which is only read.

A zip archive a figure, with the entries behind it: settings, results, provenance; and their tensors, but for the
weights of trained networks, which are large and can be trained again (those few that a notebook itself looks at do
travel), sets of real images, which are others', and masks that are drawn or copied in a moment.
``figures/results/laptop/fig03….zip`` holds ``<stage>/<key>/{meta.json, spec.json, result.json, tensors.safetensors}``,
the bytes that the store held.
"""
from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..params import Params
from .entry import META, PARTS, TENSORS, Damaged, Entry, checked, contents
from .files import unpacked
from .stage import STAGES
from .store import Store

log = logging.getLogger(__name__)

Place = tuple[str, str]  # an entry's stage and key
# What a damaged archive may raise; RuntimeError, too, where Python was built without LZMA.
UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile,
                                           zlib.error)
with suppress(ImportError):
    from lzma import LZMAError

    UNREADABLE += (LZMAError,)
LARGE = 2**16  # bytes, from which on the slower LZMA is worth its while: a twentieth of images and masks
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every file in an archive: equal entries, equal bytes


@dataclass(frozen=True)
class Shipped(Entry):
    """An entry in an archive. The tensors that did not travel are computed when they are asked for."""

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    compute: Callable[[], Entry] | None = field(default=None, compare=False, repr=False)

    @property
    def whole(self) -> bool:
        return TENSORS in self.files

    @property
    def tensors(self) -> Params:
        """Raises LookupError where they did not travel and no lab is there to compute them."""
        if self.whole:
            return unpacked(checked(self.files[TENSORS], TENSORS, self.meta))
        if self.compute is None:
            raise LookupError(f"{self.stage} {self.key[:12]} came without its tensors: a lab computes them")
        return self.compute().tensors


class Archive:
    """All archives below a folder, as one store that is only read. What is damaged there counts as absent."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self._open: dict[Path, zipfile.ZipFile] = {}
        self._reported: set[Path | Place] = set()

    @cached_property
    def places(self) -> dict[Place, Path]:
        """In which archive each entry is."""
        found: dict[Place, Path] = {}
        for path in sorted(self.root.glob("*/*.zip")):
            try:
                self._open[path] = zipfile.ZipFile(path)
            except UNREADABLE as error:
                self._report(path, f"{path} cannot be read ({error})")
                continue
            names = (name.split("/") for name in self._open[path].namelist() if name.count("/") == 2)
            found |= {(stage, key): path for stage, key, name in names if name == META}
        return found

    def has(self, stage: str, key: str, whole: bool = False) -> bool:
        """Whether an entry is there, without reading it; ``whole``: with its tensors."""
        path = self.places.get((stage, key))
        return path is not None and (not whole or f"{stage}/{key}/{TENSORS}" in self._open[path].NameToInfo)

    def get(self, stage: str, key: str) -> Shipped | None:
        """The entry, every byte of it checked, or None."""
        path = self.places.get((stage, key))
        if path is None:
            return None
        try:
            return self.read(path, stage, key)
        except UNREADABLE as error:
            self._report((stage, key), f"{stage} {key[:12]} in {path} is damaged ({error})")
            return None

    def entries(self, stage: str) -> Iterator[Shipped]:
        """Every sound entry of one stage."""
        return (found for name, key in self.places if name == stage and (found := self.get(name, key)))

    def read(self, path: Path, stage: str, key: str) -> Shipped:
        """Raises Damaged, or whatever a damaged archive raises."""
        archive, files = self._open[path], {}
        for name in (META, *PARTS):
            with suppress(KeyError):
                files[name] = archive.read(f"{stage}/{key}/{name}")
        absent = {TENSORS} - files.keys()
        found = Shipped(path / stage / key, *contents(files.__getitem__, stage, key, absent), files)
        if absent and not _stay(found):
            raise Damaged(f"{TENSORS} is missing")
        return found

    def _report(self, what: Path | Place, text: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            log.warning("%s: it counts as absent, and is computed where it is needed", text)


def ship(path: Path, places: Iterable[Place], store: Store, archive: Archive, whole: Container[str] = (),
         commits: Container[str] = ()) -> list[Place]:
    """Writes an archive of these entries, from the store or else from archives that there are.

    Args:
        whole: keys of entries whose tensors travel although those of their stage do not.
        commits: those that the figure names; of two entries of one key the one of such a commit travels.

    Returns:
        Those that are in neither, as they should travel: nothing is written then.
    """
    found: dict[str, bytes] = {}
    absent = []
    for stage, key in sorted(places):
        all_of_it, shipped = key in whole, archive.get(stage, key)
        if all_of_it and shipped is not None and not shipped.whole:
            shipped = None
        there = [entry for entry in (store.get(stage, key), shipped) if entry is not None]
        if not there:
            absent.append((stage, key))
            continue
        entry = next((e for e in there if e.meta["commit"] in commits), there[0])
        kept = (META, *PARTS[:2], *((TENSORS,) if all_of_it or not _stay(entry) else ()))
        files = entry.files if isinstance(entry, Shipped) else {n: (entry.folder / n).read_bytes() for n in kept}
        found |= {f"{stage}/{key}/{name}": files[name] for name in kept}
    if not absent:
        write(path, found)
    return absent


def _stay(entry: Entry) -> bool:
    """Whether an entry's tensors do not travel."""
    return entry.stage in STAGES and STAGES[entry.stage].stays(entry.spec)


def same(one: Path, other: Path) -> bool:
    """Whether two archives hold the same files, however they are compressed."""
    held = []
    for path in (one, other):
        try:
            with zipfile.ZipFile(path) as archive:
                held.append(archive.testzip() or {i.filename: (i.file_size, i.CRC) for i in archive.infolist()})
        except UNREADABLE:
            return False
    return held[0] == held[1]


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """A zip archive: the same bytes for the same files, and no file where there is none."""
    if not files:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    try:
        with zipfile.ZipFile(aside, "w") as archive:
            for name, data in sorted(files.items()):
                way = zipfile.ZIP_DEFLATED if len(data) < LARGE else zipfile.ZIP_LZMA
                archive.writestr(zipfile.ZipInfo(name, EPOCH), data, way, 9)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
