"""One static site of all executed notebooks, with an index."""

from __future__ import annotations

import html
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from lmcnb.cli.notebook import Notebook
from lmcnb.cli.text import Refused
from lmcnb.places import figures_dir

ERROR_MARKER = "papermill-error-cell-tag"  # on the cells that papermill adds around a failure

INDEX = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lmcnb: linear mode connectivity in sparse networks</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; }
article { display: flex; gap: 1.5rem; padding: 1.25rem 0; border-top: 1px solid #ddd; }
article img { width: 14rem; height: 10rem; object-fit: contain; }
h2 { margin: 0; font-size: 1.15rem; }
small { color: #666; }
.failed { color: #b00020; }
</style>
</head>
<body>
<h1>Linear mode connectivity in sparse networks</h1>
$entries
</body>
</html>
""")

ENTRY = Template("""<article>
$thumbnail<div>
<h2><a href="$page">$title</a></h2>
<p>$summary</p>
<small>$stem, profile $profile, executed $when$failed</small>
</div>
</article>""")


@dataclass(frozen=True)
class Story:
    """What the index says of one executed notebook."""

    stem: str
    title: str
    summary: str
    profile: str
    when: str
    failed: bool


def build(executed: Path, out: Path, notebooks: Path) -> Path:
    """Write a page for each notebook in `executed` and the index, which is returned.

    Args:
        notebooks: the folder that relative links in the notebooks start from.

    Raises:
        Refused: nothing has been executed.
    """
    paths = sorted(executed.glob("*.ipynb"))
    if not paths:
        raise Refused(f"{executed} holds no executed notebook: `lmcnb run` makes them")
    out.mkdir(parents=True, exist_ok=True)
    entries = []
    for path in paths:
        node = Notebook(path).node
        story = tell(path.stem, node)
        (out / f"{path.stem}.html").write_text(_page(node, story.title, notebooks), encoding="utf-8")
        entries.append(_entry(story, _thumbnail(story, out)))
    index = out / "index.html"
    index.write_text(INDEX.substitute(entries="\n".join(entries)), encoding="utf-8")
    return index


def tell(stem: str, node: Any) -> Story:
    """The first heading, the first sentence, and what papermill noted of the run."""
    markdown = [cell for cell in node.cells if cell.cell_type == "markdown"]
    texts = [cell.source for cell in markdown if ERROR_MARKER not in cell.metadata.get("tags", [])]
    title, summary = headline("\n\n".join(texts))
    run = node.metadata.get("papermill", {})
    return Story(
        stem=stem,
        title=title or stem,
        summary=summary,
        profile=str(run.get("parameters", {}).get("profile", "unknown")),
        when=str(run.get("end_time") or "at an unknown time")[:16].replace("T", " "),
        failed=bool(run.get("exception")),
    )


def headline(markdown: str) -> tuple[str, str]:
    """The first heading of a text and the first sentence of its first paragraph, without their markup."""
    apart = re.sub(r"^(#.*)$", r"\n\1\n", markdown, flags=re.MULTILINE)
    blocks = [block.strip() for block in re.split(r"\n\s*\n", apart) if block.strip()]
    title = next((block.lstrip("# ") for block in blocks if block.startswith("#")), "")
    prose = next((block for block in blocks if block[0] not in "#|<!>-"), "")
    sentence = re.split(r"(?<=[.!?])\s", " ".join(prose.split()), maxsplit=1)[0]
    return _plain(title), _plain(sentence)


def _plain(markdown: str) -> str:
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).translate(str.maketrans("", "", "*`"))


def _page(node: Any, title: str, notebooks: Path) -> str:
    from nbconvert import HTMLExporter

    resources = {"metadata": {"name": title, "path": str(notebooks)}}
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(node, resources=resources)
    return re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)  # pages link each other, not the sources


def _thumbnail(story: Story, out: Path) -> str | None:
    """Copy the notebook's first figure, if it has drawn one, and return its name."""
    drawn = sorted(figures_dir(story.profile).glob(f"fig{story.stem[:2]}*.png"))
    if not drawn:
        return None
    shutil.copyfile(drawn[0], out / drawn[0].name)
    return drawn[0].name


def _entry(story: Story, thumbnail: str | None) -> str:
    image = f'<img src="{html.escape(thumbnail)}" alt="">\n' if thumbnail else ""
    return ENTRY.substitute(
        page=f"{html.escape(story.stem)}.html",
        thumbnail=image,
        failed=' <strong class="failed">and failed</strong>' if story.failed else "",
        **{key: html.escape(getattr(story, key)) for key in ("stem", "title", "summary", "profile", "when")},
    )
