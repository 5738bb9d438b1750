"""Weights from the labels of a row's nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.settings import Count
from st_rankloss.labels import NO_CODE
from st_rankloss.weighting.base import Seen, Weighting
from st_rankloss.weighting.rows import RowMeans, several_processes
from st_rankloss.weighting.settings import Fraction

_ENTRIES_AT_ONCE = 2**22
"""Similarities, or comparisons of neighbours, computed at once."""


@dataclass(eq=False)
class NeighbourAgreement(Weighting):
    """Leave out rows whose class is rare among their nearest neighbours, as a wrong label is.

    After each epoch, the neighbours of a row are the rows of the most similar vectors, as the model embedded them in
    training: nothing is embedded again. The row's agreement is the number of neighbours of its own class, over that of
    their most frequent class; below ``least``, the row weighs 0 in the next epoch. Where all labels are correct, few
    rows are left out. Rows that were not seen yet weigh 1, rows without a class never take part. For classes in one
    column, and models of one vector per input. Time per epoch: one matrix product of all vectors; memory: the vectors.

    Args:
        k: Number of neighbours, at least 1.
        least: The least agreement, in [0, 1].

    Raises:
        TypeError: If ``least`` is not a number.
        ValueError: If a setting is out of its range; in a loss, for another kind of model or labels.

    Example:
        ::

            loss = RankingLoss(model, relevance=relevance.Classes(), weighting=NeighbourAgreement())
            RankingTrainer(model=model, train_dataset=dataset, loss=loss).train()

    Source: Wilson (1972), "Asymptotic Properties of Nearest Neighbor Rules Using Edited Data", leaves out rows that
    their neighbours outvote; Bahri et al. (2020), "Deep k-NN for Noisy Labels", arXiv 2004.12289, does so by the
    embeddings of a trained model. The ratio to the most frequent class, and vectors from training, are ours.
    """

    needs_vectors: ClassVar[bool] = True

    k: Count = 20
    least: Fraction = 0.3

    def prepare(self, rows: int) -> None:
        """Start without any vectors."""
        super().prepare(rows)
        self.labels = torch.full((rows,), NO_CODE)
        self.vectors: RowMeans | None = None

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        super().to(device)
        self.labels = self.labels.to(device, non_blocking=True)
        if self.vectors is not None:
            self.vectors.to(device)

    def check_labels(self, labels: object, columns: int) -> None:
        """Raise ValueError unless there is one class per row, in a batch of one column."""
        if columns != 1 or not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
            raise ValueError(
                "NeighbourAgreement needs one column of inputs with one class per row, got "
                f"{f'{columns} columns' if columns != 1 else 'other labels'}: use LossMixture or SelfPaced."
            )

    def see(self, batch: Seen) -> None:
        """Keep the classes of a batch and its vectors, of which MatryoshkaLoss passes several widths: the widest."""
        assert batch.vectors is not None  # losses check the model
        self._widen(batch.vectors.shape[1])
        self.labels[batch.rows] = batch.labels
        if self.vectors is None or batch.vectors.shape[1] < self._width:
            return
        self.vectors.add(batch.rows, F.normalize(batch.vectors.float(), dim=-1))

    def end_epoch(self) -> None:
        """Compare each row with its neighbours."""
        self._share()
        if self.vectors is not None:
            agreement = agreement_of(self.vectors.close().average, self.labels, self.k)
            self.weights = torch.where(agreement < self.least, 0.0, 1.0)

    @property
    def _width(self) -> int:
        return 0 if self.vectors is None else self.vectors.sums.shape[1]

    def _widen(self, width: int) -> None:
        """Make room for wider vectors, forgetting narrower ones."""
        if width > self._width:
            self.vectors = RowMeans(len(self.weights), shape=(width,), device=self.labels.device)

    def _share(self) -> None:
        """Share the classes, and the width of vectors: a process may have seen no rows."""
        if several_processes():
            dist.all_reduce(self.labels, dist.ReduceOp.MAX)
            width = torch.tensor(self._width, device=self.labels.device)
            dist.all_reduce(width, dist.ReduceOp.MAX)
            self._widen(int(width))

    def state(self) -> dict[str, Tensor]:
        """Return weights, classes and vectors."""
        self._share()
        if self.vectors is None:
            return super().state()
        self.vectors.share()
        return {**super().state(), "labels": self.labels, **self.vectors.state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        super().restore(state)
        if "labels" in state:
            self.labels = state["labels"].to(self.labels.device)
            self.vectors = RowMeans(len(self.weights), shape=state["sums"].shape[1:], device=self.labels.device)
            self.vectors.restore(state)


def agreement_of(vectors: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return how many of each row's neighbours are of its class, over the number of their most frequent class.

    Args:
        vectors: NaN where unknown, ``(N, dimensions)``.
        labels: Classes, -1 where unknown, ``(N,)``.
        k: Number of neighbours, at least 1.

    Returns:
        The agreement, in [0, 1], NaN for unknown rows and those without neighbours, ``(N,)``.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
        >>> agreement_of(vectors, torch.tensor([5, 5, 5, 7]), k=3)
        tensor([1., 1., 1., 0.])
    """
    known = (labels != NO_CODE) & ~vectors.isnan().any(1)
    units = F.normalize(torch.where(known[:, None], vectors, 0), dim=1)
    k = min(k, len(vectors) - 1)
    size = max(1, _ENTRIES_AT_ONCE // max(len(vectors), k * k))
    found = []
    for rows in torch.arange(len(vectors), device=vectors.device).split(size):
        similarity = (units[rows] @ units.T).masked_fill(~known, -torch.inf).scatter(1, rows[:, None], -torch.inf)
        nearest = similarity.topk(k, dim=1)
        counts = nearest.values > -torch.inf
        theirs = labels[nearest.indices]
        own = ((theirs == labels[rows, None]) & counts).sum(1)
        alike = ((theirs[:, :, None] == theirs[:, None]) & counts[:, None] & counts[:, :, None]).sum(2)
        found.append(own / alike.amax(1))
    return torch.where(known, torch.cat(found), torch.nan)
