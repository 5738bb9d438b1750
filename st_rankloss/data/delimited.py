"""Tables of text: csv with any delimiter, and tsv."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from st_rankloss.data.columns import normal, stays_text
from st_rankloss.data.files import encoding_of, open_text, reading
from st_rankloss.data.numbers import as_numbers, read_number
from st_rankloss.data.table import HEAD, Row, Table, of_arrow

DELIMITERS = (",", "\t", ";", "|")
_NONE = "\x1f"  # what separates fields where there is only one
_LONGEST = 1 << 24


@dataclass(frozen=True)
class _Layout:
    """How a file is cut into fields."""

    path: Path
    delimiter: str
    encoding: str
    quoted: bool
    names: tuple[str, ...] = ()

    def fields(self, file: Any) -> Any:
        """Return a reader of lists of fields."""
        return csv.reader(file, delimiter=self.delimiter, quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about the file."""
        expected = "\t" if ".tsv" in self.path.name or ".tab" in self.path.name else ","
        found = [] if self.delimiter in (expected, _NONE) else [f"fields are separated by {self.delimiter!r}"]
        return (*found, *(() if self.quoted else ("quotes are part of the texts, since some are never closed",)))


def read(
    path: Path,
    text: Collection[str],
    streaming: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Table:
    """Read a file of delimited fields; see `read_table`."""
    csv.field_size_limit(_LONGEST)
    layout = _layout(path, delimiter, encoding or encoding_of(path))
    kept = {name for name in layout.names if {name, normal(name)} & {*text} or stays_text(name)}
    if streaming:
        return _stream(layout, kept)
    columns, converted, unclear = _typed(_read_strings(layout), kept, layout.delimiter)
    return of_arrow(columns, str(path), folder=path.parent, notes=layout.notes + converted, unclear=unclear)


def _layout(path: Path, delimiter: str | None, encoding: str) -> _Layout:
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f"{path}: delimiter= must be one character, such as ';', got {delimiter!r}.")
    delimiter = delimiter or _sniff(path, encoding)
    layout = _Layout(path, delimiter, encoding, delimiter != "\t" or _closes_quotes(path, encoding))
    with open_text(path, encoding) as file:
        names = [name.strip() for name in next((row for row in layout.fields(file) if row), [])]
    names = [name or f"column {place}" for place, name in enumerate(names)]
    if not names:
        raise ValueError(f"{path}: the file must have rows, got an empty file.")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: line 1 must name the columns, each differently, got {names}.")
    return _Layout(path, delimiter, encoding, layout.quoted, tuple(names))


def _sniff(path: Path, encoding: str) -> str:
    """Return the delimiter that cuts the first rows into the most columns, and all into as many as the header."""
    scores: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE) if delimiter == "\t" else (csv.QUOTE_MINIMAL,):
            with open_text(path, encoding) as file:
                reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
                found = [len(row) for row in islice(reader, 20) if row]
            if found and found[0] > 1:
                score = found.count(found[0]) / len(found), found[0]
                scores[delimiter] = max(score, scores.get(delimiter, score))
    return max(scores, key=lambda delimiter: scores[delimiter]) if scores else _NONE


def _closes_quotes(path: Path, encoding: str) -> bool:
    """Return whether quotes of a tsv file enclose fields.

    Many tsv files are written without quoting. Read with it, a text that starts with a quote would swallow the lines up
    to the next one. So quotes are texts if one that opens a field stays open, while every line has all its fields.
    """
    lengths, open_quote = set(), False
    with open_text(path, encoding) as file:
        for line in file:
            if not line.strip():
                continue
            fields = line.rstrip("\r\n").split("\t")
            lengths.add(len(fields))
            if '"' in line:
                open_quote |= any(field[:1] == '"' and (len(field) == 1 or field[-1] != '"') for field in fields)
    return not open_quote or len(lengths) > 1


def _read_strings(layout: _Layout) -> pa.Table:
    """Read every field as a string, in parallel; name the line of the first row with another number of fields."""
    encoding = "utf8" if layout.encoding == "utf-8-sig" else layout.encoding
    names = list(layout.names)
    try:
        return pa_csv.read_csv(
            layout.path,
            pa_csv.ReadOptions(column_names=names, skip_rows_after_names=1, block_size=_LONGEST, encoding=encoding),
            pa_csv.ParseOptions(
                delimiter=layout.delimiter,
                newlines_in_values=layout.quoted,
                quote_char='"' if layout.quoted else False,
            ),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        for _ in _rows(layout):
            pass
        raise ValueError(f"{layout.path}: the file cannot be read as a table: {error}.") from error


def _rows(layout: _Layout) -> Iterator[dict[str, str]]:
    """Yield rows of strings, one by one."""
    with reading(layout.path), open_text(layout.path, layout.encoding) as file:
        reader = layout.fields(file)
        next((row for row in reader if row), None)
        line = reader.line_num
        for fields in reader:
            if fields and len(fields) != len(layout.names):
                raise ValueError(_wrong_length(layout, fields, line, reader.line_num))
            line = reader.line_num
            if fields:
                yield dict(zip(layout.names, fields, strict=True))


def _wrong_length(layout: _Layout, fields: list[str], before: int, last: int) -> str:
    """Return the message for a row of too few or too many fields, which follows line ``before``."""
    start = f"{layout.path}: line {last}: every row must have the {len(layout.names)} fields of the header, got "
    shown = f"{len(fields)}: {layout.delimiter.join(fields)!r:.80}"
    if last > before + 2 and any(field.count("\n") > 1 for field in fields):
        return f"{start}{shown}: the row starts in line {before + 1}, whose quote may not be closed."
    if len(fields) < len(layout.names):
        return f"{start}{shown}: complete the row, or write empty fields."
    return (
        f"{start}{shown}: name the further columns in the first line, or quote fields that hold {layout.delimiter!r}."
    )


def _typed(table: pa.Table, kept: Collection[str], delimiter: str) -> tuple[pa.Table, tuple[str, ...], frozenset[str]]:
    """Convert columns of numbers; return the table, notes on gaps and commas, and columns whose commas are unclear."""
    notes, unclear = [], set()
    for place, name in enumerate(table.column_names):
        if name in kept or (found := as_numbers(table[name], commas=delimiter != ",")) is None:
            continue
        table = table.set_column(place, name, found.column)
        if found.gaps:
            notes.append(f"column {name!r}: {found.gaps} gaps are missing numbers")
        if found.commas:
            notes.append(f"column {name!r}: decimal commas are read as points")
        if found.grouped:
            notes.append(f"column {name!r}: commas between thousands are left out")
        if found.unclear and delimiter != ";":  # where commas are decimal
            unclear.add(name)
    return table, tuple(notes), frozenset(unclear)


def _stream(layout: _Layout, kept: set[str]) -> Table:
    strings = partial(_rows, layout)
    schema = pa.schema([(name, pa.string()) for name in layout.names])
    head = pa.Table.from_pylist(list(islice(strings(), HEAD)), schema)
    typed, converted, unclear = _typed(head, kept, layout.delimiter)
    numbers = [name for name in layout.names if not pa.types.is_string(typed[name].type)]
    rows = partial(_converted, strings, numbers, layout.delimiter != ",", str(layout.path))
    notes = layout.notes + converted
    folder = layout.path.parent
    return Table(str(layout.path), list(layout.names), rows, True, folder, notes, unclear=unclear)


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
