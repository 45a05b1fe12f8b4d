"""The two-way model: methods × initialisations, with a variance for each method."""
from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # which loads a part when it is first asked for

from .estimates import Student

# By the initialisation it was measured for, a value; a cell of two sets is two cells.
Cell = Mapping[int, float]
# Dense networks and random masks spread three to ten times more than what was pruned: they say nothing of its variance.
NOISY = ("dense", "random mask")


@dataclass(frozen=True)
class Contrast(Student):
    """A weighted sum of the means of cells of a layout.

    Attributes:
        cells, weights: by cell its values by initialisation, and what its mean is multiplied by.
        blocks: whether the cells share what is an initialisation's own. sets: how many distilled sets, or random
            subsets, are averaged over; "own" is one for each initialisation, 0 is a contrast without any.
    """

    cells: Mapping[str, Cell]
    weights: Mapping[str, float]
    blocks: bool
    sets: int | str

    @classmethod
    def of(cls, cells: Mapping[str, Cell], weights: Mapping[str, float], blocks: bool = False, sets: int | str = 1
           ) -> Contrast:
        """Units or blocks: with ``blocks`` one difference for each initialisation and Student's t; else the cells are
        independent samples, and the degrees of freedom are Welch and Satterthwaite's.

        Raises:
            ValueError: a cell is missing or empty, or blocks have no initialisation in common.
        """
        if absent := [name for name in weights if not cells.get(name)]:
            raise ValueError(f"there is no {', '.join(absent)} in this layout; it has: {', '.join(cells)}")
        used = {name: dict(sorted(cells[name].items())) for name in weights}
        shared = sorted(set.intersection(*map(set, used.values())))
        n = len(shared) if blocks else min(map(len, used.values()))
        if blocks and not shared:
            raise ValueError(f"{', '.join(weights)} have no initialisation in common")
        if blocks:
            found = of_blocks(np.array([sum(w * used[name][i] for name, w in weights.items()) for i in shared]))
        else:
            found = of_units([np.array(list(cell.values())) for cell in used.values()], list(weights.values()))
        center, error, freedom = map(float, found)
        return cls(center, error, freedom, n, used, dict(weights), blocks, sets)

    @property
    def signs(self) -> np.ndarray:
        """The contrast of each initialisation that all cells have."""
        shared = sorted(set.intersection(*map(set, self.cells.values())))
        return np.array([sum(w * self.cells[name][i] for name, w in self.weights.items()) for i in shared])

    def __str__(self) -> str:
        """How many units: "3", "3 × 2 sets", "6 × own sets"."""
        if self.sets == 0:
            return str(self.n)
        return f"{self.n} × {self.sets} set{'s' * (self.sets != 1)}"


def of_units(cells: Sequence[np.ndarray], weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weighted sum of the means of independent cells [..., n]: estimate, standard error, degrees of freedom [...]."""
    center = sum(w * x.mean(-1) for w, x in zip(weights, cells))
    freedoms = np.array([max(1, x.shape[-1] - 1) for x in cells])
    parts = np.stack([w ** 2 * _variance(x) / x.shape[-1] for w, x in zip(weights, cells)], -1)
    total, shares = parts.sum(-1), (parts ** 2 / freedoms).sum(-1)
    freedom = np.divide(total ** 2, shares, out=np.full_like(total, freedoms.sum()), where=shares > 0)
    return np.asarray(center), np.sqrt(total), freedom


def of_blocks(each: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of differences [..., n], one for each initialisation: as :func:`of_units`."""
    n = each.shape[-1]
    return each.mean(-1), np.sqrt(_variance(each) / n), np.full(each.shape[:-1], max(1.0, n - 1.0))


def initialisations_differ(x: np.ndarray) -> np.ndarray:
    """Of layouts [..., methods, n], whether initialisations do: the F test at 5%."""
    methods, n = x.shape[-2:]
    residual = x - x.mean(-2, keepdims=True) - x.mean(-1, keepdims=True) + x.mean((-2, -1), keepdims=True)
    freedom = n - 1, (methods - 1) * (n - 1)
    within = (residual ** 2).sum((-2, -1)) / freedom[1]
    return methods * x.mean(-2).var(-1, ddof=1) > scipy.special.fdtri(*freedom, 0.95) * within


def _variance(x: np.ndarray) -> np.ndarray:
    return x.var(-1, ddof=1) if x.shape[-1] > 1 else np.full(x.shape[:-1], np.nan)


@dataclass(frozen=True)
class Layout:
    """One statistic of one sparsity: by method, its value for each initialisation.

    All contrasts of a layout come from one model: value = method + initialisation + noise, whose variance is the
    method's own. Whether initialisations differ is asked of the layout, of all methods but the noisy ones. Where they
    do, contrasts are of initialisations, as blocks; where they do not, of the cells as independent samples, which gives
    up to twice the degrees of freedom. Leaving out a true initialisation effect makes an interval too wide, never too
    narrow; docs/verdicts.md has the coverage.
    """

    cells: Mapping[str, Cell]
    sets: int | str = 1

    @property
    def blocks(self) -> bool:
        """Whether initialisations differ: the F test of the quiet methods × initialisations, at 5%."""
        quiet = {name: cell for name, cell in self.cells.items() if name not in NOISY}
        shared = sorted(set.intersection(*map(set, quiet.values()))) if quiet else []
        methods, n = len(quiet), len(shared)
        if methods < 2 or n < 2:
            return False
        return bool(initialisations_differ(np.array([[cell[i] for i in shared] for cell in quiet.values()])))

    def contrast(self, weights: Mapping[str, float], sets: int | str | None = None) -> Contrast:
        """A weighted sum of methods' means."""
        return Contrast.of(self.cells, weights, self.blocks, self.sets if sets is None else sets)

    def difference(self, one: str, other: str, sets: int | str | None = None) -> Contrast:
        """The mean of ``one`` less that of ``other``.

        >>> cells = {"idc": {0: 1.0, 1: 2.0, 2: 1.5}, "imp": {0: 0.1, 1: 0.2, 2: 0.0}}
        >>> found = Layout(cells).difference("idc", "imp")
        >>> assert np.isclose(found.estimate, 1.4) and 2 <= found.freedom <= 4 and str(found) == "3 × 1 set"
        """
        return self.contrast({one: 1.0, other: -1.0}, sets)

    def values(self, method: Hashable) -> np.ndarray:
        """A method's values, in order of their initialisations."""
        return np.array([value for _, value in sorted(self.cells[str(method)].items())])
