"""Lists that are written as texts, such as ``"['a', 'b']"``, which is how pandas writes lists to csv files."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from st_rankloss.data.columns import ROLES, normal
from st_rankloss.data.files import DELIMITED, suffix_of
from st_rankloss.data.table import HEAD, Row, Table
from st_rankloss.labels import is_missing, refusal

_OF_LISTS = {
    *(name for role in ("label", "grade", "negative") for name in ROLES[role]),
    *(name for role in ("document", "document_id", "positive", "weight") for name in ROLES[role] if name.endswith("s")),
    "pos", "scores", "pos_scores", "neg_scores",
}  # fmt: skip
"""Names of columns that hold a list per row, or may."""


def read_written_lists(table: Table, named: Collection[str] = ()) -> Table:
    """Read columns of lists that are written as texts, in JSON or in Python.

    Args:
        table: The table. A column is read if its name is that of labels, grades or several documents, and all its texts
            are lists, as far as its first 1,000 rows show if streaming.
        named: Other columns that may hold lists, since the caller has named them for such a role.

    Returns:
        The table, whose notes name the columns; the same table if it has no such column.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> table = read_written_lists(read_table({"text": ["x", "y"], "tags": ["['a', 'b']", "[]"]}))
        >>> [row["tags"] for row in table.rows()]
        [['a', 'b'], []]
    """
    names = [name for name in table.names if name in named or normal(name) in _OF_LISTS]
    names = _hold_lists(table, _hold_lists(table, names, HEAD), HEAD if table.streaming else None)
    notes = tuple(f"column {name!r}: texts such as \"['a', 'b']\" are read as lists" for name in names)
    return replace(table, rows=partial(_rows, table, names), notes=table.notes + notes) if names else table


def is_written(source: Any) -> bool:
    """Return whether a source may hold lists written as texts: a csv file or a data frame."""
    if isinstance(source, str | Path):
        return suffix_of(Path(source)) in DELIMITED
    return hasattr(source, "__dataframe__")


def _hold_lists(table: Table, names: list[str], rows: int | None) -> list[str]:
    """Return the columns whose texts are all lists, of which there is at least one, in the first rows or in all."""
    seen: set[str] = set()
    for row in islice(table.rows(), rows) if names else ():
        known = [name for name in names if not (is_missing(row[name]) or row[name] == "")]
        names = [name for name in names if name not in known or _parse(row[name]) is not None]
        seen.update(known)
        if not names:
            break
    return [name for name in names if name in seen]


def _parse(text: Any) -> list[Any] | None:
    """Return the list that a text writes; None if it writes none."""
    if not isinstance(text, str) or not text.lstrip().startswith("["):
        return None
    for read in (json.loads, _read_python):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _read_python(text: str) -> Any:
    found = ast.literal_eval(text.strip())
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline)]
    kinds = [kind for kind in kinds if kind not in (tokenize.NL, tokenize.NEWLINE)]
    if (tokenize.STRING, tokenize.STRING) in pairwise(kinds):  # numpy writes no commas, and Python would join them
        raise ValueError("texts must be separated by commas")
    return found


def _rows(table: Table, names: list[str]) -> Iterator[Row]:
    for place, row in enumerate(table.rows()):
        yield row | {name: _read(row[name], name, place) for name in names}


def _read(value: Any, name: str, place: int) -> Any:
    if is_missing(value) or value == "":
        return None
    if (found := _parse(value)) is None:
        raise refusal(name, place, value, "lists, as in the first rows", 'write it as a list, such as ["a", "b"]')
    return found
