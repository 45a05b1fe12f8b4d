"""Variance components against simulation and SciPy, and their figure."""
import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from lmcnb import figures
from lmcnb.statistics import components
from lmcnb.tables import Table


def drawn(rng: np.random.Generator, groups: int, each: int, between: float, within: float) -> np.ndarray:
    return rng.normal(0, between, (groups, 1)) + rng.normal(0, within, (groups, each))


def test_mean_squares_are_those_of_the_analysis_of_variance():
    x = drawn(np.random.default_rng(0), 5, 3, 1.0, 0.5)
    found = components(x)
    assert found.between / found.within == pytest.approx(stats.f_oneway(*x).statistic)
    assert found.sd_between ** 2 * 3 + found.within == pytest.approx(found.between) and found.groups == 5
    assert found.share == pytest.approx(found.sd_between ** 2 / (found.sd_between ** 2 + found.sd_within ** 2))


def test_of_many_groups_the_components_are_what_they_were_drawn_with():
    found = components(drawn(np.random.default_rng(0), 4000, 4, 2.0, 1.0))
    assert found.sd_between == pytest.approx(2, rel=0.03) and found.sd_within == pytest.approx(1, rel=0.03)
    low, high = found.interval()
    assert 0.78 < low < 0.8 < high < 0.82


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("groups", [2, 6])
def test_the_interval_of_the_share_covers(share: float, groups: int):
    rng, hits, times = np.random.default_rng(1), 0, 2000
    for x in (drawn(rng, groups, 2, share ** 0.5, (1 - share) ** 0.5) for _ in range(times)):
        low, high = components(x).interval()
        hits += low <= share <= high
    expected = 0.95 if share else 0.975  # at 0 it is cut off, and can miss on one side alone
    assert abs(hits / times - expected) < 0.02


def test_groups_that_do_not_differ_have_no_share():
    found = components([[1.0, 2.0], [2.0, 1.0], [1.5, 1.5]])
    assert found.sd_between == found.share == 0 and found.interval()[0] == 0 and found.measurements(1) == float("inf")
    same = components([[1.0, 1.0], [2.0, 2.0]])
    assert same.share == 1 and same.interval() == (1, 1) and same.measurements(3) == 1


def test_the_best_number_of_measurements_is_the_one_that_is_most_precise():
    found, cost = components(drawn(np.random.default_rng(0), 4000, 4, 0.5, 1.0)), 4.0

    def variance(each: float) -> float:  # of a mean over as many groups as a budget allows
        return (found.sd_between ** 2 + found.within / each) * (cost + each)
    best = found.measurements(cost)
    assert best == pytest.approx(4, rel=0.1)
    assert variance(best) < min(variance(best / 1.2), variance(best * 1.2))
    with pytest.raises(ValueError, match="cost must not be negative; got -1"):
        found.measurements(-1)


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], [1.0]]])
def test_groups_of_one_size_are_asked_for(values: list):
    with pytest.raises(ValueError, match="two groups or more, of one size of 2 or more; got sizes"):
        components(values)


def test_the_figure_has_a_stick_a_group_and_a_share_a_source():
    rows = [{"source": s, "method": m, "group": g, "pair": p, "quantity": q, "value": 10 * g + p}
            for s, ms in (("initialisation", ("dense", "random mask")), ("draw", ("random mask",))) for m in ms
            for g in range(3) for p in range(2) for q in ("barrier", "accuracy")]
    table = Table.of(rows)
    found = figures.parts_of_variance(table, "barrier")
    assert [*found] == [("initialisation", "dense"), ("initialisation", "random mask"), ("draw", "random mask")]
    assert all(parts.share > 0.98 and parts.sd_within == pytest.approx(0.5 ** 0.5) for parts in found.values())
    figure = figures.variation(table, "A note.")
    many, few, shares = figure.axes
    assert [ax.get_title() for ax in (many, few)] == ["another initialisation: a stick each", "another draw"]
    sticks = [line for line in many.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    assert len([s for s in sticks if s.get_xdata()[0] == s.get_xdata()[1]]) == 6
    assert [t.get_text() for t in shares.get_yticklabels()] == ["draw: random mask, same layers",
                                                                "initialisation: random mask, same layers",
                                                                "initialisation: dense"]
    assert few.get_ylim() == many.get_ylim()
    plt.close(figure)
