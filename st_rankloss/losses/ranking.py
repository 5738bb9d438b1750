"""The loss for the sentence-transformers trainers: any relevance × any objective × any encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from st_rankloss._host import (
    cos_sim,
    count_rows,
    dot_score,
    embed,
    expects_one_vector,
    similarity_fct_name,
    similarity_of,
)
from st_rankloss._models import EMBEDDERS, embeds_tokens, scores_pairs
from st_rankloss.functional.checks import check_at_least, check_finite
from st_rankloss.losses.base import Batch, GradedLoss, Pairing, uncompiled
from st_rankloss.losses.blocks import BlockwiseSums, sum_over_blocks
from st_rankloss.losses.comparisons import MAXSIMS, ByFunction, SimilarityFn, compare_by
from st_rankloss.losses.gathering import Shares
from st_rankloss.losses.mixing import Mixing, Sides, as_mixings
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.tokens import concatenate, pack_tokens
from st_rankloss.losses.weights import RowsOfWeights, Weights
from st_rankloss.objectives import CWCL, Objective
from st_rankloss.objectives.base import nested
from st_rankloss.relevance import Relevance
from st_rankloss.relevance.matrix import RelevanceMatrix
from st_rankloss.weighting import Weighting


class RankingOptions(TypedDict, total=False):
    """Settings that all losses share; see `RankingLoss`."""

    similarity_fct: SimilarityFn | None
    symmetric: bool
    block_size: int | None
    no_relevant: str
    check_embeddings: bool | None
    gather_across_devices: bool
    mixup: Mixing | Sequence[Mixing] | None
    weighting: Weighting | None


class RankingLoss(GradedLoss):
    """Make the order of similarities match the order of relevance, as a ranking objective measures it.

    The first input column holds queries, the others documents; every query of the batch ranks every document
    of the batch. With one column, every sample is a query and ranks all the others. Similarities and relevance are
    computed for one block of queries at a time: memory O(block · batch + batch · dimensions). An objective that reads
    the whole batch, such as `OverPairs`, gets it at once, from all processes if gathered: O(batch²). Columns of
    documents share a forward pass if they can, as in the losses of sentence-transformers.

    Token embeddings of a MultiVectorEncoder are compared by MaxSim, also in blocks. Time: one matrix product of all
    tokens; memory: the maxima of a block, O(block · batch · query tokens).

    Queries may have weights, which `RankingCollator` reads: the loss is then their weighted mean. A weight of 0 leaves
    a query out of the mean (its documents remain, for the others), 2 counts it twice. Documents may have weights in the
    list of their own query: 0 leaves one out of the list, 2 counts it as two copies, and only the ratios of a list's
    weights matter; documents of other queries weigh 1. With one column, a document has its weight in all lists. Where
    an objective makes one list of the whole batch, such as `OverPairs`, the weight of a query multiplies those of its
    documents.

    Args:
        model: The SentenceTransformer, SparseEncoder or MultiVectorEncoder to train.
        objective: An `Objective`, a mixture such as ``ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()``, or any
            function of (similarity, relevance) that returns one loss per query. None means `ApproxNDCG`, as in
            `ANDCGLoss`.
        relevance: How to read the labels: a `Relevance`, or any function of (query_labels, document_labels)
            that returns ``(Q, D)``. None chooses by the table below.
        similarity_fct: Similarity of query and document embeddings, ``(Q, D)``; temperatures use its units. For a
            MultiVectorEncoder, a scoring function of sentence-transformers such as ``colbert_scores`` or
            ``XTRScores()``. None means the cosine; the dot product for a SparseEncoder; and for a MultiVectorEncoder
            the mean MaxSim, ``mean_colbert_scores``: MaxSim per query token, which orders documents as MaxSim does.
        symmetric: Also rank the queries for each document, as is usual for images and captions; the loss is the mean of
            both directions.
        block_size: Queries processed at once, at least 1; None chooses by batch size. It changes neither value
            nor gradient.
        no_relevant: How to treat a query without relevant documents: ``"skip"`` leaves it out of the
            mean, ``"zero"`` counts it with a loss of 0, ``"error"`` raises (and synchronises the device).
        check_embeddings: Raise on NaN or infinite embeddings. None checks only on a CPU, where the cost is negligible;
            True also checks on a GPU, which synchronises the device.
        gather_across_devices: Rank each process's queries against the documents of all processes; gradients match those
            of one process with the whole batch. Start training with ``torchrun --nproc_per_node=8``.
        mixup: Also rank mixtures of embeddings: a strategy of `st_rankloss.losses.mixing`, or several in order, such as
            ``EmbeddingMixup()`` or ``(HardNegativeMixup(), QueryNegativeMixup())``; not for a MultiVectorEncoder.
        weighting: Weights of the training data's rows that change while training, see `st_rankloss.weighting`; needs
            `RankingTrainer`.

    Raises:
        TypeError: If ``model`` is not supported, or ``objective`` or ``relevance`` is not callable.
        ValueError: If ``block_size`` is below 1, ``no_relevant`` is unknown, ``objective`` cannot use ``mixup`` or
            ``symmetric``, ``weighting`` cannot learn from the model or objective, or ``similarity_fct`` cannot compare
            the model's embeddings or the mixtures. In `forward`, before the model runs, if labels are missing or do not
            fit the relevance, or ``relevance=None`` is ambiguous; after it, if embeddings of queries and documents
            differ in size, unless ``similarity_fct`` is your own.

    Inputs:
        +-------------------------------+-----------------------------------+---------------------------+
        | Inputs                        | Labels                            | relevance                 |
        +===============================+===================================+===========================+
        | (query, document)             | none                              | Pairs()                   |
        | (query, document, negatives)  | none                              | Pairs()                   |
        | (text, text)                  | score, float                      | Pairs()                   |
        | (query, document_1, ..., _K)  | K grades                          | Lists()                   |
        | (query, [documents]) ¹        | [grades] or none                  | Lists()                   |
        | text                          | class, int                        | Classes()                 |
        | text                          | number, float                     | Numeric()                 |
        | text                          | set of strings ¹                  | MultiLabel()              |
        | text                          | multi-hot                         | MultiLabel(), passed      |
        | text                          | [coarse, fine]                    | Hierarchy(), passed       |
        | text                          | several numbers, or a vector      | Numeric() or Vectors()    |
        | (query, document[, ...])      | a vector for each column          | Vectors(), passed         |
        | views of text or image ²      | none, or any label above of text  | Views()                   |
        | (image, caption) and the like | any of the labels above           | passed                    |
        | any with ids ¹                | judgements by id                  | Qrels(qrels), passed      |
        +-------------------------------+-----------------------------------+---------------------------+

        ¹ through `RankingCollator`, which `RankingTrainer` uses by default. ² through `ViewsCollator`.

    Relations:
        - `ANDCGLoss` is this loss with the `ApproxNDCG` objective.
        - MultipleNegativesRankingLoss is this loss with `SoftmaxCrossEntropy` and Pairs(), as are the losses of that
          name for sparse and, with ``similarity_fct=colbert_scores``, multi-vector encoders.
        - `CrossEncoderRankingLoss` is this loss for a CrossEncoder.

    Example:
        ::

            objective = ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()
            loss = RankingLoss(model, objective=objective, relevance=relevance.Classes())
            SentenceTransformerTrainer(model=model, train_dataset=dataset, loss=loss).train()

    Source: Gu (2021), "Representation Learning by Ranking across multiple tasks", arXiv 2103.15093, for ranking every
    sample of a batch against all others; gains, temperature and label similarities are ours.
    """

    def __init__(
        self,
        model: Any,
        *,
        objective: Objective | Callable[[Tensor, Tensor], Tensor] | None = None,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        similarity_fct: SimilarityFn | None = None,
        symmetric: bool = False,
        block_size: int | None = None,
        no_relevant: str = "skip",
        check_embeddings: bool | None = None,
        gather_across_devices: bool = False,
        mixup: Mixing | Sequence[Mixing] | None = None,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__(
            model,
            objective=objective,
            relevance=relevance,
            kinds=EMBEDDERS,
            remedy="train a CrossEncoder with CrossEncoderRankingLoss" if scores_pairs(model) else "",
            no_relevant=no_relevant,
            gather_across_devices=gather_across_devices,
            weighting=weighting,
        )
        check_at_least(block_size, 1, "block_size")
        mixings = as_mixings(mixup)
        _check_own_documents(self.objective, mixings, symmetric=symmetric)
        if mixings:
            _check_mixed(self.objective)
            if embeds_tokens(model):
                raise ValueError("mixup mixes one vector per document, got a model that embeds tokens: leave it out.")
        self.similarity_fct = similarity_of(model) if similarity_fct is None else similarity_fct
        _check_similarity(self.similarity_fct, tokens=embeds_tokens(model))
        for mixing in mixings:
            mixing.check_similarity(self.similarity_fct)
        self.symmetric = symmetric
        self.block_size = block_size
        self.check_embeddings = check_embeddings
        self.mixup = mixings

    def forward(
        self,
        sentence_features: Iterable[Mapping[str, Any]],
        labels: Tensor | Mapping[str, Any] | None = None,
    ) -> Tensor | LossParts:
        """Compute the loss of a batch.

        Args:
            sentence_features: The model's inputs, one mapping per column.
            labels: The label tensor, or the mapping from `RankingCollator`: ``label``, ``list_sizes``, ``query_ids``,
                ``document_ids``, ``row_weights``, ``query_weights``, ``document_weights``.

        Returns:
            The loss, a scalar; for a mixture its weighted terms by name, which the trainer sums and logs.
        """
        features = list(sentence_features)
        pairing = self._paired([count_rows(column) for column in features], labels)
        columns = embed(self.model, features)
        return self._compute([x if mask is None else pack_tokens(x, mask) for x, mask in columns], pairing)

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | Mapping[str, Any] | None = None
    ) -> Tensor | LossParts:
        """Compute the loss from the columns' embeddings; see `forward`.

        Args:
            embeddings: One tensor per column, shape ``(rows, dimensions)``; for token embeddings as `pack_tokens`
                returns them.
            labels: As in `forward`.

        Returns:
            As in `forward`.
        """
        return self._compute(embeddings, self._paired([len(column) for column in embeddings], labels))

    @uncompiled
    def _paired(self, sizes: list[int], labels: Tensor | Mapping[str, Any] | None) -> Pairing:
        if embeds_tokens(self.model) and expects_one_vector(self):
            raise ValueError(
                f"{type(self).__name__} for a MultiVectorEncoder does not work in MatryoshkaLoss, Matryoshka2dLoss or "
                "AdaptiveLayerLoss, which read one vector per input: pass it to the trainer without them."
            )
        for mixing in self.mixup:
            mixing.check_columns(sizes, lists=isinstance(labels, Mapping) and "list_sizes" in labels)
        return self._pair(sizes, labels, symmetric=self.symmetric, mixed=bool(self.mixup))

    @uncompiled
    def _compute(self, embeddings: list[Tensor], pairing: Pairing) -> Tensor | LossParts:
        if self.check_embeddings or (self.check_embeddings is None and embeddings[0].device.type == "cpu"):
            for column in embeddings:
                check_finite(
                    column.detach().to("cpu"),
                    "embeddings",
                    "The learning rate may be too high, or float16 may have overflowed: lower it, warm up, or "
                    "train in bf16.",
                )
        self._check_dimensions(embeddings)
        pairing = pairing.to(embeddings[0].device)
        relevance, of_queries, of_documents, shares, weights, _ = pairing
        whole = shares.gather(embeddings)
        if not self.objective.separable:  # every process computes the loss of all queries
            embeddings, shares = whole, Shares([shares.sizes])
        alone = len(whole) == 1
        documents = whole[0] if alone else concatenate(whole[1:])

        matrix = RelevanceMatrix(relevance, of_queries, of_documents, shares.first(0), alone=alone)
        by_query = not self.objective.separable and self.objective.weighs
        in_lists = weights.in_lists(shares.first(0), by_query=by_query)
        directions = [self._sum(embeddings[0], documents, matrix, weights.queries, whole[0], in_lists)]
        if self.symmetric:
            start = 0  # of the column among the documents
            for place, size in enumerate(shares.sizes[1:], start=1):
                own = start + shares.first(place)
                backwards = RelevanceMatrix(relevance, of_documents, of_queries, own, backwards=True)
                in_lists = Weights(weights.rankers).in_lists(own, by_query=by_query)
                directions.append(
                    self._sum(embeddings[place], whole[0], backwards, weights.rankers, whole[place], in_lists, start)
                )
                start += size
        queries, documents = embeddings[0].detach(), documents.detach()
        comparison = compare_by(self.similarity_fct, tokens=queries.dim() == 3)

        def compare(rows: slice) -> Tensor:
            own, all_documents = comparison.prepare(queries[rows]), comparison.prepare(documents)
            return comparison.block(own, all_documents, backwards=False, with_grad=False).similarity

        vectors = self._vectors(queries) if queries.dim() == 2 else None
        return self._mean(
            directions,
            pairing,
            shares,
            lambda total, learnable: Batch(
                compare, matrix, len(queries), vectors, total, learnable, directions[0].losses
            ),
        )

    def _vectors(self, queries: Tensor) -> Tensor:
        """Return what a weighting and diagnostics see of the embeddings of queries."""
        return queries

    def _check_dimensions(self, embeddings: list[Tensor]) -> None:
        """Raise ValueError if embeddings that are compared or concatenated differ in size."""
        sizes = [column.shape[-1] - (column.dim() == 3) for column in embeddings]
        free = isinstance(compare_by(self.similarity_fct), ByFunction)
        compared = sizes[1:] if free else sizes
        if len(set(compared)) > 1:
            raise ValueError(
                f"queries and documents must have embeddings of one size, got {sizes} dimensions by column: project "
                "one of them with a Dense module in the model, or pass a similarity_fct that compares them."
            )

    def _sum(
        self,
        queries: Tensor,
        documents: Tensor,
        relevance_of: RelevanceMatrix,
        weights: Tensor | None,
        all_queries: Tensor,
        weights_of: RowsOfWeights | None,
        start: int = 0,
    ) -> BlockwiseSums:
        first = relevance_of.first  # among the queries of all columns, of which all_queries begin at start
        own = None if weights is None else weights[first : first + len(queries)]
        sides = Sides(queries, documents, relevance_of, all_queries, first - start, own, weights_of)
        if self.mixup and torch.is_grad_enabled():
            sides = self._mix(sides)
        return sum_over_blocks(
            sides.queries,
            sides.documents,
            sides.relevance_of,
            self.objective,
            self.similarity_fct,
            self.block_size,
            sides.weights,
            sides.weights_of,
            backwards=relevance_of.backwards,
            own=sides.own,
        )

    def _mix(self, sides: Sides) -> Sides:
        """Apply the strategies to embeddings as the similarity compares them, so that norms do not weight mixtures."""
        with torch.autocast(sides.queries.device.type, enabled=False):
            queries, documents, all_queries = map(
                compare_by(self.similarity_fct).prepare, (sides.queries, sides.documents, sides.all_queries)
            )
            sides = sides._replace(queries=queries, documents=documents, all_queries=all_queries)
            for mixing in self.mixup:
                sides = mixing(sides)
        return sides

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card."""
        return {
            **super().get_config_dict(),
            "similarity_fct": similarity_fct_name(self.similarity_fct),
            "symmetric": self.symmetric,
            **({"mixup": ", ".join(map(repr, self.mixup))} if self.mixup else {}),
        }


