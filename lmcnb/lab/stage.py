"""What a lab computes: a stage is settings, the work they cost, and how they become a result. One file holds it all."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..data import Dataset
from ..kernel.randomness import refuse_random
from ..models import Net
from ..params import Params
from ..spec import Spec, canonical

if TYPE_CHECKING:
    import torch

    from .engine import Lab
    from .entry import Entry
    from .job import Job

Data = Callable[[str], Dataset]  # a data set by name

STAGES: dict[str, type[Stage]] = {}


@dataclass(frozen=True)
class Result:
    """What a computation returns: plain numbers by name, and tensors."""

    values: dict[str, Any]
    tensors: Params = field(default_factory=dict)


class Stage(Spec):
    """A pure function's arguments: equal settings are one artifact, computed once, wherever it is asked for.

    A subclass has settings, and says with :meth:`compute` what becomes of them. Defining it registers it under its
    name. ``version`` rises when the function's result changes.
    """

    version: ClassVar[int] = 1
    stacked: ClassVar[tuple[str, ...]] = ()  # fields along the model axis: specs that differ only there are one stack

    dataset: str = "digits"
    net: Net

    def __iter__(self) -> Iterator[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]  # pydantic's are its fields
        """One stage is a plan, too: ``lab.map(stage)``."""
        yield self

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        STAGES[cls.stored] = cls

    @classmethod
    def stays(cls, settings: Mapping[str, Any]) -> bool:
        """Whether the tensors of an entry with these settings stay behind where results travel with a project: trained
        weights, which are large, images of others, and what is made again in a moment."""
        return False

    @classmethod
    def compute(cls, job: Job, specs: Sequence[Any]) -> list[Result]:
        """One result a spec. ``specs`` are several only where :attr:`stacked` names what they differ in."""
        raise NotImplementedError(f"{cls.__name__} does not say how it is computed: give it a compute method")

    @property
    def step_images(self) -> int:
        """Images of a training step, by which a stack of them is measured on a GPU."""
        recipe = getattr(self, "recipe", None)
        return recipe.batch if recipe else 64

    def numerics(self, device: torch.device) -> str:
        """What of its own way to compute decides its bits, beside device and network: a part of the key."""
        return ""

    def cost(self, data: Data) -> float:
        """Rough work in training images (forward and backward): the unit of progress bars and estimates of time."""
        return 1.0

    def load(self, lab: Lab) -> Any:
        """The stored result as what it means: an entry, or with a subclass networks or a distilled set."""
        return lab.get(self)

    def described(self, sets: Mapping[str, Any]) -> dict[str, Any]:
        """What its rows in a :class:`lmcnb.tables.Table` are of, by column; ``sets``: a study's methods by name."""
        model = getattr(self, "model", None)
        return model.described(sets) if isinstance(model, Stage) else {}

    def rows(self, entry: Entry) -> Iterable[dict[str, Any]]:
        """Its result as rows of a table: quantity, value, and what else tells them apart."""
        return ({"quantity": name, "value": float(value)} for name, value in leaves(entry.result)
                if isinstance(value, (int, float)))

    def upstream(self) -> list[Stage]:
        """The artifacts that this one is made from: by default the stages among its settings, in their order."""
        values = [getattr(self, name) for name in type(self).model_fields]
        return [one for value in values for one in (value if isinstance(value, tuple) else (value,))
                if isinstance(one, Stage)]

    def other_data(self) -> list[str]:
        """Data sets that it reads besides ``dataset``: their fingerprints are part of its key too."""
        return []

    def group(self) -> str:
        """Equal for specs that may be computed as one stack."""
        return self.stored + canonical({n: v for n, v in self.settings().items() if n not in self.stacked})

    def check(self, data: Data) -> None:
        """Raises ValueError when this stage cannot work on these data; a lab asks before anything is computed."""
        train = data(self.dataset).train
        if (train.shape, train.classes) != ((self.net.channels, self.net.size, self.net.size), self.net.classes):
            raise ValueError(f"net takes {self.net.channels} × {self.net.size} × {self.net.size} images of "
                             f"{self.net.classes} classes, {self.dataset} has {' × '.join(map(str, train.shape))} of "
                             f"{train.classes}: make it with Net.of(data.train, …)")
        refuse_random(self.net)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is no group itself, by dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def closure(specs: Iterable[Stage], done: Callable[[Stage, bool], bool] = lambda _, asked: False) -> list[Stage]:
    """The specs and all that they are made from, upstream first; what is ``done`` and its upstream left out.

    ``done`` is told a spec, and whether it is one that was asked for or one that another is to be made from.
    """
    found: dict[Stage, None] = {}
    visited: set[tuple[Stage, bool]] = set()

    def visit(spec: Stage, asked: bool) -> None:
        if (spec, asked) not in visited:
            visited.add((spec, asked))
            if not done(spec, asked):
                for upstream in spec.upstream():
                    visit(upstream, False)
                found[spec] = None
    for spec in specs:
        visit(spec, True)
    return list(found)
