"""Labels of any kind into label tensors, and ragged lists of documents into one column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor

from st_rankloss.functional.checks import check_choice
from st_rankloss.relevance import encode_ids

LABEL_KINDS = ("auto", "class", "multi_label", "path", "grades", "numbers")

Row = dict[str, Any]


@dataclass
class RankingCollator(SentenceTransformerDataCollator):
    """The collator of sentence-transformers, which also reads graded labels and lists of documents.

    Beside everything that its parent takes, a dataset may have

    - a column of lists of documents, of any lengths: (query, [documents]) + [grades], as
      ``mine_hard_negatives(output_format="labeled-list")`` makes them;
    - string classes, sets of strings (multi-label), paths of strings (coarse to fine), lists of numbers;
    - ids beside each input column, named like it with ``_id`` or ``_ids`` at the end (``query`` and
      ``query_id``, ``documents`` and ``document_ids``), which `Qrels` looks up and no model sees.

    Losses get ``label``, ``label_codes``, ``list_sizes``, ``query_ids`` and ``document_ids`` by name; a plain label of
    one number a row stays the tensor that other losses read, a wider one does not, since MatryoshkaLoss would
    truncate it. Prompts, router mapping and several datasets work as in the parent. Let `RankingTrainer` make the
    collator, or pass one to it: with the plain trainer, an instance passed as ``data_collator=`` knows nothing of
    the arguments' prompts and router mapping.

    Args:
        label_kind: What the label column holds: ``"class"`` (strings or integers), ``"multi_label"`` (a list
            of strings a row), ``"path"`` (a list of strings a row, coarse to fine), ``"grades"`` (a number
            for each document of the row), ``"numbers"`` (a number or a list of numbers a row), or ``"auto"``:
            strings are classes, lists of strings label sets, lists of numbers grades in rows with a list of
            documents, anything else numbers as they are.
        label_names: All label names of a multi-label set, in the order of the multi-hot columns; None takes
            those of each batch. `MultiLabel` with ``idf`` needs them.

    Raises:
        ValueError: If ``label_kind`` is unknown. On a batch: if a row's list of documents is empty or its
            grades are not as many, if an id is missing, or if a label is not among ``label_names``.
    """

    label_kind: str = "auto"
    label_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_choice(self.label_kind, LABEL_KINDS, "label_kind")

    def __call__(self, features: list[Row]) -> dict[str, Any]:
        """Turn dataset rows into the trainer's batch.

        Args:
            features: The rows.

        Returns:
            Features of each input column under its name, and ``label``: tensors by name, or nothing.
        """
        if not features:
            return {}
        rows = [dict(row) for row in features]
        labels = self._pop_labels(rows)
        ids = _pop_ids(rows, self.valid_label_columns)
        lists = {name: [row.pop(name) for row in rows] for name in _list_columns(rows[0])}
        batch: dict[str, Any] = super().__call__(rows)

        described: dict[str, Tensor] = {}
        if lists:
            described["list_sizes"] = self._add_list_column(batch, lists, rows)
        if labels is not None:
            described |= self._encode(labels, described.get("list_sizes"))
        if ids:
            columns = _input_columns(rows[0]) + list(lists)
            described |= _encode_ids(ids, columns, described.get("list_sizes"))
        if described.keys() == {"label"} and described["label"].dim() == 1:
            batch["label"] = described["label"]  # as the losses of sentence-transformers read it
        elif described:
            batch["label"] = described
        return batch

    def _pop_labels(self, rows: list[Row]) -> list[Any] | None:
        for name in self.valid_label_columns:
            if name in rows[0]:
                return [row.pop(name) for row in rows]
        return None

    def _add_list_column(self, batch: dict[str, Any], lists: dict[str, list[Any]], rows: list[Row]) -> Tensor:
        """Preprocess the column of lists as one flat column; return the lists' lengths."""
        if len(lists) > 1 or len(_input_columns(rows[0])) != 1:
            raise ValueError(
                "a dataset with lists of documents must have one column of queries and one of lists, got the "
                f"input columns {_input_columns(rows[0])} and the columns of lists {list(lists)}."
            )
        ((name, documents),) = lists.items()
        sizes = [len(row) for row in documents]
        if 0 in sizes:
            raise ValueError(f"each list in {name!r} must hold a document, got an empty list in row {sizes.index(0)}.")
        router, prompts = self._resolve_router_mapping(batch), self._resolve_prompts(batch)
        task = self._get_task_for_column(name, 1, router)
        options = {} if (length := self._get_max_length_for_task(task)) is None else {"max_length": length}
        flat = [document for row in documents for document in row]
        prompt = self._get_prompt_for_column(prompts, name)
        for key, value in self.preprocess_fn(flat, prompt=prompt, task=task, **options).items():
            batch[f"{name}_{key}"] = value
        if task is not None:
            batch[f"{name}_task"] = task
        return torch.tensor(sizes)

    def _encode(self, labels: list[Any], list_sizes: Tensor | None) -> dict[str, Tensor]:
        kind = self.label_kind if self.label_kind != "auto" else _guess_kind(labels, list_sizes)
        if kind == "multi_label":
            return self._encode_sets(labels)
        if kind == "class":
            label = encode_ids(labels) if isinstance(labels[0], str) else torch.as_tensor(labels)
        elif kind == "path":
            label = _encode_paths(labels)
        elif kind == "grades":
            label = _encode_grades(labels, list_sizes)
        else:
            label = torch.stack(labels) if isinstance(labels[0], Tensor) else torch.tensor(labels)
        return {"label": label}

    def _encode_sets(self, labels: list[list[str]]) -> dict[str, Tensor]:
        """Make a multi-hot; where its columns are this batch's own, their names go along, for other processes."""
        names = self.label_names if self.label_names is not None else sorted({n for row in labels for n in row})
        place = {name: i for i, name in enumerate(names)}
        hot = torch.zeros(len(labels), len(names), dtype=torch.bool)
        for i, row in enumerate(labels):
            for name in row:
                if name not in place:
                    raise ValueError(f"every label must be among label_names, got {name!r} in row {i}.")
                hot[i, place[name]] = True
        return {"label": hot} if self.label_names is not None else {"label": hot, "label_codes": encode_ids(names)}


