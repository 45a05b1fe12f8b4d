"""Remembering and computing: a content-addressed store, and the engine that fills it with stages."""
from collections.abc import Sequence

from .engine import Lab
from .entry import Entry
from .estimate import Outlook, Paces, Row, expected, outlook
from .provenance import provenance
from .stage import STAGES, Result, Stage
from .store import Store, StoreError


def status(plans: Sequence[Sequence[Stage]], workers: int = 1) -> tuple[list[list[Row]], Outlook]:
    """:meth:`Lab.status` of each plan by a default lab; and what is missing of all of them together, with how long so
    many workers of this machine's kind are likely to take."""
    lab = Lab(progress=False)
    paces, together = Paces(lab), [spec for plan in plans for spec in plan]
    return [expected(lab, plan, paces) for plan in plans], outlook(lab, together, paces, workers)


__all__ = ["Entry", "Lab", "Outlook", "Result", "Row", "STAGES", "Stage", "Store", "StoreError", "provenance",
           "status"]
