"""Tables of text: csv with any delimiter, and tsv."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from st_rankloss.data.columns import stays_text
from st_rankloss.data.numbers import as_numbers, read_number
from st_rankloss.data.tables import HEAD, Row, Table, encoding_of, of_arrow, open_text, reading

DELIMITERS = (",", "\t", ";", "|")
_LONGEST = 1 << 24


def read(
    path: Path,
    text: Collection[str],
    streaming: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Read a file of delimited fields; see `read_table`."""
    csv.field_size_limit(_LONGEST)
    delimiter = delimiter or _sniff(path, encoding)
    names = _header(path, delimiter, encoding)
    expected = "\t" if ".tsv" in path.name or ".tab" in path.name else ","
    notes = () if delimiter in (expected, _NONE) else (f"fields are separated by {delimiter!r}",)
    kept = {name for name in names if name in text or stays_text(name)}
    if streaming:
        return _stream(path, names, kept, delimiter, encoding, notes)
    columns, converted = _typed(_read_strings(path, names, delimiter, encoding), kept, delimiter)
    return of_arrow(columns, str(path), folder=path.parent, notes=notes + converted)


_NONE = "\x1f"  # what separates fields where there is only one


def _sniff(path: Path, encoding: str | None) -> str:
    """Return the delimiter that cuts the first rows into the most columns, and all into as many as the header."""
    scores = {}
    for delimiter in DELIMITERS:
        with open_text(path, encoding) as file:
            found = [len(row) for row in islice(csv.reader(file, delimiter=delimiter), 20) if row]
        if found and found[0] > 1:
            scores[delimiter] = (found.count(found[0]) / len(found), found[0])
    return max(scores, key=lambda delimiter: scores[delimiter]) if scores else _NONE


def _header(path: Path, delimiter: str, encoding: str | None) -> list[str]:
    with open_text(path, encoding) as file:
        names = [name.strip() for name in next((row for row in csv.reader(file, delimiter=delimiter) if row), [])]
    names = [name or f"column {place}" for place, name in enumerate(names)]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"{path}: line 1 must name the columns, each differently, got {names}.")
    return names


def _read_strings(path: Path, names: list[str], delimiter: str, encoding: str | None) -> pa.Table:
    """Read every field as a string, in parallel; name the line of the first row with another number of fields."""
    encoding = encoding or encoding_of(path)
    try:
        return pa_csv.read_csv(
            path,
            pa_csv.ReadOptions(
                column_names=names,
                skip_rows_after_names=1,
                block_size=_LONGEST,
                encoding="utf8" if encoding == "utf-8-sig" else encoding,
            ),
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        for _ in _rows(path, names, delimiter, encoding):
            pass
        raise ValueError(f"{path}: the file cannot be read as a table: {error}.") from error


def _rows(path: Path, names: list[str], delimiter: str, encoding: str | None) -> Iterator[dict[str, str]]:
    """Yield rows of strings, one by one."""
    with reading(path), open_text(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter)
        next((row for row in reader if row), None)
        for fields in reader:
            if fields and len(fields) != len(names):
                raise ValueError(
                    f"{path}: line {reader.line_num}: every row must have the {len(names)} fields of the header, got "
                    f"{len(fields)}: {delimiter.join(fields)!r:.80}: quote fields that hold {delimiter!r}."
                )
            if fields:
                yield dict(zip(names, fields, strict=True))


def _typed(table: pa.Table, kept: Collection[str], delimiter: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Convert columns of numbers; return the table, and notes on gaps and decimal commas."""
    notes = []
    for place, name in enumerate(table.column_names):
        if name in kept or (found := as_numbers(table[name], commas=delimiter != ",")) is None:
            continue
        table = table.set_column(place, name, found.column)
        if found.gaps:
            notes.append(f"column {name!r}: {found.gaps} gaps are missing numbers")
        if found.commas:
            notes.append(f"column {name!r}: decimal commas are read as points")
    return table, tuple(notes)


def _stream(
    path: Path, names: list[str], kept: set[str], delimiter: str, encoding: str | None, notes: tuple[str, ...]
) -> Table:
    strings = partial(_rows, path, names, delimiter, encoding)
    head = pa.Table.from_pylist(list(islice(strings(), HEAD)), pa.schema([(name, pa.string()) for name in names]))
    typed, converted = _typed(head, kept, delimiter)
    numbers = [name for name in names if not pa.types.is_string(typed[name].type)]
    rows = partial(_converted, strings, numbers, delimiter != ",", str(path))
    return Table(str(path), names, rows, streaming=True, folder=path.parent, notes=notes + converted)


def _converted(strings: Any, numbers: list[str], commas: bool, source: str) -> Iterator[Row]:
    for place, row in enumerate(strings()):
        for name in numbers:
            try:
                row[name] = read_number(row[name], commas=commas)
            except ValueError as error:
                raise ValueError(
                    f"{source}: column {name!r} must hold numbers, as in the first {HEAD} rows, got {row[name]!r} in "
                    f"row {place}: correct it, or read the file without streaming."
                ) from error
        yield row
