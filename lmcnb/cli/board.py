"""The board: a row a headline of the papers, and the claims behind it, judged over all figures of a profile."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmcnb import __version__
from lmcnb.cli.predictions import Prediction
from lmcnb.cli.text import Refused

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lmcnb.statistics import Claim

# By headline: the papers' sentence, and the parts of it: what the ids of its claims begin with.
HEADLINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "A1": ("distilled subnetworks train into one basin where the dense network does not", ("A1", "B5")),
    "A2": ("… and are more stable than IMP's", ("A2", "B4")),
    "A2c": ("… because the data are distilled", ("A2c",)),
    "A3": ("they match IMP's accuracy", ("A3", "A3c")),
    "A3d": ("… with fewer data points (150 times, at their round lengths)", ("A3d",)),
    "A4": ("they are flatter", ("A4",)),
    "B7": ("distilled rounds first extend IMP to higher sparsity", ("B7", "B7h")),
    "Q1": ("(open) stability depends on the method that made the data", ("Q1", "Q1c", "Q1a")),
    "Q2": ("(open) the more compressed, the more stable", ("Q2",)),
    "Q2d": ("(open) a mask's barrier falls with the distinct images that it was found on; two rivals (last loss: "
            "turned after the data)", ("Q2d",)),
    "W": ("(open) a low barrier goes with a short segment, one that bends little, or accuracy before training; bent: "
          "a check", ("W",)),
    "Q4": ("(open) more stable subnetworks generalise better", ("Q4",)),
    "C1": ("a pretrained ViT, fine-tuned twice, has no barrier", ("C1",)),
    "C2": ("a randomly initialised one has", ("C2",)),
    "C3": ("PLATON keeps accuracy at 20% and 5% of the weights", ("C3", "C3c")),
    "C4": ("(open) connectivity emerges along a training, and along pretraining (that it does, not where)", ("C4",)),
    "S": ("(open) tickets of two initialisations lie in one basin, up to permutation", ("S1", "S2")),
    "R": ("(open) tickets are more stable where weights alone are rewound, not normalisation", ("R",)),
    "P": ("(of this package) training in bfloat16 moves nothing", ("P",)),
}
PARTS = {part: headline for headline, (_, parts) in HEADLINES.items() for part in parts}
OTHERS = "others"
EVERYWHERE = ("A1", "A2", "A2c", "A3")  # headlines that are asked of every network and recipe
DENIED = {"contradicted", "no difference that matters"}  # words for what does not hold
# Of networks that a notebook trains by another recipe than its own: the schedule, and the parameter of the length.
OTHERWISE = {"C4-transformer": ("linear", "vit_epochs"), "C4-pretraining": ("linear", "vit_epochs")}
FEW = 4  # claims that a headline has room for with their numbers


@dataclass(frozen=True)
class Judged:
    """A claim of a profile: its evidence from all figures, and the word that holds in its family.

    Attributes:
        claim: with that word. alone: the word of its own 95% interval. regime: how networks were trained.
        profile: of the figures. figures: that have evidence. older: whether one of them was made by an older version.
    """

    claim: Claim
    alone: str
    regime: str
    profile: str
    figures: tuple[str, ...]
    older: bool

    @property
    def headline(self) -> str:
        return PARTS.get(self.claim.id.split("-")[0], OTHERS)


def judged(*folders: Path) -> list[Judged]:
    """Every claim of some profiles' figures, in their order. Profiles are not averaged: they are other recipes.

    Args:
        folders: of the profiles' figures, each of its profile's name.

    Raises:
        Refused: no figure has claims, or one has claims of an older form.
    """
    from lmcnb.statistics import corrected, merged

    gathered: dict[tuple[str, str, str], list[tuple[Claim, Mapping[str, Any]]]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        record, profile = recorded(path), path.parent.name
        if record["profile"] == profile:
            for claim in _claims(record, path):
                gathered.setdefault((claim.id, regime(record, claim.id), profile), []).append((claim, record))
    if not gathered:
        raise Refused(f"no figure in {folders[0]} has claims: make one with lmcnb run 03 --profile {folders[0].name}")
    try:
        whole = [merged([c for c, _ in found])[0] for found in gathered.values()]
    except ValueError as error:
        raise Refused(f"{error}: leave one of these figures in its profile's folder") from None
    return [
        Judged(kept, alone.word, *key[1:], tuple(r["figure"] for _, r in found), any(is_older(r) for _, r in found))
        for (key, found), alone, kept in zip(gathered.items(), whole, corrected(whole), strict=True)
    ]


def recorded(path: Path) -> dict[str, Any]:
    """What a figure's JSON file holds. Raises Refused, with its name, where that is nothing that a figure wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"{path} is no JSON ({error}): was a merge left unfinished? Restore it, or remove it") from None
    if not isinstance(found, dict) or not found.keys() >= {"figure", "profile"}:
        raise Refused(f"{path} is no figure's record: restore it, or remove it")
    return found


