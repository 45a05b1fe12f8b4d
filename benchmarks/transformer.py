"""A training step of a vision transformer against a plain loop of timm and torch.optim.AdamW.

ViT-Ti/16 at 64 pixels, batch 64, AdamW, a crop of three quarters, flip and colour, on 32 × 32 colour noise. "plain" is
an `nn.Module` of timm, `torch.optim.AdamW` and `loss.backward()`, with the very same augmentation and the images as one
tensor; it ends at the same losses. "compiled" is `fit`'s. All take turns in one process, on one thread. Most of a step
are matrix products: without units for bfloat16 nothing makes those faster, and with them float32 is left out.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lmcnb
from benchmarks._shared import DEVICE, Case, about, one_thread, plain_module, random_data, side_by_side
from lmcnb.data import normalise
from lmcnb.kernel.augment import apply
from lmcnb.kernel.recipe import draws, has_bf16
from lmcnb.kernel.strategies import operations, settled
from lmcnb.kernel.training import fit
from lmcnb.models import ViT, initialise
from lmcnb.params import stack

GOAL, LONG = 2.0, 100_000


def setting(quick: bool) -> tuple[ViT, lmcnb.Images, int]:
    """The network, the images, and for how many steps it is trained."""
    train = random_data(256, 10, 3, 32).train
    if quick:
        return ViT.of(train, width=12, depth=1, heads=2, patch=16, resolution=32), train, 2
    return ViT.of(train, resolution=64), train, 6


def recipe(steps: int, images: int, precision: str = "float32") -> lmcnb.Recipe:
    return lmcnb.Recipe(epochs=steps * 64 / images, lr=2e-4, optimiser="adamw", weight_decay=0.01, augment="window",
                        schedule="constant", cutmix=0, precision=precision)


def plain(net: ViT, train: lmcnb.Images, steps: int) -> Tensor:
    """Losses [steps] of the loop that one would write."""
    r, losses = recipe(steps, len(train)), []
    module = plain_module(net, initialise(net, 0)[0]).to(DEVICE)
    optimiser = torch.optim.AdamW(module.parameters(), r.lr, betas=(r.momentum, r.beta2), weight_decay=r.weight_decay)
    drawn = draws(r, 0, 0, steps, train)
    for step in range(steps):
        each = {name: tensor[step].to(DEVICE) for name, tensor in drawn.items()}
        x = apply(r.augmentation, normalise(train.x[each["index"]], train.mean, train.std), each)
        loss = F.cross_entropy(module(x), train.y[each["index"]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def ours(net: ViT, train: lmcnb.Images, steps: int, strategy: str, precision: str) -> Tensor:
    params, buffers = (stack([part]) for part in initialise(net, 0, DEVICE))
    return fit(net, params, buffers, train, recipe(steps, len(train), precision), [0], strategy=strategy).losses[0]


def cases(quick: bool) -> dict[str, Case]:
    net, train, steps = setting(quick)
    found: dict[str, Case] = {"plain": partial(plain, net, train, steps)}
    if quick:
        return found | {"loop": partial(ours, net, train, steps, "loop", "float32")}
    best, precision = settled(net, DEVICE, LONG), "bf16" if has_bf16(DEVICE) else "float32"
    return found | {f"{best}, {precision}": partial(ours, net, train, steps, best, precision)}


@one_thread
def run(quick: bool) -> dict[str, Any]:
    net, _, steps = setting(quick)
    timings, rows = side_by_side(cases(quick), repeats=1 if quick else 4), []
    reference = timings["plain"]
    for name, timing in timings.items():
        ratios = [before / now for before, now in zip(reference.seconds, timing.seconds)]
        rows.append({"variant": name, "images/s": 64 * steps / timing.median, "times plain": median(ratios),
                     "spread": f"{min(ratios):.2f}–{max(ratios):.2f}", "n": len(ratios),
                     "GFLOP/s": 3e-9 * operations(net) * 64 * steps / timing.median, "first call s": timing.first,
                     "loss off by": float((timing.result - reference.result).abs().max())})
    best = max(row["times plain"] for row in rows)
    goals = [{"goal": f"the fastest {GOAL:g} times plain", "found": best, "met": best >= GOAL}]
    return {"title": "A step of ViT-Ti/16 at 64 px against timm and torch.optim, one thread", "rows": rows, **about(),
            "goals": goals}
