"""Shared parts of the docstrings of declared functions and their objectives."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping

_SIMILARITY = "Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32."
_GRADED = "Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``; not differentiated."
_RELEVANCE = {
    "graded": _GRADED,
    "distribution": _GRADED,
    "binary": "Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.",
    "views": "Above 0 for views of one sample, shape ``(B, B)``.",
}
_WEIGHTS = (
    "Weight of each document, at least 0, shape ``(..., D)``, not differentiated: 0 leaves a document out, 2 counts it "
    "as two copies, and only the ratios of a list's weights matter. None weighs all alike."
)
LABELS = tuple(_RELEVANCE)
"""How relevance is read: as grades, as the distribution of grades over a batch, as relevant or not, as views or not."""
_RAISES = """Raises:
    TypeError: If a tensor is not floating, or a setting has the wrong type.
    ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance or a weight is out of its
        range or a judged similarity is not finite.
"""
_RAISES_OF_SETTINGS = """Raises:
    TypeError: If a setting has the wrong type.
    ValueError: If a setting is out of its range.
"""
_WIDTH = 120


def function_docstring(docstring: str | None, labels: str, described: Mapping[str, str], *, weighs: bool) -> str:
    """Complete the docstring of a declared function.

    Args:
        docstring: Text with the sections Args (only arguments not described elsewhere), Returns, Example and Source.
        labels: One of `LABELS`.
        described: A description of each setting, by name; empty if the docstring has one.
        weighs: Whether documents may have weights.

    Returns:
        The docstring with all arguments and errors.
    """
    text, own, rest = _parts(docstring)
    shared = {"similarity": _SIMILARITY, "relevance": _RELEVANCE[labels]}
    shared = {**shared, **described, **({"weights": _WEIGHTS} if weighs else {})}
    returns, rest = _until(rest, "\nExample:\n")
    return f"{text}\n{_arguments(shared, own)}\n{returns.strip()}\n\n{_RAISES}\n{rest.strip()}\n"


def objective_docstring(own: str | None, docstring: str | None, described: Mapping[str, str]) -> str:
    """Compose the docstring of an objective: its own text, then the shared part of its function's.

    Args:
        own: The docstring of the class.
        docstring: The docstring of the function's body.
        described: As for `function_docstring`.

    Returns:
        The docstring with the settings and their errors.
    """
    text, arguments, rest = _parts(docstring)
    own = inspect.cleandoc(own or "")
    about = text.partition("\n\n")[2].strip()
    settings = f"{_arguments(described, arguments)}\n{_RAISES_OF_SETTINGS}" if described else ""
    source = "Source:" + rest.partition("Source:")[2] if "Source:" in rest else ""
    return "\n\n".join(part.strip() for part in (own, about, settings, source) if part.strip()) + "\n"


def _parts(docstring: str | None) -> tuple[str, dict[str, str], str]:
    """Return the text, the described arguments, and everything from Returns on."""
    text, rest = _until(inspect.cleandoc(docstring or ""), "\nReturns:\n")
    text, arguments = _until(text, "\nArgs:\n")
    described = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", arguments, re.MULTILINE)
    return text, {name: " ".join(words.split()) for name, words in described}, rest


def _until(text: str, heading: str) -> tuple[str, str]:
    before, found, after = text.partition(heading)
    return before, found + after


def _arguments(names: Mapping[str, str], own: Mapping[str, str]) -> str:
    lines: Iterable[str] = (f"{name}: {own.get(name, shared)}" for name, shared in names.items())
    filled = (textwrap.fill(x, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8) for x in lines)
    return "Args:\n" + "\n".join(filled) + "\n"