def _claims(record: Mapping[str, Any], path: Path) -> list[Claim]:
    from lmcnb.statistics import Claim

    try:
        return [Claim.of(claim) for claim in record.get("claims", [])]
    except TypeError:
        raise Refused(f"{path} has claims of an older form: judge them again with "
                      f"lmcnb claims --rejudge --profile {path.parent.name}") from None


def regime(record: Mapping[str, Any], id: str = "") -> str:
    """How the networks of a figure, or of a claim of it, were trained: "one-cycle, 2 epochs", "papers, 30 epochs".

    >>> regime({"record": {"parameters": {"epochs": 30, "lr": 0.01, "schedule": "step", "augment": "cifar"}}})
    'papers, 30 epochs'
    """
    given = record.get("record", {}).get("parameters") or {}
    schedule, length = OTHERWISE.get(id, ("", ""))
    if length in given:
        return f"{schedule}, {given[length]:g} epochs"
    if not {"epochs", "schedule"} <= given.keys():
        return ""
    papers = (given.get("lr"), given["schedule"], given.get("augment")) == (0.01, "step", "cifar")
    return f"{'papers' if papers else given['schedule'].replace('_', '-')}, {given['epochs']:g} epochs"


def is_older(record: Mapping[str, Any]) -> bool:
    """Whether a figure was made by another minor version of the package, or by one that did not note its own."""
    made_by = record.get("record", {}).get("versions", {}).get("lmcnb", "")
    return made_by.split(".")[:2] != __version__.split(".")[:2]


def tables(found: Sequence[Judged], predictions: Mapping[tuple[str, str, str], Prediction]) -> dict[str, str]:
    """What pages have markers for, by marker."""
    return {"claims": headlines(found), "settings": by_setting(found), "details": details(found, predictions)}


def headlines(found: Sequence[Judged]) -> str:
    """A row a headline, as a Markdown table: its leading claims by their word, a few with their effects, and the n."""
    rows = ["| | the papers say | here | n |", "|---|---|---|---|"]
    for name, (sentence, _) in {**HEADLINES, OTHERS: ("claims of other notebooks", ())}.items():
        leading = leaders(name, found)
        if name == OTHERS and not leading:
            continue
        words: dict[str, list[str]] = {}
        for each in leading:
            effect = f": {number(each.claim)}" * (len(leading) <= FEW)
            words.setdefault(each.claim.word, []).append(_named(each, leading[0]) + effect)
        here = "; ".join(f"**{word}** {', '.join(texts)}" for word, texts in words.items()) or "not run"
        n = " or ".join(dict.fromkeys(each.claim.units for each in leading)) or "–"
        rows.append(f"| {name} | {sentence} | {here} | {n} |")
    return "\n".join(rows)


def by_setting(found: Sequence[Judged]) -> str:
    """The headlines that are asked of every network and recipe, by setting, as a Markdown table: how many show each.

    In full where all of its leading claims are reproduced, of whatever size; in part where some are, and of no other it
    is known that it does not hold.
    """
    settings = list(dict.fromkeys(_trained(j) for name in EVERYWHERE for j in leaders(name, found)))
    rows = [f"| | {' | '.join([*settings, 'shown in'])} |", "|---" * (len(settings) + 2) + "|"]
    for name in EVERYWHERE:
        words = [[j.claim.word for j in leaders(name, found) if _trained(j) == setting] for setting in settings]
        came = [[w.startswith("reproduced") for w in of] for of in words if not {*of} & DENIED]
        full = sum(bool(of) and all(of) for of in came)
        part = sum(map(any, came)) - full
        texts = ["; ".join(word + f" × {n}" * (n > 1) for word, n in Counter(of).items()) or "not run" for of in words]
        rows.append(f"| {name} | {' | '.join(texts)} | {full} in full, {part} in part, of {sum(map(bool, words))} |")
    return "\n".join(rows)


