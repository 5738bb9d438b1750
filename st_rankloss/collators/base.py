"""What the collators of all kinds of models share: labels, ids, weights and lists of documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sentence_transformers.base.data_collator import BaseDataCollator
from torch import Tensor, tensor

from st_rankloss.collators.beside import (
    encode_row_ids,
    encode_weights,
    id_examples,
    inputs_among,
    pop_ids,
    pop_numbers,
    pop_weights,
)
from st_rankloss.collators.inputs import Row, check_columns, input_columns, list_columns, read_list, same_columns
from st_rankloss.encoding import encode_labels, read_list_grades
from st_rankloss.functional.checks import check_choice
from st_rankloss.labels import LABEL_KINDS, plain, refusal, rows_of_a_batch
from st_rankloss.relevance import Relevance, choose_relevance


class Reader(NamedTuple):
    """The loss that reads a dataset's batches."""

    relevance: Relevance | None
    """The relevance of one of our losses; None if the loss chooses it."""
    host: bool = False
    """Whether it is a loss of sentence-transformers, which gets the output of the original collator."""
    class_ids: bool = False
    """Whether the dataset's features declare lists of integers as lists of classes."""
    lists: bool = False
    """Whether it is a loss of sentence-transformers that reads lists of documents itself."""


@dataclass
class GradedCollator(BaseDataCollator):
    """The part of `RankingCollator` and `CrossEncoderRankingCollator` that reads labels, ids, weights and lists.

    It comes before a collator of sentence-transformers in the order of inheritance, and leaves the input columns to it.
    See `RankingCollator` for the settings.
    """

    label_kind: str = "auto"
    label_names: Sequence[str] | None = None
    readers: Mapping[str | None, Reader] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_choice(self.label_kind, ("auto", *LABEL_KINDS), "label_kind")

    @rows_of_a_batch()
    def __call__(self, features: list[Row]) -> dict[str, Any]:
        """Turn dataset rows into a batch.

        Args:
            features: The rows.

        Returns:
            The input columns as the loss reads them, and ``label``, tensors by name, if there are any.
        """
        if not features:
            return {}
        rows, numbers = pop_numbers(same_columns(features))
        reader = self.readers.get(rows[0].get("dataset_name"), self.readers.get(None))
        column, labels = self._pop_labels(rows)
        weights = pop_weights(rows, self.valid_label_columns)
        ids = pop_ids(rows, self.valid_label_columns)
        if reader is not None and reader.host:
            return self._host_batch(rows, column, labels, reader)

        lists = {name: [row.pop(name) for row in rows] for name in list_columns(rows)}
        check_columns(rows)
        batch: dict[str, Any] = self.preprocess_columns(rows)
        columns = input_columns(rows[0]) + list(lists)
        described: dict[str, Any] = {}
        if lists:
            described["list_sizes"] = self._add_list_column(batch, lists, rows)
        if labels is not None:
            described |= encode_labels(
                labels,
                column,
                self.label_kind,
                reads=LABEL_KINDS if reader is None or reader.relevance is None else reader.relevance.reads,
                list_sizes=described.get("list_sizes"),
                label_names=self.label_names,
                class_ids=reader is not None and reader.class_ids,
                exact=reader is not None,
            )
        if ids:
            described |= encode_row_ids(ids, columns, described.get("list_sizes"))
        described |= self._describe_rows(len(rows))
        if reader is not None:
            sizes = [len(rows)] * len(columns)
            if lists:
                sizes[-1] = int(described["list_sizes"].sum())
            relevance = choose_relevance(described, sizes) if reader.relevance is None else reader.relevance
            described = _as_grades(relevance, described, column, labels)
            # Labels that it cannot read are refused while they are still on the CPU.
            relevance.pair(described | {"id_examples": id_examples(ids, columns)}, sizes)
        described |= encode_weights(weights, columns, len(rows), described.get("list_sizes")) | numbers
        if described.keys() == {"label"} and described["label"].dim() == 1:
            batch["label"] = described["label"]  # the format of sentence-transformers losses
        elif described:
            batch["label"] = described
        return batch

    def inputs_among(self, names: Iterable[str]) -> list[str]:
        """Return the names of columns of inputs.

        Args:
            names: The columns of a dataset.

        Returns:
            Those that are not labels, ids, weights or the name of the dataset.

        Example:
            >>> GradedCollator(preprocess_fn=None).inputs_among(["query", "query_id", "documents", "labels", "weight"])
            ['query', 'documents']
        """
        return inputs_among(names, self.valid_label_columns)

    def preprocess_columns(self, rows: list[Row]) -> dict[str, Any]:
        """Return the batch that the collator of sentence-transformers makes of columns of single inputs.

        Args:
            rows: The rows of a batch.

        Returns:
            The batch.
        """
        batch: dict[str, Any] = super().__call__(rows)
        return batch

    def add_lists(self, batch: dict[str, Any], name: str, lists: list[list[Any]]) -> None:
        """Add the column of lists to a batch of the other columns.

        Args:
            batch: The batch; changed in place.
            name: Name of the column of lists.
            lists: The documents of each row.
        """
        batch[name] = lists

    def _describe_rows(self, count: int) -> dict[str, Tensor]:
        """Return extra tensors that a loss needs for ``count`` rows, by name; see `ViewsCollator`."""
        return {}

    def _pop_labels(self, rows: list[Row]) -> tuple[str, list[Any] | None]:
        """Remove the label column from the rows, and return its name and values."""
        names = [name for name in self.valid_label_columns if name in rows[0]]
        if len(names) > 1:
            raise ValueError(
                f"a dataset must have one label column, got {names}: keep one and "
                "drop the rest with dataset.remove_columns."
            )
        return (names[0], [row.pop(names[0]) for row in rows]) if names else ("label", None)

    def _host_batch(self, rows: list[Row], column: str, labels: list[Any] | None, reader: Reader) -> dict[str, Any]:
        """Return the batch of the sentence-transformers collator: its lists, or the best document of each list."""
        lists = list_columns(rows)
        for name in lists:
            for place, row in enumerate(rows):
                row[name] = read_list(row[name], place, name)
        if lists and not reader.lists:
            _keep_best(rows, lists, column, labels)
            labels = None
        check_columns([{name: row[name] for name in row if not reader.lists or name not in lists} for row in rows])
        if labels is not None:
            _check_numbers(labels, column)
            rows = [row | {column: label} for row, label in zip(rows, labels, strict=True)]
        return self.preprocess_columns(rows)

    def _add_list_column(self, batch: dict[str, Any], lists: dict[str, list[Any]], rows: list[Row]) -> Tensor:
        """Add the column of lists to the batch; return the lists' lengths."""
        if len(lists) > 1 or len(input_columns(rows[0])) != 1:
            raise ValueError(
                "a dataset with lists of documents must have one column of queries and one of lists, got the "
                f"input columns {input_columns(rows[0])} and the columns of lists {list(lists)}."
            )
        ((name, column),) = lists.items()
        documents = [read_list(value, place, name) for place, value in enumerate(column)]
        self.add_lists(batch, name, documents)
        return tensor([len(row) for row in documents])


