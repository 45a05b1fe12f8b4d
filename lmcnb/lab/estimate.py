"""What a lab would have to compute, and how long that is likely to take: here, or divided among many workers."""
from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..kernel.strategies import operations
from .job import device_name
from .schedule import makespan, tasks
from .stage import Stage, closure

if TYPE_CHECKING:
    from .engine import Lab

REFERENCE = Path(__file__).with_name("paces.json")  # written by benchmarks/paces.py


@dataclass(frozen=True)
class Row:
    """One stage in :meth:`Lab.status`: entries done and remaining, and seconds left (None: no pace is known)."""

    stage: str
    done: int
    remaining: int
    seconds: float | None


@dataclass(frozen=True)
class Outlook:
    """What is missing of a plan: training images, floating-point operations, seconds of one worker and of several.

    ``span`` is at least as long as the plan's longest chain, ``chain``. ``unknown`` entries have no known pace.
    ``source`` says where the paces come from.
    """

    images: float
    flops: float
    seconds: float
    span: float
    chain: float
    unknown: int
    source: str


class Paces:
    """Seconds that a training image takes on this kind of device, by stage and network.

    What was measured here comes first: the stage with this network, then the network in any stage. For a network that
    was never trained here the reference that the package ships (seconds by operations, measured by its own benchmark)
    is scaled to what was measured here.
    """

    def __init__(self, lab: Lab):
        self.kind = device_name(lab.device)
        self.measured: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for stage in lab.store.stages():
            for meta in lab.store.metas(stage):
                numbers = all(isinstance(meta.get(n), int | float) for n in ("flops", "cost", "seconds"))
                if meta.get("device") == self.kind and numbers and meta["cost"]:
                    for name in (stage, ""):
                        found = self.measured[name, meta["flops"]]
                        found[0] += meta["cost"]
                        found[1] += meta["seconds"]
        known = json.loads(REFERENCE.read_text())
        alike = [name for name in known if name.split(",")[0] == self.kind.split(",")[0]]  # another CPU's, if need be
        self.model = self.kind if self.kind in known else alike[0] if alike else ""
        self.curve: list[tuple[float, float]] = [tuple(point) for point in known.get(self.model, [])]

    def of(self, spec: Stage) -> float | None:
        """Seconds per unit of a spec's cost; None where nothing like it was measured."""
        work = operations(spec.net)
        for name in (spec.stored, ""):
            if (name, work) in self.measured:
                units, seconds = self.measured[name, work]
                return seconds / units
        return self.reference(work) * self.scale if self.curve else None

    def reference(self, work: float) -> float:
        """Seconds for an image of so many operations (forward), by the curve: straight lines between logarithms."""
        (xs, ys), x = np.log(self.curve).T, math.log(max(work, 1.0))
        return math.exp(np.interp(x, xs, ys) + max(0.0, x - xs[-1]))  # beyond its end in proportion

    @cached_property
    def scale(self) -> float:
        """How much longer this machine takes than the reference, in all that was measured."""
        expected = sum(units * self.reference(work) for (name, work), (units, _) in self.measured.items() if not name)
        measured = sum(seconds for (name, _), (_, seconds) in self.measured.items() if not name)
        return measured / expected if expected else 1.0

    @property
    def source(self) -> str:
        if not self.curve and not self.measured:
            return f"no pace is known for {self.kind}"
        here = "as measured here" if self.measured else ""
        shipped = f"of {self.model} as shipped" if self.curve else ""
        other = f", which is not this machine's kind ({self.kind})" if self.curve and self.model != self.kind else ""
        return "paces " + " and ".join(filter(None, (here, shipped))) + other


def expected(lab: Lab, specs: Sequence[Stage], paces: Paces) -> list[Row]:
    """:meth:`Lab.status`."""
    needed, missing = closure(specs), set(closure(specs, lab.has))
    rows = []
    for name in dict.fromkeys(s.stored for s in needed):
        mine = [s for s in needed if s.stored == name]
        left = [s for s in mine if s in missing]
        times = [_seconds(paces, lab, s) for s in left]
        known = [t for t in times if t is not None]
        done = sum(lab.has(s) for s in mine if s not in missing)
        rows.append(Row(name, done, len(left), sum(known) if known or not left else None))
    return rows


def outlook(lab: Lab, specs: Sequence[Stage], paces: Paces, workers: int = 1) -> Outlook:
    """What is missing of ``specs``, upstream included, for so many workers of this kind."""
    plan = tasks(closure(specs, lab.has), lab.key, lab.cost)
    times = {task.key: _seconds(paces, lab, task.spec) for task in plan}
    known = [t for t in times.values() if t is not None]
    span, chain = (makespan(plan, lambda task: times[task.key], n) for n in (workers, max(1, len(plan))))
    return Outlook(sum(task.cost for task in plan), sum(3 * task.cost * operations(task.spec.net) for task in plan),
                   sum(known), span, chain, len(times) - len(known), paces.source)


def _seconds(paces: Paces, lab: Lab, spec: Stage) -> float | None:
    pace = paces.of(spec)
    return pace * lab.cost(spec) if pace is not None else None
