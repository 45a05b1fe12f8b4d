"""Figure 1 draws the weights, masks and accuracies that it is given."""

from functools import cache

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import figures
from lmcnb.tables import Table

RNG = np.random.default_rng(0)
INITIAL = RNG.uniform(-1, 1, 200)
TRAINED = INITIAL + RNG.normal(0, 0.2, 200)
KEPT = np.abs(TRAINED) > np.quantile(np.abs(TRAINED), 0.2)
MASKS = {"mask, conv 1": (RNG.random((1, 4, 27)) < 0.8).astype(np.uint8),
         "mask, linear 2": (RNG.random((1, 2, 16)) < 0.8).astype(np.uint8)}


def a_round(initial: np.ndarray = INITIAL) -> list[dict]:
    return list(figures.first_round([2.0, 1.0, 0.5], initial, TRAINED, np.where(KEPT, INITIAL, 0), KEPT))


@cache
def a_figure() -> plt.Figure:
    rows = a_round()
    rows += [{"quantity": f"density, {n}", "value": v} for n, v in (("conv 1", 0.7), ("linear 2", 0.9))]
    rows = [{"method": "idc", "round": 1, **row} for row in rows]
    for method, r, before, after in (("dense", 0, 0.10, 0.66), ("idc", 1, 0.11, 0.64)):
        of = {"method": method, "round": r}
        rows += [{**of, "quantity": "test_accuracy, untrained", "value": before},
                 {**of, "quantity": "test_accuracy", "seeds": "0", "value": after}]
    pictures = [figures.montage(np.linspace(0, 1, 2 * 3 * 16).reshape(2, 3, 1, 4, 4))]
    return figures.distilled_pruning(Table.of(rows), {"stored": pictures, "decoded": pictures, **MASKS}, [1], "a note")


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


def test_the_bars_are_a_histogram_of_all_magnitudes():
    bars = axes(a_figure(), "3").patches
    counts, _ = np.histogram(np.abs(TRAINED), np.linspace(0, np.quantile(np.abs(TRAINED), 0.995), 60))
    heights = [bar.get_height() for bar in bars]
    assert [a + b for a, b in zip(heights[:59], heights[59:], strict=True)] == list(counts)


def test_rewinding_puts_kept_weights_on_the_diagonal_and_pruned_ones_at_zero():
    lines = {line.get_label(): line for line in axes(a_figure(), "4").lines}
    kept, pruned = lines["kept, rewound"], lines["pruned, zero"]
    np.testing.assert_array_equal(kept.get_xdata(), kept.get_ydata())
    assert len(kept.get_xdata()) == 160 and len(pruned.get_xdata()) == 40 and not pruned.get_ydata().any()


def test_masks_are_drawn_as_outputs_by_inputs():
    drawn = [ax.images[0].get_array() for ax in a_figure().axes if ax.images][2:]
    for picture, [mask] in zip(drawn, MASKS.values(), strict=True):
        np.testing.assert_array_equal(np.asarray(picture) == 0, mask)


def test_densities_and_accuracies_are_the_given_ones():
    figure = a_figure()
    lines = {line.get_label(): list(line.get_ydata()) for line in axes(figure, "what every layer").lines}
    assert lines == {"conv 1": [100.0, 70.0], "linear 2": [100.0, 90.0], "all layers": [100.0, 80.0]}
    ax = axes(figure, "6")
    assert {t.get_text() for t in ax.texts} >= {"66.0%", "64.0%"}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["20%", "dense"]


def test_a_montage_keeps_every_pixel():
    grid = RNG.integers(0, 256, (2, 3, 3, 4, 5))
    picture = figures.montage(grid / 255)
    assert picture.shape == (2 * 5, 3 * 6, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[5:9, 6:11], grid[1, 1].transpose(1, 2, 0))
    assert (picture[4] == 255).all()


def test_weights_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match="the same weights"):
        a_round(initial=INITIAL[:10])


def test_a_figure_without_its_pictures_says_so():
    with pytest.raises(ValueError, match="saved without its pictures"):
        figures.distilled_pruning(Table.of(a_round()), {}, [1])
