"""Saved figures: the same inputs give the same bytes, and the JSON holds what was drawn and draws it again."""

import json
import os
from io import BytesIO
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
import torch
import yaml
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot as plt
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config

import lmcnb
from lmcnb import claim, figures
from lmcnb.cli.board import judged, number
from lmcnb.figures.saved import as_json, plain, png, rejudge, write
from lmcnb.profiles import profile_files
from lmcnb.tables import Table

ROOT = Path(__file__).parents[1]
CLAIMS = [claim("A1", "small", [-1.0, -1.1, -0.9], margin=0.5, note="why"), claim("A2", "one", [1.0])]
IMAGES = {"a": [np.arange(48, dtype=np.uint8).reshape(4, 4, 3)], "grey": [np.eye(4, dtype=np.uint8) * 255] * 2}
DRAWING = """
figure, ax = plt.subplots(figsize=(2, 1.5))
ax.plot(table["init"].astype(int), table["value"])
ax.imshow(images["a"][0], extent=(0, 1, 0, 1))
ax.set_title(f"{note}, {epochs} epochs")
plt.show()
"""
pytestmark = pytest.mark.usefixtures("figures_folder")
PARAMETERS = 'profile = "smoke"\nepochs = 5.0\ninits = [0, 1]\n'
PLAN = "plan = [epochs]"
SHIPPED = ("fig06", "fig18")  # which test_shipped draws again, to the same bytes
TABLE = Table.of([{"method": "imp", "init": i, "quantity": "loss", "value": v} for i, v in enumerate([1.0, 1 / 3])])


