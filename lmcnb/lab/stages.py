"""The stages of a study. Each is a spec: equal settings are one artifact, computed once, wherever it is asked for."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ..corruptions import SEVERITIES, corruption
from ..data import Dataset
from ..distill import AnyMethod, Protocol
from ..models import Net
from ..randomness import refuse_random
from ..spec import Seed, Spec
from ..training import Recipe


class Stage(Spec):
    """A pure function's arguments. ``version`` rises when the function's result changes."""

    version: ClassVar[int] = 1
    stacked: ClassVar[tuple[str, ...]] = ()  # fields along the model axis: specs that differ only there are one stack

    dataset: str = "digits"
    net: Net

    def upstream(self) -> list[Stage]:
        """The artifacts that this one is made from."""
        return []

    def other_data(self) -> list[str]:
        """Data sets that it reads besides ``dataset``: their fingerprints are part of its key too."""
        return []

    def group(self) -> str:
        """Equal for specs that may be computed as one stack."""
        return type(self).__name__ + self.but(**self.blank()).canonical() if self.stacked else self.canonical()

    def blank(self) -> dict[str, Any]:
        return {}

    def check(self, data: Callable[[str], Dataset]) -> None:
        """Raises ValueError when this stage cannot work on these data; a lab asks before anything is computed.

        ``data`` gives a data set by name.
        """
        train = data(self.dataset).train
        if (train.shape, train.classes) != ((self.net.channels, self.net.size, self.net.size), self.net.classes):
            raise ValueError(f"net takes {self.net.channels} × {self.net.size} × {self.net.size} images of "
                             f"{self.net.classes} classes, {self.dataset} has {' × '.join(map(str, train.shape))} of "
                             f"{train.classes}: make it with Net.of(data.train, …)")
        refuse_random(self.net)


class Expert(Stage):
    """The weights of a network before the first and after every epoch of a training on the real data.

    Args:
        init: seed of the initialisation and of the SGD noise. zca: ε of the whitening of the images it sees.
    """

    stacked: ClassVar[tuple[str, ...]] = ("init",)

    recipe: Recipe
    init: Seed = 0
    zca: float | None = Field(None, gt=0)

    def blank(self) -> dict[str, Any]:
        return {"init": 0}


class Distil(Stage):
    """A distilled (or chosen) set. ``net`` is the network it is made with."""

    method: AnyMethod
    seed: Seed = 0

    def check(self, data: Callable[[str], Dataset]) -> None:
        super().check(data)
        self.method.check(data(self.dataset), self.net)

    def upstream(self) -> list[Stage]:
        """The expert trainings that the method follows, if it follows any."""
        needed = self.method.experts
        if needed is None:
            return []
        return [Expert(dataset=self.dataset, net=self.net, recipe=needed.recipe, zca=needed.zca, init=i)
                for i in range(needed.count)]


class Assess(Stage):
    """Test accuracy of networks trained on a set alone: ``networks`` of them, as one stack, at the last epoch."""

    source: Distil
    protocol: Protocol
    networks: int = Field(3, ge=1)

    @property
    def recipe(self) -> Recipe:
        """The protocol's training."""
        return self.protocol.recipe

    @model_validator(mode="after")
    def _same_data(self):
        if self.source.dataset != self.dataset:
            raise ValueError(f"source is of the dataset {self.source.dataset}, the assessment of {self.dataset}: give "
                             f"both the same")
        return self

    def upstream(self) -> list[Stage]:
        return [self.source]


