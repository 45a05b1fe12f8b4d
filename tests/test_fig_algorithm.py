"""Figure 1 draws the weights, masks and accuracies that it is given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import figures
from lmcnb.figures.algorithm import montage

pytestmark = pytest.mark.usefixtures("figures_folder")

RNG = np.random.default_rng(0)
INITIAL = RNG.uniform(-1, 1, 200)
TRAINED = INITIAL + RNG.normal(0, 0.2, 200)
KEPT = np.abs(TRAINED) > np.quantile(np.abs(TRAINED), 0.2)
MASKS = {1: {"conv 1": RNG.random((4, 3, 3, 3)) < 0.8, "linear 2": RNG.random((2, 16)) < 0.8}}


def a_figure(initial: np.ndarray = INITIAL) -> plt.Figure:
    pictures = np.linspace(0, 1, 2 * 3 * 16).reshape(2, 3, 1, 4, 4)
    density = {"conv 1": [1.0, 0.7], "linear 2": [1.0, 0.9]}
    return figures.distilled_pruning(pictures, pictures, [2.0, 1.0, 0.5], initial, TRAINED, np.where(KEPT, INITIAL, 0),
                                     KEPT, MASKS, density, {0: (10.0, 66.0), 1: (11.0, 64.0)}, "a note")


def axes(figure: plt.Figure, title: str) -> plt.Axes:
    (found,) = [ax for ax in figure.axes if ax.get_title(loc="left").startswith(title)]
    return found


def test_the_steps_are_numbered_in_order():
    titles = [ax.get_title(loc="left") for ax in a_figure().axes]
    assert [t[0] for t in titles if t[:1].isdigit()] == ["1", "2", "3", "4", "6"]  # 5 is the way back


def test_the_threshold_is_the_smallest_kept_magnitude():
    ax = axes(a_figure(), "3")
    drawn = [line.get_xdata()[0] for line in ax.lines]
    assert drawn == [pytest.approx(np.abs(TRAINED)[KEPT].min())]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["pruned: 40", "kept: 160"]


def test_rewinding_puts_kept_weights_on_the_diagonal_and_pruned_ones_at_zero():
    lines = {line.get_label(): line for line in axes(a_figure(), "4").lines}
    kept, pruned = lines["kept, rewound"], lines["pruned, zero"]
    np.testing.assert_array_equal(kept.get_xdata(), kept.get_ydata())
    assert len(kept.get_xdata()) == 160 and len(pruned.get_xdata()) == 40 and not pruned.get_ydata().any()


def test_masks_are_drawn_as_outputs_by_inputs():
    drawn = [ax.images[0].get_array() for ax in a_figure().axes if ax.images][2:]
    for picture, mask in zip(drawn, MASKS[1].values(), strict=True):
        np.testing.assert_array_equal(np.asarray(picture) == 0, mask.reshape(len(mask), -1))


def test_densities_and_accuracies_are_the_given_ones():
    figure = a_figure()
    lines = {line.get_label(): list(line.get_ydata()) for line in axes(figure, "what every layer").lines}
    assert lines == {"conv 1": [100.0, 70.0], "linear 2": [100.0, 90.0], "all layers": [100.0, 80.0]}
    ax = axes(figure, "6")
    assert {t.get_text() for t in ax.texts} >= {"66.0%", "64.0%"}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["20%", "dense"]


def test_a_montage_keeps_every_pixel():
    grid = RNG.random((2, 3, 3, 4, 5))
    picture = montage(grid)
    assert picture.shape == (2 * 5, 3 * 6, 3)
    np.testing.assert_array_equal(picture[5:9, 6:11], grid[1, 1].transpose(1, 2, 0))
    assert (picture[4] == 1).all()


def test_weights_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match="the same weights"):
        a_figure(initial=INITIAL[:10])


def test_the_same_inputs_give_the_same_bytes():
    written = []
    for _ in range(2):
        png = figures.save(a_figure(), "fig", "laptop", {})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1]
