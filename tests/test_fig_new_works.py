"""Figures 9, 10, 16, 17, 19 and 20: what they read off their tables."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.transforms import Bbox

from lmcnb import figures
from lmcnb.figures.base import family
from lmcnb.figures.dose import readings
from lmcnb.figures.parts import apart
from lmcnb.figures.symmetry import OWN
from lmcnb.tables import Table

ALPHAS = (0.0, 0.5, 1.0)


def connectivity_table() -> Table:
    """Pretrained paths are flat, random ones rise from 1 to 3."""
    rows = []
    for start, top in (("pretrained", 0.4), ("random", 3.0)):
        for init in range(3):
            ends = 0.4 if start == "pretrained" else 1.0
            for quantity, scale in (("test_loss", 1.0), ("test_error", 0.1)):
                rows += [{"start": start, "init": init, "quantity": quantity, "alpha": a, "seeds": "0–1",
                          "value": scale * (top if a == 0.5 else ends) + 0.001 * init} for a in ALPHAS]
        rows += [{"start": start, "init": 0, "quantity": "train_loss", "x": float(x), "y": float(y),
                  "value": 1.0 + x * x + y} for x in range(3) for y in range(3)]
        rows += [{"start": start, "init": 0, "quantity": "distance from the plane", "network": k, "x": float(k),
                  "y": float(k % 2), "value": 0.0} for k in range(3)]
    return Table.of(rows)


def platon_table() -> Table:
    rows = []
    accuracy = {("dense", 1.0): 0.9, ("platon", 0.2): 0.88, ("platon", 0.05): 0.8, ("platon, retrained", 0.2): 0.87,
                ("platon, another init", 0.2): 0.872, ("magnitude mask", 0.2): 0.7, ("random mask", 0.2): 0.6}
    for (method, ratio), value in accuracy.items():
        rows += [{"method": method, "ratio": ratio, "init": i, "quantity": "test_accuracy", "value": value + 1e-3 * i}
                 for i in range(3)]
    for ratio in (0.2, 0.05):
        for q in ("loss", "smooth loss", "kept"):
            rows += [{"method": method, "ratio": ratio, "init": 0, "quantity": q, "at": t, "value": 1 / (1 + t)}
                     for method in ("platon", "platon, retrained") if (method, ratio) in accuracy
                     for t in range(20) if (method, q) != ("platon, retrained", "kept")]
        rows += [{"ratio": ratio, "init": i, "quantity": "loss at phase", "phase": p, "value": 1 + 0.1 * p}
                 for i in range(3) for p in (1, 2, 3)]
    return Table.of(rows)


def symmetry_table() -> Table:
    rows = []
    for i in range(3):
        rows += [{"method": m, "init": i, "layers": which, "layer": layer, "quantity": "layer rise", "value": 1.0 + i}
                 for m in ("dense", "imp") for which in ("each", "cumulative") for layer in ("0", "4")]
        rows += [{"method": m, "init": i, "width": 8, "way": way, "quantity": "rise between inits",
                  "value": (40.0 if way == "as they are" else 0.5) + 0.1 * i}
                 for m in ("dense", "imp") for way in ("as they are", "matched")]
        rows += [{"mask": mask, "init": i, "onto": onto, "quantity": "test_accuracy",
                  "value": 0.9 - 0.05 * k + 1e-3 * i + 0.02 * (k == 2) * (onto - i - 0.5)}
                 for k, mask in enumerate(OWN) for onto in (i, i + 1)]
    return Table.of(rows)


def dose_table() -> Table:
    """The barrier is 1 / images: whatever made them."""
    rows, counts = [], {"idc": 400, "dm": 100, "rded": 400, "random mosaics 10": 400, "random images 1": 10,
                        "random images 10": 100, "random images 40": 400, "random images 500": 5000, "imp": 50_000}
    for i in range(3):
        for method, count in {"dense": 0.5, **counts}.items():
            r, height = (0, 2.0) if method == "dense" else (9, 1 / count)
            rows += [{"method": method, "round": r, "init": i, "set": i, "seeds": "0–1", "quantity": "train_loss",
                      "alpha": a, "value": height * (a == 0.5) * (1 + 0.01 * i)} for a in ALPHAS]
            rows.append({"method": method, "round": r, "init": i, "set": i, "seeds": "0", "quantity": "test_accuracy",
                         "value": 0.5 + 0.001 * i})
            if method in counts:
                on = "" if method == "imp" else ", trained on the set"
                rows += [{"method": method, "round": 9, "init": i, "quantity": "distinct images", "value": count},
                         {"method": method, "round": 8, "init": i, "quantity": f"moved{on}", "value": count ** 0.5},
                         {"method": method, "round": 8, "init": i, "quantity": f"loss{on}", "value": 0.1}]
    return Table.of(rows)


def why_table() -> Table:
    """The loss is a parabola along every segment, so that the barrier is an eighth of what it bends."""
    rows = []
    for i in range(3):
        for k, method in enumerate(("dense", "imp", "idc", "random images 1", "random images 10", "dm", "dsa",
                                    "random mask")):
            height, length = 0.5 / (1 + k), 10.0 - 0.1 * k
            of = {"method": method, "round": 9 * (k > 0), "init": i, "set": i}
            rows += [{**of, "seeds": "0–1", "quantity": "train_loss", "alpha": a, "value": 4 * height * a * (1 - a)}
                     for a in ALPHAS]
            rows += [{**of, "seeds": "0–1", "quantity": q, "alpha": a, "value": v} for a in ALPHAS
                     for q, v in (("bend", -8 * height), ("curvature", -8 * height / length ** 2))]
            rows += [{**of, "seeds": "0–1", "quantity": "distance", "value": length},
                     {**of, "seeds": "0–1", "quantity": "untrained test_accuracy", "value": 0.1 + 0.01 * k}]
    return Table.of(rows)


def length_table() -> Table:
    """The dense barrier grows with the length; IMP's and the mosaics' are none."""
    rows = []
    methods = ("dense", "imp", "idc", "random mosaics", "random images 10", "random images 40", "random mask")
    for recipe, lengths in (("papers", (2.0, 30.0)), ("one cycle", (2.0,))):
        for length, method, i in ((e, m, i) for e in lengths for m in methods for i in range(3)):
            top = {"dense": 0.02 * length, "random mask": 0.015 * length, "random images 10": 0.3}.get(method, 0.0)
            of = {"recipe": recipe, "length": length, "method": method, "round": 4 * (method != "dense"), "init": i}
            for quantity, scale in (("train_loss", 1.0), ("test_error", 0.1)):
                rows += [{**of, "seeds": "0–1", "quantity": quantity, "alpha": a,
                          "value": scale * (1.0 + top * (a == 0.5) * (recipe == "papers") + 1e-4 * i)} for a in ALPHAS]
            rows += [{**of, "seeds": str(s), "quantity": "test_accuracy",
                      "value": 0.7 - 0.05 * (method == "idc") + 1e-3 * (i + s)} for s in (0, 1)]
    return Table.of(rows)


def words(claims: list) -> dict[str, str]:
    return {c.id: c.word for c in claims}


def test_a_flat_path_and_one_that_rises_threefold_are_told_apart() -> None:
    ratios = figures.peak_ratios(connectivity_table())
    np.testing.assert_allclose(ratios["random"], [3.0, 3.001 / 1.001, 3.002 / 1.002])
    assert words(figures.connectivity_claims(connectivity_table())) == {
        "C1": "reproduced", "C2": "reproduced", "C2-twofold": "reproduced"}


def test_the_course_of_a_mask_trained_anew_has_no_schedule() -> None:
    figure = figures.platon(platon_table(), ["dense", "platon"], window=3)
    above = figure.subfigs[0].axes
    titles = [ax.get_title() for ax in above if ax.get_title()]
    assert titles == ["PLATON to 20%", "the 20% mask, trained anew", "PLATON to 5%"]
    assert sum(ax.get_ylabel() == "weights left by a mask (%)" for ax in above) == 2


def test_platon_is_held_to_what_the_paper_loses() -> None:
    found = words(figures.platon_claims(platon_table(), [0.2, 0.05]))
    assert found["C3-20%"] == "reproduced" and found["C3-5%"] == "contradicted", "2 points of 2.7, 10 of 4.3"
    assert found["C3-20% (mask)"] == "reproduced"
    controls = ("random mask", "magnitude mask", "platon, another init")
    assert {found[f"C3c-20% ({control})"] for control in controls} == {"reproduced"}


def test_matching_is_judged_by_what_is_left() -> None:
    found = figures.symmetry_claims(symmetry_table(), ["dense", "imp"], 8)
    assert words(found) == {"S1-dense": "reproduced", "S1-imp": "reproduced", "S2": "reproduced"}
    assert found[0].estimate == pytest.approx(0.6) and found[2].estimate == pytest.approx(-5)
    assert found[2].n == 3, "both directions of a pair are one"


def test_a_barrier_that_follows_images_alone_is_seen_to() -> None:
    found = readings(dose_table(), 9)
    assert found["images"]["idc"].tolist() == [400] * 3 and found["distance moved"]["imp"][0] == 50_000 ** 0.5
    claims = {c.id: c for c in figures.dose_claims(dose_table(), 9)}
    assert claims["Q2d-87% (images)"].estimate == pytest.approx(-1, abs=0.02)
    assert claims["Q2d-87% (images)"].word == "reproduced" and claims["Q2d-87% (last loss)"].word == "too close to call"
    same = claims["A2c-87% (as many images, equal steps)"]
    assert same.estimate == pytest.approx(0, abs=1e-9) and same.word == "no difference that matters"
    assert [family(m) for m in ("rded", "mtt, published", "imp")] == [
        "unmatched real images", "distilled", "real data"]


def test_the_papers_recipe_is_judged_at_its_length_alone() -> None:
    claims = {c.id: c for c in figures.length_claims(length_table(), 30.0, [4])}
    assert words([*claims.values()]) == {
        "A1-59%": "reproduced", "A2-59%": "no difference that matters", "A3-59%": "contradicted",
        "B5-dense": "reproduced",
        "A2c-59% (random mosaics)": "no difference that matters", "A2c-59% (random images)": "reproduced",
        "A2c-59% (as many images)": "no difference that matters", "A2c-59% (random mask)": "reproduced"}
    assert claims["B5-dense"].estimate == pytest.approx(6) and claims["A3-59%"].estimate == pytest.approx(5)
    short = {c.id: c for c in figures.length_claims(length_table(), 2.0, [4])}
    assert short["A1-59%"].word == "not tested", "the dense network is stable after two epochs"


def test_a_parabola_is_the_barrier_that_its_curvature_and_length_make() -> None:
    found = figures.bent(why_table(), 9)
    for method, values in found["barrier"].items():
        np.testing.assert_allclose(values, found["bent"][method])
        np.testing.assert_allclose(found["curvature"][method] * found["distance"][method] ** 2, -8 * values)
    assert words(figures.why_claims(why_table(), 9)) == dict.fromkeys(
        (f"W-87% ({name})" for name in ("distance", "curvature", "untrained", "bent")), "reproduced")


def test_a_correlation_of_masks_is_without_the_dense_network() -> None:
    found, claims = figures.bent(why_table(), 9), figures.why_claims(why_table(), 9)
    assert "dense" in found["barrier"] and {c.n for c in claims} == {len(found["barrier"]) - 1}
    [check] = [c for c in claims if c.id.endswith("(bent)")]
    assert check.statement.startswith("a check: ")


def test_numbers_beside_points_hide_neither_each_other_nor_a_point():
    figure, ax = plt.subplots()
    crowd = [(0.5, 0.5), (0.501, 0.5), (0.5, 0.502), (0.503, 0.498), (0.1, 0.9)]
    for k, point in enumerate(crowd):
        ax.plot(*point, "o")
        ax.annotate(f"{k}000", point, (0, 0), textcoords="offset points", ha="center", va="center")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    apart(figure)
    boxes = [text.get_window_extent() for text in ax.texts]
    points = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in ax.transData.transform(crowd)]
    for k, box in enumerate(boxes):
        assert not box.count_overlaps([*boxes[:k], *boxes[k + 1:], *points])
        assert max(abs(v) for v in ax.texts[k].get_position()) <= 27
    plt.close(figure)
