"""Figure 5: planes on one colour scale, and the networks that lie in them."""

from collections.abc import Iterator

import numpy as np

from lmcnb import figures
from lmcnb.tables import Table

AXIS = np.linspace(-1, 1, 5)
HILL = np.add.outer(AXIS ** 2, AXIS ** 2)


def a_plane(kind: str, method: str, loss: np.ndarray, away: list[float]) -> Iterator[dict]:
    """Rows of one plane, and of one network for every distance from it."""
    of = {"kind": kind, "method": method, "round": 0, "init": 0}
    yield from ({**of, "quantity": "train_loss", "x": x, "y": y, "value": loss[j, i]}
                for j, y in enumerate(AXIS) for i, x in enumerate(AXIS))
    yield from ({**of, "quantity": "distance from the plane", "network": k, "x": 0.5 - k, "y": 0.0, "value": v}
                for k, v in enumerate(away))


def a_path(method: str, values: np.ndarray) -> Iterator[dict]:
    return ({"method": method, "round": 0, "init": 0, "seeds": "0–1", "quantity": "train_loss", "alpha": a, "value": v}
            for a, v in zip(np.linspace(0, 1, len(values)), values))


def test_a_loss_that_is_not_finite_is_drawn_as_the_highest():
    for highest in (np.inf, np.nan):  # NaN: infinity, read back from a saved figure
        loss = HILL.copy()
        loss[0] = highest
        table = Table.of([*a_plane("through", "dense", loss, [0.0]), *a_path("dense", np.zeros(2))])
        drawn = figures.landscapes(table, "a note").axes[0].collections[0]
        assert drawn.get_clim()[1] < 3
        above = drawn.get_paths()[-1].vertices  # what lies beyond the last level
        assert above[:, 1].min() == -1


def test_landscapes_share_one_scale_and_mark_what_lies_in_the_plane():
    planes = [row for kind in ("through", "random") for method, scale in (("dense", 3.0), ("idc", 1.0))
              for row in a_plane(kind, method, HILL * scale, [0.0, 0.5])]
    figure = figures.landscapes(Table.of([*planes, *a_path("dense", HILL[0]), *a_path("idc", 0 * AXIS)]), "a note")
    panels = [ax for ax in figure.axes if ax.collections and ax.get_label() != "<colorbar>"]
    assert len({tuple(np.round(ax.collections[0].get_clim(), 6)) for ax in panels}) == 1
    solid, hollow = (line.get_markerfacecolor() for line in panels[0].lines[:2])
    assert (solid, hollow) == ("white", "none")
    segment = figure.axes[2].lines
    assert any(np.allclose(x.get_ydata(), HILL[0] - 2) for x in segment)  # above its chord, which is flat
