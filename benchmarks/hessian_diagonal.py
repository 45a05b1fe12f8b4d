"""The exact Hessian diagonal against one backward pass for each weight.

ConvNet-2 on 8 × 8 images with about 5,000 weights, 64 images. Compared, on the same weights and images:

- "plain": the gradient with its graph kept, then one `torch.autograd.grad` for each of its entries.
- "exact_diagonal": `exact_diagonal`, products at the outputs of the layers, vmapped.
- "hutchinson": `estimate_diagonal` with 64 products, for what an estimate costs and how far off it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lmcnb
from benchmarks._shared import DEVICE, Case, about, peak_memory, random_data, side_by_side
from lmcnb.measure.diagonal import estimate_diagonal
from lmcnb.measure.hessian import HessianOperator
from lmcnb.measure.layerwise import exact_diagonal
from lmcnb.params import select

GOAL_RATIO, GOAL_ERROR = 20, 1e-4


def problem(width: int, images: int) -> tuple[lmcnb.Networks, lmcnb.Images]:
    """A network at its start and images of noise: time does not depend on what it learnt."""
    data = random_data(images, 10, 1, 8)
    net = lmcnb.Net.of(data.train, "convnet2", width)
    return lmcnb.Networks.initialise(net, (0,), DEVICE), data.train


def plain(network: lmcnb.Networks, images: lmcnb.Images) -> Tensor:
    """float64 [n]: one backward pass for each prunable weight."""
    net, buffers = network.net, select(network.buffers, 0)
    params = {n: p.clone().requires_grad_() for n, p in select(network.params, 0).items()}
    x = images.normalised(slice(0, len(images)))
    loss = F.cross_entropy(torch.func.functional_call(net.build().eval(), (params, buffers), (x,)), images.y)
    gradients = torch.autograd.grad(loss, [params[n] for n in net.prunable], create_graph=True)
    found = []
    for name, gradient in zip(net.prunable, gradients, strict=True):
        for k, entry in enumerate(gradient.flatten()):
            found.append(torch.autograd.grad(entry, params[name], retain_graph=True)[0].flatten()[k])
    return torch.stack(found).double()


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, and the memory benchmark calls one by one."""
    network, images = problem(4 if quick else 21, 16 if quick else 64)
    operator = HessianOperator(network, images)
    return {
        "plain": partial(plain, network, images),
        "exact_diagonal": partial(exact_diagonal, network, images),
        "hutchinson": lambda: estimate_diagonal(operator, 64).values,
    }


def run(quick: bool) -> dict[str, Any]:
    timings = side_by_side(cases(quick), repeats=1 if quick else 3)
    reference = timings["plain"]
    scale = float(reference.result.abs().max())
    rows = [
        {
            "variant": name,
            "seconds": timing.median,
            "plain / this": reference.median / timing.median,
            "off by, of the largest": float((timing.result - reference.result).abs().max()) / scale,
            "peak MiB": None if quick else peak_memory("hessian_diagonal", name, quick),
        }
        for name, timing in timings.items()
    ]
    exact = rows[1]
    goals = [
        {"goal": f"exact: {GOAL_RATIO} × plain", "found": exact["plain / this"],
         "met": exact["plain / this"] >= GOAL_RATIO},
        {"goal": f"exact: off by {GOAL_ERROR:g} at most", "found": exact["off by, of the largest"],
         "met": exact["off by, of the largest"] <= GOAL_ERROR},
    ]
    weights = len(reference.result)
    return {"title": f"Hessian diagonal of {weights:,} weights", "rows": rows, **about(), "goals": goals}
