"""Tasks of mteb from labelled rows: scored pairs, classes, clusters, label sets and numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset, DatasetDict, Image, List, Value

from st_rankloss.data.part import Part
from st_rankloss.judgements import check_inputs
from st_rankloss.labels import holds_class_ids, is_missing, read_classes, read_numbers, read_paths, read_sets, refusal
from st_rankloss.mteb_tasks.given import Given

logger = logging.getLogger(__name__)


def prepare_pairs(given: Given) -> dict[str, Any]:
    """Lay out pairs of texts with scores, which mteb correlates with their cosines."""
    rows = _labelled(given.part)
    scores = _read_scalars(rows, "label")
    if len(set(scores)) < 2:
        raise ValueError(f"column 'label' must hold scores that differ, got {len(scores)} of {scores[:1]}.")
    sides = ("sentence1", "sentence2")
    for side in sides:
        check_inputs(enumerate(rows[side]), side, "row", text_only=True)
    data = Dataset.from_dict({side: list(rows[side]) for side in sides} | {"score": scores})
    return {"given": DatasetDict({given.split: data}), "min_score": min(scores), "max_score": max(scores)}


def prepare_classes(given: Given) -> dict[str, Any]:
    """Lay out classes that mteb learns to predict."""
    return _learned(given, lambda rows: _numbered(read_classes(rows, "label")), Value("int64"))


def prepare_sets(given: Given) -> dict[str, Any]:
    """Lay out sets of labels that mteb learns to predict."""
    class_ids = holds_class_ids(given.part.dataset.features["label"])

    def read(rows: Sequence[Any]) -> list[Any]:
        sets = [list(labels or ()) for labels in read_sets(rows, "label", class_ids=class_ids)]
        codes = {label: i for i, label in enumerate(sorted({label for row in sets for label in row}, key=_order_key))}
        return [sorted(codes[label] for label in row) for row in sets]

    return _learned(given, read, List(Value("int64")))


def prepare_numbers(given: Given) -> dict[str, Any]:
    """Lay out numbers that mteb learns to predict."""

    def read(rows: Sequence[Any]) -> list[Any]:
        return _read_scalars(Dataset.from_dict({"label": list(rows)}), "label")

    return _learned(given, read, Value("float64"), label="value")


def prepare_clusters(given: Given) -> dict[str, Any]:
    """Lay out classes that mteb compares with clusters, level by level."""
    rows = _labelled(given.part)
    if given.part.task == "hierarchy":
        paths = read_paths(list(rows["label"]), "label")
        # A level is known by the whole path to it, and by a number: mteb takes a string "-1" for a class.
        prefixes = [[path[: depth + 1] for depth in range(len(path))] for path in paths]
        codes = {prefix: i for i, prefix in enumerate(dict.fromkeys(p for row in prefixes for p in row))}
        labels: list[Any] = [[codes[prefix] for prefix in row] for row in prefixes]
        feature: Any = List(Value("int64"))
    else:
        labels, feature = _numbered(read_classes(list(rows["label"]), "label")), Value("int64")
    data = DatasetDict({given.split: _with_labels(rows, "labels", labels, feature)})
    return {"given": data, "max_fraction_of_documents_to_embed": None} | _input_of(given.part)


def _learned(
    given: Given, read: Callable[[Sequence[Any]], list[Any]], feature: Any, label: str = "label"
) -> dict[str, Any]:
    """Lay out a task that learns from its training part; labels of both parts are read together."""
    parts = {split: _labelled(part) for split, part in given.parts.items()}
    labels = read([value for rows in parts.values() for value in rows["label"]])
    data, start = {}, 0
    for split, rows in parts.items():
        column = labels[start : start + len(rows)]
        data[split] = _with_labels(rows, label, column, feature)
        start += len(rows)
    return {"given": DatasetDict(data), "label_column_name": label} | _input_of(given.part)


def _read_scalars(rows: Dataset, column: str) -> list[float]:
    numbers = read_numbers(list(rows[column]), column)
    if numbers.ndim > 1:
        raise refusal(column, 0, rows[column][0], "one number per row", "keep one of the numbers")
    scalars: list[float] = numbers.tolist()
    return scalars


def _with_labels(rows: Dataset, name: str, labels: list[Any], feature: Any) -> Dataset:
    column = "image" if "image" in rows.column_names else "text"
    if column == "text":
        check_inputs(enumerate(rows[column]), column, "row", text_only=True)
    kept = rows.select_columns([column])
    kept = kept.cast_column("image", Image()) if column == "image" else kept
    return kept.add_column(name, labels, feature=feature)


def _input_of(part: Part) -> dict[str, Any]:
    if "image" in (part.dataset.column_names or ()):
        return {"input_column_name": "image", "fields": {"category": "i2c", "modalities": ["image"]}}
    return {"input_column_name": "text"}


def _labelled(part: Part) -> Dataset:
    """Return the rows that have a label; log how many have none."""
    code = part.task in ("classification", "hierarchy")
    labels = list(part.dataset["label"])
    kept = [row for row, label in enumerate(labels) if not is_missing(label, code=code) and (label != [] or not code)]
    if len(kept) < len(labels):
        logger.warning("%d of %d rows have no label; they are left out.", len(labels) - len(kept), len(labels))
    if not kept:
        raise ValueError(
            f"mteb needs rows with a label, got none in {len(labels)} rows of {part.source or 'the part'}."
        )
    return part.dataset if len(kept) == len(labels) else part.dataset.select(kept)


def _numbered(classes: Sequence[Any]) -> list[int]:
    codes = {name: i for i, name in enumerate(sorted(set(classes), key=_order_key))}
    return [codes[name] for name in classes]


def _order_key(value: Any) -> Any:
    return (isinstance(value, str), value)
