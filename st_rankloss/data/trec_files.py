"""Files of TREC: judgements of four columns, topics, and texts by id, with or without a header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import choose, describe, find, given_names
from st_rankloss.data.numbers import read_number
from st_rankloss.data.tables import naming, open_text, read_table, reading, suffix_of
from st_rankloss.data.texts import join_title, read_text
from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import Judgements, collect_qrels, read_id

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<(\w+)[^>]*>([^<]*)")
_PREFIX = re.compile(r"^\s*(Number|Topic|Description|Narrative):\s*", re.IGNORECASE)


def read_qrels_file(path: Path, notes: Notes, *, negative: str = "refuse", **given: str | None) -> Judgements:
    """Read judgements from a file.

    Args:
        path: A text file of query id, document id and grade (BEIR), or query id, iteration, document id and grade
            (TREC), with or without a header; or a table with a header.
        notes: Notes of the reader.
        negative: What to do about negative grades, as some tracks have: "refuse" or "zero".
        **given: Columns by role, for a table with a header.

    Returns:
        Grades by query id and document id.

    Raises:
        ValueError: If a line is malformed; the error names it.
    """
    check_choice(negative, ("refuse", "zero"), "negative")
    with naming(str(path)):
        rows = _table_rows(path, given) if _is_table(path) else _lines(path)
        return _graded(rows, negative, notes)


def read_qrels_table(source: Any, notes: Notes, *, negative: str = "refuse", **given: str | None) -> Judgements:
    """Read judgements from any table, see `read_qrels_file`.

    Args:
        source: A table, see `read_table`.
        notes: Notes of the reader.
        negative: What to do about negative grades: "refuse" or "zero".
        **given: Columns by role.

    Returns:
        Grades by query id and document id.

    Example:
        >>> read_qrels_table([{"query-id": "q1", "corpus-id": "d1", "score": 2}], Notes())
        {'q1': {'d1': 2.0}}
    """
    check_choice(negative, ("refuse", "zero"), "negative")
    return _graded(_table_rows(source, given), negative, notes)


def _graded(rows: Iterator[tuple[int, Any, Any, Any]], negative: str, notes: Notes) -> Judgements:
    return collect_qrels(
        (place, query, document, read_grade(value, place, negative, notes)) for place, query, document, value in rows
    )


def _is_table(path: Path) -> bool:
    """Return whether a file of judgements names its columns."""
    if suffix_of(path) in (".parquet", ".pq", ".jsonl", ".json"):
        return True
    fields = re.split(r"[\t,;\s]+", _first_line(path).strip())
    return find("grade", fields) is not None or find("document_id", fields) is not None


def _first_line(path: Path) -> str:
    with reading(path), open_text(path) as file:
        return next((line for line in file if line.strip()), "")


def _table_rows(source: Any, given: dict[str, str | None]) -> Iterator[tuple[int, Any, Any, Any]]:
    table = read_table(source)
    names = choose(table.names, required=["query_id", "document_id", "grade"], given=given)
    for place, row in enumerate(table.rows()):
        yield place, row[names["query_id"]], row[names["document_id"]], row[names["grade"]]


def _lines(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield the number, query, document and grade of each line."""
    with reading(path), open_text(path) as file:
        for number, line in enumerate(file, 1):
            fields = line.split("\t") if line.count("\t") in (2, 3) else line.split()
            if not fields:
                continue
            if len(fields) not in (3, 4):
                raise ValueError(
                    f"line {number}: judgements must have a query id, a document id and a grade, with an iteration "
                    f"between the ids or without, got {line.strip()!r:.80}."
                )
            yield number, fields[0].strip(), fields[-2].strip(), fields[-1].strip()


def read_grade(value: Any, place: int, negative: str, notes: Notes) -> float | None:
    """Read a grade of a file of judgements.

    Args:
        value: A number, or a string that holds one.
        place: Number of its row, for errors.
        negative: "refuse" or "zero".
        notes: Where negative grades are counted that are read as 0.

    Returns:
        The grade; None if it is missing.

    Raises:
        ValueError: If it is not a number, or negative.
    """
    if isinstance(value, str):
        try:
            value = read_number(value)
        except ValueError as error:
            remedy = "correct it, or drop the row"
            raise ValueError(f"row {place}: a grade must be a number, got {value!r}: {remedy}.") from error
    if isinstance(value, int | float) and value < 0:
        if negative == "refuse":
            raise ValueError(
                f"row {place}: a grade must be at least 0, got {value:g}: pass negative='zero' if it means irrelevant."
            )
        notes.count("negative grades are read as 0", f"row {place}")
        return 0.0
    return None if value is None else float(value)


