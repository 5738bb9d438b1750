"""Files of TREC: judgements of four columns, topics, and texts by id, with or without a header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import choose, describe, find, given_names
from st_rankloss.data.files import JSON, PARQUET, open_text, reading, suffix_of, without_shard
from st_rankloss.data.grading import Grading
from st_rankloss.data.table import Table, naming
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import join_title, read_text
from st_rankloss.judgements import Judgements, read_id

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<(\w+)[^>]*>([^<]*)")
_PREFIX = re.compile(r"^\s*(Number|Topic|Description|Narrative):\s*", re.IGNORECASE)


def read_qrels_files(paths: Iterable[Path], notes: Notes, grading: Grading, **given: str | None) -> Judgements:
    """Read judgements from files.

    Args:
        paths: Text files of query id, document id and grade (BEIR), or query id, iteration, document id and grade
            (TREC), with or without a header; or tables with a header.
        notes: Notes of the reader.
        grading: How grades are read.
        **given: Columns by role, for tables with a header.

    Returns:
        Grades by query id and document id.

    Raises:
        ValueError: If a line is malformed; the error names it.
    """
    found: Judgements = {}
    for path in paths:
        with naming(str(path)):
            if _is_table(path, given):
                _of_table(path, without_shard(path), notes, grading, given, found)
            else:
                grading.judgements(partial(_lines, path), notes, found=found)
    return found


def read_qrels_table(source: Any, name: str, notes: Notes, grading: Grading, **given: str | None) -> Judgements:
    """Read judgements from any table, see `read_qrels_files`.

    Args:
        source: A table, see `read_table`.
        name: Its name, for notes and errors.
        notes: Notes of the reader.
        grading: How grades are read.
        **given: Columns by role.

    Returns:
        Grades by query id and document id.

    Example:
        >>> read_qrels_table([{"query-id": "q1", "corpus-id": "d1", "score": 2}], "qrels", Notes(), Grading())
        {'q1': {'d1': 2.0}}
    """
    with naming(name):
        return _of_table(source, name, notes, grading, given, {})


def _of_table(
    source: Any, name: str, notes: Notes, grading: Grading, given: dict[str, str | None], found: Judgements
) -> Judgements:
    table = read_table(source, text=given_names(given.get("query_id"), given.get("document_id")))
    names = choose(table.names, required=["query_id", "document_id", "grade"], given=given)
    for note in table.notes:
        notes.add(f"{name}: {note}")
    notes.add(f"{name}: {describe(names, table.names)}")
    return grading.judgements(partial(_table_rows, table, names), notes, column=names["grade"], found=found)


def _is_table(path: Path, given: Mapping[str, str | None]) -> bool:
    """Return whether a file of judgements names its columns."""
    if suffix_of(path) in (*PARQUET, *JSON):
        return True
    fields = re.split(r"[\t,;\s]+", _first_line(path).strip())
    named = any(name in fields for name in given_names(*given.values()))
    return named or find("grade", fields) is not None or find("document_id", fields) is not None


def _first_line(path: Path) -> str:
    with reading(path), open_text(path) as file:
        return next((line for line in file if line.strip()), "")


def _table_rows(table: Table, names: dict[str, str]) -> Iterator[tuple[int, Any, Any, Any]]:
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


def read_texts(paths: Iterable[Path], what: str, notes: Notes, **given: str | None) -> dict[str, str]:
    """Read texts by id: topics, queries or a corpus.

    Args:
        paths: Tables with columns of ids and texts, and titles, which are joined to texts of a corpus; two columns
            without a header, separated by a tab; or topics in TREC's markup.
        what: "query" or "document".
        notes: Notes of the reader.
        **given: Columns by role: the text under the name of ``what``, ``id`` and ``title``.

    Returns:
        Texts by id.

    Raises:
        ValueError: If an id has two texts, or a text is missing or no text; the error names the file and the row.
    """
    found: dict[str, str] = {}
    for path in paths:
        with naming(str(path)):
            _add(found, _texts_of(path, what, notes, given), what, notes)
    return found


def _texts_of(
    path: Path, what: str, notes: Notes, given: dict[str, str | None]
) -> Iterator[tuple[int, Any, str | None]]:
    if suffix_of(path) not in (*PARQUET, *JSON, ".csv"):
        first = _first_line(path)
        if "<top" in first.lower() or suffix_of(path) in (".xml", ".trec"):
            return _topics(path, notes)
        fields = first.rstrip("\r\n").split("\t")
        named = any(name in fields for name in given_names(*given.values()))
        role = "topic" if what == "query" else "document"
        if len(fields) == 2 and not named and find("id", fields) is None and find(role, fields) is None:
            return _two_fields(path)
    return _table_texts(path, without_shard(path), what, given, notes)


def read_texts_tables(tables: Mapping[str, Any], what: str, notes: Notes, **given: str | None) -> dict[str, str]:
    """Read texts by id from any tables, see `read_texts`.

    Args:
        tables: Tables by their names, for notes and errors, see `read_table`.
        what: "query" or "document".
        notes: Notes of the reader.
        **given: Columns by role: the text under the name of ``what``, ``id`` and ``title``.

    Returns:
        Texts by id.

    Example:
        >>> read_texts_tables({"corpus": [{"_id": "d1", "title": "Roses", "text": "are red"}]}, "document", Notes())
        {'d1': 'Roses are red'}
    """
    found: dict[str, str] = {}
    for name, source in tables.items():
        with naming(name):
            _add(found, _table_texts(source, name, what, given, notes), what, notes)
    return found


def _table_texts(
    source: Any, name: str, what: str, given: dict[str, str | None], notes: Notes
) -> Iterator[tuple[int, Any, str | None]]:
    table = read_table(source, text=given_names(*given.values()))
    role = "topic" if what == "query" else "document"
    given = {role if key == what else key: column for key, column in given.items()}
    called = {"id": f"{what}_id", role: what}
    optional = ["title"] if what == "document" else ()
    names = choose(table.names, required=["id", role], optional=optional, given=given, called=called)
    for note in table.notes:
        notes.add(f"{name}: {note}")
    notes.add(f"{name}: {describe({called.get(known, known): one for known, one in names.items()}, table.names)}")
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


def _add(found: dict[str, str], rows: Iterator[tuple[int, Any, str | None]], what: str, notes: Notes) -> None:
    """Add texts by id; a query without text is left out, a document keeps its place with an empty text."""
    for place, key, text in rows:
        key = read_id(key, f"row {place}: the id of a {what}")
        if text is None and what == "query":
            notes.count("queries without a text are left out", f"row {place}")
            continue
        if text is None:
            notes.count("documents without a text are kept, empty", f"row {place}")
        if (known := found.setdefault(key, text or "")) != (text or ""):
            raise ValueError(
                f"row {place}: an id must belong to one {what}, got {known!r:.60} and {text or ''!r:.60} for {key!r}: "
                "correct the id, or drop one of the rows."
            )
