"""DM: dataset condensation with distribution matching (Zhao & Bilen, 2023)."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..data import Dataset, Images, normalise
from ..kernel.augment import AUGMENTS, apply
from ..kernel.exact import exact_on
from ..kernel.inside import by_autograd, features
from ..kernel.layers import fuse_twice
from ..kernel.recipe import Recipe, seeded
from ..kernel.step import layout_of
from ..kernel.strategies import compiled as compile_apart
from ..kernel.strategies import differentiated
from ..models import Net, initialise, per_network
from ..params import Params, clone
from .base import Distilled, Method, decode, mix, real_pixels
from .matching import real_batches, shared_draws


class DM(Method):
    """Matches each class's mean feature under a fresh random network in every iteration. Defaults: the papers'.

    Loss: Σ over classes of ‖mean ψ(real) − mean ψ(synthetic)‖², ψ the input of the last linear layer, both under one
    shared augmentation (DSA). The pixels start from real images. All classes pass through the network in one batch, so
    BatchNorm normalises over all of them, as in the released code.

    Args:
        iterations: each with a new random network. real_batch: real images of each class.
        lr_image, momentum: SGD on the normalised pixels.
    """

    reads = staticmethod(features)
    length: ClassVar[str] = "iterations"
    normalised: ClassVar[bool] = True

    kind: Literal["dm"] = "dm"
    iterations: int = Field(default=20_000, ge=1)
    real_batch: int = Field(default=256, ge=1)
    lr_image: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    checkpoint_every: int = Field(default=100, ge=1)

    def distill(self, data: Dataset, net: Net, seed: int, *, state: Params | None = None,
                checkpoint: Callable[[Params], None] | None = None, progress=None) -> Distilled:
        self.check(data, net)
        train = data.train
        if state is None:
            start = normalise(mix(train, self.ipc, self.factor, seed), train.mean, train.std)
            state = {"x": start, "velocity": torch.zeros_like(start), "iteration": torch.tensor(0)}
        x, velocity = state["x"].clone(), state["velocity"].clone()
        for i in range(int(state["iteration"]), self.iterations):
            grad = self.gradient(train, net, x, f"{seed}/{i}")[0]
            velocity = self.momentum * velocity + grad
            x = x - self.lr_image * velocity
            if (i + 1) % self.checkpoint_every == 0 or i + 1 == self.iterations:
                self.finite(x, f"after iteration {i + 1} of {self.iterations}")
                if checkpoint:
                    checkpoint({"x": x, "velocity": velocity, "iteration": torch.tensor(i + 1)})
                if progress:
                    progress(i + 1, self.iterations)
        pixels = x * train.std[:, None, None] + train.mean[:, None, None]
        return self.result(data, pixels, self.work(data))

    def work(self, data: Dataset) -> int:
        return self.iterations * self.real_batch * data.classes

    def gradient(self, train: Images, net: Net, x: Tensor, seed: str) -> tuple[Tensor, Tensor]:
        """Gradient of the loss with respect to normalised pixels x [classes, ipc, C, H, W], and the loss."""
        generator, device = seeded("dm", seed), x.device
        params, buffers = initialise(net, seeded("net", seed).initial_seed(), device)
        real, draws = real_batches(train, self.real_batch, generator), shared_draws("dsa_matching", train, generator)
        pixels = normalise(real_pixels(train, real), train.mean, train.std)
        way = differentiated(net, device, self.iterations > 100)
        with exact_on(device):
            return matcher(net, self.factor, way)(params, buffers, x, pixels, draws)


@per_network(8)
def matcher(net: Net, factor: int, way: str) -> Callable:
    """``match(params, buffers, x, real, draws)``: gradient for x [c, ipc, C, H, W] and the loss.

    ``way`` is "loop", "compiled" or "fused" (:func:`lmcnb.kernel.strategies.differentiated`).
    """
    embed, augment = features(net, fused=way == "fused"), AUGMENTS["dsa_matching"]
    layout = layout_of(net, Recipe(), fuse_twice if way == "fused" else None)

    def means(params, buffers, x, draws) -> Tensor:
        c, n = x.shape[:2]
        each = {k: d.flatten(0, 1).repeat_interleave(n, 0) for k, d in draws.items()}
        own = clone(buffers)  # BatchNorm writes its running statistics here
        x = apply(augment, x.flatten(0, 1), each, differentiated=True).contiguous(memory_format=layout)
        return embed(params, own, x).flatten(1).unflatten(0, (c, n)).mean(1)

    def match(params, buffers, x, real, draws):
        with torch.no_grad():
            target = means(params, buffers, real, draws)

        def loss(given: Tensor):
            tiles = decode(given.flatten(0, 1), factor).unflatten(0, (factor ** 2, *given.shape[:2])).transpose(0, 1)
            value = (target - means(params, buffers, tiles.flatten(1, 2), draws)).square().sum()
            return value, value
        return gradient(loss)(x)
    gradient = by_autograd if way == "fused" else partial(torch.func.grad, has_aux=True)
    return compile_apart(match) if way == "compiled" else match
