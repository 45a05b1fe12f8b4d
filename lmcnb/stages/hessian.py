"""The Hessian of a trained network."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from ..kernel.strategies import uncompiled
from ..lab.entry import Entry
from ..lab.job import Job
from ..lab.stage import Data, Result, Stage
from ..measure.diagonal import Diagonal, estimate_diagonal, summary
from ..measure.diagonal_exact import exact_diagonal
from ..measure.hessian import HessianOperator
from ..measure.piecewise import is_piecewise
from ..measure.spectrum import lanczos
from ..params import Params
from ..spec import Seed
from .training import Train, check_same


class Curvature(Stage):
    """The Hessian of one trained network, over the prunable weights that its mask keeps.

    See :mod:`lmcnb.measure.hessian`.

    Args:
        images: training images that the loss is measured on (the first ones).
        diagonal: "exact", or estimated from ``products`` products by "hutchinson" or "xdiag", or "none".
        steps, starts: Lanczos steps and random starts for eigenvalues and spectral density; 0 steps leave them out.
    """

    model: Train
    images: int = Field(default=64, ge=1)
    diagonal: Literal["exact", "hutchinson", "xdiag", "none"] = "exact"
    products: int = Field(default=32, ge=2)
    steps: int = Field(default=24, ge=0)
    starts: int = Field(default=1, ge=1)
    seed: Seed = 0

    @model_validator(mode="after")
    def _same_network(self):
        check_same(self, self.model)
        return self

    @model_validator(mode="after")
    def _can_be_measured(self):
        if self.diagonal == "xdiag" and (self.products < 16 or self.products % 8):
            raise ValueError(f"products must be a multiple of 8, at least 16, for xdiag; got {self.products}")
        if self.steps == 1:
            raise ValueError("steps must be 0, for no spectrum, or at least 2; got 1")
        return self

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        return super().described(sets) | {"images": self.images, "diagonal": self.diagonal}

    def rows(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """Also the spectrum's nodes, and the size of an exact diagonal's entries by rank: ``share`` (%) are larger."""
        yield from super().rows(entry)
        if self.steps:
            yield {"quantity": "largest_error", "value": entry.result["eigenvalue_errors"][0]}
            nodes, weights = (entry.tensors[n].flatten().tolist() for n in ("nodes", "node_weights"))
            yield from ({"quantity": "spectral weight", "eigenvalue": node, "value": weight / self.starts}
                        for node, weight in zip(nodes, weights))
        if self.diagonal == "exact":
            sizes = entry.tensors["diagonal"].abs().sort(descending=True).values.tolist()
            yield from ({"quantity": "|diagonal|", "share": 100 * rank / len(sizes), "value": sizes[rank - 1]}
                        for rank in ranks(len(sizes)))

    def numerics(self, device: torch.device) -> str:
        pieces = "in pieces" if self.diagonal == "exact" and is_piecewise(self.net.build().eval()) else ""
        products = self.steps or self.diagonal in ("hutchinson", "xdiag")  # what is compiled
        return " ".join(filter(None, (pieces, uncompiled(self.net, device) if products else "")))

    def cost(self, data: Data) -> float:
        # An exact diagonal takes about as long as some hundred products on few images.
        products = {"exact": 100, "none": 0}.get(self.diagonal, self.products)
        return 3.0 * self.images * (products + self.steps * self.starts)

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Curvature]) -> list[Result]:
        (spec,) = specs
        network = spec.model.load(job.lab)
        images = job.lab.dataset(spec.dataset).train.first(spec.images)
        operator = HessianOperator(network, images)
        values = {"kept": operator.shape[0], "weights": sum(m.numel() for m in network.masks.values())}
        tensors: Params = {}
        if spec.diagonal != "none":
            if spec.diagonal == "exact":
                found = exact_diagonal(network, images)
                diagonal = Diagonal(found, torch.zeros_like(found), float(found.sum()), 0.0)
            else:
                diagonal = estimate_diagonal(operator, spec.products, spec.diagonal, spec.seed)
            tensors |= {"diagonal": diagonal.values, "errors": diagonal.errors}
            values |= {"trace": diagonal.trace, "trace_error": diagonal.trace_error,
                       "active": summary(diagonal.values, None, diagonal.errors),
                       "all": summary(diagonal.values, values["weights"], diagonal.errors)}
        if spec.steps:
            seen = lanczos(operator, min(spec.steps, operator.shape[0]), spec.starts, spec.seed)
            tensors |= {"nodes": seen.nodes, "node_weights": seen.weights}
            values |= {"largest": seen.largest, "smallest": seen.smallest, "eigenvalue_errors": list(seen.errors)}
        return [Result(values, tensors)]


def ranks(n: int, points: int = 150) -> list[int]:
    """Of 1…n those that draw a sorted curve on a logarithmic axis: dense at its start, and where it falls."""
    steps = np.geomspace(1, n, points).round().astype(int)
    return np.union1d(steps, n + 1 - steps).tolist()
