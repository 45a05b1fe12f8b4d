"""What a result's key is made of: equal keys mean equal bytes, and what would give other bytes has another key.

Beside a stage's own settings: the fingerprint of its data, the keys of what it is made from, how it is executed, and
the code of whatever is not built in. The guarantee holds for one kind of processor and one version of torch; both are
recorded with every result.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import BaseModel

from ..data import DATASETS
from ..distill import Method
from ..kernel.agreement import is_foreign
from ..kernel.pixels import at_once
from ..kernel.recipe import Recipe
from ..kernel.strategies import mode
from ..models import Net, ViT
from ..models import net as models
from ..sources import code_digest, is_ours
from ..spec import Spec


def execution(spec: Any, device: torch.device) -> dict[str, str]:
    """What of the way a stage is run decides its bits: kind of device, mode, precision of its trainings."""
    recipes = [part.on(device) for part in _specs(spec) if isinstance(part, Recipe)]
    precision = "bf16" if any(recipe.precision == "bf16" for recipe in recipes) else "float32"
    if precision == "bf16" and device.type == "cpu":
        precision += ", plain attention" * (is_foreign(spec.net) or isinstance(spec.net, ViT))
        precision += ", augmented at once" * any(at_once(spec.net, recipe) for recipe in recipes)
    distilled = any(isinstance(part, Method) and part.length for part in _specs(spec))
    how = " ".join(filter(None, (mode(spec.net, device, distilled), spec.numerics(device))))
    return {"device": device.type, "mode": how, "precision": precision}


def foreign(spec: Spec) -> dict[str, Any]:
    """By name what a spec refers to and this package does not hold: networks, and classes of settings."""
    found: dict[str, Any] = {}
    for part in _specs(spec):
        if not is_ours(type(part)):
            found[f"class {type(part).__qualname__}"] = type(part)
        if isinstance(part, Net) and part.name in models.MODELS and not is_ours(models.MODELS[part.name]):
            found[f"model {part.name}"] = models.MODELS[part.name]
    return found


def code(spec: Spec) -> dict[str, Any]:
    """A digest of everything :func:`foreign`, and the versions of built-in networks that were changed."""
    versions = {f"model {p.name}": models.VERSIONS[p.name] for p in _specs(spec)
                if isinstance(p, Net) and p.name in models.VERSIONS and is_ours(models.MODELS[p.name])}
    return versions | {name: code_digest(thing) for name, thing in foreign(spec).items()}


def registered(classes: Iterable[type]) -> dict[str, Any]:
    """Changes when the code behind a registered network or data set, or behind one of these classes, does."""
    things = {f"model {n}": build for n, build in models.MODELS.items() if not is_ours(build)}
    things |= {f"class {id(c)}": c for c in classes}
    return {f"data {n}": id(source) for n, source in DATASETS.items()} | {
        name: code_digest(thing) for name, thing in things.items()}


def _specs(value: Any) -> list[Spec]:
    """A spec and all specs within it, each object once: the two trainings of a pair share most of what they are."""
    seen, left = dict[int, Any](), [value]
    while left:
        each = left.pop()
        if isinstance(each, BaseModel) and id(each) not in seen:
            seen[id(each)] = each
            left += [getattr(each, name) for name in type(each).model_fields]
        elif isinstance(each, dict):
            left += each.values()
        elif isinstance(each, (tuple, list)):
            left += each
    return [each for each in seen.values() if isinstance(each, Spec)]
