"""What stands above a saved figure is made of its claims and parameters, and there is none where nothing is judged."""

import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from lmcnb import claim, figures
from lmcnb.figures.base import WIDTH
from lmcnb.figures.head import answers, badge, head
from lmcnb.statistics import Claim
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
    assert answers(found) == ["The mask is better: reproduced at 59% (−3) and 95% (−4); contradicted at 87% (3), "
                              "margin 1 point"]


def test_what_is_primary_leads_and_else_the_first_kind():
    primary, other = a_claim("A1-59%", "it is", -3.0), a_claim("A2-59%", "they are", -3.0, "secondary")
    assert answers([other, primary]) == ["It is: reproduced at 59% (−3), margin 1 point"]
    more = a_claim("Q1-59% (idc)", "more", -3.0, "secondary")
    assert [line[:8] for line in answers([other, more])] == ["They are"] and answers([]) == []


def test_claims_of_one_sparsity_are_told_apart_by_their_method():
    found = [a_claim(f"Q2-87% (stability, {m})", "the more the better (87% sparse)", -3.0)
             for m in ("idc", "random images")]
    assert answers(found) == ["The more the better: reproduced for distilled, IDC (−3) and random real subset (−3), "
                              "margin 1 point"]


@pytest.mark.parametrize(("changed", "note", "said"), [
    ({}, NOTE, "cifar10 · 15 ep (300) · width 32 (128) · 6 × own sets · bars: 95%"),
    ({"inits": [0]}, "", "cifar10 · 15 ep · width 32 · 1 init"),
    ({}, "width 32 (the paper: ResNet-18), 150 epochs (300)", "cifar10 · 15 ep · width 32 · 6 inits · bars: 95%")])
def test_a_badge_has_the_papers_values_where_the_caption_has_them(changed: dict, note: str, said: str):
    assert badge({**PARAMETERS, **changed}, note) == said


def test_a_badge_stands_for_the_caption_and_no_badge_leaves_it():
    assert badge({}, NOTE) == ""
    texts = [t.get_text() for t in drawn([a_claim("A1-59%", "it is", -3.0)]).texts]
    assert texts == ["It is: reproduced at 59% (−3), margin 1 point", "3 · Is it so?  In this figure alone:",
                     badge(PARAMETERS, NOTE)]
    figure, _ = plt.subplots()
    figures.caption(figure, NOTE)
    head(figure, "", NOTE, {}, [])
    assert NOTE[:40] in figure.texts[0].get_text()


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


def test_long_answers_are_as_wide_as_the_figure_and_leave_no_word_alone():
    long = a_claim("A1-59%", "the mask " + "is better and " * 8 + "smaller", -3.0)
    [answer, *_] = drawn([long]).texts
    lengths = [len(line) for line in answer.get_text().splitlines()]
    assert len(lengths) == 2 and min(lengths) > 0.7 * max(lengths)


def test_panels_stay_where_they_are():
    figure = drawn([a_claim("A1-59%", "it is", -3.0)])
    assert figure.axes[0].get_position().bounds == plt.subplots(figsize=(WIDTH, 3))[1].get_position().bounds


def test_no_text_is_smaller_than_eight_points():
    rng = np.random.default_rng(0)
    rows = [{"method": m, "round": r, "init": i, "quantity": q, "alpha": a, "value": rng.random()}
            for m, r in (("dense", 0), ("idc", 1), ("imp", 1)) for i in range(3) for q in ("train_loss", "test_error")
            for a in (0.0, 0.5, 1.0)]
    with figures.base.styled():
        figure = figures.stability(Table.of(rows), [1], "a note")
        sizes = {float(t.get_fontsize()) for t in figure.findobj(Text) if t.get_text()}
    assert figure.get_figwidth() == WIDTH and min(sizes) >= 8
