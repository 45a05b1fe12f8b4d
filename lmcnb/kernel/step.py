"""One step of one network as a pure function: run one after another, vmapped, compiled, or replayed as a CUDA graph."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import normalise
from ..models import Net, per_network
from ..params import Params, clone, size
from .agreement import agrees
from .attention import attention_on, rounded_attention
from .augment import Draws, apply
from .layers import fuse, is_strided_pointwise
from .optimise import rule
from .pixels import at_once, augmented, readable
from .randomness import refuse_random
from .recipe import Recipe

Layers = Callable[[nn.Module], int]


@dataclass
class State:
    """Where a training stands: stacked [K, ...] weights, buffers and momentum, steps done, losses [K, step].

    ``momentum`` is whatever the optimiser, and a pruner, remember; empty before the first step.
    """

    params: Params
    buffers: Params
    momentum: Params
    step: int
    losses: Tensor

    @staticmethod
    def start(params: Params, buffers: Params, step: int = 0) -> State:
        """Before the first step, or before ``step`` of the schedule for networks rewound to it; without momentum."""
        return State(clone(params), clone(buffers), {}, step, torch.zeros(size(params), 0))


def make_loss(net: Net, recipe: Recipe, layers: Layers | None = None) -> Callable:
    """``loss(params, buffers, x, y, draws)``: one model's training loss on an augmented batch, and its new buffers."""
    call, cutmix = caller(net, True, recipe.precision, layers), recipe.augmentation.cutmix

    def loss(params, buffers, x, y, draws):
        buffers = clone(buffers)  # BatchNorm writes its running statistics here
        logits = call(params, buffers, x)
        value = F.cross_entropy(logits, y)
        if cutmix:
            kept = draws["kept"]
            value = kept * value + (1 - kept) * F.cross_entropy(logits, y[draws["partner"]])
        return value, buffers
    return loss


class Pruner(Protocol):
    """What removes weights while a network trains: a pure function after each update, with a memory of its own.

    Hashable: equal pruners are one step, compiled or captured once.
    """

    def begin(self, params: Params, total: int) -> Params:
        """Its memory before ``total`` steps of a stack [K, ...]; no name is one that an optimiser's memory has."""
        ...

    def schedule(self, start: int, stop: int, total: int) -> Draws:
        """What it needs to know in steps start … stop − 1 of ``total``, by name: [steps]."""
        ...

    def __call__(self, params: Params, grads: Params, memory: Params, now: Draws, alone: bool) -> tuple[Params, Params]:
        """Weights and memory after an update of one network, from the new weights and the gradients it was made by.

        ``alone``: no part of a stack and on a CPU, so that ``now`` may be asked for its numbers.
        """
        ...


def make_step(net: Net, recipe: Recipe, pruner: Pruner | None = None) -> Callable:
    """One optimiser step of one model as a pure function, ready for vmap.

    ``step(params, buffers, memory, masks, images, labels, mean, std, draws, lr)`` returns (params, buffers, memory,
    loss). Pruned weights, their gradients and their memory are exactly zero after every step.
    """
    train, augment, update = make_loss(net, recipe), recipe.augmentation, rule(recipe)

    def step(params, buffers, memory, masks, images, labels, mean, std, draws, lr):
        index = draws["index"]
        x, y = apply(augment, normalise(images[index], mean, std), draws), labels[index]

        def loss(p):
            value, b = train(p, buffers, x, y, draws)
            return value, (b, value)
        grads, (buffers, value) = torch.func.grad(loss, has_aux=True)(params)
        new, kept = update.each(params, grads, memory, masks, lr)
        if pruner:
            new, own = pruner(new, grads, {n: t for n, t in memory.items() if n not in kept}, draws, False)
            kept |= own
        return new, buffers, kept, value
    return step


