"""The reference, built from docstrings by ``make docs``; readable without a network."""
import importlib
import pkgutil
import pydoc

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import lmcnb
from lmcnb.cli import main

project, author = "lmcnb", "The lmcnb developers"
version = release = lmcnb.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"lmcnb {release}"
html_show_copyright = html_show_sphinx = html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "monokai"

default_role = "literal"
smartquotes = False  # a quoted value is typed as it stands
suppress_warnings = ["ref.python"]  # a name in a signature that two modules have: either will do
autosummary_generate = False
autodoc_default_options = {"member-order": "bysource", "exclude-members": "model_config, model_post_init"}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes within their class's text: members of it have a text of their own


class Modules(SphinxDirective):
    """``.. modules:: lmcnb.data``: a section each for the package and all its modules, or for the modules named."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        lines = []
        for name in self.content:
            module = importlib.import_module(name)
            if hasattr(module, "__path__"):
                lines += [f".. automodule:: {name}", ""]
                names = [f"{name}.{found.name}" for found in pkgutil.iter_modules(module.__path__)]
            else:
                names = [name]
            for each in names:
                lines += [each, "-" * len(each), "", f".. automodule:: {each}", "   :members:", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Commands(SphinxDirective):
    """``.. commands::``: what every command says of itself with ``--help``."""

    def run(self) -> list[nodes.Node]:
        return [nodes.literal_block(text, text, language="text") for text in helps(main, "lmcnb")]


def helps(command: click.Command, name: str, parent: click.Context | None = None) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=88, terminal_width=88)
    found = [command.get_help(context)]
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found += helps(command.get_command(context, each), each, context)
    return found


def whole_name(app: Sphinx, env, node, content):
    """Where ``lmcnb.Networks``, or ``Networks`` alone, leads: to the one place that describes it."""
    if node.get("refdomain") != "py":
        return None
    known, name = env.get_domain("py").objects, node["reftarget"]
    thing = pydoc.locate(name) if name.startswith("lmcnb.") else None
    fitting = [f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"]
    if fitting[0] not in known:
        fitting = [each for each in known if each.endswith(f".{name.removeprefix('lmcnb.')}")]
    if len(fitting) != 1:
        return None
    place = known[fitting[0]]
    uri = app.builder.get_relative_uri(node["refdoc"], place.docname)
    return nodes.reference("", "", content, internal=True, refuri=f"{uri}#{place.node_id}", reftitle=fitting[0])


def setup(app: Sphinx) -> None:
    app.add_directive("modules", Modules)
    app.add_directive("commands", Commands)
    app.connect("missing-reference", whole_name)
