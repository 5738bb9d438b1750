"""A-NDCG: the ranking loss with the approximate NDCG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from torch import Tensor

from st_rankloss.functional.gains import Gain
from st_rankloss.losses.base import usual_temperature
from st_rankloss.losses.ranking import RankingLoss, RankingOptions
from st_rankloss.objectives import ApproxNDCG
from st_rankloss.relevance import Relevance


class ANDCGLoss(RankingLoss):
    """Train on NDCG: make the order of similarities match the order of graded relevance.

    Args:
        model: The SentenceTransformer, SparseEncoder or MultiVectorEncoder to train.
        relevance: How to read the labels, see `RankingLoss`; None chooses by columns and labels.
        temperature: Width of the soft comparison, above 0, in units of similarity; 0.01 to 0.1 for cosines; or
            ``"auto"``, half the standard deviation of each query's similarities. None means 0.05, or ``"auto"`` for a
            SparseEncoder, whose dot products have no fixed scale.
        gain: ``"linear"``, the nDCG of MTEB and pytrec_eval, ``"exponential"`` (2^y - 1) or a callable.
        k: Cutoff; None means no cutoff, which trains better: ranks in a batch are not ranks in a corpus.
        **options: Settings that all losses share, see `RankingLoss`: ``similarity_fct``, ``symmetric``, ``block_size``,
            ``no_relevant``, ``check_embeddings``, ``gather_across_devices``, ``mixup``, ``weighting``.

    Raises:
        TypeError: As `RankingLoss`.
        ValueError: If ``temperature`` is not above 0, ``k`` or ``block_size`` is below 1, or a name is unknown.

    Example:
        ::

            loss = ANDCGLoss(model)                                    # (query, document[, negatives])
            loss = ANDCGLoss(model, relevance=relevance.Hierarchy())   # text + [coarse, fine]
            loss = ANDCGLoss(model, relevance=relevance.Classes())     # text + class
            SentenceTransformerTrainer(model=model, train_dataset=dataset, loss=loss).train()

    Source: Gu (2021), "Representation Learning by Ranking across multiple tasks", arXiv 2103.15093.
    """

    def __init__(
        self,
        model: Any,
        *,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        temperature: float | str | None = None,
        gain: Gain = "linear",
        k: int | None = None,
        **options: Unpack[RankingOptions],
    ) -> None:
        chosen = usual_temperature(model) if temperature is None else temperature
        objective = ApproxNDCG(temperature=chosen, gain=gain, k=k)
        super().__init__(model, objective=objective, relevance=relevance, **options)
