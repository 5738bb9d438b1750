"""Search metrics besides NDCG: reciprocal rank and recall."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.conditions import any_relevant, two_kinds, two_kinds_beyond_k
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.lists import mass_of, masses
from st_rankloss.functional.ranks import soft_places
from st_rankloss.functional.settings import Cutoffs, CutoffTemperature, Method, Softness, cutoffs_of


@list_function("binary", learns=two_kinds, defined=any_relevant, metric=True)
def approx_mrr(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.05,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable reciprocal rank of the best relevant document.

    .. math:: \max_{j \in P} 1 / r_j

    Only the highest-ranked relevant document is pulled up: the metric ignores those below it.

    Returns:
        Reciprocal rank in (0, 1], higher is better, shape ``(...)``.

    Example:
        >>> approx_mrr(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 1.0]), temperature=0.01)
        tensor(0.5000)

    Source: soft ranks from Qin, Liu, Li (2010). Cost: that of the soft ranks of the relevant
    documents.
    """
    relevant = relevance > 0
    ranks = soft_places(similarity, temperature, judged=judged, wanted=relevant, method=method, weights=weights)
    return torch.where(relevant, ranks.reciprocal(), 0).amax(-1)


@list_function("binary", learns=two_kinds_beyond_k, defined=any_relevant, metric=True)
def approx_recall(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    k: Cutoffs = 10,
    temperature: Softness = 0.05,
    cutoff_temperature: CutoffTemperature = 1.0,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable recall among the first k documents.

    .. math:: \frac{1}{\min(k, |P|)} \sum_{j \in P} \sigma\left(\frac{k + 1/2 - r_j}{\tau_k}\right)

    With several k, it is the mean of their recalls; among k documents or fewer, recall is 1.

    Args:
        k: Cutoff, at least 1, or several.

    Returns:
        Recall, at least 0, higher is better, shape ``(...)``; it may exceed 1 because documents tied at the cutoff each
        count half.

    Example:
        >>> approx_recall(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 1.0]), k=2, temperature=0.01)
        tensor(0.5000)

    Source: Patel, Tolias, Matas (2022), "Recall@k Surrogate Loss with Large Batches and Similarity Mixup", arXiv
    2108.11179, which averages over k = 1, 2, 4, 8 and 16 and counts at most k hits; its similarity mixup is another
    idea. The offset of 1/2, which puts the cutoff between ranks k and k + 1, is ours. Cost: that of the soft
    ranks of the relevant documents.
    """
    relevant = relevance > 0
    ranks = soft_places(similarity, temperature, judged=judged, wanted=relevant, method=method, weights=weights)
    mass, length = masses(relevant, weights, ranks), masses(judged, weights, ranks).sum(-1).round()

    def recall(k: int) -> Tensor:
        found = (torch.sigmoid((k + 0.5 - ranks) / cutoff_temperature) * mass).sum(-1)
        return torch.where(length > k, found / mass_of(relevant, weights).clamp_max(k), 1)

    recalls = [recall(each) for each in cutoffs_of(k)]
    return torch.stack(recalls).mean(0)
