"""The pictures of the documentation are those that their script draws, in the form that the page shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree

DOCS = Path(__file__).parents[1] / "docs"


def pictures():
    """The script, which is not in a package."""
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_draws_the_pictures_of_the_page_alike_in_every_run(tmp_path):
    script = pictures()
    script.draw(tmp_path / "once")
    script.draw(tmp_path / "again")
    drawn = {path.name for path in (tmp_path / "once").iterdir()}
    shown = re.findall(r"\]\(pictures/([\w.]+)\)", (DOCS / "mathematics.md").read_text(encoding="utf-8"))
    assert drawn == set(shown) == {path.name for path in (DOCS / "pictures").glob("*.svg")}
    for name in drawn:
        once = (tmp_path / "once" / name).read_bytes()
        assert ElementTree.fromstring(once).tag.endswith("svg")
        assert once == (tmp_path / "again" / name).read_bytes(), name


def test_every_picture_says_in_words_what_it_shows():
    page = (DOCS / "mathematics.md").read_text(encoding="utf-8")
    said = re.findall(r"!\[([^\]]+)\]\(pictures/", page)
    assert len(said) == page.count("](pictures/")
    assert min(map(len, said)) > 100
