"""Training a stack of K networks (`fit`) against training them one after another with `torch.optim.SGD`.

Two settings, noise for images, no augmentation, batch 64, momentum and weight decay:

- "digits": 16 × ConvNet-3 of width 16 on 8 × 8 grey images, where a step costs more to launch than to compute.
- "cifar": 2 × ConvNet-3 of width 32 on 32 × 32 colour images, where a core is busy with one network.

Compared, on the same starts and the same order of images: "plain", an ordinary `nn.Module` for each network, trained
after the other, the images one tensor on the device (no DataLoader, which would be slower); and every strategy of
`fit`. "step ms" is one step of all K networks in a whole training, and "chosen" marks the strategy that the rule
of `lmcnb.kernel.strategies.settled` takes for a long one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lmcnb
from benchmarks._shared import (
    DEVICE,
    Case,
    about,
    apart,
    peak_memory,
    plain_module,
    random_data,
    side_by_side,
)
from lmcnb.kernel import strategies
from lmcnb.kernel.recipe import order
from lmcnb.kernel.step import State
from lmcnb.kernel.strategies import STRATEGIES
from lmcnb.kernel.training import fit
from lmcnb.models import initialise
from lmcnb.params import stack, unstack

GOAL_CHOICE = 1.10
LONG = 100_000  # steps of a training for which any strategy is worth compiling


@dataclass(frozen=True)
class Setting:
    """What to train: K networks, ``steps`` steps each."""

    name: str
    net: lmcnb.Net
    train: lmcnb.data.Images
    k: int
    steps: int

    @property
    def recipe(self) -> lmcnb.Recipe:
        epochs = self.steps * 64 / len(self.train)
        return lmcnb.Recipe(epochs=epochs, batch=64, schedule="constant", augment="none", cutmix=0)

    @property
    def state(self) -> State:
        """K networks at their starts."""
        models = [initialise(self.net, seed, DEVICE) for seed in range(self.k)]
        return State.start(*(stack([m[i] for m in models]) for i in range(2)))


def settings(quick: bool) -> list[Setting]:
    digits, cifar = random_data(1280, 10, 1, 8).train, random_data(256 if quick else 2560, 10, 3, 32).train
    small, wide = lmcnb.Net.of(digits, "convnet3", 16), lmcnb.Net.of(cifar, "convnet3", 8 if quick else 32)
    return [
        Setting("digits", small, digits, 4 if quick else 16, 5 if quick else 128),
        Setting("cifar", wide, cifar, 2, 2 if quick else 40),
    ]


def plain(s: Setting) -> Tensor:
    """Train the networks one after another; the weights [K, parameters] at the end."""
    ends = []
    for seed, params in enumerate(unstack(s.state.params)):
        module, recipe = plain_module(s.net, params), s.recipe
        optimiser = torch.optim.SGD(
            module.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        mean, std = s.train.mean[:, None, None], s.train.std[:, None, None]
        for index in order(seed, 0, s.steps, len(s.train), recipe.batch).to(DEVICE):
            loss = F.cross_entropy(module((s.train.x[index].float() / 255 - mean) / std), s.train.y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        ends.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    return torch.stack(ends)


def ours(s: Setting, strategy: str) -> Tensor:
    """Train the networks as a stack; the weights [K, parameters] at the end."""
    start = s.state
    end = fit(s.net, start.params, start.buffers, s.train, s.recipe, range(s.k), strategy=strategy)
    return torch.cat([p.flatten(1) for p in end.params.values()], 1)


def tried(quick: bool) -> list[str]:
    """The strategies that this device has; none that compiles when ``quick``."""
    if quick:
        return ["loop", "vmap"]
    return [s for s in STRATEGIES if s != "graph" or DEVICE.type == "cuda"]


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, named "setting / variant"; the memory benchmark calls them one by one."""
    found: dict[str, Case] = {}
    for s in settings(quick):
        found[f"{s.name} / plain"] = partial(plain, s)
        found |= {f"{s.name} / {strategy}": partial(ours, s, strategy) for strategy in tried(quick)}
    return found


def run(quick: bool) -> dict[str, Any]:
    rows, goals = [], []
    for s in settings(quick):
        found = compared(s, quick)
        rows += found
        goals += reached(s, found)
    title = "A stack of K networks against one network after another"
    return {"title": title, "rows": rows, **about(), "goals": goals}


def compared(s: Setting, quick: bool) -> list[dict[str, Any]]:
    """Rows of one setting."""
    mine = {name: case for name, case in cases(quick).items() if name.startswith(f"{s.name} / ")}
    timings = side_by_side(mine, repeats=1 if quick else 3)
    reference = timings[f"{s.name} / plain"]
    chosen = strategies.settled(s.net, DEVICE, 1 if quick else LONG)
    rows = []
    for name, timing in timings.items():
        variant = name.partition(" / ")[2]
        step = 1e3 * timing.median / s.steps
        rows.append(
            {
                "setting": f"{s.name}, K = {s.k}",
                "variant": variant,
                "step ms": step,
                "plain / this": reference.median / timing.median,
                "first call s": timing.first,
                "chosen": variant == chosen,
                "difference L2": apart(timing.result, reference.result)[0],
                "peak MiB": None if quick else peak_memory("stack_training", name, quick),
            }
        )
    return rows


def reached(s: Setting, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the strategy that is chosen should reach, and whether it did."""
    chosen = next(row for row in rows if row["chosen"])
    best = min(row["step ms"] for row in rows if row["variant"] != "plain")
    over = chosen["step ms"] / best
    return [
        {
            "goal": f"{s.name}: the chosen strategy within {GOAL_CHOICE - 1:.0%} of the best",
            "found": over,
            "met": over <= GOAL_CHOICE,
        },
        {
            "goal": f"{s.name}: never slower than plain",
            "found": chosen["plain / this"],
            "met": chosen["plain / this"] >= 1,
        },
    ]
