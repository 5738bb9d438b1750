"""Parts, train, dev and test, by the names that people give to files, splits and cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from st_rankloss.data.columns import normal
from st_rankloss.data.tables import Row, Table
from st_rankloss.judgements import few
from st_rankloss.labels import is_missing, refusal

_WORDS = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "development", "val", "valid", "validation", "trial"),
    "test": ("test", "testing", "tst", "heldout"),
}
_COLUMNS = ("split", "part", "partition", "subset", "set", "fold")
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
    found = {_PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _PARTS}
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


def by_column(table: Table, taken: Collection[str] = ()) -> dict[str, Table]:
    """Divide a table by a column that names the part of each row, such as ``split``.

    Args:
        table: The table; its first 1,000 rows decide while streaming.
        taken: Columns that have another role.

    Returns:
        Tables by part, whose notes name the column; the table as the train part if it has no such column.

    Raises:
        ValueError: While rows are read, if a cell names no part.

    Example:
        >>> from st_rankloss.data.tables import read_table
        >>> parts = by_column(read_table({"text": ["a", "b", "c"], "split": ["train", "valid", "train"]}))
        >>> {name: [row["text"] for row in part.rows()] for name, part in parts.items()}
        {'train': ['a', 'c'], 'dev': ['b']}
    """
    for name in table.names:
        if normal(name) not in _COLUMNS or name in taken:
            continue
        values = {value for value in table.column(name) if not is_missing(value)}
        parts = {part_of(value) if isinstance(value, str) else None for value in values}
        if not parts or None in parts:
            continue
        names = [other for other in table.names if other != name]
        note = f"rows are divided by {name!r}"
        return {
            part: replace(table, names=names, rows=partial(_rows_of, table, name, part), notes=(*table.notes, note))
            for part in _WORDS
            if part in parts
        }
    return {"train": table}


def _rows_of(table: Table, column: str, part: str) -> Iterator[Row]:
    for place, row in enumerate(table.rows()):
        value = row[column]
        own = part_of(value) if isinstance(value, str) else None
        if own is None:
            raise refusal(column, place, value, f"names of parts, {few(_WORDS)}", "fill the cell, or rename the column")
        if own == part:
            yield {name: item for name, item in row.items() if name != column}
