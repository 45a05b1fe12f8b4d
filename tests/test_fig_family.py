"""Figures 11 to 13: what is drawn are the table's numbers, and equal inputs give equal bytes."""

from functools import cache

import numpy as np
import pytest

from lmcnb import figures
from lmcnb.figures.generalisation import given_clean
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")
RNG = np.random.default_rng(0)
METHODS = ["imp", "idc", "dm", "random images", "random mask"]
TICKETS = [("dense", 0), *[(m, r) for r in (4, 9) for m in METHODS]]
BARRIER = "train_loss barrier, midpoint"


def rows(quantity: str, keys=TICKETS, columns=("method", "round"), **more) -> list[dict]:
    """Three values a key, one an initialisation."""
    return [{**dict(zip(columns, key, strict=True)), "init": i, "quantity": quantity, "value": RNG.random(),
             **more} for key in keys for i in range(3)]


@cache
def methods():
    images = {m: RNG.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8) for m in ("idc", "dm", "random images")}
    made = {("idc", 0.25): (10.0, [40, 41, 42]), ("idc", 1.0): (40.0, [50, 51, 52]), ("dm", 1.0): (5.0, [35, 36, 37]),
            ("random images", 1.0): (0.0, [30, 31, 32])}
    sets = [{"method": m, "share": s, "quantity": "seconds", "value": t} for (m, s), (t, _) in made.items()]
    sets += [{"method": m, "share": s, "protocol": p, "init": k, "quantity": "set_accuracy", "value": v / scale}
             for (m, s), (_, values) in made.items() for p, scale in (("dc", 100), ("idc", 200))
             for k, v in enumerate(values)]
    trained = [row for s in "01" for row in rows("test_accuracy", seeds=s)]
    table = Table.of([*rows(BARRIER, seeds="0–1"), *trained, *sets])
    return table, figures.methods(table, images, "dc", "a note")


@cache
def compression():
    pruned = [(m, k, 9) for m in ("idc", "random images") for k in (1, 10)]
    keys, columns = [*pruned, ("imp", 5000, 9), ("dense", 5000, 0)], ("method", "ipc", "round")
    looked = [{"method": m, "ipc": k, "round": r, "quantity": "images looked at", "value": 100 * k} for m, k, r in keys]
    table = Table.of([*rows(BARRIER, keys, columns), *rows("test_accuracy", keys, columns), *looked,
                      *rows("set_accuracy", dict.fromkeys(k[:2] for k in pruned), columns[:2])])
    return table, figures.compression(table, "a note")


@cache
def generalisation():
    return generalisation_with()


def generalisation_with(*more: dict):
    lost = [row for c in ("jpeg", "contrast") for row in rows("accuracy lost", corruption=c)]
    table = Table.of([*rows(BARRIER), *rows("clean"), *rows("corrupted"), *rows("kept"), *rows("probe"), *lost, *more])
    return table, figures.generalisation(table, "a note")


def test_a_method_is_drawn_at_the_seconds_it_took_and_the_mean_accuracy_it_reached():
    ax = methods()[1].axes[1]
    lines = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in ax.get_lines() if len(line.get_xdata())}
    assert lines[(10.0, 40.0)] == pytest.approx((41, 51)) and lines[(5.0,)] == pytest.approx((36,))
    levels = [line.get_ydata() for line in ax.get_lines() if line.get_linestyle() == ":"]
    np.testing.assert_allclose(levels, [(31, 31)])  # random images cost nothing
    assert ax.get_xscale() == "log"


def test_the_mean_of_both_trainings_is_a_dot():
    table, figure = methods()
    values = table.select(quantity="test_accuracy", method="idc", round=9).sort_values(["seeds", "init"])["value"]
    drawn = [line.get_xdata() for line in figure.axes[4].get_lines() if len(line.get_xdata()) == 3]
    assert any(np.allclose(d, 50 * (values.iloc[:3].to_numpy() + values.iloc[3:].to_numpy())) for d in drawn)
    assert len(drawn) == len(TICKETS)


def test_every_row_of_images_has_its_methods_name():
    ax = methods()[1].axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["distilled, IDC", "distilled, DM", "random real subset"]
    assert ax.images[0].get_array().shape[:2] == (3 * 10, 10 * 10)  # 8 pixels and a gap of 2 each