def leaders(headline: str, found: Sequence[Judged]) -> list[Judged]:
    """The claims that a headline is about: its primary ones, else those whose id begins with its own, else all."""
    mine = [j for j in found if j.headline == headline]
    primary = [j for j in mine if j.claim.family == "primary"]
    return primary or [j for j in mine if j.claim.id.split("-")[0] == headline] or mine


def _named(each: Judged, first: Judged) -> str:
    """A claim's sparsity and detail, and its training where that is not the one of the headline's first claim."""
    short, trained = _short(each.claim), _trained(each)
    if trained == _trained(first):
        return short
    return f"{short[:-1]}; {trained})" if short.endswith(")") else f"{short} ({trained})"


def _short(claim: Claim) -> str:
    return claim.id.partition("-")[2] or claim.id


def number(claim: Claim) -> str:
    """An estimate with its interval; of a count, how many times."""
    from lmcnb.figures.effects import times

    if claim.family == "count":
        return times(claim)
    if claim.estimate != claim.estimate:
        return "unknown"
    low, high = ("?" if bound != bound else f"{bound:.3g}" for bound in claim.interval)
    return f"{claim.estimate:.3g} [{low}, {high}] {claim.unit}".rstrip()


def details(found: Sequence[Judged], predictions: Mapping[tuple[str, str, str], Prediction]) -> str:
    """Every claim, a table a headline."""
    parts = []
    for name, (sentence, _) in {**HEADLINES, OTHERS: ("claims of other notebooks", ())}.items():
        mine = [j for j in found if j.headline == name]
        if mine:
            rows = [_row(j, predictions.get((j.claim.id, j.regime, j.profile))) for j in mine]
            parts.append("\n".join([f"### {name} · {sentence}", "", HEADER, *rows]))
    return "\n\n".join(parts)


HEADER = ("| claim | statement | verdict | estimate [95% interval] | margin | n | sign | p | figures |\n"
          "|---|---|---|---|---|---|---|---|---|")


def _row(each: Judged, prediction: Prediction | None) -> str:
    claim = each.claim
    statement = claim.statement + (f". Premise: {claim.premise}" if claim.premise and not claim.holds else "")
    verdict = f"**{claim.word}**"
    if each.alone != claim.word:
        verdict += f", alone: {each.alone}"
    if claim.word == "too close to call":
        known = claim.n > 1 and math.isfinite(claim.error)
        verdict += f"; decided by n = {claim.needed}" if claim.needed else "; n over 1,000" if known else ""
    if prediction:
        verdict += f"; {prediction.beside(*claim.interval, claim.margin, claim.holds)}"
    margin = "twice" if claim.family == "count" else f"{claim.margin:.3g}"
    sign = "–" if claim.share is None else f"{claim.share:.0%}"
    p = "–" if claim.family == "count" else f"{claim.p_value:.2g}"
    where = ", ".join(name.split("_")[0] for name in each.figures) + f" ({each.profile})" * (each.profile != "laptop")
    where += f"; {each.regime}" * bool(each.regime)
    where += ", older code" * each.older
    return (f"| {claim.id} | {statement} | {verdict} | {number(claim)} | {margin} | {claim.units} | {sign} | {p} | "
            f"{where} |")


def picture(found: Sequence[Judged]) -> Figure:
    """A row a headline, as a picture: the leading claims' effects in units of their margins."""
    from lmcnb.figures.board import board as drawn
    from lmcnb.figures.effects import Line, Row

    return drawn([Row(name, sentence, [Line(each.claim, _short(each.claim) * (each.claim.id != name), _trained(each),
                                            each.alone) for each in leading])
                  for name, (sentence, _) in {**HEADLINES, OTHERS: ("claims of other notebooks", ())}.items()
                  if (leading := leaders(name, found)) or name != OTHERS])


def _trained(each: Judged) -> str:
    return ", ".join(filter(None, [each.regime, each.profile * (each.profile != "laptop")]))
