"""Figure 7: what is drawn is what was given."""

from functools import cache

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import figures
from lmcnb.figures.hybrid import HUES
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")

NAMES = {"k=0": "IMP, k = 0", "k>0": "IMP, k = 7", "hybrid": "hybrid"}


FIRST = {"k=0": 0, "k>0": 0, "hybrid": 8}


@cache
def the_figure() -> plt.Figure:
    """Of what :func:`accuracies` gives; to be looked at alone."""
    return a_figure(accuracies())


def accuracies(n: int = 3, methods=FIRST) -> dict:
    rng = np.random.default_rng(0)
    return {(m, r): 60 - r + rng.random(n) for m in methods for r in range(FIRST[m], 19)}


def a_table(given: dict) -> Table:
    return Table.of({"method": m, "round": r, "init": i, "quantity": "test_accuracy", "step": 7.0, "value": v / 100}
                    for (m, r), values in given.items() for i, v in enumerate(values))


def a_figure(given: dict) -> plt.Figure:
    return figures.hybrid(a_table(given), NAMES, 8, "a note")


def line(ax: plt.Axes, method: str) -> np.ndarray:
    (found,) = [x for x in ax.lines if x.get_color() == HUES[method] and x.get_marker() not in ("None", "")]
    return found.get_xydata()


def test_the_left_panel_draws_the_means_at_their_rounds():
    given = accuracies()
    left = the_figure().axes[0]
    for method in NAMES:
        expected = [(r, np.mean(v)) for (m, r), v in given.items() if m == method]
        np.testing.assert_allclose(line(left, method), expected)


def test_the_right_panel_draws_the_differences_that_are_judged():
    given = accuracies()
    right = the_figure().axes[1]
    drawn, differences = line(right, "hybrid"), [given["hybrid", r] - given["k>0", r] for r in range(8, 19)]
    np.testing.assert_allclose(drawn[:, 1], np.mean(differences, 1))
    bars = next(c for c in right.collections if c.get_label().startswith("_") and len(c.get_segments()) == 11)
    [claim] = [c for c in figures.hybrid_claims(a_table(given), 18, 8) if c.id == "B7h-98%"]
    np.testing.assert_allclose(-bars.get_segments()[-1][::-1, 1], claim.interval)


def test_the_axis_reads_98_percent_and_the_switch_is_marked():
    left = the_figure().axes[0]
    labels = [t.get_text() for t in left.get_xticklabels()]
    assert labels[:3] == ["0%", "59%", "79%"] and labels[-1] == "98%"
    assert any(np.allclose(x.get_xdata(), 8) for x in left.lines)


def test_one_initialisation_is_drawn_without_an_interval():
    a_figure(accuracies(n=1)).draw_without_rendering()


def test_a_missing_method_is_named():
    with pytest.raises(ValueError, match="k>0"):
        a_figure(accuracies(methods=["k=0", "hybrid"]))
