"""The profile `paper`: where a notebook repeats a published recipe, the plan it makes is that recipe."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmcnb import IDC, Connect, protocol
from lmcnb.cli.runner import plans, prepare
from lmcnb.stages import Assess, Distill, Ticket

ROOT = Path(__file__).parents[1]


def planned(number: str, *settings: str) -> list:
    return plans(prepare(ROOT, [number], "paper", settings))[0]


def sets(plan: list) -> dict[str, Distill]:
    """The distilled sets that a plan prunes on, by method."""
    masks = [connect.a.mask for connect in plan if isinstance(connect, Connect)]
    found = [m.source for m in masks if isinstance(m, Ticket) and isinstance(m.source, Distill)]
    return {s.method.kind: s for s in found}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Ten classes of one 32 × 32 image each: enough to plan with."""
    for split in ("train", "test"):
        for label in range(10):
            (tmp_path / split / str(label)).mkdir(parents=True)
            pixels = np.random.default_rng(label).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / str(label) / "0.png")
    return f"dataset=folder:{tmp_path}"


def test_imagenet10_is_distilled_as_in_idcs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LMCNB_DATA", str(tmp_path))
    idc = sets(planned("04", "dataset=generated", "generated_train=1", "generated_test=1"))["idc"].method
    assert isinstance(idc, IDC) and (idc.net_steps, idc.recipe.cutmix, idc.recipe.batch) == (8, 1, 64)
    assert (idc.outer, idc.inner, idc.factor, idc.distance, idc.pretrain_epochs) == (500, 100, 3, "l1", 10)
    assert (idc.lr_image, idc.real_batch, idc.recipe.schedule) == (0.003, 64, "constant")


def test_sets_are_judged_by_the_protocols_as_they_are(folder: str):
    plan = planned("11", folder)
    judged = [a for a in plan if isinstance(a, Assess)]
    assert {a.protocol for a in judged} == {protocol(n) for n in ("dc", "idc", "mtt")}


def test_methods_have_their_published_settings(folder: str):
    found = {kind: s.method for kind, s in sets(planned("11", folder)).items()}
    assert [found[k].momentum_net for k in ("dc", "dsa")] == [0.5, 0]
    assert all(found[k].weight_decay_net == 0 and found[k].lr_image == 0.1 for k in ("dc", "dsa"))
    assert (found["mtt"].steps, found["mtt"].max_start, found["mtt"].expert_count) == (30, 20, 100)
    idc = found["idc"]
    assert (idc.net_steps, idc.recipe.cutmix, idc.recipe.augment, idc.factor) == (32, 0.5, "colour_crop", 2)
