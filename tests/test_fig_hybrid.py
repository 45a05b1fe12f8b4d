"""Figure 7: what is drawn is what was given, and the same inputs give the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import estimate, figures
from lmcnb.figures.hybrid import HUES

pytestmark = pytest.mark.usefixtures("figures_folder")

NAMES = {"k=0": "IMP, k = 0", "k>0": "IMP, k = 7", "hybrid": "hybrid"}


def accuracies(n: int = 3, last: int = 18, switch: int = 8) -> dict:
    rng = np.random.default_rng(0)
    first = {"k=0": 0, "k>0": 0, "hybrid": switch}
    return {w: {r: 60 - r + rng.random(n) for r in range(start, last + 1)} for w, start in first.items()}


def line(ax: plt.Axes, way: str) -> np.ndarray:
    (found,) = [x for x in ax.lines if x.get_color() == HUES[way] and x.get_marker() not in ("None", "")]
    return found.get_xydata()


def test_the_left_panel_draws_the_means_at_their_rounds():
    given = accuracies()
    left = figures.hybrid(given, NAMES, 8, "a note").axes[0]
    for way, values in given.items():
        expected = [(r, np.mean(v)) for r, v in values.items()]
        np.testing.assert_allclose(line(left, way), expected)


def test_the_right_panel_draws_paired_differences():
    given = accuracies()
    right = figures.hybrid(given, NAMES, 8, "a note").axes[1]
    drawn = line(right, "hybrid")
    assert len(drawn) == 11
    np.testing.assert_allclose(drawn[:, 1], [np.mean(v - given["k>0"][r]) for r, v in given["hybrid"].items()])
    bars = next(c for c in right.collections if c.get_label().startswith("_") and len(c.get_segments()) == 11)
    e = estimate(given["hybrid"][8] - given["k>0"][8])
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [e.low, e.high])


def test_the_axis_reads_98_percent_and_the_switch_is_marked():
    left = figures.hybrid(accuracies(), NAMES, 8, "a note").axes[0]
    labels = [t.get_text() for t in left.get_xticklabels()]
    assert labels[:3] == ["0%", "36%", "59%"] and labels[-1] == "98%"
    assert any(np.allclose(x.get_xdata(), 8) for x in left.lines)


def test_the_same_inputs_give_the_same_bytes(figures_folder: Path):
    written = []
    for _ in range(2):
        png = figures.save(figures.hybrid(accuracies(), NAMES, 8, "a note"), "fig", "laptop", {})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])


def test_one_initialisation_is_drawn_without_an_interval(figures_folder: Path):
    assert figures.save(figures.hybrid(accuracies(n=1), NAMES, 8, "a note"), "one", "laptop", {}).exists()


def test_a_missing_way_is_named():
    given = accuracies()
    del given["k>0"]
    with pytest.raises(ValueError, match="k>0"):
        figures.hybrid(given, NAMES, 8, "a note")
