"""What the reference adds to the sources: composed docstrings and signatures, Markdown, links."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

REFERENCE = Path(__file__).parent / "reference"
KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: griffe.ParameterKind.positional_only,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.VAR_POSITIONAL: griffe.ParameterKind.var_positional,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
    inspect.Parameter.VAR_KEYWORD: griffe.ParameterKind.var_keyword,
}


class Docstrings(griffe.Extension):
    """Read docstrings and signatures from the running package, where declarations have completed them."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Complete every object of the package."""
        loader.resolve_aliases(implicit=True, external=False)
        for item in list(objects_of(pkg)):
            complete(item)
        for module in [x for x in objects_of(pkg) if x.is_module and x.exports]:
            uncover(module)


def objects_of(item: griffe.Object) -> Iterator[griffe.Object]:
    """Return an object and those inside it, without what it imports."""
    yield item
    for member in list(item.members.values()):
        if not member.is_alias:
            yield from objects_of(member)


def uncover(module: griffe.Module) -> None:
    """Show the functions that share a name with their file, which hides them from a reader of the sources."""
    for name in map(str, module.exports):
        hiding = module.members.get(name)
        if hiding is not None and not hiding.is_alias and hiding.is_module and name in hiding.members:
            module.members[name] = griffe.Alias(name, hiding.members[name], parent=module)


def complete(item: griffe.Object) -> None:
    """Take docstring and signature from the running object."""
    if item.is_attribute:
        rewrite(item)
        return
    if ".triton_" in item.path:  # imports Triton
        return
    try:
        running = running_object(item)
    except AttributeError:  # only for type checkers
        return
    if item.is_function and hasattr(running, "declaration"):
        item.parameters = parameters_of(running)
    if item.is_class:
        for name in [x for x in item.members if re.fullmatch("__(?!init__|call__).*", x)]:
            del item.members[name]
    if item.is_class and hasattr(running, "function") and "__init__" in item.members:
        item.members["__init__"].parameters = parameters_of(running, "self")
    if item.docstring and running.__doc__:
        item.docstring.value = inspect.cleandoc(running.__doc__)
    rewrite(item)


def running_object(item: griffe.Object) -> Any:
    """Return the object that a path names."""
    module = importlib.import_module(item.module.path)
    names = item.path.removeprefix(item.module.path).strip(".").split(".")
    return functools.reduce(lambda owner, name: inspect.getattr_static(owner, name) if name else owner, names, module)


def parameters_of(running: Any, *first: str) -> griffe.Parameters:
    """Return the parameters of a signature that is made at import."""
    made = [griffe.Parameter(name, kind=griffe.ParameterKind.positional_or_keyword) for name in first]
    for x in inspect.signature(running).parameters.values():
        annotation = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", inspect.formatannotation(x.annotation).strip("'"))
        default = None if x.default is x.empty else repr(x.default)
        made.append(griffe.Parameter(x.name, annotation=annotation, kind=KINDS[x.kind], default=default))
    return griffe.Parameters(*made)


def rewrite(item: griffe.Object) -> None:
    """Turn a docstring into Markdown with links."""
    if item.docstring:
        item.docstring.value = as_markdown(item.docstring.value, item.module.path)


def as_markdown(text: str, module: str) -> str:
    """Return a docstring of this package as Markdown.

    Args:
        text: The docstring.
        module: The module in which its names are looked up.

    Returns:
        The text with formulas between dollars, tables with bars, fenced code and links.
    """
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = re.sub(r"^( *)\.\. math::(.*(?:\n(?:\1 +.*| *(?=\n)))*)", displayed, text, flags=re.MULTILINE)
    text = re.sub(r"^(?:=+ +)+=+\n(?:(.*)\n[= ]+\n)?((?:[^=\n].*\n)+)[= ]+$", table, text, flags=re.MULTILINE)
    text = re.sub(r"^( *)\+[-=+]+\+\n((?:\1[|+].*\n?)+)", grid_table, text, flags=re.MULTILINE)
    text = re.sub(r"^Example:$(?=\n    >>>)", "Examples:", text, flags=re.MULTILINE)
    text = re.sub(r"^( *)Example:\n +::\n((?:\n| {4,}.*\n?)+)", fenced, text, flags=re.MULTILINE)
    text = re.sub(r"::\n\n((?:\n| {4,}.*(?:\n|$))+)", lambda x: f":\n\n{fence(x[1])}", text)
    return re.sub(r"(?<![`\w$])`([A-Za-z_][\w.]*)`(?!`)", functools.partial(link, module=module), text)


