"""Queries, a corpus and judgements, each in its own file: folders of BEIR, folders of tables, and TREC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from st_rankloss.data.building import Notes
from st_rankloss.data.folders import corpus_files, existing, find_files
from st_rankloss.data.grading import Grading
from st_rankloss.data.judged import Judged
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale
from st_rankloss.data.table import naming
from st_rankloss.data.trec_files import read_qrels_files, read_texts
from st_rankloss.judgements import Judgements, few


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
    scale: Scale = None,
) -> dict[str, Part]:
    """Read a folder of BEIR (``corpus.jsonl``, ``queries.jsonl``, ``qrels/train.tsv``...), or one of tables.

    Args:
        source: The folder. Its tables may be of any form and compressed; queries and judgements may be split over files
            such as ``queries_train.parquet`` and ``qrels_train.parquet``. Folders of shards take the place of files, as
            in the repositories of MTEB; tables with other names are told by their columns, if these are clear.
        query: Column of texts of queries. Like all columns, it is found by its name if None.
        document: Column of texts of documents.
        grade: Column of grades.
        query_id: Column of ids of queries, in queries and judgements.
        document_id: Column of ids of documents, in the corpus and in judgements.
        title: Column of titles of documents, which are joined to the texts by a space.
        negative: What to do about negative grades: "refuse" or "zero".
        scale: How to map words or numbers to grades of at least 0, see `rescale`.

    Returns:
        A retrieval part for each file of judgements, all with the whole corpus; judgements of unknown ids are left out
        and noted.

    Raises:
        ValueError: If a file is missing or malformed, or no judgement is about known ids.
    """
    folder, grading = Path(source), Grading(negative, scale)
    given = {"query": query, "document": document, "grade": grade, "query_id": query_id, "document_id": document_id}
    with naming(str(folder)):
        files = find_files(folder, given) if folder.is_dir() else None
        if files is None:
            raise ValueError(
                "the folder must hold a corpus, queries and qrels, such as corpus.jsonl, queries.jsonl and "
                "qrels/train.tsv."
            )
    shared = Notes(files.notes)
    corpus = read_texts(files.corpus, "document", shared, document=document, id=document_id, title=title)
    queries = read_texts(files.queries, "query", shared, query=query, id=query_id)
    parts = {}
    for name, paths in files.qrels.items():
        notes = Notes(shared.all())
        qrels = read_qrels_files(paths, notes, grading, grade=grade, query_id=query_id, document_id=document_id)
        parts[name] = join(queries, corpus, qrels, notes, str(paths[0]))
    return parts


def read_trec(
    *,
    qrels: str | Path,
    topics: str | Path,
    corpus: str | Path | Mapping[str, str],
    negative: str = "refuse",
    scale: Scale = None,
) -> Part:
    """Read judgements and topics of TREC, and a corpus.

    Args:
        qrels: File of query id, iteration, document id and grade.
        topics: File of query id and text, separated by a tab, or in TREC's markup, of which the title is the query.
        corpus: A table of ids and texts, a folder with a file ``corpus``, or texts by id.
        negative: What to do about negative grades, as some tracks have: "refuse" or "zero".
        scale: How to map words or numbers to grades of at least 0, see `rescale`.

    Returns:
        A retrieval part; judgements of unknown ids are left out and noted.

    Raises:
        ValueError: If a file is missing or malformed, or no judgement is about known ids; the error names the line.
    """
    notes = Notes()
    texts = corpus if isinstance(corpus, Mapping) else read_texts(corpus_files(Path(corpus)), "document", notes)
    queries = read_texts([existing(Path(topics))], "query", notes)
    judgements = read_qrels_files([existing(Path(qrels))], notes, Grading(negative, scale))
    return join(queries, texts, judgements, notes, str(qrels))


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
