"""Layers one at a time: paths by hand, the whole path as the last of them, and the stage that keeps them."""

import pytest
import torch
from helpers import BATCHNORM, NET, TRAIN, identical, made_up, networks
from permuting import ViT, built, drawn, with_batchnorm

from lmcnb import Dataset, Lab, Net, Networks, path
from lmcnb.kernel.training import evaluate
from lmcnb.measure import LayerPaths, layers_of, layerwise, permuted, recalibrated
from lmcnb.measure.path import QUANTITIES
from lmcnb.models import permutation_spec
from lmcnb.spec import SettingError
from lmcnb.stages import Layers

DATA = Dataset("noise", made_up(40, 10), made_up(30, 10, seed=1))
ALPHAS = [0, 0.25, 0.5, 1]


@pytest.fixture(scope="module", params=["instance norm", "batchnorm"])
def ends(request) -> tuple[Networks, Networks]:
    four = networks(NET, 0, 1, 2, 3)
    if request.param == "batchnorm":
        four = recalibrated(Networks.of(built(with_batchnorm, 0, 1, 2, 3), DATA), DATA.train)
    return four[:2], four[2:]


@pytest.mark.parametrize("net", [NET, BATCHNORM, Net(name="resnetap10", channels=1, size=64, width=2)],
                         ids=lambda n: n.name)
def test_every_tensor_is_in_one_layer(net: Net):
    found, start = layers_of(net), networks(net, 0)
    names = [n for layer in found.values() for n in layer]
    assert sorted(names) == sorted(start.params | start.buffers) and len(set(names)) == len(names)
    assert [f"{name}.weight" for name in found] == list(net.prunable)


def test_what_a_module_of_its_own_holds_is_a_layer_too():
    found = layers_of(Networks.of(ViT(), DATA).net)
    assert list(found)[:3] == ["cls_token", "patch_embed.proj", "blocks.0.attn.qkv"]
    assert found["cls_token"] == ("cls_token", "pos_embed") and "norm.weight" in found["blocks.1.mlp.fc2"]


