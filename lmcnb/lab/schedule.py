"""In which order a plan is computed, as which stacks, and how it is divided."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from .stage import Stage, closure

Cost = Callable[[Stage], float]  # in training images


@dataclass(frozen=True)
class Task:
    """A spec that must be computed.

    Attributes:
        needs: the keys of what it is made from. cost: of it, in training images.
        urgency: of the longest chain of missing entries that begins with it.
    """

    spec: Stage
    key: str
    needs: frozenset[str]
    cost: float
    urgency: float

    @cached_property
    def group(self) -> str:
        """Equal for tasks that may be computed as one stack."""
        return self.spec.group()


def tasks(missing: Sequence[Stage], key: Callable[[Stage], str], cost: Cost) -> list[Task]:
    """What is missing (upstream first) as tasks, the most urgent first: rounds of pruning wait for one another."""
    needs = {spec: list(spec.upstream()) for spec in missing}
    costs = {spec: cost(spec) for spec in missing}
    urgency = dict(costs)
    for spec in reversed(missing):
        for upstream in needs[spec]:
            if upstream in urgency:
                urgency[upstream] = max(urgency[upstream], costs[upstream] + urgency[spec])
    found = [Task(s, key(s), frozenset(map(key, needs[s])), costs[s], urgency[s]) for s in missing]
    return sorted(found, key=lambda task: -task.urgency)


def stacks(ready: Sequence[Task], begun: Callable[[Task], str], most: Callable[[Stage], int], workers: int
           ) -> Iterator[list[Task]]:
    """Tasks that may be computed together: equal but for the model axis, and equally far if they were begun.

    Args:
        begun: how far a task was when it was interrupted. most: networks in a stack.
        workers: processes that share the plan: a group is divided among them.
    """
    groups: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in ready:
        alone = not task.spec.stacked or most(task.spec) == 1
        groups[(task.key, "") if alone else (task.group, begun(task))].append(task)
    for group in groups.values():
        first = group[0].spec
        size = min(most(first) if first.stacked else 1, -(-len(group) // workers))
        yield from (group[start:start + size] for start in range(0, len(group), size))


def shard(specs: Sequence[Stage], number: int, of: int, cost: Cost) -> list[Stage]:
    """Part ``number`` (from 1) of a plan that is divided into ``of`` parts of about equal cost, upstream included.

    The same for every process. What two parts are both made from is computed once where they share a store.
    """
    made_from = dict.fromkeys(spec for each in specs for spec in closure(each.upstream()))
    whole = {spec: closure([spec]) for spec in dict.fromkeys(specs) if spec not in made_from}
    costs = {s: cost(s) for needed in whole.values() for s in needed}
    parts: list[dict[Stage, None]] = [{} for _ in range(of)]
    loads = [0.0] * of
    for needed in sorted(whole.values(), key=lambda n: -sum(costs[s] for s in n)):
        added = [load + sum(costs[s] for s in needed if s not in part) for load, part in zip(loads, parts)]
        k = added.index(min(added))
        loads[k] = added[k]
        parts[k] |= dict.fromkeys(needed)
    return [spec for spec in dict.fromkeys(specs) if spec in parts[number - 1]]


def makespan(plan: Iterable[Task], seconds: Callable[[Task], float | None], workers: int) -> float:
    """Seconds until ``workers`` have computed a plan, each task alone and the most urgent first.

    At least as long as its longest chain. Tasks of unknown length count nothing.
    """
    left = {task.key: task for task in plan}
    order = TopologicalSorter({key: [need for need in task.needs if need in left] for key, task in left.items()})
    order.prepare()
    ready: list[tuple[float, str]] = []
    running: list[tuple[float, str]] = []  # ends
    now = 0.0
    while order.is_active():
        for key in order.get_ready():
            heappush(ready, (-left[key].urgency, key))
        while ready and len(running) < workers:
            _, key = heappop(ready)
            heappush(running, (now + (seconds(left[key]) or 0.0), key))
        now, ended = heappop(running)
        order.done(ended)
    return now
