"""The exact diagonal of networks that are linear in pieces but for instance norms, against the plain Hessian."""

from dataclasses import replace

import pytest
import torch
from helpers import made_up, random_masks
from test_curvature import CASES, attention, plain_hessian, trained_looking  # noqa: F401
from torch import nn

from lmcnb import Net, Networks, Recipe
from lmcnb.lab.keys import execution
from lmcnb.measure.diagonal_exact import exact_diagonal
from lmcnb.measure.hessian import HessianOperator
from lmcnb.measure.piecewise import is_piecewise
from lmcnb.stages import Curvature, Train


def layers(*more: nn.Module) -> nn.Sequential:
    """Convolutions in an unusual order, a nested sequence, a stride, two linear layers."""
    first = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.GroupNorm(4, 4), nn.MaxPool2d(2))
    rest = nn.Conv2d(4, 3, 3, 2, 1), nn.Conv2d(3, 5, 1), nn.GroupNorm(5, 5), *more, nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(first, *rest, nn.Flatten(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


PARTS = {  # and whether the network is then linear in pieces
    "identity": (nn.Identity, True), "relu": (nn.ReLU, True), "batch norm": (lambda: nn.BatchNorm2d(5), True),
    "in place": (lambda: nn.ReLU(inplace=True), False), "tanh": (nn.Tanh, False),
    "group norm": (lambda: nn.GroupNorm(1, 5), False), "grouped": (lambda: nn.Conv2d(5, 5, 1, groups=5), False),
}


@pytest.mark.parametrize("name", PARTS)
def test_any_sequence_has_its_diagonal_in_pieces_or_not(name: str):
    torch.manual_seed(0)
    part, pieces = PARTS[name]
    images = made_up(8, classes=3)
    network = Networks.of(layers(part()).eval(), images)
    assert is_piecewise(network.net.build().eval()) == pieces
    network = network.masked(random_masks(network.net, network.params, density=0.6))
    expected = plain_hessian(network, images, network.net.prunable).diag()
    off = exact_diagonal(network, images, batch=5) - expected
    assert float(off.abs().max()) < (3e-5 if pieces else 1e-4) * float(expected.abs().max())


def test_a_norm_alone_can_be_asked_for():
    network, images = trained_looking(CASES["instance norm"]), made_up(6, classes=3)
    expected = plain_hessian(network, images, ["1.weight"]).diag()
    assert torch.allclose(exact_diagonal(network, images, names=["1.weight"]), expected, atol=1e-4)


def test_statistics_of_a_batch_are_no_piece():
    assert not is_piecewise(layers(nn.BatchNorm2d(5, track_running_stats=False)).eval())


def test_soft_labels_have_their_own_curvature():
    network, images = trained_looking(CASES["instance norm"]), made_up(8, classes=3)
    soft = replace(images, y=torch.rand(8, 3, generator=torch.Generator().manual_seed(0)))  # which do not sum to one
    expected = plain_hessian(network, soft, network.net.prunable).diag()
    off = exact_diagonal(network, soft) - expected
    assert float(off.abs().max()) < 1e-5 * float(expected.abs().max())


def test_the_key_says_what_is_computed_in_pieces(attention):  # noqa: F811
    """Of the stage that computes so alone: an estimate, and a network of another kind, keep their keys."""
    cpu = torch.device("cpu")

    def mode(net: Net, diagonal: str) -> str:
        model = Train(net=net, recipe=Recipe(epochs=1))
        return execution(Curvature(net=net, model=model, diagonal=diagonal), cpu)["mode"]
    estimated = mode(CASES["instance norm"], "hutchinson")
    assert "pieces" not in estimated and mode(CASES["instance norm"], "exact") == f"{estimated} in pieces"
    assert mode(Net(name=attention, channels=1, size=8, classes=3), "exact") == "eager"


@pytest.mark.parametrize("layer", ["0.0.weight", "1.weight"])
def test_an_emptied_layer_has_no_diagonal(layer: str):
    images = made_up(8, classes=3)
    network = Networks.of(layers().eval(), images)
    masks = dict(network.masks) | {layer: torch.zeros_like(network.masks[layer])}
    network = network.masked(masks)
    expected = plain_hessian(network, images, network.net.prunable).diag()
    assert torch.allclose(exact_diagonal(network, images), expected, atol=1e-5)


class Aside(nn.Module):
    """Runs a layer that its logits do not depend on."""

    def __init__(self):
        super().__init__()
        self.body, self.aside, self.head = nn.Linear(64, 4), nn.Linear(4, 3), nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.body(x.flatten(1)))
        self.aside(hidden)
        return self.head(hidden)


def test_a_layer_that_leads_nowhere_has_no_curvature():
    images = made_up(8, 10)
    network = Networks.of(Aside(), images)
    operator, found = HessianOperator(network, images), exact_diagonal(network, images)
    whole = torch.stack([(operator @ e)[k] for k, e in enumerate(torch.eye(operator.shape[0]))])
    torch.testing.assert_close(found.float(), whole, atol=1e-6, rtol=1e-4)
    assert (found[64 * 4:64 * 4 + 12] == 0).all()
