"""The relevance matrix of a batch, of which a block of rows exists at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.relevance.base import Labels, Relevance

RowsOfRelevance = Callable[[slice], Tensor]
"""Maps a slice of a batch's queries to their relevance, ``(block, D)``."""


def map_labels(function: Callable[[Tensor], Tensor], labels: Labels) -> Labels:
    """Apply a function to labels: to the tensor, or to each tensor by name."""
    return {name: function(x) for name, x in labels.items()} if isinstance(labels, dict) else function(labels)


@dataclass(frozen=True)
class RelevanceMatrix:
    """The relevance of what is ranked, for slices of the rows that it is ranked for.

    Args:
        relevance: What labels mean, for queries and documents.
        labels: Of all rows.
        others: Of what is ranked.
        first: Place of this process's first row among ``labels``, from which slices are counted.
        alone: What is ranked are the same samples: each leaves itself out.
        backwards: The rows are documents, and queries are ranked for them.

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
            grades.diagonal(self.first + rows.start).fill_(torch.nan)  # a query is not a document of its own
        return grades

    def of(self, rows: slice, others: Labels) -> Tensor:
        """Compute the relevance, for some rows, of what has other labels: ``(block, n)``."""
        own = map_labels(lambda x: x[self.first + rows.start : self.first + rows.stop], self.labels)
        return self.relevance(others, own).T if self.backwards else self.relevance(own, others)


@dataclass(frozen=True)
class MixedMatrix:
    """A relevance matrix with further columns for mixtures of documents.

    Args:
        matrix: That of the documents.
        blend: Maps what belongs to documents ``(D, ...)`` to what belongs to mixtures ``(mixed, ...)``.
        by_labels: Grade mixtures by their blended labels, instead of blending grades.

    Raises:
        ValueError: If labels are to be blended that are not known, or not numbers.
    """

    matrix: RowsOfRelevance
    blend: Callable[[Tensor], Tensor]
    by_labels: bool = False

    def __post_init__(self) -> None:
        if self.by_labels and not isinstance(self.matrix, RelevanceMatrix):
            raise ValueError("labels=True needs the documents' labels, got none.")
        if isinstance(self.matrix, RelevanceMatrix) and self.by_labels:
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
