"""Why a barrier is high or low: how long the segment between two networks is, and how the loss bends along it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Images
from ..networks import Networks
from ..params import distance, select
from .hessian import HessianOperator
from .path import interpolate


@dataclass(frozen=True)
class Segment:
    """The straight segment from a to b.

    The midpoint barrier is −½ ∫ min(α, 1 − α) f″(α) dα for the loss f along the path, so −⅛ · curvature · distance²
    wherever the curvature is the same all along. Which of the two factors differs between two barriers says why. The
    Hessian knows nothing of the kinks of ReLU that a path crosses, which bend the loss, too: −8 · barrier / distance²
    is the mean curvature with them, the one measured here without.

    Attributes:
        alphas: float64 [A], where the curvature was taken.
        curvature: float64 [A], uᵀHu for the unit vector u from a to b: nats per squared unit of distance.
        length: ‖b − a‖ over all parameters.
    """

    alphas: Tensor
    curvature: Tensor
    length: float

    @property
    def bend(self) -> Tensor:
        """float64 [A]: second derivative of the loss by α, curvature · length² (nats), with the buffers held.

        A path moves BatchNorm's statistics, too, and their share of its bending is not in it.
        """
        return self.curvature * self.length ** 2


def segment(a: Networks, b: Networks, images: Images, alphas: Sequence[float] = (0.0, 0.5, 1.0), *, batch: int = 64
            ) -> Segment:
    """Measures the segment between two networks on un-augmented images, in eval mode.

    Args:
        a, b: a trained network each, with their masks held. images: what the loss is measured on.
        batch: images a Hessian product is taken on at once; the sum over batches is exact.
    Raises:
        ValueError: an α outside [0, 1], several networks at an end, or two equal ones.

    >>> import lmcnb
    >>> images = lmcnb.load("digits").train.first(32)
    >>> a, b = lmcnb.Networks.initialise(lmcnb.Net.of(images, "convnet2", width=2), seeds=[0, 1])
    >>> there, back = (segment(*ends, images) for ends in ((a, b), (b, a)))
    >>> assert there.length == back.length > 0
    >>> assert torch.allclose(there.curvature, back.curvature.flip(0), rtol=1e-3, atol=1e-6)
    """
    points = torch.as_tensor(alphas, dtype=torch.float64)
    between, length = interpolate(a, b, points), float(distance(a.params, b.params))
    if not length:
        raise ValueError("a and b are one network: a segment needs two that differ")
    names = tuple(a.params)
    along = torch.cat([(select(b.params, 0)[n] - select(a.params, 0)[n]).flatten() for n in names]) / length
    found = []
    for network in between:
        operator = HessianOperator(network, images, names, batch)
        u = along[operator.kept]
        found.append(float((u.double() * (operator @ u).double()).sum()))
    return Segment(points, torch.tensor(found, dtype=torch.float64), length)
