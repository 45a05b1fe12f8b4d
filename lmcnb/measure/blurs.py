"""Blurs and displacements of CIFAR-10-C (:mod:`.corruptions`): each maps float32 [n, C, H, W] in 0…1 to the same.

The benchmark made one image after another with OpenCV, SciPy, scikit-image and ImageMagick; here a batch is one
operation, with random numbers of each image's own.
"""
from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Draws = torch.Generator


def gaussian_blur(x: Tensor, sigma: float, _: Draws | None = None) -> Tensor:
    """σ in pixels; beyond the border lie copies of the outermost pixel, as in scikit-image."""
    down, across = (_gaussian(side, sigma) for side in x.shape[-2:])
    return down @ x @ across.T


def defocus_blur(x: Tensor, constant: tuple[float, float], _: Draws) -> Tensor:
    """A disk of a radius, itself blurred by a Gaussian of 3 × 3 pixels; the border is a mirror."""
    radius, sigma = constant
    reach = int(radius) + 1
    squares = torch.arange(-reach, reach + 1).double() ** 2
    disk = (squares[:, None] + squares <= radius ** 2).double()
    bell = torch.exp(-0.5 * (torch.tensor([-1.0, 0, 1]).double() / sigma) ** 2)
    bell /= bell.sum()
    kernel = F.conv2d(disk[None, None] / disk.sum(), torch.outer(bell, bell)[None, None], padding=1).to(x.dtype)
    wide = F.pad(x, [reach] * 4, mode="reflect")
    return F.conv2d(wide, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def glass_blur(x: Tensor, constant: tuple[float, int], generator: Draws) -> Tensor:
    """Each pixel becomes one of four, itself or the next one up, left or both; blurred by σ before and after.

    The benchmark's code means to swap the two pixels, but copies: NumPy's rows are views. So are its files.
    """
    sigma, times = constant
    n, _, height, width = x.shape
    x = gaussian_blur(x, sigma)
    for _ in range(times):
        down, across = (torch.randint(-1, 1, (n, height, width), generator=generator) for _ in range(2))
        inside = ((torch.arange(height) > 1)[:, None] & (torch.arange(width) > 1)).long()
        x = _picked(x, torch.arange(height)[:, None] + down * inside, torch.arange(width) + across * inside)
    return gaussian_blur(x, sigma)


def motion_blur(x: Tensor, constant: tuple[float, float], generator: Draws) -> Tensor:
    """Towards one side, at an angle of each image's own within ±45°."""
    return smeared(x, constant, 90 * torch.rand(len(x), generator=generator) - 45)


def smeared(x: Tensor, constant: tuple[float, float], degrees: Tensor) -> Tensor:
    """ImageMagick's motion blur: half a Gaussian of 2 · radius + 1 pixels, along an angle [n], to whole pixels."""
    radius, sigma = constant
    steps = torch.arange(2 * math.ceil(radius) + 1)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    angle, out = degrees.double().deg2rad(), torch.zeros_like(x)
    rows, columns = (torch.arange(side) for side in x.shape[-2:])
    for step, weight in zip(steps.tolist(), weights.tolist()):
        down, across = ((step * f(angle) - 0.5).ceil().long()[:, None, None] for f in (torch.sin, torch.cos))
        out += weight * _picked(x, rows[:, None] + down, columns + across)
    return out


def zoom_blur(x: Tensor, most: float, _: Draws) -> Tensor:
    """The mean of the image and its enlargements by 1, 1.01 … times, up to ``most``."""
    factors = np.arange(1, most, 0.01)
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def zoomed(x: Tensor, factor: float) -> Tensor:
    """The middle, enlarged to the size of the whole by linear interpolation."""
    down, across = (_enlarging(side, factor) for side in x.shape[-2:])
    return down @ x @ across.T


def elastic_transform(x: Tensor, constant: tuple[float, float, float], generator: Draws) -> Tensor:
    """An affine map that moves three points at random, then displacements that vary smoothly over the image.

    Args:
        constant: the largest displacement, its σ, and the largest move of a point, as shares of the side.
    """
    (n, _, height, width), side = x.shape, min(x.shape[-2:])
    most, sigma, move = (share * side for share in constant)
    middle, reach = torch.tensor([width // 2, height // 2]).double(), side // 3
    three = middle + reach * torch.tensor([[1, 1], [1, -1], [-1, -1]]).double()
    moved = three + move * (2 * torch.rand(n, 3, 2, generator=generator).double() - 1)
    # Each target pixel's place in the source: the map of the moved points to the three.
    back = torch.linalg.solve(torch.cat([moved, torch.ones(n, 3, 1).double()], -1), three.expand(n, 3, 2))
    places = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), -1).double()
    homogeneous = torch.cat([places, torch.ones(height, width, 1).double()], -1)
    x = _sampled(x, torch.einsum("hwk,nkd->nhwd", homogeneous, back), edges=False)
    if most:
        shifts = gaussian_mirrored(2 * torch.rand(n, 2, height, width, generator=generator) - 1, sigma) * most
        x = _sampled(x, places + shifts.permute(0, 2, 3, 1), edges=True)
    return x


def gaussian_mirrored(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian filter that ends at 3σ, with a mirror beyond the border."""
    down, across = (_gaussian(side, sigma, "reflect", 3) for side in x.shape[-2:])
    return down @ x @ across.T


def _picked(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at these places, int [n, H, W] together; outside lie copies of the border."""
    n, channels, height, width = x.shape
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return x.flatten(2).gather(2, index.flatten(1)[:, None].expand(n, channels, -1)).view_as(x)


def _sampled(x: Tensor, places: Tensor, edges: bool) -> Tensor:
    """Linear interpolation at places [n, H, W, 2], in pixels, x first; mirrored at the pixels' edges, or at their
    middles."""
    size = torch.tensor(x.shape[:-3:-1])
    grid = (2 * places + 1) / size - 1 if edges else 2 * places / (size - 1) - 1
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="reflection", align_corners=not edges)


def _gaussian(pixels: int, sigma: float, mode: str = "nearest", truncate: float = 4) -> Tensor:
    """float32 [pixels, pixels]: the matrix of the filter along an axis; convolving the images takes ten times as
    long."""
    from scipy.ndimage import gaussian_filter1d

    rows = gaussian_filter1d(np.eye(pixels), sigma, axis=0, mode=mode, truncate=truncate)
    return torch.from_numpy(rows).float()


def _enlarging(pixels: int, factor: float) -> Tensor:
    """float32 [pixels, pixels]: the matrix of :func:`zoomed` along an axis."""
    from scipy.ndimage import zoom

    kept = math.ceil(pixels / factor)
    start = (pixels - kept) // 2
    rows = zoom(np.eye(pixels)[start:start + kept], (factor, 1), order=1)
    trim = (len(rows) - pixels) // 2
    return torch.from_numpy(rows[trim:trim + pixels]).float()
