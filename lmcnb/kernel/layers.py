"""Layers with a faster form on a CPU (:mod:`.fused`), put into a network in place of its own."""
from __future__ import annotations

from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import Net, per_network
from .agreement import agrees
from .fused import LANES, NAMES, convolution, convolution_norm_relu_pool, library, norm_relu_pool


def _is_float32(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


class Convolution(nn.Conv2d):
    """A 3 × 3 convolution whose kernel's gradient is ours."""

    def forward(self, x: Tensor) -> Tensor:
        return convolution(x, self.weight, self.bias) if _is_float32(x) else super().forward(x)


class StridedPointwise(nn.Conv2d):
    """A strided 1 × 1 convolution as one of the pixels that it reads.

    With channels last, few of them, and float32, oneDNN's gradient of it writes beyond its memory (torch 2.14, AVX2).
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight, self.bias, groups=self.groups)


class Deferred(nn.Module):
    """A 3 × 3 convolution under its name: hands input and weights on to the :class:`NormReluPool` that follows."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return x, self.weight, self.bias


class NormReluPool(nn.Module):
    """A norm, a ReLU and a pool in one; ``weight`` and ``bias`` are the norm's, under its name."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor | tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        if isinstance(x, tuple):
            if _is_float32(x[0]):
                return convolution_norm_relu_pool(*x, self.weight, self.bias, self.eps)
            x = F.conv2d(*x, padding=1)
        if x.dtype in NAMES and x.device.type == "cpu":
            return norm_relu_pool(x, self.weight, self.bias, self.eps)
        return F.avg_pool2d(F.group_norm(x, len(self.weight), self.weight, self.bias, self.eps).relu(), 2)


def fuse(module: nn.Module) -> int:
    """Replaces norm, ReLU, pool wherever they follow each other in an ``nn.Sequential``; how many times it did.

    A 3 × 3 convolution before them is replaced too. Names of parameters stay: the norm's place is taken, ReLU and pool
    become identities.
    """
    return sum(_fuse_blocks(parent, True) for parent in module.modules() if isinstance(parent, nn.Sequential))


def fuse_twice(module: nn.Module) -> int:
    """:func:`fuse`, but with second derivatives: convolutions stay (:mod:`.convolution` gives theirs)."""
    return sum(_fuse_blocks(parent, False) for parent in module.modules() if isinstance(parent, nn.Sequential))


def quicken(module: nn.Module) -> int:
    """Replaces 3 × 3 convolutions of enough channels, and strided 1 × 1 convolutions; how many times it did.

    All of PyTorch's own, wherever they are; they keep names, class and attributes of an ``nn.Conv2d``.
    """
    count = 0
    for layer in module.modules():
        if _is_plain(layer) and layer.out_channels >= LANES:
            layer.__class__, count = Convolution, count + 1
        elif type(layer) is nn.Conv2d and is_strided_pointwise(layer) and layer.padding == (0, 0):
            layer.__class__, count = StridedPointwise, count + 1
    return count


def _fuse_blocks(parent: nn.Sequential, convolutions: bool) -> int:
    count = 0
    for i in range(len(parent) - 2):
        norm, relu, pool = parent[i], parent[i + 1], parent[i + 2]
        if isinstance(norm, nn.GroupNorm) and _are(norm, relu, pool):
            parent[i], parent[i + 1], parent[i + 2] = NormReluPool(norm), nn.Identity(), nn.Identity()
            if convolutions and i and _is_plain(before := parent[i - 1]):
                parent[i - 1] = Deferred(before)
            count += 1
    return count


def is_strided_pointwise(layer: nn.Module) -> bool:
    """Whether it is a convolution that :class:`StridedPointwise` would have to replace."""
    return (isinstance(layer, nn.Conv2d) and not isinstance(layer, StridedPointwise)
            and layer.kernel_size == (1, 1) and layer.stride != (1, 1))


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    plain = nn.Conv2d(1, 1, 3, padding=1, device="meta")  # whose numbers are not drawn
    return type(layer) is nn.Conv2d and all(getattr(layer, n) == getattr(plain, n) for n in (
        "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"))


def _are(norm: nn.GroupNorm, relu: nn.Module, pool: nn.Module) -> bool:
    plain = nn.AvgPool2d(2)
    return (norm.affine and norm.num_groups == norm.num_channels and type(relu) is nn.ReLU
            and type(pool) is nn.AvgPool2d and _pair(pool.kernel_size) == _pair(pool.stride) == (2, 2)
            and all(getattr(pool, n) == getattr(plain, n) for n in ("padding", "ceil_mode", "divisor_override")))


def _pair(sides: int | tuple[int, int]) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


@per_network(256)
def fuses(net: Net) -> bool:
    """Whether a CPU runs this network with the fused operation: it has the three in a row, and they can be built."""
    return fuse(net.build()) > 0 and library() is not None and agrees(net, fuse)


@per_network(256)
def quickens(net: Net) -> bool:
    """Whether a CPU that compiles this network compiles it with other convolutions."""
    return quicken(net.build()) > 0 and library() is not None and agrees(net, quicken)