@pytest.mark.parametrize("which", ["each", "cumulative"])
def test_paths_are_those_by_hand(ends, which: str):
    a, b = ends
    found, groups = layerwise(a, b, DATA, which, ALPHAS), layers_of(a.net)
    assert found.names == tuple(groups) and found.test_loss.shape == (2, 2, len(groups), 4)
    for way, (one, other) in enumerate(((a, b), (b, a))):
        for row in (0, len(groups) // 2):
            moving = [n for names in list(groups.values())[0 if which == "cumulative" else row:row + 1] for n in names]
            for column, alpha in enumerate(ALPHAS):
                mixed = [{n: (1 - alpha) * t + alpha * far[n] if n in moving and t.is_floating_point() else t
                          for n, t in near.items()} for near, far in ((one.params, other.params),
                                                                      (one.buffers, other.buffers))]
                scores = evaluate(a.net, *mixed, DATA.test)
                torch.testing.assert_close(found.test_loss[way, :, row, column], scores.loss, rtol=1e-5, atol=1e-6)
                assert torch.equal(found.test_error[way, :, row, column], scores.error)


@pytest.mark.parametrize("bn", ["lerp", "recalibrate"])
def test_all_layers_together_are_the_whole_path(ends, bn: str):
    a, b = ends
    found = layerwise(a, b, DATA, "cumulative", bn=bn)
    whole = [path(x, y, DATA, [0, 0.5, 1], bn=bn) for x, y in ((a, b), (b, a))]
    for q in QUANTITIES:
        assert torch.equal(getattr(found, q)[:, :, -1], torch.stack([getattr(w, q) for w in whole]))
        top = torch.stack([w.barrier(q) for w in whole]).mean(0)
        torch.testing.assert_close(found.barrier(q)[:, -1], top)


def test_barriers_by_hand():
    values = torch.tensor([[[[1.0, 2.0, 4.0], [1.0, 0.0, 3.0]]], [[[3.0, 7.0, 2.0], [3.0, 4.0, 5.0]]]]).double()
    found = LayerPaths(("one", "two"), torch.tensor([0, 0.5, 1]).double(), values, values, values, values)
    assert found.barrier().tolist() == [[(4 + 7) / 2 - 2, (3 + 5) / 2 - 2]]
    assert found.barrier("test_error", "midpoint").tolist() == [[(2 + 7) / 2 - 2, (0 + 4) / 2 - 2]]
    unknown = {("accuracy",): "unknown quantity 'accuracy'", ("test_loss", "chord"): "unknown convention 'chord'"}
    for name, message in unknown.items():
        with pytest.raises(ValueError, match=message):
            found.barrier(*name)
    ax = found.plot()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["one", "two"]
    assert ax.lines[0].get_ydata().tolist() == [3.5, 2.0]


@pytest.mark.parametrize("which", ["each", "cumulative"])
def test_a_verdict_is_over_images_and_both_ways(ends, which: str):
    a, b = ends
    found = layerwise(a, b, DATA, which, ALPHAS)
    wrong = found.mistakes()
    assert wrong.shape == (2, 2, len(found.names), len(ALPHAS), 30)
    assert torch.allclose(wrong.double().mean(-1), found.test_error)
    lines = found.verdict().splitlines()
    assert len(lines) == 2 * len(found.names) and lines[0].startswith(f"pair 0, {found.names[0]}: ")
    for line, height in zip(lines, 100 * found.barrier("test_error").flatten()):
        assert f"rises by {float(height):.1f} [" in line
    alone = layerwise(a[:1], b[:1], DATA, which, ALPHAS)
    assert alone.verdict().splitlines()[0] == lines[0].removeprefix("pair 0, ")
    with pytest.raises(ValueError, match="measure with lmcnb.measure.layerwise"):
        LayerPaths(("one",), torch.tensor([0.0, 1.0]), *4 * [torch.zeros(2, 1, 1, 2)]).verdict()


def test_a_permuted_copy_has_no_layer_apart_when_aligned():
    a = networks(NET, 0)
    b = permuted(a, drawn(permutation_spec(NET)))
    assert float(layerwise(a, b, DATA).barrier("test_loss").abs().max()) > 1e-4
    assert float(layerwise(a, b, DATA, align="weights").barrier("test_loss").abs().max()) == 0


def test_what_cannot_be_is_refused_in_a_sentence():
    a = networks(NET, 0)
    with pytest.raises(ValueError, match="layers must be each or cumulative; got 'all'"):
        layerwise(a, a, DATA, "all")
    for alphas in ([0.5, 1], [0]):
        with pytest.raises(ValueError, match="alphas must begin with 0, the network whose layers move, and go on; got"):
            layerwise(a, a, DATA, alphas=alphas)
    with pytest.raises(ValueError, match="the midpoint barrier needs α = 0.5"):
        layerwise(a, a, DATA, alphas=[0, 1]).barrier(convention="midpoint")
    with pytest.raises(ValueError, match="as many networks at either end, of one architecture"):
        layerwise(a, networks(NET, 0, 1), DATA)
    with pytest.raises(SettingError, match="a and b are one training, and a path needs two"):
        Layers(net=NET, a=TRAIN, b=TRAIN)


def test_the_lab_keeps_what_is_measured(lab: Lab, digits):
    spec = Layers(net=NET, a=TRAIN, b=TRAIN.but(seed=1), train_images=60, test_images=50)
    found = layerwise(lab.load(spec.a), lab.load(spec.b), digits.first(60, 50))
    assert identical(lab.get(spec).tensors, found.tensors())
    table = lab.table([spec])
    curve = table.select(quantity="test_loss", layer="4", rest="b")
    assert curve["value"].tolist() == found.test_loss[1, 0, 1].tolist() and curve["alpha"].tolist() == [0, 0.5, 1]
    heights = table.select(quantity="train_loss layer barrier, midpoint")
    assert heights["layer"].tolist() == ["0", "4", "8", "13"]
    assert heights["value"].tolist() == found.barrier("train_loss", "midpoint")[0].tolist()
    assert spec.cost(lab.dataset) == 2 * 9 * 110 / 3
    one = spec.but(layers="cumulative", points=2)
    assert lab.get(one).result["barrier"]["test_loss"].keys() == {"frankle"} and lab.key(one) != lab.key(spec)
