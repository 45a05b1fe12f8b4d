"""Figure 4: what is drawn is what was given, under both treatments of BatchNorm, and the banner cannot be missed."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import estimate, figures
from lmcnb.figures.batchnorm import two_dots, two_paths

pytestmark = pytest.mark.usefixtures("figures_folder")

KEYS = [("dense", 0), ("imp", 4), ("idc", 4)]
BN = ("lerp", "recalibrate")


def a_figure(n: int = 3, keys=KEYS, banner: str = "generated images, not ImageNet") -> plt.Figure:
    rng, alphas = np.random.default_rng(0), np.linspace(0, 1, 5)
    curves = {bn: {key: rng.random((n, 5)) for key in keys} for bn in BN}
    barriers = {bn: {key: rng.random(n) for key in (*keys, ("random mask", 4))} for bn in BN}
    surfaces = {way: rng.random((5, 5)) for way in ("idc", "imp")}
    return figures.batchnorm(alphas, surfaces, curves, barriers, barriers, "a note", banner)


def test_the_paths_are_the_means_of_what_was_given():
    ax, rng = plt.subplots()[1], np.random.default_rng(1)
    curves = {bn: rng.random((3, 5)) for bn in BN}
    two_paths(ax, np.linspace(0, 1, 5), curves, ("idc", 4))
    for line, bn in zip(ax.lines, BN):
        np.testing.assert_allclose(line.get_ydata(), curves[bn].mean(0))
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    assert "59%" in ax.get_title()


def test_the_dots_are_the_values_their_means_and_intervals():
    values = {"lerp": {("imp", 4): [1.0, 2.0, 4.0]}, "recalibrate": {("imp", 4): [0.0, 0.5, 0.7]}}
    ax = plt.subplots()[1]
    two_dots(ax, values, "x")
    for group, bn in zip((ax.lines[:3], ax.lines[3:6]), BN):
        e = estimate(values[bn]["imp", 4])
        dots, interval, mean = (np.atleast_1d(line.get_xdata()) for line in group)
        assert dots.tolist() == values[bn]["imp", 4]
        np.testing.assert_allclose([*interval, *mean], [e.low, e.high, e.mean])
    assert ax.lines[0].get_ydata()[0] > ax.lines[3].get_ydata()[0]  # the conventions stand apart


@pytest.mark.parametrize("keys", [KEYS, [*KEYS, ("imp", 9), ("idc", 9)]], ids=["one sparsity", "two"])
def test_the_figure_has_a_panel_for_each_subnetwork(keys):
    titles = [ax.get_title() for ax in a_figure(keys=keys).axes]
    assert len(titles) == 2 + 1 + len(keys) + 2
    assert sum(t.startswith("dense, 4") for t in titles) == 1


def test_the_banner_is_in_the_picture_and_absent_without_one():
    assert "generated images, not ImageNet" in [t.get_text() for t in a_figure().texts]
    assert [t.get_text() for t in a_figure(banner="").texts] == ["a note"]


@pytest.mark.parametrize("n", [1, 3])
def test_the_same_inputs_give_the_same_bytes(figures_folder: Path, n: int):
    written = []
    for _ in range(2):
        png = figures.save(a_figure(n), "fig", "laptop", {"x": np.array([1.0])})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])
