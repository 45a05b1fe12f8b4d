"""What stands above a saved figure: its question, how the networks were trained, and what became of its claims."""
from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from os.path import commonprefix
from typing import Any

from matplotlib.figure import Figure

from ..statistics import Claim
from ..statistics.claims import NOT_TESTED
from .base import WIDTH, label
from .batchnorm import BY_BN
from .effects import times
from .sparsity import WORDS

LINE, MOST = 0.155, 4  # inches from line to line; statements that are answered
INDENT = "    "
ASIDE = re.compile(r" \((?:[\d.]+% sparse|real data|test error rises [^()]*)\)|^at [\d.]+% sparsity, ")  # left out
# Of statements that else are one: what is told beside their words instead.
VARIANT = re.compile(r" \([\d.]+% sparse, [^()]*\)|with \S+ statistics, |, (?:stored|decoded)\b.*$")
NAMES = {**WORDS, **{bn: name for bn, (name, *_) in BY_BN.items()}}


def head(figure: Figure, question: str, note: str, parameters: Mapping[str, Any], claims: Sequence[Claim]) -> None:
    """Writes it above a finished figure. The badge stands for the caption, which then only the JSON keeps.

    Args:
        question: the title of its notebook. note: its caption. parameters: its notebook's.
        claims: each judged alone, which the head says, as the board joins and corrects them; without any the question
            is the title.
    """
    found, below = answers(claims), {t.get_gid() for t in figure.texts}
    regime = "" if "kept" in below else badge(parameters, note, bars="caption, no bars" not in below)
    for text in [t for t in figure.texts if t.get_gid() == "head" or regime and "caption" in (t.get_gid() or "")]:
        text.remove()  # a figure that is saved twice has one head
    width, height = figure.get_size_inches()
    lines = [line for text in found for line in _wrapped(text, int(132 * width / WIDTH))]
    base = 1 + 0.12 / height
    figure.text(0, base, "\n".join(lines), va="bottom", fontweight="bold", linespacing=1.35, gid="head")
    above = base + (len(lines) * LINE + 0.06 * bool(lines)) / height
    asked = f"{question}  In this figure alone:" if question and found else question
    figure.text(0, above, asked, va="bottom", fontweight="normal" if found else "bold", color="#444444", gid="head")
    figure.text(1, above, regime, va="bottom", ha="right", color="#444444", gid="head")


