"""Stacks of models: ``dict[str, Tensor]`` whose tensors share a leading model axis K."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Params = dict[str, Tensor]


def stack(models: Sequence[Params]) -> Params:
    """K dictionaries of [...] to one of [K, ...]. Raises ValueError when their names or shapes differ."""
    first = models[0]
    for other in models[1:]:
        if other.keys() != first.keys() or any(other[n].shape != first[n].shape for n in first):
            raise ValueError("models of a stack must have the same names and shapes")
    return {n: torch.stack([m[n] for m in models]) for n in first}


def select(params: Params, index) -> Params:
    """The models at ``index`` (an integer drops the model axis; a list or slice keeps it)."""
    return {n: t[index] for n, t in params.items()}


def size(params: Params) -> int:
    """K, the number of models in the stack (1 when there is no tensor, as for the buffers of a net without any)."""
    return len(next(iter(params.values()))) if params else 1


def clone(params: Params) -> Params:
    return {n: t.clone() for n, t in params.items()}


def to(params: Params, device: torch.device | str) -> Params:
    return {n: t.to(device) for n, t in params.items()}


def distance(a: Params, b: Params) -> Tensor:
    """float64 [K]: ‖a − b‖ over all tensors of two stacks, network by network.

    >>> one, other = {"w": torch.zeros(2, 3), "b": torch.zeros(2)}, {"w": torch.ones(2, 3), "b": torch.tensor([1.0, 0])}
    >>> assert distance(one, other).tolist() == [2, 3 ** 0.5]
    """
    squares = [(a[n].double() - t.double()).square().reshape(len(t), -1).sum(1) for n, t in b.items()]
    return torch.stack(squares).sum(0).sqrt().cpu()


def laid_out(params: Params, layout: torch.memory_format) -> Params:
    """Images and kernels, the tensors of four axes, in a memory layout; the rest as they are."""
    return {n: t.contiguous(memory_format=layout) if t.ndim == 4 else t for n, t in params.items()}


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; a GPU gets it without waiting for what it computes, which needs pinned memory."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def prefixed(tensors: Params, prefix: str) -> Params:
    """Those whose names begin with a prefix, under what follows it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def lerp(a: Params, b: Params, alpha: Tensor) -> Params:
    """(1 − α)·a + α·b for α [A]: tensors [A, ...]; equal to ``a`` at α = 0 and to ``b`` at α = 1, bit for bit.

    Integer buffers (BatchNorm's batch counter) are taken from ``a``.

    >>> a, b = {"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([2.0, 0.0])}
    >>> assert lerp(a, b, torch.tensor([0, 0.5, 1]))["w"].tolist() == [[0, 4], [1, 2], [2, 0]]
    """
    def one(x: Tensor, y: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x.expand(len(alpha), *x.shape).clone()
        w = alpha.to(x).reshape(-1, *[1] * x.ndim)
        return torch.where(w == 0, x, torch.where(w == 1, y, x * (1 - w) + y * w))
    return {n: one(a[n], b[n]) for n in a}
