"""Which units of a network must move together: found by following one image's tensors through the module.

Every index of every parameter's axes is a node; what a network does to a tensor says which nodes are one: a residual
sum ties the channels of its two terms, a flattening gives a channel as many columns as it had pixels, a product of
queries and keys ties both, head by head. Node 0 is what cannot move: an image's channels, the classes, and whatever
goes into a function that no rule here knows. So what is found is never too much; it may be too little.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy  # which loads a part when it is first asked for
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

NOTE = "_units"  # the attribute under which a tensor holds its nodes
FREE = -1  # of a number that no permutation changes, such as a sum over all units


class Units(TorchFunctionMode):
    """Notes for every tensor that is made within it, which nodes its numbers belong to.

    Attributes:
        matrices: by name of a convolution's or linear layer's weight, nodes of its outputs [O] and of its inputs [I].
        vectors: by name of any other tensor that is used, a node a number, in the tensor's shape.
        nested: (members, owners): nodes that only move with, or within, an owner, such as those of an attention head.
        whole: names of tensors that went into functions without a rule. held: names of such functions that units, too,
            went into.
    """

    def __init__(self, module: nn.Module, rules: Mapping[str, Callable]):
        super().__init__()
        self.rules = rules
        self.names = {id(t): n for n, t in [*module.named_parameters(), *module.named_buffers()]}
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        self.vectors: dict[str, Tensor] = {}
        self.nested: list[tuple[Tensor, Tensor]] = []
        self.whole: set[str] = set()
        self.held: dict[str, None] = {}
        self._count, self._edges, self._known = 1, [], (0, np.zeros(1, dtype=np.int64))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if any(isinstance(t, Tensor) for t in tree_leaves(out)):
            self._follow(func, func.__name__.strip("_"), args, kwargs, out)
        return out

    def _follow(self, func: Callable, name: str, args: tuple, kwargs: dict, out: Any) -> None:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        found = self.rules[name](self, func, out, *args, **kwargs) if given and name in self.rules else None
        if found is None:  # no rule, or none for this case
            self._hold_all(name, given)
            found = tree_map(lambda t: torch.zeros([1] * t.ndim, dtype=torch.long) if isinstance(t, Tensor) else t, out)
        for t, units in zip(tree_leaves(out), tree_leaves(found)):
            if isinstance(t, Tensor):
                setattr(t, NOTE, compact(units))

    def _hold_all(self, name: str, given: Sequence[Tensor]) -> None:
        for t in given:
            if id(t) in self.names:
                self.whole.add(self.names[id(t)])
            else:
                units = self.of(t)
                self.held |= {name: None} if bool((self.settled(units) > 0).any()) else {}
                self.hold(units)

    def of(self, t: Tensor) -> Tensor:
        """The nodes of a tensor's numbers, of one number along every axis on which they are all the same."""
        units = getattr(t, NOTE, None)
        if units is None:
            name = self.names.get(id(t))
            if name is None:  # made in between, from no parameter
                return torch.zeros([1] * t.ndim, dtype=torch.long)
            units = self.vectors[name] = self.fresh(t.shape)
        if sum(n > 1 for n in units.shape) > 1:
            units = compact(self.settled(units))
        setattr(t, NOTE, units)
        return units

    def whole_of(self, t: Tensor) -> Tensor:
        """The nodes of a tensor's numbers, in its shape."""
        return self.of(t).expand(t.shape).contiguous()

    def fresh(self, shape: Sequence[int]) -> Tensor:
        made = torch.arange(self._count, self._count + int(np.prod(shape))).view(*shape)
        self._count += made.numel()
        return made

    def matrix(self, weight: Tensor) -> tuple[Tensor, Tensor] | None:
        """Nodes of the outputs and inputs of a layer's weight [O, I, …]; None where it is no parameter."""
        name = self.names.get(id(weight))
        if name is None:
            return None
        if name not in self.matrices:
            self.matrices[name] = self.fresh(weight.shape[:1]), self.fresh(weight.shape[1:2])
        return self.matrices[name]

    def tie(self, a: Tensor, b: Tensor) -> None:
        """Makes one what two tensors of nodes have at the same places."""
        pairs = torch.stack(torch.broadcast_tensors(a, b)).flatten(1)
        pairs = pairs[:, (pairs[0] != pairs[1]) & (pairs != FREE).all(0)]
        if pairs.shape[1]:
            known = (pairs[0] * self._count + pairs[1]).unique()  # pairs as numbers: the same of many images' places
            self._edges.append(torch.stack([known // self._count, known % self._count]))

    def hold(self, units: Tensor) -> None:
        self.tie(units, torch.zeros((), dtype=torch.long))

    def classes(self) -> np.ndarray:
        """[nodes]: the first node of those that each is one with."""
        if self._known[0] != len(self._edges) or len(self._known[1]) < self._count:
            a, b = (torch.cat(self._edges, 1) if self._edges else torch.zeros(2, 0, dtype=torch.long)).numpy()
            graph = scipy.sparse.coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(self._count, self._count))
            labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
            first = np.unique(labels, return_index=True)[1]
            self._known = len(self._edges), first[labels]
        return self._known[1]

    def settled(self, units: Tensor) -> Tensor:
        return torch.where(units < 0, units, torch.from_numpy(self.classes())[units.clamp(min=0)])

    def settle(self) -> tuple[np.ndarray, np.ndarray]:
        """Ties what nesting and the shapes of vectors demand; returns (members, owners), by class, of what is nested.

        Owners of one member are one. What cannot be told is held: members and owners of which either is held, owners
        that have become one with others of theirs, and vectors that differ along two axes.
        """
        none = torch.zeros(0, dtype=torch.long)
        members, owners = (torch.cat([none, *(pair[k] for pair in self.nested)]).numpy() for k in (0, 1))
        of = np.repeat(np.arange(len(self.nested)), [len(m) for m, _ in self.nested])
        before = -1
        while before != len(self._edges):
            before, classes = len(self._edges), self.classes()
            m, o = classes[members], classes[owners]
            nodes, kept = (np.unique(np.stack([of, x]), axis=1)[0] for x in (owners, o))
            merged = [e for e in range(len(self.nested)) if (nodes == e).sum() != (kept == e).sum()]
            bad = (m == 0) | (o == 0) | np.isin(o, m) | np.isin(of, merged)
            self.hold(torch.from_numpy(np.concatenate([m[bad], o[bad]])))
            order = np.lexsort((o, m))
            m, o = m[order], o[order]
            again = m[1:] == m[:-1]
            self.tie(torch.from_numpy(o[1:][again]), torch.from_numpy(o[:-1][again]))
            for v in self.vectors.values():
                settled = compact(self.settled(v))
                if sum(n > 1 for n in settled.shape) > 1:
                    self.hold(settled)
            for name in self.vectors.keys() & self.matrices.keys() | self.whole & self.matrices.keys():
                for each in (*self.matrices[name], self.vectors.get(name, none)):
                    self.hold(self.settled(each))
            for name in self.whole & self.vectors.keys():
                self.hold(self.settled(self.vectors[name]))
        pairs = np.unique(np.stack([m, o]), axis=1)
        return pairs[0][pairs[0] > 0], pairs[1][pairs[0] > 0]

    def joined(self, u: Tensor, shape: Sequence[int], v: Tensor, other: Sequence[int], nest: bool = False
               ) -> Tensor | None:
        """The nodes of a sum or product, by element, of tensors of these shapes; None where there is no telling.

        Where one tensor is a single number along an axis on which the other's nodes differ, all of them are tied to its
        node; with ``nest`` they keep moving within it. One that is a single number for all of them ties nothing.
        """
        rank = max(len(shape), len(other))
        (u, v), (mine, its) = ((x.view(*[1] * (rank - x.ndim), *x.shape) for x in (u, v)),
                               ([1] * (rank - len(s)) + list(s) for s in (shape, other)))
        u_shared, v_shared = (any(m == 1 < n for m, n in zip(a, x.shape)) for a, x in ((mine, v), (its, u)))
        if u_shared and v_shared:
            return None
        if not u_shared and not v_shared and FREE not in (int(u.max()), int(v.max())):
            self.tie(u, v)
            return torch.where(u == FREE, v, u) if FREE in (int(u.min()), int(v.min())) else min(u, v, key=Tensor.numel)
        (members, owner, real) = (v, u, mine) if u_shared or int(u.max()) == FREE else (u, v, its)
        if owner.numel() > 1 or any(m > 1 and n > 1 for m, n in zip(real, members.shape)):
            if nest:
                a, b = torch.broadcast_tensors(members, owner)
                self.nested.append((a.flatten(), b.flatten()))
            else:
                self.tie(members, owner)
        return members

    def product(self, u: Tensor, shape: Sequence[int], v: Tensor, other: Sequence[int]) -> Tensor | None:
        """The nodes of a matrix product [..., n, k] × [..., k, m], as in attention; None where there is no telling."""
        rank = max(len(shape), len(other))
        if min(len(shape), len(other)) < 2:
            return None
        u, v = (x.view(*[1] * (rank - x.ndim), *x.shape) for x in (u, v))
        if u.shape[-1] == v.shape[-2] == 1:  # as weights of a sum: probabilities of values
            return self.joined(u, [*shape[:-1], 1], v, [*other[:-2], 1, other[-1]], nest=True)
        if u.shape[-2] > 1 or v.shape[-1] > 1 or 1 in (u.shape[-1], v.shape[-2]):
            return None
        members = u.squeeze(-2)
        self.tie(members, v.squeeze(-1))
        if members.shape[:-1].numel() == 1:  # a sum over all units
            return torch.full([1] * rank, FREE)
        owners = self.fresh(members.shape[:-1])
        self.nested.append((members.flatten(), owners[..., None].expand(members.shape).flatten()))
        return owners[..., None, None]


def compact(units: Tensor) -> Tensor:
    """Of one number along every axis on which all are the same."""
    for axis, n in enumerate(units.shape):
        if n > 1 and bool((units == units.narrow(axis, 0, 1)).all()):
            units = units.narrow(axis, 0, 1)
    return units
