"""How much work a stage is: for progress bars and estimates of time."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..data import Dataset
from .job import first
from .stages import Assess, Connect, Curvature, Distil, Expert, Landscape, Probe, Robustness, Ticket, Train

if TYPE_CHECKING:
    from .engine import Lab


def cost(lab: Lab, spec) -> float:
    """Rough work of a stage in training images (forward and backward): the unit of progress bars and estimates."""
    data: Dataset = lab.dataset(spec.dataset)
    if isinstance(spec, Distil):
        method = spec.method
        return max(1.0, float(method.work(data)))
    if isinstance(spec, Connect):
        images = sum(len(first(s, n)) for s, n in ((data.train, spec.train_images), (data.test, spec.test_images)))
        return spec.points * images / 3
    if isinstance(spec, Landscape):
        return spec.points ** 2 * len(first(data.train, spec.train_images)) / 3
    if isinstance(spec, Curvature):  # an exact diagonal takes about as long as some hundred products on few images
        products = {"exact": 100, "none": 0}.get(spec.diagonal, spec.products)
        return 3.0 * spec.images * (products + spec.steps * spec.starts)
    if isinstance(spec, Robustness):
        return (1 + len(spec.corruptions) * len(spec.severities)) * len(first(data.test, spec.images)) / 3
    if isinstance(spec, Probe):
        target = lab.dataset(spec.target)
        return (len(first(target.train, spec.train_images)) + len(first(target.test, spec.test_images))) / 3
    if isinstance(spec, Expert):
        return spec.recipe.epochs * len(data.train)
    if isinstance(spec, (Train, Ticket, Assess)):
        source = spec.source if not isinstance(spec, Train) else None
        images = len(data.train)
        if source is not None:
            images = source.method.images(data.classes)
        steps = spec.recipe.steps(images)
        if isinstance(spec, Train) and spec.stop is not None:
            steps = min(steps, spec.stop)
        return float(steps * spec.recipe.batch * getattr(spec, "networks", 1))
    return 1.0