class Train(Stage):
    """A network trained on the real data: from initialisation ``init``, under ``mask``, with SGD noise ``seed``.

    ``stop`` ends it after that many steps of the recipe (a rewinding point).
    """

    stacked: ClassVar[tuple[str, ...]] = ("mask", "init", "seed")

    recipe: Recipe
    init: Seed = 0
    seed: Seed | str = 0
    mask: Ticket | RandomMask | None = None
    stop: int | None = Field(None, ge=0)

    def upstream(self) -> list[Stage]:
        return [self.mask] if self.mask is not None and not self.mask.dense else []

    def blank(self) -> dict[str, Any]:
        return {"mask": None, "init": 0, "seed": 0}

    def group(self) -> str:
        return super().group() + _way_back(self.mask)

    def check(self, data: Callable[[str], Dataset]) -> None:
        super().check(data)
        steps, begin = self.recipe.steps(len(data(self.dataset).train)), _first_step(self.mask)
        last = steps if self.stop is None else self.stop
        if not begin <= last <= steps:
            raise ValueError(f"a training from step {begin} to step {last} does not fit a recipe of {steps} steps on "
                             f"{self.dataset}: change stop, rewind_to or epochs")

    @model_validator(mode="after")
    def _same_network(self):
        if self.mask is not None and (self.mask.net, self.mask.dataset) != (self.net, self.dataset):
            raise ValueError(f"the mask is of another network or data set ({self.mask.net.canonical()} on "
                             f"{self.mask.dataset}) than the training ({self.net.canonical()} on {self.dataset})")
        if self.mask is not None and self.mask.init != self.init:
            raise ValueError(f"the mask was found from init {self.mask.init}, the network starts from {self.init}; "
                             f"a ticket is a mask and its own initialisation")
        return self


class Ticket(Stage):
    """A mask after ``round`` rounds of iterative pruning, 20% of what is left each.

    Args:
        init: seed of the initialisation. seed: of the SGD noise while pruning.
        source: the distilled set to train on; None is the real data (IMP).
        recipe: of the training in each round.
        rewind: "full" or "weights" (see :func:`lmcnb.rewound`). rewind_to: a dense training stopped after some steps
            (``stop``), whose weights take the place of the initial ones, and whose step that of the schedule's first.
        base: a ticket to go on from (hybrid tickets); ``round`` counts its rounds too.
    """

    version: ClassVar[int] = 2  # 2: the accuracy of every round's training is kept
    stacked: ClassVar[tuple[str, ...]] = ("init", "seed")

    init: Seed = 0
    seed: Seed | str = 0
    source: Distil | None = None
    recipe: Recipe
    round: int = Field(0, ge=0)
    rate: float = Field(0.2, gt=0, lt=1)
    rewind: Literal["full", "weights"] = "full"
    rewind_to: Train | None = None
    base: Ticket | None = None

    @property
    def dense(self) -> bool:
        return self.round == 0

    @property
    def noise(self) -> str:
        """The seed that :func:`lmcnb.prune_iteratively` takes to find the same ticket."""
        return f"{self.seed}/{self.init}"

    def check(self, data: Callable[[str], Dataset]) -> None:
        super().check(data)
        train = data(self.dataset).train
        images = len(train) if self.source is None else self.source.method.images(train.classes)
        steps, begin = self.recipe.steps(images), _first_step(self)
        if begin >= steps:
            raise ValueError(f"rewind_to is step {begin}, and a pruning round has {steps} steps: lower its stop, or "
                             f"raise epochs")

    def at(self, round: int) -> Ticket:
        """The same pruning after another number of rounds."""
        return self.but(round=round)

    def previous(self) -> Ticket:
        return self.base if self.base is not None and self.round - 1 == self.base.round else self.at(self.round - 1)

    def upstream(self) -> list[Stage]:
        before = [self.previous()] if self.round > 1 else []
        return before + [s for s in (self.source, self.rewind_to) if s is not None]

    def blank(self) -> dict[str, Any]:
        point = self.rewind_to and self.rewind_to.but(init=0)
        return {"init": 0, "seed": 0, "rewind_to": point, "base": None}

    def group(self) -> str:
        return super().group() + _way_back(self.previous() if self.round > 1 else None)

    @model_validator(mode="after")
    def _base_is_before(self):
        if self.base is not None and not 0 < self.base.round < max(self.round, self.base.round + 1):
            raise ValueError("base must have at least one round")
        if self.base is not None and self.round <= self.base.round:
            raise ValueError(f"round ({self.round}) counts the base's rounds too: it must exceed {self.base.round}")
        for name, other in (("base", self.base), ("rewind_to", self.rewind_to), ("source", self.source)):
            if other is not None and other.dataset != self.dataset:
                raise ValueError(f"{name} is of another data set ({other.dataset}) than the ticket ({self.dataset})")
        for name, other in (("base", self.base), ("rewind_to", self.rewind_to)):
            if other is not None and (other.net, other.init) != (self.net, self.init):
                raise ValueError(f"{name} is of another network or init ({other.net.canonical()}, init {other.init}) "
                                 f"than the ticket ({self.net.canonical()}, init {self.init})")
        return self

    @model_validator(mode="after")
    def _rewinds_to_a_step(self):
        if self.rewind_to is not None and not self.rewind_to.stop:
            raise ValueError("rewind_to must be a training that was stopped: give it stop, the number of its steps; to "
                             "rewind to the initial weights leave rewind_to out")
        if self.rewind_to is not None and self.rewind_to.mask is not None:
            raise ValueError("rewind_to must be a dense training: leave its mask out")
        return self


