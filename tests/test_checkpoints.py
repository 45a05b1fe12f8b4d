"""Two checkpoints of anybody's: state dicts, classifiers that return objects, and a verdict in one line."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torchvision
from helpers import NET, QUICK, identical, made_up, networks
from permuting import ViT, built
from scipy import stats
from torch import Tensor, nn

from lmcnb import Dataset, Networks, path
from lmcnb.measure.basin import judged, mistakes, rise
from lmcnb.measure.path import LinearPath

DATA = Dataset("noise", made_up(40, 10), made_up(600, 10, seed=1))


@dataclass
class Output:
    """As Hugging Face's classifiers return."""

    logits: Tensor
    hidden_states: None = None


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.vit = ViT()
        self.config = {"image_size": 8}

    def forward(self, pixel_values: Tensor) -> Output:
        return Output(self.vit(pixel_values))


def test_a_classifier_that_returns_an_object_is_one_that_returns_its_logits():
    modules, x = built(Classifier, 0, 1), DATA.test.normalised()
    plain, found = Networks.of([m.vit for m in modules], DATA), Networks.of(modules, DATA)
    assert torch.equal(found.evaluate(DATA.test).loss, plain.evaluate(DATA.test).loss)
    (again, _) = found.modules()
    assert isinstance(again(x), Output) and torch.equal(again(x).logits, modules[0](x).logits), "as it was given"
    assert Networks.of(found.modules(), DATA).net == found.net
    trained = [n.train(DATA, QUICK).params["vit.head.weight" if n is found else "head.weight"] for n in (found, plain)]
    assert torch.equal(*trained)
    free = Networks.of(modules)
    assert torch.equal(free.evaluate(DATA.test).loss, found.evaluate(DATA.test).loss), "and without data"
    measured = [path(n[0], n[1], DATA, [0, 0.5, 1], align="weights") for n in (found, plain)]
    assert identical(measured[0].tensors(), measured[1].tensors())


def test_state_dicts_are_the_modules_that_they_are_of():
    modules = built(ViT, 0, 1)
    whole = Networks.of(modules, DATA)
    states = [m.state_dict() for m in modules]
    wrapped = [{"model": states[0], "epoch": 3}, {"state_dict": {f"module.{n}": t for n, t in states[1].items()}}]
    for given in (states, wrapped, [modules[0], states[1]]):
        found = Networks.of(given, DATA, net=modules[0])
        assert found.net == whole.net and identical(found.params, whole.params)
    own = networks(NET, 0, 1)
    found = Networks.of([m.state_dict() for m in own.modules()], net=NET)
    assert found.net == NET and identical(found.params, own.params), "a network of the package stays one"
    half = {n: t.half() for n, t in states[0].items()}
    assert Networks.of(half, net=modules[0]).params["norm.weight"].dtype == torch.float32


def test_a_state_dict_of_something_else_is_refused_in_a_sentence():
    state = built(ViT, 0)[0].state_dict()
    with pytest.raises(ValueError, match="a state dict does not say what it is of: give net, a module or one of lmcnb"):
        Networks.of(state)
    with pytest.raises(ValueError, match=r'state dict is not of convnet3: Missing key\(s\) in state_dict: "0.weight"'):
        Networks.of(state, net=NET)
    with pytest.raises(ValueError, match=r"is known by its modules: give one of them as net, or networks.modules"):
        Networks.of(state, net=Networks.of(ViT(), DATA).net)
    larger = ViT(dim=8)
    with pytest.raises(ValueError, match="the state dict is not of ViT: size mismatch for cls_token"):
        Networks.of(state, net=larger)


