"""The lab: asks the store first, computes what is missing as stacks, remembers it."""
from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from tqdm.auto import tqdm

from ..data import Dataset
from ..kernel.exact import exact
from ..kernel.sizes import stack_size
from ..places import store_root
from ..spec import canonical, digest
from ..tables import Table
from . import inventory, shelf
from .estimate import Row, expected
from .job import Job
from .keys import code, execution, foreign, registered
from .provenance import provenance
from .shelf import numbered
from .stage import Result, Stage, closure
from .store import Entry, Store
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
    """

    def __init__(self, device: str | torch.device | None = None, store: Path | str | None = None,
                 stack: int | None = None, progress: bool = True):
        self.device = numbered(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        self.store = Store(Path(store) if store else store_root())
        self.stack, self.progress = stack, progress
        self._keys: dict[Stage, str] = {}
        self._entries: dict[str, Entry] = {}
        self._classes: set[type] = set()  # of settings, that are not this package's
        self._registered: dict[str, Any] = registered(())
        self._remembered: OrderedDict[str, Any] = OrderedDict()
        self._progress: tqdm | None = None

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

    def map(self, specs: Iterable[Stage]) -> list[Entry]:
        """The artifacts of many specs, in their order. What is missing is computed, upstream first, as stacks.

        Equal specs are computed once. Other processes on the same store share the work: what one of them is computing
        is waited for. A stage that is killed resumes from its last checkpoint in the next call, whoever makes it.

        Raises:
            ValueError: something asked for cannot work (nothing has been computed then). StoreError: see there.
        """
        specs = list(specs)
        self._forget_changed()
        missing = self._missing(specs)
        if missing:
            if self._progress is None:  # the outermost call: before anything is computed
                for spec in missing:
                    spec.check(self.dataset)
            with self._bar(missing):
                self._work(missing)
        if any(self.store.leases.root.glob("*.*")):  # a process that was killed after it had stored a result
            self.store.leases.sweep(self.key(s) for s in closure(specs))
        return [self._find(s) for s in specs]  # pyright: ignore[reportReturnType]  # nothing is missing now

    def _missing(self, specs: Iterable[Stage]) -> list[Stage]:
        """What must be computed for ``specs``, upstream first."""
        return closure(specs, lambda spec: self._find(spec) is not None)

    @contextmanager
    def _bar(self, missing: list[Stage]) -> Iterator[None]:
        """One progress bar, with the time left, for everything that the outermost call has to compute."""
        if self._progress is not None:
            yield
            return
        form = "{desc} {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} left"
        total = sum(s.cost(self.dataset) for s in missing)
        with tqdm(total=total, disable=not self.progress, bar_format=form, leave=False) as self._progress:
            try:
                yield
            finally:
                self._progress = None

    def _find(self, spec: Stage) -> Entry | None:
        key = self.key(spec)
        if key not in self._entries:
            entry = self.store.get(spec.stored, key)
            if entry is None:
                return None
            self._entries[key] = entry
        return self._entries[key]

    def _work(self, missing: list[Stage]) -> None:
        """Computes what is missing, stack by stack, next to any other process that does the same."""
        bar = self._progress
        assert bar is not None  # map has opened one
        while missing:
            ready = [s for s in missing if all(self._find(u) for u in s.upstream())]
            computed = [self._share(stack) for stack in self._stacks(ready)]
            if not any(computed):
                bar.set_description("waiting for another process")
                time.sleep(POLL_SECONDS)
            left = [s for s in missing if self._find(s) is None]
            bar.update(sum(s.cost(self.dataset) for s in set(missing) - set(left) - set().union(*computed)))
            missing = left

    def _share(self, stack: list[Stage]) -> set[Stage]:
        """Computes those of a stack that nobody else is computing or has computed; returns them."""
        keys = {self.key(s): s for s in stack}
        try:
            mine = self.store.leases.acquire(list(keys))
        except OSError as error:
            raise self.store.explained(error) from error
        try:
            specs = [keys[k] for k in mine if self._find(keys[k]) is None]
            if specs:
                self._chunk(specs)
            return set(specs)
        finally:
            self.store.leases.release(mine)

    def _stacks(self, specs: list[Stage]) -> Iterator[list[Stage]]:
        """Specs that may be computed together: equal but for the model axis, and equally far if they were begun."""
        groups: dict[tuple[str, str], list[Stage]] = defaultdict(list)
        for spec in specs:
            begun = self.store.progress(self.key(spec)) if spec.stacked else ""
            groups[spec.group(), begun].append(spec)
        for group in groups.values():
            first = group[0]
            size = self.stack or stack_size(self.device, first.net, first.step_images) if first.stacked else 1
            yield from (group[start:start + size] for start in range(0, len(group), size))

    def _chunk(self, specs: list[Stage]) -> None:
        bar, shown = self._progress, [0.0]
        assert bar is not None
        bar.set_description(f"{specs[0].stored} × {len(specs)}")

        def advance(units: float) -> None:
            shown[0] += units
            bar.update(units)
        job = Job(self, [self.key(s) for s in specs], advance)
        with exact():
            results = type(specs[0]).compute(job, specs)
        seconds = job.seconds()
        for spec, key, result in zip(specs, job.keys, results):
            meta = provenance(self.device) | {"execution": execution(spec, self.device), "seconds": seconds,
                                              "cost": spec.cost(self.dataset)}
            self._entries[key] = self.store.put(spec.stored, key, spec.canonical(), result.values, result.tensors,
                                                meta)
            self.store.drop_checkpoint(key)
        bar.update(sum(s.cost(self.dataset) for s in specs) - shown[0])

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
        """Everything of one stage that the store holds, whoever computed it, as specs and entries; computes nothing.

        Entries of another version, of methods unknown here and of data that is not at hand are left out.
        """
        found = []
        for entry in self.store.entries(stage.stored):
            try:
                spec = inventory.rebuilt(stage.stored, entry.spec)
                known = self.key(spec) == entry.key
            except (ValueError, OSError):  # not this package's, or its data is not at hand
                continue
            if known:
                found.append((spec, entry))
        return found

    def table(self, plan: Iterable[Stage] | type[Stage], sets: Mapping[str, Any] | None = None,
              columns: Mapping[Stage, Mapping[str, Any]] | None = None) -> Table:
        """Everything that was measured, as one tidy table: computed where it is missing.

        Args:
            plan: specs; or a stage such as ``lmcnb.Train``, for all of it that the store holds (computes nothing).
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
        return inventory.table(self, what)

    def record(self, specs: Iterable[Stage]) -> dict:
        """How the artifacts behind ``specs`` came about: keys, data, devices, versions, date, seconds in all."""
        needed = closure(specs)
        entries = [e for s in needed if (e := self._find(s)) is not None]
        seen = {n: sorted({str(e.meta[n]) for e in entries}) for n in ("device", "torch", "python", "commit", "lmcnb")}
        data = {name: self.dataset(name).fingerprint for s in needed for name in (s.dataset, *s.other_data())}
        return {**seen, "entries": len(entries), "seconds": round(sum(e.meta["seconds"] for e in entries), 1),
                "date": max((e.meta["date"] for e in entries), default=None), "data": data,
                "keys": sorted(e.key for e in entries)}

    def status(self, specs: Iterable[Stage]) -> list[Row]:
        """For every stage that ``specs`` need, upstream included: how much is done, what remains, its likely cost."""
        self._forget_changed()
        return expected(self, list(specs))
