"""The explorer needs no kernel: it is checked as text here, and moved in a browser in test_site.py."""
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest

from lmcnb.figures import Explorer, explorer
from lmcnb.measure.path import QUANTITIES
from lmcnb.tables import Table

ALPHAS = np.linspace(0, 1, 3)


def paths(method: str, round: int, height: float) -> Iterator[dict]:
    for i in (0, 1):
        for q in QUANTITIES:
            for a, v in zip(ALPHAS, (1.0, 1.0 + height, 1.0)):
                yield {"method": method, "round": round, "sparsity": 1 - 0.8 ** round, "init": i, "quantity": q,
                       "alpha": a, "value": v + i / 100}


def plane(method: str, round: int) -> Iterator[dict]:
    where = {"method": method, "round": round, "init": 0, "kind": "through"}
    for x in (-1.0, 0.0, 1.0, 2.0):
        for y in (-1.0, 0.0, 1.0, 2.0):
            yield {**where, "quantity": "train_loss", "x": x, "y": y, "value": x * x + y * y}
    for k, (x, y) in enumerate([(0, 0), (1, 0), (0.5, 1)]):
        yield {**where, "quantity": "distance from the plane", "network": k, "x": x, "y": y, "value": 0.0}


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.of([*paths("dense", 0, 0.5), *paths("imp", 4, 0.1), *paths("idc", 4, 0.05), *plane("idc", 4)])


def numbers(found: Explorer | str) -> dict:
    assert isinstance(found, Explorer)
    [text] = re.findall(r'<script type="application/json">(.*?)</script>', found.html)
    return json.loads(text)


def test_it_holds_every_path_and_begins_with_what_was_distilled(table: Table):
    data = numbers(explorer(table))
    assert len(data["paths"]) == 3 * 2 * len(QUANTITIES) and len(data["planes"]) == 1
    assert data["first"] == {"m": "idc", "r": 4, "i": 0, "q": "train_loss", "k": 1, "c": "dense"}
    errors = next(v for m, *_, q, v in data["paths"] if (m, q) == ("dense", "test_error"))
    assert errors == [100, 150, 100], "in points"


def test_without_a_script_it_is_a_figure_that_says_its_numbers(table: Table):
    found = explorer(table)
    still = re.sub(r"<script.*?</script>", "", found.html, flags=re.DOTALL)
    assert "59% sparse: 1.050 nats, +0.050 from the chord" in still and still.count("<svg") == 2
    assert re.search(r'<polyline class="main" points="52.0,[\d.]+ 231.0,', still) and "<select" not in still


def test_the_networks_of_a_landscape_lie_where_the_plane_has_them(table: Table):
    [plane] = numbers(explorer(table))["planes"]
    side = 260 / 3
    assert plane["n"][0] == [0, round(side, 1), round(2 * side, 1), 1] and plane["n"][1][1] == round(2 * side, 1)
    assert len(plane["d"]) == 12 and plane["d"][0].startswith("M")


def test_a_landscape_of_another_path_is_a_method_of_its_own(table: Table):
    others = Table.of([*paths("idc", 4, 0.2), *plane("idc", 4)])
    data = numbers(explorer(table[table["alpha"].notna()], others))
    assert [p["m"] for p in data["planes"]] == ["idc*"] and "another set" in data["methods"]["idc*"]["label"]
    assert data["first"]["m"] == "idc*"


def test_the_same_table_gives_the_same_bytes_and_asks_for_nothing(table: Table):
    one, other = explorer(table), explorer(table)
    assert one == other and "9 paths" not in repr(one) and "6 paths of 3 methods" in repr(one)
    assert not re.findall(r"https?:|@import|<link|fetch\(|import\(", one.html)


def test_a_method_s_name_is_text(table: Table):
    named = Table.of([*paths("</script><b>", 4, 0.1)])
    assert "</script><b>" not in explorer(named).html


@pytest.mark.parametrize("planes", [None, "fig05_loss_landscape_cifar10"])
def test_of_the_figures_that_come_with_the_project_it_is_small(planes: str | None):
    assert len(explorer("fig03_stability_cifar10", planes).html.encode()) < 60_000


def test_what_is_not_there_is_said():
    assert explorer("fig99") == "fig99 of profile laptop is not here"
    with pytest.raises(ValueError, match="at least one path"):
        explorer(Table.of([{"method": "imp", "value": 1.0}]))
    twice = [*paths("imp", 4, 0.1), *paths("imp", 4, 0.2)]
    with pytest.raises(ValueError, match="each path once"):
        explorer(Table.of(twice))


def test_a_path_that_diverged_is_left_out_and_the_rest_stays(table: Table):
    lost = (table["method"] == "imp") & (table["alpha"] == 0.5) & (table["init"] == 1)
    broken = Table(table.assign(value=table["value"].mask(lost)))
    found = numbers(explorer(broken))["paths"]
    assert len(found) == 3 * 2 * len(QUANTITIES) - len(QUANTITIES) and ["imp", 1] not in [[p[0], p[3]] for p in found]
    with pytest.raises(ValueError, match="no path is finite"):
        explorer(Table(table.select(method="imp", init=1).assign(value=np.inf)))


def test_which_of_two_names_is_missing_is_said():
    assert explorer("fig03_stability_cifar10", "fig99_x") == "fig99_x of profile laptop is not here"
