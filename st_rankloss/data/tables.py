"""One table, from a file, a dataset in memory or rows: what every reader starts from."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Image, IterableDataset, List

from st_rankloss.labels import plain

Row = dict[str, Any]

HEAD = 1000
"""Rows that decide on types while streaming."""

BATCH = 10_000

JSON, DELIMITED, PARQUET = (".jsonl", ".ndjson", ".json"), (".csv", ".tsv", ".txt", ".tab"), (".parquet", ".pq")
TABLES = (*JSON, *DELIMITED, *PARQUET)
"""What the names of files end in."""

SHARD = re.compile(r"-(\d+)-of-(\d+)(?=\.)")
"""Which shard of a table a file is, in its name."""


@dataclass(frozen=True)
class Table:
    """Rows with named columns, which can be read again and again.

    Args:
        source: Where the rows come from, for messages.
        names: The columns.
        rows: A function that yields every row as a dict; each call starts over.
        streaming: Whether rows are read from the file each time, rather than held in memory.
        folder: The folder of the file, to which paths in it are relative.
        notes: What was converted or assumed.
        whole: The table that this one is a part of, which decides what labels are.
        unclear: Columns of numbers whose commas could also separate ids.
    """

    source: str
    names: list[str]
    rows: Callable[[], Iterator[Row]] = field(repr=False)
    streaming: bool = False
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    whole: Table | None = None
    unclear: frozenset[str] = frozenset()

    def column(self, name: str) -> list[Any]:
        """Return the values of a column; of its first `HEAD` rows if streaming."""
        rows = islice(self.rows(), HEAD) if self.streaming else self.rows()
        return [row[name] for row in rows]

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the source in any ValueError that is raised inside."""
        with naming(self.source):
            yield


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Name a source in any ValueError that is raised inside, unless it is named already."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{source}: "):
            raise
        raise ValueError(f"{source}: {error}") from error


def read_table(
    source: Any,
    *,
    text: Collection[str] = (),
    streaming: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Read one table.

    Args:
        source: A file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.txt``, ``.parquet``, also ``.gz``), a `Dataset`,
            an `IterableDataset`, a data frame of pandas or polars, a list of dicts, a dict of lists or a `Table`.
            Columns of csv files that hold only numbers and gaps become numbers; others, and those that are named like
            ids or texts, stay as they are.
        text: Other columns of a csv file that stay text.
        streaming: Whether to read the file row by row, each time it is iterated; types are decided on the first 1,000
            rows.
        delimiter: What separates the fields of a csv file; None finds out.
        encoding: Encoding of a text file; None means UTF-8, or UTF-16 if the file starts with its mark.

    Returns:
        The table.

    Raises:
        ValueError: If the file is missing, of another form, or broken; the error names file and line.

    Example:
        >>> table = read_table({"text": ["a", "b"], "label": [1, None]})
        >>> table.names, list(table.rows())
        (['text', 'label'], [{'text': 'a', 'label': 1}, {'text': 'b', 'label': None}])
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | Path):
        return _read_file(Path(source), text, streaming, delimiter, encoding)
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


def of_arrow(table: pa.Table, source: str, **fields: Any) -> Table:
    """Return a table whose rows are held by pyarrow."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"{source}: columns must have different names, got {names}.")
    return Table(source, names, partial(_rows_of_arrow, table), **fields)


def _rows_of_arrow(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(BATCH):
        yield from batch.to_pylist()


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


def _of_columns(columns: Mapping[str, Any]) -> pa.Table:
    """Return the columns of a dict as a pyarrow table; raise ValueError for values that are not of one type."""
    for name, values in columns.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
            raise ValueError(
                f"the dict: column {name!r} must be a list of values, got {type(values).__name__}: pass one per row."
            )
    with naming("the dict"):
        arrays = {name: _of_column(values, name) for name, values in columns.items()}
    if len({*map(len, arrays.values())}) > 1:
        lengths = {name: len(array) for name, array in arrays.items()}
        raise ValueError(f"the dict: columns must have the same length, got {lengths}.")
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
    if type(value).__module__.startswith("PIL."):
        return Image().encode_example(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    return plain(value)


def _of_frame(frame: Any) -> Table:
    try:
        table = pa.table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"the data frame: a column must hold values of one type: {error}.") from error
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


def filled(rows: Callable[[], Iterator[Row]], names: list[str]) -> Iterator[Row]:
    """Yield rows with the columns of the first ones."""
    for row in rows():
        yield {name: row.get(name) for name in names}


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


def suffix_of(path: Path) -> str:
    """Return what the name of a file ends in, without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def without_shard(path: Path) -> str:
    """Return the name of the table that a file is a shard of."""
    return SHARD.sub("", path.name)


