"""Settings: validated, frozen, and with keys that never change by accident."""

from typing import ClassVar

import pytest

from lmcnb import DM, IDC, Herding, Imported, Net, Recipe, Robustness, Study
from lmcnb.data.generated import GeneratedImages
from lmcnb.kernel.augment import Augment
from lmcnb.lab import STAGES, Stage
from lmcnb.spec import SettingError, Spec, canonical, choose, digest, late
from lmcnb.stages import Distill, Ticket, Train

NET = Net(name="convnet3", channels=1, size=8, width=4)


class Pair(Spec):
    first: int = 1
    second: str = "b"


def test_an_unknown_setting_lists_the_known_ones():
    with pytest.raises(SettingError, match=r"Recipe has no setting 'epoch'; it has: epochs, batch, lr"):
        Recipe(epoch=3)


WRONG = [{"lr": 0}, {"lr": -1}, {"epochs": 0}, {"batch": 0}, {"momentum": 1}, {"cutmix": 1.5},
         {"schedule": "cosinus"}, {"lr": "fast"}, {"augment": "cifra"}]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_value_is_refused_by_name(wrong: dict):
    with pytest.raises(SettingError, match="cifra" if "augment" in wrong else next(iter(wrong))):
        Recipe(**wrong)


class Unwilling:
    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


def nested(depth: int) -> list:
    return [nested(depth - 1)] if depth else []


TRAINING = {"net": NET, "recipe": Recipe()}
WORDS = [
    (lambda: Recipe(batch="x"), "Recipe.batch must be a whole number; got 'x'"),
    (lambda: Recipe(batch=1.5), "Recipe.batch must be a whole number; got 1.5"),
    (lambda: Recipe(batch=None), "Recipe.batch must be a whole number; got None"),
    (lambda: Recipe(lr="fast"), "Recipe.lr must be a number; got 'fast'"),
    (lambda: Recipe(lr=float("nan")), "Recipe.lr must be a finite number; got nan"),
    (lambda: Recipe(cutmix=2), "Recipe.cutmix must be less than or equal to 1; got 2"),
    (lambda: Recipe(schedule="cosinus"),
     "Recipe.schedule must be 'step', 'half', 'one_cycle', 'constant', 'linear' or "
     "'cosine'; got 'cosinus'"),
    (lambda: Recipe(augment=3), "Recipe.augment must be text; got 3"),
    (lambda: Augment(flip="maybe"), "Augment.flip must be true or false; got 'maybe'"),
    (lambda: Augment(geometry="crop"), "Augment.geometry must be a list; got 'crop'"),
    (lambda: Augment(geometry=["crop", 3]),
     "Augment.geometry[1] must be 'crop', 'scale', 'rotate', 'resized_crop' or 'window'; got 3"),
    (lambda: Herding(factor=2), "Herding.factor must be 1; got 2"),
    (lambda: Imported(path=3), "Imported.path must be a path; got 3"),
    (lambda: GeneratedImages(size=65), "GeneratedImages.size must be a multiple of 32; got 65"),
    (lambda: Distill(net=NET), "Distill.method is missing: give it"),
    (lambda: Train(**TRAINING, seed=[]), "Train.seed must be a whole number or text; got []"),
    (lambda: Train(**TRAINING, mask=3),
     "Train.mask must be Ticket or its settings or GradualTicket or its settings or RandomMask or its settings or "
     "BorrowedMask or its settings or TransferredTicket or its settings; got 3"),
    (lambda: Train(net=3, recipe={"lr": 0}),
     "Train.net must be Net or its settings; got 3; Train.recipe: Recipe.lr must be greater than 0; got 0"),
    (lambda: Robustness(net=NET, model=Train(**TRAINING), corruptions=[]),
     "Robustness.corruptions must have at least 1 value; got []"),
    (lambda: Study(**TRAINING, sets=[]), "Study.sets must be a mapping from names to values; got []"),
    (lambda: Study(**TRAINING, sets={3: IDC()}), "Study.sets must be text in each of its names; got 3"),
    (lambda: Study(**TRAINING, sets={"a": 3}), "Study.sets.a must be Method or its settings; got 3"),
    (lambda: Study(**TRAINING, sets={"a": {"kind": "idc", "ipc": 0}}),
     "Study.sets.a: IDC.ipc must be greater than or equal to 1; got 0"),
    (lambda: Recipe(lr=nested(300)), "Recipe.lr must be a number; got [[[[...]]]]"),
    (lambda: Recipe(schedule=10 ** 5000),
     "Recipe.schedule must be 'step', 'half', 'one_cycle', 'constant', 'linear' or "
     "'cosine'; got a value of type int"),
]


@pytest.mark.parametrize(("make", "words"), WORDS, ids=[words for _, words in WORDS])
def test_a_message_says_which_setting_what_it_must_be_and_what_it_is(make, words: str):
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value) == words


def test_a_value_that_cannot_be_shown_or_is_long_is_shown_in_short():
    for value in (Unwilling(), "x" * 10 ** 6, list(range(10 ** 6)), {k: k for k in range(10 ** 5)}):
        with pytest.raises(SettingError, match="^Recipe.lr must be a number; got .{1,60}$"):
            Recipe(lr=value)


