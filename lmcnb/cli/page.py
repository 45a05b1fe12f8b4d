"""A page of the site: an executed notebook as HTML that needs nothing from the network and fits a phone."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

CELL = """{%- extends 'basic/index.html.j2' -%}
{%- block input -%}
{%- if cell.metadata.get('jupyter', {}).get('source_hidden') -%}
<details><summary>code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock input -%}
{%- block in_prompt -%}{%- endblock in_prompt -%}
{%- block output_area_prompt -%}{%- endblock output_area_prompt -%}
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · lmcnb</title>
<style>
$style
</style>
</head>
<body>
$nav
<main>
$body
</main>
$nav
</body>
</html>
""")

# By file, what every page leads to where the site has it; the reference's first page is made of index.rst.
PLACES = {"findings": "findings", "claims": "claims", "limits": "limits", "running": "running it", "index": "reference"}
STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --ground: #ffffff; --faint: #f5f5f5; --line: #dddddd;
  --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --ground: #16181a; --faint: #22262a; --line: #3a3f44; --link: #7ab8ff; }
  main img { background: #ffffff; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto;
  padding: 0 1rem; max-width: 60rem; overflow-wrap: break-word; }
a { color: var(--link); }
a.anchor-link { display: none; }
nav { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0.75rem 0; border-bottom: 1px solid var(--line); }
nav .next { margin-left: auto; }
h1, h2, h3 { line-height: 1.25; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid var(--line); }
img, svg { max-width: 100%; height: auto; }
pre, .highlight, math[display=block], .output_html, .rendered_html { overflow-x: auto; }
pre { font-size: 0.85rem; background: var(--faint); padding: 0.6rem; margin: 0.5rem 0; }
details > summary { cursor: pointer; font-size: 0.85rem; opacity: 0.75; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: 0.85rem; max-width: 100%; }
table[border] { border: 0; }
td:last-child { min-width: 9rem; }
.beneath { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.85rem; align-items: baseline; }
.beneath details[open] { flex-basis: 100%; }
.icon { vertical-align: -0.15em; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
"""
SOURCES = re.compile(r'href="(?!https?:|mailto:)([^"#]+\.(?!html)\w+|LICENSE|[^"#]+/)(#[^"]*)?"')
PICTURE = re.compile(r'(<img[^>]*?)src="((?![a-z]+:)[^"]+\.(?:png|gif))"([^>]*>)((?:</a>)?</p>)?')
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
MATH = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|(?<![\\$\w])\$([^$\n]+?)\$(?!\w)", re.DOTALL)


def rendered(node: Any, title: str, base: Path, before: str = "", after: str = "", *,
             beneath: Callable[[Path], str] = lambda picture: "", pages: Mapping[Path, str] | None = None) -> str:
    """A notebook as a page: folded code, formulas as MathML, pictures within it.

    Args:
        base: the folder that its relative links begin in. before, after: names of the pages beside it.
        beneath: what stands under a picture of the project, as HTML.
        pages: by file of the project its page, for links; a link that would lead nowhere becomes text.
    """
    drawn: list[str] = []
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = without_formulas(cell.source, drawn)
        cell.get("outputs", [])[:] = [o for o in cell.get("outputs", []) if not (_is_bar(o) or _is_widget(o))]
    body, _ = _exporter().from_notebook_node(node, resources={"metadata": {"name": title}})
    body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)  # pages link each other, not the sources
    body = SOURCES.sub(lambda found: _leading(found, base, pages or {}), body)
    body = PICTURE.sub(lambda found: f'{found[1]}src="{_embedded(base / found[2])}"{found[3]}{found[4] or ""}'
                       + beneath(base / found[2]), body)
    body = re.sub(r'<a class="anchor-link"[^>]*>.*?</a>', "", body)
    body = re.sub(r'(<h\d id=)"([^"]+)"', lambda found: f'{found[1]}"{anchor(found[2])}"', body)
    nameless, named = "No description has been provided for this image", f"{html.escape(title)}: a picture"
    body = body.replace(f'alt="{nameless}"', f'alt="{named}"')
    body = re.sub(r"formula-(\d+)-here", lambda found: drawn[int(found[1])], body)
    return PAGE.substitute(title=html.escape(title), style=STYLE + colours(), body=body,
                           nav=navigation(before, after, pages or {}))