def test_torchvisions_checkpoints_on_images_of_ones_own():
    def kind():
        return torchvision.models.ShuffleNetV2([2, 2, 2], [8, 8, 16, 32, 32], num_classes=10)
    data = Dataset("rgb", made_up(20, 10, channels=3, size=32), made_up(20, 10, channels=3, size=32, seed=1))
    a, b = Networks.of(built(kind, 0, 1), data)
    found = path(a, b, data, [0, 0.5, 1], align="weights", bn="recalibrate")
    assert found.test_loss.shape == (1, 3) and "test error rises by" in found.verdict()


def test_mistakes_are_those_of_the_modules():
    networks = Networks.of(built(ViT, 0, 1), DATA)
    found = mistakes(networks, DATA.test, batch=250)
    assert found.shape == (2, 600) and torch.equal(found.double().mean(1), networks.evaluate(DATA.test).error)
    soft = DATA.test.__class__(DATA.test.x, torch.eye(10)[DATA.test.y], DATA.test.mean, DATA.test.std, 10)
    assert torch.equal(mistakes(networks, soft), found)


def test_a_rise_is_the_barrier_and_its_interval_holds_what_it_says():
    """Paired: of images on which the networks of a path differ little, it is far narrower than of unlike ones."""
    generator = np.random.default_rng(0)
    true, held, widths = 0.03, 0, []
    for _ in range(400):
        ends = generator.random(1000) < 0.2
        middle = np.where(generator.random(1000) < 0.05, generator.random(1000) < 0.8, ends)  # 0.05 · (0.8 − 0.2) more
        top, low, high = rise(torch.from_numpy(np.stack([ends, middle, ends])))
        held += low <= true <= high
        widths.append(high - low)
        assert top == pytest.approx(max(0, middle.mean() - ends.mean()))
    assert held / 400 > stats.binom.ppf(0.001, 400, 0.95) / 400
    assert np.mean(widths) < 0.6 * 2 * 1.96 * np.sqrt(2 * 0.2 * 0.8 / 1000)


def test_verdicts_say_what_the_interval_says():
    rng = torch.Generator().manual_seed(0)
    ends = torch.rand(5000, generator=rng) < 0.1
    for share, words in ((0.0, "one basin"), (0.0225, "too close to call"), (0.2, "two basins")):
        middle = ends | (torch.rand(5000, generator=rng) < share)
        line = judged(rise(torch.stack([ends, middle, ends])), allowed=2)
        top = 100 * float(middle.double().mean() - ends.double().mean())
        assert line.startswith(f"{words}: test error rises by {top:.1f} [") and line.endswith("at most (2 allowed)")


def test_a_path_without_its_ends_has_a_picture_and_no_verdict():
    a, b = Networks.of(built(ViT, 0, 1), DATA)
    found = path(a, b, DATA, [0.25, 0.5, 0.75])
    assert repr(found) == "LinearPath(1 × 3 α)" and len(found.plot().lines[0].get_xdata()) == 3
    with pytest.raises(ValueError, match="alphas from 0 to 1"):
        found.verdict()


def test_a_path_gives_its_verdict_and_its_picture():
    a, b = Networks.of(built(ViT, 0, 1), DATA), Networks.of(built(ViT, 2, 3), DATA)
    found = path(a, b, DATA, [0, 0.5, 1])
    lines = found.verdict(allowed=50).splitlines()
    assert len(lines) == 2 and all(line.startswith("one basin: ") and "(50 allowed)" in line for line in lines)
    for line, height in zip(lines, found.barrier("test_error")):
        assert f"rises by {100 * float(height):.1f} [" in line
    with pytest.raises(ValueError, match="interval over images needs the networks: measure the path with lmcnb.path"):
        LinearPath(found.alphas, *(getattr(found, q) for q in ("train_loss", "train_error", "test_loss", "test_error"))
                   ).verdict()
    ax = found.plot("test_loss")
    assert [line.get_ydata().tolist() for line in ax.lines] == found.test_loss.tolist()
    assert ax.get_ylabel() == "test loss"
    with pytest.raises(ValueError, match="unknown quantity 'accuracy'"):
        found.plot("accuracy")
