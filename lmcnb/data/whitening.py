"""ZCA whitening of images, as trajectory matching uses it for CIFAR."""
from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .images import Images


@dataclass(frozen=True)
class Whitening:
    """z = (v − centre) W for a flattened image v in 0…1; W = (Σ + ε)^-½ is symmetric, and so is its inverse.

    Attributes:
        centre: float32 [d]. forward, inverse: float32 [d, d], d = C · H · W.
    """

    centre: Tensor
    forward: Tensor
    inverse: Tensor

    def whiten(self, x: Tensor) -> Tensor:
        """Whitened float32 [N, C, H, W] of images: uint8, or float in 0…1. Differentiable."""
        flat = _pixels(x).flatten(1)
        return ((flat - self.centre) @ self.forward).view(x.shape)

    def restore(self, z: Tensor) -> Tensor:
        """The pixels (in units of 0…1, not clamped) of whitened images [N, C, H, W]. Differentiable."""
        return (z.flatten(1) @ self.inverse + self.centre).view(z.shape)

    def images(self, images: Images, batch: int = 5000) -> Images:
        """The whitened images; their normalisation is the identity."""
        x = torch.cat([self.whiten(part) for part in images.x.split(batch)])
        return replace(images, x=x, mean=torch.zeros_like(images.mean), std=torch.ones_like(images.std))


def zca(images: Images, eps: float = 0.1, batch: int = 5000) -> Whitening:
    """The whitening of these (training) images; ``eps`` is added to the eigenvalues of the covariance of their pixels.

    Pixels are in 0…1, not normalised, and ε is 0.1 in the code of MTT (Cazenavette et al., 2022), which uses kornia's.
    The mean's sums are float64; products of pixels are float32 within a batch, and summed in float64.

    Raises:
        ValueError: ``eps`` or ``batch`` is not above 0.
    """
    if not (0 < eps < float("inf") and batch >= 1):
        raise ValueError(f"eps must be a finite number above 0 (MTT: 0.1) and batch at least 1; got {eps} and {batch}")
    d, count = images.x[0].numel(), len(images)
    total = torch.zeros(d, dtype=torch.float64, device=images.x.device)
    products = torch.zeros(d, d, dtype=torch.float64, device=images.x.device)
    for start in range(0, count, batch):
        flat = _pixels(images.x[start:start + batch]).flatten(1)
        total += flat.sum(0, dtype=torch.float64)
        products += flat.T @ flat
    centre = total / count
    values, vectors = torch.linalg.eigh((products - count * torch.outer(centre, centre)) / max(1, count - 1))
    scale = (values.clamp_min(0) + eps).sqrt()
    forward, inverse = ((vectors * s) @ vectors.T for s in (1 / scale, scale))
    return Whitening(centre.float(), forward.float(), inverse.float())


def _pixels(x: Tensor) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 else x
