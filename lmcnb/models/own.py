"""Modules of one's own as networks: what lmcnb did not build, it can train, prune and measure all the same."""
from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..data import Images
from ..params import Params
from ..sources import code_digest
from .foreign import state_of, unpruned
from .net import MODELS, Net, prunable

SIDE = 32  # pixels, where nothing says how large the images are
ANY = frozenset(vars(nn.Module()))  # what every module holds: its weights, hooks and mode


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


def logits_of(_: nn.Module, inputs: tuple, output: Any) -> torch.Tensor | None:
    """A forward hook for image classifiers that return an object with logits, as Hugging Face's do."""
    return None if isinstance(output, torch.Tensor) else getattr(output, "logits", None)


def loaded(net: Net | nn.Module, state: Mapping[str, Any]) -> nn.Module:
    """A new module of this network with the weights of a state dict. Raises ValueError where they are another's."""
    if isinstance(net, OwnNet):
        raise ValueError(f"{net.name} is known by its modules: give one of them as net, or networks.modules()[0]")
    module = net.module() if isinstance(net, Net) else copy.deepcopy(unpruned(net)[0])
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        name = net.name if isinstance(net, Net) else type(net).__name__
        reason = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(f"the state dict is not of {name}: {reason[0]}" + " …" * (len(reason) > 1)) from None
    return module


def parted(given: nn.Module | Mapping[str, Any], net: Net | nn.Module | None) -> tuple[nn.Module, Params]:
    """A module without torch's pruning, or of ``net`` with the weights of a state dict; and the masks by name that it
    had. Raises ValueError where it is another network's."""
    if isinstance(given, nn.Module) and net is None:
        return unpruned(given)
    state, masks = state_of(given.state_dict() if isinstance(given, nn.Module) else given)
    assert net is not None
    return loaded(net, state), masks


def own_net(modules: Sequence[nn.Module], images: Images | None) -> OwnNet:
    """The architecture that modules share, registered under their class's name and a digest of their structure."""
    if not modules:
        raise ValueError("give at least one module")
    types = {str(p.dtype) for m in modules for p in m.parameters() if p.is_floating_point()}
    if types and "torch.float32" not in types:
        raise ValueError(f"the modules have weights of {' and '.join(sorted(types))}, and images are float32: give "
                         f"module.float()")
    texts = {f"{m}{[(n, tuple(t.shape)) for n, t in m.state_dict().items()]}"
             f"{code_digest(list(dict.fromkeys(map(type, m.modules()))))}"
             f"{code_digest([_settings(part) for part in m.modules()])}" for m in modules}
    if len(texts) > 1:
        raise ValueError("the modules are not of one architecture: their layers, the shapes of their weights or other "
                         "attributes differ")
    tensors = dict(modules[0].named_parameters()) | dict(modules[0].named_buffers())
    skeleton = filled(modules[0], {n: torch.empty_like(t, device="meta") for n, t in tensors.items()})
    if _returns_logits(skeleton, images):
        skeleton.register_forward_hook(logits_of)
    name = f"{type(skeleton).__name__}-{hashlib.sha256(texts.pop().encode()).hexdigest()[:8]}"
    MODELS.setdefault(name, lambda _: copy.deepcopy(skeleton))
    layers = [m for m in skeleton.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers or not prunable(skeleton):
        raise ValueError(f"{name} has no convolution and no linear layer with a weight of its own, so nothing to prune")
    channels = getattr(layers[0], "in_channels", 3)
    last = layers[-1]
    classes = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    net = OwnNet(name=name, channels=channels, size=SIDE, classes=classes)
    return net.fitted(images) if images is not None else net


def filled(module: nn.Module, tensors: Params) -> nn.Module:
    """A copy with these parameters and buffers, by name; what layers share stays shared."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    return copy.deepcopy(module, {id(t): nn.Parameter(tensors[n], t.requires_grad) if isinstance(t, nn.Parameter)
                                  else tensors[n] for n, t in own.items()})


def as_given(module: nn.Module) -> nn.Module:
    """Without the hook for its logits."""
    for key in [k for k, hook in module._forward_hooks.items() if hook is logits_of]:
        del module._forward_hooks[key]
    return module


def _returns_logits(skeleton: nn.Module, images: Images | None) -> bool:
    """Whether it returns an object with logits; where no image is known that it takes, whether it is configured as
    Hugging Face's are."""
    channels, height, width = images.shape if images is not None else (3, SIDE, SIDE)
    try:
        with torch.device("meta"), torch.no_grad():
            output = copy.deepcopy(skeleton).eval()(torch.empty(2, channels, height, width))
    except Exception:  # whatever a module of one's own raises: it says so where it is used
        return hasattr(skeleton, "config")
    return not isinstance(output, torch.Tensor) and hasattr(output, "logits")


def _settings(module: nn.Module) -> dict[str, object]:
    """What a module of one's own holds besides weights and layers; its forward may depend on it."""
    return {n: v for n, v in vars(module).items() if n not in ANY
            and not any(isinstance(t, nn.Parameter) for t in (v if isinstance(v, (list, tuple)) else [v]))}


def _refuse_misfit(net: Net) -> None:
    with torch.device("meta"), torch.no_grad():
        try:
            logits = net.build().eval()(torch.empty(2, net.channels, net.size, net.size))
        except Exception as error:  # whatever a module of one's own raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{net.name} does not take images of {net.channels} × {net.size} × {net.size}: "
                             f"{reason}") from None
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
    if found != (2, net.classes):
        raise ValueError(f"{net.name} must map images to logits [B, {net.classes}]; for two it gave {found}")
