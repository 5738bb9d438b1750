"""What search reports beside NDCG: the reciprocal rank and recall."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.lists import any_relevant, per_list, two_kinds, two_kinds_beyond
from st_rankloss.functional.ranks import soft_rank
from st_rankloss.functional.settings import check_count, check_settings


def approx_mrr(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    no_relevant: str = "skip",
    method: str = "auto",
) -> Tensor:
    r"""Compute the differentiable reciprocal rank of the best relevant document.

    .. math:: \max_{j \in P} 1 / r_j

    Only the relevant document that stands highest is pulled up: documents below it add nothing to the metric.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        no_relevant: What a query without relevant document gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` an error.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.

    Returns:
        Reciprocal rank in (0, 1], higher is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> approx_mrr(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 1.0]), temperature=0.01)
        tensor(0.5000)

    Source: the metric with the soft ranks of Qin, Liu, Li (2010). Cost: that of the soft ranks of the relevant
    documents.
    """
    check_settings(temperature=temperature, method=method)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        ranks = soft_rank(similarity, temperature, mask=judged, wanted=relevant, method=method)
        return torch.where(relevant, ranks.reciprocal(), 0).amax(-1)

    return per_list(body, similarity, relevance, any_relevant, no_relevant, varies=two_kinds)


def approx_recall(
    similarity: Tensor,
    relevance: Tensor,
    *,
    k: int = 10,
    temperature: float = 0.05,
    cutoff_temperature: float = 1.0,
    no_relevant: str = "skip",
    method: str = "auto",
) -> Tensor:
    r"""Compute the differentiable recall among the first k documents.

    .. math:: \frac{1}{\min(k, |P|)} \sum_{j \in P} \sigma\left(\frac{k + 1/2 - r_j}{\tau_k}\right)

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        k: Cutoff, at least 1.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        cutoff_temperature: Width of the soft cutoff, above 0, in ranks.
        no_relevant: What a query without relevant document gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` an error.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.

    Returns:
        Recall, at least 0, higher is better, shape ``(...)``; as many documents tied at the cutoff all count by half,
        it may exceed 1.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> approx_recall(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 1.0]), k=2, temperature=0.01)
        tensor(0.5000)

    Source: Patel, Tolias, Matas (2022), "Recall@k Surrogate Loss with Large Batches and Similarity Mixup", arXiv
    2108.11179; the half rank, which puts the cutoff between ranks k and k + 1, is ours. Cost: that of the soft ranks of
    the relevant documents.
    """
    check_settings(temperature=temperature, cutoff_temperature=cutoff_temperature, method=method)
    check_count(k, "k")

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        ranks = soft_rank(similarity, temperature, mask=judged, wanted=relevant, method=method)
        found = torch.where(
            relevant, torch.sigmoid((k + 0.5 - torch.where(relevant, ranks, 1)) / cutoff_temperature), 0
        )
        return found.sum(-1) / relevant.sum(-1).clamp(1, k)

    return per_list(body, similarity, relevance, any_relevant, no_relevant, varies=two_kinds_beyond(k))
