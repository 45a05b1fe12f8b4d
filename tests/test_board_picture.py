"""The board as a picture: right is as claimed, what has no scale is text, and the file is always the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from cli_project import call, made_up_project, refused
from matplotlib.figure import Figure
from PIL import Image
from test_board import a_claim, draw

from lmcnb import claim
from lmcnb.cli import board
from lmcnb.figures import board as drawing
from lmcnb.figures.effects import Line, Row, effect
from lmcnb.statistics import Claim, Layout
from lmcnb.statistics.claims import Word


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made_up_project(tmp_path, monkeypatch)


def picture(*claims: Claim, alone: str | None = None) -> Figure:
    lines = [Line(c, c.id, "one-cycle, 2 epochs", alone or c.word) for c in claims]
    return drawing.board([Row("A2", "they are more stable", lines)])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def dot(figure: Figure, id: str) -> float:
    """Where the claim's dot is, in margins."""
    [found] = [line for line in figure.axes[0].lines if line.get_gid() == id]
    return (float(np.asarray(found.get_xdata())[0]) - drawing.ZERO) / drawing.UNIT


def markers(figure: Figure, *kinds: str) -> Sequence[float]:
    return [float(np.asarray(line.get_xdata())[0]) for line in figure.axes[0].lines if line.get_marker() in kinds]


def shaded(figure: Figure) -> int:
    return sum(type(patch).__name__ == "Rectangle" for patch in figure.axes[0].patches)


def judged(claimed: str, values: Sequence[float], word: str, margin: float = 1.0) -> Claim:
    found = claim(f"X-{claimed}", "so it is", values, claimed=claimed, margin=margin)  # type: ignore[arg-type]
    assert found.word == word
    return found


@pytest.mark.parametrize(("claimed", "values", "word", "side"), [
    ("below", [-3.0, -3.1, -2.9], "reproduced", 1), ("below", [3.0, 3.1, 2.9], "contradicted", -1),
    ("above", [3.0, 3.1, 2.9], "reproduced", 1), ("above", [-3.0, -3.1, -2.9], "contradicted", -1),
    ("at most", [0.5, 0.55, 0.45], "reproduced", 1), ("at most", [-9.0, -9.1, -9.2], "reproduced", 1),
    ("at most", [3.0, 3.1, 2.9], "contradicted", -1), ("within", [0.5, 0.45, 0.55], "reproduced", 1),
    ("within", [-0.1, 0.1, 0.05], "reproduced", 1), ("within", [-3.0, -3.1, -2.9], "contradicted", -1),
    ("within", [3.0, 3.1, 2.9], "contradicted", -1)])
def test_right_is_as_claimed_whatever_is_claimed(claimed: str, values: Sequence[float], word: str, side: int):
    found = judged(claimed, values, word)
    estimate, low, high = effect(found)
    assert low <= estimate <= high and (low > 0 if side > 0 else high < 0), "the whole interval is on that side"
    if abs(estimate) < drawing.BEYOND:
        assert dot(picture(found), found.id) == pytest.approx(estimate)


def test_a_long_training_takes_two_lines_of_the_size_of_the_others():
    found = judged("below", [-3.0, -3.1, -2.9], "reproduced")
    regimes = "papers, 5 epochs", "one-cycle, 8 epochs, profile"
    short, long = (Line(found, "", regime, found.word) for regime in regimes)
    assert long.height > short.height
    sizes = {t.get_text(): t.get_fontsize() for t in drawing.board([Row("A", "so", [short, long])]).axes[0].texts}
    assert sizes["one-cycle, 8 epochs,\nprofile"] == sizes["papers, 5 epochs"]


def test_so_it_is_of_every_committed_claim():
    folders = [path for path in (Path(__file__).parents[1] / "figures").iterdir() if any(path.glob("fig*.json"))]
    found = board.judged(*folders)
    assert len(found) > 50
    for each in (j for j in found if j.claim.family != "count" and j.claim.margin):
        _, low, high = effect(each.claim)
        said = {"reproduced": low > 0, "reproduced, size unclear": low > 0, "contradicted": high < 0,
                "no difference that matters": -1 < low < high < 1}
        assert said.get(each.claim.word, True) and said.get(each.alone, True), each.claim.id


def test_within_a_margin_goes_no_further_right_than_no_effect():
    found = judged("within", [-0.1, 0.1, 0.05], "reproduced")
    assert effect(found)[2] == 1 and effect(found)[1] == pytest.approx(1 - max(map(abs, found.interval)))
    assert np.isnan(effect(claim("A", "equal", [0.5], margin=1, claimed="within"))[1:]).all()


def test_only_a_claim_of_a_difference_has_one_that_does_not_matter():
    assert shaded(picture(judged("below", [0.1, -0.1, 0.0], "no difference that matters"))) == 1
    assert shaded(picture(judged("at most", [0.1, -0.1, 0.0], "reproduced"))) == 0
    low, high = effect(judged("above", [0.1, -0.1, 0.0], "no difference that matters"))[1:]
    assert -1 < low < high < 1, "in the shade"


