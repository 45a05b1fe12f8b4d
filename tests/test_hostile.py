"""Files made to harm: one variation of each kind; thousands are tried by ``python -m soak hostile``."""

import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soak import hostile
from soak.crafted import arrays, pictures, sets


@pytest.mark.parametrize("name", sorted(hostile.KINDS))
def test_a_file_made_to_harm_is_refused_in_a_sentence(name: str):
    assert hostile.attempt(name, seed=1) == "refused"


def test_whole_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else the campaign would count refusals of anything."""
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    arrays.npz(tmp_path)
    pictures.pictures(tmp_path)
    assert len(hostile.load_arrays(tmp_path)) == 12 and len(hostile.load_pictures(tmp_path)) == 6
    for kind in (".pt", ".safetensors"):
        path = sets.write(tmp_path, kind, {"images": sets.images(), "labels": sets.labels()})
        assert len(hostile.import_it(tmp_path)) == 6
        path.unlink()


def test_the_campaign_sees_code_that_runs_and_memory_that_is_taken(monkeypatch: pytest.MonkeyPatch):
    def trusting(folder: Path):
        torch.load(folder / "set.pt", weights_only=False)
        return torch.zeros(1)
    monkeypatch.setitem(hostile.KINDS, "trusting", (lambda rng, folder: torch.save(sets.code(rng, folder),
                                                                                    folder / "set.pt"), trusting))
    assert hostile.attempt("trusting", 0) == "wrote a file, or ran code"
    monkeypatch.setitem(hostile.KINDS, "greedy", (lambda *_: None, lambda _: torch.from_numpy(np.ones(1 << 27))))
    if hostile.peak_is_known():
        assert hostile.attempt("greedy", 0).startswith("took ")


def test_equal_seeds_make_equal_files(tmp_path: Path):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        arrays.other_arrays(Random(3), tmp_path / part)
    assert (tmp_path / "a" / "cifar10.npz").read_bytes() == (tmp_path / "b" / "cifar10.npz").read_bytes()
