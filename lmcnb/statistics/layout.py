"""The two-way model: methods × initialisations, with a variance for each method."""
from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

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
            each = np.array([sum(w * used[name][i] for name, w in weights.items()) for i in shared])
            center, parts, freedoms = each.mean(), [_variance(each) / n], [n - 1]
        else:
            x = {name: np.array(list(cell.values())) for name, cell in used.items()}
            center = sum(w * x[name].mean() for name, w in weights.items())
            parts = [w ** 2 * _variance(x[name]) / len(x[name]) for name, w in weights.items()]
            freedoms = [len(x[name]) - 1 for name in weights]
        total = float(sum(parts))
        shares = sum(p ** 2 / f for p, f in zip(parts, freedoms) if f)
        freedom = total ** 2 / shares if shares else float(max(1, sum(freedoms)))
        return cls(float(center), total ** 0.5, float(freedom), n, used, dict(weights), blocks, sets)

    @property
    def signs(self) -> np.ndarray:
        """The contrast of each initialisation that all cells have."""
        shared = sorted(set.intersection(*map(set, self.cells.values())))
        return np.array([sum(w * self.cells[name][i] for name, w in self.weights.items()) for i in shared])

    def __str__(self) -> str:
        """How many units: "3", "3 × 2 sets", "6 × own sets"."""
        inits = len(set().union(*self.cells.values()))
        if self.sets == 0:
            return str(inits)
        return f"{inits} × {self.sets} set{'s' * (self.sets != 1)}"


def _variance(x: np.ndarray) -> float:
    return float(x.var(ddof=1)) if len(x) > 1 else float("nan")


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
        x = np.array([[cell[i] for i in shared] for cell in quiet.values()])
        residual = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
        freedom = n - 1, (methods - 1) * (n - 1)
        within = (residual ** 2).sum() / freedom[1]
        between = methods * x.mean(0).var(ddof=1)
        return bool(between > stats.f.ppf(0.95, *freedom) * within)

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
