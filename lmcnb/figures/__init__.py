"""Figures: parts that draw a panel from a table, figures made of them, and one way to save them and read them back."""
from .algorithm import distilled_pruning, first_round, montage
from .audit import audit
from .base import caption, colour, images_grid, label, percent_sparse, pictures, style
from .batchnorm import batchnorm, batchnorm_claims
from .compression import compression, compression_claims
from .dose import dose, dose_claims
from .emergence import emerged, emergence, emergence_claims
from .explorer import Explorer, explorer
from .generalisation import generalisation, generalisation_claims, given_clean, within_initialisations
from .heat import surface
from .hessian import hessian, hessian_claims
from .hybrid import hybrid, hybrid_claims
from .length import length, length_claims
from .methods import accuracy_against_time, methods, methods_claims, mosaic
from .parts import curve, dots, intervals, overlay, subnetwork
from .planes import TITLES, landscapes, landscapes_claims
from .precision import precision_claims
from .quickstart import rounds
from .saved import Saved, committed, pdf, plain, png, read, save
from .sparsity import accuracy_against_sparsity, images_seen, sparsity_claims
from .stability import stability, stability_claims
from .symmetry import symmetry, symmetry_claims
from .tradeoff import beside_imp, ratio, tradeoff, tradeoff_claims
from .transformers import connectivity, connectivity_claims, peak_ratios, platon, platon_claims
from .variation import parts_of_variance, variation
from .why import bent, why, why_claims

__all__ = ["Explorer", "Saved", "TITLES", "accuracy_against_sparsity", "accuracy_against_time", "audit", "batchnorm",
           "batchnorm_claims", "bent", "beside_imp", "caption", "colour", "committed", "compression",
           "compression_claims", "connectivity", "connectivity_claims", "curve", "distilled_pruning", "dose",
           "dose_claims", "dots", "emerged", "emergence", "emergence_claims", "explorer", "first_round",
           "generalisation", "generalisation_claims", "given_clean", "hessian", "hessian_claims", "hybrid",
           "hybrid_claims", "images_grid", "images_seen", "intervals", "label", "landscapes", "landscapes_claims",
           "length", "length_claims", "methods", "methods_claims", "montage", "mosaic", "overlay", "parts_of_variance",
           "pdf", "peak_ratios", "percent_sparse", "pictures", "plain", "platon", "platon_claims", "png",
           "precision_claims", "ratio", "read", "rounds", "save", "sparsity_claims", "stability", "stability_claims",
           "style", "subnetwork", "surface", "symmetry", "symmetry_claims", "tradeoff", "tradeoff_claims", "variation",
           "why", "why_claims", "within_initialisations"]
