"""The reference lists what there is: the names that one reads ``lmcnb.name``, and every part of the house."""
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import lmcnb

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {page.stem: page.read_text() for page in DOCS.glob("*.rst")}
LISTED = re.findall(r"^   ~?(lmcnb[\w.]+)$", PAGES["api"], re.MULTILINE)


def test_the_first_page_lists_every_flat_name_once():
    assert sorted(name.rpartition(".")[2] for name in LISTED) == sorted(lmcnb.__all__)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_name_is_where_the_page_says(name: str):
    module, _, short = name.rpartition(".")
    found = getattr(importlib.import_module(module), short)
    assert found is getattr(lmcnb, short)
    if not inspect.ismodule(found):
        assert getattr(found, "__module__", module) == module, "the page of this module describes it"


def test_every_part_of_the_house_has_a_page():
    house = "\n".join(text for name, text in PAGES.items() if name != "api")
    described = set(re.findall(r"^   (lmcnb\.\w+)$", house, re.MULTILINE))
    assert described == {f"lmcnb.{m.name}" for m in pkgutil.iter_modules(lmcnb.__path__)} - {"lmcnb.__main__"}


def test_every_page_is_in_the_table_of_contents():
    assert {*re.findall(r"^   (\w+)$", PAGES["index"], re.MULTILINE), "index"} == set(PAGES)
