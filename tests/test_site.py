"""The site of executed notebooks: pages that ask nothing of the network, fold code, and fit a phone and a night."""

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from lmcnb.cli.page import navigation, rendered, without_formulas

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
    shown = nbformat.v4.new_code_cell("y = 2", outputs=[bar, drawn], execution_count=4)
    text = "# A title\n\nIt is $x_1$, not `$y$`.\n\n$$\\tfrac12$$\n\n![seen](./picture.png) [next](03_stability.ipynb)"
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), plan, shown])
    return rendered(node, "A <title>", tmp_path, "00_first", "02_next")


def test_formulas_are_mathml_and_code_stays(page: str):
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in page and "<mfrac>" in page and "<code>$y$</code>" in page
    assert "formula-" not in page and "$$" not in page


def test_code_is_folded_where_it_is_in_the_notebook_and_bars_are_gone(page: str):
    begin, end = page.index("<details>"), page.index("</details>")
    assert page.count("<details>") == 1 and begin < end < page.index('class="n">y<')
    assert "passed" not in page and "In [" not in page


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lmcnb.cli.report import build

    executed = tmp_path_factory.mktemp("executed")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, executed)
    return build(executed, tmp_path_factory.mktemp("site"), ROOT).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'lmcnb[browser]'")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_every_page_is_quiet_and_fits(browser: Any, site: Path, width: int):
    """No error in the console, no request that leaves the machine, nothing wider than the window."""
    seen = browser.new_page(viewport={"width": width, "height": 900})
    errors, requests = [], []
    seen.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    seen.on("pageerror", lambda error: errors.append(str(error)))
    seen.on("request", lambda request: requests.append(request.url))
    wide = []
    for path in sorted(site.glob("*.html")):
        seen.goto(path.as_uri())
        if seen.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(path.name)
    assert not errors and not wide
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
