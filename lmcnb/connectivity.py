"""Linear mode connectivity: the straight path between two trained networks, and how high it rises."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .data import Images
from .masks import Masks
from .models import Net
from .params import Params, clone, lerp, select, size
from .training import Recipe, evaluate

QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")
CONVENTIONS = ("frankle", "chord", "midpoint")
BatchNorm = Literal["lerp", "recalibrate"]
Model = tuple[Params, Params]


@dataclass(frozen=True)
class Path:
    """θ(α) = (1 − α)θ₁ + αθ₂ of P pairs, measured.

    Attributes:
        alphas: float64 [A]. train_loss, test_loss: float64 [P, A], mean cross-entropy in nats.
        train_error, test_error: float64 [P, A], share of images in 0…1. Un-augmented images, eval mode.
    """

    alphas: Tensor
    train_loss: Tensor
    train_error: Tensor
    test_loss: Tensor
    test_error: Tensor

    def tensors(self) -> Params:
        return {"alphas": self.alphas, **{q: getattr(self, q) for q in QUANTITIES}}

    def barrier(self, quantity: str = "train_loss", convention: str = "frankle") -> Tensor:
        """float64 [P]; see :func:`barrier`. Raises ValueError for unknown names."""
        if quantity not in QUANTITIES:
            raise ValueError(f"unknown quantity {quantity!r}; known: {', '.join(QUANTITIES)}")
        return barrier(self.alphas, getattr(self, quantity), convention)


def barrier(alphas: Tensor, values: Tensor, convention: str = "frankle") -> Tensor:
    """Height of a path above its ends. alphas [A] from 0 to 1; values [..., A]; returns [...].

    - "frankle": max over α of E(α) − ½(E(0) + E(1)) (Frankle et al., 2020). Stable below 2 points of error.
    - "chord": max over α of E(α) − ((1 − α)E(0) + αE(1)) (Entezari et al., 2022).
    - "midpoint": E(½) − ½(E(0) + E(1)) (McDermott & Parhi, 2025, on the train loss).

    Raises:
        ValueError: unknown convention, or alphas without 0, 1 (or ½ for "midpoint").
    """
    if alphas[0] != 0 or alphas[-1] != 1:
        raise ValueError(f"a barrier needs alphas from 0 to 1; got {float(alphas[0])} to {float(alphas[-1])}")
    ends = (values[..., 0] + values[..., -1]) / 2
    if convention == "frankle":
        return values.amax(-1) - ends
    if convention == "chord":
        return (values - values[..., :1] * (1 - alphas) - values[..., -1:] * alphas).amax(-1)
    if convention == "midpoint":
        middle = (alphas - 0.5).abs().argmin()
        if abs(float(alphas[middle]) - 0.5) > 1e-9:
            raise ValueError("the midpoint barrier needs α = 0.5 among the alphas: take an odd number of points")
        return values[..., middle] - ends
    raise ValueError(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")


def alpha_grid(points: int = 11) -> Tensor:
    """float64 [points], evenly from exactly 0 to exactly 1, symmetric. Raises ValueError below 2 points."""
    if points < 2:
        raise ValueError(f"a path needs at least 2 points; got {points}")
    return torch.arange(points, dtype=torch.float64) / (points - 1)


def interpolate(a: Model, b: Model, alphas: Tensor) -> Model:
    """θ(α) between two models (no model axis): a stack [A, ...] of parameters and buffers, exact at both ends.

    Raises:
        ValueError: an α outside [0, 1].
    """
    if bool(((alphas < 0) | (alphas > 1)).any()):
        raise ValueError(f"α must lie in [0, 1]; got {float(alphas.min())}…{float(alphas.max())}")
    return lerp(a[0], b[0], alphas), lerp(a[1], b[1], alphas)


def paths(net: Net, a: Model, b: Model, train: Images, test: Images, alphas: Tensor | Sequence[float] | None = None, *,
          bn: BatchNorm = "lerp", strategy: str = "auto") -> Path:
    """Measures the paths between P pairs of trained networks.

    Args:
        a, b: stacked parameters and buffers [P, ...]: the two ends of each pair.
        train, test: images to measure on (un-augmented). alphas: [A] in [0, 1], by default 11 points.
        bn: "lerp" interpolates BatchNorm statistics with the weights (the papers); "recalibrate" re-estimates them for
            every θ(α) on ``train``. Without BatchNorm the two agree.
    """
    if bn not in ("lerp", "recalibrate"):
        raise ValueError(f"unknown bn {bn!r}; known: lerp, recalibrate")
    alphas = alpha_grid() if alphas is None else torch.as_tensor(alphas, dtype=torch.float64)
    rows: dict[str, list[Tensor]] = {q: [] for q in QUANTITIES}
    for pair in range(size(a[0])):
        theta = interpolate(tuple(select(d, pair) for d in a), tuple(select(d, pair) for d in b), alphas)
        if bn == "recalibrate":
            theta = theta[0], recalibrate(net, *theta, train)
        for split, images in (("train", train), ("test", test)):
            scores = evaluate(net, *theta, images, strategy=strategy)
            rows[f"{split}_loss"].append(scores.loss)
            rows[f"{split}_error"].append(scores.error)
    return Path(alphas, **{q: torch.stack(r) for q, r in rows.items()})


@torch.no_grad()
def recalibrate(net: Net, params: Params, buffers: Params, images: Images, batch: int = 500) -> Params:
    """BatchNorm statistics of each model [K, ...] re-estimated on ``images``: exact cumulative means over batches.

    As in REPAIR (Jordan et al., 2023) and Izmailov et al. (2018). Networks without BatchNorm keep their buffers. The
    batches are as few as ``batch`` images in each allow, and of even size.

    Raises:
        ValueError: a single image, which has no variance where features are one pixel.
    """
    module = net.build()
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return buffers
    if len(images) < 2:
        raise ValueError(f"re-estimating BatchNorm needs two images or more; got {len(images)}: raise train_images")
    parts = torch.arange(len(images)).tensor_split(-(-len(images) // batch))  # a rest could be one image
    for m in norms:
        m.momentum = 1.0  # a batch then leaves exactly its own statistics, which are averaged here
    module.train()
    models = []
    for k in range(size(params)):
        p, total = select(params, k), {}
        for part in parts:
            x, own = images.normalised(slice(int(part[0]), int(part[-1]) + 1)), clone(select(buffers, k))
            torch.func.functional_call(module, (p, own), (x,))
            for n, t in own.items():
                total[n] = total.get(n, 0) + (t.double() * len(x) if t.is_floating_point() else 0)
        models.append({n: (total[n] / len(images)).to(t) if t.is_floating_point() else t
                       for n, t in select(buffers, k).items()})
    return {n: torch.stack([m[n] for m in models]) for n in buffers}


def with_residuals(trained: Params, init: Params, masks: Masks, recipe: Recipe, images: int, from_step: int = 0
                   ) -> Params:
    """Trained subnetworks as the released code interpolates them: masks dropped, pruned weights decayed.

    There a pruned weight is multiplied by 0 in the forward pass and sees weight decay alone, so after training it is
    its initial value times :func:`residual`. Stacked [K, ...] throughout.
    """
    factor = residual(recipe, images, from_step)
    return {n: torch.where(masks[n], p, init[n] * factor) if n in masks else p for n, p in trained.items()}


def residual(recipe: Recipe, images: int, from_step: int = 0) -> float:
    """Share of its initial value that weight decay alone leaves of a weight after a whole training (SGD, momentum).

    ``from_step`` is the step of the schedule that the training starts from, for networks rewound to it.
    """
    steps, weight, velocity = recipe.steps(images), 1.0, 0.0
    for step in range(from_step, steps):
        velocity = recipe.momentum * velocity + recipe.weight_decay * weight
        weight -= recipe.rate(step, steps) * velocity
    return weight
