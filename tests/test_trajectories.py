"""Trajectory matching: the adjoint against an unrolled graph, experts, ZCA; and the protocols sets are judged by."""

import pytest
import torch
import torch.nn.functional as F
from helpers import BATCHNORM, NET, QUICK, another, apart, double, made_up, module

from lmcnb import IDC, MTT, Dataset, Lab, RandomReal, Recipe, Study, protocol
from lmcnb.data import zca
from lmcnb.distill import PROTOCOLS, assess, course, trajectory_gradient
from lmcnb.kernel.augment import AUGMENTS, apply, draw
from lmcnb.kernel.recipe import seeded
from lmcnb.kernel.training import evaluate, fit
from lmcnb.lab import Store, job
from lmcnb.models import initialise
from lmcnb.params import stack
from lmcnb.stages import Distill, Expert

DATA = Dataset("made up", made_up(60, 3, seed=0), made_up(30, 3, seed=1))
THREE = NET.but(classes=3)
TINY = MTT(ipc=2, iterations=4, steps=3, ahead=1, max_start=2, expert_count=2, lr_image=10, lr_lr=1e-3,
           expert=QUICK.but(epochs=2, batch=8, momentum=0))
LABS = TINY.but(expert=TINY.expert.but(batch=64))  # of whole digits, which are many


