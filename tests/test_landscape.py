"""Planes in weight space: their geometry, and the loss on them against plain evaluation."""

from dataclasses import replace

import pytest
import torch
from helpers import NET, RECIPE, another, identical, made_up, random_masks

from lmcnb import Lab, Net, Networks
from lmcnb.kernel.training import Scores, evaluate
from lmcnb.measure.plane import (
    curvature_along,
    flat,
    fraction_within,
    grid,
    loss_on_plane,
    plane_as_released,
    plane_random,
    plane_through,
)
from lmcnb.params import select
from lmcnb.spec import SettingError
from lmcnb.stages import Landscape, RandomMask, Ticket, Train

BATCHNORM = NET.but(name="resnet10", width=2)


def networks(count: int = 4, density: float = 0.5) -> Networks:
    """Initialised networks, all under one random mask."""
    found = Networks.initialise(NET, range(count))
    mask = random_masks(NET, select(found.params, 0), density=density)
    return found.masked({n: m.expand(count, *m.shape) for n, m in mask.items()})


def test_the_plane_through_three_networks_is_orthonormal_and_contains_them():
    found = networks(4)
    plane = plane_through(found)
    u, v = flat(plane.u[0]), flat(plane.v[0])
    assert torch.allclose(torch.stack([u @ u, v @ v, u @ v]), torch.tensor([1.0, 1, 0], dtype=torch.float64), atol=1e-5)
    places, away = plane.project(found)
    assert float(away[:3].max()) < 1e-4 * float(away[3]) and float(away[3]) > 0
    back = plane.at(places[:3]).params
    assert all(torch.allclose(back[n], p[:3], atol=1e-5) for n, p in found.params.items())
    distance = (flat(select(found.params, 1)) - flat(select(found.params, 2))).norm()
    assert float((places[1] - places[2]).norm()) == pytest.approx(float(distance), rel=1e-5)


def test_the_released_plane_has_its_networks_where_the_code_puts_them():
    found = networks(4)
    plane = plane_as_released(found)
    ends = plane.at(torch.tensor([[1.0, 0], [-1, 0], [0, 0]], dtype=torch.float64)).params
    for n, p in found.params.items():
        assert torch.allclose(ends[n][:2], p[:2], atol=1e-6)
        assert torch.allclose(ends[n][2], (p[0] + p[1]) / 2, atol=1e-6)
        assert torch.allclose(plane.v[0][n], (p[3] - p[2]) / 2, atol=1e-6)
    assert not plane.orthonormal and abs(float(flat(plane.u[0]) @ flat(plane.v[0]))) > 0


def test_random_axes_have_the_filters_norms_and_leave_the_pruned_weights():
    found = networks(1)
    one, mask = select(found.params, 0), select(found.masks, 0)
    plane = plane_random(found, seed=3)
    for n, p in one.items():
        if p.ndim < 2:
            assert not plane.u[0][n].any()
            continue
        assert torch.allclose(plane.u[0][n].flatten(1).norm(dim=1), p.flatten(1).norm(dim=1), rtol=1e-4)
        assert not plane.u[0][n][~mask[n]].any() and not plane.v[0][n][~mask[n]].any()
    assert identical(plane.u[0], plane_random(found, seed=3).u[0])
    assert not identical(plane.u[0], plane_random(found, seed=4).u[0])


def test_pruned_weights_stay_zero_on_every_plane():
    found = networks(4)
    points = torch.tensor([[0.3, -0.7], [1.4, 2.0]], dtype=torch.float64)
    for plane in (plane_through(found), plane_as_released(found)):
        moved = plane.at(points)
        assert all(not moved.params[n][:, ~m[0]].any() for n, m in found.masks.items())
        assert identical(moved.masks, found[:2].masks)


