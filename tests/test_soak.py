"""The reliability campaigns at tiny counts: that they disturb what they say, and that nothing comes of it."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def campaign(name: str, count: int, seed: int = 0) -> dict:
    found = importlib.import_module(f"soak.{name}").run(count, seed)
    if "skipped" in found:
        pytest.skip(found["reason"])
    assert found.pop("failures") == []
    return found


@pytest.mark.slow  # test_scale kills a worker in every run
def test_killed_runs_are_finished() -> None:
    found = campaign("kills", 4)
    assert found["kills"] == 4 and found["finished with the same bytes"] == found["runs killed"] > 0
    assert found["with no trace in leases and damaged"] == found["runs killed"]


def test_damage_is_noticed() -> None:
    found = campaign("damage", 44)  # every kind once
    assert found["damaged"] == found["noticed, kept, and whole again"] == 44


@pytest.mark.slow  # as test_scale's shards do
def test_processes_share_a_store() -> None:
    found = campaign("processes", 40)
    assert found["whole"] == found["keys"] == 80 and found["lost"] == 6
    assert found["computed"] == 80 + found["computed again after a loss"]


def test_a_disk_that_gives_out_loses_nothing() -> None:
    found = campaign("disk", 4)
    assert (found["full"], found["read-only"]) == (2, 2)
    assert found["ended in words, gone on from to the same bytes"] == found["runs ended by it"] > 0


@pytest.mark.parametrize(("found", "code"), [({"failures": ["one"]}, 1), ({"failures": []}, 0),
                                             ({"skipped": 1, "reason": "no root"}, 0)])
def test_a_campaign_that_fails_fails_the_command(found: dict, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path):
    command = importlib.import_module("soak.__main__")
    monkeypatch.setattr(command, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(importlib.import_module("soak.damage"), "run", lambda count, seed: found)
    monkeypatch.setattr(sys, "argv", ["soak", "damage", "--count", "1"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert int(ended.value.code or 0) == code and "damage" in (tmp_path / "RESULTS.md").read_text()
