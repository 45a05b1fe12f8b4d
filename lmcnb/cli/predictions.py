"""What was said beforehand: figures/predictions.yaml, committed before the results that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lmcnb.cli.text import Refused
from lmcnb.notebooks import unknown
from lmcnb.profiles import parse_yaml

SIGNS = ("> 0", "< 0", "within margin", "> margin")


@dataclass(frozen=True)
class Prediction:
    """A claim's outcome as expected: sign and size of its statistic, in the statistic's unit, why, and where."""

    claim: str
    regime: str
    statistic: str
    predicted: str
    size: float
    why: str
    profile: str = "laptop"

    def beside(self, low: float, high: float, margin: float, tested: bool = True) -> str:
        """The prediction and whether an interval agrees: "predicted < 0, about -0.02: side as predicted"."""
        inside, beyond = -margin < low and high < margin, high <= -margin or low >= margin
        agrees, denies = {
            "> 0": (low > 0, high < 0),
            "< 0": (high < 0, low > 0),
            "within margin": (inside, beyond),
            "> margin": (low > margin, high < margin),
        }[self.predicted]
        agreed = "as predicted" if self.predicted == "within margin" else "side as predicted"  # nothing of its size
        came = agreed if agrees else "not so" if denies else "open"
        return f"predicted {self.predicted}, about {self.size:g}: {came if tested else 'not tested'}"


def read_predictions(path: Path, known: Mapping[str, Any]) -> dict[tuple[str, str, str], Prediction]:
    """Predictions by claim, regime and profile; none where there is no such file.

    Args:
        known: the parts of the board, as A2: what a claim's id begins with.

    Raises:
        Refused: not a list of predictions, or one that is not complete; the message names it and what is wrong.
    """
    if not path.is_file():
        return {}
    found: dict[tuple[str, str, str], Prediction] = {}
    entries = parse_yaml(path.read_text(encoding="utf-8"), str(path)) or []
    if not isinstance(entries, list):
        raise Refused(f"{path} must be a list of predictions, each with {', '.join(_names())}")
    for number, entry in enumerate(entries, start=1):
        made = _checked(entry, f"{path}, prediction {number}", known)
        place = made.claim, made.regime, made.profile
        if place in found:
            raise Refused(f"{path}, prediction {number}: {made.claim} under {made.regime} is predicted twice for "
                          f"profile {made.profile}: keep one")
        found[place] = made
    return found


def _names() -> list[str]:
    return [f.name for f in fields(Prediction)]


def _checked(entry: Any, where: str, known: Mapping[str, Any]) -> Prediction:
    if not isinstance(entry, dict):
        raise Refused(f"{where} must be a mapping of {', '.join(_names())}; got {entry!r}")
    if strangers := [unknown("key", str(name), _names()) for name in entry if name not in _names()]:
        raise Refused(f"{where}: {'; '.join(strangers)}")
    entry = {"profile": Prediction.profile} | entry
    if absent := [name for name in _names() if entry.get(name) in (None, "")]:
        raise Refused(f"{where} lacks {', '.join(absent)}")
    if not isinstance(entry["size"], int | float) or isinstance(entry["size"], bool):
        raise Refused(f"{where}: size must be a number in the statistic's unit; got {entry['size']!r}")
    if texts := [name for name in _names() if name != "size" and not isinstance(entry[name], str)]:
        raise Refused(f"{where}: {', '.join(texts)} must be text: put it in quotes")
    if entry["predicted"] not in SIGNS:
        signs = ", ".join(f'"{sign}"' for sign in SIGNS)
        raise Refused(f"{where}: predicted must be one of {signs}; got {entry['predicted']!r}")
    if (part := entry["claim"].split("-")[0]) not in known:
        raise Refused(f"{where}: {unknown('claim', part, known)}")
    return Prediction(**{**entry, "size": float(entry["size"])})
