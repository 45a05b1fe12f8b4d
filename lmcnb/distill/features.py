"""What distillation reads from inside a network: features before the classifier, gradients of the convolutions."""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import Net
from ..params import Params


def features(net: Net, training: bool = True) -> Callable[[Params, Params, Tensor], Tensor]:
    """``call(params, buffers, x)``: float32 [B, d], the input of the network's last linear layer."""
    module = net.build().train(training)
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    seen: list[Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def call(params: Params, buffers: Params, x: Tensor) -> Tensor:
        seen.clear()
        torch.func.functional_call(module, (params, buffers), (x,))
        return seen.pop()
    return call


def class_gradients(net: Net) -> Callable[[Params, Tensor, Tensor], list[Tensor]]:
    """``gradients(params, x, y)``: of the mean loss of each class, with respect to every convolution's weight.

    x: [c, n, C, H, W], n images of each of c classes; y: [c, n]. Returns one [c, *weight.shape] for each convolution,
    differentiable with respect to x.

    One forward and backward pass serves all classes. The loss gradient of each convolution's output is taken by a zero
    "tap" added there, and a class's weight gradient is the correlation of its outputs' gradients with its inputs. That
    is exact because no layer mixes images; BatchNorm would.

    Raises:
        ValueError: the network has BatchNorm.
    """
    module = net.build().train()
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        raise ValueError(f"gradient matching of all classes in one batch needs a network whose layers do not mix "
                         f"images; {net.name} has BatchNorm: distil with a convnet or resnetap10")
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    inputs: list[Tensor] = []
    taps: list[Tensor] = []

    def tap(conv: nn.Module, args: tuple, output: Tensor) -> Tensor:
        inputs.append(args[0])
        return output + taps[len(inputs) - 1]
    shapes = _output_shapes(module, convs, net)
    for conv in convs:
        conv.register_forward_hook(tap)

    def gradients(params: Params, x: Tensor, y: Tensor) -> list[Tensor]:
        c, n = x.shape[:2]
        zeros = [torch.zeros(c * n, *s, dtype=x.dtype, device=x.device) for s in shapes]

        def loss(given: list[Tensor]):
            inputs.clear()
            taps.extend(given)
            logits = torch.func.functional_call(module, params, (x.flatten(0, 1),))
            into = list(inputs)
            inputs.clear()  # nothing may outlive the call, or compile would have to return it
            taps.clear()
            return F.cross_entropy(logits, y.flatten(), reduction="sum") / n, into
        outputs, into = torch.func.grad(loss, has_aux=True)(zeros)
        return [_weight_gradient(conv, i, g, c) for conv, i, g in zip(convs, into, outputs)]
    return gradients


def _output_shapes(module: nn.Module, convs: list[nn.Module], net: Net) -> list[torch.Size]:
    shapes: list[torch.Size] = []
    handles = [m.register_forward_hook(lambda _, __, out: shapes.append(out.shape[1:])) for m in convs]
    module(torch.empty(1, net.channels, net.size, net.size, device="meta"))
    for handle in handles:
        handle.remove()
    return shapes


def _weight_gradient(conv: nn.Conv2d, x: Tensor, g: Tensor, classes: int) -> Tensor:
    return torch.stack([torch.nn.grad.conv2d_weight(a, conv.weight.shape, b, conv.stride, conv.padding, conv.dilation,
                                                    conv.groups)
                        for a, b in zip(x.chunk(classes), g.chunk(classes))])
