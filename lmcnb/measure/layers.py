"""Layer-wise linear mode connectivity (Adilova et al., 2024): what one layer, or the first few, do to a barrier."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..data import Dataset
from ..models import Net
from ..networks import Networks
from ..params import Params
from .align import Align
from .basin import judged, rise
from .path import QUANTITIES, BatchNorm, alpha_grid, ends, interpolate, measured, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes

Which = Literal["each", "cumulative"]


@dataclass(frozen=True)
class LayerPaths:
    """Paths of P pairs on which some layers move and the rest is held, measured.

    Attributes:
        names: of L layers, in the network's order. alphas: float64 [A].
        train_loss, test_loss: float64 [2, P, L, A], mean cross-entropy in nats; train_error, test_error likewise, share
            of images in 0…1. Of the first axis, [0] goes from a to b with the rest held at a's, [1] from b to a with
            the rest at b's. With "cumulative", layer l stands for the first l.
        mistakes: computes, when called, which test images each network gets wrong: bool [2, P, L, A, images].
    """

    names: tuple[str, ...]
    alphas: Tensor
    train_loss: Tensor
    train_error: Tensor
    test_loss: Tensor
    test_error: Tensor
    mistakes: Callable[[], Tensor] | None = field(default=None, repr=False, compare=False)

    def tensors(self) -> Params:
        return {"alphas": self.alphas, **{q: getattr(self, q) for q in QUANTITIES}}

    def barrier(self, quantity: str = "train_loss", convention: str = "frankle") -> Tensor:
        """float64 [P, L]: how far a quantity rises over the mean of the two whole networks, averaged over both ways.

        "frankle": the most on the way, at whose end the layer is the other network's. "midpoint": at α = ½, as Adilova
        et al. measure it. Raises ValueError for unknown names, or "midpoint" without α = ½.
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"unknown quantity {quantity!r}; known: {', '.join(QUANTITIES)}")
        values = getattr(self, quantity)
        middle = (self.alphas == 0.5).nonzero().flatten()
        if convention == "midpoint" and not len(middle):
            raise ValueError("the midpoint barrier needs α = 0.5 among the alphas: take an odd number of points")
        if convention not in ("frankle", "midpoint"):
            raise ValueError(f"unknown convention {convention!r}; known: frankle, midpoint")
        top = values.amax(-1) if convention == "frankle" else values[..., int(middle[0])]
        return (top - values[..., 0].mean(0, keepdim=True)).mean(0)

    def verdict(self, allowed: float = 2.0) -> str:
        """Whether each layer can be exchanged within one basin: a line a layer (and pair), as of a whole path.

        The 95% interval is over test images. Both ways are averaged, ends of intervals too, which makes them too wide.

        Args:
            allowed: points of test error.
        Raises:
            ValueError: the paths were read from a file, and their networks are not at hand.
        """
        if self.mistakes is None:
            raise ValueError("an interval over images needs the networks: measure with lmcnb.measure.layerwise")
        lines = []
        for k, pair in enumerate(self.mistakes().transpose(0, 1)):
            for name, there, back in zip(self.names, *pair):
                top, low, high = (sum(both) / 2 for both in zip(rise(there, back[0]), rise(back, there[0])))
                lines.append(f"pair {k}, " * (len(self.test_error[0]) > 1) + f"{name}: "
                             + judged((top, low, high), allowed))
        return "\n".join(lines)

    def plot(self, quantity: str = "test_error", convention: str = "frankle", ax: Axes | None = None) -> Axes:
        """Draws each pair's barrier over the layers, and what is returned is where."""
        from matplotlib import pyplot as plt

        ax = plt.gca() if ax is None else ax
        ax.plot(self.barrier(quantity, convention).T, marker="o", markersize=3)
        ax.set_xticks(range(len(self.names)), self.names, rotation=90, fontsize="x-small")
        ax.set(ylabel=f"barrier, {quantity.replace('_', ' ')}")
        return ax


def layers_of(net: Net) -> dict[str, tuple[str, ...]]:
    """By layer the names of its parameters and buffers: each tensor of a network is in one.

    A layer begins with each module that holds a kernel or matrix; biases, norms and their statistics that follow belong
    to it. Of networks that normalise first (transformers), a norm so counts to the layer before it.

    >>> found = layers_of(Net(name="convnet2", channels=1, size=8, width=4))
    >>> assert found["0"] == ("0.weight", "0.bias", "1.weight", "1.bias") and list(found) == ["0", "4", "9"]
    """
    module, found, taken = net.build(), {}, set()
    known = {n for n, _ in module.named_parameters()} | {n for n, _ in module.named_buffers()}
    for prefix, part in module.named_modules():
        own = [*part.named_parameters(prefix, recurse=False), *part.named_buffers(prefix, recurse=False)]
        names = [n for n, _ in own if n in known and n not in taken]
        if names and (not found or any(t.ndim > 1 for n, t in own if n in names)):
            found[prefix or names[0]] = []
        if names:
            found[next(reversed(found))] += names
            taken.update(names)
    return {name: tuple(names) for name, names in found.items()}


