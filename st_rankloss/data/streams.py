"""Streams that do not declare their features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import Dataset, IterableDataset

from st_rankloss.labels import refusal


def with_features(dataset: IterableDataset) -> IterableDataset:
    """Return a stream that declares its features: its own, or those of its first row.

    Args:
        dataset: The stream.

    Returns:
        The stream, which raises ValueError at a row whose values these features would change.

    Raises:
        ValueError: If it has no rows.

    Example:
        >>> stream = IterableDataset.from_generator(lambda: iter([{"text": "a", "label": 1}]))
        >>> with_features(stream).column_names
        ['text', 'label']
    """
    if dataset.features is not None:
        return dataset
    row = next(iter(dataset), None)
    if row is None:
        raise ValueError("a streaming dataset must have rows, got none.")
    features = Dataset.from_list([row]).features
    return dataset.map(_Unchanged(features), with_indices=True, features=features)


class _Unchanged:
    """Refuses rows that features taken from the first row would change, such as 0.5 where that had integers."""

    def __init__(self, features: Any) -> None:
        self.features = features

    def __call__(self, row: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the row, or raise ValueError."""
        if row.keys() != self.features.keys():
            raise ValueError(f"every row must have the columns {list(self.features)}, got {list(row)} in row {number}.")
        for name, value in row.items():
            feature = self.features[name]
            if not _keeps(feature, value):
                rule = f"{feature}, as in the first row"
                remedy = "declare the columns' types with dataset.cast(Features({...}))"
                raise refusal(name, number, value, rule, remedy)
        return row


def _keeps(feature: Any, value: Any) -> bool:
    """Return whether a feature keeps a value as it is."""
    if value is None:
        return True
    if isinstance(feature, Mapping):
        known = isinstance(value, Mapping) and value.keys() <= feature.keys()
        return known and all(_keeps(feature[key], each) for key, each in value.items())
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return isinstance(value, list | tuple) and all(_keeps(inner, each) for each in value)
    if getattr(feature, "dtype", "") == "null":
        return False
    if not isinstance(value, str | int | float):
        return True  # images and the like, which datasets reads itself
    kinds = {"string": str, "int64": int, "float64": int | float, "bool": bool}
    return isinstance(value, kinds.get(getattr(feature, "dtype", ""), object))
