"""Collators for labels of any kind and ragged lists of documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor

from st_rankloss._host import preprocess_column
from st_rankloss.encoding import encode_labels, read_list_grades
from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import check_inputs, is_list_of_inputs
from st_rankloss.labels import LABEL_KINDS, is_missing, plain, read_weights, refusal
from st_rankloss.relevance import Relevance, choose_relevance, encode_ids

Row = dict[str, Any]

_LOOKS_LIKE_IDS = re.compile(r"(.*[_-])?(id|ids|idx|uid|uuid|guid)|[qdp]ids?|(doc|query|corpus)ids?", re.IGNORECASE)


class Reader(NamedTuple):
    """The loss that reads a dataset's batches."""

    relevance: Relevance | None
    """The relevance of one of our losses; None if the loss chooses it."""
    host: bool = False
    """Whether it is a loss of sentence-transformers, which gets the output of the original collator."""
    class_ids: bool = False
    """Whether the dataset's features declare lists of integers as lists of classes."""


@dataclass
class RankingCollator(SentenceTransformerDataCollator):
    """The collator of sentence-transformers, which also reads graded labels and lists of documents.

    In addition to everything that the parent accepts, a dataset may have

    - a column of lists of documents of any length: (query, [documents]) + [grades], as from
      ``mine_hard_negatives(output_format="labeled-list")``;
    - string classes, sets of strings or class ids (multi-label), paths of strings (coarse to fine), lists of numbers;
    - rows without a label (None, NaN, an empty string; -1 as a class), which are unjudged;
    - ids for each input column, named after it plus ``_id`` or ``_ids`` (``query`` and
      ``query_id``, ``documents`` and ``document_ids``), which `Qrels` looks up and models never see;
    - weights of at least 0, which models never see either: ``weight``, of the row, and one named after an input column
      plus ``_weight`` or ``_weights`` (``query_weight``, ``document_weights``), a number per input or per row.

    `RankingTrainer` makes or configures the collator, which then reads labels for the relevance of each dataset's loss
    and checks them before they leave the CPU. A loss of sentence-transformers gets the output of its own collator (the
    best document of each list, the first if tied). Without `RankingTrainer`, set ``label_kind``.

    Losses get ``label`` and its ``kind``, ``label_codes``, ``list_sizes``, ``query_ids``, ``document_ids``,
    ``row_weights``, ``query_weights`` and ``document_weights`` by name, but those of sentence-transformers no weights;
    undeclared numbers, one per row, stay the plain tensor that other losses read.

    Args:
        label_kind: The kind of the label column, see `st_rankloss.labels`: ``"class"``, ``"multi_label"``, ``"path"``,
            ``"grades"``, ``"numbers"``, or ``"auto"``: the kind that the loss's relevance reads; if unknown, strings
            are classes, lists of strings are label sets, lists of numbers in rows with a list of documents are grades,
            and anything else is kept as numbers.
        label_names: All label names of a multi-label set, in the order of the multi-hot columns; None uses those of
            each batch. Required for `MultiLabel` with ``idf``.
        readers: The reader of each dataset's batches, by dataset name or None; set by `RankingTrainer`.

    Raises:
        ValueError: If ``label_kind`` is unknown. On a batch: if labels, ids or inputs are invalid; the error names the
            column, the row, the rule and the remedy.
    """

    label_kind: str = "auto"
    label_names: Sequence[str] | None = None
    readers: Mapping[str | None, Reader] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_choice(self.label_kind, ("auto", *LABEL_KINDS), "label_kind")

    def __call__(self, features: list[Row]) -> dict[str, Any]:
        """Turn dataset rows into a batch.

        Args:
            features: The rows.

        Returns:
            Features of each input column under its name, and ``label``, tensors by name, if there are any.
        """
        if not features:
            return {}
        rows = _same_columns(features)
        reader = self.readers.get(rows[0].get("dataset_name"), self.readers.get(None))
        column, labels = self._pop_labels(rows)
        weights = _pop_weights(rows, self.valid_label_columns)
        ids = _pop_ids(rows, self.valid_label_columns)
        if reader is not None and reader.host:
            return self._host_batch(rows, column, labels)

        lists = {name: [row.pop(name) for row in rows] for name in list_columns(rows)}
        self._check_inputs(rows)
        batch: dict[str, Any] = super().__call__(rows)
        columns = _input_columns(rows[0]) + list(lists)
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
            described |= _encode_ids(ids, columns, described.get("list_sizes"))
        described |= self._describe_rows(len(rows))
        if reader is not None:
            sizes = [len(rows)] * len(columns)
            if lists:
                sizes[-1] = int(described["list_sizes"].sum())
            check_labels(reader, described, sizes)
        described |= _encode_weights(weights, columns, len(rows), described.get("list_sizes"))
        if described.keys() == {"label"} and described["label"].dim() == 1:
            batch["label"] = described["label"]  # the format of sentence-transformers losses
        elif described:
            batch["label"] = described
        return batch

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

    def _host_batch(self, rows: list[Row], column: str, labels: list[Any] | None) -> dict[str, Any]:
        """Return the batch of the sentence-transformers collator, with the best document of each list."""
        lists = list_columns(rows)
        for name in lists:
            for place, row in enumerate(rows):
                documents = _read_list(row[name], place, name)
                grades = [1.0] if labels is None else read_list_grades(labels[place], place, column, len(documents))
                best = int(np.nan_to_num(grades).argmax())
                if not grades[best] > 0:
                    rule, remedy = "a relevant document in each list", "leave such rows out with dataset.filter"
                    raise refusal(column, place, grades, rule, remedy)
                row[name] = documents[best]
        self._check_inputs(rows)
        if labels is not None and not lists:
            if isinstance(plain(labels[0]), str):
                remedy = f"number the classes with dataset.class_encode_column({column!r})"
                raise refusal(column, 0, labels[0], "numbers for a loss of sentence-transformers", remedy)
            rows = [row | {column: label} for row, label in zip(rows, labels, strict=True)]
        batch: dict[str, Any] = super().__call__(rows)
        return batch

    def _check_inputs(self, rows: list[Row]) -> None:
        """Raise ValueError for an input that cannot be embedded, or would be embedded by mistake."""
        for name in _input_columns(rows[0]):
            if _LOOKS_LIKE_IDS.fullmatch(name):
                raise ValueError(
                    f"column {name!r} looks like ids, but would be embedded as an input: name it after its "
                    "input column plus '_id', or remove it with dataset.remove_columns."
                )
            check_inputs(((place, row[name]) for place, row in enumerate(rows)), name, "row")

    def _add_list_column(self, batch: dict[str, Any], lists: dict[str, list[Any]], rows: list[Row]) -> Tensor:
        """Preprocess the column of lists as one flat column; return the lists' lengths."""
        if len(lists) > 1 or len(_input_columns(rows[0])) != 1:
            raise ValueError(
                "a dataset with lists of documents must have one column of queries and one of lists, got the "
                f"input columns {_input_columns(rows[0])} and the columns of lists {list(lists)}."
            )
        ((name, column),) = lists.items()
        documents = [_read_list(value, place, name) for place, value in enumerate(column)]
        flat = [document for row in documents for document in row]
        batch |= preprocess_column(self, batch, name, flat)
        return torch.tensor([len(row) for row in documents])


