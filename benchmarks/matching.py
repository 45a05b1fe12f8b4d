"""Weight matching of two initialisations, seeds 0 and 1, against the textbook loop: ConvNet, ResNet, transformer.

- "plain": the loop that one would write after Ainsworth et al. (2023), algorithm 1. For each permutation in turn the
  matrix of products, from all tensors that it touches with the others applied, then SciPy's assignment, until a whole
  sweep gains nothing. Which axes a permutation touches both know beforehand. The algorithm knows no heads of attention:
  a transformer has no such row, and its "spread" is of seconds.
- "weight_matching": the package's, which also checks on two images that the network found computes the same.

Both visit the layers in the package's order, and should find the same. All take turns in one process, on one thread.
"agreement" is the cosine between the first network's weights and the second's in their new places, "assignments" how
often SciPy's was called, "elsewhere" how many units "plain" puts in another place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import scipy
import torch
from torch import Tensor

import lmcnb
from benchmarks._shared import DEVICE, Case, about, one_thread, side_by_side
from lmcnb.measure.align import LEAST, weight_matching
from lmcnb.models import ViT, permutation_spec
from lmcnb.models.permutations import Permutation
from lmcnb.params import select

GOAL = 1.0


def nets(quick: bool) -> dict[str, lmcnb.Net]:
    if quick:
        small = {name: lmcnb.Net(name=name, size=8, width=4) for name in ("convnet2", "resnet18")}
        return small | {"vit": ViT(size=8, width=12, depth=1, patch=4)}
    return {"convnet3, width 128": lmcnb.Net(name="convnet3", width=128),
            "resnet18, width 32": lmcnb.Net(name="resnet18"), "ViT-Ti/16, 64 px": ViT(resolution=64)}


def written_out(net: lmcnb.Net) -> dict[str, list[str | None]]:
    """Whose units lie on each axis of each weight, of a network whose units are channels."""
    spec = permutation_spec(net)
    parts = {int(unit): part for part, units in spec.parts.items() for unit in units.flatten()}
    return {n: [None if a is None else parts[int(a[0])] for a in axes] for n, axes in spec.axes.items()}


def moved(tensor: Tensor, on: list[str | None], orders: Permutation, but: int) -> Tensor:
    """A tensor with the units of its axes but one in their new places; a flattened channel is a block of columns."""
    for k, part in enumerate(on):
        if part is not None and k != but:
            order = orders[part].to(DEVICE)
            tensor = tensor.unflatten(k, (len(order), -1)).index_select(k, order).flatten(k, k + 1)
    return tensor


def plain(axes: dict[str, list[str | None]], networks: list[lmcnb.Networks]) -> Permutation:
    """The loop that one would write."""
    (a, b), generator = (select(n.params, 0) for n in networks), torch.Generator().manual_seed(0)
    orders, progress = permutation_spec(networks[0].net).identity(), True
    turns = parts = list(orders)
    while progress:
        progress = False
        for part in turns:
            n = len(orders[part])
            alike = torch.zeros(n, n, device=DEVICE)
            for name in a:
                for k in [k for k, other in enumerate(axes.get(name, [])) if other == part]:
                    its = moved(b[name], axes[name], orders, but=k)
                    alike += a[name].movedim(k, 0).reshape(n, -1) @ its.movedim(k, 0).reshape(n, -1).T
            best = torch.from_numpy(scipy.optimize.linear_sum_assignment(alike.cpu(), maximize=True)[1])
            old, new = (alike[torch.arange(n), order].double().sum() for order in (orders[part], best))
            if new > old + LEAST * abs(old):
                orders[part], progress = best, True
        turns = [parts[k] for k in torch.randperm(len(parts), generator=generator)]
    return orders


def counted(match: Callable[..., Permutation], *given: Any) -> tuple[Permutation, int]:
    with patch("scipy.optimize.linear_sum_assignment", wraps=scipy.optimize.linear_sum_assignment) as assignment:
        return {part: order.flatten() for part, order in match(*given).items()}, assignment.call_count


def cases(quick: bool) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for name, net in nets(quick).items():
        pair = [lmcnb.Networks.initialise(net, (seed,), DEVICE) for seed in (0, 1)]
        if not isinstance(net, ViT):
            found[f"{name}: plain"] = partial(counted, plain, written_out(net), pair)
        found[f"{name}: weight_matching"] = partial(counted, weight_matching, *pair)
    return found


def agreement(net: lmcnb.Net, orders: Permutation) -> float:
    spec, (a, b) = permutation_spec(net), (select(lmcnb.Networks.initialise(net, (s,)).params, 0) for s in (0, 1))
    mine, its = (torch.cat([p[n].flatten().double() for n in p if n in spec.axes]) for p in (a, spec.apply(b, orders)))
    return float(torch.cosine_similarity(mine, its, 0))


@one_thread
def run(quick: bool) -> dict[str, Any]:
    timings, rows, goals, known = side_by_side(cases(quick), repeats=1 if quick else 5), [], [], nets(quick)
    for case, timing in timings.items():
        (name, _, variant), (orders, assignments) = case.partition(": "), timing.result
        agreed, spread = agreement(known[name], orders), f"{min(timing.seconds):.2f}–{max(timing.seconds):.2f} s"
        rows.append({"network": name, "variant": variant, "seconds": timing.median, "plain / this": "",
                     "spread": spread, "n": len(timing.seconds), "assignments": assignments, "agreement": agreed})
        if reference := timings.get(f"{name}: plain"):
            ratios, places = [a / b for a, b in zip(reference.seconds, timing.seconds)], reference.result[0]
            rows[-1] |= {"plain / this": median(ratios), "spread": f"{min(ratios):.2f}–{max(ratios):.2f}",
                         "elsewhere": sum(int((orders[part] != order).sum()) for part, order in places.items())}
            least = agreement(known[name], places) - 1e-9
            goals += [{"goal": f"{name}: {GOAL:g} × plain", "found": median(ratios), "met": median(ratios) >= GOAL},
                      {"goal": f"{name}: agrees no worse", "found": agreed, "met": agreed >= least}
                      ] if variant != "plain" else []
    return {"title": "Weight matching of two initialisations, one thread", "rows": rows, **about(), "goals": goals}
