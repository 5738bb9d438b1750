"""The weights of a batch: of queries in the mean of their losses, and of documents in the lists of queries."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_weights

NAMES = ("row_weights", "query_weights", "document_weights")
"""The names of weights in a batch, see `RankingCollator`."""

RowsOfWeights = Callable[[slice], Tensor]
"""Maps a slice of a batch's queries to the weights of all documents in their lists, ``(block, D)``."""


class Weights(NamedTuple):
    """The weights of a batch; None weights all alike."""

    queries: Tensor | None = None
    """Of queries, ``(Q,)``."""
    rankers: Tensor | None = None
    """Of documents that queries are ranked for, if symmetric, ``(D,)``."""
    documents: Tensor | None = None
    """Of documents in the lists of queries, ``(D,)``."""
    owners: Tensor | None = None
    """The only query in whose list each document has its weight, ``(D,)``; None if it has it in all lists."""

    def in_lists(self, first: int, *, by_query: bool) -> RowsOfWeights | None:
        """Return the weights in the lists of this process's queries.

        Args:
            first: Index of this process's first query.
            by_query: Whether to multiply the weights of a list by that of its query, for objectives that compare
                documents across queries.

        Returns:
            The weights; None if all are alike.
        """
        queries = self.queries if by_query else None
        if self.documents is None and queries is None:
            return None
        return WeightMatrix(self.documents, self.owners, queries, first)


@dataclass(frozen=True)
class WeightMatrix:
    """The weights of documents in the lists of slices of queries.

    Args:
        documents: Weight of each document, ``(D,)``; None means 1.
        owners: The only query in whose list a document has its weight, ``(D,)``, in others it has 1; None means all.
        queries: Weight of each query, which multiplies those of its documents, ``(Q,)``; None means 1.
        first: Index of this process's first query in ``owners`` and ``queries``, where slices start.

    Example:
        >>> matrix = WeightMatrix(torch.tensor([2.0, 3.0]), torch.tensor([0, 1]))
        >>> matrix(slice(0, 2))
        tensor([[2., 1.],
                [1., 3.]])
    """

    documents: Tensor | None
    owners: Tensor | None = None
    queries: Tensor | None = None
    first: int = 0

    def __call__(self, rows: slice) -> Tensor:
        """Return the weights of all documents in the lists of some queries: ``(block, D)``, or ``(block, 1)``."""
        start, stop = self.first + rows.start, self.first + rows.stop
        weights: Tensor | None = None
        if self.documents is not None:
            weights = self.documents.expand(stop - start, -1)
            if self.owners is not None:
                own = self.owners == torch.arange(start, stop, device=self.owners.device)[:, None]
                weights = torch.where(own, weights, 1)
        if self.queries is None:
            assert weights is not None
            return weights
        of_queries = self.queries[start:stop, None]
        return of_queries if weights is None else of_queries * weights


def pop_weights(
    batch: dict[str, Any], sizes: Sequence[int], *, symmetric: bool, weighs_queries: bool = True, weighs: bool = True
) -> Weights:
    """Remove the weights from a batch, and combine them.

    The weight of a row multiplies that of its query and, if symmetric, those of its documents as queries.

    Args:
        batch: Labels by name; changed in place.
        sizes: Number of rows of each input column.
        symmetric: Whether documents also rank the queries.
        weighs_queries: Whether the weights of queries change every term of the objective.
        weighs: Whether the objective takes weights of documents.

    Returns:
        The weights.

    Raises:
        ValueError: If there is not one weight per row, query or document, or the objective takes none of documents; on
            a CPU, also if one is negative or not finite.

    Example:
        >>> batch = {"row_weights": torch.tensor([2.0, 1.0]), "query_weights": torch.tensor([0.5, 3.0])}
        >>> pop_weights(batch, [2, 2], symmetric=False).queries
        tensor([1., 3.])
    """
    rows, queries, documents = (batch.pop(name, None) for name in NAMES)
    alone = len(sizes) == 1
    expected = (sizes[0], sizes[0], sizes[0] if alone else sum(sizes[1:]))
    for name, weights, count in zip(NAMES, (rows, queries, documents), expected, strict=True):
        if weights is None:
            continue
        if weights.shape != (count,):
            raise ValueError(f"{name} must have the shape ({count},), got {tuple(weights.shape)}.")
        check_weights(weights, name)
    if documents is not None and not weighs:
        raise ValueError(
            "the objective takes no weights of documents: give it an argument `weights`, leave the objective that "
            "compares whole samples out, or remove the weights of documents."
        )
    queries = _product(rows, queries)
    if queries is not None and not weighs_queries:
        warnings.warn(
            "Weights have no effect on terms of an objective whose loss is that of the whole batch, and so the same "
            "for all queries.",
            stacklevel=3,
        )
    rankers = _product(_spread(rows, batch, sizes), documents) if symmetric else None
    owners = None
    if documents is not None and not alone:
        owners = _spread(torch.arange(sizes[0], device=documents.device), batch, sizes)
    return Weights(queries, rankers, documents, owners)


def _product(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first * second


def _spread(rows: Tensor | None, batch: dict[str, Any], sizes: Sequence[int]) -> Tensor | None:
    """Give each document the value of its row."""
    if rows is None:
        return None
    if "list_sizes" in batch:
        return torch.repeat_interleave(rows, batch["list_sizes"].to(rows.device), output_size=sizes[1])
    return rows.repeat(len(sizes) - 1)
