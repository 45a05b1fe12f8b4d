"""Linear mode connectivity: the straight path between two trained networks, and how high it rises."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..data import Dataset
from ..kernel.recipe import Recipe
from ..kernel.training import evaluate
from ..networks import Networks, refuse_others
from ..params import Params, lerp, select
from ..spec import choose
from .align import Align, aligned
from .basin import judged, mistakes, rise
from .batchnorm import recalibrated

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

QUANTITIES = ("train_loss", "train_error", "test_loss", "test_error")
CONVENTIONS = ("frankle", "chord", "midpoint")
BatchNorm = Literal["lerp", "recalibrate"]


@dataclass(frozen=True, repr=False)
class LinearPath:
    """θ(α) = (1 − α)θ₁ + αθ₂ of P pairs, measured.

    Attributes:
        alphas: float64 [A]. train_loss, test_loss: float64 [P, A], mean cross-entropy in nats.
        train_error, test_error: float64 [P, A], share of images in 0…1. Un-augmented images, eval mode.
        mistakes: computes, when called, which test images each network gets wrong: bool [P, A, images].
    """

    alphas: Tensor
    train_loss: Tensor
    train_error: Tensor
    test_loss: Tensor
    test_error: Tensor
    mistakes: Callable[[], Tensor] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        what = f"{len(self.test_error)} × {len(self.alphas)} α"
        if self.alphas[0] != 0 or self.alphas[-1] != 1:
            return f"LinearPath({what})"
        rise = ", ".join(f"{100 * float(r):.1f}" for r in self.barrier("test_error")[:8])
        return f"LinearPath({what}, test error rises by {rise} points)"

    def tensors(self) -> Params:
        return {"alphas": self.alphas, **{q: getattr(self, q) for q in QUANTITIES}}

    def barrier(self, quantity: str = "train_loss", convention: str = "frankle") -> Tensor:
        """float64 [P], losses in nats, errors as shares; see :func:`barrier`. Raises ValueError for unknown names.

        Figures and tables give the "midpoint" of the train loss, as the papers do, where they do not say another.
        """
        choose("quantity", quantity, dict.fromkeys(QUANTITIES))
        return barrier(self.alphas, getattr(self, quantity), convention)

    def verdict(self, allowed: float = 2.0) -> str:
        """Whether the ends lie in one basin, in a line a pair: how far the test error rises over the mean of the ends.

        Networks are stable whose error rises by less than 2 points (Frankle et al., 2020). The 95% interval is over
        test images, which all networks of a path share (:func:`.basin.rise`): it says nothing of other trainings.

        Args:
            allowed: points of test error.
        Raises:
            ValueError: the path was read from a file, and its networks are not at hand; or it lacks its ends.
        """
        if self.mistakes is None:
            raise ValueError("an interval over images needs the networks: measure the path with lmcnb.path")
        self.barrier("test_error")  # which refuses alphas without the ends
        return "\n".join(judged(rise(wrong), allowed) for wrong in self.mistakes())

    def plot(self, quantity: str = "test_error", ax: Axes | None = None, **look: Any) -> Axes:
        """Draws each path over α, and what is returned is where. Raises ValueError for an unknown quantity.

        Args:
            look: of the lines, as matplotlib names it: ``label="IMP"``, ``color="C1"``.
        """
        from matplotlib import pyplot as plt

        choose("quantity", quantity, dict.fromkeys(QUANTITIES))
        ax = plt.gca() if ax is None else ax
        size = {} if "ms" in look else {"markersize": 3}
        lines = ax.plot(self.alphas, getattr(self, quantity).T, **{"marker": "o", **size, **look})
        for line in lines[1:] if isinstance(look.get("label"), str) else []:  # one entry of a legend for all of them
            line.set_label("_")
        ax.set(xlabel="α, position between the two networks", ylabel=quantity.replace("_", " "))
        return ax


def barrier(alphas: Tensor, values: Tensor, convention: str = "frankle") -> Tensor:
    """Height of a path above its ends. alphas [A] from 0 to 1; values [..., A]; returns [...].

    - "frankle": max over α of E(α) − ½(E(0) + E(1)) (Frankle et al., 2020). Stable below 2 points of error.
    - "chord": max over α of E(α) − ((1 − α)E(0) + αE(1)) (Entezari et al., 2022).
    - "midpoint": E(½) − ½(E(0) + E(1)) (McDermott & Parhi, 2025, on the train loss).

    Raises:
        ValueError: unknown convention, or alphas without 0, 1 (or ½ for "midpoint").

    >>> alphas = alpha_grid(5)
    >>> assert barrier(alphas, torch.ones(5)) == 0
    >>> hill, slope = torch.tensor([1.0, 2, 3, 2, 1]), torch.tensor([0.0, 1, 2, 3, 4])
    >>> assert barrier(alphas, hill) == barrier(alphas, hill, "midpoint") == 2
    >>> assert barrier(alphas, slope) == 2 and barrier(alphas, slope, "chord") == 0
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
    """float64 [points], evenly from exactly 0 to exactly 1, symmetric. Raises ValueError below 2 points.

    >>> assert alpha_grid(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    """
    if points < 2:
        raise ValueError(f"a path needs at least 2 points; got {points}")
    return torch.arange(points, dtype=torch.float64) / (points - 1)


