"""The collator for cross-encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator

from st_rankloss.collators.base import GradedCollator
from st_rankloss.collators.inputs import Row, input_columns

_RESERVED = ("prompt", "task")


@dataclass
class CrossEncoderRankingCollator(GradedCollator, CrossEncoderDataCollator):
    """The collator of sentence-transformers for cross-encoders, which also reads graded labels of any kind.

    It reads labels, ids, weights and missing values as `RankingCollator` does, and gives losses the same tensors by
    name. Inputs stay as they are, because losses for cross-encoders preprocess pairs themselves: a column of single
    inputs is a list, a column of documents a list of lists. A loss of sentence-transformers gets the output of its own
    collator, lists of documents included; a loss of pairs gets the best document of each list.

    `CrossEncoderRankingTrainer` makes or configures the collator.

    Args:
        label_kind: As for `RankingCollator`.
        label_names: As for `RankingCollator`.
        readers: As for `RankingCollator`.

    Raises:
        ValueError: If ``label_kind`` is unknown. On a batch: if prompts or tasks are given per column, or labels, ids
            or inputs are invalid; the error names the column, the row, the rule and the remedy.

    Example:
        >>> collator = CrossEncoderRankingCollator(preprocess_fn=None)
        >>> batch = collator([{"query": "q", "documents": ["a", "b"], "labels": [3, None]}])
        >>> batch["documents"], batch["label"]["label"], batch["label"]["list_sizes"]
        ([['a', 'b']], tensor([[3., nan]]), tensor([2]))
    """

    def __post_init__(self) -> None:
        CrossEncoderDataCollator.__post_init__(self)
        GradedCollator.__post_init__(self)

    def __call__(self, features: list[Row]) -> dict[str, Any]:
        """Turn dataset rows into a batch; see `RankingCollator`.

        Args:
            features: The rows.

        Returns:
            The raw input columns, and ``label``, tensors by name, if there are any.

        Raises:
            ValueError: If there is a prompt or a task for a column.
        """
        if features and "dataset_name" not in features[0]:
            self._check_unnamed()
        return super().__call__(features)

    def preprocess_columns(self, rows: list[Row]) -> dict[str, Any]:
        """Return the batch that the collator of sentence-transformers makes of columns of single inputs.

        Args:
            rows: The rows of a batch.

        Returns:
            The batch.

        Raises:
            ValueError: If a column has a name that the trainer of sentence-transformers takes for its own.
        """
        for name in input_columns(rows[0]):
            if name in _RESERVED:
                raise ValueError(
                    f"an input column of a cross-encoder must not be called {' or '.join(map(repr, _RESERVED))}, "
                    f"because the trainer would drop it, got {name!r}: rename it with dataset.rename_column."
                )
        return super().preprocess_columns(rows)

    def _check_unnamed(self) -> None:
        """Raise ValueError for settings by name, which sentence-transformers ignores for a dataset without a name."""
        for name in ("prompts", "router_mapping"):
            given = getattr(self, name)
            if given and isinstance(given, Mapping):
                remedy = "pass the prompt itself" if name == "prompts" else "pass datasets by name"
                raise ValueError(
                    f"{name} of a cross-encoder must have names of datasets, not of columns, which form pairs, got "
                    f"{list(given)} for a dataset without a name: {remedy}."
                )
