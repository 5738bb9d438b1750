"""The collator for embedding models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from st_rankloss._host import TasksOfModel, preprocess_column
from st_rankloss.collators.base import GradedCollator
from st_rankloss.collators.inputs import Row, input_columns, naming_mixed


@dataclass
class RankingCollator(GradedCollator, TasksOfModel, SentenceTransformerDataCollator):
    """The collator of sentence-transformers, which also reads graded labels and lists of documents.

    In addition to everything that the parent accepts, a dataset may have

    - a column of lists of documents of any length: (query, [documents]) + [grades], as from
      ``mine_hard_negatives(output_format="labeled-list")``;
    - string classes, sets of strings or class ids (multi-label), paths of strings (coarse to fine), lists of numbers;
    - rows without a label (None, NaN, an empty string; -1 as a class), which are unjudged;
    - ids for each input column, named after it plus ``_id`` or ``_ids`` (``query`` and
      ``query_id``, ``documents`` and ``document_ids``), which `Qrels` looks up and models never see;
    - inputs of any modality that the model reads, also as dicts such as ``{"text": ..., "image": ...}`` and as chats;
      keys without a value, which Arrow adds where rows have different ones, do not count;
    - weights of at least 0, which models never see either: ``weight``, of the row, and one named after an input column
      plus ``_weight`` or ``_weights`` (``query_weight``, ``document_weights``), a number per input or per row.

    `RankingTrainer` makes or configures the collator, which then reads labels for the relevance of each dataset's loss
    and checks them before they leave the CPU. A loss of sentence-transformers gets the output of its own collator (the
    best document of each list, the first if tied). Without `RankingTrainer`, set ``label_kind``.

    Losses get ``label`` and its ``kind``, ``label_codes``, ``list_sizes``, ``query_ids``, ``document_ids``,
    ``row_weights``, ``query_weights`` and ``document_weights`` by name, but those of sentence-transformers no weights;
    undeclared numbers, one per row, stay the plain tensor that other losses read.

    Args:
        label_kind: The kind of the label column, see `st_rankloss.labels`: ``"class"``, ``"multi_label"``, ``"path"``,
            ``"grades"``, ``"numbers"``, or ``"auto"``: the kind that the loss's relevance reads; if unknown, strings
            are classes, lists of strings are label sets, lists of numbers in rows with a list of documents are grades,
            and anything else is kept as numbers.
        label_names: All label names of a multi-label set, in the order of the multi-hot columns; None uses those of
            each batch. Required for `MultiLabel` with ``idf``.
        readers: The reader of each dataset's batches, by dataset name or None; set by `RankingTrainer`.

    Raises:
        ValueError: If ``label_kind`` is unknown. On a batch: if labels, ids or inputs are invalid; the error names the
            column, the row, the rule and the remedy.
    """

    def preprocess_columns(self, rows: list[Row]) -> dict[str, Any]:
        """Return the batch that the collator of sentence-transformers makes of columns of single inputs.

        Args:
            rows: The rows of a batch.

        Returns:
            The batch.

        Raises:
            ValueError: If a column mixes modalities that the model cannot embed together.
        """
        with naming_mixed({name: [row[name] for row in rows] for name in input_columns(rows[0])}):
            return super().preprocess_columns(rows)

    def add_lists(self, batch: dict[str, Any], name: str, lists: list[list[Any]]) -> None:
        """Preprocess the column of lists as one flat column, and add its features.

        Args:
            batch: The batch of the other columns; changed in place.
            name: Name of the column of lists.
            lists: The documents of each row.

        Raises:
            ValueError: If the documents mix modalities that the model cannot embed together.
        """
        flat = [document for row in lists for document in row]
        with naming_mixed({name: flat}):
            batch |= preprocess_column(self, batch, name, flat)