def test_the_whole_data_set_is_the_end_of_the_axis_and_the_dense_network_a_line():
    table, figure = compression()
    barrier, dense = figure.axes[1], table.select(quantity=BARRIER, method="dense")["value"].mean()
    ends = [line for line in barrier.get_lines() if tuple(line.get_ydata()) == pytest.approx((dense, dense))]
    assert len(ends) == 1 and ends[0].get_linestyle() == "--"
    labels = [t.get_text() for t in figure.axes[2].get_xticklabels()]
    assert labels == ["1", "4", "10", "40", "all\n(5,000)"]
    assert figure.axes[3].get_yscale() == "log"
    drawn = sorted(float(line.get_ydata()[0]) for line in figure.axes[3].get_lines())
    assert drawn == [100.0, 100.0, 500000.0]


def test_intervals_that_a_table_keeps_without_their_values_are_drawn():
    kept = {"mean": 0.4, "low": 0.3, "high": 0.6, "n": 3}
    table = Table.of([{"method": "idc", "ipc": 1, "quantity": f"set_accuracy, {end}", "value": v}
                      for end, v in kept.items()])
    assert vars(figures.intervals(table, "set_accuracy", ["method"], scale=100)["idc"]) == {
        "mean": 40, "low": 30, "high": 60, "n": 3}


def test_the_scatter_shows_every_ticket_and_says_the_correlation():
    table, figure = generalisation()
    ax = figure.axes[0]
    dots = np.concatenate([line.get_ydata() for line in ax.get_lines() if line.get_markersize() == 3])
    np.testing.assert_allclose(sorted(dots), sorted(100 * table.select(quantity="corrupted")["value"]))
    found, _ = figures.within_initialisations(table[table["method"] != "dense"].select(round=4), "kept")
    said = figure.axes[2].get_title(loc="left").splitlines()
    assert len(said) == 2 and said[0].startswith(f"59%: ρ = {found.rho:+.2f} [".replace("-", "−"))


def test_a_ticket_trained_on_other_data_takes_the_place_of_the_share_kept():
    (without, plain), (table, figure) = generalisation(), generalisation_with(*rows("retrained"))
    assert [ax.get_ylabel().split(" ")[0] for ax in plain.axes[2:4]] == ["clean", "probe"]
    assert [ax.get_ylabel().split(" ")[0] for ax in figure.axes[2:4]] == ["probe", "ticket"]
    dots = np.concatenate([line.get_ydata() for line in figure.axes[3].get_lines() if line.get_markersize() == 3])
    np.testing.assert_allclose(sorted(dots), sorted(100 * table.select(quantity="retrained")["value"]))
    few, more = (figures.generalisation_claims(t, "cifar100") for t in (without, table))
    assert {c.id for c in more} - {c.id for c in few} == {"Q4-59% (retrained)", "Q4-87% (retrained)"}
    assert more[4].statement == "more stable tickets (59% sparse) are more accurate trained on another data set " \
                                "(cifar100)"


def test_many_corruptions_are_named_aslant():
    lost = [row for c in range(9) for row in rows("accuracy lost", corruption=f"zoom_{c}")]
    labels = generalisation_with(*lost)[1].axes[4].get_xticklabels()
    assert [t.get_text() for t in labels][2:4] == ["zoom 0", "zoom 1"] and labels[0].get_rotation() == 30


def test_what_clean_accuracy_predicts_is_taken_away():
    table, _ = generalisation()
    rest = given_clean(table)
    clean, corrupted, left = (rest.select(quantity=q)["value"].to_numpy(float)
                              for q in ("clean", "corrupted", "given clean"))
    assert np.corrcoef(clean, left)[0, 1] == pytest.approx(0, abs=1e-9) and left.mean() == pytest.approx(0, abs=1e-9)
    slope, level = np.polyfit(clean, corrupted, 1)
    np.testing.assert_allclose(left, corrupted - slope * clean - level)


def test_the_map_shows_the_mean_loss_of_each_corruption():
    table, figure = generalisation()
    shown = figure.axes[4].collections[0].get_array().reshape(len(TICKETS), 2)
    lost = table.select(quantity="accuracy lost", method="dm", round=4, corruption="contrast")["value"]
    assert shown[TICKETS.index(("dm", 4)), 1] == pytest.approx(100 * lost.mean())
