"""The lab: asks the store first, computes what is missing as stacks, remembers it."""
from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from ..data import Dataset
from ..kernel.exact import exact
from ..kernel.sizes import stack_size
from ..kernel.strategies import operations
from ..places import offline, results_root, store_root
from ..spec import canonical, digest
from ..tables import Table
from . import inventory, shelf
from .entry import Entry
from .estimate import Paces, Row, expected
from .job import Job
from .keys import code, execution, foreign, registered
from .progress import Progress
from .provenance import provenance
from .schedule import Task, stacks, tasks
from .shelf import numbered
from .shipped import Archive
from .stage import Result, Stage, closure
from .store import Store
from .tabulate import tabulated

if TYPE_CHECKING:
    import pandas as pd

POLL_SECONDS = 0.5  # between two looks at what another process is computing


class Lab:
    """Remembers what has been computed and computes the rest. Any number of labs may work on one store.

    Args:
        device: "cpu", "cuda", …; by default a GPU where there is one.
        store: folder of results; by default LMCNB_STORE or the user's cache.
        stack: most models computed as one stack; by default chosen for the device.
        workers: how many processes compute the same plan side by side: its stacks are divided among them.
        shipped: whether results that travel with the project (:mod:`lmcnb.lab.shipped`) count as computed.
    """

    def __init__(self, device: str | torch.device | None = None, store: Path | str | None = None,
                 stack: int | None = None, progress: bool = True, workers: int = 1, shipped: bool = True):
        self.device = numbered(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        self.store = Store(Path(store) if store else store_root())
        self.shipped = Archive(results_root()) if shipped else None
        self.stack, self.progress, self.workers = stack, progress, workers
        self._keys: dict[Stage, str] = {}
        self._entries: dict[str, Entry] = {}
        self._classes: set[type] = set()  # of settings, that are not this package's
        self._registered: dict[str, Any] = registered(())
        self._remembered: OrderedDict[str, Any] = OrderedDict()
        self._progress: Progress | None = None

    def dataset(self, name: str) -> Dataset:
        return shelf.dataset(name, self.device)

    def remembered(self, key: str, make: Callable[[], Any]) -> Any:
        """What ``make`` returns: of the last few keys the same object again."""
        self._remembered[key] = self._remembered.pop(key, None) or make()
        while len(self._remembered) > 4:
            self._remembered.popitem(last=False)
        return self._remembered[key]

    def key(self, spec: Stage) -> str:
        """sha256 over everything that decides an artifact's bytes: see :mod:`lmcnb.lab.keys`."""
        if spec not in self._keys:
            others = [self.dataset(name).fingerprint for name in spec.other_data()]
            self._classes |= {thing for thing in foreign(spec).values() if isinstance(thing, type)}
            self._keys[spec] = digest(canonical({
                "stage": spec.stored, "version": spec.version, "spec": spec.settings(),
                "data": self.dataset(spec.dataset).fingerprint, "upstream": [self.key(u) for u in spec.upstream()],
                "execution": execution(spec, self.device), "code": code(spec),
                **({"other_data": others} if others else {})}))
        return self._keys[spec]

    def _forget_changed(self) -> None:
        """A notebook may edit a network, a method or a data set between two calls: what it is called is not enough."""
        now = registered(self._classes)
        if now != self._registered:
            self._registered = now
            self._keys.clear()
            self._entries.clear()

    def get(self, spec: Stage) -> Entry:
        """The artifact of one spec, computed if it is missing."""
        return self.map([spec])[0]

    def map(self, specs: Iterable[Stage], whole: bool = False) -> list[Entry]:
        """The artifacts of many specs, in their order. What is missing is computed, upstream first, as stacks.

        Equal specs are computed once. Other processes on the same store share the work: what one of them is computing
        is waited for. A stage that is killed resumes from its last checkpoint in the next call, whoever makes it.
        ``whole``: also what the project came with, but without its tensors.

        Raises:
            ValueError: something asked for cannot work (nothing has been computed then). StoreError: see there.
        """
        specs = list(specs)
        self._forget_changed()
        missing = self.missing(specs, whole)
        if missing:
            outer = self._progress
            if outer is None:  # nothing has been computed yet
                for spec in missing:
                    spec.check(self.dataset)
            shown = self.progress and outer is None
            with closing(Progress(len(missing), sum(map(self.cost, missing)), shown)) as self._progress:
                try:
                    self._work(missing)
                finally:
                    self._progress = outer
        if any(self.store.leases.root.glob("*.*")):  # a process that was killed after it had stored a result
            self.store.leases.sweep(self.key(s) for s in closure(specs))
        return [self._find(s) for s in specs]  # pyright: ignore[reportReturnType]  # nothing is missing now

    def cost(self, spec: Stage) -> float:
        """Rough work of one spec in training images, its upstream left out."""
        return spec.cost(self.dataset)

    def missing(self, specs: Iterable[Stage], whole: bool = False) -> list[Stage]:
        """What must be computed for ``specs``, upstream first; computes nothing."""
        def done(spec: Stage, asked: bool) -> bool:
            entry = self._find(spec)
            return entry is not None and (entry.whole or asked and not whole)
        return closure(specs, done)

    def has(self, spec: Stage, asked: bool = True) -> bool:
        """Whether a result is there, without reading it; where nobody ``asked`` for it, with its tensors."""
        key = self.key(spec)
        there = self.shipped is not None and self.shipped.has(spec.stored, key, whole=not asked)
        return there or self.store.has(spec.stored, key)

    def _find(self, spec: Stage) -> Entry | None:
        """What is stored, or what the project came with."""
        key = self.key(spec)
        entry = self._stored(spec.stored, key)
        if entry is None and self.shipped:
            found = self.shipped.get(spec.stored, key)
            if found is None:
                return None
            entry = replace(found, compute=lambda: self.map([spec], whole=True)[0])
            if entry.whole:
                self._entries[key] = entry
        return entry

    def _stored(self, stage: str, key: str) -> Entry | None:
        known = self._entries.get(key)
        if known is None or type(known) is Entry and not self.store.has(stage, key):  # `store gc` may have removed it
            entry = self.store.get(stage, key)
            if entry is None:
                return None
            self._entries[key] = entry
        return self._entries[key]

    def _work(self, missing: list[Stage]) -> None:
        """Computes what is missing, a stack at a time, next to any other process that does the same."""
        shown = self._progress
        assert shown is not None  # map has opened one
        left = tasks(missing, self.key, self.cost)
        while left:
            open_ = {task.key for task in left}
            ready = [task for task in left if open_.isdisjoint(task.needs)]
            if not any(self._share(stack) for stack in self._stacks(ready)):
                shown.wait()
                time.sleep(POLL_SECONDS)
            left = [task for task in left if self._stored(task.spec.stored, task.key) is None]
            shown.left(len(left), sum(task.cost for task in left))

    def _share(self, stack: list[Task]) -> bool:
        """Computes those of a stack that nobody else is computing or has computed; whether there were any."""
        try:
            mine = self.store.leases.acquire([task.key for task in stack])
        except OSError as error:
            raise self.store.explained(error) from error
        try:
            specs = [t.spec for t in stack if t.key in mine and self._stored(t.spec.stored, t.key) is None]
            if specs:
                self._chunk(specs)
            return bool(specs)
        finally:
            self.store.leases.release(mine)

    def _stacks(self, ready: list[Task]) -> Iterable[list[Task]]:
        def most(spec: Stage) -> int:
            return self.stack or stack_size(self.device, spec.net, spec.step_images)
        return stacks(ready, lambda task: self.store.progress(task.key), most, self.workers)

    def _chunk(self, specs: list[Stage]) -> None:
        shown = self._progress
        assert shown is not None
        shown.begin(specs[0].stored, len(specs))
        job = Job(self, [self.key(s) for s in specs], shown.advance)
        with exact():
            results = type(specs[0]).compute(job, specs)
        seconds = job.seconds()
        for spec, key, result in zip(specs, job.keys, results):
            meta = provenance(self.device) | {"execution": execution(spec, self.device), "seconds": seconds,
                                              "cost": self.cost(spec), "flops": operations(spec.net)}
            self._entries[key] = self.store.put(spec.stored, key, spec.canonical(), result.values, result.tensors,
                                                meta)
            self.store.drop_checkpoint(key)

    def recompute(self, spec: Stage) -> Result:
        """The result of one spec, computed anew from its stored upstream; the store is not touched."""
        with exact():
            return type(spec).compute(Job(self, [self.key(spec)], resumable=False), [spec])[0]

    @overload
    def load(self, specs: Stage) -> Any: ...
    @overload
    def load(self, specs: Iterable[Stage]) -> list[Any]: ...

    def load(self, specs: Stage | Iterable[Stage]) -> Any:
        """Artifacts as what they mean, computed if they are missing: of one spec, or of many in their order.

        A training is :class:`lmcnb.Networks`, a ticket the subnetwork ready to be trained, a distillation a
        :class:`lmcnb.distill.Distilled`; what means no more than its numbers is the entry itself.
        """
        if isinstance(specs, Stage):
            return specs.load(self)
        specs = list(specs)
        self.map(specs)
        return [spec.load(self) for spec in specs]

    def recall(self, stage: type[Stage]) -> list[tuple[Stage, Entry]]:
        """Everything of one stage that is there, whoever computed it, as specs and entries; computes nothing.

        What the store holds, and what the project came with. Entries of another version, of methods unknown here and
        of data that is not at hand are left out.
        """
        self._forget_changed()
        found: dict[Stage, Entry] = {}
        for entry in chain.from_iterable(s.entries(stage.stored) for s in (self.store, self.shipped) if s):
            with offline(), suppress(ValueError, OSError):  # not this package's, or its data is not at hand
                spec = inventory.rebuilt(stage.stored, entry.spec)
                if self.key(spec) == entry.key and spec not in found:
                    found[spec] = entry if type(entry) is Entry else self._find(spec) or entry
        return list(found.items())

    def table(self, plan: Iterable[Stage] | type[Stage], sets: Mapping[str, Any] | None = None,
              columns: Mapping[Stage, Mapping[str, Any]] | None = None) -> Table:
        """Everything that was measured, as one tidy table: computed where it is missing.

        Args:
            plan: specs; or a stage such as ``lmcnb.Train``, for all of it that is there (computes nothing).
            sets: the methods of a study by name, which rows are called by; others are called by their kind.
            columns: by spec, columns to add to its rows or to set otherwise.
        """
        specs = [] if isinstance(plan, type) else list(dict.fromkeys(plan))
        found = self.recall(plan) if isinstance(plan, type) else list(zip(specs, self.map(specs)))
        return tabulated(found, sets or {}, columns or {})

    def inventory(self, what: type[Stage] | Iterable[Stage] | None = None) -> pd.DataFrame:
        """What the store holds, a row an entry; computes nothing and moves nothing.

        Columns: stage, key, state ("whole", "damaged", "missing", "older version"), the settings in which the rows of
        a stage differ (``recipe.lr``, ``mask.round``), the results that are one number or word, MiB, seconds, date
        (UTC) and device. A group of settings such as ``mask`` is a column where it differs: its type, or None.

        Args:
            what: a stage, ``lab.inventory(lmcnb.Train)``; or a list of specs, where also what is missing has a row; or
                None, everything.

        Raises:
            ValueError: ``what`` is something else.
        """
        self._forget_changed()
        return inventory.table(self, what)

    def record(self, specs: Iterable[Stage], weights: Iterable[Stage] = ()) -> dict:
        """How the artifacts behind ``specs`` came about: keys, data, devices, versions, date, seconds in all.

        ``weights`` are those trainings among them whose weights a notebook itself looks at: `lmcnb publish` ships them.
        """
        needed = closure(specs)
        entries = [e for s in needed if (e := self._find(s)) is not None]
        seen = {n: sorted({str(e.meta[n]) for e in entries}) for n in ("device", "torch", "python", "commit", "lmcnb")}
        data = {name: self.dataset(name).fingerprint for s in needed for name in (s.dataset, *s.other_data())}
        return {**seen, "entries": len(entries), "seconds": round(sum(e.meta["seconds"] for e in entries), 1),
                "date": max((e.meta["date"] for e in entries), default=None), "data": data,
                "keys": sorted(e.key for e in entries),
                **({"weights": opened} if (opened := sorted({self.key(s) for s in weights})) else {})}

    def status(self, specs: Iterable[Stage]) -> list[Row]:
        """For every stage that ``specs`` need, upstream included: how much is done, what remains, its likely cost."""
        self._forget_changed()
        return expected(self, list(specs), Paces(self))
