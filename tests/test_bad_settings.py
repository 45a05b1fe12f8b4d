"""A sample of the bad settings of ``python -m soak settings``, which tries ten thousand."""

import sys
from pathlib import Path
from random import Random

import pytest

import lmcnb
from lmcnb.lab import Stage
from lmcnb.models.own import OwnNet
from lmcnb.spec import Spec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soak import settings
from soak.crafted.specs import COMBINATIONS, VALID


def sample(part: str, count: int) -> list[str]:
    """What was not refused as it should be."""
    make, _ = settings.SHARES[part]
    with settings.nothing_runs():
        found = make(Random(f"{part} of the tests"))
        answers = {what: settings.judged(ask, names) for what, ask, names in (next(found) for _ in range(count))}
    return [f"{what}: {answer}" for what, answer in answers.items() if answer != "refused"]


@pytest.mark.parametrize(("part", "count"), [("specs", 500), ("notebooks", 16), ("commands", 30)])
def test_bad_settings_are_refused_by_name_and_in_our_words(part: str, count: int):
    assert sample(part, count) == []


@pytest.mark.parametrize("part", ["items", "yaml"])
def test_bad_lists_and_bad_yaml_are_refused_by_name_and_in_our_words(part: str):
    assert sample(part, 16) == []


@pytest.mark.parametrize("name", COMBINATIONS)
def test_settings_that_cannot_work_together_are_refused(name: str):
    ask, names = COMBINATIONS[name]
    with settings.nothing_runs():
        assert settings.judged(ask, names) == "refused"


def test_every_group_of_settings_is_tried():
    """A new one needs a valid example in soak/crafted/specs.py."""
    def below(kind: type) -> set[type]:
        return {kind, *(k for child in kind.__subclasses__() for k in below(child))}
    public = {kind for kind in below(Spec) if kind.__module__.startswith("lmcnb.")}
    # A file's settings are tried with its file, a module's network is made of the module.
    bases = {Spec, lmcnb.Method, Stage, lmcnb.Imported, OwnNet}
    assert public - bases == {type(spec) for spec in VALID}


def test_the_campaign_sees_what_is_accepted_unnamed_or_in_anothers_words():
    def raises(error: Exception):
        raise error
    assert settings.judged(lambda: None, ("lr",)) == "accepted"
    assert settings.judged(lambda: raises(ValueError("lr must be above 0")), ("lr",)) == "refused"
    assert settings.judged(lambda: raises(ValueError("a number is wrong")), ("lr",)).startswith("does not name it")
    assert settings.judged(lambda: raises(TypeError("lr")), ("lr",)).startswith("raised TypeError")
    words = "1 validation error for Recipe\nlr: For further information visit"
    assert settings.judged(lambda: raises(ValueError(words)), ("lr",)).startswith("words of others")
