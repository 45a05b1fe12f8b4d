"""Figure 6: differences and ratios are those of the given values, and a ratio without meaning is none."""

from pathlib import Path

import numpy as np
import pytest

from lmcnb import figures
from lmcnb.figures.tradeoff import area, differences

pytestmark = pytest.mark.usefixtures("figures_folder")


def records(settings: tuple[str, ...] = ("here",)) -> list[dict]:
    rng, found = np.random.default_rng(0), []
    for setting in settings:
        for way, compression in (("dense", None), ("idc", 500.0)):
            for round in (4, 9):
                found.append({"setting": setting, "way": way, "name": figures.label(way), "round": round,
                              "compression": compression, "barrier": rng.random(3), "imp_barrier": rng.random(3) - 0.5,
                              "accuracy": 60 + rng.random(3), "imp_accuracy": 62 + rng.random(3)})
    return found


def test_the_scatter_draws_the_mean_differences():
    given = records()
    ax = figures.tradeoff(given, "a note").axes[0]
    drawn = sorted(map(tuple, np.concatenate([c.get_offsets() for c in ax.collections])))
    expected = sorted(tuple(np.mean(d) for d in differences(r)) for r in given)
    np.testing.assert_allclose(drawn, expected)


def test_several_settings_have_markers_of_their_own():
    figure = figures.tradeoff(records(("here", "there")), "a note")
    texts = [t.get_text() for t in figure.axes[2].get_legend().get_texts()]
    assert "1: here" in texts and "2: there" in texts
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["2: 87%", "2: 59%", "1: 87%", "1: 59%"]


def test_a_higher_compression_is_a_larger_marker():
    assert area(None) < area(100) < area(500)


def test_the_same_inputs_give_the_same_bytes(figures_folder: Path):
    written = []
    for _ in range(2):
        png = figures.save(figures.tradeoff(records(), "a note"), "fig", "laptop", {})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])


def test_no_record_is_an_error_that_says_what_is_needed():
    with pytest.raises(ValueError, match="two inits"):
        figures.tradeoff([], "a note")


def test_the_ratio_is_undefined_where_the_denominator_may_be_zero_or_less():
    assert figures.ratio([1.0, 2.0, 3.0], [-0.1, 0.1, 0.2]) is None
    assert figures.ratio([1.0, 2.0, 3.0], [-1.0, -1.1, -1.2]) is None
    assert figures.ratio([1.0], [1.0]) is None


def test_a_constant_ratio_has_an_interval_of_no_width():
    e = figures.ratio([2.0, 2.2, 2.4], [1.0, 1.1, 1.2])
    np.testing.assert_allclose([e.mean, e.low, e.high], 2.0, atol=1e-6)


def test_fieller_covers_the_true_ratio_as_often_as_it_says():
    rng, hits, n = np.random.default_rng(0), 0, 400
    for _ in range(n):
        y = 10 + rng.normal(size=4)
        e = figures.ratio(0.5 * y + rng.normal(size=4), y)
        hits += e.low <= 0.5 <= e.high
    assert 0.92 < hits / n < 0.98
