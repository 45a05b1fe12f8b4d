"""Every interval that a verdict comes from holds the truth as often as it says, or nearly."""

import pytest
from interval_coverage import CASES, SIZES, SLOW, coverage

QUICK = [case for case in CASES if not case.startswith(("dependence", "rank"))]
LEAST = 0.93  # of nominal 95%


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("case", [case for case in QUICK if "skewed" not in case])
def test_a_contrast_holds_its_level(case: str, n: int):
    assert coverage(case, n, 20_000) >= LEAST


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("case", [case for case in CASES if case not in QUICK])
def test_so_do_a_dependence_and_a_rank_correlation(case: str, n: int):
    """Of fewer draws, so that chance is allowed two standard errors; docs/verdicts.md has ten times as many."""
    draws = 400
    assert coverage(case, n, SLOW * draws) >= LEAST - 2 * (LEAST * (1 - LEAST) / draws) ** 0.5


def test_pairing_by_chance_alone_would_not():
    """What the layout's own test of initialisations is for: the narrower of both intervals holds less than it says."""
    import numpy as np
    from interval_coverage import held

    from lmcnb.statistics.layout import of_blocks, of_units

    a, b = np.random.default_rng(0).normal(size=(2, 20_000, 9))
    both = [of_blocks(a - b), of_units([a, b], [1, -1])]
    narrower = [np.where(both[0][1] < both[1][1], *pair) for pair in zip(*both)]
    assert held(*narrower, 0.0) < 0.945 < held(*both[1], 0.0)
