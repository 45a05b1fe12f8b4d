"""`lmcnb store verify`: what is damaged, and what would be computed otherwise now."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filled_store import ALL, call, damage, files, rewritten
from helpers import IMP, TRAIN
from processes import begun, ended

from lmcnb import Lab
from lmcnb.lab import verify
from lmcnb.stages import Connect, Landscape, RandomMask, Ticket, Train


def test_verify_of_what_is_as_computed(shelf: Lab):
    before = files(shelf)
    text = call("verify", "--all")
    assert text.count("the same bytes") == len(ALL) and f"{len(ALL)} whole" in text
    assert call("verify", "--sample", 1, "--seed", 3) == call("verify", "--sample", 1, "--seed", 3)
    assert len({call("verify", "--sample", 1, "--seed", s).splitlines()[-1] for s in range(5)}) > 1
    assert files(shelf) == before


def test_verify_finds_damage_and_moves_it_when_asked(shelf: Lab):
    damage(shelf, IMP.at(2))
    before = files(shelf)
    text = call("verify", "--sample", 0, code=1)
    assert f"damaged: Ticket {shelf.key(IMP.at(2))[:12]}: tensors.safetensors does not" in text
    assert files(shelf) == before and "computing 0 of" in text
    call("verify", "--sample", 0, "--set-aside", code=1)
    assert sorted(files(shelf).values()) == sorted(before.values()) and files(shelf).keys() != before.keys()
    assert call("verify", "--sample", 0)


def test_verify_computes_nothing_that_a_damaged_entry_is_needed_for(shelf: Lab):
    damage(shelf, IMP)
    before = files(shelf)
    text = call("verify", "--all", code=1)
    key = shelf.key(IMP)[:12]
    assert f"cannot be computed again: what it is made from is not there: Ticket {key}" in text
    assert files(shelf) == before


@pytest.mark.parametrize("field", ["result", "tensors"])
def test_verify_finds_a_whole_entry_with_another_content(shelf: Lab, field: str):
    entry = shelf.get(TRAIN)
    name = {"result": "test_loss", "tensors": "params/0.bias"}[field]
    values = getattr(entry, field)
    rewritten(shelf, TRAIN, **{field: values | {name: values[name] + 1}})
    text = call("verify", "--all", "--stage", "Train", code=1)
    assert f"differs in {name}, though device, processor and torch are the same" in text
    assert text.count("the same bytes") == sum(isinstance(s, Train) for s in ALL) - 1


def test_verify_explains_a_difference_to_another_machine(shelf: Lab):
    entry = shelf.get(TRAIN)
    rewritten(shelf, TRAIN, result=entry.result | {"test_loss": 9.0}, meta=entry.meta | {"torch": "1.0"})
    text = call("verify", "--all", "--stage", "Train")
    assert "differs in test_loss, as it may: computed with torch 1.0, here" in text


def test_verify_counts_what_cannot_be_computed_here(shelf: Lab, monkeypatch):
    entry = shelf.get(TRAIN)
    execution = entry.meta["execution"] | {"device": "cuda"}
    rewritten(shelf, TRAIN, meta=entry.meta | {"execution": execution})
    unknown = TRAIN.but(seed=8).canonical().replace("digits", "nowhere")
    shelf.store.put("Train", "d" * 64, unknown, {}, {}, entry.meta)
    text = call("verify", "--sample", 0, "--stage", "Train")
    assert "1 entry cannot be computed again here: computed on cuda, and this is cpu" in text
    assert "1 entry cannot be computed again here: unknown data set 'nowhere'" in text
    monkeypatch.setattr(Train, "version", 99)
    assert "of another version of its stage" in call("verify", "--sample", 0, "--stage", "Train")


def call_quietly(function: Callable[[], object]) -> bool:
    try:
        function()
    except LookupError:
        return False
    return True


def test_a_reader_neither_computes_nor_moves(shelf: Lab):
    reader = verify.Reader("cpu", shelf.store.root)
    damage(shelf, IMP)
    before = files(shelf)
    assert call_quietly(lambda: reader.get(TRAIN)) and not call_quietly(lambda: reader.get(IMP))
    assert not call_quietly(lambda: reader.recompute(IMP.at(2))) and files(shelf) == before
    assert {type(s) for s in ALL} == {Connect, Landscape, RandomMask, Ticket, Train}


ALONE = """
import sys
for name in [n for n in sys.modules if n.partition(".")[0] == "lmcnb"]:
    del sys.modules[name]
sys.stdout = sys.stderr = open({said!r}, "w", buffering=1)
from lmcnb.cli import main
main(["store", "verify", "--sample", "1", "--stage", "Ticket"], standalone_mode=False)
"""


def test_a_process_of_its_own_knows_every_stage(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command line itself must import them: here they are imported anyway."""
    said = tmp_path / "said"
    monkeypatch.setenv("LMCNB_STORE", str(filled))
    assert ended(begun(exec, ALONE.format(said=str(said)), {})) is None
    assert "the same bytes" in said.read_text()
