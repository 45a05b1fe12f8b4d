"""Claims and their verdicts: six words, from the interval of one statistic against its margin."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import scipy  # which loads a part when it is first asked for

from .estimates import Student, Values, paired
from .layout import Contrast
from .ranks import RankCorrelation
from .spread import Spread

Word = Literal["not tested", "no difference that matters", "reproduced", "reproduced, size unclear", "contradicted",
               "too close to call"]
NOT_TESTED, NO_DIFFERENCE, REPRODUCED, UNCLEAR, CONTRADICTED, OPEN = get_args(Word)
Claimed = Literal["below", "above", "within", "at most"]
Family = Literal["primary", "secondary", "count"]
Statistic = Student | Spread | RankCorrelation
LEVEL = 0.05
MOST = 1000  # units, beyond which nobody plans


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, with the evidence of this run.

    Attributes:
        estimate, interval: of the statistic, 95%, in ``unit``. margin: what does not matter, in the same unit.
        claimed: where the statement has the statistic: below or above 0, within the margin, or at most the margin.
        word: the verdict. p: by word, the smallest error rate of the interval that would say it. level: the error rate
            of the interval that ``word`` is from; a family's correction lowers it.
        units: what the statistic is a mean over, as "3 × 2 sets". share: of the initialisations that show the sign.
        error, freedom, n: of the statistic: its standard error, that error's degrees of freedom, and its smallest
            number of units. needed: units that would decide what is too close to call with 80% power; None: more than
            a thousand. family: "primary" (corrected by Holm), "secondary" (Benjamini & Hochberg; exploratory), or
            "count", that has no error and no family.
        premise, holds: what must be so for the claim to be tested, and whether it is. note: how it was measured.
        evidence: of a contrast, its cells and weights, from which claims of several figures are made one.
    """

    id: str
    statement: str
    estimate: float
    interval: tuple[float, float]
    unit: str
    margin: float
    claimed: Claimed
    word: Word
    p: Mapping[str, float]
    level: float
    units: str
    share: float | None
    error: float
    freedom: float
    n: int
    needed: int | None
    family: Family
    premise: str
    holds: bool
    note: str
    evidence: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def p_value(self) -> float:
        """Of its word; of what is too close to call, the smallest of any. Times what the family's correction asks."""
        alone = self.p.get(self.word, min(self.p.values(), default=1.0))
        return min(1.0, alone * LEVEL / self.level)

    def as_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Claim:
        """A claim from its JSON, in which a number that is unknown (NaN) is null.

        Raises:
            TypeError: it is of an older form.
        """
        def known(value: float | None) -> float:
            return float("nan") if value is None else value
        numbers = {n: known(found[n]) for n in ("estimate", "margin", "error", "freedom") if n in found}
        interval = tuple(map(known, found.get("interval", ())))
        return cls(**{**found, **numbers, "interval": interval})


def claim(id: str, statement: str, statistic: Statistic | Values, *, claimed: Claimed = "below", margin: float = 0.0,
          unit: str = "", family: Family = "secondary", premise: tuple[str, bool] = ("", True),
          units: str | None = None, note: str = "") -> Claim:
    """A statement and what became of it: :func:`word` judges.

    Args:
        statistic: a contrast, a spread, a correlation; or differences, one for each initialisation.
        premise: what must be so, and whether it is, else nothing is tested. The others: see :class:`Claim`.

    >>> assert claim("A", "lower", [-3.0, -3.1, -2.9], margin=1).word == "reproduced"
    >>> assert claim("A", "lower", [-3.0, -3.1, -2.9], margin=3).word == "reproduced, size unclear"
    >>> assert claim("A", "lower", [0.1, -0.1, 0.0], margin=1).word == "no difference that matters"
    >>> assert claim("A", "equal", [0.1, -0.1, 0.0], margin=1, claimed="within").word == "reproduced"
    """
    if claimed not in get_args(Claimed):
        raise ValueError(f"unknown claimed {claimed!r}; known: {', '.join(get_args(Claimed))}")
    if margin < 0:
        raise ValueError(f"the margin of {id} must be 0 or more; got {margin:g}")
    if not isinstance(statistic, Statistic):
        statistic, each = paired(statistic), np.asarray(statistic, dtype=float).ravel()
    else:
        each = statistic.signs if isinstance(statistic, Contrast) else np.array([])
    p, (text, holds) = p_values(statistic, margin, claimed), premise
    found = word(p, holds)
    evidence = None
    if isinstance(statistic, Contrast):
        evidence = {n: getattr(statistic, n) for n in ("cells", "weights", "blocks", "sets")}
        units = units or str(statistic)
    n = statistic.units if isinstance(statistic, RankCorrelation) else statistic.n
    made = Claim(id, statement, float(statistic.estimate), statistic.interval(), unit, float(margin), claimed, found, p,
                 LEVEL, units or str(n), _share(each, margin, claimed), float(statistic.error),
                 float(statistic.freedom), n, None, family, text, holds, note, evidence)
    return replace(made, needed=needed(made))


