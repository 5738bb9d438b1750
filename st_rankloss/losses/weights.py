"""The weights of a batch's queries in the mean of their losses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

NAMES = ("row_weights", "query_weights", "document_weights")
"""The names of weights in a batch, see `RankingCollator`."""


class Weights(NamedTuple):
    """The weights of queries in each direction; None weights all alike."""

    queries: Tensor | None = None
    """``(Q,)``"""
    documents: Tensor | None = None
    """``(D,)``, of documents that queries are ranked for, if symmetric."""


def pop_weights(batch: dict[str, Any], sizes: Sequence[int], *, symmetric: bool, one_list: bool = False) -> Weights:
    """Remove the weights from a batch, and combine them.

    The weight of a row multiplies that of its query and, if symmetric, those of its documents.

    Args:
        batch: Labels by name; changed in place.
        sizes: Number of rows of each input column.
        symmetric: Whether documents also rank the queries.
        one_list: Whether the objective, or a term of it, reads the whole batch as one list.

    Returns:
        The weights.

    Raises:
        ValueError: If there is not one weight per row, query or document.

    Example:
        >>> batch = {"row_weights": torch.tensor([2.0, 1.0]), "query_weights": torch.tensor([0.5, 3.0])}
        >>> pop_weights(batch, [2, 2], symmetric=False)
        Weights(queries=tensor([1., 3.]), documents=None)
    """
    rows, queries, documents = (batch.pop(name, None) for name in NAMES)
    expected = (sizes[0], sizes[0], sum(sizes[1:]))
    for name, weights, count in zip(NAMES, (rows, queries, documents), expected, strict=True):
        if weights is not None and weights.shape != (count,):
            raise ValueError(f"{name} must have the shape ({count},), got {tuple(weights.shape)}.")
    if documents is not None and not symmetric:
        warnings.warn(
            "The weights of documents have no effect: objectives do not weight the documents within a list. They count "
            "only with symmetric=True, where documents also rank the queries; weights of queries and rows always do.",
            stacklevel=3,
        )
    queries = _product(rows, queries)
    if one_list and queries is not None:
        warnings.warn(
            "Weights have no effect on terms of an objective that read the whole batch as one list, whose loss is the "
            "same for all queries.",
            stacklevel=3,
        )
    return Weights(queries, _product(_spread(rows, batch, sizes), documents) if symmetric else None)


def _product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first * second


def _spread(rows: Tensor | None, batch: dict[str, Any], sizes: Sequence[int]) -> Tensor | None:
    """Give each document the weight of its row."""
    if rows is None:
        return None
    if "list_sizes" in batch:
        return torch.repeat_interleave(rows, batch["list_sizes"].to(rows.device), output_size=sizes[1])
    return rows.repeat(len(sizes) - 1)
