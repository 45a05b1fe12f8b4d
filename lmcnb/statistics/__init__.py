"""Intervals and verdicts: what a handful of initialisations can and cannot tell."""
from .claims import Claim, claim, corrected, merged, needed, word
from .components import Components, components
from .estimates import Estimate, Student, estimate, paired
from .layout import Contrast, Layout
from .ranks import RankCorrelation, rank_correlation
from .spread import Spread, spread

__all__ = ["Claim", "Components", "Contrast", "Estimate", "Layout", "RankCorrelation", "Spread", "Student", "claim",
           "components", "corrected", "estimate", "merged", "needed", "paired", "rank_correlation", "spread", "word"]
