"""Profiles: the values that a project's notebooks are run with, and whether given values are exactly a profile's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lmcnb.notebooks import Notebook, ProjectError, find_notebooks, unknown

SHARED = "shared"  # the section that holds for every notebook that has such a parameter
EXTENDS = "extends"  # names the profile whose sections it begins with
UNJUDGED = "smoke"  # the profile that shows that everything works, not what is true
CUSTOM = "custom"  # where figures go that are not exactly of a profile
PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}

INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Yaml(yaml.SafeLoader):
    """YAML of plain values only, in which 1e-3 is a number, as in Python and in YAML 1.2."""

    yaml_constructors = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag in PLAIN or tag is None  # None: refuses every other tag
    }
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag in PLAIN - {INT, FLOAT}]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


# As Python writes them: in YAML 1.1 010 is 8, 1:30 is 90, and 1e-3 is text.
_Yaml.add_implicit_resolver(INT, re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0b[01]+)$"), list("-+0123456789"))
_Yaml.add_implicit_resolver(FLOAT, re.compile(
    r"^[-+]?(([0-9][0-9_]*\.[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."))


def load_profile(root: Path, name: str) -> dict[str, dict[str, object]]:
    """The values of `notebooks/profiles/<name>.yaml`: notebook → parameter → value, for every notebook.

    What stands under `shared` holds for each notebook that has such a parameter, unless its own section says
    otherwise. A notebook without settings of its own needs no section. A profile that `extends` another one begins with
    that one's sections, and says what differs.

    Raises:
        ProjectError: no such profile, not such a mapping, a section for a notebook that does not exist, or profiles
            that extend each other.
    """
    known = profile_files(root)
    sections = _sections(known, name)
    notebooks = find_notebooks(root)
    stems = {notebook.stem for notebook in notebooks}
    shared = sections.pop(SHARED, None) or {}
    strangers = [unknown("notebook", str(stem), stems) for stem in sections if stem not in stems]
    # A notebook is read only where something is shared: it may be large.
    everywhere = {parameter for notebook in notebooks for parameter in notebook.parameters} if shared else set()
    strangers += [unknown("shared setting", str(n), everywhere) for n in shared if n not in everywhere]
    if strangers:
        raise ProjectError("\n".join(f"{known[name]}: {line}" for line in strangers))
    return {
        notebook.stem: ({n: v for n, v in shared.items() if n in notebook.parameters} if shared else {})
        | (sections.get(notebook.stem) or {})
        for notebook in notebooks
    }


def _sections(known: Mapping[str, Path], name: str, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a profile's file says, over what it extends. ``below``: the profiles that extend it."""
    if name not in known:
        raise ProjectError(f"{known[below[-1]]}: it extends an {unknown('profile', name, known)}" if below
                           else unknown("profile", name, known))
    if name in below:
        raise ProjectError(f"{known[name]}: profiles extend each other: {' → '.join([*below, name])}")
    sections = parse_yaml(known[name].read_text(encoding="utf-8"), str(known[name])) or {}
    base = sections.pop(EXTENDS, None) if isinstance(sections, dict) else None
    if not isinstance(sections, dict) or not all(isinstance(s, dict | None) for s in sections.values()):
        raise ProjectError(f"{known[name]} is not a mapping from notebooks to parameters")
    if base is None:
        return sections
    whole = _sections(known, str(base), (*below, name))
    return whole | {stem: (whole.get(stem) or {}) | (section or {}) for stem, section in sections.items()}


def profile_files(root: Path) -> dict[str, Path]:
    """The project's profiles by name. `custom` is none: figures of no profile go to a folder of that name."""
    return {path.stem: path for path in (root / "notebooks" / "profiles").glob("*.yaml") if path.stem != CUSTOM}


def values_under(
    notebook: Notebook, profile: str, sections: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """Every parameter's value under a profile: the notebook's defaults, and over them the profile's section."""
    name = {"profile": profile} if "profile" in notebook.parameters else {}
    return notebook.defaults | name | dict(sections.get(notebook.stem, {}))


def overrides(values: Mapping[str, object], exact: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Where values differ from a profile's: name → {"here": the value or None, "profile": the profile's}."""
    here, there = ({name: recorded(value) for name, value in some.items()} for some in (values, exact))
    return {
        name: {"here": here.get(name), "profile": value}
        for name, value in there.items()
        if name not in here or here[name] != value
    }


def recorded(value: object) -> Any:
    """A parameter's value as JSON can hold it: tuples and arrays as lists, NaN and unknown objects as text."""
    text = json.dumps(value, default=lambda v: v.tolist() if hasattr(v, "tolist") else repr(v), skipkeys=True)
    return json.loads(text, parse_constant=str)


def parse_setting(text: str) -> tuple[str, object]:
    """`name=value`, the value read as YAML.

    Raises:
        ProjectError: there is no `=`, or what follows it is not YAML of plain values.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ProjectError(f"`--set {text}` is not of the form name=value")
    return name.strip(), parse_yaml(value, f"`--set {text if len(text) <= 60 else text[:57] + '…'}`")


def parse_yaml(text: str, where: str) -> Any:
    """YAML of plain values.

    Raises:
        ProjectError: it is not; ``where`` says of what.
    """
    try:
        value = yaml.load(text, Loader=_Yaml)
        json.dumps(value, allow_nan=False)  # refuses what contains itself, too
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}," if mark and mark.line else ""
        raise ProjectError(
            f"{where}{line} is not plain YAML: a finite number, true or false, null, a text, [a list] or "
            """{a: mapping}. What YAML would read otherwise is a text in quotes of its own: name='"[text"'"""
        ) from error
    return value
