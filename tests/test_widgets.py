"""The explorers redraw from what they were given and train nothing."""

import matplotlib
import numpy as np
import pytest

from lmcnb import widgets
from lmcnb.measure.path import QUANTITIES
from lmcnb.tables import Table

matplotlib.use("Agg")
ALPHAS = np.linspace(0, 1, 3)


@pytest.fixture
def titles(monkeypatch):
    """The title of every figure that an explorer shows."""
    seen = []
    _shown(monkeypatch, lambda figure: seen.append(figure.axes[0].get_title()))
    return seen


def _shown(monkeypatch, look):
    """Has every figure that an explorer shows looked at."""
    png = widgets.png
    monkeypatch.setattr(widgets, "png", lambda figure: (look(figure), png(figure))[1])


def test_path_explorer_shows_the_value_at_the_chosen_alpha(titles):
    table = Table.of({"method": "imp", "round": 4, "init": 0, "quantity": q, "alpha": a, "value": v + k}
                     for k, q in enumerate(QUANTITIES) for a, v in zip(ALPHAS, (1.0, 2.5, 3.0), strict=True))
    box = widgets.path_explorer(table)
    (which, quantity), alpha = box.children[0].children, box.children[1]
    assert len(which.options) == 1 and "59%" in next(iter(which.options))
    alpha.value = 1
    quantity.value = "test_error"
    assert titles[0].startswith("1.000 at α = 0.00")
    assert titles[1].startswith("2.500 at α = 0.50")
    assert titles[2].startswith("5.500 at α = 0.50")


def test_path_explorer_needs_a_path():
    with pytest.raises(ValueError, match="at least one path"):
        widgets.path_explorer(Table.of([{"method": "imp", "value": 1.0}]))


def test_round_explorer_has_a_step_for_every_round(titles):
    table = Table.of({"method": m, "round": r, "quantity": "train_loss", "alpha": a, "value": v}
                     for m, v in (("imp", 0.0), ("idc", 1.0)) for r in range(5) for a in ALPHAS)
    box = widgets.round_explorer(table)
    which = box.children[0]
    assert (which.min, which.max) == (0, 4)
    before = bytes(box.children[-1].value)
    which.value = 4
    assert before.startswith(b"\x89PNG") and bytes(box.children[-1].value) != before
    assert titles == ["round 0: 0% sparse, α = 0.00", "round 4: 59% sparse, α = 0.00"]


def test_landscape_explorer_walks_from_training_0_to_training_1(monkeypatch):
    seen = []
    _shown(monkeypatch, lambda figure: seen.append(
        (figure.axes[0].lines[-1].get_xydata().tolist(), [ax.get_title() for ax in figure.axes[:2]])))
    where = {"method": "imp", "round": 4, "init": 0}
    rows = [{**where, "kind": "through", "quantity": "train_loss", "x": x, "y": y, "value": x + y}
            for x in (0.0, 1.0, 2.0) for y in (0.0, 1.0, 2.0)]
    rows += [{**where, "kind": "through", "quantity": "distance from the plane", "network": k, "x": x, "y": 1.0,
              "value": 0.0} for k, x in enumerate((0.5, 1.5))]
    rows += [{**where, "quantity": "train_loss", "alpha": a, "value": v} for a, v in zip(ALPHAS, (1.0, 2.0, 2.0))]
    box = widgets.landscape_explorer(Table.of(rows))
    box.children[1].value = 1
    assert [place for place, _ in seen] == [[[0.5, 1.0]], [[1.0, 1.0]]]
    assert seen[1][1] == ["at α = 0.50 between 0 and 1", "+0.500 at α = 0.50"]
    with pytest.raises(ValueError, match="at least one plane"):
        widgets.landscape_explorer(Table.of(rows[-3:]))


def test_reading_explorer_names_the_method_and_the_correlation(titles):
    rows = []
    for k, method in enumerate(("imp", "idc", "dm", "random mask", "dsa")):
        for i in (0, 1):
            where = {"method": method, "round": 4, "init": i}
            rows += [{**where, "quantity": "train_loss barrier, midpoint", "value": k + i / 10}]
            rows += [{**where, "quantity": name, "value": 0.9 - k / 10 + i / 50 * (name == "clean")}
                     for name in ("clean", "corrupted", "kept", "probe")]
    box = widgets.reading_explorer(Table.of(rows))
    reading, (rounds, method) = box.children[0], box.children[1].children
    method.value = "dm"
    reading.value = "probe"
    assert [label for label, _ in rounds.options] == ["59%"]
    assert titles[0].startswith("IMP, 59%; of all: ρ = -1.00") and titles[1].startswith("distilled, DM, 59%")
    assert len(titles) == 3
