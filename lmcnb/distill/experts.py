"""Trainings on real data whose weights are kept on the way: what trajectory matching follows."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field

from ..data import Images
from ..kernel.recipe import Recipe, seeded
from ..kernel.step import State
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import Params, stack
from ..spec import Spec


class Experts(Spec):
    """The buffer of MTT (Cazenavette et al., 2022, section 3): ``count`` networks trained on the real data.

    Args:
        count: networks, from different initialisations. recipe: their training.
        zca: ε of the ZCA whitening (:mod:`lmcnb.data.whitening`) of the images they see, or None.
    """

    count: int = Field(default=100, ge=1)
    recipe: Recipe
    zca: float | None = Field(default=None, gt=0)


def course(net: Net, data: Images, recipe: Recipe, inits: Sequence[int], *,
           resume: tuple[State, Params] | None = None, on_segment: Callable[[State, int], None] | None = None,
           on_epoch: Callable[[State, Params], None] | None = None) -> Params:
    """Weights [K, epochs + 1, ...] of K networks before the first and after every epoch of a training.

    The epochs of ``recipe`` are rounded up to whole ones. ``on_epoch`` is called with the state and the weights so far
    after every epoch but the last; a later call with them as ``resume`` goes on to the same result.
    """
    epochs = -int(-recipe.epochs // 1)
    params, buffers = (stack(list(part)) for part in zip(*[start(net, i, data.x.device) for i in inits]))
    whole = recipe.but(epochs=epochs)
    state, kept = resume or (State.start(params, buffers), {n: p[:, None] for n, p in params.items()})
    total = whole.steps(len(data))
    for epoch in range(len(next(iter(kept.values()))[0]) - 1, epochs):
        state = fit(net, params, buffers, data, whole, [f"expert/{i}" for i in inits], state=state,
                    stop=round((epoch + 1) * total / epochs), on_segment=on_segment)
        kept = {n: torch.cat([k, state.params[n][:, None]], 1) for n, k in kept.items()}
        if on_epoch and epoch + 1 < epochs:
            on_epoch(state, kept)
    return kept


def start(net: Net, seed: int, device: torch.device) -> tuple[Params, Params]:
    """Parameters and buffers of an expert: of a seed that no ticket starts from, however small its number."""
    return initialise(net, seeded("expert", seed).initial_seed(), device)
