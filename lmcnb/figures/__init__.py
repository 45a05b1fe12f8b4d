"""One function a figure, and one way to save them. A new figure is one file here and one line below."""
from .algorithm import distilled_pruning
from .audit import audit
from .base import caption, colour, images_grid, label, percent_sparse, style
from .batchnorm import batchnorm
from .compression import compression
from .generalisation import generalisation
from .hessian import hessian, named
from .hybrid import hybrid
from .methods import accuracy_against_time, methods, mosaic
from .parts import dots, overlay, surface
from .planes import TITLES, landscapes
from .quickstart import rounds
from .saved import Saved, plain, read, save
from .sparsity import accuracy_against_sparsity
from .stability import stability
from .tradeoff import ratio, tradeoff

__all__ = ["Saved", "TITLES", "accuracy_against_sparsity", "accuracy_against_time", "audit", "batchnorm",
           "caption", "colour", "compression", "distilled_pruning", "dots", "generalisation", "hessian", "hybrid",
           "images_grid", "label", "landscapes", "methods", "mosaic", "named", "overlay", "percent_sparse", "plain",
           "ratio", "read", "rounds", "save", "stability", "style", "surface", "tradeoff"]
