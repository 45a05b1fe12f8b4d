"""What figures judge alike, on made-up tables: which side is which, margins and premises."""

import numpy as np
import pytest

from lmcnb import figures
from lmcnb.figures import judging
from lmcnb.figures.generalisation import given_clean
from lmcnb.statistics import Layout
from lmcnb.tables import Table

NOISE = np.array([-0.01, 0.0, 0.01])


def layout(**means: float) -> Layout:
    return Layout({m: dict(enumerate(mean + k * NOISE)) for k, (m, mean) in enumerate(means.items(), 1)})


@pytest.mark.parametrize(("dense", "margin"), [(0.156, 0.0156), (0.03, 0.01), (-0.5, 0.01)])
def test_a_tenth_of_the_dense_barrier_does_not_matter_and_never_less_than_a_hundredth(dense: float, margin: float):
    assert judging.barrier_margin(layout(dense=dense)) == pytest.approx(margin)


@pytest.mark.parametrize(("idc", "dense", "word"), [
    (0.5, 6.0, "reproduced"), (5.0, 6.0, "contradicted"), (2.01, 6.0, "too close to call"), (0.5, 2.01, "not tested"),
    (0.5, 0.5, "not tested")])
def test_stable_means_below_two_points_where_the_dense_network_is_above(idc: float, dense: float, word: str):
    found = judging.stable("A1", layout(dense=dense, idc=idc), "it")
    assert found.word == word and f"its test error rises by {dense:.2f} [" in found.premise


@pytest.mark.parametrize(("idc", "imp", "word"), [
    (0.0, 0.5, "reproduced"), (0.5, 0.0, "contradicted"), (0.21, 0.2, "no difference that matters")])
def test_more_stable_means_the_smaller_barrier(idc: float, imp: float, word: str):
    found = judging.more_stable("A2", layout(idc=idc, imp=imp, dense=1.0), "idc", "imp", "it is")
    assert (found.word, found.margin) == (word, pytest.approx(0.1)) and f"{idc - imp:+.0%} of the dense" in found.note


@pytest.mark.parametrize(("imp", "idc", "word"), [
    (68.0, 67.5, "reproduced"), (60.0, 67.5, "reproduced"), (68.0, 60.0, "contradicted"),
    (68.0, 67.0, "too close to call")])
def test_as_accurate_means_to_lose_at_most_a_point(imp: float, idc: float, word: str):
    assert judging.as_accurate("A3", layout(imp=imp, idc=idc), "idc", "it loses").word == word


def rows(quantity: str, **by_method: float) -> list[dict]:
    return [{"method": m, "round": 0 if m == "dense" else 4, "init": i, "quantity": quantity,
             "value": v + 0.01 * (i - 1) * (1 + k)} for k, (m, v) in enumerate(by_method.items()) for i in (0, 1, 2)]


def test_flatter_means_the_smaller_curvature():
    table = Table.of({**row, "images": 100, "diagonal": "hutchinson"} for q in ("trace", "largest")
                     for row in rows(q, dense=9.0, imp=3.0, idc=6.0))
    found = {c.id: c for c in figures.hessian_claims(table, [4], 100)}
    assert found["A4-59% (imp, trace)"].word == "contradicted" and found["A4-59% (imp, trace)"].family == "primary"
    assert found["A4-59% (dense, trace)"].word == "reproduced"
    assert found["A4-59% (dense, trace)"].estimate == pytest.approx(np.log(6 / 9), abs=1e-3)
    assert {c.family for id, c in found.items() if id != "A4-59% (imp, trace)"} == {"secondary"} and len(found) == 4


def test_whatever_else_is_measured_is_a_control_of_flatness():
    table = Table.of({**row, "images": 100, "diagonal": "hutchinson"} for q in ("trace", "largest")
                     for row in rows(q, dense=9.0, imp=3.0, idc=2.0, **{"random mask": 2.0}))
    found = {c.id: c for c in figures.hessian_claims(table, [4], 100)}
    assert list(found)[:3] == ["A4-59% (imp, trace)", "A4-59% (dense, trace)", "A4-59% (random mask, trace)"]
    assert found["A4-59% (random mask, trace)"].word == "no difference that matters"


@pytest.mark.parametrize(("lost", "word"), [(4.0, "reproduced"), (-1.0, "not tested"), (0.0, "not tested")])
def test_the_hybrid_is_tested_where_rewinding_to_initialisation_costs_accuracy(lost: float, word: str):
    table = Table.of({"method": m, "round": 13, "init": i, "step": 78.0, "quantity": "test_accuracy",
                      "value": (v + 0.1 * (i - 1) * k) / 100}
                     for k, (m, v) in enumerate({"k=0": 40.0, "k>0": 40 + lost, "hybrid": 43.0}.items(), 1)
                     for i in (0, 1, 2))
    found = {c.id: c for c in figures.hybrid_claims(table, 13, 8)}
    assert found["B7-95%"].word == word and found["B7-95%"].estimate == pytest.approx(3)
    assert "step 78" in found["B7h-95%"].premise and found["B7h-95%"].holds is (word != "not tested")


def test_the_slope_is_that_of_a_least_squares_line_within_initialisations():
    sizes = {"idc": [1, 10, 50], "random images": [1, 10]}
    rng = np.random.default_rng(0)
    table = Table.of({"method": m, "ipc": k, "round": r, "init": i, "seeds": "0–1", "quantity": q,
                      "value": rng.normal()}
                     for m, ks in {**sizes, "dense": [500]}.items() for k in ks for r in [0 if m == "dense" else 9]
                     for i in (0, 1, 2) for q in ("train_loss barrier, midpoint", "test_accuracy"))
    found = {c.id: c for c in figures.compression_claims(table, [9], sizes)}
    by = table.select(method="idc", quantity="train_loss barrier, midpoint").pivot(index="ipc", columns="init",
                                                                                   values="value")
    slopes = np.polyfit(np.log10(by.index.to_numpy(float)), by.to_numpy(), 1)[0]
    assert found["Q2-87% (stability, idc)"].estimate == pytest.approx(slopes.mean())
    assert found["Q2-87% (stability, idc)"].share == np.mean(slopes > 0)
    assert found["Q2-87% (distillation)"].note.endswith("averaged over 1, 10 images per class.")


def test_a_correlation_is_among_methods_within_initialisations():
    barrier, accuracy = ({"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.8, "e": 0.5}, {"a": 0.9, "b": 0.8, "c": 0.6, "d": 0.3,
                                                                          "e": 0.5})
    moved = {0: 0.0, 1: 5.0, 2: -3.0}  # what an initialisation adds to all is no correlation
    table = Table.of({"method": m, "round": 4, "init": i, "quantity": q, "value": v + shift}
                     for q, values in {"train_loss barrier, midpoint": barrier, "kept": accuracy, "corrupted": accuracy,
                                       "clean": dict(zip(barrier, (0.9, 0.7, 0.8, 0.4, 0.6))),
                                       "probe": accuracy}.items()
                     for m, v in values.items() for i, shift in moved.items())
    found, inits = figures.within_initialisations(table, "kept")
    assert found.rho == pytest.approx(-1) and (found.units, found.n, inits) == (5, 15, 3)
    claims = figures.generalisation_claims(table, "digits")
    assert [c.id for c in claims] == [f"Q4-59% ({name})" for name in ("given clean", "corrupted", "kept", "probe")]
    assert claims[0].estimate == figures.within_initialisations(given_clean(table), "given clean")[0].rho
    assert "(clean accuracy not taken out)" in claims[1].statement
