"""The first page of the site: the question, the explorer, the board, and every notebook with its figure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from lmcnb.cli import film
from lmcnb.cli.beneath import Files
from lmcnb.cli.page import PAGE, STYLE, navigation
from lmcnb.places import figures_dir
from lmcnb.profiles import CUSTOM, UNJUDGED

LAYOUT = """
article { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; padding: 1.25rem 0; border-top: 1px solid var(--line); }
article img { width: 14rem; height: 10rem; object-fit: contain; background: #fff; }
article > div { flex: 1 1 18rem; min-width: 0; }
.board { max-width: 100%; background: #fff; }
article h2 { margin: 0; font-size: 1.15rem; }
small { opacity: 0.75; }
.still { display: none; }
@media print, (prefers-reduced-motion: reduce) { .moving { display: none; } .still { display: inline; } }
.failed { color: #d0314a; }
"""

ENTRY = Template("""<article>
$thumbnail<div>
<h2><a href="$page.html">$title</a></h2>
<p>$summary</p>
<small>$stem, $settings, $executed</small>$stopped
$beneath</div>
</article>""")

STOPPED = Template("""<br>
<strong class="failed"><a href="$page.html">$which</a>: $stopped</strong>""")
QUESTION = "Do sparse networks trained twice end in the same minimum?"
EXPLORED = ("fig03_stability_cifar10", "fig05_loss_landscape_cifar10")


@dataclass(frozen=True)
class Story:
    """What the index says of one notebook; `stopped` says why it is not complete, `when` nothing if not executed."""

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

    @property
    def executed(self) -> str:
        drawn = self.figure()
        whose = drawn.parent.name if drawn else CUSTOM
        return (f"executed {self.when}" if self.when else "as it comes with the project") + \
            ("" if whose in (self.profile, CUSTOM) else f"; figure: profile {whose}")

    def figure(self) -> Path | None:
        """Its first figure's picture: the run's, or, as a smoke run shows nothing that is true, a committed one."""
        own = CUSTOM if self.overrides else self.profile
        folders = ["laptop", "gpu", "paper", own] if own in (UNJUDGED, "unknown") else [own]
        drawn = [path for name in folders for path in sorted(figures_dir(name).glob(f"fig{self.stem[:2]}*.png"))]
        return drawn[0] if drawn else None


def index(stories: Sequence[Sequence[Story]], files: Files, pages: Mapping[Path, str]) -> str:
    """The page. ``stories`` has, for each notebook, its copies: the complete one first."""
    entries = [_entry(copies, files) for copies in stories]
    others = "".join(f'<li><a href="{name}">{html.escape(path.stem.lower().replace("-", " "))}</a></li>'
                     for path, name in pages.items() if path.suffix == ".md" and path.name != "README.md")
    parts = [f"<h1>{QUESTION}</h1>", _film(files), _explorer(), _board(files),
             '<h2 id="notebooks">Notebooks</h2>', *entries, f"<h2>Pages</h2><ul>{others}</ul>" if others else ""]
    return PAGE.substitute(title="linear mode connectivity in sparse networks", style=STYLE + LAYOUT,
                           nav=navigation(pages=pages), body="\n".join(filter(None, parts)))


def _explorer() -> str:
    """Of figures 3 and 5, where the project has them."""
    if not all((figures_dir("laptop") / f"{name}.json").is_file() for name in EXPLORED):
        return ""
    from lmcnb.figures import Explorer, explorer

    found = explorer(EXPLORED[0], planes=EXPLORED[1])
    return f'<h2 id="explorer">Walk between two trainings</h2>{found.html}' if isinstance(found, Explorer) else ""


def _film(files: Files) -> str:
    """Two trainings that leave one point, where the project has them; a strip on paper, and for who wants no motion."""
    folder = figures_dir("laptop").parent
    kinds = {"moving": folder / f"{film.NAME}.gif", "still": folder / f"{film.NAME}.png"}
    if not all(path.is_file() for path in kinds.values()):
        return ""
    pictures = (f'<img class="{kind}" src="{files.copy(path)}" alt="{film.ALT}">' for kind, path in kinds.items())
    return f"<p>{''.join(pictures)}</p>"


def _board(files: Files) -> str:
    """The picture of all verdicts, where the project has one."""
    picture = figures_dir("laptop").parent / "board.png"
    if not picture.is_file():
        return ""
    return (f'<h2 id="the-board">The board</h2><p><img class="board" src="{files.copy(picture)}" '
            'alt="Every headline, its effect and its verdict"></p>')


def _entry(copies: Sequence[Story], files: Files) -> str:
    """A notebook's part of the index: its complete copy, or else the first, and how the incomplete ones ended."""
    first, picture = copies[0], copies[0].figure()
    alt = f"The figure of {html.escape(first.title)}"
    image = f'<img src="{html.escape(files.copy(picture))}" alt="{alt}">\n' if picture else ""
    return ENTRY.substitute(
        thumbnail=image, beneath=files.beneath(picture, f"{first.page}.html") if picture else "",
        stopped="".join(_stopped(copy, "this run" if copy is first else "a later run") for copy in copies),
        **{key: html.escape(getattr(first, key))
           for key in ("page", "stem", "title", "summary", "settings", "executed")},
    )


def _stopped(story: Story, which: str) -> str:
    values = {"which": which, "page": html.escape(story.page), "stopped": html.escape(story.stopped)}
    return STOPPED.substitute(values) if story.stopped else ""