def _wrapped(text: str, width: int) -> list[str]:
    """On one line, or its statement and, indented, what became of it, in lines as alike as they can be."""
    if len(text) <= width:
        return [text]
    statement, colon, answer = text.partition(": ")

    def below(w: int) -> list[str]:
        return textwrap.wrap(answer, w, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)
    count = len(below(width))
    return textwrap.wrap(statement + colon, width) + next(
        lines for w in range(width // max(1, count), width + 1) if len(lines := below(w)) == count)


def badge(parameters: Mapping[str, Any], note: str = "", bars: bool = True) -> str:
    """Data, length of the training, width and n; the papers' values in brackets, where a caption has them.

    Args:
        bars: whether the figure has intervals.

    >>> badge({"dataset": "cifar10", "epochs": 15.0, "width": 32, "inits": [0, 1, 2]}, "width 32 (the paper: 128), …")
    'cifar10 · 15 ep · width 32 (128) · 3 inits · bars: 95%'
    """
    parts = [str(parameters["dataset"])] if "dataset" in parameters else []
    for name, text, caption in (("epochs", "{:g} ep", r"(?<![\d.]){} epochs \((\d+)\)"),
                                ("width", "width {:g}", r"width {} \((?:the papers?: )?(\d+)[^\d:]")):
        if isinstance(value := parameters.get(name), int | float):
            papers = re.search(caption.format(re.escape(f"{value:g}")), note)
            parts.append(text.format(value) + (f" ({papers[1]})" if papers else ""))
    inits = parameters.get("inits")
    if isinstance(inits, Sequence) and len(parts) > 1:
        own = " × own sets" if "own sets" in note else ""
        parts.append(f"{len(inits)}{own or ' inits' if len(inits) > 1 else ' init'}")
        parts += ["bars: 95%"] * (bars and len(inits) > 1)
    return " · ".join(parts) if len(parts) > 1 else ""


def answers(claims: Sequence[Claim]) -> list[str]:
    """A line a statement, the primary ones first: its words, and where they were found, with the estimates.

    Four statements at most, and a line that says how many claims are not among them.
    """
    statements: dict[str, list[Claim]] = {}
    for claim in sorted(claims, key=lambda c: c.family != "primary"):
        statements.setdefault(VARIANT.sub("", _short(claim)), []).append(claim)
    lines, rest = [*map(_answer, statements, statements.values())], [*statements.values()][MOST:]
    more = sum(map(len, rest))
    return lines[:MOST] + [f"… and {more} more claim{'s' * (more > 1)} in the notebook"] * bool(more)


def _short(claim: Claim) -> str:
    return ASIDE.sub("", claim.statement)


def _answer(statement: str, claims: Sequence[Claim]) -> str:
    """Its claims' words, each with where, and what was claimed. Of what was not tested: which premise fails."""
    if len(full := {*map(_short, claims)}) == 1:
        [statement] = full  # no variant to be told beside it
    places, sparse = _places(claims), {*map(_sparse, claims)}
    if len(sparse) == 1 < len(claims) and sparse != {""}:
        statement, places = f"{statement} ({sparse.pop()} sparse)", [p.partition(" for ")[2] for p in places]
    elif len(claims) == 1 and places[0] in statement:
        places = [""]
    words: dict[str, list[str]] = {}
    for claim, place in zip(claims, places):
        number = "" if claim.word == NOT_TESTED else f"({_number(claim)})"
        words.setdefault(claim.word, []).append(f"{place} {number}".strip())
    link = "" if not any(places) else " at" if all(p[:1].isdigit() for p in places) else " for"
    said = {word: f"{word}{link} {' and '.join(found)}".rstrip() for word, found in words.items()}
    failed = dict.fromkeys(re.split(": |, by ", c.premise)[0] for c in claims if c.word == NOT_TESTED)
    if NOT_TESTED in said:
        said[NOT_TESTED] += ", as it is not shown that " + " and ".join(failed)
    text = statement.replace(": ", ", ")
    return f"{text[:1].upper()}{text[1:]}: {'; '.join(said.values())}{_claimed(claims)}"


def _number(claim: Claim) -> str:
    if claim.estimate != claim.estimate:
        return "unknown"
    return times(claim) if claim.family == "count" else signed(claim.estimate)


def signed(value: float) -> str:
    """Two digits, or more in front of the point.

    >>> signed(123.456), signed(-0.0217)
    ('+123', '−0.022')
    """
    return (f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.2g}").replace("-", "−")


def _claimed(claims: Sequence[Claim]) -> str:
    """What was claimed of the numbers, with their unit: of a difference it tells which sign is which."""
    tested = [c for c in claims if c.word != NOT_TESTED]
    if not tested or tested[0].family == "count":
        return ""
    margins = " or ".join(dict.fromkeys(signed(c.margin)[1:] for c in tested))
    unit = " " + (tested[0].unit.replace("points", "point") if margins == "1" else tested[0].unit)
    beside = f", margin {margins}" if margins != "0" else ""
    words = f"{tested[0].claimed} 0{beside}" if tested[0].claimed in ("below", "above") else \
        f"{tested[0].claimed} {margins}"
    return f" (claimed: {words}{unit})".replace(" %", "%").replace(" )", ")")


def _sparse(claim: Claim) -> str:
    return found[0] if (found := re.search(r"[\d.]+%", claim.id)) else ""


def _places(claims: Sequence[Claim]) -> list[str]:
    """Where each was found: its sparsity, and what else of their names tells them apart."""
    if not all(map(_sparse, claims)):
        return [*map(label, _unlike([c.id.partition("-")[2] for c in claims]))]
    asides = [found[1].split(", ") if (found := re.search(r"\((.*)\)", c.id)) else [] for c in claims]
    places = []
    for claim, parts in zip(claims, asides):
        own = ", ".join(p for p in parts if not all(p in other for other in asides))
        places.append(_sparse(claim) + (f" for {NAMES.get(own, label(own))}" if own else ""))
    return places


def _unlike(names: Sequence[str]) -> list[str]:
    """What tells names apart: they lose the parts that all begin with.

    >>> _unlike(["test accuracy, dense", "test accuracy, IMP"])
    ['dense', 'IMP']
    """
    shared = re.match(r".*(?:, |\()", commonprefix(names)) if len(names) > 1 else None
    return [name[shared.end():].removesuffix(")") if shared else name for name in names] if any(names[1:]) else [""]
