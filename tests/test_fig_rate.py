"""Figures of another pruning rate than the papers' say its sparsities: four rounds of a half leave 6%."""

import inspect

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from test_fig_audit import a_curvature

from lmcnb import figures
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")
VALUES = [1.0, 1.2, 1.1]
FOUND = [("dense", 0, 9), ("imp", 4, 9), ("idc", 4, 1)]
ALPHAS = np.linspace(0, 1, 3)
PATHS = Table.of({"method": m, "round": r, "init": i, "bn": bn, "quantity": q, "alpha": a, "value": v}
                 for m, r in [("dense", 0), *((m, r) for m in ("imp", "idc") for r in range(1, 5))] for i in range(3)
                 for bn in ("lerp", "recalibrate") for q in ("train_loss", "test_error")
                 for a, v in zip(ALPHAS, (0.0, 1.0, 0.2), strict=True))
WEIGHTS, PICTURE = np.linspace(-1, 1, 8), np.zeros((4, 4), np.uint8)
FIRST = [{"method": "idc", "round": 1, **row}
         for row in figures.first_round([2.0, 1.0], WEIGHTS, WEIGHTS, WEIGHTS, WEIGHTS > 0)]
TRAINED = {"test_accuracy, untrained": 0.1, "test_accuracy": 0.6}
ALGORITHM = Table.of([
    *FIRST, *({"method": "idc", "round": r, "quantity": "density, conv", "value": 0.8**r} for r in range(1, 5)),
    *({"method": m, "round": r, "seeds": "0", "quantity": q, "value": v} for q, v in TRAINED.items()
      for m, r in (("dense", 0), ("idc", 4)))])
FAMILY = Table.of(
    [{"method": m, "round": r, "ipc": k, "init": i, "quantity": q, "value": v} for m, r, k in FOUND
     for q in ("train_loss barrier, midpoint", "test_accuracy", "clean", "corrupted", "kept", "probe",
               "images looked at")
     for i, v in enumerate(VALUES)]
    + [{"method": m, "round": r, "quantity": "accuracy lost", "corruption": c, "value": v} for m, r, _ in FOUND
       for c, v in (("a", -0.002), ("b", 0.03))]
    + [{"method": "idc", "ipc": 1, "share": 1.0, "protocol": "dc", "init": i, "quantity": q, "value": v}
       for q in ("set_accuracy", "seconds") for i, v in enumerate(VALUES)])
PAIR = Table.of(
    {"setting": "s", "name": "n", "mask": "m", "method": m, "round": 4, "init": i, "compression": 10.0, "quantity": q,
     "value": v} for m in ("idc", "imp") for q in ("train_loss barrier, midpoint", "test_accuracy")
    for i, v in enumerate(VALUES))
TICKETS = Table.of({"method": m, "round": r, "init": i, "quantity": "test_accuracy", "value": v}
                   for m in ("k=0", "k>0", "hybrid") for r in range(5) for i, v in enumerate(VALUES))
SPARSE = Table.of(
    [{"method": m, "round": r, "init": i, "quantity": "test_accuracy", "value": v}
     for m, r in (("dense", 0), ("imp", 4), ("idc", 4)) for i, v in enumerate(VALUES)]
    + [{"method": m, "round": r, "quantity": "data_points", "value": 9.0} for m in ("imp", "idc") for r in (1, 4)]
    + [{"method": "idc", "quantity": q, "value": 2.0} for q in ("data_points", "factor")])

DRAWN = {
    "algorithm": lambda **o: figures.distilled_pruning(
        ALGORITHM, {"stored": [PICTURE], "decoded": [PICTURE], "mask, conv": PICTURE[None]}, [4], "a note", **o),
    "batchnorm": lambda **o: figures.batchnorm(PATHS, [4], "a note", **o),
    "compression": lambda **o: figures.compression(FAMILY, "a note", **o),
    "generalisation": lambda **o: figures.generalisation(FAMILY, "a note", **o),
    "hessian": lambda **o: figures.hessian(Table.of(a_curvature()), "a note", **o),
    "hybrid": lambda **o: figures.hybrid(TICKETS, {m: m for m in ("k=0", "k>0", "hybrid")}, 2, "a note", **o),
    "methods": lambda **o: figures.methods(FAMILY, {"idc": np.zeros((2, 4, 4), np.uint8)}, "dc", "a note", **o),
    "sparsity": lambda **o: figures.accuracy_against_sparsity(SPARSE, "a note", **o),
    "stability": lambda **o: figures.stability(PATHS.select(bn="lerp"), [4], "a note", **o),
    "tradeoff": lambda **o: figures.tradeoff(PAIR, [4], "a note", **o),
}


def texts(figure) -> str:
    for ax in figure.findobj(Axes):
        ax.get_xticklabels(), ax.get_yticklabels()  # which makes them, as drawing would
    return "\n".join(t.get_text() for t in figure.findobj(Text))


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_labels_are_those_of_the_rate(draw):
    other = texts(draw(rate=0.5))
    assert "94" in other and "59" not in other


@pytest.mark.parametrize("function", [
    figures.distilled_pruning, figures.batchnorm, figures.compression, figures.generalisation, figures.hessian,
    figures.hybrid, figures.methods, figures.accuracy_against_sparsity, figures.stability, figures.tradeoff])
def test_without_one_it_is_the_papers(function):
    assert inspect.signature(function).parameters["rate"].default == 0.2


def test_the_quickstart_stands_at_the_sparsities_of_its_rate():
    table = Table.of({"method": m, "round": r, "quantity": "train_loss", "alpha": a, "value": a}
                     for m in ("imp", "idc") for r in range(3) for a in ALPHAS)
    figure = figures.rounds(table, "a note", rate=0.5)
    assert figure.axes[2].lines[0].get_xdata().tolist() == [0, 50, 75]


def test_what_rounds_to_zero_has_no_sign():
    drawn = texts(DRAWN["generalisation"]())
    assert "\n0\n" in drawn and "-0\n" not in drawn
