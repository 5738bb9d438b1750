"""Tables of JSON: an object per line, a list of objects, an object of columns, or what pandas writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from st_rankloss.data.files import open_text, reading, suffix_of
from st_rankloss.data.in_memory import rows_to_arrow
from st_rankloss.data.table import HEAD, Row, Table, filled, naming, of_arrow
from st_rankloss.judgements import few


def read(path: Path, streaming: bool = False, encoding: str | None = None) -> Table:
    """Read a file of JSON; see `read_table`."""
    if _starts_with_line(path, encoding):
        rows = partial(_lines, path, encoding)
        if streaming:
            names = list(dict.fromkeys(name for row in islice(rows(), HEAD) for name in row))
            return Table(str(path), names, partial(filled, rows, names), streaming=True, folder=path.parent)
        with naming(str(path)):
            return of_arrow(rows_to_arrow(rows(), "line", 1), str(path), folder=path.parent)
    with naming(str(path)):
        return of_arrow(rows_to_arrow(_rows_of(_whole(path, encoding)), "row"), str(path), folder=path.parent)


def _starts_with_line(path: Path, encoding: str | None) -> bool:
    """Return whether the first line is an object of its own."""
    with open_text(path, encoding) as file:
        first, second = (next((line for line in file if line.strip()), None) for _ in range(2))
    if first is None:
        raise ValueError(f"{path}: the file must have rows, got an empty file.")
    try:
        found = json.loads(first)
    except json.JSONDecodeError:
        return path.name.lower().removesuffix(".gz").endswith("l") or ".ndjson" in path.name
    if second is None and suffix_of(path) == ".json" and _is_keyed(found):
        return False
    return isinstance(found, dict) and not all(isinstance(value, list) and value for value in found.values())


def _is_keyed(found: Any) -> bool:
    """Return whether an object holds objects alone, by id or by another key."""
    return isinstance(found, dict) and bool(found) and all(isinstance(value, dict) for value in found.values())


def _lines(path: Path, encoding: str | None) -> Iterator[Row]:
    with reading(path), open_text(path, encoding) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _object(line, f"{path}: line {number}")


def _object(line: str, where: str) -> Row:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: each line must hold one JSON object, got {line.strip()!r:.80} ({error.msg} at character "
            f"{error.pos}): correct or delete the line."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: each line must hold one JSON object, got {line.strip()!r:.80}.")
    return found


def _whole(path: Path, encoding: str | None) -> Any:
    with open_text(path, encoding) as file:
        text = file.read()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: the file is not valid JSON: {error.msg}.") from error


def _of_frame(found: Any) -> Any:
    """Return the columns of what pandas writes with ``to_json()`` or ``orient="split"``; anything else as it is."""
    if not isinstance(found, dict):
        return found
    if found.keys() == {"columns", "index", "data"}:
        names, rows = found["columns"], found["data"]
        lists = isinstance(names, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows)
        if lists and all(isinstance(name, str) for name in names) and all(len(row) == len(names) for row in rows):
            return [dict(zip(names, row, strict=True)) for row in rows]
    if _is_keyed(found):
        numbers = [*next(iter(found.values()))]
        alike = numbers and all([*cells] == numbers for cells in found.values()) and all(map(str.isdecimal, numbers))
        if alike and not any(isinstance(cell, dict) for cells in found.values() for cell in cells.values()):
            return {name: [*cells.values()] for name, cells in found.items()}
    return found


def _rows_of(found: Any) -> Any:
    """Return the rows of a list of objects, of columns, or of one of these under a single name."""
    found = _of_frame(found)
    if isinstance(found, dict) and len(found) == 1:
        (inner,) = found.values()
        is_wrapped = isinstance(inner, dict) or (isinstance(inner, list) and bool(inner) and isinstance(inner[0], dict))
        found = inner if is_wrapped else found
    if isinstance(found, list):
        return found
    if isinstance(found, dict) and all(isinstance(column, list) for column in found.values()):
        lengths = {name: len(column) for name, column in found.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must have the same length, got {lengths}.")
        return (dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True))
    if _is_keyed(found):
        raise ValueError(
            f"the file must hold a list of objects, got an object keyed by {few(found)}: make it a list of rows with "
            "the key as a field, such as id."
        )
    raise ValueError("the file must hold a list of objects, or an object of columns; write one object per line.")
