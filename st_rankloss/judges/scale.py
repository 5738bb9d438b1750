"""The grades that a language model may give, and how it writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple


class Scale(NamedTuple):
    """Grades, lowest first, and the text of each."""

    grades: tuple[float, ...]
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.texts)


def read_scale(grades: Sequence[float], texts: Sequence[str] | None = None) -> Scale:
    """Sort a scale, so that the order in which it is given does not matter.

    Args:
        grades: At least two different numbers of at least 0.
        texts: What the model writes for each of ``grades``, such as ``("No", "Yes")``; None means the numbers.

    Returns:
        The scale.

    Raises:
        ValueError: If grades or texts break these rules.

    Example:
        >>> read_scale((3, 0, 1)).texts
        ('0', '1', '3')
    """
    for grade in grades:
        if isinstance(grade, bool) or not isinstance(grade, Real) or not 0 <= grade < math.inf:
            raise ValueError(f"scale must hold numbers of at least 0, got {grade!r}.")
    if len(set(grades)) < max(2, len(grades)):
        raise ValueError(f"scale must hold at least two different grades, got {tuple(grades)}.")
    texts = [f"{grade:g}" for grade in grades] if texts is None else texts
    if isinstance(texts, str) or len(texts) != len(grades) or len(set(texts)) < len(texts) or not all(texts):
        raise ValueError(f"texts must hold a different text for each of {len(grades)} grades, got {texts!r}.")
    ordered = sorted(zip(map(float, grades), texts, strict=True))
    return Scale(tuple(grade for grade, _ in ordered), tuple(text for _, text in ordered))
