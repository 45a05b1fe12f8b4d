"""The site of executed notebooks: pages that ask nothing of the network, fold code, and fit a phone and a night."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import pytest

from lmcnb.cli.beneath import Files
from lmcnb.cli.page import navigation, rendered, without_formulas, written
from lmcnb.cli.report import build
from lmcnb.figures import explorer, read
from lmcnb.tables import Table

ROOT = Path(__file__).parents[1]
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
                       "gg==")


@pytest.fixture
def page(tmp_path: Path) -> str:
    """Of a notebook with everything that a page treats in a way of its own."""
    (tmp_path / "picture.png").write_bytes(PNG)
    plan = nbformat.v4.new_code_cell("x = 1", metadata={"jupyter": {"source_hidden": True}}, execution_count=3)
    bar = nbformat.v4.new_output("stream", name="stderr", text="  0%|   | 00:00 passed")
    drawn = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(PNG).decode()})
    view = nbformat.v4.new_output("display_data", {"text/plain": "VBox(children=())"})
    shown = nbformat.v4.new_code_cell("y = 2", outputs=[bar, drawn, view], execution_count=4)
    text = "# A title\n\nIt is $x_1$, not `$y$`.\n\n$$\\tfrac12$$\n\n![seen](./picture.png) [next](03_stability.ipynb)"
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), plan, shown])
    return rendered(node, "A <title>", tmp_path, "00_first", "02_next")


def test_formulas_are_mathml_and_code_stays(page: str):
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in page and "<mfrac>" in page and "<code>$y$</code>" in page
    assert "formula-" not in page and "$$" not in page and "None" not in page


def test_what_is_no_formula_stays_as_it_is_written():
    drawn: list[str] = []
    assert without_formulas(r"between $\left( a$ and $b$", drawn).startswith(r"between `$\left( a$` and formula-0-here")
    assert len(drawn) == 1


def test_code_is_folded_where_it_is_in_the_notebook_and_what_lived_in_a_kernel_is_gone(page: str):
    begin, end = page.index("<details>"), page.index("</details>")
    assert page.count("<details>") == 1 and begin < end < page.index('class="n">y<')
    assert "passed" not in page and "VBox" not in page and "In [" not in page


def test_pictures_are_within_and_have_a_name(page: str):
    found = re.findall(r"<img[^>]*>", page)
    assert len(found) == 2 and all('alt="' in one and "data:image/png" in one for one in found)
    assert "A &lt;title&gt;: a picture" in page and "No description" not in page


def test_links_lead_to_pages(page: str):
    assert 'href="03_stability.html"' in page and 'href="index.html"' in page
    assert 'href="00_first.html"' in page and 'href="02_next.html"' in page
    assert navigation("", "").count("<a") == 1


def test_nothing_is_asked_of_the_network(page: str):
    assert "<script" not in page and "<link" not in page and not re.findall(r'src="http', page)


@pytest.mark.parametrize("text", ["costs 5$ or 6$", "`a $b$ c`", "```\n$x$\n```", r"\$x\$"])
def test_dollars_that_are_no_formula_stay(text: str):
    assert without_formulas(text, []) == text


def test_links_into_the_project_become_links_between_pages(tmp_path: Path):
    pages = {(tmp_path / "docs" / "limits.md").resolve(): "docs-limits.html",
             (tmp_path / "README.md").resolve(): "index.html"}
    text = ("# A page\n\n<!-- a mark -->\n[limits](limits.md#Of-it), [board](../README.md#the-board), "
            "[code](../code.py), [far](https://arxiv.org), [here](#now)")
    page = written(text, tmp_path / "docs", pages)
    for link in ("docs-limits.html#Of-it", "index.html#the-board", "https://arxiv.org", "#now"):
        assert f'href="{link}"' in page
    assert "code.py" not in page and "a mark" not in page and '<h1 id="a-page">' in page


def test_what_stands_beneath_a_figure_is_copied_beside_the_page(tmp_path: Path):
    source, out = tmp_path / "laptop" / "fig03_it.png", tmp_path / "site"
    for folder in (source.parent, out):
        folder.mkdir()
    record = {"notebook": "03_it", "commit": ["0123456789abcdef-dirty"], "versions": {"torch": "2"}, "date": None}
    run = {"seconds": 120, "entries": 3, "device": ["CPU"]}
    source.with_suffix(".json").write_text(json.dumps({"record": record, "run": run}))
    source.with_suffix(".pdf").write_bytes(b"pdf")
    found = Files(out).beneath(source, "03_it.html")
    assert [*re.findall('href="([^"]+)"', found)] == ["03_it.html", "fig03_it.json", "fig03_it.pdf"]
    assert (out / "fig03_it.pdf").read_bytes() == b"pdf" and "0123456789-dirty" in found and "torch 2" in found
    assert "3, 2 minutes of computing" in found and "newest result" not in found
    assert Files(out).beneath(tmp_path / "board.png") == ""


def test_two_files_of_one_name_are_both_kept(tmp_path: Path):
    files = Files(tmp_path)
    for folder in ("laptop", "gpu"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.json").write_text(folder)
    names = [files.copy(tmp_path / folder / "a.json") for folder in ("laptop", "gpu", "laptop")]
    assert names == ["a.json", "gpu-a.json", "a.json"] and (tmp_path / "gpu-a.json").read_text() == "gpu"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it, with a reference of one page."""
    reference = tmp_path_factory.mktemp("reference")
    (reference / "index.html").write_text("<!DOCTYPE html><html lang='en'><title>Names</title><body class='x'>")
    out = tmp_path_factory.mktemp("site")
    return build(tmp_path_factory.mktemp("nothing"), out, ROOT, whole=True, reference=reference).parent


