"""The ConvNets that distillation is done with: 3 × 3 convolutions, instance norm, average pools."""
from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from .net import MODELS, Net


def _convnet(depth: int) -> Callable[[Net], nn.Module]:
    def build(net: Net) -> nn.Module:
        if net.size < 2 ** depth:
            raise ValueError(f"convnet{depth} halves the image {depth} times: size must be at least {2 ** depth}, "
                             f"got {net.size}; take convnet{int(math.log2(net.size))}")
        width, channels, layers = net.width or 128, net.channels, []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(),
                       nn.AvgPool2d(2)]
            channels = width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (net.size // 2 ** depth) ** 2, net.classes))
    return build


MODELS |= {f"convnet{d}": _convnet(d) for d in range(1, 7)}
