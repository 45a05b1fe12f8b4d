"""One function a figure, and one way to save them. A new figure is one file here and one line below."""
from .algorithm import distilled_pruning
from .audit import audit
from .base import caption, colour, images_grid, label, percent_sparse, plain, save, style
from .batchnorm import batchnorm
from .hessian import hessian, named
from .hybrid import hybrid
from .planes import TITLES, landscapes
from .quickstart import rounds
from .sparsity import accuracy_against_sparsity
from .stability import barrier_dots, overlay, stability, surface
from .tradeoff import ratio, tradeoff

__all__ = ["TITLES", "accuracy_against_sparsity", "audit", "barrier_dots", "batchnorm", "caption", "colour",
           "distilled_pruning", "hessian", "hybrid", "images_grid", "label", "landscapes", "named", "overlay",
           "percent_sparse", "plain", "ratio", "rounds", "save", "stability", "style", "surface", "tradeoff"]
