"""What stands above a saved figure is made of its claims and parameters, and there is none where nothing is judged."""

import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from lmcnb import claim, figures
from lmcnb.figures.base import WIDTH
from lmcnb.figures.head import MOST, answers, badge, head
from lmcnb.statistics import Claim, rank_correlation
from lmcnb.tables import Table

PARAMETERS = {"dataset": "cifar10", "epochs": 15.0, "width": 32, "inits": [0, 1, 2, 3, 4, 5]}
NOTE = "Profile laptop: cifar10, convnet3 width 32 (the paper: 128), 6 initialisations with own sets: 15 epochs (300)."


def a_claim(id: str, statement: str, mean: float, family: str = "primary") -> Claim:
    return claim(id, statement, [mean - 0.01, mean, mean + 0.01], margin=1.0, unit="points", family=family)


def drawn(claims: list[Claim], note: str = NOTE) -> Figure:
    figure, _ = plt.subplots(figsize=(WIDTH, 3))
    figures.caption(figure, note)
    head(figure, "3 · Is it so?", note, PARAMETERS, claims)
    return figure


def test_a_statement_is_answered_once_for_all_sparsities():
    means = {59: -3.0, 87: 3.0, 95: -4.0}
    found = [a_claim(f"A1-{p}%", f"the mask ({p}% sparse) is better", m) for p, m in means.items()]
    assert answers(found) == ["The mask is better: reproduced at 59% (−3) and 95% (−4); contradicted at 87% (+3) "
                              "(claimed: below 0, margin 1 point)"]


def test_what_is_primary_leads_and_what_has_no_room_is_counted():
    primary, other = a_claim("A1-59%", "it is", -3.0), a_claim("A2-59%", "they are", -3.0, "secondary")
    assert [line[:8] for line in answers([other, primary])] == ["It is: r", "They are"] and answers([]) == []
    many = [a_claim(f"Q{k}-59%", f"the {k}th", -3.0) for k in range(MOST + 2)]
    assert len(answers(many)) == MOST + 1 and answers(many)[-1] == "… and 2 more claims in the notebook"


def test_claims_are_told_apart_by_sparsity_and_method():
    found = [a_claim(f"Q2-{p}% (stability, {m})", f"the more the better ({p}% sparse, {m})", -3.0)
             for p in (59, 87) for m in ("idc", "random images")]
    for_two = "for distilled, IDC (−3) and", "for random real subset (−3)"
    assert answers(found) == [f"The more the better: reproduced at 59% {for_two[0]} 59% {for_two[1]} and "
                              f"87% {for_two[0]} 87% {for_two[1]} (claimed: below 0, margin 1 point)"]
    assert answers(found[:2]) == ["The more the better (59% sparse): reproduced for distilled, IDC (−3) and random "
                                  "real subset (−3) (claimed: below 0, margin 1 point)"]


def test_statements_that_differ_in_a_variant_are_one():
    found = [a_claim(f"B4-A2-59% (generated, {bn})", f"on images: with {name} statistics, the mask (59% sparse) holds",
                     -3.0) for bn, name in (("lerp", "interpolated"), ("recalibrate", "re-estimated"))]
    assert answers(found) == ["On images, the mask holds (59% sparse): reproduced for interpolated statistics (−3) and "
                              "re-estimated statistics (−3) (claimed: below 0, margin 1 point)"]
    assert answers(found[:1])[0].startswith("On images, with interpolated statistics, the mask holds: reproduced at 5")


def test_what_was_not_tested_has_its_premise_in_place_of_a_number():
    found = [claim(f"B7-{p}%", f"at {p}% sparsity, it helps", [3.0, 3.1], premise=("A beats B, by 1 [0, 2]", False))
             for p in (95, 98)]
    assert answers(found) == ["It helps: not tested at 95% and 98%, as it is not shown that A beats B"]


