"""Everything that a lab knows how to compute, and the studies that ask for it."""
from ..lab import Lab
from .hessian import Curvature
from .networks import RandomMask, Ticket, Train
from .path import Connect
from .plane import Landscape
from .probe import Probe
from .robustness import Robustness
from .sets import Assess, Distil, Expert
from .study import Study

__all__ = ["Assess", "Connect", "Curvature", "Distil", "Expert", "Lab", "Landscape", "Probe", "RandomMask",
           "Robustness", "Study", "Ticket", "Train"]
