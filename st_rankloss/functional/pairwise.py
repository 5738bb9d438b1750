"""Pairwise losses: RankNet, AUC, LambdaLoss, RankList, margins."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.conditions import two_grades, two_judged, two_kinds
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.gains import discount, gains_of_clean, over_largest
from st_rankloss.functional.lists import (
    MOST_SQUARED,
    count_pairs,
    differences,
    kth_largest,
    largest_of,
    log_weighted,
    logsumexp_below,
    masked_logsumexp,
    masked_mean,
    mass_of,
    masses,
    precise_logits,
    sum_over_rows,
    weighted_sum,
)
from st_rankloss.functional.ndcg import ideal_of_gains
from st_rankloss.functional.pairs import sum_over_graded_pairs
from st_rankloss.functional.ranks import exact_ranks, list_columns, sum_over_columns
from st_rankloss.functional.settings import AtLeast0, Cutoff, GainSetting, Method, Positive, Temperature
from st_rankloss.kernels.pair_sums import softplus


@list_function("graded", learns=two_grades)
def rank_net(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.1,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the mean logistic loss of all pairs in which one document should rank above the other.

    .. math:: \frac{1}{|\{y_j > y_k\}|} \sum_{y_j > y_k} \log \left(1 + e^{(s_k - s_j)/\tau}\right)

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> rank_net(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]))
        tensor(0.0449)

    Source: Burges et al. (2005), "Learning to rank using gradient descent"; with cosines times 5 (temperature 0.2) and
    a teacher's order, "E2Rank" (2025), arXiv 2510.22733. Cost: see `sum_over_graded_pairs`.
    """
    total = sum_over_graded_pairs(
        similarity, relevance, judged, temperature, kernel="softplus", method=method, weights=weights
    )
    return total / count_pairs(relevance, judged, weights)


