"""The lab: every artifact once, the same alone and in a stack, and nothing computed ever lost."""

import gc
import json
import logging
import weakref
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from helpers import BATCHNORM, IMP, NET, RECIPE, STUDY, TRAIN, another, apart, identical, networks, start

from lmcnb import DM, Lab, SoftLabels, prune_iteratively
from lmcnb.kernel.step import State
from lmcnb.kernel.training import fit
from lmcnb.lab import STAGES, Stage, shelf
from lmcnb.lab.store import StoreError
from lmcnb.spec import SettingError
from lmcnb.stages import Connect, Distill, RandomMask, Ticket, Train


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """Every spec that is computed, in order."""
    seen: list[Stage] = []
    for stage in STAGES.values():
        def counted(job, specs, compute=stage.compute):
            seen.extend(specs)
            return compute(job, specs)
        monkeypatch.setattr(stage, "compute", counted)
    return seen


def test_a_study_runs_end_to_end_once_and_a_warm_store_computes_nothing(lab: Lab, computed: list):
    pairs = [("dense", 0), ("imp", 2), ("idc", 2), ("random images", 1), ("random mask", 2), ("imp", 1), ("dense", 0)]
    specs: list[Stage] = [STUDY.connect(method, 0, r) for method, r in pairs]
    specs += [STUDY.assess("idc", RECIPE, networks=2), STUDY.train("imp", 0, 1, 0)]
    before = lab.status(specs)
    assert all(row.done == 0 and row.seconds for row in before), "by the paces that are shipped"
    entries = lab.map(specs)
    assert [e.spec for e in entries] == [json.loads(s.canonical()) for s in specs]
    assert entries[0] is entries[6] or entries[0] == entries[6]
    assert [s.key for s in computed] == list(dict.fromkeys(s.key for s in computed))
    assert Counter(s.stored for s in computed) == {r.stage: r.remaining for r in before}
    assert all((r.remaining, r.seconds) == (0, 0.0) for r in lab.status(specs))
    assert sum(r.done for r in lab.status(specs)) == len(computed) == lab.record(specs)["entries"]
    computed.clear()
    again = another(lab).map(specs)
    assert computed == [] and [e.result for e in again] == [e.result for e in entries]
    assert identical(again[1].tensors, entries[1].tensors)
    assert set(entries[0].tensors) == {"alphas", "train_loss", "train_error", "test_loss", "test_error"}
    barriers = entries[0].result["barrier"]
    assert set(barriers["test_loss"]) == {"frankle", "chord", "midpoint"} and len(barriers) == 4
    assert len(entries[7].result["accuracy"]) == 2 and entries[7].result["images"] == 80


def test_recall_lists_what_the_store_holds_and_computes_nothing(lab: Lab, computed: list):
    trains = [TRAIN, TRAIN.but(mask=IMP), STUDY.train("random mask", 0, 1, 0)]
    entries = dict(zip(trains, lab.map(trains), strict=True))
    folder = lab.store.folder("Train", lab.key(TRAIN.but(seed=9)))
    folder.mkdir(parents=True)
    for name in ("result.json", "meta.json", "tensors.safetensors", "spec.json"):  # under a key that is not its own
        (folder / name).write_bytes((entries[TRAIN].folder / name).read_bytes())
    computed.clear()
    recalled = dict(another(lab).recall(Train))
    assert {s: e.result for s, e in recalled.items()} == {s: e.result for s, e in entries.items()}
    assert dict(another(lab).recall(Connect)) == {} and computed == []


def test_a_stage_asked_for_beside_its_upstream_is_computed_once(lab: Lab, computed: list):
    specs = [IMP.at(2), IMP, TRAIN.but(mask=IMP.at(2)), TRAIN.but(mask=IMP)]
    entries = lab.map(specs)
    assert Counter(s.key for s in computed) == {s.key: 1 for s in specs}
    assert [e.spec for e in entries] == [json.loads(s.canonical()) for s in specs]


