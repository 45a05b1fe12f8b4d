"""What single layers do on the way between two trained networks."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result
from ..measure.layers import layers_of, layerwise
from ..measure.path import QUANTITIES, alpha_grid
from .path import Connect, trained


class Layers(Connect):
    """The paths between two trainings on which one layer moves, or the first few: see :mod:`lmcnb.measure.layers`.

    Args:
        layers: "each" alone, or "cumulative", the first l. points: α on each path. The others: as in :class:`Connect`.
    """

    layers: Literal["each", "cumulative"] = "each"
    points: int = Field(default=3, ge=2)

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        return super().described(sets) | {"layers": self.layers}

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        """Paths by layer and by whose weights the rest keeps; barriers by layer, of :class:`.layers.LayerPaths`."""
        tensors, names = entry.tensors, entry.result["layers"]
        yield from ({"quantity": q, "layer": name, "rest": rest, "alpha": float(alpha), "value": float(value)}
                    for q in QUANTITIES for way, rest in enumerate("ab") for row, name in enumerate(names)
                    for alpha, value in zip(tensors["alphas"], tensors[q][way, 0, row]))
        yield from ({"quantity": f"{q} layer barrier, {convention}", "layer": name, "value": value}
                    for q, each in entry.result["barrier"].items() for convention, heights in each.items()
                    for name, value in zip(names, heights))

    def cost(self, data: Data) -> float:
        found, networks = data(self.dataset), 2 * (1 + len(layers_of(self.net)) * (self.points - 1))
        return networks * (len(found.train.first(self.train_images)) + len(found.test.first(self.test_images))) / 3

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Layers]) -> list[Result]:
        (spec,) = specs
        data = job.lab.dataset(spec.dataset).first(spec.train_images, spec.test_images)
        a, b = (trained(job.lab, s, spec.masks) for s in (spec.a, spec.b))
        found = layerwise(a, b, data, spec.layers, alpha_grid(spec.points), bn=spec.bn, align=spec.align)
        conventions = ["frankle", *["midpoint"] * (spec.points % 2)]
        heights = {q: {c: found.barrier(q, c)[0].tolist() for c in conventions} for q in QUANTITIES}
        return [Result({"layers": list(found.names), "barrier": heights}, found.tensors())]
