"""The columns of a part as arrow arrays, one item per text or label, whatever the layout of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import IterableDataset
from numpy.typing import NDArray

from st_rankloss.data.contents import contents
from st_rankloss.data.part import Part
from st_rankloss.labels import LABEL_COLUMNS, holds_class_ids

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Keys = NDArray[np.uint64]
Mask = NDArray[np.bool_]

INPUTS = ("query", "document", "documents", "sentence1", "sentence2", "text", "image", "caption")
"""Columns of inputs: those of a `Part`, and the single documents of ungrouped rows."""

WEIGHTS = ("weight", "query_weight", "document_weights")

_CHUNK = 100_000


@dataclass(frozen=True)
class Flat:
    """The items of a column, such as the documents of all lists, and the row of each.

    Attributes:
        column: Name of the column.
        values: The items.
        rows: The row of each item.
        sizes: Number of items per row; None if the column holds no lists.
        absent: Rows whose list is missing.
    """

    column: str
    values: pa.ChunkedArray
    rows: Indices
    sizes: Indices | None = None
    absent: Indices = field(default_factory=lambda: np.array([], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_text(self) -> bool:
        """Whether items are strings."""
        return bool(pa.types.is_large_string(self.values.type))

    @property
    def is_number(self) -> bool:
        """Whether items are numbers."""
        kind = self.values.type
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))

    @cached_property
    def codes(self) -> Indices:
        """A number per distinct item, -1 where it is missing."""
        return self._encoded[0]

    @property
    def distinct(self) -> int:
        """How many different items there are."""
        return self._encoded[1]

    @cached_property
    def _encoded(self) -> tuple[Indices, int]:
        if not (self.is_text or self.is_number):  # all missing, or lists of lists
            return np.full(len(self), -1, dtype=np.int64), 0
        chunks = self.values.dictionary_encode().chunks
        codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
        return np.concatenate([np.array([], dtype=np.int64), *codes]).astype(np.int64), _size(chunks)

    @cached_property
    def numbers(self) -> Numbers:
        """The items as float64, NaN where missing; all NaN unless they are numbers."""
        if not self.is_number:
            return np.full(len(self), np.nan)
        return np.asarray(self.values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)

    @cached_property
    def missing(self) -> Mask:
        """Which items are None, NaN or the empty string."""
        if self.is_text:
            return self.where(lambda values: pc.equal(pc.binary_length(values), 0), null=True)
        if self.is_number:
            return np.isnan(self.numbers)
        return np.ones(len(self), dtype=bool)

    @property
    def starts(self) -> Indices:
        """The first item of each row, and the number of items."""
        sizes = np.ones(len(self), dtype=np.int64) if self.sizes is None else self.sizes
        return np.concatenate([[0], np.cumsum(sizes)])

    def where(self, condition: Any, *, null: bool = False) -> Mask:
        """Which items fulfil a condition on arrow arrays; computed in slices, which bounds the memory."""
        found = [
            pc.fill_null(condition(self.values.slice(start, _CHUNK)), null).to_numpy()
            for start in range(0, len(self), _CHUNK)
        ]
        return np.concatenate([np.array([], dtype=bool), *found])

    def row_keys(self, *, ordered: bool = True) -> Keys:
        """A 64-bit hash of each row's items; ``ordered`` unless lists are sets."""
        starts = self.starts
        place = np.arange(len(self)) - np.repeat(starts[:-1], np.diff(starts)) if ordered else np.zeros(len(self))
        with np.errstate(over="ignore"):
            sums = np.concatenate(
                [[np.uint64(0)], np.cumsum(mix(self.codes.astype(np.uint64), place), dtype=np.uint64)]
            )
            return np.asarray(sums[starts[1:]] - sums[starts[:-1]], dtype=np.uint64)

    def most_per_row(self, values: Numbers, empty: float = -np.inf) -> Numbers:
        """The largest of ``values``, one per item, in each row; NaN is ignored."""
        most = np.full(len(self.starts) - 1, empty)
        np.fmax.at(most, self.rows, values)
        return most

    def example(self, item: int) -> Any:
        """The value of an item."""
        return self.values[int(item)].as_py()


