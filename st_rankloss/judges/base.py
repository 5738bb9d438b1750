"""What a judge is, and how its grades are checked."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

from torch import nn

from st_rankloss.functional.checks import accepts

logger = logging.getLogger(__name__)

Pair: TypeAlias = tuple[Any, Any]
"""A query and a document."""

Judge: TypeAlias = Callable[[list[Pair]], Sequence[float | None]]
"""Pairs to grades, one per pair; None or NaN means that the judge cannot tell."""


def is_judge(value: Any) -> bool:
    """Return whether a value can be a judge: a callable, but not a class, nor a model that is called with tensors.

    Args:
        value: Anything.

    Returns:
        True for functions and for objects with ``__call__``.

    Example:
        >>> is_judge(lambda pairs: [1.0] * len(pairs)), is_judge(nn.Linear(1, 1)), is_judge("judge")
        (True, False, False)
    """
    return callable(value) and not isinstance(value, type | nn.Module)


@dataclass(frozen=True)
class JudgeTeacher:
    """A judge in the place of a `teachers.Teacher`: its grades are checked, and None becomes NaN, "unjudged".

    Args:
        judge: The judge.

    Raises:
        TypeError: If ``judge`` is not a callable.

    Example:
        >>> JudgeTeacher(lambda pairs: [3 if query in document else None for query, document in pairs]).grade(
        ...     ["red", "red"], ["red rose", "sea"]
        ... )
        [3.0, nan]
    """

    judge: Judge

    def __post_init__(self) -> None:
        if not is_judge(self.judge):
            raise TypeError(f"judge must be a callable of (query, document) pairs, got {self.judge!r}.")

    @property
    def text_only(self) -> bool:
        """Whether inputs must be texts: the judge decides."""
        return False

    def grade(self, queries: Sequence[Any], documents: Sequence[Any]) -> list[float]:
        """Grade pairs; the number that stays unjudged is logged.

        Args:
            queries: The query of each pair.
            documents: The document of each pair.

        Returns:
            Grades, one per pair, at least 0; NaN where the judge cannot tell.

        Raises:
            ValueError: If queries and documents differ in number, or the judge returns another number of grades, or a
                grade that is negative, infinite or not a number.
        """
        if len(queries) != len(documents):
            raise ValueError(f"each query needs one document, got {len(queries)} and {len(documents)}.")
        pairs = list(zip(queries, documents, strict=True))
        if not pairs:
            return []
        grades = [read_answer(grade, pair) for grade, pair in zip(ask(self.judge, pairs), pairs, strict=True)]
        unjudged = sum(map(math.isnan, grades))
        if unjudged:
            logger.warning("the judge left %d of %d pairs unjudged.", unjudged, len(pairs))
        return grades


def ask(function: Callable[[list[Any]], Sequence[Any]], items: list[Any]) -> list[Any]:
    """Call a function of a list that must return one answer per item.

    Args:
        function: A judge, or another function of a list.
        items: The items.

    Returns:
        The answers.

    Raises:
        TypeError: If the function does not take one list.
        ValueError: If there are more or fewer answers, or none.

    Example:
        >>> ask(lambda items: [1], ["a", "b"])
        Traceback (most recent call last):
        ValueError: a judge must return one answer per item, got 1 for 2 items.
    """
    if not accepts(function, items):
        raise TypeError(
            f"a judge must be a function of one list of (query, document) pairs, got {function!r}: for one that grades "
            "a single pair, pass lambda pairs: [grade(query, document) for query, document in pairs]."
        )
    answers = function(items)
    if not hasattr(answers, "__len__") or isinstance(answers, str | bytes | set | frozenset | dict):
        raise ValueError(f"a judge must return a list with one answer per item, got {answers!r}.")
    if len(answers) != len(items):
        raise ValueError(f"a judge must return one answer per item, got {len(answers)} for {len(items)} items.")
    return list(answers)


def check_pairs(pairs: Sequence[Any]) -> None:
    """Raise ValueError unless each item is a pair, such as a tuple: two letters would pass as one.

    Args:
        pairs: The items.

    Raises:
        ValueError: If one is not; the error names it.

    Example:
        >>> check_pairs(["ab"])
        Traceback (most recent call last):
        ValueError: each pair must be a tuple of a query and a document, got 'ab' for pair 0.
    """
    for i, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"each pair must be a tuple of a query and a document, got {pair!r:.80} for pair {i}.")


def read_answer(value: Any, pair: Pair) -> float:
    """Return a judge's grade as a float, NaN for None.

    Args:
        value: None, NaN, or a finite number of at least 0.
        pair: The pair, for the error.

    Returns:
        The grade.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> read_answer(None, ("red", "rose")), read_answer(2, ("red", "rose"))
        (nan, 2.0)
    """
    if value is None:
        return math.nan
    if hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1:
        value = value.item()  # a scalar of numpy or torch
    try:
        grade = float(value) if isinstance(value, Real | Decimal) else -math.inf
    except OverflowError:
        grade = math.inf
    if grade < 0 or grade == math.inf:
        query, document = (f"{text!r:.60}" for text in pair)
        raise ValueError(
            "a judge's grade must be a number of at least 0 and finite, or None if it cannot tell, got "
            f"{value!r} for query {query} and document {document}."
        )
    return grade
