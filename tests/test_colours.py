"""Colours of methods: apart for every eye, in every pair that a figure may show."""

from itertools import combinations

import numpy as np
import pytest

from lmcnb.figures.base import COLOURS, FAMILIES, LABELS, MARKERS, family, marker
from lmcnb.figures.hybrid import HUES as WAYS_TO_PRUNE
from lmcnb.figures.symmetry import WAYS
from lmcnb.figures.transformers import HUES as STARTS

SIGHT = {  # Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                        [-0.011820, 0.042940, 0.968881]]),
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])
WHITE = np.array([0.95047, 1.0, 1.08883])


def lightness_and_hue(colour: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as it is seen."""
    values = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    x = XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1) / WHITE
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one: str, other: str, sight: str) -> float:
    return float(np.linalg.norm(lightness_and_hue(one, sight) - lightness_and_hue(other, sight)))


METHODS = [m for m in COLOURS if "platon," not in m and "magnitude" not in m and "weights only" not in m]
PLATON = ["dense", "random mask", *(m for m in COLOURS if "platon" in m or "magnitude" in m)]
REWOUND = ["dense", "imp", "idc", "random images", "random mosaics", "random mask", "imp, weights only",
           "idc, weights only"]
GROUPS = {"methods": [COLOURS[m] for m in METHODS], "platon": [COLOURS[m] for m in PLATON],
          "rewound": [COLOURS[m] for m in REWOUND],
          "hybrid": [*WAYS_TO_PRUNE.values(), COLOURS["dense"]], "starts": list(STARTS.values()),
          "ways to match": list(WAYS.values())}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("group", GROUPS)
def test_any_two_colours_of_a_figure_are_apart(group: str, sight: str):
    close = [(a, b, round(apart(a, b, sight), 1)) for a, b in combinations(GROUPS[group], 2) if apart(a, b, sight) < 15]
    assert not close


def test_the_difference_is_that_of_the_field():
    assert apart("#000000", "#ffffff", "normal") == pytest.approx(100, abs=0.1)
    assert apart("#ff0000", "#00ff00", "normal") == pytest.approx(170.6, abs=0.5)
    assert apart("#d00000", "#6a5a00", "deutan") < apart("#d00000", "#6a5a00", "normal") / 2


def test_every_method_with_a_name_has_a_colour_and_a_family():
    assert set(LABELS) <= set(COLOURS) and {m.partition(",")[0] for m in LABELS} <= set(FAMILIES)
    assert {family(m) for m in COLOURS} == set(MARKERS), "no family without a method, no method without a family"


def test_families_have_markers_of_their_own():
    assert len(set(MARKERS.values())) == len(MARKERS)
    assert [marker(m) for m in ("dense", "imp", "idc", "random images", "random mask")] == list("sDoXv")
    assert marker("random mosaics 10") == "X" and marker("mtt, published") == marker("mine") == "o"
