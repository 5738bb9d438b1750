"""The documentation: snippets run, commands parse, links lead somewhere, every public name is there."""

from __future__ import annotations

import html
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

import st_rankloss
from st_rankloss.cli import make_parser
from tests.models import word_model

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOT_PUBLIC = {"encoding", "judgements", "labels", "numbering"}
WORDS = [*["question", "answer", "how", "to", "boil", "an", "egg", "capital", "of", "france"], *map(str, range(50))]


def blocks(page, language):
    """The fenced blocks of a language, or of several: "python|py". Each has its header: ```csv title="ratings.csv"."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```(?:{language})\b *([^\n]*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def with_blocks(language):
    return [pytest.param(page, id=str(page.relative_to(DOCS))) for page in PAGES if blocks(page, language)]


def write_files(page):
    """Write what a reader has: ratings.csv, and every block of the page that names a file."""
    lines = [
        f"question {i},answer {j},{int(i == j) + int(i % 5 == j % 5)}" for i in range(40) for j in (i, i + 5, i + 6)
    ]
    Path("ratings.csv").write_text("\n".join(["query,document,grade", *lines]), encoding="utf-8")
    for header, text in blocks(page, r"\w*"):
        if named := re.search(r'title="([\w./-]+)"', header):
            Path(named[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(named[1]).write_text(text, encoding="utf-8")


def load_offline(monkeypatch, words):
    """Let `SentenceTransformer` load folders, and a small model in place of one of the hub."""
    load = SentenceTransformer.__init__

    def init(self, name=None, *arguments, **options):
        if name is None or Path(name).exists():
            load(self, name, *arguments, **options)
        else:
            load(self, modules=list(word_model(words)), device="cpu")

    monkeypatch.setattr(SentenceTransformer, "__init__", init)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_the_python_examples_run_in_order(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    words = [*WORDS, *re.findall(r"\w+", page.read_text(encoding="utf-8").lower())]
    load_offline(monkeypatch, words)
    write_files(page)
    names = {}
    for _, block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", with_blocks("console"))
def test_the_commands_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for _, block in blocks(page, "console"):
        for line in re.findall(r"^\$ (.*)", block.replace("\\\n", " "), flags=re.MULTILINE):
            command, *arguments = shlex.split(line, comments=True)
            if command == "st-rankloss":
                assert make_parser().parse_args(arguments).run
            elif command == "make":
                assert set(arguments) <= set(targets), line


def public_modules():
    """Every package, and module at the top, that users import."""
    for module in pkgutil.walk_packages(st_rankloss.__path__, "st_rankloss."):
        _, name, *inner = module.name.split(".")
        if name[0] != "_" and name not in NOT_PUBLIC | {"cli"} and (module.ispkg or not inner):
            yield importlib.import_module(module.name)


def public_names(module):
    """What a module exports, or defines if it does not say."""
    own = [name for name, x in vars(module).items() if getattr(x, "__module__", None) == module.__name__]
    return [name for name in getattr(module, "__all__", own) if name[0] != "_"]


def test_every_public_module_has_a_page():
    directives = {
        found
        for page in (DOCS / "reference").glob("*.md")
        for found in re.findall(r"^::: (st_rankloss[\w.]*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert directives == {module.__name__ for module in public_modules()}


needs_mkdocs = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings", "latex2mathml"))),
    reason="needs the extra docs",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does: a broken link or anchor is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-5000:]
    return folder


@needs_mkdocs
def test_every_public_name_has_a_place_in_the_reference(site):
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    places = {line.split(" ")[0] for line in inventory.splitlines()}
    for module in (st_rankloss, *public_modules()):
        for name in public_names(module):
            shown = getattr(module, name)
            same = {f"{module.__name__}.{name}", f"{getattr(shown, '__module__', '')}.{name}"}
            assert inspect.ismodule(shown) or same & places, f"{module.__name__}.{name}"


@needs_mkdocs
def test_pages_load_nothing_from_other_hosts(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*", page.read_text(encoding="utf-8"))
        loaded = [tag for tag in loaded if 'rel="canonical"' not in tag]
        assert loaded
        assert not [tag for tag in loaded if re.search(r'(?:src|href)="?(?:https?:)?//', tag)], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


@needs_mkdocs
def test_formulas_need_no_script(site):
    page = (site / "reference/functional.html").read_text(encoding="utf-8")
    assert page.count("<math") > 40
    assert "arithmatex" not in page
    assert ".. math" not in page


@needs_mkdocs
def test_the_search_finds_text_of_every_page(site):
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    found = {entry["location"].partition("#")[0] for entry in index}
    assert {str(page.relative_to(DOCS).with_suffix(".html")) for page in PAGES} <= found
    texts = html.unescape(" ".join(entry["text"] for entry in index))
    assert "order of similarities" in texts
