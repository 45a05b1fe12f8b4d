"""Sparse networks as other codes keep them: torch's own pruning, in modules and state dicts."""
from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from ..params import Params, stack


def unpruned(module: nn.Module) -> tuple[nn.Module, Params]:
    """A module as it is without ``torch.nn.utils.prune``, its pruned weights zero, and their masks (bool) by name.

    Where nothing is pruned it is the module itself, and there are none.
    """
    pruned = [(name, part, hook._tensor_name) for name, part in module.named_modules()
              for hook in part._forward_pre_hooks.values() if isinstance(hook, prune.BasePruningMethod)]
    if not pruned:
        return module, {}
    # A trained layer holds the product of weights and mask, which is no leaf and cannot be copied.
    products = {id(product): product.detach() for _, part, own in pruned if (product := getattr(part, own)) is not None}
    plain, masks = copy.deepcopy(module, products), {}
    for name, _, own in pruned:
        part = plain.get_submodule(name)
        masks[f"{name}.{own}" if name else own] = getattr(part, f"{own}_mask").bool()
        prune.remove(part, own)
        first = {n: part._parameters.pop(n) for n in ("weight", "bias") if n in part._parameters}
        part._parameters = first | part._parameters  # torch has moved what it pruned behind the rest
    return plain, masks


def state_of(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], Params]:
    """The state dict of a checkpoint, and the masks (bool) by name that torch's pruning left in it.

    It may be the checkpoint, or its "state_dict" or "model", with or without the "module." of data parallelism.
    """
    found = next((checkpoint[n] for n in ("state_dict", "model") if isinstance(checkpoint.get(n), Mapping)), checkpoint)
    if found and all(n.startswith("module.") for n in found):
        found = {n.removeprefix("module."): t for n, t in found.items()}
    names = [n.removesuffix("_orig") for n in found if n.endswith("_orig")]
    masks = {n: found[f"{n}_mask"].bool() for n in names if f"{n}_mask" in found}
    state = {n: t for n, t in found.items() if n.removesuffix("_orig").removesuffix("_mask") not in masks}
    return state | {n: found[f"{n}_orig"] * mask for n, mask in masks.items()}, masks


def joined(masks: Sequence[Params], params: Sequence[Params], prunable: Sequence[str]) -> Params:
    """One stack [K, ...] of masks that may be of other weights from network to network; warns of those left out."""
    names = dict.fromkeys(n for each in masks for n in each)
    if others := [n for n in names if n not in prunable]:
        warnings.warn(f"the masks of {', '.join(others)} are left out: here only the weights of convolutions and "
                      f"linear layers stay pruned in a training", stacklevel=3)
    return stack([{n: each[n] if n in each else torch.ones_like(own[n], dtype=torch.bool)
                   for n in names if n in prunable} for each, own in zip(masks, params)])


def warn_of_zeros(params: Params, names: Iterable[str]) -> None:
    """Warns of layers that look pruned: exact zeros among other weights."""
    zeros = {n: float((params[n] == 0).double().mean()) for n in names}
    if sparse := {n: share for n, share in zeros.items() if 0.01 < share < 1}:
        name, share = max(sparse.items(), key=lambda found: found[1])
        warnings.warn(f"{100 * share:.0f}% of {name} is exactly 0, and no masks are given: training would fill them. "
                      f"Networks.of(…, masks='zeros') keeps them pruned", stacklevel=3)
