"""What stands above a saved figure: its question, how the networks were trained, and what became of its claims."""
from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from os.path import commonprefix
from typing import Any

from matplotlib.figure import Figure

from ..statistics import Claim
from .base import WIDTH, label

LINE, MOST = 0.155, 3  # inches from line to line; statements that are answered
ASIDE = re.compile(r" \([^()]*\)|^at [\d.]+% sparsity, ")  # of a statement: what its claims' names say


def head(figure: Figure, question: str, note: str, parameters: Mapping[str, Any], claims: Sequence[Claim]) -> None:
    """Writes it above a finished figure. The badge stands for the caption, which then only the JSON keeps.

    Args:
        question: the title of its notebook. note: its caption. parameters: its notebook's.
        claims: each judged alone, which the head says, as the board joins and corrects them; without any the question
            is the title.
    """
    regime, found = badge(parameters, note), answers(claims)
    for text in [t for t in figure.texts if t.get_gid() in ("head", "caption" if regime else "head")]:
        text.remove()  # a figure that is saved twice has one head
    width, height = figure.get_size_inches()
    lines = [line for text in found for line in _balanced(text, int(132 * width / WIDTH))]
    base = 1 + 0.12 / height
    figure.text(0, base, "\n".join(lines), va="bottom", fontweight="bold", linespacing=1.35, gid="head")
    above = base + (len(lines) * LINE + 0.06 * bool(lines)) / height
    asked = f"{question}  In this figure alone:" if question and found else question
    figure.text(0, above, asked, va="bottom", fontweight="normal" if found else "bold", color="#444444", gid="head")
    figure.text(1, above, regime, va="bottom", ha="right", color="#444444", gid="head")


def _balanced(text: str, width: int) -> list[str]:
    """As few lines as its width asks for, of lengths as alike as they can be."""
    count = len(textwrap.wrap(text, width))
    return next(lines for w in range(width // count, width + 1) if len(lines := textwrap.wrap(text, w)) == count)


def badge(parameters: Mapping[str, Any], note: str = "") -> str:
    """Data, length of the training, width and n; the papers' values in brackets, where a caption has them.

    >>> badge({"dataset": "cifar10", "epochs": 15.0, "width": 32, "inits": [0, 1, 2]}, "width 32 (the paper: 128), …")
    'cifar10 · 15 ep · width 32 (128) · 3 inits · bars: 95%'
    """
    parts = [str(parameters["dataset"])] if "dataset" in parameters else []
    for name, text, caption in (("epochs", "{:g} ep", r"{:g} epochs \((\d+)\)"),
                                ("width", "width {:g}", r"width {:g} \((?:the papers?: )?(\d+)[^\d:]")):
        if isinstance(value := parameters.get(name), int | float):
            papers = re.search(caption.format(value), note)
            parts.append(text.format(value) + (f" ({papers[1]})" if papers else ""))
    inits = parameters.get("inits")
    if isinstance(inits, Sequence) and len(parts) > 1:
        own = " × own sets" if "own sets" in note else ""
        parts.append(f"{len(inits)}{own or ' inits' if len(inits) > 1 else ' init'}")
        parts += ["bars: 95%"] * (len(inits) > 1)
    return " · ".join(parts) if len(parts) > 1 else ""


def answers(claims: Sequence[Claim]) -> list[str]:
    """A line a statement: its words, and where they were found, with the estimate and its margin.

    Of the primary claims, else of those of the first claim's kind; three statements at most.
    """
    leading = [c for c in claims if c.family == "primary"] or [c for c in claims if _kind(c) == _kind(claims[0])]
    statements: dict[str, list[Claim]] = {}
    for claim in leading:
        statements.setdefault(ASIDE.sub("", claim.statement), []).append(claim)
    return [_answer(text, found) for text, found in [*statements.items()][:MOST]]


def _answer(statement: str, claims: Sequence[Claim]) -> str:
    """Its claims' words, each with where: the sparsity, or whatever else of their names tells them apart."""
    sparse = [found[0] if (found := re.search(r"[\d.]+%", c.id)) else "" for c in claims]
    apart = all(sparse) and len(set(sparse)) == len(sparse)
    words: dict[str, list[str]] = {}
    if len(claims) == 1 and sparse[0] in statement:
        sparse = [""]
    places = sparse if apart else [label(n) for n in _unlike([c.id.partition("-")[2] for c in claims])]
    for claim, place in zip(claims, places):
        words.setdefault(claim.word, []).append(f"{place} ({claim.estimate:.2g})".lstrip())
    link = "" if not any(places) else " at" if apart else " for"
    said = "; ".join(f"{word}{link} {' and '.join(found)}" for word, found in words.items())
    margins = " or ".join(dict.fromkeys(f"{c.margin:.2g}" for c in claims))
    unit = claims[0].unit.replace("points", "point") if margins == "1" else claims[0].unit
    margin = f", margin {margins} {unit}".replace(" %", "%") if margins != "0" else ""
    return f"{statement[:1].upper()}{statement[1:]}: {said}{margin}".replace("(-", "(−")


def _unlike(names: Sequence[str]) -> list[str]:
    """What tells names apart: they lose the parts that all begin with.

    >>> _unlike(["87% (stability, idc)", "87% (stability, random images)"])
    ['idc', 'random images']
    """
    shared = re.match(r".*(?:, |\()", commonprefix(names)) if len(names) > 1 else None
    return [name[shared.end():].removesuffix(")") if shared else name for name in names] if any(names[1:]) else [""]


def _kind(claim: Claim) -> str:
    return claim.id.partition("-")[0]
