"""The board: headlines and the claims behind them, of all figures of a profile, beside what was predicted."""

import dataclasses
import json
from pathlib import Path

import pytest
from cli_project import call, made_up_project, refused

from lmcnb import __version__, claim
from lmcnb.cli import board
from lmcnb.cli.claims import updated
from lmcnb.cli.text import Refused
from lmcnb.statistics import Claim, Layout

NEW = {"versions": {"lmcnb": f"{__version__.rpartition('.')[0]}.99"}}
SHORT = {"schedule": "one_cycle", "epochs": 2}
LONG = {"schedule": "step", "lr": 0.01, "augment": "cifar", "epochs": 30}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made_up_project(tmp_path, monkeypatch)


def a_claim(id: str = "A2-59%", idc: tuple[float, ...] = (-1.0, -1.1, -0.9), family: str = "primary", **options
            ) -> Claim:
    cells = {"idc": dict(enumerate(idc)), "imp": {0: 0.1, 1: 0.0, 2: 0.05}}
    return claim(id, "it is lower", Layout(cells).difference("idc", "imp"), margin=0.5, unit="nats", family=family,
                 **options)


def draw(project: Path, name: str, *claims: Claim, profile: str = "laptop", parameters: dict = SHORT,
         record: dict = NEW, folder: str = "") -> Path:
    path = project / "figures" / (folder or profile) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [{**c.as_dict(), "evidence": c.evidence} for c in claims or [a_claim()]]
    path.write_text(json.dumps({"figure": name, "profile": profile, "claims": made,
                                "note": "", "table": {"quantity": ["a"], "value": [1.0]},
                                "record": {**record, "parameters": parameters}}))
    return path


