"""lmcnb: linear mode connectivity in sparse networks, as a reproducible paper.

Everything public is here; submodules load when a name is first used, so ``import lmcnb`` costs nothing.
"""
from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_NAMES = {
    "data": ("CIFAR10_MEAN", "CIFAR10_STD", "DATASETS", "Dataset", "Images", "load", "normalise", "pack"),
    "folders": ("IMAGENET10",),
    "generated": ("generate_images",),
    "augment": ("AUGMENTS", "Augment", "augmentation"),
    "models": ("MODELS", "Net", "initialise", "prunable", "register_model"),
    "params": ("Params", "lerp", "select", "size", "stack", "unstack"),
    "masks": ("jaccard", "layer_density", "masked", "ones", "prune", "random_global", "random_layerwise", "sparsity"),
    "training": ("Recipe", "Scores", "State", "evaluate", "fit", "seeded"),
    "strategies": ("STRATEGIES",),
    "distill": ("DC", "DM", "DSA", "Distilled", "EarlyIDC", "Experts", "Herding", "IDC", "Imported", "KCenter",
                "METHODS", "MTT", "Method", "PROTOCOLS", "Protocol", "RandomReal", "SoftLabels", "assess", "course",
                "decode", "export_set", "import_set", "protocol", "trajectory_gradient"),
    "whitening": ("Whitening", "zca"),
    "pruning": ("Round", "prune_iteratively", "prune_round", "rewound", "sparsity_after"),
    "connectivity": ("CONVENTIONS", "Path", "QUANTITIES", "alpha_grid", "barrier", "interpolate", "paths",
                     "recalibrate", "residual", "with_residuals"),
    "landscape": ("Plane", "curvature_along", "fraction_within", "loss_on_plane", "plane_as_released", "plane_random",
                  "plane_through"),
    "curvature": ("Diagonal", "HessianOperator", "Spectrum", "estimate_diagonal", "exact_diagonal", "lanczos",
                  "summary"),
    "corruptions": ("CORRUPTIONS", "SEVERITIES", "corrupt"),
    "transfer": ("fitted", "probe"),
    "statistics": ("Claim", "Estimate", "RankCorrelation", "claim_below", "claim_depends", "claim_stable", "estimate",
                   "rank_correlation", "verdict"),
    "spec": ("Spec",),
    "lab": ("Assess", "Connect", "Curvature", "Distil", "Entry", "Expert", "Lab", "Landscape", "Probe", "RandomMask",
            "Robustness", "Store", "StoreError", "Study", "Ticket", "Train"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = (*_NAMES, "figures", "places", "widgets")

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