def test_what_is_left_is_computed_and_what_is_done_is_not(lab: Lab, computed: list):
    lab.map([TRAIN.but(seed=s) for s in (0, 1)])
    computed.clear()
    specs = [TRAIN.but(seed=s) for s in (2, 0, 3, 1, 2)]
    assert [(r.done, r.remaining) for r in lab.status(specs)] == [(2, 2)]
    assert lab.status(specs)[0].seconds > 0
    lab.map(specs)
    assert sorted(s.seed for s in computed) == [2, 3]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One that stacks nothing."""
    return Lab("cpu", tmp_path_factory.mktemp("alone"), stack=1, progress=False)


@pytest.mark.parametrize("most", [2, 16])
def test_a_stack_computes_what_each_spec_would_alone(lab: Lab, most: int, alone: Lab):
    """Dense, sparse, random, rewound and partly rewound ones side by side."""
    early = TRAIN.but(stop=3)
    masks = [None, IMP, RandomMask(net=NET, like=IMP), IMP.but(rewind="weights"), IMP.but(rewind_to=early),
             IMP.but(init=1)]
    specs = [TRAIN.but(mask=m, init=m.init if m else 0, seed=7) for m in masks]
    together = another(lab, stack=most).map(specs)
    assert all(identical(entry.tensors, alone.get(s).tensors) for s, entry in zip(specs, together, strict=True))


def test_tickets_of_one_stack_are_those_found_alone(lab: Lab, alone: Lab):
    early = TRAIN.but(stop=3)
    weights = IMP.but(rewind="weights")
    specs = [IMP.but(seed=1, init=1), IMP, IMP.at(2), IMP.but(round=2, base=weights), IMP.but(rewind_to=early),
             IMP.but(init=1, rewind_to=early.but(init=1))]
    together = another(lab, stack=16).map(specs)
    assert all(identical(entry.tensors, alone.get(s).tensors) for s, entry in zip(specs, together, strict=True))


def test_keys_differ_with_the_data_the_settings_and_what_is_upstream(lab: Lab, digits, monkeypatch):
    keys = {lab.key(s) for s in (TRAIN, TRAIN.but(seed=1), TRAIN.but(mask=IMP), TRAIN.but(mask=IMP.but(seed=1)))}
    assert len(keys) == 4 and another(lab).key(TRAIN) in keys
    fewer = type(digits)("digits", digits.train.subset(slice(0, 1296)), digits.test)
    monkeypatch.setattr(shelf, "_dataset", lambda *_: fewer)
    assert another(lab).key(TRAIN) not in keys
    monkeypatch.setattr(Train, "version", 99)
    assert another(lab).key(TRAIN) != another(lab).key(TRAIN.but(seed=1))


def test_a_training_is_what_fit_gives(lab: Lab, digits):
    entry = another(lab, stack=1).get(TRAIN.but(init=3, seed=5))
    state = fit(NET, *start(NET, 3), digits.train, RECIPE, ["train/5/3"])
    assert identical(lab.load(TRAIN.but(init=3, seed=5)).params, state.params)
    assert entry.result["train_loss_last_steps"] == pytest.approx(float(state.losses.mean()))


def test_each_round_removes_a_fifth_and_counts_the_images_seen(lab: Lab):
    left, before = 364, None
    for r in (1, 2, 3):
        left -= round(0.2 * left)
        mask, result = lab.load(IMP.at(r)).masks, lab.get(IMP.at(r)).result
        assert sum(int(m.sum()) for m in mask.values()) == left
        assert result["sparsity"] == pytest.approx(1 - left / 364) and result["data_points"] == 640 * r
        assert before is None or not any((mask[n] & ~before[n]).any() for n in mask)
        before = mask


def test_a_hybrid_ticket_goes_on_from_its_base(lab: Lab):
    base = STUDY.mask("idc", 0, 2)
    hybrid = Ticket(net=NET, recipe=RECIPE, round=4, base=base)
    assert hybrid.previous().previous() == base
    masks = [n.masks for n in lab.load([base, hybrid.at(3), hybrid])]
    assert [sum(int(m.sum()) for m in ms.values()) for ms in masks] == [233, 186, 149]
    assert not any((b[n] & ~a[n]).any() for a, b in zip(masks, masks[1:], strict=False) for n in a)
    assert lab.get(hybrid).result["data_points"] == 20 * 64 + 2 * 640
    with pytest.raises(SettingError, match=r"round \(2\) counts the base's rounds too: it must exceed 2"):
        hybrid.at(2)


def test_rewinding_only_weights_keeps_the_rest_trained(lab: Lab, digits):
    ticket = Ticket(net=BATCHNORM, recipe=RECIPE.but(batch=16, epochs=0.05), round=1, rewind="weights")
    init = networks(BATCHNORM, 0)
    left = prune_iteratively(init, digits, ticket.recipe, rounds=1, rewind="weights")[1]
    begun = lab.load(Train(net=BATCHNORM, recipe=ticket.recipe, mask=ticket, stop=0))
    assert identical(begun.params, left.params) and identical(begun.buffers, left.buffers)
    assert identical(lab.load(ticket).params, left.params) and identical(lab.load(ticket).buffers, left.buffers)
    full = lab.load(Train(net=BATCHNORM, recipe=ticket.recipe, mask=ticket.but(rewind="full"), stop=0))
    assert identical(full.params, init.masked(left.masks).params) and identical(full.buffers, init.buffers)


def test_rewinding_to_a_step_starts_there_and_goes_on_from_there(lab: Lab, digits):
    early = TRAIN.but(stop=4)
    ticket = IMP.but(rewind_to=early)
    point, mask = lab.load(early), lab.load(ticket).masks
    begun = lab.load(TRAIN.but(mask=ticket, stop=4))
    assert begun.step == 4 and identical(begun.params, point.masked(mask).params)
    from_there = State.start(begun.params, begun.buffers, 4)
    state = fit(NET, point.params, point.buffers, digits.train, RECIPE, ["train/0/0"], mask, state=from_there,
                strategy="loop")
    assert state.losses.shape == (1, 6)
    assert apart(lab.load(TRAIN.but(mask=ticket)).params, state.params) < 1e-6


def test_random_masks_keep_the_densities_of_what_they_are_like(lab: Lab):
    like, layerwise, everywhere = (lab.get(s) for s in (IMP, RandomMask(net=NET, like=IMP),
                                                        RandomMask(net=NET, like=IMP, kind="global")))
    assert layerwise.result["density"] == like.result["density"] != everywhere.result["density"]
    assert like.result["sparsity"] == layerwise.result["sparsity"] == everywhere.result["sparsity"]
    assert not identical(layerwise.tensors, like.tensors)


def test_paths_as_released_drop_the_masks_and_held_ones_do_not(lab: Lab):
    recipe = RECIPE.but(weight_decay=0.5)
    ends = [Train(net=NET, recipe=recipe, mask=IMP, seed=s) for s in (0, 1)]
    held = Connect(net=NET, a=ends[0], b=ends[1], points=3, train_images=100, test_images=100)
    a, b = (lab.get(s).tensors for s in (held, held.but(masks="released")))
    assert all(float((a[q] - b[q]).abs().min()) > 1e-5 for q in ("train_loss", "test_loss"))
    dense = STUDY.connect("dense", 0, 0)
    assert identical(lab.get(dense).tensors, lab.get(dense.but(masks="released")).tensors)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Train(net=NET.but(width=5), recipe=RECIPE, mask=IMP), "mask is of another network.*width"),
    (lambda: RandomMask(net=BATCHNORM, like=IMP), "like is a mask of another network.*convnet3.*resnet10"),
    (lambda: Ticket(net=BATCHNORM, recipe=RECIPE, round=2, base=IMP), "base is of another network"),
    (lambda: IMP.but(round=2, base=IMP.but(init=1)), "base is of another network or init.*init 1.*init 0"),
    (lambda: IMP.but(rewind_to=TRAIN.but(init=1, stop=2)), "rewind_to is of another network or init"),
    (lambda: TRAIN.but(mask=IMP, init=1), "mask was found from init 0, the network starts from 1"),
    (lambda: IMP.but(rewind_to=TRAIN), "rewind_to must be a training that was stopped: give it stop"),
    (lambda: IMP.but(rewind_to=TRAIN.but(stop=0)), "rewind_to must be a training that was stopped: give it stop"),
    (lambda: IMP.but(rewind_to=TRAIN.but(stop=2, mask=IMP)), "rewind_to must be a dense training: leave its mask out"),
    (lambda: IMP.but(source=Distill(dataset="cifar10", net=NET, method=DM())),
     "source is of another data set.*cifar10"),
    (lambda: TRAIN.but(mask=IMP, dataset="cifar10"), "mask is of another network or data set"),
    (lambda: Connect(net=NET, a=TRAIN, b=TRAIN), "a and b are one training.*give them different seeds"),
    (lambda: Connect(net=NET, a=TRAIN, b=TRAIN.but(net=BATCHNORM)), "the model is .*resnet10.*give both the same net"),
    (lambda: Ticket(net=NET, recipe=RECIPE, round=1, rate=1), "rate"),
    (lambda: IMP.but(rounds=2), "no setting 'rounds'"),
    (lambda: Distill(net=NET, method={"kind": "frepo"}), "unknown distillation method 'frepo'; known: dc, dm, dsa"),
    (lambda: Distill(net=NET, method={"kind": "dm", "outer": 1}), "DM has no setting 'outer'"),
    (lambda: STUDY.mask("idc2", 0, 1), "unknown method 'idc2'.*known: dense, imp, idc, random images, random mask"),
    (lambda: STUDY.distill("dm"), "unknown distilled set 'dm'; known: idc, random images"),
])
def test_wrong_specs_are_refused_by_name(make: Callable, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("spec", "message"), [
    (TRAIN.but(stop=11), "step 0 to step 11 does not fit a recipe of 10 steps on digits: change stop"),
    (TRAIN.but(stop=2, mask=IMP.but(rewind_to=TRAIN.but(stop=4))), "from step 4 to step 2 does not fit"),
    (IMP.but(rewind_to=TRAIN.but(stop=10)), "rewind_to is step 10, and a pruning round has 10 steps: lower its stop"),
    (STUDY.mask("idc", 0, 1).but(rewind_to=TRAIN.but(stop=10)), "rewind_to is step 10, and a pruning round has 10"),
    (Train(net=NET.but(size=9), recipe=RECIPE), "net takes 1 × 9 × 9 images of 10 classes, digits has 1 × 8 × 8 of 10"),
    (Distill(net=NET, method=DM(ipc=500)), "ipc 500 at factor 1 needs 500 images per class"),
])
def test_what_cannot_work_on_these_data_is_refused_before_anything_is_computed(lab: Lab, computed: list, spec, message):
    with pytest.raises(ValueError, match=message):
        lab.map([TRAIN, spec])
    assert computed == []


def test_a_network_before_its_first_step_has_no_training_loss(lab: Lab):
    entry = lab.get(TRAIN.but(stop=0))
    assert entry.result["train_loss_last_steps"] is None and "NaN" not in (entry.folder / "result.json").read_text()


def test_a_generator_of_specs_is_answered(lab: Lab):
    assert [e.spec["seed"] for e in lab.map(TRAIN.but(seed=s) for s in (1, 0))] == [1, 0]


def test_the_lab_holds_no_tensors_of_what_it_has_computed_or_read(lab: Lab):
    specs = [TRAIN.but(seed=s) for s in range(3)]
    lab.map(specs)
    fresh = another(lab)
    read = [weakref.ref(t) for s in specs for t in fresh.get(s).tensors.values()]
    gc.collect()
    assert read and not any(r() is not None for r in read)
    entries = (*lab._entries.values(), *fresh._entries.values())
    assert entries and not any(torch.is_tensor(value) for e in entries for value in vars(e).values())


def test_soft_labels_are_shortened_with_the_method_that_they_are_of():
    assert SoftLabels(of=DM(iterations=100)).shortened(0.25).of.iterations == 25


def test_a_study_asks_for_what_its_ways_say():
    assert STUDY.mask("dense", 0, 3) is None is STUDY.mask("imp", 0, 0)
    assert STUDY.mask("random mask", 1, 2).like == STUDY.mask("idc", 1, 2)
    assert STUDY.short_recipe("idc").steps(10 * 2 * 4) == 10 == STUDY.mask("idc", 0, 1).recipe.steps(80)
    path = STUDY.connect("imp", 2, 1, (4, 5), bn="recalibrate", points=5)
    assert (path.a.seed, path.b.seed, path.a.init, path.bn, path.points, path.train_images) == (4, 5, 2, "recalibrate",
                                                                                               5, 200)


def test_a_training_that_diverges_names_lr_and_loses_nothing(lab: Lab):
    wild = TRAIN.but(recipe=RECIPE.but(lr=1e6, epochs=2))
    lab.map([IMP, TRAIN])
    with pytest.raises(FloatingPointError, match=r"seed train/0/0.*lower lr \(now 1000000.0\)"):
        lab.map([IMP, TRAIN, wild])
    fresh = another(lab)
    assert [(r.stage, r.done, r.remaining) for r in fresh.status([IMP, TRAIN, wild])] == [("Ticket", 1, 0),
                                                                                          ("Train", 1, 1)]
    assert not list(lab.store.root.glob("checkpoints/*")) and not list(lab.store.root.glob("aside/*"))


def test_a_full_disk_names_the_store_and_keeps_what_is_there(lab: Lab, monkeypatch):
    lab.get(TRAIN)

    def full(*_, **__):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("lmcnb.lab.store.os.rename", full)
    with pytest.raises(StoreError, match="LMCNB_STORE"):
        lab.get(TRAIN.but(seed=1))
    monkeypatch.undo()
    assert [(r.done, r.remaining) for r in another(lab).status([TRAIN, TRAIN.but(seed=1)])] == [(1, 1)]


def test_a_damaged_entry_is_computed_again_to_the_same_bytes(lab: Lab, caplog, computed: list):
    path = another(lab, stack=1).get(TRAIN).folder / "tensors.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    computed.clear()
    with caplog.at_level(logging.WARNING):
        another(lab, stack=1).get(TRAIN)
    assert "damaged" in caplog.text and computed == [TRAIN] and path.read_bytes() == raw
