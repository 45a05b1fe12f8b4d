"""Two trainings that leave one point: where they are, and that the film and the strip show it."""
import io
from pathlib import Path

import pytest
from PIL import Image

from lmcnb import Net, Networks, Recipe, load
from lmcnb.figures.departures import departures, film, gif, quickstart_setting, strip
from lmcnb.measure.plane import flat
from lmcnb.notebooks import find_notebooks
from lmcnb.tables import Table

RECIPE = Recipe(epochs=2, batch=32, augment="none", cutmix=0)


@pytest.fixture(scope="module")
def small():
    data = load("digits").first(train=128, test=20)
    return Networks.initialise(Net.of(data.train, "convnet2", width=4)), data


@pytest.fixture(scope="module")
def table(small) -> Table:
    start, data = small
    return departures(start, data, RECIPE, [{"method": "dense", "round": 0, "init": 0}], frames=4, points=5)


def test_a_training_that_is_looked_at_ends_where_it_would_alone(small, table: Table):
    start, data = small
    a, b = (start.train(data, RECIPE, seed) for seed in (0, 1))
    length = float((flat(a.params) - flat(b.params)).norm())
    ways = table.select(quantity="distance on the way")
    last = ways[ways["step"] == ways["step"].max()].sort_values("network")
    assert last["x"].tolist() == pytest.approx([0, length], abs=1e-4)
    assert last["y"].tolist() == pytest.approx([0, 0], abs=1e-4)


def test_both_leave_the_start_and_it_lies_in_the_plane(table: Table):
    ways = table.select(quantity="distance on the way")
    first = ways[ways["step"] == 0]
    corner = table.select(quantity="distance from the plane", network=2)
    for name in ("x", "y"):
        assert first[name].tolist() == pytest.approx([corner[name].iloc[0]] * 2, abs=1e-4)
    assert first["value"].max() < 1e-4 and ways["step"].nunique() == 5


def test_the_film_trains_and_then_walks(table: Table):
    frames = film(table, ["dense"], hold=2)
    assert len(frames) == 5 + len(table.alphas) + 2 and frames[0].tobytes() != frames[4].tobytes()
    found = gif(frames)
    assert [f.tobytes() for f in frames] == [f.tobytes() for f in film(table, ["dense"], hold=2)]
    assert getattr(Image.open(io.BytesIO(found)), "n_frames", 0) > 10


def test_the_strip_has_moments_side_by_side(table: Table):
    figure = strip(table, ["dense"], count=3)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "step 0" and titles[2].startswith("step 8; between the ends: ")


def test_it_is_of_notebook_0():
    [notebook] = find_notebooks(Path(__file__).parents[1], ["00"])
    names = dict(notebook.defaults)
    for cell in notebook.tagged("plan"):
        exec(notebook.node.cells[cell].source, names)
    data, net, recipe = quickstart_setting()
    assert (names["data"].fingerprint, names["net"], names["recipe"]) == (data.fingerprint, net, recipe)
