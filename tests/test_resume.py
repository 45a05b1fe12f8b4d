"""A stage that is interrupted or killed goes on from its last checkpoint to the same bytes."""

import os
import signal
from pathlib import Path

import pytest
import torch
from helpers import IMP, NET, RECIPE, SETS, STUDY, TRAIN, another
from processes import begun, ended

from lmcnb import DM, Lab
from lmcnb.distill import EvalProtocol
from lmcnb.kernel import recipe
from lmcnb.lab import job, resume
from lmcnb.lab.store import Store
from lmcnb.stages import Assess, Distill, Expert, RandomMask

LONG = RECIPE.but(epochs=1)
KILLED = {
    "training": TRAIN.but(recipe=LONG, mask=RandomMask(net=NET, like=IMP)),
    "pruning": IMP.but(recipe=LONG),
    "idc": Distill(net=NET, method=SETS["idc"].but(outer=3)),
    "dm": Distill(net=NET, method=DM(ipc=2, iterations=6, real_batch=4, checkpoint_every=2)),
    "an expert": Expert(net=NET, recipe=RECIPE.but(epochs=4)),
    "assessing": Assess(net=NET, source=STUDY.distill("random images"),
                        protocol=EvalProtocol(recipe=LONG.but(epochs=20)), networks=2),
}


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.safetensors")}


@pytest.mark.parametrize("kind", KILLED)
def test_a_stage_interrupted_after_a_checkpoint_goes_on_to_the_same_bytes(kind: str, tmp_path: Path, monkeypatch):
    spec, save, saved, counted = KILLED[kind], Store.save_checkpoint, [], []
    monkeypatch.setattr("lmcnb.kernel.recipe.SEGMENT", 5)
    whole, broken = (Lab("cpu", tmp_path / n, stack=1, progress=False) for n in ("whole", "broken"))
    with monkeypatch.context() as patch:
        patch.setattr(job, "CHECKPOINT_SECONDS", 0)
        patch.setattr(Store, "save_checkpoint", lambda *_: counted.append(None))
        whole.get(spec)
    broken.map(spec.upstream())
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0)

    def interrupted(self, key, tensors, note):
        save(self, key, tensors, note)
        saved.append(note)
        if len(saved) == 2:
            raise KeyboardInterrupt
    monkeypatch.setattr(Store, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broken.get(spec)
    assert len(list(broken.store.root.glob("checkpoints/*"))) == 1
    monkeypatch.setattr(Store, "save_checkpoint", lambda *_: saved.append(None))
    resumed = another(broken, stack=1).get(spec)
    total = len(saved)
    assert resumed.result == whole.get(spec).result
    assert files(broken.store.root) == files(whole.store.root)  # all entries, and no checkpoint left over
    assert total - 2 < len(counted)  # the resumed one had less to do


def train_until_killed(root: Path) -> None:
    torch.set_num_threads(1)
    recipe.SEGMENT, job.CHECKPOINT_SECONDS, replaced, replace = 5, 0, [], os.replace

    def killed(source, target):
        replaced.append(target)
        if len(replaced) == 3:
            os.kill(os.getpid(), signal.SIGKILL)  # the third checkpoint is written and not yet in place
        replace(source, target)
    os.replace = killed
    Lab("cpu", root, stack=1, progress=False).get(TRAIN.but(recipe=LONG))


def test_a_process_killed_while_training_is_resumed_to_the_same_bytes(tmp_path: Path, monkeypatch):
    spec, whole, starts = TRAIN.but(recipe=LONG), tmp_path / "whole", []
    assert "by signal 9" in str(ended(begun(train_until_killed, tmp_path / "broken")))
    left = sorted(p.suffix for p in (tmp_path / "broken" / "checkpoints").iterdir())
    assert left == [".ckpt", ".partial"]
    monkeypatch.setattr("lmcnb.kernel.recipe.SEGMENT", 5)
    Lab("cpu", whole, stack=1, progress=False).get(spec)

    def watched(*args, fit=resume.fit, **options):
        starts.append(options["state"].step)
        return fit(*args, **options)
    monkeypatch.setattr(resume, "fit", watched)
    Lab("cpu", tmp_path / "broken", stack=1, progress=False).get(spec)
    assert starts == [10]
    done = {n: b for n, b in files(tmp_path / "broken").items() if n.startswith("Train/")}
    assert done == files(whole) and torch.get_num_threads() == 1


def test_checkpoints_of_a_stack_serve_any_grouping(tmp_path: Path, monkeypatch):
    """Four trainings interrupted as one stack; one of them goes on alone, the others in twos with a new one."""
    monkeypatch.setattr("lmcnb.kernel.recipe.SEGMENT", 5)
    specs = [TRAIN.but(recipe=LONG, seed=s) for s in range(5)]
    whole = Lab("cpu", tmp_path / "whole", stack=1, progress=False)
    whole.map(specs)
    broken, save, saved, begun = Lab("cpu", tmp_path / "broken", stack=4, progress=False), Store.save_checkpoint, [], []
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0)

    def interrupted(self, key, tensors, note):
        save(self, key, tensors, note)
        saved.append(note["step"])
        if len(saved) == 6:  # two of the four are five steps ahead
            raise KeyboardInterrupt
    monkeypatch.setattr(Store, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broken.map(specs[:4])
    assert saved == ["5"] * 4 + ["10"] * 2
    monkeypatch.undo()
    monkeypatch.setattr("lmcnb.kernel.recipe.SEGMENT", 5)

    def watched(*args, fit=resume.fit, **options):
        begun.append((options["state"].step, len(options["state"].losses)))
        return fit(*args, **options)
    monkeypatch.setattr(resume, "fit", watched)
    another(broken, stack=1).get(specs[0])
    another(broken, stack=2).map(specs)
    assert sorted(begun) == [(0, 1), (5, 2), (10, 1), (10, 1)]
    assert files(broken.store.root) == files(whole.store.root) and not list(broken.store.root.glob("checkpoints/*"))
