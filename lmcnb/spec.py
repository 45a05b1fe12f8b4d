"""The base of every setting: frozen, validated, and with one canonical text, so that equal settings share one key."""
from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

CANONICAL = "canonical"


class SettingError(ValueError):
    """A setting that cannot be: the message names it, says what it must be and what was given."""


class Spec(BaseModel):
    """A frozen, validated group of settings.

    Unknown names are refused with the list of known ones. Two specs with equal values have equal
    :attr:`key`, whatever the order they were written in.

    Raises:
        SettingError: an unknown setting, or a value that it cannot have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingError(explained(type(self).__name__, error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise SettingError(f"{type(self).__name__} is frozen: make another one with .but({name}=…)")

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, values: Any) -> Any:
        if isinstance(values, dict):
            unknown = sorted(map(str, set(values) - set(cls.model_fields)))
            if unknown:
                raise ValueError(
                    f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}; "
                    f"it has: {', '.join(cls.model_fields)}")
        return values

    @model_serializer(mode="wrap")
    def _without_late_defaults(self, handler, info):
        values = handler(self)
        if info.context == CANONICAL:
            for name, field in type(self).model_fields.items():
                if is_late(field) and getattr(self, name) == field.get_default(call_default_factory=True):
                    values.pop(name, None)
        return values

    def settings(self) -> dict[str, Any]:
        """Plain JSON values of all settings, those of subclasses included; late ones only where they were changed."""
        return self.model_dump(mode="json", serialize_as_any=True, context=CANONICAL)

    def canonical(self) -> str:
        """JSON with sorted names and no spaces: the same text for the same settings on every machine."""
        return canonical({"kind": type(self).__name__, **self.settings()})

    @property
    def key(self) -> str:
        """sha256 of :meth:`canonical`, hexadecimal."""
        return digest(self.canonical())

    def but(self, **changes: Any):
        """A copy with some settings changed, validated anew."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **changes})


def late(default: Any, **constraints: Any) -> Any:
    """A field that was added after results had been stored: at its default it is no part of any key."""
    return Field(default, json_schema_extra={"late": True}, **constraints)


def is_late(field: Any) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("late"))


def explained(name: str, error: ValidationError) -> str:
    """pydantic's findings as one sentence: the setting, what it must be, what it is."""
    return "; ".join(dict.fromkeys(_sentence(name, found) for found in error.errors(include_url=False)))


def _sentence(name: str, found: dict[str, Any]) -> str:
    if found["type"] == "value_error":  # a sentence of our own, which names its setting
        own = str(found["ctx"]["error"])
        where = [str(part) for part in found["loc"]]
        return ".".join([name, *where]) + f": {own}" if where else own
    if found["type"] == "missing":
        return f"{'.'.join([name, *map(str, found['loc'])])} is missing: give it"
    # Of a union, pydantic names the member that was tried, too: not a name that a user wrote.
    where = ".".join([name, *(str(part) for part in found["loc"] if part not in ("int", "str", "float", "bool"))])
    message = found["msg"].removeprefix("Input ").replace("should ", "must ")
    given = repr(found["input"])
    return f"{where} {message}; got {given if len(given) <= 60 else given[:57] + '…'}"


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
