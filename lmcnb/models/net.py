"""The networks of the papers, for any input size and channel count, and their initialisation without a global seed."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn

from ..data.images import Dataset, Images, training
from ..params import Params, sent
from ..sources import code_digest, is_ours
from ..spec import Spec, choose


class Net(Spec):
    """Which network, for which input: ``Net(name="convnet3", channels=3, size=32, classes=10)``.

    Args:
        name: one of :data:`MODELS` (``lmcnb.register_model`` adds one).
        channels, size: of the square input images.
        classes: outputs.
        width: channels of the first stage; None takes the papers' (128, 32 or 64).
    """

    name: str = "convnet3"
    channels: int = Field(default=3, ge=1)
    size: int = Field(default=32, ge=1)
    classes: int = Field(default=10, ge=1)
    width: int | None = Field(default=None, ge=1)

    @classmethod
    def of(cls, data: Dataset | Images, name: str = "convnet3", width: int | None = None) -> Net:
        """The network for these images: channels, size and classes are theirs. Raises ValueError unless square."""
        images = training(data)
        channels, height, size = images.shape
        if height != size:
            raise ValueError(f"images must be square; got {height} × {size}: crop or resize them")
        return cls(name=name, channels=channels, size=size, classes=images.classes, width=width)

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, given: Any, made: Callable[[Any], Net]) -> Net:
        """Settings as a store has them say by their names which kind of network they are of."""
        if cls is Net and isinstance(given, Mapping) and (more := given.keys() - Net.model_fields.keys()):
            for kind in Net.__subclasses__():
                if more <= kind.model_fields.keys():
                    return kind(**given)
        return made(given)

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
        return tuple(_weights(self))

    def count(self) -> int:
        """Number of prunable weights."""
        return sum(_weights(self)[n] for n in self.prunable)


def per_network(maxsize: int) -> Callable[[Callable], Callable]:
    """``lru_cache`` for functions whose first argument is a :class:`Net`: an edited network is another one."""
    def decorate(function: Callable) -> Callable:
        @lru_cache(maxsize)
        def remembered(_: str | None, *args, **options):
            return function(*args, **options)

        @wraps(function)
        def call(net: Any, *args, **options):
            return remembered(net.code, net, *args, **options)
        vars(call).update(cache_info=remembered.cache_info, cache_clear=remembered.cache_clear)
        return call
    return decorate


@per_network(1024)
def _built(net: Net) -> None:
    """Raises ValueError when there is no such network for such images, or nothing in it to prune."""
    if not prunable(net.build()):
        raise ValueError(f"{net.name} has no convolution and no linear layer with a weight of its own, so nothing to "
                         f"prune")


@per_network(256)
def _weights(net: Net) -> dict[str, int]:
    """Names and sizes of what pruning may touch: asked for everywhere, and dear to build a network for."""
    module = net.build()
    return {n: module.get_parameter(n).numel() for n in prunable(module)}


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
    ±1/√fan_in), ResNets' convolutions as in the papers' released code (:func:`.resnet.he`).
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed would seed GPUs, too
        module = net.module()
    params, buffers = ({n: sent(t.detach().clone(), device) for n, t in named}
                       for named in (module.named_parameters(), module.named_buffers()))
    return params, buffers


MODELS: dict[str, Callable[[Net], nn.Module]] = {}
# Of built-in networks that were changed after results had been stored: in the key of everything made with them.
VERSIONS: dict[str, int] = {}


def register_model(name: str, build: Callable[[Net], nn.Module] | None = None) -> Any:
    """Adds a network: ``build(net)`` returns an ``nn.Module`` from images [B, C, H, W] to logits [B, classes].

    Also a decorator. Its own initialisation and buffers are kept. A cell that registers may be run again: what
    ``build`` does is part of the key of every result, so an edited network is another one.

    >>> import torch, lmcnb
    >>> @lmcnb.register_model("linear")
    ... def linear(net: lmcnb.Net) -> torch.nn.Module:
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(net.channels * net.size ** 2, net.classes))
    >>> assert lmcnb.Net(name="linear", channels=1, size=8).count() == 640

    Raises:
        ValueError: the name is that of a built-in network.
    """
    if build is None:
        return lambda function: register_model(name, function) or function
    if name in MODELS and is_ours(MODELS[name]):
        raise ValueError(f"model {name!r} is built in; choose another name")
    MODELS[name] = build
    return None
