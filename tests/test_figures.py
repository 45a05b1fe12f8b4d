"""The common look of figures, and the parts that they are made of."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lmcnb import estimate, figures
from lmcnb.figures.base import marker
from lmcnb.figures.heat import heights
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")


def a_table(n: int = 3, rounds: int = 3) -> Table:
    """Paths of the dense network and of two methods over pruning rounds, all initialisations."""
    rng, alphas = np.random.default_rng(0), np.linspace(0, 1, 5)
    keys = [("dense", 0), *((m, r) for m in ("idc", "imp") for r in range(1, rounds))]
    return Table.of({"method": m, "round": r, "init": i, "quantity": q, "alpha": a, "value": rng.random()}
                    for m, r in keys for i in range(n) for q in ("train_loss", "test_error") for a in alphas)


def a_stability_figure(n: int = 3) -> plt.Figure:
    return figures.stability(a_table(n), [2], "a note")


def test_dots_are_means_with_their_intervals():
    _, ax = plt.subplots()
    barriers = a_table().select(round=[0, 2]).barriers()
    figures.dots(ax, barriers, "barrier", threshold=0.2)
    drawn = {(line.get_marker(), round(float(line.get_xdata()[0]), 9)) for line in ax.lines
             if line.get_markersize() > 5}
    assert drawn == {(marker(m), round(estimate(v).mean, 9)) for (m, _), v in barriers.values_of().items()}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["IMP (real data), 36%", "distilled, IDC, 36%", "dense"]


def test_a_map_and_a_surface_begin_with_the_dense_network():
    figure = a_stability_figure()
    loss = a_table().select(quantity="train_loss", init=0)
    levels = {m: np.concatenate([*loss.select(method=["dense", m]).sort_values("round").curves().values()])
              for m in ("idc", "imp")}
    alphas = np.linspace(0, 1, 5)
    maps = [ax.collections[0] for ax in figure.axes[1:3]]
    for shown, rows in zip(maps, levels.values(), strict=True):
        np.testing.assert_allclose(shown.get_array(), rows - (1 - alphas) * rows[:, :1] - alphas * rows[:, -1:])
    low, high = maps[0].get_clim()
    assert maps[1].get_clim() == (low, high) and low == -high, "one scale, and 0 is white"
    [surface] = [ax for ax in figure.axes if ax.name == "3d"]
    np.testing.assert_allclose([line.get_data_3d()[2] for line in surface.lines], levels["idc"])


def test_what_is_judged_is_drawn_with_its_margin():
    judged = a_table().select(round=[0, 2]).barriers()
    rows, found = list(judged.values_of()), figures.parts.less_than_others(judged)
    assert found.keys() == {("imp", 2)} and rows[1:] == [("idc", 2), ("imp", 2)]
    _, ax = plt.subplots()
    figures.parts.differences(ax, rows, found, 0.1, "x")
    [box] = ax.patches
    assert (box.get_x(), box.get_width()) == (-0.1, 0.2) and box.get_y() == -0.5, "IMP's row is the last"
    interval, mean = ax.lines[:2]
    np.testing.assert_allclose(interval.get_xdata(), found["imp", 2].interval())
    [claim] = [c for c in figures.stability_claims(with_controls(judged), [2]) if c.id.startswith("A2-")]
    assert mean.get_xdata()[0] == pytest.approx(claim.estimate) and mean.get_marker() == "D"


def with_controls(table: Table) -> Table:
    """A table with what stability's claims ask for: both controls, and rises of the test error."""
    rows = a_table()
    controls = [rows.select(method="imp", round=2).assign(method=m) for m in ("random mask", "random images")]
    return Table(pd.concat([rows, *controls], ignore_index=True))


def test_percent_sparse_is_the_papers():
    assert [figures.percent_sparse(r) for r in (0, 4, 9, 10)] == ["0%", "59%", "87%", "89%"]


def test_an_unknown_method_has_a_colour_and_its_own_name_as_label():
    assert figures.label("mine") == "mine" and figures.colour("mine").startswith("#")
    assert figures.label("imp") != "imp"


def test_one_initialisation_is_drawn_without_an_interval():
    axes = a_stability_figure(n=1).axes
    assert len(axes) == 1 + 2 + 1 + 1 + 3, "paths, two maps, their scale, a surface, three panels"


def test_a_grid_shows_every_set_in_a_row():
    figure = figures.images_grid({"a": np.random.rand(12, 3, 4, 4), "b": np.random.rand(2, 1, 4, 4)}, columns=5)
    assert len(figure.axes) == 10
    assert [sum(bool(ax.images) for ax in figure.axes[r * 5:r * 5 + 5]) for r in range(2)] == [5, 2]


def test_all_rounds_are_those_of_the_initialisation_that_has_them():
    rows = [{"method": "idc" if r else "dense", "round": r, "init": i, "seeds": "0–1", "quantity": "train_loss",
             "alpha": a, "value": 10 * i + r}
            for i, rounds in ((0, (0, 4)), (1, (0, 1, 2, 4))) for r in rounds for a in (0.0, 0.5, 1.0)]
    rounds, found = heights(Table.of(rows), ["idc"])["idc"]
    assert rounds == [0, 1, 2, 4] and found[:, 0].tolist() == [10, 11, 12, 14]
