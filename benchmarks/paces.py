"""How long a training image takes, by the network's size: the reference for estimates of time.

`fit` under the papers' recipe (batch 64, CIFAR's augmentation, CutMix ½), a stack of one on a CPU and of what the lab
takes on a GPU. `python -m benchmarks.paces` writes what it finds for this kind of device into the package,
`lmcnb/lab/paces.json`: points of operations of an image (forward) and seconds for a training image, which
`lmcnb status` lays straight lines through.
"""

from __future__ import annotations

import json
from typing import Any

import lmcnb
from benchmarks._shared import DEVICE, about, random_data, side_by_side
from lmcnb.kernel.exact import exact
from lmcnb.kernel.sizes import stack_size
from lmcnb.kernel.strategies import operations
from lmcnb.kernel.training import fit
from lmcnb.lab.estimate import REFERENCE
from lmcnb.lab.job import device_name

NETWORKS = [("convnet2", 16, 1, 8, 40), ("convnet3", 8, 3, 32, 20), ("convnet3", 32, 3, 32, 8),
            ("convnet3", 128, 3, 32, 2), ("resnet18", 64, 3, 32, 1)]  # name, width, channels, size, steps


def run(quick: bool) -> dict[str, Any]:
    rows = []
    for name, width, channels, size, steps in NETWORKS[:2] if quick else NETWORKS:
        train = random_data(128, 10, channels, size).train
        net = lmcnb.Net.of(train, name, width)
        models = stack_size(DEVICE, net, 64)
        recipe = lmcnb.Recipe(epochs=steps / 2, schedule="constant")
        start = lmcnb.Networks.initialise(net, range(models), DEVICE)

        def train_once(start=start, train=train, recipe=recipe):
            with exact():
                return fit(start.net, start.params, start.buffers, train, recipe, list(start.labels))
        found = side_by_side({"fit": train_once}, repeats=1 if quick else 3)["fit"]
        rows.append({"variant": f"{name}, width {width}", "MFLOP an image": operations(net) / 1e6, "stack": models,
                     "images/s": models * 64 * steps / found.median, "n": len(found.seconds),
                     "spread": f"{min(found.seconds) / found.median:.2f}–{max(found.seconds) / found.median:.2f}"})
    return {"title": "Training images a second, by network", "rows": rows, **about(), "threads": 1, "goals": []}


if __name__ == "__main__":
    result = run(False)
    known = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    known[device_name(DEVICE)] = sorted([1e6 * r["MFLOP an image"], 1 / r["images/s"]] for r in result["rows"])
    REFERENCE.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    print(json.dumps(result["rows"], indent=1))
