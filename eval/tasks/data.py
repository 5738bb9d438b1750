"""A record's data: its train, dev and test parts, in one of three forms."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from eval.names import check_name
from eval.tasks import documentation
from eval.tasks.files import Row, joined, label_set, read_rows
from eval.tasks.records import SPLITS, Record
from st_rankloss.judgements import Judgements, collect_qrels, few, read_id, read_qrels

logger = logging.getLogger(__name__)

KEYS = {
    "corpus": ("document_id", "document"),
    "queries": ("query_id", "query"),
    "qrels": ("query_id", "document_id", "grade"),
}
"""Columns of the files of a retrieval record; other records have all columns in every file."""


@dataclass
class ScoredPairs:
    """Pairs of texts with scores."""

    first: list[str]
    second: list[str]
    scores: list[float]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass
class Collection:
    """Queries, a corpus and graded judgements, by id; judged documents may be missing from the corpus."""

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: Judgements

    def __len__(self) -> int:
        return len(self.queries)

    def present(self, query: str) -> dict[str, float]:
        """Return a query's judgements of documents in the corpus."""
        return {document: grade for document, grade in self.qrels[query].items() if document in self.corpus}


@dataclass
class Samples:
    """Inputs, labels whose rows the record's relevance compares, and captions of images."""

    inputs: list[Any]
    labels: Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.inputs)


Part = ScoredPairs | Collection | Samples


