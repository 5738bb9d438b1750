"""The relevance matrix of a batch, computed one block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.relevance.base import Labels, Relevance

Rows = slice | Tensor
"""Rows of a matrix: a slice, or their indices ``(block,)``."""

RowsOfRelevance = Callable[[Rows], Tensor]
"""Maps some of a batch's queries to their relevance, ``(block, D)``."""


def map_labels(function: Callable[[Tensor], Tensor], labels: Labels) -> Labels:
    """Apply a function to a label tensor, or to each named label tensor."""
    if isinstance(labels, dict):
        return {name: map_labels(function, x) for name, x in labels.items()}
    return function(labels)


@dataclass(frozen=True)
class RelevanceMatrix:
    """The relevance of all columns for slices of rows.

    Args:
        relevance: The relevance of documents for queries.
        labels: Labels of all rows.
        others: Labels of the columns.
        first: Index of this process's first row in ``labels``, where slices start.
        alone: Whether rows and columns are the same samples, which do not rank themselves.
        backwards: Whether the rows are documents, for which queries are ranked.

    Example:
        >>> from st_rankloss.relevance import Classes
        >>> classes = torch.tensor([0, 0, 1])
        >>> RelevanceMatrix(Classes(), classes, classes, alone=True)(slice(0, 2))
        tensor([[nan, 1., 0.],
                [1., nan, 0.]])
    """

    relevance: Relevance
    labels: Labels
    others: Labels
    first: int = 0
    alone: bool = False
    backwards: bool = False

    def __call__(self, rows: Rows) -> Tensor:
        """Compute the relevance of all columns for some rows: ``(block, D)``."""
        grades = self.of(rows, self.others)
        return without_self(grades, rows, self.first) if self.alone else grades

    def own(self, rows: Rows) -> Labels:
        """Return the labels of some rows."""
        here = slice(self.first + rows.start, self.first + rows.stop) if isinstance(rows, slice) else self.first + rows
        return map_labels(lambda x: x[here], self.labels)

    def of(self, rows: Rows, others: Labels) -> Tensor:
        """Compute the relevance of columns with other labels for some rows: ``(block, n)``."""
        own = self.own(rows)
        return self.relevance(others, own).T if self.backwards else self.relevance(own, others)


def without_self(relevance: Tensor, rows: Rows, first: int) -> Tensor:
    """Leave out each row's own column: the relevance of ``(block, D)`` as a copy that is NaN there."""
    relevance = relevance.clone(memory_format=torch.contiguous_format)
    if isinstance(rows, slice):
        relevance.diagonal(first + rows.start).fill_(torch.nan)
        return relevance
    return relevance.scatter_(1, first + rows[:, None], torch.nan)


@dataclass(frozen=True)
class MixedMatrix:
    """A relevance matrix with extra columns for mixtures.

    Args:
        matrix: The relevance matrix of the documents.
        mixed: Maps rows and their relevance, ``(block, D)``, to the relevance of mixtures, ``(block, mixed)``.
    """

    matrix: RowsOfRelevance
    mixed: Callable[[Rows, Tensor], Tensor]

    def __call__(self, rows: Rows) -> Tensor:
        """Compute the relevance of all columns for some rows: ``(block, D + mixed)``."""
        relevance = self.matrix(rows)
        return torch.cat([relevance, self.mixed(rows, relevance)], dim=1)


@dataclass(frozen=True)
class MixedRows:
    """A relevance matrix whose rows are mixtures of two of its rows; equal rows stay as they are.

    Args:
        matrix: The relevance matrix.
        partners: The index of each row's other parent, ``(Q,)``.
        share: The row's own share, ``(Q,)``.
    """

    matrix: RowsOfRelevance
    partners: Tensor
    share: Tensor

    def __call__(self, rows: Rows) -> Tensor:
        """Compute the relevance of all columns for some rows: ``(block, D)``."""
        relevance = self.matrix(rows)
        return torch.lerp(self.matrix(self.partners[rows]), relevance, self.share[rows, None].to(relevance.dtype))
