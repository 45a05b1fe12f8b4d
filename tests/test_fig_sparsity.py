"""Figure 2 draws the accuracies, differences and data points that it is given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import estimate, figures
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")

IMP = {0: [70.0, 71.0, 72.0], 1: [69.0, 70.0, 71.0], 2: [66.0, 68.0, 67.0]}
IDC = {1: [68.0, 70.0, 69.0], 2: [60.0, 61.0, 65.0]}
SEEN = [{"method": m, "round": r, "quantity": "data_points", "value": n}
        for m, r, n in (("imp", 1, 1000.0), ("imp", 2, 2000.0), ("imp", 3, 3000.0), ("idc", 1, 40.0), ("idc", 2, 80.0))]
SET = [{"method": "idc", "set": 0, "quantity": q, "value": v} for q, v in (("data_points", 500.0), ("factor", 2.0))]


def a_table(imp=IMP, idc=IDC) -> Table:
    rows = [{"method": m if r else "dense", "round": r, "init": i, "quantity": "test_accuracy", "value": v / 100}
            for m, rounds in (("imp", imp), ("idc", idc)) for r, values in rounds.items() for i, v in enumerate(values)]
    return Table.of(rows + SEEN + SET)


def a_figure(**options) -> plt.Figure:
    return figures.accuracy_against_sparsity(a_table(**options), "a note")


def bars(ax: plt.Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Means [k] and interval ends [k, 2] of the error bars with that label."""
    (found,) = [c for c in ax.containers if c.get_label() == name]
    ends = np.array([segment[:, 1] for segment in found[2][0].get_segments()])
    return np.asarray(found[0].get_ydata(), dtype=float), ends


def test_accuracies_are_means_with_their_intervals():
    ax = a_figure().axes[0]
    for method, rounds in (("imp", IMP), ("idc", IDC)):
        means, ends = bars(ax, figures.label(method))
        expected = [estimate(v) for v in rounds.values()]
        np.testing.assert_allclose(means, [e.mean for e in expected])
        np.testing.assert_allclose(ends, [[e.low, e.high] for e in expected])


def test_the_dense_line_is_imps_round_zero():
    lines = [line for line in a_figure().axes[0].lines if line.get_label().startswith("dense")]
    assert [list(line.get_ydata()) for line in lines] == [[71.0, 71.0]]


def test_differences_are_those_that_are_judged_and_only_where_both_were_measured():
    means, ends = bars(a_figure().axes[1], "IMP")
    claims = {c.id: c for c in figures.sparsity_claims(a_table())}
    np.testing.assert_allclose(means, [claims[f"A3-{p}%"].estimate for p in (20, 36)])
    np.testing.assert_allclose(ends, [claims[f"A3-{p}%"].interval for p in (20, 36)])


def test_data_points_are_drawn_on_a_log_scale():
    ax = a_figure().axes[2]
    assert ax.get_yscale() == "log"
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {"IMP (real data)": [1000.0, 2000.0],
                     "decoded + distillation: 3.45 times fewer": [540.0, 580.0],
                     "decoded: 25 times fewer": [40.0, 80.0],
                     "stored (the paper's count): 100 times fewer": [10.0, 20.0]}


def test_platon_is_counted_at_the_sparsities_it_was_trained_at():
    rows = [{"method": "platon", "round": 1, "init": i, "quantity": "test_accuracy", "value": 0.6} for i in range(3)]
    rows += [{"method": "platon", "round": r, "quantity": "data_points", "value": 500.0} for r in (1, 2)]
    table = Table.of([*a_table().to_dict("records"), *rows])
    assert figures.images_seen(table)["platon", "trained"] == {1: 500.0}
    assert ("platon", "trained") not in figures.images_seen(a_table())
    ax = figures.accuracy_against_sparsity(table).axes[2]
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn["PLATON: 2 times fewer"] == [500.0], "of IMP's 1,000 at that sparsity"


def test_every_axis_shares_the_sparsity_ticks():
    for ax in a_figure().axes:
        assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "20", "36"]


def test_unlike_numbers_of_initialisations_are_refused():
    with pytest.raises(ValueError, match="one value for each initialisation"):
        a_figure(idc={1: [68.0, 70.0]})


def test_imp_without_the_dense_network_is_refused():
    with pytest.raises(ValueError, match="method = 'dense'"):
        a_figure(imp={1: IMP[1]})
