"""Figures 5, 8 and 14 draw what they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lmcnb import estimate, figures

pytestmark = pytest.mark.usefixtures("figures_folder")


def an_audit():
    claims = {"A1": {"below": [0.1, 0.2, 0.15], "above": [2.4, 2.5, 2.6], "either": [1.0, 3.0]}, "A2": {"one": [0.3]}}
    curves = {"length": ("epochs", {"idc": {1.0: [0.2], 4.0: [0.1]}, "imp": {1.0: [0.3], 4.0: [0.0]}}),
              "augmentation": ("name", {"idc": {"none": [0.2, 0.4], "cifar": [0.1, 0.1]}})}
    jaccard = np.array([[1, 0.3], [0.3, 1]])
    return figures.audit(claims, {"A1": ("points", 2.0), "A2": ("nats", 0.0)}, curves, ["a", "b"], jaccard, 0.25,
                         {"imp": [90, 40, 80], "idc": [80, 45, 70]}, "a note")


def test_a_switch_is_blue_when_supported_red_when_not_and_grey_when_undecided():
    axes = an_audit().axes
    ax = axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()][::-1] == ["below", "above", "either"]
    means = {line.get_ydata()[0]: (line.get_xdata()[0], to_hex(line.get_color()))
             for line in ax.lines if line.get_marker() == "D"}
    assert means[2] == (pytest.approx(0.15), "#1f77b4") and means[1][1] == "#c44e52" and means[0][1] == "#8a8a8a"
    spans = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.6]
    e = estimate([2.4, 2.5, 2.6])
    assert any(np.allclose(line.get_xdata(), [e.low, e.high]) for line in spans)


def test_curves_are_means_over_initialisations_on_a_log_axis_or_side_by_side():
    axes = {ax.get_title(): ax for ax in an_audit().axes}
    line = next(x for x in axes["length"].lines if x.get_label() == figures.label("idc"))
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1.0, 4.0], [0.2, 0.1])
    assert axes["length"].get_xscale() == "log"
    dots = next(x for x in axes["augmentation"].lines if x.get_label() == figures.label("idc"))
    np.testing.assert_allclose(dots.get_ydata(), [0.3, 0.1])
    assert [t.get_text() for t in axes["augmentation"].get_xticklabels()] == ["none", "cifar"]


def test_overlaps_are_multiples_of_chance_without_the_diagonal():
    texts = [t.get_text() for ax in an_audit().axes for t in ax.texts]
    assert texts.count("1.20") == 2 and "4.00" not in texts


def test_the_hessian_figure_draws_traces_of_both_samples_and_the_sorted_diagonal():
    diagonals = {("dense", 0): [3.0, -4.0, 1.0], ("idc", 4): [0.5, 0.1]}
    traces = {"64 images": dict.fromkeys(diagonals, [1.0, 2.0, 3.0]),
              "2,048 images": dict.fromkeys(diagonals, [2.0, 2.5, 3.0])}
    grid = np.linspace(-1, 5, 50)
    figure = figures.hessian(diagonals, traces, traces, grid, {k: np.exp(-grid ** 2) for k in diagonals}, "a note")
    first, second = figure.axes[:2]
    dense = next(x for x in first.lines if x.get_label() == "dense")
    np.testing.assert_allclose(dense.get_ydata(), [4, 3, 1])
    np.testing.assert_allclose(dense.get_xdata(), [100 / 3, 200 / 3, 100])
    assert sorted(x.get_xdata()[0] for x in second.lines if x.get_marker() == "D" and len(x.get_xdata()))[:2] == [2, 2]
    assert figures.named(("idc", 4)) == "distilled, IDC, 59%"


def test_an_infinite_loss_is_drawn_as_the_highest():
    axis = np.linspace(-1, 1, 5)
    loss = np.add.outer(axis ** 2, axis ** 2)
    loss[0] = np.inf
    one = {"xs": axis, "ys": axis, "loss": loss, "places": [(0.5, 0)], "in_plane": 1}
    figure = figures.landscapes({("through", "dense"): one}, [0, 1], {"dense": np.array([0.0, 0.0])}, "a note")
    drawn = figure.axes[0].collections[0]
    assert drawn.get_clim()[1] < 3
    above = drawn.get_paths()[-1].vertices  # what lies beyond the last level
    assert above[:, 1].min() == -1


def test_landscapes_share_one_scale_and_mark_what_lies_in_the_plane(tmp_path):
    axis = np.linspace(-1, 1, 5)
    hill = np.add.outer(axis ** 2, axis ** 2)
    one = {"xs": axis, "ys": axis, "loss": hill, "places": [(0.5, 0), (-0.5, 0)], "in_plane": 1}
    planes = {(kind, way): {**one, "loss": hill * scale} for kind in ("through", "random")
              for way, scale in (("dense", 3.0), ("idc", 1.0))}
    alphas = np.linspace(0, 1, 5)
    figure = figures.landscapes(planes, alphas, {"dense": hill[0], "idc": alphas * 0}, "a note")
    panels = [ax for ax in figure.axes if ax.collections and ax.get_label() != "<colorbar>"]
    assert len({tuple(np.round(ax.collections[0].get_clim(), 6)) for ax in panels}) == 1
    solid, hollow = (line.get_markerfacecolor() for line in panels[0].lines[:2])
    assert (solid, hollow) == ("white", "none")
    segment = figure.axes[2].lines
    assert any(np.allclose(x.get_ydata(), hill[0] - 2) for x in segment)  # above its chord, which is flat
