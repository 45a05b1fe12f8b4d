"""IDC on cached early-stage networks: the fast method of the family."""
from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field

from ..data import Dataset, Images
from ..kernel.recipe import seeded
from ..kernel.step import State
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import Params, select, stack
from .idc import IDC


class EarlyIDC(IDC):
    """IDC's matching on a few networks trained briefly beforehand, each time perturbed, instead of on fresh ones.

    Why this one: Zhang et al. (*Accelerating Dataset Distillation via Model Augmentation*, CVPR 2023) find that early
    in training gradients are large and varied, that a few such networks with randomly perturbed weights replace IDC's
    two thousand, and report IDC's accuracy for a small part of its time. Theirs still train a little inside the loop;
    here the network stays as it is for all ``inner`` steps, unless ``net_steps`` says otherwise. What that costs or
    gains is measured, not taken over (notebook 11).

    Args:
        pool: networks trained beforehand for ``early_epochs`` on the real data (with ``recipe``); outer iteration i
            takes network i mod ``pool``.
        perturbation: size of the random direction added to the weights, in norms of each filter.
    """

    kind: Literal["idc-early"] = "idc-early"
    net_steps: int = Field(default=0, ge=0)
    pretrain_epochs: float = Field(default=0, ge=0, le=0)  # the pool takes its place
    pool: int = Field(default=10, ge=1)
    early_epochs: float = Field(default=2, gt=0)
    perturbation: float = Field(default=0.2, ge=0)

    def networks(self, train: Images, net: Net, seed: int) -> Callable[[int], State]:
        inits = [seeded("early", seed, i).initial_seed() for i in range(self.pool)]
        found = [initialise(net, i, train.x.device) for i in inits]
        params, buffers = (stack([f[part] for f in found]) for part in (0, 1))
        warm = self.recipe.but(epochs=self.early_epochs)
        cached = fit(net, params, buffers, train, warm, [f"early/{seed}/{i}" for i in range(self.pool)])

        def network(outer: int) -> State:
            one = [select(part, [outer % self.pool]) for part in (cached.params, cached.buffers)]
            return State.start(perturbed(one[0], self.perturbation, seeded("perturb", seed, outer)), one[1])
        return network

    def work(self, data: Dataset) -> int:
        return self.data_points(data.classes) + int(self.pool * self.early_epochs * len(data.train))


def perturbed(params: Params, size: float, generator: torch.Generator) -> Params:
    """Weights [1, out, …] plus a Gaussian direction whose filters have ``size`` times the norm of their own."""
    def one(p: torch.Tensor) -> torch.Tensor:
        if p.ndim < 3:  # biases and norms stay as they are
            return p
        noise = torch.randn(p.shape, generator=generator).to(p)
        own, new = (t.flatten(2).norm(dim=2) for t in (p, noise))
        return p + size * noise * (own / new).view(*own.shape, *[1] * (p.ndim - 2))
    return {n: one(p) for n, p in params.items()}
