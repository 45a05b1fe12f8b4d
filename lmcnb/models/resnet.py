"""The papers' ResNets: with BatchNorm for CIFAR and ImageNet, with instance norm and pools for distillation."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .net import MODELS, VERSIONS, Net


def he(module: nn.Module) -> nn.Module:
    """Every convolution normal with standard deviation √(2 / (k · k · out)), as the released code draws ResNets."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d) and not m.weight.is_meta:
            nn.init.normal_(m.weight, 0, math.sqrt(2 / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels)))
    return module


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut. With ``pool`` the stride becomes a 2 × 2 average pool (ResNetAP)."""

    def __init__(self, cin: int, cout: int, stride: int, norm: Callable[[int], nn.Module], pool: bool = False):
        super().__init__()
        down = nn.AvgPool2d(2) if pool and stride == 2 else nn.Identity()
        conv_stride = 1 if pool else stride
        self.body = nn.Sequential(
            nn.Conv2d(cin, cout, 3, conv_stride, 1, bias=False), norm(cout), nn.ReLU(), down,
            nn.Conv2d(cout, cout, 3, 1, 1, bias=False), norm(cout))
        shortcut = [nn.Conv2d(cin, cout, 1, conv_stride, bias=False)] + ([down] if pool else []) + [norm(cout)]
        self.shortcut = nn.Sequential(*shortcut) if stride != 1 or cin != cout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _stages(widths, blocks: int, norm, pool: bool = False) -> nn.Sequential:
    layers, cin = [], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(BasicBlock(cin, width, 2 if stage and not block else 1, norm, pool))
            cin = width
    return nn.Sequential(*layers)


def _head(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _even(net: Net, factor: int) -> None:
    if net.size % factor:
        raise ValueError(f"{net.name} halves the image to 1/{factor}: size must be a multiple of {factor}, "
                         f"got {net.size}; resize or pad the images")


def _resnet(blocks: int) -> Callable[[Net], nn.Module]:
    def build(net: Net) -> nn.Module:
        _even(net, 8)
        widths = [(net.width or 32) * 2 ** s for s in range(4)]
        stem = [nn.Conv2d(net.channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        return he(nn.Sequential(*stem, _stages(widths, blocks, nn.BatchNorm2d), _head(widths[-1], net.classes)))
    return build


def _resnet_imagenet(blocks: int) -> Callable[[Net], nn.Module]:
    def build(net: Net) -> nn.Module:
        _even(net, 32)
        widths = [(net.width or 64) * 2 ** s for s in range(4)]
        stem = [nn.Conv2d(net.channels, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(),
                nn.MaxPool2d(3, 2, 1)]
        return he(nn.Sequential(*stem, _stages(widths, blocks, nn.BatchNorm2d), _head(widths[-1], net.classes)))
    return build


def _resnet_ap(net: Net) -> nn.Module:
    _even(net, 32)
    if net.size < 64:
        raise ValueError(f"resnetap10 needs images of at least 64 × 64 (below, its last instance norm sees one pixel); "
                         f"got {net.size}: resize them, or distill with a convnet")

    def norm(c: int) -> nn.Module:
        return nn.GroupNorm(c, c)
    widths = [(net.width or 64) * 2 ** s for s in range(4)]
    stem = [nn.Conv2d(net.channels, widths[0], 7, 1, 3, bias=False), norm(widths[0]), nn.ReLU(), nn.AvgPool2d(4)]
    return he(nn.Sequential(*stem, _stages(widths, 1, norm, pool=True), _head(widths[-1], net.classes)))


RESNETS: dict[str, Callable[[Net], nn.Module]] = {
    "resnet10": _resnet(1),
    "resnet18": _resnet(2),
    "resnet10-imagenet": _resnet_imagenet(1),
    "resnet18-imagenet": _resnet_imagenet(2),
    "resnetap10": _resnet_ap,
}
MODELS |= RESNETS
VERSIONS |= dict.fromkeys(RESNETS, 2)  # 2: the released initialisation
