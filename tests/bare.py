"""Run the README against an installed wheel and nothing else: no checkout, no extras, no test packages.

    BARE_VENV/bin/python tests/bare.py              after `pip install st_rankloss.whl`
    BARE_VENV/bin/python tests/bare.py --metrics    after `pip install 'st_rankloss.whl[metrics]'`

`make test-bare` does both. This file must import only what the wheel depends on.
"""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

import st_rankloss

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
METRICS = "--metrics" in sys.argv


def tiny_model(name: str) -> SentenceTransformer:
    """Make a model of the README's words, in place of one that would be downloaded."""
    words = dict.fromkeys(["?", *README.split()])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")


def check_environment() -> None:
    """Make sure that the wheel is what is tested, and that no extra is there by accident."""
    assert Path(st_rankloss.__file__).resolve().parents[1] != ROOT, "this is the checkout, not the wheel"
    for extra in ("PIL", "faiss", "mteb", "pytest") + (() if METRICS else ("pytrec_eval",)):
        assert find_spec(extra) is None, f"{extra} is installed: this environment is not bare"


def import_without_triton(module: str) -> None:
    """Import the kernels for GPUs, whose error must say which extra they need."""
    try:
        importlib.import_module(module)
        message = "no error"
    except ImportError as error:
        message = str(error)
    assert "pip install 'st_rankloss[triton]'" in message, message


def run_script(block: str, names: dict[str, object]) -> None:
    """Run a block in the names of those before it; only the evaluator needs an extra, and its error says which."""
    if METRICS or "GradedInformationRetrievalEvaluator(" not in block:
        exec(compile(block, "README.md", "exec"), names)
        return
    try:
        exec(compile(block, "README.md", "exec"), names)
        message = "no error"
    except ImportError as error:
        message = str(error)
    assert "pip install 'st_rankloss[metrics]'" in message, message


def run_console(block: str) -> None:
    """Run a block of console lines, and compare what they print."""
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


def checks() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield everything to run, in order, by name."""
    yield "environment", check_environment
    for module in pkgutil.walk_packages(st_rankloss.__path__, "st_rankloss."):
        load = (
            import_without_triton if ".triton_" in module.name and not find_spec("triton") else importlib.import_module
        )
        yield f"import {module.name}", partial(load, module.name)
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCKS, start=1):
        yield (
            f"README block {number}",
            partial(run_console, block) if ">>>" in block else partial(run_script, block, names),
        )


def main() -> int:
    """Run all checks in a temporary folder; print what fails, and the counts."""
    torch.manual_seed(0)
    sentence_transformers.SentenceTransformer = tiny_model
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, check in checks():
            try:
                check()
                passed += 1
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}")
        os.chdir(ROOT)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
