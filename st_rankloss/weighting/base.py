"""The interface of weightings: how much each row of a dataset counts, which may change while training."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from st_rankloss.functional.settings import check_fields
from st_rankloss.weighting.rows import RowMeans


class Seen(NamedTuple):
    """A training batch, as weightings see it after its loss was computed; detached, of this process alone."""

    rows: Tensor
    """The number of each query's row in the dataset, ``(Q,)``."""
    losses: Tensor
    """The loss of each query, NaN where it is undefined, ``(Q,)``."""
    vectors: Tensor | None
    """One vector per query, ``(Q, dimensions)``; None if the model makes none."""
    labels: Any
    """The labels of the queries, as the relevance reads them."""


class Weighting:
    """The weight of each row of the training data in the loss, which may change while training.

    Pass one to a loss as ``weighting=``, and train with `RankingTrainer`, which numbers the rows, ends the epochs, and
    saves what was learned in checkpoints. In a batch of one column, where each row is a query and a document, a row has
    its weight as both; with columns of documents, as a query. Evaluation weighs all rows alike. Weights multiply those
    of the dataset. Nothing waits for the device within an epoch, and processes share what they know at its end.

    Subclasses set ``weights`` in `end_epoch` or `at`, from what they `see`.
    """

    learns_from_losses: ClassVar[bool] = False
    """Whether it needs a loss of its own for each row."""
    needs_vectors: ClassVar[bool] = False
    """Whether it needs one vector for each row."""
    weights: Tensor

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)

    def prepare(self, rows: int) -> None:
        """Start with the same weight for each row of the training data.

        Args:
            rows: Number of rows, at least 1.
        """
        self.weights = torch.ones(rows)

    def check_labels(self, labels: Any, columns: int) -> None:
        """Raise ValueError for labels of queries that it cannot read, before the model runs.

        Args:
            labels: As the relevance reads them.
            columns: Number of input columns.
        """

    def of(self, rows: Tensor) -> Tensor:
        """Return the weights of some rows.

        Args:
            rows: Their numbers, ``(n,)``.

        Returns:
            Weights of at least 0, ``(n,)``.
        """
        if self.weights.device != rows.device:
            self.to(rows.device)
        return self.weights[rows]

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.weights = self.weights.to(device, non_blocking=True)

    def see(self, batch: Seen) -> None:
        """Take note of a batch."""

    def at(self, progress: float) -> None:
        """Take note of the share of training that is done, in [0, 1], before each step."""

    def end_epoch(self) -> None:
        """Take note of the end of an epoch."""

    def state(self) -> dict[str, Tensor]:
        """Return what was learned, the same in all processes, as tensors by name."""
        return {"weights": self.weights}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self.weights = state["weights"].to(self.weights.device)


class OfLosses(Weighting):
    """A weighting by the moving average of each row's loss, over epochs."""

    learns_from_losses = True
    momentum: float
    losses: RowMeans

    def prepare(self, rows: int) -> None:
        """Start without any losses."""
        super().prepare(rows)
        self.losses = RowMeans(rows, self.momentum)

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        super().to(device)
        self.losses.to(device)

    def see(self, batch: Seen) -> None:
        """Add the losses of a batch."""
        self.losses.add(batch.rows, batch.losses)

    def state(self) -> dict[str, Tensor]:
        """Return weights and losses."""
        self.losses.share()
        return {**super().state(), **self.losses.state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        self.losses.restore(state)
