"""RDED: mosaics of real patches that a trained teacher is surest of (Sun et al., 2024)."""
from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ..data import Dataset, Images, normalise
from ..kernel.recipe import Recipe, seeded
from ..kernel.step import State
from ..models import Net
from .base import Distilled, Method, choose_real, real_pixels, tile_spans
from .soft import logits, taught


class RDED(Method):
    """The patches of each class on which a teacher's loss is lowest, factor² of them tiled in each stored image.

    From each of ``candidates`` random images of a class the surest of ``crops`` random square crops, of these the
    surest ipc · factor² (*On the Diversity and Realism of Distilled Dataset*, CVPR 2024, section 3.3). A patch is
    judged as a network is going to see it, after :func:`.base.decode`. Labels are hard; wrap the method in
    :class:`lmcnb.SoftLabels` for the paper's soft ones.

    Args:
        candidates: real images of each class that are looked at. crops: patches cut from each.
        smallest: least area of a crop, as a share of the image's. teacher: training of the network on the real data.
    """

    kind: Literal["rded"] = "rded"
    factor: int = Field(default=2, ge=1, le=3)
    candidates: int = Field(default=300, ge=1)
    crops: int = Field(default=5, ge=1)
    smallest: float = Field(default=0.08, gt=0, le=1)
    teacher: Recipe = Recipe(epochs=30)

    def check(self, data: Dataset, net: Net) -> None:
        super().check(data, net)
        need, smallest = self.ipc * self.factor ** 2, min(len(i) for i in data.train.by_class)
        if not need <= self.candidates <= smallest:
            raise ValueError(f"candidates must lie between the {need} patches of a class that ipc {self.ipc} and "
                             f"factor {self.factor} need and its {smallest} images; got {self.candidates}")

    def distill(self, data: Dataset, net: Net, seed: int, **_) -> Distilled:
        self.check(data, net)
        train, generator = data.train, seeded("rded", seed)
        teacher = taught(net, train, self.teacher, seed)
        index = choose_real(train, self.candidates, generator)
        found = torch.stack([self._surest(net, teacher, train, row, label, generator)
                             for label, row in enumerate(index)])
        grid = found.unflatten(1, (self.ipc, self.factor, self.factor))  # [classes, ipc, row, column, C, side, side]
        pixels = torch.cat([torch.cat(list(row.unbind(2)), -1) for row in grid.unbind(2)], -2)
        side = train.shape[-1]
        return self.result(data, pixels[..., :side, :side], self.work(data))

    def _surest(self, net: Net, teacher: State, train: Images, row: Tensor, label: int,
                generator: torch.Generator) -> Tensor:
        """float32 [ipc · factor², C, side, side]: the chosen patches of a class, surest first."""
        size = train.shape[-1]
        side = tile_spans(size, self.factor)[0].stop
        patches = torch.stack([_cropped(image, boxes, side) for image, boxes in zip(
            real_pixels(train, row), _boxes(len(row), self.crops, size, self.smallest, generator))])
        whole = F.interpolate(patches.flatten(0, 1), size=(size, size), mode="bilinear", align_corners=False)
        x = normalise(whole, train.mean, train.std)  # enlarged as a mosaic's tiles are
        losses = -logits(net, teacher, x, 500).log_softmax(1)[:, label]
        best = losses.view(patches.shape[:2]).min(1)
        order = best.values.argsort(stable=True)[:self.ipc * self.factor ** 2]
        return patches[order, best.indices[order]]

    def work(self, data: Dataset) -> int:
        return self.teacher.steps(len(data.train)) * self.teacher.batch + self.candidates * data.classes


def _boxes(images: int, crops: int, size: int, smallest: float, generator: torch.Generator) -> list[list[tuple]]:
    """(side, top, left) of random square crops, whose areas are uniform between ``smallest`` and 1."""
    area = smallest + (1 - smallest) * torch.rand(images, crops, generator=generator)
    sides = (area.sqrt() * size).round().clamp(1, size).long()
    corner = (torch.rand(2, images, crops, generator=generator) * (size + 1 - sides)).long()
    return [list(zip(*(t.tolist() for t in each))) for each in zip(sides, corner[0], corner[1])]


def _cropped(image: Tensor, boxes: list[tuple[int, int, int]], side: int) -> Tensor:
    """float32 [crops, C, side, side] of an image [C, H, W]."""
    parts = [image[None, :, top:top + s, left:left + s] for s, top, left in boxes]
    return torch.cat([F.interpolate(p, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
                      for p in parts])
