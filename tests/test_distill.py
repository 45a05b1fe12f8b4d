"""Distillation: each piece against the plain loop it stands for, and whole methods resumed, seeded and refused."""

import pytest
import torch
import torch.nn.functional as F
from helpers import BATCHNORM, NET, QUICK, apart, double, made_up, module
from torch import nn

from lmcnb import (
    DC,
    DM,
    DSA,
    IDC,
    MTT,
    Dataset,
    EarlyIDC,
    Herding,
    Images,
    KCenter,
    Net,
    RandomReal,
    SoftLabels,
    register_model,
)
from lmcnb.distill import METHODS, Distilled, decode
from lmcnb.distill.base import Method, choose_real, mix, real_pixels
from lmcnb.distill.coresets import cover, herd
from lmcnb.distill.dm import matcher as dm_matcher
from lmcnb.distill.early import perturbed
from lmcnb.distill.matching import matcher as idc_matcher
from lmcnb.distill.matching import sweep
from lmcnb.kernel.augment import AUGMENTS, apply
from lmcnb.kernel.inside import class_gradients, features
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.step import State
from lmcnb.models import MODELS, initialise
from lmcnb.params import stack

DATA = Dataset("made up", made_up(60, 3, seed=0), made_up(30, 3, seed=1))
THREE = NET.but(classes=3)
AP = Net(name="resnetap10", channels=1, size=64, classes=3, width=2)
IDC_TINY = IDC(ipc=2, factor=2, outer=3, inner=2, net_steps=3, real_batch=6, synthetic_batch=5, lr_image=1,
               recipe=QUICK.but(batch=8))
DM_TINY = DM(ipc=2, iterations=5, real_batch=6, checkpoint_every=2)
EARLY_TINY = EarlyIDC(**{**dict(IDC_TINY), "kind": "idc-early", "net_steps": 0}, pool=2, early_epochs=1)
DC_TINY = DC(ipc=2, iterations=3, outer=2, inner=2, real_batch=6)
DSA_TINY = DSA(ipc=2, iterations=3, outer=2, inner=2, real_batch=6)
MTT_TINY = MTT(ipc=2, iterations=5, steps=3, ahead=1, max_start=2, expert_count=2, checkpoint_every=2, lr_image=10,
               expert=QUICK.but(epochs=2, batch=8, momentum=0))