def interpolate(a: Networks, b: Networks, alphas: Tensor) -> Networks:
    """θ(α) = (1 − α)a + αb between two networks: as many as there are α, equal to the ends bit for bit at 0 and 1.

    Raises:
        ValueError: an α outside [0, 1], or several networks at an end.

    >>> from lmcnb import Net, Networks
    >>> a, b = Networks.initialise(Net(name="convnet2", channels=1, size=8, width=4), seeds=[0, 1])
    >>> between = interpolate(a, b, torch.tensor([0, 0.5, 1]))
    >>> assert len(between) == 3
    >>> assert all(torch.equal(between[2].params[name], w) for name, w in b.params.items())
    """
    if bool(((alphas < 0) | (alphas > 1)).any()):
        raise ValueError(f"α must lie in [0, 1]; got {float(alphas.min())}…{float(alphas.max())}")
    if not len(a) == len(b) == 1:
        raise ValueError(f"a path has one network at each end; got {len(a)} and {len(b)}: take networks[k]")
    params, buffers = (lerp(select(x, 0), select(y, 0), alphas)
                       for x, y in ((a.params, b.params), (a.buffers, b.buffers)))
    kept = {n: (m | b.masks[n]).expand(len(alphas), *m.shape[1:]) for n, m in a.masks.items() if n in b.masks}
    return Networks(a.net, params, buffers, kept, tuple(f"α = {float(x):g}" for x in alphas), a.step)


def path(a: Networks, b: Networks, data: Dataset, alphas: Tensor | Sequence[float] | None = None, *,
         bn: BatchNorm = "lerp", align: Align = None, strategy: str = "auto") -> LinearPath:
    """Measures the straight paths between P pairs of networks: from the first of ``a`` to the first of ``b``, …

    Args:
        data: its training and test images are what the paths are measured on (un-augmented).
        alphas: [A] in [0, 1], by default 11 points.
        bn: "lerp" interpolates BatchNorm statistics with the weights (the papers); "recalibrate" re-estimates them for
            every θ(α) on the training images (REPAIR). Without BatchNorm the two agree.
        align: "weights" puts the units of each ``b`` in the order of ``a``'s first, by
            :func:`.align.weight_matching`: for networks from different initialisations.
    Raises:
        ValueError: stacks of different sizes or architectures, an unknown ``bn`` or ``align``, or no permutation of the
            architecture is known.

    >>> import lmcnb
    >>> data = lmcnb.load("digits").first(train=50, test=50)
    >>> networks = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet2", width=4), seeds=[0, 1])
    >>> assert path(networks[:1], networks[:1], data, [0, 0.5, 1]).barrier("test_loss") == 0, "to itself"
    >>> there, back = (path(a, b, data, [0, 0.5, 1]) for a, b in (networks, reversed(list(networks))))
    >>> assert there.test_loss[0, 0] == back.test_loss[0, -1]
    """
    a, b, data = ends(a, b, data, bn, align)
    alphas = alpha_grid() if alphas is None else torch.as_tensor(alphas, dtype=torch.float64)
    found = [measured(interpolate(one, other, alphas), data, bn, strategy) for one, other in zip(a, b)]
    return LinearPath(alphas, **{q: torch.stack([f[q] for f in found]) for q in QUANTITIES},
                      mistakes=partial(_mistakes, a, b, data, alphas, bn))


def ends(a: Networks, b: Networks, data: Dataset, bn: BatchNorm, align: Align) -> tuple[Networks, Networks, Dataset]:
    """The ends of P paths as they are measured, and the data on their device; raises ValueError as :func:`path`."""
    refuse_others(a=a, b=b)
    for name, value, known in (("bn", bn, ("lerp", "recalibrate")), ("align", align, (None, "weights"))):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(str, known))}")
    data = data.to(a.device)
    a, b = (end.on(data.train) for end in (a, b))
    if len(a) != len(b) or a.net != b.net:
        raise ValueError(f"paths need as many networks at either end, of one architecture; got {a} and {b}")
    return a, aligned(a, b) if align else b, data


def measured(theta: Networks, data: Dataset, bn: BatchNorm, strategy: str = "auto") -> Params:
    """By quantity float64 [K]: loss and error of each network on training and test images."""
    if bn == "recalibrate":
        theta = recalibrated(theta, data.train)
    found = {}
    for split, images in (("train", data.train), ("test", data.test)):
        scores = evaluate(theta.net, theta.params, theta.buffers, images, strategy=strategy)
        found |= {f"{split}_loss": scores.loss, f"{split}_error": scores.error}
    return found


