"""Subnetworks that are found in one training, which prunes as it goes (PLATON)."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from ..kernel import masks
from ..kernel.recipe import Recipe
from ..kernel.training import evaluate
from ..lab.job import Job
from ..lab.resume import fitted
from ..lab.stage import Data, Result, Stage
from ..networks import Networks
from ..prune.platon import Platon, PlatonPruner
from ..spec import Seed
from .tickets import AtStart


class GradualTicket(AtStart, Stage):
    """The mask that PLATON leaves after one training on the real data, and how that training went.

    Its tensors: ``train_loss`` and ``kept`` float32 [steps], the loss of each step's batch and the share of the weights
    that a mask would leave; of each mask, in turn, ``masked_at``, ``flips`` and ``removed`` as in
    :class:`lmcnb.prune.platon.PlatonPruner`.

    Args:
        init: seed of the initialisation (of a pretrained network: of its head). seed: of the SGD noise.
        recipe: of the training, at whose end the weights are pruned. platon: how.
    """

    stacked: ClassVar[tuple[str, ...]] = ("init", "seed")

    init: Seed = 0
    seed: Seed | str = 0
    recipe: Recipe
    platon: Platon = Platon()

    def check(self, data: Data) -> None:
        super().check(data)
        self.platon.check(self.recipe.steps(len(data(self.dataset).train)))

    def cost(self, data: Data) -> float:
        return float(self.recipe.steps(len(data(self.dataset).train)) * self.recipe.batch)

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        score = self.platon.score if self.platon.beta2 < 1 or self.platon.score != "platon" else "importance"
        name = {"platon": "platon", "magnitude": "gradual magnitude", "importance": "platon, importance alone"}[score]
        rounds = math.log(self.platon.ratio) / math.log(0.8)  # of iterative pruning, to the same sparsity
        found = {"method": name, "sparsity": round(1 - self.platon.ratio, 6), "init": self.init, "step": 0}
        return found | ({"round": round(rounds)} if abs(rounds - round(rounds)) < 1e-6 else {})

    @classmethod
    def compute(cls, job: Job, specs: Sequence[GradualTicket]) -> list[Result]:
        spec, data = specs[0], job.lab.dataset(specs[0].dataset)
        start = Networks.join([s.origin(job.lab) for s in specs])
        pruner = PlatonPruner.on(spec.platon, spec.net)
        seeds = [f"platon/{s.seed}/{s.init}" for s in specs]
        state = fitted(job, start, data.train, spec.recipe, seeds, dense=True, pruner=pruner)
        scores = evaluate(spec.net, state.params, state.buffers, data.test)
        left = {n: state.momentum[f"left/{n}"] for n in pruner.names}
        steps, found = state.step, masks.pack(left)
        kept = torch.tensor([spec.platon.kept_ratio(t, steps) for t in range(steps)])
        at = torch.tensor([t for t in range(steps) if spec.platon.masks_at(t, steps)])
        density = masks.layer_density(left)
        return [Result(
            {"sparsity": float(masks.sparsity(left)[k]), "density": {n: float(d[k]) for n, d in density.items()},
             "data_points": steps * spec.recipe.batch, "loss": float(state.losses[k, -20:].mean()),
             "test_accuracy": float(scores.accuracy[k]), "test_loss": float(scores.loss[k])},
            {**{f"mask/{n}": m[k:k + 1] for n, m in found.items()}, "train_loss": state.losses[k], "kept": kept,
             "masked_at": at, **{n: state.momentum[n][k] for n in ("flips", "removed")}}) for k in range(len(specs))]
