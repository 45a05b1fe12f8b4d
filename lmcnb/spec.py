"""The base of every setting: frozen, validated, and with one canonical text, so that equal settings share one key."""
from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Spec(BaseModel):
    """A frozen, validated group of settings.

    Unknown names are refused with the list of known ones. Two specs with equal values have equal
    :attr:`key`, whatever the order they were written in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, values: Any) -> Any:
        if isinstance(values, dict):
            unknown = sorted(set(values) - set(cls.model_fields))
            if unknown:
                raise ValueError(
                    f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}; "
                    f"it has: {', '.join(cls.model_fields)}")
        return values

    def canonical(self) -> str:
        """JSON with sorted names and no spaces: the same text for the same settings on every machine."""
        return canonical({"kind": type(self).__name__, **self.model_dump(mode="json")})

    @property
    def key(self) -> str:
        """sha256 of :meth:`canonical`, hexadecimal."""
        return digest(self.canonical())

    def but(self, **changes: Any):
        """A copy with some settings changed, validated anew."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **changes})


def canonical(value: Any) -> str:
    """Canonical JSON of plain values (dicts, lists, numbers, text, booleans, None)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def choose(kind: str, name: str, known) -> Any:
    """``known[name]``, or an error that lists the known names.

    Raises:
        ValueError: ``name`` is not one of ``known``.
    """
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