@pytest.mark.parametrize("soft", [False, True], ids=["hard labels", "soft labels"])
def test_the_adjoint_equals_the_gradient_through_the_unrolled_graph(soft: bool):
    start, target = (double(initialise(THREE, s)[0]) for s in (0, 1))
    x = torch.randn(6, 1, 8, 8, generator=seeded(0)).double()
    labels = torch.arange(6) % 3
    labels = F.one_hot(labels).double() * 0.7 + 0.1 if soft else labels
    drawn = draw(AUGMENTS["dsa_single"], 5, 4, 8, seeded(1))
    drawn["index"] = torch.tensor([[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5], [5, 4, 3, 2], [0, 2, 4, 1]])
    draws = [{n: t[s] for n, t in drawn.items()} for s in range(5)]
    given = torch.tensor(0.3, dtype=torch.float64)
    by_images, by_lr, loss = trajectory_gradient(THREE, start, target, x, labels, given, draws)

    leaf, rate = x.clone().requires_grad_(), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    theta = {n: p.clone().requires_grad_() for n, p in start.items()}
    model = module(THREE, start, {})
    for d in draws:
        logits = torch.func.functional_call(model, theta, (apply(AUGMENTS["dsa_single"], leaf[d["index"]], d),))
        grads = torch.autograd.grad(F.cross_entropy(logits, labels[d["index"]]), list(theta.values()),
                                    create_graph=True)
        theta = {n: p - rate * g for (n, p), g in zip(theta.items(), grads, strict=True)}
    plain = (sum((theta[n] - target[n]).square().sum() for n in theta)
             / sum((start[n] - target[n]).square().sum() for n in theta))
    expected = torch.autograd.grad(plain, [leaf, rate])
    torch.testing.assert_close(loss, plain.detach(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(by_images, expected[0], atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(by_lr, expected[1], atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("eps", [None, 0.1], ids=["pixels", "zca"])
@pytest.mark.parametrize("factor", [1, 2])
def test_following_an_expert_brings_the_student_nearer(factor: int, eps: float | None):
    method = TINY.but(factor=factor, zca=eps, lr=0.05)
    space = zca(DATA.train, eps) if eps else None
    seen = space.images(DATA.train) if space else DATA.train
    experts = course(THREE, seen, method.expert, range(2))
    x, losses = torch.randn(6, 1, 8, 8, generator=seeded(0)), []
    for _ in range(15):
        gx, glr, loss = method.gradient(DATA.train, THREE, x, torch.tensor(0.05),
                                        lambda k: {n: t[k] for n, t in experts.items()}, "same", space)
        x, losses = x - 20 * gx, [*losses, float(loss)]
        assert gx.shape == x.shape and torch.isfinite(glr)
    assert losses[-1] < losses[0]


def test_an_expert_keeps_the_weights_of_every_epoch():
    recipe = QUICK.but(epochs=3, batch=8)
    found = course(THREE, DATA.train, recipe, [4, 5])
    assert all(t.shape[:2] == (2, 4) for t in found.values())
    fresh = [initialise(THREE, seeded("expert", i).initial_seed())[0] for i in (4, 5)]
    assert apart({n: t[:, 0] for n, t in found.items()}, stack(fresh)) == 0
    start = [stack([part]) for part in initialise(THREE, seeded("expert", 5).initial_seed())]
    whole = fit(THREE, *start, DATA.train, recipe, ["expert/5"])
    assert apart({n: t[1:, 3] for n, t in found.items()}, whole.params) < 1e-6
    part = fit(THREE, *start, DATA.train, recipe, ["expert/5"], stop=round(recipe.steps(60) / 3))
    assert apart({n: t[1:, 1] for n, t in found.items()}, part.params) < 1e-6


def test_a_course_that_an_expert_never_ran_is_refused():
    with pytest.raises(ValueError, match="of 2 epochs cannot be followed for 2 from epoch 1: lower max_start"):
        TINY.but(ahead=2)


def test_batchnorm_is_refused_before_an_expert_is_trained(lab: Lab):
    study = Study(net=BATCHNORM, recipe=QUICK, sets={"mtt": TINY}, reference="mtt")
    with pytest.raises(ValueError, match="resnet10 has BatchNorm: distill with a convnet"):
        lab.get(study.mask("mtt", 0, 1))
    assert not lab.store.metas("Expert")


def test_no_expert_starts_where_a_ticket_does():
    tickets = {seed: initialise(THREE, seed)[0] for seed in range(3)}
    begun = course(THREE, DATA.train, TINY.expert, range(3))
    assert min(apart({n: t[k, 0] for n, t in begun.items()}, tickets[k]) for k in range(3)) > 0.01


def test_the_seconds_of_an_interrupted_distillation_are_added_up(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", -1.0)
    spec = Study(net=NET, recipe=QUICK, sets={"idc": IDC(ipc=1, outer=3, inner=1, net_steps=1, real_batch=4)})
    saved = []

    def stop(self, key, tensors, note):
        saved.append(note)
        keep(self, key, tensors, {"seconds": "1000"})
        raise KeyboardInterrupt
    keep = Store.save_checkpoint
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "save_checkpoint", stop)
        lab.get(spec.distill("idc"))
    assert float(saved[0]["seconds"]) > 0
    assert 1000 < another(lab).get(spec.distill("idc")).meta["seconds"] < 1100


def test_zca_images_have_the_covariance_it_promises_and_come_back():
    images = made_up(400, 3)
    space = zca(images, 0.05)
    white = space.images(images)
    flat = images.x.flatten(1).double() / 255  # pixels, not normalised: the ε of MTT is in their units
    values = torch.linalg.eigvalsh(torch.cov(flat.T))
    found = torch.linalg.eigvalsh(torch.cov(white.x.flatten(1).double().T))
    torch.testing.assert_close(found, values / (values + 0.05), atol=1e-4, rtol=1e-4)
    assert torch.equal(white.normalised(), white.x) and torch.equal(white.y, images.y)
    torch.testing.assert_close(space.restore(white.x), images.x / 255, atol=1e-4, rtol=0)
    # Symmetric: of all whitenings the one nearest the images themselves.
    torch.testing.assert_close(space.forward, space.forward.T, atol=1e-5, rtol=0)


def test_a_zca_set_is_kept_as_ordinary_pixels():
    found = TINY.but(lr_image=1e-9, lr_lr=0).distill(DATA, THREE, 0)
    start = RandomReal(ipc=2).distill(DATA, THREE, 0)
    assert found.zca == 0.1 and found.lr == pytest.approx(0.01)
    torch.testing.assert_close(found.images, start.images, atol=1e-3, rtol=0)


def test_experts_live_in_the_store_and_serve_every_set_that_follows_them(lab: Lab):
    study = Study(net=NET, recipe=QUICK, sets={"a": LABS.but(zca=None), "b": LABS.but(zca=None, steps=2)})
    sets = [study.distill(n) for n in "ab"]
    assert [type(u) for u in sets[0].upstream()] == [Expert, Expert] and sets[0].upstream() == sets[1].upstream()
    images = [lab.load(s).images for s in sets]
    assert len(lab.store.metas("Expert")) == 2 and not torch.equal(*images)
    entry = lab.get(sets[0].upstream()[0])
    assert entry.tensors["0.weight"].shape[0] == 3 and entry.result["epochs"] == 2
    # The same without a lab, which trains them itself.
    data = lab.dataset("digits")
    alone = study.sets["a"].distill(data, NET, 0, trajectories=lambda k: lab.get(sets[0].upstream()[k]).tensors)
    assert torch.equal(alone.images, images[0])
    again = another(lab)
    assert torch.equal(again.load(sets[0]).images, images[0])
    assert Distill(net=NET, method=RandomReal(ipc=2)).upstream() == []


def test_the_protocols_are_those_of_the_code_they_are_named_after():
    dc, idc, mtt = (protocol(n) for n in ("dc", "idc", "mtt"))
    assert set(PROTOCOLS) == {"dc", "idc", "mtt"}
    assert [p.recipe.batch for p in (dc, idc, mtt)] == [256, 64, 256]
    assert [p.recipe.cutmix for p in (dc, idc, mtt)] == [0, 0.5, 0]
    assert [p.recipe.augment for p in (dc, idc, mtt)] == ["dsa_single", "cifar", "dsa_single"]
    assert [p.recipe.augmentation.cutout for p in (dc, idc, mtt)] == [True, False, True]
    assert all(p.recipe.epochs == 1000 and p.recipe.momentum == 0.9 and p.recipe.lr == 0.01 for p in (dc, idc, mtt))
    assert (mtt.learned_lr, mtt.zca) == (True, True) and not (dc.zca or idc.zca or dc.learned_lr or idc.learned_lr)
    assert [dc.recipe.rate(s, 10) for s in (0, 4, 5, 9)] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert idc.shortened(50, 400, lr=0.1).recipe.steps(400) == 50 and idc.shortened(50, 400, lr=0.1).recipe.lr == 0.1
    with pytest.raises(ValueError, match="unknown evaluation protocol 'x'; known: dc, idc, mtt"):
        protocol("x")


def test_a_set_is_judged_with_its_own_step_size_and_space():
    found = TINY.distill(DATA, THREE, 0)
    how = protocol("mtt").shortened(4, 6)
    with pytest.raises(ValueError, match=r"made under ZCA whitening: pass space=lmcnb.data.zca\(train images, 0.1\)"):
        assess(THREE, found, DATA.test, how)
    space = zca(DATA.train, 0.1)
    train, test, recipe = how.prepare(found, DATA.test, space)
    assert recipe.lr == found.lr != 0.01
    torch.testing.assert_close(test.x, space.whiten(DATA.test.x))
    torch.testing.assert_close(train.x, space.whiten(found.images))
    scores = assess(THREE, found, DATA.test, how, (7, 8), space=space)
    start = [stack(list(p)) for p in zip(*[initialise(THREE, i) for i in (7, 8)], strict=True)]
    state = fit(THREE, *start, train, recipe, ["assess/7", "assess/8"])
    torch.testing.assert_close(scores.loss, evaluate(THREE, state.params, state.buffers, test).loss)
    assert recipe.batch == 6  # no more than the set has: a step is then an epoch, as in the codes
    plain = protocol("dc").prepare(found, DATA.test, None)
    assert plain[2].batch == 6 and plain[2].steps(6) == 1000
    assert plain[1] is DATA.test and plain[2].lr == 0.01


def test_the_lab_assesses_under_a_protocol(lab: Lab):
    study = Study(net=NET, recipe=QUICK, sets={"mtt": LABS, "random": RandomReal(ipc=2)})
    short = {n: protocol("mtt").shortened(10, study.images(n)) for n in study.sets}
    specs = [study.assess(n, short[n], networks=2) for n in study.sets]
    ours = lab.map(specs)
    assert [len(e.result["accuracy"]) for e in ours] == [2, 2] and ours[1].result["lr"] == 0.01
    found, data = lab.load(study.distill("mtt")), lab.dataset("digits")
    alone = assess(NET, found, data.test, short["mtt"], (1000, 1001), space=zca(data.train, 0.1))
    assert ours[0].result["accuracy"] == pytest.approx(alone.accuracy.tolist())
    by_recipe = study.assess("random", Recipe(epochs=1, cutmix=0))
    assert by_recipe.recipe == Recipe(epochs=1, cutmix=0) and not by_recipe.protocol.zca
