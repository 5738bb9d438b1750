"""Queries, a corpus and judgements, each in its own file: folders of BEIR, folders of tables, and TREC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from st_rankloss.data.building import Notes
from st_rankloss.data.columns import normal
from st_rankloss.data.judged import Judged
from st_rankloss.data.part import Part
from st_rankloss.data.splits import by_part
from st_rankloss.data.tables import naming
from st_rankloss.data.trec_files import read_qrels_file, read_texts
from st_rankloss.judgements import Judgements, few

_CORPUS = ("corpus", "documents", "docs", "collection", "passages")
_QUERIES = ("queries", "topics", "query")
_QRELS = ("qrels", "qrel", "judgments", "judgements")


@dataclass(frozen=True)
class Files:
    """The files of a collection."""

    corpus: Path
    queries: list[Path]
    qrels: dict[str, Path]


def find_files(folder: Path) -> Files | None:
    """Find the files of a collection.

    Args:
        folder: A folder of BEIR, or of files named after corpus, queries and qrels.

    Returns:
        The files; None if the folder lacks a corpus, queries or judgements.

    Raises:
        ValueError: If files of judgements have unclear names.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    in_folder = folder / "qrels"
    corpus, queries, qrels = (_named(files, words) for words in (_CORPUS, _QUERIES, _QRELS))
    if in_folder.is_dir():
        qrels = sorted(path for path in in_folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not (corpus and queries and qrels):
        return None
    return Files(corpus[0], queries, by_part(qrels))


def lacking(folder: Path) -> str | None:
    """Return what a collection lacks: ``corpus``, ``queries`` or ``qrels``.

    Args:
        folder: A folder.

    Returns:
        The word; None if nothing is missing, or there are fewer than two of the three.
    """
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    found = {words[0]: _named(files, words) for words in (_CORPUS, _QUERIES, _QRELS)}
    missing = [word for word, paths in found.items() if not paths]
    return missing[0] if len(missing) == 1 else None


def _named(files: list[Path], words: tuple[str, ...]) -> list[Path]:
    return [path for path in files if set(normal(path.name).split("_")) & set(words)]


def read_collection(
    source: str | Path,
    *,
    query: str | None = None,
    document: str | None = None,
    grade: str | None = None,
    query_id: str | None = None,
    document_id: str | None = None,
    title: str | None = None,
    negative: str = "refuse",
) -> dict[str, Part]:
    """Read a folder of BEIR (``corpus.jsonl``, ``queries.jsonl``, ``qrels/train.tsv``...), or one of tables.

    Args:
        source: The folder. Its tables may be of any form and compressed; queries and judgements may be split over files
            such as ``queries_train.parquet`` and ``qrels_train.parquet``.
        query: Column of texts of queries. Like all columns, it is found by its name if None.
        document: Column of texts of documents.
        grade: Column of grades.
        query_id: Column of ids of queries, in queries and judgements.
        document_id: Column of ids of documents, in the corpus and in judgements.
        title: Column of titles of documents, which are joined to the texts by a space.
        negative: What to do about negative grades: "refuse" or "zero".

    Returns:
        A retrieval part for each file of judgements, all with the whole corpus; judgements of unknown ids are left out
        and noted.

    Raises:
        ValueError: If a file is missing or malformed, or no judgement is about known ids.
    """
    folder = Path(source)
    with naming(str(folder)):
        files = find_files(folder) if folder.is_dir() else None
        if files is None:
            raise ValueError(
                "the folder must hold a corpus, queries and qrels, such as corpus.jsonl, queries.jsonl and "
                "qrels/train.tsv."
            )
    shared = Notes()
    corpus = read_texts(files.corpus, "document", shared, document=document, id=document_id, title=title)
    queries: dict[str, str] = {}
    for path in files.queries:
        queries |= read_texts(path, "query", shared, query=query, id=query_id)
    parts = {}
    for name, path in files.qrels.items():
        notes = Notes(shared.all())
        qrels = read_qrels_file(path, notes, negative=negative, grade=grade, query_id=query_id, document_id=document_id)
        parts[name] = join(queries, corpus, qrels, notes, str(path))
    return parts


def read_trec(
    *, qrels: str | Path, topics: str | Path, corpus: str | Path | Mapping[str, str], negative: str = "refuse"
) -> Part:
    """Read judgements and topics of TREC, and a corpus.

    Args:
        qrels: File of query id, iteration, document id and grade.
        topics: File of query id and text, separated by a tab, or in TREC's markup, of which the title is the query.
        corpus: A table of ids and texts, a folder with a file ``corpus``, or texts by id.
        negative: What to do about negative grades, as some tracks have: "refuse" or "zero".

    Returns:
        A retrieval part; judgements of unknown ids are left out and noted.

    Raises:
        ValueError: If a file is missing or malformed, or no judgement is about known ids; the error names the line.
    """
    notes = Notes()
    texts = corpus if isinstance(corpus, Mapping) else read_texts(corpus_file(Path(corpus)), "document", notes)
    queries = read_texts(_existing(Path(topics)), "query", notes)
    judgements = read_qrels_file(_existing(Path(qrels)), notes, negative=negative)
    return join(queries, texts, judgements, notes, str(qrels))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    return path


def corpus_file(path: Path) -> Path:
    """Return a file, or the file named corpus of a folder; raise ValueError if there is none."""
    if not path.is_dir():
        return _existing(path)
    found = _named(sorted(path.iterdir()), _CORPUS)
    if not found:
        raise ValueError(f"{path}: the folder must hold a file named corpus, such as corpus.jsonl.")
    return found[0]


def join(queries: Mapping[str, str], corpus: Mapping[str, str], qrels: Judgements, notes: Notes, source: str) -> Part:
    """Join queries, corpus and judgements to a part.

    Args:
        queries: Texts of queries by id; those without judgements are left out.
        corpus: Texts of documents by id.
        qrels: Judgements; those of unknown ids are left out and noted.
        notes: Notes of the reader.
        source: Where the judgements come from.

    Returns:
        The retrieval part, with one row per query.

    Raises:
        ValueError: If no judgement is about a known query and a known document.
    """
    judged = Judged()
    judged.queries, judged.corpus = dict(queries), dict(corpus)
    judged.grades = _known(qrels, queries, corpus, notes)
    if not judged.grades:
        shown = next(iter(qrels), None), next(iter(next(iter(qrels.values()), {})), None)
        raise ValueError(
            f"{source}: judgements must name ids of queries and corpus, got none that do: query {shown[0]!r}, "
            f"document {shown[1]!r}; queries have ids such as {next(iter(queries), None)!r}, documents such as "
            f"{next(iter(corpus), None)!r}."
        )
    return judged.part(notes, source, corpus=judged.corpus)


def _known(qrels: Judgements, queries: Mapping[str, str], corpus: Mapping[str, str], notes: Notes) -> Judgements:
    """Return the judgements of known queries and documents, and note the others."""
    unknown_queries = [query for query in qrels if query not in queries]
    unknown = [document for judged in qrels.values() for document in judged if document not in corpus]
    if unknown_queries:
        notes.add(f"judgements of unknown queries are left out: {few(unknown_queries)}")
    if unknown:
        count = f"{len(unknown):,} judgements, of {few(dict.fromkeys(unknown))}"
        notes.add(
            f"judgements of documents that the corpus lacks are left out, so a search is not scored on them: {count}"
        )
    found = {
        query: {document: grade for document, grade in judged.items() if document in corpus}
        for query, judged in qrels.items()
        if query in queries
    }
    return {query: judged for query, judged in found.items() if judged}
