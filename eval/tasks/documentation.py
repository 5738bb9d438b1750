"""The built-in corpus: first sentences of docstrings search for the objects they describe.

Every documented public object of the standard library and of the installed packages below is one entry. Sources are
parsed and never imported. A document has grade 3 if it is the object itself, 2 if it belongs to the same class, and 1
if it is in the same module. ``examples/documentation.py`` makes the same entries; a test compares the two.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

_NAMES = """
stdlib numpy scipy sklearn pandas torch matplotlib sympy networkx polars PIL transformers sentence_transformers datasets
huggingface_hub accelerate tokenizers peft mteb joblib mpmath fontTools fsspec pyarrow jinja2 pydantic rich pygments
requests urllib3 httpx2 anyio click typer tqdm yaml psutil packaging dateutil dill hypothesis _pytest sortedcontainers
pyparsing
"""
PACKAGES = tuple(_NAMES.split())
SKIPPED = frozenset((
    "test", "tests", "testing", "vendor", "_vendor", "third_party", "externals", "site-packages", "dist-packages",
    "idlelib", "lib2to3", "turtledemo", "ensurepip",
))  # fmt: skip
"""Folders of tests, of copies of other packages, and of programs."""

COPIES = "transformers.models"
"""Modules that copy each other's docstrings, so that queries would have many right answers."""

SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?](?=\s)|\n\s*\n|:\n")


@dataclass(frozen=True)
class Entry:
    """One documented object: its qualified names, the query that looks for it, and the text that answers."""

    id: str
    query: str
    document: str
    module: str
    class_name: str


def parse_module(source: bytes | str, module: str) -> Iterator[Entry]:
    """Yield the entries of one module's source; none if it is not valid Python."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return
    todo = [(node, "") for node in body]
    seen = set()
    for node, outer in todo:  # grows during the loop: classes add their members
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        name = f"{outer or module}.{node.name}"
        if name in seen:
            continue
        if isinstance(node, ast.ClassDef):
            todo += [(member, name) for member in node.body]
        text = ast.get_docstring(node) or ""
        end = SENTENCE_END.search(text)
        cut = end.end() if end else len(text)
        query, rest = (" ".join(part.split()) for part in (text[:cut], text[cut:]))
        if len(query.split()) >= 3 and len(rest) >= 60:
            seen.add(name)
            class_name = name if isinstance(node, ast.ClassDef) else outer or name
            yield Entry(name, query, f"{name}{_signature(node)} {rest[:400]}", module, class_name)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        made = [member for member in node.body if isinstance(member, ast.FunctionDef) and member.name == "__init__"]
        return _signature(made[0]) if made else "()"
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"({ast.unparse(node.args)})"


def read_package(package: str, folder: Path | None = None) -> list[Entry]:
    """Read a package's entries from its folder, by default where it is installed; none if it is not."""
    if folder is None:
        spec = None if package == "stdlib" else importlib.util.find_spec(package)
        origin = spec.origin if spec and spec.submodule_search_locations else None
        folder = Path(sysconfig.get_path("stdlib")) if package == "stdlib" else Path(origin).parent if origin else None
    found: list[Entry] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        for path in folder.rglob("*.py") if folder else ():
            parts = path.relative_to(folder).with_suffix("").parts  # type: ignore[arg-type]
            module = ".".join(parts if package == "stdlib" else (package, *parts)).removesuffix(".__init__")
            tests = any(part in SKIPPED or part.startswith(("test_", "conftest")) for part in parts)
            if not tests and not module.startswith(COPIES):
                found += parse_module(path.read_bytes(), module)
    return found


def load(limit: int) -> list[Entry]:
    """Read the installed packages; above the limit, modules are left out at random.

    Of objects with the same first sentence, such as an inherited ``fit``, only the first by name is kept.
    """
    with ProcessPoolExecutor(2) as pool:
        entries = sorted(chain.from_iterable(pool.map(read_package, PACKAGES)), key=lambda entry: entry.id)
    unique: dict[str, Entry] = {}
    for entry in entries:
        unique.setdefault(entry.query.casefold(), entry)
    kept = sorted(unique.values(), key=lambda entry: (_fraction("keep", entry), entry.id))[:limit]
    return sorted(kept, key=lambda entry: entry.id)


def split(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Split entries by module into ``train`` (80 %), ``dev`` and ``test`` (10 % each)."""
    parts: dict[str, list[Entry]] = {"train": [], "dev": [], "test": []}
    for entry in entries:
        place = _fraction("split", entry)
        parts["test" if place < 0.1 else "dev" if place < 0.2 else "train"].append(entry)
    return parts


def _fraction(purpose: str, entry: Entry) -> float:
    """Map an entry's module to a number in [0, 1) that depends on its name alone."""
    return int.from_bytes(hashlib.sha256(f"0:{purpose} {entry.module}".encode()).digest()[:8]) / 2**64


def qrels(entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """Grade the entries for each other; those of other modules, with grade 0, are not listed."""
    modules: dict[str, list[Entry]] = {}
    for entry in entries:
        modules.setdefault(entry.module, []).append(entry)
    return {
        query.id: {d.id: 1 + (d.class_name == query.class_name) + (d.id == query.id) for d in modules[query.module]}
        for query in entries
    }
