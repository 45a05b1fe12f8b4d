"""Figures 11 to 13: what is drawn are the given numbers, and equal inputs give equal bytes."""

from pathlib import Path

import numpy as np
import pytest

from lmcnb import figures
from lmcnb.statistics import RankCorrelation

pytestmark = pytest.mark.usefixtures("figures_folder")
RNG = np.random.default_rng(0)
WAYS = ["imp", "idc", "dm", "random images", "random mask"]


def by_way(low: float, rounds: tuple[int, ...] = (4, 9)) -> dict[tuple[str, int], list[float]]:
    values = {("dense", 0): list(low + RNG.random(3))}
    return values | {(w, r): list(low + RNG.random(3)) for r in rounds for w in WAYS}


def methods():
    images = {m: RNG.random((10, 3, 8, 8)) for m in ("idc", "dm", "random images")}
    cost = {"idc": [(10.0, [40, 41, 42]), (40.0, [50, 51, 52])], "dm": [(5.0, [35, 36, 37])],
            "random images": [(0.0, [30, 31, 32])]}
    return figures.methods(images, cost, by_way(0), by_way(60), "a note")


def compression():
    keys = [(w, k, 9) for w in ("idc", "random images") for k in (1, 10)]
    ends = [("imp", 5000, 9), ("dense", 5000, 0)]
    table = {key: list(RNG.random(3)) for key in [*keys, *ends]}
    quality = {(w, k): list(40 + RNG.random(3)) for w, k, _ in keys}
    return table, figures.compression(quality, table, table, {k: 100.0 * k[1] for k in table}, 5000, "a note")


def generalisation():
    values, names = by_way(0), ("corrupted", "kept", "probe")
    found = {(n, r): RankCorrelation(-0.5, -0.9, 0.1, 15, 5) for n in names for r in (4, 9)}
    readings = {n: by_way(50) for n in names}
    return readings, figures.generalisation(values, readings, found, {k: [1.0, 2.0] for k in values},
                                            ["jpeg", "contrast"], "a note")


def test_a_method_is_drawn_at_the_seconds_it_took_and_the_mean_accuracy_it_reached():
    ax = methods().axes[1]
    lines = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in ax.get_lines() if len(line.get_xdata())}
    assert lines[(10.0, 40.0)] == (41, 51) and lines[(5.0,)] == (36,)
    assert (31.0, 31.0) in [tuple(line.get_ydata()) for line in ax.get_lines()]  # random images cost nothing
    assert ax.get_xscale() == "log"


def test_every_row_of_images_has_its_methods_name():
    ax = methods().axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["distilled, IDC", "distilled, DM", "random real subset"]
    assert ax.images[0].get_array().shape[:2] == (3 * 10, 10 * 10)  # 8 pixels and a gap of 2 each


def test_the_whole_data_set_is_the_end_of_the_axis_and_the_dense_network_a_line():
    table, figure = compression()
    barrier = figure.axes[1]
    ends = [line for line in barrier.get_lines() if tuple(line.get_ydata()) == (np.mean(table["dense", 5000, 0]),) * 2]
    assert len(ends) == 1 and ends[0].get_linestyle() == "--"
    labels = [t.get_text() for t in figure.axes[2].get_xticklabels()]
    assert labels == ["1", "10", "all\n(5,000)"]
    assert figure.axes[3].get_yscale() == "log"
    drawn = sorted(float(line.get_ydata()[0]) for line in figure.axes[3].get_lines())
    assert drawn == [100.0, 100.0, 500000.0]


def test_the_scatter_shows_every_ticket_and_says_the_correlation():
    readings, figure = generalisation()
    ax = figure.axes[0]
    dots = np.concatenate([line.get_ydata() for line in ax.get_lines() if line.get_markersize() == 3])
    assert sorted(dots) == sorted(np.concatenate(list(readings["corrupted"].values())))
    assert ax.get_title(loc="left").splitlines() == ["59%: ρ = -0.50 [-0.90, +0.10]", "87%: ρ = -0.50 [-0.90, +0.10]"]


@pytest.mark.parametrize("draw", [methods, lambda: compression()[1], lambda: generalisation()[1]],
                         ids=["methods", "compression", "generalisation"])
def test_the_same_inputs_give_the_same_bytes(draw, figures_folder: Path):
    global RNG
    written = []
    for _ in range(2):
        RNG = np.random.default_rng(1)
        png = figures.save(draw(), "fig", "laptop", {})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])
