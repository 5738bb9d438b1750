"""Tables from rows, columns, data frames and datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, IterableDataset, List

from st_rankloss.data.contents import encoded, is_decoded
from st_rankloss.data.table import BATCH, Row, Table, filled, naming, of_arrow
from st_rankloss.labels import plain


def read(source: Any) -> Table:
    """Read a dataset, a data frame, a list of dicts or a dict of lists; see `read_table`."""
    if isinstance(source, IterableDataset):
        return _of_streaming(source)
    if isinstance(source, Dataset):
        return _of_dataset(source)
    if isinstance(source, list | dict):
        keys = source if isinstance(source, dict) else (key for row in source if isinstance(row, dict) for key in row)
        if wrong := next(([key] for key in keys if not isinstance(key, str)), None):
            raise ValueError(f"columns must be named by texts, got {wrong[0]!r}: rename it.")
    if isinstance(source, list):
        return of_arrow(rows_to_arrow(source, "row"), "the list")
    if isinstance(source, dict):
        return of_arrow(_of_columns(source), "the dict")
    is_frame = hasattr(source, "__dataframe__") or hasattr(source, "__arrow_c_stream__")  # of pandas, polars and others
    if is_frame and not isinstance(source, pa.ChunkedArray):
        return _of_frame(source)
    raise ValueError(f"a table must be a file, a dataset, a data frame or rows, got {type(source).__name__}.")


def rows_to_arrow(rows: Any, place: str, first: int = 0) -> pa.Table:
    """Return rows as a pyarrow table; the error names the first row of another type.

    Args:
        rows: An iterable of dicts; a missing key is None.
        place: The word for the number of a row, such as "line".
        first: Number of the first row.

    Returns:
        The table.
    """
    rows, tables, start = iter(rows), [], first
    while batch := list(islice(rows, BATCH)):
        for number, row in enumerate(batch, start):
            if not isinstance(row, dict):
                raise ValueError(f"{place} {number}: every row must be an object with named fields, got {row!r:.80}.")
        names = dict.fromkeys(name for row in batch for name in row)
        tables.append(pa.table({name: _array([row.get(name) for row in batch], name, place, start) for name in names}))
        start += len(batch)
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"a column must hold values of one type: {error}.") from error


def _of_columns(columns: Mapping[str, Any], source: str = "the dict") -> pa.Table:
    """Return columns of values as a pyarrow table; raise ValueError for values that are not of one type."""
    for name, values in columns.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
            raise ValueError(
                f"{source}: column {name!r} must be a list of values, got {type(values).__name__}: pass one per row."
            )
    with naming(source):
        arrays = {name: _of_column(values, name) for name, values in columns.items()}
    if len({*map(len, arrays.values())}) > 1:
        lengths = {name: len(array) for name, array in arrays.items()}
        raise ValueError(f"{source}: columns must have the same length, got {lengths}.")
    return pa.table(arrays)


def _of_column(values: Any, name: str) -> Any:
    try:
        return pa.chunked_array(values) if hasattr(values, "__arrow_c_stream__") else pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _array([*values], name, "row", 0)


def _array(values: list[Any], name: str, place: str, start: int) -> pa.Array:
    try:
        try:
            return pa.array(values)
        except pa.ArrowException:
            return pa.array([_cell(value) for value in values])
    except (pa.ArrowException, OverflowError) as error:
        kinds: dict[type, int] = {}
        for number, value in enumerate(values, start):
            if value is not None:
                kinds.setdefault(type(value), number)
        seen = " and ".join(f"{kind.__name__} in {place} {number}" for kind, number in kinds.items())
        raise ValueError(
            f"column {name!r} must hold values of one type, got {seen if len(kinds) > 1 else error}: convert one."
        ) from error


def _cell(value: Any) -> Any:
    """Return a value as pyarrow stores it: images by their bytes, paths as texts, arrays and tensors as lists."""
    if isinstance(value, Path):
        return str(value)
    if is_decoded(value):
        return encoded(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    return plain(value)


def _of_frame(frame: Any) -> Table:
    try:
        table = pa.table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # of images, for example
        columns = {name: list(frame[name]) for name in frame.columns}
        return of_arrow(_of_columns(columns, "the data frame"), "the data frame")
    except ValueError as error:
        raise ValueError(f"the data frame: columns must have different names: {error}.") from error
    unnamed = [name for name in table.column_names if name.startswith("__index_level_")]
    return of_arrow(table.drop_columns(unnamed), "the data frame")


def _of_dataset(dataset: Dataset) -> Table:
    if dataset.format["type"] == "custom":  # a transform, such as that of data.lists, which may draw at random
        rows: list[Row] = [*dataset]
        names = list(rows[0] if rows else dataset.column_names)
        return _by_name(Table("the dataset", names, partial(iter, rows)), dataset.features)
    return _by_name(of_arrow(dataset.with_format("arrow")[:], "the dataset"), dataset.features)


def _of_streaming(dataset: IterableDataset) -> Table:
    dataset = dataset.with_format(None).decode(False) if dataset.features else dataset.with_format(None)
    names = dataset.column_names or list(next(iter(dataset), {}))
    table = Table("the dataset", list(names), partial(filled, partial(iter, dataset), list(names)), streaming=True)
    return _by_name(table, dataset.features or {})


def _by_name(table: Table, features: Mapping[str, Any]) -> Table:
    """Return a table of a dataset with the names of its classes instead of their numbers."""
    labels = {name: inner for name, feature in features.items() if (inner := _class_label(feature))}
    named = {name: label for name, label in labels.items() if name in table.names and not are_numbers(label)}
    notes = tuple(f"column {name!r}: classes are read by name" for name in named)
    return replace(table, rows=partial(_with_names, table.rows, named), notes=notes) if named else table


def _class_label(feature: Any) -> ClassLabel | None:
    inner = feature.feature if isinstance(feature, List) else feature
    return inner if isinstance(inner, ClassLabel) else None


def are_numbers(label: ClassLabel) -> bool:
    """Return whether the names of classes are their numbers, which may be grades."""
    return list(label.names or ()) == [str(number) for number in range(label.num_classes or 0)]


def _with_names(rows: Callable[[], Iterator[Row]], named: dict[str, ClassLabel]) -> Iterator[Row]:
    for row in rows():
        yield row | {name: _class_name(row[name], label) for name, label in named.items()}


def _class_name(value: Any, label: ClassLabel) -> Any:
    if isinstance(value, list):
        return [_class_name(item, label) for item in value]
    if not isinstance(value, int):  # a transform has named it, or it is missing
        return value
    return None if value < 0 else label.int2str(value)
