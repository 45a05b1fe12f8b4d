"""One step of one network as a pure function: run one after another, vmapped, compiled, or replayed as a CUDA graph."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import normalise
from ..models import Net
from ..params import Params, clone, size
from .attention import attention_on
from .augment import Augment, apply
from .randomness import refuse_random
from .recipe import Recipe

_foreach_add = torch._foreach_add  # pyright: ignore[reportPrivateImportUsage]  # what torch.optim uses


@dataclass
class State:
    """Where a training stands: stacked [K, ...] weights, buffers and momentum, steps done, losses [K, step]."""

    params: Params
    buffers: Params
    momentum: Params
    step: int
    losses: Tensor

    @staticmethod
    def start(params: Params, buffers: Params, step: int = 0) -> State:
        """Before the first step, or before ``step`` of the schedule for networks rewound to it; momentum is zero."""
        zeros = {n: torch.zeros_like(p) for n, p in params.items()}
        return State(clone(params), clone(buffers), zeros, step, torch.zeros(size(params), 0))


def loss_on_batch(call, params, buffers, x, y, draws, augment: Augment):
    """Training loss of one model on one augmented batch and its new buffers. x: normalised float32 [B, C, H, W]."""
    buffers = clone(buffers)  # BatchNorm writes its running statistics here
    logits = call(params, buffers, apply(augment, x, draws))
    loss = F.cross_entropy(logits, y)
    if augment.cutmix:
        kept = draws["kept"]
        loss = kept * loss + (1 - kept) * F.cross_entropy(logits, y[draws["partner"]])
    return loss, buffers


def make_step(net: Net, recipe: Recipe) -> Callable:
    """One SGD step of one model as a pure function, ready for vmap and compile.

    ``step(params, buffers, momentum, masks, images, labels, mean, std, draws, lr)`` returns (params, buffers,
    momentum, loss). Pruned weights, their gradients and their momentum are exactly zero after every step.
    """
    call, augment, decay, beta = caller(net, True), recipe.augmentation, recipe.weight_decay, recipe.momentum

    def step(params, buffers, momentum, masks, images, labels, mean, std, draws, lr):
        index = draws["index"]
        x, y = normalise(images[index], mean, std), labels[index]

        def loss(p):
            value, b = loss_on_batch(call, p, buffers, x, y, draws, augment)
            return value, (b, value)
        grads, (buffers, value) = torch.func.grad(loss, has_aux=True)(params)
        new, velocity = {}, {}
        for n, p in params.items():
            g = grads[n] + decay * p
            g = torch.where(masks[n], g, 0) if n in masks else g
            velocity[n] = beta * momentum[n] + g
            new[n] = p - lr * velocity[n]
        return new, buffers, velocity, value
    return step


def make_eager_step(net: Net, recipe: Recipe) -> Callable:
    """:func:`make_step` for running as it is: prepares for no second derivative, updates all tensors in one call."""
    call, augment, decay, beta = caller(net, True), recipe.augmentation, recipe.weight_decay, recipe.momentum

    def step(params, buffers, momentum, masks, images, labels, mean, std, draws, lr):
        index, leaves = draws["index"], {n: p.detach().requires_grad_() for n, p in params.items()}
        loss, buffers = loss_on_batch(call, leaves, buffers, normalise(images[index], mean, std), labels[index], draws,
                                      augment)
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        with torch.no_grad():
            old = list(params.values())
            grads = _foreach_add(grads, old, alpha=decay)
            for g, n in zip(grads, params):
                if n in masks:
                    g.mul_(masks[n])
            velocity = _foreach_add(grads, [momentum[n] for n in params], alpha=beta)
            new = _foreach_add(old, velocity, alpha=-float(lr))
        return dict(zip(params, new)), buffers, dict(zip(params, velocity)), loss.detach()
    return step


def caller(net: Net, training: bool) -> Callable[[Params, Params, Tensor], Tensor]:
    """``call(params, buffers, x)``: logits [B, classes] of the network as a pure function."""
    module = net.build().train(training)
    if training:
        refuse_random(net)

    def call(params: Params, buffers: Params, x: Tensor) -> Tensor:
        # Buffers go in by reference: functional_call lets BatchNorm update them in place.
        with attention_on(x.device):
            return torch.func.functional_call(module, (params, buffers), (x,))
    return call


def make_score(net: Net) -> Callable:
    """``score(params, buffers, x, y)``: float32 [2], summed cross-entropy and number of errors of one model."""
    call = caller(net, False)

    def score(params, buffers, x, y):
        logits = call(params, buffers, x)
        hard = y if y.ndim == 1 else y.argmax(1)
        wrong = (logits.argmax(1) != hard).sum()
        return torch.stack([F.cross_entropy(logits, y, reduction="sum"), wrong.float()])
    return score