@dataclass
class Data:
    """A record's parts, read on first use.

    Args:
        record: The record.
        folder: Folder of its files.
        limit: Maximum number of rows or queries per part; None reads all.
    """

    record: Record
    folder: Path | None = None
    limit: int | None = None

    @cached_property
    def parts(self) -> dict[str, Any]:
        """Each existing part by name, train, dev or test: a `Part` of the record's kind."""
        if self.record.name == "documentation" and not self.record.files:
            return _read_documentation(self.limit)
        make = {"pairs": self._pairs, "retrieval": self._collections, "samples": self._samples, "texts": self._texts}
        return make[self.record.kind]()

    def texts(self) -> list[str]:
        """Return every distinct text of all parts, in a fixed order."""
        found: dict[str, None] = {}
        for part in self.parts.values():
            if isinstance(part, ScoredPairs):
                found |= dict.fromkeys([*part.first, *part.second])
            elif isinstance(part, Collection):
                found |= dict.fromkeys([*part.queries.values(), *part.corpus.values()])
            else:
                found |= dict.fromkeys(part.captions or [text for text in part.inputs if isinstance(text, str)])
        return list(found)

    def _rows(self, name: str, split: str) -> list[dict[str, Any]]:
        files = self.record.files
        paths = files if isinstance(files, str) else files.get(name)
        if paths is None:
            return []
        if self.folder is None:
            raise ValueError(f"the task {self.record.name!r} reads files: say where they are with --data FOLDER.")
        rows: list[dict[str, Any]] = []
        for path in [paths] if isinstance(paths, str) else paths:
            rows += read_rows(self.folder / path.format(split=split))
        for column in self._needed(name):
            if rows and column not in rows[0]:
                check_name(column, rows[0], f"column of {self.record.name}, file {paths}:")
        dropped = {column: value for column, value in self.record.drop.items() if name not in ("queries", "qrels")}
        for column in dropped if rows else ():
            check_name(column, rows[0], f"column in drop of {self.record.name}:")
        return [row for row in rows if all(row[column] != value for column, value in dropped.items())]

    def _needed(self, name: str) -> list[str]:
        columns = self.record.columns
        chosen = [columns[key] for key in KEYS.get(name, columns) if key in columns]
        return [column for given in chosen for column in ([given] if isinstance(given, str) else given)]

    def _cut(self, rows: list[Any]) -> list[Any]:
        return rows if self.limit is None else rows[: self.limit]

    def _split_rows(self) -> dict[str, list[dict[str, Any]]]:
        named = self.record.files if isinstance(self.record.files, Mapping) else dict.fromkeys(SPLITS)
        return {split: self._cut(self._rows(split, split)) for split in SPLITS if split in named}

    def _pairs(self) -> dict[str, Part]:
        columns = self.record.columns
        return {
            split: ScoredPairs(
                [joined(row, columns["first"]) for row in rows],
                [joined(row, columns["second"]) for row in rows],
                [float(row[columns["score"]]) for row in rows],
            )
            for split, rows in self._split_rows().items()
        }

    def _texts(self) -> dict[str, Part]:
        texts = [joined(row, self.record.columns["input"]) for row in self._cut(self._rows("train", "train"))]
        return {"train": Samples(texts, torch.empty(len(texts), 0), [])}

    def _collections(self) -> dict[str, Part]:
        columns = self.record.columns
        rows = self._rows("corpus", "")
        corpus = {read_id(row[columns["document_id"]]): joined(row, columns["document"]) for row in rows}
        found: dict[str, Part] = {}
        for split in SPLITS if not self.record.trained_on else SPLITS[1:]:
            queries = {}
            for row in self._cut(self._rows("queries", split)):
                own = row.get(columns.get("paper_id", ""))
                if own and str(own) not in corpus:
                    raise ValueError(f"{self.record.name}: a paper_id must be a document of the corpus, got {own!r}.")
                queries[read_id(row[columns["query_id"]])] = corpus[str(own)] if own else joined(row, columns["query"])
            keys = [columns[key] for key in ("query_id", "document_id", "grade")]
            qrels = collect_qrels((i, *(row[key] for key in keys)) for i, row in enumerate(self._rows("qrels", split)))
            self._report(split, queries, corpus, qrels)
            every = Collection(queries, corpus, {query: qrels.get(query, {}) for query in queries})
            # A query whose relevant documents are all missing scores 0, but has nothing to train on.
            useful = every.present if split == "train" else every.qrels.__getitem__
            kept = {query: every.qrels[query] for query in queries if any(useful(query).values())}
            found[split] = Collection({query: queries[query] for query in kept}, corpus, kept)
        return found

    def _report(self, split: str, queries: Row, corpus: Row, qrels: Judgements) -> None:
        """Warn of judgements without a query or a document."""
        strangers = [query for query in qrels if query not in queries]
        if strangers and self.limit is None:
            logger.warning("%s, %s: no query for the judgements of %s.", self.record.name, split, few(strangers))
        absent = {document for query in queries for document in qrels.get(query, {}) if document not in corpus}
        if absent:
            logger.warning(
                "%s, %s: %d judged documents are not in the corpus (%s): they count as not found.",
                self.record.name,
                split,
                len(absent),
                few(sorted(absent)),
            )

    def _samples(self) -> dict[str, Part]:
        parts = self._split_rows()
        labels = self._labels(parts)
        found: dict[str, Part] = {}
        for split, rows in parts.items():
            if self.record.modality == "image":
                inputs = [Image.open(io.BytesIO(row[self.record.columns["input"]])).convert("RGB") for row in rows]
            else:
                inputs = [joined(row, self.record.columns["input"]) for row in rows]
            captions = [joined(row, self.record.columns["caption"]) for row in rows] if self.record.has_captions else []
            found[split] = Samples(inputs, labels[split], captions)
        return found

    def _labels(self, parts: Mapping[str, Sequence[Row]]) -> dict[str, Tensor]:
        columns = self.record.label_columns
        if self.record.labels == "numbers":
            numbers = {
                split: torch.tensor([[row[c] for c in columns] for row in rows]) for split, rows in parts.items()
            }
            return {split: (x[:, 0] if len(columns) == 1 else x).float() for split, x in numbers.items()}
        if self.record.labels == "sets":
            return _multi_hot({split: [label_set(row, columns) for row in rows] for split, rows in parts.items()})
        codes = [{v: i for i, v in enumerate(sorted({row[c] for p in parts.values() for row in p}))} for c in columns]
        paths = {
            split: torch.tensor([[code[row[c]] for code, c in zip(codes, columns, strict=True)] for row in rows])
            for split, rows in parts.items()
        }
        return {split: x[:, 0] if len(columns) == 1 else x for split, x in paths.items()}


def _multi_hot(sets: Mapping[str, Sequence[set[str]]]) -> dict[str, Tensor]:
    names = {name: i for i, name in enumerate(sorted({n for part in sets.values() for row in part for n in row}))}
    found = {split: torch.zeros(len(part), len(names)) for split, part in sets.items()}
    for split, part in sets.items():
        for i, row in enumerate(part):
            found[split][i, [names[name] for name in row]] = 1
    return found


def _read_documentation(limit: int | None) -> dict[str, Part]:
    return {
        split: Collection(
            {entry.id: entry.query for entry in part},
            {entry.id: entry.document for entry in part},
            read_qrels(documentation.qrels(part)),
        )
        for split, part in documentation.split(documentation.load(limit or 12_000)).items()
    }


_LOADED: dict[tuple[str, Path | None, int | None], Data] = {}


def load_data(record: Record, folder: Path | None, limit: int | None = None) -> Data:
    """Return a record's data, read once per process."""
    key = (record.name, folder, limit)
    if key not in _LOADED or _LOADED[key].record != record:
        _LOADED[key] = Data(record, folder, limit)
    return _LOADED[key]
