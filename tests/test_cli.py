"""The command line as a user calls it, on small notebooks of a made-up project."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner, Result
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lmcnb import places
from lmcnb.cli import main

PARAMETERS = """
profile = "smoke"  # which settings these are
rounds = 2  # number of rounds, e.g. rounds = 9  # see §2
rate: float = 0.2
flag = True
widths: list[int] | None = None  # None = the paper's
names = ["a",
         "b"]  # over two lines
"""
PLAN = """
from pathlib import Path
if dataset and not Path(dataset).exists():
    raise FileNotFoundError(f"no data set at {dataset}: unpack it there, or set LMCNB_DATA")
plan = [("trained", r) for r in range(rounds)]
"""
FIRST = [
    new_markdown_cell("# The first\n\nIt shows *one* [thing](x.md) of `two`. And more."),
    new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
    new_code_cell("plan = [rounds]", metadata={"tags": ["plan"]}),
    new_code_cell("print(profile, rounds, rate, flag, widths, names)"),
]
SECOND = [
    new_markdown_cell("# The second"),
    new_code_cell('dataset = ""  # a path\nrounds = 1\n', metadata={"tags": ["parameters"]}),
    new_code_cell(PLAN, metadata={"tags": ["plan"]}),
    new_code_cell("if rounds > 5:\n    raise RuntimeError('round 6')"),
]


def write(folder: Path, stem: str, cells: list) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / f"{stem}.ipynb")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    notebooks = tmp_path / "notebooks"
    (notebooks / "profiles").mkdir(parents=True)
    write(notebooks, "00_first", FIRST)
    write(notebooks, "03_second", SECOND)
    profiles = {
        "smoke": {"00_first": {}, "03_second": None},
        "laptop": {"00_first": {"rounds": 4, "rate": 1}, "03_second": {"rounds": 3}},
    }
    for name, sections in profiles.items():
        (notebooks / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(sections))
    for name in places.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LMCNB_PROJECT", str(tmp_path))
    return tmp_path


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def printed(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [o["text"] for cell in cells if cell.cell_type == "code" for o in cell.outputs if "text" in o]


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert all(word in result.output for word in words), result.output


def test_run_as_a_user_does_it(project: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lmcnb",
        "run",
        "--profile",
        "laptop",
        "-s",
        "flag=false",
        "--set",
        "rate=1e-3",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(places.__file__).parents[1])}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[1/2] 00_first, profile laptop" in done.stdout
    assert printed(project / "executed" / "00_first.ipynb") == ["laptop 4 0.001 False None ['a', 'b']\n"]
    assert (project / "executed" / "03_second.ipynb").exists()
    assert "unknown" not in done.stderr.lower()


def test_the_command_line_starts_without_torch() -> None:
    code = (
        "import sys, lmcnb.cli; sys.exit(any(m in sys.modules for m in ('torch', 'papermill', 'nbformat')))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(places.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_papermill_alone_gives_the_same(project: Path) -> None:
    assert call("run", "00", "--profile", "laptop").exit_code == 0
    values = project / "values.yaml"
    values.write_text(yaml.safe_dump({"profile": "laptop", "rounds": 4, "rate": 1}))
    out = project / "out.ipynb"
    source = project / "notebooks" / "00_first.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(out), "-f", str(values)]
    subprocess.run(command, check=True, capture_output=True)
    assert printed(out) == printed(project / "executed" / "00_first.ipynb") != []


def test_a_failing_cell_is_named_and_ends_the_run(project: Path) -> None:
    write(project / "notebooks", "05_third", [new_code_cell("print('never')")])
    result = call("run", "03", "05", "--set", "rounds=6", "--executed", project / "elsewhere")
    assert result.exit_code == 1
    assert "03_second: cell 4 (In [4]) failed: RuntimeError: round 6" in result.output
    executed = nbformat.read(project / "elsewhere" / "03_second.ipynb", as_version=4)
    assert any(o.output_type == "error" for c in executed.cells if c.cell_type == "code" for o in c.outputs)
    assert not (project / "elsewhere" / "05_third.ipynb").exists()


def test_a_dead_kernel_is_a_failure(project: Path) -> None:
    write(project / "notebooks", "05_third", [new_code_cell("import os; os._exit(1)")])
    result = call("run", "05")
    assert result.exit_code == 1 and "05_third: the kernel died" in result.output


def test_relative_places_mean_the_same_in_the_kernel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = new_code_cell("import os; print(os.environ['LMCNB_STORE'], os.environ['LMCNB_PROJECT'])")
    write(project / "notebooks", "05_third", [cell])
    monkeypatch.chdir(project)
    monkeypatch.setenv("LMCNB_STORE", "here/store")
    assert call("run", "05").exit_code == 0
    assert printed(project / "executed" / "05_third.ipynb") == [f"{project / 'here' / 'store'} {project}\n"]
    assert os.environ["LMCNB_STORE"] == "here/store"


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
        (["--set", "names=a"], ["must be list, not str 'a'"]),
        (["--set", "rounds="], ["must be int, not NoneType None"]),
        (["--set", "rounds"], ["`--set rounds` is not of the form name=value"]),
        (["--set", "names=[a"], ["--set names=[a"]),
        (["--profile", "laptp"], ["unknown profile `laptp`", "did you mean `laptop`?", "laptop, smoke"]),
        (["07"], ["unknown notebook `07`", "00_first, 03_second"]),
        (["0"], ["`0` fits several notebooks: 00_first, 03_second"]),
        (["nowhere/03_second.ipynb"], ["unknown notebook `nowhere/03_second.ipynb`"]),
    ],
)
def test_wrong_requests_are_refused(project: Path, arguments: list[str], words: list[str]) -> None:
    refused(call("run", *arguments), *words)
    assert not (project / "executed").exists()


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
        ("{}", ["profile gpu has no section 00_first", "profile gpu has no section 03_second"]),
        ("- 1", ["is not a mapping"]),
        ("a: [", ["gpu.yaml"]),
    ],
)
def test_wrong_profiles_are_refused(project: Path, text: str, words: list[str]) -> None:
    (project / "notebooks" / "profiles" / "gpu.yaml").write_text(text)
    refused(call("run", "--profile", "gpu"), *words)


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
    def stages(plan: list) -> list:
        row = types.SimpleNamespace
        return [
            row(stage="trained", done=1, remaining=len(plan), seconds=3700.0 * len(plan)),
            row(stage="paths", done=0, remaining=3, seconds=None),
            row(stage="distilled", done=2, remaining=0, seconds=0.0),
        ]

    monkeypatch.setitem(sys.modules, "lmcnb.lab", types.SimpleNamespace(status=stages))
    result = call("status", "--profile", "laptop", "--set", "rounds=2")
    assert result.exit_code == 0, result.output
    assert "2 h 03 min" in result.output and "not measured yet" in result.output
    assert result.output.endswith("Remaining: 3 h 05 min, and 6 entries of stages not measured yet\n")


def test_report_is_a_site_with_an_index(project: Path) -> None:
    figures = project / "figures" / "smoke"
    figures.mkdir(parents=True)
    (figures / "fig00_first.png").write_bytes(b"png")
    assert call("run").exit_code == 0
    assert call("report").exit_code == 0
    index = (project / "report" / "index.html").read_text()
    assert '<a href="00_first.html">The first</a>' in index and "<p>It shows one thing of two.</p>" in index
    assert (
        "profile smoke" in index
        and '<img src="fig00_first.png"' in index
        and "failed" not in index.split("<body>")[1]
    )
    assert "smoke 2 0.2 True" in (project / "report" / "00_first.html").read_text()
    assert (project / "report" / "03_second.html").exists()
    assert (project / "report" / "fig00_first.png").read_bytes() == b"png"


def test_report_says_what_failed(project: Path) -> None:
    assert call("run", "03", "--set", "rounds=6").exit_code == 1
    assert call("report", "--out", project / "site").exit_code == 0
    assert "and failed" in (project / "site" / "index.html").read_text()


def test_report_without_anything_executed_names_the_fix(project: Path) -> None:
    refused(call("report"), "`lmcnb run`")


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
