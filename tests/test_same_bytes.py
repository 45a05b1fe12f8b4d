"""Equal keys mean equal bytes: whatever the process, the stack, the store and the number of threads."""

from pathlib import Path

import pytest
import torch
from helpers import BATCHNORM, IMP, NET, RECIPE, STUDY, TRAIN, another, identical, networks
from processes import begun, ended

from lmcnb import MTT, Connect, Lab, instability, prune_iteratively
from lmcnb.lab.keys import execution
from lmcnb.measure.path import QUANTITIES
from lmcnb.spec import SettingError
from lmcnb.stages import Curvature, Distill, Landscape, Probe, RandomMask, Robustness, Ticket, Train

TRAINS = [STUDY.train("idc", i, 2, s) for i in (0, 1) for s in (0, 1)]
EXPERT = RECIPE.but(epochs=2)
PLAN = [
    *(STUDY.connect(method, i, 2 * (method != "dense"))
      for method in ("dense", "imp", "idc", "random mask") for i in (0, 1)),
    STUDY.assess("idc", RECIPE, networks=2),
    Distill(net=NET, method=MTT(ipc=1, iterations=2, steps=2, max_start=1, ahead=1, expert_count=2, expert=EXPERT)),
    Train(net=BATCHNORM, recipe=RECIPE.but(epochs=0.1)),
    Curvature(net=NET, model=TRAINS[0], images=16, diagonal="hutchinson", products=4, steps=3),
    Landscape(net=NET, models=tuple(TRAINS[0].but(seed=s) for s in (0, 1, 2)), points=3, train_images=50),
    *(Robustness(net=NET, model=t, corruptions=("contrast",), severities=(3,), images=50) for t in TRAINS),
    Probe(net=NET, model=TRAINS[0], target="digits", train_images=100, test_images=50),
]


def fill(store: Path, stack: int, threads: int) -> None:
    torch.set_num_threads(threads)
    Lab("cpu", store, stack=stack, progress=False).map(PLAN)


