"""One tidy table for everything that is measured: a row a number, and verbs for what is read off it."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from .measure.path import CONVENTIONS, QUANTITIES, LinearPath, barrier
from .profiles import UNJUDGED
from .spec import choose
from .statistics import Claim, Estimate, Layout, estimate

# In this order, where a table has them; settings that differ within a plan follow.
COLUMNS = ("method", "round", "sparsity", "init", "set", "seeds", "quantity", "alpha", "value")


class Table(pd.DataFrame):
    """Rows of numbers that were measured, each with what it was measured of.

    Columns (those that a study has): method ("dense", "imp", "random mask", or a name in the study's sets), round and
    sparsity of pruning, init, set (seed of the distilled set), seeds of the trainings ("0", or "0–1" of a path),
    quantity, alpha (position on a path), value, and any setting in which rows of one kind differ (``bn``).

    A DataFrame in all else: filter it, pivot it, plot it with seaborn.
    """

    @property
    def _constructor(self) -> type[Table]:
        return Table

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Table:
        """From rows by column; what a row lacks is missing, columns that nothing has are left out."""
        frame = cls(list(rows))
        frame = frame[[*(c for c in COLUMNS if c in frame), *(c for c in frame if c not in COLUMNS)]]
        for name in ("round", "init", "set"):
            if name in frame:
                frame[name] = frame[name].astype("Int64")
        return frame.dropna(axis=1, how="all").reset_index(drop=True)

    @classmethod
    def of_path(cls, path: LinearPath, networks: Sequence[Mapping[str, Any]]) -> Table:
        """The rows of P measured paths; ``networks`` says, by column, what each of them is between."""
        if len(networks) != len(path.test_error):
            raise ValueError(f"{len(path.test_error)} paths need as many names; got {len(networks)}")
        found = {q: getattr(path, q).tolist() for q in QUANTITIES}
        return cls.of({**names, "quantity": q, "alpha": a, "value": v} for k, names in enumerate(networks)
                      for q in QUANTITIES for a, v in zip(path.alphas.tolist(), found[q][k]))

    def select(self, **wanted: Any) -> Table:
        """The rows in which columns have these values, or one of a list of them.

        Raises:
            ValueError: no such column, or no row is left.
        """
        kept = np.ones(len(self), dtype=bool)
        for name, value in wanted.items():
            choose("column", name, dict.fromkeys(self.columns))
            several = isinstance(value, (list, tuple, set, range))
            kept &= (self[name].isin(list(value)) if several else self[name] == value).fillna(False).to_numpy(bool)
        if not kept.any():
            raise ValueError(f"no row has {', '.join(f'{n} = {v!r}' for n, v in wanted.items())}")
        return self[kept]

    def barriers(self, quantity: str = "train_loss", convention: str = "midpoint", scale: float = 1.0) -> Table:
        """The height of every path above its ends: one row a path, in the path's units times ``scale``.

        A table that keeps heights without their paths gives those.

        Raises:
            ValueError: an unknown quantity or convention: see :func:`lmcnb.measure.barrier`.
        """
        choose("quantity", quantity, dict.fromkeys(QUANTITIES))
        choose("convention", convention, dict.fromkeys(CONVENTIONS))
        name = f"{quantity} barrier, {convention}"
        if (self["quantity"] == name).any():
            return self.select(quantity=name).assign(value=lambda rows: scale * rows["value"])
        paths = self.select(quantity=quantity)
        keys = [c for c in paths if c not in ("alpha", "value")]

        def height(path: pd.DataFrame) -> float:
            path = path.sort_values("alpha")
            alphas, values = (torch.tensor(path[c].to_numpy(float)) for c in ("alpha", "value"))
            return scale * float(barrier(alphas, values, convention))
        found = [{**dict(zip(keys, key)), "quantity": name, "value": height(path)}
                 for key, path in paths.groupby(keys, sort=False, dropna=False)]
        return Table.of(found)

    def averaged(self, over: str, scale: float = 1.0) -> Table:
        """The mean of rows that differ in ``over`` alone, times ``scale``: of a pair's two trainings, with "seeds"."""
        keys = [c for c in self if c not in (over, "value")]
        means = scale * self.groupby(keys, sort=False, dropna=False)["value"].mean()
        return Table.of(means.reset_index().to_dict("records"))

    def values_of(self, quantity: str | None = None, by: Sequence[str] = ("method", "round"), scale: float = 1.0
                  ) -> dict[Any, np.ndarray]:
        """By method and round (or other columns) the values float64 [n], one an initialisation, in order of init.

        Rows without one of these columns (a ticket that was not found in rounds has none) belong to no group.
        """
        rows = self if quantity is None else self.select(quantity=quantity)
        for name in by:
            choose("column", name, dict.fromkeys(self.columns))
        order = [c for c in ("init", "seeds", "set") if c in rows and c not in by]
        return {_key(key): scale * group.sort_values(order, kind="stable")["value"].to_numpy(float)
                for key, group in rows.groupby(list(by), sort=False)}

    def curves(self, quantity: str = "train_loss", by: Sequence[str] = ("method", "round")) -> dict[Any, np.ndarray]:
        """By method and round the paths [n, A] of a quantity, one an initialisation; α ascends."""
        rows = self.select(quantity=quantity)
        index = [c for c in ("init", "seeds") if c in rows and c not in by]
        return {_key(key): group.pivot_table(index=index, columns="alpha", values="value").to_numpy(float)
                for key, group in rows.groupby(list(by), sort=False)}

    @property
    def alphas(self) -> np.ndarray:
        """Positions on the paths, ascending."""
        return np.unique(self["alpha"].dropna().to_numpy(float))

    def estimates(self, by: Sequence[str] = ("method", "round"), text: int | None = None) -> pd.DataFrame:
        """Mean and 95% interval over initialisations: a row a group, a column a quantity.

        Args:
            text: as text with so many digits, "0.12 [0.08, 0.16]", for people; None gives :class:`Estimate` objects.
        """
        wide: dict[Any, dict[str, Any]] = {}
        for name, key, values in self._of_inits(by):
            found = estimate(values)
            wide.setdefault(key, {})[name] = found if text is None else shown(found, text)
        return pd.DataFrame.from_dict(wide, orient="index").rename_axis(list(by) if len(by) > 1 else by[0])

    def intervals(self, by: Sequence[str] = ("method", "round"), scale: float = 1.0) -> pd.DataFrame:
        """Mean and 95% interval over initialisations as numbers, for error bars: a row a group and quantity.

        Columns: those of ``by``, quantity, mean, low, high (with one value missing), n.

        >>> table = Table.of([{"method": "imp", "init": i, "quantity": "rise", "value": i} for i in (1, 2, 3)])
        >>> assert table.intervals(["method"])[["mean", "n"]].values.tolist() == [[2, 3]]
        """
        rows = []
        for name, key, values in self._of_inits(by):
            found = estimate(scale * values)
            group = dict(zip(by, key if isinstance(key, tuple) else (key,)))
            rows.append({**group, "quantity": name, "mean": found.mean, "low": found.low, "high": found.high,
                         "n": found.n})
        return pd.DataFrame(rows)

    def _of_inits(self, by: Sequence[str]) -> Iterator[tuple[str, Any, np.ndarray]]:
        """Each quantity and group, with a value an initialisation: its two trainings are one, their mean."""
        one = self.averaged("seeds") if "seeds" in self and "seeds" not in by else self
        return ((name, key, values) for name in dict.fromkeys(one["quantity"])
                for key, values in one.values_of(name, by).items())

    def contrast(self, one: Any, other: Any, by: Sequence[str] = ("method", "round")) -> np.ndarray:
        """``one`` minus ``other``, paired by initialisation: float64 [n].

        >>> from lmcnb.tables import Table
        >>> table = Table.of([{"method": m, "init": i, "value": v} for m, i, v in
        ...                   [("idc", 0, 1.0), ("idc", 1, 2.0), ("imp", 1, 5.0), ("imp", 0, 3.0)]])
        >>> assert list(table.contrast("idc", "imp", by=["method"])) == [-2.0, -3.0]

        Raises:
            ValueError: one of them is not in the table, or they have other initialisations.
        """
        rows = [self.select(**dict(zip(by, key if isinstance(key, tuple) else (key,)))) for key in (one, other)]
        a, b = (r.set_index("init")["value"].sort_index() for r in rows)
        if not a.index.equals(b.index) or not a.index.is_unique:
            raise ValueError(f"{one} and {other} need one value for each of the same initialisations; got "
                             f"{list(a.index)} and {list(b.index)}")
        return (a - b).to_numpy(float)

    def layout(self, by: Sequence[str] = ("method",)) -> Layout:
        """The two-way model of one quantity: what ``by`` names × initialisations.

        >>> table = Table.of([{"method": m, "init": i, "value": i + k} for k, m in enumerate("ab") for i in (0, 1, 2)])
        >>> assert table.layout().difference("b", "a").estimate == 1

        Raises:
            ValueError: more than one value for a cell and an initialisation: select a quantity, and a round.
        """
        cells: dict[str, dict[int, float]] = {}
        for key, rows in self.groupby(list(by), sort=False):
            if not rows["init"].is_unique:
                raise ValueError(f"{key} has {len(rows)} values for {rows['init'].nunique()} initialisations: select "
                                 "one quantity, round and setting first")
            cells[" ".join(map(str, key))] = dict(zip(rows["init"].astype(int), rows["value"].astype(float)))
        found = self["set"].dropna() if "set" in self else pd.Series(dtype=int)
        own = found.nunique() > 1 and found.nunique() == self["init"].nunique()
        return Layout(cells, "own" if own else max(1, found.nunique()))

    def to_columns(self) -> dict[str, list]:
        """Lists by column, as JSON keeps them: numbers in full, missing ones and infinite ones None."""
        return {str(c): [_plain(v) for v in self[c].tolist()] for c in self}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence]) -> Table:
        """The inverse of :meth:`to_columns`."""
        return cls.of(dict(zip(columns, row)) for row in zip(*columns.values()))


class Whole(pd.DataFrame):
    """A table that shows its sentences to their end in a notebook."""

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return pd.DataFrame(self)._repr_html_()


def verdicts(claims: Iterable[Claim], profile: str = "") -> pd.DataFrame | str:
    """Claims for people: what was said, what became of it, and the number that decided. A smoke run judges nothing."""
    if profile == UNJUDGED:
        return "smoke run: not judged"
    rows = [{"claim": c.id, "verdict": c.word, "estimate [95% interval]": shown(Estimate(c.estimate, *c.interval, 2)),
             "margin": f"{c.margin:.3g} {c.unit}", "n": c.units, "needed": c.needed or "", "statement": c.statement}
            for c in claims]
    names = ["claim", "verdict", "estimate [95% interval]", "margin", "n", "needed", "statement"]
    return Whole(pd.DataFrame(rows, columns=names).set_index("claim"))


def shown(found: Estimate, digits: int = 3) -> str:
    """"0.12 [0.08, 0.16]"; of one value, the value alone."""
    if found.n < 2:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _key(key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(int(k) if isinstance(k, (int, np.integer)) else k for k in parts)
    return parts[0] if len(parts) == 1 else parts


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or isinstance(value, float) and not np.isfinite(value):
        return None
    return value

