"""Networks of one's own whose forward sees what a faster form changes: they run as they are."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lmcnb
from lmcnb.kernel import agreement, fused
from lmcnb.kernel.agreement import agrees, traces
from lmcnb.kernel.fused import library
from lmcnb.kernel.layers import fuse, fuses, quickens
from lmcnb.kernel.step import layout_of
from lmcnb.kernel.strategies import can_compile, compiles
from lmcnb.measure.batchnorm import recalibrated

DATA = lmcnb.load("shapes").first(train=64, test=50)
RECIPE = lmcnb.Recipe(epochs=1, batch=32)


def block(channels: int, width: int = 16) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, 3, padding=1)
    return [convolution, nn.GroupNorm(width, width), nn.ReLU(inplace=True), nn.AvgPool2d(2)]


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(*block(3))
        self.head = nn.Linear(16 * 36, DATA.classes)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class Viewing(Own):  # as the literature's ConvNet does
    def forward(self, x: Tensor) -> Tensor:
        out = self.features(x)
        return self.head(out.view(out.size(0), -1))


class Slicing(Own):
    def forward(self, x: Tensor) -> Tensor:
        x = self.features[:2](x)
        return self.head(F.avg_pool2d(torch.tanh(x), 2).flatten(1))


class Looking(Own):
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.features:
            x = torch.tanh(x) if isinstance(layer, nn.ReLU) else layer(x)
        return self.head(x.flatten(1))


class Counting(Own):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Printing(Own):
    def forward(self, x: Tensor) -> Tensor:
        print("forward")
        return super().forward(x)


class Masking(Looking):
    """Of a few classes: with a buffer that, as zeros, would hide what the form changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("keep", torch.arange(DATA.classes) < 8)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).masked_fill(~self.keep, -1e4)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing is remembered of what this machine was asked, but what it compiled."""
    library(), can_compile()
    monkeypatch.setattr(fused, "cache_root", lambda: tmp_path)
    for asked in (agrees, traces):
        asked.cache_clear()
    yield
    for asked in (agrees, traces):
        asked.cache_clear()


def loss_of(module: nn.Module) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(module.eval()(DATA.test.normalised()), DATA.test.y))


@pytest.mark.parametrize("kind", [Viewing, Slicing, Looking, Own], ids=lambda k: k.__name__)
def test_they_compute_what_they_compute(kind: type[nn.Module], fresh: None):
    module = kind()
    networks = lmcnb.Networks.of(module, DATA)
    assert float(networks.evaluate(DATA.test).loss) == pytest.approx(loss_of(module), rel=1e-5)
    trained = networks.train(DATA, RECIPE)
    assert float(trained.evaluate(DATA.test).loss) == pytest.approx(loss_of(trained.modules()[0]), rel=1e-5)
    as_it_is = agrees(networks.net, fuse)
    assert as_it_is == (kind is Own) and fuses(networks.net) <= as_it_is


def test_lmcnbs_own_are_not_tried(monkeypatch: pytest.MonkeyPatch):
    for tried in ("_agrees", "_traces"):
        monkeypatch.setattr(agreement, tried, None)  # which cannot be called
    for name in ("convnet3", "resnet10"):
        net = lmcnb.Net(name=name, width=8)
        assert agrees(net, fuse) and traces(net)


@pytest.mark.parametrize("kind", [Counting, Printing], ids=lambda k: k.__name__)
def test_what_cannot_be_traced_is_not_compiled(kind: type[nn.Module], fresh: None):
    net = lmcnb.Networks.of(kind(), DATA).net
    assert not traces(net) and not compiles(net)


def test_what_can_be_traced_is_compiled_where_there_is_a_compiler(fresh: None):
    net = lmcnb.Networks.of(Own(), DATA).net
    assert traces(net)
    wide = lmcnb.Networks.of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 100), nn.ReLU(), nn.Linear(100, 10)),
                             DATA).net
    assert compiles(wide) == can_compile()


def test_bf16_keeps_the_layout_that_a_view_needs():
    bf16 = RECIPE.but(precision="bf16")
    assert layout_of(lmcnb.Networks.of(Viewing(), DATA).net, bf16, None) == torch.contiguous_format
    assert layout_of(lmcnb.Networks.of(Own(), DATA).net, bf16, None) == torch.channels_last
    trained = lmcnb.Networks.of(Viewing(), DATA).train(DATA, bf16)
    assert trained.step == 2


def test_a_registered_network_is_tried_too():
    lmcnb.register_model("viewing, in a test", lambda net: Viewing())
    net = lmcnb.Net.of(DATA.train, "viewing, in a test")
    assert not fuses(net) and not quickens(net)
    assert lmcnb.Networks.initialise(net).train(DATA, RECIPE).step == 2


def test_statistics_are_measured_without_dropout():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 3),
                           nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 64, DATA.classes))
    networks = lmcnb.Networks.of(module, DATA)
    once, again = (recalibrated(networks, DATA.train).buffers for _ in range(2))
    assert all(torch.equal(once[n], again[n]) for n in once)
    module[3] = nn.Identity()
    without = recalibrated(lmcnb.Networks.of(module, DATA), DATA.train).buffers
    assert all(torch.equal(once[n], without[n]) for n in once)


def test_frozen_weights_are_not_trained_in_silence():
    module = Own()
    module.features.requires_grad_(False)
    with pytest.warns(UserWarning, match="features.0.weight, .* are frozen"):
        networks = lmcnb.Networks.of([module, Own()], DATA)
    assert networks[0].net == lmcnb.Networks.of(Own(), DATA).net, "of one architecture, to be measured"


def test_a_form_is_tried_on_what_a_mask_lets_through(fresh: None):
    assert not agrees(lmcnb.Networks.of(Masking(), DATA).net, fuse)


def test_an_answer_that_was_not_written_whole_is_asked_again(fresh: None, tmp_path: Path):
    net = lmcnb.Networks.of(Own(), DATA).net
    assert traces(net)
    [path] = tmp_path.glob("kernels/traces-*")
    path.write_text("")
    traces.cache_clear()
    assert traces(net) and path.read_text() == "yes"


def test_weights_of_other_types_are_told():
    with pytest.raises(ValueError, match=r"weights of torch.float64.*module.float\(\)"):
        lmcnb.Networks.of(Own().double(), DATA)
