"""Loss landscapes: the loss on a plane in weight space, for planes of any kind, in batches of points.

A plane is an origin and two directions; a point (x, y) is origin + x·u + y·v. Three kinds are built here: through
trained networks with orthonormal axes (Garipov et al., 2018), as the released code draws it, and random with
filter-normalised axes (Li et al., 2018). Pruned weights are zero in all networks of a plane, hence on all of it.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data import Images
from ..kernel.recipe import seeded
from ..kernel.strategies import scored
from ..kernel.training import evaluate
from ..networks import Networks
from ..params import Params, select
from .batchnorm import recalibrated

Model = tuple[Params, Params]


@dataclass(frozen=True)
class Plane:
    """origin + x·u + y·v: a network, and two directions as (parameters, buffers) without a model axis.

    Attributes:
        orthonormal: whether x and y are Euclidean lengths in weight space; else they are multiples of u and v.
    """

    origin: Networks
    u: Model
    v: Model
    orthonormal: bool

    def at(self, points: Tensor) -> Networks:
        """The P networks at points float64 [P, 2]. Integer buffers are the origin's; interpolated variances are kept
        above zero."""
        def one(o: Params, u: Params, v: Params) -> Params:
            return {n: _combined(o[n][0], u[n], v[n], points, n.endswith("running_var")) for n in o}
        params, buffers = (one(o, u, v) for o, u, v in zip((self.origin.params, self.origin.buffers), self.u, self.v))
        masks = {n: m.expand(len(points), *m.shape[1:]) for n, m in self.origin.masks.items()}
        return Networks(self.origin.net, params, buffers, masks, step=self.origin.step)

    def project(self, networks: Networks) -> tuple[Tensor, Tensor]:
        """Where K networks lie: coordinates float64 [K, 2] of the nearest point, distance float64 [K] from it.

        Distances are Euclidean, over all parameters.
        """
        u, v, origin = (flat(p) for p in (self.u[0], self.v[0], select(self.origin.params, 0)))
        away = torch.stack([flat(select(networks.params, k)) for k in range(len(networks))]) - origin
        axes = torch.stack([u, v], 1)
        found = torch.linalg.lstsq(axes, away.T).solution.T
        return found, (away - found @ axes.T).norm(dim=1)


def flat(params: Params) -> Tensor:
    """float64 [n]: all tensors side by side, on the CPU."""
    return torch.cat([p.detach().double().flatten().cpu() for p in params.values()])


def _combined(o: Tensor, u: Tensor, v: Tensor, points: Tensor, variance: bool) -> Tensor:
    if not o.is_floating_point():
        return o.expand(len(points), *o.shape).clone()
    x, y = (c.to(o).view(-1, *[1] * o.ndim) for c in points.unbind(1))
    moved = o + x * u + y * v
    return moved.clamp_min(1e-6) if variance else moved


def _combine(*terms: tuple[float, Params]) -> Params:
    """Σ weight · tensor; integer tensors become zero."""
    first = terms[0][1]
    return {n: sum(w * p[n] for w, p in terms)  # pyright: ignore[reportReturnType]  # of one term or more
            if first[n].is_floating_point() else torch.zeros_like(first[n]) for n in first}


def _axis(*terms: tuple[float, Model]) -> Model:
    params, buffers = (_combine(*((w, m[part]) for w, m in terms)) for part in (0, 1))
    return params, buffers


def _models(networks: Networks, needed: int, kind: str) -> list[Model]:
    if len(networks) < needed:
        raise ValueError(f"a {kind} plane needs {needed} trained networks; got {len(networks)}: train it with more "
                         f"seeds")
    return [(select(networks.params, k), select(networks.buffers, k)) for k in range(len(networks))]


def plane_through(networks: Networks) -> Plane:
    """The plane through the first three of K trained networks, with orthonormal axes.

    The first is the origin, the second lies on the x axis; distances on the plane are distances in weight space.

    Raises:
        ValueError: fewer than three networks, or three on one line.
    """
    a, b, c = _models(networks, 3, "through")[:3]
    ab, ac = (flat(m[0]) - flat(a[0]) for m in (b, c))
    length = float(ab.norm())
    along = float(ac @ ab) / length if length else 0.0
    height = float((ac - along * ab / length).norm()) if length else 0.0
    if length == 0 or height < 1e-6 * length:
        raise ValueError("the first three networks lie on one line, so there is no plane: take other seeds")
    u = _axis((1 / length, b), (-1 / length, a))
    v = _axis((1 / height, c), (-1 / height, a), (-along / height, u))
    return Plane(networks[0], u, v, True)


def plane_as_released(networks: Networks) -> Plane:
    """The plane of the released code: centre (θ₀+θ₁)/2, axes (θ₀−θ₁)/2 and (θ₃−θ₂)/2, not orthogonal.

    θ₀ is at (1, 0) and θ₁ at (−1, 0); θ₂ and θ₃ lie elsewhere. Drawn on [−2, 2]².

    Raises:
        ValueError: fewer than four networks.
    """
    a, b, c, d = _models(networks, 4, "as-released")[:4]
    centre = [{n: ((p[n] + q[n]) / 2 if p[n].is_floating_point() else p[n])[None] for n in p} for p, q in zip(a, b)]
    u, v = _axis((0.5, a), (-0.5, b)), _axis((0.5, d), (-0.5, c))
    return Plane(replace(networks[0], params=centre[0], buffers=centre[1]), u, v, False)


def plane_random(network: Networks, seed: int) -> Plane:
    """Two random directions around one network, filter-normalised (Li et al., 2018).

    Each filter (row of a weight) of a direction has the norm of the network's own; biases, norm parameters and pruned
    weights do not move.
    """
    ((params, buffers),), masks = _models(network[0], 1, "random"), select(network.masks, 0)

    still = {n: torch.zeros_like(b) for n, b in buffers.items()}

    def direction(axis: int) -> Model:
        generator = seeded("plane", seed, axis)
        return {n: _filters(p, masks.get(n), generator) for n, p in params.items()}, still
    return Plane(network[0], direction(0), direction(1), False)


def _filters(p: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
    if p.ndim < 2:
        return torch.zeros_like(p)
    d = torch.randn(p.shape, generator=generator).to(p)
    d = d if mask is None else torch.where(mask, d, 0)
    own, new = (t.flatten(1).norm(dim=1).view(-1, *[1] * (p.ndim - 1)) for t in (p, d))
    return d * (own / new.clamp_min(1e-12))


def grid(plane: Plane | None, points: int, around: Networks | None = None, margin: float = 0.35, reach: float = 1.0
         ) -> tuple[Tensor, Tensor]:
    """Axes float64 [points] each: around the projections of networks with a margin, else −reach … reach.

    The margin is a share of the larger extent, and both axes have the same scale.
    """
    if points < 2:
        raise ValueError(f"a landscape needs at least 2 points along an axis; got {points}")
    if around is None:
        axis = torch.linspace(-reach, reach, points, dtype=torch.float64)
        return axis, axis.clone()
    assert plane is not None
    places, _ = plane.project(around)
    low, high = places.amin(0), places.amax(0)
    half = float((high - low).max()) * (0.5 + margin)
    xs, ys = (torch.linspace(float(c) - half, float(c) + half, points, dtype=torch.float64) for c in (low + high) / 2)
    return xs, ys


def loss_on_plane(plane: Plane, images: Images, xs: Tensor, ys: Tensor, *, tile: int = 64,
                  done: Tensor | None = None, on_tile: Callable[[Tensor, int], None] | None = None,
                  recalibrate_on: Images | None = None) -> Tensor:
    """Loss and error at every point: float64 [2, Y, X], mean cross-entropy (nats) and share of errors.

    A loss that overflows is infinite; nothing is NaN.

    Args:
        images: un-augmented images to measure on. xs, ys: the axes. tile: points evaluated as one stack.
        done: a result to resume from, NaN where nothing has been computed. on_tile: called with (result so far,
            points done) after every tile.
        recalibrate_on: re-estimate BatchNorm statistics on these images at every point; None combines them linearly,
            which means little beyond the networks (variances would turn negative): take images there.
    """
    values = torch.full((2, len(ys) * len(xs)), torch.nan, dtype=torch.float64) if done is None \
        else done.reshape(2, -1).clone()
    points, net, images = torch.cartesian_prod(ys, xs).flip(1), plane.origin.net, images.to(plane.origin.device)
    # All points are one network to compile, which some 64,000 passes repay: a rule of the whole plane, not of a tile.
    strategy = scored(net, images.x.device, max(len(images), len(images) * len(points) // 32))
    for index in values[0].isnan().nonzero().squeeze(1).split(tile):
        if not len(index):  # nothing was left to do
            break
        networks = plane.at(points[index])
        if recalibrate_on is not None:
            networks = recalibrated(networks, recalibrate_on)
        scores = evaluate(net, networks.params, networks.buffers, images, strategy=strategy)
        found = torch.stack([scores.loss, scores.error])
        values[:, index] = torch.where(found.isnan(), torch.inf, found)  # NaN: not computed yet
        if on_tile:
            on_tile(values.view(2, len(ys), len(xs)), int((~values[0].isnan()).sum()))
    return values.view(2, len(ys), len(xs))


def fraction_within(loss: Tensor | Sequence, tolerance: float) -> float:
    """Share of a landscape's points whose loss lies within ``tolerance`` nats of its smallest.

    >>> assert fraction_within([[1.0, 1.1], [2.0, 3.0]], tolerance=0.2) == 0.5
    """
    loss = torch.as_tensor(loss, dtype=torch.float64)
    return float((loss <= loss.min() + tolerance).double().mean())


def curvature_along(alphas: Tensor, values: Tensor) -> Tensor:
    """Second derivative of a path at its middle, per unit α squared: the leading coefficient of a quadratic fit, twice.

    alphas [A] from 0 to 1; values [..., A]; returns [...]. Positive: a valley between the ends; negative: a hill.

    >>> alphas = torch.linspace(0, 1, 5, dtype=torch.float64)
    >>> valley, slope = curvature_along(alphas, torch.stack([3 * (alphas - 0.5) ** 2, alphas]))
    >>> assert abs(valley - 6) < 1e-9 and abs(slope) < 1e-9
    """
    design = torch.stack([torch.ones_like(alphas), alphas, alphas ** 2], 1).double()
    return 2 * (torch.linalg.pinv(design) @ values.double().reshape(-1, len(alphas)).T)[2].view(values.shape[:-1])
