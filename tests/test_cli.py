"""The command line as a user calls it, on small notebooks of a made-up project."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest
from cli_project import call, made_up_project, refused, write
from click.testing import CliRunner
from nbformat.v4 import new_code_cell

from lmcnb import claim, places
from lmcnb.cli import main
from lmcnb.cli.runner import prepare
from lmcnb.cli.workers import order
from lmcnb.profiles import load_profile

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made_up_project(tmp_path, monkeypatch)


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, lmcnb.cli; sys.exit(any(m in sys.modules for m in ('torch', 'papermill', 'nbformat')))"
    environment = os.environ | {"PYTHONPATH": str(Path(places.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def draw(project: Path, name: str) -> Path:
    """A figure with a claim."""
    made = claim("A1", "small", [-1.0, -1.1, -0.9], unit="nats").as_dict()
    path = project / "figures" / "laptop" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"figure": name, "profile": "laptop", "claims": [made]}, ensure_ascii=False))
    return path


@pytest.mark.parametrize("arguments", [["params", "--set", "widths=αΩ"], ["params", "--set", "rounds=α×"], ["claims"],
                                       ["--help"]])
def test_any_encoding_will_do(project: Path, arguments: list[str]) -> None:
    path = draw(project, "fig01")
    path.write_text(path.read_text().replace("small", "at α = ½ → 0"))
    if arguments == ["claims"]:
        done = CliRunner(charset="cp1252").invoke(main, arguments)
        code, text = done.exit_code, done.stdout_bytes.decode("cp1252")
    else:
        environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(Path(places.__file__).parents[1])}
        done = subprocess.run([sys.executable, "-m", "lmcnb", *arguments], env=environment, capture_output=True)
        code, text = done.returncode, (done.stdout + done.stderr).decode("cp1252")
    assert "Traceback" not in text and code in (0, 2)
    wanted = {"params": "alpha", "claims": "at alpha = ½ -> 0", "--help": "Linear mode connectivity"}
    assert wanted[arguments[0]] in text


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system ['touch CANARY']", "!!python/name:os.system",
                                   "&a [*a]", "!!set {a}"])
def test_a_value_with_a_tag_is_refused(project: Path, value: str) -> None:
    canary = project / "canary"
    value = value.replace("CANARY", str(canary))
    refused(call("run", "--set", f"widths={value}"), "--set widths=", "is not plain YAML")
    (project / "notebooks" / "profiles" / "gpu.yaml").write_text(f"03_second: {{}}\n00_first:\n  widths: {value}\n")
    refused(call("run", "--profile", "gpu"), "gpu.yaml", "is not plain YAML")
    assert not canary.exists()


@pytest.mark.parametrize(
    "arguments",
    [["--set", "names=[a"], ["--set", "names={a: [1}"], ["--set", "rounds=.nan"], ["--set", "names=" + "[" * 1000],
     ["--set", "rounds=!!int x"], ["05", "--set", "epochs=-1"]],
)
def test_messages_are_our_own(project: Path, arguments: list[str]) -> None:
    model = 'pydantic.create_model("Recipe", epochs=(pydantic.NonNegativeInt, ...))'
    plan = f"import pydantic\nplan = [{model}(epochs=epochs)]"
    sources = {"parameters": "epochs = 1", "plan": plan}
    cells = [new_code_cell(source, metadata={"tags": [tag]}) for tag, source in sources.items()]
    write(project / "notebooks", "05_third", cells)
    profile = project / "notebooks" / "profiles" / "smoke.yaml"
    profile.write_text(profile.read_text() + "05_third: {}\n")
    result = call("run", *arguments)
    refused(result, arguments[-1][:6])
    foreign = ("http", "pydantic", "while parsing", "expected", "validation error", "For further", "line 1, column")
    assert not [word for word in foreign if word in result.output], result.output
    assert len(result.output) < 500


def test_status_has_no_seconds_where_nothing_was_measured(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = types.SimpleNamespace(stage="trained", done=0, remaining=3, seconds=None)
    answer = types.SimpleNamespace(status=lambda plans, workers: ([[row]], None), Stage=float)
    monkeypatch.setitem(sys.modules, "lmcnb.lab", answer)
    output = call("status", "00").output
    assert output.endswith("Remaining: 3 entries of stages not measured yet\n") and " 0 s" not in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "round=3"], ["unknown setting `round`", "did you mean `rounds`?", "rate"]),
        (["03", "--set", "rate=0.1"], ["unknown setting `rate`", "dataset, rounds"]),
        (["--set", "rounds=many"], ["00_first: setting `rounds` must be int, not str 'many'", "03_second: "]),
        (["--set", "rounds=2.5"], ["must be int, not float 2.5"]),
        (["--set", "rounds=true"], ["must be int, not bool True"]),
        (["--set", "flag='false'"], ["`flag` must be bool, not str 'false'"]),
        (["--set", "flag=1"], ["must be bool, not int 1"]),
        (["--set", "names=a"], ["must be list of str, not str 'a'"]),
        (["--set", "rounds="], ["must be int, not NoneType None"]), (["--set", "names=[a"], ["--set names=[a"]),
        (["--set", "rounds"], ["`--set rounds` is not of the form name=value"]),
        (["--profile", "laptp"], ["unknown profile `laptp`", "did you mean `laptop`?", "laptop, smoke"]),
        (["07"], ["unknown notebook `07`", "00_first, 03_second"]),
        (["0"], ["`0` fits several notebooks: 00_first, 03_second"]),
        (["nowhere/03_second.ipynb"], ["unknown notebook `nowhere/03_second.ipynb`"]),
    ],
)
def test_wrong_requests_are_refused(project: Path, arguments: list[str], words: list[str]) -> None:
    refused(call("run", *arguments), *words)
    assert not (project / "executed").exists()


@pytest.mark.parametrize(("value", "words"), [("[0, 1, 0]", "must not have an entry twice; got [0, 1, 0]"),
                                              ("[]", "must have an entry at least")])
def test_initialisations_are_different_ones(project: Path, value: str, words: str) -> None:
    source = 'profile = "smoke"\ninits = [0, 1]  # initialisations'
    write(project / "notebooks", "05_third", [new_code_cell(source, metadata={"tags": ["parameters"]})])
    refused(call("run", "05", "--set", f"inits={value}"), f"05_third: setting `inits` {words}")


def test_a_worker_is_told_the_settings_of_its_own_notebooks(project: Path) -> None:
    jobs = prepare(project, ["00", "03"], "laptop", ["rate=0.5", "dataset=''"])
    told = [order(project, [job], "laptop", ["rate=0.5", "dataset=''", "rounds=2"], "cpu", (1, 1)) for job in jobs]
    assert [each.settings for each in told] == [("rate=0.5", "rounds=2"), ("dataset=''", "rounds=2")]


def test_none_accepts_anything_and_a_setting_goes_where_it_is_known(project: Path) -> None:
    result = call("params", "--set", "widths=[8, 16]", "--set", "rounds=7")
    assert result.exit_code == 0
    assert "[8, 16]" in result.output and result.output.count(" 7 ") + result.output.count(" 7\n") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("00_first: {round: 3}", ["00_first: unknown setting `round`", "did you mean `rounds`?"]),
        ("00_first: {rounds: x}", ["00_first: setting `rounds` must be int"]),
        ("00_frist: {}", ["unknown notebook `00_frist`", "did you mean `00_first`?"]),
        ("shared: {roundz: 3}", ["unknown shared setting `roundz`", "did you mean `rounds`?"]),
        ("- 1", ["is not a mapping"]),
        ("a: [", ["gpu.yaml"]),
        ("extends: laptob", ["gpu.yaml: it extends an unknown profile `laptob`", "did you mean `laptop`?"]),
        ("extends: gpu", ["gpu.yaml: profiles extend each other: gpu → gpu"]),
        ("extends: [laptop]", ["gpu.yaml: it extends an unknown profile"]),
    ],
)
def test_wrong_profiles_are_refused(project: Path, text: str, words: list[str]) -> None:
    (project / "notebooks" / "profiles" / "gpu.yaml").write_text(text)
    refused(call("run", "--profile", "gpu"), *words)


def test_a_profile_says_what_differs_from_the_one_it_extends(project: Path) -> None:
    profiles = project / "notebooks" / "profiles"
    (profiles / "base.yaml").write_text("extends: laptop\nshared: {rate: 0.5, rounds: 6}\n")
    (profiles / "mine.yaml").write_text("extends: base\nshared: {rate: 0.1}\n00_first: {flag: false}\n03_second:\n")
    found = load_profile(project, "mine")
    assert found["00_first"] == {"rounds": 4, "rate": 1, "flag": False}, "a section goes before what is shared"
    assert found["03_second"] == {"rounds": 3}
    (profiles / "laptop.yaml").write_text("00_first: {flag: true, rounds: 7}\n")
    assert load_profile(project, "mine")["00_first"] == {"rounds": 7, "rate": 0.1, "flag": False}
    assert load_profile(project, "mine")["03_second"] == {"rounds": 6}


def test_a_missing_data_set_is_known_before_anything_is_executed(project: Path) -> None:
    result = call("run", "--set", "dataset=/nowhere")
    refused(result, "03_second: no data set at /nowhere: unpack it there, or set LMCNB_DATA")
    assert not (project / "executed").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("plam = []", "define no list named `plan`"),
        ("%matplotlib inline", "SyntaxError"),
    ],
)
def test_a_broken_plan_names_its_notebook(project: Path, source: str, words: str) -> None:
    write(project / "notebooks", "05_third", [new_code_cell(source, metadata={"tags": ["plan"]})])
    refused(call("run", "05"), "05_third: ", words)


@pytest.mark.parametrize("source", ["a = 1\nb = a + 1", "import os", "a, b = 1, 2", "a = ", "a: int"])
def test_a_parameters_cell_holds_literals_only(project: Path, source: str) -> None:
    write(project / "notebooks", "05_third", [new_code_cell(source, metadata={"tags": ["parameters"]})])
    refused(call("params", "05"), "05_third: parameters cell: ")


def test_a_file_that_is_no_notebook_is_refused(project: Path) -> None:
    (project / "notebooks" / "05_third.ipynb").write_text("{")
    refused(call("run", "05"), "05_third", "cannot be read as a notebook")


def test_params_shows_values_and_whole_help_texts(project: Path) -> None:
    output = call("params", "00_first.ipynb", "--profile", "laptop").output
    assert "number of rounds, e.g. rounds = 9  # see §2" in output
    assert "None = the paper's" in output and "over two lines" in output
    rows = {line.split()[0]: line for line in output.splitlines() if line}
    assert "'laptop'" in rows["profile"] and " 4 " in rows["rounds"]
    assert "list[int] | None" in rows["widths"]


def test_status_counts_and_adds_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stages(plans: list, workers: int) -> tuple[list, None]:
        row = types.SimpleNamespace
        return [[
            row(stage="trained", done=1, remaining=len(plan), seconds=3700.0 * len(plan)),
            row(stage="paths", done=0, remaining=3, seconds=None),
            row(stage="distilled", done=2, remaining=0, seconds=0.0),
        ] for plan in plans], None

    monkeypatch.setitem(sys.modules, "lmcnb.lab", types.SimpleNamespace(status=stages, Stage=float))
    result = call("status", "--profile", "laptop", "--set", "rounds=2")
    assert result.exit_code == 0, result.output
    assert "2 h 03 min" in result.output and "not measured yet" in result.output
    assert result.output.endswith("Remaining: 3 h 05 min, and 6 entries of stages not measured yet\n")


@pytest.mark.usefixtures("forked_kernels")
def test_report_is_a_site_with_an_index(project: Path) -> None:
    figures = project / "figures" / "smoke"
    figures.mkdir(parents=True)
    (figures / "fig00_first.png").write_bytes(b"png")
    assert call("run").exit_code == 0
    assert call("report").exit_code == 0
    index = (project / "report" / "index.html").read_text()
    assert '<a href="00_first.html">The first</a>' in index and "<p>It shows one thing of two.</p>" in index
    assert "profile smoke" in index and '<img src="fig00_first.png"' in index
    assert "failed" not in index.split("<body>")[1]
    assert "smoke 2 0.2 True" in (project / "report" / "00_first.html").read_text()
    assert (project / "report" / "03_second.html").exists()
    assert (project / "report" / "fig00_first.png").read_bytes() == b"png"


@pytest.mark.usefixtures("forked_kernels")
def test_report_says_what_failed(project: Path) -> None:
    assert call("run", "03", "--set", "rounds=6").exit_code == 1
    assert call("report", "--out", project / "site").exit_code == 0
    index = (project / "site" / "index.html").read_text()
    assert '<a href="03_second.failed.html">this run</a>: failed in cell 4 of 4' in index and "round 6" in index


def test_report_without_anything_executed_names_the_fix(project: Path) -> None:
    refused(call("report"), "`lmcnb run`")


@pytest.mark.usefixtures("forked_kernels")
def test_tidy_leaves_what_is_committed(project: Path) -> None:
    assert call("run", "00").exit_code == 0
    executed = project / "executed" / "00_first.ipynb"
    node = nbformat.read(executed, as_version=4)
    node.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    node.cells[1].execution_count = 7
    nbformat.write(node, executed)
    assert "tidied" in call("tidy", executed).output
    clean = json.loads(executed.read_text())
    assert set(clean["metadata"]) == {"kernelspec", "language_info"}
    assert all(set(cell["metadata"]) <= {"tags"} for cell in clean["cells"])
    counts = [cell["execution_count"] for cell in clean["cells"] if cell["cell_type"] == "code"]
    assert counts == [1, 2, 3, 4]
    assert "was tidy" in call("tidy", executed).output


def test_init_makes_a_project_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "mine"
    said = call("init", str(made)).output
    assert f"{len(list((ROOT / 'notebooks').glob('*.ipynb')))} notebooks. Now: cd {made} && lmcnb run 00" in said
    assert {p.name for p in (made / "figures").iterdir()} == {"basins.gif", "board.png", "laptop", "gpu", "imagenette",
                                                              "resnet", "predictions.yaml"}
    pages = [page.read_text() for page in made.glob("notebooks/*.ipynb")]
    linked = {link for text in pages for link in re.findall(r"\]\((\.\./[^)#]+)", text)}
    assert linked and not [link for link in linked if not (made / "notebooks" / link).exists()]
    monkeypatch.chdir(made)
    monkeypatch.delenv("LMCNB_PROJECT", raising=False)
    monkeypatch.delenv("LMCNB_FIGURES", raising=False)
    assert "00_quickstart" in call("params", "00").output and "A1-59%" in call("claims").output
    refused(call("init", str(made)), "is not empty", "name a folder that is not there yet")


def test_init_says_when_nothing_was_installed_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmcnb.cli import project

    monkeypatch.setattr(project, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr(project.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(project.site, "getuserbase", lambda: str(tmp_path))
    refused(call("init", str(tmp_path / "mine")), "install lmcnb again")
