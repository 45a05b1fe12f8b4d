"""What a lab would have to compute, and how long that is likely to take."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .job import device_name
from .stage import STAGES, Stage, closure

if TYPE_CHECKING:
    from .engine import Lab


@dataclass(frozen=True)
class Row:
    """One stage in :meth:`Lab.status`: entries done and remaining, and seconds left (None: never measured here)."""

    stage: str
    done: int
    remaining: int
    seconds: float | None


def expected(lab: Lab, specs: Sequence[Stage]) -> list[Row]:
    """:meth:`Lab.status`."""
    def has(spec: Stage) -> bool:
        return lab.has(spec)

    needed, missing = closure(specs), set(closure(specs, lab.has))
    rows = []
    for name in dict.fromkeys(s.stored for s in needed):
        mine = [s for s in needed if s.stored == name]
        left = [s for s in mine if s in missing]
        rows.append(Row(name, sum(map(has, mine)), len(left), _seconds(lab, name, left)))
    return rows


def _seconds(lab: Lab, stage: str, left: Sequence[Stage]) -> float | None:
    """Cost of what is left, at the pace of this stage's networks measured so far on this kind of device."""
    if not left:
        return 0.0
    # Units are training images for every stage, so another stage's pace is better than none.
    pace = _pace(lab, [stage]) or _pace(lab, list(STAGES))
    return pace * sum(s.cost(lab.dataset) for s in left) if pace else None


def _pace(lab: Lab, stages: Sequence[str]) -> float | None:
    """Seconds a cost unit took in these stages on this kind of device; None where nothing was measured."""
    here = device_name(lab.device)
    measured = [m for s in stages for m in lab.store.metas(s) if m.get("device") == here]
    units = sum(m["cost"] for m in measured)
    return sum(m["seconds"] for m in measured) / units if units else None
