"""Images spoilt as a camera or a codec spoils them, at test time only: the corruptions of CIFAR-10-C.

After Hendrycks & Dietterich (2019), with the constants of their make_cifar_c.py. These were chosen for 32 × 32 pixels:
the blurs are given in pixels, so the same severity is a stronger one on smaller images, and on 8 × 8 two neighbouring
severities of pixelate can be one. Their files cut off the fraction of a level; here it is rounded.

Seventeen of their nineteen are made here. Frost needs their photographs, and spatter an edge detector: these two are
read from their files, where a user has put them (:func:`published`).
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Dataset, Images
from ..data.folders import known_sha256
from ..kernel.recipe import seeded
from ..places import data_root
from ..spec import choose
from . import blurs, weather

SEVERITIES = (1, 2, 3, 4, 5)
PUBLISHED = ("frost", "spatter")  # read from the benchmark's files
FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
RECORDS = {"CIFAR-10-C": 2535967, "CIFAR-100-C": 3555552}  # of Zenodo


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
    found = choose("corruption", name, {**CORRUPTIONS, **dict.fromkeys(PUBLISHED, Corruption(_read, SEVERITIES, (3,)))})
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


def spoilt(data: Dataset, name: str, severity: int, seed: int = 0, images: int | None = None) -> Images:
    """The first test images of a data set under one corruption: made by :func:`corrupt`, or :func:`published`.

    Raises:
        ValueError: as these; or published labels that are not the data set's.
    """
    test = data.test.first(images)
    corruption(name, severity, test.shape[0])
    if name not in PUBLISHED:
        return corrupt(test, name, severity, seed)
    files = published(data.name, name), published(data.name, "labels")
    x, y = (torch.from_numpy(f[10_000 * (severity - 1):][:len(test)].copy()) for f in files)
    if not torch.equal(y.long(), test.y.cpu()):
        raise ValueError(f"the labels in {data_root() / FOLDERS[data.name]} are not those of {data.name}'s test images")
    return replace(test, x=x.permute(0, 3, 1, 2).contiguous().to(test.x.device))


def published(dataset: str, name: str) -> np.ndarray:
    """uint8 [50000, 32, 32, 3], or [50000] of "labels": a file of the benchmark, its five severities in their order.

    Raises:
        FileNotFoundError: the file is not there; the message says where it belongs. ValueError: a data set without
            one, or a file that holds something else.
    """
    file = _file(dataset, name)
    found, shape = np.load(file, mmap_mode="r", allow_pickle=False), (50_000, *(32, 32, 3) * (name != "labels"))
    if found.shape != shape or found.dtype != np.uint8:
        raise ValueError(f"{file} holds {found.dtype} {list(found.shape)}, not uint8 {list(shape)}: it is not "
                         f"{file.parent.name}'s")
    return found


def digest(dataset: str, names: Iterable[str]) -> str:
    """sha256 over the files that these corruptions are read from, and their labels; empty without any.

    Raises:
        FileNotFoundError, ValueError: as :func:`published`, of any of them.
    """
    read = [*sorted({*names} & {*PUBLISHED}), "labels"]
    if len(read) == 1:
        return ""
    for name in read:
        published(dataset, name)
    files = [_file(dataset, name) for name in read]
    return sha256("".join(known_sha256(f, f.stat().st_mtime_ns) for f in files).encode()).hexdigest()


def _file(dataset: str, name: str) -> Path:
    folder = FOLDERS.get(dataset)
    if folder is None:
        raise ValueError(f"{name} is read from the benchmark's files, which are of {' and '.join(FOLDERS)}, not of "
                         f"{dataset}: leave {name} out")
    file = data_root() / folder / f"{name}.npy"
    if not file.exists():
        raise FileNotFoundError(f"{name} is read from the benchmark's file: unpack {folder}.tar "
                                f"(https://zenodo.org/records/{RECORDS[folder]}) to {file.parent}, or leave "
                                f"{' and '.join(PUBLISHED) if name == 'labels' else name} out")
    return file


def levels(x: Tensor) -> Tensor:
    """The nearest uint8 levels of pixels in 0…1."""
    return (x * 255).round().to(torch.uint8)


def _read(*_: Any) -> Tensor:
    raise ValueError(f"{' and '.join(PUBLISHED)} are read from the benchmark's files: take lmcnb.measure.spoilt, of a "
                     f"whole data set")


def _gaussian_noise(x: Tensor, std: float, generator: torch.Generator) -> Tensor:
    return x + std * torch.randn(x.shape, generator=generator)


def _shot_noise(x: Tensor, photons: float, generator: torch.Generator) -> Tensor:
    """The noise of counting: a white pixel is ``photons`` of them on average."""
    return torch.poisson(x * photons, generator) / photons


def _speckle_noise(x: Tensor, std: float, generator: torch.Generator) -> Tensor:
    return x + x * std * torch.randn(x.shape, generator=generator)


def _impulse_noise(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Salt and pepper: that share of the values becomes 0 or 1, each channel for itself."""
    u = torch.rand(x.shape, generator=generator)
    return torch.where(u < share / 2, 0.0, torch.where(u < share, 1.0, x))


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


_PIXELS = (1, 3)  # channels of what knows grey and colour apart
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": Corruption(blurs.defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": Corruption(blurs.glass_blur, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    "motion_blur": Corruption(blurs.motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": Corruption(blurs.zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "snow": Corruption(weather.snow, ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                                      (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                                      (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)), _PIXELS),
    "fog": Corruption(weather.fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": Corruption(blurs.elastic_transform, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06),
                                                              (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))),
    "pixelate": Corruption(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": Corruption(_jpeg, (80, 65, 58, 50, 40), _PIXELS),
    # The four that the benchmark keeps for choosing settings.
    "speckle_noise": Corruption(_speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian_blur": Corruption(blurs.gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "saturate": Corruption(_saturate, ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)), (3,)),
}
