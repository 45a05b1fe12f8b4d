"""How a network is trained, and every random number of a training, drawn beforehand from the model's own seed."""
from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..data import Images
from ..spec import Spec, late
from .augment import Augment, Draws, augmentation, draw

SEGMENT = 128  # steps drawn at once; a checkpoint falls between segments


class Recipe(Spec):
    """How a network is trained. The defaults are those of McDermott & Parhi's released code on real data.

    Args:
        epochs: passes over the data; batches never shrink, the last one of an epoch runs into the next.
        batch: images a step. lr, momentum, weight_decay: the optimiser's, weight decay on every parameter.
        optimiser: "sgd", or "adamw", whose β₁ is ``momentum`` and β₂ ``beta2``, and whose weight decay is decoupled.
        schedule: "step" (× 0.2 at 2/3 and 5/6), "half" (× 0.1 at 1/2), "one_cycle" (linear up over the first fifth,
            linear to zero), "constant"; "linear" and "cosine" fall to zero.
        warmup: share of the steps in which the rate rises linearly to what the schedule says; "linear" and "cosine"
            begin to fall after it.
        augment: a name of :data:`lmcnb.kernel.augment.AUGMENTS`. cutmix: probability of CutMix for a batch.
        precision: "float32"; "bf16" (convolutions and matrix products of bfloat16 factors, while weights, momentum,
            sums, norms' statistics and losses stay float32); or "auto": bf16 where the device has units for it. Of
            training alone: whatever is measured is measured in float32.
    """

    epochs: float = Field(default=300, gt=0)
    batch: int = Field(default=64, ge=1, le=2 ** 20)
    lr: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["step", "half", "one_cycle", "constant", "linear", "cosine"] = "step"
    augment: str = "cifar"
    cutmix: float = Field(default=0.5, ge=0, le=1)
    precision: Literal["float32", "bf16", "auto"] = late("float32")
    optimiser: Literal["sgd", "adamw"] = late("sgd")
    beta2: float = late(0.999, ge=0, lt=1)
    warmup: float = late(0.0, ge=0, lt=1)

    def model_post_init(self, _) -> None:
        _ = self.augmentation  # an unknown name fails here, before any work

    @property
    def augmentation(self) -> Augment:
        return augmentation(self.augment, self.cutmix)

    def on(self, device: torch.device) -> Recipe:
        """The recipe with "auto" made what it is on this device."""
        return self.but(precision="bf16" if has_bf16(device) else "float32") if self.precision == "auto" else self

    def steps(self, images: int) -> int:
        """Number of steps on a set of that many images.

        >>> assert Recipe(epochs=2, batch=64).steps(images=96) == 3, "a batch may run into the next epoch"
        """
        return max(1, round(self.epochs * images / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step 0 … steps − 1.

        >>> rates = [Recipe(lr=1, schedule="step").rate(step, 12) for step in range(12)]
        >>> assert rates[:8] == [1] * 8 and rates[8] == 0.2 and rates[-1] == 0.2 ** 2
        """
        done = (step + 0.5) / steps
        peak = self.lr if done >= self.warmup else self.lr * done / self.warmup
        if self.schedule == "step":
            return peak * 0.2 ** ((done > 2 / 3) + (done > 5 / 6))
        if self.schedule == "half":
            return peak * 0.1 ** (done > 1 / 2)
        if self.schedule == "one_cycle":
            return peak * min(done / 0.2, (1 - done) / 0.8)
        fallen = max(0.0, (done - self.warmup) / (1 - self.warmup))
        if self.schedule == "linear":
            return peak * (1 - fallen)
        return peak * (1 + math.cos(math.pi * fallen)) / 2 if self.schedule == "cosine" else peak


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32: AMX on a CPU, an Ampere GPU or later."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def seeded(*parts: object) -> torch.Generator:
    """A CPU generator for a purpose: equal parts (as text: 1 is "1"), equal numbers; any other, independent ones.

    >>> draw = lambda *parts: torch.rand(3, generator=seeded(*parts)).tolist()
    >>> assert draw("mask", 0) == draw("mask", 0) != draw("mask", 1)
    """
    text = "/".join(map(str, parts)).encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1)


def order(seed: int | str, start: int, stop: int, images: int, batch: int) -> Tensor:
    """Image indices int64 [stop − start, batch] of steps start … stop − 1: one permutation after another, unbroken."""
    first, last = start * batch, stop * batch
    epochs = range(first // images, math.ceil(last / images))
    stream = torch.cat([_permutation(seed, e, images) for e in epochs])
    offset = epochs.start * images
    return stream[first - offset:last - offset].view(stop - start, batch)


@lru_cache(maxsize=4)  # a training that goes on in short runs, as IDC's networks do, asks for one again and again
def _permutation(seed: int | str, epoch: int, images: int) -> Tensor:
    return torch.randperm(images, generator=seeded("order", seed, epoch))


@lru_cache(maxsize=4)
def _segment_draws(augment: Augment, steps: int, batch: int, size: int, seed: int | str, segment: int) -> Draws:
    return draw(augment, steps, batch, size, seeded("augment", seed, segment))


def draws(recipe: Recipe, seed: int | str, start: int, stop: int, images: Images) -> Draws:
    """All that is random in steps start … stop − 1 (of one segment) of one model: see :mod:`.augment`."""
    segment = start - start % SEGMENT
    augment: Any = recipe.augmentation  # frozen, so that it has a hash, which type checkers do not see
    whole = _segment_draws(augment, SEGMENT, recipe.batch, images.shape[-1], seed, segment)
    part = {n: t[start - segment:stop - segment] for n, t in whole.items()}
    return {"index": order(seed, start, stop, len(images), recipe.batch), **part}
