"""The code of README and pages runs as it stands, given what it leaves to the reader; their links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lmcnb
from lmcnb.distill import METHODS
from lmcnb.models import MODELS

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for folder in (".", "docs", "benchmarks", "soak") for page in (ROOT / folder).glob("*.md"))
LONGEST = 200  # lines of the README: what one reads before deciding
README = (ROOT / "README.md").read_text()


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


(SHORT,) = blocks("README.md")
(READING,) = blocks("docs/running.md")
BLOCKS = blocks("docs/bring-your-own.md")


class MyNet(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                                  nn.Flatten(), nn.Linear(16, classes))

    def forward(self, x):
        return self.body(x)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for k in range(8):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{k}.png")
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/claims.md", "docs/summary.md"])
def test_the_tables_of_claims_are_those_of_the_figures(page: str):
    from lmcnb.cli import board
    from lmcnb.cli.claims import folders, updated
    from lmcnb.cli.predictions import read_predictions

    found, said = board.judged(*folders(ROOT)), ROOT / "figures" / "predictions.yaml"
    tables = board.tables(found, read_predictions(said, board.PARTS))
    text = (ROOT / page).read_text()
    assert updated(text, tables) == text, f"run: lmcnb claims --write {page}"


def test_the_gallery_is_that_of_the_notebooks():
    from lmcnb.cli.claims import folders, gallery, inserted

    assert inserted(README, gallery(ROOT, folders(ROOT)), "gallery") == README, \
        "run: lmcnb claims --write README.md"


def test_the_readme_is_short_and_shows_a_figure():
    assert len(README.splitlines()) <= LONGEST
    assert any(link.endswith(".png") for link in links(README))


def links(text: str) -> list[str]:
    """Where a page's links lead within the project, code left out; ``page.md#heading`` with its heading."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    return re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", prose)


def headings(page: Path) -> set[str]:
    """The names by which a page's headings can be linked to, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in re.findall(r"^#+ +(.+?) *$", prose, re.M))
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    broken = []
    for link in links(page.read_text()):
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        known = target.exists() and target.is_relative_to(ROOT)
        if not known or heading and heading not in headings(target):
            broken.append(link)
    assert not broken


def test_every_page_can_be_reached_from_the_readme():
    found, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        found.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page.read_text())}
        left += [target for target in targets if target.suffix == ".md" and target not in found]
    assert found >= set(PAGES)


def test_two_checkpoints_in_four_lines(folder, capsys):
    given = {"model_a": MyNet(3, 2), "model_b": MyNet(3, 2)}
    exec(SHORT.replace("folder:PATH", f"folder:{folder}"), given)
    assert "test error rises by" in capsys.readouterr().out


def test_a_committed_figure_is_read_and_drawn():
    given = {"lmcnb": lmcnb}
    exec(READING, given)
    assert {c.id for c in given["fig"].claims} >= {"A1-59%", "A2-59%"} and "round" in given["fig"].table


def test_bring_your_own_data_network_and_mask(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (80, 8, 8, 3), dtype=np.uint8)
    given = {"x": x, "y": np.arange(80) % 4, "xt": x[:8], "yt": np.arange(8) % 4, "MyNet": MyNet}
    shapes = {"body.0.weight": (4, 3, 3, 3), "body.5.weight": (4, 16)}
    given["my_masks"] = {n: torch.rand(s) < 0.5 for n, s in shapes.items()}
    given |= {"model_a": MyNet(3, 4), "model_b": MyNet(3, 4)}
    try:
        exec(BLOCKS[0].replace("folder:PATH", f"folder:{folder}").replace("Recipe(epochs=10", "Recipe(epochs=2"), given)
    finally:
        MODELS.pop("mine", None)
    found = given["subnetworks"]
    assert all(bool((found.params[n][:, ~m] == 0).all()) for n, m in given["my_masks"].items())
    assert [round(float(r.sparsity[0]), 2) for r in given["rounds"]] == [0, 0.2, 0.36, 0.49, 0.59]
    assert capsys.readouterr().out.count("tensor") == 3


def test_bring_your_own_distillation_method(tmp_path):
    data = lmcnb.load("digits")
    pixels = torch.stack([data.train.x[i[:2]].float() / 255 for i in data.train.by_class])
    given = {"lmcnb": lmcnb, "my_medoids": lambda *_: pixels}
    try:
        exec(BLOCKS[1], given)
        net = lmcnb.Net.of(data.train, "convnet2", 4)
        recipe = lmcnb.Recipe(epochs=1, augment="none", cutmix=0)
        study = lmcnb.Study(net=net, recipe=recipe, prune_steps=3, sets={"mine": {"kind": "medoids", "ipc": 2}},
                            reference="mine")
        lab = lmcnb.Lab(device="cpu", store=tmp_path, progress=False)
        assert torch.equal(lab.load(study.distill("mine")).images, pixels.flatten(0, 1))
        assert lab.get(study.mask("mine", init=0, round=1)).result["sparsity"] == pytest.approx(0.2, abs=1e-3)
    finally:
        METHODS.pop("medoids", None)


def test_bring_a_published_set(tmp_path, monkeypatch, capsys):
    data = lmcnb.load("digits")
    net = lmcnb.Net.of(data.train, "convnet2", 4)
    lmcnb.export_set(lmcnb.RandomReal(ipc=2, factor=2).distill(data, net, 0), tmp_path / "data.pt")
    monkeypatch.chdir(tmp_path)
    given = {"lmcnb": lmcnb, "data": data, "net": net}
    small = {'"cifar10"': '"digits"', '"convnet3"': '"convnet2", 4', "steps=1000": "steps=5"}
    short = BLOCKS[2]
    for old, new in small.items():
        short = short.replace(old, new)
    exec(short, given)
    assert "tensor" in capsys.readouterr().out and given["theirs"].factor == 2
    assert given["study"].images("theirs") == 80 == len(given["theirs"].decoded())
    lab = lmcnb.Lab(device="cpu", store=tmp_path, progress=False)
    assert lab.get(given["ticket"].but(round=1, recipe=given["ticket"].recipe.but(epochs=1))).result["sparsity"] > 0.19
