"""Networks with their units in other places: git-re-basin's weight matching, and what it makes of a path.

Two trainings from different initialisations may find one function with its units in another order, and the straight
line between them then mixes unlike units. Weight matching (Ainsworth et al., 2023) puts the second network's units in
the order of the first's. What a barrier keeps after that is not a matter of order. BatchNorm's statistics are to be
re-estimated on the way (REPAIR: Jordan et al., 2023): ``path(a, b, data, align="weights", bn="recalibrate")``.
Networks with instance norm, GroupNorm or LayerNorm hold no statistics, and nothing is to be re-estimated.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import scipy  # which loads a part when it is first asked for
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..kernel.exact import exact_on
from ..models.permutations import Permutation, PermutationSpec, permutation_spec
from ..networks import Networks
from ..params import Params, select, stack

Align = Literal["weights"] | None
LEAST = 1e-7  # of the weights' size: a smaller gain is rounding


def permuted(networks: Networks, permutations: Permutation) -> Networks:
    """The same networks with their units in other places: what they compute stays, to rounding.

    Masks and BatchNorm's statistics move with the weights.

    Args:
        permutations: by part of the network (:func:`lmcnb.models.permutation_spec`) int64 [K, units], or [units] for
            all: unit i of a result is that unit of the network. Parts that are not named stay.
    Raises:
        ValueError: an unknown part, no permutation of its units, or blocks (attention heads) that are torn apart.

    >>> import lmcnb
    >>> network = lmcnb.Networks.initialise(lmcnb.Net(name="convnet2", channels=1, size=8, width=4))
    >>> turned = permuted(network, {"0": torch.tensor([3, 2, 1, 0])})
    >>> assert torch.equal(turned.params["0.weight"], network.params["0.weight"].flip(1))
    >>> assert torch.equal(turned.params["4.weight"], network.params["4.weight"].flip(2)), "the next layer's inputs"
    """
    spec = permutation_spec(networks.net)
    each = [{n: p if p.ndim == 1 else p[k] for n, p in permutations.items()} for k in range(len(networks))]
    for one in each:
        _check(spec, one, networks.net.name)
    params, buffers, masks = ({} if not kind else stack([spec.apply(select(kind, k), p) for k, p in enumerate(each)])
                              for kind in (networks.params, networks.buffers, networks.masks))
    return replace(networks, params=params, buffers=buffers, masks=masks)


def _check(spec: PermutationSpec, permutation: Permutation, name: str) -> None:
    unknown = sorted(permutation.keys() - spec.parts.keys())
    if unknown:
        raise ValueError(f"{name} has no part {', '.join(unknown)} whose units change places; it has: "
                         f"{', '.join(spec.parts)}")
    for part, order in permutation.items():
        units = spec.parts[part]
        if order.shape != (units.numel(),) or not torch.equal(order.cpu().sort().values, torch.arange(units.numel())):
            raise ValueError(f"{part} of {name} needs a permutation of its {units.numel()} units")
    for group in spec.groups:
        moves = []
        for part in group:
            blocks, size = spec.parts[part].shape
            order = permutation[part].cpu() if part in permutation else torch.arange(blocks * size)
            moves.append(order.view(blocks, size) // size)
        if any(not torch.equal(m, moves[0][:, :1].expand_as(m)) for m in moves):
            raise ValueError(f"{' and '.join(group)} of {name} must change places in the same whole blocks (heads)")


def weight_matching(a: Networks, b: Networks, seed: int = 0) -> Permutation:
    """The permutations of each ``b`` under which its weights agree best with those of ``a`` (Ainsworth et al., 2023).

    Coordinate descent on the sum of products of all weights: one layer's units at a time by linear assignment, the
    others as they stand, until no layer gains. Heads of attention are assigned as blocks, each pair by what its best
    inner assignment gives. First from the images to the classes, then in an order drawn from ``seed``; the original
    draws the first sweep, too. (Of eight pairs of fresh ResNet-18s, all agreed better this way.) A local optimum, as
    there. Products of units are summed in float32.

    Args:
        a, b: K networks each, of one architecture; pruned weights count as the zeros that they are.
    Returns:
        By part int64 [K, units], for :func:`permuted`.
    Raises:
        ValueError: stacks of different sizes or architectures; no permutation of the architecture is known; or what
            was found changes what the network computes, because it does not compute as it was followed.

    >>> import lmcnb
    >>> net = lmcnb.Net(name="convnet2", channels=1, size=8, width=4)
    >>> a = lmcnb.Networks.initialise(net, seeds=[0, 1])
    >>> b = permuted(a, {"0": torch.tensor([2, 0, 3, 1])})
    >>> back = permuted(b, weight_matching(a, b))
    >>> assert all(torch.equal(back.params[n], w) for n, w in a.params.items())
    """
    if len(a) != len(b) or a.net != b.net:
        raise ValueError(f"units are matched between as many networks on either side, of one architecture; got {a} and "
                         f"{b}")
    spec = permutation_spec(a.net)
    with exact_on(a.device):
        each = [_matched(spec, select(a.params, k), select(b.params, k), seed) for k in range(len(a))]
    found = {name: torch.stack([p[name] for p in each]) for name in spec.parts}
    _check_function(b, permuted(b, found))
    return found


def aligned(a: Networks, b: Networks, seed: int = 0) -> Networks:
    """``b`` with its units in the order of those of ``a``: see :func:`weight_matching`."""
    return permuted(b, weight_matching(a, b, seed))


def carried(tickets: Networks, permutations: Permutation, to: Networks) -> Networks:
    """Networks ``to`` under the masks of ``tickets``, whose units take other places: sparse re-basin.

    A mask found from one initialisation does not fit another, unless its units are put in the order of the other's
    (Adnan et al., 2025): ``carried(tickets, weight_matching(dense_of_the_other, dense_of_the_tickets), other_start)``.

    Raises:
        ValueError: as :func:`permuted`, or the masks are not of these networks.
    """
    return to.masked(permuted(tickets, permutations).masks)


def _check_function(before: Networks, after: Networks) -> None:
    """On two images of noise, in float64 where the module bears it."""
    module = before.net.build().eval()
    for k in range(len(before)):
        try:
            old, new = (_logits(module, n, k, torch.float64) for n in (before, after))
        except RuntimeError:  # it makes float32 tensors of its own
            old, new = (_logits(module, n, k, torch.float32) for n in (before, after))
        apart, size = float((new - old).abs().max()), float(old.abs().max())
        if apart > (1e-6 if old.dtype == torch.float64 else 1e-4) * size:
            raise ValueError(f"{before.net.name} does not compute the same with its units in other places (logits "
                             f"differ by {apart:.2g} of {size:.2g}): its forward was not understood; take align=None")


@torch.no_grad()
def _logits(module: nn.Module, networks: Networks, k: int, dtype: torch.dtype) -> Tensor:
    net = networks.net
    noise = torch.randn(2, net.channels, net.size, net.size, generator=torch.Generator().manual_seed(0))
    tensors = {n: t.to(dtype) if t.is_floating_point() else t
               for n, t in (select(networks.params, k) | select(networks.buffers, k)).items()}
    with exact_on(networks.device):
        return functional_call(module, tensors, (noise.to(networks.device, dtype),))


def _matched(spec: PermutationSpec, a: Params, b: Params, seed: int) -> Permutation:
    a, b = ({n: t.detach().float() for n, t in each.items() if n in spec.axes} for each in (a, b))
    found, touched = spec.identity(), [_touched(spec, group, a) for group in spec.groups]
    sizes = {n: float(t.norm() * b[n].norm()) for n, t in a.items()}
    stale, generator = set(range(len(spec.groups))), torch.Generator().manual_seed(seed)
    order = list(range(len(spec.groups)))
    while stale:
        for g in (g for g in order if g in stale):
            stale.discard(g)
            ours = {n: a[n] for n, _ in touched[g]}
            theirs = {n: b[n] for n in ours}
            places, gain = _assigned(spec, g, touched[g], ours, theirs, found)
            better, twice = found | places, len(ours) < len(touched[g])
            if twice:  # a tensor has them on two axes, and each depends on the other
                old, new = (_agreement(ours, spec.apply(theirs, p)) for p in (found, better))
                gain = new - old
            if gain > LEAST * sum(sizes[n] for n in ours):
                found = better
                stale |= {h for h, axes in enumerate(touched) if (h != g or twice) and ours.keys() & dict(axes).keys()}
        order = torch.randperm(len(order), generator=generator).tolist()
    return found


def _touched(spec: PermutationSpec, group: tuple[str, ...], tensors: Params) -> list[tuple[str, int]]:
    """Tensors and their axes on which units of a group lie."""
    ours = torch.zeros(spec.nodes, dtype=torch.bool)
    for part in group:
        ours[spec.parts[part]] = True
    return [(n, k) for n in tensors for k, axis in enumerate(spec.axes[n])
            if axis is not None and bool(ours[axis].any())]


def _agreement(a: Params, b: Params) -> float:
    return sum(float(torch.vdot(t.flatten().double(), b[n].flatten().double())) for n, t in a.items())


def _assigned(spec: PermutationSpec, g: int, touched: list[tuple[str, int]], a: Params, b: Params, found: Permutation
              ) -> tuple[Permutation, float]:
    """The best places of one group's units, given those of all others, and what is gained by them."""
    source = spec.source(found)
    others = {(n, k): spec.moved(n, b[n], source, but=k) for n, k in touched}
    alike = {part: _alike(spec, spec.parts[part].flatten(), a, others).cpu().numpy() for part in spec.groups[g]}
    values: list[np.ndarray] = []
    inner: list[np.ndarray] = []
    for part, of in alike.items():
        blocks, size = spec.parts[part].shape
        value, within = _within(of.reshape(blocks, size, blocks, size).swapaxes(1, 2))
        values.append(value)
        inner.append(within)
    block = scipy.optimize.linear_sum_assignment(sum(values), maximize=True)[1]
    rows = np.arange(len(block))
    places = {part: torch.from_numpy((block[:, None] * within.shape[-1] + within[rows, block]).flatten())
              for part, within in zip(spec.groups[g], inner)}
    return places, sum(_value(of, places[part]) - _value(of, found[part]) for part, of in alike.items())


