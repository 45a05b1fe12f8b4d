"""Everything that a lab knows how to compute, and the studies that ask for it."""
from ..lab import Lab
from .sets import Assess, Distill, Expert

# isort: split
# Stages are listed in the order in which they are defined: what is made from others comes after them.
from .tickets import Ticket

# isort: split
from .gradual import GradualTicket

# isort: split
from .controls import BorrowedMask, RandomMask
from .training import Train
from .transfer import TransferredTicket

# isort: split
from .hessian import Curvature
from .layers import Layers
from .path import Connect
from .plane import Landscape
from .probe import Probe
from .robustness import Robustness
from .segment import Segment
from .study import Study

__all__ = ["Assess", "BorrowedMask", "Connect", "Curvature", "Distill", "Expert", "GradualTicket", "Lab", "Landscape",
           "Layers", "Probe", "RandomMask", "Robustness", "Segment", "Study", "Ticket", "Train", "TransferredTicket"]
