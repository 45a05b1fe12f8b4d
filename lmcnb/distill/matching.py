"""The step of every gradient-matching method: how far apart real and synthetic gradients are, and which way to go."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..data import Images, normalise
from ..kernel.augment import AUGMENTS, apply, draw
from ..kernel.exact import exact_on
from ..kernel.inside import by_autograd, class_gradients
from ..kernel.layers import fuse_twice
from ..kernel.recipe import Recipe
from ..kernel.step import layout_of
from ..kernel.strategies import compiled as compile_apart
from ..models import Net, per_network
from ..params import Params, sent
from .base import decode

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": lambda a, b: (a - b).flatten(1).square().sum(1),
    "l1": lambda a, b: (a - b).flatten(1).abs().sum(1),
    "cosine": lambda a, b: _angles(a.flatten(2), b.flatten(2)),
}


def _angles(a: Tensor, b: Tensor) -> Tensor:
    """DC's distance (Zhao et al., 2021, section 3.3): Σ over output rows of 1 − cos; [c, out, in] → [c]."""
    return (1 - (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2) + 1e-6)).sum(1)


@per_network(8)
def matcher(net: Net, factor: int, distance: str, way: str, augment: str = "match", linear: bool = False) -> Callable:
    """``match(params, pixels, real, pick, labels, draws, mean, std)``: pixel gradients and losses of c classes.

    pixels [c, ipc, C, H, W] and real [c, n, C, H, W], before normalisation; pick int64 [c, m], which decoded images to
    use; labels int64 [c, 1]; draws: one augmentation for each class, shared by its real and synthetic images.
    ``distance`` is one of :data:`DISTANCES`; ``linear`` matches the linear layers' weights too. ``way`` is "loop",
    "compiled" or "fused" (:func:`lmcnb.kernel.strategies.differentiated` chooses).
    """
    gradients, warps, apart = class_gradients(net, linear, way == "fused"), AUGMENTS[augment], DISTANCES[distance]
    layout = layout_of(net, Recipe(), fuse_twice if way == "fused" else None)

    def prepared(x: Tensor, draws, mean: Tensor, std: Tensor) -> Tensor:
        c, n = x.shape[:2]
        each = {k: d.flatten(0, 1).repeat_interleave(n, 0) for k, d in draws.items()}
        x = apply(warps, normalise(x.flatten(0, 1), mean, std), each, differentiated=True)
        return x.contiguous(memory_format=layout).unflatten(0, (c, n))

    def match(params, pixels, real, pick, labels, draws, mean, std):
        target = gradients(params, prepared(real, draws, mean, std), labels.expand(-1, real.shape[1]))
        target = [t.detach() for t in target]

        def loss(p: Tensor):
            tiles = decode(p.flatten(0, 1), factor).unflatten(0, (factor ** 2, *p.shape[:2])).transpose(0, 1)
            chosen = torch.stack([t[i] for t, i in zip(tiles.flatten(1, 2), pick)])
            found = gradients(params, prepared(chosen, draws, mean, std), labels.expand(-1, pick.shape[1]))
            each: Tensor = sum(apart(a, b) for a, b in zip(target, found))  # pyright: ignore[reportAssignmentType]
            return each.sum(), each
        return gradient(loss)(pixels)
    gradient = by_autograd if way == "fused" else partial(torch.func.grad, has_aux=True)
    return compile_apart(match) if way == "compiled" else match


def sweep(match: Callable, params: Params, pixels: Tensor, real: Tensor, pick: Tensor, draws: dict[str, Tensor],
          mean: Tensor, std: Tensor, at_once: int = 1) -> tuple[Tensor, Tensor]:
    """Gradient [classes, ipc, C, H, W] of the matching loss of every class, and the losses [classes].

    Classes share the frozen network and nothing else, so they may go in one batch or ``at_once`` with one result (see
    :func:`lmcnb.kernel.sizes.classes_at_once`).
    """
    classes = len(pixels)
    labels, parts = torch.arange(classes, device=pixels.device)[:, None], []
    for s in (slice(c, c + at_once) for c in range(0, classes, at_once)):
        with exact_on(pixels.device):
            parts.append(match(params, pixels[s], real[s], pick[s], labels[s], {n: d[s] for n, d in draws.items()},
                               mean, std))
    grads, losses = zip(*parts)
    return torch.cat(grads), torch.cat(losses)


def real_batches(train: Images, count: int, generator: torch.Generator) -> Tensor:
    """Indices int64 [classes, count] of random real images of each class, drawn with replacement."""
    drawn = torch.stack([torch.randint(len(i), (count,), generator=generator) for i in train.by_class])
    return train.class_table.gather(1, sent(drawn, train.x.device))


def shared_draws(augment: str, train: Images, generator: torch.Generator) -> dict[str, Tensor]:
    """One augmentation for each class, on the images' device."""
    draws = draw(AUGMENTS[augment], train.classes, 1, train.shape[-1], generator)
    return {n: sent(t, train.x.device) for n, t in draws.items()}