def read_texts(path: Path, what: str, notes: Notes, **given: str | None) -> dict[str, str]:
    """Read texts by id: topics, queries or a corpus.

    Args:
        path: A table with columns of ids and texts, and titles, which are joined to texts of a corpus; two columns
            without a header, separated by a tab; or topics in TREC's markup.
        what: "query" or "document".
        notes: Notes of the reader.
        **given: Columns by role: the text under the name of ``what``, ``id`` and ``title``.

    Returns:
        Texts by id.

    Raises:
        ValueError: If an id has two texts, or a text is missing or no text; the error names the row.
    """
    with naming(str(path)):
        if suffix_of(path) not in (".parquet", ".pq", ".jsonl", ".json", ".csv"):
            first = _first_line(path)
            if "<top" in first.lower() or suffix_of(path) in (".xml", ".trec"):
                return _by_id(_topics(path, notes), what, notes)
            fields = first.rstrip("\r\n").split("\t")
            if len(fields) == 2 and find("id", fields) is None:
                return _by_id(_two_fields(path), what, notes)
        return _by_id(_table_texts(path, path.name, what, given, notes), what, notes)


def read_texts_table(source: Any, name: str, what: str, notes: Notes, **given: str | None) -> dict[str, str]:
    """Read texts by id from any table, see `read_texts`.

    Args:
        source: A table, see `read_table`.
        name: Its name, for notes and errors.
        what: "query" or "document".
        notes: Notes of the reader.
        **given: Columns by role: the text under the name of ``what``, ``id`` and ``title``.

    Returns:
        Texts by id.

    Example:
        >>> read_texts_table([{"_id": "d1", "title": "Roses", "text": "are red"}], "corpus", "document", Notes())
        {'d1': 'Roses are red'}
    """
    with naming(name):
        return _by_id(_table_texts(source, name, what, given, notes), what, notes)


def _table_texts(
    source: Any, name: str, what: str, given: dict[str, str | None], notes: Notes
) -> Iterator[tuple[int, Any, str | None]]:
    table = read_table(source, text=given_names(*given.values()))
    role = "topic" if what == "query" else "document"
    given = {role if key == what else key: column for key, column in given.items()}
    names = choose(table.names, required=["id", role], optional=["title"] if what == "document" else (), given=given)
    for note in table.notes:
        notes.add(note)
    notes.add(f"{name}: {describe(names, table.names)}")
    for place, row in enumerate(table.rows()):
        text = read_text(row[names[role]], place, names[role])
        title = read_text(row[names["title"]], place, names["title"]) if "title" in names else None
        yield place, row[names["id"]], join_title(title, text) or None


def _two_fields(path: Path) -> Iterator[tuple[int, str, str]]:
    with reading(path), open_text(path) as file:
        for number, line in enumerate(file, 1):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) == 2:
                yield number, fields[0].strip(), fields[1].strip()
            elif line.strip():
                raise ValueError(
                    f"line {number}: an id and a text must be separated by a tab, got {line.strip()!r:.80}."
                )


def _topics(path: Path, notes: Notes) -> Iterator[tuple[int, str, str]]:
    """Yield the number and the title of each topic of TREC's markup."""
    with reading(path), open_text(path) as file:
        topics = _TOPIC.findall(file.read())
    notes.add(f"{path.name}: the query of a topic is its title")
    for place, topic in enumerate(topics):
        fields = {tag.lower(): _PREFIX.sub("", text).strip() for tag, text in _TAG.findall(topic)}
        if not (fields.get("num") and fields.get("title")):
            raise ValueError(f"topic {place}: a topic must have <num> and <title>, got {sorted(fields)}.")
        yield place, fields["num"], " ".join(fields["title"].split())


def _by_id(rows: Iterator[tuple[int, Any, str | None]], what: str, notes: Notes) -> dict[str, str]:
    """Return texts by id; a query without text is left out, a document keeps its place with an empty text."""
    found: dict[str, str] = {}
    for place, key, text in rows:
        key = read_id(key, f"row {place}: the id of a {what}")
        if text is None and what == "query":
            notes.count("queries without a text are left out", f"row {place}")
            continue
        if text is None:
            notes.count("documents without a text are kept, empty", f"row {place}")
        if found.setdefault(key, text or "") != (text or ""):
            raise ValueError(f"row {place}: an id must belong to one {what}, got two texts for {key!r}.")
    return found
