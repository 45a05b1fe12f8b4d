"""Bad settings in code, in notebooks and on the command line: each is refused by name before any work.

Each is a valid setting with one known fault. It counts as refused when the error is a ValueError (on the command line:
exit code 2), the message names the setting and holds no text of another library, and nothing was executed.
"""
from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from click.testing import CliRunner

from lmcnb import places
from lmcnb.cli import execution, main, runner
from lmcnb.cli.text import Refused
from lmcnb.notebooks import find_notebooks

from .crafted.specs import COMBINATIONS, VALID, mutations

COUNT = 10_000
THEIRS = re.compile(r"pydantic|For further information|type=|https?://(?!image-net)|Traceback|validation error|"
                    r"Input should|while (parsing|scanning|constructing)|function-(after|before)|Exceeds the limit|"
                    r"<unicode string>|unhashable|not supported between|object is not|takes no|no attribute|"
                    r"(Type|Value|Key|Attribute|Overflow|Runtime)Error")
NAMES = {"dataset": "cifar", "model": "convnet33", "distill_model": "convnett2", "schedule": "cosine",
         "augment": "cifra", "assess_protocol": "idcc", "assess_schedule": "stepp", "target": "cifar"}
Case = tuple[str, Callable[[], None], tuple[str, ...]]  # what it is, how to ask, names of which the message has one


def judged(ask: Callable[[], None], names: tuple[str, ...]) -> str:
    """"refused", or what is wrong with the answer."""
    try:
        ask()
    except (ValueError, FileNotFoundError, Refused) as error:
        text = getattr(error, "message", None) or str(error)
        if found := THEIRS.search(text):
            return f"words of others ({found.group()}): {ascii(text)[:200]}"
        return "refused" if any(n in text for n in names) else f"does not name it: {ascii(text)[:200]}"
    except Exception as error:
        return f"raised {type(error).__name__}: {ascii(str(error))[:200]}"
    return "accepted"


def specs(rng: Random) -> Iterator[Case]:
    """Groups of settings made in code."""
    while True:
        for spec in VALID:
            for values, name in rng.sample(found := list(mutations(spec, rng)), min(12, len(found))):
                what = f"{type(spec).__name__}.{name} = {ascii(_short(values.get(name, 'missing')))}"
                yield what, lambda s=spec, v=values: type(s)(**v), (f".{name}", repr(name))


def combinations(rng: Random) -> Iterator[Case]:
    while True:
        for name, (ask, names) in COMBINATIONS.items():
            yield name, ask, names


def notebooks(rng: Random) -> Iterator[Case]:
    """Values of another type than a notebook's parameter, out of its range, or unknown names: up to the plan."""
    yield from _parameters(rng, _values)


def items(rng: Random) -> Iterator[Case]:
    """Lists with an entry that cannot be."""
    yield from _parameters(rng, _lists)


def _parameters(rng: Random, values: Callable[[str, object, int], list[str]]) -> Iterator[Case]:
    root = places.project_root()
    known = [(n.stem, p) for n in find_notebooks(root) for p in n.parameters.values()]

    def ask(stem: str, text: str) -> None:
        runner.plans(runner.prepare(root, [stem], "smoke", [text]))
    while True:
        stem, parameter = rng.choice(known)
        if texts := values(parameter.name, parameter.default, rng.randrange(2, 10**6)):
            value = rng.choice(texts)
            given = f"{parameter.name}={value}"
            yield f"{stem}: {given}", lambda s=stem, t=given: ask(s, t), (parameter.name,)


def _values(name: str, default: object, number: int) -> list[str]:
    any_type = ["null", "{a: 1}", "!!binary aGk=", "2020-01-01"]
    if isinstance(default, bool):
        return [*any_type, str(number), "maybe", "[]"]
    if isinstance(default, int):
        return [*any_type, "x", f"[{number}]", f"{number}.5", "true", *([] if name == "init" else [f"-{number}"])]
    if isinstance(default, float):
        return [*any_type, "x", f"[{number}]", "true", ".nan", ".inf", "-.inf", f"-{number}"]
    if isinstance(default, list):
        return [*any_type, str(number), "x"]
    return [*any_type, str(number), "[]", "true", *([NAMES[name], NAMES[name] + "x"] if name in NAMES else [])]


