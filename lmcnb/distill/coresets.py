"""Controls at the same budget: real images, chosen at random or by herding."""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..data import Dataset, Images
from ..models import Net
from ..params import stack
from ..strategies import settled
from ..training import Recipe, fit
from .base import Distilled, Method, mix, real_pixels
from .features import features


class RandomReal(Method):
    """``ipc`` random real images of each class. With factor > 1, factor² as many, shrunken and tiled (IDC's start)."""

    kind: Literal["random"] = "random"

    def distill(self, data: Dataset, net: Net, seed: int, **_) -> Distilled:
        self.check(data)
        return self.result(data, mix(data.train, self.ipc, self.factor, seed), 0)


class Herding(Method):
    """Herding (Welling, 2009; Rebuffi et al., 2017): real images whose mean feature follows the class mean greedily.

    The features are those of ``net`` trained on the whole training set with ``recipe``.
    """

    kind: Literal["herding"] = "herding"
    recipe: Recipe = Recipe(epochs=30)
    factor: Literal[1] = 1

    def distill(self, data: Dataset, net: Net, seed: int, **_) -> Distilled:
        from ..models import initialise

        self.check(data)
        params, buffers = (stack([t]) for t in initialise(net, seed, data.train.x.device))
        strategy = settled(net, data.train.x.device, self.recipe.steps(len(data.train)))
        state = fit(net, params, buffers, data.train, self.recipe, [f"herding/{seed}"], strategy=strategy)
        call = features(net, training=False)
        model = [{n: t[0] for n, t in d.items()} for d in (state.params, state.buffers)]
        index = torch.stack([i[herd(_embed(call, model, data.train, i), self.ipc)] for i in data.train.by_class])
        return self.result(data, real_pixels(data.train, index), self.work(data))

    def work(self, data: Dataset) -> int:
        return self.recipe.steps(len(data.train)) * self.recipe.batch


@torch.no_grad()
def _embed(call, model, images: Images, index: Tensor, batch: int = 500) -> Tensor:
    return torch.cat([call(*model, images.normalised(i)) for i in index.split(batch)])


def herd(features: Tensor, count: int) -> Tensor:
    """Indices [count] chosen one by one so that the running mean of features [N, d] stays nearest their mean."""
    target, total, chosen = features.mean(0), torch.zeros_like(features[0]), []
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    for k in range(1, count + 1):
        distance = ((total + features) / k - target).square().sum(1)
        best = torch.where(free, distance, torch.inf).argmin()
        chosen.append(best)
        free[best] = False
        total = total + features[best]
    return torch.stack(chosen)


