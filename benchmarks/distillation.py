"""What one unit of work of each distillation method costs: seconds, FLOPs, memory; and MTT against an unrolled graph.

Full size: ConvNet-3 of width 32, CIFAR-shaped noise, 10 classes, 10 images each, one thread. The units:

- IDC: an inner iteration is a matching sweep of all classes and 32 SGD steps of the network on real data; an outer
  iteration is 100 of them, and "each further image" is what one more stored image of every class adds to it (the slope
  between 1 and 10). Early IDC trains no network between, so its inner iteration is the sweep alone (training its pool
  of networks, once, is not counted).
- DSA: a matching step (256 real images of each class) and its 50 epochs on the synthetic images; ten are timed.
- DM: one iteration (256 real images of each class).
- MTT: one iteration of 15 steps on 100 synthetic images, as the package walks it (constant graph memory), and as
  the textbook does ("plain"): unrolled with `create_graph=True`, then one backward pass. On the same weights, images
  and augmentation, so both find the same gradient; how near, is said in float64 on a narrow network. Where a graph of
  15 steps would not fit into memory, a third of them is timed and counted three times.

Seconds are the median of two calls, after a first, of what a full-length distillation calls: fused, compiled or
replayed as a CUDA graph where that is; of "plain", on a CPU, of the first and only one. FLOPs are those that PyTorch's
counter sees in eager calls: one class (they cost the same each) or one step, times their number. GFLOP/s is held
against a large matrix product and the network's largest convolution, both measured in the same run. Peak memory is of
the same calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._methods import (
    LONG,
    Problem,
    Walk,
    match_dsa,
    match_idc,
    match_means,
    ours,
    plain,
    problem,
    sized,
    train_on_real,
    train_on_synthetic,
)
from benchmarks._shared import DEVICE, Case, about, apart, conv_gflops, matmul_gflops, peak_memory, side_by_side
from lmcnb.kernel.strategies import differentiated, settled

GOAL_EQUAL, GOAL_TIME, GOAL_MEMORY = 1e-8, 1.5, 1.25


@dataclass(frozen=True)
class Part:
    """A piece of work.

    Attributes:
        case: does it, or one of ``times`` equal shares of it, as a full-length distillation would.
        flops: counts those of the whole.
    """

    case: Case
    flops: Callable[[], float]
    times: int = 1


def by_class(p: Problem, case: Callable[..., Tensor]) -> Part:
    """Work that costs the same for every class."""
    eager = "loop" if differentiated(p.net, DEVICE, long=True) == "compiled" else None
    return Part(partial(case, p), lambda: p.train.classes * counted(partial(case, p.one_class(), eager)))


def networks(p: Problem) -> dict[str, Part]:
    """Training between matching steps; of DSA's epochs, a fifth is timed."""
    strategy = settled(p.net, DEVICE, LONG)
    steps, batch, inner, synthetic = p.idc.net_steps, p.idc.recipe.batch, p.dsa.inner, p.train.classes * p.dsa.ipc
    shares = 5 if inner % 5 == 0 else 1
    return {
        "IDC: network's steps": Part(
            partial(train_on_real, p, steps, batch, strategy),
            lambda: steps * counted(partial(train_on_real, p, 1, batch, "loop")),
        ),
        "DSA: inner epochs": Part(
            partial(train_on_synthetic, p, inner // shares),
            lambda: inner * counted(partial(train_on_real, p, 1, synthetic, "loop")),
            shares,
        ),
    }


def walks(p: Problem, whole_graph: bool) -> dict[str, Part]:
    """MTT's iteration, ours and plain; of the latter a third unless ``whole_graph``."""
    few, steps = p.steps
    one = Part(Walk(p, steps, partial(ours, long=True)), partial(walked_flops, p, ours))
    times = 1 if whole_graph else steps // few
    other = Part(Walk(p, steps // times, plain), partial(walked_flops, p, plain), times)
    return {"MTT: iteration": one, "MTT: iteration, plain": other}


def walked_flops(p: Problem, way: Callable[..., Tensor]) -> float:
    """Of an iteration: every step costs the same but the first, before which nothing needs a gradient."""
    first, two = (counted(Walk(p, k, way)) for k in (1, 2))
    return first + (p.steps[1] - 1) * (two - first)


def counted(case: Case) -> float:
    """FLOPs of an eager call."""
    with FlopCounterMode(display=False) as counter:
        case()
    return float(counter.get_total_flops())


def parts(p: Problem, whole_graph: bool = True) -> dict[str, Part]:
    """Everything that is timed."""
    return {
        "IDC: matching sweep": by_class(p, match_idc),
        "IDC: matching sweep, 1 image": by_class(replace(p, idc=p.idc.but(ipc=1)), match_idc),
        "DSA: matching step": by_class(p, match_dsa),
        **networks(p),
        "DM: iteration": by_class(p, match_means),
        **walks(p, whole_graph),
    }


UNITS: dict[str, tuple[int, tuple[str, ...]]] = {
    "IDC: inner iteration": (1, ("IDC: matching sweep", "IDC: network's steps")),
    "IDC: outer iteration, 100 inner": (100, ("IDC: matching sweep", "IDC: network's steps")),
    "early IDC: inner iteration": (1, ("IDC: matching sweep",)),
    "DSA: step": (1, ("DSA: matching step", "DSA: inner epochs")),
}


def cases(quick: bool) -> dict[str, Case]:
    """What the memory benchmark calls one by one: matching, by the name of its part, and MTT's walks."""
    p = sized(quick)
    matching = {"IDC: matching sweep": match_idc, "DSA: matching step": match_dsa, "DM: iteration": match_means}
    found: dict[str, Case] = {name: partial(case, p) for name, case in matching.items()}
    return found | {walked(way, s): Walk(p, s, way) for way in (ours, plain) for s in p.steps}


def walked(way: Callable[..., Tensor], steps: int) -> str:
    return f"MTT: {steps} steps{', plain' if way is plain else ''}"


def peaks(p: Problem) -> dict[str, float]:
    """MiB of every case; without the unrolled graph of a whole iteration where it would not fit."""
    found: dict[str, float] = {}
    few, steps = p.steps
    for name in cases(quick=False):
        if name != walked(plain, steps) or found[walked(plain, few)] * steps / few < 0.8 * free_memory():
            found[name] = peak_memory("distillation", name, quick=False)
    return found


def free_memory() -> float:
    """MiB that the device can still give; without limit where the system does not say."""
    if DEVICE.type == "cuda":
        return torch.cuda.mem_get_info()[0] / 2**20
    if sys.platform != "linux":
        return float("inf")
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**10


def run(quick: bool) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = measured(sized(quick), {} if quick else peaks(sized(quick)), quick)
    torch.set_num_threads(threads)
    return found


def measured(p: Problem, memory: dict[str, float], quick: bool) -> dict[str, Any]:
    """The benchmark's result; ``memory`` holds peaks by case, or nothing."""
    limits = {"matmul_gflops": matmul_gflops(512 if quick else 2048), "conv_gflops": conv_gflops(p.net.width)}
    mine = parts(p, not memory or walked(plain, p.steps[1]) in memory)
    seconds, flops = timed(mine), {name: part.flops() for name, part in mine.items()}
    rows = [row(n, seconds[n], flops[n], limits) for n in mine]
    for unit, (times, names) in UNITS.items():
        rows.append(row(unit, *(times * sum(d[n] for n in names) for d in (seconds, flops)), limits))
    sweep, further = "IDC: matching sweep", 100 / (p.idc.ipc - 1)
    slope = (further * (d[sweep] - d[f"{sweep}, 1 image"]) for d in (seconds, flops))
    rows.append(row("IDC: outer iteration, each further image", *slope, limits))
    known = {r["variant"]: r for r in rows}
    for name, mib in memory.items():
        known.setdefault(name, {"variant": name})["peak MiB"] = mib
    return {
        "title": title(p, limits),
        "rows": list(known.values()),
        **about(),
        **limits,
        "goals": goals(p, seconds, memory),
    }


def timed(mine: dict[str, Part]) -> dict[str, float]:
    """Seconds of every part. The unrolled graph is long and never compiled: on a CPU one call has to do."""
    once = {n: part.case for n, part in mine.items() if n.endswith("plain") and DEVICE.type == "cpu"}
    found = side_by_side({n: mine[n].case for n in mine if n not in once}, repeats=2)
    found |= side_by_side(once, repeats=0)
    return {n: mine[n].times * (t.median if t.seconds else t.first) for n, t in found.items()}


def row(name: str, seconds: float, flops: float, limits: dict[str, float]) -> dict[str, Any]:
    rate = flops / seconds / 1e9
    shares = {f"of {n.partition('_')[0]}": rate / limit for n, limit in limits.items()}
    return {"variant": name, "seconds": seconds, "GFLOP": flops / 1e9, "GFLOP/s": rate, **shares}


def title(p: Problem, limits: dict[str, float]) -> str:
    return (
        f"One unit of each distillation method, ConvNet-3 of width {p.net.width}, {p.train.classes} classes, "
        f"{p.idc.ipc} images each.\nThis machine: {limits['matmul_gflops']:.0f} GFLOP/s in a matrix product, "
        f"{limits['conv_gflops']:.0f} in a convolution"
    )


def goals(p: Problem, seconds: dict[str, float], memory: dict[str, float]) -> list[dict[str, Any]]:
    """What MTT's walk should reach against the unrolled graph, and whether it did."""
    narrow = problem(4, quick=True).double()
    off = apart(*(Walk(narrow, 3, way)() for way in (ours, plain)))[0]
    ratio = seconds["MTT: iteration"] / seconds["MTT: iteration, plain"]
    found = [
        {"goal": f"MTT: gradient of the unrolled graph, to {GOAL_EQUAL:g}", "found": off, "met": off <= GOAL_EQUAL},
        {"goal": f"MTT: at most {GOAL_TIME:g} × plain's time", "found": ratio, "met": ratio <= GOAL_TIME},
    ]
    if memory:
        few, steps = (memory[walked(ours, s)] for s in p.steps)
        same = f"MTT: memory of {p.steps[1]} steps at most {GOAL_MEMORY:g} × that of {p.steps[0]}"
        less = f"MTT: less memory than plain, {p.steps[0]} steps each"
        share = few / memory[walked(plain, p.steps[0])]
        found.append({"goal": same, "found": steps / few, "met": steps / few <= GOAL_MEMORY})
        found.append({"goal": less, "found": share, "met": share < 1})
    return found
