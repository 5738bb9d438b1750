"""Read a batch as cross-encoders get it: columns of raw inputs, and labels that may be a list of tensors."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from st_rankloss.judgements import check_inputs, is_list_of_inputs
from st_rankloss.labels import refusal, rows_of_a_batch

RawLabels = Tensor | Mapping[str, Any] | Sequence[Tensor] | None
"""Labels of a batch: one tensor, tensors by name from our collators, one tensor per row from the host's, or None."""


class RawColumns(NamedTuple):
    """The inputs of a batch, before a model's preprocessing."""

    queries: list[Any]
    documents: list[Any]
    """All documents, column after column; the queries themselves if there is only one column."""
    owners: Tensor
    """The row of each document, ``(D,)``, on the CPU."""
    sizes: list[int]
    """Number of inputs of each column, as other losses count them: a column of lists has that of all its documents."""
    lists: list[int] | None
    """Number of documents per row, if a column holds lists."""

    @property
    def alone(self) -> bool:
        """Whether one column is both queries and documents."""
        return len(self.sizes) == 1


@rows_of_a_batch()
def read_columns(inputs: Sequence[Sequence[Any]]) -> RawColumns:
    """Read the columns of a batch.

    Args:
        inputs: Columns of the same length: (query, document, ...), (query, [documents]) or one column.

    Returns:
        The queries, the documents, and the row of each.

    Raises:
        ValueError: If columns differ in length, lists are empty, missing or in another column than the second, or a
            model cannot encode an input; the error names the column and the row.

    Example:
        >>> read_columns([["q1", "q2"], [["d1", "d2"], ["d3"]]]).owners
        tensor([0, 0, 1])
    """
    columns = [list(column) for column in inputs]
    if not columns or any(len(column) != len(columns[0]) for column in columns) or not columns[0]:
        raise ValueError(f"a batch needs at least one row, of all columns, got {[len(c) for c in columns]} inputs.")
    ragged = [place for place, column in enumerate(columns) if any(map(is_list_of_inputs, column))]
    if ragged and (ragged != [1] or len(columns) != 2):
        raise ValueError(
            "a batch with lists of documents must have one column of queries, then one of lists, got lists in the "
            f"columns {ragged} of {len(columns)}: remove other columns, or use CrossEncoderRankingTrainer, which reads "
            "weights and ids."
        )
    lists = [_read_list(value, row) for row, value in enumerate(columns[1])] if ragged else None
    for place, column in enumerate(columns if lists is None else columns[:1]):
        check_inputs(enumerate(column), f"inputs[{place}]", "row")
    row = torch.arange(len(columns[0]))
    if lists is None:
        documents = [document for column in columns[1:] or columns for document in column]
        owners = row.repeat(max(len(columns) - 1, 1))
        return RawColumns(columns[0], documents, owners, [len(column) for column in columns], None)
    lengths = [len(documents) for documents in lists]
    owners = torch.repeat_interleave(row, torch.tensor(lengths))
    documents = [document for each in lists for document in each]
    return RawColumns(columns[0], documents, owners, [len(columns[0]), len(documents)], lengths)


def _read_list(value: Any, row: int) -> list[Any]:
    if not is_list_of_inputs(value) or not len(value):
        raise refusal("inputs[1]", row, value, "at least one document in each list", "fill the row, or remove it")
    documents = list(value)
    check_inputs(((row, document) for document in documents), "inputs[1]", "row")
    return documents


@rows_of_a_batch()
def read_labels(labels: RawLabels, columns: RawColumns) -> dict[str, Any]:
    """Read the labels of a batch.

    Args:
        labels: A tensor, tensors by name, one tensor per row, or None.
        columns: The batch's inputs.

    Returns:
        The labels by name; grades of lists are padded with NaN.

    Raises:
        ValueError: If rows have other numbers of labels than of documents; the error names the row.

    Example:
        >>> columns = read_columns([["q1", "q2"], [["d1", "d2"], ["d3"]]])
        >>> read_labels([torch.tensor([1, 0]), torch.tensor([2])], columns)["label"]
        tensor([[1., 0.],
                [2., nan]])
    """
    if labels is None:
        batch: dict[str, Any] = {}
    elif isinstance(labels, Tensor):
        batch = {"label": labels}
    else:
        batch = dict(labels) if isinstance(labels, Mapping) else _read_rows(labels, columns)
    if columns.lists is None:
        return batch
    lengths = torch.tensor(columns.lists)
    given = batch.get("list_sizes")
    if given is not None and given.device.type == "cpu" and not torch.equal(given, lengths):
        raise ValueError(f"list_sizes must be {columns.lists}, as inputs[1] has documents, got {given.tolist()}.")
    label = batch.get("label")
    if label is not None and label.dim() == 2 and label.shape[1] != max(columns.lists):
        raise ValueError(
            f"labels must be as wide as the longest list of inputs[1], {max(columns.lists)}, with NaN after the end of "
            f"shorter ones, got shape {tuple(label.shape)}."
        )
    return batch | {"list_sizes": lengths}


def _read_rows(labels: Sequence[Tensor], columns: RawColumns) -> dict[str, Any]:
    """Join one tensor per row, as the collator of cross-encoders makes from columns of lists."""
    if len(labels) != len(columns.queries):
        raise ValueError(f"labels must have a row for each of the {len(columns.queries)} queries, got {len(labels)}.")
    wanted = columns.lists or [len(labels[0])] * len(labels)
    for row, (label, count) in enumerate(zip(labels, wanted, strict=True)):
        if len(label) != count:
            rule = f"{count} grades, one per document" if columns.lists else f"{count} labels, as the first row does"
            raise refusal("labels", row, label.tolist(), rule, "correct the list")
    if columns.lists is not None:
        grades = pad_sequence([label.float() for label in labels], batch_first=True, padding_value=torch.nan)
        return {"label": grades, "kind": "grades"}
    dtype = functools.reduce(torch.promote_types, (label.dtype for label in labels))
    return {"label": torch.stack([label.to(dtype) for label in labels])}