def _lists(name: str, default: object, number: int) -> list[str]:
    if not isinstance(default, list):
        return []
    item = "x" if isinstance(default[0], int | float) else str(number)
    return [f"[[{item}]]", f"[{item}]", "[null]", "[.nan]", "[{a: 1}]"]


def commands(rng: Random) -> Iterator[Case]:
    """Command lines of run, params and status."""
    while True:
        word, number = "".join(rng.choices("qxz_", k=rng.randrange(2, 12))), str(rng.randrange(100, 10**6))
        yield _command(rng, [
            ([f"--set={word}"], word), ([f"--set=={number}"], f"={number}"), ([f"--set={word}=1"], word),
            ([f"--set=width={word}"], "width"), ([f"--set=WIDTH={number}"], "WIDTH"), (["--set=width =true"], "width"),
            (["--set"], "--set"), (["--profile"], "--profile"), (["--profile", word], word), ([f"--{word}"], word),
            ([word], word), ([number], number), (["0"], "0"), (["../00_quickstart"], "../00"),
            ([f"{word}.ipynb"], word)])


def yaml(rng: Random) -> Iterator[Case]:
    """Values on the command line that are no YAML."""
    while True:
        word = "".join(rng.choices("qxz_", k=rng.randrange(2, 12)))
        yield _command(rng, [([f"--set=width={text}"], "width") for text in (
            f"[{word}", f"{{{word}: b: c}}", f"!!python/object/apply:os.{word} []", f"{word}: b: c", f"*{word}",
            f"{word}\x00", f"'{word}", f"&{word}", f"!{word} 1", f"%{word}")])


def _command(rng: Random, wrong: list[tuple[list[str], str]]) -> Case:
    (more, name), stem = rng.choice(wrong), rng.choice([n.stem for n in find_notebooks(places.project_root())])
    arguments = [rng.choice(["run", "params", "status"]), stem, *more]
    return ascii(arguments), lambda: _called(arguments), (name,)


def _called(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    if result.exit_code == 2 and isinstance(result.exception, SystemExit):
        raise Refused(result.output)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception


SHARES = {"specs": (specs, 0.7), "combinations": (combinations, 0.01), "notebooks": (notebooks, 0.12),
          "items": (items, 0.03), "commands": (commands, 0.12), "yaml": (yaml, 0.02)}


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    """Notebooks and data of another place, and no notebook is executed."""
    def executed(*_, **__):
        raise AssertionError("a notebook was executed")
    whole, execution.execute, before = execution.execute, executed, os.environ.get("LMCNB_STORE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LMCNB_STORE"] = folder
        try:
            yield
        finally:
            execution.execute = whole
            os.environ.pop("LMCNB_STORE")
            if before is not None:
                os.environ["LMCNB_STORE"] = before


def cases(count: int, seed: int) -> Iterator[tuple[str, Case]]:
    for part, (make, share) in SHARES.items():
        found = make(Random(f"{part} {seed}"))
        for _ in range(round(count * share)):
            yield part, next(found)


def run(count: int, seed: int) -> dict:
    """Counts of what became of ``count`` bad settings, and each that was not refused as it should be."""
    tried, refused, failures = Counter(), Counter(), {}
    with nothing_runs():
        for part, (what, ask, names) in cases(count, seed):
            tried[part] += 1
            answer = judged(ask, names)
            refused[part] += answer == "refused"
            if answer != "refused":
                failures[f"{part}: {what}: {answer}"] = None
    return {"tried": sum(tried.values()), "refused": sum(refused.values()),
            **{part: f"{refused[part]:,} of {n:,}" for part, n in tried.items()}, "different failures": list(failures)}


def _short(value: object) -> str:
    try:
        return repr(value)[:80]
    except Exception:
        return f"<{type(value).__name__}>"
