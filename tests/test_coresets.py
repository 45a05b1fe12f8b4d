"""Chosen sets: real images, as a brute-force search would choose them."""

import pytest
import torch
from helpers import BATCHNORM, module
from tiny_methods import CHOSEN, DATA, THREE
from torch import nn

from lmcnb import DM, IDC, Herding, KCenter, Net, Networks, Recipe, SoftLabels, load
from lmcnb.distill import RDED
from lmcnb.distill.coresets import cover, herd
from lmcnb.kernel.inside import features
from lmcnb.kernel.recipe import seeded
from lmcnb.models import initialise


@pytest.mark.parametrize("net", [THREE, BATCHNORM.but(classes=3)], ids=lambda n: n.name)
def test_features_are_the_input_of_the_last_layer(net: Net):
    params, buffers = initialise(net, 0)
    x = torch.randn(5, 1, 8, 8)
    found = features(net)(params, {n: b.clone() for n, b in buffers.items()}, x)
    weight, bias = (params[n] for n in list(params)[-2:])
    model = module(net, params, buffers).train()
    torch.testing.assert_close(found @ weight.T + bias, model(x).detach(), atol=1e-5, rtol=1e-5)


def test_herding_chooses_as_a_brute_force_search_does():
    points, chosen = torch.randn(12, 3, generator=seeded(0)), []
    for _ in range(6):
        rest = [i for i in range(12) if i not in chosen]
        chosen.append(min(rest, key=lambda i: float((points[[*chosen, i]].mean(0) - points.mean(0)).norm())))
    assert herd(points, 6).tolist() == chosen
    assert sorted(herd(points, 12).tolist()) == list(range(12))


def test_chosen_sets_hold_real_images_of_their_class():
    for method in (m.but(ipc=3) for m in CHOSEN):
        found = method.distill(DATA, THREE, 0)
        for image, label in zip(found.images, found.labels, strict=True):
            same = (DATA.train.x.float() / 255 == image).flatten(1).all(1)
            assert DATA.train.y[same].tolist() == [int(label)]
        assert len(found.images.unique(dim=0)) == 9


def test_k_center_chooses_as_a_brute_force_search_does():
    points = torch.randn(12, 3, generator=seeded(0))
    chosen = [int((points - points.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < 6:
        rest = [i for i in range(12) if i not in chosen]
        chosen.append(max(rest, key=lambda i: float(torch.cdist(points[[i]], points[chosen]).min())))
    assert cover(points, 6).tolist() == chosen
    assert sorted(cover(points, 12).tolist()) == list(range(12))
    assert sorted(cover(torch.zeros(4, 2), 4).tolist()) == [0, 1, 2, 3]  # duplicates are still different images


TAUGHT = RDED(ipc=2, candidates=20, crops=3, teacher=Recipe(epochs=2, batch=32, lr=0.1, augment="none", cutmix=0))


def test_rded_takes_the_patches_that_its_teacher_is_surest_of():
    found = TAUGHT.distill(DATA, THREE, 0)
    decoded, other = found.decoded(), TAUGHT.but(candidates=8).distill(DATA, THREE, 0).decoded()
    labels = SoftLabels(of=TAUGHT, teacher=TAUGHT.teacher).distill(DATA, THREE, 0).labels  # of the same teacher
    sure = labels.gather(1, decoded.y[:, None]).squeeze(1)
    # Tiles of an image lie in the order of their loss, row by row; images of a class one after another.
    ranked = sure.view(2, 2, 3, 2).permute(2, 3, 0, 1).reshape(3, 8)  # [classes, ipc · factor²]
    assert bool((ranked.diff(dim=1) <= 1e-5).all()), "patches are in the order of the teacher's certainty"
    plain = SoftLabels(of=TAUGHT.but(candidates=8, crops=1), teacher=TAUGHT.teacher).distill(DATA, THREE, 0)
    unchosen = plain.labels.gather(1, other.y[:, None]).mean()
    assert sure.mean() > unchosen, "more candidates leave surer patches"
    assert torch.equal(found.images, TAUGHT.distill(DATA, THREE, 0).images)


@pytest.mark.parametrize("candidates", [7, 10_000])
def test_rded_says_how_many_candidates_it_needs(candidates: int):
    with pytest.raises(ValueError, match="candidates must lie between the 8 patches"):
        TAUGHT.but(candidates=candidates).distill(DATA, THREE, 0)


def test_a_method_is_not_made_by_anothers_kind():
    with pytest.raises(ValueError, match="kind of a Herding is 'herding'; got 'k-center'"):
        Herding(kind="k-center")
    assert Herding().key != KCenter().key


@pytest.mark.parametrize(("method", "words"), [(IDC(ipc=1), "matched on convolutions.*has none"),
                                               (DM(ipc=1), "has none: take a convnet"), (Herding(ipc=1), "has none")])
def test_a_network_that_is_unfit_is_told_before_anything_is_trained(method, words: str):
    data = load("digits").first(train=300, test=20)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) if "convolutions" in words else \
        nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    with pytest.raises(ValueError, match=words):
        method.check(data, Networks.of(flat, data).net)
