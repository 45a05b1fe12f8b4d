"""Controls at the same budget: real images, chosen at random, by herding or by k-center."""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..data import Dataset, Images
from ..kernel.exact import exact_on
from ..kernel.inside import features
from ..kernel.recipe import Recipe, seeded
from ..kernel.sizes import portion
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import stack
from .base import Distilled, Method, mix, real_pixels


class RandomReal(Method):
    """``ipc`` random real images of each class. With factor > 1, factor² as many, shrunken and tiled (IDC's start)."""

    kind: Literal["random"] = "random"

    def distill(self, data: Dataset, net: Net, seed: int, **_) -> Distilled:
        self.check(data, net)
        return self.result(data, mix(data.train, self.ipc, self.factor, seed), 0)


class Herding(Method):
    """Herding (Welling, 2009; Rebuffi et al., 2017): real images whose mean feature follows the class mean greedily.

    The features are those of ``net`` trained on the whole training set with ``recipe``.
    """

    reads = staticmethod(features)

    kind: Literal["herding", "k-center"] = "herding"
    recipe: Recipe = Recipe(epochs=30)
    factor: Literal[1] = 1

    def distill(self, data: Dataset, net: Net, seed: int, **_) -> Distilled:
        self.check(data, net)
        params, buffers = (stack([t]) for t in initialise(net, seeded("coreset", seed).initial_seed(),
                                                               data.train.x.device))
        state = fit(net, params, buffers, data.train, self.recipe, [f"herding/{seed}"])
        call = features(net, training=False)
        model = [{n: t[0] for n, t in d.items()} for d in (state.params, state.buffers)]
        _, batch = portion(net, data.train.x.device, 1, 500)
        index = torch.stack([i[self.choose(_embed(call, model, data.train, i, batch))] for i in data.train.by_class])
        return self.result(data, real_pixels(data.train, index), self.work(data))

    def choose(self, features: Tensor) -> Tensor:
        """Indices [ipc] of the images to take, by their features [N, d]."""
        return herd(features, self.ipc)

    def work(self, data: Dataset) -> int:
        return self.recipe.steps(len(data.train)) * self.recipe.batch


class KCenter(Herding):
    """k-center (Sener & Savarese, 2018): real images such that every other is near one of them, chosen greedily.

    The features are those of ``net`` trained on the whole training set with ``recipe``.
    """

    kind: Literal["k-center"] = "k-center"

    def choose(self, features: Tensor) -> Tensor:
        return cover(features, self.ipc)


@torch.no_grad()
def _embed(call, model, images: Images, index: Tensor, batch: int) -> Tensor:
    with exact_on(index.device):
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


def cover(features: Tensor, count: int) -> Tensor:
    """Indices [count]: first the one nearest the mean of features [N, d], then always the farthest from the chosen."""
    chosen = [(features - features.mean(0)).square().sum(1).argmin()]
    distance = torch.full((len(features),), torch.inf, device=features.device)
    while len(chosen) < count:
        distance = distance.minimum((features - features[chosen[-1]]).square().sum(1))
        distance[chosen[-1]] = -1.0  # duplicates are at distance 0, what is chosen is below
        chosen.append(distance.argmax())
    return torch.stack(chosen)
