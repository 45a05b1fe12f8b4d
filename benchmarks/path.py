"""A path of 11 α and a plane of 2,500 points against the plain compiled forward passes that they need.

ConvNet-3 of width 32 on 32 × 32 colour noise, one thread. Compared, with the same images and weights:

- "plain": for each point its weights are copied into one `nn.Module` in eval mode, compiled once by `torch.compile`,
  and the cross-entropy and errors of its logits are summed over batches. The images are normalised once, beforehand.
- "path": `path` with half of the images as its training split and half as its test split.
- "plane": `loss_on_plane`, of which all points but the last 68 are given as done.

All take turns in one process. The quick size is small enough that nothing compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lmcnb
from benchmarks._shared import (
    DEVICE,
    Case,
    about,
    layer_flops,
    one_thread,
    peak_memory,
    plain_module,
    random_data,
    side_by_side,
)
from lmcnb.measure.path import alpha_grid, path
from lmcnb.measure.plane import Plane, grid, loss_on_plane, plane_random
from lmcnb.params import Params, select

GOAL_RATIO = 1.1


@dataclass(frozen=True)
class Problem:
    """A path from network ``a`` to network ``b``, and a plane around ``a`` of which ``left`` points are to be measured.

    Both splits of ``data`` are equally large; the plane is measured on the first.
    """

    data: lmcnb.Dataset
    a: lmcnb.Networks
    b: lmcnb.Networks
    alphas: Tensor
    plane: Plane
    side: int
    left: int

    @property
    def net(self) -> lmcnb.Net:
        return self.a.net

    @property
    def axes(self) -> tuple[Tensor, Tensor]:
        return grid(self.plane, self.side)

    def on_path(self) -> Iterator[Params]:
        a, b = (select(end.params, 0) for end in (self.a, self.b))
        for alpha in self.alphas.tolist():
            yield {n: (1 - alpha) * w + alpha * b[n] for n, w in a.items()}

    def on_plane(self) -> Iterator[Params]:
        origin, (u, _), (v, _) = select(self.a.params, 0), self.plane.u, self.plane.v
        xs, ys = self.axes
        for y, x in torch.cartesian_prod(ys, xs)[-self.left:].tolist():
            yield {n: w + x * u[n] + y * v[n] for n, w in origin.items()}


def sized(quick: bool) -> Problem:
    """Networks at their starts: time does not depend on what they learnt."""
    images, width, points, side, left = (40, 8, 3, 3, 4) if quick else (100, 32, 11, 50, 68)
    data = random_data(images, images, 3, 32)
    a, b = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet3", width), (0, 1), DEVICE)
    return Problem(data, a, b, alpha_grid(points), plane_random(a, 0), side, left)


@torch.no_grad()
def plain(weights: Callable[[], Iterator[Params]], splits: list[tuple[Tensor, Tensor]], module: nn.Module,
          forward: Callable[[Tensor], Tensor]) -> Tensor:
    """float64 [points, 2]: mean cross-entropy and share of errors over batches of equal size."""
    found = []
    for params in weights():
        for name, weight in module.named_parameters():
            weight.copy_(params[name])
        each = [(forward(x), y) for x, y in splits]
        scores = [torch.stack([F.cross_entropy(z, y), (z.argmax(1) != y).float().mean()]).double() for z, y in each]
        found.append(torch.stack(scores).mean(0))
    return torch.stack(found).cpu()


def walked(p: Problem) -> Tensor:
    """As :func:`plain`, by `path`: the mean over its two splits."""
    found = path(p.a, p.b, p.data, p.alphas)
    loss, error = found.train_loss + found.test_loss, found.train_error + found.test_error
    return torch.stack([loss[0], error[0]], 1) / 2


def on_plane(p: Problem) -> Tensor:
    """As :func:`plain`, by `loss_on_plane`."""
    done = torch.zeros(2, p.side ** 2, dtype=torch.float64)
    done[:, -p.left:] = torch.nan
    return loss_on_plane(p.plane, p.data.train, *p.axes, done=done).view(2, -1)[:, -p.left:].T


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, and the memory benchmark calls one by one."""
    p = sized(quick)
    module = plain_module(p.net, select(p.a.params, 0)).eval()
    forward = module if quick else torch.compile(module)
    splits = [(s.normalised(), s.y) for s in (p.data.train, p.data.test)]
    return {
        "path, plain": partial(plain, p.on_path, splits, module, forward),
        "path": partial(walked, p),
        "plane, plain": partial(plain, p.on_plane, splits[:1], module, forward),
        "plane": partial(on_plane, p),
    }


@one_thread
def run(quick: bool) -> dict[str, Any]:
    p, timings, rows = sized(quick), side_by_side(cases(quick), repeats=1 if quick else 3), []
    gflop = 1e-9 * sum(f for _, f in layer_flops(p.net)) * len(p.data.train)
    for name, timing in timings.items():
        reference = timings[f"{name.partition(',')[0]}, plain"]
        passes = 2 * len(p.alphas) if name.startswith("path") else p.left
        ratios = [this / plain for plain, this in zip(reference.seconds, timing.seconds)]
        off = (timing.result - reference.result).abs()
        rows.append({
            "variant": name,
            "seconds": timing.median,
            "this / plain": median(ratios),
            "spread": f"{min(ratios):.2f}–{max(ratios):.2f}",
            "n": len(ratios),
            "GFLOP/s": gflop * passes / timing.median,
            "loss off by": float(off[:, 0].max()),
            "errors off by": round(float(off[:, 1].max()) * len(p.data.train)),
            "peak MiB": None if quick or name == "path, plain" else peak_memory("path", name, quick),
        })
    goals = [{"goal": f"{row['variant']}: within {GOAL_RATIO:g} × plain", "found": row["this / plain"],
              "met": row["this / plain"] <= GOAL_RATIO} for row in rows[1::2]]
    images = len(p.data.train)
    title = (f"A path of {len(p.alphas)} α on {2 * images} images and {p.left} of {p.side ** 2:,} points of a plane on "
             f"{images}, ConvNet-3 of width {p.net.width}, one thread")
    return {"title": title, "rows": rows, **about(), "threads": 1, "goals": goals}
