"""Saved figures: the same inputs give the same bytes, and the JSON holds what was drawn."""

import json
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot as plt
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config

from lmcnb import claim_below, figures

pytestmark = pytest.mark.usefixtures("figures_folder")
PARAMETERS = 'profile = "smoke"\nepochs = 5.0\ninits = [0, 1]\n'
PLAN = "plan = [epochs]"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one notebook, 03_stability, and two profiles."""
    root = tmp_path / "project"
    (root / "notebooks" / "profiles").mkdir(parents=True)
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
             new_code_cell(PLAN, metadata={"tags": ["plan"]})]
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / "03_stability.ipynb")
    for name, section in {"smoke": {}, "laptop": {"epochs": 2}}.items():
        (root / "notebooks" / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump({"03_stability": section}))
    monkeypatch.setenv("LMCNB_PROJECT", str(root))
    return root


@pytest.fixture
def kernel(project: Path, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """A shell as a kernel has one: what its cells mean is what figures.save sees."""
    options = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell(config=options)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    return shell


def run(shell: InteractiveShell, *cells: str) -> None:
    for cell in cells:
        shell.run_cell(cell, store_history=True).raise_error()


def saved(profile: str = "laptop", name: str = "fig03_x", **options) -> tuple[str, dict]:
    """The folder that a figure goes to, and its record."""
    png = figures.save(a_figure(), name, profile, options.pop("payload", {}), **options)
    return png.parent.name, json.loads(png.with_suffix(".json").read_text())


def test_a_profiles_values_in_the_kernel_make_its_figure(kernel: InteractiveShell):
    run(kernel, PARAMETERS, 'profile, epochs = "laptop", 2.0', PLAN)
    folder, written = saved()
    assert folder == written["profile"] == "laptop"
    record = written["record"]
    assert record["notebook"] == "03_stability" and record["overrides"] == {}
    assert record["parameters"] == {"profile": "laptop", "epochs": 2, "inits": [0, 1]}
    assert record["versions"].keys() == {"lmcnb", "torch", "python"}


@pytest.mark.parametrize(("cells", "changed"), [
    (['profile, epochs = "laptop", 4', PLAN], {"epochs": {"here": 4, "profile": 2}}),
    (['profile, epochs, inits = "laptop", 2, [0]', PLAN], {"inits": {"here": [0], "profile": [0, 1]}}),
    (['profile, epochs = "laptop", 2', PLAN, "del inits"], {"inits": {"here": None, "profile": [0, 1]}}),
    ([PLAN], {"profile": {"here": "smoke", "profile": "laptop"}, "epochs": {"here": 5.0, "profile": 2}}),
    (['import numpy\nprofile, epochs, inits = "laptop", 2, numpy.arange(3)', PLAN],
     {"inits": {"here": [0, 1, 2], "profile": [0, 1]}}),
    (['profile, epochs = "laptop", 2', PLAN, "inits = object"],
     {"inits": {"here": "<class 'object'>", "profile": [0, 1]}})],
    ids=["override", "another list", "not set", "other profile", "array", "object"])
def test_other_values_in_the_kernel_make_a_custom_figure(kernel: InteractiveShell, caplog, cells, changed):
    run(kernel, PARAMETERS, *cells)
    folder, written = saved(parameters={"profile": "laptop", "epochs": 2, "inits": [0, 1]} if "del inits" not in cells
                            else None)
    assert folder == written["profile"] == "custom" and written["record"]["overrides"] == changed
    assert written["record"]["profile"] == "laptop" and "not exactly profile laptop" in caplog.text


def test_parameters_set_after_the_plan_say_nothing_of_the_results(kernel: InteractiveShell, caplog):
    run(kernel, PARAMETERS, 'profile, epochs = "laptop", 4', PLAN, "epochs = 2")
    assert saved()[0] == "custom" and "set after the plan was made: run all cells again" in caplog.text
    run(kernel, PLAN, "losses = [epochs for epochs in range(3)]")
    assert saved()[0] == "laptop"


@pytest.mark.parametrize(("name", "profile", "why"), [
    ("fig03_x", "laptp", "did you mean `laptop`?"), ("fig03_x", "../laptop", "unknown profile"),
    ("fig03_x", "custom", "unknown profile `custom`"), ("fig09_x", "laptop", "unknown notebook `09`"),
    ("mine", "laptop", "does not begin with figNN")])
def test_what_belongs_to_no_profile_is_custom(kernel: InteractiveShell, caplog, name, profile, why):
    (Path(os.environ["LMCNB_PROJECT"]) / "notebooks/profiles/custom.yaml").write_text("03_stability: {}")
    run(kernel, PARAMETERS, f"profile = {profile!r}", PLAN)
    assert saved(profile, name)[0] == "custom" and why in caplog.text


def test_a_script_has_no_kernel_and_says_its_parameters(project: Path, caplog):
    assert saved()[0] == "custom" and "no kernel has the notebook's parameters" in caplog.text
    exact = {"profile": "laptop", "epochs": 2, "inits": (0, 1)}
    assert saved(parameters=exact)[0] == "laptop"
    assert saved(parameters={**exact, "epochs": 3})[0] == "custom"


def test_the_record_says_which_results_are_behind_a_figure(project: Path):
    results = {"date": "2026-01-02", "data": {"digits": "f1"}, "keys": ["k1", "k2"]}
    others = {"device": ["cpu"], "commit": ["c"], "entries": 2, "seconds": 1.5, "anything": [1]}
    _, written = saved(payload={"run": {**results, **others}})
    assert written["record"].items() >= {**results, "commit": ["c"]}.items() and written["run"] == others


def a_figure() -> plt.Figure:
    figure, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot([0, 1, 2], [0, 1, 0.5], label="a line")
    ax.fill_between([0, 1, 2], [0, 0.5, 0], [1, 1.5, 1], alpha=0.2)
    ax.legend()
    return figure


def a_stability_figure(n: int = 3) -> plt.Figure:
    rng, alphas = np.random.default_rng(0), np.linspace(0, 1, 5)
    curves = {(w, r): rng.random((n, 5)) for w, r in (("dense", 0), ("imp", 4), ("idc", 9))}
    barriers = {key: rng.random(n) for key in curves}
    surfaces = {w: rng.random((3, 5)) for w in ("idc", "imp")}
    return figures.stability(alphas, surfaces, curves, barriers, barriers, "a note", dark=(0, 2))


@pytest.mark.parametrize("make", [a_figure, a_stability_figure], ids=lambda f: f.__name__)
def test_the_same_inputs_give_the_same_bytes(figures_folder: Path, make):
    written = []
    for _ in range(2):
        png = figures.save(make(), "fig", "laptop", {"x": np.array([1.0, 2.0])})
        written.append([png.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])


def test_another_figure_gives_other_bytes(figures_folder: Path):
    one = figures.save(a_figure(), "a", "laptop", {})
    figure = a_figure()
    figure.axes[0].set_title("more")
    two = figures.save(figure, "b", "laptop", {})
    assert one.read_bytes() != two.read_bytes()


def test_the_json_holds_the_payload_and_the_claims(figures_folder: Path):
    claims = [claim_below("A1", "small", [1.0, 1.1, 0.9], "why", threshold=2), claim_below("A2", "one", [1.0], "n = 1")]
    png = figures.save(a_figure(), "fig", "laptop", {"alphas": torch.tensor([0.0, 1.0]), "n": np.int64(3)}, claims)
    assert png == figures_folder / "custom" / "fig.png" and png.exists() and png.with_suffix(".pdf").exists()
    record = json.loads(png.with_suffix(".json").read_text())
    assert (record["figure"], record["profile"], record["alphas"], record["n"]) == ("fig", "custom", [0.0, 1.0], 3)
    assert record["claims"][0]["verdict"] == "supported" and record["claims"][0]["n"] == 3
    assert record["claims"][1]["interval"] == [None, None]


def test_plain_rounds_to_six_digits_and_turns_nan_into_null():
    value = {"a": np.float32(1 / 3), "b": [float("nan"), float("inf"), 2], 3: torch.tensor([[1.0]]), "t": (1, "x"),
             "none": None, "yes": True}
    assert figures.plain(value) == {"a": 0.333333, "b": [None, None, 2], "3": [[1.0]], "t": [1, "x"], "none": None,
                                    "yes": True}


def test_percent_sparse_is_the_papers():
    assert [figures.percent_sparse(r) for r in (0, 4, 9, 10)] == ["0%", "59%", "87%", "89%"]


def test_an_unknown_way_has_a_colour_and_its_own_name_as_label():
    assert figures.label("mine") == "mine" and figures.colour("mine").startswith("#")
    assert figures.label("imp") != "imp"


def test_one_initialisation_is_drawn_without_an_interval(figures_folder: Path):
    assert figures.save(a_stability_figure(n=1), "one", "laptop", {}).exists()


def test_a_grid_shows_every_set_in_a_row():
    figure = figures.images_grid({"a": np.random.rand(12, 3, 4, 4), "b": np.random.rand(2, 1, 4, 4)}, columns=5)
    assert len(figure.axes) == 10
    assert [sum(bool(ax.images) for ax in figure.axes[r * 5:r * 5 + 5]) for r in range(2)] == [5, 2]