def test_no_link_of_the_site_is_dead(site: Path):
    pages = {path: path.read_text(encoding="utf-8") for path in [*site.glob("*.html"), *site.glob("reference/*.html")]}
    dead = []
    for page, text in pages.items():
        for link in set(re.findall(r'(?:href|src)="(?!data:|https?:|mailto:)([^"]+)"', text)):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.is_file() or anchor and f'id="{unquote(anchor)}"' not in pages[target]:
                dead.append((page.name, link))
    assert len(pages) > 30 and not dead


def test_every_figure_of_the_project_has_its_files_on_the_site(site: Path):
    index = (site / "index.html").read_text(encoding="utf-8")
    committed = {path.stem for path in [*ROOT.glob("figures/laptop/*.png"), *ROOT.glob("figures/gpu/*.png")]}
    shown = set(re.findall(r'<img src="(fig\w+).png"', index))
    assert committed <= shown  # and what a run has drawn here
    for name in committed:
        assert f'href="{name}.json"' in index and f'href="{name}.pdf"' in index
    assert index.count('class="beneath"') == len(shown) == index.count("</svg> record")
    assert index.count("lmcnb-x") > 1 and 'id="the-board"' in index


def test_the_pages_are_one_site(site: Path):
    for name in ("index.html", "03_stability_cifar10.html", "docs-limits.html", "reference/index.html"):
        links = re.findall(r'href="([^"]+)"', re.findall(r"<nav.*?</nav>", (site / name).read_text(), re.DOTALL)[0])
        assert len(links) >= 6 and all((site / name).parent.joinpath(link).is_file() for link in links)


def test_every_page_is_quiet_and_fits(browser: Any, site: Path):
    """No error in the console, no request that leaves the machine, nothing wider than the window."""
    seen = browser.new_page()
    errors, requests = [], []
    seen.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    seen.on("pageerror", lambda error: errors.append(str(error)))
    seen.on("request", lambda request: requests.append(request.url))
    wide = []
    for path in sorted(site.rglob("*.html")):
        seen.set_viewport_size({"width": 1280, "height": 900})
        seen.goto(path.as_uri())
        for width in (1280, 400):
            seen.set_viewport_size({"width": width, "height": 900})
            if seen.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wide.append((path.name, width))
    assert not errors and not wide
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]