def make_first_order_step(net: Net, recipe: Recipe, layers: Layers | None = None,
                          compiled: Callable[[Callable], Callable] = lambda loss: loss,
                          pruner: Pruner | None = None, captured: bool = False) -> Callable:
    """:func:`make_step` for one model alone: prepares for no second derivative, updates all tensors in one call.

    ``compiled`` may compile the loss, forwards and backwards. The augmentation, a small part of a step, stays outside,
    which halves the time to compile. ``captured``: whether the step becomes part of a CUDA graph.
    """
    train, layout = compiled(make_loss(net, recipe, layers)), layout_of(net, recipe, layers)
    augment, update = recipe.augmentation, rule(recipe)
    fast = layers is fuse and at_once(net, recipe)

    def step(params, buffers, memory, masks, images, labels, mean, std, draws, lr):
        index, leaves = draws["index"], {n: p.detach().requires_grad_() for n, p in params.items()}
        if fast and readable(images):
            x = augmented(augment, images, index, mean, std, draws)
        else:
            x = apply(augment, normalise(images[index], mean, std), draws).contiguous(memory_format=layout)
        mixed = {n: draws[n] for n in ("kept", "partner") if n in draws}
        loss, buffers = train(leaves, buffers, x, labels[index], mixed)
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        alone = images.device.type == "cpu" and not captured  # else asking for a number waits for the device
        with torch.no_grad():
            new, kept = update.together(params, grads, memory, masks, float(lr) if alone else lr)
            if pruner:
                own = {n: t for n, t in memory.items() if n not in kept}
                new, own = pruner(new, dict(zip(params, grads)), own, draws, alone)
                kept |= own
        return new, buffers, kept, loss.detach()
    return step


def layout_of(net: Net, recipe: Recipe, layers: Layers | None) -> torch.memory_format:
    """bfloat16's matrix units and the faster layers take channels last; other float32 kernels lose by it.

    Networks with strided 1 × 1 convolutions of PyTorch's never do (:class:`.layers.StridedPointwise` says why), nor
    those of one's own that need another (``view`` behind a convolution).
    """
    wanted = (layers or recipe.precision == "bf16" and agrees(net)) and not _strided_pointwise(net, layers)
    return torch.channels_last if wanted else torch.contiguous_format


@per_network(256)
def _strided_pointwise(net: Net, layers: Layers | None) -> bool:
    module = net.build()
    if layers:
        layers(module)
    return any(map(is_strided_pointwise, module.modules()))


def caller(net: Net, training: bool, precision: str = "float32", layers: Layers | None = None
           ) -> Callable[[Params, Params, Tensor], Tensor]:
    """``call(params, buffers, x)``: float32 logits [B, classes] of the network as a pure function.

    Args:
        precision: "bf16" rounds the factors of convolutions and matrix products, and the activations between them, to
            bfloat16; sums within a product, weights, statistics of norms and logits stay float32.
        layers: puts layers of :mod:`.layers` into the network; those of ``fuse_twice`` alone have second derivatives.
    """
    module = net.build().train(training)
    if training:
        refuse_random(net)
    if layers:
        layers(module)

    def call(params: Params, buffers: Params, x: Tensor) -> Tensor:
        # Buffers go in by reference: functional_call lets BatchNorm update them in place.
        with attention_on(x.device, precision):
            return torch.func.functional_call(module, (params, buffers), (x,))

    def rounded(params: Params, buffers: Params, x: Tensor) -> Tensor:
        attention = nullcontext() if torch.compiler.is_compiling() else rounded_attention()
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False), attention:
            return call(params, buffers, x).float()
    return rounded if precision == "bf16" else call


def make_score(net: Net, layers: Layers | None = None) -> Callable:
    """``score(params, buffers, x, y)``: float32 [2], summed cross-entropy and number of errors of one model."""
    call = caller(net, False, layers=layers)

    def score(params, buffers, x, y):
        logits = call(params, buffers, x.contiguous(memory_format=torch.channels_last) if layers else x)
        hard = y if y.ndim == 1 else y.argmax(1)
        wrong = (logits.argmax(1) != hard).sum()
        return torch.stack([F.cross_entropy(logits, y, reduction="sum"), wrong.float()])
    return score
