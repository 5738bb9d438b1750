"""The trainers, one for each kind of model."""

from __future__ import annotations

from typing import Any

from sentence_transformers import MultiVectorEncoderTrainer, SentenceTransformerTrainer, SparseEncoderTrainer

from st_rankloss._host import StreamingCrossEncoderTrainer, regularizes_documents
from st_rankloss.collators import CrossEncoderRankingCollator, GradedCollator, RankingCollator
from st_rankloss.trainer.graded import GradedTrainer
from st_rankloss.trainer.readers import column_features


class RankingTrainer(GradedTrainer, SentenceTransformerTrainer):
    """A SentenceTransformerTrainer that sets up a `RankingCollator` for the loss of each dataset.

    `SparseEncoderRankingTrainer`, `MultiVectorEncoderRankingTrainer` and `CrossEncoderRankingTrainer` do the same for
    the other kinds of models.

    Required for lists of documents, string labels, ids and views; everything else, including the losses of
    sentence-transformers, trains bit for bit as with the plain trainer. Losses that read (anchor, positive[,
    negatives]) also train on lists of documents: they get each query with its best document, and the log says so.

    The collator reads and checks labels for the relevance of the loss, before they reach a GPU. A collator of ours
    passed as ``data_collator=`` is copied, and the copy inherits prompts and router mapping from the arguments if it
    has none. Each process reads streaming datasets itself, because the accelerate dispatcher truncates lists of
    documents to the number of queries. Streams that do not declare their features get those of their first row, and a
    row that they would change is refused. Training data from `data.lists` have other documents in every epoch.

    Args:
        *args: As for SentenceTransformerTrainer.
        **kwargs: As for SentenceTransformerTrainer.

    Raises:
        TypeError: If the model, or a collator of ours, is for another of these trainers; or if the loss is an objective
            or a recipe, which make one.
        ValueError: If both the collator and the arguments have prompts, or a router mapping, and they differ; if the
            loss does not read ``label_kind``; if a loss of sentence-transformers cannot read lists or views; or if
            ``dispatch_batches=True`` is set for a streaming dataset; or if one call of `data.lists` made both training
            and evaluation data.

    Example:
        ::

            dataset = Dataset.from_dict({"query": [...], "documents": [[...], ...], "labels": [[3, 0], ...]})
            RankingTrainer(model=model, train_dataset=dataset, loss=ANDCGLoss(model)).train()
            RankingTrainer(model=model, train_dataset=dataset, loss=MultipleNegativesRankingLoss(model)).train()
    """

    data_collator_class = RankingCollator


class SparseEncoderRankingTrainer(GradedTrainer, SparseEncoderTrainer):
    """A SparseEncoderTrainer that sets up a `RankingCollator` for the loss of each dataset; see `RankingTrainer`.

    Args:
        *args: As for SparseEncoderTrainer.
        **kwargs: As for SparseEncoderTrainer.

    Raises:
        TypeError: As for `RankingTrainer`.
        ValueError: As for `RankingTrainer`; or if a SpladeLoss expects queries and documents, but there is one column.

    Example:
        ::

            loss = SpladeLoss(model, ANDCGLoss(model), document_regularizer_weight=3e-5)
            SparseEncoderRankingTrainer(model=model, train_dataset=dataset, loss=loss).train()
    """

    data_collator_class = RankingCollator

    def _told(self, collator: GradedCollator, datasets: list[tuple[str | None, Any]]) -> GradedCollator:
        losses = self._losses()
        for name, dataset in datasets:
            loss = losses.get(name, losses.get(None))
            columns = collator.inputs_among(column_features(dataset))
            if len(columns) == 1 and regularizes_documents(loss):
                raise ValueError(
                    f"{type(loss).__name__} takes the first column for queries and regularizes the others, but the "
                    f"only column of inputs is {columns[0]!r}: pass use_document_regularizer_only=True."
                )
        return super()._told(collator, datasets)


class MultiVectorEncoderRankingTrainer(GradedTrainer, MultiVectorEncoderTrainer):
    """A MultiVectorEncoderTrainer that sets up a `RankingCollator` for the loss of each dataset; see `RankingTrainer`.

    The first input column gets the task "query" and the others "document", unless ``router_mapping`` has another.

    Args:
        *args: As for MultiVectorEncoderTrainer.
        **kwargs: As for MultiVectorEncoderTrainer.

    Raises:
        TypeError: As for `RankingTrainer`.
        ValueError: As for `RankingTrainer`.

    Example:
        ::

            loss = RankingLoss(model, objective=ApproxNDCG())
            MultiVectorEncoderRankingTrainer(model=model, train_dataset=dataset, loss=loss).train()
    """

    data_collator_class = RankingCollator


class CrossEncoderRankingTrainer(GradedTrainer, StreamingCrossEncoderTrainer):
    """A CrossEncoderTrainer that sets up a `CrossEncoderRankingCollator` for the loss of each dataset.

    Labels, ids, weights, `data.lists` and streams work as with `RankingTrainer`; CrossEncoderTrainer itself has no
    streams. Losses of sentence-transformers that rank lists get them unchanged, without ids and weights.

    Args:
        *args: As for CrossEncoderTrainer.
        **kwargs: As for CrossEncoderTrainer.

    Raises:
        TypeError: As for `RankingTrainer`.
        ValueError: As for `RankingTrainer`.

    Example:
        ::

            dataset = Dataset.from_dict({"query": [...], "documents": [[...], ...], "labels": [[3, 0], ...]})
            CrossEncoderRankingTrainer(model=model, train_dataset=dataset, loss=LambdaLoss(model)).train()
    """

    data_collator_class = CrossEncoderRankingCollator


TRAINERS = (
    RankingTrainer,
    SparseEncoderRankingTrainer,
    MultiVectorEncoderRankingTrainer,
    CrossEncoderRankingTrainer,
)
"""The trainers, one for each kind of model."""
