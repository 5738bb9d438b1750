"""Parts, train, dev and test, by the names that people give to files, splits and cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from st_rankloss.data.columns import ROLES, check_column, normal
from st_rankloss.data.table import HEAD, Row, Table
from st_rankloss.judgements import few
from st_rankloss.labels import is_missing, refusal

_WORDS = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "development", "val", "valid", "validation", "trial"),
    "test": ("test", "testing", "tst", "heldout"),
}
_COLUMNS = ("split", "part", "partition", "subset", "set", "fold")
_NAMED = {name for names in ROLES.values() for name in names}
_PARTS = {word: part for part, words in _WORDS.items() for word in words}


def part_of(name: str) -> str | None:
    """Return the part that a name speaks of.

    Args:
        name: Name of a file or of a split.

    Returns:
        "train", "dev" or "test"; None if it names none or more than one.

    Example:
        >>> part_of("qrels_validation.tsv"), part_of("corpus.jsonl")
        ('dev', None)
    """
    words = re.split(r"[^a-z]+", name.lower())
    found = {_PARTS[word] for word in words if word in _PARTS}
    if not found and {"eval", "evaluation"} & {*words}:
        return "dev"
    return found.pop() if len(found) == 1 else None


def by_part(paths: list[Path]) -> dict[str, Path]:
    """Name files by the part that they hold.

    Args:
        paths: The files.

    Returns:
        Files by part: train, dev and test; a single file that names none is the train part.

    Raises:
        ValueError: If two files are the same part, or several name none.
    """
    found: dict[str, Path] = {}
    for path in paths:
        part = "train" if len(paths) == 1 and part_of(path.name) is None else part_of(path.name)
        if part is None or part in found:
            names = sorted(path.name for path in paths)
            raise ValueError(
                f"files must be named after train, dev or test, one each, got {few(names)}: rename {path.name}, or "
                "join them into one file."
            )
        found[part] = path
    return dict(sorted(found.items(), key=lambda item: list(_WORDS).index(item[0])))


def by_column(table: Table, taken: Collection[str] = (), given: str | None = None) -> dict[str, Table]:
    """Divide a table by a column that names the part of each row, such as ``split``.

    Args:
        table: The table. A stream that is not a file must show every part within its first 1,000 rows.
        taken: Columns that have another role.
        given: The column, if the caller knows; else it is called ``split`` or the like, or all its cells are words
            like "train" and "test".

    Returns:
        Tables by part, whose notes name the column; the table as the train part if it has no such column.

    Raises:
        ValueError: If some cells name parts and others do not, or the given column names no two parts.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> parts = by_column(read_table({"text": ["a", "b", "c"], "split": ["train", "valid", "train"]}))
        >>> {name: [row["text"] for row in part.rows()] for name, part in parts.items()}
        {'train': ['a', 'c'], 'dev': ['b']}
    """
    free = [name for name in table.names if name not in taken]
    called = [name for word in _COLUMNS for name in free if normal(name) == word]
    if given is not None:
        check_column(given, table.names, "split")
        called = free = [given]
    others = [name for name in free if normal(name) not in _NAMED and name not in called]
    for name in [*called, *_of_words(table, others)]:
        cells = table.column(name) if table.folder is None else (row[name] for row in table.rows())
        parts = {value: part_of(value) if value else None for value in dict.fromkeys(map(_cell, cells))}
        known = {part for part in parts.values() if part}
        unknown = [value for value, part in parts.items() if part is None]
        if given is None and (len(known) < 2 or (unknown and name not in called)):
            continue
        if len(known) < 2:
            raise ValueError(
                f"column {name!r} must name two of {few(_WORDS)}, got {few(map(str, parts))}: leave split= out."
            )
        if unknown:
            raise ValueError(
                f"column {name!r} must name a part, {few(_WORDS)}, in each row, got {unknown[0]!r}: fill the cell, or "
                "rename the column."
            )
        names = [other for other in table.names if other != name]
        note = f"rows are divided by {name!r}"
        return {
            part: replace(
                table,
                names=names,
                rows=partial(_rows_of, table, name, part, known),
                notes=(*table.notes, note),
                whole=replace(table, names=names),
            )
            for part in _WORDS
            if part in known
        }
    return {"train": table}


def _of_words(table: Table, names: list[str]) -> list[str]:
    """Return the columns whose first cells are all words for parts."""
    for row in islice(table.rows(), HEAD):
        names = [name for name in names if isinstance(row[name], str) and row[name].strip().lower() in _PARTS]
        if not names:
            break
    return names


def _cell(value: Any) -> str | None:
    """Return the text of a cell; None if it is missing or blank, and a text that names no part for anything else."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return None
    return value if isinstance(value, str) else repr(value)


def _rows_of(table: Table, column: str, part: str, known: Collection[str]) -> Iterator[Row]:
    for place, row in enumerate(table.rows()):
        value = _cell(row[column])
        own = part_of(value) if value else None
        if own not in known:
            remedy = "name all parts within the first rows of a stream"
            raise refusal(column, place, row[column], f"names of parts, {few(known)}", remedy)
        if own == part:
            yield {name: item for name, item in row.items() if name != column}
