"""A published set in the place of a method, so that a study can prune with it and assess it."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..data import Dataset
from ..data.folders import of_digest
from ..models import Net
from .base import Distilled, Method
from .files import agreed, import_set
from .layouts import Space, content, read


class Imported(Method):
    """The set in a file, whatever the network and the seed; the arguments are those of :func:`lmcnb.import_set`.

    What counts is the content: ``digest`` is in the key of every artifact that is made from the set, the place of the
    file is not. So a moved file is the same set, and a changed one another. ``ipc`` is the file's own, and its factor
    where it says so.

    Args:
        path, labels: where the set lies; a relative path begins in the current folder, in
            LMCNB_DATA or at the project.
        digest: sha256 of the file, or over those of several files (of a folder, or with ``labels``); filled in.
    """

    kind: Literal["file"] = "file"
    path: Path = Field(exclude=True)
    labels: Path | None = Field(default=None, exclude=True)
    digest: str = ""
    space: Space = "pixels"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    zca: float | None = Field(default=None, gt=0)
    lr: float | None = Field(default=None, gt=0)
    classes: tuple[str, ...] | None = None
    which: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _found(cls, given: Any) -> Any:
        """A file that is known by its digest alone, as a store knows it, may lie in LMCNB_DATA."""
        if isinstance(given, Mapping) and "path" not in given and (path := of_digest(str(given.get("digest", "")))):
            return {**given, "path": path}
        return given

    def model_post_init(self, _) -> None:
        object.__setattr__(self, "digest", self._verified())
        images, labels, notes = read(self.path, labels=self.labels, classes=self.classes, which=self.which)
        given = {"factor": self.factor} if "factor" in self.model_fields_set else {}
        known = agreed(self.path, notes, given)
        classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        if len(images) % classes:
            raise ValueError(f"{self.path} has {len(images)} images of {classes} classes, and a study counts the same "
                             f"number for each: use import_set and assess, which take any")
        object.__setattr__(self, "ipc", len(images) // classes)
        object.__setattr__(self, "factor", known.get("factor", self.factor))

    def check(self, data: Dataset, net: Net) -> None:
        """The file itself is checked against the data by :func:`lmcnb.import_set`."""

    def distill(self, data: Dataset, net: Net, seed: int, **options) -> Distilled:
        self._verified()
        found = import_set(self.path, data, labels=self.labels, space=self.space, factor=self.factor, mean=self.mean,
                           std=self.std, zca=self.zca, lr=self.lr, classes=self.classes, which=self.which)
        if len(found.images) != self.ipc * data.classes:
            raise ValueError(f"{self.path} has {len(found.images)} images, {self.ipc} of each class it knows, and "
                             f"{data.name} has {data.classes} classes: load the data set that it was made for")
        return found

    def _verified(self) -> str:
        """The content's sha256. Raises ValueError when it is not the one that was named or seen before."""
        now = content(self.path, self.labels)
        if self.digest and now != self.digest:
            raise ValueError(f"{self.path} has the sha256 {now}, not {self.digest}: it is another file, or it was "
                             f"changed. Leave digest out to take it as it is")
        return now
