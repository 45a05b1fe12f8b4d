"""The store: whole entries or none, damage noticed, and a full disk explained."""

import errno
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from helpers import identical
from processes import begun, ended

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


@pytest.mark.parametrize("attribute", ["Path.write_bytes", "Path.mkdir", "os.rename"])
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


def test_the_first_whole_entry_stays_and_a_damaged_one_is_replaced(shelf: Store):
    folder = put(shelf).folder
    found = put(shelf, result={"accuracy": 0.75}, tensors={"other": torch.zeros(2)})
    assert found.result == {"accuracy": 0.5} == shelf.get("Train", "k1").result
    flip_a_byte(folder)
    assert put(shelf, result={"accuracy": 0.75}).result == {"accuracy": 0.75} == shelf.get("Train", "k1").result
    assert len(list((shelf.root / "damaged").iterdir())) == 1


def test_the_same_entry_has_the_same_bytes(shelf: Store):
    one = put(shelf).folder
    two = put(Store(shelf.root.with_name("other"))).folder
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


@pytest.mark.parametrize("cut", [0, 20, 100, None])
def test_a_damaged_checkpoint_counts_as_none_and_is_kept(shelf: Store, caplog, cut: int | None):
    shelf.save_checkpoint("k", TENSORS, {"step": "3"})
    path = shelf.root / "checkpoints" / "k.ckpt"
    raw = path.read_bytes()
    path.write_bytes(raw[:cut] if cut is not None else raw[:-1] + bytes([raw[-1] ^ 1]))
    assert shelf.progress("k") == ("3" if cut is None else "")
    with caplog.at_level(logging.WARNING):
        assert shelf.checkpoint("k") is None
    assert "damaged" in caplog.text and files(shelf) == {f"damaged/{p.name}" for p in shelf.root.glob("damaged/*")}


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


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1:]


@pytest.mark.parametrize("name", ["spec.json", "result.json", "meta.json", "tensors.safetensors"])
def test_no_damage_to_any_file_is_trusted_and_nothing_is_deleted(shelf: Store, name: str):
    put(shelf)
    other = put(shelf, "k2", result={"accuracy": 0.9}, spec='{"a":2}', tensors={"w": torch.ones(3)}).folder
    path = shelf.folder("Train", "k1") / name
    raw = path.read_bytes()
    damages = [flipped(raw, at) for at in range(0, len(raw), 7)] + [raw[:n] for n in range(0, len(raw), 9)]
    damages += [raw + b" ", (other / name).read_bytes()]
    for damage in damages:
        if path.parent.exists():
            shutil.rmtree(path.parent)
        put(shelf)
        path.write_bytes(damage)
        assert shelf.get("Train", "k1") is None, damage
    kept = [p.read_bytes() for p in shelf.root.glob(f"damaged/*/{name}")]
    assert len(kept) == len(damages) and set(kept) == set(damages)


def test_an_entry_under_the_key_of_another_is_not_trusted(shelf: Store):
    put(shelf)
    put(shelf, "k2").folder.rename(shelf.folder("Train", "k3"))
    assert shelf.get("Train", "k3") is None and shelf.get("Train", "k1") is not None


def test_an_error_of_the_system_while_reading_touches_nothing(shelf: Store, monkeypatch):
    put(shelf)
    before = files(shelf)

    def fails(*_):
        raise OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr("lmcnb.lab.store.Path.read_bytes", fails)
    with pytest.raises(OSError, match="Too many open files"):
        shelf.get("Train", "k1")
    monkeypatch.undo()
    assert files(shelf) == before and shelf.get("Train", "k1") is not None


def test_tensors_that_changed_since_the_entry_was_read_are_not_trusted(shelf: Store):
    put(shelf)
    entry = shelf.get("Train", "k1")
    flip_a_byte(entry.folder)
    with pytest.raises(store.Damaged, match="recorded sha256"):
        _ = entry.tensors


def test_entries_of_an_older_version_stay_where_they_are(shelf: Store):
    put(shelf)
    old = shelf.folder("Train", "old")
    old.mkdir()
    (old / "meta.json").write_text('{"seconds": 1.0, "sha256": "abc"}')
    assert [e.key for e in shelf.entries("Train")] == ["k1"] and old.exists()


def write_and_read(root: Path) -> None:
    shelf = Store(root)
    for k in range(60):
        put = shelf.put("Train", f"k{k}", "{}", {"x": k}, {"w": torch.full((50,), float(k))}, {})
        assert put.result == {"x": k} and float(shelf.get("Train", f"k{k}").tensors["w"][0]) == k


def test_writers_in_step_on_the_same_keys_all_succeed(shelf: Store):
    writers = [begun(write_and_read, shelf.root) for _ in range(3)]
    assert [ended(w) for w in writers] == [None] * 3
    assert len(list(shelf.entries("Train"))) == 60 and not list(shelf.root.glob("damaged/*"))
    assert not list(shelf.root.glob("aside/*"))


def test_tensors_come_in_one_order(shelf: Store):
    """Sums over a network's parameters follow it, and safetensors' own differs from call to call."""
    names = [f"p{k}" for k in range(40)]
    put(shelf, tensors={n: torch.zeros(1) for n in reversed(names)})
    shelf.save_checkpoint("k", {n: torch.zeros(1) for n in reversed(names)}, {})
    for _ in range(5):
        assert list(shelf.get("Train", "k1").tensors) == sorted(names) == list(shelf.checkpoint("k")[0])


def test_a_checkpoint_under_the_key_of_another_is_not_trusted(shelf: Store):
    shelf.save_checkpoint("k", TENSORS, {"step": "3"})
    folder = shelf.root / "checkpoints"
    (folder / "k.ckpt").rename(folder / "other.ckpt")
    assert shelf.checkpoint("other") is None and len(files(shelf)) == 1


def test_a_meta_with_numbers_that_are_none_is_damaged(shelf: Store):
    path = put(shelf).folder / "meta.json"
    path.write_text(path.read_text().replace('"seconds": 2.0', '"seconds": NaN'))
    assert "NaN" in path.read_text() and shelf.get("Train", "k1") is None
