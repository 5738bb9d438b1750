"""Guess the task of a dataset from its columns and the values of its labels."""

from __future__ import annotations

from itertools import islice
from typing import Any

from datasets import ClassLabel, Dataset, IterableDataset

from st_rankloss.data.in_memory import are_numbers
from st_rankloss.data.part import COLUMNS, Part
from st_rankloss.judgements import few
from st_rankloss.labels import LABEL_COLUMNS, holds_class_ids, is_missing, is_multi_hot, plain

_LOOKED_AT = 1_000


def as_part(data: Part | Dataset | IterableDataset, task: str | None = None) -> Part:
    """Return data as a part of a task.

    Args:
        data: A part, or rows whose columns are named as in `COLUMNS`.
        task: One of `COLUMNS`; None guesses it from the columns and the first 1,000 labels.

    Returns:
        The part.

    Raises:
        TypeError: If ``data`` is anything else.
        ValueError: If the task is unknown, or the columns fit no task.

    Example:
        >>> as_part(Dataset.from_dict({"text": ["a", "b"], "label": [["x"], ["x", "y"]]})).task
        'multi_label'
    """
    if isinstance(data, Part):
        return data
    if not isinstance(data, Dataset | IterableDataset):
        raise TypeError(f"data must be a Part, a Dataset or an IterableDataset, got {type(data).__name__}.")
    return Part(guess_task(data) if task is None else task, data)


def guess_task(data: Dataset | IterableDataset) -> str:
    """Return the task that the columns and labels fit, or raise ValueError; see `as_part`."""
    columns = set(data.column_names or next(iter(data), {}))
    if {"image", "caption"} <= columns:
        return "image_text"
    if "query" in columns and columns & {"document", "documents"}:
        return "retrieval"
    if {"sentence1", "sentence2"} <= columns:
        _check_scores(data)
        return "sts"
    if columns & {"text", "image"}:
        return task_of_labels(data)
    forms = "; ".join(f"{task}: {', '.join(names)}" for task, names in COLUMNS.items())
    raise ValueError(
        f"the columns must be those of a task ({forms}), got {sorted(columns)}: rename them with "
        "dataset.rename_columns, or pass st_rankloss.data.read(dataset)['train'], which finds them."
    )


def label_column(data: Dataset | IterableDataset) -> str | None:
    """Return the name of the label column, or None."""
    columns = data.column_names or list(next(iter(data), {}))
    return next((name for name in LABEL_COLUMNS if name in columns), None)


def first_labels(data: Dataset | IterableDataset, column: str, rows: int | None = _LOOKED_AT) -> list[Any]:
    """Return the labels of the first rows, or of all, as plain values, without missing ones."""
    first = islice(data.select_columns([column]).with_format(None), rows)
    return [value for value in (plain(row[column]) for row in first) if not is_missing(value)]


def _check_scores(data: Dataset | IterableDataset) -> None:
    """Raise ValueError for classes in the place of scores of pairs: their numbers say nothing of similarity."""
    column = label_column(data)
    if isinstance(feature := (data.features or {}).get(column), ClassLabel) and not are_numbers(feature):
        raise ValueError(
            f"column {column!r} must hold scores, got the classes {few(feature.names)}: pass "
            "st_rankloss.data.read(dataset, scale={...})['train'], with a score for each class."
        )


def task_of_labels(data: Dataset | IterableDataset) -> str:
    """Return the task that the labels of texts or images fit; "self_supervised" without labels."""
    column = label_column(data)
    labels = first_labels(data, column) if column else []
    if not labels:
        return "self_supervised"
    if isinstance(labels[0], list):
        return _task_of_lists(data, column, labels)
    numbers = all(isinstance(label, float) for label in labels)
    return "regression" if numbers and any(label % 1 for label in labels) else "classification"


def _task_of_lists(data: Dataset | IterableDataset, column: str | None, labels: list[Any]) -> str:
    """Lists of one length greater than 1 are paths if they repeat their first item, other lists are label sets."""
    class_ids = holds_class_ids((data.features or {}).get(column))
    if class_ids or is_multi_hot(labels):
        return "multi_label"
    if any(isinstance(item, float) for label in labels for item in label):
        return "regression"
    if len({len(label) for label in labels}) == 1 and len(labels[0]) > 1 and _is_tree(labels):
        return "hierarchy"
    return "multi_label"


def _is_tree(labels: list[Any]) -> bool:
    """Return whether each last item always follows the same items, and no item occurs at two levels."""
    above = {label[-1]: label[:-1] for label in labels}
    level = {item: place for label in labels for place, item in enumerate(label)}
    same_level = all(level[item] == place for label in labels for place, item in enumerate(label))
    return same_level and all(above[label[-1]] == label[:-1] for label in labels)
