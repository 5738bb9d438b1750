"""Data sets: records that say what is where, and the three forms their parts take."""

from __future__ import annotations

import difflib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from shared import FORMATS, read_file
from torch import Tensor

from st_rankloss.judgements import Judgements, collect_qrels, few, read_id, read_qrels
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric, Relevance

logger = logging.getLogger(__name__)

RECORDS = Path(__file__).with_name("datasets.yaml")
SPLITS = ("train", "dev", "test")
KINDS = ("pairs", "retrieval", "samples", "texts")
LABELS = ("classes", "sets", "numbers")
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairs": (("first", "second", "score"), ()),
    "retrieval": (("query_id", "document_id", "document", "grade"), ("query", "paper_id")),
    "samples": (("input", "labels"), ("caption",)),
    "texts": (("input",), ()),
}
"""Of each kind: what columns it needs, and what it may have."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One data set: what is where, and how much is trained on it.

    Args:
        name: Of the task.
        kind: ``pairs``, ``retrieval``, ``samples`` or ``texts``.
        files: A path for each part, below the data folder, or one with ``{split}``; a list is read as one.
        columns: What is in which column.
        metrics: What losses are tuned on and ranked by: their mean.
        labels: Of samples: ``classes`` (a path, coarse to fine, if there are several columns), ``sets`` or ``numbers``.
        modality: Of the inputs, ``text`` or ``image``.
        drop: Values by column of rows that are left out.
        rerank: Rank each query's judged documents instead of the whole corpus.
        level: Least grade of a document that MRR, MAP and recall count.
        relevant_from: Least score of a pair that counts as relevant in AUC.
        trained_on: Another record whose model is evaluated; this one has no training part.
        scored_on: Another record whose dev and test parts are used; this one has none.
        batch_size: Of training.
        steps: Of training.
        rate: What an encoder's grid of learning rates is multiplied by, above 0.
        documents: Of a query in one training row, at least 1; one of the best comes first.
        licence: Of the data.
    """

    name: str
    kind: str
    files: Any
    columns: Mapping[str, Any]
    metrics: Sequence[str]
    labels: str = ""
    modality: str = "text"
    drop: Mapping[str, Any] = field(default_factory=dict)
    rerank: bool = False
    level: float = 1
    relevant_from: float | None = None
    trained_on: str = ""
    scored_on: str = ""
    batch_size: int = 64
    steps: int = 100
    documents: int = 4
    rate: float = 1.0
    licence: str = ""

    def __post_init__(self) -> None:
        check_name(self.kind, KINDS, f"kind of the record {self.name!r}")
        if self.kind == "samples":
            check_name(self.labels, LABELS, f"labels of the record {self.name!r}")
        for name, least in (("batch_size", 2), ("steps", 1), ("documents", 1)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(
                    f"{self.name}: {name} must be an integer of at least {least}, got {getattr(self, name)!r}."
                )
        if not self.metrics:
            raise ValueError(f"{self.name}: metrics must name at least one metric.")

    def check_columns(self) -> None:
        """Raise a ValueError unless ``columns`` says where everything is."""
        needed, others = COLUMNS[self.kind]
        for name in self.columns:
            check_name(name, (*needed, *others), f"key in columns of the record {self.name!r}")
        missing = [name for name in needed if name not in self.columns]
        if missing:
            raise ValueError(f"{self.name}: columns must say where {', '.join(missing)} is.")
        if self.kind == "retrieval" and not self.trained_on and "query" not in self.columns:
            raise ValueError(f"{self.name}: columns must say where query is.")

    @property
    def main(self) -> str:
        """Name of the mean of the metrics."""
        return "+".join(self.metrics)

    @property
    def has_captions(self) -> bool:
        """Whether samples are images with captions, which find each other."""
        return "caption" in self.columns

    @property
    def label_columns(self) -> list[str]:
        """The columns of the labels; several are a path of classes, coarse to fine, or are joined."""
        given = self.columns.get("labels", [])
        return [given] if isinstance(given, str) else list(given)

    @property
    def relevance(self) -> Relevance:
        """What the labels of samples mean."""
        if self.labels == "sets":
            return MultiLabel("jaccard")
        if self.labels == "numbers":
            return Numeric()
        return Hierarchy() if len(self.label_columns) > 1 else Classes()


MOST_LISTED = 60
"""Names that an error lists in full."""


def check_name(name: str, known: Iterable[str], what: str) -> None:
    """Raise a ValueError with the closest known names if a name is unknown.

    Example:
        >>> check_name("nfcropus", ["nfcorpus", "stsb"], "task")
        Traceback (most recent call last):
        ...
        ValueError: unknown task 'nfcropus'; did you mean nfcorpus? Known: nfcorpus, stsb.
    """
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        rest = f"Known: {', '.join(known)}." if len(known) <= MOST_LISTED else f"{len(known)} are known."
        raise ValueError(f"unknown {what} {name!r}; {hint}{rest}")


def load_records(paths: Sequence[Path] = ()) -> dict[str, Record]:
    """Read the project's records, the documentation corpus, and a user's own files of records.

    Args:
        paths: YAML files in the form of ``datasets.yaml``.

    Returns:
        The records by name; later ones replace earlier ones.

    Raises:
        ValueError: If a record has an unknown field or lacks one.
    """
    known = [f.name for f in fields(Record)]
    records = {"documentation": DOCUMENTATION}
    for path in (RECORDS, *paths):
        for name, content in (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).items():
            for key in content:
                check_name(key, known, f"field of the record {name!r} in {path}")
            missing = [key for key in ("kind", "files", "columns", "metrics") if key not in content]
            if missing:
                raise ValueError(f"the record {name!r} in {path} lacks {', '.join(missing)}.")
            records[name] = Record(name=name, **content)
            records[name].check_columns()
    for record in records.values():
        for other in filter(None, (record.trained_on, record.scored_on)):
            check_name(other, records, f"record that {record.name} is trained or scored on")
    return records


DOCUMENTATION = Record(
    name="documentation",
    kind="retrieval",
    files="",
    columns={},
    metrics=("ndcg_at_10", "mrr_at_10"),
    level=3,
    documents=1,
    rate=3.0,
    batch_size=256,
    steps=120,
    licence="the installed packages' own",
)
"""The built-in corpus: first sentences of docstrings search for the objects they describe."""


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
    """Queries and what they find in a corpus: texts by id, grades by ids, also of documents that are not there."""

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: Judgements

    def __len__(self) -> int:
        return len(self.queries)

    def present(self, query: str) -> dict[str, float]:
        """Return a query's judgements of the documents that are in the corpus."""
        return {document: grade for document, grade in self.qrels[query].items() if document in self.corpus}


@dataclass
class Samples:
    """Inputs with labels: a tensor whose rows the record's relevance compares; captions of images."""

    inputs: list[Any]
    labels: Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.inputs)


