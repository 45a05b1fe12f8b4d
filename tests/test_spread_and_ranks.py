"""Intervals of a dependence and of a rank correlation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmcnb import claim, estimate
from lmcnb.statistics import Spread, rank_correlation, spread


def test_a_dependence_on_the_way_is_judged_by_the_two_way_layout():
    rng = np.random.default_rng(0)
    inits, ways = rng.normal(0, 1, 3), {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.5}
    apart = {w: list(inits + m + rng.normal(0, 0.05, 3)) for w, m in ways.items()}
    found = spread(apart)
    low, high = found.interval()
    assert low < found.estimate < high and found.estimate == pytest.approx(np.std(list(ways.values()), ddof=1), abs=0.1)
    # By hand: the mean squares of a two-way layout.
    x = np.array(list(apart.values()))
    residual = x - x.mean(0) - x.mean(1)[:, None] + x.mean()
    assert found.within == pytest.approx((residual ** 2).sum() / 6)
    assert found.between == pytest.approx(3 * ((x.mean(1) - x.mean()) ** 2).sum() / 3)
    assert 6 / 4 <= found.within_freedom <= 6 and found.n == 3
    assert claim("Q", "it depends", found, claimed="above", margin=0.05).word == "reproduced"
    assert claim("Q", "it depends", found, claimed="above", margin=found.estimate).word == "reproduced, size unclear"
    alike = spread({w: list(inits + rng.normal(0, 0.05, 3)) for w in ways})
    assert claim("Q", "it depends", alike, claimed="above", margin=5.0).word == "no difference that matters"


@pytest.mark.parametrize("table", [{"a": [1.0, 2.0]}, {"a": [1.0], "b": [2.0]}, {"a": [1.0, 2.0], "b": [1.0]}])
def test_a_dependence_needs_two_ways_and_the_same_initialisations(table: dict):
    with pytest.raises(ValueError, match="two of them at least, with the same two or more initialisations"):
        spread(table)


def test_unlike_variances_take_degrees_of_freedom():
    rng = np.random.default_rng(0)
    alike = {w: list(rng.normal(size=200)) for w in range(5)}
    one = alike | {0: list(10 * np.array(alike[0]))}
    assert spread(alike).within_freedom > 0.95 * 4 * 199 and spread(one).within_freedom < 0.4 * 4 * 199


def test_the_interval_of_a_dependence_between_two_ways_far_apart_is_students_t():
    a, b = [1.0, 1.3, 0.8, 1.1], [9.2, 9.1, 9.3, 9.6]
    low, high = spread({"a": a, "b": b}).interval()
    e = estimate(np.subtract(b, a))
    assert (low, high) == pytest.approx((e.low / math.sqrt(2), e.high / math.sqrt(2)), rel=2e-3)


def test_ways_far_apart_are_known_as_well_as_their_means():
    """The interval of a random sample of six ways would end at 2.45 times the estimate at least."""
    rng = np.random.default_rng(0)
    found = spread({w: list(w + rng.normal(0, 0.01, 3)) for w in range(6)})
    low, high = found.interval()
    assert found.estimate == pytest.approx(np.std(range(6), ddof=1), rel=0.01)
    assert 0.98 * found.estimate < low < high < 1.02 * found.estimate


@pytest.mark.parametrize(("ways", "n"), [(3, 3), (6, 3), (6, 8)])
def test_the_interval_of_a_dependence_touches_zero_where_the_f_test_says_so(ways: int, n: int):
    critical = stats.f.ppf(0.975, ways - 1, (ways - 1) * (n - 1))
    for ratio, positive in ((0.97 * critical, False), (1.03 * critical, True)):
        found = Spread(2 * ratio, 2.0, ways, n, (ways - 1) * (n - 1))
        assert (found.interval()[0] > 0) is positive and (2 * found.above(0.0) < 0.05) is positive
    # Of known σ (many initialisations), it is the plain inversion of the noncentral F distribution.
    low, high = Spread(3.0, 1.0, ways, 2000, (ways - 1) * 1999).interval()
    for end, q in ((low, 0.975), (high, 0.025)):
        noncentrality = 2000 * (ways - 1) * end ** 2
        assert stats.ncf.cdf(3.0, ways - 1, (ways - 1) * 1999, noncentrality) == pytest.approx(q, abs=2e-3) or end == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-9, 9).map(lambda v: round(v, 6))), min_size=4, max_size=15))
def test_a_rank_correlation_is_spearmans_with_ties(pairs: list):
    x, y = zip(*pairs)
    found = rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found.rho) and (found.low, found.high) == (-1, 1)
    else:
        assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
        assert -1 <= found.low <= found.rho <= found.high <= 1 or abs(found.rho) == pytest.approx(1)
    assert found.n == found.units == len(pairs)


def test_the_interval_of_a_rank_correlation_by_hand():
    found = rank_correlation(range(10), [0, 2, 1, 3, 4, 6, 5, 7, 9, 8])
    z, half = np.arctanh(found.rho), 1.959964 * math.sqrt((1 + found.rho ** 2 / 2) / 7)
    assert (found.low, found.high) == pytest.approx((np.tanh(z - half), np.tanh(z + half)), abs=1e-6)
    assert 2 * found.above(found.low) == pytest.approx(0.05) and 2 * found.below(found.high) == pytest.approx(0.05)


def test_points_of_a_group_count_once_by_their_mean():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 10))
    single = rank_correlation(x, y)
    groups = np.repeat(list("abcdefghij"), 5)
    noise = np.tile([-0.2, -0.1, 0, 0.1, 0.2], 10)
    together = rank_correlation(np.repeat(x, 5) + noise, np.repeat(y, 5) - noise, groups=groups)
    assert (together.n, together.units) == (50, 10) and "n = 50 in 10 groups" in str(together)
    assert (together.rho, together.low, together.high) == pytest.approx((single.rho, single.low, single.high))
    order = rng.permutation(50)
    mixed = rank_correlation(*(v[order] for v in (np.repeat(x, 5), np.repeat(y, 5))), groups=groups[order])
    assert mixed.rho == pytest.approx(single.rho)


def test_few_or_constant_points_say_nothing_and_perfect_order_not_everything():
    for x, y, groups in (([1, 2, 3], [1, 2, 3], None), (range(8), range(8), list("aabbccaa")), ([], [], None),
                         (range(5), [2] * 5, None)):
        found = rank_correlation(x, y, groups=groups)
        assert (found.low, found.high) == (-1, 1) and found.below(0.5) == 1
    widths = []
    for n in (4, 6, 10, 30):
        up, down = (rank_correlation(range(n), np.arange(n) * sign) for sign in (1, -1))
        assert up.rho == pytest.approx(1) and down.rho == pytest.approx(-1)
        assert (down.low, down.high) == pytest.approx((-up.high, -up.low))
        widths.append(up.high - up.low)
    assert widths[0] > 1 and all(a > b for a, b in zip(widths, widths[1:])), "four points in order prove little"


def test_points_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="a point needs x, y and a group; got 2, 3 and 2 of them"):
        rank_correlation([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="leave out points that were not measured"):
        rank_correlation([1, 2, 3, 4], [1, 2, 3, math.nan])


def test_means_that_differ_in_their_last_bit_are_ties():
    x, y = [1.0, 2, 3, 4], [0.1 + 0.2, 0.3, 0.5, 0.4]  # the first two are equal but for rounding
    assert y[0] != y[1]
    assert rank_correlation(x, y).rho == pytest.approx(stats.spearmanr(x, [0.3, 0.3, 0.5, 0.4]).statistic)
    tiny = [1e-20 * v for v in y]
    assert rank_correlation(x, tiny).rho == rank_correlation(x, y).rho
    far = [1e-12, 2e-12, 3e-12, 1.0]
    assert rank_correlation(x, far).rho == 1 and rank_correlation(x, np.add(1e6, 1e-4 * np.arange(4))).rho == 1
