"""The order of a plan, its stacks and shards, how long it takes, and what is known of the pace."""

import itertools
import json
from pathlib import Path

import pytest
from helpers import NET, RECIPE, STUDY, TRAIN, another

from lmcnb import Lab, Net
from lmcnb.kernel.strategies import operations as flops
from lmcnb.lab import estimate, status
from lmcnb.lab.estimate import Paces
from lmcnb.lab.schedule import Task, makespan, shard, stacks, tasks
from lmcnb.lab.stage import Stage, closure

PLAN = [STUDY.connect("imp", i, r) for i in (0, 1) for r in (1, 3)] + [TRAIN.but(seed=k) for k in range(4)]


def task(key: str, cost: float, *needs: str, urgency: float = 0.0) -> Task:
    return Task(TRAIN, key, frozenset(needs), cost, urgency or cost)


def test_the_longest_chain_comes_first(lab: Lab):
    plan = tasks(closure(PLAN), lab.key, lab.cost)
    by_key = {t.key: t for t in plan}
    for each in plan:
        longest = max((by_key[t.key].urgency for t in plan if each.key in t.needs), default=0.0)
        assert each.urgency == pytest.approx(each.cost + longest)
    assert plan[0].spec == STUDY.mask("imp", 0, 1), "three rounds, a training and a path hang on it"
    assert [t.urgency for t in plan] == sorted((t.urgency for t in plan), reverse=True)


def test_stacks_are_divided_among_workers_and_never_mix_groups(lab: Lab):
    plan = tasks([TRAIN.but(seed=k) for k in range(7)] + [TRAIN.but(recipe=RECIPE.but(lr=0.2))], lab.key, lab.cost)
    for workers, expected in ((1, [1, 4, 3]), (2, [1, 4, 3]), (3, [1, 3, 3, 1]), (100, [1] * 8)):
        found = list(stacks(plan, lambda task: "", lambda spec: 4, workers))
        assert sorted(map(len, found)) == sorted(expected), workers
        assert all(len({t.group for t in stack}) == 1 for stack in found)
    begun = list(stacks(plan, lambda task: "5" if task is plan[0] else "", lambda spec: 16, 1))
    assert [plan[0]] in begun


@pytest.mark.parametrize("of", [1, 2, 3, 5, 40])
def test_shards_cover_a_plan_once_and_share_its_cost(lab: Lab, of: int):
    parts = [shard(PLAN, k, of, lab.cost) for k in range(1, of + 1)]
    roots = [s for s in PLAN if s not in closure(u for p in PLAN for u in p.upstream())]
    assert sorted(map(lab.key, itertools.chain(*parts))) == sorted(map(lab.key, roots + [
        s for part in parts for s in part if s not in roots])), "a root is in one part"
    assert {lab.key(s) for part in parts for s in part} == {lab.key(s) for s in PLAN}
    costs = sorted(sum(map(lab.cost, closure(part))) for part in parts if part)
    largest = max(sum(map(lab.cost, closure([s]))) for s in roots)
    assert costs[-1] - costs[0] <= largest or of > len(roots)


def test_makespan_is_that_of_the_longest_chain_or_of_the_work():
    chain = [task("a", 1, urgency=3), task("b", 1, "a", urgency=2), task("c", 1, "b")]
    alone = [task(f"x{k}", 1) for k in range(6)]

    def seconds(each: Task) -> float:
        return each.cost
    assert makespan(chain, seconds, 5) == 3 == makespan(chain, seconds, 1)
    assert [makespan(chain + alone, seconds, n) for n in (1, 2, 3, 100)] == [9, 5, 3, 3]
    assert makespan([], seconds, 3) == 0 and makespan(alone, lambda _: None, 2) == 0
    assert makespan([task("a", 1, "stored")], seconds, 1) == 1, "what is stored is not waited for"


def test_flops_are_counted_from_the_layers():
    plane = 8 * 8
    expected = 2 * 9 * (1 * 4 * plane + 4 * 4 * plane / 4 + 4 * 4 * plane / 16) + 2 * 4 * 10
    assert flops(NET) == expected
    assert flops(Net(name="convnet3", width=64)) > 3.5 * flops(Net(name="convnet3", width=32))


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The reference that the package ships, made up."""
    def write(**curves: list) -> None:
        path = tmp_path / "paces.json"
        path.write_text(json.dumps({name.replace("_", " "): points for name, points in curves.items()}))
        monkeypatch.setattr(estimate, "REFERENCE", path)
    return write


def test_a_new_machine_takes_the_shipped_pace_and_its_own_comes_first(lab: Lab, paces, monkeypatch):
    work = flops(NET)
    monkeypatch.setattr(estimate, "device_name", lambda device: "here")
    paces(here=[[work / 10, 0.1], [10 * work, 10.0]])
    assert Paces(lab).of(TRAIN) == pytest.approx(1.0), "half way between logarithms"
    wide = TRAIN.but(net=NET.model_copy(update={"width": 400}))
    assert Paces(lab).of(wide) == pytest.approx(10.0 * flops(wide.net) / (10 * work)), "beyond its end by operations"
    assert Paces(lab).source == "paces of here as shipped"
    monkeypatch.setattr(lab.store, "metas", lambda stage: [
        {"device": "here", "cost": 10.0, "seconds": 20.0, "flops": work}, {"device": "other", "cost": 1, "flops": 1}])
    monkeypatch.setattr(lab.store, "stages", lambda: ["Train"])
    here = Paces(lab)
    assert here.of(TRAIN) == 2.0 and here.of(STUDY.mask("imp", 0, 1)) == 2.0, "by its network in any stage"
    assert here.of(wide) == pytest.approx(2.0 * 10.0 * flops(wide.net) / (10 * work)), "scaled to this machine"
    assert here.source == "paces as measured here and of here as shipped"


def test_another_kind_is_said_and_none_is_not_guessed(lab: Lab, paces, monkeypatch):
    monkeypatch.setattr(estimate, "device_name", lambda device: "CPU, one thread, B")
    paces(**{"CPU,_one_thread,_A": [[1.0, 1.0]]})
    assert Paces(lab).source == "paces of CPU, one thread, A as shipped, which is not this machine's kind (CPU, one " \
                                "thread, B)"
    monkeypatch.setattr(estimate, "device_name", lambda device: "NVIDIA H100")
    assert Paces(lab).of(TRAIN) is None and Paces(lab).source == "no pace is known for NVIDIA H100"
    assert [row.seconds for row in lab.status([TRAIN])] == [None]


def test_an_outlook_counts_shared_work_once_and_divides_it(lab: Lab, monkeypatch):
    monkeypatch.setenv("LMCNB_STORE", str(lab.store.root))
    one, four = status([PLAN, PLAN])[1], status([PLAN], 4)[1]
    needed: list[Stage] = closure(PLAN)
    assert one.images == sum(map(lab.cost, needed)) == four.images and one.unknown == 0
    assert one.span == pytest.approx(one.seconds) and four.chain <= four.span < one.span
    assert four.span >= four.seconds / 4
    lab.map(needed[:2])
    assert status([PLAN])[1].images == pytest.approx(one.images - sum(map(lab.cost, needed[:2])))
    assert another(lab).status([TRAIN])[0].remaining == 1