def layerwise(a: Networks, b: Networks, data: Dataset, layers: Which = "each",
              alphas: Tensor | Sequence[float] | None = None, *, bn: BatchNorm = "lerp", align: Align = None,
              strategy: str = "auto") -> LayerPaths:
    """Measures what moving one layer at a time ("each"), or the first l ("cumulative"), does between P pairs.

    Layers are those of :func:`layers_of`. The last of "cumulative" is the whole path of :func:`lmcnb.path`.

    Args:
        alphas: [A] in [0, 1], from 0 on; by default 0, ½ and 1.
        bn: BatchNorm's statistics move with their layer, or are re-estimated. align: as in :func:`lmcnb.path`.
    Raises:
        ValueError: as :func:`lmcnb.path`, unknown ``layers``, or alphas that do not begin at 0 and go on.

    >>> import lmcnb
    >>> data = lmcnb.load("digits").first(train=50, test=50)
    >>> networks = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet2", width=4), seeds=[0, 1])
    >>> found = layerwise(networks[0], networks[1], data, "cumulative")
    >>> assert found.names == ("0", "4", "9") and found.barrier().shape == (1, 3)
    >>> assert torch.equal(found.test_loss[0, :, -1], lmcnb.path(networks[0], networks[1], data, [0, 0.5, 1]).test_loss)
    """
    if layers not in ("each", "cumulative"):
        raise ValueError(f"layers must be each or cumulative; got {layers!r}")
    a, b, data = ends(a, b, data, bn, align)
    alphas = alpha_grid(3) if alphas is None else torch.as_tensor(alphas, dtype=torch.float64)
    if len(alphas) < 2 or alphas[0] != 0:
        raise ValueError(f"alphas must begin with 0, the network whose layers move, and go on; got {alphas.tolist()}")
    groups = layers_of(a.net)
    found = [[_one_way(one, other, data, groups, layers, alphas, bn, strategy) for one, other in zip(x, y)]
             for x, y in ((a, b), (b, a))]
    return LayerPaths(tuple(groups), alphas, **{q: torch.stack([torch.stack([f[q] for f in way]) for way in found])
                                                for q in QUANTITIES},
                      mistakes=partial(_mistakes, a, b, data, groups, layers, alphas, bn))


def _moved(one: Networks, other: Networks, groups: dict[str, tuple[str, ...]], layers: Which, alphas: Tensor
           ) -> Iterator[Networks]:
    """By layer the networks at alphas, of which the rest is held at ``one``'s."""
    theta = interpolate(one, other, alphas)
    moving: set[str] = set()
    for names in groups.values():
        moving = {*names} | (moving if layers == "cumulative" else set())
        params, buffers = ({n: t if n in moving else held[n].expand_as(t) for n, t in kind.items()}
                           for kind, held in ((theta.params, one.params), (theta.buffers, one.buffers)))
        yield replace(theta, params=params, buffers=buffers)


def _one_way(one: Networks, other: Networks, data: Dataset, groups: dict[str, tuple[str, ...]], layers: Which,
             alphas: Tensor, bn: BatchNorm, strategy: str) -> Params:
    """By quantity [L, A]. At α = 0 all layers' paths are in one network, which is measured once."""
    begin = measured(interpolate(one, other, alphas[:1]), data, bn, strategy)
    rows = [measured(theta, data, bn, strategy) for theta in _moved(one, other, groups, layers, alphas[1:])]
    return {q: torch.stack([torch.cat([begin[q], row[q]]) for row in rows]) for q in QUANTITIES}


def _mistakes(a: Networks, b: Networks, data: Dataset, groups: dict[str, tuple[str, ...]], layers: Which,
              alphas: Tensor, bn: BatchNorm) -> Tensor:
    def way(one: Networks, other: Networks) -> Tensor:
        begin = wrong(one, data, bn)
        return torch.stack([torch.cat([begin, wrong(theta, data, bn)])
                            for theta in _moved(one, other, groups, layers, alphas[1:])])

    return torch.stack([torch.stack([way(one, other) for one, other in zip(x, y)]) for x, y in ((a, b), (b, a))])
