"""Remembering and computing: a content-addressed store, and the engine that fills it with stages."""
from .engine import Lab
from .entry import Entry
from .estimate import Row
from .provenance import provenance
from .stage import STAGES, Result, Stage
from .store import Store, StoreError


def status(specs) -> list[Row]:
    """:meth:`Lab.status` of a default lab."""
    return Lab(progress=False).status(specs)


__all__ = ["Entry", "Lab", "Result", "Row", "STAGES", "Stage", "Store", "StoreError", "provenance", "status"]
