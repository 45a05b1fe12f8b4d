"""One valid example of every group of settings, and what cannot be in any of them."""
from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator
from random import Random
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lmcnb import (
    DC,
    DM,
    DSA,
    IDC,
    MTT,
    Connect,
    Curvature,
    Distill,
    EarlyIDC,
    Herding,
    KCenter,
    Lab,
    Landscape,
    Net,
    Probe,
    RandomMask,
    RandomReal,
    Recipe,
    Robustness,
    SoftLabels,
    Study,
    Ticket,
    Train,
)
from lmcnb.data.generated import GeneratedImages
from lmcnb.distill import RDED, EvalProtocol, Experts
from lmcnb.distill.layouts import Notes
from lmcnb.kernel.augment import Augment
from lmcnb.models import ViT
from lmcnb.prune.platon import Platon, PlatonPruner
from lmcnb.spec import Spec
from lmcnb.stages import Assess, BorrowedMask, Expert, GradualTicket, Layers, Segment, TransferredTicket

NET, RECIPE = Net(name="convnet2", channels=1, size=8, width=4), Recipe(epochs=2, batch=32)
ON = {"net": NET, "recipe": RECIPE}
TRAIN = Train(**ON)
TICKET = Ticket(**ON, round=2)
MODELS = tuple(Train(**ON, seed=s) for s in range(4))
GRADUAL = GradualTicket(**ON)
METHODS = (IDC(), RDED(), EarlyIDC(), DC(), DSA(), DM(), MTT(), RandomReal(), Herding(), KCenter(), SoftLabels(of=DM()))
STAGES = (
    TRAIN, Train(**ON, mask=TICKET), TICKET, Ticket(**ON, round=1, source=Distill(net=NET, method=IDC())),
    RandomMask(net=NET, like=TICKET), Connect(net=NET, a=MODELS[0], b=MODELS[1]), Landscape(net=NET, models=MODELS),
    Curvature(net=NET, model=TRAIN), Robustness(net=NET, model=TRAIN, corruptions=("contrast",)),
    Layers(net=NET, a=MODELS[0], b=MODELS[1]), Probe(net=NET, model=TRAIN, target="digits"),
    Distill(net=NET, method=DSA()), Expert(**ON),
    GRADUAL, BorrowedMask(net=NET, of=GRADUAL, init=1), Segment(net=NET, a=MODELS[0], b=MODELS[1]),
    TransferredTicket(net=NET, dataset="shapes", of=TICKET),
    Assess(net=NET, source=Distill(net=NET, method=DM()), protocol=EvalProtocol(recipe=RECIPE)))
STUDY = Study(**ON, sets={"idc": IDC(), "random images": RandomReal()})
OTHERS = (NET, RECIPE, Augment(), EvalProtocol(recipe=RECIPE), Experts(recipe=RECIPE),
          Notes(space="zca", zca=0.1, lr=0.1),
          GeneratedImages(), STUDY, ViT(channels=1, size=8, width=6, heads=2, patch=4), Platon(),
          PlatonPruner(of=Platon(), names=NET.prunable, count=NET.count()))
VALID: tuple[Spec, ...] = (*METHODS, *STAGES, *OTHERS)

