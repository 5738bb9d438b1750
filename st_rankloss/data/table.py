"""A table: what every reader starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

Row = dict[str, Any]

HEAD = 1000
"""Rows that decide on types while streaming."""

BATCH = 10_000


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


def of_arrow(table: pa.Table, source: str, **fields: Any) -> Table:
    """Return a table whose rows are held by pyarrow."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"{source}: columns must have different names, got {names}.")
    return Table(source, names, partial(_rows_of_arrow, table), **fields)


def _rows_of_arrow(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(BATCH):
        yield from batch.to_pylist()


def filled(rows: Callable[[], Iterator[Row]], names: list[str]) -> Iterator[Row]:
    """Yield rows with the columns of the first ones."""
    for row in rows():
        yield {name: row.get(name) for name in names}
