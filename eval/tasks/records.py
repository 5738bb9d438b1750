"""Records: what a data set consists of, where its files are, and how much is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from eval.names import check_name
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric, Relevance

RECORDS = Path(__file__).with_name("datasets.yaml")
SPLITS = ("train", "dev", "test")
LABELS = ("classes", "sets", "numbers")
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairs": (("first", "second", "score"), ()),
    "retrieval": (("query_id", "document_id", "document", "grade"), ("query", "paper_id")),
    "samples": (("input", "labels"), ("caption",)),
    "texts": (("input",), ()),
}
"""Required and optional columns of each kind of record."""


@dataclass(frozen=True)
class Record:
    """One data set: what is where, and how much is trained on it.

    Args:
        name: Name of the task.
        kind: ``pairs``, ``retrieval``, ``samples`` or ``texts``.
        files: A path per part, below the data folder, or one with ``{split}``; a list of files is read as one.
        columns: Names of the columns by what they contain.
        metrics: Metrics whose mean losses are tuned on and ranked by.
        labels: For samples: ``classes`` (several columns are a path, coarse to fine), ``sets`` or ``numbers``.
        modality: ``text`` or ``image``.
        drop: Values by column; rows with such a value are left out.
        rerank: Rank each query's judged documents instead of the whole corpus.
        level: Lowest grade of a document that MRR and recall count as relevant.
        relevant_from: Lowest score of a pair that AUC counts as relevant.
        trained_on: Another record whose model is evaluated; this one has no training part.
        scored_on: Another record whose dev and test parts are used; this one has none.
        batch_size: Rows per training step.
        steps: Number of training steps.
        rate: Factor of the encoder's grid of learning rates, above 0.
        documents: Documents per query in a training row, at least 1; one of the best comes first.
        licence: Licence of the data.
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
        check_name(self.kind, COLUMNS, f"kind of the record {self.name!r}")
        if self.kind == "samples":
            check_name(self.labels, LABELS, f"labels of the record {self.name!r}")
        for name, least in (("batch_size", 2), ("steps", 1), ("documents", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{self.name}: {name} must be an integer of at least {least}, got {value!r}.")
        if not self.metrics:
            raise ValueError(f"{self.name}: metrics must name at least one metric, got {self.metrics!r}.")

    def check_columns(self) -> None:
        """Raise a ValueError unless ``columns`` names every required column and no unknown one."""
        required, optional = COLUMNS[self.kind]
        for name in self.columns:
            check_name(name, (*required, *optional), f"key in columns of the record {self.name!r}")
        if self.kind == "retrieval" and not self.trained_on:
            required = (*required, "query")
        missing = [name for name in required if name not in self.columns]
        if missing:
            raise ValueError(f"{self.name}: columns lack {', '.join(missing)}, got {list(self.columns)}: add it.")

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
        """The columns of the labels."""
        given = self.columns.get("labels", [])
        return [given] if isinstance(given, str) else list(given)

    @property
    def relevance(self) -> Relevance:
        """How relevant samples are to each other by their labels."""
        if self.labels == "sets":
            return MultiLabel("jaccard")
        if self.labels == "numbers":
            return Numeric()
        return Hierarchy() if len(self.label_columns) > 1 else Classes()


def load_records(paths: Sequence[Path] = ()) -> dict[str, Record]:
    """Read the records of ``datasets.yaml`` and of a user's own files, by name; later ones replace earlier ones.

    Raises:
        ValueError: If a record has an unknown field or lacks one.
    """
    known = [f.name for f in fields(Record)]
    records: dict[str, Record] = {}
    for path in (RECORDS, *paths):
        for name, content in (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).items():
            for key in content:
                check_name(key, known, f"field of the record {name!r} in {path}")
            missing = [key for key in ("kind", "files", "columns", "metrics") if key not in content]
            if missing:
                raise ValueError(f"the record {name!r} in {path} lacks {', '.join(missing)}.")
            records[name] = Record(name=name, **content)
            if records[name].files:
                records[name].check_columns()
    for record in records.values():
        for other in filter(None, (record.trained_on, record.scored_on)):
            check_name(other, records, f"record that {record.name} is trained or scored on")
    return records
