"""Pairs as lists: the distinct documents of each query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from st_rankloss.judges.base import Pair, check_pairs

List = tuple[Any, tuple[Any, ...]]
"""A query and its documents."""

T = TypeVar("T")


def judge_lists(pairs: Sequence[Pair], judge: Callable[[list[List]], Sequence[Sequence[T | None]]]) -> list[T | None]:
    """Judge all documents of each query together, and return the value of each pair.

    Args:
        pairs: Queries and documents in any order; equal texts are one query, or one document of a query.
        judge: Lists to a value per document.

    Returns:
        A value per pair.

    Example:
        >>> judge_lists([("a", "x"), ("b", "z"), ("a", "yy")], lambda lists: [list(map(len, d)) for _, d in lists])
        [1, 1, 2]
    """
    check_pairs(pairs)
    queries: dict[Any, Any] = {}
    documents: dict[Any, dict[Any, Any]] = {}
    for query, document in pairs:
        queries.setdefault(_key(query), query)
        documents.setdefault(_key(query), {}).setdefault(_key(document), document)
    lists = [(queries[key], tuple(own.values())) for key, own in documents.items()]
    value = {
        key: dict(zip(own, row, strict=True)) for (key, own), row in zip(documents.items(), judge(lists), strict=True)
    }
    return [value[_key(query)][_key(document)] for query, document in pairs]


def _key(value: Any) -> Any:
    return value if isinstance(value, str) else id(value)
