"""Objects in the cells of a table, such as answers with their votes, as columns of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from st_rankloss.data.table import HEAD, Row, Table
from st_rankloss.data.texts import FIELDS

_DEEPEST = 4
_WHOLE = ({"bytes", "path"}, {"role", "content"})  # images and sounds of datasets, and chats


@dataclass(frozen=True)
class _Objects:
    """A column of objects, or of lists of them.

    Args:
        column: Its name.
        texts: The fields that are texts and stay in the column.
        fields: The other fields, by the column that they become.
        in_lists: Whether a cell holds a list of objects.
    """

    column: str
    texts: list[str]
    fields: dict[str, str]
    in_lists: bool

    @property
    def made(self) -> list[str]:
        """The columns that are made of it."""
        return [self.column] * bool(self.texts) + list(self.fields)


def unnest(table: Table) -> Table:
    """Give the fields of objects columns of their own.

    Objects with a ``title`` or a ``text`` alone are texts and stay, as do images and chats. Of other objects, each
    further field becomes a column named after both, such as ``answers.votes``, which callers name. Lists of objects
    become lists of fields.

    Args:
        table: The table; its first 1,000 rows decide which fields there are.

    Returns:
        The table, whose notes name the new columns; the same table if it has no such objects.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> answers = [{"text": "Seven minutes.", "votes": 12}, {"text": "Ask a hen.", "votes": 0}]
        >>> (row,) = unnest(read_table({"question": ["how to boil an egg"], "answers": [answers]})).rows()
        >>> row["answers"], row["answers.votes"]
        ([{'text': 'Seven minutes.'}, {'text': 'Ask a hen.'}], [12, 0])
    """
    for _ in range(_DEEPEST):
        found = _find_objects(table)
        if not found:
            break
        names = [name for name in table.names if name not in {one.column for one in found}]
        names += [name for one in found for name in one.made]
        notes = tuple(
            f"the objects in {one.column!r} are read as the columns {', '.join(map(repr, one.made))}" for one in found
        )
        table = replace(table, names=names, rows=partial(_rows, table.rows, found), notes=table.notes + notes)
    return table


def _find_objects(table: Table) -> list[_Objects]:
    rows = list(islice(table.rows(), HEAD))
    taken, found = set(table.names), []
    for column in table.names:
        cells = [cell for row in rows if (cell := row.get(column)) is not None]
        items = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell]) if item is not None]
        if not items or not all(isinstance(item, Mapping) for item in items):
            continue
        names = list(dict.fromkeys(field for item in items for field in item))
        texts = [
            name
            for name in names
            if str(name).lower() in FIELDS and all(isinstance(item.get(name), str | None) for item in items)
        ]
        if any(one <= {str(name).lower() for name in names} for one in _WHOLE) or len(texts) == len(names):
            continue
        fields = {}
        for name in names:
            if name not in texts:
                own = f"{column}.{name}"
                while own in taken:
                    own += "_"
                taken.add(own)
                fields[own] = name
        found.append(_Objects(column, texts, fields, any(isinstance(cell, list) for cell in cells)))
    return found


def _rows(rows: Any, found: Sequence[_Objects]) -> Iterator[Row]:
    for row in rows():
        for one in found:
            row = _apart(row, one)
        yield row


def _apart(row: Row, one: _Objects) -> Row:
    """Return a row with the fields of the objects of a column in columns of their own.

    A cell of another form stays in the column, for whoever reads it to refuse.
    """
    row = dict(row)
    cell = row.pop(one.column, None)
    items = cell if isinstance(cell, list) else [cell]
    if cell is None or isinstance(cell, list) != one.in_lists or not all(isinstance(i, Mapping | None) for i in items):
        return row | dict.fromkeys(one.fields) | {one.column: cell}
    made = {own: [item and item.get(name) for item in items] for own, name in one.fields.items()}
    if one.texts:
        made[one.column] = [item and {name: item.get(name) for name in one.texts} for item in items]
    return row | {own: values if one.in_lists else values[0] for own, values in made.items()}
