"""The exact Hessian diagonal against one backward pass for each weight.

ConvNet-2 on 8 × 8 images with about 5,000 weights, 64 images, one thread. Compared, on the same weights and images:

- "plain": the gradient with its graph kept, then one `torch.autograd.grad` for each of its entries. Every sixteenth
  is taken, and counted sixteen times.
- "exact_diagonal": all of the diagonal.
- "hutchinson": `estimate_diagonal` with 64 products (16 at quick sizes), for what an estimate costs and how far off
  it is.

All take turns in one process. "off by" is against "plain" in float64, at the entries that it takes.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lmcnb
from benchmarks._shared import DEVICE, Case, about, one_thread, peak_memory, random_data, side_by_side
from lmcnb.measure.diagonal import estimate_diagonal
from lmcnb.measure.diagonal_exact import exact_diagonal
from lmcnb.measure.hessian import HessianOperator
from lmcnb.params import select

GOAL_RATIO, GOAL_ERROR, EVERY = 100, 1e-5, 16


def problem(width: int, images: int) -> tuple[lmcnb.Networks, lmcnb.Images]:
    """A network at its start and images of noise: time does not depend on what it learnt."""
    data = random_data(images, 10, 1, 8)
    net = lmcnb.Net.of(data.train, "convnet2", width)
    return lmcnb.Networks.initialise(net, (0,), DEVICE), data.train


def plain(network: lmcnb.Networks, images: lmcnb.Images, dtype: torch.dtype = torch.float32) -> Tensor:
    """float64: one backward pass for every sixteenth prunable weight."""
    net, buffers = network.net, select(network.buffers, 0)
    params = {n: p.to(dtype).requires_grad_() for n, p in select(network.params, 0).items()}
    x = images.normalised().to(dtype)
    loss = F.cross_entropy(torch.func.functional_call(net.build().eval(), (params, buffers), (x,)), images.y)
    gradients = torch.autograd.grad(loss, [params[n] for n in net.prunable], create_graph=True)
    places = [(name, g, k) for name, g in zip(net.prunable, (g.flatten() for g in gradients)) for k in range(len(g))]
    return torch.stack([torch.autograd.grad(gradient[k], params[name], retain_graph=True)[0].flatten()[k].double()
                        for name, gradient, k in places[::EVERY]])


def sized(quick: bool) -> tuple[lmcnb.Networks, lmcnb.Images]:
    return problem(4 if quick else 21, 16 if quick else 64)


def cases(quick: bool) -> dict[str, Case]:
    """What :func:`run` times, and the memory benchmark calls one by one."""
    network, images = sized(quick)
    operator = HessianOperator(network, images)
    return {
        "plain": partial(plain, network, images),
        "exact_diagonal": partial(exact_diagonal, network, images),
        "hutchinson": lambda: estimate_diagonal(operator, 16 if quick else 64).values,
    }


@one_thread
def run(quick: bool) -> dict[str, Any]:
    network, images = sized(quick)
    timings, exact = side_by_side(cases(quick), repeats=1 if quick else 3), plain(network, images, torch.float64)
    weights, rows = network.net.count(), []
    for name, timing in timings.items():
        times = weights / len(exact) if name == "plain" else 1
        ratios = [weights / len(exact) * a / (times * b) for a, b in zip(timings["plain"].seconds, timing.seconds)]
        found = timing.result if name == "plain" else timing.result[::EVERY]
        rows.append({
            "variant": name,
            "seconds": times * timing.median,
            "plain / this": median(ratios),
            "spread": f"{min(ratios):.1f}–{max(ratios):.1f}",
            "n": len(ratios),
            "off by, of the largest": float((found - exact).abs().max() / exact.abs().max()),
            "peak MiB": None if quick else peak_memory("hessian_diagonal", name, quick),
        })
    goals = [
        {"goal": f"exact: {GOAL_RATIO} × plain", "found": rows[1]["plain / this"],
         "met": rows[1]["plain / this"] >= GOAL_RATIO},
        {"goal": f"exact: off by {GOAL_ERROR:g} at most", "found": rows[1]["off by, of the largest"],
         "met": rows[1]["off by, of the largest"] <= GOAL_ERROR},
    ]
    title = f"Hessian diagonal of {weights:,} weights, {len(images)} images, one thread"
    return {"title": title, "rows": rows, **about(), "threads": 1, "goals": goals}