def _guess_kind(labels: list[Any], list_sizes: Tensor | None) -> str:
    telling = next((label for label in labels if not isinstance(label, list | tuple) or label), [])
    if isinstance(telling, str):
        return "class"
    if isinstance(telling, list | tuple) and (not telling or isinstance(telling[0], str)):
        return "multi_label"
    return "grades" if list_sizes is not None else "numbers"


def _encode_paths(labels: list[Sequence[str]]) -> Tensor:
    """Code every level of a path by the path that leads to it; -1 where it has no such level."""
    codes = torch.full((len(labels), max(1, *map(len, labels))), -1)
    for i, path in enumerate(labels):
        codes[i, : len(path)] = encode_ids("\x1f".join(map(str, path[: level + 1])) for level in range(len(path)))
    return codes


def _encode_grades(labels: list[Sequence[float]], list_sizes: Tensor | None) -> Tensor:
    """Pad each row's grades with NaN."""
    rows = [_as_list(row) for row in labels]
    grades = torch.full((len(rows), max(map(len, rows))), torch.nan)
    for i, row in enumerate(rows):
        if list_sizes is not None and len(row) != list_sizes[i]:
            raise ValueError(
                f"each row needs a grade for each document, got {len(row)} grades for {int(list_sizes[i])} documents "
                f"in row {i}."
            )
        grades[i, : len(row)] = torch.tensor([math.nan if grade is None else float(grade) for grade in row])
    return grades


def _input_columns(row: Row) -> list[str]:
    return [name for name in row if name != "dataset_name"]


def _list_columns(row: Row) -> list[str]:
    """Columns whose rows are lists of inputs: of strings, images, but not of numbers or of chat messages."""
    return [
        name
        for name, value in row.items()
        if isinstance(value, list | tuple) and not (value and isinstance(value[0], int | float | dict | list))
    ]


def _id_names(column: str) -> tuple[str, ...]:
    stem = column.removesuffix("s")
    return (f"{column}_id", f"{column}_ids", f"{stem}_id", f"{stem}_ids")


def _pop_ids(rows: list[Row], label_columns: Sequence[str]) -> dict[str, list[Any]]:
    """Take the id columns out of the rows: ids by the name of their input column."""
    found: dict[str, list[Any]] = {}
    for column in list(rows[0]):
        for name in _id_names(column):
            if name in rows[0] and column not in label_columns:
                found[column] = [row.pop(name) for row in rows]
                break
    return found


def _encode_ids(ids: dict[str, list[Any]], columns: list[str], list_sizes: Tensor | None) -> dict[str, Tensor]:
    missing = [column for column in columns if column not in ids]
    if missing:
        raise ValueError(
            f"every input column needs ids once one has them, got none for {missing}: "
            f"add a column {missing[0] + '_id'!r}."
        )
    codes = []
    for place, column in enumerate(columns):
        flat = []
        for i, row in enumerate(ids[column]):
            row_ids = _as_list(row)
            expected = int(list_sizes[i]) if place == 1 and list_sizes is not None else 1
            if len(row_ids) != expected or None in row_ids:
                raise ValueError(f"{column!r} needs an id for each of its {expected} inputs in row {i}, got {row!r}.")
            flat += row_ids
        codes.append(encode_ids(flat))
    query, *documents = codes
    return {"query_ids": query, "document_ids": torch.cat(documents) if documents else query}


def _as_list(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):  # a tensor or an array, as formatted datasets hold
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else [value]
