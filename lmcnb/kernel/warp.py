"""Warps of pixels that are differentiated, as products of matrices: their gradients are the same in every run.

Backwards, torch's bilinear look-ups add each pixel's gradients in whatever order a GPU's threads arrive; a product's
gradient is a product. Forwards both are one map, up to rounding. A CPU has no such trouble, and looks up.
"""
from __future__ import annotations

import torch
from torch import Tensor

LARGEST_TURNED = 64  # pixels a side; a turned image takes its pixels times its side


def by_matrices(x: Tensor, turned: bool) -> bool:
    """Whether images [B, C, H, W] are warped so where their gradient is wanted; ``turned`` ones only if small."""
    return x.device.type != "cpu" and (not turned or x.shape[-1] <= LARGEST_TURNED)


def warped(x: Tensor, affine: Tensor, *, turned: bool, whole: bool, border: bool) -> Tensor:
    """What ``F.grid_sample`` makes of images [B, C, H, W] and affine maps [B, 2, 3], bilinear, corners not aligned.

    Args:
        turned: whether rows and columns may mix. whole: whether they move by whole pixels alone.
        border: what lies outside is the nearest pixel, else zero.
    """
    height, width = x.shape[-2:]
    ys, xs = (((2 * torch.arange(n, device=x.device, dtype=x.dtype) + 1) / n - 1) for n in (height, width))
    a, b, right, c, d, down = affine.flatten(1).unbind(1)
    if not turned:
        rows = _hats(d[:, None] * ys + down[:, None], height, whole, border)
        columns = _hats(a[:, None] * xs + right[:, None], width, whole, border)
        return rows[:, None] @ x @ columns[:, None].transpose(-1, -2)
    at_x, at_y = xs.repeat(height), ys.repeat_interleave(width)
    rows = _hats(c[:, None] * at_x + d[:, None] * at_y + down[:, None], height, whole, border)
    columns = _hats(a[:, None] * at_x + b[:, None] * at_y + right[:, None], width, whole, border)
    across = x @ columns[:, None].transpose(-1, -2)  # [B, C, H, H·W]
    return (across * rows.transpose(-1, -2)[:, None]).sum(2).unflatten(-1, (height, width))


def enlarged(x: Tensor, size: int) -> Tensor:
    """What ``F.interpolate`` makes of square images, bilinear, corners not aligned."""
    side = x.shape[-1]
    centres = (2 * torch.arange(size, device=x.device, dtype=x.dtype) + 1) / size - 1
    up = _hats(centres, side, False, True)
    return up @ x @ up.transpose(-1, -2)


def _hats(places: Tensor, pixels: int, whole: bool, border: bool) -> Tensor:
    """[..., P, pixels]: the weights of ``pixels`` in a row at P places from −1 to 1."""
    at = ((places + 1) * pixels - 1) / 2
    at = at.round() if whole else at
    at = at.clamp(0, pixels - 1) if border else at
    return (1 - (at[..., None] - torch.arange(pixels, device=places.device, dtype=places.dtype)).abs()).clamp_min(0)
