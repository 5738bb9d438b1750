"""Relevance of each row's own documents: pairs and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_relevance
from st_rankloss.relevance.base import (
    TRAINER,
    Batch,
    Labels,
    Relevance,
    check_list_sizes,
    check_rows,
    label_of,
    require,
)


@dataclass(frozen=True)
class _OwnDocuments(Relevance):
    """Grades for the documents of a query's own row, and one value for all others."""

    reads: ClassVar[tuple[str, ...]] = ("grades",)
    off_diagonal: float = 0.0

    def __post_init__(self) -> None:
        check_relevance(torch.tensor(self.off_diagonal))

    def __call__(self, query_labels: dict[str, Tensor], document_labels: dict[str, Tensor]) -> Tensor:
        """Look grades up: queries' ``row`` (Q,) and ``grades`` (Q, L), documents' ``row`` and ``slot`` (D,)."""
        own = query_labels["row"][:, None] == document_labels["row"]
        return torch.where(own, query_labels["grades"][:, document_labels["slot"]], self.off_diagonal)


def _label_documents(grades: Tensor, row: Tensor, slot: Tensor) -> tuple[Labels, Labels]:
    check_relevance(grades)
    queries = {"row": torch.arange(len(grades), device=grades.device), "grades": grades}
    return queries, {"row": row, "slot": slot}


@dataclass(frozen=True)
class Pairs(_OwnDocuments):
    """The first document of a row is relevant; its other columns and other rows' documents are negatives.

    Labels: none for (query, document[, negatives]), with relevance 1 for the document; a score of at least 0, shape
    ``(B,)``, for scored pairs, as in STS; or one grade per document column, ``(B, columns)``.

    Args:
        off_diagonal: Relevance of other rows' documents: 0, or ``UNJUDGED`` (NaN) to leave them out.

    Raises:
        ValueError: If ``off_diagonal`` is negative.

    Example:
        >>> queries, documents = Pairs().pair({}, [2, 2])
        >>> Pairs()(queries, documents)
        tensor([[1.0000, 0.0000],
                [0.0000, 1.0000]])
    """

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Label each document by its row and column."""
        rows, columns = sizes[0], len(sizes) - 1
        if columns == 0 or any(size != rows for size in sizes):
            raise ValueError(
                f"{self!r} needs a column of queries and at least one of documents with the same number of rows, "
                f"got columns of {list(sizes)} rows; for lists of documents use Lists()."
            )
        score = label_of(batch, self)
        if score is None:
            grades = torch.zeros(rows, columns)
            grades[:, 0] = 1
        else:
            check_rows(score, rows, "labels")
            grades = score.float()
            if score.dim() == 1:
                grades = torch.cat([grades[:, None], grades.new_zeros(rows, columns - 1)], dim=1)
        if grades.shape != (rows, columns):
            raise ValueError(
                f"{self!r} reads labels of shape ({rows},) or ({rows}, {columns}), got {tuple(grades.shape)}."
            )
        place = torch.arange(rows * columns, device=grades.device)
        return _label_documents(grades, place % rows, place // rows)


@dataclass(frozen=True)
class Lists(_OwnDocuments):
    """Each query has its own list of graded documents; other queries' documents share one value.

    Labels: grades of at least 0, NaN where unjudged, shape ``(B, L)``, for L columns of documents, or for
    one column of lists of up to L through `RankingCollator`. Without labels, all documents of a list have relevance 1.

    Args:
        off_diagonal: Relevance of other queries' documents: 0, or ``UNJUDGED`` (NaN) to leave them out.

    Raises:
        ValueError: If ``off_diagonal`` is negative.

    Example:
        >>> sizes = torch.tensor([2, 1])
        >>> grades = torch.tensor([[3.0, 1.0], [2.0, float("nan")]])
        >>> queries, documents = Lists().pair({"label": grades, "list_sizes": sizes}, [2, 3])
        >>> Lists()(queries, documents)
        tensor([[3.0000, 1.0000, 0.0000],
                [0.0000, 0.0000, 2.0000]])
    """

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Label each document by its row and its position in the row's list."""
        rows, grades = sizes[0], label_of(batch, self)
        lengths = batch.get("list_sizes")
        if lengths is None:
            if grades is None and len(sizes) > 1:
                raise ValueError(
                    f"{self!r} needs labels for documents in columns of their own, or a column of lists, got columns "
                    f"of {list(sizes)} rows: for pairs without labels use Pairs(); for lists train with {TRAINER}."
                )
            grades = require(batch, "label", self)
            if grades.shape != (rows, len(sizes) - 1) or any(size != rows for size in sizes):
                raise ValueError(
                    f"{self!r} reads one label per document column, shape ({rows}, {len(sizes) - 1}), got "
                    f"shape {tuple(grades.shape)} for columns of {list(sizes)} rows; for one column of lists "
                    "use RankingCollator."
                )
            place = torch.arange(grades.numel(), device=grades.device)
            return _label_documents(grades.float(), place % rows, place // rows)
        _check_lists(self, grades, lengths, sizes)
        row = torch.repeat_interleave(torch.arange(rows, device=lengths.device), lengths, output_size=sizes[1])
        slot = torch.arange(sizes[1], device=lengths.device) - (lengths.cumsum(0) - lengths)[row]
        if grades is None:
            grades, slot = torch.ones(rows, 1, device=lengths.device), torch.zeros_like(slot)
        return _label_documents(grades.float(), row, slot)


def _check_lists(relevance: Lists, grades: Tensor | None, lengths: Tensor, sizes: Sequence[int]) -> None:
    """Raise ValueError unless list sizes and grades fit the columns (values are checked only on a CPU)."""
    if len(sizes) != 2 or len(lengths) != sizes[0]:
        raise ValueError(
            f"{relevance!r} needs a column of queries and one column of lists, got columns of {list(sizes)} rows "
            f"and {len(lengths)} list sizes."
        )
    if grades is not None:
        check_rows(grades, sizes[0], "labels")
        if grades.dim() != 2:
            raise ValueError(f"{relevance!r} reads one list of grades per row, got shape {tuple(grades.shape)}.")
    check_list_sizes({"list_sizes": lengths}, sizes)
    if grades is not None and lengths.device.type == "cpu" and lengths.max() > grades.shape[1]:
        raise ValueError(
            f"each row needs a grade for each document, got {grades.shape[1]} grades for {int(lengths.max())}."
        )
