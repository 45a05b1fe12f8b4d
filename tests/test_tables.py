"""The tidy table: what it holds, what is read off it, and what of it a file keeps."""

import json

import numpy as np
import pytest
from helpers import STUDY, TRAIN

from lmcnb import Connect, Lab, claim, estimate
from lmcnb.stages import Curvature, Landscape, Probe, Robustness
from lmcnb.tables import Table, shown, verdicts

PAIRS = [STUDY.connect(m, i, r) for m, r in (("dense", 0), ("imp", 2), ("idc", 2), ("random mask", 2)) for i in (1, 0)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Lab:
    return Lab("cpu", tmp_path_factory.mktemp("tables"), progress=False)


@pytest.fixture(scope="module")
def table(shelf: Lab) -> Table:
    return shelf.table([*PAIRS, *(c.a for c in PAIRS), PAIRS[0]], STUDY.sets)


def test_a_path_is_a_row_for_each_quantity_and_alpha(shelf: Lab, table: Table):
    entry, rows = shelf.get(PAIRS[3]), table.select(method="imp", init=0, seeds="0–1")
    assert len(rows) == 4 * 3 and set(rows["round"]) == {2} and set(rows["sparsity"].round(2)) == {0.36}
    for quantity in ("train_loss", "test_error"):
        found = rows.select(quantity=quantity).sort_values("alpha")
        assert found["value"].tolist() == entry.tensors[quantity][0].tolist() and found["alpha"].tolist() == [0, 0.5, 1]


def test_equal_specs_are_one_and_settings_that_do_not_differ_are_no_columns(table: Table):
    assert not table.duplicated().any()
    assert list(table) == ["method", "round", "sparsity", "init", "seeds", "quantity", "alpha", "value"]
    assert list(dict.fromkeys(table["method"])) == ["dense", "imp", "idc", "random mask"]


def test_a_setting_that_differs_is_a_column(shelf: Lab):
    both = shelf.table([PAIRS[0], PAIRS[0].but(masks="released")])
    assert set(both["masks"]) == {"held", "released"}


def test_barriers_are_those_of_the_store(shelf: Lab, table: Table):
    for quantity, convention in (("train_loss", "midpoint"), ("test_error", "frankle"), ("train_loss", "chord")):
        found = table.barriers(quantity, convention, scale=100).values_of()
        stored = [100 * shelf.get(c).result["barrier"][quantity][convention] for c in PAIRS[3:1:-1]]
        np.testing.assert_allclose(found["imp", 2], stored, rtol=1e-12)
    assert len(table.barriers()) == len(PAIRS)


def test_values_and_curves_are_in_order_of_init(table: Table):
    values = table.values_of("test_accuracy", scale=100)
    assert all(v.shape == (2,) for v in values.values()) and 0 < values["dense", 0].max() <= 100
    rows = table.select(method="dense", quantity="test_accuracy").set_index("init")["value"]
    assert values["dense", 0].tolist() == [100 * rows[0], 100 * rows[1]]
    assert {k: v.shape for k, v in table.curves("test_loss").items()} == {
        ("dense", 0): (2, 3), ("imp", 2): (2, 3), ("idc", 2): (2, 3), ("random mask", 2): (2, 3)}


def test_a_contrast_is_paired(table: Table):
    barriers = table.barriers()
    by = barriers.values_of()
    np.testing.assert_array_equal(barriers.contrast(("idc", 2), ("imp", 2)), by["idc", 2] - by["imp", 2])
    lone = barriers[~((barriers["method"] == "imp") & (barriers["init"] == 1))]
    with pytest.raises(ValueError, match="one value for each of the same initialisations"):
        lone.contrast(("idc", 2), ("imp", 2))
    with pytest.raises(ValueError, match="no row has method = 'dm'"):
        barriers.contrast(("dm", 2), ("imp", 2))


def test_estimates_are_students(table: Table):
    found = table.barriers().estimates().loc[[("idc", 2)]].iloc[0, 0]
    assert found == estimate(table.barriers().values_of()["idc", 2])
    assert shown(found, 2).count("[") == 1 and shown(estimate([1.5]), 2) == "1.50"


def test_unknown_columns_and_quantities_list_the_known(table: Table):
    with pytest.raises(ValueError, match="unknown column 'way'; known: alpha, init, method"):
        table.select(way="imp")
    with pytest.raises(ValueError, match="unknown quantity 'loss'; known: test_error, test_loss"):
        table.barriers("loss")


def test_json_gives_the_same_table_back(table: Table):
    again = Table.from_columns(json.loads(json.dumps(table.to_columns(), allow_nan=False)))
    assert again.equals(table) and again.dtypes.equals(table.dtypes) and type(again) is Table


def test_names_of_rows_can_be_given(shelf: Lab):
    named = shelf.table([TRAIN], columns={TRAIN: {"method": "mine", "switch": "off"}})
    assert set(named["method"]) == {"mine"} and set(named["switch"]) == {"off"}


def test_rows_that_differ_in_one_column_have_a_mean():
    rows = [{"method": "idc", "init": i, "seeds": s, "value": 10 * i + float(s)} for i in (0, 1) for s in "03"]
    assert Table.of(rows).averaged("seeds").values_of(by=["method"])["idc"].tolist() == [1.5, 11.5]


def test_barriers_kept_without_their_paths_are_read_as_they_are(table: Table):
    kept = table.barriers("test_error", "frankle")
    assert kept.barriers("test_error", "frankle", 100).equals(table.barriers("test_error", "frankle", 100))


def test_every_stage_has_rows(shelf: Lab):
    model = PAIRS[0].a
    on = {"net": model.net, "dataset": model.dataset}
    models = tuple(model.but(seed=s) for s in range(3))
    plan = [
        Landscape(**on, models=models, points=3, train_images=20),
        Curvature(**on, model=model, images=8, diagonal="hutchinson", products=2, steps=2),
        Robustness(**on, model=model, corruptions=("contrast",), severities=(1, 2), images=20),
        Probe(**on, model=model, target="digits", train_images=50, test_images=20),
        STUDY.assess("idc", STUDY.recipe, 2), STUDY.distill("idc"), STUDY.mask("imp", 0, 2)]
    found = shelf.table(plan, STUDY.sets)
    plane = found.select(quantity="train_loss").dropna(subset=["x"])
    loss = shelf.get(plan[0]).tensors["loss"]
    assert len(plane) == 9 and plane.set_index(["y", "x"])["value"].sort_index().tolist() == loss.flatten().tolist()
    assert set(found["corruption"].dropna()) == {"none", "contrast"} and "trace" in set(found["quantity"])
    assert len(found.select(quantity="set_accuracy", method="idc")) == 2
    assert found.select(quantity="data_points", method="imp")["value"].tolist() == [1280.0]


def test_the_training_that_found_a_ticket_is_of_the_round_before(shelf: Lab):
    imp, idc = (STUDY.mask(method, 0, 2) for method in ("imp", "idc"))
    found = shelf.table([imp.at(1), imp, idc], STUDY.sets)
    accuracy = found.select(quantity="test_accuracy").set_index(["method", "round"])["value"].to_dict()
    assert accuracy == {("dense", 0): shelf.get(imp.at(1)).result["test_accuracy"],
                        ("imp", 1): shelf.get(imp).result["test_accuracy"]}
    assert found.select(quantity="test_accuracy, trained on the set", method="idc")["round"].tolist() == [1]
    assert found.select(quantity="data_points")["round"].tolist() == [1, 2, 2]


def test_the_store_can_be_read_as_a_table(shelf: Lab, table: Table):
    found = shelf.table(Connect, STUDY.sets)
    assert len(found.barriers()) >= len(PAIRS) and {"imp", "idc"} <= set(found["method"])


def test_verdicts_are_shown_with_their_numbers():
    claims = [claim("A1", "it is low", [-1.0, -1.1, -0.9], margin=0.5, unit="nats")]
    frame = verdicts(claims, "laptop")
    assert frame.loc["A1", "verdict"] == "reproduced" and frame.iloc[0, 1].startswith("-1.000 [")
    assert frame.loc["A1", "margin"] == "0.5 nats"
    assert verdicts(claims, "smoke") == "smoke run: not judged"


def test_a_layout_has_one_value_for_each_initialisation():
    rows = [{"method": m, "init": i, "set": s, "value": v} for m, i, s, v in
            [("idc", 1, 7, 2.0), ("idc", 0, 6, 1.0), ("imp", 0, None, 5.0), ("imp", 1, None, 4.0)]]
    found = Table.of(rows).layout()
    assert found.cells == {"idc": {1: 2.0, 0: 1.0}, "imp": {0: 5.0, 1: 4.0}} and list(found.values("idc")) == [1.0, 2.0]
    assert str(found.difference("idc", "imp")) == "2 × own sets"
    with pytest.raises(ValueError, match="has 4 values for 2 initialisations: select one quantity"):
        Table.of(rows * 2).layout()


def test_two_trainings_of_a_pair_are_one_value():
    rows = [{"method": "imp", "init": i, "seeds": s, "quantity": "test_accuracy", "value": i + float(s)}
            for i in (1, 2, 3) for s in "01"]
    table = Table.of(rows)
    found = table.intervals(["method"])
    assert found[["mean", "n"]].values.tolist() == [[2.5, 3]]
    assert table.estimates(["method"]).iloc[0, 0].n == 3
    assert len(table.intervals(["method", "seeds"])) == 2
