"""Which units of a network may change places without a change of what it computes, and networks whose units have.

The specification is git-re-basin's (Ainsworth et al., 2023): of every axis of every parameter, which permutation acts
on it. There it is written by hand for each architecture; here it is read off the network itself (:mod:`.units`), so
that anybody's has one: ConvNets, VGGs (a permuted channel is a block of H · W columns of the linear layer behind a
flattening), residual networks, BatchNorm and its statistics, LayerNorm, and transformers, whose attention heads change
places as blocks, with the dimensions of queries and keys, and of values, inside each.
"""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..params import Params
from .net import Net, per_network
from .rules import RULES
from .units import Units, compact

Permutation = dict[str, Tensor]  # by part int64 [units], or [K, units]: whose place each unit takes


@dataclass(frozen=True)
class PermutationSpec:
    """What may change places in a network.

    Attributes:
        axes: by name of a parameter or buffer, for each of its axes int64 [n]: the unit that every index belongs to; of
            an axis on which nothing moves, None. A unit may have several indices (a flattened channel's columns).
        parts: by name, int64 [blocks, m]: the units that change places with one another, named after the first layer
            that they are outputs of. A layer's units are blocks of one; those of attention heads blocks of m, that
            change places as wholes, and within each its units.
        groups: parts whose blocks move together: queries' and keys' with values'.
        held: functions of the network that are not known well enough: units which pass through them stay.
        nodes: how many numbers name units.
    """

    axes: dict[str, tuple[Tensor | None, ...]]
    parts: dict[str, Tensor]
    groups: tuple[tuple[str, ...], ...]
    held: tuple[str, ...]
    nodes: int

    def identity(self) -> Permutation:
        """Nothing moves: int64 [units] of each part."""
        return {name: torch.arange(units.numel()) for name, units in self.parts.items()}

    def apply(self, tensors: Params, permutation: Permutation) -> Params:
        """One network's parameters, buffers or masks with their units in other places.

        Args:
            tensors: by name, without model axis. permutation: by part [units]: unit i of the result is that unit of the
                network.
        """
        source = self.source(permutation)
        return {n: self.moved(n, t, source) for n, t in tensors.items()}

    def source(self, permutation: Permutation) -> Tensor:
        """int64 [nodes]: which node of the network stands where under a permutation."""
        source = torch.arange(self.nodes)
        for name, order in permutation.items():
            units = self.parts[name].flatten()
            source[units] = units[order.cpu()]
        return source

    def moved(self, name: str, tensor: Tensor, source: Tensor, but: int | None = None) -> Tensor:
        """One tensor with its units where :meth:`source` has them; axis ``but`` stays as it is."""
        for k, axis in enumerate(self.axes.get(name, ())):
            if axis is not None and k != but and not torch.equal(source[axis], axis):
                tensor = tensor.index_select(k, _places(axis, source[axis]).to(tensor.device))
        return tensor


def _places(units: Tensor, wanted: Tensor) -> Tensor:
    """Where in ``units`` the ``wanted`` stand: the second index of a unit where it is asked for the second time."""
    order, asked = units.argsort(stable=True), wanted.argsort(stable=True)
    return torch.empty_like(order).index_copy_(0, asked, order)