def _mistakes(a: Networks, b: Networks, data: Dataset, alphas: Tensor, bn: BatchNorm) -> Tensor:
    return torch.stack([wrong(interpolate(one, other, alphas), data, bn) for one, other in zip(a, b)])


def wrong(theta: Networks, data: Dataset, bn: BatchNorm) -> Tensor:
    """bool [K, images]: the test images that each network gets wrong, as :func:`measured` measures it."""
    return mistakes(recalibrated(theta, data.train) if bn == "recalibrate" else theta, data.test)


def instability(networks: Networks, data: Dataset, recipe: Recipe, seeds: tuple[int | str, int | str] = (0, 1), *,
                step: int | None = None, measured_on: Dataset | None = None, **options) -> LinearPath:
    """Instability analysis (Frankle et al., 2020): train twice in different data orders, walk between the ends.

    Args:
        networks: K dense networks or subnetworks, ready to be trained. seeds: of the SGD noise of the two trainings.
        step: train to this step of the schedule first, once, and only then twice: instability from step k.
        measured_on: whose images the paths are measured on; by default those of ``data``, which are trained on.
        options: of :func:`path`.
    Returns:
        K measured paths: ``instability(…).barrier("test_error")``.
    Raises:
        ValueError: equal seeds, a step outside the schedule, or networks that are at its end already.

    >>> import lmcnb
    >>> data = lmcnb.load("digits").first(train=64, test=50)
    >>> start = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet2", width=4))
    >>> recipe = lmcnb.Recipe(epochs=2, batch=32)
    >>> found = instability(start, data, recipe)
    >>> trained = start.train(data, recipe, seed=1)
    >>> assert found.test_loss[0, -1] == trained.evaluate(data.test).loss[0], "it ends in the second training"
    """
    refuse_others(networks=networks)
    refuse_one(seeds)
    last = recipe.steps(len(data.train))
    if step is not None:
        if not networks.step <= step <= last:
            raise ValueError(f"step must lie in {networks.step}…{last}; got {step}")
        if step == last:  # nothing is left to train twice: the limit in which the two ends are one
            end = networks if networks.step == last else networks.train(data, recipe, seeds[0])
            return path(end, end, measured_on or data, **options)
        networks = networks.train(data, recipe, seeds[0], stop=step)
    a, b = (networks.train(data, recipe, seed) for seed in seeds)
    return path(a, b, measured_on or data, **options)


def refuse_one(seeds: tuple[int | str, int | str]) -> None:
    """Raises ValueError where the seeds of the two trainings are one, or not two."""
    if not isinstance(seeds, (tuple, list)) or len(seeds) != 2:
        raise ValueError(f"seeds must be two, of the two trainings; got {seeds!r}")
    if str(seeds[0]) == str(seeds[1]):
        raise ValueError(f"seeds must be two different ones, or the two trainings are one; got {seeds}")


def with_residuals(trained: Networks, init: Networks, recipe: Recipe, images: int) -> Networks:
    """Trained subnetworks as the released code interpolates them: masks dropped, pruned weights decayed.

    There a pruned weight is multiplied by 0 in the forward pass and sees weight decay alone, so after training it is
    its value in ``init`` times :func:`residual`, up to the step at which the training was stopped. ``images``: of the
    training set.
    """
    factor = residual(recipe, images, init.step, trained.step if trained.step > init.step else None)
    params = {n: torch.where(trained.masks[n], p, init.params[n] * factor) if n in trained.masks else p
              for n, p in trained.params.items()}
    return replace(trained, params=params, masks={n: torch.ones_like(m) for n, m in trained.masks.items()})


def residual(recipe: Recipe, images: int, from_step: int = 0, to_step: int | None = None) -> float:
    """Share of its initial value that weight decay alone leaves of a weight after a training.

    SGD's decay goes through the momentum, AdamW's does not. ``from_step`` is the step of the schedule that the training
    starts from, for networks rewound to it, ``to_step`` the one that it was stopped at (None: it was not).

    >>> assert residual(Recipe(weight_decay=0), images=1000) == 1
    >>> assert 0 < residual(Recipe(), images=1000) < residual(Recipe(), images=1000, from_step=100) < 1
    """
    steps, weight, velocity = recipe.steps(images), 1.0, 0.0
    for step in range(from_step, steps if to_step is None else to_step):
        rate = recipe.rate(step, steps)
        if recipe.optimiser == "adamw":
            weight *= 1 - rate * recipe.weight_decay
        else:
            velocity = recipe.momentum * velocity + recipe.weight_decay * weight
            weight -= rate * velocity
    return weight
