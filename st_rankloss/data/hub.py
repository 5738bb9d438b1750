"""Datasets of the hub that hold a retrieval collection in configurations, as those of MTEB do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datasets import Dataset, get_dataset_config_names, load_dataset

from st_rankloss.data.building import Notes
from st_rankloss.data.collection import join
from st_rankloss.data.grading import Grading
from st_rankloss.data.part import Part
from st_rankloss.data.scaling import Scale
from st_rankloss.data.splits import part_of
from st_rankloss.data.trec_files import read_qrels_table, read_texts_tables

_QRELS = ("default", "qrels")


def collection_configurations(name: str) -> tuple[str, str, str] | None:
    """Return the configurations of a corpus, queries and judgements.

    Args:
        name: Id of a dataset of the hub, which is asked.

    Returns:
        Their names; None if the dataset has no corpus and no queries.

    Raises:
        ValueError: If there are a corpus and queries, but no judgements.
    """
    found = get_dataset_config_names(name)
    if not {"corpus", "queries"} <= set(found):
        return None
    qrels = next((configuration for configuration in _QRELS if configuration in found), None)
    if qrels is None:
        raise ValueError(
            f"hub:{name}: a collection must have judgements in a configuration {' or '.join(_QRELS)}, got {found}: "
            "load its configurations, and write them as corpus.jsonl, queries.jsonl and qrels/train.tsv."
        )
    return "corpus", "queries", qrels


def read_hub_collection(
    name: str,
    configurations: tuple[str, str, str],
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
    """Download a collection, and read it as `read_collection` reads a folder.

    Args:
        name: Id of a dataset of the hub.
        configurations: Those of the corpus, the queries and the judgements.
        query: Column of texts of queries. Like all columns, it is found by its name if None.
        document: Column of texts of documents.
        grade: Column of grades.
        query_id: Column of ids of queries, in queries and judgements.
        document_id: Column of ids of documents, in the corpus and in judgements.
        title: Column of titles of documents, which are joined to the texts by a space.
        negative: What to do about negative grades: "refuse" or "zero".
        scale: How to map words or numbers to grades of at least 0, see `rescale`.

    Returns:
        A retrieval part for each split of the judgements that is named after train, dev or test, or for the only one.

    Raises:
        ValueError: If a column is missing, a value is invalid, or splits have unclear names.
    """
    grading = Grading(negative, scale)
    corpora, queries, judgements = (_splits(name, configuration) for configuration in configurations)
    shared = Notes()
    documents = read_texts_tables(corpora, "document", shared, document=document, id=document_id, title=title)
    texts = read_texts_tables(queries, "query", shared, query=query, id=query_id)
    columns = {"grade": grade, "query_id": query_id, "document_id": document_id}
    parts = {}
    for part, where in _by_part(name, judgements):
        notes = Notes(shared.all())
        qrels = read_qrels_table(judgements[where], where, notes, grading, **columns)
        parts[part] = join(texts, documents, qrels, notes, where)
    return parts


def _splits(name: str, configuration: str) -> dict[str, Dataset]:
    """Return the splits of a configuration, by where they come from."""
    found: Any = load_dataset(name, configuration)
    return {f"hub:{name} {configuration}/{split}": dataset for split, dataset in found.items()}


def _by_part(name: str, judgements: dict[str, Dataset]) -> Iterator[tuple[str, str]]:
    """Yield train, dev and test, as far as there are any, and where their judgements come from."""
    found: dict[str, str] = {}
    for where in judgements:
        split = where.rsplit("/", 1)[1]
        part = part_of(split) or ("train" if len(judgements) == 1 else None)
        if part is None or part in found:
            raise ValueError(
                f"hub:{name}: splits of judgements must be named after train, dev or test, one each, got "
                f"{[key.rsplit('/', 1)[1] for key in judgements]}: load the dataset, and pass its tables."
            )
        found[part] = where
    yield from ((part, found[part]) for part in ("train", "dev", "test") if part in found)
