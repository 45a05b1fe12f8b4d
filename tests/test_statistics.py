"""Intervals and verdicts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmcnb import claim_below, claim_depends, claim_stable, estimate
from lmcnb.statistics import rank_correlation, spread_interval, verdict


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda v: np.std(v) > 1e-6))
def test_the_interval_is_students_t(values: list):
    e = estimate(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (e.mean, e.low, e.high) == pytest.approx((np.mean(values), low, high), rel=1e-9, abs=1e-9)
    assert e.n == len(values)


def test_the_interval_by_hand():
    e = estimate([1, 2, 3])
    assert (e.low, e.high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert estimate([1, 2, 3], confidence=0.5).high < e.high
    assert str(e) == "2.000 [-0.484, 4.484], n = 3"


def test_one_value_has_no_interval_and_none_no_estimate():
    e = estimate([5.0])
    assert e.mean == 5 and e.n == 1 and math.isnan(e.low) and math.isnan(e.high)
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


@pytest.mark.parametrize(("low", "high", "expected"), [
    (-2, -1, "supported"), (-1, 0, "undecided"), (-1, 1, "undecided"), (0, 1, "not supported"),
    (1, 2, "not supported"), (math.nan, math.nan, "undecided"),
])
def test_a_verdict_follows_from_the_interval(low: float, high: float, expected: str):
    assert verdict(low, high) == expected
    assert verdict(low + 3, high + 3, threshold=3) == expected


def test_a_claim_carries_its_evidence():
    claim = claim_below("A1", "small", [1.0, 1.1, 0.9], "a note", threshold=2)
    e = estimate([1.0, 1.1, 0.9])
    assert claim.as_dict() == {"id": "A1", "statement": "small", "estimate": e.mean, "interval": (e.low, e.high),
                               "n": 3, "verdict": "supported", "note": "a note"}
    assert claim_below("A1", "", [3, 3.1, 2.9], "", threshold=2).verdict == "not supported"
    assert claim_below("A1", "", [1.0], "", threshold=2).verdict == "undecided"


@pytest.mark.parametrize(("values", "dense", "expected"), [
    ([0.5, 0.6, 0.7], [9.0, 9.5, 10.0], "supported"),
    ([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], "not supported"),  # the dense network is stable too
    ([9.0, 9.5, 10.0], [9.0, 9.5, 10.0], "not supported"),  # neither is
    ([0.5, 0.6, 5.0], [9.0, 9.5, 10.0], "undecided"),
    ([0.5, 0.6, 0.7], [1.0, 2.0, 9.0], "undecided"),
])
def test_stable_means_below_two_points_where_the_dense_network_is_above(values, dense, expected):
    claim = claim_stable("A1", "stable", values, dense, "note")
    assert (claim.verdict, claim.n) == (expected, 3)
    assert str(estimate(dense)) in claim.note


def test_a_dependence_on_the_way_is_judged_by_the_two_way_layout():
    rng = np.random.default_rng(0)
    inits, ways = rng.normal(0, 1, 3), {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.5}
    apart = {w: list(inits + m + rng.normal(0, 0.05, 3)) for w, m in ways.items()}
    found = claim_depends("Q", "it depends", apart, "", 0.05)
    assert found.verdict == "supported" and found.n == 3
    low, high = found.interval
    assert low < found.estimate < high and found.estimate == pytest.approx(np.std(list(ways.values()), ddof=1), abs=0.1)
    # By hand: the F test of the ways in a two-way layout.
    x = np.array(list(apart.values()))
    grand, within = x.mean(), ((x - x.mean(0) - x.mean(1)[:, None] + x.mean()) ** 2).sum() / 6
    ratio = 3 * ((x.mean(1) - grand) ** 2).sum() / 3 / within
    assert f"p = {stats.f.sf(ratio, 3, 6):.2g}." in found.note
    alike = {w: list(inits + rng.normal(0, 0.05, 3)) for w in ways}
    assert claim_depends("Q", "it depends", alike, "", 5.0).verdict == "not supported"
    assert claim_depends("Q", "it depends", apart, "", found.estimate).verdict == "undecided"


@pytest.mark.parametrize("table", [{"a": [1.0, 2.0]}, {"a": [1.0], "b": [2.0]}, {"a": [1.0, 2.0], "b": [1.0]}])
def test_a_dependence_needs_two_ways_and_the_same_initialisations(table: dict):
    with pytest.raises(ValueError, match="two of them at least, with the same two or more initialisations"):
        claim_depends("Q", "it depends", table, "", 0.1)


@pytest.mark.parametrize("spread", [1.0, 5.0])
@pytest.mark.parametrize("n", [3, 6])
def test_the_interval_of_a_dependence_covers_the_truth_as_often_as_it_says(n: int, spread: float):
    """Six ways whose true means are fixed, here with a standard deviation of ``spread`` times that within."""
    means = np.array([-1.0, -0.9, -0.1, 0.2, 0.7, 1.1])
    means *= spread / means.std(ddof=1)
    rng, found = np.random.default_rng(1), []
    for _ in range(250):
        table = dict(enumerate(means[:, None] + rng.normal(0, 1, (6, n)) + rng.normal(0, 3, n)))
        found.append(claim_depends("Q", "it depends", table, "", 0.1).interval)
    low, high = np.array(found).T
    assert 0.93 <= np.mean((low <= spread) & (spread <= high)) <= 0.98


def test_the_interval_of_a_dependence_between_two_ways_far_apart_is_students_t():
    a, b = [1.0, 1.3, 0.8, 1.1], [9.2, 9.1, 9.3, 9.6]
    low, high = claim_depends("Q", "it depends", {"a": a, "b": b}, "", 0.1).interval
    e = estimate(np.subtract(b, a))
    assert (low, high) == pytest.approx((e.low / math.sqrt(2), e.high / math.sqrt(2)), rel=2e-3)


def test_ways_far_apart_are_known_as_well_as_their_means():
    """The interval of a random sample of six ways would end at 2.45 times the estimate at least."""
    rng = np.random.default_rng(0)
    table = {w: list(w + rng.normal(0, 0.01, 3)) for w in range(6)}
    found = claim_depends("Q", "it depends", table, "", 0.1)
    assert found.estimate == pytest.approx(np.std(range(6), ddof=1), rel=0.01)
    assert 0.98 * found.estimate < found.interval[0] < found.interval[1] < 1.02 * found.estimate


@pytest.mark.parametrize(("ways", "n"), [(3, 3), (6, 3), (6, 8)])
def test_the_interval_of_a_dependence_touches_zero_where_the_f_test_says_so(ways: int, n: int):
    critical = stats.f.ppf(0.975, ways - 1, (ways - 1) * (n - 1))
    for ratio, positive in ((0.97 * critical, False), (1.03 * critical, True)):
        assert (spread_interval(2 * ratio, 2.0, ways, n)[0] > 0) is positive
    # Of known σ (many initialisations), it is the plain inversion of the noncentral F distribution.
    low, high = spread_interval(3.0, 1.0, ways, 2000)
    for end, q in ((low, 0.975), (high, 0.025)):
        noncentrality = 2000 * (ways - 1) * end ** 2
        assert stats.ncf.cdf(3.0, ways - 1, (ways - 1) * 1999, noncentrality) == pytest.approx(q, abs=2e-3) or end == 0


def related(n: int, rho: float = 0.6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, rho * x + (1 - rho ** 2) ** 0.5 * rng.normal(size=n)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-9, 9)), min_size=4, max_size=15))
def test_a_rank_correlation_is_spearmans_with_ties(pairs: list):
    x, y = zip(*pairs)
    found = rank_correlation(x, y, resamples=200)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found.rho) and (found.low, found.high) == (-1, 1)
    else:
        assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
        assert -1 <= found.low <= found.high <= 1
    assert found.n == found.units == len(pairs)


@pytest.mark.parametrize(("n", "rho", "level"), [(12, 0.6, 0.95), (20, -0.3, 0.95), (40, 0.8, 0.9)])
def test_the_interval_of_a_rank_correlation_is_scipys_bootstrap(n: int, rho: float, level: float):
    def spearman(x, y, axis):
        a, b = (stats.rankdata(v, axis=axis) - (n + 1) / 2 for v in (x, y))
        return (a * b).sum(axis) / np.sqrt((a ** 2).sum(axis) * (b ** 2).sum(axis))
    x, y = related(n, rho)
    interval = stats.bootstrap((x, y), spearman, paired=True, n_resamples=10_000, method="percentile", axis=-1,
                               confidence_level=level, rng=np.random.default_rng(1)).confidence_interval
    found = rank_correlation(x, y, level=level)
    assert (found.low, found.high) == pytest.approx(tuple(interval), abs=0.03)
    assert rank_correlation(x, y, level=level) == found, "the same numbers, the same interval"


def test_whole_groups_are_resampled():
    x, y = related(10)
    single = rank_correlation(x, y)
    five = [np.repeat(v, 5) for v in (x, y)]
    groups = np.repeat(list("abcdefghij"), 5)
    together = rank_correlation(*five, groups=groups)
    assert (together.n, together.units) == (50, 10) and "n = 50 in 10 groups" in str(together)
    assert (together.rho, together.low, together.high) == pytest.approx((single.rho, single.low, single.high))
    apart = rank_correlation(*five)
    assert apart.high - apart.low < 0.6 * (single.high - single.low), "copies look like evidence without groups"
    order = np.random.default_rng(0).permutation(50)
    mixed = rank_correlation(*(v[order] for v in five), groups=groups[order])
    assert (mixed.low, mixed.high) == pytest.approx((together.low, together.high), abs=0.03)


def test_the_interval_of_a_rank_correlation_covers_the_truth_as_often_as_it_says():
    truth = 6 / math.pi * math.asin(0.5 / 2)  # of normal pairs whose correlation is 0.5
    found = [rank_correlation(*related(16, 0.5, seed), resamples=400) for seed in range(300)]
    assert 0.9 < sum(f.low <= truth <= f.high for f in found) / 300 < 0.99


def test_few_or_constant_points_say_nothing_and_perfect_order_not_everything():
    for x, y, groups in (([1, 2, 3], [1, 2, 3], None), (range(8), range(8), list("aabbccaa")), ([], [], None),
                         (range(5), [2] * 5, None)):
        found = rank_correlation(x, y, groups=groups)
        assert (found.low, found.high) == (-1, 1)
    widths = []
    for n in (4, 6, 10, 30):
        up, down = (rank_correlation(range(n), np.arange(n) * sign) for sign in (1, -1))
        assert up.rho == 1 and down.rho == -1 and (down.low, down.high) == pytest.approx((-up.high, -up.low))
        widths.append(up.high - up.low)
    assert widths[0] > 1 and all(a > b for a, b in zip(widths, widths[1:])), "four points in order prove little"


def test_points_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="a point needs x, y and a group; got 2, 3 and 2 of them"):
        rank_correlation([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="leave out points that were not measured"):
        rank_correlation([1, 2, 3, 4], [1, 2, 3, math.nan])
