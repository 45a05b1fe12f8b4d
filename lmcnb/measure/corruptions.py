"""Images spoilt as a camera or a codec spoils them, at test time only: the corruptions of CIFAR-10-C.

After Hendrycks & Dietterich (2019), with the constants of their make_cifar_c.py. These were chosen for 32 × 32 pixels:
the blur is given in pixels, so the same severity is a stronger one on smaller images, and on 8 × 8 two neighbouring
severities of pixelate can be one. Their files cut off the fraction of a level; here it is rounded.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Images
from ..kernel.recipe import seeded
from ..spec import choose

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One way to spoil images.

    Attributes:
        apply: ``apply(x, constant, generator)`` maps float32 [n, C, H, W] in 0…1 to the same, not yet clamped.
        constants: the operation's setting for each severity, mild to strong.
        channels: the numbers of channels it is defined for; empty for any.
    """

    apply: Callable[[Tensor, Any, torch.Generator], Tensor]
    constants: tuple
    channels: tuple[int, ...] = ()


def corruption(name: str, severity: int = 1, channels: int | None = None) -> Corruption:
    """A corruption by name, checked against a severity and images of so many channels.

    Raises:
        ValueError: an unknown name, a severity outside 1…5, or images that it is not defined for.
    """
    found = choose("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {', '.join(map(str, SEVERITIES))}; got {severity}")
    if channels is not None and found.channels and channels not in found.channels:
        kinds = " or ".join({1: "grey", 3: "RGB"}[c] for c in found.channels)
        raise ValueError(f"{name} needs {kinds} images; these have {channels} channel{'s' * (channels != 1)}: leave "
                         f"{name} out")
    return found


def corrupt(images: Images, name: str, severity: int, seed: int = 0, *, batch: int = 500) -> Images:
    """The images under one corruption; labels and normalisation stay.

    Everything is computed on the CPU, so that a seed means the same pixels on every device; the result lies on the
    images' device. Each corruption and severity has random numbers of its own.

    Args:
        images: uint8, or float32 in 0…1; the result has the same type, in the same range.
        name: one of :data:`CORRUPTIONS`. severity: 1 (mild) … 5.
        batch: images at a time. It bounds the memory, and is part of what a seed means.
    Raises:
        ValueError: an unknown corruption, a severity outside 1…5, a batch below 1, or images that the corruption is
            not defined for.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1; got {batch}")
    how = corruption(name, severity, images.shape[0])
    constant, generator = how.constants[severity - 1], seeded("corruption", name, severity, seed)
    x = torch.empty_like(images.x, device="cpu")
    for start in range(0, len(images), batch):
        part = images.x[start:start + batch].cpu()
        spoilt = how.apply(part / 255 if part.dtype == torch.uint8 else part, constant, generator).clamp(0, 1)
        x[start:start + batch] = levels(spoilt) if part.dtype == torch.uint8 else spoilt
    return replace(images, x=x.to(images.x.device))


def levels(x: Tensor) -> Tensor:
    """The nearest uint8 levels of pixels in 0…1."""
    return (x * 255).round().to(torch.uint8)


def _gaussian_noise(x: Tensor, std: float, generator: torch.Generator) -> Tensor:
    return x + std * torch.randn(x.shape, generator=generator)


def _shot_noise(x: Tensor, photons: float, generator: torch.Generator) -> Tensor:
    """The noise of counting: a white pixel is ``photons`` of them on average."""
    return torch.poisson(x * photons, generator) / photons


def _impulse_noise(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Salt and pepper: that share of the values becomes 0 or 1, each channel for itself."""
    u = torch.rand(x.shape, generator=generator)
    return torch.where(u < share / 2, 0.0, torch.where(u < share, 1.0, x))


def _gaussian_blur(x: Tensor, sigma: float, _) -> Tensor:
    """σ in pixels; beyond the border lie copies of the outermost pixel, as in scikit-image."""
    down, across = (_blurring(side, sigma) for side in x.shape[-2:])
    return down @ x @ across.T


def _blurring(pixels: int, sigma: float) -> Tensor:
    """float32 [pixels, pixels]: the matrix of the blur along an axis; convolving the images takes ten times as long."""
    from scipy.ndimage import gaussian_filter1d

    return torch.from_numpy(gaussian_filter1d(np.eye(pixels), sigma, axis=0, mode="nearest")).float()


def _brightness(x: Tensor, more: float, _) -> Tensor:
    """Adds to the value V of HSV: all channels grow by V's factor. (torchvision multiplies: black stays black.)"""
    value = x.amax(1, keepdim=True)
    brighter = (value + more).clamp_max(1)
    return torch.where(value > 0, x * brighter / value.clamp_min(1e-6), brighter)


def _contrast(x: Tensor, factor: float, _) -> Tensor:
    """Towards the mean of each channel. (torchvision's is that of the luminance.)"""
    mean = x.mean((2, 3), keepdim=True)
    return mean + factor * (x - mean)


def _saturate(x: Tensor, constant: tuple[float, float], _) -> Tensor:
    """S · a + b for the saturation S of HSV. Greys have the hue of red there, so where b > 0 they turn to it."""
    factor, more = constant
    value = x.amax(1, keepdim=True)
    below = value - x
    span = below.amax(1, keepdim=True)
    saturation = (span / value.clamp_min(1e-6) * factor + more).clamp(0, 1)
    red = torch.tensor([0.0, 1.0, 1.0])[:, None, None]
    return value * (1 - saturation * torch.where(span > 0, below / span.clamp_min(1e-6), red))


def _pixelate(x: Tensor, share: float, _) -> Tensor:
    """Each pixel becomes the mean of its cell, in a grid of ``share`` times as many rows and columns.

    That is a reduction and an enlargement by Pillow's box filter, which torchvision has for Pillow's images only.
    """
    down, across = (_cells(side, int(side * share)) for side in x.shape[-2:])
    return down @ x @ across.T


def _cells(pixels: int, cells: int) -> Tensor:
    """float32 [pixels, pixels]: the matrix that averages over cells; a pixel belongs to that of its centre."""
    cell = ((torch.arange(pixels) + 0.5) * max(1, cells) / pixels).floor()
    same = (cell[:, None] == cell).float()
    return same / same.sum(1)


def _jpeg(x: Tensor, quality: int, _) -> Tensor:
    """Through Pillow's codec and back, as in the benchmark; torchvision's is deprecated."""
    coded = [_coded(row.squeeze(-1).numpy(), quality) for row in levels(x).permute(0, 2, 3, 1)]
    return torch.from_numpy(np.stack(coded)).view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2) / 255


def _coded(row: np.ndarray, quality: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3]."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(row).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=["JPEG"]))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": Corruption(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "saturate": Corruption(_saturate, ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)), (3,)),
    "pixelate": Corruption(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": Corruption(_jpeg, (80, 65, 58, 50, 40), (1, 3)),
}
