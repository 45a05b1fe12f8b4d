"""Images to augment, and the random numbers that decide how."""

import torch

from lmcnb.kernel.augment import Augment, draw
from lmcnb.kernel.recipe import seeded


def images(count: int = 6, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=seeded("images"))


def draws_of(augment: Augment, steps: int = 64, batch: int = 6, size: int = 16, seed: int = 0) -> dict:
    return draw(augment, steps, batch, size, seeded(seed))


def at(draws: dict, step: int) -> dict:
    return {n: t[step] for n, t in draws.items()}