@cache
def _exporter() -> Any:
    """Made once: its templates take as long as a page."""
    from nbconvert import HTMLExporter

    made = HTMLExporter(raw_template=CELL)
    made.register_filter("clean_html", lambda text: text)  # of highlighted code, which pygments has escaped
    return made


def written(text: str, base: Path, pages: Mapping[Path, str]) -> str:
    """A page of Markdown as a page of the site: a notebook of one cell."""
    from lmcnb.ipynb import nbformat

    title = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("# ")), "lmcnb")
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(COMMENT.sub("", text))])
    return rendered(node, title, base, pages=pages)


def _leading(found: re.Match[str], base: Path, pages: Mapping[Path, str]) -> str:
    """A link into the project's files, as one to their page."""
    page = pages.get((base / found[1]).resolve())
    return f'href="{page}{found[2] or ""}"' if page else 'title="in the repository"'


def anchor(heading: str) -> str:
    """Where links written for the repository look for a heading.

    >>> anchor("Many-cores,-GPUs,-and-machines")
    'many-cores-gpus-and-machines'
    """
    return re.sub(r"formula-\d+-here|[^\w-]", "", html.unescape(heading)).strip("-").lower()


def without_formulas(markdown: str, drawn: list[str]) -> str:
    """The text with a mark for each formula, whose MathML joins ``drawn``: Markdown's cleaner would take it apart.

    >>> drawn = []
    >>> without_formulas("`$x$` and $x^2$", drawn)
    '`$x$` and formula-0-here'
    >>> assert "<msup><mi>x</mi><mn>2</mn></msup>" in drawn[0]
    """
    from latex2mathml.converter import convert

    def mark(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        try:
            drawn.append(convert(found[2] or found[3], display="block" if found[2] else "inline"))
        except Exception:  # the converter's, of what is no formula: it stays as it is written
            return f"`{found[0]}`"
        return f"formula-{len(drawn) - 1}-here"
    return MATH.sub(mark, markdown)


def _is_bar(output: Any) -> bool:
    """Whether an output is what a progress bar left behind."""
    return output.get("name") == "stderr" and "%|" in "".join(output.get("text", ""))


def _is_widget(output: Any) -> bool:
    """Whether an output is a view of what lives in a kernel, or the name that is left of one."""
    data = output.get("data", {})
    plain = "".join(data.get("text/plain", ""))
    return any("widget-view" in kind for kind in data) or plain.startswith("VBox(children")


def _embedded(picture: Path) -> str:
    if not picture.is_file():
        return ""
    return f"data:image/{picture.suffix[1:]};base64," + base64.b64encode(picture.read_bytes()).decode()


def navigation(before: str = "", after: str = "", pages: Mapping[Path, str] | None = None, up: str = "") -> str:
    """The links on top of every page, and those to the pages before and after. ``up`` leads to the site's folder."""
    named = {path.stem: name for path, name in (pages or {}).items()}
    links = [f'<a href="{up}index.html">all notebooks</a>']
    links += [f'<a href="{up}{named[stem]}">{text}</a>' for stem, text in PLACES.items() if stem in named]
    links += [f'<a href="{before}.html">← {before[:2]}</a>'] * bool(before)
    links += [f'<a class="next" href="{after}.html">{after[:2]} →</a>'] * bool(after)
    return f'<nav aria-label="Site">{"".join(links)}</nav>'


def colours() -> str:
    """Of code, by day and by night."""
    from pygments.formatters.html import HtmlFormatter

    day, night = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "monokai"))
    return f"{day}\n@media (prefers-color-scheme: dark) {{\n{night}\n}}\n.highlight {{ background: none; }}\n"
