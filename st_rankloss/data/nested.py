"""Objects in the cells of a table, such as answers with their votes, as columns of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from st_rankloss.data.tables import HEAD, Row, Table
from st_rankloss.data.texts import FIELDS
from st_rankloss.judgements import few
from st_rankloss.labels import refusal

_DEEPEST = 4
_WHOLE = ({"bytes", "path"}, {"role", "content"})  # images and sounds of datasets, and chats


@dataclass(frozen=True)
class _Objects:
    """A column of objects, or of lists of them.

    Args:
        column: Its name.
        names: The column of each field; texts, of ``FIELDS``, stay in the column itself.
        in_lists: Whether a cell holds a list of objects.
    """

    column: str
    names: Mapping[str, str]
    in_lists: bool

    @property
    def made(self) -> list[str]:
        """The columns that are made of it."""
        return list(dict.fromkeys(self.names.values()))


def unnest(table: Table) -> Table:
    """Give the fields of objects columns of their own.

    Objects with a ``title`` or a ``text`` alone are texts and stay, as do images and chats. Of other objects, each
    further field becomes a column that is named after it, or after both if there is such a column. Lists of objects
    become lists of fields.

    Args:
        table: The table; its first 1,000 rows decide.

    Returns:
        The table, whose notes name the new columns; the same table if it has no such objects.

    Raises:
        ValueError: While rows are read, if a cell holds anything else, or a field that no earlier row has.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> answers = [{"text": "Seven minutes.", "votes": 12}, {"text": "Ask a hen.", "votes": 0}]
        >>> list(unnest(read_table({"question": ["how to boil an egg"], "answers": [answers]})).rows())
        [{'question': 'how to boil an egg', 'answers': [{'text': 'Seven minutes.'}, {'text': 'Ask a hen.'}], 'votes': [12, 0]}]
    """  # noqa: E501
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
        cells = [row[column] for row in rows if row[column] is not None]
        items = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell]) if item is not None]
        if not items or not all(isinstance(item, Mapping) for item in items):
            continue
        fields = list(dict.fromkeys(str(field) for item in items for field in item))
        if any(one <= {field.lower() for field in fields} for one in _WHOLE) or not set(fields) - {*FIELDS}:
            continue
        names = {}
        for field in fields:
            is_text = field.lower() in FIELDS
            names[field] = column if is_text else field if field not in taken else f"{column}.{field}"
            taken.add(names[field])
        found.append(_Objects(column, names, any(isinstance(cell, list) for cell in cells)))
    return found


def _rows(rows: Any, found: Sequence[_Objects]) -> Iterator[Row]:
    for place, row in enumerate(rows()):
        for one in found:
            row = _apart(row, place, one)
        yield row


def _apart(row: Row, place: int, one: _Objects) -> Row:
    """Return a row with the fields of the objects of a column in columns of their own."""
    row = dict(row)
    cell = row.pop(one.column)
    items = cell if isinstance(cell, list) else [cell]
    if isinstance(cell, list) != one.in_lists and cell is not None:
        rule = "lists of objects, as in other rows" if one.in_lists else "one object, as in other rows"
        raise refusal(one.column, place, cell, rule, "write all cells alike")
    if wrong := [item for item in items if item is not None and not isinstance(item, Mapping)]:
        raise refusal(one.column, place, wrong[0], "objects, as in other rows", "write all cells alike")
    if unknown := [field for item in items if item is not None for field in item if field not in one.names]:
        rule = f"objects with the fields of the first rows, {few(one.names)}"
        raise refusal(one.column, place, unknown[0], rule, "add the field to a first row, or remove it")
    for name in one.made:
        own = [field for field, place_of in one.names.items() if place_of == name]
        values = [_field(item, own, as_text=name == one.column) for item in items]
        row[name] = None if cell is None else values if one.in_lists else values[0]
    return row


def _field(item: Mapping[str, Any] | None, names: Sequence[str], *, as_text: bool) -> Any:
    if item is None:
        return None
    if as_text:
        return {name: item.get(name) for name in names}
    return item.get(names[0])
