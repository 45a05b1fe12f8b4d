"""Distilled data sets: every method is one file on one protocol, :class:`Method` → :class:`Distilled`."""
from .base import Distilled, Method, decode
from .coresets import Herding, RandomReal
from .dm import DM
from .idc import IDC

METHODS: dict[str, type[Method]] = {"idc": IDC, "dm": DM, "random": RandomReal, "herding": Herding}

__all__ = ["DM", "Distilled", "Herding", "IDC", "METHODS", "Method", "RandomReal", "decode"]
