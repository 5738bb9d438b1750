"""How the harness hangs together: imports point one way, and it needs neither the examples nor a changed path."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

EVAL = Path(__file__).parents[2] / "eval"
FLOORS = [
    "names",
    "protocols",
    "machine",
    "tasks",
    "results",
    "plans",
    "training",
    "report",
    "bench",
    "kinds",
    "denoising",
    "clicks",
    "commands",
    "__main__",
]
# `results` describes runs of records; it imports nothing else of `tasks`.


@pytest.mark.parametrize("path", sorted(EVAL.rglob("*.py")), ids=lambda path: str(path.relative_to(EVAL)))
def test_a_file_imports_what_comes_before_it(path):
    text = path.read_text(encoding="utf-8")
    own = path.relative_to(EVAL).parts[0].removesuffix(".py")
    found = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    below = FLOORS[: FLOORS.index(own) + 1] if own in FLOORS else []
    for module in found:
        parts = module.split(".")
        assert parts[0] != "examples"
        assert parts[0] != "eval" or len(parts) == 1 or parts[1] in below, module
    assert "sys.path" not in text
    assert not {"shared", "documentation", "image_text"} & set(found)