def row(text: str, start: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [part.strip() for part in line.strip("|").split("|")]


def test_claims_are_those_of_one_profile_and_older_code_is_marked(project: Path):
    draw(project, "fig01_a", a_claim("A1-59%"))
    draw(project, "fig02_b", a_claim("A2-59%"), record={"versions": {"lmcnb": "0.1.0"}})
    draw(project, "fig03_c", a_claim("A2-87%"), profile="custom", folder="laptop")  # copied there by hand
    said = call("claims").output
    assert row(said, "A1-59%")[-1] == "fig01; one-cycle, 2 epochs"
    assert row(said, "A2-59%")[-1] == "fig02; one-cycle, 2 epochs, older code" and "A2-87%" not in said
    (project / "notebooks" / "profiles" / "paper.yaml").write_text("{}")
    refused(call("claims", "--profile", "paper"), "no figure in", "lmcnb run 03 --profile paper")
    draw(project, "fig01_a", profile="paper", parameters=LONG)
    assert row(call("claims", "--profile", "paper").output, "A2-59%")[-1] == "fig01 (paper); papers, 30 epochs"


@pytest.mark.parametrize(("text", "words"), [("<<<<<<< ours\n{}", "is no JSON"), ("{}", "is no figure's record"),
                                             ("[]", "is no figure's record")])
def test_a_broken_figure_is_named(project: Path, text: str, words: str):
    path = draw(project, "fig03_x", a_claim())
    path.write_text(text)
    for arguments in (["claims"], ["claims", "--rejudge"], ["publish"]):
        refused(call(*arguments, "--profile", "laptop"), str(path), words)


def test_two_figures_of_one_claim_without_evidence_to_join_are_named_as_such(project: Path):
    found = claim("W-87%", "they go together", [1.0, 1.1, 0.9], margin=0.3, unit="rank correlation")
    for name in ("fig19_a", "fig19_copy"):
        draw(project, name, dataclasses.replace(found, evidence=None))
    refused(call("claims"), "leave one of these figures in its profile's folder")
    (project / "notebooks" / "profiles" / "laptop.yaml").rename(project / "notebooks" / "profiles" / "mine.yaml")
    refused(call("claims"), "no figure in", "lmcnb run 03 --profile mine")


@pytest.mark.parametrize(("profile", "words"), [
    ("smoke", "it judges no claim"), ("custom", "unknown profile `custom`"), ("../laptop", "unknown profile")])
def test_claims_judge_real_profiles_only(project: Path, profile: str, words: str):
    draw(project, "fig01", profile=profile)
    refused(call("claims", "--profile", profile), words)


def test_a_headline_says_which_claim_is_of_another_training(project: Path):
    draw(project, "fig02_a", a_claim("A1-59%"), a_claim("A2c-59% (mosaics)", family="secondary"))
    draw(project, "fig20_b", a_claim("A1-59%"), a_claim("A2c-59% (mosaics)", family="secondary"), parameters=LONG)
    said = call("claims").output
    assert "59%: " in row(said, "A1")[2] and "59% (papers, 30 epochs): " in row(said, "A1")[2]
    assert "59% (mosaics): " in row(said, "A2c")[2] and "59% (mosaics; papers, 30 epochs): " in row(said, "A2c")[2]


def test_a_row_a_headline_by_word_and_the_rest_below(project: Path):
    others = [a_claim(id, family="secondary") for id in ("B4-A2", "Q4-59% (kept)", "T1")]
    draw(project, "fig01_a", a_claim("A2-59%"), a_claim("A2-87%", (0.1, 2.0, -2.0)), *others)
    said = call("claims").output
    here = row(said, "A2")[2]
    assert here.startswith("**reproduced** 59%: -1.05 [") and "**too close to call** 87%: -0.0167 [" in here
    assert "B4" not in here, "an exploratory claim does not lead where there is a primary one"
    assert row(said, "C1")[2] == "not run" and row(said, "Q4")[2].startswith("**reproduced** 59% (kept): ")
    assert row(said, "others")[2].startswith("**reproduced** T1: ")
    headings = [line for line in said.splitlines() if line.startswith("###")]
    assert headings == [f"### {n} · {s}" for n, s in (
        ("A2", "… and are more stable than IMP's"), ("Q4", board.HEADLINES["Q4"][0]),
        ("others", "claims of other notebooks"))]
    assert "decided by n = " in row(said, "A2-87%")[2] and row(said, "B4-A2")[6] == "100%"


def test_evidence_of_two_figures_is_one_claim_unless_their_regimes_differ(project: Path):
    draw(project, "fig03_a", a_claim())
    draw(project, "fig06_b", a_claim(idc=(-3.0, -3.2, -2.9)))
    draw(project, "fig16_c", a_claim(idc=(0.2, 0.9, 0.3)), parameters=LONG)
    found = board.judged(project / "figures" / "laptop")
    assert [(j.claim.units, j.regime, j.figures) for j in found] == [
        ("3 × 2 sets", "one-cycle, 2 epochs", ("fig03_a", "fig06_b")), ("3 × 1 set", "papers, 30 epochs", ("fig16_c",))]


def test_a_word_that_its_family_does_not_bear_is_shown_with_what_it_was_alone(project: Path):
    weak = a_claim("A1-59%", (-0.9, -0.4, -0.8))
    assert weak.word == "reproduced, size unclear" and 0.01 < weak.p_value < 0.05
    draw(project, "fig01_a", weak, *(a_claim(f"A2-{k}%", (0.1, 2.0, -2.0)) for k in range(9)))
    verdict = row(call("claims").output, "A1-59%")[2]
    assert verdict.startswith("**too close to call**, alone: reproduced, size unclear; decided by n =")
    draw(project, "fig01_a", a_claim("A1-59%", premise=("the dense network is not stable", False)))
    found = row(call("claims").output, "A1-59%")
    assert found[2] == "**not tested**" and found[1] == "it is lower. Premise: the dense network is not stable"


def test_claims_of_an_older_form_ask_to_be_judged_again(project: Path):
    path = draw(project, "fig03_a")
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "claims": [{"id": "A1", "verdict": "supported", "interval": [0, 1]}]}))
    refused(call("claims"), "has claims of an older form", "lmcnb claims --rejudge --profile laptop")
    said = call("claims", "--rejudge").output
    assert "fig03_a: left as it is" in said and "no cell tagged `claims`" in said


PREDICTION = {"claim": "A2-59%", "regime": "one-cycle, 2 epochs", "statistic": "difference", "predicted": "< 0",
              "size": -1, "why": "as in the paper"}


def predict(project: Path, *entries: object) -> None:
    (project / "figures" / "predictions.yaml").write_text(json.dumps(list(entries)))


@pytest.mark.parametrize(("predicted", "came"), [
    ("< 0", "side as predicted"), ("> 0", "not so"), ("within margin", "not so"),
    ("> margin", "not so")])
