"""The common look of figures, and the parts that they are made of."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import estimate, figures
from lmcnb.figures.saved import png
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")


def a_table(n: int = 3, rounds: int = 3) -> Table:
    """Paths of the dense network and of two methods over pruning rounds, all initialisations."""
    rng, alphas = np.random.default_rng(0), np.linspace(0, 1, 5)
    keys = [("dense", 0), *((m, r) for m in ("idc", "imp") for r in range(1, rounds))]
    return Table.of({"method": m, "round": r, "init": i, "quantity": q, "alpha": a, "value": rng.random()}
                    for m, r in keys for i in range(n) for q in ("train_loss", "test_error") for a in alphas)


def a_stability_figure(n: int = 3) -> plt.Figure:
    return figures.stability(a_table(n), [2], "a note")


def test_the_same_table_gives_the_same_bytes():
    assert png(a_stability_figure()) == png(a_stability_figure())


def test_dots_are_means_with_their_intervals():
    _, ax = plt.subplots()
    barriers = a_table().select(round=[0, 2]).barriers()
    figures.dots(ax, barriers, "barrier", threshold=0.2)
    means = {round(float(line.get_xdata()[0]), 9) for line in ax.lines if line.get_marker() == "D"}
    assert means == {round(estimate(v).mean, 9) for v in barriers.values_of().values()}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["IMP (real data), 36%", "distilled, IDC, 36%", "dense"]


def test_surfaces_begin_with_the_dense_network():
    figure = a_stability_figure()
    loss = a_table().select(quantity="train_loss", init=0)
    for ax, method in zip(figure.axes[:2], ("idc", "imp"), strict=True):
        heights = [line.get_data_3d()[2] for line in ax.lines]
        expected = loss.select(method=["dense", method]).sort_values("round").curves()
        np.testing.assert_allclose(heights, np.concatenate([*expected.values()]))


def test_percent_sparse_is_the_papers():
    assert [figures.percent_sparse(r) for r in (0, 4, 9, 10)] == ["0%", "59%", "87%", "89%"]


def test_an_unknown_method_has_a_colour_and_its_own_name_as_label():
    assert figures.label("mine") == "mine" and figures.colour("mine").startswith("#")
    assert figures.label("imp") != "imp"


def test_one_initialisation_is_drawn_without_an_interval():
    assert len(a_stability_figure(n=1).axes) == 5


def test_a_grid_shows_every_set_in_a_row():
    figure = figures.images_grid({"a": np.random.rand(12, 3, 4, 4), "b": np.random.rand(2, 1, 4, 4)}, columns=5)
    assert len(figure.axes) == 10
    assert [sum(bool(ax.images) for ax in figure.axes[r * 5:r * 5 + 5]) for r in range(2)] == [5, 2]
