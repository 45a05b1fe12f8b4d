"""What a store holds, for people: every entry, whole or not, its settings and results. Computes and moves nothing."""
from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..spec import Spec, canonical
from .entry import Damaged
from .stage import STAGES, Stage, leaves
from .store import Store

if TYPE_CHECKING:
    import pandas as pd

    from .engine import Lab

WHOLE, DAMAGED, MISSING, OLDER = "whole", "damaged", "missing", "older version"
KEY = re.compile("[0-9a-f]{64}")
FIRST, LAST = ("stage", "key", "state"), ("MiB", "seconds", "date", "device")  # around settings and results


@dataclass(frozen=True)
class Item:
    """One key of a store as it is found there: nothing of it need be whole, or be there. Read when asked for.

    ``asked``: the spec that it was looked up for, where it was not found by its folder.
    """

    store: Store
    stage: str
    key: str
    asked: Stage | None = None

    @property
    def folder(self) -> Path:
        return self.store.folder(self.stage, self.key)

    @property
    def state(self) -> str:
        """"whole", "damaged", "missing" or "older version"; every checksum of a whole one was compared."""
        return self._found[0]

    @property
    def reason(self) -> str:
        """Why it is damaged, else nothing."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[str, str]:
        if self.store.of_older_version(self.stage, self.key):
            return OLDER, ""
        try:
            self.store.read(self.stage, self.key)
        except FileNotFoundError as error:
            return (DAMAGED, f"{Path(error.filename).name} is missing") if self.folder.exists() else (MISSING, "")
        except Damaged as error:
            return DAMAGED, str(error)
        return WHOLE, ""

    @cached_property
    def meta(self) -> dict[str, Any]:
        """As far as it can be read; so are ``settings`` and ``result``."""
        return self._json("meta.json")

    @cached_property
    def settings(self) -> dict[str, Any]:
        return self._json("spec.json")

    @cached_property
    def result(self) -> dict[str, Any]:
        return {} if self.state == DAMAGED else self._json("result.json")

    @cached_property
    def spec(self) -> Stage | None:
        """Its settings as a spec, or None where they mean nothing here (another session's method, a file not here)."""
        try:
            return self.asked or rebuilt(self.stage, self.settings)
        except (ValueError, OSError):
            return None

    @cached_property
    def flat(self) -> dict[str, Any]:
        """Its settings by dotted name."""
        return dict(_flat(self.spec or {n: v for n, v in self.settings.items() if (n, v) != ("kind", self.stage)}))

    @cached_property
    def brief(self) -> dict[str, Any]:
        """``flat``, where a group that is there already is only named."""
        return dict(_flat(self.spec or self.settings, seen={}))

    @cached_property
    def size(self) -> int:
        """Bytes of its files on disk."""
        return sum(self.files.values())

    @cached_property
    def files(self) -> dict[str, int]:
        """Bytes of each of its files."""
        return {f.name: f.stat().st_size for f in sorted(self.folder.glob("*")) if f.is_file()}

    @property
    def device(self) -> str | None:
        """The kind of device that it was computed on: "cpu" or "cuda"."""
        execution = self.meta.get("execution")
        return execution.get("device") if isinstance(execution, dict) else None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def rebuilt(stage: str, settings: dict[str, Any]) -> Stage:
    """The spec that was stored as these settings.

    Raises:
        ValueError: this session knows no such stage, method or setting.
    """
    if stage not in STAGES:
        raise ValueError(f"no stage is called {stage}")
    named = "kind" in STAGES[stage].model_fields  # else canonical text added it, and it is the stage's name
    return STAGES[stage](**{n: v for n, v in settings.items() if named or n != "kind"})


def items(store: Store, stage: str | None = None) -> list[Item]:
    """Everything that lies under a key, of one stage or of all, by stage and date."""
    names = store.stages() if stage is None else [stage]
    found = [Item(store, name, key) for name in names for key in store.keys(name) if KEY.fullmatch(key)]
    order = {name: place for place, name in enumerate(STAGES)}
    return sorted(found, key=lambda i: (order.get(i.stage, len(order)), i.stage, str(i.meta.get("date")), i.key))


def table(lab: Lab, what: type[Stage] | Iterable[Stage] | None = None) -> pd.DataFrame:
    """:meth:`Lab.inventory`."""
    import pandas as pd

    found = _asked_for(lab, what)
    settings = differing(found)
    results = [{n: v for n, v in leaves(i.result) if isinstance(v, (int, float, str))} for i in found]
    taken = {*FIRST, *settings, *LAST}
    rows = [{"stage": i.stage, "key": i.key, "state": i.state} | {n: i.flat[n] for n in settings if n in i.flat}
            | {f"result.{n}" if n in taken else n: v for n, v in result.items()}
            | {"MiB": i.size / 2 ** 20, "seconds": i.meta.get("seconds"), "date": i.meta.get("date"),
               "device": i.meta.get("device")} for i, result in zip(found, results)]
    names = dict.fromkeys([*FIRST, *settings, *(n for row in rows for n in row if n not in LAST), *LAST])
    frame = pd.DataFrame(rows, columns=list(names))
    frame["date"] = pd.to_datetime(frame["date"], utc=True, format="ISO8601", errors="coerce")
    whole = [n for n in frame if {type(row[n]) for row in rows if row.get(n) is not None} == {int}]
    return frame.astype(dict.fromkeys(whole, "Int64"))  # which has gaps: a round must not become 2.0


def _asked_for(lab: Lab, what: type[Stage] | Iterable[Stage] | None) -> list[Item]:
    if what is None:
        return items(lab.store)
    if isinstance(what, type) and issubclass(what, Stage):
        return items(lab.store, what.stored)
    specs: list[Any] = list(what) if isinstance(what, Iterable) and not isinstance(what, Spec) else [what]
    if not all(isinstance(spec, Stage) for spec in specs):
        raise ValueError("an inventory is of a stage (its class), of a list of specs, or without an argument of "
                         f"everything; got {what!r:.60}")
    return [Item(lab.store, spec.stored, lab.key(spec), spec) for spec in dict.fromkeys(specs)]


def differing(found: Sequence[Item]) -> list[str]:
    """The settings in which items of one stage differ, shallow ones first; what only repeats another is left out."""
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for item in found:
        for name, value in item.flat.items():
            values[item.stage, name].add(canonical(value))
    names = dict.fromkeys(name for (_, name), seen in values.items() if len(seen) > 1)
    kept: list[str] = []
    for name in sorted(names, key=lambda n: n.count(".")):
        alike = [k for k in kept if _leaf(k) == _leaf(name)]  # the network's init is its mask's, b's mask is a's
        if not any(all(k in i.flat and i.flat[k] == i.flat[name] for i in found if name in i.flat) for k in alike):
            kept.append(name)
    return kept


def described(found: Sequence[Item]) -> list[str]:
    """Each item in a few words: data and network, then what tells it from the others of its stage."""
    names = {stage: differing([i for i in found if i.stage == stage]) for stage in {i.stage for i in found}}
    texts = []
    for item in found:
        words = [str(item.flat[n]) for n in ("dataset", "net.name") if n in item.flat]
        words += [f"{n} {item.flat[n]}" for n in names[item.stage]
                  if item.flat.get(n) is not None and n not in ("dataset", "net.name")]
        texts.append(", ".join(words))
    return texts


def _flat(value: Any, name: str = "", seen: dict[str, str] | None = None) -> Iterator[tuple[str, Any]]:
    """A group of settings counts as a setting too, by its type's name: another group, or None, may be in its place.

    ``seen``: where each group was met; a group that is met again is only named.
    """
    prefix = f"{name}." if name else ""
    if isinstance(value, (Spec, dict)):
        text = value.canonical() if isinstance(value, Spec) else canonical(value)
        if seen is not None and seen.setdefault(text, name) != name:
            yield name, f"as {seen[text]}"
            return
        if name:
            yield name, value.stored if isinstance(value, Spec) else value.get("kind", "given")
        for n, each in _fields(value):
            yield from _flat(each, prefix + n, seen)
    elif isinstance(value, (list, tuple)) and any(isinstance(v, (Spec, dict)) for v in value):
        for k, each in enumerate(value):
            yield from _flat(each, f"{prefix}{k}", seen)
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(map(str, value))
    else:
        yield name, value if isinstance(value, (int, float, str)) or value is None else str(value)


def _fields(value: Spec | dict[str, Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return value.items()
    fields = type(value).model_fields
    # A kind that can be one only says what the type's name says.
    return [(n, getattr(value, n)) for n in fields if n != "kind" or len(get_args(fields[n].annotation)) != 1]


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
