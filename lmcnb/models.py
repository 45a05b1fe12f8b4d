"""The networks of the papers, for any input size and channel count, and their initialisation without a global seed."""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from .data import Images
from .params import Params
from .sources import code_digest, is_ours
from .spec import Spec, choose


class Net(Spec):
    """Which network, for which input: ``Net(name="convnet3", channels=3, size=32, classes=10)``.

    Args:
        name: one of :data:`MODELS` (``lmcnb.register_model`` adds one).
        channels, size: of the square input images.
        classes: outputs.
        width: channels of the first stage; None takes the papers' (128, 32 or 64).
    """

    name: str = "convnet3"
    channels: int = Field(3, ge=1)
    size: int = Field(32, ge=1)
    classes: int = Field(10, ge=1)
    width: int | None = Field(None, ge=1)

    @classmethod
    def of(cls, images: Images, name: str = "convnet3", width: int | None = None) -> Net:
        """The network for these images: channels, size and classes are theirs. Raises ValueError unless square."""
        channels, height, size = images.shape
        if height != size:
            raise ValueError(f"images must be square; got {height} × {size}: crop or resize them")
        return cls(name=name, channels=channels, size=size, classes=images.classes, width=width)

    @model_validator(mode="after")
    def _can_be_built(self):
        _built(self)
        return self

    def module(self) -> nn.Module:
        """The module with the numbers that its constructor draws. Raises ValueError for an unknown name."""
        return choose("model", self.name, MODELS)(self)

    def build(self) -> nn.Module:
        """The module on the meta device: a description without numbers. Raises ValueError for an unknown name."""
        with torch.device("meta"):
            return self.module()

    @property
    def code(self) -> str | None:
        """A digest of what builds the network, or None where that is this package's own."""
        owners = [o for o in (MODELS.get(self.name), type(self)) if o is not None and not is_ours(o)]
        return code_digest(tuple(owners)) if owners else None

    @property
    def prunable(self) -> tuple[str, ...]:
        """Names of the weights that pruning may touch: every convolution's and linear layer's, nothing else."""
        return prunable(self.build())

    def count(self) -> int:
        """Number of prunable weights."""
        module = self.build()
        return sum(module.get_parameter(n).numel() for n in prunable(module))


def per_network(maxsize: int) -> Callable[[Callable], Callable]:
    """``lru_cache`` for functions whose first argument is a :class:`Net`: an edited network is another one."""
    def decorate(function: Callable) -> Callable:
        @lru_cache(maxsize)
        def remembered(_: str | None, *args, **options):
            return function(*args, **options)

        @wraps(function)
        def call(net: Net, *args, **options):
            return remembered(net.code, net, *args, **options)
        call.cache_info, call.cache_clear = remembered.cache_info, remembered.cache_clear
        return call
    return decorate


@per_network(1024)
def _built(net: Net) -> None:
    """Raises ValueError when there is no such network for such images."""
    net.build()


def prunable(module: nn.Module) -> tuple[str, ...]:
    """Names of the weights of convolutions and linear layers; of one that layers share, the first."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    names = (f"{n}.weight" if n else "weight" for n, m in module.named_modules() if isinstance(m, kinds))
    own = {n for n, _ in module.named_parameters()}
    return tuple(n for n in names if n in own)


def initialise(net: Net, seed: int, device: torch.device | str = "cpu") -> tuple[Params, Params]:
    """Parameters and buffers of one freshly built network: whatever its own constructor makes of ``seed``.

    The module is built on the CPU under its own random state, so a seed means the same network on every device and
    nothing else that draws is disturbed. ConvNets and linear layers start as PyTorch starts them (uniform in
    ±1/√fan_in), ResNets' convolutions as in the papers' released code (:func:`_he`).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = net.module()
    params, buffers = ({n: t.detach().clone().to(device) for n, t in named}
                       for named in (module.named_parameters(), module.named_buffers()))
    return params, buffers


def _he(module: nn.Module) -> nn.Module:
    """Every convolution normal with standard deviation √(2 / (k · k · out)), as the released code draws ResNets."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d) and not m.weight.is_meta:
            nn.init.normal_(m.weight, 0, math.sqrt(2 / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels)))
    return module


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
        return _he(nn.Sequential(*stem, _stages(widths, blocks, nn.BatchNorm2d), _head(widths[-1], net.classes)))
    return build


def _resnet_imagenet(blocks: int) -> Callable[[Net], nn.Module]:
    def build(net: Net) -> nn.Module:
        _even(net, 32)
        widths = [(net.width or 64) * 2 ** s for s in range(4)]
        stem = [nn.Conv2d(net.channels, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(),
                nn.MaxPool2d(3, 2, 1)]
        return _he(nn.Sequential(*stem, _stages(widths, blocks, nn.BatchNorm2d), _head(widths[-1], net.classes)))
    return build


def _resnet_ap(net: Net) -> nn.Module:
    _even(net, 32)
    if net.size < 64:
        raise ValueError(f"resnetap10 needs images of at least 64 × 64 (below, its last instance norm sees one pixel); "
                         f"got {net.size}: resize them, or distil with a convnet")

    def norm(c: int) -> nn.Module:
        return nn.GroupNorm(c, c)
    widths = [(net.width or 64) * 2 ** s for s in range(4)]
    stem = [nn.Conv2d(net.channels, widths[0], 7, 1, 3, bias=False), norm(widths[0]), nn.ReLU(), nn.AvgPool2d(4)]
    return _he(nn.Sequential(*stem, _stages(widths, 1, norm, pool=True), _head(widths[-1], net.classes)))


MODELS: dict[str, Callable[[Net], nn.Module]] = {
    **{f"convnet{d}": _convnet(d) for d in range(1, 7)},
    "resnet10": _resnet(1),
    "resnet18": _resnet(2),
    "resnet10-imagenet": _resnet_imagenet(1),
    "resnet18-imagenet": _resnet_imagenet(2),
    "resnetap10": _resnet_ap,
}


# Of built-in networks that were changed after results had been stored: in the key of everything made with them.
VERSIONS = {name: 2 for name in MODELS if name.startswith("resnet")}  # 2: the released initialisation


def register_model(name: str, build: Callable[[Net], nn.Module]) -> None:
    """Adds a network: ``build(net)`` returns an ``nn.Module`` from images [B, C, H, W] to logits [B, classes].

    Its own initialisation and buffers are kept. A cell that registers may be run again: what ``build`` does is part of
    the key of every result, so an edited network is another one.

    Raises:
        ValueError: the name is that of a built-in network.
    """
    if name in MODELS and is_ours(MODELS[name]):
        raise ValueError(f"model {name!r} is built in; choose another name")
    MODELS[name] = build