def test_a_spec_cannot_be_changed():
    with pytest.raises(SettingError, match="frozen"):
        Recipe().lr = 1


def test_but_changes_one_setting_and_validates_it():
    assert Recipe().but(lr=0.1) == Recipe(lr=0.1)
    with pytest.raises(SettingError):
        Recipe().but(lr=-1)
    with pytest.raises(SettingError, match="no setting 'rate'"):
        Recipe().but(rate=1)


def test_the_key_does_not_depend_on_the_order_of_writing():
    assert Pair(first=2, second="c").key == Pair(second="c", first=2).key
    assert canonical({"b": 1, "a": [1, 2]}) == canonical({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'


def test_every_value_and_the_kind_are_part_of_the_key():
    class Other(Spec):
        first: int = 1
        second: str = "b"
    keys = {Pair().key, Pair(first=2).key, Pair(second="c").key, Other().key}
    assert len(keys) == 4


def test_a_class_that_was_renamed_keeps_its_keys_and_those_made_from_it_have_their_own():
    class Couple(Pair):
        stored: ClassVar[str] = "Pair"

    class Twins(Couple):
        pass
    assert Couple().key == Pair().key and Twins().canonical() == '{"first":1,"kind":"Twins","second":"b"}'
    assert Distill.stored == "Distil" and STAGES["Distil"] is Distill


def test_equal_numbers_of_different_types_share_a_key():
    assert Recipe(epochs=3).key == Recipe(epochs=3.0).key


def test_a_method_keeps_its_own_settings_in_the_key_of_a_stage():
    keys = {Distill(net=NET, method=m).key for m in (IDC(), IDC(outer=3), DM(), DM(iterations=3))}
    assert len(keys) == 4


def test_a_stage_read_back_from_its_json_is_the_same_stage():
    ticket = Ticket(net=NET, recipe=Recipe(), round=2, source=Distill(net=NET, method=IDC(outer=3)))
    spec = Train(net=NET, recipe=Recipe(epochs=2), mask=ticket)
    assert Ticket(**ticket.model_dump(mode="json")) == ticket
    assert spec.but() == spec and isinstance(spec, Stage)


def test_nan_has_no_canonical_text():
    with pytest.raises(ValueError):
        canonical({"x": float("nan")})


def test_choose_lists_what_is_known():
    assert choose("model", "b", {"a": 1, "b": 2}) == 2
    with pytest.raises(ValueError, match=r"unknown model 'c'; known: a, b"):
        choose("model", "c", {"b": 2, "a": 1})


def test_digest_is_sha256():
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class Later(Spec):
    """:class:`Pair` after a setting was added."""

    first: int = 1
    second: str = "b"
    third: float = late(0.5, gt=0)


def test_a_setting_that_was_added_later_changes_no_key_until_it_is_used():
    assert Later().settings() == Pair().settings() == Later(third=0.5).settings()
    assert Later(third=0.25).settings() == {"first": 1, "second": "b", "third": 0.25}
    assert Later().model_dump() == {"first": 1, "second": "b", "third": 0.5}  # what a person sees is whole
    assert Later(**Later(third=2).settings()) == Later(third=2) and Later(**Later().settings()) == Later()
    with pytest.raises(SettingError, match="Later.third must be greater than 0; got -1"):
        Later(third=-1)


def test_settings_of_a_subclass_are_in_the_canonical_text_of_what_holds_it():
    class Deep(Net):
        depth: int = 3
    keys = {Train(net=net, recipe=Recipe()).key for net in (Net(), Deep(), Deep(depth=6))}
    assert len(keys) == 3


TICKET = Ticket(net=NET, recipe=Recipe(), round=2, source=Distill(net=NET, method=IDC()))
TRAIN = Train(net=NET, recipe=Recipe(), mask=Ticket(net=NET, recipe=Recipe(), round=1))


@pytest.mark.parametrize(("spec", "key"), [
    (NET, "3e65b72edb60049a623d0cbdd92a2b0c889aead7ef5de2ece4f77a4eaaba99e1"),
    (Recipe(), "95313fa349301b99f0f5d08b0364ab69934f3865f978b489c69fa87e2d564768"),
    (IDC(), "a6d3239acde0a3306691df7c9165a3a10f9f9da0d7ae21212c631fb7bb30c4d2"),
    (DM(), "ace9b6b483013d80704991bde595a0e06b123e4ab07ae50dd1c074993c8f19ef"),
    (TICKET.source, "03d68fe29fc1aa36df6dc87021907a92a6dbf6a005ed51063044bb9ef53606a0"),
    (TICKET, "a7369098b47be75f0d24ebb5b0400c20622a9c3e552d1652fcde1f9e97fd715d"),
    (TRAIN, "aa6c27c083adc12a7e8e88226d850926dd761eaaaf6fae0413554f344f3f2c06"),
], ids=lambda v: type(v).__name__)
def test_the_keys_of_stored_results_have_not_changed(spec: Spec, key: str):
    """If this fails, every result in every store is orphaned: rename or reorder nothing without need."""
    assert spec.key == key
