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
    monkeypatch.setattr(widgets, "display", lambda figure: seen.append(figure.axes[0].get_title()))
    return seen


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
    which.value = 4
    assert titles == ["round 0: 0% sparse, α = 0.00", "round 4: 59% sparse, α = 0.00"]