def check_labels(reader: Reader, described: Mapping[str, Any], sizes: Sequence[int]) -> None:
    """Raise ValueError unless the relevance can read a batch's labels, while they are still on the CPU.

    Args:
        reader: The reader of the batch.
        described: The labels by name.
        sizes: Number of rows of each input column.
    """
    relevance = choose_relevance(described, sizes) if reader.relevance is None else reader.relevance
    relevance.pair(described, sizes)


def _same_columns(features: list[Row]) -> list[Row]:
    """Copy rows; raise ValueError if one lacks a column."""
    names = features[0].keys()
    for place, row in enumerate(features):
        if row.keys() != names:
            raise ValueError(
                f"every row must have the columns {list(names)}, got {list(row)} in row {place}: fill the column, or "
                "remove it."
            )
    return [dict(row) for row in features]


def _input_columns(row: Row) -> list[str]:
    return [name for name in row if name != "dataset_name"]


def list_columns(rows: list[Row]) -> list[str]:
    """Find columns of lists of inputs (strings, images or chats), but not of numbers or chat messages."""
    return [name for name in _input_columns(rows[0]) if any(is_list_of_inputs(row[name]) for row in rows)]


def _read_list(value: Any, place: int, name: str) -> list[Any]:
    """Return a row's documents, or raise ValueError."""
    documents = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(documents, list | tuple):
        raise refusal(name, place, value, "a list of documents", "fill the row, or remove it")
    if not documents:
        raise refusal(name, place, value, "at least one document in each list", "remove the row")
    check_inputs(((place, document) for document in documents), name, "row")
    return list(documents)


