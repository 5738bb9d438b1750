"""Read a language model's answer about several documents; what is ambiguous is not guessed at."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_CHAIN = re.compile(r"\[\d+\](?:\s*>\s*\[\d+\])*", re.ASCII)
_GRADE = re.compile(r"[\s*-]*\[(\d+)\][\s*]*(?:[:=]|-(?=\s))?(.*)", re.ASCII)


def read_order(text: str, count: int) -> list[int] | None:
    """Read an order such as "[2] > [3] > [1]", with any text around it.

    Args:
        text: The answer.
        count: The number of documents, at least 1.

    Returns:
        Places from 0, best first; None unless the answer has a chain that names every document exactly once, and no
        other such chain in another order. A missing, repeated or unknown document, or a tie, makes it None.

    Example:
        >>> read_order("Sorted: [2] > [3] > [1].", 3), read_order("[2] > [1]", 3), read_order("[1] > [1] > [2]", 2)
        ([1, 2, 0], None, None)
    """
    chains = {tuple(_number(digits) - 1 for digits in re.findall(r"\d+", chain)) for chain in _CHAIN.findall(text)}
    whole = [chain for chain in chains if sorted(chain) == list(range(count))]
    return [int(place) for place in whole[0]] if len(whole) == 1 else None


def read_grades(text: str, count: int, scale: Sequence[float], texts: Sequence[str]) -> list[float | None]:
    r"""Read one line per document, such as "[1]: 3", "**[1]**: 3" or "[1]: 3.0".

    Args:
        text: The answer.
        count: The number of documents, at least 1.
        scale: The grades.
        texts: The text of each grade.

    Returns:
        A grade per document; None for those that have no line, two grades, or one off the scale, and for all if a line
        is about a document that does not exist.

    Example:
        >>> read_grades("[1]: 3\n[2] 0\n[3]: high", 3, (0, 1, 2, 3), ("0", "1", "2", "3"))
        [3, 0, None]
    """
    grade_of = dict(zip(texts, scale, strict=True))
    found: list[set[float | None]] = [set() for _ in range(count)]
    for match in filter(None, map(_GRADE.match, text.splitlines())):
        place = _number(match[1]) - 1
        if not 0 <= place < count:  # it may number otherwise, from 0 for example
            return [None] * count
        written = match[2].strip(" \t.,;*")
        found[int(place)].add(grade_of.get(written, grade_of.get(re.sub(r"\.0+$", "", written))))
    return [grades.pop() if len(grades) == 1 else None for grades in found]


def _number(digits: str) -> float:
    """Return a number; infinity if it is longer than any count."""
    return int(digits) if len(digits) < 10 else math.inf
