"""The base of every setting: frozen, validated, and with one canonical text, so that equal settings share one key."""
from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args

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

    stored: ClassVar[str] = "Spec"  # what keys and stores call it: the class's name, or a former one

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "stored" not in vars(cls):
            cls.stored = cls.__name__

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingError(explained(type(self).__name__, error)) from None
        except TypeError:  # settings within these, whose names are no texts
            for name, value in values.items():
                if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
                    raise SettingError(f"{type(self).__name__}.{name} must name its settings by texts") from None
            raise

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
            for name, value in values.items():
                if isinstance(value, bool) and not _admits_truth(cls.model_fields[name].annotation):
                    raise ValueError(f"{cls.__name__}.{name} must be no truth value; got {value}")
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
        return canonical({"kind": self.stored, **self.settings()})

    @property
    def key(self) -> str:
        """sha256 of :meth:`canonical`, hexadecimal."""
        return digest(self.canonical())

    def but(self, **changes: Any):
        """A copy with some settings changed, validated anew."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **changes})


Seed = Annotated[int, Field(ge=0, lt=2 ** 63)]  # what a generator takes


def _admits_truth(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_admits_truth, get_args(annotation)))


def late(default: Any, **constraints: Any) -> Any:
    """A field that was added after results had been stored: at its default it is no part of any key."""
    return Field(default=default, json_schema_extra={"late": True}, **constraints)


def is_late(field: Any) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("late"))


def explained(name: str, error: ValidationError) -> str:
    """pydantic's findings as one sentence: the setting, what it must be, what it is."""
    found: dict[tuple[str, str, str], list[str]] = {}  # of a union, each member says what it would take
    for one in error.errors(include_url=False):
        where, must, given = _sentence(name, one)
        found.setdefault((where, given, "" if given else must), []).append(must)
    return "; ".join(f"{where} {_either(must)}{given}".strip() for (where, given, _), must in found.items())


def _either(must: list[str]) -> str:
    first, *others = dict.fromkeys(must)
    return first + "".join(f" or {other.removeprefix('must be ')}" for other in others)


_MUST = {  # by the beginning of a type of pydantic's
    "int_parsing_size": "must be a whole number of fewer digits", "int": "must be a whole number",
    "finite": "must be a finite number", "float": "must be a number", "bool": "must be true or false",
    "string": "must be text", "bytes": "must be bytes", "tuple": "must be a list", "list": "must be a list",
    "set": "must be a list", "dict": "must be a mapping from names to values", "path": "must be a path",
    "none": "must be None", "recursion": "must not contain itself", "missing": "is missing: give it",
}
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 60, 60, 60
_MEMBERS = ("int", "str", "float", "bool", "none", "constrained-int")


def _sentence(name: str, found: Mapping[str, Any]) -> tuple[str, str, str]:
    """The setting, what it must be, and what was given: the last may be empty, and the first too."""
    kind, context, loc = found["type"], found.get("ctx", {}), list(found["loc"])
    if kind == "value_error":  # a sentence of our own, which names its setting
        return f"{_place(name, loc)}:" if loc else "", str(context["error"]), ""
    if kind in ("model_type", "is_instance_of"):
        kind = context.get("class_name") or context["class"]
        loc = loc[:-1] if loc[-1:] == [kind] else loc  # of a union, the member without validators of its own
        must = f"must be {kind} or its settings"
    elif kind in ("too_short", "too_long"):
        limit = context["min_length" if kind == "too_short" else "max_length"]
        must = f"must have at {'least' if kind == 'too_short' else 'most'} {limit} value{'s' * (limit != 1)}"
    else:
        known = next((text for start, text in _MUST.items() if kind.startswith(start)), None)
        must = known or found["msg"].removeprefix("Input ").replace("should ", "must ")
    if loc and loc[-1] == "[key]":
        loc, must = loc[:-2], f"{must} in each of its names"
    return _place(name, loc), must, "" if kind == "missing" else f"; got {_given(found['input'])}"


def _place(name: str, loc: list) -> str:
    """Study.sets.idc, Robustness.severities[0]: without pydantic's names of the members of a union."""
    for part in loc:
        name += f"[{part}]" if isinstance(part, int) else "" if part in _MEMBERS or "[" in part else f".{part}"
    return name


def _given(value: Any) -> str:
    """At most 60 characters of any value, however deep, long or unwilling to be shown it is."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # of whoever's __repr__; Python also refuses integers of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"


def canonical(value: Any) -> str:
    """Canonical JSON of plain values (dicts, lists, numbers, text, booleans, None).

    >>> assert canonical({"b": 1, "a": [None, 0.5]}) == canonical({"a": [None, 0.5], "b": 1})
    """
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