def id_names(column: str) -> tuple[str, ...]:
    """Return the names that a column of ids for an input column may have."""
    return tuple(f"{stem}_{end}" for stem in _stems(column) for end in ("id", "ids"))


def _pop_ids(rows: list[Row], label_columns: Sequence[str]) -> dict[str, list[Any]]:
    """Remove the id columns from the rows, and return ids by the name of their input column."""
    found: dict[str, list[Any]] = {}
    for column in list(rows[0]):
        for name in id_names(column):
            if name in rows[0] and column not in label_columns:
                found[column] = [row.pop(name) for row in rows]
                break
    return found


def weight_columns(names: Iterable[str], label_columns: Sequence[str]) -> dict[str, str]:
    """Find the columns of weights.

    Args:
        names: The columns of a dataset.
        label_columns: Candidate names of the label column.

    Returns:
        The name of the input column that each column of weights belongs to, or "" for the weights of rows.

    Example:
        >>> weight_columns(["query", "documents", "weight", "document_weights"], ["label"])
        {'weight': '', 'document_weights': 'documents'}
    """
    names = [name for name in names if name not in label_columns]
    found = {"weight": ""}
    for column in names:
        found |= {f"{stem}_{end}": column for stem in _stems(column) for end in ("weight", "weights")}
    return {name: column for name, column in found.items() if name in names}


def _stems(column: str) -> tuple[str, str]:
    return column, column.removesuffix("s")


def _pop_weights(rows: list[Row], label_columns: Sequence[str]) -> dict[str, tuple[str, list[Any]]]:
    """Remove the columns of weights from the rows; return name and values by input column, "" for the rows' own."""
    found: dict[str, tuple[str, list[Any]]] = {}
    for name, column in weight_columns(rows[0], label_columns).items():
        if column in found:
            raise ValueError(f"weights must be in one column, got {found[column][0]!r} and {name!r}: remove one.")
        found[column] = (name, [row.pop(name) for row in rows])
    return found


def _encode_weights(
    weights: dict[str, tuple[str, list[Any]]], columns: list[str], rows: int, list_sizes: Tensor | None
) -> dict[str, Tensor]:
    """Return weights of rows, queries and documents by name; a column without weights weighs 1."""
    sizes = {column: [1] * rows for column in ["", *columns]}
    if list_sizes is not None:
        sizes[columns[-1]] = list_sizes.tolist()
    flat = {
        column: torch.tensor(read_weights(values, name, sizes[column]), dtype=torch.float32)
        for column, (name, values) in weights.items()
    }
    query, *documents = columns
    found = {"row_weights": flat.get(""), "query_weights": flat.get(query)}
    if any(column in flat for column in documents):
        found["document_weights"] = torch.cat([flat.get(c, torch.ones(sum(sizes[c]))) for c in documents])
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _encode_ids(ids: dict[str, list[Any]], columns: list[str], list_sizes: Tensor | None) -> dict[str, Tensor]:
    missing = [column for column in columns if column not in ids]
    if missing:
        raise ValueError(
            f"either all input columns or none need ids, got none for {missing}: add a column {missing[0] + '_id'!r}."
        )
    codes = []
    for place, column in enumerate(columns):
        flat: list[Any] = []
        for i, value in enumerate(ids[column]):
            row_ids = plain(value)
            row_ids = row_ids if isinstance(row_ids, list) else [row_ids]
            expected = int(list_sizes[i]) if place == 1 and list_sizes is not None else 1
            if len(row_ids) != expected or not all(isinstance(x, str | int) and not is_missing(x) for x in row_ids):
                raise ValueError(
                    f"{column!r} needs an id (a string or an integer) for each of its {expected} inputs in row {i}, "
                    f"got {value!r}."
                )
            flat += row_ids
        codes.append(encode_ids(flat))
    query, *documents = codes
    return {"query_ids": query, "document_ids": torch.cat(documents) if documents else query}