def contents(store: Path) -> dict[str, bytes]:
    """Every file of every entry but its provenance, which holds times."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*")
            if p.is_file() and p.name != "meta.json" and p.suffix != ".lock"}


def test_one_plan_into_two_empty_stores(tmp_path: Path):
    """Alone on two threads; by two processes at once, as stacks, on one thread."""
    one, two = tmp_path / "one", tmp_path / "two"
    children = [begun(fill, one, 1, 2), *(begun(fill, two, 16, 1) for _ in range(2))]
    assert [ended(child) for child in children] == [None] * 3
    first, second = contents(one), contents(two)
    assert len(first) > 3 * len(PLAN) and first.keys() == second.keys()
    assert [n for n in first if first[n] != second[n]] == []
    assert not list(two.glob("leases/*")) and not list(two.glob("damaged/*"))


def test_what_is_computed_anew_is_what_is_stored(lab: Lab):
    from lmcnb.lab.files import dump, packed

    for spec in (TRAIN, IMP.at(2), STUDY.distill("idc"), STUDY.connect("imp", 0, 2)):
        entry, again = lab.get(spec), another(lab).recompute(spec)
        assert (entry.folder / "result.json").read_bytes() == dump(again.values)
        assert (entry.folder / "tensors.safetensors").read_bytes() == packed(again.tensors)


def test_what_a_session_has_set_does_not_reach_a_result(lab: Lab, tmp_path: Path):
    entry = lab.get(TRAIN)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.set_num_threads(2)
        with torch.no_grad():
            other = Lab("cpu", tmp_path / "other", progress=False).get(TRAIN)
        assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float64, 2)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
    assert all(torch.equal(t, other.tensors[n]) and t.dtype == other.tensors[n].dtype for n, t in entry.tensors.items())


def test_kernel_and_lab_find_the_same_ticket(lab: Lab, digits):
    ticket = Ticket(net=NET, recipe=RECIPE, round=2, init=3, seed=5)
    left = prune_iteratively(networks(NET, 3), digits, RECIPE, rounds=2, seed=5)[2]
    assert identical(lab.load(ticket).masks, left.masks) and identical(lab.load(ticket).params, left.params)


def test_one_line_and_the_lab_measure_the_same_instability(lab: Lab, digits):
    """Dense, from a ticket, and from step 4 of a training."""
    ticket, begun = IMP.but(round=2), TRAIN.at(4)
    pairs = {"dense": TRAIN, "sparse": TRAIN.but(mask=ticket), "from step 4": TRAIN.but(start=begun)}
    for name, first in pairs.items():
        connect = Connect(net=NET, a=first, b=first.but(seed=1), points=3)
        start = lab.load(ticket) if name == "sparse" else networks(NET, 0)
        found = instability(start, digits, RECIPE, step=4 if name == "from step 4" else None, alphas=[0, 0.5, 1])
        for quantity in QUANTITIES:
            assert torch.equal(getattr(found, quantity), lab.get(connect).tensors[quantity]), name
    later = STUDY.connect("dense", 0, 0, step=4)
    assert later.a == pairs["from step 4"] and later.b == later.a.but(seed=1)
    assert [row.stage for row in lab.status([later])] == ["Train", "Connect"] and later.a.cost(lab.dataset) == 6 * 64
    from_there = lab.get(pairs["from step 4"])
    assert not identical(from_there.tensors, lab.get(TRAIN).tensors)  # the momentum is not kept
    assert [type(s).__name__ for s in pairs["from step 4"].upstream()] == ["Train"]


def test_a_training_goes_on_only_from_its_own(lab: Lab):
    for wrong, word in ((TRAIN, "stop"), (TRAIN.but(init=1, stop=4), "init"), (TRAIN.but(mask=IMP, stop=4), "mask")):
        with pytest.raises(SettingError, match=word):
            TRAIN.but(start=wrong)
    with pytest.raises(ValueError, match="change stop, start, rewind_to or epochs"):
        lab.get(TRAIN.but(start=TRAIN.at(4), stop=2))


def test_the_way_of_execution_is_in_the_key_and_follows_a_rule(lab: Lab, monkeypatch):
    wide = NET.but(width=256)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    small, large = Train(net=NET, recipe=RECIPE), Train(net=wide, recipe=RECIPE)
    assert execution(small, gpu) == {"device": "cuda", "mode": "graph", "precision": "float32"}
    found = set()
    for fused, compiled in ((True, True), (True, False), (False, True), (False, False)):
        monkeypatch.setattr("lmcnb.kernel.strategies.fuses", lambda _, there=fused: there)
        monkeypatch.setattr("lmcnb.kernel.strategies.can_compile", lambda there=compiled: there)
        found.add((execution(large, cpu)["mode"], another(lab).key(large)))
        assert execution(small, cpu)["mode"] == ("fused blocks" if fused else "eager"), "tiny: never compiled"
    assert {mode for mode, _ in found} == {
        "fused blocks compiled loss, own convolutions", "fused blocks", "compiled loss, own convolutions", "eager"}
    assert len({key for _, key in found}) == 4


def test_a_control_starts_from_what_it_controls(lab: Lab):
    """A random mask like a rewound ticket, and like one that keeps its biases."""
    early = TRAIN.but(stop=3)
    rewound, weights = IMP.but(rewind_to=early), IMP.but(rewind="weights")
    for ticket, stop in ((rewound, 3), (weights, 0)):
        control = RandomMask(net=NET, like=ticket)
        begun, other = (n.params for n in lab.load([TRAIN.but(mask=m, stop=stop) for m in (control, ticket)]))
        rest = [n for n in begun if n not in NET.prunable]
        assert rest and all(torch.equal(begun[n], other[n]) for n in rest)
        kept = lab.load(control).masks
        full = lab.load(early if ticket is rewound else TRAIN.but(stop=0)).params
        assert all(torch.equal(begun[n], torch.where(kept[n], full[n], 0)) for n in NET.prunable)


def test_the_keys_of_stored_results_have_not_changed(lab: Lab, monkeypatch):
    """If this fails, every result in every store is orphaned: give a new setting by :func:`lmcnb.spec.late`."""
    monkeypatch.setattr("lmcnb.kernel.strategies.fuses", lambda _: True)
    assert another(lab).key(TRAIN) == "d691a4db436022f90aabd16996160c40df6eb9a2d3e89f588ed429a74cda4ceb"
    monkeypatch.setattr("lmcnb.kernel.strategies.fuses", lambda _: False)  # as where no compiler is
    assert lab.key(TRAIN) == "00fb50786a66d9fa12c703e9602e0f6fefccd1ea0b4f468c3f2af8119b9201d5"
    assert lab.key(STUDY.connect("idc", 0, 1)) == "ed9121f0c1b15ac8eeb3432cca5ee266e7266b8b0bdd92f4b5a399a47f45741a"