def _as_grades(
    relevance: Relevance, described: dict[str, Any], column: str, labels: list[Any] | None
) -> dict[str, Any]:
    """Read undeclared numbers as grades if the chosen relevance reads these, as if it had been passed to the loss."""
    if labels is None or "kind" in described or relevance.reads != ("grades",):
        return described
    return described | encode_labels(labels, column, "grades")


def _keep_best(rows: list[Row], lists: list[str], column: str, labels: list[Any] | None) -> None:
    """Replace each list of documents by its best one, the first if tied."""
    for name in lists:
        for place, row in enumerate(rows):
            documents = row[name]
            grades = [1.0] if labels is None else read_list_grades(labels[place], place, column, len(documents))
            best = int(np.nan_to_num(grades).argmax())
            if not grades[best] > 0:
                rule, remedy = "a relevant document in each list", "leave such rows out with dataset.filter"
                raise refusal(column, place, grades, rule, remedy)
            row[name] = documents[best]


def _check_numbers(labels: list[Any], column: str) -> None:
    """Raise ValueError for labels that losses of sentence-transformers do not read."""
    rule = "numbers for a loss of sentence-transformers"
    if isinstance(plain(labels[0]), str):
        raise refusal(column, 0, labels[0], rule, f"number the classes with dataset.class_encode_column({column!r})")
    for place, label in enumerate(labels):
        if label is None or (isinstance(label, list | tuple) and None in label):
            raise refusal(column, place, label, rule, "leave the row out, or use a loss of st_rankloss")
