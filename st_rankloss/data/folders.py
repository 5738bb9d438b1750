"""Which files of a folder are the corpus, the queries and the judgements of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from st_rankloss.data.columns import find, normal
from st_rankloss.data.files import SHARD, is_table, without_shard
from st_rankloss.data.splits import by_part
from st_rankloss.data.tables import read_table
from st_rankloss.judgements import few

_KINDS = {
    "corpus": ("corpus", "documents", "docs", "collection", "passages"),
    "queries": ("queries", "topics", "query"),
    "qrels": ("qrels", "qrel", "judgments", "judgements"),
}
_OTHER_QRELS = ("default", "data")
"""Folders of judgements beside a corpus and queries, as MTEB's repositories name them."""


@dataclass(frozen=True)
class Files:
    """The files of a collection.

    Args:
        corpus: Those of documents.
        queries: Those of queries.
        qrels: Those of judgements, by part.
        notes: How they were found, unless by their names.
    """

    corpus: list[Path]
    queries: list[Path]
    qrels: dict[str, list[Path]]
    notes: tuple[str, ...] = ()


def find_files(folder: Path, columns: Mapping[str, Any]) -> Files | None:
    """Find the files of a collection: by their names, and tables with other names by their columns.

    Args:
        folder: A folder of BEIR, of files named after corpus, queries and qrels, or of such folders of shards, as a
            repository of MTEB.
        columns: Columns by role, as far as the caller names them.

    Returns:
        The files; None if the folder lacks a corpus, queries or judgements.

    Raises:
        ValueError: If files of judgements have unclear names, or shards are missing.
    """
    named = _named(folder)
    by_columns = {} if all(named.values()) else _by_columns(folder, named, columns)
    found = named | by_columns
    if not all(found.values()):
        return None
    shown = [f"{path.name} is read as {kind}" for kind, paths in by_columns.items() for path in paths]
    notes = (f"by their columns, {', '.join(sorted(shown))}",) if shown else ()
    firsts = {paths[0]: paths for paths in group_shards(found["qrels"])}
    qrels = {part: firsts[path] for part, path in by_part([*firsts]).items()}
    corpus, queries = (list(chain(*group_shards(found[kind]))) for kind in ("corpus", "queries"))
    return Files(corpus, queries, qrels, notes)


def lacking(folder: Path) -> str | None:
    """Return what a collection lacks: ``corpus``, ``queries`` or ``qrels``.

    Args:
        folder: A folder.

    Returns:
        The word; None if nothing is missing, or there are fewer than two of the three.
    """
    missing = [kind for kind, paths in _named(folder).items() if not paths]
    return missing[0] if len(missing) == 1 else None


def corpus_files(path: Path, columns: Mapping[str, Any] | None = None) -> list[Path]:
    """Return the files of a corpus.

    Args:
        path: A file, or a folder.
        columns: Columns by role, as far as the caller names them.

    Returns:
        The file, or the files named corpus of the folder.

    Raises:
        ValueError: If there is none.
    """
    if not path.is_dir():
        return [existing(path)]
    named = _named(path)
    found = named["corpus"] or _by_columns(path, named, columns or {}).get("corpus")
    if not found:
        raise ValueError(f"{path}: the folder must hold a file named corpus, such as corpus.jsonl.")
    return list(chain(*group_shards(found)))


def existing(path: Path) -> Path:
    """Return the path of a file; raise ValueError if there is none."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    return path


def group_shards(paths: Sequence[Path]) -> list[list[Path]]:
    """Return files, the shards of a table together; raise ValueError if some are missing."""
    found: dict[tuple[str, bool], list[Path]] = {}
    for path in paths:
        found.setdefault((without_shard(path), bool(SHARD.search(path.name))), []).append(path)
    for shards in found.values():
        if (match := SHARD.search(shards[0].name)) and len(shards) != int(match[2]):
            raise ValueError(
                f"{shards[0]}: a table must have all its {int(match[2])} shards, got {len(shards)}: complete them."
            )
    return list(found.values())


def _named(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each kind, by their names or that of their folder."""
    found = {kind: _of_kind(folder, kind) for kind in _KINDS}
    if found["corpus"] and found["queries"] and not found["qrels"]:
        others = (_visible(folder / name) for name in _OTHER_QRELS if (folder / name).is_dir())
        found["qrels"] = next((tables for paths in others if (tables := [p for p in paths if is_table(p)])), [])
    return found


def _of_kind(folder: Path, kind: str) -> list[Path]:
    named = [path for path in _visible(folder) if set(normal(path.name).split("_")) & set(_KINDS[kind])]
    named = [path for path in named if normal(path.name.partition(".")[0]) in _KINDS[kind]] or named
    files = [path for path in named if path.is_file()]
    if kind == "corpus":
        files = [path for path in files if is_table(path)] or files
    if files and kind != "qrels":
        return files
    folders = {path: inner for path in named if path.is_dir() and (inner := _files_in(path, kind))}
    if len(folders) > 1 and not any(path.is_file() and is_table(path) for path in _visible(folder)):
        raise ValueError(
            f"{folder}: the folder must have one folder {kind}, got {few(path.name for path in folders)}: move the "
            "others elsewhere."
        )
    return next(iter(folders.values()), files) if len(folders) < 2 else files


def _files_in(folder: Path, kind: str) -> list[Path]:
    return [path for path in _visible(folder) if path.is_file() and (kind == "qrels" or is_table(path))]


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _by_columns(folder: Path, named: Mapping[str, list[Path]], columns: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Return the tables of the kinds that no name tells; {} unless each other table is clearly of one of them."""
    taken = [path for paths in named.values() for path in paths]
    found: dict[str, list[Path]] = {}
    for path in _visible(folder):
        if path.is_file() and is_table(path) and path not in taken:
            found.setdefault(_kind_of(path, columns), []).append(path)
    clear = all(kind in named and not named[kind] for kind in found)
    return found if clear and all(len(paths) == 1 for kind, paths in found.items() if kind != "qrels") else {}


def _kind_of(path: Path, columns: Mapping[str, Any]) -> str:
    """Return the kind of a table by its columns; "" if they do not tell."""
    try:
        names = read_table(path, streaming=True).names
        query_id, document_id, query, document = (
            columns[role] in names if columns.get(role) else find(known, names) is not None
            for role, known in (("query_id",) * 2, ("document_id",) * 2, ("query", "topic"), ("document",) * 2)
        )
    except ValueError:
        return ""
    if query_id and document_id:
        return "qrels"
    return "queries" if query_id and query else "corpus" if document_id and document else ""
