"""Every script of the README runs, on a tiny model in place of the downloaded one; pytest runs its doctests."""

from __future__ import annotations

import re
from pathlib import Path

import sentence_transformers

from tests.models import word_model

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_examples_run_in_order(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = README.read_text(encoding="utf-8").lower().split()
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", lambda name: word_model(words))
    names: dict[str, object] = {}
    scripts = [block for block in BLOCKS if ">>>" not in block]
    assert len(scripts) == 4
    for script in scripts:
        exec(compile(script, str(README), "exec"), names)
    assert names["trainer"].state.global_step > 0
    assert names["loss"].objective == names["recipe"].objective_for(names["model"])