def test_what_lies_beyond_the_axis_has_an_arrow_and_a_number():
    far = picture(judged("below", [-30.0, -31.0, -29.0], "reproduced"))
    assert markers(far, ">") == [drawing.ZERO + drawing.UNIT * drawing.BEYOND] * 2 and "30" in texts(far)
    wide = picture(judged("above", [-20.0, 5.0, 9.0], "too close to call"))
    assert len(markers(wide, ">")) == len(markers(wide, "<")) == 1 and len(markers(wide, "D")) == 1
    assert not markers(picture(judged("above", [3.0, 3.1, 2.9], "reproduced")), "<", ">")


def test_a_count_is_text_and_has_no_interval():
    def counted(ratio: float) -> Claim:
        return claim("A3d-87%", "fewer", Layout({"a": {0: np.log10(ratio)}}).contrast({"a": 1.0}), claimed="above",
                     margin=float(np.log10(2)), family="count")
    few, many = picture(counted(15.6)), picture(counted(1 / 1.37))
    assert "16 times fewer" in texts(few) and "1.4 times more" in texts(many)
    assert "151 times fewer" in texts(picture(counted(151)))
    assert dot(few, "A3d-87%") > 1 and -1 < dot(many, "A3d-87%") < 0
    assert not [line for line in few.axes[0].lines if line.get_linewidth() == 2 and line.get_gid() is None
                and line.get_linestyle() == "-" and line.get_color() == drawing.WORDS["reproduced"][0]]


def test_so_is_what_has_no_margin():
    found = texts(picture(claim("T1", "lower", [-3.0, -3.1, -2.9], unit="points")))
    assert "-3 points" in found


def test_every_word_has_a_look_of_its_own_without_colour():
    looks = []
    for word, (hue, marker, *_) in drawing.WORDS.items():
        looks.append((marker, drawing._look(word, hue)["markerfacecolor"] == "white"))
    assert drawing.WORDS.keys() == set(get_args(Word)) and len(set(looks)) == len(looks)


def test_a_word_that_its_family_does_not_bear_has_a_star():
    found = judged("above", [-20.0, 5.0, 9.0], "too close to call")
    assert "too close to call *" in texts(picture(found, alone="contradicted"))
    assert "too close to call" in texts(picture(found))


def test_a_row_a_headline_in_their_order_and_what_they_share_is_said_once(project: Path):
    draw(project, "fig01_a", a_claim("A2-59%"), a_claim("A2-87%"), a_claim("T1", family="secondary"))
    long = {"schedule": "step", "lr": 0.01, "augment": "cifar", "epochs": 30}
    (project / "notebooks" / "profiles" / "paper.yaml").write_text("{}")
    draw(project, "fig03_c", a_claim("A1-59%"), profile="paper", parameters=long)
    found = texts(board.picture(board.judged(*(project / "figures" / name for name in ("laptop", "paper")))))
    names = [text for text in found if text in {*board.HEADLINES, "others"}]
    assert names == [*board.HEADLINES, "others"]
    assert found.count("not run") == len(board.HEADLINES) - 2, "A1 and A2 were"
    assert found.count("one-cycle, 2 epochs") == 2 and found.count("papers, 30 epochs,\npaper") == 1
    assert found.count("3 × 1 set") == 3 and found.count("59%") == 2


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_the_command_writes_the_same_bytes_again(project: Path, ending: str):
    draw(project, "fig01_a", a_claim("A2-59%"), a_claim("A2-87%", (0.1, 2.0, -2.0)))
    path = project / "figures" / "new" / f"board.{ending}"
    assert f"{path}: up to date" in call("claims", "--write", path).output
    first, page = path.read_bytes(), project / "page.md"
    page.write_text("<!-- claims -->\n<!-- /claims -->")
    at_once = ["--write", page] if ending == "png" else []
    assert call("claims", *at_once, "--write", path).exit_code == 0
    assert path.read_bytes() == first
    if at_once:
        assert "**reproduced** 59%" in page.read_text()
        assert 1750 < Image.open(path).width < 1900, "twice a page's 900 pixels"


def test_what_is_neither_is_refused_before_anything_is_done(project: Path):
    draw(project, "fig01_a")
    path = project / "board.png"
    refused(call("claims", "--write", path, "--write", project / "board.jpg"),
            "board.jpg is no page and no picture", "a page ends in .md", "ends in .png or .pdf")
    refused(call("claims", "--write", path, "--write", project / "page.md"), "there is no page", "<!-- claims -->")
    assert not path.exists()


def test_the_page_on_verdicts_counts_the_primary_claims_that_are_tested():
    root = Path(__file__).parents[1]
    judging = {p.parent for p in (root / "figures").glob("*/fig*.json")} - {root / "figures" / "smoke"}
    folders = sorted(judging - {root / "figures" / "custom"})
    count = sum(j.claim.family == "primary" and j.claim.word != "not tested" for j in board.judged(*folders))
    strictest = 100 * (1 - 0.05 / count)
    page = " ".join((root / "docs" / "verdicts.md").read_text(encoding="utf-8").split())
    assert f"up to {strictest:.2f}% here, with {count} primary claims" in page
