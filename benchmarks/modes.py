"""Whether the rule of execution takes the fastest mode: every mode of `fit` on the networks of the profiles.

The papers' recipe, batch 64. "step ms" is a step of one network in a long training, compiling left out; "chosen" marks
what :func:`lmcnb.kernel.strategies.settled` takes for one. A narrow ResNet's stem and first strided block stand for the
papers' ResNets, which take minutes to compile and seconds a step on a CPU; of the others nothing is ever compiled.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import lmcnb
from benchmarks._shared import DEVICE, Case, about, random_data, side_by_side
from lmcnb.kernel.layers import fuses
from lmcnb.kernel.strategies import settled
from lmcnb.kernel.training import fit
from lmcnb.models import initialise
from lmcnb.models.resnet import BasicBlock
from lmcnb.params import stack

GOAL = 1.10
LONG = 100_000  # steps of a training for which any mode is worth compiling


@lmcnb.register_model("residual block")
def residual_block(net: lmcnb.Net) -> nn.Module:
    width = net.width or 8
    stem = [nn.Conv2d(net.channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, net.classes)]
    return nn.Sequential(*stem, BasicBlock(width, 2 * width, 2, nn.BatchNorm2d), *head)


def networks(quick: bool) -> dict[lmcnb.Net, int]:
    """What to train, and for how many steps."""
    digits, cifar = random_data(512, 10, 1, 8).train, random_data(512, 10, 3, 32).train
    found = {lmcnb.Net.of(digits, "convnet3", 16): 20}
    return found if quick else found | {
        lmcnb.Net.of(cifar, "convnet3", 32): 6, lmcnb.Net.of(cifar, "residual block", 16): 6}


def modes(net: lmcnb.Net, quick: bool) -> list[str]:
    if DEVICE.type == "cuda":
        return ["graph", "loop"]
    return ["loop"] + ["fused"] * fuses(net) + ["compiled"] * (not quick and settled(net, DEVICE, LONG) == "compiled")


def trained(net: lmcnb.Net, steps: int, mode: str) -> Tensor:
    train = random_data(512, 10, net.channels, net.size).train
    params, buffers = (stack([part]) for part in initialise(net, 0, DEVICE))
    recipe = lmcnb.Recipe(epochs=steps * 64 / len(train), schedule="constant")
    return fit(net, params, buffers, train, recipe, [0], strategy=mode).losses[0]


def cases(quick: bool) -> dict[str, Case]:
    return {f"{net.name}, width {net.width} / {mode}": partial(trained, net, steps, mode)
            for net, steps in networks(quick).items() for mode in modes(net, quick)}


def run(quick: bool) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows, goals = [], []
    for net, steps in networks(quick).items():
        name, chosen = f"{net.name}, width {net.width}", settled(net, DEVICE, LONG)
        mine = {n: case for n, case in cases(quick).items() if n.startswith(f"{name} / ")}
        timings = {n.partition(" / ")[2]: t for n, t in side_by_side(mine, repeats=1 if quick else 3).items()}
        rows += [{"network": name, "variant": mode, "step ms": 1e3 * t.median / steps, "first call s": t.first,
                  "chosen": mode == chosen} for mode, t in timings.items()]
        over = timings[chosen].median / min(t.median for t in timings.values())
        goals.append({"goal": f"{name}: the chosen mode within {GOAL - 1:.0%} of the best", "found": over,
                      "met": over <= GOAL})
    torch.set_num_threads(threads)
    return {"title": "The rule of execution against every mode, one thread", "rows": rows, **about(), "goals": goals}
