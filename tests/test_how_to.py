"""What pages download runs with small models of the same kind, and scripts for several processes run in one."""

from __future__ import annotations

import ast

import pytest
import sentence_transformers

from tests.models import tiny_clip, tiny_cross_encoder
from tests.test_docs import DOCS, blocks

HOW_TO = DOCS / "how-to"
WORDS = ["a", "red", "green", "blue", "grey", "square", "paper", "boil", "an", "egg", "minutes", "eggs"]


def code(page, languages):
    """The fenced blocks of some languages, in order; those of `py` need a download or several processes."""
    return [block for _, block in blocks(HOW_TO / page, languages)]


@pytest.mark.parametrize(
    ("page", "kind", "make"),
    [("images.md", "SentenceTransformer", tiny_clip), ("distillation.md", "CrossEncoder", tiny_cross_encoder)],
)
def test_pages_that_download_run_with_small_models(page, kind, make, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sentence_transformers, kind, lambda *_: make(tmp_path, WORDS))
    names = {}
    for block in code(page, "python|py"):
        exec(compile(block, page, "exec"), names)


def test_the_script_for_several_processes_trains_in_one(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    script, evaluation = code("several-gpus.md", "py")
    exec(compile(script, "train.py", "exec"), {"__name__": "__main__"})
    assert "train_loss" in capsys.readouterr().out
    ast.parse(evaluation)


def test_only_these_pages_have_code_that_is_not_run_elsewhere():
    pages = {path.name for path in HOW_TO.glob("*.md") if code(path.name, "py")}
    assert pages == {"images.md", "distillation.md", "several-gpus.md"}