def p_values(found: Statistic, margin: float, claimed: Claimed) -> dict[str, float]:
    """By word, in the order in which they are tried, two-sided: at most .05 where the 95% interval says it."""
    inside = max(found.below(margin), found.above(-margin))
    if claimed == "within":
        raw = {REPRODUCED: inside, CONTRADICTED: min(found.below(-margin), found.above(margin))}
    elif claimed == "at most":
        raw = {REPRODUCED: found.below(margin), CONTRADICTED: found.above(margin)}
    else:
        claims, denies = (found.below, found.above) if claimed == "below" else (found.above, found.below)
        beyond = claims(-margin if claimed == "below" else margin)
        raw = {NO_DIFFERENCE: inside, REPRODUCED: beyond, UNCLEAR: claims(0.0), CONTRADICTED: denies(0.0)}
    return {name: min(1.0, 2 * p) for name, p in raw.items()}


def word(p: Mapping[str, float], holds: bool = True, level: float = LEVEL) -> Word:
    """The verdict: the first word that an interval of this error rate says.

    >>> word({"no difference that matters": 0.4, "reproduced": 0.2, "reproduced, size unclear": 0.01})
    'reproduced, size unclear'
    """
    if not holds:
        return NOT_TESTED
    return next((name for name, value in p.items() if value <= level), OPEN)  # type: ignore[return-value]


def _share(each: np.ndarray, margin: float, claimed: Claimed) -> float | None:
    if not len(each):
        return None
    shows = {"below": each < 0, "above": each > 0, "within": abs(each) < margin, "at most": each < margin}
    return float(np.mean(shows[claimed]))


def needed(found: Claim) -> int | None:
    """Units that would decide a claim in four runs of five, if the truth is what was estimated, with its noise.

    About: the noise is taken to be known as well as it is now measured. None: it is decided, or takes over a thousand.
    """
    if found.word != OPEN or found.n < 2 or not found.error > 0:
        return None
    size = np.arange(found.n, MOST + 1)
    error = found.error * np.sqrt(found.n / size)
    half = scipy.special.stdtrit(found.freedom * (size - 1) / (found.n - 1), 1 - found.level / 2) * error
    # Undecided is an estimate whose distance from the center is between these.
    center, inner, outer = 0.0, np.maximum(found.margin - half, 0), half
    if found.claimed == "within":
        outer = found.margin + half
    elif found.claimed == "at most":
        center, inner = found.margin, 0 * half

    def within(distance: np.ndarray) -> np.ndarray:
        ends = [(center + side * distance - found.estimate) / error for side in (1, -1)]
        return scipy.special.ndtr(ends[0]) - scipy.special.ndtr(ends[1])
    decided = 1 - np.maximum(within(outer) - within(inner), 0)
    enough = np.flatnonzero(decided >= 0.8)
    return int(size[enough[0]]) if len(enough) else None


