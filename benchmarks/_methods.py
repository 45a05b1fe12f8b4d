"""Units of work of the distillation methods, to be timed and counted; MTT's also as the textbook does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

import lmcnb
from benchmarks._shared import DEVICE, random_data
from lmcnb.distill import trajectory_gradient
from lmcnb.kernel.augment import AUGMENTS, Draws, apply, draw
from lmcnb.kernel.randomness import refuse_random
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.step import State
from lmcnb.kernel.training import fit
from lmcnb.models import MODELS, initialise
from lmcnb.params import Params, stack

LONG = 1_000_000  # steps for which a distillation would compile


@dataclass(frozen=True)
class Problem:
    """Methods at their settings, a network with its parameters (and others to aim at), and real images.

    ``steps`` are of MTT: a few, and those of an iteration.
    """

    net: lmcnb.Net
    train: lmcnb.Images
    params: Params
    target: Params
    idc: lmcnb.IDC
    dsa: lmcnb.DSA
    dm: lmcnb.DM
    steps: tuple[int, int]

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.params.values())).dtype

    def synthetic(self, low: float, high: float) -> Tensor:
        """Images [classes, ipc, C, H, W] to go on from."""
        shape = (self.train.classes, self.idc.ipc, *self.train.shape)
        pixels = torch.rand(shape, generator=seeded("synthetic"), dtype=self.dtype)
        return (low + (high - low) * pixels).to(DEVICE)

    def one_class(self) -> Problem:
        """The first class alone: what each costs."""
        return replace(self, train=replace(self.train.subset(self.train.y == 0), classes=1))

    def double(self) -> Problem:
        """With weights and synthetic images in float64."""
        return replace(self, **{k: {n: p.double() for n, p in getattr(self, k).items()} for k in ("params", "target")})


def problem(width: int, quick: bool = False) -> Problem:
    """The full-size methods on a network of some width, or tiny ones."""
    classes, ipc = (3, 2) if quick else (10, 10)
    train = random_data(classes * 64, classes, 3, 32, classes).train
    net = lmcnb.Net.of(train, "convnet3", width)
    params, target = (initialise(net, seed, DEVICE)[0] for seed in (0, 1))
    less = {"real_batch": 8} if quick else {}
    idc = lmcnb.IDC(ipc=ipc, factor=2, **(less | {"net_steps": 2} if quick else {}))
    dsa = lmcnb.DSA(ipc=ipc, **(less | {"inner": 2} if quick else {}))
    return Problem(net, train, params, target, idc, dsa, lmcnb.DM(ipc=ipc, **less), (1, 2) if quick else (5, 15))


def sized(quick: bool) -> Problem:
    found = problem(4, quick=True) if quick else problem(32)
    refuse_random(found.net)  # what a first training asks of a network is no part of a step
    return found


def match_idc(p: Problem, way: str | None = None) -> Tensor:
    """IDC's matching of all classes: gradient of the synthetic images. ``way``: by the rule, or "loop"."""
    return p.idc.sweep(p.train, p.net, p.params, p.synthetic(0, 1), seeded("sweep"), way)[0]


def match_dsa(p: Problem, way: str | None = None) -> Tensor:
    """The same of DSA."""
    return p.dsa.sweep(p.train, p.net, p.params, p.synthetic(-2, 2), seeded("sweep"), way)[0]


def match_means(p: Problem, way: str | None = None) -> Tensor:
    """The same of DM, which is its whole iteration."""
    return p.dm.but(iterations=1 if way else LONG).gradient(p.train, p.net, p.synthetic(-2, 2), "iteration")[0]


def train_on_real(p: Problem, steps: int, batch: int, strategy: str) -> State:
    """SGD steps of one network on real images."""
    recipe = p.idc.recipe.but(epochs=steps * batch / len(p.train), batch=batch)
    return fit(p.net, stack([p.params]), {}, p.train, recipe, ["network"], strategy=strategy)


def train_on_synthetic(p: Problem, epochs: int) -> State:
    """DSA's training between two matching steps."""
    network = State.start(stack([p.params]), {})
    return p.dsa.but(inner=epochs)._train(p.net, network, p.train, p.synthetic(-2, 2), "network")


@dataclass(frozen=True)
class Walk:
    """MTT's iteration of so many steps; a call returns the gradient of the images."""

    problem: Problem
    steps: int
    way: Callable[..., Tensor]

    def __call__(self) -> Tensor:
        return self._walk(self.steps)

    def warm_up(self) -> None:
        self._walk(1)

    def _walk(self, steps: int) -> Tensor:
        p, x = self.problem, self.problem.synthetic(-2, 2).flatten(0, 1)
        labels = torch.arange(p.train.classes, device=DEVICE).repeat_interleave(p.idc.ipc)
        draws = draw(AUGMENTS["dsa_single"], steps, len(x), x.shape[-1], seeded("walk"))
        draws = {n: t.to(DEVICE, x.dtype if t.is_floating_point() else t.dtype) for n, t in draws.items()}
        draws["index"] = torch.arange(len(x), device=DEVICE).expand(steps, -1)
        each = [{n: t[s] for n, t in draws.items()} for s in range(steps)]
        return self.way(p, x, labels, torch.tensor(0.01, dtype=x.dtype, device=DEVICE), each)


def ours(p: Problem, x: Tensor, labels: Tensor, lr: Tensor, draws: list[Draws], long: bool = False) -> Tensor:
    return trajectory_gradient(p.net, p.params, p.target, x, labels, lr, draws, long)[0]


def plain(p: Problem, x: Tensor, labels: Tensor, lr: Tensor, draws: list[Draws]) -> Tensor:
    """The textbook's way: every step's graph is kept until the last."""
    module, x, lr = MODELS[p.net.name](p.net).to(x), x.clone().requires_grad_(), lr.clone().requires_grad_()
    theta = {n: w.clone().requires_grad_() for n, w in p.params.items()}
    for drawn in draws:
        batch = apply(AUGMENTS["dsa_single"], x[drawn["index"]], drawn)
        loss = F.cross_entropy(torch.func.functional_call(module, theta, (batch,)), labels[drawn["index"]])
        grads = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        theta = {n: w - lr * g for (n, w), g in zip(theta.items(), grads, strict=True)}
    left = sum((theta[n] - p.target[n]).square().sum() for n in theta)
    distance = sum((p.params[n] - p.target[n]).square().sum() for n in theta)
    return torch.autograd.grad(left / distance, [x, lr])[0]