def _check_similarity(similarity_fct: SimilarityFn, *, tokens: bool) -> None:
    """Raise TypeError or ValueError for a similarity that cannot compare the embeddings."""
    if not callable(similarity_fct):
        raise TypeError(f"similarity_fct must be a function of two embeddings, got {similarity_fct!r}.")
    if tokens and similarity_fct in (cos_sim, dot_score):
        raise ValueError(
            "similarity_fct must compare token embeddings, as mean_colbert_scores and colbert_scores of "
            f"sentence_transformers.multi_vector_encoder.scoring do, got {similarity_fct.__name__}."
        )
    if not tokens and similarity_fct in MAXSIMS:
        raise ValueError(
            f"similarity_fct must compare one vector per input, as cos_sim does, got {similarity_fct.__name__}."
        )


def _check_own_documents(objective: Objective, mixings: Sequence[Mixing], *, symmetric: bool) -> None:
    """Raise ValueError if CWCL, which compares queries with their own documents, would get queries without one."""
    if not any(isinstance(each, CWCL) for each in nested(objective)):
        return
    if symmetric:
        raise ValueError("CWCL compares in both directions itself, got symmetric=True: leave it out.")
    if any(mixing.of_queries for mixing in mixings):
        raise ValueError("CWCL gives every query a document of its own, which a mixed query has not: leave mixup out.")


def _check_mixed(objective: Objective) -> None:
    """Raise ValueError if an objective accepts one or two columns, but not with mixed documents."""
    for sizes in ([1], [1, 1]):
        try:
            objective.check_columns(sizes)
        except ValueError:
            continue
        objective.check_columns(sizes, mixed=True)
