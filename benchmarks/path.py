"""A path of 11 α on 10,000 images against 11 plain compiled forward passes.

ConvNet-3 of width 32 on 32 × 32 colour noise, batches of 500. Compared, with the same images and weights:

- "plain": for each α, the interpolated weights are copied into one `nn.Module` in eval mode, compiled once by
  `torch.compile`, and the cross-entropy and errors of its logits are summed over all batches.
- "evaluate": `interpolate` and `evaluate` on all images, strategy "auto".
- "path": `path` with half of the images as its training split and half as its test split.

The quick size is small enough that nothing compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
    peak_memory,
    plain_module,
    random_data,
    side_by_side,
)
from lmcnb.kernel.training import evaluate
from lmcnb.measure.path import alpha_grid, interpolate, path
from lmcnb.params import select

GOAL_RATIO, BATCH = 1.3, 500


@dataclass(frozen=True)
class Problem:
    """The path to walk: from network ``a`` to network ``b``, on the images of both splits."""

    data: lmcnb.Dataset
    a: lmcnb.Networks
    b: lmcnb.Networks
    alphas: Tensor

    @property
    def net(self) -> lmcnb.Net:
        return self.a.net

    @property
    def images(self) -> lmcnb.Images:
        """Both splits as one."""
        splits = self.data.train, self.data.test
        x, y = (torch.cat([getattr(s, field) for s in splits]) for field in ("x", "y"))
        return lmcnb.Images(x, y, splits[0].mean, splits[0].std, splits[0].classes)


def problem(images: int, width: int, points: int) -> Problem:
    """A path between two networks at their starts: time does not depend on what they learnt."""
    data = random_data(images // 2, images // 2, 3, 32)
    net = lmcnb.Net.of(data.train, "convnet3", width)
    return Problem(data, *lmcnb.Networks.initialise(net, (0, 1), DEVICE), alpha_grid(points))


@torch.no_grad()
def plain(p: Problem, images: lmcnb.Images, module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Tensor:
    """float64 [A, 2]: mean cross-entropy and share of errors at every α. ``forward`` runs ``module``."""
    mean, std = images.mean[:, None, None], images.std[:, None, None]
    a, b = (select(end.params, 0) for end in (p.a, p.b))
    sums = torch.zeros(len(p.alphas), 2, dtype=torch.float64, device=DEVICE)
    for row, alpha in zip(sums, p.alphas.tolist(), strict=True):
        for name, weight in module.named_parameters():
            weight.copy_((1 - alpha) * a[name] + alpha * b[name])
        for x, y in zip(images.x.split(BATCH), images.y.split(BATCH), strict=True):
            logits = forward((x.float() / 255 - mean) / std)
            row[0] += F.cross_entropy(logits, y, reduction="sum")
            row[1] += (logits.argmax(1) != y).sum()
    return sums.cpu() / len(images)


def evaluated(p: Problem, images: lmcnb.Images) -> Tensor:
    """As :func:`plain`, by `evaluate`."""
    theta = interpolate(p.a, p.b, p.alphas)
    scores = evaluate(p.net, theta.params, theta.buffers, images, batch=BATCH)
    return torch.stack([scores.loss, scores.error], 1)


def walked(p: Problem) -> Tensor:
    """As :func:`plain`, by `path`: the mean over its two splits, which are equally large."""
    found = path(p.a, p.b, p.data, p.alphas)
    loss, error = found.train_loss + found.test_loss, found.train_error + found.test_error
    return torch.stack([loss[0], error[0]], 1) / 2


def sized(quick: bool) -> Problem:
    return problem(400, 8, 3) if quick else problem(10_000, 32, 11)


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, and the memory benchmark calls one by one."""
    p = sized(quick)
    images, module = p.images, plain_module(p.net, select(p.a.params, 0)).eval()
    forward = module if quick else torch.compile(module)
    return {
        "plain": partial(plain, p, images, module, forward),
        "evaluate": partial(evaluated, p, images),
        "path": partial(walked, p),
    }


def run(quick: bool) -> dict[str, Any]:
    p = sized(quick)
    timings = side_by_side(cases(quick), repeats=1 if quick else 5)
    reference = timings["plain"]
    gflop = 1e-9 * sum(f for _, f in layer_flops(p.net)) * len(p.images) * len(p.alphas)
    rows = []
    for name, timing in timings.items():
        off = (timing.result - reference.result).abs()
        rows.append(
            {
                "variant": name,
                "seconds": timing.median,
                "this / plain": timing.median / reference.median,
                "GFLOP/s": gflop / timing.median,
                "first call s": timing.first,
                "loss off by": float(off[:, 0].max()),
                "errors off by": round(float(off[:, 1].max()) * len(p.images)),
                "peak MiB": None if quick else peak_memory("path", name, quick),
            }
        )
    title = f"A path of {len(p.alphas)} α on {len(p.images)} images, ConvNet-3 of width {p.net.width}"
    goals = [
        {
            "goal": f"{row['variant']}: within {GOAL_RATIO:g} × plain",
            "found": row["this / plain"],
            "met": row["this / plain"] <= GOAL_RATIO,
        }
        for row in rows[1:]
    ]
    return {"title": title, "rows": rows, **about(), "gflop": gflop, "goals": goals}
