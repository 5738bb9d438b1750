"""Whether lists of integers are class ids or multi-hot, decided once for a dataset: batches may look like either."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from st_rankloss.labels import is_missing, plain

_LOOKED_AT = 1_000
_BATCH = 10_000


def holds_ids(dataset: Any, column: str) -> bool:
    """Return whether a column of lists of integers holds class ids, as they cannot all be the places of a multi-hot.

    Args:
        dataset: The dataset; of a stream, or one with a transform, the first 1,000 rows tell.
        column: The column of labels.

    Returns:
        Whether a list differs from the others in length, or holds another integer than 0 and 1; False for other labels,
        and without the column.

    Example:
        >>> holds_ids(Dataset.from_dict({"label": [[0], [1], [5]]}), "label")
        True
        >>> holds_ids(Dataset.from_dict({"label": [[0, 1], [1, 1]]}), "label")
        False
    """
    if isinstance(dataset, Dataset) and dataset.format["type"] != "custom":
        return column in dataset.column_names and _in_table(dataset, column)
    rows = islice(dataset, _LOOKED_AT)
    return _among(label for row in rows if not is_missing(label := plain(row.get(column))))


def _in_table(dataset: Dataset, column: str) -> bool:
    feature = getattr(dataset.features[column], "feature", None)
    if not str(getattr(feature, "dtype", "")).startswith(("int", "uint")):
        return False
    lengths: set[int] = set()
    for batch in dataset.select_columns([column]).with_format("arrow").iter(_BATCH):
        lists: pa.ChunkedArray = batch[column].drop_null()
        lengths |= {*pc.unique(pc.list_value_length(lists)).to_pylist()}
        bounds = pc.min_max(pc.list_flatten(lists)).as_py()
        if len(lengths) > 1 or (bounds["max"] is not None and not 0 <= bounds["min"] <= bounds["max"] <= 1):
            return True
    return False


def _among(labels: Iterator[Any]) -> bool:
    lengths: set[int] = set()
    for label in labels:
        if not isinstance(label, list) or not all(type(item) is int for item in label):
            return False
        lengths.add(len(label))
        if len(lengths) > 1 or any(item not in (0, 1) for item in label):
            return True
    return False