def corrected(claims: Iterable[Claim]) -> list[Claim]:
    """Claims with the words that hold in their families: Holm's for the primary, Benjamini & Hochberg's for the others.

    A family's correction gives each claim an error rate of its own (Holm, 1979; for intervals that are selected, the
    rate of Benjamini & Yekutieli, 2005), and the interval of that rate says the word. What was not tested is no member.
    """
    claims = list(claims)
    tested = [c for c in claims if c.word != NOT_TESTED and c.family != "count"]
    levels: dict[int, float] = {}
    for family in ("primary", "secondary"):
        members = sorted((c for c in tested if c.family == family), key=lambda c: min(c.p.values()))
        smallest = [min(c.p.values()) for c in members]
        levels |= {id(c): level for c, level in zip(members, (_holm if family == "primary" else _selected)(smallest))}
    found = [replace(c, level=level, word=word(c.p, c.holds, level)) if (level := levels.get(id(c))) else c
             for c in claims]
    return [replace(c, needed=needed(c)) for c in found]


def _holm(p: Sequence[float]) -> list[float]:
    """Ascending p-values' levels; from the first that fails on, that one's."""
    levels = [LEVEL / (len(p) - k) for k in range(len(p))]
    failed = next((k for k, (value, level) in enumerate(zip(p, levels)) if value > level), len(p))
    return [levels[min(k, failed)] for k in range(len(p))]


def _selected(p: Sequence[float]) -> list[float]:
    passed = [k for k, value in enumerate(p, 1) if value <= k * LEVEL / len(p)]
    return [max([*passed, 1]) * LEVEL / max(1, len(p))] * len(p)


def merged(claims: Iterable[Claim]) -> list[Claim]:
    """One claim where several figures have evidence for it: what differs between them are sets, which are averaged.

    A cell with the same values in two figures is the same networks, and counts once. A set is taken as it is: the
    interval is about the mean of these sets, of which each has a variance of its own. What is no difference between
    methods is averaged by initialisation, since two sets share what an initialisation adds.
    """
    by_id: dict[str, list[Claim]] = {}
    for each in claims:
        by_id.setdefault(each.id, []).append(each)
    return [found[0] if len(found) == 1 else _merged(found) for found in by_id.values()]


def _merged(claims: Sequence[Claim]) -> Claim:
    first = claims[0]
    evidence: list[Mapping[str, Any]] = [c.evidence for c in claims if c.evidence]
    if len(evidence) < len(claims):
        raise ValueError(f"{first.id} is claimed by more than one figure and has no cells to be made one from")
    cells: dict[str, Mapping[int, float]] = {}
    weights: dict[str, float] = {}
    sets = 0
    level = abs(sum(evidence[0]["weights"].values())) > 1e-9  # of one method: what initialisations add stays in it
    for name, weight in dict[str, float](evidence[0]["weights"]).items():
        variants: list[dict[int, float]] = []
        seen = 0
        for each in evidence:
            cell = {int(i): float(v) for i, v in each["cells"][name].items()}
            if known := next((other for other in variants if _same(cell, other)), None):
                known.update(cell)  # perhaps of more initialisations
                continue
            variants.append(cell)
            seen += each["sets"] if each["sets"] != "own" else 0
        sets = max(sets, seen)
        if level and len({frozenset(cell) for cell in variants}) == 1:
            variants = [{i: sum(cell[i] for cell in variants) / len(variants) for i in variants[0]}]
        named = {name if k == 0 else f"{name}, set {k + 1}": cell for k, cell in enumerate(variants)}
        cells, weights = cells | named, weights | dict.fromkeys(named, weight / len(variants))
    own = any(e["sets"] == "own" for e in evidence)
    whole = Contrast.of(cells, weights, any(e["blocks"] for e in evidence), "own" if own else sets)
    parts = " and ".join(f"{c.estimate:.3g}" for c in claims)
    return claim(first.id, first.statement, whole, claimed=first.claimed, margin=first.margin, unit=first.unit,
                 family=first.family, premise=(first.premise, all(c.holds for c in claims)),
                 note=f"{first.note} By set: {parts}.".strip())


def _same(cell: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """A table keeps six digits, so that the same networks may differ in the last."""
    shared = cell.keys() & other.keys()
    return bool(shared) and all(np.isclose(cell[i], other[i], rtol=1e-4, atol=1e-6) for i in shared)
