"""What distillation reads from inside a network: features before the classifier, gradients of the convolutions."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from ..models import Net
from ..params import Params
from .convolution import install, weight_gradient
from .layers import fuse_twice
from .randomness import refuse_random


def features(net: Net, training: bool = True, fused: bool = False) -> Callable[[Params, Params, Tensor], Tensor]:
    """``call(params, buffers, x)``: float32 [B, d], the input of the network's last linear layer to run.

    Args:
        fused: norm, ReLU and pool as one operation (:mod:`.fused`).
    Raises:
        ValueError: the network has no linear layer, or draws random numbers in training.
    """
    if training:
        refuse_random(net)
    module = net.build().train(training)
    linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise ValueError(f"features are the input of a network's last linear layer, and {net.name} has none: take a "
                         f"convnet or resnet, or end the network in nn.Linear")
    if fused:
        fuse_twice(module)
    seen: list[Tensor] = []
    for layer in linear:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def call(params: Params, buffers: Params, x: Tensor) -> Tensor:
        seen.clear()
        torch.func.functional_call(module, (params, buffers), (x,))
        found = seen.pop()
        seen.clear()  # nothing may outlive the call, or compile would have to return it
        return found
    return call


def by_autograd(loss: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """``torch.func.grad(loss, has_aux=True)`` by plain autograd: for the fused operation, and without its overhead."""
    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value, more = loss(leaf)
        return torch.autograd.grad(value, leaf)[0], more.detach()
    return gradient


def class_gradients(net: Net, linear: bool = False, fused: bool = False
                    ) -> Callable[[Params, Tensor, Tensor], list[Tensor]]:
    """``gradients(params, x, y)``: of the mean loss of each class, with respect to every convolution's weight.

    x: [c, n, C, H, W], n images of each of c classes; y: [c, n]. Returns one ``[c, *weight.shape]`` for each weight of
    a convolution (with ``linear`` also of a linear layer), in the order in which the layers first run, differentiable
    with respect to x.

    One forward and backward pass serves all classes. The loss gradient of each layer's output is taken by a zero
    "tap" added there, and a class's weight gradient is the correlation of its outputs' gradients with its inputs,
    summed over the runs of a layer that runs again and of layers that share a weight. That is exact because no layer
    mixes images; BatchNorm would.

    Args:
        fused: norm, ReLU and pool as one operation, by plain autograd: x is a leaf of it or made from one, and has the
            gradients' graph only if it requires a gradient. Not for torch.func, nor to be compiled.
    Raises:
        ValueError: the network has BatchNorm, no such layer, or draws random numbers.
    """
    module = net.build().train()
    refuse_batchnorm(net)
    refuse_random(net)
    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear) if linear else nn.Conv2d)]
    if not layers:
        raise ValueError(f"gradients are matched on convolutions, and {net.name} has none: take DC, DSA or DM, or "
                         f"another network")
    runs = _runs(module, layers, net)
    weights = list(dict.fromkeys(id(layer.weight) for layer, _ in runs))
    which = [weights.index(id(layer.weight)) for layer, _ in runs]
    if fused:
        fuse_twice(module)
        install(module)
    of_runs = _of_outputs(module, layers) if fused else _of_taps(module, layers, [shape for _, shape in runs])

    def gradients(params: Params, x: Tensor, y: Tensor) -> list[Tensor]:
        outputs, into = of_runs(params, x, y)
        parts = [_weight_gradient(layer, i, g, len(x), fused) for (layer, _), i, g in zip(runs, into, outputs)]
        return [sum(p for p, w in zip(parts, which) if w == k)  # pyright: ignore[reportReturnType]  # one or more
                for k in range(len(weights))]
    return gradients


def _of_taps(module: nn.Module, layers: Sequence[nn.Module], shapes: Sequence[torch.Size]) -> Callable:
    """``at(params, x, y)``: the gradient of every run's output, and its input, for torch.func."""
    inputs: list[Tensor] = []
    taps: list[Tensor] = []

    def tap(layer: nn.Module, args: tuple, output: Tensor) -> Tensor:
        inputs.append(args[0])
        return output + taps[len(inputs) - 1]
    for layer in layers:
        layer.register_forward_hook(tap)

    def at(params: Params, x: Tensor, y: Tensor):
        c, n = x.shape[:2]
        zeros = [torch.zeros(c * n, *s, dtype=x.dtype, device=x.device) for s in shapes]

        def loss(given: list[Tensor]):
            inputs.clear()
            taps.clear()  # an interrupted call may have left some
            taps.extend(given)
            logits = torch.func.functional_call(module, params, (x.flatten(0, 1),))
            into = list(inputs)
            inputs.clear()  # nothing may outlive the call, or compile would have to return it
            taps.clear()
            return F.cross_entropy(logits, y.flatten(), reduction="sum") / n, into
        return torch.func.grad(loss, has_aux=True)(zeros)
    return at


def _of_outputs(module: nn.Module, layers: Sequence[nn.Module]) -> Callable:
    """:func:`_of_taps` for plain autograd, which needs none: it takes gradients by what a layer returned."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(layer: nn.Module, args: tuple, output: Tensor) -> Tensor:
        if not output.requires_grad:  # a view, for hooks that do not bear leaves
            output = output.requires_grad_().view_as(output)
        seen.append((output, args[0]))
        return output
    for layer in layers:
        layer.register_forward_hook(note)

    def at(params: Params, x: Tensor, y: Tensor):
        seen.clear()  # an interrupted call may have left some
        with torch.enable_grad():
            logits = torch.func.functional_call(module, params, (x.flatten(0, 1),))
            loss = F.cross_entropy(logits, y.flatten(), reduction="sum") / x.shape[1]
        outputs, inputs = zip(*seen)
        seen.clear()
        found = torch.autograd.grad(loss, outputs, create_graph=x.requires_grad)
        return found, inputs if x.requires_grad else [i.detach() for i in inputs]
    return at


def refuse_batchnorm(net: Net) -> None:
    """Raises ValueError when the network has BatchNorm."""
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.build().modules()):
        raise ValueError(f"matching gradients or trajectories needs a network whose layers do not mix images; "
                         f"{net.name} has BatchNorm: distill with a convnet or resnetap10")


def _runs(module: nn.Module, layers: Sequence[nn.Module], net: Net) -> list[tuple[nn.Module, torch.Size]]:
    """The layers as they run one after another, each with the shape of its output for one image."""
    runs: list[tuple[nn.Module, torch.Size]] = []
    handles = [m.register_forward_hook(lambda layer, _, out: runs.append((layer, out.shape[1:]))) for m in layers]
    module(torch.empty(1, net.channels, net.size, net.size, device="meta"))
    for handle in handles:
        handle.remove()
    return runs


def _weight_gradient(layer: Any, x: Tensor, g: Tensor, classes: int, fused: bool) -> Tensor:
    if isinstance(layer, nn.Linear):  # whatever lies between batch and channels (tokens) are more rows
        rows = (t.reshape(classes, -1, t.shape[-1]) for t in (g, x))
        return torch.einsum("cno,cni->coi", *rows)
    padding = layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):  # the layer pads first, then convolves without
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode), (0, 0)
    shape: torch.Size = layer.weight.shape
    geometry: Any = layer.stride, padding, layer.dilation, layer.groups
    pairs = zip(x.chunk(classes), g.chunk(classes))
    if fused:
        return torch.stack([weight_gradient(a, shape, b, geometry) for a, b in pairs])
    return torch.stack([conv2d_weight(a, shape, b, *geometry) for a, b in pairs])
