"""Lists that are written as texts, such as ``"['a', 'b']"``, which is how pandas writes lists to csv files."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from st_rankloss.data.tables import Row, Table
from st_rankloss.labels import is_missing, refusal


def read_written_lists(table: Table) -> Table:
    """Read columns of lists that are written as texts, in JSON or in Python.

    Args:
        table: The table. A column is read if all its texts are lists, as far as its first 1,000 rows show if streaming.

    Returns:
        The table, whose notes name the columns; the same table if it has no such column.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> table = read_written_lists(read_table({"text": ["x", "y"], "tags": ["['a', 'b']", "[]"]}))
        >>> [row["tags"] for row in table.rows()]
        [['a', 'b'], []]
    """
    first = next(table.rows(), {})
    names = [name for name in table.names if is_missing(first.get(name)) or _starts_list(first[name])]
    names = [name for name in names if _holds_lists(table.column(name))]
    notes = tuple(f"column {name!r}: texts such as \"['a', 'b']\" are read as lists" for name in names)
    return replace(table, rows=partial(_rows, table, names), notes=table.notes + notes) if names else table


def _starts_list(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("[")


def _holds_lists(values: list[Any]) -> bool:
    known = [value for value in values if not is_missing(value) and value != ""]
    return bool(known) and all(_starts_list(value) and isinstance(_parse(value), list) for value in known)


def _parse(text: str) -> Any:
    """Return the list that a text writes; None if it writes none."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _rows(table: Table, names: list[str]) -> Iterator[Row]:
    for place, row in enumerate(table.rows()):
        yield row | {name: _read(row[name], name, place) for name in names}


def _read(value: Any, name: str, place: int) -> Any:
    if is_missing(value) or value == "":
        return None
    found = _parse(value) if isinstance(value, str) else None
    if not isinstance(found, list):
        raise refusal(name, place, value, "lists, as in the first rows", 'write it as a list, such as ["a", "b"]')
    return found
