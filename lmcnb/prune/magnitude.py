"""Finding sparse subnetworks. IMP and distilled pruning are one function; they differ only in the data it trains on."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

from ..data import Dataset, Images, training
from ..kernel import masks as _masks
from ..kernel.recipe import Recipe
from ..kernel.step import State
from ..kernel.training import fit
from ..networks import Networks, refuse_others

Rewind = Literal["full", "weights"]
RATE = 0.2  # of the remaining weights, a round


@dataclass(frozen=True)
class Round:
    """One pruning round of K networks.

    Attributes:
        start: the subnetworks that are left, ready to be trained: rewound and masked.
        trained: the networks whose magnitudes decided. data_points: images seen in this round, each network's.
    """

    start: Networks
    trained: State
    data_points: int


def prune_round(origin: Networks, start: Networks, data: Images, recipe: Recipe, seeds: Sequence[int | str], *,
                rate: float = 0.2, rewind: Rewind = "full", state: State | None = None,
                on_segment: Callable[[State, int], None] | None = None) -> Round:
    """Trains the subnetworks ``start``, removes the smallest ``rate`` of what is left, rewinds to ``origin``.

    Args:
        origin: the dense networks to rewind to, at initialisation or at the step they were trained to.
        start: what earlier rounds left. data: real images (IMP) or a decoded distilled set (distilled pruning).
        seeds: of the SGD noise, one a network. rewind: see :func:`rewound`.
        state, on_segment: where to resume the training, and what to call between its segments: see
            :func:`lmcnb.kernel.training.fit`.
    Raises:
        ValueError: nothing is left to train: ``origin`` is at the end of the recipe.
    """
    if origin.step >= (last := recipe.steps(len(data))):
        raise ValueError(f"these networks are at step {origin.step}, the end of a recipe of {last} on {len(data)} "
                         f"images, and magnitudes are those of trained weights: raise epochs, or begin the schedule "
                         f"anew with dataclasses.replace(networks, step=0)")
    if state is None:
        state = State.start(start.params, start.buffers, origin.step)
    trained = fit(start.net, start.params, start.buffers, data, recipe, seeds, start.masks, state=state,
                  on_segment=on_segment)
    left = _masks.prune(trained.params, start.masks, rate)
    points = (recipe.steps(len(data)) - origin.step) * recipe.batch
    return Round(rewound(origin, trained, left, rewind), trained, points)


def prune_rounds(start: Networks, data: Dataset | Images, recipe: Recipe, rounds: int = 10, seed: int | str = 0,
                 **options) -> Iterator[Round]:
    """The rounds of :func:`prune_iteratively` as they are computed; ``options`` are :func:`prune_round`'s.

    A ``state`` among them is where the first round is resumed.
    """
    refuse_others(start=start)
    if not isinstance(rounds, Integral) or rounds < 0:
        raise ValueError(f"rounds must be a whole number, 0 or more; got {rounds!r}")
    images = training(data).to(start.device)
    origin = start = start.on(images)
    for number in range(1, rounds + 1):
        seeds = [round_seed(f"{seed}/{label}", number) for label in start.labels]
        found = prune_round(origin, start, images, recipe, seeds, **options)
        start = found.start
        options.pop("state", None)
        yield found


def prune_iteratively(start: Networks, data: Dataset | Images, recipe: Recipe, rounds: int = 10, seed: int | str = 0, *,
                      rate: float = RATE, sparsity: float | None = None, rewind: Rewind = "full") -> list[Networks]:
    """Iterative magnitude pruning (Frankle & Carbin, 2019): train, remove the smallest weights, rewind, again.

    Args:
        start: K networks, dense or pruned already; what survives is rewound to them.
        data: a data set's training images (IMP), or ``distilled.decoded()`` (distilled pruning).
        rounds: of pruning. seed: of the SGD noise. rate: share of the remaining weights that a round removes.
        sparsity: share of what ``start`` has that all rounds together remove, in place of rate: .9 in one round is
            one-shot pruning. rewind: see :func:`rewound`.
    Raises:
        ValueError: rounds, rate or sparsity that cannot be, or images that do not fit.
    Returns:
        rounds + 1 stacks of K subnetworks, each ready to be trained: [0] is ``start``, [r] what r rounds left.

    >>> import lmcnb
    >>> data = lmcnb.load("digits")
    >>> start = lmcnb.Networks.initialise(lmcnb.Net.of(data.train, "convnet2", width=4))
    >>> short = lmcnb.Recipe(epochs=0.1, augment="none", cutmix=0)
    >>> rounds = lmcnb.prune_iteratively(start, data, short, rounds=2)
    >>> assert [round(float(r.sparsity), 2) for r in rounds] == [0.0, 0.2, 0.36]
    """
    refuse_others(start=start)
    if sparsity is not None:
        if rate != RATE:
            raise ValueError(f"give rate or sparsity, not both; got {rate} and {sparsity}")
        rate = rate_of(sparsity, rounds)
    images = training(data)
    return [start.on(images), *(found.start for found in prune_rounds(start, data, recipe, rounds, seed, rate=rate,
                                                           rewind=rewind))]


def round_seed(seed: int | str, round: int) -> str:
    """The seed of SGD noise in pruning round 1, 2, … of a pruning with ``seed``: the lab's tickets use it, too."""
    return f"prune/{seed}/{round}"


def rewound(origin: Networks, trained: State, masks: _masks.Masks, rewind: Rewind = "full") -> Networks:
    """Where subnetworks start their training.

    "full" returns everything to ``origin``, the sound reading of "subnetwork at initialisation". "weights" returns only
    convolution and linear weights, as the released code does: biases, norm parameters and BatchNorm statistics keep
    what training gave them.

    Raises:
        ValueError: an unknown ``rewind``.
    """
    if rewind not in ("full", "weights"):
        raise ValueError(f"unknown rewind {rewind!r}; known: full, weights")
    if rewind == "full":
        return origin.masked(masks)
    params = {n: p if n in origin.masks else trained.params[n] for n, p in origin.params.items()}
    return replace(origin, params=params, buffers=trained.buffers).masked(masks)


def sparsity_after(rounds: int, rate: float = 0.2) -> float:
    """Share of prunable weights removed after that many rounds: 1 − (1 − rate)^rounds.

    >>> assert sparsity_after(0) == 0 and sparsity_after(1, rate=0.5) == 0.5
    >>> assert round(sparsity_after(10), 3) == 0.893

    Raises:
        ValueError: fewer than no rounds.
    """
    if rounds < 0:
        raise ValueError(f"rounds must be 0 or more; got {rounds}")
    return 1 - (1 - rate) ** rounds


def rate_of(sparsity: float, rounds: int) -> float:
    """The rate that removes this share of the prunable weights in so many rounds: 1 − (1 − sparsity)^(1/rounds).

    >>> assert round(rate_of(sparsity_after(4), 4), 9) == 0.2 and rate_of(0.9, 1) == 0.9

    Raises:
        ValueError: a sparsity outside [0, 1), or no round.
    """
    if not 0 <= sparsity < 1 or rounds < 1:
        raise ValueError(f"sparsity must lie in [0, 1), and take a round at least; got {sparsity} in {rounds} rounds")
    return sparsity if rounds == 1 else 1 - (1 - sparsity) ** (1 / rounds)
