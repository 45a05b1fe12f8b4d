"""Figures: parts that draw a panel from a table, figures made of them, and one way to save them and read them back."""
from .algorithm import distilled_pruning, first_round, montage
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
from .tradeoff import beside_imp, ratio, tradeoff
from .transformers import connectivity, peak_ratios, platon

__all__ = ["Saved", "TITLES", "accuracy_against_sparsity", "accuracy_against_time", "audit", "batchnorm",
           "beside_imp", "caption", "colour", "compression", "connectivity", "curve", "distilled_pruning", "dots",
           "first_round", "generalisation", "hessian", "hybrid", "images_grid", "images_seen", "intervals", "label",
           "landscapes", "methods", "montage", "mosaic", "overlay", "pdf", "peak_ratios", "percent_sparse",
           "pictures", "plain", "platon", "png", "ratio", "read", "rounds", "save", "stability", "style",
           "subnetwork", "surface", "tradeoff"]
