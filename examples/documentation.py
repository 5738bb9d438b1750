"""A search collection made of what is already on the disk: the documentation of the installed packages.

Every documented public object of the standard library and of the installed packages below is one entry. Its query is
the first sentence of its docstring, its document is the qualified name, the signature and the rest of the docstring.
Source files are parsed with :mod:`ast` and never imported, so reading them runs no code.

Relevance is graded by where an object lives: a document is relevant to a query with grade 3 if it is the
object itself, 2 if it belongs to the same class, 1 if it is in the same module, and 0 otherwise.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.util
import re
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path

PACKAGES = (
    "stdlib", "numpy", "scipy", "sklearn", "pandas", "torch", "matplotlib", "sympy", "networkx", "polars", "PIL",
    "transformers", "sentence_transformers", "datasets", "huggingface_hub", "accelerate", "tokenizers", "peft",
    "mteb", "joblib", "mpmath", "fontTools", "fsspec", "pyarrow", "jinja2", "pydantic", "rich", "pygments",
    "requests", "urllib3", "httpx2", "anyio", "click", "typer", "tqdm", "yaml", "psutil", "packaging", "dateutil",
    "dill", "hypothesis", "_pytest", "sortedcontainers", "pyparsing",
)  # fmt: skip
"""Where entries come from, if installed: the dependencies of the default installation. ``stdlib`` is Python itself."""

SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "vendor", "_vendor", "third_party", "externals", "site-packages", "dist-packages"}
    | {"idlelib", "lib2to3", "turtledemo", "ensurepip"}
)
"""Folders that hold tests, copies of other packages, or programs."""

SKIPPED_MODULES = ("transformers.models",)
"""Hundreds of folders that copy one another's docstrings: a query would have many right answers."""

SHORTEST_QUERY = 3  # words
SHORTEST_REST = 60  # characters
LONGEST_REST = 400  # characters

SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?](?=\s)|\n\s*\n|:\n")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Entry:
    """One documented object.

    Args:
        id: Qualified name, such as ``json.decoder.JSONDecoder.decode``.
        query: First sentence of the docstring, on one line.
        document: Qualified name, signature, and the docstring without its first sentence.
        module: Qualified name of the module.
        class_name: Qualified name of the class the object is or belongs to; of the object itself if there is none.
        package: Top-level package, or ``stdlib``.
        parameters: Names of the parameters that the docstring mentions, in the order of the signature.
        lines: Length of the body in lines, without the docstring.
    """

    id: str
    query: str
    document: str
    module: str
    class_name: str
    package: str
    parameters: tuple[str, ...] = ()
    lines: int = 0


def first_sentence(docstring: str) -> tuple[str, str]:
    r"""Split a docstring into its first sentence, on one line, and the rest.

    Example:
        >>> first_sentence("Add two numbers, e.g. 1\nand 2. Both\n  are kept.")
        ('Add two numbers, e.g. 1 and 2.', 'Both are kept.')
    """
    end = SENTENCE_END.search(docstring)
    cut = end.end() if end else len(docstring)
    return " ".join(docstring[:cut].split()), " ".join(docstring[cut:].split())


def signature(node: Definition) -> str:
    """Write a function's parameters and defaults without annotations; a class has its constructor's."""
    if isinstance(node, ast.ClassDef):
        constructors = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        constructor = next(constructors, None)
        return signature(constructor) if constructor else "()"
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"({ast.unparse(node.args)})"


def documented_parameters(node: Definition, docstring: str) -> tuple[str, ...]:
    """Name the parameters of a function, or of a class's constructor, that the docstring mentions."""
    constructors = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    function = node if not isinstance(node, ast.ClassDef) else next(iter(constructors), None)
    if function is None:
        return ()
    words = set(re.findall(r"\w+", docstring))
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return tuple(a.arg for a in arguments if a.arg in words and a.arg not in ("self", "cls"))


def body_lines(node: Definition) -> int:
    """Count the lines of a definition's body after its docstring."""
    start = node.body[0].end_lineno or 0
    return (node.end_lineno or start) - start


