"""What the filled store holds, and what happens to a store: damage, age, figures that list its entries."""

import json
import shutil
from pathlib import Path

from click.testing import CliRunner, Result
from helpers import IMP, NET, RECIPE, STUDY, TRAIN

from lmcnb import Lab, places
from lmcnb.cli import main
from lmcnb.lab import Stage, inventory
from lmcnb.lab.stage import closure
from lmcnb.stages import Landscape, RandomMask

GLOBAL = RandomMask(net=NET, like=IMP, kind="global")
PLANE = Landscape(net=NET, models=tuple(TRAIN.but(seed=s) for s in (0, 1, 2)), points=3, train_images=50, kind="random")
PATH = STUDY.connect("imp", 0, 2)
PLAN = [PATH, GLOBAL, PLANE, TRAIN.but(recipe=RECIPE.but(lr=0.1)), IMP.at(1)]
ALL = closure(PLAN)


def folder(lab: Lab, spec: Stage) -> Path:
    return lab.store.folder(spec.stored, lab.key(spec))


def damage(lab: Lab, spec: Stage) -> None:
    with (folder(lab, spec) / "tensors.safetensors").open("ab") as file:
        file.write(b"x")


def age(lab: Lab, spec: Stage, name: str) -> Path:
    """Puts an entry of an older version, under another key."""
    old = folder(lab, spec).with_name(name * 64)
    shutil.copytree(folder(lab, spec), old)
    (old / "meta.json").write_text(json.dumps({"seconds": 1.0, "sha256": "abc", "date": "2025-01-01T00:00:00+00:00"}))
    return old


def rewritten(lab: Lab, spec: Stage, **changes) -> None:
    """Replaces an entry by a whole one with another result or provenance under its key."""
    entry = lab.store.read(spec.stored, lab.key(spec))
    values = {"result": entry.result, "tensors": entry.tensors, "meta": entry.meta} | changes
    shutil.rmtree(entry.folder)
    lab.store.put(entry.stage, entry.key, spec.canonical(), **values)


def files(lab: Lab) -> dict[str, bytes]:
    return {str(p.relative_to(lab.store.root)): p.read_bytes() for p in lab.store.root.rglob("*") if p.is_file()}


def keep(lab: Lab, *specs: Stage, name: str = "laptop/fig03") -> None:
    """A figure that lists these entries alone."""
    path = places.figures_dir("smoke").parent / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"figure": name, "runs": [{"run": {"keys": [lab.key(s) for s in specs]}}]}))


def call(*args: object, code: int = 0) -> str:
    result: Result = CliRunner().invoke(main, ["store", *map(str, args)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def stored(lab: Lab) -> set[str]:
    return {i.key for i in inventory.items(lab.store)}
