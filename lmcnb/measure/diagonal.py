"""Estimates of a Hessian's diagonal and trace, and their summary.

The Hessian itself is :class:`.hessian.HessianOperator`; :func:`estimate_diagonal` is curvlinops with standard errors.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..kernel.recipe import seeded
from .hessian import HessianOperator

Method = Literal["hutchinson", "xdiag"]


@dataclass(frozen=True)
class Diagonal:
    """Hessian diagonal over the kept weights, float64 [n], with standard errors [n] (0 where exact), and its trace."""

    values: Tensor
    errors: Tensor
    trace: float
    trace_error: float


def estimate_diagonal(operator: HessianOperator, products: int = 32, method: Method = "hutchinson", seed: int = 0
                      ) -> Diagonal:
    """The diagonal from ``products`` Hessian products, by curvlinops, with standard errors.

    "hutchinson" (Bekas et al., 2007) averages v ⊙ Hv over Rademacher v. "xdiag" (Epperly et al., 2024) first projects
    the dominant directions out, which pays when few eigenvalues dominate; it runs in four independent groups, whose
    spread is the error. Both are unbiased, and so is ``trace``, their sum.

    Raises:
        ValueError: an unknown method, or fewer products than an error needs (2; 16 for xdiag, in eights).
    """
    if method not in ("hutchinson", "xdiag"):
        raise ValueError(f"unknown method {method!r}; known: hutchinson, xdiag")
    if method == "hutchinson" and products < 2:
        raise ValueError(f"hutchinson needs at least 2 products for an error; got {products}")
    if method == "xdiag" and (products < 16 or products % 8):
        raise ValueError(f"xdiag needs a multiple of 8 products, at least 16; got {products}")
    groups = products if method == "hutchinson" else 4
    curvlinops = _curvlinops()
    one = curvlinops.hutchinson_diag if method == "hutchinson" else curvlinops.xdiag
    with seeded_globally(operator.device, "diagonal", seed):
        mean = torch.zeros(operator.shape[0], dtype=torch.float64, device=operator.device)
        squares, traces = torch.zeros_like(mean), []
        for k in range(1, groups + 1):  # Welford's sums: all samples at once would be gigabytes of a ResNet
            sample = one(operator, products // groups).double()
            traces.append(float(sample.sum()))
            away = sample - mean
            mean += away / k
            squares += away * (sample - mean)
    sums, spread = torch.tensor(traces, dtype=torch.float64), groups ** 0.5
    errors = (squares / (groups - 1)).sqrt() / spread
    return Diagonal(mean, errors, float(sums.mean()), float(sums.std() / spread))


def _curvlinops():
    with warnings.catch_warnings():  # one of its dependencies still uses torch.jit.script
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        import curvlinops
    return curvlinops


@contextmanager
def seeded_globally(device: torch.device, *parts: object) -> Iterator[None]:
    """curvlinops draws from the global generator: seed it, and give it back as it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2 ** 62, (), generator=seeded(*parts))))
        yield


def summary(values: Tensor, weights: int | None = None, errors: Tensor | None = None) -> dict[str, float]:
    """min, max, mean, std and mean abs of a diagonal, over the kept weights or, as published, over all.

    Args:
        values: [n] of the kept weights. weights: how many there are with the pruned ones, whose entries are exactly 0
            and dilute the mean; None leaves them out.
        errors: standard errors [n] of estimated values; their variance is taken out of std (min, max and mean abs
            stay inflated by it).
    """
    count = len(values) if weights is None else weights
    if count < len(values):
        raise ValueError(f"weights ({count}) counts the pruned ones too: it cannot be below {len(values)}")
    v = values.double()
    mean, square = float(v.sum() / count), float((v ** 2).sum() / count)
    noise = 0.0 if errors is None else float((errors.double() ** 2).sum() / count)
    low, high = float(v.min()), float(v.max())
    if count > len(values):
        low, high = min(low, 0.0), max(high, 0.0)
    return {"min": low, "max": high, "mean": mean, "std": max(0.0, square - mean ** 2 - noise) ** 0.5,
            "mean_abs": float(v.abs().sum() / count)}