def test_a_prediction_stands_beside_its_outcome(project: Path, predicted: str, came: str):
    draw(project, "fig01_a", a_claim(), a_claim("A2-87%"))
    assert "predicted" not in call("claims").output
    predict(project, {**PREDICTION, "predicted": predicted})
    said = call("claims").output
    assert row(said, "A2-59%")[2] == f"**reproduced**; predicted {predicted}, about -1: {came}"
    assert "predicted" not in row(said, "A2-87%")[2]
    predict(project, {**PREDICTION, "regime": "papers, 30 epochs"})
    assert "predicted" not in call("claims").output, "of another regime"
    predict(project, {**PREDICTION, "profile": "gpu"})
    assert "predicted" not in call("claims").output, "of another profile"
    predict(project, {**PREDICTION, "profile": "gpu"}, {**PREDICTION, "predicted": predicted})
    assert f"predicted {predicted}, about -1: {came}" in call("claims").output
    draw(project, "fig01_a", a_claim(idc=(0.1, 2.0, -2.0)))
    predict(project, {**PREDICTION, "predicted": predicted})
    assert f"predicted {predicted}, about -1: open" in call("claims").output


def test_settings_that_show_a_headline_are_counted(project: Path):
    below, above = a_claim(), a_claim(idc=(1.0, 1.1, 0.9))
    draw(project, "fig01_a", below, a_claim("A2-87%", idc=(0.1, 2.0, -2.0)), a_claim("A3-59%"))
    (project / "notebooks" / "profiles" / "paper.yaml").write_text("{}")
    draw(project, "fig01_a", above, profile="paper")
    page = project / "page.md"
    page.write_text("<!-- settings -->\n<!-- /settings -->")
    call("claims", "--write", str(page))
    said = page.read_text()
    assert "| | one-cycle, 2 epochs | one-cycle, 2 epochs, paper | shown in |" in said
    assert row(said, "A2")[1:] == ["reproduced; too close to call", "contradicted", "0 in full, 1 in part, of 2"]
    assert row(said, "A3")[1:] == ["reproduced", "not run", "1 in full, 0 in part, of 1"]
    assert row(said, "A1")[3] == "0 in full, 0 in part, of 0"


@pytest.mark.parametrize(("entry", "words"), [
    ("A2", ["prediction 1 must be a mapping of claim, regime, statistic"]),
    ({**PREDICTION, "sice": 1}, ["unknown key `sice`", "did you mean `size`"]),
    ({k: v for k, v in PREDICTION.items() if k != "why"}, ["prediction 1 lacks why"]),
    ({**PREDICTION, "why": ""}, ["lacks why"]),
    ({**PREDICTION, "predicted": "<0"}, ['predicted must be one of "> 0", "< 0", "within margin"', "'<0'"]),
    ({**PREDICTION, "size": "small"}, ["size must be a number in the statistic's unit", "'small'"]),
    ({**PREDICTION, "size": True}, ["size must be a number"]),
    ({**PREDICTION, "regime": 30}, ["regime must be text: put it in quotes"]),
    ({**PREDICTION, "claim": "A22-59%"}, ["unknown claim `A22`", "did you mean `A2`"]),
])
def test_a_prediction_that_says_too_little_is_refused(project: Path, entry: object, words: list[str]):
    draw(project, "fig01_a")
    predict(project, entry)
    refused(call("claims"), "predictions.yaml", *words)


def test_so_are_two_of_one_claim_and_what_is_no_list(project: Path):
    draw(project, "fig01_a")
    predict(project, PREDICTION, {**PREDICTION, "size": -2})
    refused(call("claims"), "prediction 2: A2-59% under one-cycle, 2 epochs is predicted twice")
    (project / "figures" / "predictions.yaml").write_text("A2: low")
    refused(call("claims"), "must be a list of predictions")


def test_a_page_has_the_tables_that_it_has_markers_for():
    tables = {"claims": "board", "details": "rows", "gallery": "pictures"}
    page = "<!-- details -->\nold\n<!-- /details -->\nend"
    assert updated(page, tables) == "<!-- details -->\nrows\n<!-- /details -->\nend"
    with pytest.raises(Refused, match="the page needs the lines <!-- claims -->"):
        updated("nothing", tables)


def test_a_claim_may_be_of_a_training_of_its_own(project: Path):
    parameters = {"epochs": 2.0, "schedule": "one_cycle", "vit_epochs": 1.0}
    draw(project, "fig15_a", a_claim("C4-network"), a_claim("C4-transformer"), parameters=parameters)
    found = {j.claim.id: j.regime for j in board.judged(project / "figures" / "laptop")}
    assert found == {"C4-network": "one-cycle, 2 epochs", "C4-transformer": "linear, 1 epochs"}
