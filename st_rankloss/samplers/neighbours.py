"""Batches of texts that the model considers similar, as hard negatives for one another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from st_rankloss._extras import require
from st_rankloss._host import EMBEDDERS, check_encoder
from st_rankloss.functional.checks import check_at_least
from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, build
from st_rankloss.samplers.vectors import one_vector_each


def neighbours(
    model: Any, column: str | None = None, *, clusters_per_batch: int = 4, encode_batch_size: int = 128
) -> MakeSampler:
    """Batches of a few clusters of the current embeddings, computed again at the start of each epoch.

    The current model encodes the column, faiss k-means clusters it, and the clusters are concatenated in random order
    and cut into batches, so that only clusters at a cut (or larger than a batch) are divided. A last row that would be
    alone in its batch sits out. With several processes, all use the clusters of the first. A resumed epoch is clustered
    again with the current model. Evaluation uses batches of any rows, so that losses are comparable between epochs.

    Sparse vectors are clustered in a random projection to 256 dimensions, and a MultiVectorEncoder's inputs by the mean
    of their token vectors: an approximation of their similarity.

    Time: one encoding pass per epoch, and k-means: 20 iterations of O(rows · clusters · dimensions).

    Args:
        model: The model in training: a SentenceTransformer, a SparseEncoder or a MultiVectorEncoder.
        column: The column to encode; None means the first that is not a label.
        clusters_per_batch: Mean number of clusters per batch, at least 1: the fewer, the harder.
        encode_batch_size: Rows encoded at once, at least 1.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        TypeError: If the model is another kind of sentence-transformers model, such as a CrossEncoder.
        ValueError: If a number is below 1; when training starts: if there is no such column, or too few rows.
        ImportError: When training starts, if faiss is not installed.

    Example:
        ::

            batch_sampler=samplers.neighbours(model, "query", clusters_per_batch=4)
    """
    for name, value in (("clusters_per_batch", clusters_per_batch), ("encode_batch_size", encode_batch_size)):
        if value is None:
            raise ValueError(f"{name} must be an integer of at least 1, got None.")
        check_at_least(value, 1, name)
    check_encoder(model, EMBEDDERS, "samplers.neighbours", "for a CrossEncoder use another batch sampler")
    return _Neighbours(model, column, clusters_per_batch, encode_batch_size)


@dataclass
class _Neighbours:
    """Builds the sampler. Its pickle omits the model, since the trainer saves its arguments with each checkpoint."""

    model: Any
    column: str | None
    clusters_per_batch: int
    encode_batch_size: int

    def __call__(self, *args: Any, **kwargs: Any) -> PlannedBatchSampler:
        if self.model is None:
            raise ValueError(
                "batch_sampler needs the model in training, which saved arguments do not include: pass "
                "samplers.neighbours(model) again."
            )
        return build(NeighboursSampler, *args, settings=self, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": None}

    def __copy__(self) -> _Neighbours:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Neighbours:
        return replace(self)  # with the model in training, not a copy


class NeighboursSampler(PlannedBatchSampler):
    """Cuts a sequence of clusters into batches; see `neighbours`."""

    follows_training = True

    def __init__(self, dataset: Any, batch_size: int, *args: Any, settings: _Neighbours, **kwargs: Any) -> None:
        super().__init__(dataset, batch_size, *args, **kwargs)
        self.settings = settings
        self.faiss = require("faiss", "faiss", purpose="batches of neighbours")
        self.column = self.input_column(settings.column)
        self.batches = self.count(len(dataset))
        if self.batches < 2:
            raise ValueError(f"batch_sampler needs rows for at least two batches of {batch_size}, got {len(dataset)}.")

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Encode, cluster, and cut."""
        cluster = torch.from_numpy(self._cluster(int(random.integers(2**31))))
        if dist.is_available() and dist.is_initialized():
            cluster = cluster.to(self.settings.model.device)
            dist.broadcast(cluster, src=0)
        key = random.permutation(int(cluster.max()) + 1)[cluster.cpu().numpy()]
        rows = np.lexsort((random.random(len(key)), key))
        cuts = np.arange(self.batch_size, len(rows), self.batch_size)
        return np.split(rows, cuts)[: self.batches]

    def _cluster(self, seed: int) -> Indices:
        """Return the cluster number of each row."""
        model, training = self.settings.model, self.settings.model.training
        inputs = self.read(self.column, decode=True)
        embeddings = one_vector_each(model, inputs, self.settings.encode_batch_size, seed)
        model.train(training)
        clusters = min(self.settings.clusters_per_batch * self.batches, len(embeddings))
        kmeans = self.faiss.Kmeans(
            embeddings.shape[1], clusters, niter=20, seed=seed, min_points_per_centroid=1, spherical=True
        )
        kmeans.train(embeddings)
        nearest: Indices = kmeans.index.search(embeddings, 1)[1][:, 0].astype(np.int64)
        return nearest
