"""One table, from a file, a dataset in memory or rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from st_rankloss.data import delimited, in_memory, json_lines, parquet
from st_rankloss.data.files import DELIMITED, JSON, PARQUET, SHARD, reading, suffix_of
from st_rankloss.data.table import Row, Table


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
    return in_memory.read(source)


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
            return parquet.read(path, streaming)
    raise ValueError(
        f"{path}: a table must be a file .jsonl, .json, .csv, .tsv or .parquet, also .gz: convert it, or read it with "
        "pandas and pass the data frame."
    )
