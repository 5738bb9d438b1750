"""Every example of the README runs, on a tiny model in place of the downloaded one."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
import sentence_transformers
from _pytest.doctest import _get_checker, _get_number_flag

from st_rankloss import objectives
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
    assert names["loss"].objective == names["recipe"].objective


@pytest.mark.parametrize("block", [block for block in BLOCKS if ">>>" in block])
def test_the_console_examples_print_what_they_say(block):
    test = doctest.DocTestParser().get_doctest(block, {}, "README", str(README), 0)
    runner = doctest.DocTestRunner(_get_checker(), optionflags=_get_number_flag())  # numbers as in all doctests
    runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert test.examples


def test_the_table_of_objectives_is_that_of_the_docstring():
    table = README.read_text(encoding="utf-8").split("## Objectives")[1].split("</details>")[0]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = objectives.__doc__.split("\n====")[2].splitlines()[1:]
    assert rows == [line.split("`")[1] for line in documented]
    assert f"All {len(rows)} objectives" in table
    assert len(rows) > 30
