"""PLATON's tickets in a lab, and the masks that they are compared with."""

import pytest
import torch

from lmcnb import IDC, Dataset, Lab, Net, Recipe, Study, Ticket, Train
from lmcnb.kernel.masks import jaccard, layer_density
from lmcnb.measure.align import permuted, weight_matching
from lmcnb.prune.platon import Platon
from lmcnb.stages import BorrowedMask, Connect, GradualTicket, RandomMask

RECIPE = Recipe(epochs=0.5, batch=32, lr=2e-3, optimiser="adamw", schedule="constant", augment="none", cutmix=0)
PLATON = Platon(ratio=0.25, window=3, begin=0.1, end=0.3)


@pytest.fixture(scope="module")
def net(digits: Dataset) -> Net:
    return Net.of(digits.train, "convnet2", width=4)


def test_a_ticket_keeps_its_ratio_its_course_and_its_initial_weights(lab: Lab, net: Net) -> None:
    tickets = [GradualTicket(net=net, recipe=RECIPE, platon=PLATON, init=i) for i in (0, 1)]
    lab.map(tickets)
    entry, found = lab.get(tickets[0]), tickets[0].load(lab)
    assert float(found.sparsity) == pytest.approx(0.75, abs=0.5 / net.count())
    origin = tickets[0].origin(lab)
    assert all(torch.equal(found.params[n], torch.where(m, origin.params[n], 0)) for n, m in found.masks.items())
    steps = RECIPE.steps(1297)
    assert entry.tensors["train_loss"].shape == entry.tensors["kept"].shape == (steps,)
    assert len(entry.tensors["masked_at"]) == len(entry.tensors["flips"]) == len(entry.tensors["removed"])
    assert entry.result["loss"] == pytest.approx(float(entry.tensors["train_loss"][-20:].mean()))
    again = Lab("cpu", lab.store.root.parent / "another", progress=False)
    assert torch.equal(again.get(tickets[1]).tensors["train_loss"], lab.get(tickets[1]).tensors["train_loss"])


def test_controls_keep_the_layers_densities(lab: Lab, net: Net) -> None:
    own, other = (GradualTicket(net=net, recipe=RECIPE, platon=PLATON, init=i) for i in (0, 1))
    controls = {"random": RandomMask(net=net, like=own), "borrowed": BorrowedMask(net=net, of=other, init=0),
                "magnitude": RandomMask(net=net, like=own, kind="magnitude")}
    pairs = [Connect(net=net, a=a, b=a.but(seed=1), points=3, test_images=50, train_images=50)
             for a in (Train(net=net, recipe=RECIPE, mask=m) for m in (own, *controls.values()))]
    rows = lab.table(pairs)
    assert list(rows["method"].unique()) == ["platon", "random mask", "platon, another init", "magnitude mask"]
    wanted = layer_density(own.mask(lab))
    for kind in ("random", "magnitude"):
        assert layer_density(controls[kind].mask(lab)) == wanted
    assert float(jaccard(controls["borrowed"].mask(lab), other.mask(lab))) == 1
    weights, kept = own.origin(lab).params, controls["magnitude"].mask(lab)
    for n, m in kept.items():
        assert weights[n][m].abs().min() >= weights[n][~m].abs().max()


def test_a_study_rewinds_every_ticket_one_way(net: Net) -> None:
    loose = Study(net=net, recipe=RECIPE, sets={"idc": IDC()}, rewind="weights")
    shuffled = loose.mask("random mask", 0, 2)
    assert isinstance(shuffled, RandomMask) and shuffled.ticket.rewind == "weights"
    assert {getattr(loose.mask(m, 0, 2), "rewind", None) for m in ("imp", "idc")} == {"weights"}
    with pytest.raises(ValueError, match="rewind must be 'full' with platon"):
        loose.but(platon=PLATON)


def test_a_study_knows_it_as_one_more_way_to_a_ticket(digits: Dataset, net: Net) -> None:
    study = Study(net=net, recipe=RECIPE, sets={"idc": IDC()}, platon=PLATON)
    ticket = study.mask("platon", 0, 4)
    assert isinstance(ticket, GradualTicket) and ticket.platon.ratio == pytest.approx(0.8 ** 4)
    assert ticket.described({})["round"] == 4 and study.methods[-1] == "platon"
    assert "platon" not in study.but(platon=None).methods
    with pytest.raises(ValueError, match="must not be named platon"):
        Study(net=net, recipe=RECIPE, sets={"idc": IDC(), "platon": IDC()})


def test_what_cannot_be_is_refused_before_any_work(lab: Lab, net: Net) -> None:
    with pytest.raises(ValueError, match="window is 30 steps"):
        lab.map([GradualTicket(net=net, recipe=RECIPE, platon=PLATON.but(window=30))])
    own = GradualTicket(net=net, recipe=RECIPE, platon=PLATON)
    with pytest.raises(ValueError, match="another initialisation"):
        BorrowedMask(net=net, of=own, init=0)


def test_a_mask_is_carried_to_another_initialisation_by_what_matches(lab: Lab, net: Net) -> None:
    """Between a training and a copy of it whose units have changed places, the mask follows its units."""
    tickets = {i: Ticket(net=net, recipe=RECIPE, round=1, init=i) for i in (0, 1)}
    dense = [Train(net=net, recipe=RECIPE, init=i) for i in (1, 0)]
    plain, matched = (BorrowedMask(net=net, of=tickets[0], init=1, matched=m) for m in (None, tuple(dense)))
    lab.map([plain, matched])
    order = weight_matching(*(d.load(lab) for d in dense))
    expected = permuted(tickets[0].load(lab), order).masks
    for n, m in matched.mask(lab).items():
        assert torch.equal(m, expected[n]) and torch.equal(plain.mask(lab)[n], tickets[0].mask(lab)[n])
    assert matched.described({})["method"] == "imp, matched init" and plain.key != matched.key
    with pytest.raises(ValueError, match="dense trainings of init 1 and 0"):
        BorrowedMask(net=net, of=tickets[0], init=1, matched=tuple(dense[::-1]))
