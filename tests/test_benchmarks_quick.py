"""The benchmarks at their quick sizes: that they run and compare the same thing, not how fast it is."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from processes import begun, ended

from lmcnb.cli.bench import find_benchmarks, load, show

ROOT = Path(__file__).resolve().parent.parent
PATHS = find_benchmarks(ROOT, [])
NAMES = sorted(PATHS)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return {name: load(name, PATHS[name])(True) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_says_what_was_measured_on_what(results: dict[str, Any], name: str) -> None:
    result = results[name]
    assert result["title"] and result["rows"] and result["torch"] and result["device"]
    assert result["threads"] >= 1
    assert all(isinstance(goal["met"], bool) and goal["goal"] for goal in result["goals"])
    assert all(row["variant"] in show(name, result) for row in result["rows"])


def test_the_class_sweep_has_the_plain_loops_gradients(results: dict[str, Any]) -> None:
    rows = {row["variant"]: row for row in results["idc_sweep"]["rows"]}
    assert rows["fused"]["max float64"] < 1e-12
    assert rows["fused"]["L2 median"] < 1e-5
    assert results["idc_sweep"]["goals"][1]["met"]


def test_a_training_ends_where_the_plain_loop_ends(results: dict[str, Any]) -> None:
    rows = results["training"]["rows"]
    assert len(rows) >= 3
    for row in rows + [row for name in ("transformer", "resnet10", "resnet18") for row in results[name]["rows"]]:
        assert row["loss off by"] < (0.05 if row["variant"] == "bf16" else 1e-4), row
    assert sum(row["chosen"] for row in results["modes"]["rows"]) == 1


def test_a_path_measures_what_the_plain_passes_measure(results: dict[str, Any]) -> None:
    assert all(row["loss off by"] < 1e-5 and row["errors off by"] <= 1 for row in results["path"]["rows"])


def test_units_are_matched_as_the_textbook_loop_matches_them(results: dict[str, Any]) -> None:
    rows = results["matching"]["rows"]
    assert [row["elsewhere"] for row in rows if row["plain / this"]] == [0] * 4 and len(rows) == 5
    assert all(goal["met"] for goal in results["matching"]["goals"] if "agrees" in goal["goal"])


def test_the_exact_diagonal_is_that_of_one_backward_pass_a_weight(results: dict[str, Any]) -> None:
    rows = {row["variant"]: row for row in results["hessian_diagonal"]["rows"]}
    assert rows["exact_diagonal"]["off by, of the largest"] < 1e-5 < rows["hutchinson"]["off by, of the largest"]
    assert results["hessian_diagonal"]["goals"][1]["met"]


def test_the_work_of_a_distillation_step_is_all_counted(results: dict[str, Any]) -> None:
    load("distillation", PATHS["distillation"])  # makes `benchmarks` importable
    from benchmarks import distillation, idc_sweep

    rows, p = {row["variant"]: row for row in results["distillation"]["rows"]}, distillation.sized(quick=True)
    found = {name: 1e9 * row["GFLOP"] for name, row in rows.items()}
    trainings = distillation.networks(p).keys()  # whose work is counted one model after another, unfused
    whole = {name: distillation.counted(part.case) for name, part in distillation.parts(p).items()
             if name not in trainings}
    # Beside the network there is a little that does not grow with it: augmentation, shapes found out in a first call.
    assert {name: found[name] for name in whole} == pytest.approx(whole, rel=0.03)
    assert found["IDC: inner iteration"] == found["IDC: matching sweep"] + found["IDC: network's steps"]
    assert 1 < found["IDC: matching sweep"] / idc_sweep.sweep_flops(p) < 1.5


def test_trajectory_matching_has_the_gradient_of_the_unrolled_graph(results: dict[str, Any]) -> None:
    assert results["distillation"]["goals"][0]["met"]


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    load("path", PATHS["path"])  # makes `benchmarks` importable
    from benchmarks._shared import peak_memory

    assert 0 < peak_memory("path", "plane, plain", quick=True) < 2000


def measured(case: str, said: Path) -> None:
    load("distillation", PATHS["distillation"])
    memory, cases = import_module("benchmarks._memory"), import_module("benchmarks.distillation").cases(True)
    said.write_text(str(memory.peak(cases[case])))


def test_the_memory_of_a_walk_is_measured(tmp_path: Path) -> None:
    said = tmp_path / "said"
    assert ended(begun(measured, "MTT: 2 steps", said)) is None
    assert 0 < float(said.read_text()) < 2000
