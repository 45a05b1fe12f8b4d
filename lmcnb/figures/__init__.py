"""Figures: parts that draw a panel from a table, figures made of them, and one way to save them and read them back."""
from .algorithm import distilled_pruning
from .audit import audit
from .base import caption, colour, images_grid, label, percent_sparse, pictures, style
from .batchnorm import batchnorm
from .compression import compression
from .generalisation import generalisation
from .hessian import hessian
from .hybrid import hybrid
from .methods import accuracy_against_time, methods, mosaic
from .parts import curve, dots, intervals, overlay, subnetwork, surface
from .planes import TITLES, landscapes
from .quickstart import rounds
from .saved import Saved, pdf, plain, png, read, save
from .sparsity import accuracy_against_sparsity, images_seen
from .stability import stability
from .tradeoff import ratio, tradeoff

__all__ = [
    "Saved",
    "TITLES",
    "accuracy_against_sparsity",
    "accuracy_against_time",
    "audit",
    "batchnorm",
    "caption",
    "colour",
    "compression",
    "curve",
    "distilled_pruning",
    "dots",
    "generalisation",
    "hessian",
    "hybrid",
    "images_grid",
    "images_seen",
    "intervals",
    "label",
    "landscapes",
    "methods",
    "mosaic",
    "overlay",
    "pdf",
    "percent_sparse",
    "pictures",
    "plain",
    "png",
    "ratio",
    "read",
    "rounds",
    "save",
    "stability",
    "style",
    "subnetwork",
    "surface",
    "tradeoff",
]
