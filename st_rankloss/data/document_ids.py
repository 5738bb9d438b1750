"""The ids of documents that are objects, or have a column of ids beside them."""

from __future__ import annotations

from itertools import islice
from typing import Any

from st_rankloss.data.columns import ROLES, find, normal
from st_rankloss.data.table import HEAD, Table


def id_column(column: str, table: Table) -> str | None:
    """Find the column of the ids of a column of documents.

    Args:
        column: The column of documents.
        table: The table; its first 1,000 rows decide whether the ids tell documents apart, or only number them within
            each row.

    Returns:
        The field of its objects that is an id, or the column named after it; None if there is none, or its ids are
        numbers from 0 or 1 in every row.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> id_column("pos", read_table({"pos": [["x"], ["y"]], "pos_id": [["d7"], ["d8"]]}))
        'pos_id'
        >>> id_column("docs", read_table({"docs": [["x", "y"], ["z"]], "docs.id": [[0, 1], [0]]})) is None
        True
    """
    fields = {name.removeprefix(f"{column}."): name for name in table.names if name.startswith(f"{column}.")}
    own = [field for field in fields if normal(field) not in ROLES["query_id"]]
    found = find("document_id", own) or find("id", own)
    beside = (name for name in (f"{column}_id", f"{column}_ids") if name in table.names and column in ("pos", "neg"))
    name = fields[found] if found else next(beside, None)
    return None if name is None or _only_number(table, name) else name


def add_ids(columns: dict[str, str], table: Table) -> None:
    """Add the column of the ids of documents, if it is a field of theirs, to columns by role."""
    if "document_id" not in columns and (found := id_column(columns["document"], table)) is not None:
        columns["document_id"] = found


def _only_number(table: Table, name: str) -> bool:
    """Return whether a column of lists numbers their items in each row, which tells no document from another."""
    cells: list[Any] = [row[name] for row in islice(table.rows(), HEAD)]
    lists = [cell for cell in cells if isinstance(cell, list) and cell]
    return len(lists) > 1 and any(
        all([str(item) for item in cell] == [str(place + first) for place in range(len(cell))] for cell in lists)
        for first in (0, 1)
    )
