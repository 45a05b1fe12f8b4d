"""Extreme eigenvalues and the spectral density of a Hessian, from its products alone."""
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernel.recipe import seeded


@dataclass(frozen=True)
class Spectrum:
    """What Lanczos saw of the eigenvalues.

    Attributes:
        nodes, weights: float64 [starts, steps], Gauss quadrature of the spectral density for each random start.
        largest, smallest: floats, extreme eigenvalues (Ritz values: inside the true range).
        errors: bounds on the distance of (largest, smallest) from a true eigenvalue: what lies outside the Krylov
            space, and the rounding of its vectors to the operator's dtype. That of the products themselves is not in.
    """

    nodes: Tensor
    weights: Tensor
    largest: float
    smallest: float
    errors: tuple[float, float]

    def density(self, grid: Tensor, width: float) -> Tensor:
        """Spectral density on a grid [G], float64 [G]: the quadrature's points as Gaussians of deviation ``width``."""
        bumps = torch.exp(-0.5 * ((grid - self.nodes[..., None]) / width) ** 2) / (width * (2 * torch.pi) ** 0.5)
        return (self.weights[..., None] * bumps).sum(1).mean(0)


def lanczos(operator, steps: int = 24, starts: int = 1, seed: int = 0) -> Spectrum:
    """Stochastic Lanczos quadrature (Ubaru et al., 2017; Ghorbani et al., 2019), fully reorthogonalised.

    Args:
        operator: has ``shape`` (n, n), ``device``, ``dtype`` and ``operator @ v``: a :class:`.hessian.HessianOperator`.
        steps: products for each start. starts: random starts, of ``seed``.
    Raises:
        ValueError: fewer than 2 steps, or more than the operator's dimension.
    """
    n = operator.shape[0]
    if not 2 <= steps <= n:
        raise ValueError(f"lanczos needs between 2 steps and the dimension ({n}); got {steps}")
    runs = [_lanczos(operator, steps, torch.randn(n, generator=seeded("lanczos", seed, k))) for k in range(starts)]
    most = max(len(v) for v, _, _ in runs)
    nodes, vectors, ends = zip(*[(F.pad(v, (0, most - len(v)), value=float(v[-1])), F.pad(u, (0, most - len(v))), e)
                                 for v, u, e in runs])  # a run that ended early: its points, and some of no weight
    top = max(range(starts), key=lambda k: float(nodes[k][-1]))
    low = min(range(starts), key=lambda k: float(nodes[k][0]))
    rounding = 2 * torch.finfo(operator.dtype).eps * max(abs(float(nodes[top][-1])), abs(float(nodes[low][0])))
    over, under = (float(ends[k] * vectors[k][-1, at].abs()) + rounding for k, at in ((top, -1), (low, 0)))
    return Spectrum(torch.stack(nodes), torch.stack([v[0] ** 2 for v in vectors]), float(nodes[top][-1]),
                    float(nodes[low][0]), (over, under))


def _lanczos(operator, steps: int, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues and eigenvectors of the tridiagonal matrix, and the norm of what lies outside the Krylov space."""
    basis = (start / start.norm()).to(operator.device, operator.dtype)[None]
    diagonal, off = [], []
    for _ in range(steps):
        w = (operator @ basis[-1]).double()
        diagonal.append(w @ basis[-1].double())
        for _ in range(2):  # twice is enough: float32 products lose orthogonality at once
            w = w - basis.double().T @ (basis.double() @ w)
        off.append(w.norm())
        if len(diagonal) == steps or off[-1] <= 1e-6 * torch.stack(diagonal).abs().max():
            break  # the space is exhausted: what is left of w is rounding
        basis = torch.cat([basis, (w / off[-1]).to(basis)[None]])
    matrix = torch.diag(torch.stack(diagonal)) + sum(torch.diag(torch.stack(off[:-1]), k) for k in (-1, 1)) \
        if len(diagonal) > 1 else torch.diag(torch.stack(diagonal))
    values, vectors = torch.linalg.eigh(matrix.cpu())
    return values, vectors, off[-1].cpu()
