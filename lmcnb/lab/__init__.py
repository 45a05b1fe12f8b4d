"""Remembering and computing: a content-addressed store, and the engine that fills it with stages."""
from .engine import Lab
from .entry import Entry
from .estimate import Outlook, Row
from .estimate import outlook as _outlook
from .provenance import provenance
from .stage import STAGES, Result, Stage
from .store import Store, StoreError


def status(specs) -> list[Row]:
    """:meth:`Lab.status` of a default lab."""
    return Lab(progress=False).status(specs)


def outlook(specs, workers: int = 1) -> Outlook:
    """What is missing of ``specs``, and how long so many workers of this machine's kind are likely to take."""
    return _outlook(Lab(progress=False), list(specs), workers)


__all__ = ["Entry", "Lab", "Outlook", "Result", "Row", "STAGES", "Stage", "Store", "StoreError", "outlook",
           "provenance", "status"]