def _value(alike: np.ndarray, order: Tensor) -> float:
    return float(alike[np.arange(len(alike)), order.numpy()].sum(dtype=np.float64))


def _within(alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pair of blocks [B, B, m, m] the best assignment of their units: its value [B, B], and it [B, B, m]."""
    blocks, size = len(alike), alike.shape[-1]
    if size == 1:
        return alike[..., 0, 0], np.zeros((blocks, blocks, 1), dtype=np.int64)
    each = np.array([[scipy.optimize.linear_sum_assignment(pair, maximize=True)[1] for pair in row] for row in alike])
    return np.take_along_axis(alike, each[..., None], -1).sum((-1, -2)), each


def _alike(spec: PermutationSpec, units: Tensor, a: Params, others: dict[tuple[str, int], Tensor]) -> Tensor:
    """float32 [n, n]: sum of products of all weights of unit i in ``a`` with those of unit j in the other network."""
    total = next(iter(a.values())).new_zeros(len(units), len(units))
    for (name, k), other in others.items():
        axis = spec.axes[name][k]
        assert axis is not None
        order = axis.argsort(stable=True)
        first = torch.searchsorted(axis[order], units)
        count = int((axis == units[0]).sum())
        if count:  # how often each of these units lies on this axis
            at = order[first[:, None] + torch.arange(count)].flatten().to(other.device)
            mine, its = (t.index_select(k, at).movedim(k, 0).reshape(len(units), -1) for t in (a[name], other))
            total.addmm_(mine, its.T)
    return total
