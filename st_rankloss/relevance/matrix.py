"""The relevance matrix of a batch, computed one block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.relevance.base import Labels, Relevance

RowsOfRelevance = Callable[[slice], Tensor]
"""Maps a slice of a batch's queries to their relevance, ``(block, D)``."""


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

    def __call__(self, rows: slice) -> Tensor:
        """Compute the relevance of all columns for some rows: ``(block, D)``."""
        grades = self.of(rows, self.others)
        if self.alone:
            grades = grades.clone(memory_format=torch.contiguous_format)
            grades.diagonal(self.first + rows.start).fill_(torch.nan)  # a query does not rank itself
        return grades

    def of(self, rows: slice, others: Labels) -> Tensor:
        """Compute the relevance of columns with other labels for some rows: ``(block, n)``."""
        own = map_labels(lambda x: x[self.first + rows.start : self.first + rows.stop], self.labels)
        return self.relevance(others, own).T if self.backwards else self.relevance(own, others)


@dataclass(frozen=True)
class MixedMatrix:
    """A relevance matrix with extra columns for mixtures of documents.

    Args:
        matrix: The relevance matrix of the documents.
        blend: Maps values of documents ``(D, ...)`` to values of mixtures ``(mixed, ...)``.
        by_labels: Grade mixtures by their blended labels instead of blending grades.

    Raises:
        ValueError: With ``by_labels``, if labels are missing or not numbers.
    """

    matrix: RowsOfRelevance
    blend: Callable[[Tensor], Tensor]
    by_labels: bool = False

    def __post_init__(self) -> None:
        if not self.by_labels:
            return
        if not isinstance(self.matrix, RelevanceMatrix):
            raise ValueError("labels=True needs the documents' labels, got none.")
        map_labels(_check_numbers, self.matrix.others)

    def __call__(self, rows: slice) -> Tensor:
        """Compute the relevance of all columns for some rows: ``(block, D + mixed)``."""
        relevance = self.matrix(rows)
        if self.by_labels and isinstance(self.matrix, RelevanceMatrix):
            mixed = self.matrix.of(rows, map_labels(self.blend, self.matrix.others))
        else:
            mixed = self.blend(relevance.T).T
        return torch.cat([relevance, mixed], dim=1)


def _check_numbers(labels: Tensor) -> Tensor:
    if not labels.is_floating_point():
        raise ValueError(f"labels=True mixes numbers and vectors, got labels of {labels.dtype}.")
    return labels
