"""IDC: dataset condensation by efficient synthetic-data parameterization (Kim et al., 2022), as the papers use it."""
from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..data import Dataset, Images
from ..kernel.inside import class_gradients
from ..kernel.recipe import Recipe, seeded
from ..kernel.sizes import classes_at_once
from ..kernel.step import State
from ..kernel.strategies import differentiated, settled
from ..kernel.training import fit
from ..models import Net, initialise
from ..params import Params, select, sent, stack
from .base import Distilled, Method, mix, real_pixels
from .matching import matcher, real_batches, shared_draws, sweep


class IDC(Method):
    """Gradient matching on images that each hold factor² smaller ones. Defaults: the papers' for CIFAR-10.

    For ``outer`` freshly initialised networks, ``inner`` times: one matching step of every class (squared distance
    between the convolutions' gradients on ``real_batch`` real images and on up to ``synthetic_batch`` decoded ones,
    under one shared augmentation), then ``net_steps`` SGD steps of the network on real data.

    Args:
        lr_image: SGD rate of the pixels at 10 images per class; scaled by ipc / 10. momentum: of the pixels.
        distance: "l2" (sum of squares) or "l1" (sum of absolute differences; ImageNet-10).
        pretrain_epochs: training of each fresh network on real data before matching begins (ImageNet-10: 10).
    """

    reads = staticmethod(class_gradients)
    length: ClassVar[str] = "outer"

    kind: Literal["idc"] = "idc"
    factor: int = Field(default=2, ge=1, le=3)
    outer: int = Field(default=2000, ge=1)
    inner: int = Field(default=100, ge=1)
    net_steps: int = Field(default=32, ge=0)
    real_batch: int = Field(default=64, ge=1)
    synthetic_batch: int = Field(default=128, ge=1)
    lr_image: float = Field(default=5e-3, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    distance: Literal["l1", "l2"] = "l2"
    pretrain_epochs: float = Field(default=0, ge=0)
    recipe: Recipe = Recipe(schedule="constant", augment="colour_crop")

    def distill(self, data: Dataset, net: Net, seed: int, *, state: Params | None = None,
                checkpoint: Callable[[Params], None] | None = None, progress=None) -> Distilled:
        self.check(data, net)
        train = data.train
        if state is None:
            pixels = mix(train, self.ipc, self.factor, seed)
            state = {"pixels": pixels, "velocity": torch.zeros_like(pixels), "outer": torch.tensor(0)}
        pixels, velocity = state["pixels"].clone(), state["velocity"].clone()
        fresh = self.networks(train, net, seed)
        for outer in range(int(state["outer"]), self.outer):
            pixels, velocity = self._match_one_network(train, net, f"{seed}/{outer}", fresh(outer), pixels, velocity)
            pixels = self.finite(pixels, f"after network {outer + 1} of {self.outer}").clamp(0, 1)
            if checkpoint:
                checkpoint({"pixels": pixels, "velocity": velocity, "outer": torch.tensor(outer + 1)})
            if progress:
                progress(outer + 1, self.outer)
        return self.result(data, pixels, self.work(data))

    def data_points(self, classes: int) -> int:
        """Real images that the matching and the networks between look at (pretraining apart)."""
        return self.outer * self.inner * (classes * self.real_batch + self.net_steps * self.recipe.batch)

    def work(self, data: Dataset) -> int:
        return self.data_points(data.classes) + int(self.outer * self.pretrain_epochs * len(data.train))

    def networks(self, train: Images, net: Net, seed: int) -> Callable[[int], State]:
        """The network of each outer iteration, as a stack of one."""
        return lambda outer: self._network(train, net, f"{seed}/{outer}")

    def _match_one_network(self, train: Images, net: Net, seed: str, network: State, pixels: Tensor, velocity: Tensor
                           ) -> tuple[Tensor, Tensor]:
        generator = seeded("idc", seed)
        for _ in range(self.inner):
            grad = self.sweep(train, net, select(network.params, 0), pixels, generator)[0]
            pixels, velocity = self.update(pixels, velocity, grad)
            if self.net_steps:
                network = fit(net, {}, {}, train, self._recipe(train), [f"idc/{seed}"], strategy=self._strategy(
                    train, net), state=network, stop=network.step + self.net_steps)
        return pixels, velocity

    def _network(self, train: Images, net: Net, seed: str) -> State:
        params, buffers = (stack([t]) for t in initialise(net, seeded("net", seed).initial_seed(), train.x.device))
        if not self.pretrain_epochs:
            return State.start(params, buffers)
        warm = self.recipe.but(epochs=self.pretrain_epochs)
        done = fit(net, params, buffers, train, warm, [f"pretrain/{seed}"])
        return State.start(done.params, done.buffers)

    def _recipe(self, train: Images) -> Recipe:
        return self.recipe.but(epochs=max(1, self.inner * self.net_steps) * self.recipe.batch / len(train))

    def _strategy(self, train: Images, net: Net) -> str:
        return settled(net, train.x.device, self.outer * self.inner * self.net_steps)

    def update(self, pixels: Tensor, velocity: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """One matching step of every class under the released code's single optimiser, in closed form.

        There the optimiser holds all classes and steps once for each, with a zero gradient for the others: in the
        classes − 1 steps until its next turn a class drifts on its dying momentum, by Σ momentum^j in all.
        """
        steps, beta = len(pixels), self.momentum
        velocity = beta ** steps * velocity + grad
        drift = (1 - beta ** steps) / (1 - beta)
        return pixels - self.lr_image * self.ipc / 10 * drift * velocity, velocity

    def sweep(self, train: Images, net: Net, params: Params, pixels: Tensor, generator: torch.Generator,
              way: str | None = None) -> tuple[Tensor, Tensor]:
        """Gradient [classes, ipc, C, H, W] of the matching loss of every class, and the losses [classes].

        ``way``: as in :func:`.matching.matcher`, by default that of the whole distillation.
        """
        real, pick, draws = self._draw(train, generator)
        way = way or differentiated(net, pixels.device, self.outer * self.inner > 100)
        match = matcher(net, self.factor, self.distance, way)
        at_once = classes_at_once(net, pixels.device, train.classes, max(self.real_batch, pick.shape[1]))
        return sweep(match, params, pixels, real_pixels(train, real), pick, draws, train.mean, train.std, at_once)

    def _draw(self, train: Images, generator: torch.Generator):
        real = real_batches(train, self.real_batch, generator)
        decoded = self.ipc * self.factor ** 2
        count = min(self.synthetic_batch, decoded)
        pick = torch.rand(train.classes, decoded, generator=generator).argsort(1)[:, :count]
        return real, sent(pick, train.x.device), shared_draws("match", train, generator)
