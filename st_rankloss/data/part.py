"""One part of a task's data, such as its training part: the rows, and judgements by id where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, IterableDataset

from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import Judgements

COLUMNS = {
    "retrieval": ("query", "documents", "labels", "query_id", "document_ids"),
    "sts": ("sentence1", "sentence2", "label"),
    "classification": ("text", "label"),
    "hierarchy": ("text", "label"),
    "multi_label": ("text", "label"),
    "regression": ("text", "label"),
    "self_supervised": ("text",),
    "image_text": ("image", "caption"),
}
"""Tasks, named as in `st_rankloss.recipes`, and the columns of their rows.

Images take the place of texts under the name ``image``; ``image_text`` may have a ``label``; a ``weight``, a
``query_weight`` and ``document_weights`` may be added.
"""

PARTS = ("train", "dev", "test")
"""The names of parts."""


@dataclass(frozen=True)
class Part:
    """Rows in the columns that losses read, and what an evaluator needs.

    Args:
        task: One of `COLUMNS`.
        dataset: The rows, for ``train_dataset=``; a `datasets.IterableDataset` if streaming.
        queries: Query id to query, for retrieval.
        corpus: Document id to document, for retrieval.
        qrels: Grades by query id and document id, for retrieval.
        notes: What the reader left out, converted or assumed, in plain words.
        source: Where the rows come from, for messages.
        labels: The task of the labels of ``image_text``, such as "hierarchy"; None finds out.

    Raises:
        ValueError: If the task is unknown.

    Example:
        >>> part = Part("classification", Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]}))
        >>> part.task, len(part), part.input_columns
        ('classification', 2, ['text'])
    """

    task: str
    dataset: Dataset | IterableDataset
    queries: Mapping[str, Any] = field(default_factory=dict, repr=False)
    corpus: Mapping[str, Any] = field(default_factory=dict, repr=False)
    qrels: Judgements = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    source: str = ""
    labels: str | None = None

    def __post_init__(self) -> None:
        check_choice(self.task, tuple(COLUMNS), "task")

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            raise TypeError("a streaming part has no length: read it without streaming=True.")
        return len(self.dataset)

    @property
    def input_columns(self) -> list[str]:
        """The columns that the model embeds: neither labels, ids nor weights."""
        return [name for name in self.dataset.column_names or [] if name in _INPUTS]

    def texts(self) -> Iterator[str]:
        """Yield the texts of all rows, and of documents that no row has, in order, with repetitions."""
        for row in self.dataset.select_columns(self.input_columns):
            for value in row.values():
                yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))
        yield from (document for document in self.corpus.values() if isinstance(document, str))


def notes_of(parts: Iterable[Part]) -> tuple[str, ...]:
    """Return what the readers of parts have left out, converted or assumed, each note once."""
    return tuple(dict.fromkeys(note for part in parts for note in part.notes))


_INPUTS = ("query", "documents", "sentence1", "sentence2", "text", "image", "caption")
