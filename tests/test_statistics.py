"""Intervals and verdicts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmcnb import claim_below, claim_stable, estimate, verdict


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
