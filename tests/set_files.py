"""Distilled sets that are written and read."""

from pathlib import Path

import torch
from helpers import made_up

from lmcnb import Dataset
from lmcnb.distill import Distilled

DATA = Dataset("made up", made_up(60, 3, seed=0), made_up(30, 3, seed=1))
COLOUR = Dataset("colour", made_up(60, 3, 3, seed=2), made_up(30, 3, 3, seed=3))
HARD, SOFT = torch.tensor([0, 0, 1, 1, 2, 2]), torch.rand(24, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
PIXELS = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def a_set(data: Dataset = DATA, **changes) -> Distilled:
    train, images = data.train, PIXELS.expand(-1, len(data.train.mean), -1, -1)
    values = {"images": images, "labels": HARD, "mean": train.mean, "std": train.std, "classes": 3}
    return Distilled(**{**values, **changes})


def same(found: Distilled, expected: Distilled) -> bool:
    tensors = found.tensors(), expected.tensors()
    numbers = [(s.classes, s.factor, s.data_points, s.lr, s.zca) for s in (found, expected)]
    return numbers[0] == numbers[1] and all(torch.equal(tensors[0][n], tensors[1][n]) for n in tensors[0])


def saved(folder: Path, images: torch.Tensor = PIXELS, labels: torch.Tensor | None = HARD) -> Path:
    torch.save({"images": images} | ({} if labels is None else {"labels": labels}), folder / "set.pt")
    return folder / "set.pt"
