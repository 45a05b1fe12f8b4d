"""Running notebooks: settings are checked first, then the plans, and only then is anything executed."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmcnb.cli.notebook import Notebook, find_notebooks
from lmcnb.cli.text import Failed, Refused, unknown


@dataclass(frozen=True)
class Job:
    """A notebook and the values to inject into it."""

    notebook: Notebook
    values: dict[str, object]

    @property
    def namespace(self) -> dict[str, object]:
        """What the notebook's names mean right after the injected cell."""
        return {name: p.default for name, p in self.notebook.parameters.items()} | self.values


class _Yaml(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in Python and in YAML 1.2."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def prepare(root: Path, names: Sequence[str], profile: str, settings: Iterable[str] = ()) -> list[Job]:
    """One job for each notebook, every value of it checked.

    Raises:
        Refused: an unknown notebook, profile or setting, or a value of another type than the default's. The
            message lists everything that is wrong.
    """
    notebooks = find_notebooks(root, names)
    sections = load_profile(root, profile)
    given = dict(map(parse_setting, settings))
    jobs = [Job(notebook, _values(notebook, profile, sections, given)) for notebook in notebooks]
    problems = _unclaimed(notebooks, given) + [line for job in jobs for line in complaints(job)]
    problems += [
        f"profile {profile} has no section {job.notebook.stem}; an empty one ({{}}) keeps the defaults"
        for job in jobs
        if job.notebook.parameters and job.notebook.stem not in sections
    ]
    if problems:
        raise Refused("\n".join(problems))
    return jobs


def load_profile(root: Path, name: str) -> dict[str, dict[str, object]]:
    """The sections of `notebooks/profiles/<name>.yaml`: notebook → parameter → value.

    Raises:
        Refused: no such profile, not such a mapping, or a section for a notebook that does not exist.
    """
    folder = root / "notebooks" / "profiles"
    known = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in known:
        raise Refused(unknown("profile", name, known))
    sections = _parse_yaml(known[name].read_text(encoding="utf-8"), str(known[name])) or {}
    if not isinstance(sections, dict) or not all(isinstance(s, dict | None) for s in sections.values()):
        raise Refused(f"{known[name]} is not a mapping from notebooks to parameters")
    stems = {notebook.stem for notebook in find_notebooks(root)}
    strangers = [unknown("notebook", str(stem), stems) for stem in sections if stem not in stems]
    if strangers:
        raise Refused("\n".join(f"{known[name]}: {line}" for line in strangers))
    return {stem: section or {} for stem, section in sections.items()}


def parse_setting(text: str) -> tuple[str, object]:
    """`name=value`, the value read as YAML.

    Raises:
        Refused: there is no `=`, or what follows it is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise Refused(f"`--set {text}` is not of the form name=value")
    return name.strip(), _parse_yaml(value, f"--set {text}")


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Yaml)  # a SafeLoader
    except yaml.YAMLError as error:
        raise Refused(f"{where}: {error}") from error


def _values(
    notebook: Notebook, profile: str, sections: Mapping[str, dict[str, object]], given: Mapping[str, object]
) -> dict[str, object]:
    name = {"profile": profile} if "profile" in notebook.parameters else {}
    mine = {key: value for key, value in given.items() if key in notebook.parameters}
    return name | sections.get(notebook.stem, {}) | mine


def _unclaimed(notebooks: Sequence[Notebook], given: Iterable[str]) -> list[str]:
    known = {name for notebook in notebooks for name in notebook.parameters}
    return [unknown("setting", name, known) for name in given if name not in known]


def complaints(job: Job) -> list[str]:
    """What is wrong with a job's values: one line for each unknown name and each wrong type."""
    known, lines = job.notebook.parameters, []
    for name, value in job.values.items():
        if name not in known:
            lines.append(f"{job.notebook.stem}: {unknown('setting', name, known)}")
        elif not known[name].accepts(value):
            expected, given = type(known[name].default).__name__, type(value).__name__
            lines.append(f"{job.notebook.stem}: setting `{name}` must be {expected}, not {given} {value!r}")
    return lines


def plans(jobs: Sequence[Job]) -> list[list[Any]]:
    """Each job's plan: the specs that its notebook is going to ask the lab for.

    This builds every spec, and so finds a setting out of range or a missing data set before any long work.

    Raises:
        Refused: plans that cannot be made, one message for each notebook.
    """
    made, problems = [], []
    for job in jobs:
        try:
            made.append(_plan(job))
        except Exception as error:  # whatever a notebook's own code raises is news for its user
            problems.append(f"{job.notebook.stem}: {_describe(error)}")
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


def _describe(error: Exception) -> str:
    # ValueError and OSError carry sentences written for a user; any other says little without its type.
    return str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"


def execute(job: Job, folder: Path) -> Path:
    """Execute a notebook through papermill and return the executed copy, `folder/<stem>.ipynb`.

    Raises:
        Failed: a cell raised or the kernel died. The copy holds what was executed until then.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    # Its own parser, which misses some parameters, would warn of them; ours has checked them all.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    notebook, target = job.notebook, folder / f"{job.notebook.stem}.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook.path),
            str(target),
            parameters=job.values,
            kernel_name="python3",
            cwd=str(notebook.path.parent),
            progress_bar={"desc": notebook.stem},
        )
    except papermill.PapermillExecutionError as error:
        raise Failed(_failure(job, error, target)) from error
    except DeadKernelError as error:
        raise Failed(
            f"{notebook.stem}: the kernel died: killed, or out of memory. See {target}.\n"
            "What the lab had stored is kept: run again to go on from there."
        ) from error
    return target


def _failure(job: Job, error: Any, target: Path) -> str:
    # Papermill counts the cell that it injects after the parameters; the reader's notebook has none.
    parameters = job.notebook.tagged("parameters")
    injected = bool(job.values) and error.cell_index > parameters[0]
    number = error.cell_index + 1 - injected
    first = next((line for line in error.source.splitlines() if line.strip()), "")
    where = f"{job.notebook.stem}: cell {number} (In [{error.exec_count}])"
    return (
        f"{where} failed: {error.ename}: {error.evalue}\n"
        f"  it begins: {first}\n  executed until there: {target}"
    )