def is_table(path: Path) -> bool:
    """Return whether a file is named like a table."""
    return suffix_of(path) in TABLES


def _open_bytes(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def open_text(path: Path, encoding: str | None = None) -> io.TextIOBase:
    """Open a text file, which may be compressed and may start with a byte order mark."""
    return io.TextIOWrapper(_open_bytes(path), encoding or encoding_of(path), newline="")


def encoding_of(path: Path) -> str:
    """Return UTF-16 if a file starts with its mark, or UTF-8."""
    with _open_bytes(path) as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of decoding and of compression into a ValueError that names the remedy."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: a text file must be in {error.encoding}, got the byte {error.object[error.start]:#x}: pass "
            "encoding=, such as 'cp1252', or save it as UTF-8."
        ) from error
    except LookupError as error:
        raise ValueError(f"{path}: encoding= must be one that Python knows, such as 'cp1252', got {error}.") from error
    except (OSError, EOFError) as error:
        raise ValueError(f"{path}: the file cannot be read: {error}.") from error


class Shards(tuple[Path, ...]):
    """The files that are shards of one table."""


def join_tables(tables: Sequence[Table]) -> Table:
    """Return the rows of the shards of a table.

    Args:
        tables: The tables of the shards, at least one.

    Returns:
        The table; its rows are numbered over all shards.

    Raises:
        ValueError: If they have different columns.
    """
    first, *others = tables
    for other in others:
        if set(other.names) != set(first.names):
            raise ValueError(f"{other.source}: a shard must have the columns of the first, {first.names}, got "
                             f"{other.names}: write the table again.")  # fmt: skip
    notes = dict.fromkeys(note for table in tables for note in table.notes)
    rows = partial(_rows_of_all, tables)
    source = SHARD.sub(r"-*-of-\2", first.source)
    unclear = frozenset().union(*(table.unclear for table in tables))
    return replace(first, source=source, rows=rows, notes=tuple(notes), unclear=unclear) if others else first


def _rows_of_all(tables: Sequence[Table]) -> Iterator[Row]:
    for table in tables:
        yield from table.rows()


def _read_file(
    path: Path, text: Collection[str], streaming: bool, delimiter: str | None, encoding: str | None
) -> Table:
    from st_rankloss.data import delimited, json_lines

    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*") if p.stem.split(".")[0] == path.stem.split(".")[0])
        remedy = f"; there is {', '.join(near[:3])}" if near else ""
        raise ValueError(f"{path}: there is no such file{remedy}.")
    kind = suffix_of(path)
    with reading(path):
        if kind in JSON:
            return json_lines.read(path, streaming, encoding)
        if kind in DELIMITED:
            return delimited.read(path, text, streaming, delimiter, encoding)
        if kind in PARQUET:
            return _read_parquet(path, streaming)
    raise ValueError(
        f"{path}: a table must be a file .jsonl, .json, .csv, .tsv or .parquet, also .gz: convert it, or read it with "
        "pandas and pass the data frame."
    )


def _read_parquet(path: Path, streaming: bool) -> Table:
    try:
        if not streaming:
            return of_arrow(pq.read_table(path), str(path), folder=path.parent)
        names = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: the file is not valid parquet: {error}.") from error
    return Table(str(path), names, partial(_stream_parquet, path), streaming=True, folder=path.parent)


def _stream_parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from batch.to_pylist()
