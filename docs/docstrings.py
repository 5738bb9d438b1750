"""What the reference adds to the sources: composed docstrings and signatures, Markdown, links."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
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

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Complete every object of the package."""
        for item in objects_of(pkg):
            complete(item)


def objects_of(item: griffe.Object) -> Iterator[griffe.Object]:
    """Return an object and those inside it, without what it imports."""
    yield item
    for member in list(item.members.values()):
        if not member.is_alias:
            yield from objects_of(member)


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
    text = re.sub(r"^(=+ +)+=+\n(.*)\n[= ]+\n((?:.*\n)*?)[= ]+$", table, text, flags=re.MULTILINE)
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
    rows = [[row[a:b].strip() for a, b in spans] for row in (found[2], *found[3].splitlines())]
    merged: list[list[str]] = []
    for row in rows:
        if row[0] or not merged:
            merged.append(row)
        else:  # a row that goes on
            merged[-1] = [f"{a} {b}".strip() for a, b in zip(merged[-1], row, strict=True)]
    lines = ["| " + " | ".join(x.replace("|", "\\|") for x in row) + " |" for row in merged]
    return "\n".join(["", lines[0], "|" + "---|" * len(spans), *lines[1:], ""])


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
    """Return the path under which the reference has a name used in a module."""
    first, _, rest = name.removeprefix("st_rankloss.").partition(".")
    if name.startswith("st_rankloss"):
        return name if name in places().values() or name in pages() else None
    places_of = [path for known, path in places().items() if known.endswith(f".{first}")]
    here = getattr(importlib.import_module(module), first, None) if ".triton_" not in module else None
    same = [x for x in places_of if x.startswith(f"{public_module(module)}.")]
    path = next(iter(same or [x for x in places_of if here is not None and running(x) is here]), None)
    if path is None and len(places_of) == 1:
        path = places_of[0]
    if path is None or not rest:
        return path
    method = getattr(running(path), rest, None)
    return f"{path}.{rest}" if inspect.isfunction(method) and method.__doc__ and rest[0] != "_" else None


def running(path: str) -> Any:
    """Return the object of a path of the reference."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def public_module(module: str) -> str:
    """Return the page that a module belongs to."""
    return max((x for x in pages() if f"{module}.".startswith(f"{x}.")), key=len, default=module)


@functools.cache
def pages() -> dict[str, tuple[str, ...]]:
    """Return the modules that have a page, each with the names that its page leaves out."""
    found = {}
    for page in sorted(REFERENCE.glob("*.md")):
        for module, options in re.findall(
            r"^::: (st_rankloss[\w.]*)((?:\n .*)*)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            found[module] = tuple(re.findall(r'"!\^(\w+)\$"', options))
    return found


@functools.cache
def places() -> dict[str, str]:
    """Return the path of every public name in the reference."""
    found = {}
    for module, left_out in pages().items():
        there = importlib.import_module(module)
        own = [name for name, x in vars(there).items() if getattr(x, "__module__", None) == module]
        for name in getattr(there, "__all__", own):
            if name not in left_out and not name.startswith("_"):
                found[f"{module}.{name}"] = f"{module}.{name}"
    return found