def test_numbers_are_readable_whatever_their_size_and_unit():
    rho = rank_correlation(range(5), [1.0] * 5)
    assert answers([claim("Q4", "they go together", rho, margin=0.3)]) == [
        "They go together: too close to call (unknown) (claimed: below 0, margin 0.3)"]
    large = claim("C2", "it rises", [123.4, 123.5], claimed="above", unit="nats")
    assert answers([large]) == ["It rises: reproduced (+123) (claimed: above 0 nats)"]
    target = a_claim("Q4-59% (probe)", "better (59% sparse) on another data set (digits)", -3.0)
    assert answers([target])[0].startswith("Better on another data set (digits): reproduced at 59%")


@pytest.mark.parametrize(("changed", "note", "said"), [
    ({}, NOTE, "cifar10 · 15 ep (300) · width 32 (128) · 6 × own sets · bars: 95%"),
    ({"inits": [0]}, "", "cifar10 · 15 ep · width 32 · 1 init"),
    ({"epochs": 6.0}, "width 32 (the paper: 128), 16 epochs (300)",
     "cifar10 · 6 ep · width 32 (128) · 6 inits · bars: 95%"),
    ({"epochs": 0.5}, "105 epochs (300), 2.0.5 epochs (9)", "cifar10 · 0.5 ep · width 32 · 6 inits · bars: 95%"),
    ({}, "width 32 (the paper: ResNet-18), 150 epochs (300)", "cifar10 · 15 ep · width 32 · 6 inits · bars: 95%")])
def test_a_badge_has_the_papers_values_where_the_caption_has_them(changed: dict, note: str, said: str):
    assert badge({**PARAMETERS, **changed}, note) == said


def test_a_badge_stands_for_the_caption_and_no_badge_leaves_it():
    assert badge({}, NOTE) == ""
    texts = [t.get_text() for t in drawn([a_claim("A1-59%", "it is", -3.0)]).texts]
    assert texts == ["It is: reproduced at 59% (−3) (claimed: below 0, margin 1 point)",
                     "3 · Is it so?  In this figure alone:", badge(PARAMETERS, NOTE)]
    figure, _ = plt.subplots()
    figures.caption(figure, NOTE)
    head(figure, "", NOTE, {}, [])
    assert NOTE[:40] in figure.texts[0].get_text()


def test_a_caption_stays_where_a_panel_departs_from_the_badge_and_no_bars_are_said_where_there_are_none():
    for options, said in (({"kept": True}, ""), ({"bars": False}, badge(PARAMETERS, NOTE, bars=False))):
        figure, _ = plt.subplots()
        figures.caption(figure, NOTE, **options)
        head(figure, "3 · Is it so?", NOTE, PARAMETERS, [])
        texts = [t.get_text() for t in figure.texts]
        assert texts[-1] == said and (NOTE[:40] in texts[0]) == (not said)
    assert "bars" not in said


def test_a_figure_that_is_saved_twice_has_one_head():
    claims = [a_claim("A1-59%", "it is", -3.0)]
    figure = drawn(claims)
    once = figures.png(figure)
    head(figure, "3 · Is it so?", NOTE, PARAMETERS, claims)
    assert figures.png(figure) == once


def test_without_claims_the_question_is_the_title():
    texts = {t.get_text(): t for t in drawn([]).texts}
    assert texts["3 · Is it so?"].get_fontweight() == "bold"
    assert not [t for t in texts if re.search("reproduced|contradicted|close", t)]


def test_a_long_answer_stands_below_its_statement():
    long = a_claim("A1-59%", "the mask " + "is better and " * 6 + "smaller", -3.0)
    [answer, *_] = drawn([long]).texts
    statement, said = answer.get_text().splitlines()
    assert statement.endswith("smaller:") and said.startswith("    reproduced at 59% (−3) (claimed")


def test_no_text_is_smaller_than_eight_points():
    rng = np.random.default_rng(0)
    rows = [{"method": m, "round": r, "init": i, "quantity": q, "alpha": a, "value": rng.random()}
            for m, r in (("dense", 0), ("idc", 1), ("imp", 1)) for i in range(3) for q in ("train_loss", "test_error")
            for a in (0.0, 0.5, 1.0)]
    with figures.base.styled():
        figure = figures.stability(Table.of(rows), [1], "a note")
        sizes = {float(t.get_fontsize()) for t in figure.findobj(Text) if t.get_text()}
    assert figure.get_figwidth() == WIDTH and min(sizes) >= 8
