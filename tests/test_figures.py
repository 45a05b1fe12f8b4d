"""Saved figures: the same inputs give the same bytes, and the JSON holds what was drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from lmcnb import claim_below, figures

pytestmark = pytest.mark.usefixtures("figures_folder")


def a_figure() -> plt.Figure:
    figure, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot([0, 1, 2], [0, 1, 0.5], label="a line")
    ax.fill_between([0, 1, 2], [0, 0.5, 0], [1, 1.5, 1], alpha=0.2)
    ax.legend()
    return figure


def a_stability_figure(n: int = 3) -> plt.Figure:
    rng, alphas = np.random.default_rng(0), np.linspace(0, 1, 5)
    curves = {(w, r): rng.random((n, 5)) for w, r in (("dense", 0), ("imp", 4), ("idc", 9))}
    barriers = {key: rng.random(n) for key in curves}
    surfaces = {w: rng.random((3, 5)) for w in ("idc", "imp")}
    return figures.stability(alphas, surfaces, curves, barriers, barriers, "a note", dark=(0, 2))


@pytest.mark.parametrize("make", [a_figure, a_stability_figure], ids=lambda f: f.__name__)
def test_the_same_inputs_give_the_same_bytes(figures_folder: Path, make):
    written = []
    for _ in range(2):
        png = figures.save(make(), "fig", "laptop", {"x": np.array([1.0, 2.0])})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])


def test_another_figure_gives_other_bytes(figures_folder: Path):
    one = figures.save(a_figure(), "a", "laptop", {})
    figure = a_figure()
    figure.axes[0].set_title("more")
    two = figures.save(figure, "b", "laptop", {})
    assert one.read_bytes() != two.read_bytes()


def test_the_json_holds_the_payload_and_the_claims(figures_folder: Path):
    claims = [claim_below("A1", "small", [1.0, 1.1, 0.9], "why", threshold=2), claim_below("A2", "one", [1.0], "n = 1")]
    png = figures.save(a_figure(), "fig", "laptop", {"alphas": torch.tensor([0.0, 1.0]), "n": np.int64(3)}, claims)
    assert png == figures_folder / "fig.png" and png.exists() and png.with_suffix(".pdf").exists()
    record = json.loads(png.with_suffix(".json").read_text())
    assert (record["figure"], record["profile"], record["alphas"], record["n"]) == ("fig", "laptop", [0.0, 1.0], 3)
    assert record["claims"][0]["verdict"] == "supported" and record["claims"][0]["n"] == 3
    assert record["claims"][1]["interval"] == [None, None]


def test_a_smoke_figure_goes_to_a_folder_of_its_own(figures_folder: Path):
    assert figures.save(a_figure(), "fig", "smoke", {}) == figures_folder / "smoke" / "fig.png"
    assert not (figures_folder / "fig.png").exists()


def test_plain_rounds_to_six_digits_and_turns_nan_into_null():
    value = {"a": np.float32(1 / 3), "b": [float("nan"), float("inf"), 2], 3: torch.tensor([[1.0]]), "t": (1, "x"),
             "none": None, "yes": True}
    assert figures.plain(value) == {"a": 0.333333, "b": [None, None, 2], "3": [[1.0]], "t": [1, "x"], "none": None,
                                    "yes": True}


def test_percent_sparse_is_the_papers():
    assert [figures.percent_sparse(r) for r in (0, 4, 9, 10)] == ["0%", "59%", "87%", "89%"]


def test_an_unknown_way_has_a_colour_and_its_own_name_as_label():
    assert figures.label("mine") == "mine" and figures.colour("mine").startswith("#")
    assert figures.label("imp") != "imp"


def test_one_initialisation_is_drawn_without_an_interval(figures_folder: Path):
    assert figures.save(a_stability_figure(n=1), "one", "laptop", {}).exists()


def test_a_grid_shows_every_set_in_a_row():
    figure = figures.images_grid({"a": np.random.rand(12, 3, 4, 4), "b": np.random.rand(2, 1, 4, 4)}, columns=5)
    assert len(figure.axes) == 10
    assert [sum(bool(ax.images) for ax in figure.axes[r * 5:r * 5 + 5]) for r in range(2)] == [5, 2]
