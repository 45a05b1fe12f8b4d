"""What rounds to zero has no sign."""

from matplotlib.axes import Axes
from matplotlib.text import Text

from lmcnb import figures
from lmcnb.tables import Table

VALUES = [1.0, 1.2, 1.1]
FOUND = [("dense", 0, 9), ("imp", 4, 9), ("idc", 4, 1)]
FAMILY = Table.of(
    [{"method": m, "round": r, "init": i, "quantity": q, "value": v} for m, r, _ in FOUND
     for q in ("train_loss barrier, midpoint", "clean", "corrupted", "kept", "probe") for i, v in enumerate(VALUES)]
    + [{"method": m, "round": r, "quantity": "accuracy lost", "corruption": c, "value": v} for m, r, _ in FOUND
       for c, v in (("a", -0.002), ("b", 0.03))])


def texts(figure) -> str:
    for ax in figure.findobj(Axes):
        ax.get_xticklabels(), ax.get_yticklabels()  # which makes them, as drawing would
    return "\n".join(t.get_text() for t in figure.findobj(Text))


def test_what_rounds_to_zero_has_no_sign():
    drawn = texts(figures.generalisation(FAMILY, "a note"))
    assert "\n0\n" in drawn and "-0\n" not in drawn
