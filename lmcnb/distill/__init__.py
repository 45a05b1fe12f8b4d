"""Distilled data sets: every method is one file on one protocol, :class:`Method` → :class:`Distilled`."""
from .base import METHODS, Distilled, Method, decode
from .coresets import Herding, KCenter, RandomReal
from .dc import DC, DSA
from .dm import DM
from .early import EarlyIDC
from .evaluation import PROTOCOLS, EvalProtocol, assess, protocol
from .experts import Experts, course
from .files import export_set, import_set
from .idc import IDC
from .imported import Imported
from .mtt import MTT, trajectory_gradient
from .rded import RDED
from .soft import AnyMethod, SoftLabels

__all__ = ["AnyMethod", "DC", "DM", "DSA", "Distilled", "EarlyIDC", "Experts", "Herding", "IDC", "Imported", "KCenter",
           "METHODS", "MTT", "Method", "PROTOCOLS", "EvalProtocol", "RDED", "RandomReal", "SoftLabels", "assess",
           "course", "decode", "export_set", "import_set", "protocol", "trajectory_gradient"]
