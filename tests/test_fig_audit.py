"""Figures 8 and 14 draw what they are given."""

from functools import cache
from importlib import import_module

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lmcnb import estimate, figures
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")


@cache
def an_audit():
    claims = {"A1": {"below": [0.1, 0.2, 0.15], "above": [2.4, 2.5, 2.6], "either": [1.0, 3.0]}, "A2": {"one": [0.3]}}
    rows = [{"claim": c, "switch": s, "init": i, "quantity": label, "threshold": threshold, "margin": margin,
             "value": value}
            for (c, by), label, threshold, margin in zip(claims.items(), ("points", "nats"), (2.0, 0.0), (0.0, 0.02))
            for s, values in by.items() for i, value in enumerate(values)]
    curves = {"length": {"idc": {1.0: [0.2], 4.0: [0.1]}, "imp": {1.0: [0.3], 4.0: [0.0]}},
              "augmentation": {"idc": {"none": [0.2, 0.4], "cifar": [0.1, 0.1]}}}
    rows += [{"varied": title, "method": method, "setting": setting, "init": i, "value": value,
              "quantity": "train_loss barrier, midpoint"} for title, methods in curves.items()
             for method, by in methods.items() for setting, values in by.items() for i, value in enumerate(values)]
    rows += [{"quantity": "jaccard", "mask": a, "other": b, "value": 1 if a == b else 0.3} for a in "ab" for b in "ab"]
    rows += [{"quantity": "jaccard by chance", "value": 0.25}]
    layers = {"imp": (0.9, 0.4, 0.8), "idc": (0.8, 0.45, 0.7)}
    rows += [{"quantity": f"density.{k}", "method": method, "value": value}
             for method, shares in layers.items() for k, value in enumerate(shares)]
    return figures.audit(Table.of(rows), {"length": "epochs", "augmentation": "name"}, "a note")


def test_a_switch_is_green_when_supported_purple_when_not_and_grey_when_undecided():
    axes = an_audit().axes
    ax = axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()][::-1] == ["below", "above", "either"]
    means = {line.get_ydata()[0]: (line.get_xdata()[0], to_hex(line.get_color()))
             for line in ax.lines if line.get_markersize() > 5}
    assert means[2] == (pytest.approx(0.15), "#1a8f5b") and means[1][1] == "#822782" and means[0][1] == "#8a8a8a"
    spans = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.6]
    e = estimate([2.4, 2.5, 2.6])
    assert any(np.allclose(line.get_xdata(), [e.low, e.high]) for line in spans)


def test_what_does_not_matter_is_shaded():
    first, second = ([p.get_extents().transformed(ax.transData.inverted()) for p in ax.patches]
                     for ax in an_audit().axes[:2])
    assert [(box.x0, box.x1) for box in first] == [(pytest.approx(2), pytest.approx(2))]
    assert [(box.x0, box.x1) for box in second] == [(pytest.approx(-0.02), pytest.approx(0.02))]


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


def a_curvature():
    """Curvature of a dense network and a distilled subnetwork on two samples of images, three initialisations."""
    for method, round, entries in (("dense", 0, [4.0, 3.0, 1.0]), ("idc", 4, [0.5, 0.1])):
        of, n = {"method": method, "round": round}, len(entries)
        first = {**of, "init": 0, "images": 64, "diagonal": "exact", "quantity": "|diagonal|"}
        yield from ({**first, "share": 100 * (k + 1) / n, "value": v} for k, v in enumerate(entries))
        for images, values in ((64, [1.0, 2.0, 3.0]), (2048, [2.0, 2.5, 3.0])):
            for init, value in enumerate(values):
                row = {**of, "init": init, "images": images, "diagonal": "hutchinson"}
                yield from ({**row, "quantity": quantity, "value": value} for quantity in ("trace", "largest"))
                yield from ({**row, "quantity": "spectral weight", "eigenvalue": node, "value": weight}
                            for node, weight in ((0.0, 0.9), (value, 0.1)))


def test_the_hessian_figure_draws_traces_of_both_samples_and_the_sorted_diagonal():
    figure = figures.hessian(Table.of(a_curvature()), "a note")
    second, _, _, first = figure.axes
    dense = next(x for x in first.lines if x.get_label() == "dense")
    np.testing.assert_allclose(dense.get_ydata(), [4, 3, 1])
    np.testing.assert_allclose(dense.get_xdata(), [100 / 3, 200 / 3, 100])
    drawn = [x.get_xydata()[0] for x in second.lines if x.get_markersize() > 5 and len(x.get_xdata())]
    means = {round(y, 9): x for x, y in drawn}
    assert means == {1.14: 2, 0.86: 2.5, 0.14: 2, -0.14: 2.5}
    faces = [x.get_markerfacecolor() for x in second.lines if x.get_label() in ("64 images", "2,048 images")]
    assert faces == ["white", "#555555"]


def test_a_spectrum_is_drawn_of_steps_enough_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(import_module("lmcnb.figures.hessian"), "ENOUGH", 2)
    third = figures.hessian(Table.of(a_curvature())).axes[4]
    density = third.lines[0]  # of the first initialisation on the larger sample: nine tenths at 0, a tenth at 2
    grid, heights = density.get_xdata(), density.get_ydata()
    assert heights.sum() * (grid[1] - grid[0]) == pytest.approx(1, rel=1e-3)
    assert (grid * heights).sum() * (grid[1] - grid[0]) == pytest.approx(0.2, rel=1e-2)
    assert list(third.lines[1].get_xdata()) == [2, 2]
