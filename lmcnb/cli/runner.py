"""Before notebooks run: their settings are checked, and then their plans."""

from __future__ import annotations

import contextlib
import io
import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmcnb.cli.text import Refused
from lmcnb.notebooks import Notebook, find_notebooks, unknown
from lmcnb.profiles import load_profile, overrides, parse_setting, values_under

DIFFERENT = ("inits", "methods", "compared")  # settings that are lists of what is compared


@dataclass(frozen=True)
class Job:
    """A notebook, the values that its profile gives it, and those that a user sets over them."""

    notebook: Notebook
    exact: dict[str, object]
    given: dict[str, object]

    @property
    def namespace(self) -> dict[str, object]:
        """What the notebook's names mean right after the injected cell."""
        return self.exact | self.given

    @property
    def values(self) -> dict[str, object]:
        """What is injected: the values that differ from the notebook's own, and the profile's name."""
        defaults = self.notebook.defaults
        return {n: v for n, v in self.namespace.items() if n == "profile" or n not in defaults or v != defaults[n]}

    @property
    def overrides(self) -> dict[str, dict[str, object]]:
        """Where the values differ from the profile's."""
        return overrides(self.namespace, self.exact)


def prepare(root: Path, names: Sequence[str], profile: str, settings: Iterable[str] = ()) -> list[Job]:
    """One job for each notebook, every value of it checked.

    Raises:
        Refused: an unknown notebook, profile or setting, or a value of another type than the default's. The
            message lists everything that is wrong.
    """
    notebooks = find_notebooks(root, names)
    sections = load_profile(root, profile)
    given = dict(map(parse_setting, settings))
    jobs = [Job(notebook, values_under(notebook, profile, sections),
                {n: v for n, v in given.items() if n in notebook.parameters}) for notebook in notebooks]
    problems = _unclaimed(notebooks, given) + [line for job in jobs for line in complaints(job)]
    if problems:
        raise Refused("\n".join(problems))
    return jobs


def _unclaimed(notebooks: Sequence[Notebook], given: Iterable[str]) -> list[str]:
    known = {name for notebook in notebooks for name in notebook.parameters}
    own = ["the profile is named by --profile, not by --set profile=…"] if "profile" in given else []
    return own + [unknown("setting", name, known) for name in given if name not in known]


def complaints(job: Job) -> list[str]:
    """What is wrong with a job's values: one line for each unknown name and each wrong type."""
    known, lines = job.notebook.parameters, []
    for name, value in job.namespace.items():
        if name not in known:
            lines.append(f"{job.notebook.stem}: {unknown('setting', name, known)}")
        elif not known[name].accepts(value):
            expected, given = known[name].expected, type(value).__name__
            lines.append(f"{job.notebook.stem}: setting `{name}` must be {expected}, not {given} {shown(value)}")
        elif name in DIFFERENT and isinstance(value, list | tuple) and len({repr(v) for v in value}) < len(value):
            lines.append(f"{job.notebook.stem}: setting `{name}` must not have an entry twice; got {shown(value)}")
        elif name == "inits" and not value:
            lines.append(f"{job.notebook.stem}: setting `inits` must have an entry at least")
    return lines


def shown(value: object) -> str:
    """At most 60 characters of a value: YAML's aliases can make one of gigabytes of a few lines."""
    short = reprlib.Repr()
    short.maxstring, short.maxother = 60, 60
    text = short.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def plans(jobs: Sequence[Job]) -> list[list[Any]]:
    """Each job's plan: the specs that its notebook is going to ask the lab for.

    This builds every spec, and so finds a setting out of range or a missing data set before any long work.

    Raises:
        Refused: plans that cannot be made, one message for each notebook.
    """
    from lmcnb.data.sources import loaded_once

    made, problems = [], []
    with loaded_once():
        for job in jobs:
            try:
                made.append(_plan(job))
            except Exception as error:  # whatever a notebook's own code raises is news for its user
                problems.append(f"{job.notebook.stem}: {_describe(error)}{_set_here(job, str(error))}")
    if problems:
        raise Refused("\n".join(problems))
    return made


def _plan(job: Job) -> list[Any]:
    cells = job.notebook.tagged("plan")
    namespace = {"__name__": "__main__"} | job.namespace
    with contextlib.redirect_stdout(io.StringIO()):
        for index in cells:
            source = job.notebook.node.cells[index].source
            exec(compile(source, f"<{job.notebook.stem}, cell {index + 1}>", "exec"), namespace)
    plan = namespace.get("plan", None if cells else [])
    if not isinstance(plan, list | tuple):
        raise ValueError("its cells tagged `plan` define no list named `plan`")
    return list(plan)


def _set_here(job: Job, text: str) -> str:
    """What a user has set, where a message knows it by another name: of `model`, though `distill_model` was set."""
    if not job.given or any(re.search(rf"\b{name}\b", text) for name in job.given):
        return ""
    return f" (set here: {', '.join(f'{name}={shown(value)}' for name, value in job.given.items())})"


def _describe(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        from lmcnb.spec import explained

        return explained(error.title, error)
    # ValueError and OSError carry sentences written for a user; any other says little without its type.
    return str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