@per_network(64)
def permutation_spec(net: Net) -> PermutationSpec:
    """What may change places in this network, whoever wrote it.

    Raises:
        ValueError: the network cannot be followed, or nothing of it is known to be exchangeable.

    >>> spec = permutation_spec(Net(name="convnet2", channels=1, size=8, width=4))
    >>> assert list(spec.parts) == ["0", "4"] and spec.parts["0"].shape == (4, 1)
    >>> units = spec.axes["9.weight"][1]  # a channel is 2 × 2 pixels of the linear layer's input
    >>> assert units.view(4, 4).eq(spec.parts["4"]).all()
    """
    module = net.build().eval()
    notes = Units(module, RULES)
    try:
        with torch.enable_grad(), notes:  # with gradients: shortcuts without them hide what is computed
            logits = module(torch.empty(1, net.channels, net.size, net.size, device="meta"))
    except Exception as error:  # whatever a module of one's own raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{net.name} could not be followed on an image of {net.channels} × {net.size} × {net.size}, "
                         f"so no permutation of it is known: {reason}") from None
    notes.hold(notes.of(logits).expand(logits.shape))
    members, owners = notes.settle()
    axes = _axes(notes, module)
    groups = _groups(axes, dict(zip(members.tolist(), owners.tolist())))
    parts, named = _named(groups, axes)
    if not parts:
        held = f": its units pass through {', '.join(notes.held)}" if notes.held else ""
        raise ValueError(f"nothing in {net.name} is known to be exchangeable{held}; take align=None")
    moves = torch.zeros(len(notes.classes()), dtype=torch.bool)
    for units in parts.values():
        moves[units] = True
    kept = {n: tuple(a if a is not None and bool(moves[a].any()) else None for a in each) for n, each in axes.items()}
    return PermutationSpec({n: each for n, each in kept.items() if any(a is not None for a in each)}, parts, named,
                           tuple(notes.held), len(moves))


def _axes(notes: Units, module: nn.Module) -> dict[str, list[Tensor | None]]:
    """By tensor and axis the class of every index, where that is one for all numbers at it."""
    found: dict[str, list[Tensor | None]] = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        each: list[Tensor | None] = [None] * tensor.ndim
        if name in notes.matrices:
            each[:2] = map(notes.settled, notes.matrices[name])
        elif name in notes.vectors and tensor.ndim:
            units = compact(notes.settled(notes.vectors[name]))
            along = max(range(tensor.ndim), key=lambda k: (units.shape[k], tensor.shape[k]))
            each[along] = units.movedim(along, 0).flatten().expand(tensor.shape[along]).contiguous()
        found[name] = each
    return found


def _groups(axes: Mapping[str, list[Tensor | None]], owners: Mapping[int, int]) -> list[list[Tensor]]:
    """Parts [blocks, m] that move together. Units are exchangeable where every axis has as many indices of each."""
    marks: dict[int, list] = defaultdict(list)
    flat = [a for each in axes.values() for a in each if a is not None]
    for k, axis in enumerate(flat):
        for unit, count in zip(*(t.tolist() for t in axis.unique(return_counts=True))):
            marks[unit].append((k, count))
    alike: dict[tuple, list[int]] = defaultdict(list)
    for unit in dict.fromkeys(u for axis in flat for u in axis.tolist() if u > 0):
        alike[(*marks[unit], unit in owners)].append(unit)
    groups: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for (*_, nested), units in alike.items():
        blocks: dict[int, list[int]] = defaultdict(list)
        for unit in units:
            blocks[owners[unit] if nested else unit].append(unit)
        size = len(next(iter(blocks.values())))
        key = tuple(sorted(blocks))
        if any(len(b) != size for b in blocks.values()):
            groups[key].append(torch.zeros(0, 0, dtype=torch.long))  # heads of different sizes: they stay
        else:
            groups[key].append(torch.tensor([blocks[owner] for owner in key]))
    keys = Counter(owner for key in groups for owner in key)
    return [parts for key, parts in groups.items() if max(keys[owner] for owner in key) == 1
            and all(p.numel() > 1 or len(parts) > 1 and p.numel() for p in parts)]


def _named(groups: list[list[Tensor]], axes: Mapping[str, list[Tensor | None]]
           ) -> tuple[dict[str, Tensor], tuple[tuple[str, ...], ...]]:
    """The parts by the layer that they are outputs of, and their groups; a layer of several numbers them."""
    first: dict[int, str] = {}
    for name, each in axes.items():
        if each and each[0] is not None:
            for unit in each[0].tolist():
                first.setdefault(unit, name.removesuffix(".weight"))
    parts: dict[str, Tensor] = {}
    named = []
    for group in groups:
        names = []
        for part in group:
            base = name = first.get(int(part[0, 0]), "units")
            count = 1
            while name in parts:
                count += 1
                name = f"{base} ({count})"
            parts[name] = part
            names.append(name)
        named.append(tuple(names))
    return parts, tuple(named)
