"""The relevance interface: the similarity of labels that the order of embeddings should match."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_not_trained
from st_rankloss.labels import LABEL_KINDS

Labels = Tensor | dict[str, Any]
"""Labels of queries or documents: one tensor, or several by name, with one row per input."""

Batch = Mapping[str, Any]
"""A batch without its inputs: label tensors by name, and the ``kind`` of its labels; see the collators.

These also name ``id_examples`` when they check labels, for warnings: the first id of the queries and of the documents.
"""

UNJUDGED = float("nan")
"""The relevance of an unjudged document, which is removed from the query's list."""


class Relevance:
    """Relevance of documents for queries, from their labels.

    Subclasses implement `__call__` and name the kinds of labels that they read. `pair` splits a batch's labels into
    those of queries and documents; by default, each row has one label for all its columns.
    """

    reads: ClassVar[tuple[str, ...]] = LABEL_KINDS
    """The kinds of labels that this relevance reads, see `st_rankloss.labels`."""

    def __call__(self, query_labels: Any, document_labels: Any) -> Tensor:
        """Compute relevance, at least 0, NaN where unjudged: shape ``(Q, D)``, floating."""
        raise TypeError(f"{type(self).__name__} must define __call__(query_labels, document_labels).")

    def check(self, label: Tensor) -> None:
        """Raise ValueError unless a batch's ``label`` has a shape and kind that this relevance reads."""

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Split a batch's labels into those of queries and documents.

        Args:
            batch: The batch's labels by name.
            sizes: Number of rows of each input column; the first holds the queries, the others are concatenated as
                documents; a single column is both.

        Returns:
            Labels of the queries and of the documents.

        Raises:
            ValueError: If the labels are missing or do not fit.
        """
        label = require(batch, "label", self)
        check_rows(label, sizes[0], "labels")
        check_list_sizes(batch, sizes)
        if any(size != sizes[0] for size in sizes):
            raise ValueError(
                f"{self!r} needs one document per row in each column, got columns of {list(sizes)} rows; "
                "for lists of documents use Lists() or Qrels(...)."
            )
        self.check(label)
        return label, label.repeat(max(len(sizes) - 1, 1), *[1] * (label.dim() - 1))


class CustomRelevance(Relevance):
    """A relevance from any function of the labels.

    Args:
        function: Maps the labels of queries ``(Q, ...)`` and of documents ``(D, ...)`` to ``(Q, D)``.

    Raises:
        TypeError: If ``function`` is not callable.
        ValueError: If it is a module with parameters to train.
    """

    def __init__(self, function: Callable[[Any, Any], Tensor]) -> None:
        if not callable(function):
            raise TypeError(f"relevance must be a function of (query_labels, document_labels), got {function!r}.")
        check_not_trained(function, "relevance")
        self.function = function

    def __call__(self, query_labels: Any, document_labels: Any) -> Tensor:
        """Compute relevance with the function."""
        relevance = self.function(query_labels, document_labels)
        expected = (len(query_labels), len(document_labels))
        if relevance.shape != expected:
            raise ValueError(f"{self!r} must return shape {expected}, got {tuple(relevance.shape)}.")
        return relevance if relevance.is_floating_point() else relevance.float()

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", None) or repr(self.function)


def as_relevance(relevance: Relevance | Callable[[Any, Any], Tensor]) -> Relevance:
    """Return a relevance unchanged, and a function as a `CustomRelevance`; raise TypeError for a class."""
    if isinstance(relevance, type):
        raise TypeError(f"relevance must be a relevance or a function, got the class {relevance.__name__}: call it.")
    return relevance if isinstance(relevance, Relevance) else CustomRelevance(relevance)


def label_of(batch: Batch, relevance: Relevance) -> Tensor | None:
    """Return a batch's label tensor, or None; raise ValueError for a kind that ``relevance`` does not read.

    A batch without a declared kind, as from the collator of sentence-transformers, is accepted.
    """
    kind = batch.get("kind")
    if kind is not None and kind not in relevance.reads:
        wanted = " or ".join(map(repr, relevance.reads))
        raise ValueError(
            f"{relevance!r} reads labels of the kind {wanted}, got {kind!r}: train with RankingTrainer, which reads "
            f"labels as the loss needs them, or set RankingCollator's label_kind to {wanted}."
        )
    return batch.get("label")


TRAINER = "RankingTrainer (for a CrossEncoder CrossEncoderRankingTrainer, and so on)"


def require(batch: Batch, name: str, relevance: Relevance) -> Tensor:
    """Return the batch's tensor ``name``, or raise a ValueError that explains how to provide it."""
    tensor = label_of(batch, relevance) if name == "label" else batch.get(name)
    if tensor is None:
        remedy = {
            "label": "the dataset needs a column called label, labels, score or scores",
            "list_sizes": f"use {TRAINER}, whose collator takes columns of lists",
            "query_ids": f"use {TRAINER}, and a column of ids for the first input column, named after it plus _id",
            "document_ids": f"use {TRAINER}, and a column of ids for each input column of documents, named after "
            "it plus _id or _ids",
        }[name]
        raise ValueError(f"{relevance!r} needs {name}, which this batch lacks: {remedy}.")
    return tensor


def check_rows(tensor: Tensor, rows: int, name: str) -> None:
    """Raise ValueError unless ``tensor`` has ``rows`` rows."""
    if tensor.dim() == 0 or len(tensor) != rows:
        raise ValueError(f"{name} must have a row for each of the {rows} inputs, got shape {tuple(tensor.shape)}.")


def check_list_sizes(batch: Batch, sizes: Sequence[int]) -> None:
    """Raise ValueError if lists of documents have been truncated in transit (CPU only)."""
    lengths = batch.get("list_sizes")
    if lengths is not None and lengths.device.type == "cpu" and lengths.sum() != sizes[-1]:
        raise ValueError(
            f"the lists of this batch hold {int(lengths.sum())} documents, but {sizes[-1]} arrived: accelerate cuts "
            "columns to one length when it dispatches batches; train with RankingTrainer, or with "
            "accelerator_config={'dispatch_batches': False}."
        )


def leave_out_unlabelled(relevance: Tensor, queries: Tensor, documents: Tensor) -> Tensor:
    """Mark queries and documents without a label as unjudged.

    Args:
        relevance: Shape ``(Q, D)``; changed in place.
        queries: True where a query lacks a label, shape ``(Q,)``, bool.
        documents: True where a document lacks a label, shape ``(D,)``, bool.

    Returns:
        Relevance, NaN in the rows and columns without a label.
    """
    if relevance.device.type == "cpu" and not (queries.any() or documents.any()):
        return relevance
    return relevance.masked_fill_(queries[:, None] | documents, torch.nan)
