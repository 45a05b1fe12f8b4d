"""Remembering and computing: a content-addressed store, stages, and the engine that fills one from the other."""
from .engine import Lab, Row
from .provenance import provenance
from .stages import (
    Assess,
    Connect,
    Curvature,
    Distil,
    Expert,
    Landscape,
    Probe,
    RandomMask,
    Robustness,
    Stage,
    Ticket,
    Train,
)
from .store import Entry, Store, StoreError
from .study import Study


def status(specs) -> list[Row]:
    """:meth:`Lab.status` of a default lab."""
    return Lab(progress=False).status(specs)


__all__ = ["Assess", "Connect", "Curvature", "Distil", "Entry", "Expert", "Lab", "Landscape", "Probe", "RandomMask",
           "Robustness", "Row", "Stage", "Store", "StoreError", "Study", "Ticket", "Train", "provenance", "status"]
