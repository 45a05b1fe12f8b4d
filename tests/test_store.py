"""The store: whole entries or none, damage noticed, and a full disk explained."""

import errno
import json
import logging
from pathlib import Path

import pytest
import torch
from helpers import identical

from lmcnb.lab import Store, StoreError, store

TENSORS = {"w": torch.arange(6.0).view(2, 3), "mask": torch.tensor([1, 0, 255], dtype=torch.uint8)}


@pytest.fixture
def shelf(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(shelf: Store, key: str = "k1", **changes):
    values = {"stage": "Train", "key": key, "spec": '{"a":1}', "result": {"accuracy": 0.5}, "tensors": TENSORS,
              "meta": {"seconds": 2.0}}
    return shelf.put(**{**values, **changes})


def files(shelf: Store) -> set[str]:
    return {str(p.relative_to(shelf.root)) for p in shelf.root.rglob("*") if p.is_file()}


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_put_can_be_read(shelf: Store):
    put(shelf)
    found = Store(shelf.root).get("Train", "k1")
    assert (found.spec, found.result, found.meta["seconds"]) == ({"a": 1}, {"accuracy": 0.5}, 2.0)
    assert identical(found.tensors, TENSORS)
    assert shelf.has("Train", "k1") and not shelf.has("Ticket", "k1")


def test_what_was_never_put_is_absent_without_a_warning(shelf: Store, caplog):
    assert shelf.get("Train", "k1") is None and not shelf.has("Train", "k1")
    assert not caplog.records


def test_an_entry_without_tensors_is_an_entry(shelf: Store):
    put(shelf, tensors={})
    assert shelf.get("Train", "k1").tensors == {}


def test_a_stored_entry_is_four_plain_files(shelf: Store):
    put(shelf)
    names = {"spec.json", "result.json", "meta.json", "tensors.safetensors"}
    assert files(shelf) == {f"Train/k1/{n}" for n in names}


def test_a_view_of_a_larger_tensor_is_stored_as_what_it_shows(shelf: Store):
    put(shelf, tensors={"a": TENSORS["w"][:, 1], "b": TENSORS["w"].T})
    assert torch.equal(shelf.get("Train", "k1").tensors["b"], TENSORS["w"].T)


def flip_a_byte(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def cut_the_tensors(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


DAMAGES = {
    "flipped byte": flip_a_byte,
    "cut tensors": cut_the_tensors,
    "no tensors": lambda f: (f / "tensors.safetensors").unlink(),
    "no result": lambda f: (f / "result.json").unlink(),
    "cut result": lambda f: (f / "result.json").write_text((f / "result.json").read_text()[:9]),
    "empty meta": lambda f: (f / "meta.json").write_text(""),
    "meta without a sum": lambda f: (f / "meta.json").write_text("{}"),
    "meta that is a list": lambda f: (f / "meta.json").write_text("[]"),
    "spec not text": lambda f: (f / "spec.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_reported_and_counts_as_absent(shelf: Store, caplog, damage: str):
    folder = put(shelf).folder
    put(shelf, "k2")
    DAMAGES[damage](folder)
    with caplog.at_level(logging.WARNING):
        assert Store(shelf.root).get("Train", "k1") is None
    assert "damaged" in caplog.text and str(folder) in caplog.text
    put(shelf)
    assert identical(shelf.get("Train", "k1").tensors, TENSORS) and shelf.get("Train", "k2")


@pytest.mark.parametrize("attribute", ["save_file", "_dump", "os.rename"])
def test_a_full_disk_is_explained_and_leaves_nothing_half_written(shelf: Store, monkeypatch, attribute: str):
    put(shelf, "earlier")
    before = files(shelf)
    monkeypatch.setattr(f"lmcnb.lab.store.{attribute}", full)
    with pytest.raises(StoreError, match=r"(?s)no space left.*LMCNB_STORE.*stays valid") as caught:
        put(shelf)
    assert str(shelf.root) in str(caught.value)
    monkeypatch.undo()
    assert files(shelf) == before and not any((shelf.root / "aside").iterdir())
    assert shelf.get("Train", "k1") is None and identical(shelf.get("Train", "earlier").tensors, TENSORS)


def test_the_disk_error_of_safetensors_is_recognised_by_its_text(shelf: Store, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(store, "save_file", fails)
    with pytest.raises(StoreError, match="LMCNB_STORE"):
        put(shelf)


def test_a_store_that_is_a_file_is_explained(tmp_path: Path):
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match="LMCNB_STORE"):
        put(Store(tmp_path / "store"))


def test_another_error_is_passed_on_and_leaves_nothing(shelf: Store):
    with pytest.raises(TypeError):
        put(shelf, result={"x": object()})
    assert files(shelf) == set()


def test_an_interrupted_put_leaves_no_entry(shelf: Store, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr("lmcnb.lab.store.os.rename", killed)
    with pytest.raises(KeyboardInterrupt):
        put(shelf)
    assert not shelf.has("Train", "k1") and shelf.get("Train", "k1") is None


def test_putting_again_replaces_the_entry_whole(shelf: Store):
    put(shelf)
    put(shelf, result={"accuracy": 0.75}, tensors={"other": torch.zeros(2)})
    found = shelf.get("Train", "k1")
    assert found.result == {"accuracy": 0.75} and set(found.tensors) == {"other"}


def test_the_same_entry_has_the_same_bytes(shelf: Store):
    one, two = (put(shelf, k).folder for k in ("k1", "k2"))
    assert all((one / p.name).read_bytes() == p.read_bytes() for p in two.iterdir())


def test_a_checkpoint_is_kept_replaced_and_dropped(shelf: Store):
    assert shelf.checkpoint("k") is None
    shelf.save_checkpoint("k", {"x": torch.zeros(2)}, {"step": "1"})
    shelf.save_checkpoint("k", TENSORS, {"step": "2"})
    tensors, note = shelf.checkpoint("k")
    assert identical(tensors, TENSORS) and note == {"step": "2"}
    assert len(files(shelf)) == 1
    shelf.drop_checkpoint("k")
    shelf.drop_checkpoint("k")
    assert shelf.checkpoint("k") is None and files(shelf) == set()


def test_a_damaged_checkpoint_counts_as_none(shelf: Store, caplog):
    shelf.save_checkpoint("k", TENSORS, {})
    path = shelf.root / "checkpoints" / "k.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        assert shelf.checkpoint("k") is None
    assert "starts over" in caplog.text


def test_a_full_disk_keeps_the_previous_checkpoint(shelf: Store, monkeypatch):
    shelf.save_checkpoint("k", TENSORS, {"step": "1"})
    monkeypatch.setattr("lmcnb.lab.store.os.replace", full)
    with pytest.raises(StoreError, match="LMCNB_STORE"):
        shelf.save_checkpoint("k", {"x": torch.zeros(2)}, {"step": "2"})
    monkeypatch.undo()
    assert shelf.checkpoint("k")[1] == {"step": "1"} and len(files(shelf)) == 1


def test_metas_skip_what_cannot_be_read(shelf: Store):
    put(shelf, "k1")
    (put(shelf, "k2").folder / "meta.json").write_text("{")
    assert [m["seconds"] for m in shelf.metas("Train")] == [2.0] and shelf.metas("Connect") == []
    assert json.loads((shelf.root / "Train" / "k1" / "meta.json").read_text())["sha256"]


def test_a_choice_is_made_once(shelf: Store):
    assert [shelf.remember("strategies", "k", lambda c=c: c) for c in ("loop", "vmap")] == ["loop", "loop"]
    assert Store(shelf.root).remember("strategies", "k", lambda: "vmap") == "loop"
    assert shelf.remember("strategies", "other", lambda: "vmap") == "vmap"
