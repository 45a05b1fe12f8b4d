"""Modules of one's own as networks: what lmcnb did not build, it can train, prune and measure all the same."""
from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from ..data import Images
from ..sources import code_digest
from .net import MODELS, Net

SIDE = 32  # pixels, where nothing says how large the images are


class OwnNet(Net):
    """The architecture of given modules. Its size is that of whatever images it is used on."""

    def fitted(self, images: Images) -> OwnNet:
        """The same for these images. Raises ValueError where the module does not take them."""
        channels, height, width = images.shape
        if height != width:
            raise ValueError(f"images must be square; got {height} × {width}: crop or resize them")
        net = self.but(channels=channels, size=width, classes=images.classes)
        _refuse_misfit(net)
        return net


def own_net(modules: Sequence[nn.Module], images: Images | None) -> OwnNet:
    """The architecture that modules share, registered under their class's name and a digest of their structure."""
    if not modules:
        raise ValueError("give at least one module")
    texts = {f"{m}{[(n, tuple(t.shape)) for n, t in m.state_dict().items()]}{code_digest(_types(m))}" for m in modules}
    if len(texts) > 1:
        raise ValueError("the modules are not of one architecture: their layers or the shapes of their weights differ")
    skeleton = copy.deepcopy(modules[0]).to("meta")
    name = f"{type(skeleton).__name__}-{hashlib.sha256(texts.pop().encode()).hexdigest()[:8]}"
    MODELS.setdefault(name, lambda _: copy.deepcopy(skeleton))
    layers = [m for m in skeleton.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise ValueError(f"{name} has no convolution and no linear layer, so nothing to prune")
    channels = getattr(layers[0], "in_channels", 3)
    classes = getattr(layers[-1], "out_features", None) or layers[-1].out_channels
    net = OwnNet(name=name, channels=channels, size=SIDE, classes=classes)
    return net.fitted(images) if images is not None else net


def _types(module: nn.Module) -> list[type]:
    return list(dict.fromkeys(type(m) for m in module.modules()))


def _refuse_misfit(net: Net) -> None:
    with torch.device("meta"), torch.no_grad():
        try:
            found = tuple(net.build().eval()(torch.empty(2, net.channels, net.size, net.size)).shape)
        except RuntimeError as error:
            raise ValueError(f"{net.name} does not take images of {net.channels} × {net.size} × {net.size}: "
                             f"{str(error).splitlines()[0]}") from None
    if found != (2, net.classes):
        raise ValueError(f"{net.name} must map images to logits [B, {net.classes}]; for two it gave {found}")
