"""Whether lists of integers are class ids or multi-hot, decided once for a dataset: batches may look like either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from st_rankloss.labels import is_missing, plain

_LOOKED_AT = 1_000
_BATCH = 10_000


def form_of_sets(dataset: Any, column: str) -> str | None:
    """Return what the lists of integers in a column of labels are.

    Args:
        dataset: The dataset; of a stream, or one with a transform, the first 1,000 rows tell.
        column: The column of labels.

    Returns:
        "ids" if a list holds another integer than 0 and 1, or lists without repetition differ in length; "multi-hot" if
        a list of 0 and 1 repeats one of them; None if the lists may be either, for other labels, or without the column.

    Raises:
        ValueError: If lists of 0 and 1 repeat one of them, but differ in length.

    Example:
        >>> form_of_sets(Dataset.from_dict({"label": [[0], [1], [5]]}), "label")
        'ids'
        >>> form_of_sets(Dataset.from_dict({"label": [[0, 1], [1, 1]]}), "label")
        'multi-hot'
    """
    facts: Iterable[_Facts]
    if isinstance(dataset, Dataset) and dataset.format["type"] != "custom":
        facts = _in_table(dataset, column) if column in dataset.column_names else ()
    else:
        labels = (plain(row.get(column)) for row in islice(dataset, _LOOKED_AT))
        facts = _among([label for label in labels if not is_missing(label)])
    lengths: set[int] = set()
    repeats = False
    for more, binary, again in facts:
        if not binary:
            return "ids"
        lengths |= more
        repeats |= again
    if repeats and len(lengths) > 1:
        raise ValueError(
            f"column {column!r} must hold multi-hot lists of one length, or class ids without repetition, got lists of "
            f"0 and 1 of {min(lengths)} and of {max(lengths)} places: correct the lists."
        )
    return "multi-hot" if repeats else "ids" if len(lengths - {0}) > 1 else None


_Facts = tuple[set[int], bool, bool]
"""The lengths of some lists, whether all items are 0 and 1, and whether one is repeated in a list."""


def _in_table(dataset: Dataset, column: str) -> Iterator[_Facts]:
    feature = getattr(dataset.features[column], "feature", None)
    if not str(getattr(feature, "dtype", "")).startswith(("int", "uint")):
        return
    for batch in dataset.select_columns([column]).with_format("arrow").iter(_BATCH):
        lists: pa.ChunkedArray = batch[column].drop_null()
        lengths = pc.list_value_length(lists)
        bounds = pc.min_max(pc.list_flatten(lists)).as_py()
        binary = bounds["max"] is None or 0 <= bounds["min"] <= bounds["max"] <= 1
        yield {*pc.unique(lengths).to_pylist()}, binary, binary and _repeats(lists, lengths)


def _repeats(lists: pa.ChunkedArray, lengths: pa.ChunkedArray) -> bool:
    """Return whether a list of 0 and 1 repeats one of them: it is longer than two, or one of two equal items."""
    if (pc.max(lengths).as_py() or 0) > 2:
        return True
    return any(pair[0] == pair[1] for pair in lists.filter(pc.equal(lengths, 2)).to_pylist())


def _among(labels: Iterable[Any]) -> Iterator[_Facts]:
    found: list[_Facts] = []
    for label in labels:
        if not isinstance(label, list) or not all(type(item) is int for item in label):
            return
        found.append(({len(label)}, {*label} <= {0, 1}, len({*label}) < len(label)))
    yield from found