SOFT_TINY = SoftLabels(of=RandomReal(ipc=2), teacher=QUICK)
LEARNED = [IDC_TINY, EARLY_TINY, DC_TINY, DSA_TINY, DM_TINY, MTT_TINY]
KEPT = ("dc", "dsa", "dm", "mtt")  # learned in normalised pixels, and kept where they leave 0…1
CHOSEN = [RandomReal(ipc=2), Herding(ipc=2, recipe=QUICK), KCenter(ipc=2, recipe=QUICK)]


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_decoding_upsamples_each_tile_all_first_tiles_first(factor: int, size: int):
    images = torch.rand(4, 3, size, size)
    padded = F.pad(images, (0, -size % factor) * 2, value=0.5)
    side, expected = padded.shape[-1] // factor, []
    for row in range(factor):
        for column in range(factor):
            for image in padded:
                tile = image[:, row * side:(row + 1) * side, column * side:(column + 1) * side]
                expected.append(F.interpolate(tile[None], (size, size), mode="bilinear", align_corners=False)[0])
    torch.testing.assert_close(decode(images, factor), torch.stack(expected))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_decoded_set_has_the_label_of_each_tile(factor: int):
    images = torch.arange(6.0).div(6).view(6, 1, 1, 1).expand(6, 1, 6, 6)  # two of each of three classes
    found = RandomReal(ipc=2, factor=factor).result(DATA, images.view(3, 2, 1, 6, 6), 0)
    decoded = found.decoded()
    assert len(decoded) == 6 * factor ** 2 and found.ipc == 2
    assert torch.equal((decoded.x[:, 0, 3, 3] * 6 + 0.01).long() // 2, decoded.y)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_mix_tiles_shrunken_real_images_of_the_class(factor: int):
    """8 pixels at factor 3 are tiles of 3, 3 and 2: the last ones too hold whole images, of which decoding is made."""
    pixels = mix(DATA.train, 2, factor, seed=0)
    assert pixels.shape == (3, 2, 1, 8, 8) and float(pixels.min()) >= 0 and float(pixels.max()) <= 1
    index, side = choose_real(DATA.train, 2 * factor ** 2, seeded("start", 0)), -(-8 // factor)
    decoded = decode(pixels.flatten(0, 1), factor).unflatten(0, (factor ** 2, 3, 2))
    assert (DATA.train.y[index] == torch.arange(3)[:, None]).all()
    assert all(len(set(row.tolist())) == 2 * factor ** 2 for row in index)
    for c in range(3):
        for i in range(2):
            canvas = torch.zeros(1, 8, 8)
            for t in range(factor ** 2):
                real = DATA.train.x[index[c, i * factor ** 2 + t]] / 255
                row, column = t // factor * side, t % factor * side
                high, wide = min(side, 8 - row), min(side, 8 - column)
                small = F.interpolate(real[None], (high, wide), mode="nearest")
                canvas[:, row:row + high, column:column + wide] = small[0]
                grey = F.pad(small, (0, side - wide, 0, side - high), value=0.5)
                whole = real if factor == 1 else F.interpolate(grey, (8, 8), mode="bilinear")[0]
                torch.testing.assert_close(decoded[t, c, i], whole)
            assert torch.equal(pixels[c, i], canvas)


def test_an_image_too_small_for_its_tiles_is_refused():
    tiny = Dataset("tiny", made_up(60, 3, size=4), made_up(30, 3, size=4))
    with pytest.raises(ValueError, match="images of 4 pixels do not hold 3 × 3 smaller ones: lower factor"):
        RandomReal(ipc=2, factor=3).check(tiny, THREE)


@pytest.mark.parametrize("linear", [False, True], ids=["convolutions", "linear too"])
@pytest.mark.parametrize("net", [THREE, AP], ids=lambda n: n.name)
def test_class_gradients_equal_one_autograd_call_a_class(net: Net, linear: bool):
    params = double(initialise(net, 0)[0])
    x, y = torch.randn(3, 4, 1, net.size, net.size).double(), torch.arange(3)[:, None].expand(3, 4)
    found = class_gradients(net, linear)(params, x, y)
    model = module(net, params, {})
    kinds = (torch.nn.Conv2d, torch.nn.Linear) if linear else torch.nn.Conv2d
    weights = [m.weight for m in model.modules() if isinstance(m, kinds)]
    assert len(found) == len(weights)
    for c in range(3):
        expected = torch.autograd.grad(F.cross_entropy(model(x[c]), y[c]), weights)
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine[c], theirs, atol=1e-10, rtol=1e-10)


class Winding(nn.Module):
    """Layers defined in another order than they run in, one that runs twice, two of one weight, all kinds of padding,
    a linear layer on tokens."""

    def __init__(self, net: Net):
        super().__init__()
        self.head = nn.Linear(4, net.classes)
        self.twice = nn.Conv2d(4, 4, 3, padding="same")
        self.tokens = nn.Linear(4, 4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", bias=False)
        self.twin = nn.Conv2d(4, 4, 3, stride=2, bias=False)
        self.twin.weight = self.second.weight
        self.unused = nn.Conv2d(1, 1, 1)
        self.first = nn.Conv2d(net.channels, 4, 3, padding=1)

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)))
        x = self.twice(torch.sigmoid(self.twice(x)))
        x = self.tokens(torch.tanh(self.twin(x)).flatten(2).transpose(1, 2))
        return self.head(x.square().mean(1))


@pytest.fixture
def winding():
    register_model("winding-for-test", Winding)
    yield THREE.but(name="winding-for-test")
    MODELS.pop("winding-for-test")


