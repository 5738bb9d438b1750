"""Batches of texts that the model considers similar, as hard negatives for one another."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from st_rankloss._extras import require
from st_rankloss._models import EMBEDDERS, check_encoder
from st_rankloss.evaluation import Shards
from st_rankloss.evaluation.embedding import Embedder
from st_rankloss.evaluation.shards import StoredEmbeddings, as_shards, name_of
from st_rankloss.functional.checks import check_at_least
from st_rankloss.judgements import check_inputs
from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, build, factory
from st_rankloss.samplers.vectors import Vectors, one_vector_each, unit

_ROWS_PER_CLUSTER = 256  # that k-means reads, faiss's own default

logger = logging.getLogger(__name__)


@factory
def neighbours(
    model: Any,
    column: str | None = None,
    *,
    clusters_per_batch: int = 4,
    encode_batch_size: int = 128,
    embeddings: Shards | str | os.PathLike[str] | None = None,
) -> MakeSampler:
    """Batches of a few clusters of the current embeddings, computed again at the start of each epoch.

    The current model encodes the column, faiss k-means clusters it, and the clusters are concatenated in random order
    and cut into batches, so that only clusters at a cut (or larger than a batch) are divided. A last row that would be
    alone in its batch sits out. With several processes, all use the clusters of the first. A resumed epoch is clustered
    again with the current model. Evaluation uses batches of any rows, so that losses are comparable between epochs.

    With ``embeddings``, a folder keeps the vectors of the model before its training, and all epochs cluster these, each
    from other centres: one encoding pass in all, which a kill does not lose, and no memory for vectors but those that
    k-means reads. A complete folder may be of any model, such as a stronger one; another name than the model's is
    logged. Clusters of a model that does not change are those of Hofstätter et al. (2021), "Efficiently Teaching an
    Effective Dense Retriever with Balanced Topic Aware Sampling".

    Sparse vectors are clustered in a random projection to 256 dimensions, and a MultiVectorEncoder's inputs by the mean
    of their token vectors: an approximation of their similarity.

    Time: one encoding pass per epoch, and k-means: 20 iterations of O(rows · clusters · dimensions), of at most 256
    rows per cluster. Memory: all vectors, or with ``embeddings`` 256 per cluster.

    Args:
        model: The model in training: a SentenceTransformer, a SparseEncoder or a MultiVectorEncoder.
        column: The column to encode; None means the first of single inputs.
        clusters_per_batch: Mean number of clusters per batch, at least 1: the fewer, the harder.
        encode_batch_size: Rows encoded at once, at least 1.
        embeddings: Where the vectors are kept, `Shards` or the path of a folder: for texts, which a SentenceTransformer
            encodes as documents. A folder is for one column of one dataset; those of evaluation and mining
            are others. None encodes again for each epoch.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        TypeError: If the model is another kind of sentence-transformers model, such as a CrossEncoder.
        ValueError: If a number is below 1. When training starts: if the column is missing, a row does not hold exactly
            one input, there are too few rows, or the folder holds the vectors of something else, see `Shards`.
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
    return _Neighbours(model, column, clusters_per_batch, encode_batch_size, as_shards(embeddings))


@dataclass
class _Neighbours:
    """Builds the sampler. Its pickle omits the model, since the trainer saves its arguments with each checkpoint."""

    model: Any
    column: str | None
    clusters_per_batch: int
    encode_batch_size: int
    embeddings: Shards | None

    def __call__(self, *args: Any, **kwargs: Any) -> PlannedBatchSampler:
        if self.model is None:
            raise ValueError(
                "batch_sampler needs the model in training, which saved arguments do not include: pass "
                "samplers.neighbours(model) again."
            )
        return build(NeighboursSampler, *args, settings=self, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        stored = self.embeddings and replace(self.embeddings, pool=None)
        return self.__dict__ | {"model": None, "embeddings": stored}

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
        self.stored: StoredEmbeddings | None = None
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
        blocks = self._current(seed) if self.settings.embeddings is None else self._stored(self.settings.embeddings)
        clusters = min(self.settings.clusters_per_batch * self.batches, len(self.dataset))
        return _assign(self.faiss, blocks, len(self.dataset), clusters, seed)

    def _current(self, seed: int) -> Callable[[], Iterator[Vectors]]:
        """Encode the column with the current model; return a function that yields the vectors in blocks."""
        inputs = self.read(self.column, decode=True)
        with _evaluating(self.settings.model) as model:
            check_inputs(enumerate(inputs), self.column, "row", text_only=list(model.modalities) == ["text"])
            vectors = one_vector_each(model, inputs, self.settings.encode_batch_size, seed)
        return lambda: iter([vectors])

    def _stored(self, shards: Shards) -> Callable[[], Iterator[Vectors]]:
        """Encode what the folder lacks, once; return a function that reads the vectors in blocks."""
        embedder = Embedder(self.settings.model, batch_size=self.settings.encode_batch_size)
        if self.stored is None:
            with _evaluating(self.settings.model):
                self.stored = shards.embed(embedder, _FromTheLast(self.dataset, self.column), of_any_model=True)
            if (own := name_of(self.settings.model)) != self.stored.manifest.model:
                logger.warning("%s holds embeddings of %s, not of %s.", shards.path, self.stored.manifest.model, own)
        chunks = self.stored.chunks
        return lambda: (unit(block.float().numpy()) for block in chunks(embedder.chunk))


@contextmanager
def _evaluating(model: Any) -> Iterator[Any]:
    """Put a model in evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(training)


class _FromTheLast(Mapping[str, str]):
    """A column by ids whose descending order, that of `Shards`, is the order of the rows."""

    def __init__(self, dataset: Any, column: str) -> None:
        self.table, self.column = dataset.select_columns(column).with_format(None), column

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[str]:
        return (f"{place:012}" for place in range(len(self)))

    def __getitem__(self, row_id: str) -> str:
        row = len(self) - 1 - int(row_id)
        if not isinstance(text := self.table[row][self.column], str):
            raise ValueError(
                f"column {self.column!r} must hold texts, got {text!r} in row {row}: leave embeddings out."
            )
        return text


def _assign(faiss: Any, blocks: Callable[[], Iterator[Vectors]], rows: int, clusters: int, seed: int) -> Indices:
    """Cluster vectors that arrive in blocks, twice: some for k-means, then all; return the cluster of each row."""
    most = min(rows, _ROWS_PER_CLUSTER * clusters)
    chosen = np.zeros(rows, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(rows)[:most]] = True
    start, sample = 0, []
    for block in blocks():
        read = chosen[start : start + len(block)]
        sample.append(block if read.all() else block[read])
        start += len(block)
    vectors = sample[0] if len(sample) == 1 else np.concatenate(sample)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=20,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_ROWS_PER_CLUSTER,
        spherical=True,
    )
    kmeans.train(vectors)
    return np.concatenate([kmeans.index.search(block, 1)[1][:, 0] for block in blocks()]).astype(np.int64)
