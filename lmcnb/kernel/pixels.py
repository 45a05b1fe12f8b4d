"""A training's augmentation as one operation on a CPU (``pixels.cpp``), for what is trained in bfloat16.

It turns the draws of :mod:`.augment` into pixels as :func:`.augment.apply` does, up to the rounding of the result.
Trainings in float32 keep to that function, bit for bit.
"""
from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ..models import Net
from .agreement import is_foreign
from .augment import Augment, Draws
from .fused import call
from .layers import fuses
from .recipe import Recipe

NAMES = {torch.uint8: ("uint8", 1 / 255), torch.float32: ("float32", 1.0)}


def at_once(net: Net, recipe: Recipe) -> bool:
    """Whether a CPU's trainings with this recipe augment so: in bfloat16, networks of ours that are fused.

    Of the augmentations all that is nothing but colour, warps and CutMix, drawn for each image. A network of one's own
    gets its images in float32.
    """
    augment = recipe.augmentation
    served = not (augment.shared or augment.cutout or augment.jitter or augment.lighting)
    return recipe.precision == "bf16" and served and not is_foreign(net) and fuses(net)


def readable(images: Tensor) -> bool:
    return images.device.type == "cpu" and images.dtype in NAMES


def augmented(augment: Augment, images: Tensor, index: Tensor, mean: Tensor, std: Tensor, draws: Draws) -> Tensor:
    """Normalised, augmented images, bfloat16 [B, C, H, W] with channels last.

    Args:
        images: uint8 or float32 [N, C, H, W] on the CPU. index: int64 [B], which of them. mean, std: [C].
        draws: of one step.
    """
    if not images.is_contiguous():
        images, index = images[index].contiguous(), torch.arange(len(index))
    name, unit = NAMES[images.dtype]
    count, (channels, height, width) = len(index), images.shape[1:]
    affine = draws["affine"] if augment.warps else torch.eye(2, 3).expand(count, 2, 3)
    colour = 0.5 + augment.strength * (draws["colour"] - 0.5) if augment.colour else torch.empty(0)  # a null pointer
    out = torch.empty(count, channels, height, width, dtype=torch.bfloat16, memory_format=torch.channels_last)
    numbers = [t.float().contiguous() for t in (mean, std, affine, colour)]
    call(f"augment_{name}", out, (out, images, index.contiguous(), *numbers), ctypes.c_float(unit),
         int(augment.stays_inside))
    return _cutmixed(out, draws) if augment.cutmix else out


def _cutmixed(x: Tensor, draws: Draws) -> Tensor:
    top, bottom, left, right = draws["box"].tolist()
    mixed, box = x.clone(), (..., slice(top, bottom), slice(left, right))
    mixed[box] = x[box].index_select(0, draws["partner"])
    return mixed
