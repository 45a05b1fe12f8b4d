"""Figure 15 and what it trains: networks that begin from another training, a single weight's noise, when rises end."""

import numpy as np
import pytest
import torch
from helpers import IMP, NET, RECIPE, TRAIN, apart, networks

from lmcnb import Connect, Lab, Net
from lmcnb.figures import emerged, emergence, emergence_claims, png
from lmcnb.stages.training import nudged, shared_weights, transferred
from lmcnb.tables import Table


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab("cpu", tmp_path, progress=False)


def test_all_but_the_head_comes_from_a_training_on_other_classes():
    five = NET.but(classes=5)
    mine, theirs = networks(NET, 0), networks(five, 1)
    found, head = transferred(mine, theirs), {n for n, p in mine.params.items() if p.shape != theirs.params[n].shape}
    assert len(head) == 2 and set(shared_weights(NET, five)) == set(mine.params) - head
    for name, values in found.params.items():
        assert torch.equal(values, (mine if name in head else theirs).params[name])


def test_a_training_goes_on_from_a_pretrained_network(lab: Lab):
    before = TRAIN.but(seed="pretraining", init=3).at(4)
    tuned = TRAIN.but(pretrained=before)
    assert apart(tuned.begun(lab).params, before.load(lab).params) == 0 and tuned.first_step == 0
    assert before in tuned.upstream()
    first, again = (lab.get(tuned.but(stop=2)).tensors for _ in range(2))
    assert apart(first, again) == 0
    assert apart(first, lab.get(TRAIN.but(stop=2)).tensors) > 0


def test_networks_of_two_pretrainings_are_one_stack(lab: Lab):
    tuned = [TRAIN.but(pretrained=TRAIN.but(init=i).at(2), stop=3) for i in (1, 2)]
    assert tuned[0].group() == tuned[1].group()
    together = [lab.get(t).tensors for t in tuned]
    alone = [lab.recompute(t).tensors for t in tuned]
    assert all(apart(a, b) == 0 for a, b in zip(together, alone, strict=True))


def test_a_nudge_moves_one_weight_that_is_kept():
    start = networks(NET, 0, 1)
    name = NET.prunable[0]
    masks = {n: torch.ones_like(p, dtype=torch.bool) for n, p in start.params.items() if n in NET.prunable}
    masks[name][1].view(-1)[:5] = False
    sparse = start.masked(masks)
    moved = nudged(sparse, 0.5)
    changed = {n: (moved.params[n] != sparse.params[n]).flatten(1) for n in sparse.params}
    assert {n for n, c in changed.items() if c.any()} == {name}
    assert [int(row.nonzero()) for row in changed[name]] == [0, 5]
    assert nudged(sparse, 0.0) is sparse


def test_a_millionth_in_one_weight_is_amplified(lab: Lab):
    a, b = lab.load([TRAIN, TRAIN.but(nudge=1e-6)])
    distance = apart(a.params, b.params)
    assert 1e-6 < distance < 1


def test_what_was_there_before_keeps_its_key():
    assert not {"pretrained", "nudge", "course"} & TRAIN.settings().keys()
    assert TRAIN.but(nudge=1e-3).settings()["nudge"] == 1e-3


def test_the_course_of_a_training_is_kept_where_it_is_asked_for(lab: Lab):
    asked = TRAIN.but(course=True)
    assert asked.group() == TRAIN.group(), "one stack"
    found, without = lab.map([asked, TRAIN])
    losses = found.result["train_losses"]
    assert len(losses) == RECIPE.steps(1297) and np.mean(losses[-20:]) == pytest.approx(
        without.result["train_loss_last_steps"])
    assert "train_losses" not in without.result and apart(found.tensors, without.tensors) == 0


def test_what_cannot_be_pretrained_is_refused_in_words(lab: Lab):
    with pytest.raises(ValueError, match="leave out mask or pretrained"):
        TRAIN.but(mask=IMP, pretrained=TRAIN.at(2))
    with pytest.raises(ValueError, match="same pretrained"):
        TRAIN.but(pretrained=TRAIN.at(2), start=TRAIN.at(3))
    strange = TRAIN.but(net=Net(name="resnet10", channels=1, size=8, width=8)).at(1)
    with pytest.raises(ValueError, match="same width and depth"):
        lab.get(TRAIN.but(pretrained=strange))


def test_a_path_between_two_fine_tunings_is_a_path(lab: Lab):
    a, b = (TRAIN.but(pretrained=TRAIN.but(seed="x").at(3), seed=s, recipe=RECIPE) for s in (0, 1))
    found = lab.get(Connect(net=NET, a=a, b=b, points=3, train_images=50, test_images=50))
    assert found.result["barrier"]["test_error"]["frankle"] >= 0


STEPS = {0: 9.0, 10: 4.0, 100: 1.0}


def table() -> Table:
    rows = [{"panel": panel, "method": method, "step": k, "init": i, "quantity": "rise", "value": v + 0.1 * i}
            for panel in ("network", "transformer", "pretraining") for method in ("dense", "imp")
            for k, v in STEPS.items() for i in range(3)]
    rows += [{"panel": "noise", "noise": n, "step": k, "init": i, "quantity": "rise", "value": 3.0 + i}
             for n in ("one batch", "all orders") for k in (0, 10) for i in range(3)]
    return Table.of(rows)


def test_the_step_from_which_on_a_network_is_stable():
    rises = {k: np.array([v, v]) for k, v in STEPS.items()}
    assert emerged(rises) == 100 and emerged(rises, allowed=5) == 10 and emerged(rises, allowed=0.5) is None


def test_connectivity_emerges_along_each_clock():
    found = emergence_claims(table())
    assert [c.id for c in found] == ["C4-network", "C4-transformer", "C4-pretraining"]
    assert all(c.word == "reproduced" and abs(c.estimate - 8) < 1e-9 for c in found)
    assert "k = 0 minus rise with k = 100" in found[0].note
    assert {c.family for c in found} == {"secondary"}, "an open question"


def test_where_the_first_pairs_are_stable_nothing_can_emerge():
    [found] = emergence_claims(Table.of([row | {"value": row["value"] / 9} for row in table().to_dict("records")
                                         if row["panel"] == "network"]))
    assert found.word == "not tested" and "part at step 0 are not stable: the test error rises by 1.0" in found.premise


def test_what_was_not_run_or_at_one_step_alone_is_not_judged():
    rows = table()
    some = Table.of(r for r in rows.to_dict("records") if r["panel"] != "transformer" and (
        r["panel"] != "network" or r["step"] == 0))
    assert [c.id for c in emergence_claims(some)] == ["C4-pretraining"]


def test_a_panel_for_each_clock_is_drawn():
    figure, again = (emergence(table(), ["one batch", "all orders"], "a note") for _ in range(2))
    assert png(figure) == png(again)
    axes = figure.axes
    assert [ax.get_title().split()[0] for ax in axes] == ["parted", "a", "a", "by"]
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["0", "10", "100"]
