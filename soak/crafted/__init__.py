"""Files that lie: each function writes one kind into a folder, in a variation that the generator picks."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

CANARY = "canary"  # appears where code of a file ran
Maker = Callable[[Random, Path], None]



def made(kinds: dict[str, Maker]) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        kinds[make.__name__] = make
        return make
    return add


class Calls:
    """Its unpickling makes the canary."""

    def __init__(self, how: Callable, *args: object):
        self.how, self.args = how, args

    def __reduce__(self):
        return self.how, self.args


def code(rng: Random, folder: Path) -> Calls:
    canary = str(folder / CANARY)
    return rng.choice([Calls(os.system, f"touch {canary}"), Calls(os.mkdir, canary), Calls(open, canary, "w"),
                       Calls(eval, f"open({canary!r}, 'w')"), Calls(exec, f"open({canary!r}, 'w')")])
