"""Losses for the order that a teacher gives: RankNet weighted by the teacher's ranks, and partial order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from st_rankloss.functional.conditions import two_grades
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.lists import (
    count_pairs,
    differences,
    kth_largest,
    log_odds,
    log_weighted,
    logsumexp_below,
    masked_mean,
    precise_logits,
    sum_over_rows,
)
from st_rankloss.functional.ranks import exact_ranks
from st_rankloss.functional.settings import AtLeast0, Count, Positive, Temperature
from st_rankloss.kernels.pair_sums import softplus


@list_function("graded", learns=two_grades)
def inverse_rank_net(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Temperature = 0.1
) -> Tensor:
    r"""Compute RankNet with pairs weighted by the inverse sum of their true ranks: the top of the list counts most.

    .. math:: \frac{1}{|\{y_j > y_k\}|} \sum_{y_j > y_k} \frac{1}{r_j + r_k} \log \left(1 + e^{(s_k - s_j)/\tau}\right)

    Ranks r are by relevance, from 1; tied documents share their mean rank.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> inverse_rank_net(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]))
        tensor(0.0145)

    Source: Reddy et al. (2024), "FIRST: Faster Improved Listwise Reranking with Single Token Decoding", arXiv
    2406.15657: weights and mean as in the authors' code; shared ranks of ties are ours. Cost: O(D²) per query, a few
    pairs at a time.
    """
    ranks = torch.where(judged, exact_ranks(relevance, mask=judged, weights=weights), 1)
    lowest = torch.where(judged, relevance, torch.inf).amin(-1, keepdim=True)

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        lower = (differences(relevance, columns) < 0) & judged[:, None, :] & listed[:, :, None]
        both = ranks[:, None, :] + ranks.gather(1, columns)[:, :, None]
        pairs = softplus(differences(similarity, columns) / temperature) / both
        if weights is not None:
            pairs = pairs * weights[:, None, :] * weights.gather(1, columns)[:, :, None]
        return torch.where(lower, pairs, 0).sum((1, 2))

    total = sum_over_rows(of_rows, judged & (relevance > lowest), similarity)
    return total / count_pairs(relevance, judged, weights)


def _two_groups(relevance: Tensor, judged: Tensor, *, positive: float, **settings: Any) -> Tensor:
    """Return which lists have positives and negatives, or negatives of different grades."""
    return two_grades(relevance.clamp_max(positive), judged)


@list_function("graded", learns=_two_groups)
def partial_ranking(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.07,
    positive: Positive = 1.0,
    hardest: Count = 16,
    weight: AtLeast0 = 1.0,
) -> Tensor:
    r"""Compute a contrastive loss of the positives and, of the same form, one for the order of the hard negatives.

    .. math:: \operatorname*{mean}_{j \in P} \log \Big( 1 + \sum_{k \in N} e^{(s_k - s_j)/\tau} \Big)
        + w \operatorname*{mean}_{j \in H} \log \Big( 1 + \sum_{k \in N,\, y_k < y_j} e^{(s_k - s_j)/\tau} \Big)

    P are the documents with a relevance of at least ``positive``, N the others, and H the most similar of N, without
    those that have nothing below them. The relevance of a negative is a teacher's score, of which only the order
    counts, and only at the top: scores of teachers and embeddings are distributed differently, and the order of easy
    negatives is noise.

    Args:
        positive: Relevance from which a document is a positive, above 0.
        hardest: Number of the most similar negatives whose order counts, at least 1; all tied at the cutoff count.
        weight: w, at least 0, the weight of the order of hard negatives.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> similarity, scores = torch.tensor([0.9, 0.2, 0.7, 0.6]), torch.tensor([1.0, 0.1, 0.3, 0.6])
        >>> partial_ranking(similarity, scores, temperature=0.1, hardest=2)
        tensor(0.8331)

    Source: Chen et al. (2024), "How to Make Cross Encoder a Good Teacher for Efficient Image-Text Retrieval?" (CPRD),
    arXiv 2407.07479, of which only the abstract was read: a contrastive loss for the order of hard negatives beside
    that of the positives is theirs, this form is ours. Time O(D log D), memory O(D).
    """
    positives = judged & (relevance >= positive)
    negatives = judged & ~positives
    contrast = masked_mean(softplus(log_odds(similarity, negatives, temperature, weights)), positives, weights)
    near = kth_largest(similarity.detach(), negatives, hardest, weights)
    logits = precise_logits(similarity, temperature, judged)
    below = logsumexp_below(log_weighted(logits, weights), relevance, negatives, ties=False)
    ordered = (below > -torch.inf) & (similarity >= near)
    order = softplus(torch.where(ordered, below, 0) - logits)
    return contrast + weight * masked_mean(order, ordered, weights).to(similarity.dtype)