# Settings that are right one by one and cannot work together, or name what is not there: how to ask, and which names
# the message has to have one of.
COMBINATIONS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "an unknown network": (lambda: TRAIN.but(net=NET.but(name="convnet33")), ("name", "convnet33")),
    "a network too deep for its images": (lambda: NET.but(name="convnet6"), ("size",)),
    "sides that a ResNet cannot halve": (lambda: NET.but(name="resnet10", size=9), ("size",)),
    "an unknown augmentation": (lambda: RECIPE.but(augment="cifra"), ("augment",)),
    "an unknown geometry": (lambda: Augment(geometry=("crops",)), ("geometry",)),
    "an unknown data set": (lambda: Lab("cpu").key(TRAIN.but(dataset="cifar")), ("dataset", "data set")),
    "an unknown target": (lambda: Lab("cpu").key(Probe(net=NET, model=TRAIN, target="cifar")), ("target", "data set")),
    "a reference that is no set": (lambda: STUDY.but(reference="idcc"), ("reference",)),
    "an even number of points": (lambda: STUDY.but(points=10), ("points",)),
    "no training images": (lambda: STUDY.but(train_images=0), ("train_images",)),
    "fewer than no test images": (lambda: STUDY.but(test_images=-5), ("test_images",)),
    "a set named like a method": (lambda: STUDY.but(sets={"imp": IDC()}, reference="imp"), ("sets", "imp")),
    "an expert too short": (lambda: MTT(expert=Recipe(epochs=5)), ("max_start", "ahead")),
    "a corruption of colours on grey images": (
        lambda: Robustness(net=NET, model=TRAIN, corruptions=("saturate",)), ("saturate",)),
    "a severity twice": (lambda: Robustness(net=NET, model=TRAIN, corruptions=("contrast",), severities=(1, 1)),
                         ("severities",)),
    "a severity that is none": (lambda: Robustness(net=NET, model=TRAIN, corruptions=("contrast",), severities=(6,)),
                                ("severit",)),
    "a corruption twice": (lambda: Robustness(net=NET, model=TRAIN, corruptions=("contrast", "contrast")),
                           ("corruptions",)),
    "a mask of another network": (lambda: TRAIN.but(mask=TICKET.but(net=NET.but(width=8))), ("mask",)),
    "a mask of another initialisation": (lambda: TRAIN.but(mask=TICKET.but(init=1)), ("mask", "init")),
    "a base with more rounds": (lambda: TICKET.but(base=TICKET.but(round=3)), ("base", "round")),
    "a random mask like one of another network": (
        lambda: RandomMask(net=NET.but(width=8), like=TICKET), ("like",)),
    "a random mask like a dense ticket": (lambda: RandomMask(net=NET, like=TICKET.but(round=0)), ("like",)),
    "two planes' models": (lambda: Landscape(net=NET, models=MODELS[:2]), ("models",)),
    "a plane's model twice": (lambda: Landscape(net=NET, models=(TRAIN,) * 3), ("models",)),
    "a path between two networks": (
        lambda: Connect(net=NET, a=TRAIN, b=TRAIN.but(net=NET.but(width=8))), ("net",)),
    "one training's layers": (lambda: Layers(net=NET, a=TRAIN, b=TRAIN), ("a", "seeds")),
    "an assessment on another data set": (
        lambda: Assess(net=NET, dataset="cifar10", source=Distill(net=NET, method=DM()),
                       protocol=EvalProtocol(recipe=RECIPE)), ("dataset",)),
    "a method of an unhashable kind": (lambda: STUDY.but(sets={"idc": {"kind": []}}), ("sets", "kind")),
    "an integer of 5,000 digits": (lambda: RECIPE.but(batch=10 ** 5000), ("batch",)),
    "a seed that no generator takes": (lambda: TRAIN.but(init=2 ** 70), ("init",)),
    "a batch that no memory holds": (lambda: RECIPE.but(batch=10 ** 30), ("batch",)),
    "numbers for names of settings": (lambda: TRAIN.but(recipe={2: 2}), ("recipe",)),
    "text that no file can hold": (lambda: Lab("cpu").key(TRAIN.but(dataset="\ud800")), ("dataset", "data set")),
    "a truth for a number": (lambda: RECIPE.but(batch=True), ("batch",)),
}


def mutations(spec: Spec, rng: Random) -> Iterator[tuple[dict, str]]:
    """Settings for ``type(spec)``, each wrong in one place, and the name of that place."""
    for changed, name in _changed(spec, rng):
        yield changed, name
    own = {name: getattr(spec, name) for name in type(spec).model_fields}
    name = rng.choice(list(own))
    for typo in {name + "s", name[:-1] + "_", name.upper(), "", "__class__", "model_config"} - set(own):
        yield own | {typo: 1}, typo
    for name, field in type(spec).model_fields.items():
        if field.is_required():
            yield {n: v for n, v in own.items() if n != name}, name


def _changed(spec: Spec, rng: Random) -> Iterator[tuple[dict, str]]:
    own = {name: getattr(spec, name) for name in type(spec).model_fields}
    for name, field in type(spec).model_fields.items():
        if name == "kind" and isinstance(spec, METHOD) or isinstance(spec, SoftLabels) and name in ("ipc", "factor"):
            continue  # filled in by the class or from another method
        for value in wrong(field.annotation, field.metadata, rng):
            yield own | {name: value}, name
        if isinstance(own[name], Spec):
            for inner, place in _changed(own[name], rng):
                yield own | {name: inner}, place


METHOD = type(IDC()).__mro__[1]


class Unwilling:
    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


def wrong(annotation: Any, metadata: list, rng: Random) -> Iterator[Any]:
    """Values that a setting so annotated cannot have."""
    number = rng.randrange(2, 10**6)
    pool = ["", "x" * rng.randrange(1, 200), b"\xff", [], [[number]], {"no such": number}, object(), Unwilling(), None,
            math.nan, math.inf, -math.inf, number + 0.5, complex(number, 1), lambda: number, {number}, "1e",
            f"{number}!", type, NET.canonical(), [None], NET, [math.nan]]
    yield from (value for value in pool if not _possible(value, annotation))
    for rule in metadata:
        for limit, values in (("ge", (-1, -number)), ("gt", (0, -number)), ("le", (1, number)), ("lt", (0, number))):
            if (bound := getattr(rule, limit, None)) is not None:
                yield from (bound + v for v in values)
        if getattr(rule, "min_length", None):
            yield ()


def _possible(value: Any, annotation: Any) -> bool:
    """Whether a value may stand for the annotated type, as generously as anyone could read it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _possible(value, get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return any(_possible(value, one) for one in get_args(annotation))
    if origin is Literal:
        return any(value is one or type(value) is type(one) and value == one for one in get_args(annotation))
    if origin is tuple:
        return isinstance(value, list | tuple | set) and all(_possible(v, get_args(annotation)[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and not value
    if annotation in (int, float):
        return isinstance(value, int | float) and math.isfinite(value) and (annotation is float or value == int(value))
    if annotation is type(None):
        return value is None
    return isinstance(value, annotation) if isinstance(annotation, type) else True