def test_class_gradients_are_right_whatever_the_order_of_the_layers(winding: Net):
    model = Winding(winding).double()
    params = {n: p.detach() for n, p in model.named_parameters()}
    x, y = torch.randn(3, 4, 1, 8, 8, generator=seeded(0)).double(), torch.arange(3)[:, None].expand(3, 4)
    for linear, layers in ((False, "first second twice"), (True, "first second twice tokens head")):
        weights = [model.get_submodule(n).weight for n in layers.split()]
        found = class_gradients(winding, linear)(params, x, y)
        for c in range(3):
            expected = torch.autograd.grad(F.cross_entropy(model(x[c]), y[c]), weights)
            for mine, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(mine[c], theirs, atol=1e-10, rtol=1e-10)


def test_methods_run_on_such_a_network_and_say_what_they_need(winding: Net):
    for method in (IDC_TINY, DSA_TINY, DM_TINY):
        assert torch.isfinite(method.but(factor=1).distill(DATA, winding, 0).images).all()
    register_model("no-linear-for-test", lambda net: nn.Sequential(nn.Conv2d(1, net.classes, net.size), nn.Flatten()))
    try:
        for method in (DM_TINY, CHOSEN[1]):
            with pytest.raises(ValueError, match="last linear layer, and no-linear-for-test has none: take a convnet"):
                method.distill(DATA, THREE.but(name="no-linear-for-test"), 0)
    finally:
        MODELS.pop("no-linear-for-test")


