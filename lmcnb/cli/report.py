"""One static site of all notebooks: executed copies, and on demand the committed ones, the pages and the reference."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from lmcnb.cli import project
from lmcnb.cli.beneath import Files
from lmcnb.cli.copies import MARKER, RUNNING
from lmcnb.cli.index import Story, index
from lmcnb.cli.page import navigation, rendered, written
from lmcnb.cli.text import Refused
from lmcnb.notebooks import Notebook, ProjectError, find_notebooks
from lmcnb.places import figures_dir
from lmcnb.profiles import CUSTOM, load_profile, overrides, values_under

FOLDER = click.Path(file_okay=False, path_type=Path)
executed_option = click.option("--executed", type=FOLDER, help="Folder of executed notebooks.  [default: executed]")
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", "soak/RESULTS.md")  # pages outside docs/
NAV = ("nav[aria-label=Site] { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0.75rem 1rem; "
       "background: var(--color-background-secondary); }")


@click.command()
@executed_option
@click.option("--out", type=FOLDER, help="Folder to write.  [default: report]")
@click.option("--all", "whole", is_flag=True,
              help="Take the committed notebook where none was executed, and the pages in docs/.")
@click.option("--reference", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of the reference in HTML, to take in.")
def report(executed: Path | None, out: Path | None, whole: bool, reference: Path | None) -> None:
    """Make one HTML site of all executed notebooks, with an index.

    With --all, and the reference that `make docs` builds, it is the whole site: `make site`.
    """
    root = project.root()
    made = build(executed or root / "executed", out or root / "report", root, whole=whole, reference=reference)
    click.echo(f"{made}")


def build(executed: Path, out: Path, root: Path, *, whole: bool = False, reference: Path | None = None) -> Path:
    """Write a page for each notebook in `executed` and the index, which is returned.

    Args:
        root: the project, whose profiles say which settings are whose, and where relative links start from.
        whole: with the project's other notebooks as they are committed, and its pages in Markdown.
        reference: the reference in HTML, which becomes the site's folder of that name.

    Raises:
        Refused: nothing has been executed.
    """
    paths = sorted(executed.glob("*.ipynb"))
    if whole:
        committed = {notebook.stem: notebook.path for notebook in find_notebooks(root)}
        paths = [path for path in paths if path.stem.partition(".")[0] in committed]  # no copy of what is gone
        done = {path.stem for path in paths}
        paths = sorted(paths + [p for stem, p in committed.items() if stem not in done], key=lambda p: p.stem)
    if not paths:
        raise Refused(f"{executed} holds no executed notebook: `lmcnb run` makes them")
    out.mkdir(parents=True, exist_ok=True)
    files, pages = Files(out), _pages(root, whole, reference)
    pages |= {(root / "notebooks" / f"{path.stem}.ipynb").resolve(): f"{path.stem}.html" for path in paths}
    stories: dict[str, list[Story]] = {}
    for path in paths:
        story = tell(Notebook(path), root)
        stories.setdefault(story.stem, []).append(story)
    told = [sorted(copies, key=lambda story: story.page) for copies in stories.values()]
    first = index(told, files, pages)
    for path in paths:
        (out / f"{path.stem}.html").write_text(_page(path, paths, root, files, pages), encoding="utf-8")
    for source, name in pages.items():
        if source.suffix == ".md" and source.name != "README.md":
            text = written(source.read_text(encoding="utf-8"), source.parent, pages)
            (out / name).write_text(text, encoding="utf-8")
    if reference:
        _take_in(reference, out / "reference", pages)
    (out / "index.html").write_text(first, encoding="utf-8")
    return out / "index.html"


def _pages(root: Path, whole: bool, reference: Path | None) -> dict[Path, str]:
    """By file of the project, its page in the site: what links between files become links between pages by."""
    found = {root / "README.md": "index.html"}
    if whole:
        texts = [*sorted((root / "docs").glob("*.md")), *(root / name for name in BESIDE)]
        found |= {path: "-".join(path.relative_to(root).with_suffix(".html").parts) for path in texts
                  if path.is_file()}
    if reference:
        found[root / "docs" / "index.rst"] = "reference/index.html"
    return {path.resolve(): name for path, name in found.items()}


def _page(path: Path, paths: Sequence[Path], root: Path, files: Files, pages: Mapping[Path, str]) -> str:
    from lmcnb.ipynb import nbformat

    story, node = tell(Notebook(path), root), Notebook(path).node
    drawn = story.figure()
    own = figures_dir(CUSTOM if story.overrides else story.profile)
    if drawn and drawn.parent == own:  # the cell has drawn it just now
        cells = [cell for cell in node.cells if "figure" in cell.metadata.get("tags", [])]
        for cell in cells[:1]:
            cell.outputs.append(nbformat.v4.new_output("display_data", {"text/html": files.beneath(drawn)}))
    beside = [_beside(paths, path, step) for step in (-1, 1)]
    return rendered(node, story.title, root / "notebooks", *beside, beneath=files.beneath, pages=pages)


def _take_in(reference: Path, target: Path, pages: Mapping[Path, str]) -> None:
    """The reference, with the site's links on top of its pages, and without what served to build it."""
    if reference.resolve().is_relative_to(target.resolve()) or target.resolve().is_relative_to(reference.resolve()):
        raise Refused(f"{reference} would be copied into itself: build the reference outside {target}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(reference, target, ignore=shutil.ignore_patterns(".doctrees", ".buildinfo", "_sources", "*.inv"))
    top = f"<style>{NAV}</style>{navigation(pages=pages, up='../')}"
    for page in target.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"(<body[^>]*>)", lambda found: found[1] + top, text, count=1), encoding="utf-8")


def _beside(paths: Sequence[Path], path: Path, step: int) -> str:
    """The name of the complete notebook before or after this one, or nothing."""
    whole = [p.stem for p in paths if "." not in p.stem or p == path]
    at = whole.index(path.stem) + step
    return whole[at] if 0 <= at < len(whole) else ""


def tell(copy: Notebook, root: Path) -> Story:
    """The first heading, the first sentence, what papermill noted of the run, and how it ended if not complete."""
    node = copy.node
    markdown = [cell for cell in node.cells if cell.cell_type == "markdown"]
    texts = [cell.source for cell in markdown if MARKER not in cell.metadata.get("tags", [])]
    title, summary = headline("\n\n".join(texts))
    run = node.metadata.get("papermill", {})
    when = str(run.get("end_time") or run.get("start_time") or "")[:16].replace("T", " ")
    committed = copy.path.parent == root / "notebooks"
    parameters = copy.defaults if committed else run.get("parameters", {})
    profile = str(parameters.get("profile", "unknown"))
    stopped = node.metadata.get("lmcnb", {}).get("stopped", "failed" if run.get("exception") else "")
    if copy.path.stem.endswith(f".{RUNNING}"):
        stopped = "still running, or cut off"
    return Story(
        page=copy.path.stem,
        title=title or copy.path.stem,
        summary=summary,
        profile=profile,
        overrides=_overrides(copy, profile, parameters, root),
        when="" if committed else when or "at an unknown time",
        stopped=stopped,
    )


def _overrides(
    copy: Notebook, profile: str, injected: Mapping[str, object], root: Path
) -> dict[str, dict[str, object]]:
    try:
        [notebook] = find_notebooks(root, [copy.stem.partition(".")[0]])
        exact = values_under(notebook, profile, load_profile(root, profile))
        return overrides({**copy.defaults, **injected}, exact)
    except ProjectError:  # a notebook or a profile that the project no longer has
        return {}


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
