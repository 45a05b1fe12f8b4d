"""Update rules as pure functions of one network's weights, gradients and memory: SGD with momentum, and AdamW.

A rule keeps its memory in tensors by name, so that a stack's is stacked, checkpointed and captured like its weights.
``begin`` is the memory before the first step of a stack [K, ...]. ``each`` makes a step of one network, tensor by
tensor, so that vmap can stack it; ``together`` the same, all tensors in one call: ``grads`` are in the order of
``params`` and its own to change, ``lr`` is a number, or a tensor where a device would be waited for. Both give weights
and memory; pruned weights stay exactly zero, and so does their memory.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..params import Params, size
from .recipe import Recipe

Tensors = list[Tensor] | tuple[Tensor, ...]

# What torch.optim uses.
_foreach_add = torch._foreach_add  # pyright: ignore[reportPrivateImportUsage]
_foreach_mul = torch._foreach_mul  # pyright: ignore[reportPrivateImportUsage]
_foreach_sub = torch._foreach_sub  # pyright: ignore[reportPrivateImportUsage]
_fused_adamw_ = torch._fused_adamw_  # pyright: ignore[reportPrivateImportUsage]


def rule(recipe: Recipe) -> SGD | AdamW:
    if recipe.optimiser == "adamw":
        return AdamW(recipe.momentum, recipe.beta2, recipe.weight_decay)
    return SGD(recipe.momentum, recipe.weight_decay)


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD: its memory is the velocity, under the weights' names."""

    beta: float
    decay: float

    def begin(self, params: Params) -> Params:
        return {n: torch.zeros_like(p) for n, p in params.items()}

    def each(self, params: Params, grads: Params, memory: Params, masks: Params, lr: Tensor) -> tuple[Params, Params]:
        new, velocity = {}, {}
        for n, p in params.items():
            g = grads[n] + self.decay * p
            g = torch.where(masks[n], g, 0) if n in masks else g
            velocity[n] = self.beta * memory[n] + g
            new[n] = p - lr * velocity[n]
        return new, velocity

    def together(self, params: Params, grads: Tensors, memory: Params, masks: Params, lr: float | Tensor
                 ) -> tuple[Params, Params]:
        old = list(params.values())
        grads = _foreach_add(grads, old, alpha=self.decay)
        for g, n in zip(grads, params):
            if n in masks:
                g.mul_(masks[n])
        velocity = _foreach_add(grads, [memory[n] for n in params], alpha=self.beta)
        if isinstance(lr, Tensor):
            new = _foreach_sub(old, _foreach_mul(velocity, lr))
        else:
            new = _foreach_add(old, velocity, alpha=-lr)
        return dict(zip(params, new)), dict(zip(params, velocity))


@dataclass(frozen=True)
class AdamW:
    """torch.optim.AdamW (Loshchilov & Hutter, 2019): its memory is first and second moments, and the steps so far."""

    beta1: float
    beta2: float
    decay: float
    eps: float = 1e-8

    def begin(self, params: Params) -> Params:
        moments = {f"{kind}/{n}": torch.zeros_like(p) for kind in ("first", "second") for n, p in params.items()}
        return moments | {"count": torch.zeros(size(params), device=next(iter(params.values())).device)}

    def each(self, params: Params, grads: Params, memory: Params, masks: Params, lr: Tensor) -> tuple[Params, Params]:
        count = memory["count"] + 1
        new, kept = {}, {"count": count}
        # In float64, as torch's own: 1 − β₂ is the difference of two numbers near 1.
        ratios = lr / (1 - self.beta1 ** count.double()), (1 - self.beta2 ** count.double()).sqrt()
        for n, p in params.items():
            rate, scale = (r.to(p.dtype) for r in ratios)
            g = torch.where(masks[n], grads[n], 0) if n in masks else grads[n]
            first = self.beta1 * memory[f"first/{n}"] + (1 - self.beta1) * g
            second = self.beta2 * memory[f"second/{n}"] + (1 - self.beta2) * g * g
            new[n] = p * (1 - lr * self.decay) - rate * first / (second.sqrt() / scale + self.eps)
            kept |= {f"first/{n}": first, f"second/{n}": second}
        return new, kept

    def together(self, params: Params, grads: Tensors, memory: Params, masks: Params, lr: float | Tensor
                 ) -> tuple[Params, Params]:
        # Not in place: autograd hands out one tensor for both terms of a sum.
        grads = [g * masks[n] if n in masks else g for g, n in zip(grads, params)]
        new = [p.clone() for p in params.values()]
        # The kernel walks through memory, whatever the strides: all of a weight's tensors must be laid out alike.
        first, second = ([torch.empty_like(p).copy_(memory[f"{kind}/{n}"]) for n, p in params.items()]
                         for kind in ("first", "second"))
        grads = [g if g.stride() == p.stride() else torch.empty_like(p).copy_(g) for p, g in zip(new, grads)]
        counts = [memory["count"] + 1 for _ in new]
        _fused_adamw_(new, grads, first, second, [], counts, amsgrad=False, lr=lr, beta1=self.beta1,
                      beta2=self.beta2, weight_decay=self.decay, eps=self.eps, maximize=False)
        kept = {f"first/{n}": t for n, t in zip(params, first)} | {f"second/{n}": t for n, t in zip(params, second)}
        return dict(zip(params, new)), kept | {"count": counts[0]}

