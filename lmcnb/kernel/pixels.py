"""A training's augmentation as one operation on a CPU (``pixels.cpp``), for what is trained in bfloat16.

It turns the draws of :mod:`.augment` into pixels as :func:`.augment.apply` does, up to the rounding of the result.
Trainings in float32 keep to that function, bit for bit.
"""
from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .augment import Augment, Draws
from .fused import call

NAMES = {torch.uint8: ("uint8", 1 / 255), torch.float32: ("float32", 1.0)}


def serves(augment: Augment) -> bool:
    """Whether this augmentation is nothing but colour, warps and CutMix, drawn for each image."""
    return not (augment.shared or augment.cutout or augment.jitter or augment.lighting)


def readable(images: Tensor) -> bool:
    return images.device.type == "cpu" and images.dtype in NAMES


def augmented(augment: Augment, images: Tensor, index: Tensor, mean: Tensor, std: Tensor, draws: Draws) -> Tensor:
    """Normalised, augmented images, bfloat16 [B, C, H, W] with channels last.

    Args:
        images: uint8 or float32 [N, C, H, W] on the CPU. index: int64 [B], which of them. mean, std: float32 [C].
        draws: of one step.
    """
    name, unit = NAMES[images.dtype]
    count, (channels, height, width) = len(index), images.shape[1:]
    affine = draws["affine"] if augment.warps else torch.eye(2, 3).expand(count, 2, 3)
    colour = 0.5 + augment.strength * (draws["colour"] - 0.5) if augment.colour else torch.empty(0)  # a null pointer
    out = torch.empty(count, channels, height, width, dtype=torch.bfloat16, memory_format=torch.channels_last)
    given = (t.contiguous() for t in (images, index, mean, std, affine, colour))
    call(f"augment_{name}", out, (out, *given), ctypes.c_float(unit), int(augment.stays_inside))
    return _cutmixed(out, draws) if augment.cutmix else out


def _cutmixed(x: Tensor, draws: Draws) -> Tensor:
    top, bottom, left, right = draws["box"].tolist()
    mixed, box = x.clone(), (..., slice(top, bottom), slice(left, right))
    mixed[box] = x[box].index_select(0, draws["partner"])
    return mixed
