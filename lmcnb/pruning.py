"""Finding sparse subnetworks. IMP and distilled pruning are one function; they differ only in the data it trains on."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from . import masks as _masks
from .data import Images
from .masks import Masks
from .models import Net
from .params import Params
from .training import Recipe, State, fit

Rewind = Literal["full", "weights"]


@dataclass(frozen=True)
class Round:
    """One pruning round of K models.

    Attributes:
        masks: bool [K, ...] after the round. trained: the networks whose magnitudes decided.
        start: parameters and buffers from which the subnetwork trains: rewound and masked.
        data_points: images seen in this round's training, each model's.
    """

    masks: Masks
    trained: State
    start: tuple[Params, Params]
    data_points: int


def prune_round(net: Net, init: tuple[Params, Params], start: tuple[Params, Params], masks: Masks, data: Images,
                recipe: Recipe, seeds: Sequence[int | str], *, rate: float = 0.2, rewind: Rewind = "full",
                from_step: int = 0, state: State | None = None, **fit_options) -> Round:
    """Trains the subnetworks from ``start``, removes the smallest ``rate`` of what is left, rewinds to ``init``.

    Args:
        init: stacked parameters and buffers [K, ...] to rewind to (at initialisation, or of step ``from_step``).
        masks: what earlier rounds left. data: real images (IMP) or a decoded distilled set (distilled pruning).
        rewind: see :func:`rewound`. from_step: the step of the schedule that ``init`` was taken at.
        state, fit_options: where to resume the training, and the rest of :func:`lmcnb.fit`'s arguments.
    """
    if state is None:
        state = State.start(*start, from_step)
    trained = fit(net, *start, data, recipe, seeds, masks, state=state, **fit_options)
    left = _masks.prune(trained.params, masks, rate)
    points = (recipe.steps(len(data)) - from_step) * recipe.batch
    return Round(left, trained, rewound(net, init, (trained.params, trained.buffers), left, rewind), points)


def prune_iteratively(net: Net, init: tuple[Params, Params], data: Images, recipe: Recipe,
                      seeds: Sequence[int | str], rounds: int = 10, **options) -> Iterator[Round]:
    """Iterative magnitude pruning from ``init``, round by round (Frankle & Carbin, 2019)."""
    masks, start = _masks.ones(init[0], net.prunable), init
    for index in range(rounds):
        result = prune_round(net, init, start, masks, data, recipe,
                             [round_seed(s, index + 1) for s in seeds], **options)
        masks, start = result.masks, result.start
        yield result


def round_seed(seed: int | str, round: int) -> str:
    """The seed of SGD noise in pruning round 1, 2, … of a pruning with ``seed``: the lab's tickets use it, too."""
    return f"prune/{seed}/{round}"


def rewound(net: Net, init: tuple[Params, Params], trained: tuple[Params, Params], masks: Masks,
            rewind: Rewind = "full") -> tuple[Params, Params]:
    """Where a subnetwork starts its training.

    "full" returns everything to ``init``, the sound reading of "subnetwork at initialisation". "weights" returns only
    convolution and linear weights, as the released code does: biases, norm parameters and BatchNorm statistics keep
    what training gave them.

    Raises:
        ValueError: an unknown ``rewind``.
    """
    if rewind not in ("full", "weights"):
        raise ValueError(f"unknown rewind {rewind!r}; known: full, weights")
    if rewind == "full":
        return _masks.masked(init[0], masks), init[1]
    weights = set(net.prunable)
    params = {n: init[0][n] if n in weights else trained[0][n] for n in init[0]}
    return _masks.masked(params, masks), trained[1]


def sparsity_after(rounds: int, rate: float = 0.2) -> float:
    """Share of prunable weights removed after that many rounds: 1 − (1 − rate)^rounds."""
    return 1 - (1 - rate) ** rounds
