"""Figure 4: what is drawn is what was given, under both treatments of BatchNorm, and the banner cannot be missed."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lmcnb import estimate, figures
from lmcnb.figures.batchnorm import rewound_in_full, two_dots, two_paths
from lmcnb.tables import Table

KEYS = [("dense", 0), ("imp", 4), ("idc", 4)]
BN = ("lerp", "recalibrate")
ALPHAS = np.linspace(0, 1, 5)


def a_table(n: int = 3, keys=KEYS) -> Table:
    """Random paths: of ``keys`` and a random mask under both conventions, of the other rounds under one."""
    rng = np.random.default_rng(0)
    wanted = [(bn, key, i) for bn in BN for key in (*keys, ("random mask", 4)) for i in range(n)]
    wanted += [("lerp", (method, r), 0) for method in ("idc", "imp") for r in range(1, 4)]
    return Table.of({"method": method, "round": r, "init": i, "seeds": "0–1", "bn": bn, "quantity": quantity,
                     "alpha": alpha, "value": rng.random()} for bn, (method, r), i in wanted
                    for quantity in ("train_loss", "test_error") for alpha in ALPHAS)


def a_figure(n: int = 3, keys=KEYS, banner: str = "generated images, not ImageNet") -> plt.Figure:
    return figures.batchnorm(a_table(n, keys), sorted({r for _, r in keys if r}), "a note", banner)


def test_the_paths_are_the_means_of_what_was_given():
    ax, table = plt.subplots()[1], a_table().select(method="idc", round=4)
    two_paths(ax, table)
    for line, bn in zip(ax.lines, BN):
        np.testing.assert_allclose(line.get_ydata(), table.select(bn=bn).curves()["idc", 4].mean(0))
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    assert "59%" in ax.get_title()


def test_the_dots_are_the_values_their_means_and_intervals():
    values = {"lerp": [1.0, 2.0, 4.0], "recalibrate": [0.0, 0.5, 0.7]}
    ax = plt.subplots()[1]
    two_dots(ax, Table.of({"method": "imp", "round": 4, "init": i, "bn": bn, "value": v}
                          for bn, vs in values.items() for i, v in enumerate(vs)), "x")
    drawn = [line for line in ax.lines if line.get_linestyle() != "-" or line.get_color() != "#999999"]  # not zero's
    for group, given in zip((drawn[:3], drawn[3:6]), values.values()):
        e = estimate(given)
        dots, interval, mean = (np.atleast_1d(line.get_xdata()) for line in group)
        assert dots.tolist() == given
        np.testing.assert_allclose([*interval, *mean], [e.low, e.high, e.mean])
    assert drawn[0].get_ydata()[0] > drawn[3].get_ydata()[0]  # the conventions stand apart


@pytest.mark.parametrize("keys", [KEYS, [*KEYS, ("imp", 9), ("idc", 9)]], ids=["one sparsity", "two"])
def test_the_figure_has_a_panel_for_each_subnetwork(keys):
    figure = a_figure(keys=keys)
    assert len(figure.axes) == 1 + 2 + 1 + 1 + len(keys) + 3
    assert "generated images, not ImageNet" in [t.get_text() for t in figure.texts]


def test_weights_only_rewinding_has_dots_and_no_difference_from_the_distilled_network():
    without, with_ = (a_figure(keys=[*KEYS, *more]).axes[-3:] for more in ((), [("imp, weights only", 4)]))
    assert len(with_[0].get_yticks()) == len(without[0].get_yticks()) + 1
    assert len(with_[1].patches) == len(without[1].patches) > 0


def test_without_a_banner_there_is_none():
    assert "generated images, not ImageNet" not in [t.get_text() for t in a_figure(banner="").texts]


def paths(methods=("imp", "idc", "random images", "random mosaics", "random mask")) -> Table:
    rng = np.random.default_rng(1)
    who = [("dense", 0), *((m, 4) for m in methods)]
    rows = [{"method": m, "round": r, "init": i, "seeds": "0–1", "bn": bn, "quantity": quantity, "alpha": alpha,
             "value": rng.random()} for bn in BN for m, r in who for i in range(3)
            for quantity in ("train_loss", "test_error") for alpha in ALPHAS]
    rows += [{"method": m, "round": r, "init": i, "seeds": "0", "quantity": "test_accuracy", "value": 0.5 + 0.1 * (
        m == "imp") + 0.01 * rng.random()} for m, r in who for i in range(3)]
    return Table.of(rows)


def judged(setting: str, *methods) -> dict:
    return {c.id: c for c in figures.batchnorm_claims(paths(*methods), [4], setting)}


def test_weights_only_rewinding_is_held_against_full_on_photographs():
    found = judged("imagenette", ("imp", "idc", "idc, weights only"))
    rewound = found["R-59% (idc, imagenette)"]
    assert rewound.statement == ("on imagenette: with interpolated statistics, IDC's tickets (59% sparse) are, with "
                                 "weights alone rewound, more stable than with everything rewound")
    assert rewound.units == "3 × own sets" and "R-59% (imp, imagenette)" not in found
    assert judged("imagenette", ("imp", "idc", "imp, weights only"))["R-59% (imp, imagenette)"].units == "3"
    assert not any(id.startswith("R-") for id in judged("generated", ("imp", "idc", "idc, weights only")))


def test_weights_only_rewinding_changes_nothing_of_the_papers_claims():
    table = paths(("imp", "idc", "idc, weights only"))
    both, alone = ({c.id: c for c in figures.batchnorm_claims(t, [4], "imagenette")}
                   for t in (table, rewound_in_full(table)))
    assert both.keys() - alone.keys() == {"R-59% (idc, imagenette)"}
    assert {id: both[id] for id in alone} == alone


def test_photographs_are_judged_as_the_papers_claims_in_a_setting_of_their_own():
    found = judged("imagenette")
    primary = {id for id, c in found.items() if c.family == "primary"}
    assert primary == {"A1-59% (imagenette, lerp)", "A2-59% (imagenette, lerp)", "A3-59% (imagenette)"}
    assert {id for id in found if id.startswith("A2c") and id.endswith("lerp)")} == {
        f"A2c-59% ({control}, imagenette, lerp)" for control in ("random images", "random mosaics", "random mask")}
    assert found["A2-59% (imagenette, lerp)"].units == "3 × own sets"
    assert found["A3-59% (imagenette)"].word == "contradicted" and 9 < found["A3-59% (imagenette)"].estimate < 11
    assert all("on imagenette: " in c.statement for c in found.values())


def test_generated_images_judge_nothing_of_the_papers():
    found = judged("generated")
    assert {c.family for c in found.values()} == {"secondary"} and all(id.startswith("B4-") for id in found)
    assert not any("A3" in id for id in found) and all("generated images" in c.statement for c in found.values())
