"""How cost grows: with the width of a network, the number of images, of networks in a stack, of rounds of pruning.

Seconds of the same call at several sizes, on one thread, and the slope of their logarithms by least squares: 1 is
proportional, 2 is quadratic; what a call costs at any size makes it smaller. A slope is taken in every turn; "spread"
is the range over the turns. The peak memory is that of the largest size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import lmcnb
from benchmarks._shared import DEVICE, Case, about, one_thread, peak_memory, random_data, side_by_side
from lmcnb.measure.diagonal_exact import exact_diagonal

RECIPE = lmcnb.Recipe(epochs=1, batch=64, schedule="constant")


@dataclass(frozen=True)
class Growth:
    """A call of one size, the sizes, and the steepest slope that its cost may have."""

    call: Callable[[int], Any]
    sizes: tuple[int, ...]
    most: float


def networks(width: int, count: int = 1) -> lmcnb.Networks:
    net = lmcnb.Net(name="convnet3", channels=3, size=32, width=width)
    return lmcnb.Networks.initialise(net, range(count), DEVICE)


def trained(images: int = 128, width: int = 16, count: int = 1) -> Any:
    return networks(width, count).train(random_data(images, 10, 3, 32), RECIPE)


def measured(images: int) -> Any:
    return networks(16).evaluate(random_data(images, 10, 3, 32).train)


def pruned(rounds: int) -> Any:
    return lmcnb.prune_iteratively(networks(8), random_data(64, 10, 3, 32), RECIPE, rounds=rounds)


def curved(width: int = 4, images: int = 16) -> Any:
    return exact_diagonal(networks(width), random_data(images, 10, 3, 32).train)


def growths(quick: bool) -> dict[str, Growth]:
    found = {
        "training, width": Growth(lambda width: trained(width=width), (16, 32, 64, 128), 2),
        "training, images": Growth(lambda images: trained(images), (128, 256, 512, 1024), 1.1),
        "training, networks in the stack": Growth(lambda count: trained(64, count=count), (1, 2, 4, 8), 1.1),
        "pruning, rounds": Growth(pruned, (1, 2, 4, 8), 1.1),
        "evaluation, images": Growth(measured, (500, 1000, 2000, 4000), 1.1),
        "exact diagonal, width": Growth(lambda width: curved(width), (2, 4, 8, 16), 3),
        "exact diagonal, images": Growth(lambda images: curved(images=images), (16, 32, 64, 128), 1.1),
    }
    return {"evaluation, images": Growth(measured, (20, 40), 3)} if quick else found


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, and the memory benchmark calls one by one."""
    return {f"{name} {size}": partial(g.call, size) for name, g in growths(quick).items() for size in g.sizes}


@one_thread
def run(quick: bool) -> dict[str, Any]:
    timings, rows, goals = side_by_side(cases(quick), repeats=1 if quick else 3), [], []
    for name, growth in growths(quick).items():
        mine = [timings[f"{name} {size}"] for size in growth.sizes]
        sizes = np.log(growth.sizes)
        slopes = [float(np.polyfit(sizes, np.log(turn), 1)[0]) for turn in zip(*(t.seconds for t in mine))]
        largest = f"{name} {growth.sizes[-1]}"
        rows.append({
            "variant": name,
            "sizes": ", ".join(map(str, growth.sizes)),
            "seconds": ", ".join(f"{t.median:.3g}" for t in mine),
            "slope": median(slopes),
            "spread": f"{min(slopes):.2f}–{max(slopes):.2f}",
            "n": len(slopes),
            "peak MiB": None if quick else peak_memory("slopes", largest, quick),
        })
        goals.append({"goal": f"{name}: slope {growth.most:g} at most", "found": median(slopes),
                      "met": median(slopes) <= growth.most})
    return {"title": "How cost grows, one thread", "rows": rows, **about(), "threads": 1, "goals": goals}
