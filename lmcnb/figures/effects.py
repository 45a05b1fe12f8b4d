"""What the board draws: headlines, their claims, and each claim's effect in units of its margin."""
from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..statistics import Claim

LINE, MORE, GAP = 0.165, 0.13, 0.1  # inches: a claim, a further line of a text, and between headlines


@dataclass(frozen=True)
class Line:
    """A claim on the board.

    Attributes:
        label: what it is among its headline's claims. regime: how networks were trained. alone: the word of its 95%
            interval, before the correction for its family.
    """

    claim: Claim
    label: str
    regime: str
    alone: str

    @property
    def texts(self) -> list[str]:
        return textwrap.wrap(self.label, 27)

    @property
    def trained(self) -> list[str]:
        return textwrap.wrap(self.regime, 21)

    @property
    def height(self) -> float:
        return LINE + MORE * (max(1, len(self.texts), len(self.trained)) - 1)


@dataclass(frozen=True)
class Row:
    """A headline: its short name, the papers' sentence, and its claims; none where nothing was run."""

    name: str
    sentence: str
    lines: Sequence[Line] = ()

    @property
    def texts(self) -> list[str]:
        return textwrap.wrap(self.sentence, 27)

    @property
    def height(self) -> float:
        words = LINE + MORE * (len(self.texts) - 1)
        return max(words, sum(line.height for line in self.lines)) + GAP


def effect(claim: Claim) -> tuple[float, float, float]:
    """A claim's estimate and the ends of its interval, in margins, turned so that right of 0 is as claimed.

    Of a claim that something is below or above 0 it is how far, in the claimed direction; of one that something is at
    most its margin, or within it, how far inside. Only the former may be a difference that does not matter.

    >>> from lmcnb.statistics import claim
    >>> effect(claim("A", "lower", [-3.0, -3.0], margin=1)), effect(claim("A", "equal", [3.0, 3.0], margin=1,
    ...                                                                   claimed="within"))
    ((3.0, 3.0, 3.0), (-2.0, -2.0, -2.0))
    """
    estimate, low, high = np.array([claim.estimate, *claim.interval]) / claim.margin
    if claim.claimed == "below":
        estimate, low, high = -estimate, -high, -low
    elif claim.claimed == "at most":
        estimate, low, high = 1 - estimate, 1 - high, 1 - low
    elif claim.claimed == "within":
        nearest = max(low, -high, 0.0)
        estimate, low, high = 1 - abs(estimate), 1 - max(-low, high), 1 - nearest
    return float(estimate), float(low), float(high)


def times(claim: Claim) -> str:
    """A count's ratio in words: its estimate is the logarithm of how many times fewer."""
    ratio = 10 ** abs(claim.estimate)
    return f"{ratio:.{0 if ratio >= 10 else 1}f} times {'fewer' if claim.estimate > 0 else 'more'}"