@pytest.mark.parametrize("net", [NET, BATCHNORM], ids=["instance norm", "batch norm"])
def test_the_loss_on_a_plane_is_that_of_its_networks_whatever_the_tiles(net: Net):
    found = Networks.initialise(net, range(3))
    images = made_up(30, classes=10)
    plane = plane_through(found)
    xs, ys = grid(plane, 3, found)
    values = loss_on_plane(plane, images, xs, ys, tile=4)
    assert values.shape == (2, 3, 3)
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            point = plane.at(torch.tensor([[x, y]]))
            scores = evaluate(net, point.params, point.buffers, images)
            assert float(values[0, i, j]) == pytest.approx(float(scores.loss), rel=1e-4)
    seeds = loss_on_plane(plane, images, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    own = evaluate(net, select(found.params, [0]), select(found.buffers, [0]), images)
    assert float(seeds[0]) == pytest.approx(float(own.loss), rel=1e-5)


def test_it_resumes_from_the_tiles_it_has():
    found = networks(3)
    plane, images = plane_through(found), made_up(20, classes=10)
    axes, seen = grid(plane, 4, found), []
    whole = loss_on_plane(plane, images, *axes, tile=5, on_tile=lambda v, n: seen.append((v.clone(), n)))
    assert [n for _, n in seen] == [5, 10, 15, 16]
    half, left = seen[1][0], []
    again = loss_on_plane(plane, images, *axes, tile=5, done=half, on_tile=lambda v, n: left.append(n))
    assert left == [15, 16] and torch.allclose(again, whole, rtol=1e-6)


def test_recalibrating_changes_a_batch_norm_network_between_its_seeds():
    found = Networks.initialise(BATCHNORM, range(3))
    found = replace(found, buffers={n: b + 1 if b.is_floating_point() else b for n, b in found.buffers.items()})
    plane, images = plane_through(found), made_up(30, classes=10)
    axes = grid(plane, 2, found)
    lerped = loss_on_plane(plane, images, *axes)
    assert not torch.allclose(lerped, loss_on_plane(plane, images, *axes, recalibrate_on=images), rtol=1e-3)


def test_a_point_without_a_finite_loss_is_infinite_and_not_computed_again(monkeypatch: pytest.MonkeyPatch):
    plane, images = plane_through(Networks.initialise(NET, range(3))), made_up(10, classes=10)
    monkeypatch.setattr("lmcnb.measure.plane.evaluate", lambda *_, **__: Scores(losses, losses))
    axis, losses = torch.arange(3.0).double(), torch.tensor([0.5, torch.nan, torch.inf]).double()
    values = loss_on_plane(plane, images, axis, axis[:1])
    assert values[0, 0].tolist() == [0.5, torch.inf, torch.inf]
    again = []
    loss_on_plane(plane, images, axis, axis[:1], done=values, on_tile=lambda *_: again.append(1))
    assert not again and fraction_within(values[0], 0.1) == pytest.approx(1 / 3)


def test_numbers_of_a_landscape():
    assert fraction_within([[0.0, 0.05], [0.2, 1.0]], 0.1) == 0.5
    alphas = torch.linspace(0, 1, 11, dtype=torch.float64)
    curves = torch.stack([3 * alphas ** 2 - alphas + 1, -2 * alphas ** 2])
    assert torch.allclose(curvature_along(alphas, curves), torch.tensor([6.0, -4.0], dtype=torch.float64))


def test_bad_input_names_the_fix():
    found = networks(2)
    with pytest.raises(ValueError, match="needs 3 trained networks; got 2: train it with more seeds"):
        plane_through(found)
    with pytest.raises(ValueError, match="on one line"):
        plane_through(found[[0, 0, 0]])
    with pytest.raises(ValueError, match="at least 2 points"):
        grid(None, 1)
    train = Train(net=NET, recipe=RECIPE)
    with pytest.raises(SettingError, match="needs 3 models; got 1: add seeds"):
        Landscape(net=NET, models=(train,))
    with pytest.raises(SettingError, match="differ in their seed and in where"):
        Landscape(net=NET, models=(train, train.but(init=1), train.but(seed=1)))
    with pytest.raises(SettingError, match="give both the same net and dataset"):
        Landscape(net=BATCHNORM, models=tuple(train.but(seed=s) for s in range(3)))


@pytest.mark.parametrize("kind", ["through", "released", "random"])
def test_the_lab_keeps_landscapes(lab: Lab, kind: str):
    imp = Ticket(net=NET, recipe=RECIPE, round=2)
    mask = RandomMask(net=NET, like=imp)
    models = tuple(Train(net=NET, recipe=RECIPE, mask=mask, seed=s) for s in range(4))
    spec = Landscape(net=NET, models=models, kind=kind, points=3, train_images=60)
    entry = lab.get(spec)
    assert entry.tensors["loss"].shape == (3, 3) and entry.result["min"] == float(entry.tensors["loss"].min())
    assert identical(another(lab).get(spec).tensors, entry.tensors)
    if kind == "released":  # what was pruned is back on the path of the released code
        apart = lab.get(spec.but(masks="released")).tensors["loss"] - entry.tensors["loss"]
        assert float(apart.abs().max()) > 0
