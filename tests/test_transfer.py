"""Transfer: fitted images against Pillow's resizing, the probe against a pipeline written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import made_up, module
from PIL import Image
from torch import nn

from lmcnb import Images, Net, Networks
from lmcnb.measure.probe import fitted, probe
from lmcnb.params import select

NET = Net(name="convnet2", channels=1, size=8, width=6, classes=10)


def through_pillow(images: Images, size: int, mode: str) -> torch.Tensor:
    kept = []
    for row in images.x.permute(0, 2, 3, 1).numpy():
        image = Image.fromarray(row.squeeze(-1) if row.shape[-1] == 1 else row).convert(mode)
        kept.append(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, -1))
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("channels", "size", "to", "mode"), [(3, 32, (3, 20), "RGB"), (3, 32, (1, 8), "L"),
                                                              (1, 8, (3, 32), "RGB"), (1, 8, (1, 11), "L")])
def test_fitted_images_are_pillows(channels: int, size: int, to: tuple, mode: str):
    images = made_up(5, channels=channels, size=size)
    found = fitted(images, *to)
    expected = through_pillow(images, to[1], mode)
    assert found.x.dtype == torch.uint8 and found.shape == (*to[:1], to[1], to[1])
    assert int((found.x.int() - expected.int()).abs().max()) <= 2, "each of grey, rows and columns may round"
    assert torch.equal(found.y, images.y) and found.classes == images.classes


def test_images_that_fit_stay_as_they_are():
    images = made_up(5, channels=3, size=16)
    found = fitted(images, 3, 16)
    assert torch.equal(found.x, images.x) and torch.equal(found.mean, images.mean)


def test_float_images_stay_float_and_in_range():
    raw = made_up(5, channels=3, size=16)
    found = fitted(Images(raw.x / 255, raw.y, raw.mean, raw.std, 2), 1, 8)
    assert found.x.dtype == torch.float32 and 0 < float(found.x.min()) < float(found.x.max()) < 1
    assert float((found.x * 255 - fitted(raw, 1, 8).x).abs().max()) < 3


def test_the_centre_is_cut_from_the_shorter_side():
    raw = made_up(3, size=12)
    wide = torch.zeros(3, 1, 12, 20, dtype=torch.uint8)
    wide[..., 4:16] = raw.x
    found = fitted(Images(wide, raw.y, raw.mean, raw.std, 2), 1, 12)
    assert torch.equal(found.x, raw.x)


def test_the_normalisation_follows_the_channels_or_is_the_sources():
    raw = made_up(4, channels=3)
    mean, std = torch.tensor([0.2, 0.5, 0.7]), torch.tensor([0.1, 0.3, 0.2])
    colour = Images(raw.x, raw.y, mean, std, 2)
    grey = fitted(colour, 1, 8)
    weights = torch.tensor([0.299, 0.587, 0.114])
    assert float(grey.mean) == pytest.approx(float(weights @ mean), abs=1e-3)
    assert float(grey.std) == pytest.approx(float(weights @ std), abs=1e-3)
    assert fitted(grey, 3, 8).mean.tolist() == pytest.approx([float(grey.mean)] * 3)
    source = made_up(2, channels=1, size=16)
    moved = fitted(colour, 1, 16, source=source)
    assert torch.equal(moved.mean, source.mean) and torch.equal(moved.std, source.std)
    assert torch.equal(moved.normalised(), (moved.x / 255 - 0.5) / 0.25)


def by_hand(network: Networks, train: Images, test: Images, C: float) -> float:
    """The accuracy of features from a plain module, standardised, and a regression by torch's own L-BFGS."""
    one = module(network.net, select(network.params, 0), select(network.buffers, 0))
    head = list(one.eval().children())[:-1]
    with torch.no_grad():
        # Behind a ResNet's blocks comes an average over the single pixel that is left: nothing.
        a, b = (nn.Sequential(*head)(images.normalised()).flatten(1).double() for images in (train, test))
    mean, std = a.mean(0), a.std(0, unbiased=False)
    a, b = ((v - mean) / torch.where(std > 0, std, 1) for v in (a, b))
    weight = torch.zeros(train.classes, a.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(train.classes, dtype=torch.double, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=1000, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        misfit = nn.functional.cross_entropy(a @ weight.T + bias, train.y, reduction="sum")
        value = C * misfit + weight.square().sum() / 2
        value.backward()
        return value
    solver.step(loss)
    return float(((b @ weight.T + bias).argmax(1) == test.y).double().mean())


@pytest.mark.parametrize("net", [NET, NET.but(name="resnet10", width=2), NET.but(classes=3)],
                         ids=["instance norm", "batch norm", "other classes"])
def test_the_probe_is_a_regression_on_frozen_features(net: Net, digits):
    train, test = digits.train.subset(slice(0, 300)), digits.test.subset(slice(0, 300))
    fresh = Networks.initialise(net, [0])
    buffers = {n: 0.1 * b + 0.01 if b.is_floating_point() else b for n, b in fresh.buffers.items()}
    network, before = replace(fresh, buffers=buffers), {n: b.clone() for n, b in buffers.items()}
    found = probe(network, train, test, C=0.3)
    assert found == pytest.approx(by_hand(network, train, test, 0.3), abs=1.01 / 300)
    assert 0.3 < found < 1, "random features tell digits apart, more or less"
    assert all(torch.equal(before[n], b) for n, b in network.buffers.items())
    assert probe(network, train, test, C=0.3, batch=64) == pytest.approx(found, abs=1.01 / 300)
    assert probe(network, train, test, C=0.3) == found


def test_the_penalty_and_the_weights_matter(digits):
    train, test = digits.train.subset(slice(0, 300)), digits.test.subset(slice(0, 300))
    network = Networks.initialise(NET, [0])
    free, bound = (probe(network, train, test, C=c) for c in (1.0, 1e-7))
    assert free > bound + 0.1
    dead = replace(network, params={n: torch.zeros_like(p) for n, p in network.params.items()})
    assert probe(dead, train, test) < 0.2, "without features only the commonest class is left"


def test_soft_labels_count_their_likeliest_class(digits):
    train, test = digits.train.subset(slice(0, 300)), digits.test.subset(slice(0, 300))
    soft = Images(train.x, 0.6 * nn.functional.one_hot(train.y, 10) + 0.04, train.mean, train.std, 10)
    network = Networks.initialise(NET, [0])
    assert probe(network, soft, test) == probe(network, train, test)


def test_bad_input_names_the_fix():
    with pytest.raises(ValueError, match="2 channels cannot be fitted to 3: grey images fit any number"):
        fitted(made_up(4, channels=2), 3, 8)
    network = Networks.initialise(NET, [0])
    with pytest.raises(ValueError, match=r"pass fitted\(images, channels=1, size=8, source="):
        probe(network, made_up(size=16), made_up(size=16))
    with pytest.raises(ValueError, match="one class"):
        probe(network, made_up(classes=1), made_up())
    with pytest.raises(ValueError, match=r"a probe is of one network; got 2: take networks\[k\]"):
        probe(network[[0, 0]], made_up(), made_up())
