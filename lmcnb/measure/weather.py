"""Fog and snow of CIFAR-10-C (:mod:`.corruptions`): each maps float32 [n, C, H, W] in 0…1 to the same, unclamped."""
from __future__ import annotations

import torch
from torch import Tensor

from .blurs import Draws, smeared, zoomed


def fog(x: Tensor, constant: tuple[float, float], generator: Draws) -> Tensor:
    """Clouds of each image's own are added, and the whole is darkened to the image's brightest value."""
    thick, decay = constant
    height, width = x.shape[-2:]
    brightest = x.amax((1, 2, 3), keepdim=True)
    clouds = plasma(len(x), 1 << (max(height, width) - 1).bit_length(), decay, generator)[:, None, :height, :width]
    return (x + thick * clouds) * brightest / (brightest + thick)


def plasma(n: int, size: int, decay: float, generator: Draws) -> Tensor:
    """float32 [n, size, size] in 0…1: clouds by midpoint displacement on a torus. ``size`` is a power of two."""
    heights, wobble = torch.zeros(n, size, size), 100.0

    def between(sums: Tensor) -> Tensor:
        return sums / 4 + wobble ** 2 * (2 * torch.rand(sums.shape, generator=generator) - 1)
    step = size
    while step > 1:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = between(pairs + pairs.roll(-1, 2))
        middles, corners = heights[:, half::step, half::step], heights[:, ::step, ::step]
        heights[:, ::step, half::step] = between(middles + middles.roll(1, 1) + corners + corners.roll(-1, 2))
        heights[:, half::step, ::step] = between(middles + middles.roll(1, 2) + corners + corners.roll(-1, 1))
        step, wobble = half, wobble / decay
    heights -= heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)


def snow(x: Tensor, constant: tuple[float, ...], generator: Draws) -> Tensor:
    """Flakes that fall, smeared, in each image's own direction, twice, over an image that is whitened a little.

    Args:
        constant: mean and standard deviation of a normal number a pixel; its enlargement; the threshold above which
            it is a flake; radius and σ of the smear; the share of the image that stays as it is.
    """
    mean, std, enlarged, threshold, radius, sigma, share = constant
    flakes = zoomed(mean + std * torch.randn(len(x), 1, *x.shape[-2:], generator=generator), enlarged)
    flakes = flakes.where(flakes >= threshold, 0.0).clamp(0, 1)
    flakes = smeared(flakes, (radius, sigma), -90 * torch.rand(len(x), generator=generator) - 45)
    grey = torch.einsum("nchw,c->nhw", x, torch.tensor([0.299, 0.587, 0.114]))[:, None] if x.shape[1] == 3 else x
    white = share * x + (1 - share) * torch.maximum(x, 1.5 * grey + 0.5)
    return white + flakes + flakes.rot90(2, (2, 3))