class RandomMask(Stage):
    """A random mask with ``like``'s number of weights: "layerwise" keeps its layers' sparsities, "global" does not.

    It is a control for ``like``, so its network starts from what ``like``'s does: rewound to the same step, and with
    the same biases and norms where those were not rewound.
    """

    like: Ticket
    kind: Literal["layerwise", "global"] = "layerwise"
    seed: Seed = 0

    @model_validator(mode="after")
    def _same_network(self):
        if (self.like.net, self.like.dataset) != (self.net, self.dataset):
            raise ValueError(f"like is a mask of another network or data set ({self.like.net.canonical()} on "
                             f"{self.like.dataset}) than this one ({self.net.canonical()} on {self.dataset})")
        return self

    @model_validator(mode="after")
    def _like_is_pruned(self):
        if self.like.dense:
            raise ValueError("like must be pruned: give it a round of 1 or more")
        return self

    @property
    def init(self) -> int:
        return self.like.init

    @property
    def rewind_to(self) -> Train | None:
        return self.like.rewind_to

    @property
    def dense(self) -> bool:
        return False

    def upstream(self) -> list[Stage]:
        return [self.like]


class Connect(Stage):
    """The path between two trainings: the four quantities at ``points`` α.

    Args:
        a, b: two trainings. train_images: how many training images to measure on (None: all).
        bn: "lerp" or "recalibrate". masks: "held" (pruned weights are zero) or "released" (masks dropped, as in
            the released code: pruned weights are what weight decay leaves of their initial values).
    """

    a: Train
    b: Train
    points: int = Field(11, ge=2)
    train_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)
    bn: Literal["lerp", "recalibrate"] = "lerp"
    masks: Literal["held", "released"] = "held"

    def upstream(self) -> list[Stage]:
        return [self.a, self.b]

    @model_validator(mode="after")
    def _two_of_one_network(self):
        _check_same(self, self.a, self.b)
        if self.a == self.b:
            raise ValueError("a and b are one training, and a path needs two: give them different seeds")
        return self


class Landscape(Stage):
    """The train loss on a plane in weight space: see :mod:`lmcnb.landscape`.

    Args:
        models: trainings from one initialisation under one mask; "random" takes the first, the others are projected.
        kind: "through" (the first three, orthonormal axes), "released" (of four, as the released code draws it) or
            "random" (filter-normalised directions).
        points: along each axis. train_images: how many training images to measure on (None: all).
        bn: "lerp" combines BatchNorm statistics linearly, "recalibrate" re-estimates them at every point.
        masks: as in :class:`Connect`. seed: of the random directions.
    """

    models: tuple[Train, ...]
    kind: Literal["through", "released", "random"] = "through"
    points: int = Field(21, ge=2)
    train_images: int | None = Field(None, ge=1)
    bn: Literal["lerp", "recalibrate"] = "lerp"
    masks: Literal["held", "released"] = "held"
    seed: Seed = 0

    def upstream(self) -> list[Stage]:
        return list(self.models)

    @model_validator(mode="after")
    def _enough_models(self):
        needed = {"through": 3, "released": 4, "random": 1}[self.kind]
        if len(self.models) < needed:
            raise ValueError(f"a plane of kind {self.kind!r} needs {needed} models; got {len(self.models)}: add seeds")
        if len(set(self.models)) < len(self.models):
            raise ValueError("models must be different trainings: give each a seed of its own")
        if len({m.but(seed=0) for m in self.models}) > 1:
            raise ValueError("the models of a plane may differ in their seed only: not in initialisation, mask, recipe")
        _check_same(self, *self.models)
        return self


