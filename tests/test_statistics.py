"""Intervals and verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmcnb import claim, estimate
from lmcnb.statistics import Layout, Student, corrected, merged, needed, word


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


# Intervals against a margin of 2: each row is an interval and the word of "it is below".
ROWS = [(-1.9, 1.9, "no difference that matters"), (-1.5, -0.5, "no difference that matters"),
        (-9, -2.1, "reproduced"), (-9, -0.1, "reproduced, size unclear"), (-2.5, -0.1, "reproduced, size unclear"),
        (0.1, 9, "contradicted"), (2.1, 9, "contradicted"), (-1, 9, "too close to call"), (-9, 9, "too close to call")]


def of_interval(low: float, high: float) -> Student:
    """A statistic whose 95% interval this is."""
    return Student((low + high) / 2, (high - low) / 2 / stats.t.ppf(0.975, 4), 4.0, 3)


@pytest.mark.parametrize(("low", "high", "expected"), ROWS)
def test_the_word_follows_from_the_interval(low: float, high: float, expected: str):
    found = claim("A", "it is below", of_interval(low, high), margin=2)
    assert found.word == expected and found.interval == pytest.approx((low, high))
    assert claim("A", "it is above", of_interval(-high, -low), claimed="above", margin=2).word == expected
    missed = claim("A", "it is below", of_interval(low, high), margin=2, premise=("it moves", False))
    assert missed.word == "not tested" and missed.premise == "it moves"
    assert (found.p_value <= 0.05) == (expected != "too close to call")


@pytest.mark.parametrize(("low", "high", "within", "most"), [
    (-1.9, 1.9, "reproduced", "reproduced"), (-9, 1.9, "too close to call", "reproduced"),
    (-9, -2.1, "contradicted", "reproduced"), (0.1, 2.5, "too close to call", "too close to call"),
    (2.1, 9, "contradicted", "contradicted"), (-9, 9, "too close to call", "too close to call")])
def test_to_be_within_the_margin_or_at_most_is_reproduced_inside_it(low, high, within, most):
    assert claim("A", "", of_interval(low, high), claimed="within", margin=2).word == within
    assert claim("A", "", of_interval(low, high), claimed="at most", margin=2).word == most


@given(st.floats(-3, 3), st.floats(0.01, 3), st.floats(1, 30), st.floats(0.001, 0.2))
def test_a_word_at_any_level_is_that_of_the_interval_of_that_level(center, error, freedom, level):
    found = Student(center, error, freedom, 3)
    low, high = found.interval(1 - level)
    if min(abs(low), abs(high), abs(abs(low) - 1), abs(abs(high) - 1)) < 1e-6:
        return
    rows = [(low > -1 and high < 1, "no difference that matters"), (high < -1, "reproduced"),
            (high < 0, "reproduced, size unclear"), (low > 0, "contradicted"), (True, "too close to call")]
    assert word(claim("A", "", found, margin=1).p, level=level) == next(w for true, w in rows if true)


def test_a_claim_carries_its_evidence():
    found = claim("A1", "small", [-1.0, -1.1, -0.9], margin=0.5, unit="nats", family="primary", note="why")
    e = estimate([-1.0, -1.1, -0.9])
    assert (found.estimate, found.interval, found.n) == (e.mean, pytest.approx((e.low, e.high)), 3)
    assert (found.unit, found.margin, found.family, found.note, found.share) == ("nats", 0.5, "primary", "why", 1.0)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.5 / (0.1 / 3 ** 0.5), 2)) and found.needed is None
    alone = claim("A1", "one", [1.0])
    assert alone.word == "too close to call" and alone.needed is None and math.isnan(alone.interval[0])
    with pytest.raises(ValueError, match="the margin of A1 must be 0 or more; got -1"):
        claim("A1", "", [1.0], margin=-1)


@pytest.mark.parametrize("claimed", ["below", "above", "within", "at most"])
def test_as_many_units_as_are_needed_decide_four_times_in_five(claimed: str):
    """Claims are made of so many normal values, and judged; that s is then measured anew costs a little power."""
    rng = np.random.default_rng(0)
    found = claim("A", "", list(0.4 + rng.normal(size=12) * 0.9), claimed=claimed, margin=0.5)
    sd, n = found.error * 12 ** 0.5, needed(found)
    if found.word != "too close to call":
        assert n is None
        return
    words = [claim("A", "", list(found.estimate + sd * rng.normal(size=n)), claimed=claimed, margin=0.5).word
             for _ in range(400)]
    assert 0.72 < np.mean([w != "too close to call" for w in words]) < 0.88
    assert needed(replace(found, level=0.01)) > n


def layout(**cells: list[float]) -> Layout:
    return Layout({name.replace("_", " "): dict(enumerate(values)) for name, values in cells.items()})


QUIET = {"idc": [1.0, 1.2, 0.9], "imp": [0.1, 0.0, 0.3], "dm": [1.4, 1.0, 1.3], "random images": [2.0, 2.2, 1.9]}


def test_contrasts_are_welchs_where_initialisations_do_not_differ():
    found = layout(**QUIET, dense=[9, 5, 1]).difference("idc", "imp")
    welch = stats.ttest_ind(QUIET["idc"], QUIET["imp"], equal_var=False)
    assert not found.blocks and found.freedom == pytest.approx(welch.df)
    assert found.interval() == pytest.approx(tuple(welch.confidence_interval()))
    assert str(found) == "3 × 1 set" and (found.signs > 0).all()


def test_and_paired_where_they_do_whatever_the_noisy_methods_say():
    moved = {m: list(np.add(v, [0, 5, 9])) for m, v in QUIET.items()}
    found = layout(**moved).difference("idc", "imp")
    e = estimate(np.subtract(QUIET["idc"], QUIET["imp"]))
    assert found.blocks and found.interval() == pytest.approx((e.low, e.high))
    noise = {"dense": [0.0, 50.0, 90.0], "random mask": [0.0, 50.0, 90.0]}
    assert not layout(**QUIET, **noise).blocks
    with pytest.raises(ValueError, match="there is no dsa in this layout; it has: idc, imp"):
        layout(**QUIET).difference("idc", "dsa")


def test_a_weighted_sum_of_several_methods():
    weights = {"idc": 0.5, "dm": 0.5, "imp": -1.0}
    found = layout(**QUIET).contrast(weights)
    parts = np.array([w ** 2 * np.var(QUIET[m], ddof=1) / 3 for m, w in weights.items()])
    assert found.estimate == pytest.approx(sum(w * np.mean(QUIET[m]) for m, w in weights.items()))
    assert found.error == pytest.approx(parts.sum() ** 0.5)
    assert found.freedom == pytest.approx(parts.sum() ** 2 / (parts ** 2 / 2).sum())


def test_two_sets_for_one_claim_are_averaged_and_the_same_networks_count_once():
    def one(**cells):
        premise = "p", cells["idc"][0] < 9
        return claim("A2", "lower", layout(**cells).difference("idc", "imp"), margin=1, premise=premise)
    first, second = one(idc=[1.0, 1.2, 0.9], imp=[0.1, 0.0, 0.3]), one(idc=[3.0, 3.4, 2.9], imp=[0.1, 0.0, 0.300001])
    [whole] = merged([first, second])
    assert whole.estimate == pytest.approx((first.estimate + second.estimate) / 2) and whole.units == "3 × 2 sets"
    assert set(whole.evidence["weights"].values()) == {0.5, -1.0} and "By set: 0.9 and 2.97" in whole.note
    [same] = merged([first, first])
    assert same.estimate == first.estimate and len(same.evidence["cells"]) == 2 and same.units == "3 × 1 set"
    more = {name: [*cell, 0.5] for name, cell in {"idc": [1.0, 1.2, 0.9], "imp": [0.1, 0.0, 0.3]}.items()}
    both = [merged(order)[0] for order in ([first, one(**more)], [one(**more), first])]
    assert {(b.estimate, b.interval, b.units) for b in both} == {
        (one(**more).estimate, one(**more).interval, "4 × 1 set")}, "all initialisations that any figure has"
    assert merged([first, replace(second, id="A3")]) == [first, replace(second, id="A3")]
    assert merged([first, one(idc=[9.5, 1, 1], imp=[0.1, 0.0, 0.3])])[0].word == "not tested"
    with pytest.raises(ValueError, match="A is claimed by more than one figure and has no cells"):
        merged([claim("A", "", [1.0, 2.0])] * 2)


def test_families_are_corrected_each_by_its_own_rule():
    """Holm: .05 over the number of claims left. Benjamini & Hochberg: as often as chance would have it among found."""
    def of(p: float, family: str, premise: bool = True):
        distance = stats.t.ppf(1 - p / 2, 4)
        return claim(f"{family} {p}", "", Student(-distance, 1.0, 4.0, 3), family=family, premise=("", premise))
    p = (0.001, 0.019, 0.029, 0.039)
    holm = corrected([*(of(v, "primary") for v in p), of(1e-6, "primary", premise=False)])
    assert [c.level for c in holm] == pytest.approx([0.05 / 4, 0.05 / 3, 0.05 / 3, 0.05 / 3, 0.05])
    assert [c.word for c in holm] == ["reproduced", *["too close to call"] * 3, "not tested"]
    assert holm[0].p_value == pytest.approx(0.004) and holm[1].p_value == pytest.approx(0.057) and holm[1].needed > 3
    found = corrected([of(v, "secondary") for v in (*p, 0.5)])
    assert [c.level for c in found] == pytest.approx([0.04] * 5)
    assert [c.word for c in found] == ["reproduced"] * 4 + ["too close to call"]
    both = corrected([of(0.03, "primary"), of(0.03, "secondary"), of(0.03, "count")])
    assert [c.word for c in both] == ["reproduced"] * 3, "a family of one needs no correction"


def test_two_sets_of_one_method_share_what_an_initialisation_adds():
    """Of one method's mean nothing takes it out, so it has to stay in the error."""
    def rise(values: list[float]):
        cells = {"idc": values, "imp": [0.0, 0.1, 0.05]}
        return claim("A1", "", layout(**cells).contrast({"idc": 1.0}), margin=2.0)
    first, second = [0.1, 1.0, 1.9], [0.2, 1.1, 1.8]
    [whole] = merged([rise(first), rise(second)])
    [alone] = merged([rise([0.15, 1.05, 1.85])])
    assert whole.interval == pytest.approx(alone.interval) and whole.units == "3 × 2 sets"