def committed() -> list[Path]:
    profiles = profile_files(ROOT).keys() - {"smoke"}
    return [p for p in sorted((ROOT / "figures").glob("*/fig*.json")) if p.parent.name in profiles]


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
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made up: what is asked is where they go and what is written beside them."""
    for ending in ("png", "pdf"):
        monkeypatch.setattr(f"lmcnb.figures.saved.{ending}", lambda figure: b"a picture")


@pytest.fixture
def kernel(project: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
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
    png = figures.save(a_figure(), name, profile, TABLE, **options)
    return png.parent.name, json.loads(png.with_suffix(".json").read_text())


def test_a_profiles_values_in_the_kernel_make_its_figure(kernel: InteractiveShell):
    run(kernel, PARAMETERS, 'profile, epochs = "laptop", 2.0', PLAN)
    folder, written = saved()
    assert folder == written["profile"] == "laptop"
    record = written["record"]
    assert record["notebook"] == "03_stability" and record["overrides"] == {}
    assert record["parameters"] == {"profile": "laptop", "epochs": 2, "inits": [0, 1]}
    assert record["versions"].keys() == {"lmcnb", "torch", "python", "matplotlib"}


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


def test_a_script_has_no_kernel_and_says_its_parameters(project: Path, undrawn: None, caplog):
    assert saved()[0] == "custom" and "no kernel has the notebook's parameters" in caplog.text
    exact = {"profile": "laptop", "epochs": 2, "inits": (0, 1)}
    assert saved(parameters=exact)[0] == "laptop"
    assert saved(parameters={**exact, "epochs": 3})[0] == "custom"


def test_the_record_says_which_results_are_behind_a_figure(project: Path, undrawn: None):
    results = {"date": "2026-01-02", "data": {"digits": "f1"}, "keys": ["k1", "k2"]}
    others = {"device": ["cpu"], "commit": ["c"], "entries": 2, "seconds": 1.5, "anything": [1]}
    _, written = saved(run={**results, **others})
    assert written["record"].items() >= {**results, "commit": ["c"]}.items() and written["run"] == others


def a_figure() -> plt.Figure:
    figure, ax = plt.subplots(figsize=(2, 1.5))
    ax.plot([0, 1, 2], [0, 1, 0.5], label="a line")
    ax.fill_between([0, 1, 2], [0, 0.5, 0], [1, 1.5, 1], alpha=0.2)
    ax.legend()
    return figure


@pytest.fixture
def drawn(project: Path) -> Path:
    """A saved figure whose notebook has a cell that draws it."""
    path = project / "notebooks" / "03_stability.ipynb"
    node = nbformat.read(path, as_version=4)
    node.cells.append(new_code_cell(DRAWING, metadata={"tags": ["figure"]}))
    nbformat.write(node, path)
    names = {"lmcnb": lmcnb, "np": np, "plt": plt, "table": TABLE, "note": "a note", "images": IMAGES, "epochs": 2}
    with plt.rc_context():
        figures.style()
        exec(DRAWING, names)
        return figures.save(names["figure"], "fig03_x", "laptop", TABLE, CLAIMS, note="a note", images=IMAGES,
                            parameters={"profile": "laptop", "epochs": 2, "inits": [0, 1]})


def test_a_saved_figure_is_drawn_again_to_the_same_bytes(drawn: Path):
    again = figures.read("fig03_x")
    assert again.table.equals(TABLE) and again.note == "a note" and again.parameters["epochs"] == 2
    assert again.claims[0] == CLAIMS[0] and np.isnan(again.claims[1].interval).all()
    assert all((again.images[n] == np.stack(p)).all() for n, p in IMAGES.items())
    assert png(again.draw()) == drawn.read_bytes()


def test_what_is_not_there_or_cannot_be_drawn_is_named(project: Path, undrawn: None):
    with pytest.raises(FileNotFoundError, match="has no figure fig03_y; it has: none"):
        figures.read("fig03_y")
    saved(parameters={"profile": "laptop", "epochs": 2, "inits": [0, 1]})
    with pytest.raises(ValueError, match="03_stability has no cell tagged `figure`"):
        figures.read("fig03_x").draw()


def test_claims_are_judged_again_and_nothing_else_is_touched(drawn: Path, project: Path):
    path, before = drawn.with_suffix(".json"), json.loads(drawn.with_suffix(".json").read_text())
    with pytest.raises(ValueError, match="no cell tagged `claims`, so fig03_x cannot be judged again"):
        rejudge(path)
    notebook = project / "notebooks" / "03_stability.ipynb"
    node = nbformat.read(notebook, as_version=4)
    judging = 'claims = [lmcnb.claim("B", note, -table["value"], margin=epochs)]\nverdicts(claims, profile)'
    node.cells.append(new_code_cell(judging, metadata={"tags": ["claims"]}))
    nbformat.write(node, notebook)
    [found] = rejudge(path)
    assert (found.id, found.statement, found.margin, found.estimate) == ("B", "a note", 2, pytest.approx(-2 / 3))
    after = json.loads(path.read_text())
    assert figures.read("fig03_x").claims == [found] and [n for n in after if after[n] != before[n]] == ["claims"]
    after["claims"][0] = {"id": "B", "verdict": "supported", "interval": [0, 1]}
    write(path, after)
    assert figures.read("fig03_x").claims == [], "an older form is not read"


def test_a_claim_with_an_unknown_number_is_read_drawn_and_judged_again(drawn: Path, project: Path):
    notebook, path = project / "notebooks" / "03_stability.ipynb", drawn.with_suffix(".json")
    node = nbformat.read(notebook, as_version=4)
    node.cells.append(new_code_cell('claims = [lmcnb.claim("Q", "a rank", lmcnb.statistics.rank_correlation(range(5), '
                                    '[1.0] * 5), margin=0.3)]', metadata={"tags": ["claims"]}))
    nbformat.write(node, notebook)
    before = plt.get_fignums()
    rejudge(path)
    assert plt.get_fignums() == before, "what was drawn is closed"
    [found] = figures.read("fig03_x").claims
    assert np.isnan([found.estimate, found.error]).all() and found.word == "too close to call"
    assert png(figures.read("fig03_x").draw()) == drawn.read_bytes()
    [whole] = judged(path.parent)
    assert number(whole.claim) == "unknown"


def test_a_figure_that_cannot_be_drawn_keeps_its_claims(drawn: Path, project: Path):
    notebook, path = project / "notebooks" / "03_stability.ipynb", drawn.with_suffix(".json")
    node, before = nbformat.read(notebook, as_version=4), path.read_bytes()
    node.cells[-1].source = "raise KeyError('x')"
    node.cells.append(new_code_cell('claims = [lmcnb.claim("B", "x", [1.0, 2.0])]', metadata={"tags": ["claims"]}))
    nbformat.write(node, notebook)
    with pytest.raises(KeyError):
        rejudge(path)
    assert path.read_bytes() == before


def test_a_smoke_run_judges_nothing(figures_folder: Path):
    path = figures.save(a_figure(), "fig", "smoke", TABLE, CLAIMS)
    assert json.loads(path.with_suffix(".json").read_text())["claims"] == []


@pytest.mark.parametrize("path", committed(), ids=lambda p: f"{p.parent.name} {p.stem[:5]}")
def test_the_claims_of_a_committed_figure_are_what_its_table_says(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LMCNB_FIGURES", raising=False)
    monkeypatch.setenv("LMCNB_PROJECT", str(ROOT))
    found = figures.read(path.stem, path.parent.name)
    if path.stem.startswith("fig01"):
        return  # an algorithm, not a finding
    again = as_json(found.judge())
    assert plain(again) == plain(json.loads(path.read_text())["claims"]), "run: lmcnb claims --rejudge"


def test_the_same_inputs_give_the_same_bytes(figures_folder: Path):
    written = []
    for _ in range(2):
        path = figures.save(a_figure(), "fig", "laptop", TABLE, CLAIMS)
        written.append([path.with_suffix(s).read_bytes() for s in (".png", ".pdf", ".json")])
    assert written[0] == written[1] and all(written[0])


def test_another_figure_gives_other_bytes(figures_folder: Path):
    figure = a_figure()
    figure.axes[0].set_title("more")
    assert png(a_figure()) != png(figure)


def test_the_json_holds_the_table_in_full_and_the_claims(figures_folder: Path):
    path = figures.save(a_figure(), "fig", "laptop", TABLE, CLAIMS)
    assert path == figures_folder / "custom" / "fig.png" and path.exists() and path.with_suffix(".pdf").exists()
    text = path.with_suffix(".json").read_text()
    record = json.loads(text)
    assert (record["figure"], record["profile"]) == ("fig", "custom")
    assert record["table"]["value"] == [1.0, 1 / 3] and '"value": [1.0, 0.3333333333333333]' in text
    assert record["claims"][0]["word"] == "reproduced" and record["claims"][0]["n"] == 3
    assert record["claims"][1]["interval"] == [None, None]


@pytest.mark.parametrize("path", [p for p in committed() if p.parent.name != "laptop" or p.stem[:5] not in SHIPPED],
                         ids=lambda p: f"{p.parent.name} {p.stem[:5]}")
def test_every_committed_figure_is_drawn_again_from_its_json(path: Path, monkeypatch: pytest.MonkeyPatch):
    """To the same picture with the matplotlib that drew it, else without an error."""
    monkeypatch.delenv("LMCNB_FIGURES", raising=False)
    monkeypatch.setenv("LMCNB_PROJECT", str(ROOT))
    found = figures.read(path.stem, path.parent.name)
    drawn = png(found.draw())
    if found.record["versions"].get("matplotlib") == matplotlib.__version__:
        again, before = (plt.imread(BytesIO(p)) for p in (drawn, path.with_suffix(".png").read_bytes()))
        apart = np.abs(again - before)  # another processor may round a heat map's colours otherwise
        assert apart.max() < 0.01 and (apart > 0).mean() < 1e-3


def test_plain_rounds_to_six_digits_and_turns_nan_into_null():
    value = {"a": np.float32(1 / 3), "b": [float("nan"), float("inf"), 2], 3: torch.tensor([[1.0]]), "t": (1, "x"),
             "none": None, "yes": True}
    assert figures.plain(value) == {"a": 0.333333, "b": [None, None, 2], "3": [[1.0]], "t": [1, "x"], "none": None,
                                    "yes": True}



def test_a_notebook_shows_what_became_of_the_claims_of_the_committed_figure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LMCNB_FIGURES", str(ROOT / "figures"))
    found = figures.committed("fig03_stability_cifar10")
    assert found.loc["A1-59%", "verdict"] == "reproduced" and "estimate [95% interval]" in found
    assert figures.committed("fig14_protocol_audit_cifar10") == "it judges no claim"
    assert figures.committed("fig03_stability_cifar10", "paper").endswith("of profile paper is not here")