class Curvature(Stage):
    """The Hessian of one trained network over the prunable weights that its mask keeps: see :mod:`lmcnb.curvature`.

    Args:
        images: training images that the loss is measured on (the first ones).
        diagonal: "exact", or estimated from ``products`` products by "hutchinson" or "xdiag", or "none".
        steps, starts: Lanczos steps and random starts for eigenvalues and spectral density; 0 steps leave them out.
    """

    model: Train
    images: int = Field(64, ge=1)
    diagonal: Literal["exact", "hutchinson", "xdiag", "none"] = "exact"
    products: int = Field(32, ge=2)
    steps: int = Field(24, ge=0)
    starts: int = Field(1, ge=1)
    seed: Seed = 0

    def upstream(self) -> list[Stage]:
        return [self.model]

    @model_validator(mode="after")
    def _same_network(self):
        _check_same(self, self.model)
        return self


class Robustness(Stage):
    """The test accuracy of a trained network on images spoilt at test time: see :mod:`lmcnb.corruptions`.

    Args:
        corruptions, severities: each pair of them is one spoilt test set. images: the first test images (None: all).
        seed: of the noise.
    """

    stacked: ClassVar[tuple[str, ...]] = ("model",)

    model: Train
    corruptions: tuple[str, ...] = Field(min_length=1)
    severities: tuple[int, ...] = Field(SEVERITIES, min_length=1)
    images: int | None = Field(None, ge=1)
    seed: Seed = 0

    def upstream(self) -> list[Stage]:
        return [self.model]

    def blank(self) -> dict[str, Any]:
        return {"model": Train(dataset=self.dataset, net=self.net, recipe=Recipe())}

    @model_validator(mode="after")
    def _defined(self):
        _check_same(self, self.model)
        for name, given in (("corruptions", self.corruptions), ("severities", self.severities)):
            if len(set(given)) < len(given):
                raise ValueError(f"{name} must be different; got {', '.join(map(str, given))}")
        for name in self.corruptions:
            for severity in self.severities:
                corruption(name, severity, self.net.channels)
        return self


class Probe(Stage):
    """A linear probe of a trained network's features on another data set: see :mod:`lmcnb.transfer`.

    Args:
        target: the other data set, as :func:`lmcnb.load` knows it; its images are fitted to the network's input.
        train_images, test_images: the target's first images (None: all). C: inverse of the L2 penalty.
    """

    model: Train
    target: str
    train_images: int | None = Field(None, ge=1)
    test_images: int | None = Field(None, ge=1)
    C: float = Field(0.01, gt=0)

    def upstream(self) -> list[Stage]:
        return [self.model]

    def other_data(self) -> list[str]:
        return [self.target]

    @model_validator(mode="after")
    def _same_network(self):
        _check_same(self, self.model)
        return self


def _check_same(stage: Stage, *models: Train) -> None:
    for model in models:
        if (model.net, model.dataset) != (stage.net, stage.dataset):
            raise ValueError(f"the model is {model.net.canonical()} on {model.dataset}, the stage says "
                             f"{stage.net.canonical()} on {stage.dataset}: give both the same net and dataset")


def _way_back(mask: Ticket | RandomMask | None) -> str:
    """From what a mask's subnetwork starts: a stack has one answer for all of its models."""
    if mask is None:
        return "/full/None"
    ticket = mask.like if isinstance(mask, RandomMask) else mask
    point = ticket.rewind_to and ticket.rewind_to.but(init=0).canonical()
    return f"/{'full' if ticket.dense else ticket.rewind}/{point}"


def _first_step(mask: Ticket | RandomMask | None) -> int:
    """The step of the schedule that a mask's subnetwork starts from."""
    point = getattr(mask, "rewind_to", None)
    return point.stop if point else 0


Train.model_rebuild()
Ticket.model_rebuild()
