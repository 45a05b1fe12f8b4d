"""One static site of all executed notebooks, with an index."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from lmcnb.cli.copies import MARKER, RUNNING
from lmcnb.cli.page import rendered
from lmcnb.cli.text import Refused
from lmcnb.notebooks import Notebook, ProjectError, find_notebooks
from lmcnb.places import figures_dir
from lmcnb.profiles import CUSTOM, load_profile, overrides, values_under

INDEX = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lmcnb: linear mode connectivity in sparse networks</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: break-word; }
article { display: flex; flex-wrap: wrap; gap: 1.5rem; padding: 1.25rem 0; border-top: 1px solid #8884; }
article img { width: 14rem; height: 10rem; object-fit: contain; background: #fff; }
article div { flex: 1 1 18rem; }
.board { max-width: 100%; background: #fff; }
h2 { margin: 0; font-size: 1.15rem; }
small { opacity: 0.7; }
.failed { color: #d0314a; }
</style>
</head>
<body>
<h1>Do sparse networks trained twice end in the same minimum?</h1>
$board
$entries
</body>
</html>
""")

ENTRY = Template("""<article>
$thumbnail<div>
<h2><a href="$page.html">$title</a></h2>
<p>$summary</p>
<small>$stem, $settings, executed $when</small>$stopped
</div>
</article>""")

STOPPED = Template("""<br>
<strong class="failed"><a href="$page.html">$which</a>: $stopped</strong>""")


@dataclass(frozen=True)
class Story:
    """What the index says of one executed notebook; `stopped` says why it is not complete."""

    page: str
    title: str
    summary: str
    profile: str
    overrides: Mapping[str, Mapping[str, object]]
    when: str
    stopped: str

    @property
    def stem(self) -> str:
        return self.page.partition(".")[0]

    @property
    def settings(self) -> str:
        changed = ", ".join(f"{name} {value['here']!r}" for name, value in self.overrides.items())
        return f"profile {self.profile}{' but ' + changed if changed else ''}"


def build(executed: Path, out: Path, root: Path) -> Path:
    """Write a page for each notebook in `executed` and the index, which is returned.

    Args:
        root: the project, whose profiles say which settings are whose, and where relative links start from.

    Raises:
        Refused: nothing has been executed.
    """
    paths = sorted(executed.glob("*.ipynb"))
    if not paths:
        raise Refused(f"{executed} holds no executed notebook: `lmcnb run` makes them")
    out.mkdir(parents=True, exist_ok=True)
    stories: dict[str, list[Story]] = {}
    for path in paths:
        story = tell(Notebook(path), root)
        beside = [_beside(paths, path, step) for step in (-1, 1)]
        page = rendered(Notebook(path).node, story.title, root / "notebooks", *beside)
        (out / f"{path.stem}.html").write_text(page, encoding="utf-8")
        stories.setdefault(story.stem, []).append(story)
    entries = [_entry(sorted(copies, key=lambda story: story.page), out) for copies in stories.values()]
    index = out / "index.html"
    index.write_text(INDEX.substitute(board=_board(out), entries="\n".join(entries)), encoding="utf-8")
    return index


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
    profile = str(run.get("parameters", {}).get("profile", "unknown"))
    stopped = node.metadata.get("lmcnb", {}).get("stopped", "failed" if run.get("exception") else "")
    if copy.path.stem.endswith(f".{RUNNING}"):
        stopped = "still running, or cut off"
    return Story(
        page=copy.path.stem,
        title=title or copy.path.stem,
        summary=summary,
        profile=profile,
        overrides=_overrides(copy, profile, run.get("parameters", {}), root),
        when=str(run.get("end_time") or run.get("start_time") or "")[:16].replace("T", " ") or "at an unknown time",
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


def _board(out: Path) -> str:
    """The picture of all verdicts, where the project has one."""
    picture = figures_dir("laptop").parent / "board.png"
    if not picture.is_file():
        return ""
    shutil.copyfile(picture, out / picture.name)
    return f'<p><img class="board" src="{picture.name}" alt="Every headline, its effect and its verdict"></p>'


def _thumbnail(story: Story, out: Path) -> str | None:
    """Copy the notebook's first figure, if it has drawn one, and return its name."""
    folder = figures_dir(CUSTOM if story.overrides else story.profile)
    drawn = sorted(folder.glob(f"fig{story.stem[:2]}*.png"))
    if not drawn:
        return None
    shutil.copyfile(drawn[0], out / drawn[0].name)
    return drawn[0].name


def _entry(copies: Sequence[Story], out: Path) -> str:
    """A notebook's part of the index: its complete copy, or else the first, and how the incomplete ones ended."""
    first, thumbnail = copies[0], _thumbnail(copies[0], out)
    alt = f"The figure of {html.escape(first.title)}"
    image = f'<img src="{html.escape(thumbnail)}" alt="{alt}">\n' if thumbnail else ""
    return ENTRY.substitute(
        thumbnail=image,
        stopped="".join(_stopped(copy, "this run" if copy is first else "a later run") for copy in copies),
        **{key: html.escape(getattr(first, key)) for key in ("page", "stem", "title", "summary", "settings", "when")},
    )


def _stopped(story: Story, which: str) -> str:
    values = {"which": which, "page": html.escape(story.page), "stopped": html.escape(story.stopped)}
    return STOPPED.substitute(values) if story.stopped else ""
