"""Sanity checks of pruning masks: is it the weights that a mask keeps, its initialisation, the labels, or none?"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data import Dataset, Images
from ..kernel import masks as _masks
from ..kernel.masks import Masks
from ..kernel.recipe import Recipe, seeded
from ..models.own import OwnNet
from ..networks import Networks, refuse_others
from ..params import stack, to
from ..prune.magnitude import prune_iteratively
from ..spec import choose
from ..statistics import Estimate, claim, estimate
from .path import instability, refuse_one

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: From dense networks, training images and a seed of SGD noise, the subnetworks.
Find = Callable[[Networks, Images, str], Networks]

GIVEN = "as given"
CHECKS = {"shuffled": "which weights of a layer are kept",
          "re-initialised": "the initialisation that they were found for",
          "random labels": "the labels that they were found with",
          "found again": "the run that found them"}
#: By quantity: how it reads, and what does not matter of it, in units of 100.
MARGINS = {"accuracy": ("points of test accuracy", 1.0), "rise": ("points that the test error rises on the path", 2.0)}


@dataclass(frozen=True, repr=False)
class Sanity:
    """K masks as given and under each check, measured.

    Attributes:
        labels: of the K networks.
        found: by variant, "as given" and the checks, and by quantity, float64 [K]:
            "untrained", test accuracy before training, a share; "accuracy", test accuracy after it, mean of two
            trainings; "rise", of the test error on the straight path between these, a share (Frankle's convention);
            "barrier", of the training loss, in nats; "overlap" with the given mask, 0 by chance, 1 at most.
    """

    labels: tuple[int | str, ...]
    found: Mapping[str, Mapping[str, Tensor]]

    def __repr__(self) -> str:
        return f"Sanity({len(self.labels)} masks, {', '.join(self.found)})"

    def difference(self, check: str, quantity: str = "accuracy") -> Estimate:
        """As given minus under the check: mean and 95% interval. Raises ValueError for unknown names."""
        given, other = (choose("quantity", quantity, choose("check", name, self.found)) for name in (GIVEN, check))
        return estimate((given - other).tolist())

    def verdict(self) -> str:
        """A line a check: whether what it destroys matters, by accuracy (1 point) and by stability (2 points).

        The interval is over networks, so one network decides nothing.
        """
        width = max(map(len, self.found))
        return "\n".join(f"{check:{width}}  {self._line(check)}" for check in self.found if check != GIVEN)

    def _line(self, check: str) -> str:
        words = []
        for quantity, (unit, margin) in MARGINS.items():
            each = 100 * (self.found[GIVEN][quantity] - self.found[check][quantity])
            judged = claim(check, CHECKS[check], each.tolist(), claimed="within", margin=margin)
            word = {"reproduced": "does not matter", "contradicted": "matters"}.get(judged.word, "too close to call")
            low, high = judged.interval
            words.append(f"{word}, {judged.estimate:+.1f} [{low:+.1f}, {high:+.1f}] {unit}")
        overlap = float(self.found[check]["overlap"].mean())
        return f"{CHECKS[check]}: {'; '.join(words)}; overlap {overlap:.2f}"

    def plot(self, quantity: str = "accuracy", ax: Axes | None = None) -> Axes:
        """Draws a point a network and a mean a variant, returns where; raises ValueError for an unknown quantity."""
        from matplotlib import pyplot as plt

        choose("quantity", quantity, self.found[GIVEN])
        ax = plt.gca() if ax is None else ax
        for row, (variant, values) in enumerate(self.found.items()):
            points = values[quantity].tolist()
            ax.plot(points, [row] * len(points), "o", color="C0" if variant == GIVEN else "0.5", alpha=0.6)
            ax.plot([sum(points) / len(points)], [row], "|", color="black", markersize=16)
        ax.set(yticks=range(len(self.found)), yticklabels=list(self.found), xlabel=quantity)
        ax.invert_yaxis()
        return ax


def sanity(start: Networks, masks: Masks, data: Dataset, recipe: Recipe, *, find: Find | None = None,
           checks: Sequence[str] = tuple(CHECKS), seeds: tuple[int | str, int | str] = (0, 1),
           fresh: Networks | None = None, **options) -> Sanity:
    """Sanity checks of masks, whoever found them: each destroys one thing that may make a mask good.

    - "shuffled": within each layer at random, so that layer densities alone are left (Su et al., 2020; Frankle et al.,
      2021).
    - "re-initialised": the same masks on fresh initial weights (Frankle & Carbin, 2019).
    - "random labels": masks found on the same images with permuted labels, a permutation a network (Su et al., 2020).
    - "found again": masks found on the true labels with other SGD noise. Its overlap is what the others' are to be
      compared with: siblings hardly overlap more than chance (Movva et al., 2021).

    All variants are trained twice each in the data orders of ``seeds``, and a path is measured between the ends.

    Args:
        start: K dense networks, as the masks' subnetworks start. masks: as :meth:`lmcnb.Networks.masked` takes them.
        recipe: of the trainings, and of the default ``find``.
        find: how the masks were found; by default by iterative magnitude pruning to their mean sparsity, a fifth a
            round. Of masks that were found otherwise "random labels" is then to be compared with "found again".
        checks: which of them. fresh: K other initial networks, for modules that cannot start anew by themselves.
        options: of :func:`lmcnb.instability`.
    Raises:
        ValueError: unknown or no checks, dense masks, masks of another network, or no way to fresh initial weights.

    >>> import lmcnb
    >>> data = lmcnb.load("digits").first(train=64, test=50)
    >>> start = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet2", width=4), seeds=[0, 1])
    >>> recipe = lmcnb.Recipe(epochs=1, batch=32)
    >>> mine = lmcnb.prune_iteratively(start, data, recipe, rounds=1)[-1].masks
    >>> found = sanity(start, mine, data, recipe, checks=["shuffled"])
    >>> assert found.verdict().startswith("shuffled  which weights of a layer are kept: ")
    """
    unknown = [c for c in checks if c not in CHECKS]
    if unknown or not checks:
        raise ValueError(f"checks must be some of {', '.join(CHECKS)}; got {', '.join(unknown) or 'none'}")
    refuse_others(start=start)
    refuse_one(seeds)
    start = start.on(data.train)
    given = start.masked(masks)
    if bool((given.sparsity == 0).any()):
        raise ValueError("masks must prune something: a dense network has nothing to check")
    if bool((given.sparsity == 1).any()):
        raise ValueError("masks must keep something: a network without weights learns nothing")
    find = find or _by_magnitude(recipe, float(given.sparsity.mean()))
    variants = {GIVEN: given} | {c: _variant(c, start, given, data.train, find, fresh) for c in CHECKS if c in checks}
    paths = instability(Networks.join(list(variants.values())), data, recipe, seeds, **options)
    measured = {"accuracy": 1 - paths.test_error[:, [0, -1]].mean(1), "rise": paths.barrier("test_error"),
                "barrier": paths.barrier("train_loss")}
    found = {}
    for k, (name, networks) in enumerate(variants.items()):
        rows = slice(k * len(start), (k + 1) * len(start))
        found[name] = {"untrained": 1 - networks.evaluate(data.test).error, **{q: v[rows] for q, v in measured.items()},
                       "overlap": overlap(given.masks, networks.masks)}
    return Sanity(start.labels, found)


def overlap(a: Masks, b: Masks) -> Tensor:
    """float64 [K]: shared kept weights beyond chance, of what could be shared: 0 of random masks, 1 if one is in the
    other. Chance knows the densities of the layers, so that these alone give nothing.

    >>> a, b = ({"w": torch.tensor([row]) > 0} for row in ([1, 1, 0, 0], [0, 1, 1, 0]))
    >>> assert overlap(a, b) == 0 and overlap(a, a) == 1
    """
    shared, chance, most = (torch.zeros(len(_masks.flat(a)), dtype=torch.float64) for _ in range(3))
    for name in (n for n in a if n in b):  # without a mask a layer is dense, and shares what it must
        x, y = a[name].flatten(1).cpu(), b[name].flatten(1).cpu()
        kept, other = x.sum(1).double(), y.sum(1).double()
        shared += (x & y).sum(1)
        chance += kept * other / x.shape[1]
        most += torch.minimum(kept, other)
    return (shared - chance) / (most - chance)


def _variant(check: str, start: Networks, given: Networks, images: Images, find: Find, fresh: Networks | None
             ) -> Networks:
    if check == "shuffled":
        draws = [seeded("sanity", check, label) for label in start.labels]
        return start.masked(_masks.random_layerwise(given.masks, draws))
    if check == "re-initialised":
        other = fresh or _anew(start)
        return replace(other.on(images), labels=start.labels, step=start.step).masked(given.masks)
    if check == "random labels":
        found = Networks.join([find(one, _permuted(images, one.labels[0]), check) for one in start])
    else:
        found = find(start, images, check)
    return start.masked(found.masks)


def _by_magnitude(recipe: Recipe, sparsity: float) -> Find:
    rounds = max(1, round(math.log(1 - sparsity) / math.log(0.8)))
    return lambda start, images, seed: prune_iteratively(start, images, recipe, rounds, seed, sparsity=sparsity)[-1]


def _permuted(images: Images, label: int | str) -> Images:
    order = torch.randperm(len(images), generator=seeded("random labels", label)).to(images.y.device)
    return replace(images, y=images.y[order])


def _anew(start: Networks) -> Networks:
    """Fresh initial weights: of lmcnb's networks by a seed of its own, of modules by their layers' own starts."""
    if not isinstance(start.net, OwnNet):
        seeds = [int(torch.randint(2 ** 31, (), generator=seeded("fresh", label))) for label in start.labels]
        return Networks.initialise(start.net, seeds, start.device)
    modules, left = [], set[str]()
    for module, label in zip(start.to("cpu").modules(), start.labels):  # where numbers are drawn that a seed decides
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seeded("fresh", label).initial_seed())
            left |= _restarted(module)
        modules.append(module)
    if left:
        raise ValueError(f"{start.net.name} has weights that no layer can start anew ({', '.join(sorted(left))}): give "
                         f"fresh, other initial networks, or leave re-initialised out of checks")
    params, buffers = (to(stack([{n: t.detach() for n, t in getattr(m, kind)()} for m in modules]), start.device)
                       for kind in ("named_parameters", "named_buffers"))
    return replace(start, params=params, buffers=buffers)


def _restarted(module: nn.Module) -> set[str]:
    """Starts every layer anew, and returns the names of the weights that belong to none that can."""
    left = set()
    for name, part in module.named_modules():
        own = [f"{name}.{n}".lstrip(".") for n, _ in part.named_parameters(recurse=False)]
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
        else:
            left |= set(own)
    return left
