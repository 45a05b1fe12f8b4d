"""Pruning masks: bool tensors with a leading model axis, over the prunable weights only."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..params import Params

Masks = Params


def ones(params: Params, prunable: tuple[str, ...]) -> Masks:
    """All-true masks bool [K, ...] for a stack."""
    return {n: torch.ones_like(params[n], dtype=torch.bool) for n in prunable}


def taken(masks: Mapping[str, Any], params: Params, prunable: tuple[str, ...]) -> Masks:
    """Masks of whatever code as those of a stack: bool [K, ...] by name, all True for prunable weights that have none.

    Args:
        masks: by weight name, tensors or arrays of True and False, or of 1 and 0: [K, ...], or [1, ...] or [...] for
            one mask that all share.
    Raises:
        ValueError: other values, or masks of another network.
    """
    if not isinstance(masks, Mapping):
        raise ValueError(f"masks must be a dict of tensors of True and False by weight name, as the masks of networks "
                         f"are; got a {type(masks).__name__}")
    device, found = next(iter(params.values())).device, {}
    for name, given in masks.items():
        mask = torch.as_tensor(given).detach().clone().to(device)
        if mask.dtype != torch.bool and bool(((mask != 0) & (mask != 1)).any()):
            raise ValueError(f"the mask of {name!r} must hold True and False, or 1 and 0; it has other numbers")
        whole = params[name].shape if name in params else mask.shape
        shared = mask.shape in (whole[1:], (1, *whole[1:]))
        found[name] = mask.bool().expand(whole) if shared else mask.bool()
    check(found, params)
    dense = ones(params, tuple(n for n in prunable if n not in found))
    return {n: (found | dense)[n] for n in dict.fromkeys((*prunable, *found))} if dense else found


def check(masks: Masks, params: Params) -> None:
    """Raises ValueError, naming the layer, when the masks are not of this (stacked) network."""
    for name, mask in masks.items():
        if name not in params:
            raise ValueError(f"the mask is of another network: it has a layer {name!r}, the network has "
                             f"{', '.join(params)}")
        if mask.shape != params[name].shape:
            raise ValueError(f"the mask is of another network: {name!r} is {tuple(mask.shape[1:])} in the mask and "
                             f"{tuple(params[name].shape[1:])} in the network (stacks of {mask.shape[:1].numel()} and "
                             f"{len(params[name])})")


def masked(params: Params, masks: Masks) -> Params:
    """The parameters with pruned weights exactly zero."""
    return {n: torch.where(masks[n], p, 0) if n in masks else p for n, p in params.items()}


def prune(params: Params, masks: Masks, rate: float = 0.2) -> Masks:
    """Removes the ``round(rate · left)`` smallest remaining weights of every model, globally by magnitude.

    Ties are broken by position (layer order, then index), so the count is exact at any size.

    Args:
        params: trained weights [K, ...]. masks: what is left so far. rate: share of the remaining weights to remove.
    Raises:
        ValueError: rate outside [0, 1) or a weight that is not finite.

    >>> weights = {"w": torch.tensor([[3.0, -1.0, 2.0, 0.5]])}
    >>> left = prune(weights, ones(weights, ("w",)), rate=0.5)
    >>> assert left["w"].tolist() == [[True, False, True, False]]
    >>> assert prune(weights, left, rate=0.5)["w"].tolist() == [[True, False, False, False]]
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1); got {rate}")
    check(masks, params)
    kept = flat(masks)
    magnitude = flat({n: params[n].abs() for n in masks})
    if not bool(torch.isfinite(magnitude).all()):
        raise ValueError("weights to prune contain NaN or infinity: training diverged; lower lr")
    magnitude = torch.where(kept, magnitude, torch.inf)
    order = magnitude.sort(dim=1, stable=True).indices
    position = torch.arange(kept.shape[1], device=kept.device)
    counts = torch.tensor([round(rate * int(left)) for left in kept.sum(1)], device=kept.device)
    doomed = torch.zeros_like(kept).scatter_(1, order, position < counts[:, None])
    return unflat(kept & ~doomed, masks)


def random_global(masks: Masks, generators: list[torch.Generator]) -> Masks:
    """Random masks, bool [K, ...], with as many weights as each model's of ``masks``, spread over all layers alike.

    A model has a CPU generator of its own.
    """
    kept = flat(masks)
    return unflat(torch.stack([_shuffle(row, g) for row, g in zip(kept, generators)]), masks)


def random_layerwise(masks: Masks, generators: list[torch.Generator]) -> Masks:
    """:func:`random_global` with exactly the sparsities of each layer: only which weights differs, not how many."""
    return {n: torch.stack([_shuffle(row.flatten(), g).reshape(row.shape) for row, g in zip(m, generators)])
            for n, m in masks.items()}


def largest_layerwise(masks: Masks, params: Params) -> Masks:
    """The largest weights [K, ...] of each layer, exactly as many as ``masks`` keep; of equal ones the first."""
    def one(kept: Tensor, weights: Tensor) -> Tensor:
        order = weights.abs().flatten().sort(descending=True, stable=True).indices[:int(kept.sum())]
        return torch.zeros_like(kept).flatten().index_fill(0, order, True).view_as(kept)
    return {n: torch.stack([one(row, weights) for row, weights in zip(m, params[n])]) for n, m in masks.items()}


def _shuffle(row: Tensor, generator: torch.Generator) -> Tensor:
    return row[torch.randperm(len(row), generator=generator).to(row.device)]


def flat(masks: Masks) -> Tensor:
    """[K, n]: all layers side by side, in order."""
    return torch.cat([m.flatten(1) for m in masks.values()], 1)


def unflat(rows: Tensor, like: Masks) -> Masks:
    parts = rows.split([m[0].numel() for m in like.values()], 1)
    return {n: part.reshape(m.shape) for (n, m), part in zip(like.items(), parts)}


def sparsity(masks: Masks) -> Tensor:
    """float64 [K]: share of prunable weights removed, in 0…1."""
    return 1 - flat(masks).double().mean(1)


def layer_density(masks: Masks) -> dict[str, Tensor]:
    """For each layer, float64 [K]: share of its weights left."""
    return {n: m.flatten(1).double().mean(1) for n, m in masks.items()}


def jaccard(a: Masks, b: Masks) -> Tensor:
    """float64 [K]: ``|a ∩ b| / |a ∪ b|`` of the kept weights. Independent masks of density d give d / (2 − d).

    >>> a, b = ({"w": torch.tensor([row]) > 0} for row in ([1, 1, 1, 0], [0, 1, 1, 1]))
    >>> assert jaccard(a, b) == 0.5 and jaccard(a, a) == 1
    """
    x, y = flat(a), flat(b)
    return (x & y).sum(1).double() / (x | y).sum(1).clamp(min=1)  # of two empty masks 0


def pack(masks: Masks) -> Params:
    """uint8 tensors [K, ⌈n/8⌉]: eight weights a byte, for storage."""
    return {n: torch.from_numpy(np.packbits(m.flatten(1).cpu().numpy(), axis=1)) for n, m in masks.items()}


def unpack(packed: Params, like: Params) -> Masks:
    """Inverse of :func:`pack`; ``like`` gives the shapes [K, ...]."""
    return {n: torch.from_numpy(np.unpackbits(p.numpy(), axis=1, count=like[n][0].numel()).astype(bool))
            .reshape(len(p), *like[n].shape[1:]) for n, p in packed.items()}