KEYS = "figure.lmcnb-x"


@pytest.mark.parametrize(("name", "figure", "width"), [
    ("index", "fig03_stability_cifar10", 1280), ("03_stability_cifar10", "fig03_stability_cifar10", 400),
    ("05_loss_landscape", "fig05_loss_landscape_cifar10", 1280)])
def test_the_explorer_moves_by_keyboard(browser: Any, site: Path, name: str, figure: str, width: int):
    """α moves the dot on the path and on the landscape; what is read out is what the table says."""
    rows = read(figure).table.select(method="dense", round=0, init=0, quantity="train_loss", alpha=0)
    seen = browser.new_page(viewport={"width": width, "height": 900})
    seen.goto((site / f"{name}.html").as_uri())
    places = [f"{KEYS} .path .dot", f"{KEYS} .land .dot"]
    before = [seen.locator(place).get_attribute("cx") for place in places]
    seen.focus(f"{KEYS} input[name=k]")
    seen.keyboard.press("ArrowRight")
    assert all(seen.locator(p).get_attribute("cx") != x for p, x in zip(places, before))
    assert seen.inner_text(f"{KEYS} .reading").startswith("At α = 0.60.")
    seen.select_option(f"{KEYS} select[name=m]", "dense")
    seen.select_option(f"{KEYS} select[name=c]", "imp")
    seen.focus(f"{KEYS} input[name=k]")
    seen.keyboard.press("Home")
    told = f"At α = 0.00. dense: {rows['value'].item():.3f} nats, +0.000 from the chord"
    assert seen.inner_text(f"{KEYS} .reading").startswith(told)
    assert seen.inner_text(f"{KEYS} label:has([name=r])") == "sparsity: 0%"


def test_the_explorer_goes_to_what_was_measured(browser: Any, site: Path):
    """Rounds are those of the initialisation."""
    seen = browser.new_page()
    seen.goto((site / "03_stability_cifar10.html").as_uri())
    seen.select_option(f"{KEYS} select[name=m]", "imp")
    seen.select_option(f"{KEYS} select[name=i]", "0")
    assert seen.get_attribute(f"{KEYS} input[name=r]", "max") == "10"
    seen.focus(f"{KEYS} input[name=r]")
    seen.keyboard.press("End")
    assert "89% sparse" in seen.inner_text(f"{KEYS} .reading")
    assert seen.is_hidden(f"{KEYS} .land svg") and "59" not in seen.inner_text(f"{KEYS} .none")


def test_a_quantity_that_a_choice_lacks_takes_the_nearest_that_has_it(browser: Any):
    measured = [("train_loss", 0), ("train_loss", 9), ("train_loss", 10), ("test_error", 0), ("test_error", 9)]
    rows = [{"method": "imp", "round": r, "sparsity": 1 - 0.8 ** r, "init": 0, "quantity": q, "alpha": a, "value": a}
            for q, r in measured for a in (0.0, 0.5, 1.0)]
    seen = browser.new_page()
    seen.set_content(explorer(Table.of(rows)).html)
    seen.focus(f"{KEYS} input[name=r]")
    seen.keyboard.press("End")
    assert "89% sparse" in seen.inner_text(f"{KEYS} .reading")
    seen.select_option(f"{KEYS} select[name=q]", "test_error")
    assert "87% sparse" in seen.inner_text(f"{KEYS} .reading") and " points" in seen.inner_text(f"{KEYS} .reading")


def test_print_and_pages_without_scripts_have_the_drawing_alone(browser: Any, site: Path):
    page = (site / "03_stability_cifar10.html").as_uri()
    seen = browser.new_page()
    seen.goto(page)
    seen.emulate_media(media="print")
    assert seen.is_hidden(f"{KEYS} form") and seen.is_visible(f"{KEYS} .path")
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto(page)
    assert still.is_hidden(f"{KEYS} form") and still.is_visible(f"{KEYS} .land") and still.is_visible(f"{KEYS} .path")