def test_dm_under_batchnorm_normalises_over_all_classes_in_one_batch():
    net = BATCHNORM.but(classes=3)
    params, buffers = (double(d) for d in initialise(net, 0))
    x, real = torch.randn(3, 2, 1, 8, 8).double(), torch.randn(3, 6, 1, 8, 8).double()
    draws = {"affine": torch.eye(2, 3).expand(3, 1, 2, 3).clone().double(), "colour": torch.full((3, 1, 3), 0.5),
             "cutout": torch.full((3, 1, 2), -8)}
    before = {n: b.clone() for n, b in buffers.items()}
    grad, value = dm_matcher(net, 1, False)(params, buffers, x, real, draws)
    assert apart(buffers, before) == 0
    model, leaf = module(net, params, buffers).train(), x.clone().requires_grad_()
    model[-1][-1] = nn.Identity()
    ends = [model(v.flatten(0, 1)).unflatten(0, (3, -1)).mean(1) for v in (real, leaf)]
    total = (ends[0].detach() - ends[1]).square().sum()
    torch.testing.assert_close(value, total.detach(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(grad, torch.autograd.grad(total, leaf)[0], atol=1e-10, rtol=1e-8)
    assert torch.isfinite(DM_TINY.distill(DATA, net, 0).images).all()


def test_batchnorm_is_refused_before_any_matching():
    with pytest.raises(ValueError, match="resnet10 has BatchNorm: distill with a convnet or resnetap10"):
        class_gradients(BATCHNORM)
    for method in (IDC_TINY, DC_TINY):
        with pytest.raises(ValueError, match="BatchNorm"):
            method.distill(DATA, BATCHNORM.but(classes=3), 0)


@pytest.mark.parametrize("distance", ["l2", "l1"])
def test_the_idc_match_equals_a_plain_loop_over_classes(distance: str):
    method, train = IDC_TINY.but(distance=distance), double(DATA.train)
    params, pixels = double(initialise(THREE, 0)[0]), mix(DATA.train, 2, 2, 0).double()
    real, pick, draws = method._draw(train, seeded(1))
    assert pick.shape == (3, 5) and (train.y[real] == torch.arange(3)[:, None]).all()
    match = idc_matcher(THREE, 2, distance, False)
    grads, losses = match(params, pixels, real_pixels(train, real), pick, torch.arange(3)[:, None], draws, train.mean,
                          train.std)
    sweep = method.sweep(train, THREE, params, pixels, seeded(1))
    torch.testing.assert_close(sweep[0], grads, atol=1e-10, rtol=1e-9)  # one class at a time or all at once
    model = module(THREE, params, {})
    weights = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    for c in range(3):
        own, given = pixels[c].clone().requires_grad_(), {n: d[c] for n, d in draws.items()}

        def gradient(x: torch.Tensor, c=c, given=given):
            x = apply(AUGMENTS["match"], (x - 0.5) / 0.25, given)
            loss = F.cross_entropy(model(x), torch.full((len(x),), c))
            return torch.autograd.grad(loss, weights, create_graph=True)
        target = [g.detach() for g in gradient(train.x[real[c]])]
        apart_by = [a - b for a, b in zip(target, gradient(decode(own, 2)[pick[c]]), strict=True)]
        loss = sum(d.square().sum() if distance == "l2" else d.abs().sum() for d in apart_by)
        torch.testing.assert_close(losses[c], loss.detach(), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(grads[c], torch.autograd.grad(loss, own)[0], atol=1e-10, rtol=1e-8)


def test_an_idc_update_equals_one_optimiser_that_holds_all_classes():
    method, classes, sweeps = IDC(ipc=2, lr_image=0.3, momentum=0.6), 4, 5
    gradients = torch.randn(sweeps, classes, 2, 1, 3, 3, generator=seeded(0)).double()
    start = torch.randn(classes, 2, 1, 3, 3, generator=seeded(1)).double()
    pixels = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.SGD([pixels], lr=0.3 * 2 / 10, momentum=0.6)
    seen = torch.empty(sweeps, classes, 2, 1, 3, 3).double()
    for s in range(sweeps):
        for c in range(classes):
            seen[s, c] = pixels.detach()[c]  # what the class looks like at its turn
            pixels.grad = torch.zeros_like(pixels)
            pixels.grad[c] = gradients[s, c]
            optimiser.step()
    mine, velocity = start, torch.zeros_like(start)
    for s in range(sweeps):
        torch.testing.assert_close(mine, seen[s], atol=1e-12, rtol=1e-12)
        mine, velocity = method.update(mine, velocity, gradients[s])


@pytest.mark.parametrize("factor", [1, 2])
def test_the_dm_gradient_equals_plain_autograd(factor: int):
    params, buffers = double(initialise(THREE, 0)[0]), {}
    x, real = torch.randn(3, 2, 1, 8, 8).double(), torch.randn(3, 6, 1, 8, 8).double()
    draws = {"affine": torch.eye(2, 3).expand(3, 1, 2, 3).clone(), "colour": torch.full((3, 1, 3), 0.5),
             "cutout": torch.tensor([[[0, 0]], [[-8, -8]], [[3, 2]]])}
    draws["colour"][1] = torch.tensor([0.9, 0.2, 0.7])
    grad, value = dm_matcher(THREE, factor, False)(params, buffers, x, real, draws)
    model, total = module(THREE, params, {})[:-1], 0
    leaf = x.clone().requires_grad_()
    for c in range(3):
        given = {n: d[c] for n, d in draws.items()}
        mean = [model(apply(AUGMENTS["dsa_matching"], i, given)).mean(0) for i in (real[c], decode(leaf[c], factor))]
        total = total + (mean[0].detach() - mean[1]).square().sum()
    torch.testing.assert_close(value, total.detach(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(grad, torch.autograd.grad(total, leaf)[0], atol=1e-10, rtol=1e-8)


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


def test_one_large_outer_drift_stays_in_range_and_moves_the_pixels():
    found = IDC_TINY.but(lr_image=500).distill(DATA, THREE, 0)
    assert float(found.images.min()) == 0 and float(found.images.max()) == 1
    assert not torch.equal(found.images.view(3, 2, 1, 8, 8), mix(DATA.train, 2, 2, 0))


def test_matching_brings_the_gradients_together():
    method = IDC_TINY.but(outer=1, inner=1, net_steps=0, lr_image=5)
    params, pixels = initialise(THREE, 0)[0], mix(DATA.train, 2, 2, 0)
    velocity, losses = torch.zeros_like(pixels), []
    for _ in range(20):
        grad, loss = method.sweep(DATA.train, THREE, params, pixels, seeded(0))  # one batch, one augmentation
        pixels, velocity = method.update(pixels, velocity, grad)
        losses.append(float(loss.sum()))
    assert losses[-1] < 0.7 * losses[0]


RESUMED = {m.kind: m for m in LEARNED} | {"pretrained": IDC_TINY.but(pretrain_epochs=1)}


@pytest.mark.parametrize("method", RESUMED.values(), ids=RESUMED)
def test_distillation_resumes_to_the_same_bytes(method: Method):
    kept = []
    whole = method.distill(DATA, THREE, 0, checkpoint=lambda t: kept.append({n: v.clone() for n, v in t.items()}))
    assert len(kept) == 3
    for state in kept:
        again = method.distill(DATA, THREE, 0, state=state)
        assert torch.equal(again.images, whole.images) and torch.equal(again.labels, whole.labels)
        assert again.lr == whole.lr
    torch.manual_seed(99)
    assert torch.equal(method.distill(DATA, THREE, 0).images, whole.images)


@pytest.mark.parametrize("method", [*LEARNED, *CHOSEN], ids=lambda m: m.kind)
def test_every_method_gives_a_set_of_its_size_that_depends_on_the_seed_alone(method: Method):
    before = torch.random.get_rng_state()
    first, again, other = (method.distill(DATA, THREE, s) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert first.images.shape == (6, 1, 8, 8) and first.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert first.images.dtype == torch.float32
    assert method.kind in KEPT or (float(first.images.min()) >= 0 and float(first.images.max()) <= 1)
    assert torch.equal(first.mean, DATA.train.mean) and first.factor == method.factor


def test_chosen_sets_hold_real_images_of_their_class():
    for method in (m.but(ipc=3) for m in CHOSEN):
        found = method.distill(DATA, THREE, 0)
        for image, label in zip(found.images, found.labels, strict=True):
            same = (DATA.train.x.float() / 255 == image).flatten(1).all(1)
            assert DATA.train.y[same].tolist() == [int(label)]
        assert len(found.images.unique(dim=0)) == 9


def test_data_points_count_the_real_images_looked_at():
    assert IDC_TINY.data_points(3) == 3 * 2 * (3 * 6 + 3 * 8)
    assert RandomReal(ipc=2).distill(DATA, THREE, 0).data_points == 0
    assert DM_TINY.distill(DATA, THREE, 0).data_points == 5 * 6 * 3
    assert DSA_TINY.distill(DATA, THREE, 0).data_points == 3 * 2 * 6 * 3
    assert EARLY_TINY.distill(DATA, THREE, 0).data_points == 3 * 2 * 3 * 6 + 2 * 1 * 60
    assert MTT_TINY.distill(DATA, THREE, 0).data_points == 2 * 2 * 60
    assert SOFT_TINY.distill(DATA, THREE, 0).data_points == 64  # two steps of 32


@pytest.mark.parametrize("method", [IDC(ipc=6, factor=2), DM(ipc=21), RandomReal(ipc=21), Herding(ipc=21)],
                         ids=lambda m: m.kind)
def test_more_images_than_a_class_has_are_refused_by_name(method: Method):
    with pytest.raises(ValueError, match=rf"ipc {method.ipc} .*smallest class of made up has 20: lower ipc"):
        method.distill(DATA, THREE, 0)


def test_the_methods_are_listed_under_their_kind():
    assert {name: cls.model_fields["kind"].default for name, cls in METHODS.items()} == {n: n for n in METHODS}
    assert apart({"x": torch.ones(1)}, {"x": torch.zeros(1)}) == 1 and isinstance(DATA.train, Images)


def test_a_distillation_that_diverges_names_its_rate(digits):
    method = IDC(ipc=1, outer=1, inner=3, net_steps=1, lr_image=1e30)
    with pytest.raises(FloatingPointError, match="lr_image"):
        method.distill(digits, Net.of(digits.train, "convnet2", 4), 0)


def test_the_cosine_match_equals_a_plain_loop_over_classes_layers_and_rows():
    method, train = DSA_TINY, double(DATA.train)
    params = double(initialise(THREE, 0)[0])
    x = torch.randn(3, 2, 1, 8, 8, generator=seeded(0)).double()
    real = torch.randn(3, 6, 1, 8, 8, generator=seeded(1)).double()
    draws = {"affine": torch.eye(2, 3).expand(3, 1, 2, 3).clone(), "colour": torch.full((3, 1, 3), 0.5),
             "cutout": torch.tensor([[[0, 0]], [[-8, -8]], [[3, 2]]])}
    draws["colour"][1] = torch.tensor([0.9, 0.2, 0.7])
    match = idc_matcher(THREE, 1, "cosine", False, method.augment, linear=True)
    grads, losses = sweep(match, params, x, real, torch.arange(2).expand(3, 2), draws, torch.zeros(1), torch.ones(1))
    model = module(THREE, params, {})
    weights = [p for p in model.parameters() if p.ndim >= 2]
    assert len(weights) == 4 and train.classes == 3
    for c in range(3):
        leaf, given = x[c].clone().requires_grad_(), {n: d[c] for n, d in draws.items()}

        def gradient(images: torch.Tensor, c=c, given=given):
            logits = model(apply(AUGMENTS["dsa_matching"], images, given))
            return torch.autograd.grad(F.cross_entropy(logits, torch.full((len(images),), c)), weights,
                                       create_graph=True)
        loss = 0
        for a, b in zip(gradient(real[c]), gradient(leaf), strict=True):
            for row in range(len(a)):
                one, other = a[row].flatten().detach(), b[row].flatten()
                loss = loss + 1 - one @ other / (one.norm() * other.norm() + 1e-6)
        torch.testing.assert_close(losses[c], loss.detach(), atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(grads[c], torch.autograd.grad(loss, leaf)[0], atol=1e-9, rtol=1e-7)


def test_dc_starts_from_noise_and_dsa_from_real_images():
    for method, real in ((DC_TINY, False), (DSA_TINY, True)):
        found = method.but(iterations=1, outer=1, lr_image=1e-9).distill(DATA, THREE, 0).images
        near = torch.isclose(found, mix(DATA.train, 2, 1, 0).flatten(0, 1), atol=1e-5).all()
        assert bool(near) is real


def test_pixels_that_were_learned_normalised_are_kept_where_they_leave_the_range():
    kept = []
    found = DC_TINY.distill(DATA, THREE, 0, checkpoint=lambda t: kept.append(t["x"]))
    ends = kept[-1].flatten(0, 1) * 0.25 + 0.5  # of made_up data
    torch.testing.assert_close(found.images, ends)
    assert 0.01 < float(((found.images < 0) | (found.images > 1)).float().mean()) < 0.2
    train = found.decoded().normalised()
    torch.testing.assert_close(train, kept[-1].flatten(0, 1))


def test_the_network_between_matches_is_trained_as_in_the_released_code():
    """One SGD optimiser a network, kept over all outer steps: DC's momentum is 0.5, DSA's 0, neither decays weights."""
    params = double(initialise(THREE, 0)[0])
    images = torch.randn(3, 2, 1, 8, 8, generator=seeded(0)).double()
    train = double(DATA.train)
    for method, momentum in ((DC_TINY, 0.5), (DSA_TINY.but(augment="none_matching"), 0.0)):
        model = module(THREE, params, {})
        optimiser = torch.optim.SGD(model.parameters(), lr=method.lr_net, momentum=momentum)
        network = State.start(stack([params]), {})
        for outer in range(3):
            network = method._train(THREE, network, train, images, f"0/{outer}")
            for _ in range(method.inner):  # the whole set is one batch
                optimiser.zero_grad()
                F.cross_entropy(model(images.flatten(0, 1)), torch.arange(3).repeat_interleave(2)).backward()
                optimiser.step()
        found = {n: p[0] for n, p in network.params.items()}
        assert apart(found, dict(model.state_dict())) < 1e-6
        assert apart(found, params) > 1e-3


def test_dc_trains_its_network_on_the_synthetic_images_between_matches():
    once = DC_TINY.but(iterations=1, outer=2)
    assert not torch.equal(once.distill(DATA, THREE, 0).images, once.but(inner=0).distill(DATA, THREE, 0).images)


def test_k_center_chooses_as_a_brute_force_search_does():
    points = torch.randn(12, 3, generator=seeded(0))
    chosen = [int((points - points.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < 6:
        rest = [i for i in range(12) if i not in chosen]
        chosen.append(max(rest, key=lambda i: float(torch.cdist(points[[i]], points[chosen]).min())))
    assert cover(points, 6).tolist() == chosen
    assert sorted(cover(points, 12).tolist()) == list(range(12))
    assert sorted(cover(torch.zeros(4, 2), 4).tolist()) == [0, 1, 2, 3]  # duplicates are still different images


def test_early_networks_are_trained_once_and_perturbed_anew_each_time():
    networks = EARLY_TINY.networks(DATA.train, THREE, 0)
    first, second, third = (networks(i).params for i in range(3))  # the third is the first again, elsewhere
    fresh = initialise(THREE, seeded("early", 0, 0).initial_seed())[0]
    assert not torch.equal(first["0.weight"][0], fresh["0.weight"])
    plain = EARLY_TINY.but(perturbation=0).networks(DATA.train, THREE, 0)
    assert apart(plain(0).params, plain(2).params) == 0 < apart(first, third)
    assert apart(plain(0).params, plain(1).params) > 0 < apart(first, second)
    moved, own = (first["0.weight"] - plain(0).params["0.weight"])[0], plain(0).params["0.weight"][0]
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), 0.2 * own.flatten(1).norm(dim=1))
    assert torch.equal(perturbed(first, 0.0, seeded(0))["0.weight"], first["0.weight"])


@pytest.mark.parametrize("factor", [1, 2])
def test_soft_labels_are_a_teachers_probabilities_of_each_decoded_image(factor: int):
    method = SOFT_TINY.but(of=RandomReal(ipc=2, factor=factor))
    found, hard = (m.distill(DATA, THREE, 0) for m in (method, method.of))
    decoded = found.decoded()
    assert method.factor == factor and method.ipc == 2 and torch.equal(found.images, hard.images)
    assert decoded.y.shape == (6 * factor ** 2, 3) and decoded.y.dtype == torch.float32
    torch.testing.assert_close(decoded.y.sum(1), torch.ones(len(decoded)))
    hot = method.but(temperature=1e6).distill(DATA, THREE, 0).decoded().y
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / 3), atol=1e-4, rtol=0)
    assert (decoded.y - 1 / 3).abs().max() > 1e-3


def test_a_set_whose_labels_do_not_fit_is_refused():
    images, mean = torch.rand(4, 1, 8, 8), torch.full((1,), 0.5)
    with pytest.raises(ValueError, match=r"one for each of the N .* got \(4, 1, 8, 8\) and 3 labels"):
        Distilled(images, torch.zeros(3, dtype=torch.int64), mean, mean, 3)
    with pytest.raises(ValueError, match=r"soft labels are probabilities \[N, 3\]; got \(4, 2\)"):
        Distilled(images, torch.full((4, 2), 0.5), mean, mean, 3)
    with pytest.raises(ValueError, match="labels must lie in 0…2; found 0…5"):
        Distilled(images, torch.tensor([0, 1, 2, 5]), mean, mean, 3)
    with pytest.raises(ValueError, match="images have 1 channels"):
        Distilled(images, torch.zeros(4, dtype=torch.int64), mean.expand(3), mean.expand(3), 3)