@list_function("binary", learns=two_kinds)
def mann_whitney(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.1,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the mean logistic loss over all pairs of a relevant and an irrelevant document.

    .. math:: \frac{1}{|P||N|} \sum_{j \in P} \sum_{k \in N} \log \left(1 + e^{(s_k - s_j)/\tau}\right)

    Divided by log 2, it is an upper bound of 1 - AUC. Over the lists of all queries together (see
    `st_rankloss.objectives.AcrossQueries`), it also makes one threshold fit all of them.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> mann_whitney(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(0.0639)

    Source: Sheikholeslami et al. (2025), "Optimizing What Matters: AUC-Driven Learning for Robust Neural Retrieval" (MW
    loss), arXiv 2510.00137, with temperature 0.01. Cost: on the grid, time O(D log D) and memory O(D) per query, for
    any number of relevant documents.
    """
    relevant = relevance > 0
    irrelevant = judged & ~relevant
    columns, listed = list_columns(relevant)
    sums = sum_over_columns(
        similarity,
        columns,
        judged,
        temperature,
        weights=masses(irrelevant, weights, similarity),
        kernel="softplus",
        method=method,
    )
    pairs = mass_of(relevant, weights) * mass_of(irrelevant, weights)
    return weighted_sum(sums, listed, columns, weights) / pairs


@list_function("graded", learns=two_grades)
def lambda_loss(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.1,
    gain: GainSetting = "linear",
    mu: AtLeast0 = 10.0,
    k: Cutoff = None,
) -> Tensor:
    r"""Compute LambdaLoss, NDCG-Loss2++: logistic losses of pairs, weighted by the change in NDCG from a swap.

    .. math:: \sum_{y_j > y_k} \frac{|g_j - g_k|}{\mathrm{IDCG}}
        \big( |d(r_j) - d(r_k)| + \mu\, |d(|r_j - r_k|) - d(|r_j - r_k| + 1)| \big)
        \log_2 \left(1 + e^{(s_k - s_j)/\tau}\right), \qquad d(r) = \frac{1}{\log_2(1 + r)}

    Ranks r are exact and weights are not differentiated; documents tied in similarity share their mean rank and count
    as one rank apart. All documents tied at the cutoff may count among the first k.

    Args:
        gain: ``"linear"``, ``"exponential"`` (2^y - 1, the paper's) or a callable of relevance that maps 0 to 0.
        mu: μ, at least 0; 0 gives the weights of LambdaRank.
        k: Count only pairs with a document among the first k; None counts all.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> lambda_loss(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]))
        tensor(0.2985)

    Source: Wang et al. (2018), "The LambdaLoss Framework for Ranking Metric Optimization"; pairs are summed as in the
    paper; the LambdaLoss of sentence-transformers takes their mean. Cost: O(P · D) per query, a few pairs at a time:
    the weights depend on both ranks jointly, so the grid does not apply.
    """
    gains = over_largest(gains_of_clean(relevance, gain))
    ideal = ideal_of_gains(gains, k, weights)[:, None]
    gains = gains / torch.where(ideal > 0, ideal, 1)
    ranks = torch.where(judged, exact_ranks(similarity.detach(), mask=judged, weights=weights), 1)
    factors = discount(ranks)
    inside = judged
    if k is not None:
        inside = judged & (similarity >= kth_largest(similarity.detach(), judged, k, weights))

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        gap = -differences(gains, columns)
        counted = (gap > 0) & judged[:, None, :] & listed[:, :, None]
        if k is not None:
            counted = counted & (inside[:, None, :] | inside.gather(1, columns)[:, :, None])
        apart = differences(ranks, columns).abs().clamp_min(1)
        weight = differences(factors, columns).abs() + mu * (discount(apart) - discount(apart + 1))
        loss = softplus(differences(similarity, columns) / temperature) / math.log(2)
        pairs = gap * weight * loss
        if weights is not None:
            pairs = pairs * weights[:, None, :] * weights.gather(1, columns)[:, :, None]
        return torch.where(counted, pairs, 0).sum((1, 2))

    return sum_over_rows(of_rows, judged & (gains > 0), similarity)


@list_function("graded", learns=two_grades)
def rank_list(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.1,
    skip: AtLeast0 = 1.0,
) -> Tensor:
    r"""Compute RankList: log-sum-exp over the pairs of neighbouring grades, and over those that skip grades.

    .. math:: \log \Big( 1 + \sum_{\text{next grade}} e^{(s_k - s_j)/\tau} \Big)
        + \lambda \log \Big( 1 + \sum_{\text{skipping}} e^{(s_k - s_j)/\tau} \Big)

    over the pairs :math:`y_j > y_k`, split by whether the grade of k is the next below that of j in the list.

    Args:
        skip: λ, at least 0, the weight of the pairs that skip grades.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> rank_list(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]))
        tensor(0.1338)

    Source: after Naini, Diaz, Busso (2025), "RankList", arXiv 2508.09826, of which neither code nor more than the
    abstract could be read: local and skip-wise constraints and a log-sum-exp are theirs, this formula is ours and may
    differ from theirs. Time O(D log D), memory O(D).
    """
    logits = precise_logits(similarity, temperature, judged)
    level = _dense_levels(relevance, judged)
    of_level = _logsumexp_by_level(log_weighted(logits, weights), level, judged)  # (Q, D + 1), from the lowest grade
    lower = of_level.logcumsumexp(-1)
    losses = []
    for below, distance in ((of_level, 1), (lower, 2)):
        there = judged & (level >= distance)
        pairs = below.gather(1, (level - distance).clamp_min(0)) - logits
        losses.append(softplus(masked_logsumexp(pairs, there, weights)))
    return losses[0] + skip * losses[1]


@list_function("graded", learns=two_judged, most=MOST_SQUARED)
def margin_mse(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, scale: Positive = 1.0
) -> Tensor:
    r"""Compute the mean squared error between the similarity margins and relevance margins of all pairs.

    .. math:: \frac{2}{n (n - 1)} \sum_{j < k} \big( a (s_j - s_k) - (y_j - y_k) \big)^2

    For two documents it is the MarginMSELoss of sentence-transformers, which uses only the pairs with the first
    document of a longer list.

    Args:
        relevance: A teacher's scores, at least 0 and at most 1e15, NaN where unjudged, shape ``(..., D)``; not
            differentiated.
        scale: a, above 0, converts similarities to units of ``relevance``.

    Returns:
        Error, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> margin_mse(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0]))
        tensor(0.0900)

    Source: Hofstätter et al. (2020), arXiv 2010.02666. Time and memory O(D): the mean over pairs is twice a variance.
    """
    gap, wanted = (values - largest_of(values, judged) for values in (similarity, relevance))
    surplus = scale * gap - wanted
    surplus = torch.where(judged, surplus - masked_mean(surplus, judged, weights)[:, None], 0).square()
    if weights is None:
        return 2 * surplus.sum(-1) / (judged.sum(-1) - 1).clamp_min(1)
    return 2 * (surplus * weights).sum(-1) / (weights.sum(-1) - 1).clamp_min(1)


@list_function("binary", learns=two_kinds)
def triplet_alignment(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.015,
    margin: AtLeast0 = 0.1,
) -> Tensor:
    r"""Compute a triplet loss with a soft hardest negative, the log-sum-exp over all negatives.

    .. math:: \max\Big( 0,\; m - \bar s + \tau \log \sum_{k \in N} e^{s_k/\tau} \Big), \qquad
        \bar s = \sum_{j \in P} \frac{e^{s_j/\tau}}{\sum_{i \in P} e^{s_i/\tau}} s_j

    The shares of the relevant documents are constants in the gradient, so that none of these is pushed down.

    Args:
        temperature: τ, above 0, in units of ``similarity``.
        margin: m, at least 0, in units of ``similarity``.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> triplet_alignment(torch.tensor([0.9, 0.2, 0.85]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(0.0500)

    Source: Qin et al. (2024), "Noisy-Correspondence Learning for Text-to-Image Person Re-identification" (RDE), arXiv
    2308.09911: TAL, which they sum over both directions (``RankingLoss(..., symmetric=True)``). Time and memory O(D).
    """
    relevant = relevance > 0
    irrelevant = judged & ~relevant
    # Each kind is centred on its own maximum: far below the other's, it would lose precision.
    tops = [largest_of(similarity, kind) for kind in (relevant, irrelevant)]
    below, rivals = (similarity - top for top in tops)
    logits = log_weighted(below.detach() / temperature, weights)
    share = torch.where(relevant, logits, -torch.inf).softmax(-1)
    hardest = temperature * masked_logsumexp(rivals / temperature, irrelevant, weights)
    return (margin + (tops[1] - tops[0])[:, 0] - (share * below).sum(-1) + hardest).clamp_min(0)


@list_function("graded", learns=two_grades)
def cosent(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, scale: Positive = 20.0
) -> Tensor:
    r"""Compute CoSENT loss: the log-sum-exp over all pairs of different relevance.

    .. math:: \log \Big( 1 + \sum_{y_j > y_k} e^{a (s_k - s_j)} \Big)

    Meant for pairs of texts, ``OverPairs(CoSENT())``. AnglE is this objective with ``similarity_fct=angle_sim``.

    Args:
        scale: a, above 0, multiplies the similarities.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> cosent(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]))
        tensor(0.0182)

    Source: CoSENTLoss of sentence-transformers, here per list, and Su (2022), "CoSENT". Time O(D log D), memory O(D).
    """
    logits = precise_logits(similarity, 1 / scale, judged)
    below = logsumexp_below(log_weighted(logits, weights), relevance, judged, ties=False)
    pairs = torch.where(below > -torch.inf, below, 0) - logits
    return softplus(masked_logsumexp(pairs, below > -torch.inf, weights))


def _dense_levels(relevance: Tensor, judged: Tensor) -> Tensor:
    """Return the index of each judged document's grade among the distinct grades of its list, 0 for the lowest."""
    ascending, order = torch.where(judged, relevance, torch.inf).sort(dim=-1)
    risen = F.pad((ascending[:, 1:] > ascending[:, :-1]).long(), (1, 0))
    return torch.zeros_like(order).scatter(1, order, risen.cumsum(-1))


def _logsumexp_by_level(logits: Tensor, level: Tensor, judged: Tensor) -> Tensor:
    """Compute log Σ exp over the judged documents of each level, ``(Q, D + 1)``; very low for empty levels."""
    shape = (logits.shape[0], logits.shape[1] + 1)
    place = torch.where(judged, level, shape[1] - 1)
    none = torch.finfo(logits.dtype).min / 4
    top = logits.new_full(shape, none).scatter_reduce(1, place, logits.detach(), "amax")
    inside = torch.where(judged, (logits - top.gather(1, place)).exp(), 0)
    total = logits.new_zeros(shape).scatter_add(1, place, inside)
    return torch.where(total > 0, torch.where(total > 0, total, 1).log() + top, none)