Part = ScoredPairs | Collection | Samples


@dataclass
class Data:
    """A record's parts, read when they are asked for.

    Args:
        record: The record.
        folder: Where its files are.
        limit: Rows or queries of each part at most; None reads all.
    """

    record: Record
    folder: Path | None = None
    limit: int | None = None

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The parts by name: train, dev and test, as far as there are; of the record's kind, a `Part`."""
        if self.record.name == DOCUMENTATION.name and not self.record.files:
            return _read_documentation(self.limit)
        make = {"pairs": self._pairs, "retrieval": self._collections, "samples": self._samples, "texts": self._texts}
        return make[self.record.kind]()

    def texts(self) -> list[str]:
        """Return every text of all parts, in a fixed order, each once."""
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
        if self.record.kind == "retrieval":
            keys = {
                "corpus": ("document_id", "document"),
                "queries": ("query_id", "query"),
                "qrels": ("query_id", "document_id", "grade"),
            }
            chosen = [self.record.columns.get(key, []) for key in keys[name]]
        else:
            chosen = list(self.record.columns.values())
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
                    raise ValueError(f"{self.record.name}: the query {own!r} must be a document of the corpus.")
                queries[read_id(row[columns["query_id"]])] = corpus[str(own)] if own else joined(row, columns["query"])
            keys = [columns[key] for key in ("query_id", "document_id", "grade")]
            qrels = collect_qrels((i, *(row[key] for key in keys)) for i, row in enumerate(self._rows("qrels", split)))
            self._report(split, queries, corpus, qrels)
            every = Collection(queries, corpus, {query: qrels.get(query, {}) for query in queries})
            # A search for what is not there scores 0, but there is nothing to train it on.
            useful = every.present if split == "train" else every.qrels.__getitem__
            kept = {query: every.qrels[query] for query in queries if any(useful(query).values())}
            found[split] = Collection({query: queries[query] for query in kept}, corpus, kept)
        return found

    def _report(self, split: str, queries: Row, corpus: Row, qrels: Judgements) -> None:
        """Log the judgements that cannot be used as they are."""
        strangers = [query for query in qrels if query not in queries]
        if strangers and self.limit is None:
            logger.warning("%s, %s: no query for the judgements of %s.", self.record.name, split, few(strangers))
        absent = {document for query in queries for document in qrels.get(query, {}) if document not in corpus}
        if absent:
            logger.warning(
                "%s, %s: %d judged documents are not in the corpus (%s): no model finds them; nDCG and recall count "
                "them.",
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


def label_set(row: Row, columns: Sequence[str]) -> set[str]:
    """Join the labels of several columns, each a string or a list of strings."""
    return {str(x) for column in columns for x in ([row[column]] if isinstance(row[column], str) else row[column])}


def joined(row: Row, columns: str | Sequence[str]) -> str:
    """Join the texts of one or several columns by a space; an empty text becomes a full stop."""
    texts = [str(row[c]) for c in ([columns] if isinstance(columns, str) else columns) if row[c] is not None]
    return " ".join(text for text in texts if text).strip() or "."


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a parquet, jsonl, csv or tsv file.

    Raises:
        FileNotFoundError: If there is no such file, with the closest names in its folder.
    """
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=3, cutoff=0.3)
        raise FileNotFoundError(f"there is no {path}" + (f"; the folder has {', '.join(near)}." if near else "."))
    check_name(path.suffix, FORMATS, f"format of {path}:")
    found: list[dict[str, Any]] = read_file(path).to_list()
    return found


def _read_documentation(limit: int | None) -> dict[str, Part]:
    import documentation

    parts = documentation.split(documentation.load(limit or 12_000))
    return {
        split: Collection(
            {entry.id: entry.query for entry in part},
            {entry.id: entry.document for entry in part},
            read_qrels(documentation.qrels(part, part)),
        )
        for split, part in parts.items()
    }


_LOADED: dict[tuple[str, Path | None, int | None], Data] = {}


def load_data(record: Record, folder: Path | None, limit: int | None = None) -> Data:
    """Return a record's data, read once in a process."""
    key = (record.name, folder, limit)
    if key not in _LOADED or _LOADED[key].record != record:
        _LOADED[key] = Data(record, folder, limit)
    return _LOADED[key]
