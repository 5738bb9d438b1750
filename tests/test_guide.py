"""Every script of the guide runs, on a file as its readers have."""

from __future__ import annotations

import re
from pathlib import Path

from tests.models import word_model

GUIDE = Path(__file__).parents[1] / "docs/guide.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_examples_run_in_order(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    lines = [
        f"question {i},answer {j},{int(i == j) + int(i % 5 == j % 5)}" for i in range(40) for j in (i, i + 5, i + 6)
    ]
    Path("ratings.csv").write_text("\n".join(["query,document,grade", *lines]), encoding="utf-8")
    words = ["question", "answer", *map(str, range(50))]
    names = {"model": word_model(words)}
    before = names["model"][0].embedding.weight.detach().clone()
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert "retrieval" in capsys.readouterr().out
    assert not (before == names["model"][0].embedding.weight).all()