def displayed(found: re.Match[str]) -> str:
    """Return a displayed formula."""
    return (
        f"{found[1]}$$\n"
        + "\n".join(f"{found[1]}{x.strip()}" for x in found[2].strip().split("\n"))
        + f"\n{found[1]}$$\n"
    )


def table(found: re.Match[str]) -> str:
    """Return a simple table of reStructuredText, whose rule says where columns begin, as one of Markdown."""
    starts = [x.start() for x in re.finditer("=+", found[0].split("\n")[0])]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    rows = [[row[a:b].strip() for a, b in spans] for row in (found[1] or "", *found[2].splitlines())]
    merged: list[list[str]] = []
    for row in rows:
        if row[0] or not merged:
            merged.append(row)
        else:  # a row that goes on
            merged[-1] = [f"{a} {b}".strip() for a, b in zip(merged[-1], row, strict=True)]
    return bars(merged)


def grid_table(found: re.Match[str]) -> str:
    """Return a table of reStructuredText with a row per line, as one of Markdown."""
    rows = [line.strip()[1:-1].split("|") for line in found[2].splitlines() if line.strip().startswith("|")]
    return textwrap.indent(bars([[cell.strip() for cell in row] for row in rows]), found[1])


def bars(rows: list[list[str]]) -> str:
    """Return a table of Markdown."""
    lines = ["| " + " | ".join(x.replace("|", "\\|") for x in row) + " |" for row in rows]
    return "\n".join(["", lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""])


def fenced(found: re.Match[str]) -> str:
    """Return an example of code that is not a doctest."""
    return f"Example:\n\n{fence(found[2])}"


def fence(code: str) -> str:
    """Return code between fences."""
    return f"```python\n{inspect.cleandoc(code)}\n```\n\n"


def link(found: re.Match[str], module: str) -> str:
    """Return a name as a link to its place in the reference, or as code where it has none."""
    path = public_path(found[1], module)
    return f"[`{found[1]}`][{path}]" if path else found[0]


def public_path(name: str, module: str) -> str | None:
    """Return the path under which the reference has a name used in a module; None if it has none."""
    if name.startswith("st_rankloss."):
        return name if name in places() or name in pages() else None
    first, _, method = name.partition(".")
    path = place_of(first, module)
    if path is None or not method:
        return path
    shown = inspect.isfunction(getattr(running(path), method, None)) and method in vars(running(path))
    return f"{path}.{method}" if shown and method[0] != "_" else None


def place_of(name: str, module: str) -> str | None:
    """Return the path of a name in the reference: on the page of the module, or the only one there is."""
    found = [path for path, last in places().items() if last == name]
    near = [path for path in found if f"{module}.".startswith(path.removesuffix(name))]
    return max(near, key=len) if near else found[0] if len(found) == 1 else None


def running(path: str) -> Any:
    """Return the object of a path of the reference."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@functools.cache
def pages() -> dict[str, list[str]]:
    """Return the modules that have a page, each with the names that its page lists; empty for all."""
    directives = re.compile(r"^::: (st_rankloss[\w.]*)((?:\n +.*)*)", re.MULTILINE)
    found = [directives.findall(page.read_text(encoding="utf-8")) for page in sorted(REFERENCE.glob("*.md"))]
    return {module: re.findall(r"- (\w+)", options) for page in found for module, options in page}


@functools.cache
def places() -> dict[str, str]:
    """Return every public name in the reference, with its object's path there."""
    found = {}
    for module, listed in pages().items():
        there = importlib.import_module(module)
        own = [name for name, x in vars(there).items() if getattr(x, "__module__", None) == module and name[0] != "_"]
        found.update({f"{module}.{name}": name for name in listed or getattr(there, "__all__", own)})
    return found