def parse_module(source: bytes | str, module: str, package: str) -> Iterator[Entry]:
    """Yield the entries of one module's source text; none if it is no valid Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    nodes: list[tuple[Definition, str]] = [(n, "") for n in tree.body if isinstance(n, Definition)]
    seen = set()
    for node, outer in nodes:  # grows while it is walked: classes append their members
        name = f"{outer or module}.{node.name}"
        if node.name.startswith("_") or name in seen:
            continue
        is_class = isinstance(node, ast.ClassDef)
        if is_class:
            nodes += [(n, name) for n in node.body if isinstance(n, Definition)]
        docstring = ast.get_docstring(node) or ""
        query, rest = first_sentence(docstring)
        if len(query.split()) < SHORTEST_QUERY or len(rest) < SHORTEST_REST:
            continue
        seen.add(name)
        document = f"{name}{signature(node)} {rest[:LONGEST_REST]}"
        class_name = name if is_class else outer or name
        parameters, lines = documented_parameters(node, docstring), body_lines(node)
        yield Entry(name, query, document, module, class_name, package, parameters, lines)


def locate(package: str) -> Path | None:
    """Find a package's folder without importing it; None if it is not installed."""
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin and spec.submodule_search_locations else None


def source_files(package: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each module of a package, in no particular order."""
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts if package == "stdlib" else (package, *parts)).removesuffix(".__init__")
        is_test = any(part in SKIPPED_FOLDERS or part.startswith(("test_", "conftest")) for part in parts)
        if not is_test and not name.startswith(SKIPPED_MODULES):
            yield name, path


def read_package(package: str, folder: Path) -> list[Entry]:
    """Read the entries of one package, in no particular order."""
    gc.disable()  # syntax trees are many small objects and no garbage: a third of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            files = source_files(package, folder)
            return [entry for module, path in files for entry in parse_module(path.read_bytes(), module, package)]
    finally:
        gc.enable()


def fraction(text: str, seed: int) -> float:
    """Map a text to a number in [0, 1) that depends on nothing but the text and the seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8]) / 2**64


def load(
    limit: int | None = 25_000,
    *,
    seed: int = 0,
    packages: Mapping[str, Path | None] | Iterable[str] = PACKAGES,
    processes: int = 2,
) -> list[Entry]:
    """Read the documentation of the installed packages.

    Objects that share their first sentence (an inherited ``fit``, say) would make queries without one right answer:
    one of them is kept, the one whose name comes first. Above ``limit``, modules are left out at random.

    Args:
        limit: Largest number of entries; None reads them all.
        seed: Chooses the modules that are left out, and nothing else.
        packages: Names of top-level packages, or a mapping from names to folders. Those not installed are left out.
        processes: Number of packages parsed at a time.

    Returns:
        The entries in the order of their names, whatever the order of the file system.
    """
    if not isinstance(packages, Mapping):
        packages = {package: locate(package) for package in packages}
    found = {package: folder for package, folder in packages.items() if folder}
    with ProcessPoolExecutor(processes) as pool:
        entries = sorted(chain.from_iterable(pool.map(read_package, found, found.values())), key=attrgetter("id"))
    unique: dict[str, Entry] = {}
    for entry in entries:
        unique.setdefault(entry.query.casefold(), entry)
    kept = sorted(unique.values(), key=lambda entry: (fraction(f"keep {entry.module}", seed), entry.id))[:limit]
    return sorted(kept, key=attrgetter("id"))


def split(entries: Iterable[Entry], *, seed: int = 0) -> dict[str, list[Entry]]:
    """Split entries by module into ``train`` (80 %), ``dev`` and ``test`` (10 % each).

    No module has entries in two parts, so that the siblings of a test query are never trained on.
    """
    parts: dict[str, list[Entry]] = {"train": [], "dev": [], "test": []}
    for entry in entries:
        place = fraction(f"split {entry.module}", seed)
        parts["test" if place < 0.1 else "dev" if place < 0.2 else "train"].append(entry)
    return parts


def paths(entries: Sequence[Entry]) -> list[list[int]]:
    """Number each entry's place in the tree: [module, class, object], the labels of ``relevance.Hierarchy``."""
    names = [(entry.module, entry.class_name, entry.id) for entry in entries]
    numbers = [{name: i for i, name in enumerate(dict.fromkeys(level))} for level in zip(*names, strict=True)]
    return [[number[name] for number, name in zip(numbers, path, strict=True)] for path in names]


def qrels(queries: Iterable[Entry], corpus: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Grade the corpus for each query: the object itself 3, the same class 2, the same module 1.

    Returns:
        Query id to document id to grade; documents of other modules, whose grade is 0, are not listed.
    """
    modules = defaultdict(list)
    for entry in corpus:
        modules[entry.module].append(entry)
    return {
        query.id: {
            document.id: 1 + (document.class_name == query.class_name) + (document.id == query.id)
            for document in modules[query.module]
        }
        for query in queries
    }
