"""Figure 6: differences and ratios are those of the given values, and a ratio without meaning is none."""

import numpy as np
import pandas as pd
import pytest

import lmcnb
from lmcnb import figures
from lmcnb.figures.tradeoff import Beside, area
from lmcnb.notebooks import find_notebooks
from lmcnb.places import project_root
from lmcnb.tables import Table

pytestmark = pytest.mark.usefixtures("figures_folder")


def a_table(settings: tuple[str, ...] = ("here",), inits: int = 3) -> Table:
    rng = np.random.default_rng(0)
    return Table.of(
        {"setting": setting, "method": method, "name": figures.label(method), "mask": "m", "round": round, "init": i,
         "compression": 500.0 if method == "idc" else None, "quantity": quantity, "value": rng.random()}
        for setting in settings for method, round in (("dense", 0), ("idc", 4), ("idc", 9), ("imp", 4), ("imp", 9))
        for quantity in ("train_loss barrier, midpoint", "test_accuracy") for i in range(inits))


def less(row: Beside) -> np.ndarray:
    return row.barrier - row.imp_barrier


def more(row: Beside) -> np.ndarray:
    return row.accuracy - row.imp_accuracy


def test_subnetworks_stand_beside_imps_of_their_setting_and_sparsity():
    given = a_table(("here", "there"))
    found = figures.beside_imp(given, [4, 9])
    assert [(r.setting, r.method, r.round) for r in found] == [
        (s, m, r) for s in ("here", "there") for m in ("dense", "idc") for r in (4, 9)]
    here = given.select(setting="here")
    np.testing.assert_allclose(less(found[3]), here.barriers().contrast(("idc", 9), ("imp", 9)))
    accuracy = here.select(quantity="test_accuracy")
    np.testing.assert_allclose(more(found[0]), 100 * accuracy.contrast(("dense", 0), ("imp", 4)))


def test_only_shared_initialisations_are_compared():
    given = a_table()
    fewer = given[(given["method"] != "imp") | (given["init"] != 1)]
    assert [len(r.barrier) for r in figures.beside_imp(fewer, [4])] == [2, 2]
    np.testing.assert_allclose(less(figures.beside_imp(fewer, [4])[1]),
                               given.barriers().contrast(("idc", 4), ("imp", 4))[[0, 2]])


def test_the_scatter_draws_the_mean_differences():
    given = a_table()
    ax = figures.tradeoff(given, [4, 9], "a note").axes[0]
    drawn = sorted(map(tuple, np.concatenate([c.get_offsets() for c in ax.collections])))
    expected = sorted((less(r).mean() / r.margin, more(r).mean()) for r in figures.beside_imp(given, [4, 9]))
    np.testing.assert_allclose(drawn, expected)


def test_the_intervals_drawn_are_those_of_the_claims():
    rows = a_table()
    control = rows.select(method="idc").assign(method="random mask", value=lambda r: r["value"] ** 2)
    given = Table(pd.concat([rows, control], ignore_index=True))
    drawn = [r.less_barrier for r in figures.beside_imp(given, [4, 9]) if r.method == "idc"]
    claims = [c for c in figures.tradeoff_claims(given, [4, 9]) if c.id.startswith("A2-")]
    for e, claim in zip(drawn, claims, strict=True):
        np.testing.assert_allclose((e.mean, e.low, e.high), (claim.estimate, *claim.interval))


def test_several_settings_have_numbers():
    figure = figures.tradeoff(a_table(("here", "there")), [4, 9], "a note")
    assert "1: here; 2: there" in figure.texts[-1].get_text()
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == ["2: 87%", "2: 59%", "1: 87%", "1: 59%"]


def test_barriers_of_several_settings_are_in_margins_of_their_own():
    given = a_table(("here", "there"))
    louder = given.assign(value=given["value"].where(given["setting"] == "here", 5 * given["value"]))
    for setting, tenth in (("here", 0.1), ("there", 0.5)):
        [margin] = {r.margin for r in figures.beside_imp(louder, [4, 9]) if r.setting == setting}
        dense = given.select(setting=setting, method="dense").barriers()["value"].mean()
        assert margin == pytest.approx(tenth * dense)
    without = given[(given["setting"] == "here") | (given["method"] != "dense")]
    assert "there" not in figures.tradeoff(Table(without), [4, 9]).texts[-1].get_text()
    with pytest.raises(ValueError, match="dense network"):
        figures.tradeoff(Table(given[given["method"] != "dense"]), [4, 9])


def test_a_higher_compression_is_a_larger_marker():
    assert area(np.nan) < area(100) < area(500)


def test_no_pair_is_an_error_that_says_what_is_needed():
    with pytest.raises(ValueError, match="two inits"):
        figures.tradeoff(a_table(inits=1), [4, 9], "a note")


def test_the_ratio_is_undefined_where_the_denominator_may_be_zero_or_less():
    assert figures.ratio([1.0, 2.0, 3.0], [-0.1, 0.1, 0.2]) is None
    assert figures.ratio([1.0, 2.0, 3.0], [-1.0, -1.1, -1.2]) is None
    assert figures.ratio([1.0], [1.0]) is None


def test_a_constant_ratio_has_an_interval_of_no_width():
    e = figures.ratio([2.0, 2.2, 2.4], [1.0, 1.1, 1.2])
    np.testing.assert_allclose([e.mean, e.low, e.high], 2.0, atol=1e-6)


def test_fieller_covers_the_true_ratio_as_often_as_it_says():
    rng, hits, n = np.random.default_rng(0), 0, 400
    for _ in range(n):
        y = 10 + rng.normal(size=4)
        e = figures.ratio(0.5 * y + rng.normal(size=4), y)
        hits += e.low <= 0.5 <= e.high
    assert 0.92 < hits / n < 0.98


def test_what_the_store_holds_of_own_sets_is_a_group_too(monkeypatch: pytest.MonkeyPatch):
    """The notebook's own cells, up to the one that groups paths."""
    [notebook] = find_notebooks(project_root(), ["06"])
    cells = [c.source for c in notebook.node.cells if c.cell_type == "code" and "committed(" not in c.source]
    names: dict = {}
    for cell in cells[:2]:
        exec(cell, names)
    study = names["study"]
    own = study.but(own_sets=True)
    both = [s.connect(m, i, 4) for s in (study, own) for m in ("idc", "random mask") for i in range(3)]
    monkeypatch.setattr(lmcnb, "Lab", lambda: FakeLab([(path, None) for path in [*both, own.connect("imp", 2, 4)]]))
    names["also_from_store"] = True
    for cell in cells[2:4]:
        exec(cell, names)
    groups = {(getattr(mask, "like", mask).source and sets, type(mask).__name__): sorted(group)
              for (_, mask, sets), group in names["groups"].items() if mask and len(group) > 1}
    assert groups == {(None, "Ticket"): [0, 1, 2], ("shared", "Ticket"): [0, 1, 2], ("own", "Ticket"): [0, 1, 2],
                      ("shared", "RandomMask"): [0, 1, 2], ("own", "RandomMask"): [0, 1, 2]}


class FakeLab:
    def __init__(self, stored: list):
        self.stored = stored

    def map(self, plan: list) -> None:
        """Computes nothing."""

    def recall(self, stage: type) -> list:
        return self.stored