@dataclass(frozen=True)
class Look:
    """What is looked at of a part.

    Attributes:
        part: The part.
        name: Its name, such as "train".
        rows: Number of rows looked at.
        columns: The columns that hold texts, numbers or lists of them.
        others: The names of the other columns, such as images.
        stopped: Whether streaming stopped before the end.
    """

    part: Part
    name: str
    rows: int
    columns: Mapping[str, Flat]
    others: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def task(self) -> str:
        """The task of the part."""
        return self.part.task

    @cached_property
    def images(self) -> list[Any]:
        """A digest of each image, read from its file; empty for other inputs and for streams."""
        streamed = isinstance(self.part.dataset, IterableDataset)
        return [] if streamed or "image" not in self.others else [*contents(self.part.dataset, "image")]

    @property
    def texts(self) -> list[Flat]:
        """The columns of texts that the model embeds."""
        return [flat for name, flat in self.columns.items() if name in INPUTS and flat.is_text]

    @property
    def labels(self) -> Flat | None:
        """The label column."""
        return next((self.columns[name] for name in LABEL_COLUMNS if name in self.columns), None)

    @property
    def documents(self) -> Flat | None:
        """The documents of retrieval, one per item."""
        return self.columns.get("documents", self.columns.get("document"))

    @property
    def class_ids(self) -> bool:
        """Whether the dataset declares its labels as lists of class ids."""
        features = self.part.dataset.features or {}
        return self.labels is not None and holds_class_ids(features.get(self.labels.column))

    def ids_of(self, column: str) -> Flat | None:
        """The ids of an input column."""
        stem = column.removesuffix("s")
        return next(
            (self.columns[name] for name in (f"{column}_ids", f"{stem}_ids", f"{stem}_id") if name in self.columns),
            None,
        )

    def label_keys(self) -> Keys | None:
        """A hash of each row's label."""
        return None if self.labels is None else self.labels.row_keys(ordered=self.task != "multi_label")


def mix(codes: Any, salt: Any) -> Keys:
    """Hash pairs of numbers to 64 bits (splitmix64)."""
    with np.errstate(over="ignore"):
        keys = np.asarray(codes).astype(np.uint64) + np.asarray(salt).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        keys = (keys + np.uint64(0x9E3779B97F4A7C15)) ^ (keys >> np.uint64(30))
        keys = keys * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(keys ^ (keys >> np.uint64(31)), dtype=np.uint64)


def look_at(part: Part, name: str, most_rows: int) -> Look:
    """Read the columns of a part; of a stream, the first ``most_rows`` rows."""
    if isinstance(part.dataset, IterableDataset):
        table, others, found = _stream(part.dataset, most_rows)
        rows, stopped = min(found, most_rows), found > most_rows
    else:
        table, others = _load(part.dataset)
        rows, stopped = len(part.dataset), False
    flats = {column: flatten(column, table[column]) for column in table.column_names}
    return Look(part, name, rows, flats, others, stopped)


def flatten(column: str, values: pa.ChunkedArray) -> Flat:
    """Return the items of a column."""
    if not _is_list(values.type):
        return Flat(column, _large(values), np.arange(len(values)))
    lengths = pc.list_value_length(values)
    absent = np.flatnonzero(pc.is_null(lengths).to_numpy())
    sizes = np.asarray(pc.fill_null(lengths, 0).to_numpy(), dtype=np.int64)
    items = pc.list_flatten(values)
    return Flat(column, _large(items), np.repeat(np.arange(len(values)), sizes), sizes, absent)


def _load(dataset: Any) -> tuple[pa.Table, tuple[str, ...]]:
    """Read the columns of a dataset, and name those that are left out."""
    readable = [name for name in dataset.column_names if _is_readable(dataset.features[name])]
    if not readable:
        return pa.table({}), tuple(dataset.column_names)
    table, others = _readable(dataset.select_columns(readable).with_format("arrow")[:])
    return table, (*(name for name in dataset.column_names if name not in readable), *others)


def _stream(dataset: Any, most_rows: int) -> tuple[pa.Table, tuple[str, ...], int]:
    """Read the columns of a stream, name those that are left out, and count rows, up to more than ``most_rows``."""
    size = min(10_000, most_rows + 1)
    try:
        return _merge(dataset.with_format("arrow").iter(size), most_rows)
    except pa.ArrowInvalid:  # datasets guesses types row by row, so that None and a number differ
        plain = dataset.with_format(None)
        plain = plain.decode(False) if dataset.features else plain
        rows = iter(plain)
        return _merge(map(pa.Table.from_pylist, iter(lambda: list(islice(rows, size)), [])), most_rows)


def _merge(found: Iterator[pa.Table], most_rows: int) -> tuple[pa.Table, tuple[str, ...], int]:
    tables: list[pa.Table] = []
    others: tuple[str, ...] = ()
    rows = 0
    for table in found:
        table, others = _readable(table)
        # A chunk per row, as streams have, would cost more time than all checks.
        tables.append(table.slice(0, max(0, most_rows - rows)).combine_chunks())
        rows += len(table)
        if rows > most_rows:
            break
    merged = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    return merged, others, rows


def _is_readable(feature: Any) -> bool:
    return type(feature).__name__ not in ("Image", "Audio", "Video", "Pdf", "Nifti")


def _readable(table: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Leave out columns of bytes and records."""
    others = tuple(
        field.name for field in table.schema if pa.types.is_struct(field.type) or pa.types.is_binary(field.type)
    )
    return table.drop_columns(list(others)), others


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _large(values: Any) -> pa.ChunkedArray:
    values = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return values.cast(pa.large_string())
    return values.cast(pa.float64()) if pa.types.is_decimal(kind) else values


def _size(chunks: list[Any]) -> int:
    return max((len(chunk.dictionary) for chunk in chunks), default=0)
