"""How long the segment between two networks is, and how the loss bends along it."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from lmcnb import Dataset, Lab, Net, Networks, Recipe, Train
from lmcnb.measure.segment import segment
from lmcnb.params import distance, select
from lmcnb.stages import RandomMask, Segment, Ticket

RECIPE = Recipe(epochs=1, batch=64, lr=0.1, augment="none", cutmix=0)


def test_the_bend_is_the_second_derivative_of_the_loss_along_the_path(digits: Dataset) -> None:
    images = digits.train.first(96)
    ends = Networks.initialise(Net.of(images, "convnet2", width=4), seeds=[0, 1])
    found = segment(ends[0], ends[1], images, [0.3], batch=40)
    one, other = (select(end.params, 0) for end in ends)
    module, x = ends.net.build().eval(), images.normalised().double()

    def loss(alpha: torch.Tensor) -> torch.Tensor:
        between = {n: torch.lerp(p.double(), other[n].double(), alpha) for n, p in one.items()}
        return cross_entropy(torch.func.functional_call(module, between, (x,)), images.y)
    bend = torch.func.grad(torch.func.grad(loss))(torch.tensor(0.3, dtype=torch.float64))
    assert float(found.bend) == pytest.approx(float(bend), rel=1e-3)
    assert found.length == pytest.approx(float(distance(ends[0].params, ends[1].params)))


def test_two_equal_networks_are_no_segment(digits: Dataset) -> None:
    images = digits.train.first(8)
    one = Networks.initialise(Net.of(images, "convnet2", width=4))
    with pytest.raises(ValueError, match="one network"):
        segment(one, one, images)


def test_a_lab_measures_a_pair_and_what_it_started_from(lab: Lab, digits: Dataset) -> None:
    net = Net.of(digits.train, "convnet2", width=4)
    ticket = Ticket(net=net, recipe=RECIPE, round=1)
    random = RandomMask(net=net, like=ticket)
    for mask in (None, ticket, random):
        a, b = (Train(net=net, recipe=RECIPE, mask=mask, seed=seed) for seed in (0, 1))
        spec = Segment(net=net, a=a, b=b, images=50)
        lab.map([spec])
        table = lab.table([spec])
        values = table[table["alpha"].isna()].set_index("quantity")["value"]
        start = a.begun(lab)
        assert values["untrained test_accuracy"] == pytest.approx(float(start.evaluate(digits.test).accuracy))
        moved = [float(distance(start.params, lab.load(end).params)) for end in (a, b)]
        assert values["travelled"] == pytest.approx(sum(moved) / 2)
        assert values["distance"] < sum(moved), "they left one point"
        assert len(table.select(quantity="curvature")) == 3
    assert lab.get(ticket).result["moved"] > 0
    with pytest.raises(ValueError, match="nothing but their seeds"):
        Segment(net=net, a=a, b=Train(net=net, recipe=RECIPE, seed=1))
